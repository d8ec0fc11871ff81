//! Reading a damaged database: nothing is locked, made or changed, and each row is read on its own.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::audit::event_row;
use super::error::SqlResult;
use super::recent::Recent;
use super::row::IndexEntry;
use super::schema::{BUSY_TIMEOUT, Database};
use super::{index, lookup};
use crate::id::{EventId, SessionId};
use crate::port::{AuditedEvent, LogError, LogKey, LogMeta};

/// How many positions are tried one by one behind a part of the table that cannot be read.
const SKIP_MAX: i64 = 4096;

/// A reading end for a database of which any part may be damaged.
pub(crate) struct SalvageReader {
    connection: Connection,
    recent: Recent,
    /// Where the events of a log are, as the table itself says: for when the index cannot.
    places: Option<(LogKey, BTreeMap<EventId, Vec<i64>>)>,
}

impl SalvageReader {
    pub(crate) fn open(directory: &Path) -> Result<Self, LogError> {
        let path = std::path::absolute(directory.join("events.db")).map_err(|error| LogError::Io(error.to_string()))?;
        let mut database = Database { path, vfs: None };
        let mut flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        if !database.companion("-wal").exists() {
            // No connection is open anywhere. Read like any other file, or SQLite would make its companions.
            database.path = as_uri(&database.path, IMMUTABLE);
            flags |= OpenFlags::SQLITE_OPEN_URI;
        }
        let connection = database.open(flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        // Where it cannot be read, the table itself is searched.
        let recent = Recent::load(&connection).unwrap_or_default();
        Ok(Self { connection, recent, places: None })
    }

    /// The names that can be read, and why there are no more.
    pub(crate) fn sessions(&self) -> (Vec<SessionId>, Option<LogError>) {
        let mut found = Vec::new();
        let mut read = || -> SqlResult<()> {
            let mut statement = self.connection.prepare("SELECT CAST(session_id AS BLOB) FROM sessions")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let name: Vec<u8> = row.get(0)?;
                found.extend(str::from_utf8(&name).ok().and_then(|name| SessionId::new(name).ok()));
            }
            Ok(())
        };
        let stopped_by = read().err().map(LogError::from);
        (found, stopped_by)
    }

    pub(crate) fn find(&self, session: &SessionId) -> Result<Option<LogMeta>, LogError> {
        Ok(lookup::find(&self.connection, session)?)
    }

    /// The event that the index leads to.
    pub(crate) fn by_index(&self, log: LogKey, id: EventId) -> Result<Option<AuditedEvent>, LogError> {
        let position = index::find(&self.connection, &self.recent, log, id)?;
        Ok(position.map(|position| self.row(log, id, position)))
    }

    fn row(&self, log: LogKey, id: EventId, position: i64) -> AuditedEvent {
        event_row(&self.connection, log, IndexEntry { id, position })
    }

    /// Every row that says that it is this event, found without an index.
    pub(crate) fn by_table(&mut self, log: LogKey, id: EventId) -> Vec<AuditedEvent> {
        if self.places.as_ref().is_none_or(|(known, _)| *known != log) {
            self.places = Some((log, self.places_of(log)));
        }
        let places = self.places.as_ref().and_then(|(_, places)| places.get(&id));
        let row = |position: &i64| self.row(log, id, *position);
        places.into_iter().flatten().map(row).collect()
    }

    /// Whether the table has an event of the log behind this one.
    pub(crate) fn goes_on(&mut self, log: LogKey, after: EventId) -> Option<EventId> {
        // Looks the log up, too.
        drop(self.by_table(log, after));
        let (_, places) = self.places.as_ref()?;
        places.range(after.next()..).next().map(|(id, _)| *id)
    }

    fn places_of(&self, log: LogKey) -> BTreeMap<EventId, Vec<i64>> {
        let mut places: BTreeMap<EventId, Vec<i64>> = BTreeMap::new();
        let mut position = i64::MIN;
        let mut skipped = 0;
        // From where the last search stopped; behind what cannot be read, one position at a time.
        while skipped <= SKIP_MAX {
            let searched = self.search(log, position, &mut places);
            match searched {
                Ok(()) => break,
                Err(Some(reached)) => (position, skipped) = (reached, 0),
                Err(None) => (position, skipped) = (position.saturating_add(1), skipped + 1),
            }
        }
        places
    }

    /// Goes through the table behind a position. The error tells how far it came; none, when not a single row.
    fn search(&self, log: LogKey, after: i64, places: &mut BTreeMap<EventId, Vec<i64>>) -> Result<(), Option<i64>> {
        let mut reached = None;
        let mut read = || -> SqlResult<()> {
            let mut statement = self.connection.prepare_cached(
                "SELECT position, log_key, event_id FROM events WHERE position > ?1 ORDER BY position",
            )?;
            let mut rows = statement.query([after])?;
            while let Some(row) = rows.next()? {
                let position = row.get(0)?;
                if position <= reached.unwrap_or(after) && reached.is_some() {
                    // Out of order: it would lead back for ever.
                    break;
                }
                reached = Some(position);
                let (key, id): (Option<i64>, Option<i64>) = (row.get(1).ok(), row.get(2).ok());
                if key == Some(log.0)
                    && let Some(id) = id.and_then(|id| u64::try_from(id).ok()).filter(|id| *id <= EventId::MAX.get())
                {
                    let known = places.entry(EventId::new(id)).or_default();
                    if !known.contains(&position) {
                        known.push(position);
                    }
                }
            }
            Ok(())
        };
        read().map_err(|_| reached)
    }
}

/// For a file that nobody writes: SQLite takes no lock on it, looks for no companions, and never looks again at what it has
/// read once.
pub(super) const IMMUTABLE: &str = "immutable=1";

/// The name of a file as a URI with a parameter: every byte but those of plain names is escaped.
pub(super) fn as_uri(path: &Path, parameter: &str) -> PathBuf {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => uri.push(char::from(*byte)),
            byte => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri.push('?');
    uri.push_str(parameter);
    uri.into()
}
