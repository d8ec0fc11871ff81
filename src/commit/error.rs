//! What a session is told of a write that was not acknowledged.

use crate::error::{Error, ErrorKind};
use crate::id::SessionId;
use crate::port::{Epoch, LogError, Refusal};

/// Why a write was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PersistError {
    /// The write was left out of a group that was committed.
    #[error("refused")]
    Refused(Refusal),
    /// Nothing of the write is in the log. `raised` is the epoch under which the log's owner goes on, if finding out
    /// what became of the write has raised it.
    #[error("{error}")]
    NotWritten { error: LogError, raised: Option<Epoch> },
    /// The session was recovered after it had sent the append: nothing of the append is in the log.
    #[error("the session was recovered since")]
    Fenced,
    /// COMMIT failed, and the log cannot be read.
    #[error("{text}")]
    Unknown {
        text: String,
        /// Whether only a store that is opened anew can find it out.
        goes_on: GoesOn,
    },
    #[error("the store is closed")]
    Closed,
}

/// Whether this store object can go on after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GoesOn {
    Yes,
    No,
}

impl PersistError {
    pub(crate) fn not_written(error: LogError) -> Self {
        Self::NotWritten { error, raised: None }
    }

    /// The error as a host is told it, of a write that is of no session.
    pub(crate) fn of_store(self) -> Error {
        match self {
            Self::NotWritten { error, .. } => error.into(),
            Self::Refused(Refusal::Unavailable(reason)) => ErrorKind::Unavailable { reason }.into(),
            Self::Refused(Refusal::Damaged { reason, .. }) => ErrorKind::CorruptStore { reason }.into(),
            Self::Closed => ErrorKind::StoreClosed.into(),
            Self::Unknown { text, goes_on: GoesOn::No } => ErrorKind::MustReopen { reason: text }.into(),
            Self::Refused(_) | Self::Fenced | Self::Unknown { .. } => {
                ErrorKind::Unavailable { reason: self.to_string() }.into()
            }
        }
    }

    /// The error as a host is told it, of a write to one session that was no append.
    pub(crate) fn of_session(self, session: &SessionId) -> Error {
        match self {
            Self::NotWritten { error, .. } => error.of_session(session),
            Self::Refused(refusal) => {
                let moved =
                    || ErrorKind::Unavailable { reason: "another store wrote the session meanwhile".to_owned() };
                refusal.of_session(session).unwrap_or_else(moved).into()
            }
            Self::Closed => ErrorKind::StoreClosed.into(),
            Self::Unknown { text, goes_on: GoesOn::No } => ErrorKind::MustReopen { reason: text }.into(),
            Self::Fenced | Self::Unknown { .. } => ErrorKind::Unavailable { reason: self.to_string() }.into(),
        }
    }
}
