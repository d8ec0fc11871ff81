//! Reading the durable log. Each call is one read transaction, so that no reader holds back a checkpoint.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, Transaction};

use super::error::{Damage, SqlError, SqlResult};
use super::recent::Recent;
use super::row::{EVENTS, IndexEntry, append_key, event_at, is_at, not_ours, stored_row};
use super::runs::{KeyHash, Run};
use super::{all_events, cursors, deleted, index, listing, lookup, redaction, snapshots, swept};
use crate::codec::Chain;
use crate::error::OwnerInfo;
use crate::id::{AppendKey, Digest, EventId, SessionId, Timestamp};
use crate::port::{
    Erasing, FeedPage, FeedPlace, Head, Listing, Liveness, LogAudit, LogError, LogKey, LogMeta, LogReader, LogVersion,
    Ownership, Position, ScannedPage, SessionRow, SnapshotRow, Standing, StoredEvent, StoredPage, SweepMark,
};
use crate::sqlite::directory::StoreDirectory;

pub(crate) struct SqliteReader {
    pub(crate) connection: Connection,
    recent: Recent,
    /// `None` for a reader of a store that only reads.
    directory: Option<Arc<StoreDirectory>>,
}

impl SqliteReader {
    pub(crate) fn new(connection: Connection, directory: Option<Arc<StoreDirectory>>) -> Self {
        Self { connection, recent: Recent::default(), directory }
    }

    /// An error of this connection, with the path of its database.
    fn named(&self, error: impl Into<LogError>) -> LogError {
        error.into().of_database(Path::new(self.connection.path().unwrap_or_default()))
    }

    /// Reads with the index as it is now.
    pub(super) fn read<T>(
        &mut self,
        read: impl FnMut(&Connection, &Recent) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        self.read_around_damage(read).map_err(|error| self.named(error))
    }

    /// Reads of a log that was not deleted, with the index as it is now.
    pub(super) fn read_log<T>(
        &mut self,
        log: LogKey,
        mut read: impl FnMut(&Connection, &Recent) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        self.read(|connection, recent| {
            deleted::refuse_deleted(connection, log)?;
            read(connection, recent)
        })
    }

    /// The store that the log says owns it, alive or not.
    pub(super) fn owner(&mut self, log: LogKey) -> Result<Option<String>, LogError> {
        self.read_log(log, |connection, _| Ok(lookup::owner(connection, log)?))
    }

    /// Reads, and once more with the logs in memory that a page of the index has which cannot be read.
    fn read_around_damage<T>(
        &mut self,
        mut read: impl FnMut(&Connection, &Recent) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        let (transaction, recent) = self.begin()?;
        let outcome = read(&transaction, recent);
        if outcome.is_ok() || !recent.is_missing() {
            return outcome;
        }
        drop(transaction);
        log::error!("a page of the index of events cannot be read: its logs are looked up in the table");
        self.recent = Recent::whole(&self.connection)?;
        let (transaction, recent) = self.begin()?;
        read(&transaction, recent)
    }

    /// Begins a read, with the index as it is now.
    fn begin(&mut self) -> SqlResult<(Transaction<'_>, &Recent)> {
        let transaction = self.connection.unchecked_transaction()?;
        if let Err(error) = self.recent.catch_up(&transaction) {
            self.recent = Recent::default();
            return Err(error);
        }
        Ok((transaction, &self.recent))
    }
}

impl LogReader for SqliteReader {
    fn find(&mut self, session: &SessionId) -> Result<Option<LogMeta>, LogError> {
        lookup::find(&self.connection, session).map_err(|error| self.named(error))
    }

    fn sessions(&mut self, after: Option<&SessionId>, max: usize) -> Result<Vec<SessionRow>, LogError> {
        self.read(|connection, recent| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT session_id, created, log_key, {} FROM sessions WHERE session_id > ?1
                 ORDER BY session_id LIMIT ?2",
                listing::CORE
            ))?;
            let after = after.map_or("", SessionId::as_str);
            let rows = statement.query_map((after, max as i64), |row| {
                let name: String = row.get(0)?;
                let session = SessionId::new(name).map_err(|error| not_ours(0, error))?;
                let core = listing::core_at(row, 3);
                Ok((session, Timestamp::from_micros(row.get(1)?), LogKey(row.get(2)?), core))
            })?;
            rows.map(|row| {
                let (session, created, key, core) = row?;
                let found = match lookup::meta(connection, key).map_err(SqlError::of_one_log) {
                    Ok(found) => found,
                    Err(SqlError::Damaged(_)) => None,
                    Err(error) => return Err(error.into()),
                };
                // Whoever opens the session is told that its log is not there. Its index may have the head all the
                // same.
                let meta = found.unwrap_or_else(|| LogMeta::root(key, [0; 16]));
                let row = SessionRow { session, meta, created, head: meta.base.id, core };
                match index::last(connection, recent, key) {
                    Ok(last) => Ok(SessionRow { head: last.map_or(row.head, |last| last.id), ..row }),
                    // Damage of one session does not end the list; the recovery of that session reports it.
                    Err(SqlError::Damaged(Damage { event, .. })) => {
                        Ok(SessionRow { head: event.unwrap_or(row.head), ..row })
                    }
                    Err(error) => Err(error.into()),
                }
            })
            .collect()
        })
    }

    fn page_into(
        &mut self,
        page: &mut StoredPage,
        log: LogKey,
        after: EventId,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<(), LogError> {
        self.read_log(log, |connection, recent| {
            page.clear();
            let mut page = Page { events: page, bytes_max };
            let found = index::after(connection, recent, log, after, events_max)?;
            for run in &found.runs {
                match page.take(connection, log, run) {
                    Ok(()) if page.is_full() => return Ok(()),
                    Ok(()) => {}
                    // The next page begins with it.
                    Err(_) if !page.events.is_empty() => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
            if page.events.len() < events_max && !found.is_cut {
                let end = page.events.last_id().unwrap_or(after);
                index::check_end(connection, recent, log, end)?;
            }
            Ok(())
        })
    }

    fn find_key(&mut self, log: LogKey, key: &AppendKey) -> Result<Option<StoredEvent>, LogError> {
        self.read_log(log, |connection, recent| {
            for entry in index::find_key(connection, recent, log, KeyHash::of(key))? {
                let event = event_at(connection, log, entry)?;
                if redaction::has_key(&event, key) {
                    return Ok(Some(event));
                }
            }
            Ok(None)
        })
    }

    fn head(&mut self, log: LogMeta) -> Result<Head, LogError> {
        self.read_log(log.key, |connection, recent| Ok(lookup::head(connection, recent, log)?))
    }

    fn record_bytes(&mut self, log: LogKey, after: EventId, events_max: usize) -> Result<(EventId, u64), LogError> {
        self.read_log(log, |connection, recent| {
            let (mut last, mut bytes) = (after, 0);
            for run in index::after(connection, recent, log, after, events_max)?.runs {
                bytes += lookup::record_bytes(connection, log, &run)?;
                last = run.last();
            }
            Ok((last, bytes))
        })
    }

    fn living_owner(&mut self, log: LogKey) -> Result<Option<OwnerInfo>, LogError> {
        let owner = self.owner(log)?;
        let (Some(owner), Some(directory)) = (owner, &self.directory) else { return Ok(None) };
        match directory.liveness(&owner) {
            Ok(Liveness::Alive(owner)) => Ok(Some(owner)),
            Ok(Liveness::Dead) => Ok(None),
            Err(error) => Err(LogError::Io(error.to_string())),
        }
    }

    fn chain_at(&mut self, log: LogKey, id: EventId) -> Result<Option<Chain>, LogError> {
        self.read_log(log, |connection, recent| Ok(lookup::chain_at(connection, recent, log, id)?))
    }

    fn redactions(&mut self, log: LogKey) -> Result<u64, LogError> {
        redaction::count(&self.connection, log).map_err(|error| self.named(error))
    }

    fn redacted_logs(&mut self) -> Result<HashMap<LogKey, u64>, LogError> {
        redaction::counts(&self.connection).map_err(|error| self.named(error))
    }

    fn snapshot(&mut self, log: LogKey) -> Result<Option<SnapshotRow>, LogError> {
        snapshots::find(&self.connection, log).map_err(|error| self.named(error))
    }

    fn snapshots(&mut self, after: LogKey, max: usize) -> Result<Vec<(LogKey, Digest)>, LogError> {
        snapshots::list(&self.connection, after, max).map_err(|error| self.named(error))
    }

    fn scan(
        &mut self,
        page: &mut ScannedPage,
        after: Position,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<Option<Position>, LogError> {
        let transaction = self.connection.unchecked_transaction().map_err(|error| self.named(error))?;
        all_events::page_into(&transaction, page, after, events_max, bytes_max).map_err(|error| self.named(error))
    }

    fn feed(
        &mut self,
        page: &mut FeedPage,
        after: FeedPlace,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<(), LogError> {
        let transaction = self.connection.unchecked_transaction().map_err(|error| self.named(error))?;
        all_events::feed_into(&transaction, page, after, events_max, bytes_max).map_err(|error| self.named(error))
    }

    fn version(&mut self) -> Result<LogVersion, LogError> {
        let version = lookup::data_version(&self.connection).map_err(|error| self.named(error))?;
        Ok(LogVersion { opened: 0, version })
    }

    fn cursor(&mut self, name: &str) -> Result<Option<String>, LogError> {
        cursors::find(&self.connection, name).map_err(|error| self.named(error))
    }

    fn cursors(&mut self, after: &str, max: usize) -> Result<Vec<(String, String)>, LogError> {
        cursors::list(&self.connection, after, max).map_err(|error| self.named(error))
    }

    fn sweep_mark(&mut self, digest: &Digest) -> Result<SweepMark, LogError> {
        swept::mark(&self.connection, digest).map_err(|error| self.named(error))
    }

    fn listed_blobs(&mut self, after: Option<&Digest>, max: usize) -> Result<Vec<(Digest, Listing)>, LogError> {
        swept::rows(&self.connection, after, max).map_err(|error| self.named(error))
    }

    fn standing(&mut self) -> Result<Standing, LogError> {
        lookup::standing(&self.connection).map_err(|error| self.named(error))
    }

    fn erasing(&mut self) -> Result<Erasing, LogError> {
        let logs = deleted::count_marked(&self.connection).map_err(|error| self.named(error))?;
        let redacted = redaction::pending_of_living(&self.connection).map_err(|error| self.named(error))?;
        let copies = self.directory.as_ref().map_or_else(|| Ok(Vec::new()), |directory| directory.kept_copies());
        let copies = copies.map_err(|error| LogError::Io(error.to_string()))?;
        let bytes = lookup::database_bytes(&self.connection).map_err(|error| self.named(error))?;
        Ok(Erasing { logs, redacted, bytes, copies })
    }

    fn audit(&mut self) -> &mut dyn LogAudit {
        self
    }
}

/// A page that is being read.
struct Page<'a> {
    events: &'a mut StoredPage,
    bytes_max: usize,
}

impl Page<'_> {
    fn is_full(&self) -> bool {
        !self.events.is_empty() && self.events.record_bytes() >= self.bytes_max
    }

    /// Reads the events of a run, each held against the index, until the page is full.
    fn take(&mut self, connection: &Connection, log: LogKey, run: &Run) -> Result<(), LogError> {
        let mut rest = Some(*run);
        while let Some(run) = rest.filter(|_| !self.is_full()) {
            rest = self.scan(connection, log, run)?;
            if let Some(left) = rest.filter(|_| !self.is_full()) {
                // By itself, to say what is wrong with it.
                let event = event_at(connection, log, IndexEntry { id: left.first, position: left.position })?;
                self.events.push(event.row());
                rest = left.after(left.first);
            }
        }
        Ok(())
    }

    /// Reads rows that follow each other for as long as they are what they should be, and gives what is left.
    fn scan(&mut self, connection: &Connection, log: LogKey, mut run: Run) -> Result<Option<Run>, LogError> {
        let mut statement = connection.prepare_cached(EVENTS)?;
        let mut rows = statement.query([run.position, run.end()])?;
        while !self.is_full() {
            let Ok(Some(row)) = rows.next() else { break };
            let Ok(key) = append_key(row) else { break };
            match stored_row(row, key.as_ref()) {
                Ok(event) if event.id == run.first && is_at(row, run.position, log) => self.events.push(event),
                _ => break,
            }
            match run.after(run.first) {
                Some(rest) => run = rest,
                None => return Ok(None),
            }
        }
        Ok(Some(run))
    }
}
