//! Goal: what races with closing or dropping is answered as the log has it. Method: close and drop with appends in
//! flight.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use foldlog::{ErrorKind, Session, Store, StoreConfig};

use crate::common::*;
use crate::{answers, assert_answers_agree, numbers_in_log};

on_both_media! {
    appends_that_race_with_closing_are_answered_as_the_log_has_it,
    appends_that_race_with_closing_the_session_are_answered_as_the_log_has_it,
}

async fn appends_that_race_with_closing_are_answered_as_the_log_has_it(config: StoreConfig) {
    race_with(config, async |store, _| soon(store.close()).await.unwrap()).await;
}

async fn appends_that_race_with_closing_the_session_are_answered_as_the_log_has_it(config: StoreConfig) {
    race_with(config, async |_, session| soon(session.close()).await.unwrap()).await;
}

async fn race_with(config: StoreConfig, close: impl AsyncFn(&Store<Tally>, &Session<Tally>)) {
    for round in 0..10 {
        let store = open(&config).await;
        let session = soon(store.open_session("s")).await.unwrap();
        let (sender, appended) = mpsc::channel();
        let writers: Vec<_> = (0..4_u64)
            .map(|writer| {
                let (session, sender) = (session.clone(), sender.clone());
                std::thread::spawn(move || {
                    for n in 0.. {
                        let n = (round * 4 + writer) * 1_000_000 + n;
                        match session.append(TallyBody::Added(n)) {
                            Ok(receipt) => sender.send((n, receipt)).unwrap(),
                            Err(error) => match error.kind() {
                                ErrorKind::Busy { .. } => std::thread::yield_now(),
                                ErrorKind::StoreClosed | ErrorKind::SessionClosed { .. } => return,
                                kind => panic!("{kind:?}"),
                            },
                        }
                    }
                })
            })
            .collect();
        drop(sender);
        // Begun: from now on they append while the store closes.
        let begun = appended.recv_timeout(Duration::from_secs(20)).unwrap();
        close(&store, &session).await;
        for writer in writers {
            writer.join().unwrap();
        }
        let answers = answers(std::iter::once(begun).chain(appended)).await;
        soon(store.close()).await.unwrap();
        assert_answers_agree(&answers, &numbers_in_log(&config).await);
    }
}

#[actix::test]
async fn dropping_receipts_and_store_loses_nothing_that_was_accepted_and_acknowledged() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let config = StoreConfig::directory(directory.path());
    let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
    let store = open(&config).await;
    let session = soon(store.open_session("s")).await.unwrap();
    for n in 0..300 {
        let receipt = session.append(TallyBody::Added(n)).unwrap();
        if n % 3 == 0 {
            let acknowledged = Arc::clone(&acknowledged);
            actix::spawn(async move {
                if receipt.await.is_ok() {
                    acknowledged.lock().unwrap().insert(n);
                }
            });
        }
    }
    // Dropping a receipt cancels nothing: when the last append is acknowledged, all before it are written.
    append(&session, TallyBody::Added(300)).await.unwrap();
    assert_eq!(session.view().unwrap().head(), at(301));
    let more: Vec<_> = (1000..1300).map(|n| (n, session.append(TallyBody::Added(n)).unwrap())).collect();
    drop(session);
    drop(store);
    // A new store opens at once; the old one may still be closing.
    let again = open(&config).await;
    let session = soon(again.open_session("s")).await.unwrap();
    let answers = answers(more).await;
    let _ = append(&session, TallyBody::Noted("claimed".to_owned())).await;
    soon(again.close()).await.unwrap();
    let log = numbers_in_log(&config).await;
    assert_answers_agree(&answers, &log);
    assert!(acknowledged.lock().unwrap().is_subset(&log));
    assert!((0..=300).collect::<BTreeSet<_>>().is_subset(&log));
}

#[actix::test]
async fn closing_under_a_foreign_lock_ends_in_time_with_a_typed_error() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let config = StoreConfig { close_timeout: Duration::from_millis(200), ..StoreConfig::directory(directory.path()) };
    let store = open(&config).await;
    close_under_a_foreign_lock(directory.path(), &config, store).await;
    // The next store is not harmed.
    let store = open(&config).await;
    usable(&store, "s").await;
    soon(store.close()).await.unwrap();
}

/// The same where foldlog brings the thread of the sessions, which closing stops.
#[test]
fn closing_under_a_foreign_lock_answers_everyone_without_a_runtime_of_the_host() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let config = StoreConfig { close_timeout: Duration::from_millis(200), ..StoreConfig::directory(directory.path()) };
    let store = futures::executor::block_on(Store::open_model(config.clone())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(close_under_a_foreign_lock(directory.path(), &config, store));
}

async fn close_under_a_foreign_lock(directory: &Path, config: &StoreConfig, store: Store<Tally>) {
    let session = soon(store.open_session("s")).await.unwrap();
    append(&session, TallyBody::Added(0)).await.unwrap();
    let lock = ForeignLock::hold(directory);
    let receipts: Vec<_> = (1..100).map(|n| (n, session.append(TallyBody::Added(n)).unwrap())).collect();
    assert_refused!(soon(store.close()).await, ErrorKind::Unavailable { .. });
    assert_refused!(session.append(TallyBody::Added(0)), ErrorKind::StoreClosed);
    let answers = answers(receipts).await;
    lock.release();
    assert_answers_agree(&answers, &numbers_in_log(config).await);
}
