//! The command `foldlog`: looks into the directory of a foldlog store, and looks after it, beside the host that writes
//! it.
//!
//! Rooms, in the order of a call:
//! - `arguments.rs`: what can be typed. A command is a variant there, and a file in `commands/`.
//! - `directory.rs`: the store, opened to be read. Only `directory/writing.rs` opens one to write.
//! - `commands/`: one file a command, each with what it says to people and to programs.
//! - `agent/`: what events and views of the agent model say, in words.
//! - `terminal/`: the way out. Text of a session reaches a terminal through it alone, which escapes what could harm
//!   one.
//! - `failure.rs`: why a command failed, what to do, and the exit code.
//!
//! docs/command.md documents commands, JSON and exit codes.

mod agent;
mod arguments;
mod commands;
mod directory;
mod failure;
mod terminal;

use std::process::ExitCode;

use clap::Parser as _;

use arguments::Arguments;
use failure::{Exit, Failure};
use terminal::Output;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut output = Output::stdout(arguments.shared.json, arguments.shared.color);
    let ended = commands::run(&arguments, &mut output).and_then(|exit| output.flush().map(|()| exit));
    match ended {
        Ok(exit) => exit.into(),
        // Who read the output has seen enough.
        Err(Failure::NobodyReads) => Exit::Done.into(),
        Err(failure) => {
            // What was said until then comes before the error. If it cannot be said, the failure is what matters.
            let _ = output.flush();
            terminal::say_error(&failure);
            failure.exit().into()
        }
    }
}
