//! Durable appends through a store, from the caller's call to its acknowledgement, with everything on that a host gets.
//! The callers run on the arbiter that opened the store, one task for each session.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use foldlog::agent::{Agent, AgentBody, Message};
use foldlog::{Append, AppendKey, Durability, Session, Store, StoreConfig};
use futures::future::join_all;

use crate::common;
use crate::measure::{Sample, Timing, Window};
use crate::subscribers::{self, Subscribers};

/// How many events a group had on average.
pub(crate) const GROUP: &str = "events per group";

/// Who appends.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) sessions: usize,
    /// The appends that each session keeps in flight.
    pub(crate) in_flight: usize,
    pub(crate) keys: Keys,
    pub(crate) subscribers: Subscribers,
    pub(crate) durability: Durability,
}

/// Whether appends have a key.
#[derive(Clone, Copy)]
pub(crate) enum Keys {
    None,
    Each,
}

impl Load {
    /// One append in flight in each session.
    pub(crate) fn of(sessions: usize, durability: Durability) -> Self {
        Self { sessions, in_flight: 1, keys: Keys::None, subscribers: Subscribers::None, durability }
    }
}

pub(crate) fn message(number: u64) -> AgentBody {
    AgentBody::MessageAppended(Message::user(common::text(number)))
}

pub(crate) fn config(directory: &Path, durability: Durability) -> StoreConfig {
    StoreConfig { durability, ..StoreConfig::directory(directory) }
}

pub(crate) async fn open_sessions(store: &Store, count: usize) -> Vec<Session> {
    let opened = join_all((0..count).map(|session| store.open_session(format!("session-{session}")))).await;
    opened.into_iter().map(Result::unwrap).collect()
}

/// Appends one event at a time.
pub(crate) async fn append(load: Load, timing: Timing) -> Sample {
    let directory = common::directory();
    let store = Store::open(config(directory.path(), load.durability)).await.unwrap();
    let sessions = open_sessions(&store, load.sessions).await;
    let served = subscribers::subscribe(&sessions, load.subscribers).await;
    let window = timing.start();
    let callers = sessions.into_iter().map(|session| actix::spawn(keep_appending(session, load, window)));
    let latencies: Vec<_> = join_all(callers.collect::<Vec<_>>()).await.into_iter().flat_map(Result::unwrap).collect();
    if let Some(served) = &served {
        served.wait_for(latencies.len(), load.subscribers).await;
    }
    let stats = store.stats();
    store.close().await.unwrap();
    let group = stats.group_events.sum() as f64 / stats.group_events.count().max(1) as f64;
    let sample = window.stop(1, latencies).fact(GROUP, group).fact("checkpoints", stats.upkeep.runs as f64);
    match served {
        Some(served) => served.tell(sample),
        None => sample,
    }
}

/// Until the window is over; then waits for what is in flight.
pub(crate) async fn keep_appending(session: Session, load: Load, window: Window) -> Vec<Duration> {
    let mut in_flight = VecDeque::new();
    let mut latencies = Vec::new();
    let mut number = 0;
    loop {
        while in_flight.len() < load.in_flight && !window.is_over() {
            number += 1;
            let asked = Instant::now();
            let mut append = Append::new(message(number));
            if let Keys::Each = load.keys {
                append = append.key(AppendKey::new(format!("key-{number}")).unwrap());
            }
            in_flight.push_back((asked, session.append_with(append).unwrap()));
        }
        let Some((asked, receipt)) = in_flight.pop_front() else { return latencies };
        receipt.await.unwrap();
        let acknowledged = Instant::now();
        if window.counts(acknowledged) {
            latencies.push(acknowledged - asked);
        }
    }
}

/// Appends batches to one session, one after the other.
pub(crate) async fn append_batches(events: usize, durability: Durability, timing: Timing) -> Sample {
    let directory = common::directory();
    let store = Store::open(config(directory.path(), durability)).await.unwrap();
    let session = store.open_session("session").await.unwrap();
    let window = timing.start();
    let mut latencies = Vec::new();
    while !window.is_over() {
        let asked = Instant::now();
        session.append_batch((0..events as u64).map(message).collect()).unwrap().await.unwrap();
        let acknowledged = Instant::now();
        if window.counts(acknowledged) {
            latencies.push(acknowledged - asked);
        }
    }
    store.close().await.unwrap();
    window.stop(events, latencies)
}

/// The same appends as messages to the actors of the sessions, from the arbiter that they run on.
pub(crate) async fn append_by_messages(load: Load, timing: Timing) -> Sample {
    let directory = common::directory();
    let store = Store::open(config(directory.path(), load.durability)).await.unwrap();
    let sessions = open_sessions(&store, load.sessions).await;
    let window = timing.start();
    let callers = sessions.into_iter().map(|session| {
        actix::spawn(async move {
            let address = session.address().unwrap();
            let mut latencies = Vec::new();
            let mut number = 0;
            while !window.is_over() {
                number += 1;
                let asked = Instant::now();
                address.send(Append::<Agent>::new(message(number))).await.unwrap().unwrap();
                let acknowledged = Instant::now();
                if window.counts(acknowledged) {
                    latencies.push(acknowledged - asked);
                }
            }
            latencies
        })
    });
    let latencies = join_all(callers.collect::<Vec<_>>()).await.into_iter().flat_map(Result::unwrap).collect();
    store.close().await.unwrap();
    window.stop(1, latencies)
}

/// The same appends through plain handles, by a host on a multi-thread tokio runtime that has no actix system. Blocks
/// the calling thread, which has nothing else to do.
pub(crate) fn append_from_tokio(load: Load, timing: Timing) -> Sample {
    let host = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let directory = common::directory();
            let store = Store::open(config(directory.path(), load.durability)).await.unwrap();
            let sessions = open_sessions(&store, load.sessions).await;
            let window = timing.start();
            let callers = sessions.into_iter().map(|session| tokio::spawn(keep_appending(session, load, window)));
            let latencies = join_all(callers.collect::<Vec<_>>()).await.into_iter().flat_map(Result::unwrap).collect();
            store.close().await.unwrap();
            window.stop(1, latencies)
        })
    });
    host.join().unwrap()
}
