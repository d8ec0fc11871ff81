//! Encodes and decodes the bytes of a snapshot around those of its view. Source: docs/format.md, "A stored view".
//!
//! Snapshot, format 2, all integers little-endian. The name of its file is the BLAKE3 of all of it:
//! ```text
//! u8        format = 2
//! u16 u16   schema versions of the view and of the model's bodies
//! [u8; 16]  log id
//! u64 i64   the last event that is folded in, and its time
//! [u8; 32]  the chain hash at that event
//! u32       length of the filter of append keys, then the filter in bincode
//! u32       length of the core, then the core in bincode: title, and labels as a map of text to text
//! ...       the view, as the model encodes it, to the end
//! ```
//! Format 1 is the same without the core. It is written where the core is empty, so that builds which know no core use
//! it, too.

use bytes::Bytes;

use crate::codec::Chain;
use crate::id::{EventId, Timestamp};
use crate::model::SessionModel;
use crate::port::{Head, LogMeta};

const FORMAT: u8 = 2;
const FORMAT_WITHOUT_CORE: u8 = 1;

/// What a snapshot holds beside what says which view it is. `B` are bytes: of the filter of append keys, of the core
/// (`None` if it is empty), and of the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SnapshotParts<B> {
    pub(crate) keys: B,
    pub(crate) core: Option<B>,
    pub(crate) view: B,
}

/// Why a snapshot is not used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnusableSnapshot {
    /// Its format or a schema is one of another build.
    #[error("it is of another build: {0}")]
    OfOtherBuild(String),
    #[error("{0}")]
    Wrong(String),
}

impl From<&str> for UnusableSnapshot {
    fn from(reason: &str) -> Self {
        Self::Wrong(reason.to_owned())
    }
}

/// Puts the header of a snapshot, its filter of append keys and its core before the bytes of its view.
pub(crate) fn encode<M: SessionModel>(log: &LogMeta, head: &Head, parts: SnapshotParts<&[u8]>) -> Vec<u8> {
    let SnapshotParts { keys, core, view } = parts;
    let mut bytes = Vec::with_capacity(84 + keys.len() + core.map_or(0, <[u8]>::len) + view.len());
    bytes.push(if core.is_some() { FORMAT } else { FORMAT_WITHOUT_CORE });
    bytes.extend(M::VIEW_SCHEMA.to_le_bytes());
    bytes.extend(M::SCHEMA.to_le_bytes());
    bytes.extend(log.log_id);
    bytes.extend(head.id.get().to_le_bytes());
    bytes.extend(head.at.as_micros().to_le_bytes());
    bytes.extend(head.chain.0);
    bytes.extend((keys.len() as u32).to_le_bytes());
    bytes.extend(keys);
    if let Some(core) = core {
        bytes.extend((core.len() as u32).to_le_bytes());
        bytes.extend(core);
    }
    bytes.extend(view);
    bytes
}

/// Takes a snapshot apart: into the head that it is of, and its parts.
pub(crate) fn decode<M: SessionModel>(
    log: &LogMeta,
    bytes: &Bytes,
) -> Result<(Head, SnapshotParts<Bytes>), UnusableSnapshot> {
    let mut rest = &**bytes;
    let [format] = take(&mut rest)?;
    match format {
        FORMAT_WITHOUT_CORE | FORMAT => {}
        0 => return Err("it has no format".into()),
        newer => {
            let reason = format!("it has format {newer}, this one knows up to {FORMAT}");
            return Err(UnusableSnapshot::OfOtherBuild(reason));
        }
    }
    let schemas = (u16::from_le_bytes(take(&mut rest)?), u16::from_le_bytes(take(&mut rest)?));
    if schemas != (M::VIEW_SCHEMA, M::SCHEMA) {
        let reason = format!("it is of schemas {schemas:?}, this build has {:?}", (M::VIEW_SCHEMA, M::SCHEMA));
        return Err(UnusableSnapshot::Wrong(reason));
    }
    if take::<16>(&mut rest)? != log.log_id {
        return Err("it is of another log".into());
    }
    let id = EventId::new(u64::from_le_bytes(take(&mut rest)?));
    let at = Timestamp::from_micros(i64::from_le_bytes(take(&mut rest)?));
    let chain = Chain(take(&mut rest)?);
    let keys = take_counted(&mut rest)?;
    let core = if format == FORMAT_WITHOUT_CORE { None } else { Some(take_counted(&mut rest)?) };
    let parts = SnapshotParts {
        keys: bytes.slice_ref(keys),
        core: core.map(|core| bytes.slice_ref(core)),
        view: bytes.slice_ref(rest),
    };
    Ok((Head { id, chain, at }, parts))
}

/// Takes a length, and as many bytes.
fn take_counted<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], UnusableSnapshot> {
    let length = u32::from_le_bytes(take(rest)?) as usize;
    let (head, tail) = rest.split_at_checked(length).ok_or("it ends within its filter of keys or its core")?;
    *rest = tail;
    Ok(head)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], UnusableSnapshot> {
    let (head, tail) = rest.split_first_chunk().ok_or("it ends within its header")?;
    *rest = tail;
    Ok(*head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Agent;
    use crate::port::LogKey;

    fn sample() -> (LogMeta, Head) {
        let log = LogMeta::root(LogKey(1), [7; 16]);
        (log, Head { id: EventId::new(9), chain: Chain([3; 32]), at: Timestamp::from_micros(-5) })
    }

    fn parts(core: Option<&'static str>) -> SnapshotParts<&'static [u8]> {
        SnapshotParts { keys: b"keys", core: core.map(str::as_bytes), view: b"view" }
    }

    #[test]
    fn a_header_comes_back_and_every_truncation_of_it_is_an_error() {
        let (log, head) = sample();
        for core in [None, Some("core")] {
            let bytes = Bytes::from(encode::<Agent>(&log, &head, parts(core)));
            assert_eq!(bytes[0], if core.is_some() { 2 } else { 1 });
            let (found, SnapshotParts { keys, core: found_core, view }) = decode::<Agent>(&log, &bytes).unwrap();
            assert_eq!((found, &*keys, &*view), (head, &b"keys"[..], &b"view"[..]));
            assert_eq!(found_core.as_deref(), core.map(str::as_bytes));
            for len in 0..bytes.len() - 4 {
                assert!(decode::<Agent>(&log, &bytes.slice(..len)).is_err(), "{len}");
            }
        }
    }

    #[test]
    fn another_format_schema_or_log_is_refused() {
        let (log, head) = sample();
        let bytes = encode::<Agent>(&log, &head, parts(Some("core")));
        for at in [0, 1, 3, 5, 20] {
            let mut other = bytes.clone();
            other[at] ^= 0x81;
            let refused = decode::<Agent>(&log, &other.into()).unwrap_err();
            // Of an intact file only the format tells that a newer build has written it.
            assert_eq!(matches!(refused, UnusableSnapshot::OfOtherBuild(_)), at == 0, "{at}: {refused}");
        }
    }
}
