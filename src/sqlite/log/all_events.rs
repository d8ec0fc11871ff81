//! The events of all logs in the order of their positions, a page at a time.

use std::collections::HashSet;

use rusqlite::{Connection, Row};

use super::deleted;
use super::row::{EVENTS, append_key, stored_row};
use crate::port::{LogError, LogKey, Position, ScannedPage, ScannedRow};

/// See [`LogReader::scan`](crate::port::LogReader::scan).
pub(super) fn page_into(
    connection: &Connection,
    page: &mut ScannedPage,
    after: Position,
    events_max: usize,
    bytes_max: usize,
) -> Result<Option<Position>, LogError> {
    page.clear();
    let void = deleted::void_logs(connection)?;
    let mut end = None;
    let mut statement = connection.prepare_cached(EVENTS)?;
    let mut rows = statement.query([after.0.saturating_add(1), i64::MAX])?;
    for _ in 0..events_max {
        match next(&mut rows, end.unwrap_or(after), &void, page) {
            Ok(Some(position)) => end = Some(position),
            Ok(None) => break,
            // The next page begins with it.
            Err(_) if end.is_some() => break,
            Err(damage) => return Err(damage.named(connection)),
        }
        if page.record_bytes() >= bytes_max {
            break;
        }
    }
    Ok(end)
}

/// Reads one row, and puts it into the page if its log was not deleted.
fn next(
    rows: &mut rusqlite::Rows<'_>,
    after: Position,
    void: &HashSet<LogKey>,
    page: &mut ScannedPage,
) -> Result<Option<Position>, Unreadable> {
    let unreadable = |error| Unreadable { after, row: None, error };
    let Some(row) = rows.next().map_err(unreadable)? else { return Ok(None) };
    let taken = take(row, after, void, page);
    taken.map(Some).map_err(|error| Unreadable { after, row: Some(NamedRow::of(row)), error })
}

fn take(row: &Row<'_>, after: Position, void: &HashSet<LogKey>, page: &mut ScannedPage) -> rusqlite::Result<Position> {
    let (log, position) = (LogKey(row.get(6)?), Position(row.get(7)?));
    if position <= after {
        return Err(rusqlite::Error::IntegralValueOutOfRange(7, position.0));
    }
    if !void.contains(&log) {
        let key = append_key(row)?;
        page.push(ScannedRow { position, log, event: stored_row(row, key.as_ref())? });
    }
    Ok(position)
}

/// A row that cannot be read.
struct Unreadable {
    /// The row before it.
    after: Position,
    /// What can be read of the row all the same.
    row: Option<NamedRow>,
    error: rusqlite::Error,
}

struct NamedRow {
    position: Option<i64>,
    log: Option<i64>,
    event: Option<i64>,
}

impl NamedRow {
    fn of(row: &Row<'_>) -> Self {
        Self { position: row.get(7).ok(), log: row.get(6).ok(), event: row.get(0).ok() }
    }
}

impl Unreadable {
    /// Damage of the row, with its names. Any other error stays what it is.
    fn named(self, connection: &Connection) -> LogError {
        let Self { after, row, error } = self;
        let reason = match LogError::from(error) {
            LogError::Corrupt(reason) => reason,
            error => return error,
        };
        let Some(NamedRow { position, log, event }) = row else {
            let place = if after == Position::START { String::new() } else { format!(" behind position {}", after.0) };
            return LogError::Corrupt(format!("the events{place} cannot be read: {reason}"));
        };
        let event = event.map_or_else(|| "an event".to_owned(), |event| format!("event {event}"));
        let log = log.map_or_else(|| "a log".to_owned(), |log| named_log(connection, log));
        let position = position.map_or_else(String::new, |position| format!(", at position {position},"));
        LogError::Corrupt(format!("{event} of {log}{position} cannot be read: {reason}"))
    }
}

/// The session of a log, or the log's key if it has none that can be read.
fn named_log(connection: &Connection, log: i64) -> String {
    let name = connection
        .prepare_cached("SELECT session_id FROM sessions WHERE log_key = ?1")
        .and_then(|mut select| select.query_row([log], |row| row.get::<_, String>(0)));
    name.map_or_else(|_| format!("log {log}"), |session| format!("session {session}"))
}
