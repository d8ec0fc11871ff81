//! Whether the files of a database are of one time. A file that was restored by itself, or copied while a store wrote,
//! fits the others in form: SQLite opens them together, and reads pages of two times.
//!
//! The write-ahead logs of a database are numbered, in a row of `meta`. Invariant: the number that `events.db` has by
//! itself is the one that it has together with its write-ahead log, or the one before. The number is raised by the
//! first commit after a checkpoint that has copied the number as it is, and synced the file. So it is at most one ahead
//! of the file, whichever store has made the checkpoint, and wherever a crash comes.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use super::schema::{Database, OpenError};
use super::wal::Extent;

const WAL_NUMBER: &str = "SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'wal_number'";

/// The number of the write-ahead log. No number is below that of every log.
pub(crate) fn wal_number(connection: &Connection) -> rusqlite::Result<i64> {
    Ok(connection.prepare_cached(WAL_NUMBER)?.query_row([], |row| row.get(0)).optional()?.unwrap_or(0))
}

/// Raises the number, if it is still the one that the database file is known to have.
pub(crate) fn raise_wal_number(connection: &Connection, in_file: i64) -> rusqlite::Result<()> {
    if wal_number(connection)? == in_file {
        let next = in_file.saturating_add(1);
        connection
            .prepare_cached("INSERT OR REPLACE INTO meta(name, value) VALUES ('wal_number', CAST(?1 AS TEXT))")?
            .execute([next])?;
    }
    Ok(())
}

/// Refuses files that no crash leaves together. `wal` is what the write-ahead log holds. The caller is alone, so that
/// the files can be opened and closed without a lock.
pub(crate) fn check(database: &Database, wal: &Extent) -> Result<(), OpenError> {
    let mixed = |reason: String| Err(OpenError::Mixed { path: database.path.clone(), reason });
    // SQLite removes `-shm` before `-wal`, so that nothing but a person leaves it behind alone. Looked at in this
    // order, since another program may be the last to close just now.
    let is_gone = !database.companion("-wal").exists();
    if let Some(index) = WalIndex::read(&database.companion("-shm")) {
        if is_gone && index.frames > index.copied {
            let lost = index.frames - index.copied;
            return mixed(format!("events.db-wal is gone, and {lost} pages of it are not in events.db"));
        }
        // What is copied was synced in the log before, and a `-shm` that is too old says less.
        if wal.salts == Some(index.salts) && u64::from(index.copied) > wal.valid_frames {
            let (copied, valid) = (index.copied, wal.valid_frames);
            return mixed(format!(
                "events.db has {copied} pages of an events.db-wal, which has the first {valid} of them"
            ));
        }
    }
    if wal.valid_frames == 0 {
        return Ok(());
    }
    let together = database.open_to_look();
    // A page that a checkpoint was just copying may be in pieces: then nothing can be said.
    let numbers = database.open_immutable().and_then(|file| wal_number(&file)).ok().zip(
        // What is wrong with the whole is found when it is opened.
        together.as_ref().ok().and_then(|connection| wal_number(connection).ok()),
    );
    if let Some((in_file, together)) = numbers
        && !(in_file..=in_file.saturating_add(1)).contains(&together)
    {
        return mixed(format!("events.db follows write-ahead log {in_file}, and events.db-wal is number {together}"));
    }
    // A page that was free again at the end of its transaction need not be in the log: only if one is missing, the
    // whole database is looked through.
    if wal.lacks_pages
        && let Ok(connection) = together
        && let Ok(found) = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))
        && found != "ok"
    {
        return mixed(format!("pages behind the end of events.db are not in events.db-wal: {found}"));
    }
    Ok(())
}

/// What SQLite's index of a write-ahead log says of it, in `-shm`. That file is never synced: after a power cut it may
/// say what was true at any moment before.
struct WalIndex {
    salts: [u32; 2],
    /// Frames of committed transactions.
    frames: u32,
    /// How many of them are in the database.
    copied: u32,
}

impl WalIndex {
    /// `None` where there is no index that SQLite would believe.
    fn read(path: &Path) -> Option<Self> {
        const HEADER_BYTES: usize = 48;
        let bytes = std::fs::read(path).ok()?;
        let (header, rest) = bytes.split_at_checked(HEADER_BYTES)?;
        let (again, rest) = rest.split_at_checked(HEADER_BYTES)?;
        let is_initialized = header.get(12) == Some(&1);
        // In the order of this machine: the file is never moved to another one.
        let word = |bytes: &[u8], at: usize| Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
        (is_initialized && header == again).then_some(())?;
        // The salts are as they stand in the log.
        let salts = [word(header, 32)?, word(header, 36)?].map(u32::to_be);
        Some(Self { salts, frames: word(header, 16)?, copied: word(rest, 0)? })
    }
}
