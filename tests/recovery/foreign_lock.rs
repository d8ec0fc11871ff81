//! Goal: another program that holds the database delays, and loses nothing. Method: its write lock is held and released.

use std::time::{Duration, Instant};

use foldlog::{CurrentView, ErrorKind, EventId, Restart, Store, StoreConfig};

use crate::support::{Probe, ProbeBody, all_events, append, assert_kind, look, open, usable, watchdog, within};
use crate::{answers, assert_answers_agree, numbers, numbers_in_log};

/// Holds the database's write lock, as another program might.
struct ForeignLock(rusqlite::Connection);

impl ForeignLock {
    fn take(config: &StoreConfig) -> Self {
        let path = config.medium.as_directory().expect("a directory");
        let connection = rusqlite::Connection::open(path.join("events.db")).unwrap();
        connection.busy_timeout(Duration::from_secs(10)).unwrap();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        Self(connection)
    }

    fn release(self) {
        self.0.execute_batch("ROLLBACK").unwrap();
    }
}

#[actix::test]
async fn a_foreign_lock_delays_acknowledgements_and_loses_nothing() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let config = StoreConfig::directory(directory.path());
    let store = open(&config).await;
    let session = within(store.open_session("s")).await.unwrap();
    append(&session, ProbeBody::Added(0)).await.unwrap();

    let lock = ForeignLock::take(&config);
    let mut receipts: Vec<_> = (1..100).map(|n| (n, session.append(ProbeBody::Added(n)).unwrap())).collect();
    // Longer than SQLite waits by itself, so that the actor takes over the waiting. tests/neighbours/ holds on for longer.
    let early = tokio::time::timeout(Duration::from_millis(800), &mut receipts[0].1).await;
    assert!(early.is_err(), "acknowledged without a commit: {early:?}");
    // Reads do not wait for it.
    assert_eq!(session.view().unwrap().head(), EventId::new(1));
    assert_eq!(look(&store, "s").await.1, EventId::new(1));
    let restarted = actix::spawn(store.persist_address().send(Restart));
    let session_restarted = actix::spawn(session.address().unwrap().send(Restart));
    within(session_restarted).await.unwrap().unwrap();
    lock.release();
    within(restarted).await.unwrap().unwrap();

    let answers = answers(receipts).await;
    assert_answers_agree(&answers, &numbers(&all_events(&session).await));
    assert!(answers.iter().all(|(_, answer)| answer.is_ok()), "{answers:?}");
    usable(&store, "s").await;
    within(store.close()).await.unwrap();
}

/// The answers of the persist actor are for the actor before the restart: only the log can tell the one after it.
#[actix::test]
async fn appends_that_were_refused_during_a_restart_are_answered_as_not_written() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let config = StoreConfig::directory(directory.path());
    let store = open(&config).await;
    let session = within(store.open_session("s")).await.unwrap();
    append(&session, ProbeBody::Added(0)).await.unwrap();

    let lock = ForeignLock::take(&config);
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'refused'); END";
    lock.0.execute_batch(refuse).unwrap();
    let receipts: Vec<_> = (1..20).map(|n| (n, session.append(ProbeBody::Added(n)).unwrap())).collect();
    let address = session.address().unwrap();
    within(address.send(Restart)).await.unwrap();
    // Answered by the actor that has begun again.
    within(address.send(CurrentView::default())).await.unwrap().unwrap();
    lock.0.execute_batch("COMMIT").unwrap();
    let answers = answers(receipts).await;
    for (_, answer) in &answers {
        assert_kind!(answer.as_ref(), ErrorKind::NotWritten { .. });
    }
    assert_eq!(look(&store, "s").await.1, EventId::new(1));
    assert_eq!(session.view().unwrap().head(), EventId::new(1));

    lock.0.execute_batch("DROP TRIGGER refuse").unwrap();
    usable(&store, "s").await;
    within(store.close()).await.unwrap();
}

#[actix::test]
async fn closing_under_a_foreign_lock_ends_in_time_with_a_typed_error() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let config = StoreConfig { close_timeout: Duration::from_millis(200), ..StoreConfig::directory(directory.path()) };
    let store = open(&config).await;
    close_under_a_foreign_lock(&config, store).await;
    // What comes after is not harmed.
    let store = open(&config).await;
    usable(&store, "s").await;
    within(store.close()).await.unwrap();
}

/// The same where foldlog brings the thread of the sessions, which closing stops.
#[test]
fn closing_under_a_foreign_lock_answers_everyone_without_a_runtime_of_the_host() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let config = StoreConfig { close_timeout: Duration::from_millis(200), ..StoreConfig::directory(directory.path()) };
    let store = futures::executor::block_on(Store::open_model(config.clone())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(close_under_a_foreign_lock(&config, store));
}

async fn close_under_a_foreign_lock(config: &StoreConfig, store: Store<Probe>) {
    let session = within(store.open_session("s")).await.unwrap();
    append(&session, ProbeBody::Added(0)).await.unwrap();
    let lock = ForeignLock::take(config);
    let receipts: Vec<_> = (1..100).map(|n| (n, session.append(ProbeBody::Added(n)).unwrap())).collect();
    let begun = Instant::now();
    let closed = within(store.close()).await;
    // Its own limit, and twice as long as SQLite waits for a lock; the rest is a slow machine.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_kind!(closed, ErrorKind::Unavailable { .. });
    assert_kind!(session.append(ProbeBody::Added(0)), ErrorKind::StoreClosed);
    let answers = answers(receipts).await;
    lock.release();
    assert_answers_agree(&answers, &numbers_in_log(config).await);
}
