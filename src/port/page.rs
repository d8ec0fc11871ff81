//! Stored events as they are read: a page of them takes few allocations, so that another thread can free it cheaply.

use std::borrow::Cow;
use std::ops::Range;

use crate::codec::Chain;
use crate::id::{AppendKey, EventId, Timestamp};
use crate::port::{Head, StoredEvent};

/// One event as it is stored. It borrows its bytes from a row or from a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoredRow<'a> {
    pub(crate) id: EventId,
    pub(crate) event_type: &'a str,
    pub(crate) at: Timestamp,
    /// The append's key, on the first event of the append only.
    pub(crate) key: Option<&'a AppendKey>,
    pub(crate) chain: Chain,
    pub(crate) record: &'a [u8],
}

impl StoredRow<'_> {
    pub(crate) fn to_event(self) -> StoredEvent {
        StoredEvent {
            id: self.id,
            event_type: Cow::Owned(self.event_type.to_owned()),
            at: self.at,
            key: self.key.cloned(),
            chain: self.chain,
            record: self.record.to_vec(),
        }
    }
}

impl StoredEvent {
    pub(crate) fn row(&self) -> StoredRow<'_> {
        let Self { id, event_type, at, key, chain, record } = self;
        StoredRow { id: *id, event_type, at: *at, key: key.as_ref(), chain: *chain, record }
    }
}

/// Some events of a log, in order.
#[derive(Debug, Default)]
pub(crate) struct StoredPage {
    places: Vec<Place>,
    types: String,
    records: Vec<u8>,
}

/// An event of a page, and where its bytes are.
#[derive(Debug)]
struct Place {
    id: EventId,
    event_type: Range<usize>,
    at: Timestamp,
    key: Option<AppendKey>,
    chain: Chain,
    record: Range<usize>,
}

impl StoredPage {
    pub(crate) fn push(&mut self, row: StoredRow<'_>) {
        let (types, records) = (self.types.len(), self.records.len());
        self.types.push_str(row.event_type);
        self.records.extend_from_slice(row.record);
        self.places.push(Place {
            id: row.id,
            event_type: types..self.types.len(),
            at: row.at,
            key: row.key.cloned(),
            chain: row.chain,
            record: records..self.records.len(),
        });
    }

    /// Empties the page, and keeps its memory for the next events.
    pub(crate) fn clear(&mut self) {
        self.places.clear();
        self.types.clear();
        self.records.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The bytes of the records.
    pub(crate) fn record_bytes(&self) -> usize {
        self.records.len()
    }

    pub(crate) fn last_id(&self) -> Option<EventId> {
        self.places.last().map(|place| place.id)
    }

    /// The last event of the page, as the head that the next event must follow.
    pub(crate) fn head(&self) -> Option<Head> {
        self.places.last().map(|place| Head { id: place.id, chain: place.chain, at: place.at })
    }

    /// Keeps the first `events` events.
    pub(crate) fn truncate(&mut self, events: usize) {
        self.places.truncate(events);
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = StoredRow<'_>> {
        // `push` made the ranges, so none of them lies outside of its text or bytes.
        self.places.iter().map(|place| StoredRow {
            id: place.id,
            event_type: self.types.get(place.event_type.clone()).unwrap_or_default(),
            at: place.at,
            key: place.key.as_ref(),
            chain: place.chain,
            record: self.records.get(place.record.clone()).unwrap_or_default(),
        })
    }

    #[cfg(any(test, feature = "testkit"))]
    pub(crate) fn to_events(&self) -> Vec<StoredEvent> {
        self.rows().map(StoredRow::to_event).collect()
    }
}
