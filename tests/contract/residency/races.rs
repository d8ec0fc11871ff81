//! Goal: sessions that are emptied at any moment keep their order and lose nothing. Method: a thread empties all the
//! while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use foldlog::{Append, EventId, Restart, SessionModel, Store, SubscribeFrom};

use crate::common::*;

on_both_media!(appends_that_race_the_emptying_come_back_in_order, a_view_never_goes_back_while_sessions_are_emptied);

/// Empties everything idle, without a pause, on a thread of its own, until it is dropped.
struct Emptier {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Emptier {
    fn start<M: SessionModel>(store: &Store<M>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (store, stopped) = (store.clone(), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                store.empty_idle_sessions();
                std::thread::yield_now();
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Emptier {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

async fn appends_that_race_the_emptying_come_back_in_order(disk: TestDisk) {
    let mut dice = seeded_dice();
    let store = disk.open_with(|config| config.append_keys_max = 8).await;
    let session = store.open_session("s").await.unwrap();
    let (recipient, mut received) = collector();
    session.subscribe_actor(SubscribeFrom::After(EventId::ZERO), recipient).await.unwrap();
    let emptier = Emptier::start(&store);
    let (mut head, mut keyed, mut turn) = (0, Vec::new(), None);
    for n in 0..400_u64 {
        let burst: Vec<_> = (0..1 + dice.below(3))
            .map(|_| {
                let bodies: Vec<_> = (0..1 + dice.below(3)).map(|_| noted(n)).collect();
                head += bodies.len() as u64;
                let append = Append::batch(bodies.clone());
                let append = if dice.one_in(3) {
                    keyed.push((head, bodies));
                    append.key(key(&head.to_string()))
                } else {
                    append.expect_head(at(head - bodies.len() as u64))
                };
                (head, session.append_with(append).unwrap())
            })
            .collect();
        match dice.below(6) {
            0 if turn.is_none() => turn = Some(soon(session.take_turn()).await.unwrap()),
            0 => turn = None,
            1 => assert!(session.view().unwrap().head() <= at(head)),
            2 => assert_eq!(soon(session.counters()).await.unwrap().0, at(head)),
            3 => drop(soon(session.current_view()).await.unwrap()),
            4 => soon(session.recovery()).await.map(drop).unwrap(),
            _ => drop(store.empty_idle_sessions()),
        }
        for (head, receipt) in burst {
            assert_eq!(soon(receipt).await.unwrap().head, at(head));
            assert!(session.view().unwrap().head() >= at(head), "what was acknowledged is shown");
        }
        if let Some((head, bodies)) = dice.pick(&keyed).cloned() {
            let again = session.append_with(Append::batch(bodies).key(key(&head.to_string()))).unwrap();
            let again = soon(again).await.unwrap();
            assert_eq!((again.head, again.repeated), (at(head), true));
        }
        if dice.one_in(20) {
            // Nothing is in flight, so nothing is refused.
            soon(session.address().unwrap().send(Restart)).await.unwrap();
        }
    }
    drop(emptier);
    let stats = store.stats();
    assert!(stats.sessions_emptied > 20 && stats.recovery_micros.count() > 20, "{stats:?}");
    assert_head(&session, head).await;
    store.close().await.unwrap();
    let expected: Vec<_> = (1..=head).map(|id| id.to_string()).collect();
    assert_eq!(received.until_ended().await, expected);
}

async fn a_view_never_goes_back_while_sessions_are_emptied(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let emptier = Emptier::start(&store);
    let stop = Arc::new(AtomicBool::new(false));
    let watchers: Vec<_> = (0..3)
        .map(|_| {
            let (session, stop) = (session.clone(), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut seen = EventId::ZERO;
                while !stop.load(Ordering::Relaxed) {
                    let head = session.view().unwrap().head();
                    assert!(head >= seen, "{head} after {seen}");
                    seen = head;
                }
                seen
            })
        })
        .collect();
    for n in 1..=200 {
        assert_eq!(session.append(noted(n)).unwrap().await.unwrap().head, at(n));
        assert_eq!(session.view().unwrap().head(), at(n));
    }
    stop.store(true, Ordering::Relaxed);
    for watcher in watchers {
        assert!(watcher.join().unwrap() > EventId::ZERO);
    }
    drop(emptier);
    assert_head(&session, 200).await;
    store.close().await.unwrap();
}
