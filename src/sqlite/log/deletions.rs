//! The deletions of sessions, in their order, for ever: of a deleted log nothing else is left that a feed could tell
//! of.

use rusqlite::{Connection, OptionalExtension};

use super::error::SqlResult;
use crate::id::HistoryId;
use crate::port::{DeletionNumber, LogKey};

/// Notes that a log is being deleted.
pub(super) fn note(connection: &Connection, log: LogKey) -> SqlResult<()> {
    connection
        .prepare_cached("INSERT INTO deletions(log_id) SELECT log_id FROM logs WHERE log_key = ?1")?
        .execute([log.0])?;
    Ok(())
}

/// The number of the last deletion.
pub(super) fn last(connection: &Connection) -> SqlResult<DeletionNumber> {
    if !is_there(connection)? {
        return Ok(DeletionNumber::default());
    }
    let last =
        connection.prepare_cached("SELECT coalesce(max(number), 0) FROM deletions")?.query_row([], |row| row.get(0))?;
    Ok(DeletionNumber(last))
}

/// The deletions behind one, up to `max`.
pub(super) fn behind(
    connection: &Connection,
    after: DeletionNumber,
    max: usize,
) -> SqlResult<Vec<(DeletionNumber, HistoryId)>> {
    if !is_there(connection)? {
        return Ok(Vec::new());
    }
    let mut select =
        connection.prepare_cached("SELECT number, log_id FROM deletions WHERE number > ?1 ORDER BY number LIMIT ?2")?;
    let max = i64::try_from(max).unwrap_or(i64::MAX);
    let rows = select
        .query_map([after.0, max], |row| Ok((DeletionNumber(row.get(0)?), HistoryId::from_bytes(row.get(1)?))))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Whether the database has the table: a store that only reads takes a database as it is, which may be of before.
pub(super) fn is_there(connection: &Connection) -> SqlResult<bool> {
    let found = connection
        .prepare_cached("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'deletions'")?
        .query_row([], |_| Ok(()))
        .optional()?;
    Ok(found.is_some())
}
