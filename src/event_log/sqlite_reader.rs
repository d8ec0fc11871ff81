//! Reading the durable log. Each call is one read transaction, so that no reader holds back a checkpoint.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row};

use super::sqlite_index::{self, Entry};
use super::{Head, LogAudit, LogError, LogKey, LogMeta, LogReader, SessionRow, StoredEvent, StoredPage, StoredRow};
use crate::codec::Chain;
use crate::id::{AppendKey, Digest, EventId, SessionId, Timestamp};
use crate::snapshot::SnapshotRow;

pub(super) struct SqliteReader {
    pub(super) connection: Connection,
}

impl SqliteReader {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection }
    }
}

impl LogReader for SqliteReader {
    fn find(&mut self, session: &SessionId) -> Result<Option<LogMeta>, LogError> {
        Ok(find(&self.connection, session)?)
    }

    fn sessions(&mut self, after: Option<&SessionId>, max: usize) -> Result<Vec<SessionRow>, LogError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT session_id, log_key, log_id, created,
                    coalesce((SELECT max(event_id) FROM recent_index AS i WHERE i.log_key = sessions.log_key),
                             (SELECT max(event_id) FROM event_index AS i WHERE i.log_key = sessions.log_key), 0)
             FROM sessions JOIN logs USING (log_key)
             WHERE session_id > ?1 ORDER BY session_id LIMIT ?2",
        )?;
        let after = after.map_or("", SessionId::as_str);
        let rows = statement.query_map((after, max as i64), |row| {
            let name: String = row.get(0)?;
            let session = SessionId::new(name).map_err(|error| not_ours(0, error))?;
            let meta = LogMeta { key: LogKey(row.get(1)?), log_id: row.get(2)? };
            // An id that no log can have is damage of that session, which its recovery names; the list goes on.
            let head = EventId::new(row.get::<_, i64>(4)?.max(0).unsigned_abs());
            Ok(SessionRow { session, meta, created: Timestamp::from_micros(row.get(3)?), head })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn page(
        &mut self,
        log: LogKey,
        after: EventId,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<StoredPage, LogError> {
        let transaction = self.connection.unchecked_transaction()?;
        let mut page = Page { log, events: StoredPage::default(), events_max, bytes_max };
        let ended = match page.scan(&transaction, after) {
            Ok(ended) => ended,
            // The next page begins with what is wrong.
            Err(_) if !page.events.is_empty() => PageEnd::Full,
            Err(_) => page.step(&transaction, after)?,
        };
        if ended == PageEnd::OfLog {
            let end = page.events.last_id().unwrap_or(after);
            check_end(&transaction, log, end)?;
        }
        Ok(page.events)
    }

    fn find_key(&mut self, log: LogKey, key: &AppendKey) -> Result<Option<StoredEvent>, LogError> {
        let transaction = self.connection.unchecked_transaction()?;
        let Some(position) = sqlite_index::find_key(&transaction, log, key.as_bytes())? else { return Ok(None) };
        match row_at(&transaction, position)? {
            Some((event, found)) if found == log && event.key.as_ref() == Some(key) => Ok(Some(event)),
            _ => Err(LogError::Corrupt(format!("the index of append keys of log {} is wrong", log.0))),
        }
    }

    fn chain_at(&mut self, log: LogKey, id: EventId) -> Result<Option<Chain>, LogError> {
        Ok(chain_at(&self.connection, log, id)?)
    }

    fn snapshot(&mut self, log: LogKey) -> Result<Option<SnapshotRow>, LogError> {
        Ok(snapshot(&self.connection, log)?)
    }

    fn audit(&mut self) -> &mut dyn LogAudit {
        self
    }
}

/// The events of a page, as far as they are read.
struct Page {
    log: LogKey,
    events: StoredPage,
    events_max: usize,
    bytes_max: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum PageEnd {
    /// More may follow.
    Full,
    /// The index has no more entries of the log.
    OfLog,
}

/// What a scan does not look into.
struct Odd;

impl From<rusqlite::Error> for Odd {
    fn from(_: rusqlite::Error) -> Self {
        Self
    }
}

impl Page {
    /// Adds an event, and tells whether the page has room for another.
    fn push(&mut self, event: StoredRow<'_>) -> bool {
        self.events.push(event);
        self.events.len() < self.events_max && self.events.record_bytes() < self.bytes_max
    }

    /// Reads index and rows together, a third of the work of reading each row on its own. Stops at the first event that
    /// is not as it should be, whatever it is.
    fn scan(&mut self, connection: &Connection, after: EventId) -> Result<PageEnd, Odd> {
        let mut last = after;
        for sql in sqlite_index::JOINED_AFTER {
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query((self.log.0, SqlEventId(last)))?;
            while let Some(row) = rows.next()? {
                let key = append_key(row)?;
                let event = stored_row(row, key.as_ref())?;
                if event.id != last.next() {
                    return Err(Odd);
                }
                last = event.id;
                if !self.push(event) {
                    return Ok(PageEnd::Full);
                }
            }
        }
        Ok(PageEnd::OfLog)
    }

    /// Reads entry by entry, so that what is wrong is named.
    fn step(&mut self, connection: &Connection, after: EventId) -> Result<PageEnd, LogError> {
        for entry in sqlite_index::after(connection, self.log, after, self.events_max)? {
            let event = match event_at(connection, self.log, entry) {
                Ok(event) => event,
                // The next page begins with it.
                Err(_) if !self.events.is_empty() => return Ok(PageEnd::Full),
                Err(error) => return Err(error),
            };
            if !self.push(event.row()) {
                return Ok(PageEnd::Full);
            }
        }
        Ok(PageEnd::OfLog)
    }
}

pub(super) fn snapshot(connection: &Connection, log: LogKey) -> rusqlite::Result<Option<SnapshotRow>> {
    connection
        .prepare_cached("SELECT event_id, chain, digest, bytes, view_schema, schema FROM snapshots WHERE log_key = ?1")?
        .query_row([log.0], |row| {
            Ok(SnapshotRow {
                event: row.get::<_, SqlEventId>(0)?.0,
                chain: Chain(row.get(1)?),
                digest: Digest::from_bytes(row.get(2)?),
                bytes: row.get::<_, i64>(3)?.unsigned_abs(),
                view_schema: row.get(4)?,
                schema: row.get(5)?,
            })
        })
        .optional()
}

pub(super) fn chain_at(connection: &Connection, log: LogKey, id: EventId) -> rusqlite::Result<Option<Chain>> {
    let Some(position) = sqlite_index::find(connection, log, id)? else { return Ok(None) };
    connection
        .prepare_cached("SELECT chain FROM events WHERE position = ?1 AND log_key = ?2 AND event_id = ?3")?
        .query_row((position, log.0, SqlEventId(id)), |row| row.get(0).map(Chain))
        .optional()
}

/// The row at a position, and whose it is.
pub(super) fn row_at(connection: &Connection, position: i64) -> rusqlite::Result<Option<(StoredEvent, LogKey)>> {
    connection
        .prepare_cached(
            "SELECT event_id, event_type, event_at, append_key, chain, record, log_key FROM events
             WHERE position = ?1",
        )?
        .query_row([position], |row| Ok((stored_event(row)?, LogKey(row.get(6)?))))
        .optional()
}

/// The event that an entry of the index leads to, the one held against the other.
pub(super) fn event_at(connection: &Connection, log: LogKey, entry: Entry) -> Result<StoredEvent, LogError> {
    let Some(id) = u64::try_from(entry.id).ok().filter(|id| *id <= EventId::MAX.get()).map(EventId::new) else {
        return Err(LogError::Corrupt(format!("{} is no event id", entry.id)));
    };
    let damaged = |reason: String| LogError::CorruptEvent { event: id, reason };
    match row_at(connection, entry.position) {
        Ok(Some((event, found))) if event.id == id && found == log => Ok(event),
        Ok(Some((event, found))) => Err(damaged(format!("the index leads to event {} of log {}", event.id, found.0))),
        Ok(None) => Err(damaged("the index leads to no row".to_owned())),
        Err(error) => Err(match LogError::from(error) {
            LogError::Corrupt(reason) => damaged(reason),
            error => error,
        }),
    }
}

/// Looks at the end of a log from both sides: backwards from the end of its keys, and at the entry behind it, which is the
/// first event of another log and leads to a row that says so. A changed bit in the index can hide the last event from a
/// search, and a shorter log is no error by itself.
fn check_end(connection: &Connection, log: LogKey, end: EventId) -> Result<(), LogError> {
    let damaged = || LogError::Corrupt(format!("the index of events is wrong where log {} ends", log.0));
    let end_id = end.get() as i64;
    // `end` may be beyond the log: then there is nothing that it could hide.
    if sqlite_index::last(connection, log)?.is_some_and(|last| last.id > end_id) {
        return Err(damaged());
    }
    for (other, entry) in sqlite_index::behind(connection, log, end)? {
        let row: Option<(i64, i64)> = connection
            .prepare_cached("SELECT log_key, event_id FROM events WHERE position = ?1")?
            .query_row([entry.position], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        // Only what the row says of this log is this log's damage: what is wrong with the other is found when it is read.
        if other == log || row.is_some_and(|(key, id)| key == log.0 && id > end_id) {
            return Err(damaged());
        }
    }
    Ok(())
}

pub(super) fn find(connection: &Connection, session: &SessionId) -> rusqlite::Result<Option<LogMeta>> {
    connection
        .prepare_cached("SELECT log_key, log_id FROM sessions JOIN logs USING (log_key) WHERE session_id = ?1")?
        .query_row([session.as_str()], |row| Ok(LogMeta { key: LogKey(row.get(0)?), log_id: row.get(1)? }))
        .optional()
}

pub(super) fn head(connection: &Connection, log: LogMeta) -> rusqlite::Result<Head> {
    let Some(last) = sqlite_index::last(connection, log.key)? else { return Ok(Head::before_first(log)) };
    // No row is damage, and so are values that no foldlog has written.
    connection
        .prepare_cached("SELECT event_id, chain, event_at FROM events WHERE position = ?1 AND log_key = ?2")?
        .query_row((last.position, log.key.0), |row| {
            let id = row.get::<_, SqlEventId>(0)?.0;
            match id.get() as i64 == last.id {
                true => Ok(Head { id, chain: Chain(row.get(1)?), at: Timestamp::from_micros(row.get(2)?) }),
                false => Err(rusqlite::Error::QueryReturnedNoRows),
            }
        })
}

pub(super) fn stored_event(row: &Row<'_>) -> rusqlite::Result<StoredEvent> {
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

pub(super) fn not_ours(column: usize, error: crate::error::Error) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Null, Box::new(error))
}

/// An event id as SQLite stores it. A newtype, so that rusqlite's traits stay out of the public interface.
pub(super) struct SqlEventId(pub(super) EventId);

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
