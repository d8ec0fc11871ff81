//! Redactions in a copy. How often a log was redacted is kept with its rows: while the source says the same number,
//! rows and `foldlog.redacted` events belong together. The rows of any other log are taken out, and read again from the
//! source.

use std::collections::HashMap;

use super::CopiedLog;
use crate::id::EventId;
use crate::port::{LogError, LogKey, Position};
use crate::sqlite::log::error::SqlResult;
use crate::sqlite::log::redaction;
use crate::sqlite::log::runs::Run;

/// Where the events of a log were that were taken out of a copy. Each goes back to its place.
pub(crate) struct TakenOut(Vec<Run>);

impl TakenOut {
    /// The event before the first one, and the position of the first one; `None` if there were no events.
    pub(crate) fn begin(&self) -> Option<(EventId, Position)> {
        self.0.first().map(|run| (run.first.prev(), Position(run.position)))
    }

    pub(crate) fn last(&self) -> EventId {
        self.0.last().map_or(EventId::ZERO, Run::last)
    }

    pub(crate) fn position_of(&self, id: EventId) -> Option<Position> {
        let run = self.0.get(self.0.partition_point(|run| run.last() < id))?;
        run.position_of(id).map(Position)
    }
}

impl CopiedLog {
    /// How often logs were redacted in the source, of those that were, when their rows were read.
    pub(crate) fn redacted_logs(&self) -> Result<HashMap<LogKey, u64>, LogError> {
        Ok(redaction::counts(self.connection())?)
    }

    /// Takes the events of a log out, and what its session is listed with. They are to be added again, and listed.
    pub(crate) fn take_out(&mut self, log: LogKey) -> Result<TakenOut, LogError> {
        let runs = self.remove_rows(log)?;
        if !runs.is_empty() {
            self.is_unclean = true;
            self.connection()
                .prepare_cached("UPDATE sessions SET title = '', labels = '{}' WHERE log_key = ?1")?
                .execute([log.0])?;
        }
        Ok(TakenOut(runs))
    }

    /// Notes how often the logs that are here were redacted. Nothing of it is pending: what was removed from a copy is
    /// written over before it is put in place.
    pub(crate) fn note_redactions(&self, counts: &HashMap<LogKey, u64>) -> Result<(), LogError> {
        self.connection().execute("DELETE FROM redactions", [])?;
        for (log, count) in counts {
            self.note_redaction(*log, *count)?;
        }
        Ok(())
    }

    fn note_redaction(&self, log: LogKey, count: u64) -> SqlResult<()> {
        self.connection()
            .prepare_cached(
                "INSERT INTO redactions(log_key, count) SELECT ?1, ?2 WHERE ?1 IN (SELECT log_key FROM logs)",
            )?
            .execute((log.0, count.cast_signed()))?;
        Ok(())
    }

    /// Whether a session of the copy has this log.
    pub(crate) fn has(&self, log: LogKey) -> Result<bool, LogError> {
        Ok(self.connection().prepare_cached("SELECT 1 FROM logs WHERE log_key = ?1")?.exists([log.0])?)
    }
}
