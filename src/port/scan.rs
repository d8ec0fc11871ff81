//! The events of all logs, in the order of the commits, as they are read.

use super::event::LogKey;
use super::page::{StoredPage, StoredRow};

/// A place in the order of all commits of a medium. Only the engine knows what the number means: everybody else hands
/// back what a scan has given. The position of a later commit is greater, and none is given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Position(pub(crate) i64);

impl Position {
    /// Before all events.
    pub(crate) const START: Self = Self(i64::MIN);

    /// From where a scan begins that is to begin with this position.
    pub(crate) fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

/// One event of any log, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ScannedRow<'a> {
    pub(crate) position: Position,
    pub(crate) log: LogKey,
    pub(crate) event: StoredRow<'a>,
}

/// Some events of all logs, in the order of their positions.
#[derive(Debug, Default)]
pub(crate) struct ScannedPage {
    events: StoredPage,
    places: Vec<(Position, LogKey)>,
}

impl ScannedPage {
    pub(crate) fn push(&mut self, row: ScannedRow<'_>) {
        self.events.push(row.event);
        self.places.push((row.position, row.log));
    }

    /// Empties the page, and keeps its memory for the next events.
    pub(crate) fn clear(&mut self) {
        self.events.clear();
        self.places.clear();
    }

    pub(crate) fn record_bytes(&self) -> usize {
        self.events.record_bytes()
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = ScannedRow<'_>> {
        let places = self.places.iter();
        places.zip(self.events.rows()).map(|((position, log), event)| ScannedRow {
            position: *position,
            log: *log,
            event,
        })
    }
}
