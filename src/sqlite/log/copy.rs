//! The database of a copy of a store: filled once, and brought up to date by each later backup into the same directory.
//!
//! The first time it is a database aside, which gets its name when it is complete. After that each backup is one
//! transaction, so that a cut-off backup leaves what the one before has made. Rows keep their positions and log keys;
//! the index is made anew, with all of it in `event_index` but for the one row that says where the table ends.
//!
//! Three rows of `meta` are a backup's own: `backup_of`, the id of the store that it is a copy of; `backup_position`,
//! how far it has come; `backup_unclean`, while bytes may be here that the copy does not name: those of what was
//! removed, or of a backup that was cut off.

mod redacted;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use rusqlite::{Connection, OptionalExtension, params};

use super::error::{SqlError, SqlResult};
use super::new_database::{NewDatabase, close, empty_log, enter_end, enter_runs};
use super::rebuild::TakenLog;
use super::recent::Recent;
use super::redaction;
use super::row::{INSERT_EVENT, STORE_ID, SqlEventId, put_setting, setting};
use super::runs::{KeyHash, Run};
use super::schema::{self, Database, OpenError};
use super::segments::Segment;
use super::{all_events, index, listing, lookup, parts};
use crate::codec::Chain;
use crate::error::{Error, ErrorKind};
use crate::event::{OwnBody, SessionCore};
use crate::id::{EventId, SessionId};
use crate::port::{Durability, Head, Listed, LogError, LogKey, Position, ScannedPage, ScannedRow, SessionRow, StoreId};
pub(crate) use redacted::TakenOut;

const BACKUP_OF: &str = "backup_of";
const BACKUP_POSITION: &str = "backup_position";
const BACKUP_UNCLEAN: &str = "backup_unclean";

/// How many runs wait in memory to be entered into the index: about 4 MiB.
const RUNS_MAX: usize = 1 << 17;

/// What a copy is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CopyRole {
    /// To be kept, and brought up to date by the next backup.
    Backup,
    /// To be a store of its own.
    Restore,
}

/// Foldlog's own events of a log that were copied, since they say how its session is listed.
#[derive(Debug, Default)]
pub(crate) struct OwnEvents {
    pub(crate) bodies: Vec<OwnBody>,
    /// Whether one of them is of a newer build, so that only the source knows the title and labels.
    pub(crate) is_unknown: bool,
}

/// A database that is being filled, or brought up to date. Dropping it gives up what was not committed.
pub(crate) struct CopiedLog {
    new: NewDatabase,
    /// Whether the database has no name yet, so that it may be committed in parts.
    is_aside: bool,
    /// How far the copy had come before.
    begun_at: Position,
    /// Where events are that are not in the index yet.
    waiting: HashMap<LogKey, TakenLog>,
    waiting_runs: usize,
    /// The logs that have events here that were added, and that no session was seen to have.
    unlisted: HashSet<LogKey>,
    /// As of the last [`CopiedLog::complete_index`].
    recent: Recent,
    is_unclean: bool,
}

impl CopiedLog {
    /// Makes the tables in an empty file.
    pub(crate) fn create(
        path: PathBuf,
        vfs: Option<&'static str>,
        model: &str,
        role: CopyRole,
        source: Option<StoreId>,
    ) -> Result<Self, LogError> {
        let new = NewDatabase::create(Database { path, vfs }, model)?;
        new.begin()?;
        if role == CopyRole::Backup {
            put_setting(&new.connection, STORE_ID, None)?;
            put_setting(&new.connection, BACKUP_OF, Some(&source.map(|id| id.to_string()).unwrap_or_default()))?;
        }
        Ok(Self::of(new, true, Position::START, false))
    }

    /// Refuses a database that is not an earlier backup of the store. It only looks.
    pub(crate) fn check(database: &Database, model: &str, source: Option<StoreId>) -> Result<(), Error> {
        let place = database.directory().display();
        let refused = |what: String| Err(ErrorKind::InvalidArgument { what }.into());
        let empty = || refused(format!("{place} is not a backup: its database is empty"));
        if database.is_empty() {
            return empty();
        }
        // Without a write-ahead log the file is looked at by itself: otherwise SQLite would make files beside it.
        let connection = if database.has_wal() { database.open_to_look() } else { database.open_immutable() };
        let connection = connection.map_err(LogError::from)?;
        if schema::format_and_model(&connection, &database.path, Some(model))?.is_none() {
            return empty();
        }
        let look = || -> SqlResult<_> { Ok((setting(&connection, BACKUP_OF)?, setting(&connection, STORE_ID)?)) };
        match look().map_err(LogError::from)? {
            (None, _) => refused(format!("{place} is a store and not a backup: back up into a directory of its own")),
            (Some(_), Some(_)) => refused(format!(
                "{place} was a backup, and was opened as a store since: it may have events of its own, so back up into another \
                 directory (to look into a backup, open it read-only)"
            )),
            (Some(_), None) if source.is_none() => refused(format!(
                "whether {place} is the backup of this store is not known, since the store has no id yet: open it to write once"
            )),
            (Some(of), None) if source.is_none_or(|source| of != source.to_string()) => {
                refused(format!("{place} is the backup of another store: back up into another directory"))
            }
            (Some(_), None) => Ok(()),
        }
    }

    /// Opens a backup that [`CopiedLog::check`] has let through, to bring it up to date. The caller has the directory
    /// to itself.
    pub(crate) fn open(database: Database, model: &str) -> Result<Self, OpenError> {
        schema::look(&database, model)?;
        schema::migrate_copy(&database)?;
        let connection = schema::open_writer(&database, Durability::PowerLoss)?;
        // Whatever a backup has left that was cut off.
        empty_log(&connection)?;
        let begun_at = setting(&connection, BACKUP_POSITION).map_err(LogError::from)?;
        let begun_at = begun_at.and_then(|position| position.parse().ok()).map_or(Position::START, Position);
        let is_unclean = setting(&connection, BACKUP_UNCLEAN).map_err(LogError::from)?.is_some();
        let new = NewDatabase::of(connection, database);
        new.begin()?;
        // From now on blobs may come that the copy never gets to name.
        put_setting(&new.connection, BACKUP_UNCLEAN, Some("1")).map_err(LogError::from)?;
        let wal_number = parts::wal_number(&new.connection).map_err(LogError::from)?;
        parts::raise_wal_number(&new.connection, wal_number).map_err(LogError::from)?;
        new.commit()?;
        new.begin()?;
        Ok(Self::of(new, false, begun_at, is_unclean))
    }

    fn of(new: NewDatabase, is_aside: bool, begun_at: Position, is_unclean: bool) -> Self {
        let (waiting, waiting_runs, unlisted) = (HashMap::new(), 0, HashSet::new());
        Self { new, is_aside, begun_at, waiting, waiting_runs, unlisted, recent: Recent::default(), is_unclean }
    }

    fn connection(&self) -> &Connection {
        &self.new.connection
    }

    /// How far the copy had come before: what is behind is to be added.
    pub(crate) fn begun_at(&self) -> Position {
        self.begun_at
    }

    /// The last event of the copy.
    pub(crate) fn last_event(&self) -> Result<Option<(Position, LogKey, Chain)>, LogError> {
        let last = self
            .connection()
            .query_row("SELECT position, log_key, chain FROM events ORDER BY position DESC LIMIT 1", [], |row| {
                Ok((Position(row.get(0)?), LogKey(row.get(1)?), Chain(row.get(2)?)))
            })
            .optional()?;
        Ok(last)
    }

    /// Has the bytes removed that the copy does not name, when it is committed.
    pub(crate) fn clean(&mut self) {
        self.is_unclean = true;
    }

    /// Adds an event, in the order of the positions.
    pub(crate) fn add(&mut self, row: ScannedRow<'_>) -> Result<(), LogError> {
        let ScannedRow { position, log, event } = row;
        self.connection().prepare_cached(INSERT_EVENT)?.execute(params![
            position.0,
            log.0,
            SqlEventId(event.id),
            event.event_type,
            event.at.as_micros(),
            redaction::key_column(event),
            event.chain.0,
            event.record,
        ])?;
        let waiting = self.waiting.entry(log).or_default();
        let before = waiting.runs.len();
        waiting.push(event.id, position.0, redaction::key_hash_of(event));
        self.waiting_runs += waiting.runs.len() - before;
        self.unlisted.insert(log);
        if self.waiting_runs >= RUNS_MAX {
            self.enter_waiting()?;
        }
        if self.is_aside {
            self.new.written(event.record.len() + 128)?;
        }
        Ok(())
    }

    fn enter_waiting(&mut self) -> SqlResult<()> {
        for (log, taken) in self.waiting.drain() {
            enter_runs(&self.new.connection, log, &taken.runs)?;
        }
        self.waiting_runs = 0;
        Ok(())
    }

    /// Takes a page of the source's sessions behind `after`: what is here between `after` and the end of the page and
    /// is not in the page was deleted, and what is in the page and not here is new. Tells how many sessions went.
    pub(crate) fn list(
        &mut self,
        after: Option<&SessionId>,
        page: &[SessionRow],
        is_last: bool,
        own: &HashMap<LogKey, OwnEvents>,
    ) -> Result<u64, LogError> {
        let last = page.last().filter(|_| !is_last).map(|row| row.session.as_str());
        let known = self.known_sessions(after.map_or("", SessionId::as_str), last)?;
        let is_listed = |name: &str, log: LogKey| {
            let found = page.binary_search_by(|row| row.session.as_str().cmp(name));
            found.ok().and_then(|at| page.get(at)).is_some_and(|row| row.meta.key == log)
        };
        let mut removed = 0;
        for (name, log) in known.iter().filter(|(name, log)| !is_listed(name, **log)) {
            self.connection().prepare_cached("DELETE FROM sessions WHERE session_id = ?1")?.execute([name])?;
            self.remove_log(*log)?;
            removed += 1;
        }
        for row in page {
            self.unlisted.remove(&row.meta.key);
            let is_new = known.get(row.session.as_str()) != Some(&row.meta.key);
            if is_new {
                self.add_session(row)?;
            }
            if let Some(own) = own.get(&row.meta.key) {
                self.describe(row, own)?;
            }
        }
        Ok(removed)
    }

    /// Ends a list: removes the events that were added of logs that no session has any more.
    pub(crate) fn end_list(&mut self) -> Result<(), LogError> {
        for log in std::mem::take(&mut self.unlisted) {
            self.remove_log(log)?;
        }
        Ok(())
    }

    fn known_sessions(&self, after: &str, last: Option<&str>) -> SqlResult<HashMap<String, LogKey>> {
        let mut select = self.connection().prepare_cached(
            "SELECT session_id, log_key FROM sessions WHERE session_id > ?1 AND (?2 IS NULL OR session_id <= ?2)",
        )?;
        let known = select.query_map((after, last), |row| Ok((row.get(0)?, LogKey(row.get(1)?))))?;
        Ok(known.collect::<Result<_, _>>()?)
    }

    fn add_session(&self, row: &SessionRow) -> SqlResult<()> {
        let meta = row.meta;
        let fork = (meta.base.id > EventId::ZERO).then_some((SqlEventId(meta.base.id), meta.base.chain.0));
        let (fork_id, fork_chain) = fork.unzip();
        self.connection()
            .prepare_cached("INSERT INTO logs(log_key, log_id, fork_event_id, fork_chain) VALUES (?1, ?2, ?3, ?4)")?
            .execute((meta.key.0, meta.log_id, fork_id, fork_chain))?;
        self.connection()
            .prepare_cached("INSERT INTO sessions(session_id, log_key, created) VALUES (?1, ?2, ?3)")?
            .execute((row.session.as_str(), meta.key.0, row.created.as_micros()))?;
        Ok(())
    }

    fn describe(&self, row: &SessionRow, own: &OwnEvents) -> SqlResult<()> {
        let core = if own.is_unknown {
            row.core.clone().unwrap_or_default()
        } else {
            let mut core = self.core(&row.session)?;
            own.bodies.iter().for_each(|body| core.apply(body));
            core
        };
        listing::put(self.connection(), row.meta.key, &Listed { session: row.session.clone(), core: core.into() })
    }

    fn core(&self, session: &SessionId) -> SqlResult<SessionCore> {
        let core = self
            .connection()
            .prepare_cached(&format!("SELECT {} FROM sessions WHERE session_id = ?1", listing::CORE))?
            .query_row([session.as_str()], |row| Ok(listing::core_at(row, 0)))?;
        core.ok_or_else(|| SqlError::damaged(format!("the title or labels of session {session} cannot be read")))
    }

    fn remove_log(&mut self, log: LogKey) -> SqlResult<()> {
        self.remove_rows(log)?;
        for table in ["snapshots", "redactions", "logs"] {
            self.connection().prepare_cached(&format!("DELETE FROM {table} WHERE log_key = ?1"))?.execute([log.0])?;
        }
        self.is_unclean = true;
        Ok(())
    }

    /// Removes the events of a log, with their index, and tells where they were.
    fn remove_rows(&mut self, log: LogKey) -> SqlResult<Vec<Run>> {
        let segments: Vec<Segment> = self
            .connection()
            .prepare_cached(
                "SELECT log_key, first_event, runs FROM event_index WHERE log_key = ?1 ORDER BY first_event",
            )?
            .query_map([log.0], Segment::read)?
            .collect::<Result<_, _>>()?;
        let mut runs = Vec::new();
        for segment in segments {
            runs.extend(segment.decode()?);
        }
        if let Some(taken) = self.waiting.remove(&log) {
            self.waiting_runs -= taken.runs.len();
            runs.extend(taken.runs);
        }
        self.remove_events(log, &runs)?;
        self.connection().prepare_cached("DELETE FROM event_index WHERE log_key = ?1")?.execute([log.0])?;
        Ok(runs)
    }

    fn remove_events(&self, log: LogKey, runs: &[Run]) -> SqlResult<()> {
        let mut delete = self
            .connection()
            .prepare_cached("DELETE FROM events WHERE position >= ?1 AND position < ?2 AND log_key = ?3")?;
        for run in runs {
            delete.execute((run.position, run.end(), log.0))?;
        }
        Ok(())
    }

    /// Completes the index, so that what was added can be read back.
    pub(crate) fn complete_index(&mut self) -> Result<(), LogError> {
        self.enter_waiting()?;
        self.connection().execute("DELETE FROM recent_index", [])?;
        let last = self
            .connection()
            .prepare_cached(
                "SELECT log_key, event_id, position, append_key FROM events ORDER BY position DESC LIMIT 1",
            )?
            .query_row([], |row| {
                let key = row.get::<_, Option<Vec<u8>>>(3)?.and_then(|key| KeyHash::of_column(&key));
                let run = Run { first: row.get::<_, SqlEventId>(1)?.0, count: 1, position: row.get(2)?, key };
                Ok((LogKey(row.get(0)?), run))
            })
            .optional()?;
        if let Some((log, run)) = last {
            enter_end(self.connection(), log, &run)?;
        }
        self.recent = Recent::load(self.connection())?;
        Ok(())
    }

    /// Reads events back, as [`LogReader::scan`](crate::port::LogReader::scan) does.
    pub(crate) fn read_back(
        &self,
        page: &mut ScannedPage,
        after: Position,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<Option<Position>, LogError> {
        all_events::page_into(self.connection(), page, after, events_max, bytes_max)
    }

    /// The event that the index has before this one.
    pub(crate) fn before(&self, log: LogKey, id: EventId) -> Result<Option<Head>, LogError> {
        let Some(meta) = lookup::meta(self.connection(), log)? else { return Ok(None) };
        if id.prev() == meta.base.id {
            return Ok(Some(meta.base));
        }
        let chain: Option<Chain> = lookup::chain_at(self.connection(), &self.recent, log, id.prev())?;
        Ok(chain.map(|chain| Head { chain, id: id.prev(), ..meta.base }))
    }

    /// The last event that the index has of a log.
    pub(crate) fn last(&self, log: LogKey) -> Result<Option<EventId>, LogError> {
        Ok(index::last(self.connection(), &self.recent, log)?.map(|last| last.id))
    }

    /// The session of a log.
    pub(crate) fn session_of(&self, log: LogKey) -> Result<Option<SessionId>, LogError> {
        let name: Option<String> = self
            .connection()
            .prepare_cached("SELECT session_id FROM sessions WHERE log_key = ?1")?
            .query_row([log.0], |row| row.get(0))
            .optional()?;
        Ok(name.and_then(|name| SessionId::new(name).ok()))
    }

    /// How many sessions the copy has.
    pub(crate) fn sessions(&self) -> Result<u64, LogError> {
        let sessions: i64 = self.connection().query_row("SELECT count(*) FROM sessions", [], |row| row.get(0))?;
        Ok(sessions.unsigned_abs())
    }

    /// Commits all that was added, as what the source was at this position. From here on the copy is whole.
    pub(crate) fn commit(&mut self, role: CopyRole, end: Position) -> Result<(), LogError> {
        if role == CopyRole::Backup {
            put_setting(self.connection(), BACKUP_POSITION, Some(&end.0.to_string()))?;
            put_setting(self.connection(), BACKUP_UNCLEAN, self.is_unclean.then_some("1"))?;
        }
        self.new.commit()
    }

    /// Whether bytes may be here that the copy does not name.
    pub(crate) fn is_unclean(&self) -> bool {
        self.is_unclean
    }

    /// Writes the database anew, without the bytes of what was removed.
    pub(crate) fn rewrite(&self) -> Result<(), LogError> {
        self.connection().execute_batch("VACUUM")?;
        empty_log(self.connection())
    }

    /// Notes that the copy has nothing that it does not name, and closes: everything is in one file, which it names.
    pub(crate) fn close(self) -> Result<PathBuf, LogError> {
        if self.is_unclean {
            put_setting(self.connection(), BACKUP_UNCLEAN, None)?;
            empty_log(self.connection())?;
        }
        let NewDatabase { connection, database, .. } = self.new;
        close(connection, &database)?;
        Ok(database.path)
    }
}
