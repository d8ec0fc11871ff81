//! Child processes: the test binary again, with a task in its environment.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// Which task the process has, what it is called, and on which directory.
const TASK: &str = "FOLDLOG_CHILD_TASK";
const NAME: &str = "FOLDLOG_CHILD_NAME";
const DIRECTORY: &str = "FOLDLOG_CHILD_DIRECTORY";

/// What a child tells begins with this; the rest of its output is the test harness's.
const TOLD: &str = "child: ";

/// No child may keep a test waiting for longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a child is to do: a task by its name, a name of its own, a directory.
pub(crate) struct Task {
    pub(crate) task: String,
    pub(crate) name: String,
    pub(crate) directory: PathBuf,
}

/// The task of this process, if it is a child. For the test `as_a_child` of each binary that has children, which does
/// nothing unless another test runs it.
pub(crate) fn task() -> Option<Task> {
    let task = std::env::var(TASK).ok()?;
    Some(Task { task, name: std::env::var(NAME).unwrap(), directory: std::env::var(DIRECTORY).unwrap().into() })
}

/// Tells the parent something, on a line of its own.
pub(crate) fn tell(what: impl std::fmt::Display) {
    // One write, so that a kill leaves a whole line or none. The harness leaves its own line open.
    let line = format!("\n{TOLD}{what}\n");
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes()).and_then(|()| out.flush()).unwrap();
}

/// Waits for the parent's word; `None` when the parent is gone.
pub(crate) fn hear() -> Option<String> {
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line).unwrap();
    (read > 0).then(|| line.trim_end().to_owned())
}

/// A child process. Killed and waited for when dropped, whatever becomes of its test.
pub(crate) struct Neighbour {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Neighbour {
    pub(crate) fn start(task: &str, name: &str, directory: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["as_a_child", "--exact", "--nocapture", "--test-threads=1"])
            .env(TASK, task)
            .env(NAME, name)
            .env(DIRECTORY, directory)
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if let Some(told) = line.strip_prefix(TOLD) {
                    drop(sender.send(told.to_owned()));
                }
            }
        });
        let stdin = child.stdin.take();
        Self { child, stdin, lines }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Gives the child a word, which [`hear`] returns there.
    pub(crate) fn command(&mut self, word: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{word}").unwrap();
    }

    /// What it tells next; `None` when it has ended.
    pub(crate) fn next(&self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("a child told nothing for {PATIENCE:?}"),
        }
    }

    pub(crate) fn expect(&self, what: &str) {
        assert_eq!(self.next().as_deref(), Some(what));
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// SIGSTOP or SIGCONT.
    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success(), "kill {signal}");
    }

    /// SIGKILL, without waiting for its end.
    pub(crate) fn strike(&mut self) {
        self.child.kill().unwrap();
    }

    /// SIGKILL, then everything that it had told.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.strike();
        self.rest().0
    }

    /// Ends its input, and waits for its own end.
    pub(crate) fn end(mut self) -> (Vec<String>, ExitStatus) {
        drop(self.stdin.take());
        self.rest()
    }

    fn rest(&mut self) -> (Vec<String>, ExitStatus) {
        let mut lines = Vec::new();
        while let Some(line) = self.next() {
            lines.push(line);
        }
        (lines, self.child.wait().unwrap())
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        // Both fail when it has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
