//! What a store asks of the log's writing end, and what the writing end answers.

use super::cursor::CursorChange;
use super::event::{Epoch, Head, Listed, LogKey, LogMeta, SnapshotRow, StoredEvent};
use super::sweep::{SweepDone, SweepStep};
use crate::codec::Chain;
use crate::error::{Error, ErrorKind, OwnerInfo};
use crate::id::{Digest, EventId, SessionId, Timestamp};

/// One thing to write. A group of them becomes one transaction.
///
/// Every kind is idempotent, or brings the proof by which [`EventLog::settle`](super::EventLog::settle) finds out
/// whether it was written: an append and a redaction bring the chain hash of their last event.
#[derive(Debug, Clone)]
pub(crate) enum Write {
    /// Finds the session's log, or makes one that this store owns.
    Register { session: SessionId, at: Timestamp },
    /// Asks for the head, as it is after all writes ahead of this one in the queue. By `claim` this store may become
    /// the owner.
    Fence { log: LogMeta, claim: Claiming },
    /// Appends events to a log that this store owns, all or nothing. `after` is the chain that they go on from.
    /// `listed` is there if they change how the session is listed.
    Append { log: LogKey, epoch: Epoch, after: Chain, events: Vec<StoredEvent>, listed: Option<Box<Listed>> },
    /// Names the newest stored view of a log that this store owns. The view's bytes are stored already, and need not be
    /// durable. `redactions` is how often the log was redacted when the view was folded: a view of before is refused.
    Snapshot { log: LogKey, epoch: Epoch, row: SnapshotRow, redactions: u64 },
    /// Gives up the ownership of a log.
    Release { log: LogKey, epoch: Epoch },
    /// Redacts events of a log that this store owns.
    Redact(Box<LogRedaction>),
    /// Takes a session's name away and marks its log as deleted, unless another store that is alive owns the log. What
    /// the log holds is void from then on, and is erased by the upkeep. Of `head`, only if the log ends there. A log
    /// that is deleted already is an answer, and no refusal.
    Delete { session: SessionId, log: LogKey, head: Option<EventId>, at: Timestamp },
    /// Does one step of a sweep of blobs.
    Sweep(SweepStep),
    /// Moves a cursor of the feed, or takes it away.
    Cursor(CursorChange),
}

/// Redacted records, and the event that says so, all or nothing. When it is written, the log names no stored view any
/// more, its counter of redactions has risen, and nobody reads what was replaced. What may still be in the medium's
/// files is erased by the upkeep, and is told by [`LogReader::erasing`](super::LogReader::erasing) until then.
#[derive(Debug, Clone)]
pub(crate) struct LogRedaction {
    pub(crate) log: LogKey,
    pub(crate) epoch: Epoch,
    /// The chain that the event goes on from.
    pub(crate) after: Chain,
    /// The event `foldlog.redacted`.
    pub(crate) event: StoredEvent,
    pub(crate) records: Vec<RedactedRecord>,
    /// There if the redaction changes how the session is listed.
    pub(crate) listed: Option<Listed>,
}

/// The record that takes the place of an event's record. The event loses its append key with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RedactedRecord {
    pub(crate) event: EventId,
    pub(crate) record: Vec<u8>,
}

impl Write {
    /// The log that it adds events to.
    pub(crate) fn appends_to(&self) -> Option<LogKey> {
        match self {
            Self::Append { log, .. } => Some(*log),
            Self::Redact(redaction) => Some(redaction.log),
            _ => None,
        }
    }

    /// What the log holds if the write was written: the chain hash of the last event that it appends. `None` for a
    /// write that is safe to ask for again.
    pub(crate) fn proof(&self) -> Option<(LogKey, EventId, Chain)> {
        match self {
            Self::Append { log, events, .. } => events.last().map(|event| (*log, event.id, event.chain)),
            Self::Redact(redaction) => Some((redaction.log, redaction.event.id, redaction.event.chain)),
            _ => None,
        }
    }
}

/// Whether a fence makes this store the log's owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claiming {
    /// No: the fence only reads the head.
    No,
    /// Yes, unless another store that is alive owns the log.
    Yes,
    /// Yes, even if the owner is alive: the raised epoch keeps that owner from writing.
    Force,
}

/// What became of a [`Write`].
#[derive(Debug, Clone)]
pub(crate) enum Written {
    /// `owned` is there when the session was made by this write.
    Registered {
        meta: LogMeta,
        owned: Option<Epoch>,
    },
    /// `owned` is there when this store owns the log now.
    Fenced {
        head: Head,
        owned: Option<Epoch>,
    },
    /// `raised` is the epoch under which the owner goes on, if settling a failed commit has raised it.
    Appended {
        raised: Option<Epoch>,
    },
    /// `replaced` is the stored view that the new one replaced.
    SnapshotIndexed {
        replaced: Option<Digest>,
    },
    /// The log has no owner now, or has another one.
    Released,
    /// No name leads to the log, and none ever will.
    Deleted,
    Swept(SweepDone),
    /// The cursor is where the change wants it.
    CursorChanged,
}

/// Why one write of a group was left out, while the others went on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The first event does not follow the log's head, by its id or by its chain.
    HeadMoved { head: EventId },
    /// Events of the log were redacted since the stored view was folded.
    Redacted,
    /// Another store that is alive owns the log.
    Owned(OwnerInfo),
    /// The append was stamped under an older epoch than the log's, and no store that is alive owns the log.
    StaleEpoch,
    /// The append key is in the log already. An engine may look only among the last commits: the session itself knows
    /// about older keys.
    KeyTaken,
    /// The append names a blob that is being swept, or is gone.
    NoBlob { digest: Digest },
    /// The cursor is not where it was expected.
    CursorMoved { found: Option<String> },
    /// The log is not there.
    UnknownLog,
    /// The session was deleted, and its log with it.
    Deleted,
    /// The log's own rows cannot be read, from this event on if it is known.
    Damaged { event: Option<EventId>, reason: String },
    /// Something beside the log has to be asked for this write, and cannot be: whether another owner is alive.
    Unavailable(String),
}

/// What to do about damage of one session.
const ADVICE: &str = "Store::verify tells what else is, and Store::repair makes a new directory of what is valid";

impl Refusal {
    /// The error as a host is told it, where asking again does not help. `None` where the session has to look again
    /// first.
    pub(crate) fn of_session(&self, session: &SessionId) -> Option<ErrorKind> {
        let session = session.clone();
        match self {
            Self::HeadMoved { .. } | Self::StaleEpoch | Self::KeyTaken | Self::Redacted | Self::CursorMoved { .. } => {
                None
            }
            Self::Owned(owner) => Some(ErrorKind::OwnedElsewhere { session, owner: owner.clone() }),
            Self::Deleted => Some(ErrorKind::SessionDeleted { session }),
            Self::NoBlob { digest } => Some(ErrorKind::DanglingRef { digest: *digest }),
            Self::UnknownLog => {
                Some(ErrorKind::CorruptStore { reason: format!("the log of session {session} is gone; {ADVICE}") })
            }
            Self::Damaged { event: Some(event), reason } => {
                Some(ErrorKind::CorruptEvent { session, event: *event, reason: reason.clone() })
            }
            Self::Damaged { event: None, reason } => Some(ErrorKind::CorruptStore {
                reason: format!("the log of session {session} is damaged: {reason}; {ADVICE}"),
            }),
            Self::Unavailable(reason) => Some(ErrorKind::Unavailable { reason: reason.clone() }),
        }
    }
}

/// What became of one write of a group whose commit failed.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) outcome: SettledAs,
    /// The epoch that the log's owner has from now on, where the engine had to raise it to be sure of the outcome.
    pub(crate) raised: Option<Epoch>,
}

impl Settled {
    /// Settles one write by what the log holds: `chain_at` gives the chain hash at an event of a log. A write without a
    /// proof counts as not written: the caller that still wants it asks again.
    pub(crate) fn by_proof(
        write: &Write,
        chain_at: impl FnOnce(LogKey, EventId) -> Result<Option<Chain>, LogError>,
    ) -> Self {
        let outcome = match write.proof() {
            None => SettledAs::NotWritten,
            Some((log, id, chain)) => match chain_at(log, id) {
                Ok(found) if found == Some(chain) => SettledAs::Written,
                Ok(_) => SettledAs::NotWritten,
                Err(error) => SettledAs::Unknown(error),
            },
        };
        Self { outcome, raised: None }
    }
}

/// See [`Settled`].
#[derive(Debug)]
pub(crate) enum SettledAs {
    /// It is in the log.
    Written,
    /// It is not in the log, and never will be.
    NotWritten,
    /// The log cannot be read, so the outcome is not known.
    Unknown(LogError),
}

/// Why the log could not be read or written.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum LogError {
    /// Asking again later helps.
    #[error("the database is locked by another process")]
    Busy,
    /// What was asked for is of a session that was deleted.
    #[error("the session was deleted")]
    Deleted,
    #[error("the disk is full")]
    DiskFull,
    #[error("the database is damaged: {0}")]
    Corrupt(String),
    /// One event is damaged, and everything else can be read.
    #[error("event {event} is damaged: {reason}")]
    CorruptEvent { event: EventId, reason: String },
    #[error("{0}")]
    Io(String),
    /// Waiting does not help: a person has to mend what the text names.
    #[error("{0}")]
    Unusable(String),
    /// This store object cannot go on; one that is opened anew can.
    #[error("{0}: close the store and open it again")]
    Lost(String),
}

impl LogError {
    /// What is wrong, without the event id: for a text that names the event already.
    pub(crate) fn reason(self) -> String {
        match self {
            Self::CorruptEvent { reason, .. } => reason,
            error => error.to_string(),
        }
    }

    /// The error as a host is told it, of a read of one session: damage is named with the session.
    pub(crate) fn of_session(self, session: &SessionId) -> Error {
        match self {
            Self::CorruptEvent { event, reason } => {
                ErrorKind::CorruptEvent { session: session.clone(), event, reason }.into()
            }
            Self::Corrupt(reason) => ErrorKind::CorruptStore {
                reason: format!("the log of session {session} cannot be read: {reason}; {ADVICE}"),
            }
            .into(),
            Self::Deleted => ErrorKind::SessionDeleted { session: session.clone() }.into(),
            Self::DiskFull => Error::with_source(ErrorKind::DiskFull, format!("in a call for session {session}")),
            error @ (Self::Busy | Self::Io(_)) => {
                ErrorKind::Unavailable { reason: format!("session {session}: {error}") }.into()
            }
            error => error.into(),
        }
    }
}

/// For what is not of one session; otherwise there is [`LogError::of_session`].
impl From<LogError> for Error {
    fn from(error: LogError) -> Self {
        match error {
            LogError::DiskFull => ErrorKind::DiskFull,
            LogError::Corrupt(reason) => ErrorKind::CorruptStore { reason },
            LogError::CorruptEvent { .. } => ErrorKind::CorruptStore { reason: error.to_string() },
            LogError::Busy | LogError::Deleted | LogError::Io(_) => {
                ErrorKind::Unavailable { reason: error.to_string() }
            }
            LogError::Unusable(reason) => ErrorKind::UnsuitablePlace { reason },
            LogError::Lost(reason) => ErrorKind::MustReopen { reason },
        }
        .into()
    }
}

/// Why a group was not committed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitError {
    /// The group was rolled back: nothing of it is in the log.
    #[error("{0}")]
    NotWritten(LogError),
    /// COMMIT itself failed. This writing end must not be used again; another one settles what is in the log.
    #[error("commit failed: {0}")]
    Unknown(LogError),
}
