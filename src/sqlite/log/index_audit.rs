//! Going through the index of events for a verification: each event is in it, and each entry is of an event.

use std::collections::{BTreeMap, HashMap, HashSet};

use rusqlite::{Connection, OptionalExtension};

use super::deleted;
use super::error::SqlResult;
use super::row::{bytes_at, end_of_events, has_events};
use super::runs::{KeyHash, RecentRow, Run};
use super::segments::{base_of, each_segment};
use crate::id::EventId;
use crate::port::LogKey;

/// Adds up to `max` sentences to `found`. An entry that leads to a wrong event is not found here, but when the
/// verification reads the event of the entry.
pub(crate) fn look(connection: &Connection, max: usize, found: &mut Vec<String>) -> SqlResult<()> {
    // One transaction, so that everything is read as of one moment while others append.
    let transaction = connection.unchecked_transaction()?;
    let mut index = Index::of(&transaction, max)?;
    for part in [Index::segments, Index::recent, Index::events] {
        if let Err(error) = part(&mut index, &transaction) {
            index.damaged = true;
            index.say(error.to_string());
        }
    }
    found.append(&mut index.found);
    Ok(())
}

struct Index {
    max: usize,
    found: Vec<String>,
    logs: HashSet<LogKey>,
    /// Deleted logs, whose entries are void. What is left of their rows need not be whole.
    void: HashSet<LogKey>,
    /// The last event of each log that an entry is of.
    last: HashMap<LogKey, EventId>,
    /// The positions that entries lead to, and those of them with an append key.
    positions: Bits,
    keyed: Bits,
    /// Where a damaged row leaves a hole: what it was of is not told once more.
    damaged: bool,
}

impl Index {
    fn of(connection: &Connection, max: usize) -> SqlResult<Self> {
        let logs = connection
            .prepare("SELECT log_key FROM logs")?
            .query_map([], |row| row.get(0).map(LogKey))?
            .collect::<rusqlite::Result<_>>()?;
        let void = deleted::void_logs(connection)?;
        let (positions, keyed) = (Bits::default(), Bits::default());
        Ok(Self { max, found: Vec::new(), logs, void, last: HashMap::new(), positions, keyed, damaged: false })
    }

    fn say(&mut self, sentence: String) {
        if self.found.len() < self.max {
            self.found.push(sentence);
        }
    }

    fn segments(&mut self, connection: &Connection) -> SqlResult<()> {
        each_segment(connection, |log, first, runs| match runs {
            Some(runs) => runs.iter().for_each(|run| self.entry(connection, log, run)),
            None => {
                self.damaged = true;
                self.say(format!("the index of events of log {} is damaged from event {first} on", log.0));
            }
        })
    }

    fn recent(&mut self, connection: &Connection) -> SqlResult<()> {
        let mut statement =
            connection.prepare("SELECT first_position, runs FROM recent_index ORDER BY first_position")?;
        let mut rows = statement.query([])?;
        let mut next: Option<i64> = None;
        while let Some(row) = rows.next()? {
            let (first, bytes): (i64, _) = (row.get(0)?, bytes_at(row, 1)?);
            self.follows(connection, next, first)?;
            next = match RecentRow::decode(first, &bytes) {
                Ok(runs) => {
                    runs.iter().for_each(|(log, run)| self.recent_entry(connection, *log, run));
                    runs.last().map(|(_, run)| run.end())
                }
                Err(_) => {
                    self.damaged = true;
                    self.say(format!("the index of recent events is damaged from position {first} on"));
                    None
                }
            };
        }
        if let Some(end) = end_of_events(connection)? {
            self.follows(connection, next, end)?;
        }
        Ok(())
    }

    /// Positions without an event may be left out.
    fn follows(&mut self, connection: &Connection, expected: Option<i64>, found: i64) -> SqlResult<()> {
        if let Some(expected) = expected
            && (found < expected || has_events(connection, expected, found)?)
        {
            self.damaged = true;
            self.say(format!("the index of recent events goes on at position {found}, and not at {expected}"));
        }
        Ok(())
    }

    /// What is in `event_index` too is said again.
    fn recent_entry(&mut self, connection: &Connection, log: LogKey, run: &Run) {
        if self.void.contains(&log) {
            return;
        }
        let last = self.last.get(&log).copied().unwrap_or_default();
        if run.last() <= last {
            if !self.positions.has(run.position) {
                self.say(format!("log {} has event {} at two positions", log.0, run.first));
            }
            return;
        }
        self.entry(connection, log, &run.after(last).unwrap_or(*run));
    }

    fn entry(&mut self, connection: &Connection, log: LogKey, run: &Run) {
        if self.void.contains(&log) {
            return;
        }
        let known = self.last.get(&log).copied();
        let expected = known.or_else(|| base_of(connection, log).ok()).unwrap_or_default().next();
        if !self.logs.contains(&log) && known.is_none() {
            self.say(format!("there are events of log {}, and there is no such log", log.0));
        }
        if run.first != expected && !self.damaged {
            self.say(format!(
                "the index of events of log {} goes on with event {}, and not {expected}",
                log.0, run.first
            ));
        }
        self.last.insert(log, run.last());
        self.positions.set(run.position, run.count);
        if let Some(key) = run.key {
            self.keyed.set(run.position, 1);
            if key_at(connection, run.position) != Some(key) {
                self.say(format!("the append key of event {} of log {} is not that of the index", run.first, log.0));
            }
        }
    }

    fn events(&mut self, connection: &Connection) -> SqlResult<()> {
        let mut statement = connection
            .prepare("SELECT position, log_key, event_id, append_key IS NOT NULL FROM events ORDER BY position")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let position = row.get(0)?;
            if row.get(1).is_ok_and(|log| self.void.contains(&LogKey(log))) {
                continue;
            }
            let event = || -> SqlResult<_> { Ok((row.get::<_, i64>(2)?, row.get::<_, i64>(1)?)) };
            if !self.positions.has(position) {
                let (id, log) = event()?;
                self.say(format!("event {id} of log {log} is in no index"));
            } else if row.get::<_, bool>(3)? && !self.keyed.has(position) {
                let (id, log) = event()?;
                self.say(format!("the append key of event {id} of log {log} is in no index"));
            }
            if self.found.len() >= self.max {
                break;
            }
        }
        Ok(())
    }
}

fn key_at(connection: &Connection, position: i64) -> Option<KeyHash> {
    let mut select = connection.prepare_cached("SELECT append_key FROM events WHERE position = ?1").ok()?;
    let key: Vec<u8> = select.query_row([position], |row| row.get(0)).optional().ok()??;
    KeyHash::of_column(&key)
}

/// Positions, 64 to an entry: a log's positions are mostly those that there are.
#[derive(Default)]
struct Bits(BTreeMap<i64, u64>);

impl Bits {
    fn set(&mut self, position: i64, count: u64) {
        for position in position..position.saturating_add(count.min(1 << 24) as i64) {
            *self.0.entry(position >> 6).or_default() |= 1 << (position & 63);
        }
    }

    fn has(&self, position: i64) -> bool {
        self.0.get(&(position >> 6)).is_some_and(|bits| bits & (1 << (position & 63)) != 0)
    }
}
