//! Logs whose session was deleted. A deleted log is marked, and void from then on: readers, the audit and a repair take
//! nothing of it. Its rows go in steps, its row of `logs` last, and the mark when nothing of it is left in any file.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension};

use super::deletions;
use super::error::{SqlError, SqlResult, unless_torn};
use super::schema;
use super::tombstone::TOMBSTONE;
use crate::id::{SessionId, Timestamp};
use crate::port::{LogError, LogKey};

/// Takes a session's name away and marks its log.
pub(super) fn mark(connection: &Connection, session: &SessionId, log: LogKey, at: Timestamp) -> SqlResult<()> {
    connection
        .prepare_cached("DELETE FROM sessions WHERE session_id = ?1 AND log_key = ?2")?
        .execute((session.as_str(), log.0))?;
    connection.prepare_cached("UPDATE logs SET owner = NULL WHERE log_key = ?1")?.execute([log.0])?;
    deletions::note(connection, log)?;
    connection
        .prepare_cached("INSERT OR IGNORE INTO deleted_logs(log_key, deleted_at) VALUES (?1, ?2)")?
        .execute((log.0, at.as_micros()))?;
    Ok(())
}

/// Whether a log was deleted: it is marked, or it is gone and no name leads to it. A name that leads to nothing is
/// damage.
pub(super) fn is_deleted(connection: &Connection, log: LogKey) -> SqlResult<bool> {
    // What cannot be read is found where it is needed.
    match unless_torn(has_row(connection, log))? {
        Some(false) => Ok(!unless_torn(has_name(connection, log))?.unwrap_or(true)),
        _ => is_void(connection, log),
    }
}

/// Whether a log that has a row of `logs` was deleted.
pub(super) fn is_void(connection: &Connection, log: LogKey) -> SqlResult<bool> {
    Ok(unless_torn(is_marked(connection, log))?.unwrap_or(false))
}

/// Whether `logs` has a row for it.
pub(super) fn has_row(connection: &Connection, log: LogKey) -> SqlResult<bool> {
    exists(connection, "SELECT EXISTS(SELECT 1 FROM logs WHERE log_key = ?1)", log)
}

/// Searches all names, since `sessions` has no index by log.
fn has_name(connection: &Connection, log: LogKey) -> SqlResult<bool> {
    exists(connection, "SELECT EXISTS(SELECT 1 FROM sessions WHERE log_key = ?1)", log)
}

fn is_marked(connection: &Connection, log: LogKey) -> SqlResult<bool> {
    // Format 1 has no such table, and is read as it is by a store that only reads.
    match exists(connection, "SELECT EXISTS(SELECT 1 FROM deleted_logs WHERE log_key = ?1)", log) {
        Err(SqlError::Sqlite(_)) if schema::format_number(connection)? < schema::FORMAT_WITH_DELETED => Ok(false),
        marked => marked,
    }
}

fn exists(connection: &Connection, sql: &str, log: LogKey) -> SqlResult<bool> {
    Ok(connection.prepare_cached(sql)?.query_row([log.0], |row| row.get(0))?)
}

/// Refuses a read of a log that was deleted.
pub(super) fn refuse_deleted(connection: &Connection, log: LogKey) -> Result<(), LogError> {
    if is_deleted(connection, log)? { Err(LogError::Deleted) } else { Ok(()) }
}

/// The next marked log behind one whose row of `logs` is still there.
pub(super) fn next_to_erase(connection: &Connection, after: LogKey) -> SqlResult<Option<LogKey>> {
    let next = connection
        .prepare_cached(
            "SELECT log_key FROM deleted_logs JOIN logs USING (log_key) WHERE log_key > ?1 ORDER BY log_key LIMIT 1",
        )?
        .query_row([after.0], |row| row.get(0).map(LogKey))
        .optional()?;
    Ok(next)
}

/// The marked logs of which no row is left.
pub(super) fn erased(connection: &Connection) -> SqlResult<Vec<LogKey>> {
    let sql = "SELECT log_key FROM deleted_logs WHERE log_key NOT IN (SELECT log_key FROM logs)";
    let mut select = connection.prepare_cached(sql)?;
    let logs = select.query_map([], |row| row.get(0).map(LogKey))?;
    Ok(logs.collect::<rusqlite::Result<_>>()?)
}

/// Takes the mark off logs of which nothing is left in any file.
pub(super) fn unmark(connection: &Connection, erased: &[LogKey]) -> SqlResult<()> {
    let mut delete = connection.prepare_cached("DELETE FROM deleted_logs WHERE log_key = ?1")?;
    for log in erased {
        delete.execute([log.0])?;
    }
    Ok(())
}

/// How many logs are marked.
pub(super) fn count_marked(connection: &Connection) -> SqlResult<u64> {
    if schema::format_number(connection)? < schema::FORMAT_WITH_DELETED {
        return Ok(0);
    }
    let count: i64 = connection.prepare_cached("SELECT count(*) FROM deleted_logs")?.query_row([], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// The logs whose rows count for nothing, for whoever goes through all rows: the marked ones, and that of tombstones.
pub(super) fn void_logs(connection: &Connection) -> SqlResult<HashSet<LogKey>> {
    let mut void = HashSet::from([TOMBSTONE]);
    if schema::format_number(connection)? >= schema::FORMAT_WITH_DELETED {
        let mut statement = connection.prepare_cached("SELECT log_key FROM deleted_logs")?;
        for log in statement.query_map([], |row| row.get(0).map(LogKey))? {
            void.insert(log?);
        }
    }
    Ok(void)
}
