//! What an acknowledgement survives.

use serde::Serialize;

/// What survives, once it is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Level {
    /// A power cut: SQLite's `synchronous=FULL`.
    Full,
    /// The death of the process: SQLite's `synchronous=NORMAL`.
    Normal,
    /// A power cut: files that were synced.
    Synced,
    /// Nothing is stored.
    Memory,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Full => "FULL",
            Self::Normal => "NORMAL",
            Self::Synced => "synced",
            Self::Memory => "memory",
        }
    }

    /// One name if both sides have the same level, else first that of our side.
    pub(crate) fn of_both(levels: &[Self; 2]) -> String {
        match levels {
            [ours, other] if ours == other => ours.name().to_owned(),
            [ours, other] => format!("{} / {}", ours.name(), other.name()),
        }
    }
}
