//! Encodes and decodes the bytes of a snapshot around those of its view. Source: docs/format.md, "A stored view".
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
use crate::id::{EventId, Timestamp};
use crate::model::SessionModel;
use crate::port::{Head, LogMeta};

const FORMAT: u8 = 1;

/// Puts the header of a snapshot and its filter of append keys before the bytes of its view.
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

/// Takes a snapshot apart: into the head that it is of, the bytes of its filter, and those of its view.
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
    use crate::port::LogKey;

    fn sample() -> (LogMeta, Head) {
        let log = LogMeta::root(LogKey(1), [7; 16]);
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
}
