//! An actix agent host with no model behind it: a person, or a script, takes the model's place and types lines of
//! [rhai](https://rhai.rs). Each line is a turn of the session; its result is printed once the turn is durable.
//!
//! ```text
//! agent_host [--dir DIR] [--session ID] [--script FILE]
//! ```
//!
//! Quit it or kill it, start it again with the same session: the variables are back, and so are the functions that
//! lines defined. Values that JSON cannot hold (closures, timestamps) end with the process, and a constant comes back
//! as a variable. A line that fails changes nothing. Blank lines and lines that begin with `//` are skipped; `:restart`
//! stops the session's actor, so that its supervisor brings it back from the log; `:compact` compacts the session;
//! `:stats` shows what the store has counted, on stderr as everything but results; `:quit` ends.

mod agent;
mod interpreter;
mod report;

use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use actix::prelude::*;
use foldlog::{Store, StoreConfig};

use agent::{Agent, Ask};
use report::Report;

const USAGE: &str = "usage: agent_host [--dir DIR] [--session ID] [--script FILE]";

type Failed = Box<dyn std::error::Error>;

struct Arguments {
    dir: PathBuf,
    session: String,
    script: Option<PathBuf>,
}

impl Arguments {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, Failed> {
        let mut arguments =
            Self { dir: PathBuf::from("agent-host-sessions"), session: "default".to_owned(), script: None };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} wants a value; {USAGE}"));
            match word.as_str() {
                "--dir" => arguments.dir = value()?.into(),
                "--session" => arguments.session = value()?,
                "--script" => arguments.script = Some(value()?.into()),
                _ => return Err(format!("unknown argument {word}; {USAGE}").into()),
            }
        }
        Ok(arguments)
    }
}

/// Where lines come from.
enum Lines {
    Script(VecDeque<String>),
    Person,
}

impl Lines {
    fn open(script: Option<PathBuf>) -> Result<Self, Failed> {
        let Some(path) = script else { return Ok(Self::Person) };
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self::Script(text.lines().map(str::to_owned).collect()))
    }

    async fn next(&mut self) -> Result<Option<String>, Failed> {
        match self {
            Self::Script(lines) => Ok(lines.pop_front()),
            // On a thread of its own: a person takes a while, and sessions live on this one.
            Self::Person => Ok(tokio::task::spawn_blocking(read_line).await??),
        }
    }
}

fn read_line() -> std::io::Result<Option<String>> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        eprint!("> ");
    }
    let mut line = String::new();
    let read = stdin.read_line(&mut line)?;
    Ok((read > 0).then_some(line))
}

#[actix::main]
async fn main() -> ExitCode {
    env_logger::init();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("agent_host: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Failed> {
    let arguments = Arguments::read(std::env::args().skip(1))?;
    let lines = Lines::open(arguments.script)?;
    let store = Store::open(StoreConfig::directory(&arguments.dir)).await?;
    let ran = converse(&store, &arguments.session, lines).await;
    // The store is closed whatever happened, so that everything that was acknowledged is in one file.
    let closed = store.close().await;
    ran?;
    Ok(closed?)
}

async fn converse(store: &Store, session: &str, mut lines: Lines) -> Result<(), Failed> {
    let agent = Agent::resume(store.open_session(session).await?).await?.start();
    while let Some(line) = lines.next().await? {
        let line = line.trim();
        let ask = match line {
            "" => continue,
            ":quit" => break,
            ":restart" => Ask::Restart,
            ":compact" => Ask::Compact,
            ":stats" => {
                eprintln!("{}", Report(store.stats()));
                continue;
            }
            _ if line.starts_with("//") => continue,
            _ if line.starts_with(':') => {
                eprintln!("agent_host: {line} is none of :restart, :compact, :stats, :quit");
                continue;
            }
            _ => Ask::Turn(line.to_owned()),
        };
        if let Some(result) = agent.send(ask).await?? {
            let mut stdout = std::io::stdout().lock();
            writeln!(stdout, "{result}")?;
            stdout.flush()?;
        }
    }
    Ok(())
}
