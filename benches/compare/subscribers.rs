//! Subscribers of the sessions that are appended to, served on a thread of their own, as those of a server would be.

use std::thread::JoinHandle;

use foldlog::agent::Agent;
use foldlog::{EventStream, Item, Session, SubscribeFrom};
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
}

/// The thread that reads the streams, until they end with their sessions.
pub(crate) struct Served(JoinHandle<Vec<Taken>>);

#[derive(Default)]
struct Taken {
    events: u64,
    gaps: u64,
}

pub(crate) async fn subscribe(sessions: &[Session], subscribers: Subscribers) -> Option<Served> {
    let followed: Vec<&Session> = match subscribers {
        Subscribers::None => return None,
        Subscribers::OfOne(count) => sessions.iter().take(1).cycle().take(count).collect(),
        Subscribers::OneEach => sessions.iter().collect(),
    };
    let streams = join_all(followed.iter().map(|session| session.subscribe(SubscribeFrom::Now))).await;
    let streams: Vec<EventStream<Agent>> = streams.into_iter().map(Result::unwrap).collect();
    Some(Served(std::thread::spawn(move || futures::executor::block_on(join_all(streams.into_iter().map(take))))))
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
    /// A row in which nobody was served would say nothing: so it tells how many events came, and how many gaps.
    pub(crate) fn tell(self, sample: Sample) -> Sample {
        let taken = self.0.join().unwrap();
        let sum = |of: fn(&Taken) -> u64| taken.iter().map(of).sum::<u64>() as f64;
        sample.fact("events delivered", sum(|taken| taken.events)).fact("gaps", sum(|taken| taken.gaps))
    }
}
