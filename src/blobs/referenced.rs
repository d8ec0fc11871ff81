//! Which blobs events name, as of how far the log was read.

use std::collections::{HashMap, HashSet};

use crate::codec;
use crate::error::{Error, ErrorKind};
use crate::id::{Digest, EventId};
use crate::port::{LogKey, LogReader, Position, ScannedPage, ScannedRow};

/// How many events a page has, and how many bytes of records.
const PAGE_EVENTS: usize = 4096;
const PAGE_BYTES: usize = 1 << 20;
/// How many names are gathered before they are sorted among the others.
const GATHERED_MIN: usize = 1 << 16;

/// The first 8 bytes of each digest that an event names: 80 MB for 10,000,000 blobs, and up to three times that while
/// it grows. Another digest with the same 8 bytes keeps its blob, which does no harm.
#[derive(Default)]
pub(super) struct Referenced {
    sorted: Vec<u64>,
    gathered: HashSet<u64>,
    /// How far the log was read, and the last event of each log up to there.
    position: Option<Position>,
    heads: HashMap<LogKey, EventId>,
    page: ScannedPage,
}

impl Referenced {
    pub(super) fn contains(&self, digest: &Digest) -> bool {
        let name = name_of(digest);
        self.sorted.binary_search(&name).is_ok() || self.gathered.contains(&name)
    }

    /// Reads one page of what was committed since the last one. `false` if there is no more.
    pub(super) fn read_page(&mut self, reader: &mut dyn LogReader) -> Result<bool, Error> {
        let after = self.position.unwrap_or(Position::START);
        let Some(next) = reader.scan(&mut self.page, after, PAGE_EVENTS, PAGE_BYTES)? else { return Ok(false) };
        let page = std::mem::take(&mut self.page);
        page.rows().try_for_each(|row| self.see(row))?;
        (self.page, self.position) = (page, Some(next));
        Ok(true)
    }

    fn see(&mut self, row: ScannedRow<'_>) -> Result<(), Error> {
        let damaged = |reason: String| {
            let reason = format!("event {} of log {} {reason}: verify names its session", row.event.id, row.log.0);
            Error::from(ErrorKind::CorruptStore { reason })
        };
        // An event that is missing may be the only one that names a blob. Each log begins with event 1.
        let before = self.heads.insert(row.log, row.event.id).unwrap_or(EventId::ZERO);
        if before.next() != row.event.id {
            return Err(damaged(format!("comes after event {before}")));
        }
        let (header, _) =
            codec::decode_record(row.event.record).map_err(|error| damaged(format!("is damaged: {error}")))?;
        self.gathered.extend(header.refs.iter().map(|blob| name_of(&blob.digest)));
        if self.gathered.len() >= GATHERED_MIN.max(self.sorted.len()) {
            self.sort();
        }
        Ok(())
    }

    fn sort(&mut self) {
        self.sorted.extend(std::mem::take(&mut self.gathered));
        self.sorted.sort_unstable();
        self.sorted.dedup();
    }
}

fn name_of(digest: &Digest) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *digest.as_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}
