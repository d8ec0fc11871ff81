//! What a feed has read and not given out yet. Plain data; `stream` moves it.

use std::collections::VecDeque;
use std::task::Waker;

use super::item::FeedItem;
use super::position::{FeedPosition, Told};
use super::reading::{FeedBatch, FeedReading};
use crate::error::Error;
use crate::port::FeedPlace;
use crate::replay::PAGE_BYTES_MAX;

/// See the module.
pub(super) struct FeedQueue<E> {
    /// Each with about as many bytes as it takes.
    items: VecDeque<(FeedItem<E>, usize)>,
    bytes: usize,
    /// The most events in a page.
    events_max: usize,
    /// Behind the last item that was given out.
    pub(super) given: Told,
    /// Behind the last item that was read.
    told: Told,
    /// Where the next page begins. What lies between `told` and it is void.
    place: FeedPlace,
    /// What pages are read with; `None` while one is read.
    reading: Option<FeedReading<E>>,
    /// Whether something may have been committed that was not there when the last page was read.
    may_have_more: bool,
    is_caught_up: bool,
    /// How many redactions and deletions this store had made before the items were read.
    voids: u64,
    pub(super) end: FeedEnd,
    pub(super) waker: Option<Waker>,
    /// Whether a delivery is with the actor.
    pub(super) is_delivering: bool,
}

/// How the feed ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FeedEnd {
    Open,
    /// Nothing is read any more; what is queued still goes out.
    Ending,
    Ended,
}

/// A page that is to be read.
pub(super) struct Wanted<E> {
    pub(super) reading: FeedReading<E>,
    pub(super) place: FeedPlace,
    pub(super) told: Told,
    pub(super) events_max: usize,
    pub(super) voids: u64,
}

impl<E> FeedQueue<E> {
    pub(super) fn new(begin: Told, reading: FeedReading<E>, events_max: usize, voids: u64) -> Self {
        Self {
            items: VecDeque::new(),
            bytes: 0,
            events_max,
            given: begin,
            told: begin,
            place: begin.place,
            reading: Some(reading),
            may_have_more: true,
            is_caught_up: false,
            voids,
            end: FeedEnd::Open,
            waker: None,
            is_delivering: false,
        }
    }

    /// Something may have been committed.
    pub(super) fn wake(&mut self) {
        self.may_have_more = true;
    }

    /// This store may have redacted events, or deleted sessions, since the items were read: then they are read anew.
    /// These are given to the caller, to be dropped without a lock.
    pub(super) fn see_voids(&mut self, voids: u64) -> VecDeque<(FeedItem<E>, usize)> {
        if self.voids == voids || self.end != FeedEnd::Open {
            return VecDeque::new();
        }
        self.voids = voids;
        (self.told, self.place) = (self.given, self.given.place);
        let forgotten = std::mem::take(&mut self.items);
        self.is_caught_up &= !forgotten.iter().any(|(item, _)| matches!(item, FeedItem::CaughtUp(_)));
        (self.bytes, self.may_have_more) = (0, true);
        forgotten
    }

    /// The page to be read next, if there is room for it and something may be there.
    pub(super) fn want(&mut self) -> Option<Wanted<E>> {
        let has_room = self.items.len() <= self.events_max / 2 && self.bytes <= PAGE_BYTES_MAX / 2;
        if self.end != FeedEnd::Open || !self.may_have_more || !has_room {
            return None;
        }
        let reading = self.reading.take()?;
        self.may_have_more = false;
        let Self { place, told, events_max, voids, .. } = *self;
        Some(Wanted { reading, place, told, events_max, voids })
    }

    /// Gives back what a page was read with.
    pub(super) fn give_back(&mut self, reading: FeedReading<E>) {
        self.reading = Some(reading);
    }

    /// Takes what was read when the store had made so many redactions and deletions.
    pub(super) fn take(&mut self, batch: FeedBatch<E>, voids: u64) {
        // It may hold what is gone: it is read again.
        if self.end != FeedEnd::Open || self.voids != voids {
            return;
        }
        let FeedBatch { items, next, told, more } = batch;
        (self.place, self.told) = (next, told);
        for (item, bytes) in items {
            self.push(item, bytes);
        }
        if more {
            (self.may_have_more, self.is_caught_up) = (true, false);
        } else if !self.is_caught_up {
            self.is_caught_up = true;
            self.push(FeedItem::CaughtUp(FeedPosition::behind(told)), 0);
        }
    }

    fn push(&mut self, item: FeedItem<E>, bytes: usize) {
        self.bytes += bytes;
        self.items.push_back((item, bytes));
    }

    pub(super) fn has_next(&self) -> bool {
        !self.items.is_empty() || self.end != FeedEnd::Open
    }

    /// The next item to be given out; the last of all is [`FeedItem::Ended`].
    pub(super) fn next(&mut self) -> Option<FeedItem<E>> {
        match self.items.pop_front() {
            Some((item, bytes)) => {
                self.bytes -= bytes;
                if let Some(told) = item.position().and_then(FeedPosition::told) {
                    self.given = told;
                }
                Some(item)
            }
            None if self.end == FeedEnd::Ending => {
                self.end = FeedEnd::Ended;
                Some(FeedItem::Ended)
            }
            None => None,
        }
    }

    /// Ends the feed with an error, behind what is queued.
    pub(super) fn fail(&mut self, error: Error) {
        if self.end == FeedEnd::Open {
            self.end = FeedEnd::Ending;
            self.push(FeedItem::Failed(error), 0);
        }
    }

    /// Ends the feed at once: nobody takes its items any more. They are given to the caller, to be dropped without a
    /// lock.
    #[must_use]
    pub(super) fn abandon(&mut self) -> VecDeque<(FeedItem<E>, usize)> {
        (self.end, self.bytes) = (FeedEnd::Ended, 0);
        std::mem::take(&mut self.items)
    }
}
