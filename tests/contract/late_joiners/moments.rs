//! What happens between a subscriber's catch-up and its first live item, and what a slow subscriber gets.

use foldlog::testkit::{Call, Faults, Held, Port};
use foldlog::{LagPolicy, Restart, Store, StoreConfig, SubscribeFrom};

use super::*;

on_both_media!(
    what_is_shown_while_a_subscriber_reads_the_log_comes_once_behind_the_events,
    a_stream_that_ends_while_a_subscriber_reads_the_log_is_not_given_and_not_missed,
    a_subscriber_that_reads_further_than_the_session_has_published_gets_no_stream_that_has_ended,
    a_slow_subscriber_gets_what_is_still_open_when_its_queue_has_drained,
    a_slow_subscriber_loses_no_delta_behind_events_that_did_not_fit,
    a_full_queue_of_deltas_makes_room_for_the_event_that_ends_them,
    a_session_that_was_emptied_tells_what_is_missing_and_goes_on,
    a_session_that_recovers_tells_what_is_missing_and_goes_on,
    a_session_that_another_store_has_taken_tells_what_is_missing,
);

async fn watched(disk: &TestDisk, change: impl FnOnce(&mut StoreConfig)) -> (Faults, Store) {
    let faults = Faults::default();
    let watch = |config: &mut StoreConfig| {
        change(config);
        *config = faults.watch(config.clone());
    };
    let store = disk.open_with(watch).await;
    (faults, store)
}

/// Holds the first page that a subscriber from the beginning reads.
fn hold_catch_up(faults: &Faults) -> Held {
    faults.hold_where(Port::Page, |call| matches!(call, Call::Page { after, .. } if *after == at(0)))
}

async fn what_is_shown_while_a_subscriber_reads_the_log_comes_once_behind_the_events(disk: TestDisk) {
    let (faults, store) = watched(&disk, |_| ()).await;
    let session = begun(&store, "s").await;
    session.append_batch((0..3).map(noted).collect()).unwrap().await.unwrap();
    show(&session, 1, 1..=2).await;
    let mut held = hold_catch_up(&faults);
    let mut stream = session.subscribe(SubscribeFrom::After(at(0))).await.unwrap();
    soon(held.reached()).await;
    show(&session, 1, 3..=4).await;
    session.append(noted(4)).unwrap().await.unwrap();
    show(&session, 1, 5..=5).await;
    // One of no stream is left out, as the subscriber is told.
    session.notify(shown(1)).unwrap();
    settled(&session).await;
    held.release();
    let mut wanted: Vec<_> = (1..=4).map(|id: u64| id.to_string()).chain(deltas(1, 1..=5)).collect();
    wanted.push("gap 4..4 (1 transients)".to_owned());
    assert_eq!(take(&mut stream, wanted.len()).await, wanted);
    show(&session, 1, 6..=6).await;
    assert_eq!(take(&mut stream, 1).await, ["1:6"]);
    store.close().await.unwrap();
    assert!(soon(stream.next()).await.is_none());
}

async fn a_stream_that_ends_while_a_subscriber_reads_the_log_is_not_given_and_not_missed(disk: TestDisk) {
    let (faults, store) = watched(&disk, |_| ()).await;
    let session = begun(&store, "s").await;
    session.append(noted(1)).unwrap().await.unwrap();
    show(&session, 1, 1..=2).await;
    let mut held = hold_catch_up(&faults);
    let mut stream = session.subscribe(SubscribeFrom::After(at(0))).await.unwrap();
    soon(held.reached()).await;
    show(&session, 1, 3..=3).await;
    session.append(ended(1)).unwrap().await.unwrap();
    show(&session, 2, 1..=1).await;
    held.release();
    assert_eq!(take(&mut stream, 3).await, ["1", "2", "2:1"]);
    store.close().await.unwrap();
    assert!(soon(stream.next()).await.is_none());
}

/// The event that ends the stream is in the log, and the session has not heard of its commit yet: its thread is held.
async fn a_subscriber_that_reads_further_than_the_session_has_published_gets_no_stream_that_has_ended(disk: TestDisk) {
    let arbiter = actix::Arbiter::new();
    let (faults, store) = watched(&disk, |config| config.arbiters = vec![arbiter.handle()]).await;
    let session = begun(&store, "s").await;
    session.append(noted(1)).unwrap().await.unwrap();
    show(&session, 1, 1..=2).await;
    show(&session, 2, 1..=2).await;
    let mut catch_up = hold_catch_up(&faults);
    let mut stream = session.subscribe(SubscribeFrom::After(at(0))).await.unwrap();
    soon(catch_up.reached()).await;
    let mut commit = faults.hold(Port::Commit);
    let receipt = session.append(ended(1)).unwrap();
    soon(commit.reached()).await;
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let (blocks, blocked) = futures::channel::oneshot::channel();
    arbiter.spawn_fn(move || {
        blocks.send(()).unwrap();
        // An error means that the gate is open.
        let _ = gate.recv();
    });
    soon(blocked).await.unwrap();
    commit.release();
    while session.events_after(at(1), 1).await.unwrap().events.is_empty() {
        actix::clock::sleep(std::time::Duration::from_millis(1)).await;
    }
    catch_up.release();
    assert_eq!(take(&mut stream, 2).await, ["1", "2"]);
    assert!(futures::FutureExt::now_or_never(stream.next()).is_none(), "it waits for the session");
    drop(open);
    assert_eq!(take(&mut stream, 2).await, deltas(2, 1..=2));
    receipt.await.unwrap();
    show(&session, 2, 3..=3).await;
    assert_eq!(take(&mut stream, 1).await, ["2:3"]);
    store.close().await.unwrap();
    assert!(soon(stream.next()).await.is_none());
    arbiter.stop();
}

async fn a_slow_subscriber_gets_what_is_still_open_when_its_queue_has_drained(disk: TestDisk) {
    for lag in [LagPolicy::Gap, LagPolicy::CatchUp] {
        let store = disk.open_with(queue(4, lag)).await;
        let session = begun(&store, format!("{lag:?}")).await;
        let mut stream = session.subscribe(SubscribeFrom::Now).await.unwrap();
        let (recipient, mut actor, mut gate) = gated();
        session.subscribe_actor(SubscribeFrom::Now, recipient).await.unwrap();
        show(&session, 1, 1..=500).await;
        // Behind those that were left out, so it is left out, too: nothing comes out of its order.
        session.notify(shown(1)).unwrap();
        settled(&session).await;
        gate.open();
        assert_eq!(take(&mut stream, 500).await, deltas(1, 1..=500));
        assert_eq!(take(&mut stream, 1).await, ["gap 0..0 (1 transients)"]);
        let mut of_actor = Vec::new();
        while of_actor.len() < 500 {
            of_actor.push(named(&actor.next().await));
        }
        assert_eq!(of_actor, deltas(1, 1..=500));
        show(&session, 1, 501..=502).await;
        assert_eq!(take(&mut stream, 2).await, deltas(1, 501..=502));
        store.close().await.unwrap();
    }
}

async fn a_slow_subscriber_loses_no_delta_behind_events_that_did_not_fit(disk: TestDisk) {
    for (lag, wanted) in
        [(LagPolicy::Gap, &["1", "2", "gap 2..5 (0 transients)"][..]), (LagPolicy::CatchUp, &["1", "2", "3", "4", "5"])]
    {
        let store = disk.open_with(queue(2, lag)).await;
        let session = begun(&store, format!("{lag:?}")).await;
        let mut stream = session.subscribe(SubscribeFrom::Now).await.unwrap();
        for n in 1..=5 {
            session.append(noted(n)).unwrap().await.unwrap();
            show(&session, 1, n..=n).await;
        }
        assert_eq!(take(&mut stream, wanted.len()).await, wanted);
        assert_eq!(take(&mut stream, 5).await, deltas(1, 1..=5));
        store.close().await.unwrap();
        assert!(soon(stream.next()).await.is_none());
    }
}

async fn a_full_queue_of_deltas_makes_room_for_the_event_that_ends_them(disk: TestDisk) {
    let store = disk.open_with(queue(3, LagPolicy::Gap)).await;
    let session = begun(&store, "s").await;
    let mut stream = session.subscribe(SubscribeFrom::Now).await.unwrap();
    show(&session, 1, 1..=9).await;
    session.append(ended(1)).unwrap().await.unwrap();
    // The third made room. It is replaced by the event, like those that were never queued.
    assert_eq!(take(&mut stream, 3).await, ["1:1", "1:2", "1"]);
    show(&session, 2, 1..=1).await;
    assert_eq!(take(&mut stream, 1).await, ["2:1"]);
    store.close().await.unwrap();
}

async fn a_session_that_was_emptied_tells_what_is_missing_and_goes_on(disk: TestDisk) {
    let store = disk.open().await;
    let session = begun(&store, "s").await;
    let mut live = session.subscribe(SubscribeFrom::Now).await.unwrap();
    session.append(noted(1)).unwrap().await.unwrap();
    show(&session, 1, 1..=3).await;
    show(&session, 2, 1..=2).await;
    assert_eq!(take(&mut live, 6).await, ["1", "1:1", "1:2", "1:3", "2:1", "2:2"]);
    assert_eq!(store.empty_idle_sessions(), 1);
    assert_eq!(store.stats().kept_transients_bytes, 0);
    show(&session, 2, 3..=4).await;
    let mut cold = session.subscribe(SubscribeFrom::Now).await.unwrap();
    assert_eq!(take(&mut cold, 3).await, ["gap 1..1 (5 transients)", "2:3", "2:4"]);
    assert_eq!(take(&mut live, 2).await, deltas(2, 3..=4), "whoever has them is told of nothing");
    session.append(ended(1)).unwrap().await.unwrap();
    assert_eq!(late(&session).await, ["gap 2..2 (2 transients)", "2:3", "2:4"]);
    session.append(ended(2)).unwrap().await.unwrap();
    assert!(late(&session).await.is_empty());
    store.close().await.unwrap();
}

async fn a_session_that_recovers_tells_what_is_missing_and_goes_on(disk: TestDisk) {
    let store = disk.open().await;
    let session = begun(&store, "s").await;
    session.append(noted(1)).unwrap().await.unwrap();
    let mut live = session.subscribe(SubscribeFrom::Now).await.unwrap();
    show(&session, 1, 1..=3).await;
    soon(session.address().unwrap().send(Restart)).await.unwrap();
    session.recovery().await.unwrap();
    assert_eq!(store.stats().kept_transients_bytes, 0);
    show(&session, 1, 4..=5).await;
    assert_eq!(take(&mut live, 5).await, deltas(1, 1..=5));
    assert_eq!(late(&session).await, ["gap 1..1 (3 transients)", "1:4", "1:5"]);
    session.append(ended(1)).unwrap().await.unwrap();
    assert!(late(&session).await.is_empty());
    store.close().await.unwrap();
}

async fn a_session_that_another_store_has_taken_tells_what_is_missing(disk: TestDisk) {
    let [store, other] = [disk.open().await, disk.open().await];
    let session = begun(&store, "s").await;
    session.append(noted(1)).unwrap().await.unwrap();
    show(&session, 1, 1..=3).await;
    let taken = other.resume_session("s").await.unwrap();
    taken.take_over().await.unwrap();
    taken.append(ended(1)).unwrap().await.unwrap();
    assert!(late(&taken).await.is_empty(), "the other store has seen no delta");
    session.take_over().await.unwrap();
    assert_eq!(store.stats().kept_transients_bytes, 0);
    // Which events the other store has written is known, and not which streams they end.
    assert_eq!(late(&session).await, ["gap 3..3 (3 transients)"]);
    session.append(ended(1)).unwrap().await.unwrap();
    assert!(late(&session).await.is_empty());
    other.close().await.unwrap();
    store.close().await.unwrap();
}
