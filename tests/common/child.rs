//! Child processes: this test binary again with a task, or one of the examples. No child outlives its test.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

use super::PATIENCE;

/// The variables of the environment that tell a child its task, a name of its own, and a directory.
const TASK: &str = "FOLDLOG_CHILD_TASK";
const NAME: &str = "FOLDLOG_CHILD_NAME";
const DIRECTORY: &str = "FOLDLOG_CHILD_DIRECTORY";

/// What a child with a task tells begins with this. The rest of its output is the test harness's.
const TOLD: &str = "child: ";

/// What a child is to do: a task by its name, a name of its own, a directory.
pub struct Task {
    pub task: String,
    pub name: String,
    pub directory: PathBuf,
}

/// The task of this process, if it is a child. For the test `as_a_child` of each binary that has children, which does
/// nothing unless another test runs it.
pub fn task() -> Option<Task> {
    let task = std::env::var(TASK).ok()?;
    Some(Task { task, name: std::env::var(NAME).unwrap(), directory: std::env::var(DIRECTORY).unwrap().into() })
}

/// Tells the parent something, on a line of its own.
pub fn tell(what: impl std::fmt::Display) {
    // One write, so that a kill leaves a whole line or none. The harness leaves its own line open.
    let line = format!("\n{TOLD}{what}\n");
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes()).and_then(|()| out.flush()).unwrap();
}

/// Waits for the parent's next word. `None` when the parent has ended this process's input.
pub fn hear() -> Option<String> {
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line).unwrap();
    (read > 0).then(|| line.trim_end().to_owned())
}

/// How a child ended, and what it had told that nobody had taken.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub lines: Vec<String>,
    /// Of an example. What a child with a task writes there is seen in the output of its test.
    pub stderr: String,
}

/// Runs an example to its end.
pub fn run(program: &str, arguments: &[&str]) -> Ended {
    Child::example(program, arguments).end()
}

/// A child process. It is killed and waited for when dropped, whatever becomes of its test.
pub struct Child {
    process: std::process::Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    stderr: Receiver<String>,
}

impl Child {
    /// This test binary again, with a task.
    pub fn with_task(task: &str, name: &str, directory: &Path) -> Self {
        Self::with_task_by(Command::new(std::env::current_exe().unwrap()), task, name, directory)
    }

    /// The same, with mounts of its own: what it mounts is seen by its children and nobody else, and goes with them.
    /// `None` where this process may not do that.
    pub fn with_own_mounts(task: &str, name: &str, directory: &Path) -> Option<Self> {
        let unshare = || {
            let mut command = Command::new("unshare");
            command.args(["--mount", "--propagation", "private", "--map-root-user"]);
            command
        };
        let mut probe = unshare();
        probe.args(["mount", "-t", "tmpfs", "foldlog"]).arg(directory);
        if !probe.stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
            return None;
        }
        let mut command = unshare();
        command.arg(std::env::current_exe().unwrap());
        Some(Self::with_task_by(command, task, name, directory))
    }

    fn with_task_by(mut command: Command, task: &str, name: &str, directory: &Path) -> Self {
        command.args(["as_a_child", "--exact", "--nocapture", "--test-threads=1"]);
        command.env(TASK, task).env(NAME, name).env(DIRECTORY, directory).env("RUST_BACKTRACE", "0");
        Self::start(&mut command, TOLD)
    }

    /// One of the examples, which lie beside the directory of the test that runs.
    pub fn example(program: &str, arguments: &[&str]) -> Self {
        let test = std::env::current_exe().unwrap();
        let path = test.parent().and_then(Path::parent).unwrap().join("examples").join(program);
        assert!(path.exists(), "{} is not there: cargo build --examples", path.display());
        Self::start(Command::new(path).args(arguments).env_remove("RUST_LOG").stderr(Stdio::piped()), "")
    }

    fn start(command: &mut Command, prefix: &'static str) -> Self {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        std::thread::spawn(move || {
            let mut line = String::new();
            // Half a line was not told.
            while stdout.read_line(&mut line).is_ok() && line.ends_with('\n') {
                if let Some(told) = line.trim_end().strip_prefix(prefix) {
                    drop(sender.send(told.to_owned()));
                }
                line.clear();
            }
        });
        let (sender, stderr) = channel();
        let errors = process.stderr.take();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            // An error ends the reading, and what was read until then is shown.
            let _ = errors.map(|mut errors| errors.read_to_end(&mut bytes));
            let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
        });
        let stdin = process.stdin.take();
        Self { process, stdin, lines, stderr }
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Gives the child a line, which [`hear`] returns there.
    pub fn say(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// What it tells next; `None` when it has ended.
    pub fn next(&self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("a child told nothing for {PATIENCE:?}"),
        }
    }

    pub fn expect(&self, what: &str) {
        assert_eq!(self.next().as_deref(), Some(what));
    }

    pub fn is_alive(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    /// SIGSTOP or SIGCONT.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.process.id().to_string()]).status().unwrap();
        assert!(sent.success(), "kill {signal}");
    }

    /// SIGKILL, without waiting for its end.
    pub fn strike(&mut self) {
        self.process.kill().unwrap();
    }

    /// SIGKILL, then everything that it had told.
    pub fn kill(mut self) -> Ended {
        self.strike();
        self.ended()
    }

    /// Ends its input, and waits for its own end.
    pub fn end(mut self) -> Ended {
        drop(self.stdin.take());
        self.ended()
    }

    fn ended(&mut self) -> Ended {
        let mut lines = Vec::new();
        while let Some(line) = self.next() {
            lines.push(line);
        }
        let stderr = self.stderr.recv_timeout(PATIENCE).unwrap();
        Ended { status: self.process.wait().unwrap(), lines, stderr }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail when it has ended and was waited for.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
