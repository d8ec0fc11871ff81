//! A host that writes: this test binary again, as a process of its own. It does what it is told, and tells when it is
//! done.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use foldlog::agent::{AgentBody, Message};
use foldlog::{Store, StoreConfig};
use futures::executor::block_on;

/// The directory, for a process that is a host.
const DIRECTORY: &str = "FOLDLOG_TEST_HOST";
/// What a host tells begins with this; the rest is the test harness's.
const TOLD: &str = "host: ";
/// A host that floods ends there, so that a slow machine need not read millions of events.
const FLOOD_EVENTS_MAX: u64 = 20_000;
/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Lines of a process, as they come.
pub struct Lines(Receiver<String>);

impl Lines {
    pub fn of(stdout: impl std::io::Read + Send + 'static) -> Self {
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self(lines)
    }

    /// The next line; `None` when the process has ended its output.
    pub fn next(&self) -> Option<String> {
        match self.0.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => None,
            Err(error) => panic!("no line: {error}"),
        }
    }
}

/// A host that writes. It is killed when dropped.
pub struct Host {
    process: Child,
    stdin: ChildStdin,
    lines: Lines,
}

impl Host {
    /// Starts it, and waits until its store is open. The test binary has a test `as_a_host`, which calls [`be_a_host`].
    pub fn start(directory: &Path) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["as_a_host", "--exact", "--nocapture"])
            .env(DIRECTORY, directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let host = Self { process, stdin, lines: Lines::of(stdout) };
        assert_eq!(host.told(), "open");
        host
    }

    fn told(&self) -> String {
        loop {
            let line = self.lines.next().expect("the host lives");
            if let Some(told) = line.split(TOLD).nth(1) {
                return told.to_owned();
            }
        }
    }

    fn tell(&mut self, what: &str) -> String {
        writeln!(self.stdin, "{what}").unwrap();
        self.told()
    }

    /// Appends so many messages to a session, each on its own, and gives the head.
    pub fn append(&mut self, session: &str, messages: u64) -> u64 {
        self.tell(&format!("append {messages} {session}")).parse().unwrap()
    }

    /// Begins to append to a session without a pause, until [`calm`](Self::calm) or for many events.
    pub fn flood(&mut self, session: &str) {
        assert_eq!(self.tell(&format!("flood {session}")), "flooding");
    }

    /// Ends the flood, and gives the head.
    pub fn calm(&mut self) -> u64 {
        self.tell("calm").parse().unwrap()
    }

    /// Kills it, and waits until it is gone.
    pub fn kill(self) {}

    pub fn process(&self) -> u32 {
        self.process.id()
    }

    /// Closes its store.
    pub fn end(mut self) {
        assert_eq!(self.tell("end"), "closed");
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Both fail when it has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn tell(what: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n{TOLD}{what}\n").as_bytes()).and_then(|()| out.flush()).unwrap();
}

/// The body of the test `as_a_host`: does nothing unless another test runs it as a process.
pub fn be_a_host() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let store = block_on(Store::open(StoreConfig::directory(directory))).unwrap();
    tell("open");
    let (sender, words) = channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    while let Ok(word) = words.recv() {
        let words_of: Vec<_> = word.split(' ').collect();
        match words_of[..] {
            ["append", messages, session] => {
                let session = block_on(store.open_session(session)).unwrap();
                for n in 0..messages.parse::<u64>().unwrap() {
                    block_on(session.append(message(n)).unwrap()).unwrap();
                }
                tell(session.view().unwrap().head());
            }
            ["flood", session] => {
                let session = block_on(store.open_session(session)).unwrap();
                tell("flooding");
                let mut n = 0;
                while words.try_recv().is_err() {
                    if n >= FLOOD_EVENTS_MAX {
                        // Whoever reads is slow today.
                        drop(words.recv());
                        break;
                    }
                    // Some in flight at once, as a busy host has them.
                    let receipts: Vec<_> = (n..n + 50).map(|n| session.append(message(n)).unwrap()).collect();
                    receipts.into_iter().for_each(|receipt| drop(block_on(receipt).unwrap()));
                    n += 50;
                }
                tell(session.view().unwrap().head());
            }
            ["end"] => break,
            _ => panic!("no word {word}"),
        }
    }
    block_on(store.close()).unwrap();
    tell("closed");
}

fn message(n: u64) -> AgentBody {
    AgentBody::MessageAppended(Message::user(format!("message {n}")))
}
