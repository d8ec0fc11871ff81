//! What one group adds to the table of events, and to the index of it.

use std::collections::HashSet;

use rusqlite::Connection;

use super::around_damage::Indexing;
use super::error::{SqlError, SqlResult};
use super::recent::Recent;
use super::row::position_behind_lost;
use super::runs::{KeyHash, RecentRow, Run};
use crate::id::EventId;
use crate::port::LogKey;

#[derive(Default)]
pub(crate) struct Added {
    first_position: Option<i64>,
    events: u64,
    group: RecentRow,
    runs: Vec<(LogKey, Run)>,
    keys: HashSet<(LogKey, KeyHash)>,
}

impl Added {
    /// The position that the group's next event must be given; `None` where SQLite gives the right one.
    pub(crate) fn given_position(&self, connection: &Connection) -> SqlResult<Option<i64>> {
        // Those behind the first one follow it.
        if self.events > 0 { Ok(None) } else { position_behind_lost(connection) }
    }

    pub(crate) fn push(&mut self, log: LogKey, id: EventId, key: Option<KeyHash>, position: i64) -> SqlResult<()> {
        let first = *self.first_position.get_or_insert(position);
        if first + self.events as i64 != position {
            return Err(SqlError::outside(&"the table of events has no more positions"));
        }
        self.events += 1;
        self.group.push(log, id, position, key);
        self.runs.push((log, Run { first: id, count: 1, position, key }));
        self.keys.extend(key.map(|key| (log, key)));
        Ok(())
    }

    pub(crate) fn has_key(&self, log: LogKey, key: KeyHash) -> bool {
        self.keys.contains(&(log, key))
    }

    /// Enters the positions of the events into the index.
    pub(crate) fn enter(self, connection: &Connection, recent: &mut Recent, indexing: Indexing) -> SqlResult<()> {
        let Some(first) = self.first_position else { return Ok(()) };
        if indexing == Indexing::SegmentsAlone {
            let logs = self.runs.iter().map(|(log, _)| *log).collect();
            recent.push(first, self.runs);
            return recent.move_logs(connection, &logs);
        }
        // A row that has this key already was written for another one, and got this key by damage.
        connection
            .prepare_cached("INSERT OR REPLACE INTO recent_index(first_position, runs) VALUES (?1, ?2)")?
            .execute((first, self.group.encode(first)))?;
        recent.push(first, self.runs);
        if indexing == Indexing::Both { recent.make_room(connection, self.events) } else { Ok(()) }
    }
}
