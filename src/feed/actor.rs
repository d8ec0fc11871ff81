//! A feed to an actor: one delivery at a time.

use std::fmt;
use std::sync::{Arc, Weak};

use actix::prelude::{Message, Recipient};

use super::inner::{FeedInner, FeedSink, FeedSource};
use super::item::FeedItem;
use super::position::FeedPosition;
use super::reading::Decode;
use crate::error::Error;
use crate::threads::lock;

/// What an actor receives of a feed: one item. The next delivery is sent when this one is dropped.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct FeedDelivery<E: Send + 'static> {
    item: FeedItem<E>,
    _ticket: FeedTicket<E>,
}

impl<E: Send + 'static> FeedDelivery<E> {
    pub(super) fn new(item: FeedItem<E>, feed: Arc<FeedInner<E>>) -> Self {
        Self { item, _ticket: FeedTicket(feed) }
    }

    /// Gives the item.
    #[must_use]
    pub fn item(&self) -> &FeedItem<E> {
        &self.item
    }
}

/// The part of a delivery that has the next one sent when it is dropped.
struct FeedTicket<E: Send + 'static>(Arc<FeedInner<E>>);

impl<E: Send + 'static> fmt::Debug for FeedTicket<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FeedTicket")
    }
}

impl<E: Send + 'static> Drop for FeedTicket<E> {
    fn drop(&mut self) {
        lock(&self.0.queue).is_delivering = false;
        self.0.pump();
    }
}

/// The registration of an actor with a feed. Dropping it changes nothing: [`FeedSubscription::cancel`] ends it, and so
/// does the end of the actor, or of the store.
pub struct FeedSubscription<E: Send + 'static>(Weak<FeedInner<E>>);

impl<E: Send + 'static> fmt::Debug for FeedSubscription<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FeedSubscription")
    }
}

impl<E: Send + 'static> FeedSubscription<E> {
    pub(crate) async fn open(
        source: FeedSource,
        from: FeedPosition,
        decode: Decode<E>,
        recipient: Recipient<FeedDelivery<E>>,
    ) -> Result<Self, Error> {
        let inner = FeedInner::open(source, from, decode, FeedSink::Actor(recipient)).await?;
        Ok(Self(Arc::downgrade(&inner)))
    }

    /// Stops the deliveries. What is queued is dropped; a [`FeedDelivery`] that was sent already is not. May be called
    /// again.
    pub fn cancel(&self) {
        if let Some(inner) = self.0.upgrade() {
            inner.abandon();
        }
    }
}
