//! Going through the table of events in the order of its positions, over the pages that cannot be read.

use rusqlite::{Connection, Row};

use super::error::{SqlError, SqlResult};

/// Positions that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hole {
    pub(super) first: i64,
    /// The first position behind it; `None` if nothing behind it can be read.
    pub(super) behind: Option<i64>,
}

/// How many positions are tried one by one behind a row that cannot be reached, before longer and longer steps are
/// taken: about the rows of forty pages. Pages that lie between two damaged ones further on may be stepped over.
const STEPS_MAX: i64 = 4096;

/// Gives each row from a position on and before another one, in the columns position, log_key, event_id, append_key;
/// and tells what could not be read. `steps_over` says which errors are stepped over.
pub(super) fn scan(
    connection: &Connection,
    begin: i64,
    end: i64,
    steps_over: fn(&SqlError) -> bool,
    mut each: impl FnMut(i64, &Row<'_>),
) -> SqlResult<Vec<Hole>> {
    let mut holes = Vec::new();
    let mut next = begin;
    while next < end {
        match rows(connection, &mut next, end, &mut each) {
            Ok(()) => break,
            Err(error) if steps_over(&error) => {
                let behind = first_behind(connection, next, end, steps_over)?;
                holes.push(Hole { first: next, behind });
                match behind {
                    Some(behind) => next = behind,
                    None => break,
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(holes)
}

/// Reads rows until the end or an error. `next` is behind the last row that was read.
fn rows(connection: &Connection, next: &mut i64, end: i64, each: &mut impl FnMut(i64, &Row<'_>)) -> SqlResult<()> {
    let mut statement = connection.prepare_cached(
        "SELECT position, log_key, event_id, append_key FROM events WHERE position >= ?1 AND position < ?2
         ORDER BY position",
    )?;
    let mut rows = statement.query([*next, end])?;
    while let Some(row) = rows.next()? {
        let position: i64 = row.get(0)?;
        // In a table that is out of order, the search goes on behind the last row instead of back, for ever.
        if position >= *next {
            each(position, row);
            *next = position.saturating_add(1);
        }
    }
    Ok(())
}

/// The first row behind a position from which none can be reached.
fn first_behind(
    connection: &Connection,
    unread: i64,
    end: i64,
    steps_over: fn(&SqlError) -> bool,
) -> SqlResult<Option<i64>> {
    // `Some` when the search from there on can be made: the position of its first row, if there is one.
    let look = |from: i64| -> SqlResult<Option<Option<i64>>> {
        let mut select =
            connection.prepare_cached("SELECT min(position) FROM events WHERE position >= ?1 AND position < ?2")?;
        match select.query_row([from, end], |row| row.get(0)).map_err(SqlError::from) {
            Ok(found) => Ok(Some(found)),
            Err(error) if steps_over(&error) => Ok(None),
            Err(error) => Err(error),
        }
    };
    let mut unread = unread;
    // The first position of all may be below those that events have.
    if unread == i64::MIN {
        if let Some(found) = look(0)? {
            return Ok(found);
        }
        unread = 0;
    }
    let mut step = 1;
    let near = unread.saturating_add(STEPS_MAX);
    let mut readable = loop {
        let from = unread.saturating_add(step);
        if from >= end {
            return Ok(None);
        }
        if look(from)?.is_some() {
            break from;
        }
        unread = from;
        step = if unread < near { 1 } else { step * 2 };
    };
    while readable - unread > 1 {
        let middle = unread + (readable - unread) / 2;
        match look(middle)? {
            Some(_) => readable = middle,
            None => unread = middle,
        }
    }
    Ok(look(readable)?.flatten())
}
