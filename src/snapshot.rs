//! Stored views: how their bytes begin, and when one is due. A snapshot is a cache: whatever is wrong with one, the log says
//! the same.
//!
//! Snapshot, format 1, all integers little-endian. The name of its file is the BLAKE3 of all of it:
//! ```text
//! u8        format = 1
//! u16 u16   schema versions of the view and of the model's bodies
//! [u8; 16]  log id
//! u64 i64   the last event that is folded in, and its time
//! [u8; 32]  the chain hash at that event
//! u32       length of the filter of append keys, then the filter in bincode
//! ...       the view, as the model encodes it, to the end
//! ```

use bytes::Bytes;

use crate::codec::Chain;
use crate::event_log::{Head, LogMeta};
use crate::id::{Digest, EventId, Timestamp};
use crate::model::SessionModel;

const FORMAT: u8 = 1;

/// A snapshot is due when the events since the last one are at least this part of its size: all snapshots of a log
/// together are then at most this many times as large as the log.
const TAIL_SHARE: u64 = 4;

/// When views are stored, so that a session is not folded from its first event when it is opened again.
///
/// Whatever this says, a snapshot is due only when the events since the last one are a quarter of its size: all snapshots
/// that are ever written of a log are together at most four times as large as the log, and one is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotPolicy {
    /// One is due after so many events. Default 16,384: to fold them again took 18 ms (messages, evals, turns and steps of
    /// an agent, 230 bytes each), which is little for a session that opens, and views that come due more often take time
    /// from commits.
    pub every_events: u64,
    /// Or after so many bytes of records. Default 8 MiB: to fold 6.6 MB of the same took 38 ms.
    pub every_bytes: u64,
    /// One is due when a session is closed that has so many events since the last. Default 4,096: to fold them again took
    /// 5 ms. A store that closes stores no views: with many sessions that would take longer than it may, and what is not
    /// stored by then is folded soon enough.
    pub closing_events: u64,
    /// The largest snapshot. Default 64 MiB, as for a blob: a larger view is folded from its events.
    pub bytes_max: u64,
}

impl SnapshotPolicy {
    /// No view is stored. Those that are there are used.
    pub const OFF: Self =
        Self { every_events: u64::MAX, every_bytes: u64::MAX, closing_events: u64::MAX, bytes_max: 64 << 20 };
}

impl Default for SnapshotPolicy {
    fn default() -> Self {
        Self { every_events: 16_384, every_bytes: 8 << 20, closing_events: 4096, bytes_max: 64 << 20 }
    }
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

/// What was committed and is not in a snapshot yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) events: u64,
    /// Of their records.
    pub(crate) bytes: u64,
    /// The size of the snapshot that they follow, 0 for none.
    pub(crate) snapshot_bytes: u64,
}

impl Tail {
    pub(crate) fn add(&mut self, events: u64, bytes: u64) {
        self.events = self.events.saturating_add(events);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    pub(crate) fn is_due(&self, policy: &SnapshotPolicy) -> bool {
        self.is_worth_it() && (self.events >= policy.every_events || self.bytes >= policy.every_bytes)
    }

    pub(crate) fn is_due_on_closing(&self, policy: &SnapshotPolicy) -> bool {
        self.is_worth_it() && self.events >= policy.closing_events
    }

    fn is_worth_it(&self) -> bool {
        self.bytes.saturating_mul(TAIL_SHARE) >= self.snapshot_bytes
    }
}

/// The bytes of a snapshot around those of its view.
pub(crate) fn encode<M: SessionModel>(log: &LogMeta, head: &Head, keys: &[u8], view: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(80 + keys.len() + view.len());
    bytes.push(FORMAT);
    bytes.extend(M::VIEW_SCHEMA.to_le_bytes());
    bytes.extend(M::SCHEMA.to_le_bytes());
    bytes.extend(log.log_id);
    bytes.extend(head.id.get().to_le_bytes());
    bytes.extend(head.at.as_micros().to_le_bytes());
    bytes.extend(head.chain.0);
    bytes.extend((keys.len() as u32).to_le_bytes());
    bytes.extend(keys);
    bytes.extend(view);
    bytes
}

/// The head that a snapshot is of, the bytes of its filter, and those of its view.
pub(crate) fn decode<M: SessionModel>(log: &LogMeta, bytes: &Bytes) -> Result<(Head, Bytes, Bytes), String> {
    let mut rest = &**bytes;
    let [format] = take(&mut rest)?;
    if format != FORMAT {
        return Err(format!("it has format {format}, this build knows {FORMAT}"));
    }
    let schemas = (u16::from_le_bytes(take(&mut rest)?), u16::from_le_bytes(take(&mut rest)?));
    if schemas != (M::VIEW_SCHEMA, M::SCHEMA) {
        return Err(format!("it is of schemas {schemas:?}, this build has {:?}", (M::VIEW_SCHEMA, M::SCHEMA)));
    }
    if take::<16>(&mut rest)? != log.log_id {
        return Err("it is of another log".to_owned());
    }
    let id = EventId::new(u64::from_le_bytes(take(&mut rest)?));
    let at = Timestamp::from_micros(i64::from_le_bytes(take(&mut rest)?));
    let chain = Chain(take(&mut rest)?);
    let keys = u32::from_le_bytes(take(&mut rest)?) as usize;
    let (keys, view) = rest.split_at_checked(keys).ok_or("it ends within its filter of keys")?;
    Ok((Head { id, chain, at }, bytes.slice_ref(keys), bytes.slice_ref(view)))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], String> {
    let (head, tail) = rest.split_first_chunk().ok_or("it ends within its header")?;
    *rest = tail;
    Ok(*head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Agent;
    use crate::event_log::LogKey;

    fn sample() -> (LogMeta, Head) {
        let log = LogMeta { key: LogKey(1), log_id: [7; 16] };
        (log, Head { id: EventId::new(9), chain: Chain([3; 32]), at: Timestamp::from_micros(-5) })
    }

    #[test]
    fn a_header_comes_back_and_every_truncation_of_it_is_an_error() {
        let (log, head) = sample();
        let bytes = Bytes::from(encode::<Agent>(&log, &head, b"keys", b"view"));
        assert_eq!(decode::<Agent>(&log, &bytes), Ok((head, "keys".into(), "view".into())));
        for len in 0..bytes.len() - 4 {
            assert!(decode::<Agent>(&log, &bytes.slice(..len)).is_err(), "{len}");
        }
    }

    #[test]
    fn another_format_schema_or_log_is_refused() {
        let (log, head) = sample();
        let bytes = encode::<Agent>(&log, &head, b"keys", b"view");
        for at in [0, 1, 3, 5, 20] {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert!(decode::<Agent>(&log, &other.into()).is_err(), "{at}");
        }
    }

    #[test]
    fn all_snapshots_of_a_growing_log_are_a_constant_multiple_of_it() {
        let policy = SnapshotPolicy { every_events: 1, ..SnapshotPolicy::default() };
        // A view as large as its log: the worst that does not grow by itself.
        let (mut tail, mut log, mut written) = (Tail::default(), 0, 0);
        for _ in 0..100_000 {
            log += 300;
            tail.add(1, 300);
            if tail.is_due(&policy) {
                written += log;
                tail = Tail { snapshot_bytes: log, ..Tail::default() };
            }
        }
        assert!(written <= (TAIL_SHARE + 1) * log + log, "{written} of {log}");
    }
}
