//! What is left of an event whose log was deleted: first a row of zeros, of the same size and in the same place, and in
//! the end nothing.
//!
//! SQLite moves the cells of neighbouring pages together when deletions have left a page rather empty, and where such a
//! page had holes it leaves copies of what it moved in the free space of the page: bytes that no later deletion
//! reaches. So a row of a page that others still need is never deleted. It is overwritten with zeros, which moves
//! nothing and leaves no hole, and makes it a row of log 0, which is no log. Rows of zeros go when so many others stand
//! on both sides of them that no page with an event is near: then whatever is moved is zeros.
//!
//! The last row of the table counts as an event. So it stays, and no position is given twice.

use rusqlite::{Connection, OptionalExtension};

use super::error::SqlResult;
use crate::port::LogKey;

/// The log of every tombstone. SQLite gives the first log key 1.
pub(super) const TOMBSTONE: LogKey = LogKey(0);

/// How many tombstones stay on each side between an event and the first row that is deleted. A page of 4096 bytes has
/// at most 39 of the smallest events that there can be, so that at least one page of nothing but tombstones is between.
pub(super) const KEPT_BESIDE: i64 = 80;

/// Sizes of SQLite's cells, in a table with pages of 4096 bytes: how much of a row is on its page at most, and how much
/// of one that goes on in overflow pages is at least.
const LOCAL_MAX: i64 = 4061;
const LOCAL_MIN: i64 = 489;
const OVERFLOW_BYTES: i64 = 4092;
const OVERFLOW_PAGE_NUMBER: i64 = 4;

/// Makes the row at a position a tombstone, and tells how many bytes it had; `None` if there is no row of the log.
pub(super) fn entomb(connection: &Connection, log: LogKey, position: i64) -> SqlResult<Option<usize>> {
    let sizes = connection
        .prepare_cached(
            "SELECT event_id, octet_length(event_type), event_at, octet_length(append_key), octet_length(chain),
                    octet_length(record) FROM events WHERE position = ?1 AND log_key = ?2",
        )?
        .query_row((position, log.0), |row| {
            let key: Option<i64> = row.get(3)?;
            let texts: [i64; 3] = [row.get(1)?, row.get(4)?, row.get(5)?];
            Ok((integer(row.get(0)?) + integer(row.get(2)?), texts, key))
        })
        .optional()?;
    let Some((integers, texts, key)) = sizes else { return Ok(None) };
    let key = key.map_or(1, text);
    // A size of the header, and null for the position, which is the row's own number.
    let payload = 2 + integer(log.0) + integers + texts.iter().map(|bytes| text(*bytes)).sum::<i64>() + key;
    let (chain, record) = zeros_of(same_cell(payload));
    connection
        .prepare_cached(
            "UPDATE events SET log_key = 0, event_id = 0, event_type = '', event_at = 0, append_key = NULL,
                               chain = zeroblob(?2), record = zeroblob(?3) WHERE position = ?1",
        )?
        .execute((position, chain, record))?;
    Ok(Some(usize::try_from(payload).unwrap_or_default()))
}

/// The payload without overflow pages whose cell is as large as that of another payload.
fn same_cell(payload: i64) -> i64 {
    if payload <= LOCAL_MAX {
        return payload;
    }
    let left = LOCAL_MIN + (payload - LOCAL_MIN) % OVERFLOW_BYTES;
    let local = if left > LOCAL_MAX { LOCAL_MIN } else { left };
    let cell = varint(payload) + local + OVERFLOW_PAGE_NUMBER;
    (1..=3)
        .map(|length| cell - length)
        .find(|other| varint(*other) + other == cell)
        .map_or(local, |it| it.min(LOCAL_MAX))
}

/// The lengths of `chain` and `record` with which a tombstone has a payload of this size.
fn zeros_of(payload: i64) -> (i64, i64) {
    // Size of the header, position, log, event, type, time, no key, and then the two of which one is this long.
    const REST: i64 = 7;
    let fits = |chain: i64| {
        let left = payload - REST - text(chain);
        (1..=3).map(|length| left - length).find(|record| *record >= 0 && text(*record) == left).map(|it| (chain, it))
    };
    (0..3).find_map(fits).unwrap_or_default()
}

/// The bytes of an integer in a row, with its type.
fn integer(value: i64) -> i64 {
    let magnitude = if value < 0 { !value } else { value };
    match value {
        0 | 1 => 1,
        _ => {
            1 + in_order(
                [(0x7f, 1), (0x7fff, 2), (0x7f_ffff, 3), (0x7fff_ffff, 4), (0x7fff_ffff_ffff, 6)],
                magnitude,
                8,
            )
        }
    }
}

/// The bytes of a text, or of bytes, in a row, with their type.
pub(super) fn text(bytes: i64) -> i64 {
    varint(2 * bytes + 13) + bytes
}

fn varint(value: i64) -> i64 {
    in_order([(0x7f, 1), (0x3fff, 2), (0x1f_ffff, 3), (0xfff_ffff, 4)], value, 5)
}

/// What stands beside the first limit that a value is not above.
fn in_order<const N: usize>(limits: [(i64, i64); N], value: i64, otherwise: i64) -> i64 {
    limits.into_iter().find(|(limit, _)| value <= *limit).map_or(otherwise, |(_, bytes)| bytes)
}

/// What [`trim`] has done.
pub(super) struct Trimmed {
    pub(super) rows: usize,
    /// Where the tombstones end, if none is left to delete before that.
    pub(super) behind: Option<i64>,
}

/// Deletes up to `max` of the tombstones that stand around a position, in order.
pub(super) fn trim(connection: &Connection, position: i64, max: usize) -> SqlResult<Trimmed> {
    let event_before: Option<i64> = connection
        .prepare_cached(
            "SELECT position FROM events WHERE position < ?1 AND log_key <> 0 ORDER BY position DESC LIMIT 1",
        )?
        .query_row([position], |row| row.get(0))
        .optional()?;
    let (after, kept) = event_before.map_or((i64::MIN, 0), |event| (event, KEPT_BESIDE));
    let mut rows = connection.prepare_cached(
        "SELECT position, log_key FROM events WHERE position > ?1 ORDER BY position LIMIT ?2 OFFSET ?3",
    )?;
    let mut rows = rows.query((after, max as i64 + KEPT_BESIDE, kept))?;
    let mut tombstones = Vec::with_capacity(max);
    let mut behind = None;
    while tombstones.len() < max + KEPT_BESIDE as usize && behind.is_none() {
        match rows.next()? {
            Some(row) if row.get::<_, i64>(1)? == TOMBSTONE.0 => tombstones.push(row.get::<_, i64>(0)?),
            Some(row) => behind = Some(row.get(0)?),
            None => behind = Some(i64::MAX),
        }
    }
    drop(rows);
    tombstones.truncate(tombstones.len().saturating_sub(KEPT_BESIDE as usize));
    if let (Some(first), Some(last)) = (tombstones.first(), tombstones.last()) {
        connection
            .prepare_cached("DELETE FROM events WHERE position >= ?1 AND position <= ?2")?
            .execute([first, last])?;
    }
    // With room left in this step, all that may go is gone.
    Ok(Trimmed { rows: tombstones.len(), behind: behind.filter(|_| tombstones.len() < max) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tombstone_has_the_payload_that_is_asked_for() {
        for payload in 100..20_000 {
            let (chain, record) = zeros_of(payload);
            assert_eq!(7 + text(chain) + text(record), payload, "payload {payload}: {chain}, {record}");
        }
    }

    #[test]
    fn a_row_that_went_on_in_other_pages_leaves_a_cell_of_its_size() {
        for payload in (4062..200_000).chain([1 << 21, 60 << 20]) {
            let other = same_cell(payload);
            let left = LOCAL_MIN + (payload - LOCAL_MIN) % OVERFLOW_BYTES;
            let local = if left > LOCAL_MAX { LOCAL_MIN } else { left };
            let (before, after) = (varint(payload) + local + 4, varint(other) + other);
            assert!(other <= LOCAL_MAX && (0..=7).contains(&(before - after)), "payload {payload}: {before}, {after}");
            // Only where the page has hardly more than the row.
            assert!(before == after || local > LOCAL_MAX - 8, "payload {payload}");
        }
    }
}
