//! What the integration tests share: media, bodies, subscribers, child processes, and the [`tally`] model.
#![allow(dead_code, unreachable_pub, unused_imports, unused_macros, reason = "each test crate uses a part of this")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

pub mod child;
pub mod providers;
pub mod subscribers;
pub mod tally;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use foldlog::agent::{Agent, AgentBody, AgentTransient, Message};
use foldlog::testkit::Dice;
use foldlog::{
    Append, AppendKey, Appended, BlobKind, BlobRef, Digest, Error, ErrorKind, Event, EventId, Json, LogEvent, Medium,
    MemoryDisk, Session, SessionModel, Store, StoreConfig, View,
};

pub use subscribers::{Gate, Received, collector, gated};
pub use tally::{Tally, TallyBody};

/// The longest wait of a test: long enough for a loaded machine, and a test that hangs fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for what must come soon. Needs the timer of an actix or tokio runtime.
pub async fn soon<F: Future>(future: F) -> F::Output {
    actix::clock::timeout(PATIENCE, future).await.expect("it came in time")
}

/// Ends the whole test binary when a test hangs where no timer helps. To be held until the end of the test.
pub struct Watchdog(#[expect(dead_code, reason = "its drop tells that the test has ended")] mpsc::Sender<()>);

pub fn watchdog() -> Watchdog {
    let (sender, receiver) = mpsc::channel::<()>();
    let test = std::thread::current().name().unwrap_or("unknown").to_owned();
    std::thread::spawn(move || {
        if receiver.recv_timeout(4 * PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("test {test} hangs");
            std::process::abort();
        }
    });
    Watchdog(sender)
}

/// The number in an environment variable: a seed, or the size of a long form.
pub fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// `FOLDLOG_SEED`, or a new seed. Printed, so that a run that fails can be repeated.
pub fn seed() -> u64 {
    // Below 2^48, so that it is short to type.
    let random = || std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0) >> 16;
    let seed = number_of("FOLDLOG_SEED").unwrap_or_else(random);
    println!("FOLDLOG_SEED={seed}");
    seed
}

/// Dice of that [`seed`].
pub fn seeded_dice() -> Dice {
    Dice::new(seed())
}

/// Looks again and again until something holds that nothing announces.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "not in time: {what}");
        actix::clock::sleep(Duration::from_millis(1)).await;
    }
}

/// Polls a future that has to wait, and comes back when the future was woken. What it waits for is there then, and not
/// taken.
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

    /// A configuration for it, with everything else at its default.
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

/// For a test that makes its stores itself. The directory is there for as long as the disk is.
impl From<TestDisk> for StoreConfig {
    fn from(disk: TestDisk) -> Self {
        disk.config()
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

/// One body for both media: `memory::name` and `directory::name`. It takes a [`TestDisk`] or a [`StoreConfig`].
macro_rules! on_both_media {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[actix::test]
            async fn $name() {
                let _watchdog = crate::common::watchdog();
                super::$name(crate::common::TestDisk::memory().into()).await;
            })*
        }
        mod directory {
            $(#[actix::test]
            async fn $name() {
                let _watchdog = crate::common::watchdog();
                let disk = crate::common::TestDisk::directory();
                super::$name(disk.clone().into()).await;
            })*
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

/// The ids of what was appended.
pub fn ids_of<M: SessionModel>(appended: &Appended<M>) -> Vec<u64> {
    ids(&appended.events)
}

/// The ids of events, as numbers.
pub fn ids(events: &[impl HasId]) -> Vec<u64> {
    events.iter().map(|event| event.event_id().get()).collect()
}

/// The largest ids of messages, turns, steps and evals.
pub fn entity_ids(view: &View<Agent>) -> [u64; 4] {
    let counters = view.counters;
    [counters.message, counters.turn, counters.step, counters.eval]
}

/// An event of either kind.
pub trait HasId {
    fn event_id(&self) -> EventId;
}

impl<M: SessionModel> HasId for Arc<Event<M>> {
    fn event_id(&self) -> EventId {
        self.id()
    }
}

impl<M: SessionModel> HasId for LogEvent<M> {
    fn event_id(&self) -> EventId {
        self.id()
    }
}

/// The events of a page, all of them of the session model.
pub fn of_model<M: SessionModel>(events: Vec<LogEvent<M>>) -> impl Iterator<Item = Arc<Event<M>>> {
    events.into_iter().map(|event| event.as_model().cloned().expect("this test has none of foldlog's own events"))
}

/// Every event of a session, read from the log in pages: all of them of the session model.
pub async fn whole_log<M: SessionModel>(session: &Session<M>) -> Vec<Arc<Event<M>>> {
    of_model(all_events(session).await).collect()
}

/// Every event of a session, foldlog's own included.
pub async fn all_events<M: SessionModel>(session: &Session<M>) -> Vec<LogEvent<M>> {
    let mut events: Vec<LogEvent<M>> = Vec::new();
    loop {
        let after = events.last().map_or(EventId::ZERO, |event| event.id());
        let page = soon(session.events_after(after, usize::MAX)).await.unwrap();
        events.extend(page.events);
        if !page.more {
            return events;
        }
    }
}

/// The ids of a session's log.
pub async fn log_ids<M: SessionModel>(session: &Session<M>) -> Vec<u64> {
    ids(&all_events(session).await)
}

/// What the medium holds of a session: its folded state, and the head of its log.
pub async fn look<M: SessionModel>(store: &Store<M>, session: &str) -> (View<M>, EventId) {
    let state = soon(store.read_state(session)).await.unwrap();
    let listed = soon(store.list_sessions(None, 1000)).await.unwrap();
    let listed = listed.into_iter().find(|summary| summary.id.as_str() == session).unwrap();
    (state.view, listed.head)
}

/// Asserts that the log, the live view and a view folded afresh from the log say the same, and end at `head`.
pub async fn assert_head<M: SessionModel>(session: &Session<M>, head: u64) {
    assert_eq!(log_ids(session).await, (1..=head).collect::<Vec<_>>());
    let stored = session.store().read_state(session.id()).await.unwrap();
    assert_eq!(stored.view, *session.view().unwrap());
    assert_eq!(stored.view.head(), at(head));
}

/// Appends one body and waits.
pub async fn append<M: SessionModel>(session: &Session<M>, body: M::Body) -> Result<Appended<M>, Error> {
    soon(session.append(body)?).await
}

/// Whether an answer is one that a host can rely on: committed, or nothing written.
pub fn is_definite<T>(answer: &Result<T, Error>) -> bool {
    !matches!(answer, Err(error) if matches!(error.kind(), ErrorKind::OutcomeUnknown { .. }))
}

/// Opens a store of tallies.
pub async fn open(config: &StoreConfig) -> Store<Tally> {
    soon(Store::open_model(config.clone())).await.unwrap()
}

/// An append that a key makes repeatable.
pub fn keyed(body: TallyBody, text: &str) -> Append<Tally> {
    Append::new(body).key(key(text))
}

/// Asserts that a session can be opened, appended to and read.
pub async fn usable(store: &Store<Tally>, session: &str) {
    let session = soon(store.open_session(session)).await.unwrap();
    let before = session.view().unwrap();
    let appended = append(&session, TallyBody::Added(1)).await.unwrap();
    assert_eq!(appended.head, before.head().next());
    assert_eq!(session.view().unwrap().sum, before.sum + 1);
    let (stored, head) = look(store, session.id().as_str()).await;
    assert_eq!((stored, head), ((*session.view().unwrap()).clone(), appended.head));
}

/// The files below a directory, by their paths.
pub fn files_below(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { directories.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

/// Copies what a directory has into another one, which need not be there. Nothing is copied of one that is not there.
pub fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    if !from.exists() {
        return;
    }
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let copy = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_directory(&entry.path(), &copy);
        } else {
            std::fs::copy(entry.path(), copy).unwrap();
        }
    }
}
