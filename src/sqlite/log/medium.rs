//! A database under a store directory: made, checked, and opened for writing and for reading.

use std::sync::Arc;

use super::figures::UpkeepFigures;
use super::identity::Identity;
use super::parts;
use super::reader::SqliteReader;
use super::schema::{self, Database, Found, OpenError};
use super::wal::{self, WalDamage};
use super::writer::SqliteLog;
use crate::port::{Durability, EventLog, LogError, LogMedium, LogReader, LogSource, Upkeep};
use crate::sqlite::blobs::FileBlobs;
use crate::sqlite::directory::StoreDirectory;
use crate::sqlite::open_here::{OpenHere, is_open_here};
use crate::sqlite::place::DATABASE;

/// A checkpoint is due after about this many bytes of commits. It keeps the write-ahead log small enough to be
/// overwritten in place instead of growing, which is the faster way to sync. Measured: with 1 MiB many sessions are
/// slower; with 4 and 16 MiB they are no faster, and wait longer.
const CHECKPOINT_BYTES: usize = 2 << 20;

/// How a database is opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogSettings {
    /// The SQLite VFS to go through; `None` for SQLite's own.
    pub(crate) vfs: Option<&'static str>,
    pub(crate) durability: Durability,
    pub(crate) model: &'static str,
    /// After how many bytes of commits a checkpoint is due; `None` for the default.
    pub(crate) checkpoint_bytes: Option<usize>,
}

/// What a writing end is opened with.
#[derive(Clone)]
pub(super) struct WriterSetup {
    pub(super) directory: Arc<StoreDirectory>,
    pub(super) database: Database,
    pub(super) identity: Identity,
    pub(super) durability: Durability,
    pub(super) checkpoint_bytes: usize,
    pub(super) figures: Arc<UpkeepFigures>,
    pub(super) here: Arc<OpenHere>,
    pub(super) blobs: Arc<FileBlobs>,
}

/// A database under a store directory.
pub(crate) struct SqliteMedium {
    writer: WriterSetup,
    wal_damage: Option<WalDamage>,
    was_alone: bool,
}

impl SqliteMedium {
    /// Makes the database when it is not there, and checks it when it is.
    pub(crate) fn open(
        directory: Arc<StoreDirectory>,
        settings: &LogSettings,
        blobs: Arc<FileBlobs>,
    ) -> Result<Self, OpenError> {
        let LogSettings { vfs, durability, model, checkpoint_bytes } = *settings;
        let database = Database { path: directory.events_db(), vfs };
        // Inspected before SQLite reads the log. If another store has the directory open, that store has inspected the
        // log already, or SQLite has read it by now.
        let alone = directory.if_alone(|| {
            let (damage, extent) = wal::inspect(&directory, &database)?;
            // A reader of this process would lose its locks.
            if !database.is_empty() && !is_open_here(database.directory()) {
                parts::check(&database, &extent)?;
            }
            Ok::<_, OpenError>(damage)
        })?;
        let was_alone = alone.is_some();
        let look = || -> Result<Found, OpenError> {
            match schema::look(&database, model) {
                // Nothing is stored before the database has its name. SQLite would read the log into one that is made
                // anew.
                Ok(Found::Nothing) if directory.was_made()? || database.has_wal() => {
                    Err(OpenError::Lost(database.path.clone()))
                }
                Err(OpenError::NotAStore { path }) if directory.was_made()? => {
                    let reason =
                        format!("{} is no database of foldlog's any more: its first page is damaged", path.display());
                    Err(LogError::Corrupt(reason).into())
                }
                outcome => outcome,
            }
        };
        directory.lock_shared_or_create::<OpenError>(
            || Ok(look()? == Found::Format(schema::FORMAT)),
            || {
                if look()? != Found::Nothing {
                    return Ok(schema::migrate(&database)?);
                }
                // Made aside and then named: a power cut while it is made leaves a temporary, never half a database.
                let unnamed = Database { path: directory.tmp().join(DATABASE), vfs };
                // Made here, so that it has its mode before SQLite writes to it; its companions inherit it.
                directory.create_private_file(&unnamed.path)?;
                schema::create(&unnamed, model)?;
                Ok(directory.name_file(&unnamed.path, &database.path)?)
            },
        )?;
        directory.mark_made()?;
        let here = Arc::new(OpenHere::note(database.directory()));
        let identity = Identity::of(database.path.clone())?;
        let writer = WriterSetup {
            directory,
            database,
            identity,
            durability,
            checkpoint_bytes: checkpoint_bytes.unwrap_or(CHECKPOINT_BYTES),
            figures: Arc::default(),
            here,
            blobs,
        };
        Ok(Self { writer, wal_damage: alone.flatten(), was_alone })
    }

    /// Whether no other store had the directory open when this one came.
    pub(crate) fn was_alone(&self) -> bool {
        self.was_alone
    }

    /// What was found wrong with the write-ahead log, before SQLite read it.
    pub(crate) fn wal_damage(&self) -> Option<&WalDamage> {
        self.wal_damage.as_ref()
    }
}

impl LogSource for SqliteMedium {
    fn reader(&self) -> Result<Box<dyn LogReader>, LogError> {
        self.writer.identity.check()?;
        let connection = schema::open_reader(&self.writer.database)?;
        self.writer.identity.check()?;
        Ok(Box::new(SqliteReader::new(connection, Some(Arc::clone(&self.writer.directory)))))
    }
}

impl LogMedium for SqliteMedium {
    fn writer(&self) -> Result<Box<dyn EventLog>, LogError> {
        Ok(Box::new(SqliteLog::open(self.writer.clone())?))
    }

    fn upkeep(&self) -> Upkeep {
        self.writer.figures.read()
    }
}
