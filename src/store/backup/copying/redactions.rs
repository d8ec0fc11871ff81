//! Redactions are applied to the copy: the rows of a log that was redacted since they were copied are read again, all
//! of them, and go back to the places that they had.
//!
//! The source counts the redactions of each log. The numbers are read before it is read where the store ends, and once
//! more when all rows up to there were read. If the number of a log is the same, then its rows were read between two
//! redactions, and the `foldlog.redacted` events of all redactions before are among them.

use std::collections::HashMap;

use super::{Copier, PAGE_BYTES_MAX, PAGE_EVENTS_MAX};
use crate::error::Error;
use crate::id::EventId;
use crate::port::{LogError, LogKey, Position, ScannedRow, StoredPage};
use crate::replay::corrupt;
use crate::sqlite::TakenOut;

/// Logs that were read again and are to be checked again.
#[derive(Default)]
pub(super) struct ReadAgain {
    /// The last event that each had in the copy.
    logs: HashMap<LogKey, EventId>,
    /// Before all of their events.
    from: Option<Position>,
}

impl ReadAgain {
    pub(super) fn has(&self, log: LogKey) -> bool {
        self.logs.contains_key(&log)
    }

    /// Before all events that are to be checked, if they would begin behind `checked_to`.
    pub(super) fn from(&self, checked_to: Position) -> Position {
        self.from.map_or(checked_to, |from| from.min(checked_to))
    }

    fn note(&mut self, log: LogKey, last: EventId, from: Position) {
        self.logs.insert(log, last);
        self.from = Some(self.from(from));
    }
}

impl Copier<'_> {
    /// Reads those logs again that were redacted since their rows were copied.
    pub(super) fn read_redacted_again(&mut self) -> Result<(), Error> {
        let now = self.source.read(|reader| Ok(reader.redacted_logs()?))?;
        for log in differing(&self.redactions, &now) {
            self.read_again(log)?;
        }
        self.redactions = now;
        Ok(())
    }

    /// Whether a log of the copy was redacted while its rows were read.
    pub(super) fn was_redacted_meanwhile(&self) -> Result<bool, Error> {
        let now = self.source.read(|reader| Ok(reader.redacted_logs()?))?;
        for log in differing(&self.redactions, &now) {
            if self.copy.log.has(log)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn read_again(&mut self, log: LogKey) -> Result<(), Error> {
        let taken = self.copy.log.take_out(log)?;
        let Some((mut after, first)) = taken.begin() else { return Ok(()) };
        self.read_again.note(log, taken.last(), first.before());
        let mut page = StoredPage::default();
        while after < taken.last() {
            self.check_stop()?;
            let mut filled = std::mem::take(&mut page);
            page = self.source.read(move |reader| {
                match reader.page_into(&mut filled, log, after, PAGE_EVENTS_MAX, PAGE_BYTES_MAX) {
                    // The list takes its session out.
                    Err(LogError::Deleted) => filled.clear(),
                    read => read?,
                }
                Ok(filled)
            })?;
            match self.put_back(log, &taken, &page)? {
                Some(last) => after = last,
                None => break,
            }
        }
        Ok(())
    }

    /// Adds events where they were before, and gives the last one.
    fn put_back(&mut self, log: LogKey, taken: &TakenOut, page: &StoredPage) -> Result<Option<EventId>, Error> {
        let mut last = None;
        for event in page.rows() {
            // What is behind comes with the other new rows.
            let Some(position) = taken.position_of(event.id) else { return Ok(None) };
            let row = ScannedRow { position, log, event };
            self.note_own(row);
            self.copy.log.add(row)?;
            last = Some(event.id);
        }
        Ok(last)
    }

    /// Checks that the logs which were read again have all events that they had.
    pub(super) fn check_read_again(&mut self) -> Result<(), Error> {
        for (log, last) in std::mem::take(&mut self.read_again).logs {
            let Some(session) = self.copy.log.session_of(log)? else { continue };
            if self.copy.log.last(log)?.is_none_or(|found| found < last) {
                return Err(corrupt(&session, last, "it is in the backup, and the log lost it".to_owned()));
            }
        }
        Ok(())
    }
}

/// The logs that have another number in one than in the other; one that has none was never redacted.
fn differing(one: &HashMap<LogKey, u64>, other: &HashMap<LogKey, u64>) -> Vec<LogKey> {
    let changed = one.iter().filter(|(log, count)| other.get(log) != Some(count));
    let new = other.keys().filter(|log| !one.contains_key(log));
    changed.map(|(log, _)| *log).chain(new.copied()).collect()
}
