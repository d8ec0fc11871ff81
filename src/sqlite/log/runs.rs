//! The rows of the index of events: runs of events, packed.
//!
//! A run is a number of consecutive events of one log at consecutive positions. Integers are varints (7 bits a byte,
//! the lowest first, the top bit says that more follow), and each row ends with a checksum over its key columns and its
//! runs, so that no changed bit makes a log look shorter than it is:
//! ```text
//! recent_index   log key, first event id, 2 * count + keyed, [hash of the append key, 8 bytes] ... checksum, 4 bytes
//! event_index    position behind the end of the run before, 2 * count + keyed, [hash, 8 bytes] ... checksum, 4 bytes
//! ```

use crate::codec;
use crate::id::{AppendKey, EventId};
use crate::port::LogKey;

/// Consecutive events of one log at consecutive positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) first: EventId,
    pub(crate) count: u64,
    pub(crate) position: i64,
    /// The hash of the append key, if the first event of the run has one.
    pub(crate) key: Option<KeyHash>,
}

/// The hash by which an append key is looked up. Two keys may have the same hash: the event itself tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct KeyHash([u8; 8]);

impl KeyHash {
    /// Stands for a key that is gone, since its append was redacted.
    pub(crate) const REDACTED: Self = Self([0; 8]);

    /// Of the bytes of the column, which are none for a key that is gone; `None` for what is no key.
    pub(crate) fn of_column(key: &[u8]) -> Option<Self> {
        if key.is_empty() { Some(Self::REDACTED) } else { AppendKey::new(key).ok().map(|key| Self::of(&key)) }
    }

    /// Whether a run with this hash may have the append key that `wanted` is of.
    pub(crate) fn may_be(self, wanted: Self) -> bool {
        self == wanted || self == Self::REDACTED
    }

    pub(crate) fn of(key: &AppendKey) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = codec::key_hash(key);
        Self([a, b, c, d, e, f, g, h])
    }
}

impl Run {
    pub(crate) fn last(&self) -> EventId {
        EventId::new(self.first.get() + self.count - 1)
    }

    /// The first position behind it.
    pub(crate) fn end(&self) -> i64 {
        self.position + self.count as i64
    }

    /// Where an event of the run is.
    pub(crate) fn position_of(&self, id: EventId) -> Option<i64> {
        let offset = id.get().checked_sub(self.first.get()).filter(|offset| *offset < self.count)?;
        Some(self.position + offset as i64)
    }

    /// What is left of it behind an event.
    pub(crate) fn after(&self, id: EventId) -> Option<Self> {
        let skipped = (id.get() + 1).saturating_sub(self.first.get());
        match self.count.checked_sub(skipped).filter(|left| *left > 0)? {
            count if count == self.count => Some(*self),
            count => Some(Self {
                first: EventId::new(self.first.get() + skipped),
                count,
                position: self.position + skipped as i64,
                key: None,
            }),
        }
    }
}

/// The error for a row that is not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DamagedRow;

/// One row of `recent_index`: the events of one commit, from a position on.
#[derive(Debug, Default)]
pub(crate) struct RecentRow {
    bytes: Vec<u8>,
    /// The last run, not yet encoded: the next events may go on with it.
    open: Option<(LogKey, Run)>,
}

impl RecentRow {
    /// Of runs in the order of the positions.
    pub(crate) fn of(runs: Vec<(LogKey, Run)>) -> Self {
        let mut row = Self::default();
        for (log, run) in runs {
            row.finish_run();
            row.open = Some((log, run));
        }
        row
    }

    /// Adds an event, in the order of the positions.
    pub(crate) fn push(&mut self, log: LogKey, first: EventId, position: i64, key: Option<KeyHash>) {
        if let Some((open, run)) = &mut self.open
            && *open == log
            && key.is_none()
            && run.last().next() == first
        {
            run.count += 1;
            return;
        }
        self.finish_run();
        self.open = Some((log, Run { first, count: 1, position, key }));
    }

    fn finish_run(&mut self) {
        if let Some((log, run)) = self.open.take() {
            push_varint(&mut self.bytes, log.0.unsigned_abs());
            push_varint(&mut self.bytes, run.first.get());
            push_count(&mut self.bytes, &run);
        }
    }

    pub(crate) fn encode(mut self, first_position: i64) -> Vec<u8> {
        self.finish_run();
        let checksum = checksum(b"recent", [first_position, 0], &self.bytes);
        self.bytes.extend(checksum);
        self.bytes
    }

    pub(crate) fn decode(first_position: i64, row: &[u8]) -> Result<Vec<(LogKey, Run)>, DamagedRow> {
        let mut rest = RunBytes::of(row, |bytes| checksum(b"recent", [first_position, 0], bytes))?;
        let mut runs = Vec::new();
        let mut position = first_position;
        while !rest.0.is_empty() {
            let log = LogKey(i64::try_from(rest.varint()?).map_err(|_| DamagedRow)?);
            let first = rest.event_id()?;
            let run = rest.run(first, position)?;
            position = run.end();
            runs.push((log, run));
        }
        Ok(runs)
    }
}

/// Encodes one row of `event_index`: runs of one log that follow each other.
pub(crate) fn encode_segment(log: LogKey, runs: &[Run]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(runs.len() * 4 + 4);
    let mut end = 0;
    for run in runs {
        push_varint(&mut bytes, (run.position - end).unsigned_abs());
        push_count(&mut bytes, run);
        end = run.end();
    }
    let first = runs.first().map_or(0, |run| run.first.get() as i64);
    let checksum = checksum(b"event", [log.0, first], &bytes);
    bytes.extend(checksum);
    bytes
}

pub(crate) fn decode_segment(log: LogKey, first: EventId, row: &[u8]) -> Result<Vec<Run>, DamagedRow> {
    let mut rest = RunBytes::of(row, |bytes| checksum(b"event", [log.0, first.get() as i64], bytes))?;
    let mut runs = Vec::new();
    let (mut next, mut end) = (first, 0_i64);
    while !rest.0.is_empty() {
        let behind = i64::try_from(rest.varint()?).map_err(|_| DamagedRow)?;
        let run = rest.run(next, end.checked_add(behind).ok_or(DamagedRow)?)?;
        (next, end) = (run.last().next(), run.end());
        runs.push(run);
    }
    if runs.is_empty() { Err(DamagedRow) } else { Ok(runs) }
}

/// Decodes what stands before a checksum that is right, as a row of each index, and counts the events. For fuzzing.
#[cfg(feature = "testkit")]
pub(crate) fn decode_under_checksum(log: i64, first: u64, bytes: &[u8]) -> [Option<u64>; 2] {
    let sealed = |table: &[u8], keys| [bytes, &checksum(table, keys, bytes)].concat();
    let (group, segment) = (sealed(b"recent", [log, 0]), sealed(b"event", [log, first as i64]));
    let group = RecentRow::decode(log, &group).ok();
    let segment = decode_segment(LogKey(log), EventId::new(first), &segment).ok();
    [
        group.map(|runs| runs.iter().map(|(_, run)| run.count).sum()),
        segment.map(|runs| runs.iter().map(|run| run.count).sum()),
    ]
}

const CHECKSUM_BYTES: usize = 4;

fn checksum(table: &[u8], keys: [i64; 2], bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let [one, two] = keys.map(i64::to_le_bytes);
    codec::checksum(&[b"foldlog1 ", table, b" index", &one, &two, bytes])
}

fn push_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn push_count(bytes: &mut Vec<u8>, run: &Run) {
    push_varint(bytes, run.count << 1 | u64::from(run.key.is_some()));
    bytes.extend(run.key.iter().flat_map(|key| key.0));
}

struct RunBytes<'a>(&'a [u8]);

impl<'a> RunBytes<'a> {
    /// What is before a checksum that is right.
    fn of(row: &'a [u8], checksum: impl FnOnce(&[u8]) -> [u8; CHECKSUM_BYTES]) -> Result<Self, DamagedRow> {
        let (bytes, found) = row.split_last_chunk().ok_or(DamagedRow)?;
        if checksum(bytes) == *found { Ok(Self(bytes)) } else { Err(DamagedRow) }
    }

    fn varint(&mut self) -> Result<u64, DamagedRow> {
        let mut value = 0;
        for shift in (0..63).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(DamagedRow)?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DamagedRow)
    }

    fn event_id(&mut self) -> Result<EventId, DamagedRow> {
        let id = self.varint()?;
        if id <= EventId::MAX.get() { Ok(EventId::new(id)) } else { Err(DamagedRow) }
    }

    fn run(&mut self, first: EventId, position: i64) -> Result<Run, DamagedRow> {
        let tagged = self.varint()?;
        let count = tagged >> 1;
        let key = match tagged & 1 {
            0 => None,
            _ => {
                let (hash, rest) = self.0.split_first_chunk().ok_or(DamagedRow)?;
                self.0 = rest;
                Some(KeyHash(*hash))
            }
        };
        let fits = first.get().checked_add(count).is_some_and(|end| end <= EventId::MAX.get() + 1)
            && position.checked_add(count as i64).is_some();
        if count == 0 || !fits {
            return Err(DamagedRow);
        }
        Ok(Run { first, count, position, key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(name: &str) -> Option<KeyHash> {
        Some(KeyHash::of(&AppendKey::new(name).unwrap()))
    }

    fn run(first: u64, count: u64, position: i64, key: Option<KeyHash>) -> Run {
        Run { first: EventId::new(first), count, position, key }
    }

    fn group() -> Vec<u8> {
        let mut group = RecentRow::default();
        let events =
            [(7, 1, None), (7, 2, None), (300, 9, key("k")), (300, 10, None), (300, 11, key("l")), (7, 3, None)];
        for (offset, (log, id, key)) in events.into_iter().enumerate() {
            group.push(LogKey(log), EventId::new(id), 1000 + offset as i64, key);
        }
        group.encode(1000)
    }

    #[test]
    fn the_runs_of_a_group_come_back_with_their_positions() {
        let expected = vec![
            (LogKey(7), run(1, 2, 1000, None)),
            (LogKey(300), run(9, 2, 1002, key("k"))),
            (LogKey(300), run(11, 1, 1004, key("l"))),
            (LogKey(7), run(3, 1, 1005, None)),
        ];
        assert_eq!(RecentRow::decode(1000, &group()), Ok(expected));
    }

    #[test]
    fn the_runs_of_a_segment_come_back_with_their_ids() {
        let runs = [run(5, 100, 77, None), run(105, 1, 177, key("k")), run(106, 3, 9_000_000_000, None)];
        assert_eq!(decode_segment(LogKey(3), EventId::new(5), &encode_segment(LogKey(3), &runs)), Ok(runs.to_vec()));
    }

    /// To be decoded for ever, as the rows of format 1.
    #[test]
    fn the_bytes_are_those_of_format_1() {
        let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(group()), GOLDEN_GROUP);
        assert_eq!(hex(encode_segment(LogKey(3), &[run(5, 100, 77, None), run(105, 1, 180, None)])), GOLDEN_SEGMENT);
    }

    const GOLDEN_GROUP: &str = "070104ac0209055cbcb0cee824b918ac020b03b9f63c83975dadee0703024d7c34d5";
    const GOLDEN_SEGMENT: &str = "4dc8010302f56aae7f";

    #[test]
    fn a_run_knows_where_its_events_are_and_what_is_left_of_it() {
        let it = run(5, 3, 70, key("k"));
        assert_eq!((it.last().get(), it.end()), (7, 73));
        assert_eq!([4, 5, 7, 8].map(|id| it.position_of(EventId::new(id))), [None, Some(70), Some(72), None]);
        assert_eq!(it.after(EventId::ZERO), Some(it));
        assert_eq!(it.after(EventId::new(5)), Some(run(6, 2, 71, None)));
        assert_eq!(it.after(EventId::new(7)), None);
    }

    #[test]
    fn every_changed_bit_and_every_truncation_is_seen_and_so_is_another_key_of_the_row() {
        let row = group();
        let segment = encode_segment(LogKey(3), &[run(5, 100, 77, None), run(105, 1, 177, key("k"))]);
        for bit in 0..row.len() * 8 {
            let mut row = row.clone();
            row[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(RecentRow::decode(1000, &row), Err(DamagedRow), "bit {bit}");
        }
        for bit in 0..segment.len() * 8 {
            let mut segment = segment.clone();
            segment[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_segment(LogKey(3), EventId::new(5), &segment), Err(DamagedRow), "bit {bit}");
        }
        for len in 0..segment.len() {
            assert_eq!(decode_segment(LogKey(3), EventId::new(5), &segment[..len]), Err(DamagedRow));
        }
        assert_eq!(RecentRow::decode(1001, &row), Err(DamagedRow));
        assert_eq!(decode_segment(LogKey(4), EventId::new(5), &segment), Err(DamagedRow));
        assert_eq!(decode_segment(LogKey(3), EventId::new(6), &segment), Err(DamagedRow));
    }

    proptest! {
        #[test]
        fn hostile_bytes_under_a_right_checksum_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            for (table, keys) in [(b"recent".as_slice(), [1000, 0]), (b"event", [3, 5])] {
                let row = [bytes.as_slice(), &checksum(table, keys, &bytes)].concat();
                let _ = RecentRow::decode(1000, &row);
                let _ = decode_segment(LogKey(3), EventId::new(5), &row);
            }
        }
    }
}
