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

/// A registered subscriber. Dropping it changes nothing: call [`Subscription::cancel`] to end it.
#[derive(Debug)]
pub struct Subscription<M: SessionModel>(pub(in crate::session) Weak<Subscriber<M>>);

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
///         _ => {}
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
            let next = match queue.end {
                End::Ended => Some(Item::Ended),
                End::Open | End::Ending => queue.next(&self.0.source.metrics),
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
