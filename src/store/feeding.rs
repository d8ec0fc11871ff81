//! Following everything that a store holds: `feed` of each kind of store.

use actix::Recipient;

use crate::error::Error;
use crate::event::LogEvent;
use crate::feed::{Feed, FeedDelivery, FeedPosition, FeedSource, FeedSubscription};
use crate::model::SessionModel;
use crate::replay::decode;
use crate::store::Store;
use crate::store::read_only::{ReadOnlyInner, ReadOnlyStore};
use crate::store::untyped::{EventHeader, UntypedStore};

impl<M: SessionModel> Store<M> {
    /// Follows the events of all sessions behind a position: first those that are there, then each as it is committed,
    /// by this store or by another one on the same medium. See [`Feed`].
    ///
    /// # Errors
    /// [`ErrorKind::OtherFeed`](crate::ErrorKind::OtherFeed) for a position that is not of this store;
    /// [`ErrorKind::StoreClosed`](crate::ErrorKind::StoreClosed); [`ErrorKind::Busy`](crate::ErrorKind::Busy) when the
    /// queue of reads is full; [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) or
    /// [`ErrorKind::CorruptStore`](crate::ErrorKind::CorruptStore) when the log cannot be read.
    ///
    /// # Cancellation
    /// Dropping the future opens no feed.
    pub async fn feed(&self, after: FeedPosition) -> Result<Feed<LogEvent<M>>, Error> {
        Feed::open(self.feed_source()?, after, decode::<M>).await
    }
}

impl<M: SessionModel> Store<M> {
    /// Follows the events of all sessions with an actor, as [`Store::feed`] does with a stream: it gets one
    /// [`FeedDelivery`] at a time, the last with [`FeedItem::Ended`](crate::FeedItem::Ended). An actor that dies ends
    /// the feed; a slow one delays nobody.
    ///
    /// # Errors
    /// Those of [`Store::feed`].
    ///
    /// # Cancellation
    /// If the future is dropped, the actor may get deliveries all the same.
    pub async fn feed_actor(
        &self,
        after: FeedPosition,
        recipient: Recipient<FeedDelivery<LogEvent<M>>>,
    ) -> Result<FeedSubscription<LogEvent<M>>, Error> {
        FeedSubscription::open(self.feed_source()?, after, decode::<M>, recipient).await
    }

    fn feed_source(&self) -> Result<FeedSource, Error> {
        let services = &self.0.services;
        services.check_open()?;
        Ok(FeedSource {
            readers: services.readers.clone(),
            commits: services.commits.clone(),
            page_events_max: services.config.page_events_max,
        })
    }
}

impl ReadOnlyInner {
    fn feed_source(&self) -> FeedSource {
        FeedSource {
            readers: self.readers.clone(),
            commits: self.commits.clone(),
            page_events_max: self.page_events_max,
        }
    }
}

impl<M: SessionModel> ReadOnlyStore<M> {
    /// Follows the events of all sessions behind a position, as [`Store::feed`] does: what stores that write commit
    /// comes as they commit it.
    ///
    /// # Errors
    /// Those of [`Store::feed`].
    ///
    /// # Cancellation
    /// As that of [`Store::feed`].
    pub async fn feed(&self, after: FeedPosition) -> Result<Feed<LogEvent<M>>, Error> {
        Feed::open(self.inner.open_here()?.feed_source(), after, decode::<M>).await
    }
}

impl UntypedStore {
    /// Follows the headers of all sessions' events behind a position, as [`Store::feed`](crate::Store::feed) does.
    ///
    /// # Errors
    /// Those of [`Store::feed`](crate::Store::feed).
    ///
    /// # Cancellation
    /// As that of [`Store::feed`](crate::Store::feed).
    pub async fn feed(&self, after: FeedPosition) -> Result<Feed<EventHeader>, Error> {
        Feed::open(self.inner.open_here()?.feed_source(), after, EventHeader::of).await
    }
}
