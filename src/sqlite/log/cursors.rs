//! Cursors: where consumers of the feed are.

use rusqlite::{Connection, OptionalExtension};

use super::error::SqlResult;
use crate::port::{CursorChange, Refusal, Written};

/// Where a cursor is.
pub(super) fn find(connection: &Connection, name: &str) -> SqlResult<Option<String>> {
    if !is_there(connection)? {
        return Ok(None);
    }
    let found = connection
        .prepare_cached("SELECT position FROM cursors WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    Ok(found)
}

/// The cursors whose names come after one, in the order of the names.
pub(super) fn list(connection: &Connection, after: &str, max: usize) -> SqlResult<Vec<(String, String)>> {
    if !is_there(connection)? {
        return Ok(Vec::new());
    }
    let mut select =
        connection.prepare_cached("SELECT name, position FROM cursors WHERE name > ?1 ORDER BY name LIMIT ?2")?;
    let max = i64::try_from(max).unwrap_or(i64::MAX);
    let rows = select.query_map((after, max), |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn change(connection: &Connection, change: &CursorChange) -> SqlResult<Result<Written, Refusal>> {
    let found = find(connection, &change.name)?;
    match change.apply(found.as_deref()) {
        Err(refusal) => return Ok(Err(refusal)),
        Ok(position) if position == found.as_deref() => {}
        Ok(Some(position)) => {
            connection
                .prepare_cached("INSERT OR REPLACE INTO cursors(name, position) VALUES (?1, ?2)")?
                .execute((&change.name, position))?;
        }
        Ok(None) => {
            connection.prepare_cached("DELETE FROM cursors WHERE name = ?1")?.execute([&change.name])?;
        }
    }
    Ok(Ok(Written::CursorChanged))
}

/// Whether the database has the table: a store that only reads takes a database as it is, which may be of before.
pub(super) fn is_there(connection: &Connection) -> SqlResult<bool> {
    let found = connection
        .prepare_cached("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'cursors'")?
        .query_row([], |_| Ok(()))
        .optional()?;
    Ok(found.is_some())
}
