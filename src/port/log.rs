//! The port to the durable log: what the persist actor writes through and the readers read through, and its two
//! implementations.

use std::borrow::Cow;

use crate::codec::Chain;
use crate::error::OwnerInfo;
use crate::id::{AppendKey, Digest, EventId, SessionId, Timestamp};
use crate::port::page::StoredPage;

/// What an acknowledgement promises.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// Acknowledged events survive a power cut (`synchronous=FULL`).
    #[default]
    PowerLoss,
    /// Acknowledged events survive the death of the process, and a power cut may lose the last of them
    /// (`synchronous=NORMAL`). The log stays a prefix of what was acknowledged.
    ProcessCrash,
}

/// What the index says of a log's snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SnapshotRow {
    pub(crate) event: EventId,
    pub(crate) chain: Chain,
    pub(crate) digest: Digest,
    pub(crate) bytes: u64,
    pub(crate) view_schema: u16,
    pub(crate) schema: u16,
}

/// The key of a log inside one database. Never reused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LogKey(pub(crate) i64);

/// The fencing number of a log's owner: raised each time the log changes hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Epoch(pub(crate) i64);

/// What stays the same of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogMeta {
    pub(crate) key: LogKey,
    pub(crate) log_id: [u8; 16],
}

/// The last committed event of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) id: EventId,
    pub(crate) chain: Chain,
    pub(crate) at: Timestamp,
}

impl Head {
    /// The head of a log without events.
    pub(crate) fn before_first(log: LogMeta) -> Self {
        Self { id: EventId::ZERO, chain: Chain::start(&log.log_id), at: Timestamp::default() }
    }
}

/// One event as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredEvent {
    pub(crate) id: EventId,
    pub(crate) event_type: Cow<'static, str>,
    pub(crate) at: Timestamp,
    /// The append's key, on the first event of the append only.
    pub(crate) key: Option<AppendKey>,
    pub(crate) chain: Chain,
    pub(crate) record: Vec<u8>,
}

/// One session of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionRow {
    pub(crate) session: SessionId,
    pub(crate) meta: LogMeta,
    pub(crate) created: Timestamp,
    pub(crate) head: EventId,
}

/// One thing to write. A group of them becomes one transaction.
#[derive(Debug)]
pub(crate) enum Write {
    /// Finds the session's log, or makes it, owned by this store.
    Register { session: SessionId, at: Timestamp },
    /// Tells the head, after everything ahead of it in the queue. A `claim` makes this store the owner.
    Fence { log: LogMeta, claim: Claim },
    /// Appends events to a log that this store owns, all or nothing. `after` is the chain that they go on from.
    Append { log: LogKey, epoch: Epoch, after: Chain, events: Vec<StoredEvent> },
    /// Names the newest stored view of a log that this store owns. Its file is written, and need not be durable.
    Snapshot { log: LogKey, epoch: Epoch, row: SnapshotRow },
    /// Gives up the ownership.
    Release { log: LogKey, epoch: Epoch },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    No,
    /// Unless another store that is alive owns the log.
    Yes,
    /// Though its owner may be alive: the raised epoch keeps that one from writing.
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
    Fenced {
        head: Head,
        owned: Option<Epoch>,
    },
    Appended,
    /// With the snapshot that it replaced.
    SnapshotIndexed {
        replaced: Option<Digest>,
    },
    Released,
}

/// Why one write of a group was left out, while the others went on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The first event does not follow the log's head, by its id or by its chain.
    HeadMoved { head: EventId },
    /// Another store that is alive owns the log.
    Owned(OwnerInfo),
    /// The log changed hands since the epoch of the append, and whoever has it now, if anyone, is dead.
    Robbed,
    /// The append key is in the log already. On disk only the last commits are asked: the session knows of all others.
    KeyTaken,
    /// The log is not there.
    UnknownLog,
    /// The log's own rows cannot be read.
    Damaged(String),
}

/// Why the log could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error("the database is locked by another process")]
    Busy,
    #[error("the disk is full")]
    DiskFull,
    #[error("the database is damaged: {0}")]
    Corrupt(String),
    /// The row of one event.
    #[error("event {event} is damaged: {reason}")]
    CorruptEvent { event: EventId, reason: String },
    #[error("{0}")]
    Io(String),
}

impl LogError {
    /// What is wrong, for a text that names the event already.
    pub(crate) fn reason(self) -> String {
        match self {
            Self::CorruptEvent { reason, .. } => reason,
            error => error.to_string(),
        }
    }
}

/// Why a group was not committed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitError {
    /// It was rolled back: nothing of it is in the log.
    #[error("{0}")]
    NotWritten(LogError),
    /// COMMIT itself failed. Only reopening the log tells what is there; the same connection must not be used again.
    #[error("commit failed: {0}")]
    Unknown(LogError),
}

/// The one writing end of a store's log.
pub(crate) trait EventLog: Send {
    /// Commits a group in one transaction. The answers are in the order of the writes.
    fn commit(&mut self, group: &[Write]) -> Result<Vec<Result<Written, Refusal>>, CommitError>;

    /// The chain hash stored at an event id.
    fn chain_at(&mut self, log: LogKey, id: EventId) -> Result<Option<Chain>, LogError>;

    /// Writes and syncs anew what a commit that failed may have left in the write-ahead log: the kernel tells of a failed
    /// sync only once, so a later one proves nothing about pages that were written before.
    fn secure(&mut self) -> Result<(), LogError>;

    /// Moves committed pages to where they belong, when enough have gathered. Called after acknowledging.
    fn maintain(&mut self) -> Result<(), LogError>;

    /// Empties the write-ahead log and closes.
    fn close(self: Box<Self>) -> Result<(), LogError>;
}

/// A reading end. Each call is a read transaction of its own, so that none is held open.
pub(crate) trait LogReader: Send {
    fn find(&mut self, session: &SessionId) -> Result<Option<LogMeta>, LogError>;

    /// Sessions in the order of their ids, after `after`.
    fn sessions(&mut self, after: Option<&SessionId>, max: usize) -> Result<Vec<SessionRow>, LogError>;

    /// Puts events after `after`, in order, in place of what is in the page: up to `events_max`, and at least one however
    /// large. A page that ends where the log ends has looked at that end from both sides, for an index that lost its last
    /// entries shows a shorter log.
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

    /// The chain hash stored at an event id.
    fn chain_at(&mut self, log: LogKey, id: EventId) -> Result<Option<Chain>, LogError>;

    /// The newest stored view of a log.
    fn snapshot(&mut self, log: LogKey) -> Result<Option<SnapshotRow>, LogError>;

    /// The files of stored views that logs behind `after` name, in the order of their logs.
    fn snapshots(&mut self, after: LogKey, max: usize) -> Result<Vec<(LogKey, Digest)>, LogError>;

    /// The same log, for a look at everything that is there, damaged or not.
    fn audit(&mut self) -> &mut dyn LogAudit;
}

/// What a verification reads. Something damaged is an answer here, and no end of the call.
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

/// A name, and the session that it leads to.
#[derive(Debug)]
pub(crate) struct AuditedSession {
    /// What a name is that is no [`SessionId`], too.
    pub(crate) name: Vec<u8>,
    pub(crate) row: Result<SessionRow, LogError>,
}

/// An id, and the event that it leads to.
#[derive(Debug)]
pub(crate) struct AuditedEvent {
    pub(crate) id: EventId,
    pub(crate) row: Result<StoredEvent, LogError>,
}

/// Opens the ends. Both may be opened again after a failure.
pub(crate) trait LogMedium: Send + Sync {
    fn writer(&self) -> Result<Box<dyn EventLog>, LogError>;
    fn reader(&self) -> Result<Box<dyn LogReader>, LogError>;
}
