//! Why a command failed, what to do about it, and the exit code that tells it to a program.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use foldlog::{Error, ErrorKind};

/// How a command ended. The numbers are documented in docs/command.md, and stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// It did what it was asked, and found nothing wrong.
    Done = 0,
    /// It did what it was asked, and found something wrong, or nothing where something was looked for.
    Found = 1,
    /// The command line is wrong. clap has the same number.
    Usage = 2,
    /// There is no store that this build can read.
    NoStore = 3,
    /// The store has no such session, event or blob.
    Unknown = 4,
    /// What was asked for is damaged.
    Damaged = 5,
    /// Something cannot be read or written just now.
    Unavailable = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The pipe that takes the output is closed. No failure to its user: `foldlog ls | head`.
    #[error("nobody reads the output")]
    NobodyReads,
    #[error("cannot write the output: {0}")]
    Output(#[source] io::Error),
    #[error("{0}")]
    Usage(String),
    #[error("{store}: {}", said(.error))]
    Store { store: PathBuf, error: Error },
    #[error("{0}")]
    OtherModel(String),
    #[error("{0}")]
    OlderFormat(String),
}

impl Failure {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::NobodyReads => Exit::Done,
            Self::Output(_) => Exit::Unavailable,
            Self::Usage(_) => Exit::Usage,
            Self::OtherModel(_) | Self::OlderFormat(_) => Exit::NoStore,
            Self::Store { error, .. } => exit_of(error),
        }
    }

    /// Whether what was asked for is damaged, or cannot be decoded by this build: to read it again is of no use.
    pub(crate) fn is_damage(&self) -> bool {
        self.exit() == Exit::Damaged
    }

    /// Whether there is no such session, or none any more.
    pub(crate) fn is_gone(&self) -> bool {
        use ErrorKind::{SessionDeleted, UnknownSession};
        let Self::Store { error, .. } = self else { return false };
        matches!(error.kind(), UnknownSession { .. } | SessionDeleted { .. })
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::NobodyReads } else { Self::Output(error) }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        io::Error::from(error).into()
    }
}

fn exit_of(error: &Error) -> Exit {
    use ErrorKind as Kind;
    match error.kind() {
        Kind::InvalidSessionId { .. } | Kind::InvalidDigest { .. } | Kind::InvalidArgument { .. } => Exit::Usage,
        Kind::NoStore { .. }
        | Kind::NotAStore { .. }
        | Kind::WrongModel { .. }
        | Kind::NewerFormat { .. }
        | Kind::OlderFormat { .. }
        | Kind::UnsuitablePlace { .. } => Exit::NoStore,
        Kind::UnknownSession { .. } | Kind::UnknownBlob { .. } | Kind::BeyondHead { .. } => Exit::Unknown,
        Kind::CorruptEvent { .. }
        | Kind::CorruptBlob { .. }
        | Kind::CorruptStore { .. }
        | Kind::Undecodable { .. }
        | Kind::NewerRecord { .. }
        | Kind::OtherHistory { .. }
        | Kind::OtherFeed { .. } => Exit::Damaged,
        _ => Exit::Unavailable,
    }
}

/// What is wrong and what to do, where the text of the library speaks to somebody who writes Rust.
fn said(error: &Error) -> String {
    use ErrorKind as Kind;
    match error.kind() {
        Kind::NoStore { .. } => format!("{error}\nname the directory of a store with --dir, or in FOLDLOG_DIR"),
        Kind::UnknownSession { session } => format!("there is no session {session}\n`foldlog ls` lists the sessions"),
        Kind::UnknownBlob { digest } => {
            format!("there is no blob {digest}\n`foldlog verify` tells which events reference a blob that is missing")
        }
        Kind::BeyondHead { session, event, head } => {
            format!("session {session} ends with event {head}, and has no event {event} to begin after")
        }
        Kind::CorruptEvent { session, event, reason } => {
            let what = format!("event {event} of session {session} is damaged: {reason}");
            format!("{what}\n`foldlog verify` tells what else is damaged")
        }
        Kind::OwnedElsewhere { session, owner } => format!(
            "session {session} is written by {owner}\nlet that process do it, or close the session there, or end the process; \
             then run the command again"
        ),
        Kind::CorruptStore { .. } => format!("{error}\n`foldlog verify` tells what else is damaged"),
        _ => error.to_string(),
    }
}
