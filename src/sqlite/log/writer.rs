//! The durable log: one writing connection, one transaction a group.

mod erasing;
mod remembered;
mod scope;
mod upkeep;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::added::Added;
use super::around_damage::{Indexing, met_damage, rolled_back};
use super::checkpoint;
use super::error::{SqlError, SqlResult};
use super::figures::UpkeepFigures;
use super::identity::Identity;
use super::lookup;
use super::medium::WriterSetup;
use super::parts;
use super::recent::Recent;
use super::schema;
use super::swept::SweptTable;
use super::transaction::Transaction;
use crate::port::{
    Claiming, CommitError, Durability, Epoch, EventLog, Head, LogError, Refusal, Settled, UpkeepLeft, UpkeepMoment,
    Write, Written,
};
use crate::sqlite::directory::StoreDirectory;
use crate::sqlite::open_here::OpenHere;
use erasing::ErasureProgress;
use remembered::Remembered;
use scope::Scope;
use upkeep::{COMMIT_BYTES, bytes_of};

/// How many logs are remembered: those of all sessions that are in memory by default, about 2 MiB. At the limit all of
/// them are forgotten, and each is looked up once more when it is written next.
const LOGS_MAX: usize = 16_384;

pub(super) struct SqliteLog {
    connection: Connection,
    directory: Arc<StoreDirectory>,
    wal: PathBuf,
    /// Whether the directory entry of this connection's write-ahead log is known to be durable: SQLite ignores a failed
    /// sync of the directory.
    directory_synced: bool,
    identity: Identity,
    pub(super) remembered: Remembered,
    unchecked_bytes: usize,
    /// The number of the write-ahead log that the database file has, if the next commit may raise it.
    wal_number_in_file: Option<i64>,
    /// Whether the last checkpoint left something, since a reader still needed the log.
    wal_held_back: bool,
    /// Whether the write-ahead log was larger than usual after the last checkpoint.
    wal_is_large: bool,
    /// The size of the write-ahead log at which readers are waited for.
    wal_bytes_max: u64,
    pub(super) indexing: Indexing,
    erasure: ErasureProgress,
    durability: Durability,
    figures: Arc<UpkeepFigures>,
    checkpoint_bytes: usize,
    #[expect(dead_code, reason = "it says by its drop that nothing is open any more")]
    here: Arc<OpenHere>,
}

#[derive(Clone)]
struct LogState {
    head: Head,
    owner: Option<Arc<str>>,
    epoch: Epoch,
}

impl EventLog for SqliteLog {
    fn commit(&mut self, group: &[Write]) -> Result<Vec<Result<Written, Refusal>>, CommitError> {
        self.commit_around_damage(group).map_err(|error| match error {
            CommitError::NotWritten(error) => CommitError::NotWritten(error.of_database(self.path())),
            CommitError::Unknown(error) => CommitError::Unknown(error.of_database(self.path())),
        })
    }

    fn settle(&mut self, group: &[Write]) -> Result<Vec<Settled>, LogError> {
        self.settle_by_proof(group).map_err(|error| error.of_database(self.path()))
    }

    fn upkeep(&mut self, moment: UpkeepMoment) -> Result<UpkeepLeft, LogError> {
        let done = match moment {
            UpkeepMoment::AfterGroup if self.unchecked_bytes >= self.checkpoint_bytes => {
                self.unchecked_bytes = 0;
                self.checkpoint()
            }
            UpkeepMoment::AfterGroup => Ok(()),
            UpkeepMoment::Idle => self.checkpoint_when_idle().and_then(|()| self.erase()),
        };
        let done = done.and_then(|()| self.look_for_marks());
        done.map_err(|error| error.of_database(self.path()))?;
        Ok(self.left())
    }

    fn left(&self) -> UpkeepLeft {
        match self.erasure.left() {
            UpkeepLeft::Nothing if self.wal_held_back || self.wal_is_large => UpkeepLeft::HeldBack,
            left => left,
        }
    }

    fn redactions_left(&self) -> UpkeepLeft {
        self.erasure.redactions_left()
    }

    fn close(self: Box<Self>) -> Result<(), LogError> {
        self.identity.check_kept()?;
        checkpoint::truncate(&self.connection, &self.identity).map_err(|error| error.of_database(self.path()))?;
        // With this setting off, the last connection that closes removes the files beside the database.
        self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        self.connection.close().map_err(|(_, error)| error.into())
    }
}

impl SqliteLog {
    /// The path of the database, for texts.
    fn path(&self) -> &Path {
        Path::new(self.connection.path().unwrap_or_default())
    }

    pub(super) fn open(setup: WriterSetup) -> Result<Self, LogError> {
        setup.identity.check()?;
        let connection = schema::open_writer(&setup.database, setup.durability)?;
        // Once a log that has grown larger was begun anew, the next commit gives the room back.
        let usual = i64::try_from(upkeep::wal_bytes_max(setup.checkpoint_bytes)).unwrap_or(i64::MAX);
        connection.pragma_update(None, "journal_size_limit", usual)?;
        // While this connection is open, SQLite itself does not remove its write-ahead log.
        let wal = setup.database.companion("-wal");
        let identity = setup.identity.with(wal.clone())?;
        let swept = SweptTable::open(setup.blobs, &connection)?;
        let wal_number = parts::wal_number(&connection)?;
        // With nothing in the log now, all that was read before is in the file.
        let wal_bytes = identity.check()?;
        let erasure = ErasureProgress::found(&connection)?;
        Ok(Self {
            connection,
            directory: setup.directory,
            wal,
            directory_synced: false,
            identity,
            remembered: Remembered::new(swept),
            // A connection that was dropped may have left a checkpoint due.
            unchecked_bytes: usize::try_from(wal_bytes).unwrap_or(usize::MAX),
            wal_bytes_max: upkeep::wal_bytes_max(setup.checkpoint_bytes),
            wal_number_in_file: (wal_bytes == 0).then_some(wal_number),
            wal_held_back: false,
            wal_is_large: false,
            indexing: Indexing::default(),
            erasure,
            durability: setup.durability,
            figures: setup.figures,
            checkpoint_bytes: setup.checkpoint_bytes,
            here: setup.here,
        })
    }

    fn settle_by_proof(&mut self, group: &[Write]) -> Result<Vec<Settled>, LogError> {
        self.secure()?;
        let recent = Recent::load(&self.connection)?;
        let chain_at = |log, id| Ok(lookup::chain_at(&self.connection, &recent, log, id)?);
        Ok(group.iter().map(|write| Settled::by_proof(write, chain_at)).collect())
    }

    /// Empties the write-ahead log, so that it holds nothing that a failed commit has written: SQLite would take that
    /// for committed if this process died now. Syncing the log once more would not be enough: the kernel tells of a
    /// failed sync only once, so that a later one proves nothing about pages that were written before.
    fn secure(&mut self) -> Result<(), LogError> {
        if !checkpoint::truncate(&self.connection, &self.identity)? {
            return Err(LogError::Busy);
        }
        self.sync_emptied()
    }

    /// Syncs the emptied write-ahead log, so that a power cut cannot bring the frames back.
    fn sync_emptied(&self) -> Result<(), LogError> {
        let files = self.directory.files();
        let synced = files.open_file(&self.wal).and_then(|file| files.sync_file(&self.wal, &file));
        synced.map_err(|error| LogError::Io(format!("the emptied write-ahead log cannot be synced: {error}")))?;
        self.directory.sync_root().map_err(|error| LogError::Io(error.to_string()))
    }

    /// Checks that what was just committed is in the files that the next store will open.
    fn check_committed(&mut self) -> Result<(), CommitError> {
        match self.identity.check() {
            Ok(wal_bytes) => self.figures.log_bytes(wal_bytes),
            Err(error) => {
                // This connection can still read all that was acknowledged: copy it into the database, unless another
                // write-ahead log has come, whose older frames would be read over the newer pages.
                if self.identity.wal_is_empty()
                    && let Err(error) = checkpoint::full(&self.connection, &self.identity)
                {
                    log::error!("the write-ahead log is gone, and the database has not all of it: {error}");
                }
                return Err(CommitError::Unknown(error));
            }
        }
        self.wal_number_in_file = None;
        Ok(())
    }

    /// Reads the index before a transaction that writes: SQLite fails the COMMIT of one in which a page could not be
    /// read.
    fn read_around_damage(&mut self) -> SqlResult<()> {
        if self.indexing == Indexing::Both {
            return Ok(());
        }
        let transaction = Transaction::reading(&self.connection)?;
        if self.remembered.recent.is_none() && self.indexing == Indexing::RecentAlone {
            self.remembered.recent = Some(Recent::whole(&self.connection)?);
        }
        let recent = self.remembered.catch_up(&self.connection)?;
        self.remembered.recent = Some(recent);
        Ok(transaction.rollback()?)
    }

    pub(super) fn commit_group(&mut self, group: &[Write]) -> Result<Vec<Result<Written, Refusal>>, CommitError> {
        let not_written = |error: SqlError| CommitError::NotWritten(error.into());
        self.read_around_damage().map_err(not_written)?;
        let only_reads = group.iter().all(|write| matches!(write, Write::Fence { claim: Claiming::No, .. }));
        let connection = &self.connection;
        let begun = if only_reads { Transaction::reading(connection) } else { Transaction::writing(connection) };
        let transaction = begun.map_err(SqlError::from).map_err(not_written)?;
        let mut recent = self.remembered.catch_up(connection).map_err(not_written)?;
        let mut scope = Scope {
            connection,
            directory: &self.directory,
            recent: &recent,
            known: &self.remembered.logs,
            swept: &mut self.remembered.swept,
            changed: HashMap::new(),
            deleted: HashSet::new(),
            redacted: Vec::new(),
            added: Added::default(),
        };
        let mut answers = Vec::with_capacity(group.len());
        for write in group {
            answers.push(match scope.write(write) {
                Ok(answer) => answer,
                // The damage is of one log alone, and was found before the write changed anything.
                Err(SqlError::Damaged(damage)) => Err(damage.into()),
                Err(SqlError::Outside(reason)) => Err(Refusal::Unavailable(reason)),
                Err(error @ SqlError::Sqlite(_)) => {
                    drop(scope);
                    return Err(rolled_back(transaction, error));
                }
            });
        }
        if !only_reads && answers.iter().any(met_damage) {
            // SQLite fails the COMMIT of a transaction in which a page could not be read: the others are written
            // without.
            drop(scope);
            transaction.rollback().map_err(|error| CommitError::Unknown(error.into()))?;
            return self.commit_without(group, answers);
        }
        let Scope { changed, deleted, redacted, added, .. } = scope;
        for (log, event) in &redacted {
            recent.forget_key(*log, *event);
        }
        if let Err(error) = added.enter(connection, &mut recent, self.indexing) {
            return Err(rolled_back(transaction, error));
        }
        if !only_reads
            && let Err(error) =
                before_commit(connection, self.wal_number_in_file, &self.directory, &mut self.directory_synced)
        {
            return Err(rolled_back(transaction, error));
        }
        let ended = if only_reads { transaction.rollback() } else { transaction.commit() };
        ended.map_err(|error| match LogError::from(error) {
            // SQLite has rolled back: the log could not grow.
            LogError::DiskFull => CommitError::NotWritten(LogError::DiskFull),
            error => CommitError::Unknown(error),
        })?;
        if !only_reads {
            self.check_committed()?;
        }
        let logs = &mut self.remembered.logs;
        if logs.len() + changed.len() > LOGS_MAX {
            *logs = HashMap::new();
        }
        logs.extend(changed);
        for log in &deleted {
            logs.remove(log);
        }
        if !deleted.is_empty() || !redacted.is_empty() {
            self.erasure.look_again(!redacted.is_empty());
        }
        self.remembered.recent = Some(recent);
        // A write that was refused has written nothing.
        let written: usize =
            group.iter().zip(&answers).filter(|(_, answer)| answer.is_ok()).map(|(it, _)| bytes_of(it)).sum();
        self.unchecked_bytes += if written > 0 { COMMIT_BYTES + written } else { 0 };
        Ok(answers)
    }
}

/// What each transaction that writes does last, before COMMIT.
fn before_commit(
    connection: &Connection,
    wal_number_in_file: Option<i64>,
    directory: &StoreDirectory,
    directory_synced: &mut bool,
) -> SqlResult<()> {
    if let Some(in_file) = wal_number_in_file {
        parts::raise_wal_number(connection, in_file)?;
    }
    // Before the first commit, so that where a write-ahead log is missing nothing was ever in it, or somebody has
    // removed it.
    if !*directory_synced {
        directory.sync_root().map_err(|error| SqlError::outside(&error))?;
        *directory_synced = true;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
