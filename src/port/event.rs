//! What a log is made of, as it is stored.

use std::borrow::Cow;
use std::sync::Arc;

use crate::codec::Chain;
use crate::event::SessionCore;
use crate::id::{AppendKey, Digest, EventId, SessionId, Timestamp};

/// The key of a log inside one medium. Never reused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LogKey(pub(crate) i64);

/// The fencing number of a log's owner: it rises each time the log changes hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Epoch(pub(crate) i64);

/// What never changes of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogMeta {
    pub(crate) key: LogKey,
    pub(crate) log_id: [u8; 16],
    /// The event that the log's own first event follows. A log that continues no other log follows none: then the id
    /// here is [`EventId::ZERO`], and the chain is the one that the log's id starts.
    pub(crate) base: Head,
}

impl LogMeta {
    /// A log that continues no other log.
    pub(crate) fn root(key: LogKey, log_id: [u8; 16]) -> Self {
        let base = Head { id: EventId::ZERO, chain: Chain::start(&log_id), at: Timestamp::default() };
        Self { key, log_id, base }
    }
}

/// An event at which a log ends, or after which it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) id: EventId,
    pub(crate) chain: Chain,
    pub(crate) at: Timestamp,
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

/// One session in the medium's list of sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionRow {
    pub(crate) session: SessionId,
    pub(crate) meta: LogMeta,
    pub(crate) created: Timestamp,
    pub(crate) head: EventId,
    /// The title and labels, as of `head`. `None` if they cannot be read.
    pub(crate) core: Option<SessionCore>,
}

/// The title and labels that the list of sessions has for a session from an append on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) session: SessionId,
    pub(crate) core: Arc<SessionCore>,
}

/// Which stored view a log has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SnapshotRow {
    pub(crate) event: EventId,
    pub(crate) chain: Chain,
    pub(crate) digest: Digest,
    pub(crate) bytes: u64,
    pub(crate) view_schema: u16,
    pub(crate) schema: u16,
}
