//! Long sessions: appending to one, viewing one, opening one again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use foldlog::agent::{AgentBody, Message};
use foldlog::testkit::{Faults, Port};
use foldlog::{Durability, Session, Store, StoreConfig};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::appends::{self, Load, message};
use crate::measure::{Sample, Timing, repeat};
use crate::{by_hand, common};

/// The events of the session beside a long one.
const SHORT_EVENTS: u64 = 10;
/// For how long a commit is held while views are taken.
const HELD: Duration = Duration::from_millis(200);

/// A store with one long session, made when it is first asked for.
pub(crate) struct Long {
    pub(crate) events: u64,
    body: fn(u64) -> AgentBody,
    configure: fn(StoreConfig) -> StoreConfig,
    prepared: OnceCell<TempDir>,
}

impl Long {
    /// The body by its number, from 0, and what the configuration has beside the default.
    pub(crate) fn new(events: u64, body: fn(u64) -> AgentBody, configure: fn(StoreConfig) -> StoreConfig) -> Arc<Self> {
        Arc::new(Self { events, body, configure, prepared: OnceCell::new() })
    }

    /// Its configuration; the session is there.
    async fn config(&self) -> StoreConfig {
        let directory = self.prepared.get_or_init(|| self.prepare()).await;
        (self.configure)(StoreConfig::directory(directory.path()))
    }

    async fn prepare(&self) -> TempDir {
        let directory = common::directory();
        // At the faster level: nothing of this is measured.
        let config = appends::config(directory.path(), Durability::ProcessCrash);
        let store = Store::open((self.configure)(config)).await.unwrap();
        let session = store.open_session("session-0").await.unwrap();
        for from in (0..self.events).step_by(4096) {
            let bodies = (from..self.events.min(from + 4096)).map(self.body).collect();
            session.append_batch(bodies).unwrap().await.unwrap();
        }
        session.close().await.unwrap();
        store.close().await.unwrap();
        directory
    }

    /// Appends to the long session.
    pub(crate) async fn append(&self, timing: Timing) -> Sample {
        let store = Store::open(self.config().await).await.unwrap();
        let session = store.resume_session("session-0").await.unwrap();
        let sample = append_one_by_one(session, timing).await;
        store.close().await.unwrap();
        sample
    }

    /// Appends to a short session beside it, in the same database.
    pub(crate) async fn append_to_a_short_one(&self, timing: Timing) -> Sample {
        let store = Store::open(self.config().await).await.unwrap();
        let name = format!("short-{}", store.now().as_micros());
        let session = store.open_session(name).await.unwrap();
        session.append_batch((0..SHORT_EVENTS).map(message).collect()).unwrap().await.unwrap();
        let sample = append_one_by_one(session, timing).await;
        store.close().await.unwrap();
        sample
    }

    /// Takes the view again and again, on a thread of its own, while the session is appended to.
    pub(crate) async fn views_during_appends(&self, timing: Timing) -> Sample {
        let store = Store::open(self.config().await).await.unwrap();
        let session = store.resume_session("session-0").await.unwrap();
        let load = Load { in_flight: 8, ..Load::of(1, Durability::PowerLoss) };
        let appending = actix::spawn(appends::keep_appending(session.clone(), load, timing.start()));
        let reader = std::thread::spawn(move || {
            std::thread::sleep(timing.warm_up);
            repeat(timing.timed, 1000, || session.view().unwrap())
        });
        let appended = appending.await.unwrap().len();
        let sample = reader.join().unwrap().fact("events appended meanwhile", appended as f64);
        store.close().await.unwrap();
        sample
    }

    /// What a host without a store would do: clone the list that it keeps. It shares its messages, which a host that
    /// copies them all would have to find out first.
    pub(crate) async fn clone_vec(&self, timing: Timing) -> Sample {
        let store = Store::open(self.config().await).await.unwrap();
        let session = store.resume_session("session-0").await.unwrap();
        // No more than it had at first: the appends of the other side have added to it.
        let kept = usize::try_from(self.events).unwrap();
        let messages: Vec<Arc<Message>> = session.view().unwrap().messages.iter().take(kept).cloned().collect();
        drop(session);
        store.close().await.unwrap();
        repeat(timing.timed, 1, || messages.clone())
    }

    /// The longest time to take a view while a commit is held.
    pub(crate) async fn longest_view_while_held(&self) -> Sample {
        let faults = Faults::default();
        let store = Store::open(faults.watch(self.config().await)).await.unwrap();
        let session = store.resume_session("session-0").await.unwrap();
        let mut held = faults.hold(Port::Commit);
        let receipt = session.append(message(0)).unwrap();
        held.reached().await;
        let taken = std::thread::spawn(move || {
            let started = Instant::now();
            let (mut longest, mut count) = (Duration::ZERO, 0_u32);
            while started.elapsed() < HELD {
                let asked = Instant::now();
                std::hint::black_box(session.view().unwrap());
                longest = longest.max(asked.elapsed());
                count += 1;
            }
            (longest, count)
        });
        let (longest, count) = taken.join().unwrap();
        held.release();
        receipt.await.unwrap();
        store.close().await.unwrap();
        Sample::rate(1, longest).fact("longest view, us", longest.as_secs_f64() * 1e6).fact("views", count.into())
    }

    pub(crate) fn held() -> Sample {
        Sample::rate(1, HELD)
    }

    /// From the call that opens the store to the session's view, again and again.
    pub(crate) async fn reopen(&self, timing: Timing) -> Sample {
        let config = self.config().await;
        let (mut took, mut times) = (Duration::ZERO, 0);
        while times == 0 || took < timing.timed {
            let started = Instant::now();
            let store = Store::open(config.clone()).await.unwrap();
            let session = store.resume_session("session-0").await.unwrap();
            took += started.elapsed();
            times += 1;
            assert_eq!(session.view().unwrap().head().get(), self.events, "the whole session");
            store.close().await.unwrap();
        }
        self.reopened(times, took)
    }

    /// Beside it: the same rows, read, decoded and hashed by hand.
    pub(crate) async fn scan(&self, timing: Timing) -> Sample {
        self.config().await;
        let database = self.prepared.get().unwrap().path().join("events.db");
        let (mut took, mut times) = (Duration::ZERO, 0);
        while times == 0 || took < timing.timed {
            let started = Instant::now();
            by_hand::scan(&database, usize::try_from(self.events).unwrap());
            took += started.elapsed();
            times += 1;
        }
        self.reopened(times, took)
    }

    fn reopened(&self, times: u64, took: Duration) -> Sample {
        let events = usize::try_from(self.events * times).unwrap();
        Sample::rate(events, took).fact("ms", took.as_secs_f64() * 1e3 / times as f64)
    }
}

/// The clock stops before the store closes, on both sides: what they leave to be done is the same, and the rest of
/// closing is to give back the memory of a long view.
async fn append_one_by_one(session: Session, timing: Timing) -> Sample {
    let window = timing.start();
    let load = Load::of(1, Durability::PowerLoss);
    let latencies = appends::keep_appending(session, load, window).await;
    window.stop(1, latencies)
}
