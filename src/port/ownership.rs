//! Who writes: one open store object, and whether another one is alive.

use std::fmt;
use std::io;

use crate::error::{Error, OwnerInfo};

/// The name of one open store object: 16 random bytes as 32 lower-case hex digits.
///
/// Never used twice. The race-free clearing of what dead owners leave behind rests on that: an owner whose file is gone
/// can never come back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct OwnerId(String);

impl OwnerId {
    const BYTES: usize = 16;

    pub(crate) fn random() -> io::Result<Self> {
        let mut bytes = [0_u8; Self::BYTES];
        getrandom::fill(&mut bytes).map_err(|error| match error.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::other(error.to_string()),
        })?;
        Ok(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// Takes the name that an engine has stored, if it is of the form of one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (text.len() == 2 * Self::BYTES && text.bytes().all(is_hex)).then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether an owner still holds what it owns. There is no third answer and no clock: an operating system lock, or a
/// memory disk's table, says so at once, even after `kill -9`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Liveness {
    Alive(OwnerInfo),
    Dead,
}

/// The owners of one medium, as one of them sees them. A log has one owner at a time: the store that may write it.
pub(crate) trait Ownership: Send + Sync {
    /// This store.
    fn me(&self) -> &OwnerId;

    /// Whether an owner is alive. May do I/O. Never `Dead` for a living owner, and never `Alive` for one whose store has
    /// closed or whose process is gone, however many others look at the same time.
    fn liveness(&self, owner: &str) -> Result<Liveness, Error>;

    /// Whether others still take this store for alive. Once they do not, it must write nothing any more.
    fn still_held(&self) -> Result<bool, Error>;

    /// Gives everything up: others take this store for dead from then on, so nothing may be written afterwards. Only the
    /// first call does something.
    fn release(&self) -> Result<(), Error>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_id_is_32_hex_digits_and_no_two_are_equal() {
        let (one, other) = (OwnerId::random().unwrap(), OwnerId::random().unwrap());
        assert_ne!(one, other);
        assert_eq!(OwnerId::parse(one.as_str()), Some(one.clone()));
        for text in
            ["", "..", &one.as_str()[1..], &one.as_str().replace(|_| true, "A"), &format!("../{}", &one.as_str()[3..])]
        {
            assert_eq!(OwnerId::parse(text), None, "{text}");
        }
    }
}
