//! The commands, one file each: its arguments, what it says to people, and its shape in JSON.

pub(crate) mod cat;
pub(crate) mod completions;
pub(crate) mod log;
pub(crate) mod ls;
pub(crate) mod show;
pub(crate) mod verify;

use crate::arguments::{Arguments, Command};
use crate::directory::Directory;
use crate::failure::{Exit, Failure};
use crate::terminal::Output;

pub(crate) fn run(arguments: &Arguments, output: &mut Output<'_>) -> Result<Exit, Failure> {
    let open = || Directory::open(&arguments.shared);
    match &arguments.command {
        Command::Ls(ls) => ls.run(&open()?, output),
        Command::Show(show) => show.run(&open()?, output),
        Command::Log(log) => log.run(&open()?, output),
        Command::Cat(cat) => cat.run(&open()?, output),
        Command::Verify => verify::run(&open()?, output),
        Command::Completions { shell } => completions::run(*shell, output),
    }
}
