//! Live delivery: catch up from the log, then follow the commits. One bounded queue a subscriber.
//!
//! No task pumps a queue. Whoever takes an item from it sends the next: an actor by dropping the delivery that it has
//! handled, a stream by being polled. At most one delivery is with an actor at a time, so that its mailbox holds no more,
//! and nothing here ever waits for a subscriber.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};

use actix::prelude::{Message, Recipient};
use futures::Stream;

use crate::config::{LagPolicy, LiveConfig};
use crate::id::{EventId, SessionId};
use crate::model::{Event, SessionModel};
use crate::port::LogMeta;
use crate::replay::page::read_page;
use crate::stats::Counters;
use crate::threads::guard::guarded;
use crate::threads::workers::{Readers, lock};

/// From where a subscription begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscribeFrom {
    /// The next event that is committed.
    Now,
    /// The event after this one: what is in the log first, then live, without a gap and without a duplicate.
    After(EventId),
}

/// One item of a subscription.
pub enum Item<M: SessionModel> {
    /// A committed event. Ids ascend by one, but for what a [`Gap`] names.
    Event(Arc<Event<M>>),
    /// A live item that is in no log.
    Transient(M::Transient),
    /// Something was left out here.
    Gap(Gap),
    /// The session or the store was closed, or the log could not be read: nothing follows. A stream ends instead.
    Ended,
}

impl<M: SessionModel> std::fmt::Debug for Item<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Event(event) => f.debug_tuple("Event").field(event).finish(),
            Self::Transient(transient) => f.debug_tuple("Transient").field(transient).finish(),
            Self::Gap(gap) => f.debug_tuple("Gap").field(gap).finish(),
            Self::Ended => f.write_str("Ended"),
        }
    }
}

impl<M: SessionModel> Clone for Item<M> {
    fn clone(&self) -> Self {
        match self {
            Self::Event(event) => Self::Event(Arc::clone(event)),
            Self::Transient(transient) => Self::Transient(transient.clone()),
            Self::Gap(gap) => Self::Gap(*gap),
            Self::Ended => Self::Ended,
        }
    }
}

/// What a subscriber that lagged behind has not been given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The last event that was delivered, or named by the gap before: read the log after it.
    pub after: EventId,
    /// The last event that was left out. Equal to `after` when only transients were.
    pub through: EventId,
    /// How many transients were left out.
    pub transients: u64,
}

/// What a subscriber actor receives. The next one is sent when this one is dropped.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Delivery<M: SessionModel> {
    item: Item<M>,
    _ticket: Ticket<M>,
}

impl<M: SessionModel> Delivery<M> {
    /// The item.
    #[must_use]
    pub fn item(&self) -> &Item<M> {
        &self.item
    }
}

#[derive(Debug)]
struct Ticket<M: SessionModel>(Arc<Subscriber<M>>);

impl<M: SessionModel> Drop for Ticket<M> {
    fn drop(&mut self) {
        lock(&self.0.queue).delivering = false;
        Subscriber::pump(&self.0);
    }
}

/// One subscriber of one session.
pub(crate) struct Subscriber<M: SessionModel> {
    sink: Sink<M>,
    queue: Mutex<Queue<M>>,
    source: Source,
    live: LiveConfig,
}

/// Where a subscriber catches up from.
pub(crate) struct Source {
    pub(crate) session: SessionId,
    pub(crate) log: LogMeta,
    pub(crate) readers: Readers,
    pub(crate) counters: Arc<Counters>,
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

type Drained = Box<dyn FnOnce() + Send>;

struct Queue<M: SessionModel> {
    /// The stream's task, when it waits.
    waker: Option<Waker>,
    items: VecDeque<Item<M>>,
    /// The last event that was queued, or that the subscription began after.
    queued: EventId,
    /// The session's last published event.
    head: EventId,
    mode: Mode,
    /// What was left out since the last gap marker.
    transients_lost: u64,
    events_lost_through: Option<EventId>,
    /// The last event that was handed over, or named by a gap that was.
    delivered: EventId,
    /// An actor holds a delivery.
    delivering: bool,
    ending: bool,
    ended: bool,
    drained: Vec<Drained>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Live,
    /// Reading the log after `queued`; `reading` while a page is on its way.
    CatchUp {
        reading: bool,
    },
}

impl<M: SessionModel> Subscriber<M> {
    pub(crate) fn actor(
        recipient: Recipient<Delivery<M>>,
        from: SubscribeFrom,
        head: EventId,
        live: LiveConfig,
        source: Source,
    ) -> Arc<Self> {
        Self::new(Sink::Actor(recipient), from, head, live, source)
    }

    pub(crate) fn stream(from: SubscribeFrom, head: EventId, live: LiveConfig, source: Source) -> Arc<Self> {
        Self::new(Sink::Stream, from, head, live, source)
    }

    fn new(sink: Sink<M>, from: SubscribeFrom, head: EventId, live: LiveConfig, source: Source) -> Arc<Self> {
        let (after, mode) = match from {
            SubscribeFrom::After(after) if after < head => (after, Mode::CatchUp { reading: false }),
            // Perhaps ahead of the head: read from the log before the session has folded it, or written by another store.
            SubscribeFrom::After(after) => (after, Mode::Live),
            SubscribeFrom::Now => (head, Mode::Live),
        };
        let queue = Queue {
            waker: None,
            items: VecDeque::new(),
            queued: after,
            head,
            mode,
            transients_lost: 0,
            events_lost_through: None,
            delivered: after,
            delivering: false,
            ending: false,
            ended: false,
            drained: Vec::new(),
        };
        let subscriber = Arc::new(Self { sink, queue: Mutex::new(queue), source, live });
        Self::pump(&subscriber);
        subscriber
    }

    /// Takes a committed event. Never waits.
    pub(crate) fn event(self: &Arc<Self>, event: &Arc<Event<M>>) {
        {
            let mut queue = lock(&self.queue);
            queue.head = event.id();
            if queue.ending || queue.mode != Mode::Live || event.id() <= queue.queued {
                return;
            }
            let has_room = queue.events_lost_through.is_none() && queue.make_room(self.live.subscriber_queue_max);
            match (has_room, self.live.lag) {
                (true, _) => {
                    queue.queued = event.id();
                    queue.items.push_back(Item::Event(Arc::clone(event)));
                }
                (false, LagPolicy::Gap) => queue.events_lost_through = Some(event.id()),
                (false, LagPolicy::CatchUp) => queue.mode = Mode::CatchUp { reading: false },
            }
        }
        Self::pump(self);
    }

    /// Takes a transient: dropped when there is no room, or while the subscriber reads the log.
    pub(crate) fn transient(self: &Arc<Self>, transient: &M::Transient) {
        {
            let mut queue = lock(&self.queue);
            if queue.ending {
                return;
            }
            let has_room = queue.mode == Mode::Live
                && queue.events_lost_through.is_none()
                && queue.make_room(self.live.subscriber_queue_max);
            if has_room {
                queue.items.push_back(Item::Transient(transient.clone()));
            } else {
                queue.transients_lost += 1;
            }
        }
        Self::pump(self);
    }

    /// The session was recovered and its head may be further on than what was published: read the rest from the log.
    pub(crate) fn resync(self: &Arc<Self>, head: EventId) {
        {
            let mut queue = lock(&self.queue);
            queue.head = head;
            if let Some(through) = queue.events_lost_through {
                queue.events_lost_through = Some(through.max(head));
            } else if queue.mode == Mode::Live && queue.queued < head {
                queue.mode = Mode::CatchUp { reading: false };
            }
        }
        Self::pump(self);
    }

    /// Nothing more will come. What is queued still goes out.
    ///
    /// `drained` is called when an actor has taken its last item, or is gone. A stream keeps what it holds for as long
    /// as someone polls it: nobody waits for that, and it counts as drained.
    pub(crate) fn end(self: &Arc<Self>, drained: Drained) {
        {
            let mut queue = lock(&self.queue);
            queue.ending = true;
            if matches!(self.sink, Sink::Actor(_)) {
                queue.drained.push(drained);
            }
        }
        Self::pump(self);
    }

    /// Whether nobody receives any more.
    pub(crate) fn is_gone(&self) -> bool {
        lock(&self.queue).ended || matches!(&self.sink, Sink::Actor(recipient) if !recipient.connected())
    }

    /// Sends the next item on its way, and reads ahead when catching up.
    fn pump(self: &Arc<Self>) {
        let mut next = None;
        let mut waker = None;
        let mut drained = Vec::new();
        {
            let mut queue = lock(&self.queue);
            self.read_ahead(&mut queue);
            match &self.sink {
                Sink::Actor(recipient) if !recipient.connected() => queue.abandon(),
                Sink::Actor(recipient) if !queue.delivering => {
                    next = queue.next(&self.source.counters).map(|item| (recipient, item));
                    queue.delivering = next.is_some();
                }
                Sink::Actor(_) => {}
                Sink::Stream if queue.has_next() => waker = queue.waker.take(),
                Sink::Stream => {}
            }
            if queue.ended && !queue.delivering {
                drained.append(&mut queue.drained);
            }
        }
        // Without the lock: a delivery to an actor that has just died is dropped here, and its ticket takes the lock; and
        // a waker is foreign code.
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
    fn read_ahead(self: &Arc<Self>, queue: &mut Queue<M>) {
        let max = self.live.subscriber_queue_max;
        if queue.mode != (Mode::CatchUp { reading: false }) || queue.ended || queue.items.len() > max / 2 {
            return;
        }
        if queue.queued >= queue.head {
            queue.mode = Mode::Live;
            return;
        }
        queue.mode = Mode::CatchUp { reading: true };
        let (subscriber, after) = (Arc::clone(self), queue.queued);
        let room = (max - queue.items.len()).max(1);
        let submitted = self.source.readers.submit(move |slot| {
            let source = &subscriber.source;
            // Whatever panics in it: a subscriber that still waited for its page would wait for ever.
            let page = guarded("decode", || {
                slot.read(|reader| read_page::<M>(reader, &source.session, source.log, after, room))
            });
            {
                let mut queue = lock(&subscriber.queue);
                queue.mode = Mode::CatchUp { reading: false };
                match page {
                    _ if queue.ended => {}
                    Err(panicked) => queue.unreadable(&panicked),
                    Ok(Ok(page)) if !page.events.is_empty() => {
                        for event in page.events {
                            queue.queued = event.id();
                            queue.items.push_back(Item::Event(event));
                        }
                    }
                    Ok(Ok(_)) => queue.unreadable(&"the log ends early"),
                    Ok(Err(error)) => queue.unreadable(&error),
                }
            }
            Self::pump(&subscriber);
        });
        if submitted.is_err() {
            // The store is closed.
            queue.ending = true;
            queue.mode = Mode::Live;
        }
    }
}

impl<M: SessionModel> Queue<M> {
    /// Makes room for one more item, if a transient can go for it.
    fn make_room(&mut self, max: usize) -> bool {
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

    fn has_next(&self) -> bool {
        !self.items.is_empty() || self.has_gap() || (self.ending && self.mode == Mode::Live)
    }

    /// The next item: what is queued, then one marker for everything that was left out.
    fn next(&mut self, counters: &Counters) -> Option<Item<M>> {
        // Cancelled while a page was on its way, or with a gap to tell.
        if self.ended {
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
            counters.subscriber_gap(through.get().saturating_sub(self.delivered.get()), gap.transients);
            self.queued = self.queued.max(through);
            // So that a gap of transients that comes next does not name these events once more.
            self.delivered = through;
            return Some(Item::Gap(gap));
        }
        if self.ending && self.mode == Mode::Live && !self.ended {
            self.ended = true;
            return Some(Item::Ended);
        }
        None
    }

    fn unreadable(&mut self, error: &dyn std::fmt::Display) {
        log::error!("a subscription ends, since its log cannot be read");
        log::debug!("a subscription ends after event {}: {error}", self.queued);
        self.mode = Mode::Live;
        self.ending = true;
    }

    fn abandon(&mut self) {
        self.items.clear();
        self.ending = true;
        self.ended = true;
        self.delivering = false;
    }
}

/// A registered subscriber. Dropping it changes nothing: call [`Subscription::cancel`] to end it.
#[derive(Debug)]
pub struct Subscription<M: SessionModel>(pub(crate) Weak<Subscriber<M>>);

impl<M: SessionModel> Subscription<M> {
    /// Stops deliveries. What is queued is dropped; what the subscriber holds is its own. May be called again.
    pub fn cancel(&self) {
        if let Some(subscriber) = self.0.upgrade() {
            lock(&subscriber.queue).abandon();
            Subscriber::pump(&subscriber);
        }
    }
}

/// A subscription as a stream of [`Item`]s (`futures::Stream`). It ends when the session or the store is closed, or when
/// the log could not be read. Dropping it unsubscribes.
///
/// # Examples
///
/// ```
/// # use foldlog::agent::{AgentBody, Message};
/// # use foldlog::{Error, EventId, Item, Store, StoreConfig, SubscribeFrom};
/// use futures::StreamExt;
///
/// # fn main() -> Result<(), Error> { futures::executor::block_on(async {
/// # let store = Store::open(StoreConfig::memory()).await?;
/// # let session = store.open_session("support-4711").await?;
/// let mut stream = session.subscribe(SubscribeFrom::After(EventId::ZERO)).await?;
/// # session.append(AgentBody::MessageAppended(Message::user("hello")))?.await?;
/// # store.close().await?;
/// # let mut events = 0;
/// while let Some(item) = stream.next().await {
///     match item {
///         Item::Event(event) => println!("{} {}", event.id(), event.event_type()),
///         Item::Transient(live) => println!("{live:?}"),
///         Item::Gap(gap) => println!("left out: {gap:?}"),
///         Item::Ended => {} // for actors
///     }
///     # events += 1;
/// }
/// # assert_eq!(events, 1);
/// # Ok(()) }) }
/// ```
#[derive(Debug)]
pub struct EventStream<M: SessionModel>(pub(crate) Arc<Subscriber<M>>);

impl<M: SessionModel> Stream for EventStream<M> {
    type Item = Item<M>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Item<M>>> {
        let next = {
            let mut queue = lock(&self.0.queue);
            let next = if queue.ended { Some(Item::Ended) } else { queue.next(&self.0.source.counters) };
            if next.is_none() {
                queue.waker = Some(context.waker().clone());
            }
            self.0.read_ahead(&mut queue);
            next
        };
        match next {
            Some(Item::Ended) => Poll::Ready(None),
            Some(item) => Poll::Ready(Some(item)),
            None => Poll::Pending,
        }
    }
}

impl<M: SessionModel> Drop for EventStream<M> {
    fn drop(&mut self) {
        lock(&self.0.queue).abandon();
    }
}
