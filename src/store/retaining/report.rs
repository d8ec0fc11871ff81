//! What a retention has done, session by session.

use std::fmt;

use crate::error::{Error, OwnerInfo};
use crate::id::{SessionId, Timestamp};
use crate::store::deleting::Erased;

/// What [`Store::retain`](crate::Store::retain) did, or would do.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Retained {
    /// Each session that was looked at, the one with the latest event first.
    pub sessions: Vec<RetainedSession>,
    /// The bytes of the records of those that went, or would.
    pub record_bytes: u64,
    /// How many bytes the log takes less: they went back to the file system. 0 in a dry run.
    pub freed_bytes: u64,
    /// The bytes of these records that did not go back: they are free for later events, or within pages that other
    /// sessions need. A copy of the store that is written anew does not have them. In a dry run all of them, since
    /// nobody can tell before which pages become free.
    pub freeable_bytes: u64,
    /// How far erasing came; `None` in a dry run, and if no session went.
    pub erased: Option<Erased>,
}

impl Retained {
    /// How many sessions went, or would.
    #[must_use]
    pub fn gone(&self) -> usize {
        self.sessions.iter().filter(|session| matches!(session.verdict, Verdict::Gone)).count()
    }
}

/// One session of a [`Retained`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RetainedSession {
    /// The session.
    pub id: SessionId,
    /// The time of its last event; of a session without events, when it was made.
    pub last_event: Timestamp,
    /// How many events it has.
    pub events: u64,
    /// The bytes of their records.
    pub record_bytes: u64,
    /// What became of it, or would.
    pub verdict: Verdict,
}

/// What becomes of a session.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Verdict {
    /// It was deleted, or would be.
    Gone,
    /// It stays, for this reason.
    Kept(WhyKept),
}

/// Why a session stays.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum WhyKept {
    /// No rule says that it goes.
    ByTheRules,
    /// This store has it open.
    Open,
    /// Another store that is alive owns it.
    Owned(OwnerInfo),
    /// So many things in it were begun and have no end.
    Unfinished(usize),
    /// It got an event while the call worked.
    Changed,
    /// It cannot be read, so nobody knows whether it is finished.
    Unreadable(Error),
    /// It could not be deleted.
    Failed(Error),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("goes"),
            Self::Kept(kept) => write!(f, "stays: {kept}"),
        }
    }
}

impl fmt::Display for WhyKept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByTheRules => f.write_str("the rules keep it"),
            Self::Open => f.write_str("it is open here"),
            Self::Owned(owner) => write!(f, "{owner} owns it"),
            Self::Unfinished(things) => write!(f, "{things} things in it are unfinished"),
            Self::Changed => f.write_str("it got an event meanwhile"),
            Self::Unreadable(error) => write!(f, "it cannot be read: {error}"),
            Self::Failed(error) => write!(f, "it could not be deleted: {error}"),
        }
    }
}
