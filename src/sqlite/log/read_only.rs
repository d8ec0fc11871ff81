//! Reading a database while making and changing nothing, whoever else writes it or does not.
//!
//! SQLite reads a database together with its write-ahead log, by an index that all connections share in
//! `events.db-shm`. How a read-only connection can have that depends on what is there, so each call looks first:
//!
//! | `-wal` | `-shm` | [`Access`] |
//! |---|---|---|
//! | none, or an empty one alone | | `Immutable`: `events.db` is all there is, and is read like any file, without a lock |
//! | there | there | `Shared`: an ordinary read-only connection, which sees each commit; SQLite may bring the index up to date |
//! | not empty | none | `Shared` where the directory can be written: SQLite makes the index; else `Private` |
//!
//! `Private` is for a read-only mount, where nobody can write: the index is made in this process's memory.
//!
//! A connection that shares nothing does not notice what others write. So each call looks again when it has read: if
//! anything has changed, what was read may be of two times, and it is read anew. No lock of the directory is taken: a
//! store holds `LOCK` shared while it is open, so that lock would keep no writer away, and a reader that held it would
//! keep the next store from inspecting the write-ahead log of a crash, and a newer build from migrating.
//!
//! One race is left. If the last store closes, and removes the write-ahead log, between a look and SQLite's own
//! opening, SQLite makes an empty one anew. The next store takes it as its own.

use std::collections::HashMap;
use std::io;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::database::{Database, IMMUTABLE, as_uri};
use super::reader::SqliteReader;
use super::schema::{self, FORMAT, OpenError};
use crate::clock::Clock;
use crate::codec::Chain;
use crate::error::OwnerInfo;
use crate::id::{AppendKey, Digest, EventId, SessionId};
use crate::port::{
    AuditedEvent, AuditedSession, Erasing, FeedPage, FeedPlace, Format, Head, Listing, Liveness, LogAudit, LogError,
    LogKey, LogMeta, LogReader, LogSource, LogVersion, OwnerId, Position, ScannedPage, SessionRow, SnapshotRow,
    Standing, StoredEvent, StoredPage, SweepMark,
};
use crate::sqlite::directory::{OWNERS, look_at_owner};
use crate::sqlite::files::{FileId, FileStamp, OsFiles, if_there, is_mounted_read_only};
use crate::sqlite::open_here::OpenHere;

/// The formats that can be read as they are, without the migration that a store which writes makes when it opens. The
/// one place that decides it.
const READABLE: RangeInclusive<i64> = 1..=FORMAT;

/// How often a call begins anew because stores came and went while it read.
const ATTEMPTS_MAX: usize = 16;

/// Longer than a tick of any file system's clock. A file that was last written longer ago than this gets another time
/// with its next write.
const TICK: Duration = Duration::from_millis(20);

/// A database that is only read.
#[derive(Clone)]
pub(crate) struct ReadOnlyDatabase {
    database: Database,
    /// The session model that the database must have, if one is wanted.
    model: Option<Arc<str>>,
    #[expect(dead_code, reason = "it says by its drop that nothing is open any more")]
    here: Arc<OpenHere>,
}

/// What a database says of itself.
pub(crate) struct FoundDatabase {
    pub(crate) model: String,
    pub(crate) format: Format,
}

/// How a connection reads, and which files it reads. If the next look gives the same, what the connection knows still
/// holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Immutable { database: FileStamp, wal: Option<FileStamp> },
    Shared { database: FileId, wal: FileId },
    Private { database: FileStamp, wal: FileStamp },
}

impl ReadOnlyDatabase {
    /// Checks that there is a database, that it is for this build, and that it is of this session model, if one is
    /// given. Gives what it found, too: the database is held to its session model from then on.
    pub(crate) fn open(
        path: PathBuf,
        vfs: Option<&'static str>,
        model: Option<&str>,
        has_contents: bool,
    ) -> Result<(Self, FoundDatabase), OpenError> {
        let database = Database { path, vfs };
        if database.is_empty() {
            let path = database.path.clone();
            let is_lost = has_contents || database.has_wal();
            let no_store = || OpenError::NoStore(format!("{} is empty", path.display()));
            return Err(if is_lost { OpenError::Lost(path) } else { no_store() });
        }
        let here = Arc::new(OpenHere::note(database.directory()));
        let this = Self { database, model: model.map(Arc::from), here };
        for _ in 0..ATTEMPTS_MAX {
            let access = this.look_settled()?;
            let found = |open: OpenReader| {
                let format = Format { found: open.format, supported: FORMAT };
                FoundDatabase { model: open.model, format }
            };
            let opened = this.connect(access).map(found);
            if this.look()? == access {
                return match opened {
                    Err(OpenError::NoStore(_)) if has_contents => Err(OpenError::Lost(this.database.path)),
                    opened => opened.map(|found| (Self { model: Some(found.model.as_str().into()), ..this }, found)),
                };
            }
        }
        Err(LogError::Busy.into())
    }

    /// Looks at the files. Those that a store may be writing are asked for no times.
    fn look(&self) -> Result<Access, LogError> {
        let path = &self.database.path;
        let failed = |error: io::Error| LogError::Io(format!("cannot look at {}: {error}", path.display()));
        let stamp = || FileStamp::look(path).map_err(failed);
        // In this order: a store makes the write-ahead log first and removes it last, so that whatever it does between
        // these two looks, an index that is missing here is not taken for one that is missing beside commits.
        let has_index = if_there(FileId::look(&self.database.companion("-shm"))).map_err(failed)?.is_some();
        let wal = self.database.companion("-wal");
        let Some((wal_id, bytes)) = if_there(FileId::look(&wal)).map_err(failed)? else {
            return Ok(Access::Immutable { database: stamp()?, wal: None });
        };
        if !has_index {
            let wal_stamp = if_there(FileStamp::look(&wal)).map_err(failed)?;
            let Some(wal_stamp) = wal_stamp.filter(|_| bytes > 0) else {
                return Ok(Access::Immutable { database: stamp()?, wal: wal_stamp });
            };
            if if_there(is_mounted_read_only(&wal)).map_err(failed)? == Some(true) {
                return Ok(Access::Private { database: stamp()?, wal: wal_stamp });
            }
        }
        let (database, _) = FileId::look(path).map_err(failed)?;
        Ok(Access::Shared { database, wal: wal_id })
    }

    /// Looks, and waits for a moment if the next write could leave the files as they look now.
    fn look_settled(&self) -> Result<Access, LogError> {
        for _ in 0..ATTEMPTS_MAX {
            let access = self.look()?;
            let stamps = match access {
                Access::Immutable { database, wal } => [Some(database), wal],
                Access::Private { database, wal } => [Some(database), Some(wal)],
                Access::Shared { .. } => [None, None],
            };
            let now = Clock::System.now().as_micros();
            let is_fresh = |stamp: &FileStamp| {
                let age = now.saturating_sub(stamp.modified().as_micros());
                (0..TICK.as_micros() as i64).contains(&age)
            };
            if !stamps.iter().flatten().any(is_fresh) {
                return Ok(access);
            }
            std::thread::sleep(TICK);
        }
        Err(LogError::Busy)
    }

    /// Opens a connection. On a full disk SQLite cannot write the index that all share: then it makes one for this
    /// connection alone, which is not kept. A store that this process opens to write meanwhile would find the index
    /// read-only, too.
    fn connect(&self, access: Access) -> Result<OpenReader, OpenError> {
        let database = &self.database;
        let with = |parameter| Database { path: as_uri(&database.path, parameter), vfs: database.vfs };
        match access {
            Access::Immutable { .. } if database.companion("-journal").exists() => {
                let reason = "the database's journal mode is not wal, it must be: events.db-journal is there";
                Err(LogError::Io(reason.to_owned()).into())
            }
            Access::Immutable { .. } => self.connect_by(&with(IMMUTABLE), access),
            Access::Shared { .. } => match self.connect_by(database, access) {
                Err(OpenError::Log(LogError::Io(_) | LogError::DiskFull)) if database.companion("-shm").exists() => {
                    let opened = self.connect_by(&with("readonly_shm=1"), access);
                    opened.map(|open| OpenReader { is_kept: false, ..open })
                }
                opened => opened,
            },
            // With its own locks SQLite would want the file to itself, which takes a file that can be written. Closing
            // a connection of this kind drops the locks that this process has on the file: a process must not write the
            // same directory through another mount.
            Access::Private { .. } => self.connect_by(&Database { vfs: Some("unix-none"), ..database.clone() }, access),
        }
    }

    fn connect_by(&self, database: &Database, access: Access) -> Result<OpenReader, OpenError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        let connection = database.open(flags).map_err(|error| self.cannot_read(access, error))?;
        match set_up(&connection, access) {
            // `format_and_model` says so.
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::NotADatabase) => {}
            set_up => set_up.map_err(|error| self.cannot_read(access, error))?,
        }
        let path = &self.database.path;
        let (format, model) = schema::format_and_model(&connection, path, self.model.as_deref())?
            .ok_or_else(|| OpenError::NoStore(format!("{} has no tables", path.display())))?;
        if !READABLE.contains(&format) {
            let (path, oldest) = (path.clone(), *READABLE.start());
            return Err(OpenError::OlderFormat { path, found: format, oldest });
        }
        Ok(OpenReader { access, format, model, reader: SqliteReader::new(connection, None), is_kept: true })
    }

    fn cannot_read(&self, access: Access, error: rusqlite::Error) -> LogError {
        let (wal, shm) = (self.database.companion("-wal"), self.database.companion("-shm"));
        match LogError::from(error) {
            LogError::Io(reason) if matches!(access, Access::Shared { .. }) && !shm.exists() => {
                LogError::Unusable(format!(
                    "{reason}: {} holds commits, and SQLite cannot make its index, {}: free some space, give this process the \
                 right to make the file, or mount the directory read-only",
                    wal.display(),
                    shm.display()
                ))
            }
            error => error,
        }
    }
}

fn set_up(connection: &Connection, access: Access) -> rusqlite::Result<()> {
    schema::set_up(connection)?;
    // What a verification sorts would go to a file otherwise, perhaps on the disk that is full.
    connection.execute_batch("PRAGMA temp_store = MEMORY")?;
    if matches!(access, Access::Private { .. }) {
        // Before anything is read: then the index of the write-ahead log is made in memory.
        connection.query_row("PRAGMA locking_mode = EXCLUSIVE", [], |_| Ok(()))?;
    }
    // Reads the first page, and makes or finds the index.
    schema::format_number(connection).map(drop)
}

impl LogSource for ReadOnlyDatabase {
    fn reader(&self) -> Result<Box<dyn LogReader>, LogError> {
        Ok(Box::new(ReadOnlyReader { database: self.clone(), open: None, opened: 0 }))
    }
}

/// A reading end that looks, at each call, whether its connection still reads what is there.
struct ReadOnlyReader {
    database: ReadOnlyDatabase,
    open: Option<OpenReader>,
    /// How often it has opened a connection.
    opened: u64,
}

struct OpenReader {
    access: Access,
    format: i64,
    model: String,
    reader: SqliteReader,
    /// Whether the next call may use it, too.
    is_kept: bool,
}

impl OpenReader {
    /// Whether a newer build has migrated the database. It does so in one transaction, and never back.
    fn is_of_another_format(&self) -> bool {
        schema::format_number(&self.reader.connection).is_ok_and(|now| now != self.format)
    }
}

impl ReadOnlyReader {
    /// Runs one read on what is there now. What it gives, or fails with, counts only if the files are the same
    /// afterwards.
    fn read<T>(&mut self, mut read: impl FnMut(&mut SqliteReader) -> Result<T, LogError>) -> Result<T, LogError> {
        for _ in 0..ATTEMPTS_MAX {
            let known = match self.open.take() {
                Some(open) if self.database.look()? == open.access => Some(open),
                _ => None,
            };
            let access = known.as_ref().map_or_else(|| self.database.look_settled(), |open| Ok(open.access))?;
            let opened = match known {
                Some(open) => Ok(open),
                None => {
                    self.opened += 1;
                    self.database.connect(access)
                }
            };
            let outcome = opened.map(|mut open| {
                let result = read(&mut open.reader);
                (open, result)
            });
            if self.database.look()? != access {
                continue;
            }
            let (open, result) = outcome.map_err(of_a_change)?;
            if open.is_of_another_format() {
                continue;
            }
            if result.is_ok() && open.is_kept {
                self.open = Some(open);
            }
            return result;
        }
        Err(LogError::Busy)
    }
}

/// What was another database, or of another format, when the store was opened.
fn of_a_change(error: OpenError) -> LogError {
    match error {
        OpenError::Log(error) => error,
        error => LogError::Io(format!("{error}, since the store was opened: open it again")),
    }
}

impl LogReader for ReadOnlyReader {
    fn find(&mut self, session: &SessionId) -> Result<Option<LogMeta>, LogError> {
        self.read(|reader| reader.find(session))
    }

    fn sessions(&mut self, after: Option<&SessionId>, max: usize) -> Result<Vec<SessionRow>, LogError> {
        self.read(|reader| LogReader::sessions(reader, after, max))
    }

    fn page_into(
        &mut self,
        page: &mut StoredPage,
        log: LogKey,
        after: EventId,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<(), LogError> {
        self.read(|reader| reader.page_into(page, log, after, events_max, bytes_max))
    }

    fn find_key(&mut self, log: LogKey, key: &AppendKey) -> Result<Option<StoredEvent>, LogError> {
        self.read(|reader| reader.find_key(log, key))
    }

    fn head(&mut self, log: LogMeta) -> Result<Head, LogError> {
        self.read(|reader| reader.head(log))
    }

    fn record_bytes(&mut self, log: LogKey, after: EventId, events_max: usize) -> Result<(EventId, u64), LogError> {
        self.read(|reader| reader.record_bytes(log, after, events_max))
    }

    fn living_owner(&mut self, log: LogKey) -> Result<Option<OwnerInfo>, LogError> {
        let owner = self.read(|reader| reader.owner(log))?;
        let Some(owner) = owner.as_deref().and_then(OwnerId::parse) else { return Ok(None) };
        let path = self.database.database.directory().join(OWNERS).join(owner.as_str());
        match look_at_owner(&OsFiles, &owner, &path) {
            Ok(Liveness::Alive(owner)) => Ok(Some(owner)),
            Ok(Liveness::Dead) => Ok(None),
            Err(error) => Err(LogError::Io(format!("cannot look at {}: {error}", path.display()))),
        }
    }

    fn chain_at(&mut self, log: LogKey, id: EventId) -> Result<Option<Chain>, LogError> {
        self.read(|reader| reader.chain_at(log, id))
    }

    fn redactions(&mut self, log: LogKey) -> Result<u64, LogError> {
        self.read(|reader| reader.redactions(log))
    }

    fn redacted_logs(&mut self) -> Result<HashMap<LogKey, u64>, LogError> {
        self.read(|reader| reader.redacted_logs())
    }

    fn snapshot(&mut self, log: LogKey) -> Result<Option<SnapshotRow>, LogError> {
        self.read(|reader| reader.snapshot(log))
    }

    fn snapshots(&mut self, after: LogKey, max: usize) -> Result<Vec<(LogKey, Digest)>, LogError> {
        self.read(|reader| reader.snapshots(after, max))
    }

    fn scan(
        &mut self,
        page: &mut ScannedPage,
        after: Position,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<Option<Position>, LogError> {
        self.read(|reader| reader.scan(page, after, events_max, bytes_max))
    }

    fn feed(
        &mut self,
        page: &mut FeedPage,
        after: FeedPlace,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<(), LogError> {
        self.read(|reader| reader.feed(page, after, events_max, bytes_max))
    }

    fn version(&mut self) -> Result<LogVersion, LogError> {
        let LogVersion { version, .. } = self.read(|reader| reader.version())?;
        Ok(LogVersion { opened: self.opened, version })
    }

    fn cursor(&mut self, name: &str) -> Result<Option<String>, LogError> {
        self.read(|reader| reader.cursor(name))
    }

    fn cursors(&mut self, after: &str, max: usize) -> Result<Vec<(String, String)>, LogError> {
        self.read(|reader| reader.cursors(after, max))
    }

    fn sweep_mark(&mut self, digest: &Digest) -> Result<SweepMark, LogError> {
        self.read(|reader| reader.sweep_mark(digest))
    }

    fn listed_blobs(&mut self, after: Option<&Digest>, max: usize) -> Result<Vec<(Digest, Listing)>, LogError> {
        self.read(|reader| reader.listed_blobs(after, max))
    }

    fn standing(&mut self) -> Result<Standing, LogError> {
        self.read(|reader| reader.standing())
    }

    fn erasing(&mut self) -> Result<Erasing, LogError> {
        self.read(|reader| reader.erasing())
    }

    fn audit(&mut self) -> &mut dyn LogAudit {
        self
    }
}

impl LogAudit for ReadOnlyReader {
    fn structure(&mut self, max: usize) -> Result<Vec<String>, LogError> {
        self.read(|reader| reader.structure(max))
    }

    fn sessions(&mut self, after: &[u8], max: usize) -> Result<Vec<AuditedSession>, LogError> {
        self.read(|reader| LogAudit::sessions(reader, after, max))
    }

    fn events(
        &mut self,
        log: LogKey,
        after: EventId,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<AuditedEvent>, LogError> {
        self.read(|reader| reader.events(log, after, events_max, bytes_max))
    }
}

#[cfg(test)]
mod tests;
