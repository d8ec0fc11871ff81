//! Checkpoints: committed pages are copied from the write-ahead log into the database.
//!
//! The writer makes checkpoints between two groups, after the acknowledgements of the first. Then the log does not grow
//! during a checkpoint: SQLite syncs the database only at the end of a checkpoint that has come to the end of the log,
//! and a thread that copies beside the commits hardly ever does. Measured: such a thread made nothing faster.

use std::time::Duration;

use rusqlite::{Connection, ffi};

use crate::port::LogError;
use crate::sqlite::log::identity::Identity;
use crate::sqlite::log::schema;

/// Tells how far the checkpoints before it came.
const WITHOUT_COPYING: &str = "PRAGMA wal_checkpoint(NOOP)";

/// How far a checkpoint came: the pages in the log when it began, and how many of them are in the database. Both
/// numbers are below zero when a checkpoint of another store was running: then this one has done nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CheckpointProgress {
    log: i64,
    moved: i64,
}

impl CheckpointProgress {
    pub(crate) fn is_complete(self) -> bool {
        self.moved >= self.log && !self.is_refused()
    }

    pub(crate) fn is_refused(self) -> bool {
        self.log < 0
    }
}

/// Copies the pages that no reader holds back. Waits for nobody. If another checkpoint is running, no progress is made.
pub(crate) fn passive(connection: &Connection, identity: &Identity) -> Result<CheckpointProgress, LogError> {
    progress(connection, "PRAGMA wal_checkpoint(PASSIVE)").map_err(|error| failed(connection, identity, error))
}

fn progress(connection: &Connection, checkpoint: &str) -> rusqlite::Result<CheckpointProgress> {
    let mut checkpoint = connection.prepare_cached(checkpoint)?;
    checkpoint.query_row([], |row| Ok(CheckpointProgress { log: row.get(1)?, moved: row.get(2)? }))
}

/// Copies every committed page into the database and syncs it there. Waits for readers and for the writer.
pub(crate) fn full(connection: &Connection, identity: &Identity) -> Result<(), LogError> {
    let checkpoint = connection.query_row("PRAGMA wal_checkpoint(FULL)", [], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
    });
    match checkpoint.map_err(|error| failed(connection, identity, error))? {
        (0, pages, moved) if pages == moved => Ok(()),
        _ => Err(LogError::Busy),
    }
}

/// Copies every committed page, syncs the database, and empties the log. Tells whether the log is empty: readers that
/// do not end in time keep it.
pub(crate) fn truncate(connection: &Connection, identity: &Identity) -> Result<bool, LogError> {
    let checkpoint = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| Ok(row.get::<_, i64>(0)? == 0));
    checkpoint.map_err(|error| failed(connection, identity, error))
}

/// The same, without waiting for anybody: not for a reader that needs what the log holds, nor for another writer.
pub(crate) fn truncate_at_once(connection: &mut Connection, identity: &Identity) -> Result<bool, LogError> {
    connection.busy_timeout(Duration::ZERO)?;
    let is_empty = truncate(connection, identity);
    schema::wait_as_writer(connection)?;
    is_empty
}

/// A sync that fails may have dropped any page of the database that was copied since the last sync that did not. The
/// kernel tells once, and SQLite copies nothing again that is counted as copied: what earlier checkpoints copied, which
/// a reader held back and which were not synced themselves. Nobody may begin the log anew then, until all of it was
/// read and copied again, which SQLite does when the database is opened and nobody else has it open.
fn failed(connection: &Connection, identity: &Identity, error: rusqlite::Error) -> LogError {
    let code = error.sqlite_error().map(|error| error.extended_code);
    let is_sync = matches!(code, Some(ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC));
    if is_sync && !nothing_is_copied(connection) {
        return identity.lose(format!("a checkpoint could not be synced: {error}"));
    }
    error.into()
}

/// Whether all of the log is copied and the database synced. A checkpoint that has copied all that it found syncs
/// nothing if another store has committed meanwhile: then this finds more in the log than is copied.
pub(crate) fn is_settled(connection: &Connection) -> bool {
    progress(connection, WITHOUT_COPYING).is_ok_and(CheckpointProgress::is_complete)
}

/// Whether no page of the log is copied yet, so that the next checkpoint begins with the first.
fn nothing_is_copied(connection: &Connection) -> bool {
    progress(connection, WITHOUT_COPYING).is_ok_and(|progress| progress.moved == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_as_copied_is_told_without_copying_more() {
        let directory = tempfile::tempdir().unwrap();
        let open = || Connection::open(directory.path().join("events.db")).unwrap();
        let writer = open();
        writer.pragma_update(None, "journal_mode", "wal").unwrap();
        writer.execute_batch("CREATE TABLE t(a); INSERT INTO t VALUES (1)").unwrap();
        assert!(nothing_is_copied(&writer));
        let reader = open();
        reader.execute_batch("BEGIN; SELECT * FROM t").unwrap();
        writer.execute_batch("INSERT INTO t VALUES (2)").unwrap();
        assert!(nothing_is_copied(&writer));
        let identity = Identity::of(directory.path().join("events.db")).unwrap();
        assert!(!passive(&writer, &identity).unwrap().is_complete() && !is_settled(&writer));
        assert!(!nothing_is_copied(&writer));
        reader.execute_batch("COMMIT").unwrap();
        assert!(passive(&writer, &identity).unwrap().is_complete() && is_settled(&writer));
        // As another store may commit in the midst of a checkpoint, which then syncs nothing.
        reader.execute_batch("BEGIN; SELECT * FROM t").unwrap();
        writer.execute_batch("INSERT INTO t VALUES (2)").unwrap();
        assert!(!is_settled(&writer));
        reader.execute_batch("COMMIT").unwrap();
        assert!(passive(&writer, &identity).unwrap().is_complete() && is_settled(&writer));
        writer.execute_batch("INSERT INTO t VALUES (3)").unwrap();
        assert!(nothing_is_copied(&writer), "the log was begun anew");
    }

    /// SQLite says -1 for both.
    #[test]
    fn a_checkpoint_that_was_refused_is_not_complete() {
        assert!(!CheckpointProgress { log: -1, moved: -1 }.is_complete());
        assert!(CheckpointProgress { log: 0, moved: 0 }.is_complete());
        assert!(!CheckpointProgress { log: 2, moved: 1 }.is_complete());
    }
}
