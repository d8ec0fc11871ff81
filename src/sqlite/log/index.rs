//! Where the events of each log are in the table: one index in two tables, so that a commit touches few pages.
//!
//! A group of appends touches the end of as many logs as it has sessions. In an index with an entry for each event,
//! each of these ends is on a page of its own, and those pages are most of what a commit writes. So a commit writes one
//! row to `recent_index`, which says of which logs its events are. A later commit takes what the last commits wrote of
//! one log, and makes one row of `event_index` of it.
//!
//! Invariant: in every committed state each event is in one of the two tables. `event_index` has the beginning of each
//! log; `recent_index` has the rest, and may repeat some of the beginning. Each commit checks against the log's head
//! that the ids of a log are dense and used once.

use rusqlite::{Connection, OptionalExtension};

use super::error::{SqlError, SqlResult};
use super::recent::Recent;
use super::row::{IndexEntry, SqlEventId};
use super::runs::{KeyHash, Run};
use super::segments::{Segment, last_entry_in_segments, segment_of};
use crate::id::EventId;
use crate::port::LogKey;

/// Takes a page of `event_index` that cannot be read for one that has nothing, if what it has is known otherwise.
fn readable<T>(recent: &Recent, read: SqlResult<T>) -> SqlResult<Option<T>> {
    match read {
        Err(error) if error.is_torn_page() && recent.stands_in() => Ok(None),
        read => read.map(Some),
    }
}

/// The last entry of a log.
pub(super) fn last(connection: &Connection, recent: &Recent, log: LogKey) -> SqlResult<Option<IndexEntry>> {
    match recent.last(log) {
        Some(last) => Ok(Some(last)),
        // If it is not here either, then there is none.
        None => Ok(readable(recent, last_entry_in_segments(connection, log))?.flatten()),
    }
}

/// The position of an event.
pub(super) fn find(connection: &Connection, recent: &Recent, log: LogKey, id: EventId) -> SqlResult<Option<i64>> {
    if let Some(position) = recent.after(log, id.prev()).next().and_then(|run| run.position_of(id)) {
        return Ok(Some(position));
    }
    let segment = readable(recent, segment_of(connection, log, id))?.flatten();
    let Some(segment) = segment else { return Ok(None) };
    Ok(segment.decode()?.iter().find_map(|run| run.position_of(id)))
}

/// The runs of a log behind an event, up to `max` events, in the order of the index. Unless the index is damaged, that
/// is the order of the ids.
pub(super) fn after(
    connection: &Connection,
    recent: &Recent,
    log: LogKey,
    id: EventId,
    max: usize,
) -> SqlResult<FoundRuns> {
    let mut found = FoundRuns { runs: Vec::new(), is_cut: false, last: id, left: max as u64 };
    let begin = readable(recent, segment_of(connection, log, id.next()))?;
    let begin = begin.flatten().map_or(EventId::ZERO, |segment| segment.first);
    let mut statement = connection.prepare_cached(
        "SELECT log_key, first_event, runs FROM event_index WHERE log_key = ?1 AND first_event >= ?2
         ORDER BY first_event",
    )?;
    let mut rows = statement.query((log.0, SqlEventId(begin)))?;
    while found.left > 0 {
        let Some(row) = readable(recent, rows.next().map_err(SqlError::from))?.flatten() else { break };
        match Segment::read(row).map_err(SqlError::from).and_then(|segment| segment.decode()) {
            Ok(runs) => runs.iter().for_each(|run| found.take(run)),
            // The runs before the damaged row can be read, and the next search begins with that row.
            Err(_) if !found.runs.is_empty() => {
                found.is_cut = true;
                return Ok(found);
            }
            Err(error) => return Err(error),
        }
    }
    if found.left > 0 {
        recent.after(log, found.last).for_each(|run| found.take(&run));
    }
    Ok(found)
}

/// Some runs of a log.
pub(super) struct FoundRuns {
    pub(super) runs: Vec<Run>,
    /// Whether a damaged row comes right behind them.
    pub(super) is_cut: bool,
    last: EventId,
    left: u64,
}

impl FoundRuns {
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
pub(super) fn find_key(
    connection: &Connection,
    recent: &Recent,
    log: LogKey,
    key: KeyHash,
) -> SqlResult<Vec<IndexEntry>> {
    let mut found: Vec<IndexEntry> = recent.find_key(log, key).collect();
    let mut statement = connection.prepare_cached(
        "SELECT log_key, first_event, runs FROM event_index WHERE log_key = ?1 ORDER BY first_event DESC",
    )?;
    let mut rows = statement.query([log.0])?;
    while let Some(row) = readable(recent, rows.next().map_err(SqlError::from))?.flatten() {
        let runs = Segment::read(row)?.decode()?;
        let keyed = runs.iter().filter(|run| run.key.is_some_and(|found| found.may_be(key)));
        found.extend(keyed.map(|run| IndexEntry { id: run.first, position: run.position }));
    }
    Ok(found)
}

/// Makes sure that a log ends where it seems to, from two sides: backwards from the end of its keys, and at the row of
/// `event_index` behind them, which must be of another log. A changed bit in the index can hide the last event, and a
/// shorter log alone is no error.
pub(super) fn check_end(connection: &Connection, recent: &Recent, log: LogKey, end: EventId) -> SqlResult<()> {
    let wrong = || SqlError::damaged(format!("the index of events is wrong where log {} ends", log.0));
    // `end` may be beyond the log: then there is nothing that it could hide.
    let last = last(connection, recent, log)?;
    if last.is_some_and(|last| last.id > end) {
        return Err(wrong());
    }
    recent.sees_end(log, last)?;
    let behind = connection
        .prepare_cached(
            "SELECT log_key, first_event, runs FROM event_index WHERE (log_key, first_event) > (?1, ?2)
             ORDER BY log_key, first_event LIMIT 1",
        )?
        .query_row((log.0, SqlEventId(end)), Segment::read)
        .optional()
        .map_err(SqlError::from);
    match behind {
        // Only what is of this log is this log's damage: what is wrong with another is found when that one is read.
        Ok(Some(segment)) if segment.log == log || segment.verifies_as(log, end.next()) => Err(wrong()),
        Ok(_) | Err(SqlError::Damaged(_)) => Ok(()),
        Err(error) => readable(recent, Err::<(), _>(error)).map(drop),
    }
}
