//! Reading the durable log for a verification: row by row, so that one that cannot be read hides no other.

use rusqlite::Connection;

use super::error::SqlResult;
use super::reader::SqliteReader;
use super::recent::Recent;
use super::row::{IndexEntry, event_at, not_ours};
use super::salvage::names_around_damage;
use super::{index, index_audit, listing, lookup, schema};
use crate::id::{EventId, SessionId, Timestamp};
use crate::port::{AuditedEvent, AuditedSession, LogAudit, LogError, LogKey, OwnerId, SessionRow};

/// Queries for what SQLite cannot know: which row must lead to which. Each gives one sentence for each fault.
fn between_tables(format: i64) -> [String; 2] {
    let deleted = if format < 2 { "" } else { "AND log_key NOT IN (SELECT log_key FROM deleted_logs)" };
    [
        format!(
            "SELECT 'log ' || log_key || ' has no session' FROM logs
             WHERE log_key NOT IN (SELECT log_key FROM sessions) {deleted} LIMIT ?1"
        ),
        "SELECT 'log ' || log_key || ' has ' || count(*) || ' sessions' FROM sessions
         GROUP BY log_key HAVING count(*) > 1 LIMIT ?1"
            .to_owned(),
    ]
}

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
        for sql in between_tables(schema::format_number(&self.connection)?) {
            if let Err(error) = sentences(&self.connection, &sql, Some(max), &mut found) {
                found.push(error.to_string());
            }
        }
        if let Err(error) = owners(&self.connection, max, &mut found) {
            found.push(error.to_string());
        }
        if let Err(error) = index_audit::look(&self.connection, max, &mut found) {
            found.push(error.to_string());
        }
        found.truncate(max);
        Ok(found)
    }

    fn sessions(&mut self, after: &[u8], max: usize) -> Result<Vec<AuditedSession>, LogError> {
        forget_pages(&self.connection)?;
        self.read(|transaction, recent| {
            // A name that is no UTF-8 is a name all the same.
            let mut statement = transaction.prepare_cached(
                "SELECT CAST(session_id AS BLOB) FROM sessions WHERE session_id > CAST(?1 AS TEXT)
                 ORDER BY session_id LIMIT ?2",
            )?;
            let mut names: Vec<Vec<u8>> = Vec::new();
            for name in statement.query_map((after, max as i64), |row| row.get(0))? {
                match name {
                    Ok(name) => names.push(name),
                    // The next page begins behind the damage, which `structure` names.
                    Err(_) if !names.is_empty() => break,
                    Err(error) => {
                        let (around, _) = names_around_damage(transaction);
                        names.extend(around.into_iter().filter(|name| **name > *after).take(max));
                        if names.is_empty() {
                            return Err(error.into());
                        }
                        break;
                    }
                }
            }
            // A search in a table that is out of order may lead back, for ever.
            if std::iter::once(after).chain(names.iter().map(Vec::as_slice)).is_sorted_by(|one, next| one < next) {
                let audited = |name: Vec<u8>| AuditedSession { row: session_row(transaction, recent, &name), name };
                let audited: Vec<_> = names.into_iter().map(audited).collect();
                // Looked at once more, with what a torn page of the index has.
                let torn = || LogError::Corrupt("a page of the index of events cannot be read".to_owned());
                return if recent.is_missing() { Err(torn()) } else { Ok(audited) };
            }
            Err(LogError::Corrupt("the names of sessions are out of order".to_owned()))
        })
    }

    fn events(
        &mut self,
        log: LogKey,
        after: EventId,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<AuditedEvent>, LogError> {
        forget_pages(&self.connection)?;
        // The index of recent events is looked at as a whole by `structure`: here what is known of it is enough.
        self.read_log(log, |connection, recent| {
            let mut page = Vec::new();
            let mut bytes = 0;
            for run in index::after(connection, recent, log, after, events_max)?.runs {
                let mut rest = Some(run);
                while let Some(run) = rest {
                    let event = event_row(connection, log, IndexEntry { id: run.first, position: run.position });
                    bytes += event.row.as_ref().map_or(0, |row| row.record.len());
                    page.push(event);
                    if bytes >= bytes_max {
                        return Ok(page);
                    }
                    rest = run.after(run.first);
                }
            }
            Ok(page)
        })
    }
}

/// Drops SQLite's cached pages: a page that was read before may be good in memory and damaged on the disk.
fn forget_pages(connection: &Connection) -> SqlResult<()> {
    Ok(connection.execute_batch("PRAGMA shrink_memory")?)
}

fn sentences(connection: &Connection, sql: &str, max: Option<usize>, found: &mut Vec<String>) -> SqlResult<()> {
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

/// The owners: a writer cannot read a row with one that is not UTF-8.
fn owners(connection: &Connection, max: usize, found: &mut Vec<String>) -> SqlResult<()> {
    let mut statement = connection.prepare(
        "SELECT CAST(session_id AS BLOB), CAST(owner AS BLOB) FROM sessions JOIN logs USING (log_key)
         WHERE owner IS NOT NULL",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()?.filter(|_| found.len() < max) {
        let (name, owner): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
        if str::from_utf8(&owner).ok().and_then(OwnerId::parse).is_none() {
            let name = String::from_utf8_lossy(&name);
            found.push(format!("the owner of session {} is no name of a store", name.escape_debug()));
        }
    }
    Ok(())
}

fn session_row(connection: &Connection, recent: &Recent, name: &[u8]) -> Result<SessionRow, LogError> {
    let text = str::from_utf8(name).map_err(|_| LogError::Corrupt("a session's name is not UTF-8".to_owned()))?;
    let session = SessionId::new(text).map_err(|error| not_ours(0, error))?;
    let (key, created, core) = connection
        .prepare_cached(&format!("SELECT log_key, created, {} FROM sessions WHERE session_id = ?1", listing::CORE))?
        .query_row([text], |row| {
            Ok((LogKey(row.get(0)?), Timestamp::from_micros(row.get(1)?), listing::core_at(row, 2)))
        })?;
    let meta = lookup::meta(connection, key)?
        .ok_or_else(|| LogError::Corrupt(format!("the session leads to log {}, which is not there", key.0)))?;
    let head = index::last(connection, recent, key)?.map_or(meta.base.id, |last| last.id);
    Ok(SessionRow { session, meta, created, head, core })
}

/// Reads the row that an entry of the index leads to, and holds the one against the other.
pub(crate) fn event_row(connection: &Connection, log: LogKey, entry: IndexEntry) -> AuditedEvent {
    AuditedEvent { id: entry.id, row: event_at(connection, log, entry) }
}
