//! One subscriber of one session: it takes what is published, and sends it on, one item at a time.

use std::sync::{Arc, Mutex};

use actix::prelude::{Message, Recipient};

use super::items::{Item, SubscribeFrom};
use super::open_streams::OpenStreams;
use super::queue::{Drained, End, Mode, SubscriberQueue};
use crate::config::{LagPolicy, LiveConfig};
use crate::error::{Error, ErrorKind};
use crate::event::LogEvent;
use crate::id::{EventId, SessionId};
use crate::model::SessionModel;
use crate::port::LogMeta;
use crate::replay::read_page;
use crate::stats::Metrics;
use crate::threads::{Readers, guarded, lock};

/// See the module.
pub(crate) struct Subscriber<M: SessionModel> {
    sink: Sink<M>,
    pub(super) queue: Mutex<SubscriberQueue<M>>,
    pub(super) source: Source,
    pub(super) streams: Arc<OpenStreams<M>>,
    live: LiveConfig,
}

/// What a session has published when a subscriber registers.
pub(crate) struct Beginning<M: SessionModel> {
    /// The last event that the other subscribers were given.
    pub(crate) head: EventId,
    pub(crate) streams: Arc<OpenStreams<M>>,
}

/// Where a subscriber catches up from.
pub(crate) struct Source {
    pub(crate) session: SessionId,
    pub(crate) log: LogMeta,
    pub(crate) readers: Readers,
    pub(crate) metrics: Arc<Metrics>,
}

impl<M: SessionModel> std::fmt::Debug for Subscriber<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscriber").field("session", &self.source.session).finish_non_exhaustive()
    }
}

enum Sink<M: SessionModel> {
    Actor(Recipient<Delivery<M>>),
    Stream,
}

/// What a subscribed actor receives: one item. The next delivery is sent when this one is dropped.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Delivery<M: SessionModel> {
    item: Item<M>,
    _ticket: Ticket<M>,
}

impl<M: SessionModel> Delivery<M> {
    /// Gives the item.
    #[must_use]
    pub fn item(&self) -> &Item<M> {
        &self.item
    }
}

/// The part of a delivery that has the next delivery sent when it is dropped.
#[derive(Debug)]
struct Ticket<M: SessionModel>(Arc<Subscriber<M>>);

impl<M: SessionModel> Drop for Ticket<M> {
    fn drop(&mut self) {
        lock(&self.0.queue).is_delivering = false;
        Subscriber::pump(&self.0);
    }
}

fn unavailable(reason: String) -> Error {
    ErrorKind::Unavailable { reason }.into()
}

impl<M: SessionModel> Subscriber<M> {
    pub(crate) fn actor(
        recipient: Recipient<Delivery<M>>,
        from: SubscribeFrom,
        beginning: Beginning<M>,
        live: LiveConfig,
        source: Source,
    ) -> Arc<Self> {
        Self::new(Sink::Actor(recipient), from, beginning, live, source)
    }

    pub(crate) fn stream(from: SubscribeFrom, beginning: Beginning<M>, live: LiveConfig, source: Source) -> Arc<Self> {
        Self::new(Sink::Stream, from, beginning, live, source)
    }

    fn new(sink: Sink<M>, from: SubscribeFrom, beginning: Beginning<M>, live: LiveConfig, source: Source) -> Arc<Self> {
        let Beginning { head, streams } = beginning;
        let (after, mode) = match from.position().map(|position| position.event()) {
            Some(after) if after < head => (after, Mode::CatchUp { is_reading: false }),
            // The event may be ahead of the head: the caller has read it in the log before the session has folded it,
            // or another store has written it. `Entry::check_position` has found it there.
            Some(after) => (after, Mode::Live),
            None => (head, Mode::Live),
        };
        let mut queue = SubscriberQueue::new(after, head, mode);
        queue.join_streams(&streams);
        let subscriber = Arc::new(Self { sink, queue: Mutex::new(queue), source, streams, live });
        Self::pump(&subscriber);
        subscriber
    }

    /// Takes a committed event. Never waits.
    pub(crate) fn event(self: &Arc<Self>, event: &LogEvent<M>) {
        {
            let mut queue = lock(&self.queue);
            queue.head = event.id();
            if queue.end != End::Open || queue.mode != Mode::Live {
                return;
            }
            if event.id() > queue.queued {
                self.take_event(&mut queue, event);
            } else {
                // The subscriber was ahead of the session, and may not be any more.
                queue.join_streams(&self.streams);
            }
        }
        Self::pump(self);
    }

    fn take_event(&self, queue: &mut SubscriberQueue<M>, event: &LogEvent<M>) {
        let has_room = queue.events_lost_through.is_none() && queue.make_room_for_event(self.live.subscriber_queue_max);
        match (has_room, self.live.lag) {
            (true, _) => queue.push(event.clone()),
            (false, LagPolicy::Gap) => {
                queue.events_lost_through = Some(event.id());
                queue.is_behind = true;
            }
            (false, LagPolicy::CatchUp) => queue.fall_back(),
        }
    }

    /// Takes a transient; `number` is its number if it is of a stream. One of no stream is dropped if there is no room,
    /// or while the subscriber reads the log. Never waits.
    pub(crate) fn transient(self: &Arc<Self>, transient: &M::Transient, number: Option<u64>) {
        {
            let mut queue = lock(&self.queue);
            if queue.end != End::Open {
                return;
            }
            queue.push_transient(transient, number, self.live.subscriber_queue_max);
        }
        Self::pump(self);
    }

    /// The session was recovered, and its head may be ahead of what was published. Has the rest read from the log.
    pub(crate) fn resync(self: &Arc<Self>, head: EventId) {
        {
            let mut queue = lock(&self.queue);
            queue.head = head;
            if let Some(through) = queue.events_lost_through {
                queue.events_lost_through = Some(through.max(head));
            } else if queue.mode == Mode::Live && queue.queued < head {
                queue.fall_back();
            } else {
                queue.join_streams(&self.streams);
            }
        }
        Self::pump(self);
    }

    /// Events of the session were redacted: what was queued of before is read again from the log.
    pub(crate) fn forget_events(self: &Arc<Self>) {
        lock(&self.queue).forget_events();
        Self::pump(self);
    }

    /// Ends the subscription. What is queued still goes out.
    ///
    /// `drained` is called when a subscribed actor has taken its last item, or is gone. For a stream it is dropped at
    /// once: a stream gives what is queued whenever someone polls it, and nobody waits for that.
    pub(crate) fn end(self: &Arc<Self>, drained: Drained) {
        {
            let mut queue = lock(&self.queue);
            queue.end_now(End::Ending);
            if matches!(self.sink, Sink::Actor(_)) {
                queue.drained.push(drained);
            }
        }
        Self::pump(self);
    }

    /// Ends the subscription with an item that says why. What is queued still goes out.
    pub(crate) fn fail(self: &Arc<Self>, error: Error) {
        lock(&self.queue).fail(error);
        Self::pump(self);
    }

    /// Whether nobody receives any more.
    pub(crate) fn is_gone(&self) -> bool {
        lock(&self.queue).end == End::Ended || matches!(&self.sink, Sink::Actor(recipient) if !recipient.connected())
    }

    /// Sends the next item on its way, and reads ahead when catching up.
    pub(super) fn pump(self: &Arc<Self>) {
        let mut next = None;
        let mut waker = None;
        let mut drained = Vec::new();
        {
            let mut queue = lock(&self.queue);
            self.read_ahead(&mut queue);
            match &self.sink {
                Sink::Actor(recipient) if !recipient.connected() => queue.abandon(),
                Sink::Actor(recipient) if !queue.is_delivering => {
                    next = queue.next(&self.streams, &self.source.metrics).map(|item| (recipient, item));
                    queue.is_delivering = next.is_some();
                }
                Sink::Actor(_) => {}
                Sink::Stream if queue.has_next() => waker = queue.waker.take(),
                Sink::Stream => {}
            }
            if queue.end == End::Ended && !queue.is_delivering {
                drained.append(&mut queue.drained);
            }
        }
        // Sent without the lock: a delivery to an actor that has just died is dropped here, and its ticket takes the
        // lock; and a waker runs foreign code.
        if let Some(waker) = waker {
            waker.wake();
        }
        if let Some((recipient, item)) = next {
            #[expect(
                clippy::disallowed_methods,
                reason = "at most one delivery of a subscriber is ever in its mailbox"
            )]
            recipient.do_send(Delivery { item, _ticket: Ticket(Arc::clone(self)) });
        }
        drained.into_iter().for_each(|drained| drained());
    }

    /// Asks for the next page when half the queue is free.
    pub(super) fn read_ahead(self: &Arc<Self>, queue: &mut SubscriberQueue<M>) {
        let max = self.live.subscriber_queue_max;
        let is_idle = queue.mode == Mode::CatchUp { is_reading: false } && queue.end != End::Ended;
        if !is_idle || queue.items.len() > max / 2 {
            return;
        }
        if queue.queued >= queue.head {
            queue.mode = Mode::Live;
            queue.join_streams(&self.streams);
            return;
        }
        queue.mode = Mode::CatchUp { is_reading: true };
        let (subscriber, after, redactions) = (Arc::clone(self), queue.queued, queue.redactions);
        let room = (max - queue.items.len()).max(1);
        let submitted = self.source.readers.submit(move |slot| {
            let source = &subscriber.source;
            // Guarded, since a subscriber whose page never comes would wait for ever.
            let page = guarded("decode", || {
                slot.read(|reader| read_page::<M>(reader, &source.session, source.log, after.into(), room))
            });
            {
                let mut queue = lock(&subscriber.queue);
                queue.mode = Mode::CatchUp { is_reading: false };
                match page {
                    _ if queue.end == End::Ended => {}
                    // It may hold what was redacted while it was read: it is read again.
                    _ if queue.redactions != redactions => {}
                    Err(panicked) => queue.unreadable(unavailable(panicked.to_string())),
                    Ok(Ok(page)) if !page.events.is_empty() => {
                        page.events.into_iter().for_each(|event| queue.push(event));
                    }
                    Ok(Ok(_)) => queue.unreadable(unavailable("the log ends early".to_owned())),
                    Ok(Err(error)) => queue.unreadable(error),
                }
            }
            Self::pump(&subscriber);
        });
        if submitted.is_err() {
            // The store is closed.
            queue.end_now(End::Ending);
            queue.mode = Mode::Live;
        }
    }
}
