//! What can be typed.

use std::path::PathBuf;

use clap::{Args, ColorChoice, Parser, Subcommand, ValueHint};
use clap_complete::Shell;

use crate::commands::{backup, cat, describe, grep, log, ls, redact, repair, retain, rm, salvage, show, sweep};

/// Looks into the directory of a foldlog store, and looks after it, beside the host that writes it.
///
/// Only `describe`, `rm`, `retain`, `sweep` and `redact` change something, and what deletes asks first. The others open
/// the store to read it: nothing in it is made or changed, and nobody waits for it.
#[derive(Debug, Parser)]
#[command(name = "foldlog", version, propagate_version = true, disable_help_subcommand = true, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 done; 1 something wrong was found, nothing was found, or something is left; 2 wrong command line; 3 no \
store that this build reads; 4 no such session, event or blob; 5 damaged; 6 cannot be read or written just now."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) shared: Shared,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
pub(crate) struct Shared {
    /// The directory of the store
    #[arg(long, short = 'C', global = true, env = "FOLDLOG_DIR", hide_env_values = true, value_hint = ValueHint::DirPath, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// For programs: JSON, one object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Colours; `auto` means on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: ColorChoice,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists the sessions
    Ls(ls::Ls),
    /// Shows a session as a person reads it: turns, steps, messages, tool calls
    Show(show::Show),
    /// Lists the events of a session, one a line, and follows a session that is being written
    Log(log::Log),
    /// Writes the bytes of a blob
    Cat(cat::Cat),
    /// Tells which events say something
    Grep(grep::Grep),
    /// Tells how much there is: sessions, events by their types, blobs, files
    Stats,
    /// Reads everything that is stored, and tells what is damaged
    Verify,
    /// Makes a new directory of what is whole in a damaged one
    Repair(repair::Repair),
    /// Reads what is left of a damaged directory, whether or not a store can open it
    Salvage(salvage::Salvage),
    /// Folds every session with this build, and compares with the stored views: before an upgrade
    Preflight,
    /// Gives a session a title and labels
    Describe(describe::Describe),
    /// Deletes sessions with all of their events
    Rm(rm::Rm),
    /// Deletes the sessions that rules do not keep
    Retain(retain::Retain),
    /// Removes blobs that no event names
    Sweep(sweep::Sweep),
    /// Takes what events say out of a session
    Redact(redact::Redact),
    /// Copies everything into a directory, or what is new there
    Backup(backup::Backup),
    /// Makes a new store of a backup
    Restore(backup::Restore),
    /// Tells how the directory is: rights, space, owners, left-overs, whether or not a store can open it
    Doctor,
    /// Writes completions for a shell
    #[command(after_help = "For bash: foldlog completions bash > ~/.local/share/bash-completion/completions/foldlog")]
    Completions {
        /// The shell
        shell: Shell,
    },
}
