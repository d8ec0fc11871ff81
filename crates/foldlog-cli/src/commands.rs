//! The commands, one file each: its arguments, what it says to people, and its shape in JSON.

pub(crate) mod cat;
pub(crate) mod completions;
pub(crate) mod grep;
pub(crate) mod log;
pub(crate) mod ls;
pub(crate) mod preflight;
pub(crate) mod repair;
pub(crate) mod salvage;
pub(crate) mod show;
pub(crate) mod stats;
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
        Command::Grep(grep) => grep.run(&open()?, output),
        Command::Stats => stats::run(&open()?, output),
        Command::Verify => verify::run(&open()?, output),
        Command::Repair(repair) => repair.run(&arguments.shared, output),
        Command::Salvage(salvage) => salvage.run(&arguments.shared, output),
        Command::Preflight => preflight::run(&open()?, output),
        Command::Completions { shell } => completions::run(*shell, output),
    }
}
