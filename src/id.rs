//! Newtypes for everything that is named: sessions, events, appends, times, blobs. No I/O.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, ErrorKind};

/// The name of a session, chosen by the host: 1 to [`SessionId::BYTES_MAX`] bytes of UTF-8, no control characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(Arc<str>);

impl SessionId {
    /// The longest session id, in UTF-8 bytes.
    pub const BYTES_MAX: usize = 256;

    /// Checks and takes a name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidSessionId`] for an empty name, one over [`SessionId::BYTES_MAX`] bytes, or one that holds a
    /// control character.
    pub fn new(name: impl AsRef<str>) -> Result<Self, Error> {
        let name = name.as_ref();
        let invalid = |reason: String| Err(ErrorKind::InvalidSessionId { reason }.into());
        if name.is_empty() {
            return invalid("it is empty".to_owned());
        }
        if name.len() > Self::BYTES_MAX {
            return invalid(format!("it is {} bytes, limit is {}", name.len(), Self::BYTES_MAX));
        }
        if let Some(position) = name.bytes().position(|byte| byte.is_ascii_control()) {
            return invalid(format!("it has a control character at byte {position}"));
        }
        if name.chars().any(char::is_control) {
            return invalid("it has a control character".to_owned());
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({:?})", &*self.0)
    }
}

impl FromStr for SessionId {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::new(name)
    }
}

impl AsRef<str> for SessionId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// The 1-based number of an event in its session's log: 1, 2, 3, ... without a gap. [`EventId::ZERO`] stands before the
/// first event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventId(u64);

impl EventId {
    /// The number before the first event.
    pub const ZERO: Self = Self(0);
    /// The largest id: what SQLite's signed integers and a JSON number both hold exactly (2^53 - 1).
    pub const MAX: Self = Self((1 << 53) - 1);

    /// Makes an id of a number. A number over [`EventId::MAX`] becomes [`EventId::MAX`].
    #[must_use]
    pub const fn new(position: u64) -> Self {
        if position > Self::MAX.0 { Self::MAX } else { Self(position) }
    }

    /// The id as a number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The id of the event after this one; [`EventId::MAX`] stays as it is.
    #[must_use]
    pub const fn next(self) -> Self {
        Self::new(self.0 + 1)
    }

    /// The id of the event before this one; [`EventId::ZERO`] stays as it is.
    #[must_use]
    pub const fn prev(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl FromStr for EventId {
    type Err = Error;

    /// Reads a decimal number from 0 to [`EventId::MAX`].
    fn from_str(text: &str) -> Result<Self, Error> {
        match text.parse() {
            Ok(position) if position <= Self::MAX.0 => Ok(Self(position)),
            _ => {
                let what = format!("event id {text:?} is not a number from 0 to {}", Self::MAX);
                Err(ErrorKind::InvalidArgument { what }.into())
            }
        }
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The caller's idempotency key for one append: 1 to [`AppendKey::BYTES_MAX`] bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct AppendKey(Arc<[u8]>);

impl AppendKey {
    /// The longest key, in bytes.
    pub const BYTES_MAX: usize = 64;

    /// Takes a key.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for an empty key or one over [`AppendKey::BYTES_MAX`] bytes.
    pub fn new(key: impl AsRef<[u8]>) -> Result<Self, Error> {
        let key = key.as_ref();
        if key.is_empty() || key.len() > Self::BYTES_MAX {
            return Err(ErrorKind::InvalidArgument {
                what: format!("append key is {} bytes, limit is 1 to {}", key.len(), Self::BYTES_MAX),
            }
            .into());
        }
        Ok(Self(key.into()))
    }

    /// The key's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for AppendKey {
    type Err = Error;

    fn from_str(key: &str) -> Result<Self, Error> {
        Self::new(key)
    }
}

impl fmt::Debug for AppendKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AppendKey(\"{}\")", self.0.escape_ascii())
    }
}

/// A point in time: microseconds since 1970-01-01T00:00:00Z, UTC. Displays as RFC 3339, in UTC with six digits of a
/// second; a time that is in none of the years -9999 to 9999 displays as microseconds, such as `253402300800000000 us`.
///
/// In JSON it is this text, in a record the number.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Takes microseconds since the Unix epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timestamp({self})")
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(at) => write!(f, "{at:.6}"),
            Err(_) => write!(f, "{} us", self.0),
        }
    }
}

impl FromStr for Timestamp {
    type Err = Error;

    /// Reads what [`Display`](fmt::Display) shows, and any other RFC 3339 text. An offset is taken into account; digits
    /// beyond microseconds are left out.
    fn from_str(text: &str) -> Result<Self, Error> {
        if let Some(micros) = text.strip_suffix(" us").and_then(|micros| micros.parse().ok()) {
            return Ok(Self(micros));
        }
        match text.parse::<jiff::Timestamp>() {
            Ok(at) => Ok(Self(at.as_microsecond())),
            Err(error) => {
                let what = format!("time {text:?} is not RFC 3339: {error}");
                Err(ErrorKind::InvalidArgument { what }.into())
            }
        }
    }
}

/// The BLAKE3 hash of a blob's bytes; shown as 64 lower-case hex digits, which is the blob's file name too.
///
/// In JSON it is this text, in a record the 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Takes the 32 bytes of a BLAKE3 hash.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the hash.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for Digest {
    type Err = Error;

    /// Reads 64 lower-case hex digits and nothing else, so that no other text can ever become a path.
    fn from_str(text: &str) -> Result<Self, Error> {
        let nibble = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut bytes = [0_u8; 32];
        let mut digits = text.bytes();
        for byte in &mut bytes {
            match (digits.next().and_then(nibble), digits.next().and_then(nibble)) {
                (Some(high), Some(low)) => *byte = high << 4 | low,
                _ => return Err(ErrorKind::InvalidDigest { bytes: text.len() }.into()),
            }
        }
        if digits.next().is_some() {
            return Err(ErrorKind::InvalidDigest { bytes: text.len() }.into());
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// A type that is a text for people and in JSON, and its plain value in the bytes of a record.
macro_rules! text_in_json {
    ($($type:ident of $plain:ty),*) => {
        $(impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    serializer.serialize_newtype_struct(stringify!($type), &self.0)
                }
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    from_text(deserializer)
                } else {
                    <$plain>::deserialize(deserializer).map(Self)
                }
            }
        })*
    };
}
text_in_json!(Timestamp of i64, Digest of [u8; 32], HistoryId of [u8; 16]);

/// Which history a session's log is: 16 random bytes, made with the session and never changed. When a session is
/// deleted and another one is made under its name, the new one has another history.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HistoryId([u8; 16]);

impl HistoryId {
    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl FromStr for HistoryId {
    type Err = Error;

    /// Reads 32 lower-case hex digits.
    fn from_str(text: &str) -> Result<Self, Error> {
        let is_hex = text.len() == 32 && text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        let number = is_hex.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        let what = || format!("{text:?} is no id of a history: 32 lower-case hex digits");
        number
            .map(|number| Self(number.to_be_bytes()))
            .ok_or_else(|| ErrorKind::InvalidArgument { what: what() }.into())
    }
}

impl fmt::Display for HistoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for HistoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HistoryId({self})")
    }
}

/// Deserialises a type whose serialised form is its text.
pub(crate) fn from_text<'de, D: Deserializer<'de>, T: FromStr<Err = Error>>(deserializer: D) -> Result<T, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

/// What a blob's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BlobKind {
    /// Opaque bytes.
    Bytes,
    /// UTF-8 text.
    Text,
    /// Canonical JSON text.
    Json,
}

/// How a blob's bytes are stored. Compressed and sealed blobs are reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BlobEncoding {
    /// The bytes are stored unchanged.
    Plain,
}

/// What an event holds in place of a large value: which blob, how long, what kind.
///
/// **BlobRef versus [`Digest`].** A digest names bytes; a reference also says how to read those bytes. Two references
/// of different kinds to equal bytes are not equal, and share one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BlobRef {
    /// The digest of the stored bytes.
    pub digest: Digest,
    /// The plain length in bytes.
    pub bytes: u64,
    /// What the bytes are.
    pub kind: BlobKind,
    /// How the bytes are stored.
    pub encoding: BlobEncoding,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_64_lower_case_hex_digits_are_a_digest() {
        let digest = Digest::from_bytes(*blake3::hash(b"x").as_bytes());
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        for text in [
            "",
            "..",
            "../../etc/passwd",
            &digest.to_string()[1..],
            &format!("{digest}0"),
            &digest.to_string().to_uppercase(),
        ] {
            let error = text.parse::<Digest>().unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::InvalidDigest { .. }), "{text}");
        }
    }

    #[test]
    fn a_session_id_is_1_to_256_bytes_without_control_characters() {
        for good in ["a", "späti/../x", &"x".repeat(256)] {
            assert_eq!(SessionId::new(good).unwrap().as_str(), good);
        }
        for bad in ["", &"x".repeat(257), "a\nb", "a\0", "\u{7f}", "\u{85}"] {
            assert!(matches!(SessionId::new(bad).unwrap_err().kind(), ErrorKind::InvalidSessionId { .. }), "{bad:?}");
        }
    }

    #[test]
    fn only_32_lower_case_hex_digits_are_a_history() {
        let history = HistoryId::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        assert_eq!(history.to_string(), "000102030405060708090a0b0c0d0eff");
        assert_eq!(history.to_string().parse::<HistoryId>().unwrap(), history);
        for text in ["", "0", "+00102030405060708090a0b0c0d0eff", "000102030405060708090A0B0C0D0EFF"] {
            assert!(
                matches!(text.parse::<HistoryId>().unwrap_err().kind(), ErrorKind::InvalidArgument { .. }),
                "{text}"
            );
        }
    }

    #[test]
    fn a_timestamp_shows_as_iso_8601_with_microseconds() {
        let time = Timestamp::from_micros(1_700_000_000_000_001);
        assert_eq!(time.to_string(), "2023-11-14T22:13:20.000001Z");
        assert_eq!(format!("{time:?}"), "Timestamp(2023-11-14T22:13:20.000001Z)");
    }

    #[test]
    fn a_timestamp_comes_back_from_its_text_and_other_texts_are_refused() {
        for micros in [0, -1, 1_700_000_000_000_001, -62_167_219_200_000_001, i64::MAX, i64::MIN] {
            let at = Timestamp::from_micros(micros);
            assert_eq!(at.to_string().parse::<Timestamp>().unwrap(), at, "{at}");
        }
        let offset = "2023-11-14T23:13:20.0000019+01:00".parse::<Timestamp>().unwrap();
        assert_eq!(offset.as_micros(), 1_700_000_000_000_001);
        for text in ["", "us", " us", "x us", "2023-11-14", "2023-11-14T22:13:20", "2023-13-14T22:13:20Z", "1700000000"]
        {
            let error = text.parse::<Timestamp>().unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::InvalidArgument { .. }), "{text}");
        }
    }
}
