//! Goal: closing a store finishes what is in flight, ends what listens, and leaves everything to the next store.
//! Method: close with work in flight, twice, from many callers, with a dropped future, and open again.

use foldlog::{ErrorKind, EventId, StoreConfig, SubscribeFrom};
use futures::StreamExt;
use futures::future::join_all;

use crate::common::*;

on_both_media!(
    appends_in_flight_are_finished_before_the_store_closes,
    every_call_after_close_says_that_the_store_is_closed,
    closing_twice_and_at_once_is_one_closing,
    closing_goes_on_when_its_future_is_dropped,
    subscriptions_get_what_is_queued_and_end,
    a_subscriber_that_blocks_delays_closing_no_longer_than_the_limit,
    a_new_store_sees_everything,
    a_store_that_is_dropped_closes_and_lets_the_next_one_write,
    stores_open_and_close_on_one_medium_at_once,
    calls_on_a_host_that_blocks_are_answered_when_the_store_closed_past_its_limit,
);

async fn appends_in_flight_are_finished_before_the_store_closes(disk: TestDisk) {
    let store = disk.open().await;
    let sessions = join_all((0..8).map(|n| store.open_session(format!("s{n}")))).await;
    let sessions: Vec<_> = sessions.into_iter().map(Result::unwrap).collect();
    let mut receipts = Vec::new();
    for n in 1..=30 {
        for session in &sessions {
            receipts.push((n, session.append(noted(n)).unwrap()));
        }
    }
    soon(store.close()).await.unwrap();
    for (n, receipt) in receipts {
        assert_eq!(soon(receipt).await.unwrap().head, at(n));
    }
    let store = disk.open().await;
    for session in sessions {
        assert_eq!(store.read_state(session.id()).await.unwrap().view, *session.view().unwrap());
        assert_eq!(session.view().unwrap().head(), at(30));
    }
    store.close().await.unwrap();
}

async fn every_call_after_close_says_that_the_store_is_closed(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    session.append(user("hello")).unwrap().await.unwrap();
    let blob = store.put_text("blob").await.unwrap();
    let address = session.address().unwrap();
    let view = session.view().unwrap();
    store.close().await.unwrap();
    assert_refused!(session.append(user("late")), ErrorKind::StoreClosed);
    assert_refused!(session.append_batch(Vec::new()), ErrorKind::StoreClosed);
    assert_refused!(session.notify(shown(1)), ErrorKind::StoreClosed);
    assert_refused!(session.counters().await, ErrorKind::StoreClosed);
    assert_refused!(session.events_after(EventId::ZERO, 1).await, ErrorKind::StoreClosed);
    assert_refused!(session.subscribe(SubscribeFrom::Now).await, ErrorKind::StoreClosed);
    assert_refused!(session.subscribe_actor(SubscribeFrom::Now, collector().0).await, ErrorKind::StoreClosed);
    assert_refused!(session.take_turn().await, ErrorKind::StoreClosed);
    assert_refused!(session.stop().await, ErrorKind::StoreClosed);
    assert_refused!(session.recovery().await, ErrorKind::StoreClosed);
    assert_refused!(session.address(), ErrorKind::StoreClosed);
    assert_refused!(session.close().await, ErrorKind::StoreClosed);
    assert_refused!(store.open_session("s").await, ErrorKind::StoreClosed);
    assert_refused!(store.resume_session("s").await, ErrorKind::StoreClosed);
    assert_refused!(store.read_state("s").await, ErrorKind::StoreClosed);
    assert_refused!(store.list_sessions(None, 1).await, ErrorKind::StoreClosed);
    assert_refused!(store.verify().await, ErrorKind::StoreClosed);
    assert_refused!(store.put_bytes(vec![1]).await, ErrorKind::StoreClosed);
    assert_refused!(store.put_text("x").await, ErrorKind::StoreClosed);
    assert_refused!(store.intern_text("x").await, ErrorKind::StoreClosed);
    assert_refused!(store.get_bytes(blob.digest).await, ErrorKind::StoreClosed);
    assert_refused!(address.send(foldlog::Append::new(user("late"))).await.unwrap(), ErrorKind::StoreClosed);
    assert_eq!(*session.view().unwrap(), *view, "the view stays");
    let store = disk.open().await;
    assert_eq!(store.read_state("s").await.unwrap().view, *view, "nothing late was written");
    store.close().await.unwrap();
}

async fn closing_twice_and_at_once_is_one_closing(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let receipt = session.append(noted(1)).unwrap();
    let clones: Vec<_> = (0..10).map(|_| store.clone()).collect();
    let closed = soon(join_all(clones.iter().map(|store| store.close()))).await;
    assert!(closed.iter().all(Result::is_ok), "{closed:?}");
    soon(store.close()).await.unwrap();
    assert_eq!(receipt.await.unwrap().head, at(1));
}

async fn closing_goes_on_when_its_future_is_dropped(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let receipt = session.append(noted(1)).unwrap();
    assert!(futures::FutureExt::now_or_never(store.close()).is_none());
    assert_refused!(session.append(noted(2)), ErrorKind::StoreClosed);
    assert_eq!(soon(receipt).await.unwrap().head, at(1));
    soon(store.close()).await.unwrap();
    let store = disk.open().await;
    assert_head(&store.resume_session("s").await.unwrap(), 1).await;
    store.close().await.unwrap();
}

async fn subscriptions_get_what_is_queued_and_end(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    session.append_batch((0..5).map(noted).collect()).unwrap().await.unwrap();
    let (recipient, mut received) = collector();
    session.subscribe_actor(SubscribeFrom::Now, recipient).await.unwrap();
    let (recipient, mut blocked, mut gate) = gated();
    session.subscribe_actor(SubscribeFrom::After(EventId::ZERO), recipient).await.unwrap();
    let stream = session.subscribe(SubscribeFrom::Now).await.unwrap();
    let receipt = session.append(noted(6)).unwrap();
    session.notify(shown(1)).unwrap();
    assert_eq!(blocked.take(1).await, ["1"]);
    let closing = store.close();
    gate.open();
    soon(closing).await.unwrap();
    receipt.await.unwrap();
    // All of it was there before closing returned.
    assert_eq!(received.so_far(), ["6", "transient", "ended"]);
    let rest = blocked.so_far();
    assert_eq!(rest[..5], ["2", "3", "4", "5", "6"]);
    assert_eq!(rest.last().unwrap(), "ended");
    assert_eq!(soon(stream.count()).await, 2);
}

async fn a_subscriber_that_blocks_delays_closing_no_longer_than_the_limit(disk: TestDisk) {
    let limit = std::time::Duration::from_millis(100);
    let store = disk.open_with(|config| config.close_timeout = limit).await;
    let session = store.open_session("s").await.unwrap();
    let (recipient, mut blocked, _gate) = gated();
    session.subscribe_actor(SubscribeFrom::Now, recipient).await.unwrap();
    session.append(noted(1)).unwrap().await.unwrap();
    assert_eq!(blocked.take(1).await, ["1"]);
    // The sessions of the store have finished, and only the subscriber is late.
    soon(store.close()).await.unwrap();
    let store = disk.open().await;
    assert_head(&store.resume_session("s").await.unwrap(), 1).await;
    store.close().await.unwrap();
}

async fn a_new_store_sees_everything(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    store.open_session("empty").await.unwrap();
    let blob = store.put_text("large").await.unwrap();
    let vars = foldlog::agent::AgentBody::VarsSnapshotted(foldlog::Content::Blob(blob));
    session.append_batch(vec![user("hello"), noted(1), vars]).unwrap().await.unwrap();
    let (view, listed) = (session.view().unwrap(), store.list_sessions(None, 10).await.unwrap());
    store.close().await.unwrap();
    if let Some(path) = disk.path() {
        let wal = path.join("events.db-wal");
        assert!(!wal.exists() || wal.metadata().unwrap().len() == 0, "the write-ahead log is emptied");
        assert_eq!(std::fs::read_dir(path.join("owners")).unwrap().count(), 0);
        assert_eq!(std::fs::read_dir(path.join("tmp")).unwrap().count(), 0);
    }
    let store = disk.open().await;
    assert_eq!(store.list_sessions(None, 10).await.unwrap(), listed);
    assert_eq!(*store.resume_session("s").await.unwrap().view().unwrap(), *view);
    assert_head(&store.resume_session("empty").await.unwrap(), 0).await;
    assert_eq!(store.get_bytes(blob.digest).await.unwrap(), b"large");
    assert!(store.verify().await.unwrap().is_sound());
    store.close().await.unwrap();
}

async fn a_store_that_is_dropped_closes_and_lets_the_next_one_write(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let receipt = session.append(noted(1)).unwrap();
    drop((store, session));
    assert_eq!(soon(receipt).await.unwrap().head, at(1));
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    // Nobody waits for a store that is dropped, so it may take a moment to let go.
    let append = async {
        loop {
            match session.append(noted(2)).unwrap().await {
                Ok(appended) => return appended.head,
                Err(error) => assert!(matches!(error.kind(), ErrorKind::OwnedElsewhere { .. }), "{error:?}"),
            }
        }
    };
    assert_eq!(soon(append).await, at(2));
    assert_head(&session, 2).await;
    store.close().await.unwrap();
}

async fn stores_open_and_close_on_one_medium_at_once(disk: TestDisk) {
    let write = |n: u64| {
        let disk = disk.clone();
        async move {
            for round in 1..=3 {
                let store = disk.open().await;
                let session = store.open_session(format!("s{n}")).await.unwrap();
                assert_eq!(session.append(noted(n)).unwrap().await.unwrap().head, at(round));
                store.close().await.unwrap();
            }
        }
    };
    soon(join_all((0..8).map(write))).await;
    let store = disk.open().await;
    assert_eq!(store.list_sessions(None, 100).await.unwrap().len(), 8);
    for n in 0..8 {
        assert_head(&store.resume_session(format!("s{n}")).await.unwrap(), 3).await;
    }
    store.close().await.unwrap();
}

#[actix::test]
async fn two_memory_disks_share_nothing() {
    let (one, two) = (TestDisk::memory().open().await, TestDisk::memory().open().await);
    one.open_session("s").await.unwrap();
    assert!(two.list_sessions(None, 10).await.unwrap().is_empty());
    one.close().await.unwrap();
    two.close().await.unwrap();
}

#[actix::test]
async fn a_directory_is_created_with_its_parents() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a/b/c");
    let store = foldlog::Store::open(StoreConfig::directory(&path)).await.unwrap();
    assert!(path.join("events.db").is_file() && path.join("blobs").is_dir());
    store.close().await.unwrap();
}

async fn calls_on_a_host_that_blocks_are_answered_when_the_store_closed_past_its_limit(disk: TestDisk) {
    let store = disk.open().await;
    let session = soon(store.open_session("known")).await.unwrap();
    soon(session.append(noted(1)).unwrap()).await.unwrap();
    soon(store.close()).await.unwrap();

    let store = disk.open_with(|config| config.close_timeout = std::time::Duration::ZERO).await;
    let session = soon(store.open_session("s")).await.unwrap();
    let receipts: Vec<_> = (1..=5).map(|n| session.append(noted(n)).unwrap()).collect();
    let mut opening = Box::pin(store.open_session("known"));
    // The actors run on this thread, so none of these calls can end before this test waits.
    for _ in 0..2 {
        assert!(futures::FutureExt::now_or_never(opening.as_mut()).is_none());
        futures::executor::block_on(store.list_sessions(None, 1)).unwrap();
    }
    // Blocks the thread of the session actors until the store has closed.
    let closed = futures::executor::block_on(store.close());
    let mut written = 0;
    for receipt in receipts {
        written += u64::from(soon(receipt).await.is_ok());
    }
    let opened = soon(opening).await;
    assert!(opened.is_err() || opened.is_ok_and(|session| session.view().unwrap().head() == at(1)), "{closed:?}");

    let store = disk.open().await;
    let session = soon(store.open_session("s")).await.unwrap();
    assert!(log_ids(&session).await.len() as u64 >= written, "what was acknowledged is there");
    soon(store.close()).await.unwrap();
}

#[actix::test]
async fn an_open_whose_future_is_dropped_leaves_no_owner() {
    let disk = TestDisk::directory();
    let owners = || std::fs::read_dir(disk.path().unwrap().join("owners")).unwrap().count();
    let mut opening = Box::pin(foldlog::Store::open(disk.config()));
    until_woken(opening.as_mut()).await;
    assert_eq!(owners(), 1, "the store is open");
    drop(opening);
    eventually("the store has closed", || owners() == 0).await;
}
