//! A database that is filled with rows of another one: made beside its place, and nobody's until it gets its name.

use std::path::PathBuf;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::error::SqlResult;
use super::recent::SEGMENT_RUNS_MAX;
use super::row::SqlEventId;
use super::runs::{RecentRow, Run, encode_segment};
use super::schema::{self, Database};
use crate::port::{Durability, LogError, LogKey};

/// After how many bytes of rows a transaction is committed and moved to the database: what is held in memory of it.
const COMMIT_BYTES: usize = 4 << 20;

/// A new database. A crash leaves a file that no store opens.
pub(super) struct NewDatabase {
    pub(super) connection: Connection,
    pub(super) database: Database,
    bytes: usize,
}

impl NewDatabase {
    /// Makes the tables in an empty file.
    pub(super) fn create(database: Database, model: &str) -> Result<Self, LogError> {
        schema::create(&database, model)?;
        // Nothing relies on the commits: the whole file is synced before it gets its name.
        let connection = schema::open_writer(&database, Durability::ProcessCrash)?;
        Ok(Self::of(connection, database))
    }

    pub(super) fn of(connection: Connection, database: Database) -> Self {
        Self { connection, database, bytes: 0 }
    }

    pub(super) fn begin(&self) -> Result<(), LogError> {
        Ok(self.connection.execute_batch("BEGIN IMMEDIATE")?)
    }

    /// Commits now and then, and leaves nothing in the write-ahead log.
    pub(super) fn written(&mut self, bytes: usize) -> Result<(), LogError> {
        self.bytes += bytes;
        if self.bytes < COMMIT_BYTES {
            return Ok(());
        }
        self.bytes = 0;
        self.commit()?;
        self.begin()
    }

    pub(super) fn commit(&self) -> Result<(), LogError> {
        self.connection.execute_batch("COMMIT")?;
        empty_log(&self.connection)
    }

    /// Commits the rest, and leaves everything in one file, which it names. The file is not synced yet.
    pub(super) fn finish(self) -> Result<PathBuf, LogError> {
        self.commit()?;
        close(self.connection, &self.database)?;
        Ok(self.database.path)
    }
}

/// Moves what was committed from the write-ahead log to the database.
pub(super) fn empty_log(connection: &Connection) -> Result<(), LogError> {
    let busy: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if busy == 0 { Ok(()) } else { Err(LogError::Io("something else has the new database open".to_owned())) }
}

/// Closes the only connection, and leaves everything in one file.
pub(super) fn close(connection: Connection, database: &Database) -> Result<(), LogError> {
    // With this setting off, closing removes the files beside the database.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    connection.close().map_err(|(_, error)| error)?;
    if database.has_wal() {
        return Err(LogError::Io("the new database is not in one file".to_owned()));
    }
    Ok(())
}

/// Writes runs of a log that follow each other to `event_index`.
pub(super) fn enter_runs(connection: &Connection, log: LogKey, runs: &[Run]) -> SqlResult<()> {
    for runs in runs.chunks(SEGMENT_RUNS_MAX) {
        let Some(first) = runs.first() else { break };
        connection
            .prepare_cached("INSERT INTO event_index(log_key, first_event, runs) VALUES (?1, ?2, ?3)")?
            .execute((log.0, SqlEventId(first.first), encode_segment(log, runs)))?;
    }
    Ok(())
}

/// Writes the one row of `recent_index` that says where the table of events ends: behind the last event of this run,
/// which is in `event_index`, too.
pub(super) fn enter_end(connection: &Connection, log: LogKey, run: &Run) -> SqlResult<()> {
    let mut last = RecentRow::default();
    let key = run.key.filter(|_| run.count == 1);
    last.push(log, run.last(), run.end() - 1, key);
    connection
        .prepare_cached("INSERT INTO recent_index(first_position, runs) VALUES (?1, ?2)")?
        .execute((run.end() - 1, last.encode(run.end() - 1)))?;
    Ok(())
}
