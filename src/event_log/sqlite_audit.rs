//! Reading the durable log for a verification: row by row, so that one that cannot be read hides no other.

use rusqlite::{Connection, OptionalExtension};

use super::sqlite_index::{self, Entry};
use super::sqlite_reader::{SqliteReader, event_at, not_ours};
use super::{AuditedEvent, AuditedSession, LogAudit, LogError, LogKey, LogMeta, SessionRow, schema};
use crate::id::{EventId, SessionId, Timestamp};

/// What SQLite cannot know of: which row must lead to which. Each gives sentences.
const BETWEEN_TABLES: [&str; 9] = [
    "SELECT 'log ' || log_key || ' has no session' FROM logs
     WHERE log_key NOT IN (SELECT log_key FROM sessions) LIMIT ?1",
    "SELECT 'log ' || log_key || ' has ' || count(*) || ' sessions' FROM sessions
     GROUP BY log_key HAVING count(*) > 1 LIMIT ?1",
    // One search a log, not one step an event.
    "WITH RECURSIVE keys(log_key) AS (
         SELECT min(log_key) FROM event_index
         UNION ALL
         SELECT (SELECT min(log_key) FROM event_index WHERE log_key > keys.log_key) FROM keys WHERE log_key IS NOT NULL)
     SELECT 'there are events of log ' || log_key || ', and there is no such log' FROM keys
     WHERE log_key IS NOT NULL AND log_key NOT IN (SELECT log_key FROM logs) LIMIT ?1",
    "SELECT 'there are events of log ' || log_key || ', and there is no such log' FROM recent_index
     WHERE log_key NOT IN (SELECT log_key FROM logs) GROUP BY log_key LIMIT ?1",
    "SELECT 'log ' || log_key || ' has an event ' || first FROM
         (SELECT log_key, (SELECT min(event_id) FROM event_index AS i WHERE i.log_key = logs.log_key) AS first FROM logs)
     WHERE first < 1 LIMIT ?1",
    "SELECT 'log ' || log_key || ' has event ' || event_id || ' in the wrong index' FROM recent_index AS r
     WHERE event_id < 1
         OR event_id <= (SELECT max(event_id) FROM event_index AS i WHERE i.log_key = r.log_key) LIMIT ?1",
    // An entry that leads to another event is found with the event it is of.
    "SELECT 'event ' || event_id || ' of log ' || log_key || ' is in no index' FROM events AS e
     WHERE NOT EXISTS (SELECT 1 FROM event_index AS i WHERE i.log_key = e.log_key AND i.event_id = e.event_id)
         AND NOT EXISTS (SELECT 1 FROM recent_index AS i WHERE i.log_key = e.log_key AND i.event_id = e.event_id)
     LIMIT ?1",
    "SELECT 'the append key of event ' || event_id || ' of log ' || log_key || ' is in no index' FROM events AS e
     WHERE append_key IS NOT NULL
         AND NOT EXISTS (SELECT 1 FROM key_index AS i WHERE i.log_key = e.log_key AND i.append_key = e.append_key
                         AND i.position = e.position)
         AND NOT EXISTS (SELECT 1 FROM recent_index AS i WHERE i.log_key = e.log_key AND i.event_id = e.event_id
                         AND i.append_key = e.append_key)
     LIMIT ?1",
    "SELECT 'an append key of log ' || i.log_key || ' leads to another event' FROM
         (SELECT log_key, append_key, position FROM key_index
          UNION ALL SELECT log_key, append_key, position FROM recent_index) AS i
     LEFT JOIN events AS e USING (position)
     WHERE e.log_key IS NOT i.log_key OR e.append_key IS NOT i.append_key LIMIT ?1",
];

impl LogAudit for SqliteReader {
    fn structure(&mut self, max: usize) -> Result<Vec<String>, LogError> {
        forget_pages(&self.connection)?;
        let mut found = Vec::new();
        if let Err(error) = sentences(&self.connection, &format!("PRAGMA integrity_check({max})"), None, &mut found) {
            found.push(error.to_string());
        }
        found.retain(|sentence| sentence != "ok");
        match schema::misdefined(&self.connection) {
            Ok(sentences) => found.extend(sentences),
            Err(error) => found.push(error.to_string()),
        }
        for sql in BETWEEN_TABLES {
            if let Err(error) = sentences(&self.connection, sql, Some(max), &mut found) {
                found.push(error.to_string());
            }
        }
        found.truncate(max);
        Ok(found)
    }

    fn sessions(&mut self, after: &[u8], max: usize) -> Result<Vec<AuditedSession>, LogError> {
        forget_pages(&self.connection)?;
        let transaction = self.connection.unchecked_transaction()?;
        // A name that is no UTF-8 is a name all the same.
        let mut statement = transaction.prepare_cached(
            "SELECT CAST(session_id AS BLOB) FROM sessions WHERE session_id > CAST(?1 AS TEXT)
             ORDER BY session_id LIMIT ?2",
        )?;
        let names = statement.query_map((after, max as i64), |row| row.get(0))?;
        let names: Vec<Vec<u8>> = names.collect::<Result<_, _>>()?;
        // A search in a table that is out of order may lead back, for ever.
        if std::iter::once(after).chain(names.iter().map(Vec::as_slice)).is_sorted_by(|one, next| one < next) {
            let audited = |name: Vec<u8>| AuditedSession { row: session_row(&transaction, &name), name };
            return Ok(names.into_iter().map(audited).collect());
        }
        Err(LogError::Corrupt("the names of sessions are out of order".to_owned()))
    }

    fn events(
        &mut self,
        log: LogKey,
        after: EventId,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<AuditedEvent>, LogError> {
        forget_pages(&self.connection)?;
        let transaction = self.connection.unchecked_transaction()?;
        let entries = sqlite_index::after(&transaction, log, after, events_max)?;
        let mut page = Vec::with_capacity(entries.len());
        let mut bytes = 0;
        let mut last = after.get() as i64;
        for entry in entries {
            if entry.id <= last {
                // What is before it is told first; the next page begins with it.
                if page.is_empty() {
                    let reason = format!("the index of events leads back from {last} to {}", entry.id);
                    return Err(LogError::Corrupt(reason));
                }
                break;
            }
            last = entry.id;
            let event = event_row(&transaction, log, entry);
            bytes += event.row.as_ref().map_or(0, |row| row.record.len());
            page.push(event);
            if bytes >= bytes_max {
                break;
            }
        }
        Ok(page)
    }
}

/// What was read before may be good in memory and damaged on the disk.
fn forget_pages(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("PRAGMA shrink_memory")
}

fn sentences(
    connection: &Connection,
    sql: &str,
    max: Option<usize>,
    found: &mut Vec<String>,
) -> Result<(), rusqlite::Error> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = match max {
        Some(max) => statement.query([max as i64])?,
        None => statement.query([])?,
    };
    while let Some(row) = rows.next()? {
        found.push(row.get(0)?);
    }
    Ok(())
}

fn session_row(connection: &Connection, name: &[u8]) -> Result<SessionRow, LogError> {
    let text = str::from_utf8(name).map_err(|_| LogError::Corrupt("a session's name is not UTF-8".to_owned()))?;
    let session = SessionId::new(text).map_err(|error| not_ours(0, error))?;
    let (key, created) = connection
        .prepare_cached("SELECT log_key, created FROM sessions WHERE session_id = ?1")?
        .query_row([text], |row| Ok((LogKey(row.get(0)?), Timestamp::from_micros(row.get(1)?))))?;
    let log_id = connection
        .prepare_cached("SELECT log_id FROM logs WHERE log_key = ?1")?
        .query_row([key.0], |row| row.get(0))
        .optional()?
        .ok_or_else(|| LogError::Corrupt(format!("the session leads to log {}, which is not there", key.0)))?;
    let last = sqlite_index::last(connection, key)?.map(|entry| entry.id);
    let head = EventId::new(last.unwrap_or_default().max(0).unsigned_abs());
    Ok(SessionRow { session, meta: LogMeta { key, log_id }, created, head })
}

/// Reads the row that an entry of the index leads to, and holds the one against the other.
pub(super) fn event_row(connection: &Connection, log: LogKey, entry: Entry) -> AuditedEvent {
    let known = u64::try_from(entry.id).ok().filter(|id| *id <= EventId::MAX.get()).map(EventId::new);
    AuditedEvent { id: known.unwrap_or(EventId::MAX), row: event_at(connection, log, entry) }
}
