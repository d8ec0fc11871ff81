//! Where the events of each log are in the table: one index in two tables, so that a commit touches few pages.
//!
//! A group of appends touches the end of as many logs as it has sessions. In one large index each of these ends is a page
//! of its own, and those pages are most of what a commit writes. So an entry goes to `recent_index` first, which is small
//! and shares its pages among all logs, and is moved to `event_index` by a later group, together with others of its log.
//!
//! In every committed state each event has one entry, and of each log `event_index` has the beginning and `recent_index`
//! the rest.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension};

use super::sqlite_reader::SqlEventId;
use super::{LogKey, StoredEvent, Write};
use crate::id::EventId;

/// A group with this many events for each of its logs gains nothing by the detour.
const MANY_EVENTS: usize = 8;
/// How large `recent_index` grows, as a multiple of a group's events: with fewer entries, fewer of them are of the same log
/// when they are moved; with more, a group touches more of its pages. Measured.
const GROUPS_KEPT: usize = 16;
const RECENT_MIN: usize = 32;
const RECENT_MAX: usize = 16_384;

/// Which of the tables the entries of a group go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Recent,
    /// After the entries of its log that are in `recent_index`.
    Final,
}

impl Place {
    pub(super) fn of(group: &[Write]) -> Self {
        let (mut logs, mut appended) = (HashSet::new(), 0);
        for write in group {
            if let Write::Append { log, events, .. } = write {
                logs.insert(*log);
                appended += events.len();
            }
        }
        if logs.len() <= 1 || appended >= MANY_EVENTS * logs.len() { Self::Final } else { Self::Recent }
    }
}

/// Enters an event at the end of its log. Fails on a unique index for an append key that the log has already.
pub(super) fn insert(
    connection: &Connection,
    place: Place,
    log: LogKey,
    event: &StoredEvent,
    position: i64,
) -> rusqlite::Result<()> {
    let key = event.key.as_ref().map(|key| key.as_bytes());
    match place {
        Place::Final => {
            connection
                .prepare_cached("INSERT INTO event_index(log_key, event_id, position) VALUES (?1, ?2, ?3)")?
                .execute((log.0, SqlEventId(event.id), position))?;
            if let Some(key) = key {
                connection
                    .prepare_cached("INSERT INTO key_index(log_key, append_key, position) VALUES (?1, ?2, ?3)")?
                    .execute((log.0, key, position))?;
            }
        }
        Place::Recent => {
            if let Some(key) = key
                && final_position_of_key(connection, log, key)?.is_some()
            {
                return Err(key_taken());
            }
            connection
                .prepare_cached(
                    "INSERT INTO recent_index(log_key, event_id, position, append_key) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute((log.0, SqlEventId(event.id), position, key))?;
        }
    }
    Ok(())
}

/// What a unique index says.
fn key_taken() -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE);
    rusqlite::Error::SqliteFailure(code, Some("append_key".to_owned()))
}

/// Moves up to `max` entries of a log to `event_index`, and tells how many.
pub(super) fn move_log(connection: &Connection, log: LogKey, max: usize) -> rusqlite::Result<usize> {
    let (moved, last, keys): (i64, Option<i64>, i64) = connection
        .prepare_cached(
            "SELECT count(*), max(event_id), count(append_key) FROM
                 (SELECT event_id, append_key FROM recent_index WHERE log_key = ?1 ORDER BY event_id LIMIT ?2)",
        )?
        .query_row((log.0, max as i64), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let Some(last) = last else { return Ok(0) };
    connection
        .prepare_cached(
            "INSERT INTO event_index SELECT log_key, event_id, position FROM recent_index
             WHERE log_key = ?1 AND event_id <= ?2",
        )?
        .execute((log.0, last))?;
    if keys > 0 {
        connection
            .prepare_cached(
                "INSERT INTO key_index SELECT log_key, append_key, position FROM recent_index
                 WHERE log_key = ?1 AND event_id <= ?2 AND append_key IS NOT NULL",
            )?
            .execute((log.0, last))?;
    }
    connection
        .prepare_cached("DELETE FROM recent_index WHERE log_key = ?1 AND event_id <= ?2")?
        .execute((log.0, last))?;
    Ok(moved.unsigned_abs() as usize)
}

/// Which entries are moved next.
#[derive(Debug, Default)]
pub(super) struct Mover {
    /// About how many there are in `recent_index`; `None` when another process may have changed it.
    recent: Option<usize>,
    /// The log that was moved last: each comes in its turn.
    cursor: LogKey,
    /// Entries that cannot be moved stay where they are.
    is_off: bool,
}

impl Mover {
    pub(super) fn forget(&mut self) {
        self.recent = None;
    }

    /// Moves nothing from now on: an entry is damaged, and an append must not fail for it.
    pub(super) fn turn_off(&mut self) {
        self.is_off = true;
    }

    /// Moves about twice as many entries as the group has added, once there are enough. What it returns is for
    /// [`Mover::committed`].
    pub(super) fn step(&self, connection: &Connection, added: usize) -> rusqlite::Result<Moved> {
        let before = match self.recent {
            Some(recent) => recent,
            None => count(connection)?.saturating_sub(added),
        };
        let mut moved = Moved { recent: before + added, cursor: self.cursor };
        let keep = (GROUPS_KEPT * added).clamp(RECENT_MIN, RECENT_MAX);
        if self.is_off || moved.recent <= keep {
            return Ok(moved);
        }
        let mut quota = (moved.recent - keep).min(2 * added);
        while quota > 0 {
            let Some(log) = next_log(connection, moved.cursor)? else {
                if moved.cursor == LogKey::default() {
                    moved.recent = 0;
                    break;
                }
                moved.cursor = LogKey::default();
                continue;
            };
            let count = move_log(connection, log, quota)?;
            (moved.recent, quota) = (moved.recent.saturating_sub(count), quota.saturating_sub(count.max(1)));
            // The rest of a long one comes in its next turn.
            moved.cursor = log;
        }
        Ok(moved)
    }

    pub(super) fn committed(&mut self, Moved { recent, cursor }: Moved) {
        (self.recent, self.cursor) = (Some(recent), cursor);
    }
}

pub(super) struct Moved {
    recent: usize,
    cursor: LogKey,
}

fn count(connection: &Connection) -> rusqlite::Result<usize> {
    let count: i64 = connection.prepare_cached("SELECT count(*) FROM recent_index")?.query_row([], |row| row.get(0))?;
    Ok(count.unsigned_abs() as usize)
}

fn next_log(connection: &Connection, after: LogKey) -> rusqlite::Result<Option<LogKey>> {
    connection
        .prepare_cached("SELECT log_key FROM recent_index WHERE log_key > ?1 ORDER BY log_key LIMIT 1")?
        .query_row([after.0], |row| row.get(0).map(LogKey))
        .optional()
}

/// An entry: an event, and where it is said to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: i64,
    pub(super) position: i64,
}

/// The last entry of a log.
pub(super) fn last(connection: &Connection, log: LogKey) -> rusqlite::Result<Option<Entry>> {
    for sql in [
        "SELECT event_id, position FROM recent_index WHERE log_key = ?1 ORDER BY event_id DESC LIMIT 1",
        "SELECT event_id, position FROM event_index WHERE log_key = ?1 ORDER BY event_id DESC LIMIT 1",
    ] {
        let found = connection.prepare_cached(sql)?.query_row([log.0], entry).optional()?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The entry of an event.
pub(super) fn find(connection: &Connection, log: LogKey, id: EventId) -> rusqlite::Result<Option<i64>> {
    for sql in [
        "SELECT position FROM event_index WHERE log_key = ?1 AND event_id = ?2",
        "SELECT position FROM recent_index WHERE log_key = ?1 AND event_id = ?2",
    ] {
        let found = connection.prepare_cached(sql)?.query_row((log.0, SqlEventId(id)), |row| row.get(0)).optional()?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Where the append is that has a key.
pub(super) fn find_key(connection: &Connection, log: LogKey, key: &[u8]) -> rusqlite::Result<Option<i64>> {
    let recent = connection
        .prepare_cached("SELECT position FROM recent_index WHERE log_key = ?1 AND append_key = ?2")?
        .query_row((log.0, key), |row| row.get(0))
        .optional()?;
    match recent {
        Some(position) => Ok(Some(position)),
        None => final_position_of_key(connection, log, key),
    }
}

fn final_position_of_key(connection: &Connection, log: LogKey, key: &[u8]) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT position FROM key_index WHERE log_key = ?1 AND append_key = ?2")?
        .query_row((log.0, key), |row| row.get(0))
        .optional()
}

/// The entries of a log behind an event, in the order of the index, which is that of the ids unless it is damaged.
pub(super) fn after(connection: &Connection, log: LogKey, id: EventId, max: usize) -> rusqlite::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for sql in [
        "SELECT event_id, position FROM event_index WHERE log_key = ?1 AND event_id > ?2 ORDER BY event_id LIMIT ?3",
        "SELECT event_id, position FROM recent_index WHERE log_key = ?1 AND event_id > ?2 ORDER BY event_id LIMIT ?3",
    ] {
        let room = max - entries.len();
        if room > 0 {
            let mut statement = connection.prepare_cached(sql)?;
            for found in statement.query_map((log.0, SqlEventId(id), room as i64), entry)? {
                entries.push(found?);
            }
        }
    }
    Ok(entries)
}

/// The entries of a log behind an event, each with its row if it leads to one that says the same.
pub(super) const JOINED_AFTER: [&str; 2] = [
    "SELECT e.event_id, e.event_type, e.event_at, e.append_key, e.chain, e.record
     FROM event_index AS i LEFT JOIN events AS e
          ON e.position = i.position AND e.log_key = i.log_key AND e.event_id = i.event_id
     WHERE i.log_key = ?1 AND i.event_id > ?2 ORDER BY i.event_id",
    "SELECT e.event_id, e.event_type, e.event_at, e.append_key, e.chain, e.record
     FROM recent_index AS i LEFT JOIN events AS e
          ON e.position = i.position AND e.log_key = i.log_key AND e.event_id = i.event_id
     WHERE i.log_key = ?1 AND i.event_id > ?2 ORDER BY i.event_id",
];

/// The entries right behind a place in the index, one of each table: where a log ends, they are of other logs.
pub(super) fn behind(connection: &Connection, log: LogKey, id: EventId) -> rusqlite::Result<Vec<(LogKey, Entry)>> {
    let mut entries = Vec::new();
    for sql in [
        "SELECT event_id, position, log_key FROM event_index WHERE (log_key, event_id) > (?1, ?2)
         ORDER BY log_key, event_id LIMIT 1",
        "SELECT event_id, position, log_key FROM recent_index WHERE (log_key, event_id) > (?1, ?2)
         ORDER BY log_key, event_id LIMIT 1",
    ] {
        let found = connection
            .prepare_cached(sql)?
            .query_row((log.0, SqlEventId(id)), |row| Ok((LogKey(row.get(2)?), entry(row)?)))
            .optional()?;
        entries.extend(found);
    }
    Ok(entries)
}

fn entry(row: &rusqlite::Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry { id: row.get(0)?, position: row.get(1)? })
}
