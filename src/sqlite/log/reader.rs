//! Reading the durable log. Each call is one read transaction, so that no reader holds back a checkpoint.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, Transaction};

use crate::codec::Chain;
use crate::id::{AppendKey, Digest, EventId, SessionId, Timestamp};
use crate::port::log::SnapshotRow;
use crate::port::log::{Head, LogAudit, LogError, LogKey, LogMeta, LogReader, SessionRow, StoredEvent};
use crate::port::page::{StoredPage, StoredRow};
use crate::sqlite::log::index as sqlite_index;
use crate::sqlite::log::index::Entry;
use crate::sqlite::log::recent::Recent;
use crate::sqlite::log::runs::{KeyHash, Run};
use crate::sqlite::log::snapshots as sqlite_snapshots;

pub(crate) struct SqliteReader {
    pub(crate) connection: Connection,
    recent: Recent,
}

impl SqliteReader {
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection, recent: Recent::default() }
    }

    /// Begins a read, with the index as it is now.
    fn begin(&mut self) -> rusqlite::Result<(Transaction<'_>, &Recent)> {
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
        Ok(find(&self.connection, session)?)
    }

    fn sessions(&mut self, after: Option<&SessionId>, max: usize) -> Result<Vec<SessionRow>, LogError> {
        let (transaction, recent) = self.begin()?;
        let mut statement = transaction.prepare_cached(
            "SELECT session_id, log_key, log_id, created FROM sessions JOIN logs USING (log_key)
             WHERE session_id > ?1 ORDER BY session_id LIMIT ?2",
        )?;
        let after = after.map_or("", SessionId::as_str);
        let rows = statement.query_map((after, max as i64), |row| {
            let name: String = row.get(0)?;
            let session = SessionId::new(name).map_err(|error| not_ours(0, error))?;
            let meta = LogMeta { key: LogKey(row.get(1)?), log_id: row.get(2)? };
            let created = Timestamp::from_micros(row.get(3)?);
            Ok(SessionRow { session, meta, created, head: EventId::ZERO })
        })?;
        rows.map(|row| {
            let row = row?;
            match sqlite_index::last(&transaction, recent, row.meta.key).map_err(LogError::from) {
                Ok(last) => Ok(SessionRow { head: last.map_or(EventId::ZERO, |last| last.id), ..row }),
                // Damage of one session, which its recovery names; the list goes on.
                Err(LogError::CorruptEvent { event, .. }) => Ok(SessionRow { head: event, ..row }),
                Err(error) => Err(error),
            }
        })
        .collect()
    }

    fn page_into(
        &mut self,
        page: &mut StoredPage,
        log: LogKey,
        after: EventId,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<(), LogError> {
        let (transaction, recent) = self.begin()?;
        page.clear();
        let mut page = Page { events: page, bytes_max };
        for run in sqlite_index::after(&transaction, recent, log, after, events_max)? {
            match page.take(&transaction, log, &run) {
                Ok(()) if page.is_full() => return Ok(()),
                Ok(()) => {}
                // The next page begins with it.
                Err(_) if !page.events.is_empty() => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        if page.events.len() < events_max {
            let end = page.events.last_id().unwrap_or(after);
            sqlite_index::check_end(&transaction, recent, log, end)?;
        }
        Ok(())
    }

    fn find_key(&mut self, log: LogKey, key: &AppendKey) -> Result<Option<StoredEvent>, LogError> {
        let (transaction, recent) = self.begin()?;
        for entry in sqlite_index::find_key(&transaction, recent, log, KeyHash::of(key))? {
            let event = event_at(&transaction, log, entry)?;
            if event.key.as_ref() == Some(key) {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn chain_at(&mut self, log: LogKey, id: EventId) -> Result<Option<Chain>, LogError> {
        let (transaction, recent) = self.begin()?;
        Ok(chain_at(&transaction, recent, log, id)?)
    }

    fn snapshot(&mut self, log: LogKey) -> Result<Option<SnapshotRow>, LogError> {
        Ok(sqlite_snapshots::find(&self.connection, log)?)
    }

    fn snapshots(&mut self, after: LogKey, max: usize) -> Result<Vec<(LogKey, Digest)>, LogError> {
        Ok(sqlite_snapshots::list(&self.connection, after, max)?)
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
                let event = event_at(connection, log, Entry { id: left.first, position: left.position })?;
                self.events.push(event.row());
                rest = left.after(left.first);
            }
        }
        Ok(())
    }

    /// Reads rows that follow each other for as long as they are what they should be, and gives what is left.
    fn scan(&mut self, connection: &Connection, log: LogKey, mut run: Run) -> Result<Option<Run>, LogError> {
        let mut statement = connection.prepare_cached(ROWS)?;
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

const ROWS: &str = "SELECT event_id, event_type, event_at, append_key, chain, record, log_key, position FROM events
     WHERE position >= ?1 AND position < ?2 ORDER BY position";

fn is_at(row: &Row<'_>, position: i64, log: LogKey) -> bool {
    row.get(7).is_ok_and(|found: i64| found == position) && row.get(6).is_ok_and(|found: i64| found == log.0)
}

fn row_of(row: &Row<'_>) -> rusqlite::Result<(StoredEvent, i64, LogKey)> {
    Ok((stored_event(row)?, row.get(7)?, LogKey(row.get(6)?)))
}

pub(crate) fn chain_at(
    connection: &Connection,
    recent: &Recent,
    log: LogKey,
    id: EventId,
) -> rusqlite::Result<Option<Chain>> {
    let Some(position) = sqlite_index::find(connection, recent, log, id)? else { return Ok(None) };
    connection
        .prepare_cached("SELECT chain FROM events WHERE position = ?1 AND log_key = ?2 AND event_id = ?3")?
        .query_row((position, log.0, SqlEventId(id)), |row| row.get(0).map(Chain))
        .optional()
}

/// The event that an entry of the index leads to, the one held against the other.
pub(crate) fn event_at(connection: &Connection, log: LogKey, entry: Entry) -> Result<StoredEvent, LogError> {
    let id = entry.id;
    let damaged = |reason: String| LogError::CorruptEvent { event: id, reason };
    let row = connection
        .prepare_cached(ROWS)?
        .query_row([entry.position, entry.position.saturating_add(1)], row_of)
        .optional();
    match row {
        Ok(Some((event, _, found))) if event.id == id && found == log => Ok(event),
        Ok(Some((event, _, found))) => {
            Err(damaged(format!("the index leads to event {} of log {}", event.id, found.0)))
        }
        Ok(None) => Err(damaged("the index leads to no row".to_owned())),
        Err(error) => Err(match LogError::from(error) {
            LogError::Corrupt(reason) => damaged(reason),
            error => error,
        }),
    }
}

pub(crate) fn find(connection: &Connection, session: &SessionId) -> rusqlite::Result<Option<LogMeta>> {
    connection
        .prepare_cached("SELECT log_key, log_id FROM sessions JOIN logs USING (log_key) WHERE session_id = ?1")?
        .query_row([session.as_str()], |row| Ok(LogMeta { key: LogKey(row.get(0)?), log_id: row.get(1)? }))
        .optional()
}

pub(crate) fn head(connection: &Connection, recent: &Recent, log: LogMeta) -> rusqlite::Result<Head> {
    let Some(last) = sqlite_index::last(connection, recent, log.key)? else { return Ok(Head::before_first(log)) };
    // No row is damage, and so are values that no foldlog has written.
    connection
        .prepare_cached("SELECT event_id, chain, event_at FROM events WHERE position = ?1 AND log_key = ?2")?
        .query_row((last.position, log.key.0), |row| {
            let id = row.get::<_, SqlEventId>(0)?.0;
            match id == last.id {
                true => Ok(Head { id, chain: Chain(row.get(1)?), at: Timestamp::from_micros(row.get(2)?) }),
                false => Err(rusqlite::Error::QueryReturnedNoRows),
            }
        })
}

pub(crate) fn stored_event(row: &Row<'_>) -> rusqlite::Result<StoredEvent> {
    let key = append_key(row)?;
    stored_row(row, key.as_ref()).map(StoredRow::to_event)
}

/// The row's key, which is made anew: a [`StoredRow`] only refers to it.
fn append_key(row: &Row<'_>) -> rusqlite::Result<Option<AppendKey>> {
    let key = row.get_ref(3)?.as_blob_or_null()?;
    key.map(AppendKey::new).transpose().map_err(|error| not_ours(3, error))
}

fn stored_row<'a>(row: &'a Row<'_>, key: Option<&'a AppendKey>) -> rusqlite::Result<StoredRow<'a>> {
    Ok(StoredRow {
        id: row.get::<_, SqlEventId>(0)?.0,
        event_type: row.get_ref(1)?.as_str()?,
        at: Timestamp::from_micros(row.get(2)?),
        key,
        chain: Chain(row.get(4)?),
        record: row.get_ref(5)?.as_blob()?,
    })
}

pub(crate) fn not_ours(column: usize, error: crate::error::Error) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Null, Box::new(error))
}

/// An event id as SQLite stores it. A newtype, so that rusqlite's traits stay out of the public interface.
pub(crate) struct SqlEventId(pub(crate) EventId);

impl ToSql for SqlEventId {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        // At most 2^53 - 1.
        Ok((self.0.get() as i64).into())
    }
}

impl FromSql for SqlEventId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let id = value.as_i64()?;
        match u64::try_from(id) {
            Ok(position) if position <= EventId::MAX.get() => Ok(Self(EventId::new(position))),
            _ => Err(FromSqlError::OutOfRange(id)),
        }
    }
}
