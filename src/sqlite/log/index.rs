//! Where the events of each log are in the table: one index in two tables, so that a commit touches few pages.
//!
//! A group of appends touches the end of as many logs as it has sessions. In an index with an entry for each event these
//! ends are a page each, and those pages are most of what a commit writes. So a commit writes one row to `recent_index`,
//! which says of which logs its events are; and a later one takes what the last commits wrote of one log, and makes one row
//! of `event_index` of it.
//!
//! In every committed state each event is in one of the two, and of each log `event_index` has the beginning and
//! `recent_index` the rest, which may repeat some of it. That the ids of a log are dense and used once is checked in each
//! commit, against its head.

use rusqlite::{Connection, OptionalExtension};

use crate::id::EventId;
use crate::port::log::LogKey;
use crate::sqlite::log::reader::SqlEventId;
use crate::sqlite::log::recent::Recent;
use crate::sqlite::log::runs::{KeyHash, Run, decode_segment};

/// An event, and where it is said to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: EventId,
    pub(crate) position: i64,
}

/// What no foldlog has written.
pub(crate) fn damaged(reason: String) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(reason.into())
}

/// A row of `event_index` that is damaged, by the first event that it is of.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the index of events is damaged from this event on")]
pub(crate) struct DamagedSegment(pub(crate) EventId);

/// The position behind the last event of all.
pub(crate) fn end_of_events(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    let last: Option<i64> =
        connection.prepare_cached("SELECT max(position) FROM events")?.query_row([], |row| row.get(0))?;
    Ok(last.map(|last| last.saturating_add(1)))
}

/// Runs as they are stored. A value of another type, which a changed bit makes of them, is damage of this row alone.
pub(crate) fn bytes_at(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Vec<u8>> {
    Ok(row.get_ref(column)?.as_bytes().unwrap_or_default().to_vec())
}

/// A row of `event_index`, as it is stored.
struct Segment {
    log: LogKey,
    first: EventId,
    runs: Vec<u8>,
}

impl Segment {
    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { log: LogKey(row.get(0)?), first: row.get::<_, SqlEventId>(1)?.0, runs: bytes_at(row, 2)? })
    }

    fn decode(&self) -> rusqlite::Result<Vec<Run>> {
        let damaged = |_| rusqlite::Error::ToSqlConversionFailure(DamagedSegment(self.first).into());
        decode_segment(self.log, self.first, &self.runs).map_err(damaged)
    }

    /// Whether it is what was written for this log and event, whatever its key columns say.
    fn was(&self, log: LogKey, first: EventId) -> bool {
        decode_segment(log, first, &self.runs).is_ok()
    }
}

/// The last row of a log that begins at or before an event.
fn segment_of(connection: &Connection, log: LogKey, id: EventId) -> rusqlite::Result<Option<Segment>> {
    connection
        .prepare_cached(
            "SELECT log_key, first_event, runs FROM event_index WHERE log_key = ?1 AND first_event <= ?2
             ORDER BY first_event DESC LIMIT 1",
        )?
        .query_row((log.0, SqlEventId(id)), Segment::read)
        .optional()
}

/// The last event of a log that is in `event_index`.
pub(crate) fn last_in_segments(connection: &Connection, log: LogKey) -> rusqlite::Result<EventId> {
    Ok(last_entry_in_segments(connection, log)?.map_or(EventId::ZERO, |entry| entry.id))
}

fn last_entry_in_segments(connection: &Connection, log: LogKey) -> rusqlite::Result<Option<Entry>> {
    let Some(segment) = segment_of(connection, log, EventId::MAX)? else { return Ok(None) };
    Ok(segment.decode()?.last().map(|run| Entry { id: run.last(), position: run.end() - 1 }))
}

/// The last entry of a log.
pub(crate) fn last(connection: &Connection, recent: &Recent, log: LogKey) -> rusqlite::Result<Option<Entry>> {
    match recent.last(log) {
        Some(last) => Ok(Some(last)),
        None => last_entry_in_segments(connection, log),
    }
}

/// Where an event is.
pub(crate) fn find(
    connection: &Connection,
    recent: &Recent,
    log: LogKey,
    id: EventId,
) -> rusqlite::Result<Option<i64>> {
    if let Some(position) = recent.after(log, id.prev()).next().and_then(|run| run.position_of(id)) {
        return Ok(Some(position));
    }
    let Some(segment) = segment_of(connection, log, id)? else { return Ok(None) };
    Ok(segment.decode()?.iter().find_map(|run| run.position_of(id)))
}

/// The runs of a log behind an event, in the order of the index, which is that of the ids unless it is damaged: up to `max`
/// events.
pub(crate) fn after(
    connection: &Connection,
    recent: &Recent,
    log: LogKey,
    id: EventId,
    max: usize,
) -> rusqlite::Result<Vec<Run>> {
    let mut found = Found { runs: Vec::new(), last: id, left: max as u64 };
    let begin = segment_of(connection, log, id.next())?.map_or(EventId::ZERO, |segment| segment.first);
    let mut statement = connection.prepare_cached(
        "SELECT log_key, first_event, runs FROM event_index WHERE log_key = ?1 AND first_event >= ?2
         ORDER BY first_event",
    )?;
    let mut rows = statement.query((log.0, SqlEventId(begin)))?;
    while found.left > 0 {
        let Some(row) = rows.next()? else { break };
        match Segment::read(row).and_then(|segment| segment.decode()) {
            Ok(runs) => runs.iter().for_each(|run| found.take(run)),
            // What is before it can be read, and the next search begins with it.
            Err(_) if !found.runs.is_empty() => return Ok(found.runs),
            Err(error) => return Err(error),
        }
    }
    if found.left > 0 {
        recent.after(log, found.last).for_each(|run| found.take(&run));
    }
    Ok(found.runs)
}

struct Found {
    runs: Vec<Run>,
    last: EventId,
    left: u64,
}

impl Found {
    fn take(&mut self, run: &Run) {
        if let Some(mut run) = run.after(self.last)
            && self.left > 0
        {
            run.count = run.count.min(self.left);
            self.left -= run.count;
            self.last = run.last();
            self.runs.push(run);
        }
    }
}

/// The events of a log whose append key may be the one that is looked for, the last one first. Goes through the whole
/// index of the log: eight bytes for each key that it has.
pub(crate) fn find_key(
    connection: &Connection,
    recent: &Recent,
    log: LogKey,
    key: KeyHash,
) -> rusqlite::Result<Vec<Entry>> {
    let mut found: Vec<Entry> = recent.find_key(log, key).collect();
    let mut statement = connection.prepare_cached(
        "SELECT log_key, first_event, runs FROM event_index WHERE log_key = ?1 ORDER BY first_event DESC",
    )?;
    let mut rows = statement.query([log.0])?;
    while let Some(row) = rows.next()? {
        let runs = Segment::read(row)?.decode()?;
        let keyed = runs.iter().filter(|run| run.key == Some(key));
        found.extend(keyed.map(|run| Entry { id: run.first, position: run.position }));
    }
    Ok(found)
}

/// Looks at the end of a log from both sides: backwards from the end of its keys, and at the row behind it, which is of
/// another log. A changed bit in the index can hide the last event, and a shorter log is no error by itself.
pub(crate) fn check_end(connection: &Connection, recent: &Recent, log: LogKey, end: EventId) -> rusqlite::Result<()> {
    let wrong = || damaged(format!("the index of events is wrong where log {} ends", log.0));
    // `end` may be beyond the log: then there is nothing that it could hide.
    if last(connection, recent, log)?.is_some_and(|last| last.id > end) || recent.end() != end_of_events(connection)? {
        return Err(wrong());
    }
    let behind = connection
        .prepare_cached(
            "SELECT log_key, first_event, runs FROM event_index WHERE (log_key, first_event) > (?1, ?2)
             ORDER BY log_key, first_event LIMIT 1",
        )?
        .query_row((log.0, SqlEventId(end)), Segment::read)
        .optional();
    match behind {
        // Only what is of this log is this log's damage: what is wrong with another is found when that is read.
        Ok(Some(segment)) if segment.log == log || segment.was(log, end.next()) => Err(wrong()),
        Ok(_) => Ok(()),
        Err(error) if error.sqlite_error_code().is_none() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Every row of `event_index`, decoded, for a verification.
pub(crate) fn each_segment(
    connection: &Connection,
    mut each: impl FnMut(LogKey, EventId, Option<Vec<Run>>),
) -> rusqlite::Result<()> {
    let mut statement =
        connection.prepare("SELECT log_key, first_event, runs FROM event_index ORDER BY log_key, first_event")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let segment = Segment::read(row)?;
        each(segment.log, segment.first, segment.decode().ok());
    }
    Ok(())
}
