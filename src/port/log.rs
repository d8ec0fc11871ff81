//! The ports to the durable log: what the persist actor writes through, and what reader threads read through.

use super::event::{Head, LogKey, LogMeta, SessionRow, SnapshotRow, StoredEvent};
use super::page::StoredPage;
use super::write::{CommitError, LogError, Refusal, Settled, Write, Written};
use crate::codec::Chain;
use crate::id::{AppendKey, Digest, EventId, SessionId};

/// Opens the ends of a log. Each may be opened again after a failure.
pub(crate) trait LogMedium: Send + Sync {
    fn writer(&self) -> Result<Box<dyn EventLog>, LogError>;

    fn reader(&self) -> Result<Box<dyn LogReader>, LogError>;

    /// How the upkeep of the log stands. No I/O.
    fn upkeep(&self) -> Upkeep;
}

/// The one writing end of a store's log.
pub(crate) trait EventLog: Send {
    /// Commits a group in one transaction. The answers are in the order of the writes.
    fn commit(&mut self, group: &[Write]) -> Result<Vec<Result<Written, Refusal>>, CommitError>;

    /// Finds out what became of a group whose commit failed on another writing end, which is gone. The answers are in the
    /// order of the writes. An error means that nothing can be said of any of them.
    ///
    /// An answer is final: whatever a failed commit has left behind and is called not written can never come to be in the
    /// log, not by the death of this process and not by a power cut either; and what is called written is durable.
    fn settle(&mut self, group: &[Write]) -> Result<Vec<Settled>, LogError>;

    /// Moves committed events to where they belong, when enough of them have gathered. Called after acknowledging.
    fn upkeep(&mut self) -> Result<(), LogError>;

    /// Leaves the log in order, and closes.
    fn close(self: Box<Self>) -> Result<(), LogError>;
}

/// A reading end. Each call is a read transaction of its own, so that none is held open.
pub(crate) trait LogReader: Send {
    fn find(&mut self, session: &SessionId) -> Result<Option<LogMeta>, LogError>;

    /// Sessions in the order of their ids, after `after`.
    fn sessions(&mut self, after: Option<&SessionId>, max: usize) -> Result<Vec<SessionRow>, LogError>;

    /// Replaces what is in the page by the events after `after`, in order: up to `events_max`, and at least one however
    /// large. An empty page means that the log ends at `after`, and the engine has made sure that damage hides no more.
    fn page_into(
        &mut self,
        page: &mut StoredPage,
        log: LogKey,
        after: EventId,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<(), LogError>;

    /// The same in a page of its own.
    fn page(
        &mut self,
        log: LogKey,
        after: EventId,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<StoredPage, LogError> {
        let mut page = StoredPage::default();
        self.page_into(&mut page, log, after, events_max, bytes_max)?;
        Ok(page)
    }

    /// The first event of the append that used the key.
    fn find_key(&mut self, log: LogKey, key: &AppendKey) -> Result<Option<StoredEvent>, LogError>;

    /// The last event of a log, or its base.
    fn head(&mut self, log: LogMeta) -> Result<Head, LogError>;

    /// The chain hash stored at an event id.
    fn chain_at(&mut self, log: LogKey, id: EventId) -> Result<Option<Chain>, LogError>;

    /// The newest stored view of a log.
    fn snapshot(&mut self, log: LogKey) -> Result<Option<SnapshotRow>, LogError>;

    /// The stored views that logs after `after` name, in the order of the logs.
    fn snapshots(&mut self, after: LogKey, max: usize) -> Result<Vec<(LogKey, Digest)>, LogError>;

    /// The same log, for a look at everything that is there, damaged or not.
    fn audit(&mut self) -> &mut dyn LogAudit;
}

/// What a verification reads. Damage is an answer here, and does not end the call.
pub(crate) trait LogAudit {
    /// Checks what holds the rows together: pages, indexes, and which row leads to which. Up to `max` sentences.
    fn structure(&mut self, max: usize) -> Result<Vec<String>, LogError>;

    /// Names of sessions in order, after the bytes of `after`.
    fn sessions(&mut self, after: &[u8], max: usize) -> Result<Vec<AuditedSession>, LogError>;

    /// Events after `after`, in order, each read on its own: up to `events_max`, and at least one however large.
    fn events(
        &mut self,
        log: LogKey,
        after: EventId,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<AuditedEvent>, LogError>;
}

/// A stored name, and the session that it leads to.
#[derive(Debug)]
pub(crate) struct AuditedSession {
    /// The bytes of the name, which a damaged one has too.
    pub(crate) name: Vec<u8>,
    pub(crate) row: Result<SessionRow, LogError>,
}

/// An event id, and the event that it leads to.
#[derive(Debug)]
pub(crate) struct AuditedEvent {
    pub(crate) id: EventId,
    pub(crate) row: Result<StoredEvent, LogError>,
}

/// How the upkeep of a store's log stands: an engine first writes what was appended where that is fast, and moves it to
/// its final place later, in steps between the commits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Upkeep {
    /// How many bytes stand where they were first written, as the last commit left it. On a directory it is the size of
    /// SQLite's write-ahead log, which is written over from its beginning after a checkpoint. 0 in memory.
    pub log_bytes: u64,
    /// How many times everything that was committed was moved to its final place: checkpoints, on a directory.
    pub runs: u64,
    /// How many times it could not be, since a reader still needed the log: then the log grows. One now and then is a read
    /// of this store; many are a program that holds a read transaction open. No write is refused for it.
    pub runs_blocked: u64,
}
