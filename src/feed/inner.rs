//! A feed that runs: pages are read when there is room, and whoever takes the items is given the next one.

use std::sync::{Arc, Mutex};

use actix::prelude::Recipient;

use super::actor::FeedDelivery;
use super::position::FeedPosition;
use super::queue::{FeedEnd, FeedQueue, Wanted};
use super::reading::{Decode, FeedReading};
use crate::error::{Error, ErrorKind};
use crate::port::LogError;
use crate::threads::{Commits, Follower, Readers, guarded, lock};

/// What a feed of a store reads from.
#[derive(Clone)]
pub(crate) struct FeedSource {
    pub(crate) readers: Readers,
    pub(crate) commits: Arc<Commits>,
    pub(crate) page_events_max: usize,
}

/// Who takes the items.
pub(super) enum FeedSink<E: Send + 'static> {
    /// Polls for them.
    Stream,
    /// Is sent them, one at a time.
    Actor(Recipient<FeedDelivery<E>>),
}

/// See the module.
pub(super) struct FeedInner<E: Send + 'static> {
    pub(super) queue: Mutex<FeedQueue<E>>,
    pub(super) source: FeedSource,
    sink: FeedSink<E>,
}

impl<E: Send + 'static> FeedInner<E> {
    pub(super) async fn open(
        source: FeedSource,
        from: FeedPosition,
        decode: Decode<E>,
        sink: FeedSink<E>,
    ) -> Result<Arc<Self>, Error> {
        let begin = source.readers.read(move |reader| from.resolve(reader)).await?;
        let reading = FeedReading::new(begin.place, decode);
        let queue = FeedQueue::new(begin, reading, source.page_events_max, source.commits.voids());
        let this = Arc::new(Self { queue: Mutex::new(queue), source, sink });
        this.source.commits.follow(Arc::clone(&this) as _)?;
        this.pump();
        Ok(this)
    }

    /// Reads ahead, and sends the next item on its way.
    pub(super) fn pump(self: &Arc<Self>) {
        let (mut waker, mut next, mut is_gone) = (None, None, false);
        let forgotten;
        {
            let mut queue = lock(&self.queue);
            forgotten = queue.see_voids(self.source.commits.voids());
            match &self.sink {
                FeedSink::Stream if queue.has_next() => waker = queue.waker.take(),
                FeedSink::Stream => {}
                FeedSink::Actor(recipient) => {
                    is_gone = !recipient.connected();
                    if !is_gone && !queue.is_delivering {
                        next = queue.next().map(|item| (recipient, item));
                        queue.is_delivering = next.is_some();
                        is_gone = next.is_none() && queue.end == FeedEnd::Ended;
                    }
                }
            }
            self.read_ahead(&mut queue);
        }
        drop(forgotten);
        // Sent without the lock: a delivery to an actor that has just died is dropped here, and its ticket takes the
        // lock; and a waker runs foreign code.
        if let Some(waker) = waker {
            waker.wake();
        }
        if let Some((recipient, item)) = next {
            #[expect(clippy::disallowed_methods, reason = "at most one delivery of a feed is ever in its mailbox")]
            recipient.do_send(FeedDelivery::new(item, Arc::clone(self)));
        }
        if is_gone {
            self.abandon();
        }
    }

    pub(super) fn read_ahead(self: &Arc<Self>, queue: &mut FeedQueue<E>) {
        let Some(wanted) = queue.want() else { return };
        let this = Arc::clone(self);
        let submitted = self.source.readers.submit(move |slot| {
            let Wanted { mut reading, place, told, events_max, voids } = wanted;
            // Guarded, since a feed whose page never comes would wait for ever.
            let read = guarded("decode", || slot.read(|reader| reading.read(reader, place, told, events_max)));
            {
                let mut queue = lock(&this.queue);
                queue.give_back(reading);
                match read {
                    Ok(Ok(batch)) => queue.take(batch, voids),
                    // Stores have come and gone while it was read: it is read again in a moment.
                    Ok(Err(LogError::Busy)) => this.source.commits.tell_again(),
                    Ok(Err(error)) => queue.fail(error.into()),
                    Err(panicked) => queue.fail(ErrorKind::Unavailable { reason: panicked.to_string() }.into()),
                }
            }
            this.pump();
        });
        if let Err(error) = submitted {
            queue.fail(error);
        }
    }

    /// Ends the feed: nobody takes its items any more.
    pub(super) fn abandon(self: &Arc<Self>) {
        // Dropped without the lock, since they may have something of the host's.
        let dropped = lock(&self.queue).abandon();
        drop(dropped);
        self.source.commits.leave(Arc::as_ptr(self));
    }
}

impl<E: Send + 'static> Follower for FeedInner<E> {
    fn committed(self: Arc<Self>) {
        lock(&self.queue).wake();
        self.pump();
    }

    fn closed(self: Arc<Self>) {
        lock(&self.queue).fail(ErrorKind::StoreClosed.into());
        self.pump();
    }
}
