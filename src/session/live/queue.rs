//! The bounded queue of one subscriber: what waits for it, what was left out, and whether it follows live.

use std::collections::VecDeque;
use std::task::Waker;

use super::items::{Gap, Item};
use crate::event::LogEvent;
use crate::id::EventId;
use crate::model::SessionModel;
use crate::stats::Metrics;

/// Called when a subscribed actor has taken its last item, or is gone.
pub(super) type Drained = Box<dyn FnOnce() + Send>;

pub(super) struct SubscriberQueue<M: SessionModel> {
    /// Wakes the task that waits for the stream; `None` if no task waits.
    pub(super) waker: Option<Waker>,
    pub(super) items: VecDeque<Item<M>>,
    /// The last event that was queued; at first, the event after which the subscription begins.
    pub(super) queued: EventId,
    /// The session's last published event.
    pub(super) head: EventId,
    pub(super) mode: Mode,
    /// How many transients were left out since the last gap marker.
    pub(super) transients_lost: u64,
    /// The last event that was left out since the last gap marker.
    pub(super) events_lost_through: Option<EventId>,
    /// The last event that the subscriber was given, or that was named by a gap that it was given.
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
    /// Nothing goes out any more.
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

    pub(super) fn push(&mut self, event: LogEvent<M>) {
        self.queued = event.id();
        self.items.push_back(Item::Event(event));
    }

    /// Makes room for one more item. If the queue is full, the oldest transient is dropped; `false` if there is none.
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

    /// Takes the next item: what is queued, then one gap for everything that was left out, then the end.
    pub(super) fn next(&mut self, metrics: &Metrics) -> Option<Item<M>> {
        // The subscription may have been cancelled while a page was on its way, or with a gap to tell.
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
            // Otherwise a gap of transients that comes next would name these events once more.
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

    /// Ends the subscription, unless it has ended already.
    pub(super) fn end_now(&mut self, end: End) {
        if self.end != End::Ended {
            self.end = end;
        }
    }

    /// Ends the subscription at once, and drops what is queued.
    pub(super) fn abandon(&mut self) {
        self.items.clear();
        self.end = End::Ended;
        self.is_delivering = false;
    }
}
