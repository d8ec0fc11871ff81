//! Rows of the tables, as they are read: each value is of the type and size that foldlog writes, or the row is damaged.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row};

use super::error::SqlResult;
use crate::codec::Chain;
use crate::id::{AppendKey, EventId, Timestamp};
use crate::port::{Head, LogError, LogKey, LogMeta, StoredEvent, StoredRow};

/// An event, and the position in the table where the index says that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IndexEntry {
    pub(super) id: EventId,
    pub(super) position: i64,
}

/// An event id as SQLite stores it. A newtype, so that rusqlite's traits stay out of the public interface.
pub(super) struct SqlEventId(pub(super) EventId);

impl ToSql for SqlEventId {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        // At most 2^53 - 1.
        Ok((self.0.get() as i64).into())
    }
}

impl FromSql for SqlEventId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let id = value.as_i64()?;
        match u64::try_from(id) {
            Ok(position) if position <= EventId::MAX.get() => Ok(Self(EventId::new(position))),
            _ => Err(FromSqlError::OutOfRange(id)),
        }
    }
}

/// The columns that [`log_meta`] reads.
pub(super) const META: &str = "log_key, log_id, fork_event_id, fork_chain";

/// What never changes of a log, of the columns [`META`] from `first` on.
pub(super) fn log_meta(row: &Row<'_>, first: usize) -> rusqlite::Result<LogMeta> {
    let root = LogMeta::root(LogKey(row.get(first)?), row.get(first + 1)?);
    Ok(match row.get::<_, Option<SqlEventId>>(first + 2)? {
        None => root,
        Some(SqlEventId(id)) => {
            let base = Head { id, chain: Chain(row.get(first + 3)?), at: Timestamp::default() };
            LogMeta { base, ..root }
        }
    })
}

/// Runs as they are stored. A value of another type, which a changed bit makes of them, is damage of this row alone.
pub(super) fn bytes_at(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<u8>> {
    Ok(row.get_ref(column)?.as_bytes().unwrap_or_default().to_vec())
}

/// Events at positions, in the columns that the functions below read.
pub(super) const EVENTS: &str =
    "SELECT event_id, event_type, event_at, append_key, chain, record, log_key, position FROM events
     WHERE position >= ?1 AND position < ?2 ORDER BY position";

/// Adds an event, with all columns.
pub(super) const INSERT_EVENT: &str =
    "INSERT INTO events(position, log_key, event_id, event_type, event_at, append_key, chain, record)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";

/// Whether a row of [`EVENTS`] is at a position, and of a log.
pub(super) fn is_at(row: &Row<'_>, position: i64, log: LogKey) -> bool {
    row.get(7).is_ok_and(|found: i64| found == position) && row.get(6).is_ok_and(|found: i64| found == log.0)
}

/// The key of a row of [`EVENTS`]. It is made anew: a [`StoredRow`] only refers to it.
pub(super) fn append_key(row: &Row<'_>) -> rusqlite::Result<Option<AppendKey>> {
    const COLUMN: usize = 3;
    // Empty where the key is gone.
    let key = row.get_ref(COLUMN)?.as_blob_or_null()?.filter(|key| !key.is_empty());
    key.map(AppendKey::new).transpose().map_err(|error| not_ours(COLUMN, error))
}

/// A row of [`EVENTS`], without a copy of its bytes.
pub(super) fn stored_row<'a>(row: &'a Row<'_>, key: Option<&'a AppendKey>) -> rusqlite::Result<StoredRow<'a>> {
    Ok(StoredRow {
        id: row.get::<_, SqlEventId>(0)?.0,
        event_type: row.get_ref(1)?.as_str()?,
        at: Timestamp::from_micros(row.get(2)?),
        key,
        chain: Chain(row.get(4)?),
        record: row.get_ref(5)?.as_blob()?,
    })
}

/// The event that an entry of the index leads to, held against the entry.
pub(super) fn event_at(connection: &Connection, log: LogKey, entry: IndexEntry) -> Result<StoredEvent, LogError> {
    let id = entry.id;
    let damaged = |reason: String| LogError::CorruptEvent { event: id, reason };
    let row = connection.prepare_cached(EVENTS)?.query_row([entry.position, entry.position.saturating_add(1)], |row| {
        let key = append_key(row)?;
        Ok((stored_row(row, key.as_ref())?.to_event(), LogKey(row.get(6)?)))
    });
    match row.optional() {
        Ok(Some((event, found))) if event.id == id && found == log => Ok(event),
        Ok(Some((event, found))) => Err(damaged(format!("the index leads to event {} of log {}", event.id, found.0))),
        Ok(None) => Err(damaged("the index leads to no row".to_owned())),
        Err(error) => Err(match LogError::from(error) {
            LogError::Corrupt(reason) => damaged(reason),
            error => error,
        }),
    }
}

/// The position behind the last event of all; `None` when there is none.
pub(super) fn end_of_events(connection: &Connection) -> SqlResult<Option<i64>> {
    let last: Option<i64> =
        connection.prepare_cached("SELECT max(position) FROM events")?.query_row([], |row| row.get(0))?;
    Ok(last.map(|last| last.saturating_add(1)))
}
pub(super) const STORE_ID: &str = "store_id";

/// A row of `meta`.
pub(super) fn setting(connection: &Connection, name: &str) -> SqlResult<Option<String>> {
    let mut select = connection.prepare_cached("SELECT value FROM meta WHERE name = ?1")?;
    Ok(select.query_row([name], |row| row.get(0)).optional()?)
}

/// A number in `meta`; 0 if there is none.
pub(super) fn meta_number(connection: &Connection, name: &str) -> SqlResult<i64> {
    let mut select = connection.prepare_cached("SELECT CAST(value AS INTEGER) FROM meta WHERE name = ?1")?;
    Ok(select.query_row([name], |row| row.get(0)).optional()?.unwrap_or_default())
}

/// Raises a number in `meta`, and gives it.
pub(super) fn raise_meta_number(connection: &Connection, name: &str) -> SqlResult<i64> {
    let mut raise = connection.prepare_cached(
        "INSERT INTO meta VALUES (?1, '1') ON CONFLICT(name) DO UPDATE SET value = CAST(value AS INTEGER) + 1
         RETURNING CAST(value AS INTEGER)",
    )?;
    Ok(raise.query_row([name], |row| row.get(0))?)
}

/// Writes a row of `meta`, or removes it.
pub(super) fn put_setting(connection: &Connection, name: &str, value: Option<&str>) -> SqlResult<()> {
    match value {
        Some(value) => connection
            .prepare_cached("INSERT OR REPLACE INTO meta(name, value) VALUES (?1, ?2)")?
            .execute((name, value))?,
        None => connection.prepare_cached("DELETE FROM meta WHERE name = ?1")?.execute([name])?,
    };
    Ok(())
}

/// The number in `meta` of the last position that a damaged directory had used, in the one that a repair made of it:
/// the events at the end may not have been taken, and positions are never used again.
pub(super) const HIGHEST_POSITION: &str = "highest_position";

/// The position that the next event must be given, where SQLite would give one that was used before the store was
/// repaired.
pub(super) fn position_behind_lost(connection: &Connection) -> SqlResult<Option<i64>> {
    let highest = meta_number(connection, HIGHEST_POSITION)?;
    if highest == 0 {
        return Ok(None);
    }
    let end = end_of_events(connection)?;
    Ok(end.is_none_or(|end| end <= highest).then(|| highest.saturating_add(1)))
}

/// Whether an event is between two positions, the first of them included.
pub(super) fn has_events(connection: &Connection, begin: i64, end: i64) -> SqlResult<bool> {
    Ok(connection
        .prepare_cached("SELECT EXISTS(SELECT 1 FROM events WHERE position >= ?1 AND position < ?2)")?
        .query_row([begin, end], |row| row.get(0))?)
}

/// The error for a value that foldlog never writes.
pub(super) fn not_ours(column: usize, error: crate::error::Error) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Null, Box::new(error))
}
