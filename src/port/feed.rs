//! What a feed reads of all logs: the events in the order of the commits, and the deletions between them.

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::event::{LogKey, LogMeta};
use super::scan::{Position, ScannedPage};
use super::standing::{DeletionNumber, Standing};
use crate::id::{EventId, HistoryId, SessionId};

/// How many logs a page remembers: about 1 MiB. At the limit all of them are forgotten, and each is looked up once
/// more.
pub(crate) const HISTORIES_MAX: usize = 16_384;

/// How far a feed has come in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FeedPlace {
    /// Behind which event.
    pub(crate) event: Position,
    /// Behind which deletion.
    pub(crate) deletion: DeletionNumber,
}

impl FeedPlace {
    /// Before all events that are there. What was deleted by now is not there, and is not told.
    pub(crate) fn start(standing: &Standing) -> Self {
        Self { event: Position(0), deletion: standing.deletions }
    }

    /// Behind all that is committed.
    pub(crate) fn end(standing: &Standing) -> Self {
        Self { event: Position(standing.end.0.max(0)), deletion: standing.deletions }
    }

    /// Whether the store has not come as far.
    pub(crate) fn is_beyond(&self, standing: &Standing) -> bool {
        let end = Self::end(standing);
        self.event > end.event || self.deletion > end.deletion
    }

    /// How many events there are behind the place, at most: those of deleted logs count as long as their rows do.
    pub(crate) fn events_until(&self, standing: &Standing) -> u64 {
        standing.end.0.max(0).saturating_sub(self.event.0).max(0).unsigned_abs()
    }
}

impl fmt::Display for FeedPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.event.0, self.deletion.0)
    }
}

impl FeedPlace {
    /// Takes a place as its text form has it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| match text.bytes().all(|digit| digit.is_ascii_digit()) {
            true => text.parse::<i64>().ok(),
            false => None,
        };
        let (event, deletion) = text.split_once('-')?;
        Some(Self { event: Position(number(event)?), deletion: DeletionNumber(number(deletion)?) })
    }
}

/// A log, and the session that it is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct History {
    pub(crate) session: SessionId,
    pub(crate) log: LogMeta,
}

/// An event that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnreadableRow {
    pub(crate) position: Position,
    /// What can be read of it all the same.
    pub(crate) log: Option<LogKey>,
    pub(crate) event: Option<EventId>,
    pub(crate) reason: String,
}

/// Some deletions, and events behind them.
#[derive(Debug)]
pub(crate) struct FeedPage {
    pub(crate) deletions: Vec<(DeletionNumber, HistoryId)>,
    pub(crate) events: ScannedPage,
    /// The event behind these, if it cannot be read.
    pub(crate) unreadable: Option<UnreadableRow>,
    /// Where the next page begins.
    pub(crate) next: FeedPlace,
    /// Whether more was there when the page was full.
    pub(crate) more: bool,
    /// The logs of the events, of this page and of those before. What a log is named never changes, and a deleted log
    /// has no events here.
    histories: HashMap<LogKey, History>,
}

impl FeedPage {
    pub(crate) fn new(next: FeedPlace) -> Self {
        Self {
            deletions: Vec::new(),
            events: ScannedPage::default(),
            unreadable: None,
            next,
            more: false,
            histories: HashMap::new(),
        }
    }

    /// Empties the page, and keeps its memory, and what it knows of logs.
    pub(crate) fn begin(&mut self, after: FeedPlace) {
        self.deletions.clear();
        self.events.clear();
        (self.unreadable, self.next, self.more) = (None, after, false);
    }

    /// The log of an event of the page. `None` where no name leads to the log.
    pub(crate) fn history(&self, log: LogKey) -> Option<&History> {
        self.histories.get(&log)
    }

    /// Has `find` look up the logs that are not known yet, all at once. It may name others beside them, up to as many
    /// as are remembered.
    pub(crate) fn name_logs<E>(
        &mut self,
        find: impl FnOnce(&HashSet<LogKey>, &mut HashMap<LogKey, History>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Self { events, unreadable, histories, .. } = self;
        if histories.len() >= HISTORIES_MAX {
            histories.clear();
        }
        let logs = events.rows().map(|row| row.log).chain(unreadable.iter().filter_map(|row| row.log));
        let unknown: HashSet<_> = logs.filter(|log| !histories.contains_key(log)).collect();
        if unknown.is_empty() { Ok(()) } else { find(&unknown, histories) }
    }
}
