//! The table that names the newest stored view of each log.

use rusqlite::{Connection, OptionalExtension};

use super::error::{SqlError, SqlResult};
use super::row::SqlEventId;
use crate::codec::Chain;
use crate::id::Digest;
use crate::port::{LogKey, Refusal, SnapshotRow, Written};

pub(crate) fn find(connection: &Connection, log: LogKey) -> SqlResult<Option<SnapshotRow>> {
    let row = connection
        .prepare_cached("SELECT event_id, chain, digest, bytes, view_schema, schema FROM snapshots WHERE log_key = ?1")?
        .query_row([log.0], |row| {
            Ok(SnapshotRow {
                event: row.get::<_, SqlEventId>(0)?.0,
                chain: Chain(row.get(1)?),
                digest: Digest::from_bytes(row.get(2)?),
                bytes: row.get::<_, i64>(3)?.unsigned_abs(),
                view_schema: row.get(4)?,
                schema: row.get(5)?,
            })
        })
        .optional()?;
    Ok(row)
}

/// The files of the logs after one, in their order.
pub(crate) fn list(connection: &Connection, after: LogKey, max: usize) -> SqlResult<Vec<(LogKey, Digest)>> {
    let mut statement = connection
        .prepare_cached("SELECT log_key, digest FROM snapshots WHERE log_key > ?1 ORDER BY log_key LIMIT ?2")?;
    let rows =
        statement.query_map((after.0, max as i64), |row| Ok((LogKey(row.get(0)?), Digest::from_bytes(row.get(1)?))))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Names the newest view of a log. A row that cannot be read is replaced like any other.
pub(crate) fn put(connection: &Connection, log: LogKey, row: &SnapshotRow) -> SqlResult<Result<Written, Refusal>> {
    let replaced = find(connection, log).ok().flatten().map(|row| row.digest);
    let mut statement =
        connection.prepare_cached("INSERT OR REPLACE INTO snapshots VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    let SnapshotRow { event, chain, digest, bytes, view_schema, schema } = row;
    let values = (log.0, SqlEventId(*event), chain.0, digest.as_bytes(), *bytes as i64, view_schema, schema);
    match statement.execute(values) {
        Ok(_) => Ok(Ok(Written::SnapshotIndexed { replaced: replaced.filter(|digest| *digest != row.digest) })),
        // The table of a cache is no reason to refuse the whole group.
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseCorrupt) => {
            Ok(Err(Refusal::Damaged { event: None, reason: error.to_string() }))
        }
        Err(error) => Err(SqlError::from(error)),
    }
}
