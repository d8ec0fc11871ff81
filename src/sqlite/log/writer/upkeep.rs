//! Checkpoints of the writing end: when one is made, what a reader holds back, and the size of the write-ahead log.

use super::SqliteLog;
use crate::port::{LogError, Write};
use crate::sqlite::log::{checkpoint, parts};

/// About how many bytes a row takes in the write-ahead log beside its record.
pub(super) const ROW_BYTES: usize = 256;
/// How many bytes a transaction takes in the write-ahead log beside its rows: the pages at the ends of table and index.
pub(super) const COMMIT_BYTES: usize = 3 * 4096;

/// The write-ahead log is large from this many times the bytes after which a checkpoint is due.
const WAL_CHECKPOINTS_MAX: u64 = 8;

/// About how many bytes a write takes in the write-ahead log.
pub(super) fn bytes_of(write: &Write) -> usize {
    match write {
        Write::Append { events, .. } => events.iter().map(|event| event.record.len() + ROW_BYTES).sum(),
        Write::Redact(redaction) => redaction.records.iter().map(|it| it.record.len() + ROW_BYTES).sum(),
        _ => ROW_BYTES,
    }
}

pub(super) fn wal_bytes_max(checkpoint_bytes: usize) -> u64 {
    (checkpoint_bytes as u64).saturating_mul(WAL_CHECKPOINTS_MAX)
}

impl SqliteLog {
    pub(super) fn checkpoint(&mut self) -> Result<(), LogError> {
        let number = parts::wal_number(&self.connection)?;
        let progress = checkpoint::passive(&self.connection, &self.identity)?;
        if progress.is_refused() {
            // Another store's checkpoint is on, which does the same.
            return Ok(());
        }
        if progress.is_complete() || self.empty_if_large()? {
            return self.completed(number);
        }
        self.figures.checkpoint_blocked();
        self.look_at_wal(false)
    }

    /// What a reader has held back, and the room that the write-ahead log has taken meanwhile: SQLite gives it back at
    /// the next commit, which may be long in coming.
    pub(super) fn checkpoint_when_idle(&mut self) -> Result<(), LogError> {
        if self.wal_held_back {
            let number = parts::wal_number(&self.connection)?;
            if !checkpoint::passive(&self.connection, &self.identity)?.is_complete() {
                return Ok(());
            }
            self.completed(number)?;
        }
        if self.wal_is_large {
            checkpoint::truncate_at_once(&mut self.connection, &self.identity)?;
            self.look_at_wal(true)?;
        }
        Ok(())
    }

    /// Notes that a checkpoint has copied all of the write-ahead log with this number.
    pub(super) fn completed(&mut self, number: i64) -> Result<(), LogError> {
        self.wal_number_in_file = checkpoint::is_settled(&self.connection).then_some(number);
        self.figures.checkpoint();
        self.look_at_wal(true)
    }

    /// Notes how a checkpoint has left the write-ahead log.
    fn look_at_wal(&mut self, is_complete: bool) -> Result<(), LogError> {
        match (self.wal_held_back, is_complete) {
            (false, false) => {
                log::warn!("a reader holds the write-ahead log back, which grows until it ends its transaction");
            }
            (true, true) => log::warn!("no reader holds the write-ahead log back any more"),
            _ => {}
        }
        self.wal_held_back = !is_complete;
        let (wal_bytes, usual) = (self.identity.check()?, wal_bytes_max(self.checkpoint_bytes));
        self.figures.log_bytes(wal_bytes);
        self.wal_is_large = wal_bytes > usual;
        if is_complete {
            self.wal_bytes_max = usual;
        }
        Ok(())
    }

    /// Waits for readers when the write-ahead log has become large. Each reader reads only a page, but if there are
    /// many, one of them always holds back a checkpoint that does not wait. A reader of another program may stay, so
    /// after a failure this is tried again at twice the size.
    fn empty_if_large(&mut self) -> Result<bool, LogError> {
        let wal_bytes = self.identity.check()?;
        if wal_bytes < self.wal_bytes_max {
            return Ok(false);
        }
        let is_empty = checkpoint::truncate(&self.connection, &self.identity)?;
        if !is_empty {
            self.wal_bytes_max = wal_bytes.saturating_mul(2);
        }
        Ok(is_empty)
    }
}
