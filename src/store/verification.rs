//! What a verification found, and how one log is gone through.

use std::fmt;

use crate::error::{Error, ErrorKind};
use crate::id::{Digest, EventId, SessionId};

/// How many problems a [`Verification`] lists.
const PROBLEMS_MAX: usize = 1000;

/// What [`Store::verify`](crate::Store::verify) read, and what is wrong with it.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Verification {
    /// How many sessions were looked at.
    pub sessions: u64,
    /// How many events were found, damaged ones included.
    pub events: u64,
    /// The bytes of their records.
    pub record_bytes: u64,
    /// How many undamaged blobs there are.
    pub blobs: u64,
    /// Their bytes.
    pub blob_bytes: u64,
    /// How many of them no event references. Legal: each was put, and not named yet or not named any more.
    pub orphans: u64,
    /// How many stored views there are.
    pub snapshots: u64,
    /// How many have a damaged file. No problem: a power cut may leave one, nothing is in it that the log does not say,
    /// and the next stored view takes its place.
    pub damaged_snapshots: u64,
    /// How many files lie in the directory of blobs that no blob has the name of. They are left alone.
    pub strays: u64,
    /// What is wrong, in the order of the search: the database, then session by session, then blobs that no event
    /// references. The first thousand.
    pub problems: Vec<Problem>,
    /// How many more problems there were.
    pub more_problems: u64,
}

impl Verification {
    /// Whether nothing is damaged. Events of a newer build are no damage, although they are listed.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.more_problems == 0 && !self.problems.iter().any(Problem::is_damage)
    }

    pub(crate) fn report(&mut self, problem: Problem) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        } else {
            self.more_problems += 1;
        }
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sessions, events, blobs, problems, more_problems, .. } = self;
        let problems = problems.len() as u64 + more_problems;
        write!(f, "{sessions} sessions, {events} events, {blobs} undamaged blobs, {problems} problems")
    }
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Problem {
    /// The session, unless it is the database or a blob that no event references.
    pub session: Option<SessionId>,
    /// The event.
    pub event: Option<EventId>,
    /// The blob. Each is named once, with the first event that references it.
    pub digest: Option<Digest>,
    /// What is wrong: [`ErrorKind::CorruptEvent`], [`ErrorKind::NewerRecord`], [`ErrorKind::UnknownBlob`],
    /// [`ErrorKind::CorruptBlob`], [`ErrorKind::CorruptStore`], or what keeps a file from being read.
    pub error: Error,
}

impl Problem {
    pub(crate) fn of_store(error: Error) -> Self {
        Self { session: None, event: None, digest: None, error }
    }

    pub(crate) fn of_session(session: SessionId, event: Option<EventId>, error: Error) -> Self {
        Self { session: Some(session), event, digest: None, error }
    }

    /// Whether stored bytes are damaged or missing: everything but an event that this build does not know.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        !matches!(self.error.kind(), ErrorKind::NewerRecord { .. })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Errors of events name session and event themselves, those of blobs only the blob.
        if let (Some(session), Some(event), Some(_)) = (&self.session, self.event, self.digest) {
            write!(f, "event {event} of session {session}: ")?;
        }
        self.error.fmt(f)
    }
}
