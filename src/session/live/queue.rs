//! The bounded queue of one subscriber: what waits for it, what was left out, and whether it follows live.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use super::items::{Gap, Item};
use super::open_streams::OpenStreams;
use crate::error::{Error, ErrorKind};
use crate::event::LogEvent;
use crate::id::EventId;
use crate::model::SessionModel;
use crate::stats::Metrics;

/// Called when a subscribed actor has taken its last item, or is gone.
pub(super) type Drained = Box<dyn FnOnce() + Send>;

/// What waits in a queue.
pub(super) enum Queued<M: SessionModel> {
    Event(LogEvent<M>),
    /// A transient as it came; with its number, if it is of a stream.
    Transient(M::Transient, Option<u64>),
    /// A transient that was copied from what is kept of the open streams. It is shared, so it does not count in the
    /// limit.
    Kept(Arc<M::Transient>),
    /// So many transients of open streams are not kept any more. It does not count either.
    Cut(u64),
}

pub(super) struct SubscriberQueue<M: SessionModel> {
    /// Wakes the task that waits for the stream; `None` if no task waits.
    pub(super) waker: Option<Waker>,
    pub(super) items: VecDeque<Queued<M>>,
    /// How many of the items do not count in the limit.
    uncounted: usize,
    /// The last event that was queued; at first, the event after which the subscription begins.
    pub(super) queued: EventId,
    /// The session's last published event.
    pub(super) head: EventId,
    pub(super) mode: Mode,
    /// How many transients were left out since the last gap marker.
    pub(super) transients_lost: u64,
    /// Whether transients of open streams wait to be copied from what is kept. Until then none is queued as it comes.
    /// True whenever the subscriber does not follow live.
    pub(super) is_behind: bool,
    /// The number of the last transient of a stream that was queued.
    pub(super) given: u64,
    /// The last event that was left out since the last gap marker.
    pub(super) events_lost_through: Option<EventId>,
    /// The last event that the subscriber was given, or that was named by a gap that it was given.
    delivered: EventId,
    /// Whether an actor holds a delivery.
    pub(super) is_delivering: bool,
    /// Why the log cannot be read on, until the subscriber is told.
    failed: Option<Error>,
    pub(super) end: End,
    pub(super) drained: Vec<Drained>,
    /// How often events were redacted since the subscription began: a page that was asked for before is dropped.
    pub(super) redactions: u64,
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
            uncounted: 0,
            queued: after,
            head,
            mode,
            transients_lost: 0,
            is_behind: true,
            given: 0,
            events_lost_through: None,
            delivered: after,
            is_delivering: false,
            end: End::Open,
            failed: None,
            drained: Vec::new(),
            redactions: 0,
        }
    }

    pub(super) fn push(&mut self, event: LogEvent<M>) {
        self.queued = event.id();
        self.items.push_back(Queued::Event(event));
    }

    fn has_room(&self, max: usize) -> bool {
        self.items.len() - self.uncounted < max
    }

    /// Makes room for an event, at the cost of a transient: the newest that is of a stream, since it is copied later if
    /// the event does not end its stream, or else the oldest. `false` if no transient is queued.
    pub(super) fn make_room_for_event(&mut self, max: usize) -> bool {
        if self.has_room(max) {
            return true;
        }
        let newest = self.items.iter().rposition(|item| matches!(item, Queued::Transient(_, Some(_))));
        match newest.and_then(|newest| Some((newest, self.items.get(newest)?))) {
            Some((newest, Queued::Transient(_, Some(number)))) => {
                self.given = number - 1;
                self.is_behind = true;
                self.forget_streams_from(newest);
                true
            }
            _ => self.make_room_for_transient(max),
        }
    }

    /// Drops what is of streams from a place in the queue on. It is copied later.
    fn forget_streams_from(&mut self, place: usize) {
        let of_streams = |item: &Queued<M>| !matches!(item, Queued::Event(_) | Queued::Transient(_, None));
        let behind = self.items.split_off(place);
        self.items.extend(behind.into_iter().filter(|item| !of_streams(item)));
        self.uncounted = self.items.iter().filter(|item| matches!(item, Queued::Kept(_) | Queued::Cut(_))).count();
    }

    /// Makes room for a transient of no stream: the oldest of its kind goes. `false` if there is none.
    fn make_room_for_transient(&mut self, max: usize) -> bool {
        if self.has_room(max) {
            return true;
        }
        let oldest = self.items.iter().position(|item| matches!(item, Queued::Transient(_, None)));
        let is_removed = oldest.and_then(|oldest| self.items.remove(oldest)).is_some();
        self.transients_lost += u64::from(is_removed);
        is_removed
    }

    /// Takes a transient that is shown now; `number` is its number if it is of a stream.
    pub(super) fn push_transient(&mut self, transient: &M::Transient, number: Option<u64>, max: usize) {
        let has_room = match number {
            // It was copied already, or will be.
            Some(number) if number <= self.given || self.is_behind => return,
            Some(number) if self.has_room(max) => {
                self.given = number;
                true
            }
            // It is copied when the queue has drained, with those that follow.
            Some(_) => {
                self.is_behind = true;
                return;
            }
            // One that came before those of the streams that have still to be copied would come out of its order.
            None => {
                self.follows() && !(self.is_behind && self.queued == self.head) && self.make_room_for_transient(max)
            }
        };
        if has_room {
            self.items.push_back(Queued::Transient(transient.clone(), number));
        } else {
            self.transients_lost += 1;
        }
    }

    /// Whether the subscriber takes what the session publishes now.
    fn follows(&self) -> bool {
        self.mode == Mode::Live && self.events_lost_through.is_none()
    }

    /// Copies what is kept of the open streams, if the subscriber has every event that the session has published: these
    /// are the events that may have ended streams. One that has read further in the log waits for the session.
    pub(super) fn join_streams(&mut self, streams: &OpenStreams<M>) {
        if !self.is_behind || !self.follows() || self.queued != self.head {
            return;
        }
        let not_given = streams.after(self.given);
        self.is_behind = false;
        self.given = not_given.last;
        let before = self.items.len();
        self.items.extend((not_given.cut > 0).then_some(Queued::Cut(not_given.cut)));
        self.items.extend(not_given.kept.into_iter().map(Queued::Kept));
        self.uncounted += self.items.len() - before;
    }

    /// Reads what comes next from the log, and no longer takes what is published.
    pub(super) fn fall_back(&mut self) {
        self.mode = Mode::CatchUp { is_reading: false };
        self.is_behind = true;
    }

    /// Events were redacted: drops what is queued from the first event on. Its events are read from the log.
    pub(super) fn forget_events(&mut self) {
        self.redactions += 1;
        let is_event = |item: &Queued<M>| matches!(item, Queued::Event(_));
        let Some(place) = self.items.iter().position(is_event) else { return };
        let behind = self.items.split_off(place);
        self.uncounted = self.items.iter().filter(|item| matches!(item, Queued::Kept(_) | Queued::Cut(_))).count();
        let mut before = None;
        for item in behind {
            match item {
                Queued::Event(event) => drop(before.get_or_insert(event.id().prev())),
                Queued::Transient(_, None) => self.transients_lost += 1,
                Queued::Cut(transients) => self.transients_lost += transients,
                // Of streams, which are copied later.
                Queued::Transient(_, Some(_)) | Queued::Kept(_) => {}
            }
        }
        self.queued = before.unwrap_or(self.queued);
        // What was left out behind is read, too.
        self.events_lost_through = None;
        if self.mode == Mode::Live {
            self.fall_back();
        }
    }

    fn has_gap(&self) -> bool {
        self.mode == Mode::Live && (self.transients_lost > 0 || self.events_lost_through.is_some())
    }

    pub(super) fn has_next(&self) -> bool {
        !self.items.is_empty() || self.has_gap() || (self.end != End::Open && self.mode == Mode::Live)
    }

    /// Takes the next item: what is queued, then one gap for everything that was left out, then the end.
    pub(super) fn next(&mut self, streams: &OpenStreams<M>, metrics: &Metrics) -> Option<Item<M>> {
        let next = self.take_next(metrics);
        if self.items.is_empty() {
            // The queue has drained, or the gap was told that what is kept had to wait for.
            self.join_streams(streams);
        }
        next
    }

    fn take_next(&mut self, metrics: &Metrics) -> Option<Item<M>> {
        // The subscription may have been cancelled while a page was on its way, or with a gap to tell.
        if self.end == End::Ended {
            return None;
        }
        let gap_of = |transients, after, through| {
            metrics.subscriber_gap(EventId::get(through).saturating_sub(EventId::get(after)), transients);
            Some(Item::Gap(Gap { after, through, transients }))
        };
        match self.items.pop_front() {
            Some(Queued::Event(event)) => {
                self.delivered = event.id();
                return Some(Item::Event(event));
            }
            Some(Queued::Transient(transient, _)) => return Some(Item::Transient(transient)),
            Some(Queued::Kept(transient)) => {
                self.uncounted -= 1;
                return Some(Item::Transient(Arc::unwrap_or_clone(transient)));
            }
            Some(Queued::Cut(transients)) => {
                self.uncounted -= 1;
                return gap_of(transients, self.delivered, self.delivered);
            }
            None => {}
        }
        if self.has_gap() {
            let through = self.events_lost_through.take().unwrap_or(self.delivered);
            let gap = gap_of(std::mem::take(&mut self.transients_lost), self.delivered, through);
            self.queued = self.queued.max(through);
            // Otherwise a gap of transients that comes next would name these events once more.
            self.delivered = through;
            return gap;
        }
        if self.end == End::Ending && self.mode == Mode::Live {
            if let Some(error) = self.failed.take() {
                return Some(Item::Failed(error));
            }
            self.end = End::Ended;
            return Some(Item::Ended);
        }
        None
    }

    /// Ends the subscription, since its log cannot be read, and has the subscriber told why.
    pub(super) fn unreadable(&mut self, error: Error) {
        if !matches!(error.kind(), ErrorKind::SessionDeleted { .. }) {
            log::error!("a subscription ends, since its log cannot be read");
        }
        log::debug!("a subscription ends after event {}: {error}", self.queued);
        self.fail(error);
    }

    /// Ends the subscription, and has the subscriber told why.
    pub(super) fn fail(&mut self, error: Error) {
        self.failed.get_or_insert(error);
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
        self.uncounted = 0;
        self.end = End::Ended;
        self.is_delivering = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{Agent, AgentTransient, StepId, TurnId};
    use crate::config::StoreConfig;
    use crate::session::live::KeptLimits;

    /// The next item's text, until nothing is left.
    fn drain(queue: &mut SubscriberQueue<Agent>, streams: &OpenStreams<Agent>) -> Vec<String> {
        let next = || match queue.next(streams, &Metrics::new())? {
            Item::Transient(AgentTransient::TokenDelta { text, .. }) => Some(text),
            item => Some(format!("{item:?}")),
        };
        std::iter::from_fn(next).collect()
    }

    /// The session keeps a transient and then brings it to its subscribers: one may have copied it in between.
    #[test]
    fn a_transient_that_was_copied_before_it_came_is_not_queued_again() {
        let limits = KeptLimits::new(&StoreConfig::memory(), Arc::new(Metrics::new()));
        let streams = OpenStreams::<Agent>::new(&Arc::new(limits));
        let delta = |text: &str| {
            Arc::new(AgentTransient::TokenDelta { turn: TurnId::new(1), step: StepId::new(1), text: text.to_owned() })
        };
        let keep = |delta: &Arc<AgentTransient>| streams.keep(delta, "1".to_owned(), 1);
        let mut queue = SubscriberQueue::new(EventId::ZERO, EventId::ZERO, Mode::Live);
        let (first, second) = (delta("first"), delta("second"));
        let number = keep(&first);
        queue.join_streams(&streams);
        queue.push_transient(&first, Some(number), 8);
        let number = keep(&second);
        queue.push_transient(&second, Some(number), 8);
        assert_eq!(drain(&mut queue, &streams), ["first", "second"]);
    }
}
