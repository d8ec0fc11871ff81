//! The database's tables and settings: made once, checked at each open.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

pub(crate) use super::database::Database;
use super::error::{SqlError, SqlResult};
use super::row::{STORE_ID, setting};
use super::{cursors, deletions};
use crate::error::{Error, ErrorKind};
use crate::port::{Durability, LogError, StoreId};
use crate::sqlite::directory::DirectoryError;

/// "fold" in ASCII.
const APPLICATION_ID: i64 = 0x666f_6c64;
/// The format that this build writes, and the newest that it reads.
pub(crate) const FORMAT: i64 = 2;
/// The first format that has a table of deleted logs.
pub(super) const FORMAT_WITH_DELETED: i64 = 2;
/// How long SQLite itself waits for another process's lock, where nobody else would try again.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long SQLite waits on the writing connection, before the persist actor takes over the waiting: the actor can
/// answer others while it waits.
const WRITER_BUSY_TIMEOUT: Duration = Duration::from_millis(250);
/// How often the writing connection tries for the lock while it waits. A neighbour that commits without a pause leaves
/// the lock free for some tens of microseconds at a time, and nobody queues for it: SQLite's own wait looks every 50 to
/// 100 ms before long, and was seen to come away empty for most of a second; this one, for a seventh of it.
const WRITER_BUSY_POLL: Duration = Duration::from_millis(1);

/// What each format has added, in their order: a database is of format n once the first n of these are in it. So a new
/// database has the same tables as one that was migrated. A later format adds tables and changes none that are there:
/// such a migration is as fast in a large database as in an empty one, and meets no damaged row.
const FORMATS: [&str; FORMAT as usize] = [FORMAT_1, FORMAT_2];

const FORMAT_1: &str = "
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

/// Room for deletion, redaction and sweep. `meta` may have more rows from now on: `store_id`, see [`name_store`];
/// those of a backup, see [`copy`](super::copy); `wal_number`, see [`parts`](super::parts); `highest_position`, see
/// [`HIGHEST_POSITION`](super::row::HIGHEST_POSITION); `redactions_made`, see [`MADE`](super::redaction::MADE);
/// `sweep_listings` and `sweeps`, see [`swept`](super::swept).
const FORMAT_2: &str = "
-- How often events of a log were redacted: what was read or folded before is of other bytes.
CREATE TABLE redactions(
    log_key INTEGER PRIMARY KEY,
    count   INTEGER NOT NULL
) STRICT;

-- Logs whose session was deleted, and whose events go in steps.
CREATE TABLE deleted_logs(
    log_key    INTEGER PRIMARY KEY,
    deleted_at INTEGER NOT NULL
) STRICT;

-- Blobs that are being swept, each with the number of its listing, negative once it was removed.
CREATE TABLE swept_blobs(
    digest   BLOB PRIMARY KEY,
    swept_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// A part of format 2 that some of its databases were made without: opening them adds it.
const FEED: &str = "
-- The logs whose sessions were deleted, in this order and for ever: a feed tells of them.
CREATE TABLE IF NOT EXISTS deletions(
    number INTEGER PRIMARY KEY,
    log_id BLOB NOT NULL
) STRICT;

-- Where consumers of the feed are, by their names.
CREATE TABLE IF NOT EXISTS cursors(
    name     TEXT PRIMARY KEY,
    position TEXT NOT NULL
) STRICT, WITHOUT ROWID;
";

/// Why a database is not for this build.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("{} is not a foldlog database", path.display())]
    NotAStore { path: PathBuf },
    #[error("{} is of format {found}, this build knows up to {FORMAT}", path.display())]
    NewerFormat { path: PathBuf, found: i64 },
    #[error("{} is of format {found}, this build reads formats from {oldest}", path.display())]
    OlderFormat { path: PathBuf, found: i64, oldest: i64 },
    #[error("there is no store: {0}")]
    NoStore(String),
    #[error("{} is gone or empty, and what belongs to it is there", .0.display())]
    Lost(PathBuf),
    #[error("the files of {} are not of one time: {reason}", path.display())]
    Mixed { path: PathBuf, reason: String },
    #[error("{} is of model {found}, this store is of model {expected}", path.display())]
    WrongModel { path: PathBuf, found: String, expected: String },
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Log(#[from] LogError),
}

impl From<OpenError> for Error {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::NotAStore { path } => ErrorKind::NotAStore { path }.into(),
            OpenError::NewerFormat { path, found } => {
                Self::with_source(ErrorKind::NewerFormat { found, supported: FORMAT }, path.display().to_string())
            }
            OpenError::OlderFormat { path, found, oldest } => {
                Self::with_source(ErrorKind::OlderFormat { found, oldest }, path.display().to_string())
            }
            OpenError::NoStore(reason) => ErrorKind::NoStore { reason }.into(),
            OpenError::WrongModel { path, found, expected } => {
                Self::with_source(ErrorKind::WrongModel { found, expected }, path.display().to_string())
            }
            OpenError::Directory(error) => error.into(),
            OpenError::Lost(_) => ErrorKind::CorruptStore {
                reason: format!("{error}: put it back, or give the new store an empty directory"),
            }
            .into(),
            OpenError::Mixed { .. } => ErrorKind::CorruptStore {
                reason: format!(
                    "{error}; keep a copy of the directory, then put all of its files back from one moment, or make a new \
                     directory of what they hold together with Store::repair"
                ),
            }
            .into(),
            OpenError::Log(LogError::Corrupt(reason)) => ErrorKind::CorruptStore {
                reason: format!(
                    "{reason}; keep the directory as it is, and make a new one of what is left with Store::repair"
                ),
            }
            .into(),
            OpenError::Log(error) => error.into(),
        }
    }
}

/// What is in the place of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing, or an empty file.
    Nothing,
    /// A complete database of this format, which is not newer than that of this build.
    Format(i64),
    /// A database of this build's format that has no id yet, as a backup, which becomes a store of its own; or that
    /// lacks a table.
    Incomplete,
}

/// Looks for a database of a model. Reads only, so that one of a newer format is left untouched.
pub(crate) fn look(database: &Database, model: &str) -> Result<Found, OpenError> {
    look_at(database, model).map_err(|error| match error {
        OpenError::Log(error) => database.explained(error).into(),
        other => other,
    })
}

fn look_at(database: &Database, model: &str) -> Result<Found, OpenError> {
    if database.is_empty() {
        return Ok(Found::Nothing);
    }
    let connection = database.open_to_look().map_err(LogError::from)?;
    Ok(match format_and_model(&connection, &database.path, Some(model))? {
        None => Found::Nothing,
        Some((FORMAT, _)) if !is_complete(&connection).map_err(LogError::from)? => Found::Incomplete,
        Some((format, _)) => Found::Format(format),
    })
}

/// The format and the session model of a database that is complete and for this build, and of this session model if one
/// is given; `None` where nothing was made yet. Reads only.
pub(super) fn format_and_model(
    connection: &Connection,
    path: &Path,
    model: Option<&str>,
) -> Result<Option<(i64, String)>, OpenError> {
    let not_a_store = || OpenError::NotAStore { path: path.to_owned() };
    let application = number(connection, "PRAGMA application_id").map_err(|error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => not_a_store(),
        _ => LogError::from(error).into(),
    })?;
    let format = format_number(connection).map_err(LogError::from)?;
    if application != APPLICATION_ID {
        let tables = number(connection, "SELECT count(*) FROM sqlite_schema").map_err(LogError::from)?;
        // Such an empty database is made by a program that opened the path with SQLite before foldlog did.
        return if application == 0 && format == 0 && tables == 0 { Ok(None) } else { Err(not_a_store()) };
    }
    if format > FORMAT {
        return Err(OpenError::NewerFormat { path: path.to_owned(), found: format });
    }
    let found: String = connection
        .query_row("SELECT value FROM meta WHERE name = 'model'", [], |row| row.get(0))
        .map_err(LogError::from)?;
    match model.filter(|model| *model != found) {
        Some(model) => Err(OpenError::WrongModel { path: path.to_owned(), found, expected: model.to_owned() }),
        None => Ok(Some((format, found))),
    }
}

/// The format that a database says it is of.
pub(super) fn format_number(connection: &Connection) -> rusqlite::Result<i64> {
    number(connection, "PRAGMA user_version")
}

fn is_complete(connection: &Connection) -> SqlResult<bool> {
    Ok(setting(connection, STORE_ID)?.is_some() && has_feed(connection)?)
}

/// Whether what [`FEED`] adds is there.
fn has_feed(connection: &Connection) -> SqlResult<bool> {
    Ok(deletions::is_there(connection)? && cursors::is_there(connection)?)
}

/// Gives the store its id, unless it has one.
fn name_store(connection: &Connection) -> SqlResult<()> {
    let id = StoreId::random().map_err(|error| SqlError::outside(&error))?;
    connection.execute("INSERT OR IGNORE INTO meta(name, value) VALUES (?1, ?2)", (STORE_ID, id.to_string()))?;
    Ok(())
}

/// Refuses a damaged database of a newer format, or of another model. One whose model cannot be read is let through.
pub(crate) fn check_model(connection: &Connection, path: &Path, model: &str) -> Result<(), OpenError> {
    let format = format_number(connection).map_err(LogError::from)?;
    if format > FORMAT {
        return Err(OpenError::NewerFormat { path: path.to_owned(), found: format });
    }
    match connection.query_row("SELECT value FROM meta WHERE name = 'model'", [], |row| row.get::<_, String>(0)) {
        Ok(found) if found != model => {
            Err(OpenError::WrongModel { path: path.to_owned(), found, expected: model.to_owned() })
        }
        _ => Ok(()),
    }
}

/// Makes the tables in one transaction, and leaves them in one file. The caller holds the directory's exclusive lock.
pub(crate) fn create(database: &Database, model: &str) -> Result<(), LogError> {
    make(database, model).map_err(|error| database.explained(error))
}

fn make(database: &Database, model: &str) -> Result<(), LogError> {
    let mut connection = database.open(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // These two are fixed from the first page on, so they come before it is written.
    connection.pragma_update(None, "page_size", 4096)?;
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    let mode: String = connection.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        let reason = "a database cannot have a write-ahead log here: put the directory on a local file system";
        return Err(LogError::Unusable(format!("{reason} (its journal mode stayed {mode})")));
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    transaction.execute_batch(&FORMATS.concat())?;
    transaction.execute_batch(FEED)?;
    transaction.execute("INSERT INTO meta VALUES ('model', ?1)", [model])?;
    name_store(&transaction)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", FORMAT)?;
    transaction.commit()?;
    // Closing would make this checkpoint, too, but would hide its errors.
    let moved: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(2))?;
    // Asked again, since a sync that failed above may have left the old mode without a word.
    let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(LogError::Io(format!("the new database fell back to journal mode {mode}: the disk failed")));
    }
    connection.close().map_err(|(_, error)| error)?;
    if moved != 0 || database.has_wal() {
        return Err(LogError::Io("the new database is not in one file".to_owned()));
    }
    Ok(())
}

/// Brings a database of an older format to that of this build, in one transaction, and gives it an id if it has none.
/// No row is changed, and records stay in the format in which they were written. The caller holds the directory's
/// exclusive lock.
pub(crate) fn migrate(database: &Database) -> Result<(), LogError> {
    bring_to_format(database, |transaction| Ok(name_store(transaction)?))
}

/// The same for a backup, which stays one: it gets no id.
pub(super) fn migrate_copy(database: &Database) -> Result<(), LogError> {
    bring_to_format(database, |_| Ok(()))
}

fn bring_to_format(database: &Database, and: impl FnOnce(&Connection) -> Result<(), LogError>) -> Result<(), LogError> {
    let mut connection = database.open(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // As in `set_up`.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "fullfsync", true)?;
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let format = format_number(&transaction)?;
    let added = usize::try_from(format).ok().and_then(|known| FORMATS.get(known..)).unwrap_or_default();
    transaction.execute_batch(&added.concat())?;
    transaction.execute_batch(FEED)?;
    transaction.pragma_update(None, "user_version", FORMAT)?;
    and(&transaction)?;
    transaction.commit()?;
    connection.close().map_err(|(_, error)| error)?;
    if format != FORMAT {
        log::info!("the database was brought from format {format} to format {FORMAT}");
    }
    Ok(())
}

/// The tables, indexes and views that are not as the database's format has them.
pub(crate) fn misdefined(connection: &Connection) -> SqlResult<Vec<String>> {
    let format = usize::try_from(format_number(connection)?).unwrap_or_default();
    let own = Connection::open_in_memory()?;
    own.execute_batch(&FORMATS.iter().take(format).copied().collect::<String>())?;
    if has_feed(connection)? {
        own.execute_batch(FEED)?;
    }
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
    open_to_write(database, durability).map_err(|error| database.explained(error))
}

fn open_to_write(database: &Database, durability: Durability) -> Result<Connection, LogError> {
    let mut connection = open(database, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // SQLite opens a file that it may not write for reading, without a word, and the files beside it likewise.
    if connection.is_readonly(rusqlite::MAIN_DB)? || database.refused_file().is_some() {
        return Err(LogError::Io("the database was opened for reading only".to_owned()));
    }
    wait_as_writer(&mut connection)?;
    set_durability(&connection, durability)?;
    connection.pragma_update(None, "fullfsync", true)?;
    // A checkpoint inside a commit would make its acknowledgements wait, and would hide its own errors.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    Ok(connection)
}

/// What a commit of the writing connection waits for.
pub(super) fn set_durability(connection: &Connection, durability: Durability) -> rusqlite::Result<()> {
    let synchronous = match durability {
        Durability::PowerLoss => "FULL",
        Durability::ProcessCrash => "NORMAL",
    };
    connection.pragma_update(None, "synchronous", synchronous)
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
    open(database, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(|error| database.explained(error))
}

fn open(database: &Database, flags: OpenFlags) -> Result<Connection, LogError> {
    let connection = database.open(flags)?;
    set_up(&connection)?;
    let format = format_number(&connection)?;
    if format != FORMAT {
        return Err(LogError::Lost(format!("the database changed to format {format} while it was in use")));
    }
    // Everything here relies on it, and whoever may write to the file can change it.
    require_wal(database, connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?)?;
    Ok(connection)
}

/// What every connection of a store has set.
pub(super) fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(32);
    // Otherwise the last connection would copy what is left of the write-ahead log, and remove it, whatever came
    // before.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // Otherwise SQLite plans anew whatever compares a key with a parameter, each time that one is bound.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

fn require_wal(database: &Database, mode: String) -> Result<(), LogError> {
    if mode == "wal" {
        return Ok(());
    }
    let path = database.path.display();
    Err(LogError::Unusable(format!(
        "{path}: its journal mode is {mode}, it must be wal: somebody has changed it. Close whatever has the database open, and \
         run: sqlite3 {path} 'PRAGMA journal_mode=WAL'"
    )))
}

fn number(connection: &Connection, sql: &str) -> rusqlite::Result<i64> {
    connection.query_row(sql, [], |row| row.get(0))
}
