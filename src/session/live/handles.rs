//! What a host holds of a subscription.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use futures::Stream;

use super::items::Item;
use super::queue::End;
use super::subscriber::Subscriber;
use crate::model::SessionModel;
use crate::threads::lock;

/// The registration of an actor as a subscriber. Dropping it changes nothing: [`Subscription::cancel`] ends it.
pub struct Subscription<M: SessionModel>(pub(in crate::session) Weak<Subscriber<M>>);

impl<M: SessionModel> std::fmt::Debug for Subscription<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Subscription").field(&self.0.upgrade()).finish()
    }
}

impl<M: SessionModel> Subscription<M> {
    /// Stops the deliveries. What is queued is dropped; a [`Delivery`](crate::Delivery) that was sent already is not.
    /// May be called again.
    pub fn cancel(&self) {
        if let Some(subscriber) = self.0.upgrade() {
            lock(&subscriber.queue).abandon();
            Subscriber::pump(&subscriber);
        }
    }
}

/// A subscription as a stream of [`Item`]s (`futures::Stream`), in the order of the session.
///
/// # Lagging
/// At most [`LiveConfig::subscriber_queue_max`](crate::LiveConfig::subscriber_queue_max) items wait for the stream to
/// be polled. [`LagPolicy`](crate::LagPolicy) says what becomes of the others.
///
/// # Coming late
/// Transients of what is still being written, such as the first half of an answer, come first: see
/// [`SessionModel::transient_key`](crate::SessionModel::transient_key). They do not count in `subscriber_queue_max`. An
/// [`Item::Gap`] ahead of them says how many of them are not kept any more.
///
/// # Closing
/// The stream ends when the session or the store is closed, after the items that wait, or when the log cannot be read.
///
/// # Dropping
/// Dropping the stream ends the subscription.
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
///         _ => {}
///     }
///     # events += 1;
/// }
/// # assert_eq!(events, 1);
/// # Ok(()) }) }
/// ```
#[must_use = "dropping the stream ends the subscription"]
pub struct EventStream<M: SessionModel>(pub(crate) Arc<Subscriber<M>>);

impl<M: SessionModel> std::fmt::Debug for EventStream<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl<M: SessionModel> Stream for EventStream<M> {
    type Item = Item<M>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Item<M>>> {
        let next = {
            let mut queue = lock(&self.0.queue);
            let next = match queue.end {
                End::Ended => Some(Item::Ended),
                End::Open | End::Ending => queue.next(&self.0.streams, &self.0.source.metrics),
            };
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
