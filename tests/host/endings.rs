//! Goal: a host that ends without a word is a crash like any other, and one that closes leaves nothing behind. Method:
//! systems that are stopped under an open store; a store that is opened and closed many times.

use std::sync::mpsc;

use foldlog::{ErrorKind, EventId, Session, Store, StoreConfig, SubscribeFrom};
use futures::executor::block_on;

use super::runtimes::both_media;
use crate::common::*;

/// Opens a store in a system on a thread of its own, lets `work` run there, and stops the system with the store open.
fn in_a_system_that_stops<T: Send + 'static>(
    config: StoreConfig,
    work: impl AsyncFnOnce(&Store<Tally>, &Session<Tally>) -> T + Send + 'static,
) -> (Store<Tally>, Session<Tally>, T) {
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let system = actix::System::new();
        system.block_on(async {
            let store = Store::<Tally>::open_model(config).await.unwrap();
            let session = store.open_session("s").await.unwrap();
            let worked = work(&store, &session).await;
            sender.send((store, session, worked)).unwrap();
            actix::System::current().stop();
        });
        system.run().unwrap();
    });
    let left = receiver.recv().unwrap();
    thread.join().unwrap();
    left
}

fn both_media_to_reopen(run: impl Fn(StoreConfig)) {
    for _ in 0..5 {
        both_media(&run);
    }
}

#[test]
fn a_system_that_stops_with_the_store_open_is_a_crash_and_loses_nothing_acknowledged() {
    both_media_to_reopen(|config| {
        let (store, session, acknowledged) = in_a_system_that_stops(config.clone(), async |_, session| {
            let mut acknowledged = 0;
            for n in 0..20 {
                acknowledged = session.append(TallyBody::Added(n)).unwrap().await.unwrap().head.get();
            }
            acknowledged
        });
        // The actor's thread is gone. The call or the receipt gives a typed error, and the last view stays.
        let refused = match session.append(TallyBody::Added(1)) {
            Ok(receipt) => block_on(receipt),
            Err(error) => Err(error),
        };
        assert_refused!(refused, ErrorKind::MustReopen { .. } | ErrorKind::NotWritten { .. });
        assert_eq!(session.view().unwrap().head().get(), acknowledged);
        assert!(block_on(session.counters()).is_err());
        assert!(block_on(session.subscribe(SubscribeFrom::Now)).is_err());
        assert_eq!(block_on(session.events_after(EventId::ZERO, 100)).unwrap().events.len(), 20);
        // Sessions that are not open yet cannot be opened either, and say so.
        assert!(block_on(store.open_session("new")).is_err());
        block_on(store.close()).unwrap();
        assert_reopens(&config, 20);
    });
}

#[test]
fn receipts_in_flight_answer_when_their_system_stops() {
    both_media_to_reopen(|config| {
        let (store, session, receipts) = in_a_system_that_stops(config.clone(), async |_, session| {
            (0..200).map(|n| session.append(TallyBody::Added(n)).unwrap()).collect::<Vec<_>>()
        });
        let answers: Vec<_> = receipts.into_iter().map(block_on).collect();
        block_on(store.close()).unwrap();
        let acknowledged = answers.iter().filter(|answer| answer.is_ok()).count();
        let refused: Vec<_> = answers.into_iter().filter_map(Result::err).collect();
        for error in &refused {
            let kind = error.kind();
            assert!(
                matches!(
                    kind,
                    ErrorKind::NotWritten { .. } | ErrorKind::OutcomeUnknown { .. } | ErrorKind::MustReopen { .. }
                ),
                "{error:?}"
            );
        }
        let unknown = refused.iter().filter(|error| matches!(error.kind(), ErrorKind::OutcomeUnknown { .. })).count();
        drop(session);
        let store = block_on(Store::<Tally>::open_model(config.clone())).unwrap();
        let events = block_on(store.open_session("s")).unwrap().view().unwrap().head().get() as usize;
        block_on(store.close()).unwrap();
        assert!((acknowledged..=acknowledged + unknown).contains(&events), "{acknowledged} {unknown} {events}");
    });
}

#[test]
fn a_store_that_is_dropped_with_its_system_stopped_lets_go_of_the_directory() {
    both_media_to_reopen(|config| {
        let (store, session, ()) = in_a_system_that_stops(config.clone(), async |_, session| {
            for n in 0..20 {
                session.append(TallyBody::Added(n)).unwrap().await.unwrap();
            }
        });
        drop((store, session));
        assert_reopens(&config, 20);
    });
}

/// A new store sees the events and can write, once the old one has let go.
fn assert_reopens(config: &StoreConfig, events: u64) {
    block_on(async {
        let store = Store::<Tally>::open_model(config.clone()).await.unwrap();
        let session = store.open_session("s").await.unwrap();
        assert_eq!(all_events_plain(&session).await, events);
        loop {
            match session.append(TallyBody::Added(1)).unwrap().await {
                Ok(appended) => break assert_eq!(appended.head, EventId::new(events + 1)),
                Err(error) => assert!(matches!(error.kind(), ErrorKind::OwnedElsewhere { .. }), "{error:?}"),
            }
        }
        store.close().await.unwrap();
    });
}

async fn all_events_plain(session: &Session<Tally>) -> u64 {
    session.events_after(EventId::ZERO, 1000).await.unwrap().events.len() as u64
}

#[actix::test]
async fn opening_and_closing_many_times_leaves_no_file_and_no_thread_behind() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let threads = || std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    let mut most = 0;
    for round in 0..20 {
        let store = Store::<Tally>::open_model(StoreConfig::directory(directory.path())).await.unwrap();
        let session = store.open_session("s").await.unwrap();
        session.append(TallyBody::Added(1)).unwrap().await.unwrap();
        assert_eq!(whole_log(&session).await.len(), round + 1);
        store.close().await.unwrap();
        if round == 0 {
            // Other tests run in this process at the same time.
            most = threads() + 100;
        }
    }
    assert!(threads() < most, "{} threads", threads());
    let left: Vec<_> = files_below(directory.path())
        .into_iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(left, ["LOCK", "events.db"], "nothing of the write-ahead log, no owner, no temporary");
}
