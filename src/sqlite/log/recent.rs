//! The entries of `recent_index` in memory: which events the last commits wrote, and where.

use std::cell::Cell;
use std::collections::{HashMap, HashSet, VecDeque};

use rusqlite::Connection;

use super::error::{SqlError, SqlResult, unless_torn};
use super::redaction;
use super::row::{IndexEntry, SqlEventId, bytes_at, end_of_events, meta_number};
use super::runs::{KeyHash, RecentRow, Run, encode_segment};
use super::scan::scan;
use super::segments::{last_in_readable_segments, last_in_segments};
use super::{deleted, tombstone};
use crate::id::EventId;
use crate::port::LogKey;

/// The runs of the last commits. A row is never changed, and rows go from the front alone, so what was read once stays
/// right: an entry whose row is gone is in `event_index`, too.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// One for each row, in the order of their positions.
    groups: VecDeque<Span>,
    logs: HashMap<LogKey, VecDeque<Run>>,
    /// The logs that have runs here, that with the oldest first.
    oldest_first: VecDeque<LogKey>,
    keys: HashSet<(LogKey, KeyHash)>,
    /// The last events that are in `event_index`, of logs that were looked at since another store wrote last.
    indexed: HashMap<LogKey, EventId>,
    /// How many events are in `logs`.
    events: u64,
    /// How many of the groups were there when all rows were read.
    loaded: usize,
    /// The position behind the last event; `None` when there is none.
    end: Option<i64>,
    /// Whether the index says that there are events behind the last one of the table.
    is_cut: bool,
    /// The position behind the last events that neither the table nor the index can tell of: a log whose last known
    /// event is before it may go on there.
    blind: Option<i64>,
    /// Whether the logs that `event_index` cannot tell of are all in here.
    whole: bool,
    /// How often logs were redacted when the rows were read.
    redactions: i64,
    /// Whether something was asked for that a page of `event_index` has which cannot be read.
    is_missing: Cell<bool>,
}

#[derive(Debug)]
struct Span {
    first: i64,
    /// How many of its events are not known to be in `event_index`.
    left: u64,
}

/// How many events stay in `recent_index`, and how many rows: with fewer, fewer events of the same log are moved
/// together; with more, a reader has more to go through. Measured.
const EVENTS_KEPT: u64 = 16_384;
const GROUPS_KEPT: usize = 64;
/// How many rows are deleted at once: each deletion also writes the pages that list what is free.
const GROUPS_DROPPED: usize = 32;
/// The most runs in a row of `event_index`: what a search for one event goes through.
pub(super) const SEGMENT_RUNS_MAX: usize = 256;
/// For how many logs it is remembered where they end in `event_index`. At the limit all of them are forgotten, and each
/// is looked up once more.
const INDEXED_MAX: usize = 16_384;
/// Rows that may be gone from the table are kept in memory up to this number: then all that are there are read again.
/// None is forgotten by itself, since a run may begin in it and go on in one that is still there.
const STALE_GROUPS_MAX: usize = 256;

/// Rows of `recent_index`: first position, runs.
type StoredRows = Vec<(i64, Vec<u8>)>;

impl Recent {
    /// Reads all rows.
    pub(crate) fn load(connection: &Connection) -> SqlResult<Self> {
        let mut recent = Self::default();
        recent.catch_up(connection)?;
        Ok(recent)
    }

    /// As [`Recent::load`], for a database whose `event_index` has pages that cannot be read: the logs in these pages
    /// are looked up in the table of events, once.
    pub(crate) fn whole(connection: &Connection) -> SqlResult<Self> {
        let mut recent = Self { whole: true, ..Self::default() };
        recent.catch_up(connection)?;
        Ok(recent)
    }

    /// Reads the rows behind those that are known. Where one is missing or damaged, the events themselves tell.
    pub(crate) fn catch_up(&mut self, connection: &Connection) -> SqlResult<()> {
        self.indexed.clear();
        // Rows are never changed, but for a redaction.
        let redactions = unless_torn(meta_number(connection, redaction::MADE))?.unwrap_or_default();
        if redactions != self.redactions {
            *self = Self { whole: self.whole, redactions, ..Self::default() };
        }
        let end = unless_torn(end_of_events(connection))?;
        if self.end.is_some() && end == Some(self.end) {
            return Ok(());
        }
        let first_row = unless_torn(first_row(connection))?.flatten();
        // Events were taken away, or cannot be read; or all that is known is in event_index by now, and so may be some
        // that never was.
        let is_behind = end.is_none_or(|end| self.end > end) || !self.whole && first_row > self.end;
        if is_behind || !self.whole && self.groups.len() > self.loaded + STALE_GROUPS_MAX {
            *self = Self { whole: self.whole, redactions, ..Self::default() };
        }
        if self.whole && self.end.is_none() {
            self.take_events(connection, 0, end.map_or(i64::MAX, Option::unwrap_or_default))?;
        }
        let (rows, all_read) = self.rows_behind(connection)?;
        // Where the end cannot be read, the index alone says where it is.
        let table_end = end.map_or(i64::MAX, Option::unwrap_or_default);
        let mut known = self.end;
        let mut is_told = all_read;
        for (first, row) in rows {
            let runs = RecentRow::decode(first, &row);
            // All before the first row is in event_index, if it is the first one.
            let begin = known.unwrap_or(if runs.is_ok() { first } else { i64::MIN });
            if first < begin {
                // Not where it was written: what it was of is found where it is missing.
                continue;
            }
            self.take_events(connection, begin, first.min(table_end))?;
            is_told = all_read && runs.is_ok();
            known = Some(match runs {
                Ok(runs) => self.push(first, runs),
                // Its events end where the next row begins, or the table ends.
                Err(_) => first.min(table_end),
            });
        }
        if end.is_some() || !is_told || known.is_none() {
            self.take_events(connection, known.unwrap_or_default(), table_end)?;
        }
        self.is_cut = end.is_some_and(|end| self.end > end);
        if self.is_cut {
            log::error!("the table of events ends before events that its index tells of");
        }
        if self.loaded == 0 {
            self.loaded = self.groups.len();
        }
        Ok(())
    }

    /// The rows behind the last known event, up to the first page that cannot be read; and whether there was none.
    fn rows_behind(&self, connection: &Connection) -> SqlResult<(StoredRows, bool)> {
        let mut statement = connection
            .prepare_cached("SELECT first_position, runs FROM recent_index WHERE first_position >= ?1 ORDER BY 1")?;
        let mut rows = statement.query([self.end.unwrap_or(i64::MIN)])?;
        let mut found = Vec::new();
        loop {
            match unless_torn(rows.next().map_err(SqlError::from))? {
                Some(Some(row)) => found.push((row.get(0)?, bytes_at(row, 1)?)),
                Some(None) => return Ok((found, true)),
                None => {
                    log::error!("a page of the index of recent events cannot be read");
                    return Ok((found, false));
                }
            }
        }
    }

    /// Takes what the table of events says of some positions, since no row does. What is in `event_index` is left out.
    fn take_events(&mut self, connection: &Connection, begin: i64, end: i64) -> SqlResult<()> {
        if begin >= end {
            return Ok(());
        }
        let mut runs: Vec<(LogKey, Run)> = Vec::new();
        let mut moved: HashMap<LogKey, EventId> = HashMap::new();
        let whole = self.whole;
        let mut are_there = false;
        let holes = scan(connection, begin, end, SqlError::is_torn_page, |position, row| {
            are_there = true;
            let (Ok(log), Ok(SqlEventId(id))) = (row.get(1).map(LogKey), row.get(2)) else { return };
            // One that cannot be read is as if it had none.
            let last = moved.entry(log).or_insert_with(|| {
                let last = if whole { last_in_readable_segments } else { last_in_segments };
                last(connection, log).unwrap_or_default()
            });
            if id <= *last {
                return;
            }
            let key = row.get::<_, Option<Vec<u8>>>(3).ok().flatten();
            let key = key.and_then(|key| KeyHash::of_column(&key));
            runs.push((log, Run { first: id, count: 1, position, key }));
        })?;
        if !are_there && holes.is_empty() {
            // Positions that were given and are free again, or that were never given.
            return Ok(());
        }
        log::error!("the index of events is damaged: {} events are looked up without it", runs.len());
        let blind = holes.iter().map(|hole| hole.behind.unwrap_or(end)).max();
        self.blind = self.blind.max(blind);
        let last = self.push(begin, runs);
        self.end = Some(if end == i64::MAX { last } else { end });
        Ok(())
    }

    /// Whether it is certain that a log has no events behind its last one that is known.
    pub(crate) fn sees_end(&self, log: LogKey, last: Option<IndexEntry>) -> SqlResult<()> {
        if self.blind.is_none_or(|blind| last.is_some_and(|last| last.position >= blind)) {
            return Ok(());
        }
        let reason = "the table of events and its index have pages that cannot be read, and events of log";
        Err(SqlError::damaged(format!("{reason} {} may be there", log.0)))
    }

    /// Whether the index says that there are events behind the last one of the table. Nothing may be appended there: it
    /// would take the positions of these events.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Notes that a page of `event_index` cannot be read, and tells whether what it has is here all the same.
    pub(crate) fn stands_in(&self) -> bool {
        self.is_missing.set(true);
        self.whole
    }

    /// Whether [`Recent::whole`] would know more of what was asked for.
    pub(crate) fn is_missing(&self) -> bool {
        self.is_missing.get() && !self.whole
    }

    /// Moves everything of some logs to `event_index`, so that no row of `recent_index` is needed.
    pub(crate) fn move_logs(&mut self, connection: &Connection, logs: &HashSet<LogKey>) -> SqlResult<()> {
        for log in logs {
            while self.logs.contains_key(log) {
                self.move_log(connection, *log)?;
            }
        }
        let Self { oldest_first, logs, .. } = self;
        oldest_first.retain(|log| logs.contains_key(log));
        Ok(())
    }

    /// Forgets the append key of an event that was redacted: it must not be moved into `event_index`.
    pub(crate) fn forget_key(&mut self, log: LogKey, event: EventId) {
        let Some(run) = self.logs.get_mut(&log).and_then(|runs| runs.iter_mut().find(|run| run.first == event)) else {
            return;
        };
        if let Some(key) = run.key.replace(KeyHash::REDACTED) {
            self.keys.remove(&(log, key));
        } else {
            run.key = None;
        }
    }

    /// Adds the events of one commit, and tells where they end.
    pub(crate) fn push(&mut self, first: i64, runs: Vec<(LogKey, Run)>) -> i64 {
        let mut span = Span { first, left: 0 };
        let mut end = first;
        for (log, run) in runs {
            span.left += run.count;
            end = run.end();
            self.keys.extend(run.key.map(|key| (log, key)));
            let known = self.logs.entry(log).or_default();
            if known.is_empty() {
                self.oldest_first.push_back(log);
            }
            match known.back_mut() {
                Some(last) if run.key.is_none() && last.end() == run.position && last.last().next() == run.first => {
                    last.count += run.count;
                }
                _ => known.push_back(run),
            }
        }
        self.events += span.left;
        self.groups.push_back(span);
        self.end = Some(end);
        end
    }

    /// The last event of a log, if it is here.
    pub(crate) fn last(&self, log: LogKey) -> Option<IndexEntry> {
        let run = self.logs.get(&log)?.back()?;
        Some(IndexEntry { id: run.last(), position: run.end() - 1 })
    }

    /// The runs of a log behind an event, in order.
    pub(crate) fn after(&self, log: LogKey, id: EventId) -> impl Iterator<Item = Run> {
        let runs = self.logs.get(&log);
        runs.into_iter().flat_map(move |runs| {
            let first = runs.partition_point(|run| run.last() <= id);
            runs.range(first..).filter_map(move |run| run.after(id))
        })
    }

    /// The events of a log whose append key may be the one that is looked for.
    pub(crate) fn find_key(&self, log: LogKey, key: KeyHash) -> impl Iterator<Item = IndexEntry> {
        let runs = self.logs.get(&log).into_iter().flatten();
        runs.filter(move |run| run.key.is_some_and(|found| found.may_be(key)))
            .map(|run| IndexEntry { id: run.first, position: run.position })
    }

    pub(crate) fn has_key(&self, log: LogKey, key: KeyHash) -> bool {
        self.keys.contains(&(log, key))
    }

    #[cfg(test)]
    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    #[cfg(test)]
    pub(crate) fn end(&self) -> Option<i64> {
        self.end
    }

    /// Moves the entries of the logs that wait longest to `event_index`, about twice as many as were added, once there
    /// are enough. Deletes the rows that say nothing else any more.
    pub(crate) fn make_room(&mut self, connection: &Connection, added: u64) -> SqlResult<()> {
        let mut quota = 2 * added;
        while quota > 0 && (self.events > EVENTS_KEPT || self.groups.len() > GROUPS_KEPT) {
            let Some(log) = self.oldest_first.pop_front() else { break };
            quota = quota.saturating_sub(self.move_log(connection, log)?);
        }
        self.drop_groups(connection)
    }

    /// Moves the oldest runs of a log, and tells how many events that were. Another store may have moved some of them,
    /// which are settled all the same. Where the log's index is damaged, what is here is moved behind the damage: it
    /// stays as it is, and makes neither this index grow nor the next commits slow.
    fn move_log(&mut self, connection: &Connection, log: LogKey) -> SqlResult<u64> {
        let last = match self.indexed.get(&log) {
            Some(last) => *last,
            None if !deleted::has_row(connection, log).unwrap_or(true) => return Ok(self.forget(log)),
            None => self.last_indexed(connection, log)?,
        };
        let Some(runs) = self.logs.get_mut(&log) else { return Ok(0) };
        let mut next = last.next();
        let mut segment = Vec::with_capacity(runs.len().min(SEGMENT_RUNS_MAX));
        let mut moved = Vec::with_capacity(segment.capacity());
        for run in runs.iter().take(SEGMENT_RUNS_MAX) {
            if let Some(left) = run.after(last) {
                if left.first != next {
                    if !segment.is_empty() {
                        // A row of event_index has no hole: the rest comes in the log's next turn.
                        break;
                    }
                    log::error!("the index of events is damaged: events of a log are in it no more");
                    log::debug!("the index of log {} goes on with event {} behind {}", log.0, left.first, next.prev());
                }
                next = left.last().next();
                segment.push(left);
            }
            moved.push(*run);
        }
        runs.drain(..moved.len());
        match runs.is_empty() {
            true => drop(self.logs.remove(&log)),
            // The rest comes in its next turn.
            false => self.oldest_first.push_back(log),
        }
        if self.indexed.len() >= INDEXED_MAX {
            self.indexed = HashMap::new();
        }
        self.indexed.insert(log, next.prev());
        if let Some(first) = segment.first() {
            // What stands there already cannot be read, and is of these events.
            connection
                .prepare_cached("INSERT OR REPLACE INTO event_index(log_key, first_event, runs) VALUES (?1, ?2, ?3)")?
                .execute((log.0, SqlEventId(first.first), encode_segment(log, &segment)))?;
        }
        for run in &moved {
            self.settle(log, run);
        }
        Ok(segment.iter().map(|run| run.count).sum())
    }

    /// Drops the runs of a log that was erased: an entry of the index would lead to nothing.
    fn forget(&mut self, log: LogKey) -> u64 {
        let runs = self.logs.remove(&log).unwrap_or_default();
        runs.iter().for_each(|run| self.settle(log, run));
        runs.iter().map(|run| run.count).sum()
    }

    /// Makes `recent_index` begin behind a position, so that it says nothing of a deleted log that ends there: with the
    /// normal moves, up to `moves_max` of them. Tells whether it does. Where nothing is behind, one row stays, which
    /// says where the table ends.
    pub(crate) fn leave_behind(
        &mut self,
        connection: &Connection,
        deleted: LogKey,
        position: i64,
        moves_max: usize,
    ) -> SqlResult<bool> {
        let older = self.groups.partition_point(|group| group.first <= position);
        let mut moves = 0;
        while self.groups.iter().take(older).any(|group| group.left > 0) {
            if moves == moves_max {
                return Ok(false);
            }
            let Some(log) = self.oldest_first.pop_front() else { return Ok(false) };
            self.move_log(connection, log)?;
            moves += 1;
        }
        let (Some(_), Some(end)) = (older.checked_sub(1), self.end) else { return Ok(true) };
        let behind = self.groups.get(older).map(|group| group.first);
        self.groups.drain(..older);
        let first = match behind {
            Some(behind) => behind,
            None => {
                self.stand_in(connection, deleted, end - 1)?;
                self.groups.push_back(Span { first: end - 1, left: 0 });
                end - 1
            }
        };
        connection.prepare_cached("DELETE FROM recent_index WHERE first_position < ?1")?.execute([first])?;
        Ok(true)
    }

    /// Writes a row of the last position alone. Its event is in `event_index`, too, or is a tombstone.
    fn stand_in(&self, connection: &Connection, deleted: LogKey, last: i64) -> SqlResult<()> {
        tombstone::entomb(connection, deleted, last)?;
        let (log, id, key) = connection
            .prepare_cached("SELECT log_key, event_id, append_key FROM events WHERE position = ?1")?
            .query_row([last], |row| {
                let key = row.get_ref(2)?.as_blob_or_null()?.and_then(KeyHash::of_column);
                Ok((LogKey(row.get(0)?), row.get::<_, SqlEventId>(1)?.0, key))
            })?;
        let mut row = RecentRow::default();
        row.push(log, id, last, key);
        connection
            .prepare_cached("INSERT OR REPLACE INTO recent_index(first_position, runs) VALUES (?1, ?2)")?
            .execute((last, row.encode(last)))?;
        Ok(())
    }

    /// The last event of a log that is in `event_index` for certain.
    fn last_indexed(&self, connection: &Connection, log: LogKey) -> SqlResult<EventId> {
        match last_in_segments(connection, log) {
            // Of this log alone. Where its last row begins is known, if not where that one ends.
            Err(SqlError::Damaged(damage)) => {
                log::error!("the index of a log is damaged, and goes on behind the damage");
                log::debug!("index of log {}: {}", log.0, damage.reason);
                let oldest = self.logs.get(&log).and_then(|runs| runs.front()).map_or(EventId::ZERO, |run| run.first);
                Ok(damage.event.unwrap_or(oldest).prev())
            }
            last => last,
        }
    }

    /// Notes that the events of a run are in `event_index`.
    fn settle(&mut self, log: LogKey, run: &Run) {
        if let Some(key) = run.key {
            self.keys.remove(&(log, key));
        }
        let mut at = self.groups.partition_point(|group| group.first <= run.position).saturating_sub(1);
        let mut position = run.position;
        while position < run.end() {
            let next = self.groups.get(at + 1).map_or(run.end(), |group| group.first.min(run.end()));
            if let Some(group) = self.groups.get_mut(at) {
                group.left = group.left.saturating_sub((next - position).unsigned_abs());
            }
            (at, position) = (at + 1, next);
        }
        self.events = self.events.saturating_sub(run.count);
    }

    fn drop_groups(&mut self, connection: &Connection) -> SqlResult<()> {
        // One always stays, to say where the table of events ends.
        let settled = self.groups.iter().take(self.groups.len().saturating_sub(1)).take_while(|group| group.left == 0);
        let settled = settled.count();
        if settled < GROUPS_DROPPED {
            return Ok(());
        }
        self.groups.drain(..settled);
        let first = self.groups.front().map_or(i64::MIN, |group| group.first);
        let mut delete = connection.prepare_cached("DELETE FROM recent_index WHERE first_position < ?1")?;
        delete.execute([first])?;
        Ok(())
    }
}

fn first_row(connection: &Connection) -> SqlResult<Option<i64>> {
    Ok(connection.prepare_cached("SELECT min(first_position) FROM recent_index")?.query_row([], |row| row.get(0))?)
}
