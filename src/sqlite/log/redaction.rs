//! Redacted events in their table, in the index, and in the counter.
//!
//! SQLite leaves copies in the free space of a page where rows of different sizes move
//! ([`tombstone`](super::tombstone)). So a redacted record takes the room of the one before it, filled up with zeros:
//! the row is overwritten where it stands, with the pages that it goes on in, and nothing moves. A record that is
//! larger than the one before it is written all the same; the old row is overwritten first.
//!
//! Of an append key nothing is left but that there was one: empty bytes in the column, and zeros instead of the hash in
//! the index. The record tells whether a key is the one that is gone.

use std::collections::HashMap;

use rusqlite::{CachedStatement, Connection, OptionalExtension};

use super::deleted;
use super::error::{SqlError, SqlResult};
use super::index;
use super::recent::Recent;
use super::row::{IndexEntry, SqlEventId, event_at, raise_meta_number};
use super::runs::{KeyHash, RecentRow, Run, encode_segment};
use super::schema;
use super::segments::segment_of;
use super::tombstone;
use crate::codec;
use crate::id::AppendKey;
use crate::port::{LogError, LogKey, RedactedRecord, StoredEvent, StoredRow};

/// A row that is to be redacted, and what it holds now.
pub(super) struct ToRedact<'a> {
    record: &'a RedactedRecord,
    position: i64,
    before: StoredEvent,
}

impl<'a> ToRedact<'a> {
    /// Looks for the row. Changes nothing.
    pub(super) fn of(
        connection: &Connection,
        recent: &Recent,
        log: LogKey,
        record: &'a RedactedRecord,
    ) -> SqlResult<Self> {
        let lost = || SqlError::damaged_from(record.event, "the log lost an event that is to be redacted");
        let position = index::find(connection, recent, log, record.event)?.ok_or_else(lost)?;
        let found = event_at(connection, log, IndexEntry { id: record.event, position });
        let before = found.map_err(|error| match error {
            LogError::CorruptEvent { .. } | LogError::Corrupt(_) => lost(),
            error => SqlError::outside(&error),
        })?;
        if !codec::chains_alike(&before.record, &record.record) {
            return Err(SqlError::damaged_from(record.event, "the record to be redacted is not the one that was read"));
        }
        Ok(Self { record, position, before })
    }

    /// Writes the redacted record over the row.
    pub(super) fn overwrite(&self, connection: &Connection, log: LogKey) -> SqlResult<()> {
        let mut record = self.record.record.clone();
        let key = self.before.key.as_ref().map_or(0, |key| key.as_bytes().len());
        let room = room_of(key, self.before.record.len());
        record.resize(record.len().max(room), 0);
        let changed = connection
            .prepare_cached(
                "UPDATE events SET record = ?2, append_key = CASE WHEN append_key IS NULL THEN NULL ELSE x'' END
                 WHERE position = ?1",
            )?
            .execute((self.position, record))?;
        if changed != 1 {
            return Err(SqlError::Sqlite(rusqlite::Error::QueryReturnedNoRows));
        }
        if self.before.key.is_some() {
            self.forget_in_segments(connection, log)?;
            self.forget_in_recent(connection, log)?;
        }
        Ok(())
    }

    fn forget_in_segments(&self, connection: &Connection, log: LogKey) -> SqlResult<()> {
        let Some(segment) = segment_of(connection, log, self.record.event)? else { return Ok(()) };
        let mut runs = segment.decode()?;
        if runs.iter_mut().fold(false, |changed, run| changed | self.forget_key(run)) {
            connection
                .prepare_cached("UPDATE event_index SET runs = ?3 WHERE log_key = ?1 AND first_event = ?2")?
                .execute((log.0, SqlEventId(segment.first), encode_segment(log, &runs)))?;
        }
        Ok(())
    }

    fn forget_in_recent(&self, connection: &Connection, log: LogKey) -> SqlResult<()> {
        let row: Option<(i64, Vec<u8>)> = connection
            .prepare_cached(
                "SELECT first_position, runs FROM recent_index WHERE first_position <= ?1
                 ORDER BY first_position DESC LIMIT 1",
            )?
            .query_row([self.position], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        // Where the row is damaged, the events themselves are read.
        let Some((first, Ok(mut runs))) = row.map(|(first, row)| (first, RecentRow::decode(first, &row))) else {
            return Ok(());
        };
        if runs.iter_mut().fold(false, |changed, (of, run)| changed | (*of == log && self.forget_key(run))) {
            connection
                .prepare_cached("UPDATE recent_index SET runs = ?2 WHERE first_position = ?1")?
                .execute((first, RecentRow::of(runs).encode(first)))?;
        }
        Ok(())
    }

    fn forget_key(&self, run: &mut Run) -> bool {
        let is_this = run.position == self.position && run.key.is_some();
        run.key = if is_this { Some(KeyHash::REDACTED) } else { run.key };
        is_this
    }
}

/// The length of a record without an append key with which a row has the size of one with a key and a record of these
/// lengths; the next smaller one, if there is none.
fn room_of(key: usize, record: usize) -> usize {
    let in_row = |bytes: usize| tombstone::text(bytes as i64) as usize;
    // No key and empty bytes both take one byte.
    let left = if key == 0 { in_row(record) } else { in_row(key) + in_row(record) - 1 };
    (1..=5).map(|size| left.saturating_sub(size)).find(|bytes| in_row(*bytes) <= left).unwrap_or(record)
}

/// The number in `meta` of how many redactions were ever made: whoever sees another one than before has rows of before.
pub(super) const MADE: &str = "redactions_made";

/// Counts one more redaction of a log. The count is below zero for as long as the files may hold bytes of what is gone.
pub(super) fn count_up(connection: &Connection, log: LogKey) -> SqlResult<()> {
    raise_meta_number(connection, MADE)?;
    connection
        .prepare_cached(
            "INSERT INTO redactions(log_key, count) VALUES (?1, -1)
             ON CONFLICT(log_key) DO UPDATE SET count = -(abs(count) + 1)",
        )?
        .execute([log.0])?;
    Ok(())
}

/// How often a log was redacted.
pub(super) fn count(connection: &Connection, log: LogKey) -> SqlResult<u64> {
    let Some(mut select) = prepared(connection, "SELECT count FROM redactions WHERE log_key = ?1")? else {
        return Ok(0);
    };
    let count: Option<i64> = select.query_row([log.0], |row| row.get(0)).optional()?;
    Ok(count.unwrap_or_default().unsigned_abs())
}

/// How often logs were redacted, of those that were.
pub(super) fn counts(connection: &Connection) -> SqlResult<HashMap<LogKey, u64>> {
    let statement = prepared(connection, "SELECT log_key, abs(count) FROM redactions")?;
    let Some(mut statement) = statement else { return Ok(HashMap::new()) };
    let rows = statement.query_map([], |row| Ok((LogKey(row.get(0)?), row.get::<_, i64>(1)?.unsigned_abs())))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// A query of the table; `None` where there is no such table, in a database of format 1 that is only read.
fn prepared<'a>(connection: &'a Connection, sql: &str) -> SqlResult<Option<CachedStatement<'a>>> {
    match connection.prepare_cached(sql) {
        Err(_) if schema::format_number(connection)? < schema::FORMAT_WITH_DELETED => Ok(None),
        prepared => Ok(prepared.map(Some)?),
    }
}

/// The logs of whose redacted events the files may hold bytes, with their counts.
pub(super) fn pending(connection: &Connection) -> SqlResult<Vec<(LogKey, i64)>> {
    let statement = prepared(connection, "SELECT log_key, count FROM redactions WHERE count < 0")?;
    let Some(mut statement) = statement else { return Ok(Vec::new()) };
    let rows = statement.query_map([], |row| Ok((LogKey(row.get(0)?), row.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// How many of these logs are not deleted: what is, is erased as a whole.
pub(super) fn pending_of_living(connection: &Connection) -> SqlResult<u64> {
    let mut logs = 0;
    for (log, _) in pending(connection)? {
        logs += u64::from(!deleted::is_void(connection, log)?);
    }
    Ok(logs)
}

/// Notes that the files hold nothing of what was redacted, unless a log was redacted again since.
pub(super) fn erased(connection: &Connection, pending: &[(LogKey, i64)]) -> SqlResult<()> {
    let mut update =
        connection.prepare_cached("UPDATE redactions SET count = -count WHERE log_key = ?1 AND count = ?2")?;
    for (log, count) in pending {
        update.execute((log.0, *count))?;
    }
    Ok(())
}

/// Whether an event is that of an append with this key, which may be gone.
pub(super) fn has_key(event: &StoredEvent, key: &AppendKey) -> bool {
    event.key.as_ref() == Some(key) || codec::was_key(&event.record, key)
}

/// What the index has of the append key of an event.
pub(crate) fn key_hash_of(event: StoredRow<'_>) -> Option<KeyHash> {
    let is_gone = codec::has_redacted_key(event.record);
    event.key.map(KeyHash::of).or_else(|| is_gone.then_some(KeyHash::REDACTED))
}

/// What the column has of the append key of an event.
pub(super) fn key_column(event: StoredRow<'_>) -> Option<&[u8]> {
    let is_gone = codec::has_redacted_key(event.record);
    event.key.map(AppendKey::as_bytes).or_else(|| is_gone.then_some(&[]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SQLite itself tells the size of a row: its payload.
    #[test]
    fn a_row_without_its_key_has_the_size_of_the_row_before_it() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE t(a, b)").unwrap();
        let payload = |key: Option<usize>, record: usize| -> i64 {
            connection.execute("DELETE FROM t", []).unwrap();
            let key = key.map(|key| vec![1_u8; key]);
            connection.execute("INSERT INTO t VALUES (?1, ?2)", (key, vec![1_u8; record])).unwrap();
            connection
                .query_row("SELECT payload FROM dbstat WHERE name = 't' AND ncell = 1", [], |row| row.get(0))
                .unwrap()
        };
        for record in (30..200).chain([8185, 8186, 8187, 30_000]) {
            assert_eq!(room_of(0, record), record);
            for key in [1, 2, 6, 57, 58, 64] {
                let (before, room) = (payload(Some(key), record), room_of(key, record));
                let after = payload(Some(0), room);
                assert!((before - 1..=before).contains(&after), "{key} {record}: {before} {after}");
                assert!(after == before || payload(Some(0), room + 1) > before, "{key} {record}");
            }
        }
    }
}
