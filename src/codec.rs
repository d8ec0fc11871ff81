//! Event <-> record bytes, and the chain over them. The only user of bincode.

mod record;
mod redacted;
mod shape;
mod stable;

use std::io;

use bincode::Options;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use self::record::{EVENT_TYPE_BYTES_MAX, RecordHeader, decode_record, encode_record};
pub(crate) use self::redacted::{chains_alike, has_redacted_key, is_redacted, redact_record, redacted_digest, was_key};
pub(crate) use self::stable::check_shape;
#[cfg(any(test, feature = "testkit"))]
pub(crate) use self::stable::check_stable;
use crate::id::{AppendKey, Digest, EventId, Timestamp};

/// The largest record that is ever decoded, in bytes. It is a part of the format: the limits of the configuration apply
/// only to what is written.
pub(crate) const RECORD_BYTES_LIMIT: usize = 64 << 20;

/// The hash of an event and everything before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Chain(pub(crate) [u8; 32]);

impl Chain {
    /// The chain before the first event of a log.
    pub(crate) fn start(log_id: &[u8; 16]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"foldlog1 log").update(log_id);
        Self(hasher.finalize().into())
    }

    /// Its first bytes, which a position carries.
    pub(crate) fn start_bytes(&self) -> [u8; 8] {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        [a, b, c, d, e, f, g, h]
    }

    /// The chain after the next event. Only the record's digest is hashed in, so that a redacted record keeps its
    /// chain: it brings the digest of the record that was written first.
    pub(crate) fn next(self, id: EventId, at: Timestamp, record: &[u8]) -> Self {
        const TAG: &[u8] = b"foldlog1 event";
        let mut link = [0; TAG.len() + 32 + 8 + 8 + 32];
        let (id, at, record) = (id.get().to_le_bytes(), at.as_micros().to_le_bytes(), redacted::chained_digest(record));
        let mut rest = &mut link[..];
        for part in [TAG, &self.0, &id, &at, record.as_bytes()] {
            let (place, after) = rest.split_at_mut(part.len());
            place.copy_from_slice(part);
            rest = after;
        }
        // Hashed in one call: setting up a hasher for several pieces costs as much as hashing these two blocks.
        Self(blake3::hash(&link).into())
    }
}

/// Tells the bodies of one append from other bodies under the same append key. It is salted like the record, so that it
/// reveals nothing about the bodies once the salt is gone.
pub(crate) type Fingerprint = [u8; 16];

pub(crate) type Salt = [u8; 8];

/// The fingerprint of bodies as the caller handed them over, before stamping.
pub(crate) fn fingerprint<B: Serialize>(salt: Salt, bodies: &[B]) -> Result<Fingerprint, RecordError> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"foldlog1 append").update(&salt);
    for body in bodies {
        let bytes = encode_body(body)?;
        hasher.update(&(bytes.len() as u64).to_le_bytes()).update(&bytes);
    }
    let mut short = Fingerprint::default();
    hasher.finalize_xof().fill(&mut short);
    Ok(short)
}

/// The hash by which an append key is found where the key itself would take too much room.
pub(crate) fn key_hash(key: &AppendKey) -> [u8; 32] {
    blake3::hash(key.as_bytes()).into()
}

/// The first bytes of the BLAKE3 of the parts.
pub(crate) fn checksum<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    let mut checksum = [0; N];
    hasher.finalize_xof().fill(&mut checksum);
    checksum
}

/// A stream of salts from one random seed: a system call per event would cost more than its hash.
pub(crate) struct SaltSource(blake3::OutputReader);

impl SaltSource {
    pub(crate) fn new() -> Result<Self, getrandom::Error> {
        let mut seed = [0_u8; 32];
        getrandom::fill(&mut seed)?;
        Ok(Self(blake3::Hasher::new_keyed(&seed).finalize_xof()))
    }

    pub(crate) fn next(&mut self) -> Salt {
        let mut salt = Salt::default();
        self.0.fill(&mut salt);
        salt
    }
}

/// Why bytes are not a record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("record is {bytes} bytes, limit is {RECORD_BYTES_LIMIT}")]
    TooLarge { bytes: usize },
    #[error("record ends within its {field}")]
    Short { field: &'static str },
    #[error("record has format {found}, this build knows up to {known}")]
    Format { found: u8, known: u8 },
    #[error("record has an unknown {field} {found}")]
    Field { field: &'static str, found: u64 },
    #[error("redacted record is not the one that its checksum is of")]
    Checksum,
    #[error("record has an event type that is not UTF-8")]
    EventType,
    #[error("event type is {bytes} bytes, limit is {EVENT_TYPE_BYTES_MAX}")]
    LongEventType { bytes: usize },
    #[error("{}", told(.0))]
    Body(#[from] bincode::Error),
    #[error(
        "body does not come back from its own bytes: the model uses a serde shape that bincode cannot decode, or a \
         HashMap or HashSet, which have no fixed order"
    )]
    NotStable,
}

/// What bincode says, in words for someone who has never heard of it.
fn told(error: &bincode::ErrorKind) -> String {
    match error {
        bincode::ErrorKind::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            "its bytes end too early".to_owned()
        }
        bincode::ErrorKind::Io(error) => error.to_string(),
        bincode::ErrorKind::Custom(text) if text.starts_with("Slice had bytes remaining") => {
            "its bytes go on behind its end".to_owned()
        }
        error => error.to_string(),
    }
}

fn options() -> impl Options {
    bincode::DefaultOptions::new().with_limit(RECORD_BYTES_LIMIT as u64).reject_trailing_bytes()
}

/// In one pass: with a limit of its own, bincode measures a value before it writes it.
pub(crate) fn encode_body<B: Serialize>(body: &B) -> Result<Vec<u8>, RecordError> {
    /// What most bodies fit into.
    const CAPACITY: usize = 256;
    let mut bounded = Bounded(Vec::with_capacity(CAPACITY));
    bincode::DefaultOptions::new().serialize_into(&mut bounded, body)?;
    Ok(bounded.0)
}

/// How many bytes [`encode_body`] gives.
pub(crate) fn body_bytes<B: Serialize>(body: &B) -> Result<u64, RecordError> {
    Ok(bincode::DefaultOptions::new().serialized_size(body)?)
}

/// Takes no more bytes than a record may have.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, written: &[u8]) -> io::Result<usize> {
        if self.0.len() + written.len() > RECORD_BYTES_LIMIT {
            return Err(io::Error::other(format!("it is over {RECORD_BYTES_LIMIT} bytes")));
        }
        self.0.extend_from_slice(written);
        Ok(written.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) fn decode_body<B: DeserializeOwned>(bytes: &[u8]) -> Result<B, RecordError> {
    Ok(options().deserialize(bytes)?)
}

/// The number of an enum's variant, and the bytes behind the number.
pub(crate) fn split_variant(bytes: &[u8]) -> Result<(u32, &[u8]), RecordError> {
    let mut rest = bytes;
    let variant = bincode::DefaultOptions::new().deserialize_from(&mut rest)?;
    Ok((variant, rest))
}

/// The digest of bytes, as `b3sum` prints it.
pub(crate) fn digest(bytes: &[u8]) -> Digest {
    Digest::from_bytes(*blake3::hash(bytes).as_bytes())
}

/// Computes the digest of bytes that come in parts.
#[derive(Default)]
pub(crate) struct Digester(blake3::Hasher);

impl Digester {
    pub(crate) fn update(&mut self, part: &[u8]) {
        self.0.update(part);
    }

    pub(crate) fn finish(&self) -> Digest {
        Digest::from_bytes(*self.0.finalize().as_bytes())
    }
}

/// The digest of bytes that need not fit into memory.
pub(crate) fn digest_of_reader(reader: impl io::Read) -> io::Result<Digest> {
    let mut digester = Digester::default();
    digester.0.update_reader(reader)?;
    Ok(digester.finish())
}

/// The options for a view. The limit is the number of bytes at hand, since a view may be as large as its log.
fn view_options(bytes: u64) -> impl Options {
    bincode::DefaultOptions::new().with_limit(bytes).reject_trailing_bytes()
}

pub(crate) fn encode_view<V: Serialize>(view: &V) -> Result<Vec<u8>, RecordError> {
    Ok(view_options(u64::MAX).serialize(view)?)
}

pub(crate) fn decode_view<V: DeserializeOwned>(bytes: &[u8]) -> Result<V, RecordError> {
    Ok(view_options(bytes.len() as u64).deserialize(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_chain_of_format_1_is_that_of_its_definition() {
        let start = Chain::start(&[1; 16]);
        let next = start.next(EventId::new(1), Timestamp::from_micros(2), b"record");
        let mut bytes = b"foldlog1 event".to_vec();
        bytes.extend(blake3::hash(&[b"foldlog1 log".as_slice(), &[1; 16]].concat()).as_bytes());
        bytes.extend([1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(blake3::hash(b"record").as_bytes());
        assert_eq!(next.0, *blake3::hash(&bytes).as_bytes());
    }

    #[test]
    fn bodies_have_the_bytes_that_bincode_2_gives_them() {
        let body = (Some("text"), u64::MAX, -5_i64, 300_u16, vec![("a", 1.5_f64)], [7_u8; 3], true);
        let standard = bincode2::serde::encode_to_vec(body.clone(), bincode2::config::standard()).unwrap();
        assert_eq!(encode_body(&body).unwrap(), standard);
        assert_eq!(body_bytes(&body).unwrap(), standard.len() as u64);
    }

    #[test]
    fn bytes_behind_a_body_are_refused() {
        let mut bytes = encode_body(&(1_u8, "hello")).unwrap();
        assert!(decode_body::<(u8, String)>(&bytes).is_ok());
        bytes.push(0);
        assert!(matches!(decode_body::<(u8, String)>(&bytes), Err(RecordError::Body(_))));
    }

    #[test]
    fn the_number_of_a_variant_is_split_off_whatever_its_length() {
        // An enum writes the number as a u32.
        for variant in [0_u32, 1, 250, 251, 65_536] {
            let bytes = [encode_body(&variant).unwrap(), vec![7, 8]].concat();
            assert_eq!(split_variant(&bytes).unwrap(), (variant, &[7, 8][..]));
        }
        assert_eq!(split_variant(&encode_body(&Err::<u8, _>(5_u8)).unwrap()).unwrap(), (1, &[5][..]));
        assert!(split_variant(&[]).is_err() && split_variant(&[251, 1]).is_err());
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = split_variant(&bytes);
            let _ = decode_body::<(String, Vec<u64>)>(&bytes);
        }
    }
}
