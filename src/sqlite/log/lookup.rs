//! What is asked of one session or one log, in the reading and in the writing end: its names, its head, a chain hash.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, OptionalExtension};

use super::deletions;
use super::error::{SqlError, SqlResult};
use super::index;
use super::recent::Recent;
use super::row::{HIGHEST_POSITION, META, STORE_ID, SqlEventId, end_of_events, log_meta, setting};
use super::runs::Run;
use crate::codec::Chain;
use crate::id::{EventId, SessionId, Timestamp};
use crate::port::{HISTORIES_MAX, Head, History, LogKey, LogMeta, Position, Standing, StoreId};

/// The log of a session.
pub(super) fn find(connection: &Connection, session: &SessionId) -> SqlResult<Option<LogMeta>> {
    let found = connection
        .prepare_cached(&format!("SELECT {META} FROM sessions JOIN logs USING (log_key) WHERE session_id = ?1"))?
        .query_row([session.as_str()], |row| log_meta(row, 0))
        .optional()?;
    Ok(found)
}

/// Names logs. It goes through all names once, since `sessions` has no index by log: such an index would leave copies
/// of names behind when its pages are split, which no later deletion reaches. So it also takes along the others that it
/// meets.
pub(super) fn name_logs(
    connection: &Connection,
    unknown: &HashSet<LogKey>,
    histories: &mut HashMap<LogKey, History>,
) -> SqlResult<()> {
    let mut left = unknown.len();
    let mut select =
        connection.prepare_cached(&format!("SELECT session_id, {META} FROM sessions JOIN logs USING (log_key)"))?;
    let mut rows = select.query([])?;
    while left > 0
        && let Some(row) = rows.next()?
    {
        // Damage of one session does not keep the others from being named.
        let Ok(log) = log_meta(row, 1) else { continue };
        let is_wanted = unknown.contains(&log.key);
        left -= usize::from(is_wanted);
        if (is_wanted || histories.len() < HISTORIES_MAX)
            && let Ok(name) = row.get::<_, String>(0)
            && let Ok(session) = SessionId::new(name)
        {
            histories.insert(log.key, History { session, log });
        }
    }
    Ok(())
}

/// What never changes of a log.
pub(super) fn meta(connection: &Connection, log: LogKey) -> SqlResult<Option<LogMeta>> {
    let found = connection
        .prepare_cached(&format!("SELECT {META} FROM logs WHERE log_key = ?1"))?
        .query_row([log.0], |row| log_meta(row, 0))
        .optional()?;
    Ok(found)
}

/// The last event of a log.
pub(super) fn head(connection: &Connection, recent: &Recent, log: LogMeta) -> SqlResult<Head> {
    let last = index::last(connection, recent, log.key)?;
    recent.sees_end(log.key, last)?;
    let Some(last) = last else { return Ok(log.base) };
    let head = connection
        .prepare_cached("SELECT event_id, chain, event_at FROM events WHERE position = ?1 AND log_key = ?2")?
        .query_row((last.position, log.key.0), |row| {
            let id = row.get::<_, SqlEventId>(0)?.0;
            Ok(Head { id, chain: Chain(row.get(1)?), at: Timestamp::from_micros(row.get(2)?) })
        })
        .optional()?;
    let lost = || SqlError::damaged(format!("the index leads to no event where log {} ends", log.key.0));
    head.filter(|head| head.id == last.id).ok_or_else(lost)
}

/// The chain hash that is stored at an event.
pub(super) fn chain_at(connection: &Connection, recent: &Recent, log: LogKey, id: EventId) -> SqlResult<Option<Chain>> {
    let Some(position) = index::find(connection, recent, log, id)? else { return Ok(None) };
    let chain = connection
        .prepare_cached("SELECT chain FROM events WHERE position = ?1 AND log_key = ?2 AND event_id = ?3")?
        .query_row((position, log.0, SqlEventId(id)), |row| row.get(0).map(Chain))
        .optional()?;
    Ok(chain)
}

/// The bytes of the records of a run.
pub(super) fn record_bytes(connection: &Connection, log: LogKey, run: &Run) -> SqlResult<u64> {
    let bytes: i64 = connection
        .prepare_cached(
            "SELECT coalesce(sum(octet_length(record)), 0) FROM events WHERE position >= ?1 AND position < ?2 AND log_key = ?3",
        )?
        .query_row([run.position, run.end(), log.0], |row| row.get(0))?;
    Ok(bytes.unsigned_abs())
}

/// The owner of a log, dead or alive.
pub(super) fn owner(connection: &Connection, log: LogKey) -> SqlResult<Option<String>> {
    let owner = connection
        .prepare_cached("SELECT owner FROM logs WHERE log_key = ?1")?
        .query_row([log.0], |row| row.get(0))
        .optional()?;
    Ok(owner.flatten())
}

/// How many bytes the database has, with what of it is in the write-ahead log.
pub(super) fn database_bytes(connection: &Connection) -> SqlResult<u64> {
    let number = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs);
    Ok(number("PRAGMA page_count")? * number("PRAGMA page_size")?)
}

/// Which store the database is of, and the last position that was ever used.
pub(super) fn standing(connection: &Connection) -> SqlResult<Standing> {
    let transaction = connection.unchecked_transaction()?;
    let store = setting(&transaction, STORE_ID)?.and_then(|id| StoreId::parse(&id));
    let highest = setting(&transaction, HIGHEST_POSITION)?.and_then(|position| position.parse().ok());
    let end = end_of_events(&transaction)?.map(|end| end - 1);
    let deletions = deletions::last(&transaction)?;
    Ok(Standing { store, end: highest.max(end).map_or(Position::START, Position), deletions })
}

/// Changes when another connection commits.
pub(super) fn data_version(connection: &Connection) -> SqlResult<i64> {
    Ok(connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?)
}

/// A name for a log that no other has.
pub(super) fn random_log_id() -> SqlResult<[u8; 16]> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| SqlError::outside(&error))?;
    Ok(id)
}
