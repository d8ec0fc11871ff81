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
//! Format 1 is the same without the core: no build that wrote it wrote events of foldlog's own.

use bytes::Bytes;

use crate::codec::Chain;
use crate::id::{EventId, Timestamp};
use crate::model::SessionModel;
use crate::port::{Head, LogMeta};

const FORMAT: u8 = 2;
const FORMAT_WITHOUT_CORE: u8 = 1;

/// What a snapshot holds beside what says which view it is. `B` are bytes: of the filter of append keys, of the core (`None` in
/// format 1), and of the view.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SnapshotParts<B> {
    pub(crate) keys: B,
    pub(crate) core: Option<B>,
    pub(crate) view: B,
}

/// Puts the header of a snapshot, its filter of append keys and its core before the bytes of its view.
pub(crate) fn encode<M: SessionModel>(log: &LogMeta, head: &Head, keys: &[u8], core: &[u8], view: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(84 + keys.len() + core.len() + view.len());
    bytes.push(FORMAT);
    bytes.extend(M::VIEW_SCHEMA.to_le_bytes());
    bytes.extend(M::SCHEMA.to_le_bytes());
    bytes.extend(log.log_id);
    bytes.extend(head.id.get().to_le_bytes());
    bytes.extend(head.at.as_micros().to_le_bytes());
    bytes.extend(head.chain.0);
    bytes.extend((keys.len() as u32).to_le_bytes());
    bytes.extend(keys);
    bytes.extend((core.len() as u32).to_le_bytes());
    bytes.extend(core);
    bytes.extend(view);
    bytes
}

/// Takes a snapshot apart: into the head that it is of, and its parts.
pub(crate) fn decode<M: SessionModel>(log: &LogMeta, bytes: &Bytes) -> Result<(Head, SnapshotParts<Bytes>), String> {
    let mut rest = &**bytes;
    let [format] = take(&mut rest)?;
    if !(FORMAT_WITHOUT_CORE..=FORMAT).contains(&format) {
        return Err(format!("it has format {format}, this build knows up to {FORMAT}"));
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
fn take_counted<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], String> {
    let length = u32::from_le_bytes(take(rest)?) as usize;
    let (head, tail) = rest.split_at_checked(length).ok_or("it ends within its filter of keys or its core")?;
    *rest = tail;
    Ok(head)
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
    use crate::port::LogKey;

    fn sample() -> (LogMeta, Head) {
        let log = LogMeta::root(LogKey(1), [7; 16]);
        (log, Head { id: EventId::new(9), chain: Chain([3; 32]), at: Timestamp::from_micros(-5) })
    }

    #[test]
    fn a_header_comes_back_and_every_truncation_of_it_is_an_error() {
        let (log, head) = sample();
        let bytes = Bytes::from(encode::<Agent>(&log, &head, b"keys", b"core", b"view"));
        let parts = SnapshotParts { keys: "keys".into(), core: Some("core".into()), view: "view".into() };
        assert_eq!(decode::<Agent>(&log, &bytes), Ok((head, parts)));
        for len in 0..bytes.len() - 4 {
            assert!(decode::<Agent>(&log, &bytes.slice(..len)).is_err(), "{len}");
        }
    }

    #[test]
    fn a_snapshot_of_format_1_comes_back_without_a_core() {
        let (log, head) = sample();
        let mut bytes = encode::<Agent>(&log, &head, b"keys", b"", b"view");
        let core = bytes.len() - 4 - b"view".len();
        bytes.drain(core..core + 4);
        bytes[0] = FORMAT_WITHOUT_CORE;
        let parts = SnapshotParts { keys: "keys".into(), core: None, view: "view".into() };
        assert_eq!(decode::<Agent>(&log, &bytes.into()), Ok((head, parts)));
    }

    #[test]
    fn another_format_schema_or_log_is_refused() {
        let (log, head) = sample();
        let bytes = encode::<Agent>(&log, &head, b"keys", b"core", b"view");
        for at in [0, 1, 3, 5, 20] {
            let mut other = bytes.clone();
            other[at] ^= 0x81;
            assert!(decode::<Agent>(&log, &other.into()).is_err(), "{at}");
        }
    }
}
