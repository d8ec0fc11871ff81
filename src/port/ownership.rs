//! Who may write: the name of one open store object, and whether another store is alive.

use std::fmt;
use std::io;

use crate::error::{Error, OwnerInfo};

/// The name of one open store object: 16 random bytes as 32 lower-case hex digits.
///
/// No name is ever used twice, so an owner whose file is gone can never come back. What dead owners leave behind can be
/// cleared without a race because of that.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct OwnerId(String);

impl OwnerId {
    const BYTES: usize = 16;

    pub(crate) fn random() -> io::Result<Self> {
        let bytes: [u8; Self::BYTES] = random_bytes()?;
        Ok(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// Takes the name that an engine has stored, if the text has the form of an owner id.
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

/// Bytes for an id that no other has.
pub(super) fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::other(error.to_string()),
    })?;
    Ok(bytes)
}

/// Whether an owner still holds what it owns. There is no third answer, and no clock is involved: a lock of the
/// operating system, or the table of a memory disk, tells at once, even after `kill -9`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Liveness {
    Alive(OwnerInfo),
    Dead,
}

/// The owners of one medium, as one of them sees them. A log has one owner at a time: the store that may write it.
pub(crate) trait Ownership: Send + Sync {
    /// The owner id of this store.
    fn me(&self) -> &OwnerId;

    /// Whether an owner is alive. May do I/O. The answer is never `Dead` for a living owner, and never `Alive` for an
    /// owner whose store has closed or whose process is gone, however many stores ask at the same time.
    fn liveness(&self, owner: &str) -> Result<Liveness, Error>;

    /// Whether other stores still take this store for alive. Once they do not, this store must write nothing any more.
    fn still_held(&self) -> Result<bool, Error>;

    /// Gives up all that this store owns. Other stores take this store for dead from then on, so it must write nothing
    /// afterwards. Only the first call has an effect.
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
