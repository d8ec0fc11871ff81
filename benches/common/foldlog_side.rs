//! The same through a store: durable appends from the caller's call to its acknowledgement, with everything on that a
//! host gets. The callers run on the arbiter that opened the store, one task for each session.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldlog::agent::{AgentBody, Message};
use foldlog::{Append, AppendKey, Durability, Session, SnapshotPolicy, Store, StoreConfig};
use futures::future::join_all;
use tempfile::TempDir;

use super::measure::{Sample, Window};

/// Who appends.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) sessions: usize,
    /// The appends that each session keeps in flight.
    pub(crate) window: usize,
    pub(crate) keys: Keys,
}

/// Whether appends have a key.
#[derive(Clone, Copy)]
pub(crate) enum Keys {
    None,
    Each,
}

fn message(number: u64) -> AgentBody {
    AgentBody::MessageAppended(Message::user(super::text(number)))
}

async fn open(directory: &Path, durability: Durability) -> Store {
    Store::open(StoreConfig { durability, ..StoreConfig::directory(directory) }).await.unwrap()
}

/// Appends one event at a time.
pub(crate) async fn append(load: Load, durability: Durability, warm_up: Duration, timed: Duration) -> Sample {
    let directory = super::directory();
    let store = open(directory.path(), durability).await;
    let opened = join_all((0..load.sessions).map(|session| store.open_session(format!("session-{session}")))).await;
    let window = Window::after(warm_up, timed);
    let latencies = Rc::new(RefCell::new(Vec::new()));
    let callers = opened.into_iter().map(|session| {
        actix::spawn(keep_appending(session.unwrap(), load.window, load.keys, window, Rc::clone(&latencies)))
    });
    for ended in join_all(callers.collect::<Vec<_>>()).await {
        ended.unwrap();
    }
    store.close().await.unwrap();
    window.sample(1, latencies.take())
}

async fn keep_appending(
    session: Session,
    in_flight_max: usize,
    keys: Keys,
    window: Window,
    latencies: Rc<RefCell<Vec<Duration>>>,
) {
    let mut in_flight = VecDeque::new();
    let mut number = 0;
    loop {
        while in_flight.len() < in_flight_max && !window.is_over() {
            number += 1;
            let asked = Instant::now();
            let mut append = Append::new(message(number));
            if let Keys::Each = keys {
                append = append.key(AppendKey::new(format!("key-{number}")).unwrap());
            }
            in_flight.push_back((asked, session.append_with(append).unwrap()));
        }
        let Some((asked, receipt)) = in_flight.pop_front() else { return };
        receipt.await.unwrap();
        let acknowledged = Instant::now();
        if window.contains(acknowledged) {
            latencies.borrow_mut().push(acknowledged - asked);
        }
    }
}

/// Appends batches to one session, one after the other.
pub(crate) async fn append_batches(
    events: usize,
    durability: Durability,
    warm_up: Duration,
    timed: Duration,
) -> Sample {
    let directory = super::directory();
    let store = open(directory.path(), durability).await;
    let session = store.open_session("session").await.unwrap();
    let window = Window::after(warm_up, timed);
    let mut latencies = Vec::new();
    while !window.is_over() {
        let asked = Instant::now();
        session.append_batch((0..events as u64).map(message).collect()).unwrap().await.unwrap();
        let acknowledged = Instant::now();
        if window.contains(acknowledged) {
            latencies.push(acknowledged - asked);
        }
    }
    store.close().await.unwrap();
    window.sample(events, latencies)
}

/// A store with one long session.
pub(crate) struct Long {
    directory: TempDir,
    events: usize,
    /// What a host without a store would keep.
    messages: Vec<Message>,
    snapshots: SnapshotPolicy,
}

async fn open_long(directory: &Path, snapshots: SnapshotPolicy) -> Store {
    Store::open(StoreConfig { snapshots, ..StoreConfig::directory(directory) }).await.unwrap()
}

impl Long {
    pub(crate) async fn prepare(events: usize, snapshots: SnapshotPolicy) -> Self {
        let directory = super::directory();
        let store = open_long(directory.path(), snapshots).await;
        let session = store.open_session("session").await.unwrap();
        for batch in (0..events as u64).collect::<Vec<_>>().chunks(1000) {
            session.append_batch(batch.iter().copied().map(message).collect()).unwrap().await.unwrap();
        }
        let messages = session.view().messages.iter().map(|message| Message::clone(message)).collect();
        store.close().await.unwrap();
        Self { directory, events, messages, snapshots }
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.directory.path().join("events.db")
    }

    /// From the call that opens the store to the session's view.
    pub(crate) async fn reopen(&self) -> Sample {
        let started = Instant::now();
        let store = open_long(self.directory.path(), self.snapshots).await;
        let session = store.resume_session("session").await.unwrap();
        let sample = Sample::rate(self.events, started.elapsed());
        assert_eq!(session.view().messages.len(), self.events, "the same rows");
        let has_snapshot = self.snapshots != SnapshotPolicy::OFF;
        assert_eq!(store.stats().snapshot_hits, u64::from(has_snapshot), "what is measured");
        store.close().await.unwrap();
        sample
    }

    pub(crate) async fn take_views(&self, timed: Duration) -> Sample {
        let store = open_long(self.directory.path(), self.snapshots).await;
        let session = store.resume_session("session").await.unwrap();
        // So many that reading the clock does not count.
        let sample = repeat(timed, 10_000, || Arc::clone(black_box(&session.view())));
        store.close().await.unwrap();
        sample
    }

    pub(crate) fn clone_vec(&self, timed: Duration) -> Sample {
        repeat(timed, 1, || black_box(&self.messages).clone())
    }
}

fn repeat<T>(timed: Duration, at_once: usize, work: impl Fn() -> T) -> Sample {
    let started = Instant::now();
    let mut count = 0;
    while started.elapsed() < timed {
        for _ in 0..at_once {
            black_box(work());
        }
        count += at_once;
    }
    Sample::rate(count, started.elapsed())
}
