//! Goal: what races with closing or dropping is answered as the log has it. Method: close and drop with appends in flight.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use foldlog::{ErrorKind, EventId, Session, Store, StoreConfig};

use crate::support::{Probe, ProbeBody, append, on_both, open, watchdog, within};
use crate::{answers, assert_answers_agree, numbers_in_log};

on_both! {
    appends_in_flight_while_the_store_closes_are_finished,
    appends_that_race_with_closing_are_answered_as_the_log_has_it,
    appends_that_race_with_closing_the_session_are_answered_as_the_log_has_it,
}

async fn appends_in_flight_while_the_store_closes_are_finished(config: StoreConfig) {
    let store = open(&config).await;
    let session = within(store.open_session("s")).await.unwrap();
    let receipts: Vec<_> = (0..500).map(|n| (n, session.append(ProbeBody::Added(n)).unwrap())).collect();
    within(store.close()).await.unwrap();
    let answers = answers(receipts).await;
    assert!(answers.iter().all(|(_, answer)| answer.is_ok()), "{answers:?}");
    assert_eq!(numbers_in_log(&config).await, (0..500).collect());
}

async fn appends_that_race_with_closing_are_answered_as_the_log_has_it(config: StoreConfig) {
    race_with(config, async |store, _| within(store.close()).await.unwrap()).await;
}

async fn appends_that_race_with_closing_the_session_are_answered_as_the_log_has_it(config: StoreConfig) {
    race_with(config, async |_, session| within(session.close()).await.unwrap()).await;
}

async fn race_with(config: StoreConfig, close: impl AsyncFn(&Store<Probe>, &Session<Probe>)) {
    for round in 0..10 {
        let store = open(&config).await;
        let session = within(store.open_session("s")).await.unwrap();
        let (sender, appended) = mpsc::channel();
        let writers: Vec<_> = (0..4_u64)
            .map(|writer| {
                let (session, sender) = (session.clone(), sender.clone());
                std::thread::spawn(move || {
                    for n in 0.. {
                        let n = (round * 4 + writer) * 1_000_000 + n;
                        match session.append(ProbeBody::Added(n)) {
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
        within(store.close()).await.unwrap();
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
    let session = within(store.open_session("s")).await.unwrap();
    for n in 0..300 {
        let receipt = session.append(ProbeBody::Added(n)).unwrap();
        if n % 3 == 0 {
            let acknowledged = Arc::clone(&acknowledged);
            actix::spawn(async move {
                if receipt.await.is_ok() {
                    acknowledged.lock().unwrap().insert(n);
                }
            });
        }
    }
    // Dropping a receipt cancels nothing: the last one is acknowledged after all of them.
    append(&session, ProbeBody::Added(300)).await.unwrap();
    assert_eq!(session.view().unwrap().head(), EventId::new(301));
    let more: Vec<_> = (1000..1300).map(|n| (n, session.append(ProbeBody::Added(n)).unwrap())).collect();
    drop(session);
    drop(store);
    // A new store opens at once; the old one may still be closing.
    let again = open(&config).await;
    let session = within(again.open_session("s")).await.unwrap();
    let answers = answers(more).await;
    let _ = append(&session, ProbeBody::Noted("claimed".to_owned())).await;
    within(again.close()).await.unwrap();
    let log = numbers_in_log(&config).await;
    assert_answers_agree(&answers, &log);
    assert!(acknowledged.lock().unwrap().is_subset(&log));
    assert!((0..=300).collect::<BTreeSet<_>>().is_subset(&log));
}
