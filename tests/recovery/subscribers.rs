//! Goal: no subscriber harms an append or another subscriber. Method: subscribers that panic, append, block or do nothing.

use std::sync::mpsc;

use actix::prelude::*;
use foldlog::{Delivery, Item, LiveConfig, StoreConfig, SubscribeFrom};
use futures::StreamExt;

use crate::live_ids;
use crate::support::{Probe, ProbeBody, append, on_both, open, within};

on_both! {
    a_subscriber_that_panics_costs_nobody_else_an_event,
    a_subscriber_that_appends_to_its_own_session_does_not_deadlock,
    a_subscriber_that_is_blocked_delays_no_append,
    a_stream_that_nobody_polls_delays_no_append,
}

/// A subscriber that does with each item what the test says.
struct Watcher(Box<dyn FnMut(Delivery<Probe>) + Send>);

impl Actor for Watcher {
    type Context = Context<Self>;
}

impl Handler<Delivery<Probe>> for Watcher {
    type Result = ();

    fn handle(&mut self, delivery: Delivery<Probe>, _: &mut Context<Self>) {
        (self.0)(delivery);
    }
}

/// On a thread of its own, so that it may block.
fn watch(arbiter: &Arbiter, each: impl FnMut(Delivery<Probe>) + Send + 'static) -> Addr<Watcher> {
    Watcher::start_in_arbiter(&arbiter.handle(), move |_| Watcher(Box::new(each)))
}

fn event_id(delivery: &Delivery<Probe>) -> Option<u64> {
    match delivery.item() {
        Item::Event(event) => Some(event.id().get()),
        _ => None,
    }
}

async fn a_subscriber_that_panics_costs_nobody_else_an_event(config: StoreConfig) {
    let store = open(&config).await;
    let session = within(store.open_session("s")).await.unwrap();
    let arbiter = Arbiter::new();
    let (sender, seen) = mpsc::channel();
    let panics = watch(&arbiter, |delivery| assert!(event_id(&delivery) != Some(3), "told to panic"));
    let counts = watch(&arbiter, move |delivery| {
        if let Some(id) = event_id(&delivery) {
            sender.send(id).unwrap();
        }
    });
    within(session.subscribe_actor(SubscribeFrom::Now, panics.clone().recipient())).await.unwrap();
    within(session.subscribe_actor(SubscribeFrom::Now, counts.clone().recipient())).await.unwrap();
    let stream = within(session.subscribe(SubscribeFrom::Now)).await.unwrap();
    for n in 0..20 {
        append(&session, ProbeBody::Added(n)).await.unwrap();
    }
    let expected: Vec<_> = (1..=20).collect();
    assert_eq!(live_ids(stream, 20).await, expected);
    // Closing waits until subscribers have taken what is queued, those that are gone left out.
    within(store.close()).await.unwrap();
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), expected);
    assert!(!panics.connected());
    arbiter.stop();
}

async fn a_subscriber_that_appends_to_its_own_session_does_not_deadlock(config: StoreConfig) {
    let store = open(&config).await;
    let session = within(store.open_session("s")).await.unwrap();
    let (sender, seen) = mpsc::channel();
    let own = session.clone();
    // On the session's own thread, where a wait of any kind would hang both.
    let echo = Watcher(Box::new(move |delivery| {
        if let Some(id) = event_id(&delivery) {
            sender.send(id).unwrap();
            if id < 50 {
                drop(own.append(ProbeBody::Added(id)).unwrap());
                assert!(own.view().unwrap().head().get() >= id);
            }
        }
    }))
    .start();
    within(session.subscribe_actor(SubscribeFrom::Now, echo.clone().recipient())).await.unwrap();
    let stream = within(session.subscribe(SubscribeFrom::Now)).await.unwrap();
    append(&session, ProbeBody::Added(0)).await.unwrap();
    assert_eq!(live_ids(stream, 50).await, (1..=50).collect::<Vec<_>>());
    within(store.close()).await.unwrap();
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), (1..=50).collect::<Vec<_>>());
}

async fn a_subscriber_that_is_blocked_delays_no_append(config: StoreConfig) {
    let live = LiveConfig { subscriber_queue_max: 4, ..LiveConfig::default() };
    let store = open(&StoreConfig { live, ..config }).await;
    let session = within(store.open_session("s")).await.unwrap();
    let arbiter = Arbiter::new();
    let (open_gate, gate) = mpsc::channel::<()>();
    let (sender, seen) = mpsc::channel();
    let blocked = watch(&arbiter, move |delivery| {
        // Open for good once the sender is gone.
        let _ = gate.recv();
        sender.send(delivery.item().clone()).unwrap();
    });
    within(session.subscribe_actor(SubscribeFrom::Now, blocked.clone().recipient())).await.unwrap();
    for n in 0..100 {
        append(&session, ProbeBody::Added(n)).await.unwrap();
    }
    assert!(seen.try_recv().is_err(), "it is blocked all the while");
    drop(open_gate);
    within(store.close()).await.unwrap();
    // Every event once and in order, or within the gap.
    let mut next = 1;
    for item in seen.try_iter() {
        match item {
            Item::Event(event) => {
                assert_eq!(event.id().get(), next);
                next += 1;
            }
            Item::Gap(gap) => {
                assert_eq!(gap.after.get() + 1, next);
                next = gap.through.get() + 1;
            }
            Item::Transient(_) | Item::Ended => {}
        }
    }
    assert_eq!(next, 101);
    arbiter.stop();
}

async fn a_stream_that_nobody_polls_delays_no_append(config: StoreConfig) {
    let live = LiveConfig { subscriber_queue_max: 4, ..LiveConfig::default() };
    let store = open(&StoreConfig { live, ..config }).await;
    let session = within(store.open_session("s")).await.unwrap();
    let stream = within(session.subscribe(SubscribeFrom::Now)).await.unwrap();
    for n in 0..100 {
        append(&session, ProbeBody::Added(n)).await.unwrap();
    }
    within(store.close()).await.unwrap();
    let items = within(stream.collect::<Vec<_>>()).await;
    assert_eq!(items.len(), 5, "four events and the gap: {items:?}");
}
