//! Goal: whatever stops or panics, every caller is answered, other sessions go on, and the answers agree with the log.
//! Method: a model that panics where it is told to, restarts while work is in flight, foreign locks on the database, and
//! stores that are closed in the middle; afterwards the log is read again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use actix::prelude::*;
use foldlog::agent::{AgentBody, Step, StepId, Turn, TurnId, TurnStatus};
use foldlog::{
    Append, Condition, CurrentView, Delivery, Error, ErrorKind, Event, EventId, Item, LiveConfig, Medium, Receipt,
    Restart, Session, SessionModel, Store, StoreConfig, SubscribeFrom, TakeTurn, Unfinished,
};
use futures::StreamExt;
use support::{
    Place, Probe, ProbeBody, Switch, all_events, append, assert_kind, ids, is_definite, look, on_both, open, usable,
    watchdog, within,
};

on_both! {
    a_panic_in_apply_makes_the_session_unfoldable_until_a_build_folds_it,
    a_panic_in_apply_at_recovery_loses_nothing_and_loops_nowhere,
    a_panic_in_decode_names_the_event_and_ends_with_the_next_build,
    a_panic_in_stamp_answers_everyone,
    a_panic_in_event_type_answers_everyone,
    a_panic_in_blob_refs_answers_everyone,
    a_panic_in_check_on_the_actor_answers_everyone,
    a_panic_in_counters_is_answered_and_does_not_loop,
    a_panic_in_unfinished_is_answered_and_does_not_loop,
    a_panic_in_turns_harms_no_append,
    a_subscriber_that_panics_costs_nobody_else_an_event,
    a_subscriber_that_appends_to_its_own_session_does_not_deadlock,
    a_subscriber_that_is_blocked_delays_no_append,
    a_stream_that_nobody_polls_delays_no_append,
    restarts_during_recovery_and_in_a_row_answer_everyone_by_the_log,
    restarts_of_every_actor_with_work_in_flight_lose_nothing,
    what_was_left_running_is_reported,
    appends_in_flight_while_the_store_closes_are_finished,
    appends_that_race_with_closing_are_answered_as_the_log_has_it,
    appends_that_race_with_closing_the_session_are_answered_as_the_log_has_it,
    an_append_whose_subscriber_panics_when_it_is_woken_is_answered_as_the_log_has_it,
}

/// The numbers that the log of session `s` holds, by a new store; ids and chain are checked on the way.
async fn numbers_in_log(config: &StoreConfig) -> BTreeSet<u64> {
    let store = open(config).await;
    let session = within(store.open_session("s")).await.unwrap();
    let events = all_events(&session).await;
    let numbers = numbers(&events);
    assert_eq!(session.view().head().get(), events.len() as u64);
    within(store.close()).await.unwrap();
    numbers
}

fn numbers(events: &[Arc<Event<Probe>>]) -> BTreeSet<u64> {
    let mut numbers = BTreeSet::new();
    for (event, id) in events.iter().zip(1..) {
        assert_eq!(event.id().get(), id, "ids are dense");
        if let ProbeBody::Added(n) = event.body() {
            assert!(numbers.insert(*n), "{n} was written twice");
        }
    }
    numbers
}

/// Each number with what its append was answered.
type Answers = Vec<(u64, Result<foldlog::Appended<Probe>, Error>)>;

async fn answers(receipts: impl IntoIterator<Item = (u64, Receipt<Probe>)>) -> Answers {
    let mut answers = Vec::new();
    for (n, receipt) in receipts {
        answers.push((n, within(receipt).await));
    }
    answers
}

/// Committed if and only if the log says so.
fn assert_answers_agree(answers: &Answers, log: &BTreeSet<u64>) {
    for (n, answer) in answers {
        match answer {
            Ok(_) => assert!(log.contains(n), "{n} was acknowledged and is lost"),
            Err(error) => {
                assert!(is_definite(answer), "{n}: {error:?}");
                assert!(!log.contains(n), "{n} was refused and is there: {error:?}");
            }
        }
    }
}

// --- panics of the model ---

async fn a_panic_in_apply_makes_the_session_unfoldable_until_a_build_folds_it(config: StoreConfig) {
    let store = open(&config).await;
    let session = within(store.open_session("s")).await.unwrap();
    let stream = within(session.subscribe(SubscribeFrom::Now)).await.unwrap();
    append(&session, ProbeBody::Added(1)).await.unwrap();

    let switch = Switch::on();
    let batch = vec![ProbeBody::Added(10), switch.trap(Place::Apply), ProbeBody::Added(100)];
    let poisoned = session.append_batch(batch).unwrap();
    let behind = session.append(ProbeBody::Added(1000)).unwrap();
    assert_eq!(ids(&within(poisoned).await.unwrap()), [2, 3, 4]);
    assert_eq!(ids(&within(behind).await.unwrap()), [5], "stamped before the panic: committed, and said so");

    let event = EventId::new(3);
    let unfoldable = |session: &Session<Probe>| {
        assert_eq!(session.condition(), Condition::Unfoldable { event });
        let view = session.view();
        assert_eq!((view.head(), view.sum, view.events), (EventId::new(2), 11, 2));
    };
    unfoldable(&session);
    for _ in 0..2 {
        assert_kind!(
            append(&session, ProbeBody::Added(1)).await,
            ErrorKind::Unfoldable { session, event: named } if session.as_str() == "s" && *named == event
        );
    }
    // Reads and subscriptions go on.
    assert_eq!(all_events(&session).await.len(), 5);
    assert_eq!(live_ids(stream, 5).await, [1, 2, 3, 4, 5]);
    let late = within(session.subscribe(SubscribeFrom::After(EventId::ZERO))).await.unwrap();
    assert_eq!(live_ids(late, 5).await, [1, 2, 3, 4, 5]);
    usable(&store, "other").await;

    // A restart and a new store find the same.
    within(session.address().unwrap().send(Restart)).await.unwrap();
    let report = within(session.recovery()).await.unwrap();
    assert_eq!((report.condition, report.events), (Condition::Unfoldable { event }, 5));
    unfoldable(&session);
    let (stored, head) = look(&store, "s").await;
    assert_eq!((stored, head), ((*session.view()).clone(), EventId::new(5)));
    within(store.close()).await.unwrap();

    let store = open(&config).await;
    unfoldable(&within(store.open_session("s")).await.unwrap());
    assert_kind!(
        append(&within(store.open_session("s")).await.unwrap(), ProbeBody::Added(1)).await,
        ErrorKind::Unfoldable { .. }
    );
    within(store.close()).await.unwrap();

    switch.off();
    let store = open(&config).await;
    let session = within(store.open_session("s")).await.unwrap();
    assert_eq!((session.condition(), session.view().sum, session.view().events), (Condition::Ready, 1111, 5));
    assert_eq!(ids(&append(&session, ProbeBody::Added(1)).await.unwrap()), [6]);
    within(store.close()).await.unwrap();
}

async fn a_panic_in_apply_at_recovery_loses_nothing_and_loops_nowhere(config: StoreConfig) {
    let store = open(&config).await;
    let session = within(store.open_session("s")).await.unwrap();
    let switch = Switch::on();
    switch.off();
    append(&session, ProbeBody::Added(1)).await.unwrap();
    append(&session, switch.trap(Place::Apply)).await.unwrap();
    append(&session, ProbeBody::Added(10)).await.unwrap();
    assert_eq!(session.view().sum, 11);
    // A live session that was folded stays so until it has to be folded again.
    switch.turn_on();
    within(session.address().unwrap().send(Restart)).await.unwrap();
    let in_flight = session.append(ProbeBody::Added(100)).unwrap();
    assert_kind!(within(in_flight).await, ErrorKind::Unfoldable { .. });
    let view = session.view();
    assert_eq!((view.head(), view.sum, view.events), (EventId::new(1), 1, 1));
    assert_eq!(look(&store, "s").await.1, EventId::new(3));
    usable(&store, "other").await;
    switch.off();
    within(session.address().unwrap().send(Restart)).await.unwrap();
    within(session.recovery()).await.unwrap();
    assert_eq!((session.condition(), session.view().sum), (Condition::Ready, 11));
    assert_eq!(ids(&append(&session, ProbeBody::Added(100)).await.unwrap()), [4]);
    within(store.close()).await.unwrap();
}

async fn live_ids(stream: foldlog::EventStream<Probe>, count: usize) -> Vec<u64> {
    let events = stream.filter_map(async |item| match item {
        Item::Event(event) => Some(event.id().get()),
        _ => None,
    });
    within(events.take(count).collect()).await
}

async fn a_panic_in_decode_names_the_event_and_ends_with_the_next_build(config: StoreConfig) {
    let store = open(&config).await;
    let session = within(store.open_session("s")).await.unwrap();
    let switch = Switch::on();
    append(&session, ProbeBody::Added(1)).await.unwrap();
    append(&session, switch.trap(Place::Decode)).await.unwrap();
    append(&session, ProbeBody::Added(10)).await.unwrap();

    let page = within(session.events_after(EventId::ZERO, 10)).await.unwrap();
    assert_eq!(page.events.len(), 1);
    let is_second = |event: &EventId| *event == EventId::new(2);
    assert_kind!(
        within(session.events_after(EventId::new(1), 10)).await,
        ErrorKind::CorruptEvent { event, .. } if is_second(event)
    );
    // A subscriber that must read it is told by its end.
    let stream = within(session.subscribe(SubscribeFrom::After(EventId::ZERO))).await.unwrap();
    assert_eq!(within(stream.collect::<Vec<_>>()).await.len(), 1);

    within(session.address().unwrap().send(Restart)).await.unwrap();
    assert_kind!(within(session.recovery()).await, ErrorKind::CorruptEvent { event, .. } if is_second(event));
    let refused = append(&session, ProbeBody::Added(100)).await;
    assert!(refused.is_err());
    assert_eq!(session.view().sum, 11, "the last view stays");
    usable(&store, "other").await;

    switch.off();
    within(session.recovery()).await.unwrap();
    assert_eq!(ids(&append(&session, ProbeBody::Added(100)).await.unwrap()), [4]);
    assert_eq!(session.view().sum, 111);
    within(store.close()).await.unwrap();
}

async fn a_panic_in_stamp_answers_everyone(config: StoreConfig) {
    a_panic_while_stamping(config, Place::Stamp).await;
}

async fn a_panic_in_event_type_answers_everyone(config: StoreConfig) {
    a_panic_while_stamping(config, Place::EventType).await;
}

async fn a_panic_in_blob_refs_answers_everyone(config: StoreConfig) {
    a_panic_while_stamping(config, Place::BlobRefs).await;
}

async fn a_panic_while_stamping(config: StoreConfig, place: Place) {
    let store = open(&config).await;
    let session = within(store.open_session("s")).await.unwrap();
    let other = within(store.open_session("other")).await.unwrap();
    let switch = Switch::on();
    let mut receipts = Vec::new();
    for n in 0..30 {
        if n % 10 == 5 {
            let batch = vec![ProbeBody::Added(1000 + n), switch.trap(place), ProbeBody::Added(2000 + n)];
            // What is called on the caller's thread is refused there.
            match session.append_batch(batch) {
                Ok(receipt) => receipts.push((1000 + n, receipt)),
                Err(error) => assert!(matches!(error.kind(), ErrorKind::BodyRefused { .. }), "{error:?}"),
            }
        } else {
            receipts.push((n, session.append(ProbeBody::Added(n)).unwrap()));
        }
    }
    let elsewhere = other.append(ProbeBody::Added(1)).unwrap();
    let answers = answers(receipts).await;
    within(elsewhere).await.unwrap();
    for (n, answer) in &answers {
        match answer {
            Ok(_) => assert!(*n < 1000, "{n} was to panic"),
            Err(error) => assert!(*n >= 1000, "{n} is refused for the panic of another: {error}"),
        }
        if let Err(error) = answer {
            assert!(matches!(error.kind(), ErrorKind::BodyRefused { .. }), "{error:?}");
        }
    }
    assert_answers_agree(&answers, &numbers(&all_events(&session).await));

    // Once more, with nothing else in flight.
    let before = look(&store, "s").await;
    assert_kind!(append(&session, switch.trap(place)).await, ErrorKind::BodyRefused { .. });
    assert_eq!(look(&store, "s").await, before);
    usable(&store, "s").await;
    usable(&store, "other").await;
    within(store.close()).await.unwrap();
}

async fn a_panic_in_check_on_the_actor_answers_everyone(config: StoreConfig) {
    let store = open(&config).await;
    let session = within(store.open_session("s")).await.unwrap();
    let switch = Switch::on();
    assert_kind!(session.append(switch.trap(Place::Check)), ErrorKind::BodyRefused { .. });
    append(&session, ProbeBody::Added(1)).await.unwrap();

    let address = session.address().unwrap();
    let receipts: Vec<_> = (10..20).map(|n| (n, session.append(ProbeBody::Added(n)).unwrap())).collect();
    let sent = within(address.send(Append::new(switch.trap(Place::Check)))).await.unwrap();
    assert_kind!(sent, ErrorKind::BodyRefused { .. });
    let more: Vec<_> = (20..30).map(|n| (n, session.append(ProbeBody::Added(n)).unwrap())).collect();
    let answers = answers(receipts.into_iter().chain(more)).await;
    assert!(answers.iter().all(|(_, answer)| answer.is_ok()), "{answers:?}");
    assert_answers_agree(&answers, &numbers(&all_events(&session).await));
    assert!(address.connected(), "the address that a host keeps stays valid");
    usable(&store, "s").await;
    usable(&store, "other").await;
    within(store.close()).await.unwrap();
}

async fn a_panic_in_counters_is_answered_and_does_not_loop(config: StoreConfig) {
    a_panic_over_the_view(config, Place::Counters).await;
}

async fn a_panic_in_unfinished_is_answered_and_does_not_loop(config: StoreConfig) {
    a_panic_over_the_view(config, Place::Unfinished).await;
}

/// A function of the view that panics when the log is folded again: the session cannot go on, and says so.
async fn a_panic_over_the_view(config: StoreConfig, place: Place) {
    let store = open(&config).await;
    let session = within(store.open_session("s")).await.unwrap();
    let switch = Switch::on();
    append(&session, ProbeBody::Added(1)).await.unwrap();
    append(&session, switch.trap(place)).await.unwrap();
    within(session.address().unwrap().send(Restart)).await.unwrap();
    let in_flight = session.append(ProbeBody::Added(10)).unwrap();
    let condition = Condition::Unfoldable { event: EventId::new(2) };
    assert_kind!(within(in_flight).await, ErrorKind::Unfoldable { event, .. } if *event == EventId::new(2));
    assert_eq!(within(session.recovery()).await.unwrap().condition, condition);
    assert_eq!((session.condition(), session.view().sum), (condition.clone(), 1));
    assert_eq!(all_events(&session).await.len(), 2);
    usable(&store, "other").await;
    within(store.close()).await.unwrap();

    let store = open(&config).await;
    assert_eq!(within(store.open_session("s")).await.unwrap().condition(), condition);
    assert_eq!(within(store.read_state("s")).await.unwrap().report.condition, condition);
    usable(&store, "other").await;
    switch.off();
    within(store.close()).await.unwrap();

    let store = open(&config).await;
    assert_eq!(look(&store, "s").await.1, EventId::new(2));
    usable(&store, "s").await;
    within(store.close()).await.unwrap();
}

async fn a_panic_in_turns_harms_no_append(config: StoreConfig) {
    let store = open(&config).await;
    let session = within(store.open_session("s")).await.unwrap();
    let switch = Switch::on();
    append(&session, switch.trap(Place::Turns)).await.unwrap();
    assert_kind!(session.take_turn().await, ErrorKind::Unavailable { .. });
    let address = session.address().unwrap();
    let receipts: Vec<_> = (10..20).map(|n| (n, session.append(ProbeBody::Added(n)).unwrap())).collect();
    assert_kind!(within(address.send(TakeTurn::default())).await.unwrap(), ErrorKind::Unavailable { .. });
    let answers = answers(receipts).await;
    assert!(answers.iter().all(|(_, answer)| answer.is_ok()), "{answers:?}");
    assert_answers_agree(&answers, &numbers(&all_events(&session).await));
    usable(&store, "s").await;
    switch.off();
    drop(session.take_turn().await.unwrap());
    within(store.close()).await.unwrap();
}

// --- subscribers ---

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
                assert!(own.view().head().get() >= id);
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

// --- restarts ---

async fn restarts_during_recovery_and_in_a_row_answer_everyone_by_the_log(config: StoreConfig) {
    let store = open(&config).await;
    let session = within(store.open_session("s")).await.unwrap();
    let address = session.address().unwrap();
    let mut receipts = Vec::new();
    for n in 0..200 {
        receipts.push((n, session.append(ProbeBody::Added(n)).unwrap()));
        if n % 10 == 9 {
            // The second and third find the recovery from the first under way.
            let restarts = (0..3).map(|_| address.send(Restart));
            for sent in within(futures::future::join_all(restarts)).await {
                sent.unwrap();
            }
        }
    }
    let answers = answers(receipts).await;
    within(session.recovery()).await.unwrap();
    let events = all_events(&session).await;
    assert_answers_agree(&answers, &numbers(&events));
    assert_eq!(session.view().head().get(), events.len() as u64);
    assert_eq!(look(&store, "s").await.0, *session.view());
    // Alone, and with nothing to do.
    for _ in 0..50 {
        within(address.send(Restart)).await.unwrap();
    }
    usable(&store, "s").await;
    within(store.close()).await.unwrap();
}

async fn restarts_of_every_actor_with_work_in_flight_lose_nothing(config: StoreConfig) {
    let store = open(&config).await;
    let session = within(store.open_session("s")).await.unwrap();
    let stream = within(session.subscribe(SubscribeFrom::Now)).await.unwrap();
    let mut receipts = Vec::new();
    let mut puts = Vec::new();
    for n in 0..100_u64 {
        receipts.push((n, session.append(ProbeBody::Added(n)).unwrap()));
        let store_of_put = store.clone();
        puts.push(actix::spawn(async move { store_of_put.put_bytes(n.to_le_bytes().to_vec()).await }));
        match n % 9 {
            2 => within(store.persist_address().send(Restart)).await.unwrap(),
            5 => within(store.blob_address().send(Restart)).await.unwrap(),
            8 => within(session.address().unwrap().send(Restart)).await.unwrap(),
            _ => {}
        }
    }
    let answers = answers(receipts).await;
    for put in puts {
        let blob = within(put).await.unwrap().unwrap();
        assert_eq!(within(store.get_bytes(blob.digest)).await.unwrap().len(), 8);
    }
    within(session.recovery()).await.unwrap();
    let events = all_events(&session).await;
    assert_answers_agree(&answers, &numbers(&events));
    let live = live_ids(stream, events.len()).await;
    assert_eq!(live, (1..=events.len() as u64).collect::<Vec<_>>(), "subscribers saw each event once");
    usable(&store, "s").await;
    within(store.close()).await.unwrap();
}

async fn what_was_left_running_is_reported(config: StoreConfig) {
    let store = within(Store::open(config.clone())).await.unwrap();
    let session = within(store.open_session("s")).await.unwrap();
    let ended = Turn { status: TurnStatus::Final, ..Turn::default() };
    let bodies = vec![
        AgentBody::TurnStarted(ended),
        AgentBody::TurnStarted(Turn::default()),
        AgentBody::StepStarted(Step::of_turn(TurnId::new(2))),
    ];
    within(session.append_batch(bodies).unwrap()).await.unwrap();
    within(store.close()).await.unwrap();

    let store = within(Store::open(config.clone())).await.unwrap();
    let session = within(store.open_session("s")).await.unwrap();
    let report = within(session.recovery()).await.unwrap();
    assert_eq!(report.events, 3);
    let (turn, step) = (Unfinished { kind: "turn", id: 2 }, Unfinished { kind: "step", id: 1 });
    assert_eq!(report.unfinished, [turn.clone(), step.clone()]);
    assert_eq!(within(store.read_state("s")).await.unwrap().report.unfinished, [turn, step.clone()]);
    let view = session.view();
    assert!(view.steps.get(StepId::new(1)).is_some());
    let mended = Turn { status: TurnStatus::Error, ..(**view.turns.get(TurnId::new(2)).unwrap()).clone() };
    append(&session, AgentBody::TurnPut(mended)).await.unwrap();
    within(store.close()).await.unwrap();

    let store = within(Store::open(config)).await.unwrap();
    let session = within(store.open_session("s")).await.unwrap();
    assert_eq!(within(session.recovery()).await.unwrap().unfinished, [step]);
    within(store.close()).await.unwrap();
}

// --- closing ---

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

// --- a foreign lock on the database ---

/// Holds the database's write lock, as another program might.
struct ForeignLock(rusqlite::Connection);

impl ForeignLock {
    fn take(config: &StoreConfig) -> Self {
        let Medium::Directory(path) = &config.medium else { panic!("no directory") };
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
    // Longer than SQLite waits by itself, so that the actor takes over the waiting.
    let early = tokio::time::timeout(Duration::from_millis(5500), &mut receipts[0].1).await;
    assert!(early.is_err(), "acknowledged without a commit: {early:?}");
    // Reads do not wait for it.
    assert_eq!(session.view().head(), EventId::new(1));
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
    within(address.send(CurrentView::default())).await.unwrap();
    lock.0.execute_batch("COMMIT").unwrap();
    let answers = answers(receipts).await;
    for (_, answer) in &answers {
        assert_kind!(answer.as_ref(), ErrorKind::NotWritten { .. });
    }
    assert_eq!(look(&store, "s").await.1, EventId::new(1));
    assert_eq!(session.view().head(), EventId::new(1));

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
    assert_eq!(session.view().head(), EventId::new(301));
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

// --- panics between the commit and its answer ---

/// A model whose view panics once when it is cloned after a body that says so.
#[derive(Debug)]
struct Brittle;

#[derive(Debug, Default, PartialEq)]
struct BrittleView(u64);

static BREAKS: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

impl Clone for BrittleView {
    fn clone(&self) -> Self {
        assert!(!BREAKS.swap(false, std::sync::atomic::Ordering::SeqCst), "on purpose: this view breaks");
        Self(self.0)
    }
}

impl SessionModel for Brittle {
    const NAME: &'static str = "brittle";
    const SCHEMA: u16 = 1;
    type Body = u64;
    type View = BrittleView;
    type Counters = ();
    type Transient = ();

    fn event_type(_: &u64) -> &'static str {
        "number"
    }

    fn apply(view: &mut BrittleView, event: &Event<Self>) {
        view.0 += event.body();
    }

    fn decode(_: &str, _: u16, bytes: &[u8]) -> Result<u64, foldlog::DecodeError> {
        foldlog::decode_body(bytes)
    }
}

#[actix::test]
async fn an_append_whose_view_panics_in_its_clone_is_answered_as_the_log_has_it() {
    let directory = tempfile::tempdir().unwrap();
    for config in [StoreConfig::memory(), StoreConfig::directory(directory.path())] {
        let store = within(Store::<Brittle>::open_model(config)).await.unwrap();
        let session = within(store.open_session("s")).await.unwrap();
        append(&session, 1).await.unwrap();
        BREAKS.store(true, std::sync::atomic::Ordering::SeqCst);
        let answer = append(&session, 10).await;
        assert!(!BREAKS.load(std::sync::atomic::Ordering::SeqCst), "it broke");
        assert_eq!(answer.unwrap().head, EventId::new(2), "it is durable");
        within(session.recovery()).await.unwrap();
        assert_eq!(all_events(&session).await.len(), 2);
        assert_eq!((session.view().head(), session.view().0), (EventId::new(2), 11));
        assert_eq!(append(&session, 100).await.unwrap().head, EventId::new(3));
        within(store.close()).await.unwrap();
    }
}

async fn an_append_whose_subscriber_panics_when_it_is_woken_is_answered_as_the_log_has_it(config: StoreConfig) {
    struct Panics;
    impl std::task::Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("on purpose: this waker panics");
        }
    }
    let store = open(&config).await;
    let session = within(store.open_session("s")).await.unwrap();
    let mut stream = within(session.subscribe(SubscribeFrom::Now)).await.unwrap();
    let waker = std::task::Waker::from(Arc::new(Panics));
    assert!(stream.poll_next_unpin(&mut std::task::Context::from_waker(&waker)).is_pending());
    assert_eq!(ids(&append(&session, ProbeBody::Added(1)).await.unwrap()), [1], "it is durable");
    within(session.recovery()).await.unwrap();
    assert_eq!(all_events(&session).await.len(), 1);
    assert_eq!(live_ids(stream, 1).await, [1]);
    usable(&store, "s").await;
    within(store.close()).await.unwrap();
}
