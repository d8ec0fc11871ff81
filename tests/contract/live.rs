//! Goal: a subscriber gets every event once and in order, or is told what it was not given; it delays nobody. Method:
//! actors and streams that take at once, block, panic, append themselves or leave.

use actix::prelude::*;
use foldlog::agent::Agent;
use foldlog::testkit::{Faults, Port};
use foldlog::{Append, Delivery, EventId, Item, LagPolicy, LiveConfig, Restart, Session, SubscribeFrom};
use futures::{FutureExt, StreamExt};

use crate::common::subscribers::short;
use crate::common::*;

on_both_media!(
    an_actor_that_subscribes_from_now_gets_what_is_committed_from_then_on,
    a_stream_from_now_gets_what_is_committed_from_then_on,
    a_stream_from_an_event_catches_up_and_goes_on_live,
    an_actor_from_an_event_catches_up_and_goes_on_live,
    catching_up_under_concurrent_appends_leaves_no_gap_and_no_duplicate,
    transients_come_in_the_order_of_the_calls_and_leave_no_trace,
    a_full_queue_leaves_out_events_and_one_gap_says_which,
    a_gap_of_transients_names_no_event_that_the_gap_before_named,
    a_full_queue_that_catches_up_leaves_out_no_event,
    a_stream_that_nobody_polls_gets_its_queue_then_a_gap,
    a_blocked_subscriber_delays_neither_appends_nor_other_subscribers,
    a_subscriber_that_panics_is_unsubscribed_and_the_others_go_on,
    a_subscriber_may_append_to_its_own_session,
    a_cancelled_subscription_gets_nothing_more_and_may_be_cancelled_again,
    a_stream_that_is_dropped_is_unsubscribed,
    a_restart_of_the_session_interrupts_no_subscription,
    a_refused_append_is_not_delivered,
    a_cancelled_subscription_is_not_told_of_its_gap,
    a_cancelled_subscription_is_forgotten_without_an_append,
);

pub(crate) async fn append(session: &Session, ids: std::ops::RangeInclusive<u64>) {
    for id in ids {
        assert_eq!(session.append(noted(id)).unwrap().await.unwrap().head, at(id));
    }
}

fn numbers(ids: std::ops::RangeInclusive<u64>) -> Vec<String> {
    ids.map(|id| id.to_string()).collect()
}

fn live(queue: usize, lag: LagPolicy) -> impl FnOnce(&mut foldlog::StoreConfig) {
    move |config| config.live = LiveConfig { subscriber_queue_max: queue, lag }
}

/// The next items of a stream, in short.
pub(crate) async fn take(stream: &mut foldlog::EventStream<Agent>, count: usize) -> Vec<String> {
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.push(short(&soon(stream.next()).await.expect("the stream goes on")));
    }
    taken
}

async fn an_actor_that_subscribes_from_now_gets_what_is_committed_from_then_on(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let other = store.open_session("other").await.unwrap();
    append(&session, 1..=2).await;
    let (recipient, mut received) = collector();
    session.subscribe_actor(SubscribeFrom::Now, recipient).await.unwrap();
    append(&other, 1..=3).await;
    append(&session, 3..=7).await;
    assert_eq!(received.take(5).await, numbers(3..=7));
    session.close().await.unwrap();
    assert!(received.until_ended().await.is_empty(), "nothing of the other session");
    store.close().await.unwrap();
}

async fn a_stream_from_now_gets_what_is_committed_from_then_on(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    append(&session, 1..=2).await;
    let mut stream = session.subscribe(SubscribeFrom::Now).await.unwrap();
    assert!(stream.next().now_or_never().is_none());
    append(&session, 3..=7).await;
    assert_eq!(take(&mut stream, 5).await, numbers(3..=7));
    session.close().await.unwrap();
    assert!(soon(stream.next()).await.is_none());
    store.close().await.unwrap();
}

async fn a_stream_from_an_event_catches_up_and_goes_on_live(disk: TestDisk) {
    let store = disk.open_with(|config| config.page_events_max = 3).await;
    let session = store.open_session("s").await.unwrap();
    append(&session, 1..=10).await;
    let mut all = session.subscribe(SubscribeFrom::After(EventId::ZERO)).await.unwrap();
    let mut some = session.subscribe(SubscribeFrom::After(at(8))).await.unwrap();
    append(&session, 11..=12).await;
    assert_eq!(take(&mut all, 12).await, numbers(1..=12));
    assert_eq!(take(&mut some, 4).await, numbers(9..=12));
    append(&session, 13..=14).await;
    assert_eq!(take(&mut all, 2).await, numbers(13..=14));
    assert_eq!(take(&mut some, 2).await, numbers(13..=14));
    store.close().await.unwrap();
}

async fn an_actor_from_an_event_catches_up_and_goes_on_live(disk: TestDisk) {
    let store = disk.open_with(live(4, LagPolicy::Gap)).await;
    let session = store.open_session("s").await.unwrap();
    append(&session, 1..=30).await;
    let (recipient, mut received) = collector();
    session.subscribe_actor(SubscribeFrom::After(at(2)), recipient).await.unwrap();
    assert_eq!(received.take(28).await, numbers(3..=30), "a catch-up has no gap, however small the queue");
    append(&session, 31..=31).await;
    assert_eq!(received.take(1).await, ["31"]);
    store.close().await.unwrap();
}

async fn catching_up_under_concurrent_appends_leaves_no_gap_and_no_duplicate(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    append(&session, 1..=50).await;
    let mut receipts = Vec::new();
    let mut streams = Vec::new();
    for n in 0..40 {
        for _ in 0..5 {
            receipts.push(session.append(noted(n)).unwrap());
        }
        let from = SubscribeFrom::After(at(n));
        let (recipient, received) = collector();
        session.subscribe_actor(from, recipient).await.unwrap();
        streams.push((n, session.subscribe(from).await.unwrap(), received));
    }
    for receipt in receipts {
        receipt.await.unwrap();
    }
    for (after, mut stream, mut received) in streams {
        let wanted = numbers(after + 1..=250);
        assert_eq!(take(&mut stream, wanted.len()).await, wanted);
        assert_eq!(received.take(wanted.len()).await, wanted);
        assert!(stream.next().now_or_never().is_none());
        assert!(received.so_far().is_empty());
    }
    store.close().await.unwrap();
}

async fn transients_come_in_the_order_of_the_calls_and_leave_no_trace(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    session.notify(shown(0)).unwrap();
    let (recipient, mut received) = collector();
    session.subscribe_actor(SubscribeFrom::Now, recipient).await.unwrap();
    let mut wanted = Vec::new();
    let mut receipts = Vec::new();
    for id in 1..=20 {
        receipts.push(session.append(noted(id)).unwrap());
        session.notify(shown(id)).unwrap();
        wanted.extend([id.to_string(), "transient".to_owned()]);
    }
    assert_eq!(received.take(40).await, wanted);
    session.notify(shown(21)).unwrap();
    let Item::Transient(transient) = received.next().await else { panic!("it is a transient") };
    assert_eq!(transient, shown(21));
    for receipt in receipts {
        receipt.await.unwrap();
    }
    assert_head(&session, 20).await;
    store.close().await.unwrap();
}

async fn a_full_queue_leaves_out_events_and_one_gap_says_which(disk: TestDisk) {
    let store = disk.open_with(live(3, LagPolicy::Gap)).await;
    let session = store.open_session("s").await.unwrap();
    let (recipient, mut received, mut gate) = gated();
    session.subscribe_actor(SubscribeFrom::Now, recipient).await.unwrap();
    append(&session, 1..=1).await;
    assert_eq!(received.take(1).await, ["1"]);
    append(&session, 2..=9).await;
    gate.open();
    assert_eq!(received.take(4).await, ["2", "3", "4", "gap 4..9 (0 transients)"]);
    append(&session, 10..=10).await;
    assert_eq!(received.take(1).await, ["10"]);
    let missed = session.events_after(at(4), 5).await.unwrap();
    assert_eq!(ids(&missed.events), [5, 6, 7, 8, 9], "what the gap names is in the log");
    store.close().await.unwrap();
}

async fn a_gap_of_transients_names_no_event_that_the_gap_before_named(disk: TestDisk) {
    let store = disk.open_with(live(1, LagPolicy::Gap)).await;
    let session = store.open_session("s").await.unwrap();
    let (recipient, mut received, mut gate) = gated();
    session.subscribe_actor(SubscribeFrom::Now, recipient).await.unwrap();
    append(&session, 1..=1).await;
    assert_eq!(received.take(1).await, ["1"]);
    append(&session, 2..=5).await;
    gate.pass();
    gate.pass();
    assert_eq!(received.take(2).await, ["2", "gap 2..5 (0 transients)"]);
    (0..3).for_each(|n| session.notify(shown(n)).unwrap());
    session.counters().await.unwrap();
    gate.pass();
    gate.pass();
    assert_eq!(received.take(2).await, ["transient", "gap 5..5 (2 transients)"]);
    append(&session, 6..=6).await;
    gate.pass();
    assert_eq!(received.take(1).await, ["6"]);
    gate.open();
    store.close().await.unwrap();
}

async fn a_full_queue_that_catches_up_leaves_out_no_event(disk: TestDisk) {
    let store = disk.open_with(live(3, LagPolicy::CatchUp)).await;
    let session = store.open_session("s").await.unwrap();
    let (recipient, mut received, mut gate) = gated();
    session.subscribe_actor(SubscribeFrom::Now, recipient).await.unwrap();
    append(&session, 1..=1).await;
    assert_eq!(received.take(1).await, ["1"]);
    append(&session, 2..=40).await;
    gate.open();
    append(&session, 41..=60).await;
    assert_eq!(received.take(59).await, numbers(2..=60));
    // Transients that do not fit are left out under this policy, too, and a gap says so.
    session.notify(shown(1)).unwrap();
    assert_eq!(received.take(1).await, ["transient"]);
    store.close().await.unwrap();
}

async fn a_stream_that_nobody_polls_gets_its_queue_then_a_gap(disk: TestDisk) {
    for (lag, wanted) in
        [(LagPolicy::Gap, vec!["1", "2", "gap 2..6 (0 transients)", "7"]), (LagPolicy::CatchUp, vec![])]
    {
        let store = disk.open_with(live(2, lag)).await;
        let session = store.open_session(format!("{lag:?}")).await.unwrap();
        let mut stream = session.subscribe(SubscribeFrom::Now).await.unwrap();
        append(&session, 1..=6).await;
        if lag == LagPolicy::CatchUp {
            assert_eq!(take(&mut stream, 6).await, numbers(1..=6));
        } else {
            assert_eq!(take(&mut stream, 3).await, wanted[..3]);
        }
        append(&session, 7..=7).await;
        assert_eq!(take(&mut stream, 1).await, ["7"]);
        append(&session, 8..=20).await;
        store.close().await.unwrap();
        if lag == LagPolicy::Gap {
            let left: Vec<_> = soon(stream.map(|item| short(&item)).collect()).await;
            assert_eq!(left, ["8", "9", "gap 9..20 (0 transients)"], "closing leaves it what is queued");
        }
    }
}

async fn a_blocked_subscriber_delays_neither_appends_nor_other_subscribers(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let (recipient, mut blocked, mut gate) = gated();
    session.subscribe_actor(SubscribeFrom::Now, recipient).await.unwrap();
    let (recipient, mut received) = collector();
    session.subscribe_actor(SubscribeFrom::Now, recipient).await.unwrap();
    append(&session, 1..=50).await;
    assert_eq!(received.take(50).await, numbers(1..=50));
    assert_eq!(session.view().unwrap().head(), at(50));
    assert_eq!(blocked.take(1).await, ["1"]);
    assert!(blocked.so_far().is_empty(), "it has one delivery at a time");
    gate.open();
    assert_eq!(blocked.take(49).await, numbers(2..=50));
    store.close().await.unwrap();
}

async fn a_subscriber_that_panics_is_unsubscribed_and_the_others_go_on(disk: TestDisk) {
    struct Panicking;
    impl Actor for Panicking {
        type Context = Context<Self>;
    }
    impl Handler<Delivery<Agent>> for Panicking {
        type Result = ();
        fn handle(&mut self, delivery: Delivery<Agent>, _: &mut Context<Self>) {
            assert_ne!(short(delivery.item()), "3", "on purpose: a subscriber that panics");
        }
    }
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let panicking = Panicking.start();
    session.subscribe_actor(SubscribeFrom::Now, panicking.clone().recipient()).await.unwrap();
    let (recipient, mut received) = collector();
    session.subscribe_actor(SubscribeFrom::Now, recipient).await.unwrap();
    let mut stream = session.subscribe(SubscribeFrom::Now).await.unwrap();
    append(&session, 1..=3).await;
    assert_eq!(received.take(3).await, numbers(1..=3));
    eventually("it has ended", || !panicking.connected()).await;
    append(&session, 4..=5).await;
    assert_head(&session, 5).await;
    assert_eq!(take(&mut stream, 5).await, numbers(1..=5));
    soon(store.close()).await.unwrap();
    assert_eq!(received.until_ended().await, numbers(4..=5));
}

/// It appends one for each event up to the tenth, the last without waiting for it. A subscriber is an actor of its own,
/// so nothing waits for itself.
async fn a_subscriber_may_append_to_its_own_session(disk: TestDisk) {
    struct Echo(Session);
    impl Actor for Echo {
        type Context = Context<Self>;
    }
    impl Handler<Delivery<Agent>> for Echo {
        type Result = ResponseFuture<()>;
        fn handle(&mut self, delivery: Delivery<Agent>, _: &mut Context<Self>) -> ResponseFuture<()> {
            let Item::Event(event) = delivery.item() else { return Box::pin(async {}) };
            let (session, event) = (self.0.clone(), event.clone());
            // This is the session's own thread, where a wait of any kind would hang both.
            assert!(session.view().unwrap().head() >= event.id());
            if event.id() == at(10) {
                drop(session.append(noted(0)).unwrap());
            }
            Box::pin(async move {
                if event.id() < at(10) {
                    // The delivery is held until the append is acknowledged.
                    let head = event.id();
                    session.append_with(Append::new(noted(0)).expect_head(head)).unwrap().await.unwrap();
                }
                drop(delivery);
            })
        }
    }
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    session.subscribe_actor(SubscribeFrom::Now, Echo(session.clone()).start().recipient()).await.unwrap();
    let mut stream = session.subscribe(SubscribeFrom::Now).await.unwrap();
    session.append(noted(1)).unwrap().await.unwrap();
    assert_eq!(take(&mut stream, 11).await, numbers(1..=11));
    assert_head(&session, 11).await;
    soon(store.close()).await.unwrap();
}

async fn a_cancelled_subscription_gets_nothing_more_and_may_be_cancelled_again(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let (recipient, mut received) = collector();
    let subscription = session.subscribe_actor(SubscribeFrom::Now, recipient).await.unwrap();
    let (recipient, mut other) = collector();
    session.subscribe_actor(SubscribeFrom::Now, recipient).await.unwrap();
    append(&session, 1..=2).await;
    assert_eq!(received.take(2).await, numbers(1..=2));
    subscription.cancel();
    subscription.cancel();
    append(&session, 3..=4).await;
    assert_eq!(other.take(4).await, numbers(1..=4));
    assert!(received.so_far().is_empty());
    soon(store.close()).await.unwrap();
    subscription.cancel();
    assert!(received.so_far().is_empty(), "not even its end");
}

async fn a_stream_that_is_dropped_is_unsubscribed(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let dropped = session.subscribe(SubscribeFrom::After(EventId::ZERO)).await.unwrap();
    let mut kept = session.subscribe(SubscribeFrom::Now).await.unwrap();
    append(&session, 1..=2).await;
    drop(dropped);
    append(&session, 3..=4).await;
    assert_eq!(take(&mut kept, 4).await, numbers(1..=4));
    soon(store.close()).await.unwrap();
}

async fn a_restart_of_the_session_interrupts_no_subscription(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let (recipient, mut received) = collector();
    session.subscribe_actor(SubscribeFrom::Now, recipient).await.unwrap();
    let mut stream = session.subscribe(SubscribeFrom::Now).await.unwrap();
    let mut receipts = Vec::new();
    for id in 1..=60 {
        receipts.push(session.append(noted(id)).unwrap());
        if id % 20 == 10 {
            session.address().unwrap().send(foldlog::Restart).await.unwrap();
        }
    }
    let mut written = 0;
    for receipt in receipts {
        written += u64::from(soon(receipt).await.is_ok());
    }
    assert_eq!(received.take(written as usize).await, numbers(1..=written));
    assert_eq!(take(&mut stream, written as usize).await, numbers(1..=written));
    assert_head(&session, written).await;
    assert!(received.so_far().is_empty());
    store.close().await.unwrap();
}

async fn a_refused_append_is_not_delivered(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let (recipient, mut received) = collector();
    session.subscribe_actor(SubscribeFrom::Now, recipient).await.unwrap();
    let refused = session.append_with(Append::new(noted(1)).expect_head(at(9))).unwrap();
    assert!(refused.await.is_err());
    append(&session, 1..=1).await;
    assert_eq!(received.take(1).await, ["1"]);
    store.close().await.unwrap();
    assert!(received.until_ended().await.is_empty());
}

#[actix::test]
async fn a_subscriber_that_lags_is_told_of_what_a_restart_found_committed() {
    let disk = TestDisk::directory();
    let store = disk.open_with(live(1, LagPolicy::Gap)).await;
    let session = soon(store.open_session("s")).await.unwrap();
    let (recipient, mut received, mut gate) = gated();
    let _subscription = soon(session.subscribe_actor(SubscribeFrom::Now, recipient)).await.unwrap();
    append(&session, 1..=3).await;
    // Not committed before the restart, so that the recovery finds them.
    let foreign = ForeignLock::hold(&disk.path().unwrap());
    let receipts = [session.append(noted(4)).unwrap(), session.append(noted(5)).unwrap()];
    soon(session.address().unwrap().send(Restart)).await.unwrap();
    foreign.release();
    for receipt in receipts {
        soon(receipt).await.unwrap();
    }
    gate.open();
    assert_eq!(received.take(3).await, ["1", "2", "gap 2..5 (0 transients)"]);
    append(&session, 6..=6).await;
    assert_eq!(received.take(1).await, ["6"]);
    soon(store.close()).await.unwrap();
}

async fn a_cancelled_subscription_is_not_told_of_its_gap(disk: TestDisk) {
    let store = disk.open_with(live(1, LagPolicy::Gap)).await;
    let session = soon(store.open_session("s")).await.unwrap();
    let (recipient, mut received, mut gate) = gated();
    let subscription = soon(session.subscribe_actor(SubscribeFrom::Now, recipient)).await.unwrap();
    append(&session, 1..=4).await;
    assert_eq!(received.take(1).await, ["1"]);
    subscription.cancel();
    drop(subscription);
    gate.open();
    append(&session, 5..=5).await;
    soon(store.close()).await.unwrap();
    assert_eq!(received.until_forgotten().await, Vec::<String>::new());
}

async fn a_cancelled_subscription_is_forgotten_without_an_append(disk: TestDisk) {
    let store = disk.open().await;
    let session = soon(store.open_session("s")).await.unwrap();
    let (recipient, received) = collector();
    let subscription = soon(session.subscribe_actor(SubscribeFrom::Now, recipient)).await.unwrap();
    subscription.cancel();
    drop(subscription);
    let _next = soon(session.subscribe(SubscribeFrom::Now)).await.unwrap();
    assert_eq!(received.until_forgotten().await, Vec::<String>::new(), "an idle session holds no subscriber that left");
    soon(store.close()).await.unwrap();
}

#[actix::test]
async fn a_subscription_that_is_cancelled_while_its_page_is_read_gets_nothing_of_it() {
    let faults = Faults::default();
    let store = TestDisk::memory().open_with(|config| *config = faults.watch(config.clone())).await;
    let session = soon(store.open_session("s")).await.unwrap();
    append(&session, 1..=5).await;
    let (recipient, received) = collector();
    let mut held = faults.hold(Port::Page);
    let subscription = soon(session.subscribe_actor(SubscribeFrom::After(EventId::ZERO), recipient)).await.unwrap();
    soon(held.reached()).await;
    subscription.cancel();
    drop(subscription);
    held.release();
    soon(store.close()).await.unwrap();
    assert_eq!(received.until_forgotten().await, Vec::<String>::new());
}
