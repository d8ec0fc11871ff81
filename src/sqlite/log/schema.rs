//! The database's tables and settings: made once, checked at each open.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::error::SqlResult;
use crate::error::{Error, ErrorKind};
use crate::port::{Durability, LogError};
use crate::sqlite::directory::DirectoryError;

/// "fold" in ASCII.
const APPLICATION_ID: i64 = 0x666f_6c64;
/// The format that this build writes, and the newest that it reads.
pub(crate) const FORMAT: i64 = 1;
/// How long SQLite itself waits for another process's lock, where nobody else would try again.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long SQLite waits on the writing connection, before the persist actor takes over the waiting: the actor can
/// answer others while it waits.
const WRITER_BUSY_TIMEOUT: Duration = Duration::from_millis(250);
/// How often the writing connection tries for the lock while it waits. A neighbour that commits without a pause leaves
/// the lock free for some tens of microseconds at a time, and nobody queues for it: SQLite's own wait looks every 50 to
/// 100 ms before long, and was seen to come away empty for most of a second; this one, for a seventh of it.
const WRITER_BUSY_POLL: Duration = Duration::from_millis(1);

const TABLES: &str = "
CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

-- A log is a history. Its key is never used again.
CREATE TABLE logs(
    log_key       INTEGER PRIMARY KEY AUTOINCREMENT,
    log_id        BLOB NOT NULL UNIQUE,
    parent_log    INTEGER REFERENCES logs(log_key),
    fork_event_id INTEGER,
    fork_chain    BLOB,
    owner         TEXT,
    epoch         INTEGER NOT NULL DEFAULT 0
) STRICT;

-- A session is a name.
CREATE TABLE sessions(
    session_id TEXT PRIMARY KEY,
    log_key    INTEGER NOT NULL REFERENCES logs(log_key),
    created    INTEGER NOT NULL,
    title      TEXT NOT NULL DEFAULT '',
    labels     TEXT NOT NULL DEFAULT '{}'
) STRICT, WITHOUT ROWID;

-- In the order of the commits, so that a group fills few pages whatever sessions it is of. Where the events of one log
-- are is in event_index, and for the last commits in recent_index: together they are one index, see index.rs.
CREATE TABLE events(
    position   INTEGER PRIMARY KEY,
    log_key    INTEGER NOT NULL,
    event_id   INTEGER NOT NULL,
    event_type TEXT NOT NULL,
    event_at   INTEGER NOT NULL,
    append_key BLOB,
    chain      BLOB NOT NULL,
    record     BLOB NOT NULL
) STRICT;
CREATE TABLE event_index(
    log_key     INTEGER NOT NULL,
    first_event INTEGER NOT NULL,
    runs        BLOB NOT NULL,
    PRIMARY KEY(log_key, first_event)
) STRICT, WITHOUT ROWID;
CREATE TABLE recent_index(
    first_position INTEGER PRIMARY KEY,
    runs           BLOB NOT NULL
) STRICT;

-- The newest stored view of a log, a cache: a log without one is folded from its first event.
CREATE TABLE snapshots(
    log_key     INTEGER PRIMARY KEY,
    event_id    INTEGER NOT NULL,
    chain       BLOB NOT NULL,
    digest      BLOB NOT NULL,
    bytes       INTEGER NOT NULL,
    view_schema INTEGER NOT NULL,
    schema      INTEGER NOT NULL
) STRICT;

-- For people.
CREATE VIEW event_log AS
    SELECT session_id, event_id, event_type,
           strftime('%Y-%m-%dT%H:%M:%S', event_at / 1000000, 'unixepoch') || printf('.%06dZ', event_at % 1000000)
               AS event_at
    FROM sessions JOIN events USING (log_key);
";

/// Why a database is not for this build.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("{} is not a foldlog database", path.display())]
    NotAStore { path: PathBuf },
    #[error("database is of format {found}, this build knows up to {FORMAT}")]
    NewerFormat { found: i64 },
    #[error("{} is gone or empty, and what belongs to it is there", .0.display())]
    Lost(PathBuf),
    #[error("directory is of model {found}, this store is of model {expected}")]
    WrongModel { found: String, expected: String },
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Log(#[from] LogError),
}

impl From<OpenError> for Error {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::NotAStore { path } => ErrorKind::NotAStore { path }.into(),
            OpenError::NewerFormat { found } => ErrorKind::NewerFormat { found, supported: FORMAT }.into(),
            OpenError::WrongModel { found, expected } => ErrorKind::WrongModel { found, expected }.into(),
            OpenError::Directory(error) => error.into(),
            OpenError::Lost(_) => ErrorKind::CorruptStore {
                reason: format!("{error}: put it back, or give the new store an empty directory"),
            }
            .into(),
            OpenError::Log(LogError::Corrupt(reason)) => ErrorKind::CorruptStore {
                reason: format!("{reason}; keep a copy of the directory, and read what is left with Store::salvage"),
            }
            .into(),
            OpenError::Log(error) => error.into(),
        }
    }
}

/// A database file, and which of SQLite's VFS leads to it; `None` for its own.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    pub(crate) path: PathBuf,
    pub(crate) vfs: Option<&'static str>,
}

impl Database {
    /// A file that SQLite keeps beside the database.
    pub(crate) fn companion(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(suffix);
        name.into()
    }

    pub(crate) fn has_wal(&self) -> bool {
        std::fs::metadata(self.companion("-wal")).is_ok_and(|meta| meta.len() > 0)
    }

    /// Whether the file is empty. A file that does not exist counts as empty.
    pub(crate) fn is_empty(&self) -> bool {
        std::fs::metadata(&self.path).map_or(0, |meta| meta.len()) == 0
    }

    pub(crate) fn open(&self, flags: OpenFlags) -> rusqlite::Result<Connection> {
        // Never CREATE: a database that has gone is an error, not a new start.
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        match self.vfs {
            Some(vfs) => Connection::open_with_flags_and_vfs(&self.path, flags, vfs),
            None => Connection::open_with_flags(&self.path, flags),
        }
    }
}

/// Whether the database is complete. Reads only, so that one of a newer format is left untouched.
pub(crate) fn is_complete(database: &Database, model: &str) -> Result<bool, OpenError> {
    if database.is_empty() {
        return Ok(false);
    }
    let connection = database.open(OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(LogError::from)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(LogError::from)?;
    let not_a_store = || OpenError::NotAStore { path: database.path.clone() };
    let application = match number(&connection, "PRAGMA application_id") {
        Ok(application) => application,
        Err(rusqlite::Error::SqliteFailure(error, _)) if error.code == rusqlite::ErrorCode::NotADatabase => {
            return Err(not_a_store());
        }
        Err(error) => return Err(LogError::from(error).into()),
    };
    let format = number(&connection, "PRAGMA user_version").map_err(LogError::from)?;
    if application != APPLICATION_ID {
        let tables = number(&connection, "SELECT count(*) FROM sqlite_schema").map_err(LogError::from)?;
        // Such an empty database is made by a program that opened the path with SQLite before foldlog did.
        return if application == 0 && format == 0 && tables == 0 { Ok(false) } else { Err(not_a_store()) };
    }
    if format > FORMAT {
        return Err(OpenError::NewerFormat { found: format });
    }
    let found: String = connection
        .query_row("SELECT value FROM meta WHERE name = 'model'", [], |row| row.get(0))
        .map_err(LogError::from)?;
    if found != model {
        return Err(OpenError::WrongModel { found, expected: model.to_owned() });
    }
    Ok(true)
}

/// Makes the tables in one transaction, and leaves them in one file. The caller holds the directory's exclusive lock.
pub(crate) fn create(database: &Database, model: &str) -> Result<(), LogError> {
    let mut connection = database.open(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // These two are fixed from the first page on, so they come before it is written.
    connection.pragma_update(None, "page_size", 4096)?;
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    transaction.execute_batch(TABLES)?;
    transaction.execute("INSERT INTO meta VALUES ('model', ?1)", [model])?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", FORMAT)?;
    transaction.commit()?;
    // Closing would make this checkpoint, too, but would hide its errors.
    let moved: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(2))?;
    // Asked again, since a sync that failed above may have left the old mode without a word.
    require_wal(connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?)?;
    connection.close().map_err(|(_, error)| error)?;
    if moved != 0 || database.has_wal() {
        return Err(LogError::Io("the new database is not in one file".to_owned()));
    }
    Ok(())
}

/// The tables, indexes and views that are not as [`create`] makes them.
pub(crate) fn misdefined(connection: &Connection) -> SqlResult<Vec<String>> {
    let own = Connection::open_in_memory()?;
    own.execute_batch(TABLES)?;
    let mut expected = own.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema")?;
    let mut found = connection
        .prepare("SELECT count(*) FROM sqlite_schema WHERE (type, name, tbl_name) = (?1, ?2, ?3) AND sql IS ?4")?;
    let mut rows = expected.query([])?;
    let mut misdefined = Vec::new();
    while let Some(row) = rows.next()? {
        let (kind, name): (String, String) = (row.get(0)?, row.get(1)?);
        let (table, sql): (String, Option<String>) = (row.get(2)?, row.get(3)?);
        if found.query_row((&kind, &name, table, sql), |row| row.get::<_, i64>(0))? != 1 {
            misdefined.push(format!("{kind} {name} is not as foldlog defines it"));
        }
    }
    Ok(misdefined)
}

/// Opens the writing connection.
pub(crate) fn open_writer(database: &Database, durability: Durability) -> Result<Connection, LogError> {
    let mut connection = open(database, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    wait_as_writer(&mut connection)?;
    let synchronous = match durability {
        Durability::PowerLoss => "FULL",
        Durability::ProcessCrash => "NORMAL",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "secure_delete", "FAST")?;
    // A checkpoint inside a commit would make its acknowledgements wait, and would hide its own errors.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    Ok(connection)
}

/// Has a connection wait for locks for as long as the writing end does.
pub(crate) fn wait_as_writer(connection: &mut Connection) -> rusqlite::Result<()> {
    let mut since = Instant::now();
    connection.busy_handler(Some(move |times: i32| {
        if times == 0 {
            since = Instant::now();
        }
        std::thread::sleep(WRITER_BUSY_POLL);
        since.elapsed() < WRITER_BUSY_TIMEOUT
    }))
}

/// Opens a reading connection.
pub(crate) fn open_reader(database: &Database) -> Result<Connection, LogError> {
    open(database, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

fn open(database: &Database, flags: OpenFlags) -> Result<Connection, LogError> {
    let connection = database.open(flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(32);
    // Otherwise the last connection would copy what is left of the write-ahead log, and remove it, whatever came before.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // Otherwise SQLite plans anew whatever compares a key with a parameter, each time that one is bound.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    let format = number(&connection, "PRAGMA user_version")?;
    if format != FORMAT {
        return Err(LogError::Io(format!("the database changed to format {format} while it was in use")));
    }
    // Everything here relies on it, and whoever may write to the file can change it.
    require_wal(connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?)?;
    Ok(connection)
}

fn require_wal(mode: String) -> Result<(), LogError> {
    if mode == "wal" {
        Ok(())
    } else {
        Err(LogError::Io(format!("the database's journal mode is {mode}, it must be wal")))
    }
}

fn number(connection: &Connection, sql: &str) -> rusqlite::Result<i64> {
    connection.query_row(sql, [], |row| row.get(0))
}
