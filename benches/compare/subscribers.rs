//! Subscribers of the sessions that are appended to, served on a thread of their own, as those of a server would be.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use foldlog::agent::Agent;
use foldlog::{EventStream, Feed, FeedItem, FeedPosition, Item, LogEvent, Session, SubscribeFrom};
use futures::StreamExt;
use futures::future::join_all;

use crate::measure::Sample;

/// Who follows.
#[derive(Clone, Copy)]
pub(crate) enum Subscribers {
    None,
    /// So many, of the first session.
    OfOne(usize),
    /// One of each session.
    OneEach,
    /// One feed of the store.
    Feed,
}

/// The thread that reads the streams, until they end with their sessions.
pub(crate) struct Served {
    thread: JoinHandle<Vec<Taken>>,
    /// How many events a feed has told of.
    told: Arc<AtomicU64>,
}

#[derive(Default)]
struct Taken {
    events: u64,
    gaps: u64,
}

pub(crate) async fn subscribe(sessions: &[Session], subscribers: Subscribers) -> Option<Served> {
    let told = Arc::<AtomicU64>::default();
    let followed: Vec<&Session> = match subscribers {
        Subscribers::None => return None,
        Subscribers::Feed => {
            let feed = sessions.first()?.store().feed(FeedPosition::NOW).await.unwrap();
            let count = Arc::clone(&told);
            let thread = std::thread::spawn(move || vec![futures::executor::block_on(take_feed(feed, &count))]);
            return Some(Served { thread, told });
        }
        Subscribers::OfOne(count) => sessions.iter().take(1).cycle().take(count).collect(),
        Subscribers::OneEach => sessions.iter().collect(),
    };
    let streams = join_all(followed.iter().map(|session| session.subscribe(SubscribeFrom::Now))).await;
    let streams: Vec<EventStream<Agent>> = streams.into_iter().map(Result::unwrap).collect();
    let thread = std::thread::spawn(move || futures::executor::block_on(join_all(streams.into_iter().map(take))));
    Some(Served { thread, told })
}

async fn take_feed(mut feed: Feed<LogEvent<Agent>>, told: &AtomicU64) -> Taken {
    let mut taken = Taken::default();
    while let Some(item) = feed.next().await {
        if let FeedItem::Event(_) = item {
            taken.events += 1;
            told.store(taken.events, Ordering::SeqCst);
        }
    }
    taken
}

async fn take(mut stream: EventStream<Agent>) -> Taken {
    let mut taken = Taken::default();
    while let Some(item) = stream.next().await {
        match item {
            Item::Event(_) => taken.events += 1,
            Item::Gap(_) => taken.gaps += 1,
            _ => {}
        }
    }
    taken
}

impl Served {
    /// A feed ends with its store, whether or not it has told everything: it is given the time to tell of so many
    /// events.
    pub(crate) async fn wait_for(&self, events: usize, subscribers: Subscribers) {
        while matches!(subscribers, Subscribers::Feed) && self.told.load(Ordering::SeqCst) < events as u64 {
            actix::clock::sleep(Duration::from_millis(1)).await;
        }
    }

    /// A row in which nobody was served would say nothing: so it tells how many events came, and how many gaps.
    pub(crate) fn tell(self, sample: Sample) -> Sample {
        let taken = self.thread.join().unwrap();
        let sum = |of: fn(&Taken) -> u64| taken.iter().map(of).sum::<u64>() as f64;
        sample.fact("events delivered", sum(|taken| taken.events)).fact("gaps", sum(|taken| taken.gaps))
    }
}
