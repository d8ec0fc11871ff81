//! The bounded queue of one subscriber: what waits for it, what was left out, and whether it follows live.

use std::collections::VecDeque;
use std::task::Waker;

use super::items::{Gap, Item};
use crate::event::LogEvent;
use crate::id::EventId;
use crate::model::SessionModel;
use crate::stats::Metrics;

/// Called when an actor has taken its last item, or is gone.
pub(super) type Drained = Box<dyn FnOnce() + Send>;

pub(super) struct SubscriberQueue<M: SessionModel> {
    /// The stream's task, when it waits.
    pub(super) waker: Option<Waker>,
    pub(super) items: VecDeque<Item<M>>,
    /// The last event that was queued, or that the subscription began after.
    pub(super) queued: EventId,
    /// The session's last published event.
    pub(super) head: EventId,
    pub(super) mode: Mode,
    /// How many transients were left out since the last gap marker.
    pub(super) transients_lost: u64,
    /// The last event that was left out since the last gap marker.
    pub(super) events_lost_through: Option<EventId>,
    /// The last event that was handed over, or named by a gap that was.
    delivered: EventId,
    /// Whether an actor holds a delivery.
    pub(super) is_delivering: bool,
    pub(super) end: End,
    pub(super) drained: Vec<Drained>,
}

/// Where a subscriber gets its events from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// From the session, as they are published.
    Live,
    /// From the log, after `queued`; `is_reading` while a page is on its way.
    CatchUp { is_reading: bool },
}

/// Whether a subscription goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Open,
    /// Nothing more will come. What is queued still goes out.
    Ending,
    /// Nobody receives anything any more.
    Ended,
}

impl<M: SessionModel> SubscriberQueue<M> {
    /// Begins after an event, of a session whose last published event is `head`.
    pub(super) fn new(after: EventId, head: EventId, mode: Mode) -> Self {
        Self {
            waker: None,
            items: VecDeque::new(),
            queued: after,
            head,
            mode,
            transients_lost: 0,
            events_lost_through: None,
            delivered: after,
            is_delivering: false,
            end: End::Open,
            drained: Vec::new(),
        }
    }

    /// Queues an event.
    pub(super) fn push(&mut self, event: LogEvent<M>) {
        self.queued = event.id();
        self.items.push_back(Item::Event(event));
    }

    /// Makes room for one more item, if a transient can go for it.
    pub(super) fn make_room(&mut self, max: usize) -> bool {
        if self.items.len() < max {
            return true;
        }
        match self.items.iter().position(|item| matches!(item, Item::Transient(_))) {
            Some(oldest) => {
                self.items.remove(oldest);
                self.transients_lost += 1;
                true
            }
            None => false,
        }
    }

    fn has_gap(&self) -> bool {
        self.mode == Mode::Live && (self.transients_lost > 0 || self.events_lost_through.is_some())
    }

    pub(super) fn has_next(&self) -> bool {
        !self.items.is_empty() || self.has_gap() || (self.end != End::Open && self.mode == Mode::Live)
    }

    /// The next item: what is queued, then one marker for everything that was left out.
    pub(super) fn next(&mut self, metrics: &Metrics) -> Option<Item<M>> {
        // Cancelled while a page was on its way, or with a gap to tell.
        if self.end == End::Ended {
            return None;
        }
        if let Some(item) = self.items.pop_front() {
            if let Item::Event(event) = &item {
                self.delivered = event.id();
            }
            return Some(item);
        }
        if self.has_gap() {
            let through = self.events_lost_through.take().unwrap_or(self.delivered);
            let gap = Gap { after: self.delivered, through, transients: std::mem::take(&mut self.transients_lost) };
            metrics.subscriber_gap(through.get().saturating_sub(self.delivered.get()), gap.transients);
            self.queued = self.queued.max(through);
            // So that a gap of transients that comes next does not name these events once more.
            self.delivered = through;
            return Some(Item::Gap(gap));
        }
        if self.end == End::Ending && self.mode == Mode::Live {
            self.end = End::Ended;
            return Some(Item::Ended);
        }
        None
    }

    /// Ends the subscription, since its log cannot be read.
    pub(super) fn unreadable(&mut self, error: &dyn std::fmt::Display) {
        log::error!("a subscription ends, since its log cannot be read");
        log::debug!("a subscription ends after event {}: {error}", self.queued);
        self.mode = Mode::Live;
        self.end_now(End::Ending);
    }

    /// Ends the subscription, unless it is further on than that.
    pub(super) fn end_now(&mut self, end: End) {
        if self.end != End::Ended {
            self.end = end;
        }
    }

    /// Drops what is queued: nobody receives any more.
    pub(super) fn abandon(&mut self) {
        self.items.clear();
        self.end = End::Ended;
        self.is_delivering = false;
    }
}
