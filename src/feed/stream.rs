//! A feed as a stream.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;

use super::inner::{FeedInner, FeedSink, FeedSource};
use super::item::FeedItem;
use super::position::FeedPosition;
use super::queue::FeedEnd;
use super::reading::Decode;
use crate::error::Error;
use crate::threads::lock;

/// The events of all sessions of a store, as a stream of [`FeedItem`]s (`futures::Stream`).
///
/// # Order
/// Events come in the order in which they were committed, so each session's in the order of the session. Each event
/// comes once. A feed from the position of an item begins with what follows it.
///
/// # Lagging
/// The stream reads at the pace at which it is polled, and keeps at most two pages of
/// [`StoreConfig::page_events_max`](crate::StoreConfig::page_events_max) events or 4 MiB. Nothing is left out however
/// late it reads, but for what was deleted meanwhile. [`behind`](Self::behind) tells how late it is.
///
/// # Other processes
/// What other stores on the same medium commit is followed, too: it is noticed within 20 ms while something is
/// committed again and again, and within 0.1 s when nothing was for three seconds.
///
/// # Closing
/// When the store is closed, the items that wait are given, and then [`FeedItem::Failed`] with
/// [`ErrorKind::StoreClosed`](crate::ErrorKind::StoreClosed). A feed does not keep the store open.
///
/// # Dropping
/// Dropping the stream ends the feed.
///
/// # Examples
/// ```
/// # use foldlog::agent::{AgentBody, Message};
/// # use foldlog::{Error, FeedItem, FeedPosition, Store, StoreConfig};
/// use futures::StreamExt;
///
/// # fn main() -> Result<(), Error> { futures::executor::block_on(async {
/// # let store = Store::open(StoreConfig::memory()).await?;
/// # let session = store.open_session("support-4711").await?;
/// # session.append(AgentBody::MessageAppended(Message::user("hello")))?.await?;
/// let mut feed = store.feed(FeedPosition::START).await?;
/// # let mut told = 0;
/// while let Some(item) = feed.next().await {
///     match item {
///         FeedItem::Event(event) => println!("{} {}", event.session, event.event.event_type()),
///         FeedItem::Deleted(deleted) => println!("history {} was deleted", deleted.history),
///         FeedItem::Unreadable(event) => eprintln!("skipped: {}", event.error),
///         FeedItem::CaughtUp(position) => {
///             println!("all was told; to go on from here later: {position}");
///             break;
///         }
///         FeedItem::Failed(error) => return Err(error),
///         _ => {}
///     }
///     # told += 1;
/// }
/// # assert_eq!(told, 1);
/// # store.close().await }) }
/// ```
#[must_use = "dropping the stream ends the feed"]
pub struct Feed<E: Send + 'static>(Arc<FeedInner<E>>);

impl<E: Send + 'static> fmt::Debug for Feed<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("position", &self.position()).finish_non_exhaustive()
    }
}

impl<E: Send + 'static> Feed<E> {
    /// Opens a feed: refuses a position of another store.
    pub(crate) async fn open(source: FeedSource, from: FeedPosition, decode: Decode<E>) -> Result<Self, Error> {
        FeedInner::open(source, from, decode, FeedSink::Stream).await.map(Self)
    }

    /// The position behind the last item that the stream has given; where the feed began, if it has given none.
    #[must_use]
    pub fn position(&self) -> FeedPosition {
        FeedPosition::behind(lock(&self.0.queue).given)
    }

    /// Tells how many events are committed that the stream has not given yet. An upper bound: events of deleted
    /// sessions may be counted. It takes one short read of the store.
    ///
    /// # Errors
    /// [`ErrorKind::StoreClosed`](crate::ErrorKind::StoreClosed); [`ErrorKind::Busy`](crate::ErrorKind::Busy) when the
    /// queue of reads is full; [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) or
    /// [`ErrorKind::CorruptStore`](crate::ErrorKind::CorruptStore) when the log cannot be read.
    pub async fn behind(&self) -> Result<u64, Error> {
        let standing = self.0.source.readers.read(|reader| Ok(reader.standing()?)).await?;
        Ok(lock(&self.0.queue).given.place.events_until(&standing))
    }
}

impl<E: Send + 'static> Stream for Feed<E> {
    type Item = FeedItem<E>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<FeedItem<E>>> {
        // Dropped behind the lock, since it may have something of the host's.
        let _forgotten;
        let mut queue = lock(&self.0.queue);
        _forgotten = queue.see_voids(self.0.source.commits.voids());
        let next = queue.next();
        self.0.read_ahead(&mut queue);
        match next {
            Some(FeedItem::Ended) => Poll::Ready(None),
            Some(item) => Poll::Ready(Some(item)),
            None if queue.end == FeedEnd::Ended => Poll::Ready(None),
            None => {
                queue.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<E: Send + 'static> Drop for Feed<E> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}
