//! The rows of `event_index`: each holds runs of one log that follow each other.

use rusqlite::{Connection, OptionalExtension, Row};

use super::error::{SqlError, SqlResult};
use super::row::{IndexEntry, SqlEventId, bytes_at};
use super::runs::{Run, decode_segment};
use crate::id::EventId;
use crate::port::LogKey;

/// A row of `event_index`, as it is stored.
pub(super) struct Segment {
    pub(super) log: LogKey,
    pub(super) first: EventId,
    runs: Vec<u8>,
}

impl Segment {
    /// Reads a row of the columns log, first event, runs.
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { log: LogKey(row.get(0)?), first: row.get::<_, SqlEventId>(1)?.0, runs: bytes_at(row, 2)? })
    }

    pub(super) fn decode(&self) -> SqlResult<Vec<Run>> {
        let damaged = |_| SqlError::damaged_from(self.first, "the index of events is damaged from this event on");
        decode_segment(self.log, self.first, &self.runs).map_err(damaged)
    }

    pub(super) fn delete(&self, connection: &Connection) -> SqlResult<()> {
        connection
            .prepare_cached("DELETE FROM event_index WHERE log_key = ?1 AND first_event = ?2")?
            .execute((self.log.0, SqlEventId(self.first)))?;
        Ok(())
    }

    /// Whether its checksum holds under this log and event, whatever the row's own key columns say.
    pub(super) fn verifies_as(&self, log: LogKey, first: EventId) -> bool {
        decode_segment(log, first, &self.runs).is_ok()
    }
}

/// The last row of a log that begins at or before an event.
pub(super) fn segment_of(connection: &Connection, log: LogKey, id: EventId) -> SqlResult<Option<Segment>> {
    let segment = connection
        .prepare_cached(
            "SELECT log_key, first_event, runs FROM event_index WHERE log_key = ?1 AND first_event <= ?2
             ORDER BY first_event DESC LIMIT 1",
        )?
        .query_row((log.0, SqlEventId(id)), Segment::read)
        .optional()?;
    Ok(segment)
}

/// The first row of a log, and whether it is the only one.
pub(super) fn first_segment(connection: &Connection, log: LogKey) -> SqlResult<Option<(Segment, bool)>> {
    let mut statement = connection.prepare_cached(
        "SELECT log_key, first_event, runs FROM event_index WHERE log_key = ?1 ORDER BY first_event LIMIT 2",
    )?;
    let mut rows = statement.query([log.0])?;
    let Some(first) = rows.next()?.map(Segment::read).transpose()? else { return Ok(None) };
    let is_last = rows.next()?.is_none();
    Ok(Some((first, is_last)))
}

/// The last entry of a log in `event_index`.
pub(super) fn last_entry_in_segments(connection: &Connection, log: LogKey) -> SqlResult<Option<IndexEntry>> {
    let Some(segment) = segment_of(connection, log, EventId::MAX)? else { return Ok(None) };
    Ok(segment.decode()?.last().map(|run| IndexEntry { id: run.last(), position: run.end() - 1 }))
}

/// The last event of a log that is in `event_index`; what stands before the log's own first event where there is none.
pub(super) fn last_in_segments(connection: &Connection, log: LogKey) -> SqlResult<EventId> {
    match last_entry_in_segments(connection, log)? {
        Some(entry) => Ok(entry.id),
        None => base_of(connection, log),
    }
}

/// As [`last_in_segments`], if each of the log's rows is on a page that can be read.
pub(super) fn last_in_readable_segments(connection: &Connection, log: LogKey) -> SqlResult<EventId> {
    let mut statement = connection.prepare_cached("SELECT count(runs) FROM event_index WHERE log_key = ?1")?;
    let _rows: i64 = statement.query_row([log.0], |row| row.get(0))?;
    last_in_segments(connection, log)
}

/// What stands before the first event of a log.
pub(super) fn base_of(connection: &Connection, log: LogKey) -> SqlResult<EventId> {
    let fork: Option<Option<SqlEventId>> = connection
        .prepare_cached("SELECT fork_event_id FROM logs WHERE log_key = ?1")?
        .query_row([log.0], |row| row.get(0))
        .optional()?;
    Ok(fork.flatten().map_or(EventId::ZERO, |id| id.0))
}

/// Every row of `event_index`, decoded, for a verification. `None` for one that is damaged.
pub(super) fn each_segment(
    connection: &Connection,
    mut each: impl FnMut(LogKey, EventId, Option<Vec<Run>>),
) -> SqlResult<()> {
    let mut statement =
        connection.prepare("SELECT log_key, first_event, runs FROM event_index ORDER BY log_key, first_event")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let segment = Segment::read(row)?;
        each(segment.log, segment.first, segment.decode().ok());
    }
    Ok(())
}
