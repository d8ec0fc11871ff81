//! What a verification found.

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
    /// How many of them were redacted, and are what the events `foldlog.redacted` say or else named in a problem.
    pub redacted: u64,
    /// The bytes of the records that could be read.
    pub record_bytes: u64,
    /// How many undamaged blobs there are.
    pub blobs: u64,
    /// The bytes of these blobs.
    pub blob_bytes: u64,
    /// How many of these blobs no event references. That is no problem: a blob is put first, and its event appended
    /// later or never.
    pub orphans: u64,
    /// How many undamaged stored views there are.
    pub snapshots: u64,
    /// How many more stored views have a damaged file. That is no problem: a power cut may leave one, the log has all
    /// that was in it, and the session's next stored view takes its place.
    pub damaged_snapshots: u64,
    /// How many things in the directory of blobs do not have the name of a blob. They are left alone.
    pub strays: u64,
    /// What is wrong, in the order of the search: the database, then session by session, then blobs that no event
    /// references. At most 1,000 problems, the first ones.
    pub problems: Vec<Problem>,
    /// How many more problems there were.
    pub more_problems: u64,
}

impl Verification {
    /// Tells whether nothing is damaged. Events of a newer build are no damage, although they are listed.
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
    /// The session. `None` for a problem of the database or of a blob that no event references, or if the session's
    /// name cannot be read.
    pub session: Option<SessionId>,
    /// The event, for a problem of one.
    pub event: Option<EventId>,
    /// The blob, for a problem of one or of a reference to it. A missing or damaged blob is named once, with the first
    /// event that references it.
    pub digest: Option<Digest>,
    /// What is wrong: [`ErrorKind::CorruptEvent`], [`ErrorKind::NewerRecord`], [`ErrorKind::Undecodable`],
    /// [`ErrorKind::UnknownBlob`], [`ErrorKind::CorruptBlob`], [`ErrorKind::CorruptStore`], or the error with
    /// which a file cannot be read.
    pub error: Error,
}

impl Problem {
    pub(crate) fn of_store(error: Error) -> Self {
        Self { session: None, event: None, digest: None, error }
    }

    pub(crate) fn of_session(session: SessionId, event: Option<EventId>, error: Error) -> Self {
        Self { session: Some(session), event, digest: None, error }
    }

    /// Tells whether stored bytes are damaged or missing: every problem, except an event that this build does not know.
    /// An [`ErrorKind::Undecodable`] counts as damage, too: memory may have gone wrong before the bytes were hashed.
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
