//! Goal: whatever fails on the disk, and whenever, nothing acknowledged is lost, what failed is named by a typed error
//! and changed nothing, and the store goes on when the disk does. Method: fail the first operation of an act, then the
//! second, and so on until the act meets no fault any more; with each error, for once and for good.
//!
//! In the short form each of these six faults comes at every third operation, so that each operation meets two of them.
//! `FOLDLOG_FAULTS=1` is the long form, with each fault at each operation. Prints how many faults were injected.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

mod acts;
#[path = "../common/mod.rs"]
mod common;

use common::{Tally, TallyBody, all_events, number_of, soon};
use foldlog::testkit::{DiskError, Fault, Faults, Lasting, Port, TestDisk};
use foldlog::{Error, ErrorKind, LogEvent, Session, SessionModel, Store, StoreConfig};

const ERRORS: [DiskError; 3] = [DiskError::Full, DiskError::Device, DiskError::ReadOnly];

/// What a session must hold: bodies in order, and whether each must be there.
#[derive(Debug, Default)]
struct Ledger(Vec<(TallyBody, bool)>);

impl Ledger {
    fn told(&mut self, bodies: &[TallyBody]) {
        self.0.extend(bodies.iter().map(|body| (body.clone(), true)));
    }

    /// Notes what an append was answered.
    fn answered<T>(&mut self, bodies: &[TallyBody], answer: &Result<T, Error>) {
        match answer {
            Ok(_) => self.told(bodies),
            Err(error) => {
                assert_typed(error);
                if let ErrorKind::OutcomeUnknown { .. } = error.kind() {
                    self.0.extend(bodies.iter().map(|body| (body.clone(), false)));
                }
            }
        }
    }

    fn must_be(&self, found: &[TallyBody]) {
        let mut found = found.iter().peekable();
        for (body, must) in &self.0 {
            if found.peek() == Some(&body) {
                found.next();
            } else {
                assert!(!must, "{body:?} is not in the log: {self:?}");
            }
        }
        assert_eq!(found.next(), None, "nobody was told of it: {self:?}");
    }
}

/// Asserts that the error says that the disk fails, and neither damage, nor a bug, nor another owner.
fn assert_typed(error: &Error) {
    let allowed = matches!(
        error.kind(),
        ErrorKind::DiskFull
            | ErrorKind::Io { .. }
            | ErrorKind::Unavailable { .. }
            // A disk that has become read-only, for as long as it is.
            | ErrorKind::UnsuitablePlace { .. }
            | ErrorKind::NotWritten { .. }
            | ErrorKind::OutcomeUnknown { .. }
    );
    assert!(allowed, "an error of another kind: {error:?}");
}

/// A store on the disk, with the session that every act uses.
struct Fixture {
    disk: TestDisk,
    config: StoreConfig,
    store: Store<Tally>,
    session: Session<Tally>,
    ledger: Ledger,
    /// A session that was deleted.
    deleted: Option<&'static str>,
}

impl Fixture {
    async fn new() -> Self {
        let disk = TestDisk::volatile().unwrap();
        let config = disk.config();
        let store = Store::<Tally>::open_model(config.clone()).await.unwrap();
        let session = store.open_session("one").await.unwrap();
        let blob = store.put_bytes(vec![1; 100]).await.unwrap();
        let mut ledger = Ledger::default();
        for body in [TallyBody::Added(1), TallyBody::named("first"), TallyBody::Attached(blob)] {
            session.append(body.clone()).unwrap().await.unwrap();
            ledger.told(&[body]);
        }
        // As the body comes back from the log, with its id.
        ledger.0[1].0 = TallyBody::Named { id: 1, name: "first".to_owned() };
        Self { disk, config, store, session, ledger, deleted: None }
    }

    /// The disk works again: the store goes on, and so does the next one.
    async fn goes_on(mut self, what: &str) {
        let body = TallyBody::Added(77);
        let mut answer = async { self.session.append(body.clone())?.await }.await;
        if let Err(error) = &answer {
            // A recovery that met the fault may still be on its way, and answers what came to it. The next one does
            // not.
            let is_of_the_fault =
                matches!(error.kind(), ErrorKind::Unavailable { .. } | ErrorKind::UnsuitablePlace { .. });
            assert!(is_of_the_fault, "{what}: {error:?}");
            answer = async { self.session.append(body.clone())?.await }.await;
        }
        assert!(answer.is_ok(), "{what}: the disk works again, and the append fails: {answer:?}");
        self.ledger.told(&[body]);
        self.ledger.must_be(&bodies(&self.session).await);
        assert_folded(&self.session).await;
        soon(self.store.close()).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        self.reopens(what).await;
    }

    /// Another store finds all that is promised.
    async fn reopens(self, what: &str) {
        let store = Store::<Tally>::open_model(self.config.clone()).await.unwrap_or_else(|e| panic!("{what}: {e}"));
        let session = store.resume_session("one").await.unwrap_or_else(|error| panic!("{what}: {error}"));
        self.ledger.must_be(&bodies(&session).await);
        assert_folded(&session).await;
        let verified = store.verify().await.unwrap();
        assert!(verified.is_sound(), "{what}: {:?}", verified.problems);
        if let Some(deleted) = self.deleted {
            let error = store.resume_session(deleted).await.unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::UnknownSession { .. }), "{what}: {error:?}");
        }
        assert!(store.erase_deleted().await.unwrap_or_else(|e| panic!("{what}: {e}")).is_complete(), "{what}");
        session.append(TallyBody::Added(1)).unwrap().await.unwrap();
        soon(store.close()).await.unwrap();
    }
}

/// If the sync of a transaction fails, SQLite says that it is not committed. But all of it is in the write-ahead log,
/// so the next process that reads the log would take it for committed.
#[actix::test]
async fn an_append_that_was_not_written_is_not_there_after_a_kill_either() {
    let disk = TestDisk::volatile().unwrap();
    let store = Store::<Tally>::open_model(disk.config()).await.unwrap();
    let session = store.open_session("one").await.unwrap();
    session.append(TallyBody::Added(1)).unwrap().await.unwrap();
    disk.fail_sync(0, Lasting::Once);
    let error = session.append(TallyBody::Added(2)).unwrap().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NotWritten { .. }), "{error:?}");
    assert!(!disk.clear().is_empty());
    // As a process that is killed leaves it.
    let killed = tempfile::tempdir().unwrap();
    for name in ["events.db", "events.db-wal"] {
        std::fs::copy(disk.path().join(name), killed.path().join(name)).unwrap();
    }
    let next = Store::<Tally>::open_model(StoreConfig::directory(killed.path())).await.unwrap();
    assert_eq!(bodies(&next.resume_session("one").await.unwrap()).await, [TallyBody::Added(1)]);
    next.close().await.unwrap();
    store.close().await.unwrap();
}

/// The store opens the log anew after each failure.
#[actix::test]
async fn a_log_that_fails_again_and_again_has_checkpoints_all_the_same() {
    let disk = TestDisk::volatile().unwrap();
    let faults = Faults::default();
    let store = Store::<Tally>::open_model(faults.watch(disk.config())).await.unwrap();
    let session = store.open_session("one").await.unwrap();
    // Three times less than what a checkpoint of this disk waits for.
    let body = TallyBody::named(&"x".repeat(300_000));
    for _ in 0..12 {
        session.append(body.clone()).unwrap().await.unwrap();
        faults.fail_next(Port::Commit, Fault::Io);
        session.append(TallyBody::Added(1)).unwrap().await.unwrap_err();
    }
    assert!(store.stats().upkeep.runs > 0, "{}", store.stats().upkeep.log_bytes);
    store.close().await.unwrap();
}

async fn bodies(session: &Session<Tally>) -> Vec<TallyBody> {
    all_events(session).await.iter().filter_map(|event| event.body().cloned()).collect()
}

/// Asserts that the view is what the log says, and that the list says the same as the view.
async fn assert_folded(session: &Session<Tally>) {
    let mut folded = Default::default();
    for event in all_events(session).await.iter().filter_map(LogEvent::as_model) {
        Tally::apply(&mut folded, event);
    }
    let view = session.view().unwrap();
    assert_eq!(*view.state(), folded, "the view is not the fold of the log");
    let listed = soon(session.store().list_sessions(None, 1)).await.unwrap().remove(0);
    assert_eq!((&listed.title, &listed.labels), (&view.core().title, &view.core().labels));
}

/// An act has no operation left to fail when so many faults in a row were not met. One is not enough, since threads
/// make some runs of an act shorter than others.
const MISSED_MAX: u32 = 3;

/// A fault that strikes after so many operations.
#[derive(Debug, Clone, Copy)]
struct At(u64, DiskError, Lasting);

/// Tries every fault, each time one operation later, until none is met. `attempt` gives back the operations that met
/// it.
async fn each_fault(name: &str, attempt: impl AsyncFn(At) -> Vec<String>) {
    let faults = ERRORS.iter().flat_map(|error| [(*error, Lasting::Once), (*error, Lasting::UntilCleared)]);
    let apart = if number_of("FOLDLOG_FAULTS").is_some() { 1 } else { 3 };
    let mut injected = 0;
    for (number, (error, lasting)) in faults.enumerate() {
        let mut missed = 0;
        for skipped in (number as u64 % apart..).step_by(apart as usize) {
            let met = attempt(At(skipped, error, lasting)).await;
            missed = if met.is_empty() { missed + 1 } else { 0 };
            if missed == MISSED_MAX {
                break;
            }
            injected += met.len();
        }
    }
    println!("{name}: {injected} faults");
    assert!(injected > 0);
}

/// Does the act with every fault, and then what comes after it without one.
async fn sweep(name: &str, act: impl AsyncFn(&mut Fixture), after: impl AsyncFn(Fixture, &str)) {
    each_fault(name, async |at| {
        let mut fixture = Fixture::new().await;
        fixture.disk.fail(at.0, at.1, at.2);
        soon(act(&mut fixture)).await;
        let met = fixture.disk.clear();
        soon(after(fixture, &format!("{name}, {at:?}, met by {met:?}"))).await;
        met
    })
    .await;
}
