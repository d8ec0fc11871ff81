//! Goal: what was in flight gets a definite answer (I11). Method: actors are restarted, and their arbiters end, while
//! the database's lock is held. What was acknowledged survives the death of the process (I1): tests/kills/ has that.

use foldlog::agent::{Agent, AgentBody};
use foldlog::testkit::{Faults, Port};
use foldlog::{Append, ErrorKind, Restart, StoreConfig};
use futures::FutureExt;
use futures::future::join_all;

use crate::common::*;

fn numbered(n: u64) -> Append<Agent> {
    Append::new(noted(n)).key(key(&format!("key {n}")))
}

#[actix::test]
async fn i11_an_append_in_flight_is_answered_with_what_the_log_says_after_a_restart() {
    let disk = TestDisk::directory();
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    for restart_persist in [false, true] {
        let before = session.view().unwrap().head().get();
        let foreign = ForeignLock::hold(&disk.path().unwrap());
        let receipts: Vec<_> = (0..20).map(|n| session.append(noted(n)).unwrap()).collect();
        assert_eq!(session.counters().await.unwrap().0, at(before + 20), "all are stamped");
        if restart_persist {
            store.persist_address().try_send(Restart).unwrap();
        }
        session.address().unwrap().send(Restart).await.unwrap();
        assert_eq!(session.view().unwrap().head(), at(before));
        foreign.release();
        let answers = soon(join_all(receipts)).await;
        session.recovery().await.unwrap();
        let log = log_ids(&session).await;
        for (id, answer) in (before + 1..).zip(answers) {
            match answer {
                Ok(appended) => assert!(log.contains(&id) && appended.head == at(id)),
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::NotWritten { .. }), "{error:?}");
                    assert!(!log.contains(&id), "it said that it was not written");
                }
            }
        }
        assert_head(&session, log.len() as u64).await;
    }
    store.close().await.unwrap();
}

/// While the appends wait for the lock, the log changes hands. None of them is written, with a restart and without.
#[actix::test]
async fn i11_an_append_in_flight_that_was_not_written_is_answered_so_after_a_restart() {
    let disk = TestDisk::directory();
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    session.append(user("first")).unwrap().await.unwrap();
    let before = session.view().unwrap();
    for restart in [true, false] {
        let foreign = ForeignLock::hold(&disk.path().unwrap());
        let receipts: Vec<_> = (0..5).map(|_| session.append(user("in flight")).unwrap()).collect();
        assert_eq!(session.counters().await.unwrap().0, at(6), "all are stamped");
        if restart {
            session.address().unwrap().send(Restart).await.unwrap();
        }
        foreign.execute("UPDATE logs SET epoch = epoch + 1");
        foreign.release();
        for answer in soon(join_all(receipts)).await {
            assert_refused!(answer, ErrorKind::NotWritten { .. });
        }
        assert_eq!(*session.view().unwrap(), *before);
        assert_eq!(session.counters().await.unwrap(), (at(1), before.counters), "the counters go back");
        assert_head(&session, 1).await;
    }
    assert_eq!(session.append(user("second")).unwrap().await.unwrap().head, at(2));
    assert_head(&session, 2).await;
    store.close().await.unwrap();
}

#[actix::test]
async fn i11_a_key_in_flight_over_a_restart_is_written_once() {
    let disk = TestDisk::directory();
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let foreign = ForeignLock::hold(&disk.path().unwrap());
    let first = session.append_with(numbered(1)).unwrap();
    session.counters().await.unwrap();
    session.address().unwrap().send(Restart).await.unwrap();
    let retry = session.append_with(numbered(1)).unwrap();
    foreign.release();
    let (first, retry) = (soon(first).await, soon(retry).await.unwrap());
    // The first is committed and the retry repeats it, or it was not written and the retry wrote it.
    assert_eq!((first.is_ok(), retry.head), (retry.repeated, at(1)));
    assert_head(&session, 1).await;
    store.close().await.unwrap();
}

/// The session's arbiter ends for good: the next call brings its actor back on another.
#[actix::test]
async fn i11_an_append_in_flight_is_answered_when_its_arbiter_dies() {
    let disk = TestDisk::directory();
    let (dying, living) = (actix::Arbiter::new(), actix::Arbiter::new());
    let store = disk.open_with(|config| config.arbiters = vec![dying.handle(), living.handle()]).await;
    let session = store.open_session("s").await.unwrap();
    let foreign = ForeignLock::hold(&disk.path().unwrap());
    let mut receipts: Vec<_> = (0..5).map(|n| session.append(noted(n)).unwrap()).collect();
    session.counters().await.unwrap();
    dying.stop();
    dying.join().unwrap();
    receipts.push(session.append(noted(5)).unwrap());
    assert!(receipts.iter_mut().all(|receipt| receipt.now_or_never().is_none()));
    foreign.release();
    let answers = soon(join_all(receipts)).await;
    let written = answers.iter().filter(|answer| answer.is_ok()).count() as u64;
    assert!(answers.iter().all(|answer| match answer {
        Ok(_) => true,
        Err(error) => matches!(error.kind(), ErrorKind::NotWritten { .. }),
    }));
    assert_head(&session, written).await;
    assert_eq!(session.append(AgentBody::StopRequested).unwrap().await.unwrap().head, at(written + 1));
    store.close().await.unwrap();
    living.stop();
}

/// The way by which answers reach a session's arbiter ends with the arbiter, and before the session's actor does.
#[actix::test]
async fn i11_an_append_whose_answer_is_on_its_way_is_answered_when_its_arbiter_dies() {
    use std::sync::mpsc;
    let (dying, living) = (actix::Arbiter::new(), actix::Arbiter::new());
    let faults = Faults::default();
    let arbiters = vec![dying.handle(), living.handle()];
    let store = foldlog::Store::open(faults.watch(StoreConfig { arbiters, ..StoreConfig::memory() })).await.unwrap();
    let session = store.open_session("s").await.unwrap();
    let mut held = faults.hold(Port::Commit);
    let receipt = session.append(noted(0)).unwrap();
    soon(held.reached()).await;
    // The arbiter stands still, and is then given more tasks than it runs before it looks whether it is to stop.
    let (open, closed) = mpsc::channel::<()>();
    let (stands, stood) = mpsc::channel();
    let mut wake = Vec::new();
    for _ in 0..500 {
        let (sender, receiver) = futures::channel::oneshot::channel::<()>();
        wake.push(sender);
        dying.spawn(async move {
            let _ = receiver.await;
        });
    }
    dying.spawn(async move {
        stands.send(()).unwrap();
        assert!(closed.recv().is_err());
    });
    stood.recv().unwrap();
    drop(wake);
    dying.stop();
    held.release();
    eventually("the answer is on its way", || store.stats().writes_queued == 0).await;
    drop(open);
    dying.join().unwrap();
    let answer = soon(receipt).await;
    assert_eq!(answer.unwrap().head, at(1));
    store.close().await.unwrap();
    living.stop();
}
