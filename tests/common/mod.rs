//! What the integration tests share: media, bodies, subscribers, and the [`tally`] model of our own.
#![allow(dead_code, unreachable_pub, unused_imports, unused_macros, reason = "each test crate uses a part of this")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

pub mod subscribers;
pub mod tally;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use foldlog::agent::{AgentBody, AgentTransient, Message};
use foldlog::{
    AppendKey, BlobKind, BlobRef, Digest, Error, Event, EventId, Json, Medium, MemoryDisk, Session, SessionModel,
    Store, StoreConfig,
};

pub use subscribers::{Gate, Received, collector, gated};
pub use tally::{Tally, TallyBody};

/// No wait of a test is longer: on a loaded machine a test is slow, and one that hangs fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for what must come soon.
pub async fn soon<F: Future>(future: F) -> F::Output {
    actix::clock::timeout(PATIENCE, future).await.expect("it came in time")
}

/// Polls until something holds that nothing announces.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "not in time: {what}");
        actix::clock::sleep(Duration::from_millis(1)).await;
    }
}

/// Polls a future that has to wait, and comes back when it has been woken: what it waits for is there, and not taken yet.
pub async fn until_woken<F: Future>(future: std::pin::Pin<&mut F>) {
    struct Woken(std::sync::atomic::AtomicBool);
    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, std::sync::atomic::Ordering::SeqCst);
        }
    }
    let woken = Arc::new(Woken(std::sync::atomic::AtomicBool::new(false)));
    let waker = std::task::Waker::from(Arc::clone(&woken));
    assert!(future.poll(&mut std::task::Context::from_waker(&waker)).is_pending(), "it has to wait");
    eventually("woken", || woken.0.load(std::sync::atomic::Ordering::SeqCst)).await;
}

/// A medium that outlives the stores on it.
#[derive(Clone)]
pub struct TestDisk {
    medium: Medium,
    directory: Option<Arc<tempfile::TempDir>>,
}

impl TestDisk {
    pub fn memory() -> Self {
        Self { medium: Medium::memory(MemoryDisk::default()), directory: None }
    }

    pub fn directory() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { medium: Medium::directory(directory.path().join("store")), directory: Some(Arc::new(directory)) }
    }

    /// The directory of the store, where it has one.
    pub fn path(&self) -> Option<PathBuf> {
        self.directory.as_ref().map(|directory| directory.path().join("store"))
    }

    /// Everything at its default.
    pub fn config(&self) -> StoreConfig {
        StoreConfig::on(self.medium.clone())
    }

    /// A store of agent sessions on it.
    pub async fn open(&self) -> Store {
        Store::open(self.config()).await.unwrap()
    }

    /// The same, with another configuration.
    pub async fn open_with(&self, change: impl FnOnce(&mut StoreConfig)) -> Store {
        self.try_open_model(change).await.unwrap()
    }

    /// A store of another model.
    pub async fn open_model<M: SessionModel>(&self) -> Store<M> {
        self.try_open_model(|_| ()).await.unwrap()
    }

    pub async fn try_open_model<M: SessionModel>(
        &self,
        change: impl FnOnce(&mut StoreConfig),
    ) -> Result<Store<M>, Error> {
        let mut config = self.config();
        change(&mut config);
        Store::open_model(config).await
    }
}

/// Holds the write lock of a directory's database, as another process would, until it is dropped.
pub struct ForeignLock(rusqlite::Connection);

impl ForeignLock {
    pub fn hold(directory: &Path) -> Self {
        let connection = rusqlite::Connection::open(directory.join("events.db")).unwrap();
        connection.busy_timeout(PATIENCE).unwrap();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        Self(connection)
    }

    /// Changes the database as the other process, visible once the lock is released.
    pub fn execute(&self, sql: &str) {
        self.0.execute_batch(sql).unwrap();
    }

    /// Commits what was changed, if anything, and lets go.
    pub fn release(self) {
        self.0.execute_batch("COMMIT").unwrap();
    }
}

/// Asserts that a result is an error of a kind.
macro_rules! assert_refused {
    ($result:expr, $kind:pat $(if $guard:expr)? $(,)?) => {
        match $result {
            Ok(_) => panic!("not refused: {}", stringify!($result)),
            Err(error) => assert!(matches!(error.kind(), $kind $(if $guard)?), "{error:?}"),
        }
    };
}
pub(crate) use assert_refused;

/// One contract body for both media: `memory::name` and `directory::name`.
macro_rules! on_both_media {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[actix::test] async fn $name() { super::$name(crate::common::TestDisk::memory()).await; })*
        }
        mod directory {
            $(#[actix::test] async fn $name() { super::$name(crate::common::TestDisk::directory()).await; })*
        }
    };
}
pub(crate) use on_both_media;

/// A user's message.
pub fn user(text: impl Into<String>) -> AgentBody {
    AgentBody::MessageAppended(Message::user(text.into()))
}

/// A numbered fact of the host's.
pub fn noted(n: u64) -> AgentBody {
    AgentBody::Custom { kind: "note".to_owned(), json: Json::parse(&n.to_string()).unwrap() }
}

/// A numbered transient.
pub fn shown(n: u64) -> AgentTransient {
    AgentTransient::Other { kind: "shown".to_owned(), json: Json::parse(&n.to_string()).unwrap() }
}

pub fn key(text: &str) -> AppendKey {
    AppendKey::new(text).unwrap()
}

/// A reference to bytes that nobody has put.
pub fn dangling() -> BlobRef {
    let digest = Digest::from_bytes([7; 32]);
    BlobRef { digest, bytes: 1, kind: BlobKind::Text, encoding: foldlog::BlobEncoding::Plain }
}

pub fn at(position: u64) -> EventId {
    EventId::new(position)
}

/// The ids of events, as numbers.
pub fn ids<M: SessionModel>(events: &[Arc<Event<M>>]) -> Vec<u64> {
    events.iter().map(|event| event.id().get()).collect()
}

/// Every event of a session, read from the log in pages.
pub async fn whole_log<M: SessionModel>(session: &Session<M>) -> Vec<Arc<Event<M>>> {
    let mut events: Vec<Arc<Event<M>>> = Vec::new();
    loop {
        let after = events.last().map_or(EventId::ZERO, |event| event.id());
        let page = session.events_after(after, usize::MAX).await.unwrap();
        events.extend(page.events);
        if !page.more {
            return events;
        }
    }
}

/// The ids of a session's log.
pub async fn log_ids<M: SessionModel>(session: &Session<M>) -> Vec<u64> {
    ids(&whole_log(session).await)
}

/// Asserts that the log, the live view and a view folded afresh from the log say the same, and end at `head`.
pub async fn assert_head<M: SessionModel>(session: &Session<M>, head: u64) {
    assert_eq!(log_ids(session).await, (1..=head).collect::<Vec<_>>());
    let stored = session.store().read_state(session.id()).await.unwrap();
    assert_eq!(stored.view, *session.view().unwrap());
    assert_eq!(stored.view.head(), at(head));
}
