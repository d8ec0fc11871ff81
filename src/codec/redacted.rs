//! The layout of a record that stands in the place of a redacted one. Source: docs/format.md, "A redacted record".
//!
//! Format 3, all integers little-endian:
//! ```text
//! u8        format = 3
//! [u8; 32]  digest of the record that was written first: what the chain is made of
//! [u8; 8]   checksum of all that follows, to the end of the body
//! u16       schema version of the body
//! u8        length of the event type; then the event type in UTF-8
//! u64 u64   first and last event id of the append
//! u8        1 if the append had a key, which is gone; then a hash of the key ([u8; 16])
//! u32       number of references; then each, as in format 2
//! u32       length of the body; then the body
//! ...       zeros, to the end: the record takes the room of the one before it
//! ```
//! The chain covers none of it but the digest, so the checksum shows damage to whoever reads the record, and a
//! `foldlog.redacted` event has the digest of what it must be.

use super::record::{RecordHeader, Rest, push_refs};
use super::{RecordError, Salt, checksum, digest};
use crate::id::{AppendKey, Digest};

/// The format of a record that was redacted.
pub(super) const REDACTED: u8 = 3;
const CHECKSUM_BYTES: usize = 8;
const KEY_BYTES: usize = 16;

/// The digest of the record as it was first written, which the chain is made of.
pub(super) fn chained_digest(record: &[u8]) -> Digest {
    first_digest(record).unwrap_or_else(|| digest(record))
}

fn first_digest(record: &[u8]) -> Option<Digest> {
    let (REDACTED, rest) = record.split_first().map(|(format, rest)| (*format, rest))? else { return None };
    rest.first_chunk().map(|first| Digest::from_bytes(*first))
}

/// Whether two records have the same place in a chain: one is redacted, and the other the one that was first written,
/// or redacted, too.
pub(crate) fn chains_alike(one: &[u8], other: &[u8]) -> bool {
    chained_digest(one) == chained_digest(other)
}

pub(crate) fn is_redacted(record: &[u8]) -> bool {
    record.first() == Some(&REDACTED)
}

/// Makes the record that takes the place of `record`, with another body. Of `header`, the salt, the append key and the
/// fingerprint do not go into it.
pub(crate) fn redact_record(record: &[u8], header: &RecordHeader<'_>, event_type: &str, body: &[u8]) -> Vec<u8> {
    let first = chained_digest(record);
    let key = match &header.key {
        Some((key, _)) => Some(hash_of_key(first, key)),
        None => redacted_key(record),
    };
    let mut bytes = Vec::with_capacity(128 + event_type.len() + body.len());
    bytes.push(REDACTED);
    bytes.extend(first.as_bytes());
    let checked = bytes.len() + CHECKSUM_BYTES;
    bytes.resize(checked, 0);
    bytes.extend(header.schema.to_le_bytes());
    // At most 255 bytes, as in the record before.
    bytes.push(event_type.len() as u8);
    bytes.extend(event_type.as_bytes());
    bytes.extend(header.first.get().to_le_bytes());
    bytes.extend(header.last.get().to_le_bytes());
    bytes.push(u8::from(key.is_some()));
    bytes.extend(key.iter().flatten());
    push_refs(&mut bytes, &header.refs);
    // A record is at most 64 MiB.
    bytes.extend((body.len() as u32).to_le_bytes());
    bytes.extend(body);
    let (head, rest) = bytes.split_at_mut(checked);
    if let Some(place) = head.last_chunk_mut() {
        *place = checksum_of(rest);
    }
    bytes
}

fn checksum_of(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    checksum(&[b"foldlog1 redacted", bytes])
}

/// By the digest, so that the hash of a short key cannot be looked up in a table.
fn hash_of_key(first: Digest, key: &AppendKey) -> [u8; KEY_BYTES] {
    checksum(&[b"foldlog1 redacted key", first.as_bytes(), key.as_bytes()])
}

/// Splits a record behind its format.
pub(super) fn decode(rest: Rest<'_>) -> Result<(RecordHeader<'_>, &[u8]), RecordError> {
    let split = Split::of(rest)?;
    Ok((split.header, split.body))
}

struct Split<'a> {
    header: RecordHeader<'a>,
    key: Option<[u8; KEY_BYTES]>,
    body: &'a [u8],
    /// Where the zeros at the end of the record begin.
    end: usize,
}

impl<'a> Split<'a> {
    /// `rest` is what follows the format, and in the end the zeros behind the body.
    fn of(mut rest: Rest<'a>) -> Result<Self, RecordError> {
        let record_bytes = rest.0.len() + 1;
        let _: [u8; 32] = rest.array("first digest")?;
        let checksum = rest.array("checksum")?;
        let checked = rest.0;
        let schema = u16::from_le_bytes(rest.array("schema")?);
        let event_type = Some(rest.event_type()?);
        let first = rest.event_id("first event id")?;
        let last = rest.event_id("last event id")?;
        let key = match rest.array("key")? {
            [0] => None,
            [1] => Some(rest.array("hash of the key")?),
            [found] => return Err(RecordError::Field { field: "key", found: found.into() }),
        };
        let refs = rest.blob_refs()?;
        let bytes = u32::from_le_bytes(rest.array("length of the body")?);
        let body = rest.take(bytes as usize, "body")?;
        let is_right =
            checked.get(..checked.len() - rest.0.len()).is_some_and(|checked| checksum_of(checked) == checksum);
        if !is_right || rest.0.iter().any(|byte| *byte != 0) {
            return Err(RecordError::Checksum);
        }
        let (salt, end) = (Salt::default(), record_bytes - rest.0.len());
        Ok(Self { header: RecordHeader { schema, event_type, salt, first, last, key: None, refs }, key, body, end })
    }
}

fn split(record: &[u8]) -> Option<Split<'_>> {
    let (format, rest) = record.split_first()?;
    (*format == REDACTED).then(|| Split::of(Rest(rest)).ok()).flatten()
}

fn redacted_key(record: &[u8]) -> Option<[u8; KEY_BYTES]> {
    split(record)?.key
}

/// Whether the append had a key that is gone.
pub(crate) fn has_redacted_key(record: &[u8]) -> bool {
    redacted_key(record).is_some()
}

/// Whether the key that is gone was this one.
pub(crate) fn was_key(record: &[u8], key: &AppendKey) -> bool {
    let was = redacted_key(record).zip(first_digest(record));
    was.is_some_and(|(hash, first)| hash == hash_of_key(first, key))
}

/// The digest of a redacted record, without the zeros at its end; `None` of any other record.
pub(crate) fn redacted_digest(record: &[u8]) -> Option<Digest> {
    record.get(..split(record)?.end).map(digest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{decode_record, encode_record};
    use super::*;
    use crate::codec::Chain;
    use crate::id::{BlobEncoding, BlobKind, BlobRef, EventId, Timestamp};

    fn sample() -> (RecordHeader<'static>, Vec<u8>) {
        let blob = BlobRef {
            digest: Digest::from_bytes([7; 32]),
            bytes: 70_000,
            kind: BlobKind::Text,
            encoding: BlobEncoding::Plain,
        };
        let header = RecordHeader {
            schema: 3,
            event_type: Some("turn_put"),
            salt: [9; 8],
            first: EventId::new(5),
            last: EventId::new(6),
            key: Some((AppendKey::new("turn-1").unwrap(), [4; 16])),
            refs: vec![blob],
        };
        let record = encode_record(&header, b"the secret");
        (header, record)
    }

    #[test]
    fn a_redacted_record_keeps_its_place_in_the_chain_and_loses_salt_key_and_fingerprint() {
        let (header, record) = sample();
        let redacted = redact_record(&record, &header, "turn_put", b"gone");
        let (again, body) = decode_record(&redacted).unwrap();
        assert_eq!((again, body), (RecordHeader { salt: [0; 8], key: None, ..header.clone() }, b"gone".as_slice()));
        let next = |record: &[u8]| Chain::start(&[1; 16]).next(EventId::new(5), Timestamp::from_micros(2), record);
        assert_eq!(next(&redacted), next(&record));
        let has = |bytes: &[u8]| redacted.windows(bytes.len()).any(|window| window == bytes);
        assert!(!has(b"turn-1") && !has(&[9; 8]) && !has(&[4; 16]) && !has(b"secret"));
        let key = |key: &str| AppendKey::new(key).unwrap();
        assert!(has_redacted_key(&redacted) && was_key(&redacted, &key("turn-1")));
        assert!(!was_key(&redacted, &key("turn-2")) && !was_key(&record, &key("turn-1")));

        let twice = redact_record(&redacted, &decode_record(&redacted).unwrap().0, "turn_put", b"");
        assert_eq!(next(&twice), next(&record));
        assert!(was_key(&twice, &key("turn-1")));
    }

    /// Every later build must decode these bytes.
    #[test]
    fn a_redacted_record_has_the_bytes_of_its_format() {
        let (header, record) = sample();
        let redacted = redact_record(&record, &header, "turn_put", b"gone");
        let hex: String = redacted.iter().map(|byte| format!("{byte:02x}")).collect();
        let first = digest(&record);
        let rest = "0300 08 7475726e5f707574 0500000000000000 0600000000000000
            01 KEY
            01000000 0707070707070707070707070707070707070707070707070707070707070707 7011010000000000 01 00
            04000000 676f6e65";
        let hash = hash_of_key(first, &AppendKey::new("turn-1").unwrap());
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let rest = rest.replace("KEY", &hash).replace([' ', '\n'], "");
        assert_eq!(hex, format!("03{first}{}{rest}", &hex[66..82]));
    }

    #[test]
    fn zeros_at_the_end_count_for_nothing_and_every_other_change_is_found() {
        let (header, record) = sample();
        let redacted = redact_record(&record, &header, "turn_put", b"gone");
        let mut padded = redacted.clone();
        padded.resize(redacted.len() + 20, 0);
        assert_eq!(decode_record(&padded).unwrap(), decode_record(&redacted).unwrap());
        assert_eq!(redacted_digest(&padded), Some(digest(&redacted)));
        assert_eq!(redacted_digest(&record), None);
        // The first 33 bytes are held by the chain.
        for at in 33..padded.len() {
            let mut changed = padded.clone();
            changed[at] ^= 0x10;
            assert!(decode_record(&changed).is_err() && redacted_digest(&changed).is_none(), "{at}");
        }
        for len in 0..redacted.len() {
            assert!(decode_record(&redacted[..len]).is_err(), "{len}");
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let bytes = [&[REDACTED], bytes.as_slice()].concat();
            let _ = (decode_record(&bytes), redacted_digest(&bytes), has_redacted_key(&bytes));
        }
    }
}
