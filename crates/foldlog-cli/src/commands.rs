//! The commands, one file each: its arguments, what it says to people, and its shape in JSON.

pub(crate) mod backup;
pub(crate) mod cat;
pub(crate) mod completions;
mod consent;
pub(crate) mod describe;
pub(crate) mod doctor;
mod erased;
pub(crate) mod grep;
pub(crate) mod log;
pub(crate) mod ls;
pub(crate) mod preflight;
pub(crate) mod redact;
pub(crate) mod repair;
pub(crate) mod retain;
pub(crate) mod rm;
pub(crate) mod salvage;
pub(crate) mod show;
pub(crate) mod stats;
pub(crate) mod sweep;
mod values;
pub(crate) mod verify;

use crate::arguments::{Arguments, Command};
use crate::directory::{self, Directory};
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
        Command::Describe(describe) => describe.run(open()?, output),
        Command::Rm(rm) => rm.run(open()?, output),
        Command::Retain(retain) => retain.run(open()?, output),
        Command::Sweep(sweep) => sweep.run(open()?, output),
        Command::Redact(redact) => redact.run(open()?, output),
        Command::Backup(backup) => backup.run(&open()?, output),
        Command::Restore(restore) => restore.run(&Directory::open_at(restore.backup().to_owned())?, output),
        Command::Doctor => doctor::run(&directory::path(&arguments.shared)?, output),
        Command::Completions { shell } => completions::run(*shell, output),
    }
}
