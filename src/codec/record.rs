//! The layout of a record. Source: docs/format.md, "A record".
//!
//! Format 2, all integers little-endian. Everything before the body can be read without the model:
//! ```text
//! u8       format = 2
//! u16      schema version of the body
//! u8       length of the event type; then the event type in UTF-8
//! [u8; 8]  salt, random
//! u64 u64  first and last event id of the append
//! u8       length of the append key, 0 = none; then the key, then the append's fingerprint ([u8; 16])
//! u32      number of references; then each: digest [u8; 32], bytes u64, kind u8, encoding u8
//! ...      body: the model's enum in bincode (varint), to the end
//! ```
//! Format 1 is the same without the event type. A record of format 3 stands in the place of one that was redacted: see
//! [`redacted`](super::redacted).

use super::redacted::{self, REDACTED};
use super::{Fingerprint, RECORD_BYTES_LIMIT, RecordError, Salt};
use crate::id::{AppendKey, BlobEncoding, BlobKind, BlobRef, Digest, EventId};

/// The format that is written.
const FORMAT: u8 = 2;
/// The format in which the event type is not under the chain. It is read, and no longer written.
const FORMAT_WITHOUT_TYPE: u8 = 1;
const REF_BYTES: usize = 32 + 8 + 1 + 1;

/// The longest event type: its length is one byte.
pub(crate) const EVENT_TYPE_BYTES_MAX: usize = 255;

/// The part of a record that can be read without its session model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecordHeader<'a> {
    pub(crate) schema: u16,
    /// `None` in a record of format 1, which does not hold it.
    pub(crate) event_type: Option<&'a str>,
    pub(crate) salt: Salt,
    pub(crate) first: EventId,
    pub(crate) last: EventId,
    pub(crate) key: Option<(AppendKey, Fingerprint)>,
    pub(crate) refs: Vec<BlobRef>,
}

/// Builds a record: of format 2, or of format 1 where the header has no event type.
pub(crate) fn encode_record(header: &RecordHeader<'_>, body: &[u8]) -> Vec<u8> {
    let type_bytes = header.event_type.map_or(0, str::len);
    let mut bytes = Vec::with_capacity(32 + type_bytes + 80 + header.refs.len() * REF_BYTES + body.len());
    bytes.push(if header.event_type.is_some() { FORMAT } else { FORMAT_WITHOUT_TYPE });
    bytes.extend(header.schema.to_le_bytes());
    if let Some(event_type) = header.event_type {
        // At most 255 bytes: the stamper refuses a longer one.
        bytes.push(event_type.len() as u8);
        bytes.extend(event_type.as_bytes());
    }
    bytes.extend(header.salt);
    bytes.extend(header.first.get().to_le_bytes());
    bytes.extend(header.last.get().to_le_bytes());
    match &header.key {
        // A key is at most 64 bytes.
        Some((key, fingerprint)) => {
            bytes.push(key.as_bytes().len() as u8);
            bytes.extend(key.as_bytes());
            bytes.extend(fingerprint);
        }
        None => bytes.push(0),
    }
    push_refs(&mut bytes, &header.refs);
    bytes.extend(body);
    bytes
}

pub(super) fn push_refs(bytes: &mut Vec<u8>, refs: &[BlobRef]) {
    bytes.extend((refs.len() as u32).to_le_bytes());
    for blob in refs {
        bytes.extend(blob.digest.as_bytes());
        bytes.extend(blob.bytes.to_le_bytes());
        bytes.push(match blob.kind {
            BlobKind::Bytes => 0,
            BlobKind::Text => 1,
            BlobKind::Json => 2,
        });
        bytes.push(match blob.encoding {
            BlobEncoding::Plain => 0,
        });
    }
}

/// Splits a record into its header and the body's bytes.
pub(crate) fn decode_record(bytes: &[u8]) -> Result<(RecordHeader<'_>, &[u8]), RecordError> {
    if bytes.len() > RECORD_BYTES_LIMIT {
        return Err(RecordError::TooLarge { bytes: bytes.len() });
    }
    let mut rest = Rest(bytes);
    let [format] = rest.array("format")?;
    if format == REDACTED {
        return redacted::decode(rest);
    }
    if !(FORMAT_WITHOUT_TYPE..=FORMAT).contains(&format) {
        return Err(RecordError::Format { found: format, known: REDACTED });
    }
    let schema = u16::from_le_bytes(rest.array("schema")?);
    let event_type = if format == FORMAT_WITHOUT_TYPE { None } else { Some(rest.event_type()?) };
    let salt = rest.array("salt")?;
    let first = rest.event_id("first event id")?;
    let last = rest.event_id("last event id")?;
    let [key_len] = rest.array("key length")?;
    let key = match usize::from(key_len) {
        0 => None,
        len => {
            let key = AppendKey::new(rest.take(len, "append key")?)
                .map_err(|_| RecordError::Field { field: "key length", found: len as u64 })?;
            Some((key, rest.array("fingerprint")?))
        }
    };
    let refs = rest.blob_refs()?;
    Ok((RecordHeader { schema, event_type, salt, first, last, key, refs }, rest.0))
}

/// What is left of a record that is being read.
pub(super) struct Rest<'a>(pub(super) &'a [u8]);

impl<'a> Rest<'a> {
    pub(super) fn take(&mut self, len: usize, field: &'static str) -> Result<&'a [u8], RecordError> {
        let (head, tail) = self.0.split_at_checked(len).ok_or(RecordError::Short { field })?;
        self.0 = tail;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], RecordError> {
        let (head, tail) = self.0.split_first_chunk().ok_or(RecordError::Short { field })?;
        self.0 = tail;
        Ok(*head)
    }

    pub(super) fn event_type(&mut self) -> Result<&'a str, RecordError> {
        let [len] = self.array("length of its event type")?;
        str::from_utf8(self.take(len.into(), "event type")?).map_err(|_| RecordError::EventType)
    }

    pub(super) fn event_id(&mut self, field: &'static str) -> Result<EventId, RecordError> {
        let found = u64::from_le_bytes(self.array(field)?);
        if found > EventId::MAX.get() { Err(RecordError::Field { field, found }) } else { Ok(EventId::new(found)) }
    }

    pub(super) fn blob_refs(&mut self) -> Result<Vec<BlobRef>, RecordError> {
        let count = u32::from_le_bytes(self.array("number of references")?) as usize;
        // The count is checked before anything is allocated for the references.
        if self.0.len() / REF_BYTES < count {
            return Err(RecordError::Short { field: "references" });
        }
        (0..count).map(|_| self.blob_ref()).collect()
    }

    fn blob_ref(&mut self) -> Result<BlobRef, RecordError> {
        let digest = Digest::from_bytes(self.array("reference")?);
        let bytes = u64::from_le_bytes(self.array("reference")?);
        let kind = match self.array("reference")? {
            [0] => BlobKind::Bytes,
            [1] => BlobKind::Text,
            [2] => BlobKind::Json,
            [found] => return Err(RecordError::Field { field: "blob kind", found: found.into() }),
        };
        let encoding = match self.array("reference")? {
            [0] => BlobEncoding::Plain,
            [found] => return Err(RecordError::Field { field: "blob encoding", found: found.into() }),
        };
        Ok(BlobRef { digest, bytes, kind, encoding })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::encode_body;
    use proptest::prelude::*;

    fn sample(event_type: Option<&'static str>) -> (RecordHeader<'static>, Vec<u8>) {
        let blob = BlobRef {
            digest: Digest::from_bytes([7; 32]),
            bytes: 70_000,
            kind: BlobKind::Json,
            encoding: BlobEncoding::Plain,
        };
        let header = RecordHeader {
            schema: 3,
            event_type,
            salt: [9; 8],
            first: EventId::new(5),
            last: EventId::new(6),
            key: Some((AppendKey::new("turn-1").unwrap(), [4; 16])),
            refs: vec![blob],
        };
        let body = encode_body(&(1_u8, "hello")).unwrap();
        (header, body)
    }

    #[test]
    fn a_record_comes_back_and_its_bytes_are_those_of_its_format() {
        for (event_type, golden) in [(None, GOLDEN_1), (Some("turn_put"), GOLDEN_2)] {
            let (header, body) = sample(event_type);
            let bytes = encode_record(&header, &body);
            let (again, rest) = decode_record(&bytes).unwrap();
            assert_eq!((again, rest), (header, body.as_slice()));
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, golden.replace([' ', '\n'], ""), "the bytes of a format changed");
        }
    }

    /// One line for each field, in the order of the module's table. Every later build must decode these bytes.
    const GOLDEN_2: &str = "
        02
        0300
        08 7475726e5f707574
        0909090909090909
        0500000000000000 0600000000000000
        06 7475726e2d31 04040404040404040404040404040404
        01000000
        0707070707070707070707070707070707070707070707070707070707070707 7011010000000000 02 00
        01 05 68656c6c6f";

    const GOLDEN_1: &str = "
        01
        0300
        0909090909090909
        0500000000000000 0600000000000000
        06 7475726e2d31 04040404040404040404040404040404
        01000000
        0707070707070707070707070707070707070707070707070707070707070707 7011010000000000 02 00
        01 05 68656c6c6f";

    #[test]
    fn every_truncation_of_a_header_is_an_error() {
        let (header, body) = sample(Some("turn_put"));
        let bytes = encode_record(&header, &body);
        for len in 0..bytes.len() - body.len() {
            assert!(decode_record(&bytes[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn a_claimed_number_of_references_allocates_nothing_that_the_bytes_do_not_hold() {
        let (mut header, _) = sample(Some("turn_put"));
        header.refs.clear();
        header.key = None;
        let mut bytes = encode_record(&header, &[]);
        let at = bytes.len() - 4;
        bytes[at..].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(decode_record(&bytes), Err(RecordError::Short { .. })));
    }

    #[test]
    fn a_record_over_the_limit_is_refused_by_its_size() {
        let mut bytes = vec![0; RECORD_BYTES_LIMIT + 1];
        bytes[0] = FORMAT_WITHOUT_TYPE;
        assert!(
            matches!(decode_record(&bytes), Err(RecordError::TooLarge { bytes }) if bytes == RECORD_BYTES_LIMIT + 1)
        );
        bytes.pop();
        assert!(decode_record(&bytes).is_ok());
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode_record(&bytes);
        }
    }
}
