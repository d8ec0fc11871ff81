//! What a medium tells of its store as a whole.

use std::fmt;
use std::io;

use super::ownership::random_bytes;
use super::scan::Position;

/// Which store a medium holds: 16 random bytes, made with the store and never changed. A copy of a store that is
/// written by itself is a store of its own, with an id of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoreId(pub(crate) [u8; 16]);

impl StoreId {
    pub(crate) fn random() -> io::Result<Self> {
        random_bytes().map(Self)
    }

    /// The first bytes, which tell it from others well enough.
    pub(crate) fn start_bytes(&self) -> [u8; 8] {
        self.0.first_chunk().copied().unwrap_or_default()
    }

    /// Takes an id as its text form has it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 16];
        if text.len() != 2 * bytes.len() {
            return None;
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Which store it is, and how far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// `None` if no build that gives ids has opened the store to write it, and in a copy that nobody has written yet.
    pub(crate) store: Option<StoreId>,
    /// The position of the last commit. What is committed later has greater positions.
    pub(crate) end: Position,
    /// The last deletion of a session. Those that are committed later have greater numbers.
    pub(crate) deletions: DeletionNumber,
}

/// The number of a deletion in the order of a store's deletions. As a [`Position`], it is never given twice, and only
/// handed back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct DeletionNumber(pub(crate) i64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_id_comes_back_from_its_text_and_no_two_are_equal() {
        let (one, other) = (StoreId::random().unwrap(), StoreId::random().unwrap());
        assert_ne!(one, other);
        assert_eq!(StoreId::parse(&one.to_string()), Some(one));
        for text in ["", "00", &one.to_string()[1..], &"é".repeat(16)] {
            assert_eq!(StoreId::parse(text), None, "{text}");
        }
    }
}
