//! Reading a damaged database: nothing is locked, made or changed, and each row is read on its own.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::audit::event_row;
use super::error::{SqlError, SqlResult};
use super::recent::Recent;
use super::row::{IndexEntry, SqlEventId};
use super::scan::{Hole, scan};
use super::schema::{Database, OpenError};
use super::tombstone::TOMBSTONE;
use super::{deleted, index, lookup, parts, schema, wal};
use crate::codec;
use crate::id::{EventId, SessionId};
use crate::port::{AuditedEvent, LogError, LogKey, LogMeta};
use crate::sqlite::open_here::{OpenHere, is_open_here};
use crate::sqlite::place::DATABASE;

/// A reading end for a database of which any part may be damaged.
pub(crate) struct SalvageReader {
    #[expect(dead_code, reason = "it says by its drop that nothing is open any more")]
    here: OpenHere,
    pub(super) connection: Connection,
    recent: Recent,
    /// No event from this position on is read. A store that appends meanwhile would have a salvage go on without end.
    end: i64,
    /// Where the events are, as the table itself says: for when the index cannot. Read when it is first asked for.
    places: Option<EventPlaces>,
}

#[derive(Default)]
struct EventPlaces {
    /// For each log the events and their positions, in order.
    logs: HashMap<LogKey, Vec<(EventId, i64)>>,
    holes: Vec<Hole>,
}

/// The names that a damaged store has.
pub(crate) struct FoundNames {
    pub(crate) sessions: Vec<SessionId>,
    /// What is in the place of a name and is none, as text.
    pub(crate) no_names: Vec<String>,
    /// Why there may be more.
    pub(crate) stopped_by: Option<LogError>,
}

impl SalvageReader {
    pub(crate) fn open(directory: &Path) -> Result<Self, LogError> {
        let path = std::path::absolute(directory.join(DATABASE)).map_err(|error| LogError::Io(error.to_string()))?;
        let database = Database { path, vfs: None };
        if let Err(error) = std::fs::metadata(&database.path) {
            return Err(LogError::Unusable(format!("cannot read {}: {error}", database.path.display())));
        }
        let here = OpenHere::note(directory);
        let may_grow = database.companion("-wal").exists();
        let connection = match may_grow {
            true => database.open_to_look()?,
            // No connection is open anywhere. Read like any other file, or SQLite would make its companions.
            false => database.open_immutable()?,
        };
        // With it SQLite reads what is left of a file that is shorter than its first page says, which it refuses
        // otherwise. Nothing becomes writable: the connection only reads.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, true)?;
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        // Where it cannot be read, the table itself is searched.
        let recent = Recent::load(&connection).unwrap_or_default();
        let end = if may_grow { end_of_events(&connection) } else { i64::MAX };
        Ok(Self { here, connection, recent, end, places: None })
    }

    /// What is wrong with the files of a database, beside their pages: SQLite may read less of them than they hold, and
    /// says nothing. Says nothing either where something of this process has the database open, since it would lose its
    /// locks.
    pub(crate) fn problems_of_files(directory: &Path) -> Vec<String> {
        let database = Database { path: directory.join(DATABASE), vfs: None };
        if is_open_here(directory) {
            return Vec::new();
        }
        let found = match wal::look(&database) {
            Ok(found) => found,
            Err(error) => return vec![format!("events.db-wal cannot be read: {error}")],
        };
        let damaged = found.broken.map(|broken| {
            format!(
                "events.db-wal is damaged at frame {}: {} ends of transactions behind it are lost",
                broken.first_bad_frame, broken.lost_commits
            )
        });
        let mixed = parts::check(&database, &found.extent).err().map(|error| {
            format!("{error}; a repair takes what they hold together, and one without events.db-wal may take more")
        });
        damaged.into_iter().chain(mixed).collect()
    }

    /// The names that can be read: from the first one to the first damage, and from the last one back to it.
    pub(crate) fn sessions(&self) -> FoundNames {
        let (names, stopped_by) = names_around_damage(&self.connection);
        let mut found =
            FoundNames { sessions: Vec::new(), no_names: Vec::new(), stopped_by: stopped_by.map(LogError::from) };
        for name in names {
            match str::from_utf8(&name).ok().and_then(|name| SessionId::new(name).ok()) {
                Some(session) => found.sessions.push(session),
                None => found.no_names.push(String::from_utf8_lossy(&name).escape_debug().to_string()),
            }
        }
        found
    }

    /// Checks that the database is of a format and a model that this build reads, as far as that can be told.
    pub(crate) fn check_model(&self, model: &str) -> Result<(), OpenError> {
        schema::check_model(&self.connection, Path::new(self.connection.path().unwrap_or_default()), model)
    }

    pub(crate) fn find(&self, session: &SessionId) -> Result<Option<LogMeta>, LogError> {
        Ok(lookup::find(&self.connection, session)?)
    }

    /// The event that the index leads to, and its position.
    pub(crate) fn by_index(&self, log: LogKey, id: EventId) -> Result<Option<(i64, AuditedEvent)>, LogError> {
        let position = index::find(&self.connection, &self.recent, log, id)?.filter(|position| *position < self.end);
        Ok(position.map(|position| (position, self.row(log, id, position))))
    }

    /// The row at a position. The type of the event is that of its record, where that has one: it is under the chain
    /// hash, so that a damaged column costs no event.
    fn row(&self, log: LogKey, id: EventId, position: i64) -> AuditedEvent {
        let mut found = event_row(&self.connection, log, IndexEntry { id, position });
        if let Ok(stored) = &mut found.row
            && let Some(event_type) = type_in(&stored.record).filter(|event_type| *event_type != stored.event_type)
        {
            stored.event_type = event_type.into();
        }
        found
    }

    /// Every row that says that it is this event, found without an index, and its position.
    pub(crate) fn by_table(&mut self, log: LogKey, id: EventId) -> Vec<(i64, AuditedEvent)> {
        let places = self.places().logs.get(&log).map_or(&[][..], Vec::as_slice);
        let first = places.partition_point(|(known, _)| *known < id);
        let positions = places.iter().skip(first).take_while(|(known, _)| *known == id);
        let positions: Vec<i64> = positions.map(|(_, position)| *position).collect();
        positions.into_iter().map(|position| (position, self.row(log, id, position))).collect()
    }

    /// The first event that the table has of the log behind this one.
    pub(crate) fn goes_on(&mut self, log: LogKey, after: EventId) -> Option<EventId> {
        let places = self.places().logs.get(&log)?;
        places.get(places.partition_point(|(known, _)| *known <= after)).map(|(id, _)| *id)
    }

    /// How many events the table has of each log.
    pub(crate) fn logs(&mut self) -> Vec<(LogKey, u64)> {
        let mut logs: Vec<_> = self.places().logs.iter().map(|(log, places)| (*log, places.len() as u64)).collect();
        logs.sort_unstable();
        logs
    }

    /// One sentence for each part of the table of events that cannot be read.
    pub(crate) fn holes(&mut self) -> Vec<String> {
        let sentence = |hole: &Hole| match hole.behind {
            Some(behind) => format!("the events at positions {} to {} cannot be read", hole.first, behind - 1),
            None => format!("whatever the table of events has from position {} on cannot be read", hole.first),
        };
        self.places().holes.iter().map(sentence).collect()
    }

    fn places(&mut self) -> &EventPlaces {
        let Self { connection, places, end, .. } = self;
        places.get_or_insert_with(|| {
            let mut found = EventPlaces::default();
            // Where they cannot be read, what they have is listed as of logs without a session.
            let void = deleted::void_logs(connection).unwrap_or_else(|_| HashSet::from([TOMBSTONE]));
            let scanned = scan(connection, 0, *end, SqlError::is_unreadable, |position, row| {
                if let (Ok(log), Ok(SqlEventId(id))) = (row.get(1), row.get(2))
                    && !void.contains(&LogKey(log))
                {
                    found.logs.entry(LogKey(log)).or_default().push((id, position));
                }
            });
            match scanned {
                Ok(holes) => found.holes = holes,
                Err(error) => log::warn!("the table of events cannot be searched to its end: {error}"),
            }
            found.logs.values_mut().for_each(|places| places.sort_unstable());
            found
        })
    }
}

/// The position behind the last event; the last one of all where that cannot be read. Positions rise, and an append is
/// one transaction, so no append is cut.
fn end_of_events(connection: &Connection) -> i64 {
    let last = connection.query_row("SELECT max(position) FROM events", [], |row| row.get::<_, Option<i64>>(0));
    last.ok().flatten().map_or(i64::MAX, |last| last.saturating_add(1))
}

/// The type of an event, as its record has it.
pub(super) fn type_in(record: &[u8]) -> Option<String> {
    codec::decode_record(record).ok()?.0.event_type.map(str::to_owned)
}

/// The names of sessions from the first one to a damage and from the last one back to it, and what the damage is.
pub(super) fn names_around_damage(connection: &Connection) -> (BTreeSet<Vec<u8>>, Option<SqlError>) {
    let mut names = BTreeSet::new();
    let stopped_by = names_in_order(connection, "", &mut names).err();
    if stopped_by.is_some() {
        // The first error says what is wrong.
        let _ = names_in_order(connection, " DESC", &mut names);
    }
    (names, stopped_by)
}

/// Adds names until one cannot be reached, or is there already: a table that is out of order may lead back, for ever.
fn names_in_order(connection: &Connection, order: &str, names: &mut BTreeSet<Vec<u8>>) -> SqlResult<()> {
    let mut statement =
        connection.prepare(&format!("SELECT CAST(session_id AS BLOB) FROM sessions ORDER BY session_id{order}"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if !names.insert(row.get(0)?) {
            return Err(SqlError::damaged("the names of sessions are out of order"));
        }
    }
    Ok(())
}
