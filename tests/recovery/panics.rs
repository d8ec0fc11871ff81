//! Goal: a panic of the model harms only what it must. Method: each function of the model panics where it is told to.

use foldlog::{Append, Condition, ErrorKind, EventId, Item, Restart, Session, StoreConfig, SubscribeFrom, TakeTurn};
use futures::StreamExt;

use crate::common::tally::{Place, Switch};
use crate::common::*;
use crate::{answers, assert_answers_agree, live_ids, numbers};

on_both_media! {
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
}

async fn a_panic_in_apply_makes_the_session_unfoldable_until_a_build_folds_it(config: StoreConfig) {
    let store = open(&config).await;
    let session = soon(store.open_session("s")).await.unwrap();
    let stream = soon(session.subscribe(SubscribeFrom::Now)).await.unwrap();
    append(&session, TallyBody::Added(1)).await.unwrap();

    let switch = Switch::on();
    let batch = vec![TallyBody::Added(10), switch.trap(Place::Apply), TallyBody::Added(100)];
    let poisoned = session.append_batch(batch).unwrap();
    let behind = session.append(TallyBody::Added(1000)).unwrap();
    assert_eq!(ids_of(&soon(poisoned).await.unwrap()), [2, 3, 4]);
    assert_eq!(ids_of(&soon(behind).await.unwrap()), [5], "stamped before the panic: committed, and said so");

    let event = EventId::new(3);
    let unfoldable = |session: &Session<Tally>| {
        assert_eq!(session.condition(), Condition::Unfoldable { event });
        let view = session.view().unwrap();
        assert_eq!((view.head(), view.sum, view.counters.event), (EventId::new(2), 11, 2));
    };
    unfoldable(&session);
    for _ in 0..2 {
        assert_refused!(
            append(&session, TallyBody::Added(1)).await,
            ErrorKind::Unfoldable { session, event: named } if session.as_str() == "s" && *named == event
        );
    }
    // Reads and subscriptions go on.
    assert_eq!(whole_log(&session).await.len(), 5);
    assert_eq!(live_ids(stream, 5).await, [1, 2, 3, 4, 5]);
    let late = soon(session.subscribe(SubscribeFrom::After(EventId::ZERO))).await.unwrap();
    assert_eq!(live_ids(late, 5).await, [1, 2, 3, 4, 5]);
    usable(&store, "other").await;

    // A restart and a new store find the same.
    soon(session.address().unwrap().send(Restart)).await.unwrap();
    let report = soon(session.recovery()).await.unwrap();
    assert_eq!((report.condition, report.events), (Condition::Unfoldable { event }, 5));
    unfoldable(&session);
    let (stored, head) = look(&store, "s").await;
    assert_eq!((stored, head), ((*session.view().unwrap()).clone(), EventId::new(5)));
    soon(store.close()).await.unwrap();

    let store = open(&config).await;
    unfoldable(&soon(store.open_session("s")).await.unwrap());
    assert_refused!(
        append(&soon(store.open_session("s")).await.unwrap(), TallyBody::Added(1)).await,
        ErrorKind::Unfoldable { .. }
    );
    soon(store.close()).await.unwrap();

    switch.turn_off();
    let store = open(&config).await;
    let session = soon(store.open_session("s")).await.unwrap();
    assert_eq!(
        (session.condition(), session.view().unwrap().sum, session.view().unwrap().counters.event),
        (Condition::Ready, 1111, 5)
    );
    assert_eq!(ids_of(&append(&session, TallyBody::Added(1)).await.unwrap()), [6]);
    soon(store.close()).await.unwrap();
}

async fn a_panic_in_apply_at_recovery_loses_nothing_and_loops_nowhere(config: StoreConfig) {
    let store = open(&config).await;
    let session = soon(store.open_session("s")).await.unwrap();
    let switch = Switch::off();
    append(&session, TallyBody::Added(1)).await.unwrap();
    append(&session, switch.trap(Place::Apply)).await.unwrap();
    append(&session, TallyBody::Added(10)).await.unwrap();
    assert_eq!(session.view().unwrap().sum, 11);
    // A session that was folded stays as it is until it has to be folded again.
    switch.turn_on();
    soon(session.address().unwrap().send(Restart)).await.unwrap();
    let in_flight = session.append(TallyBody::Added(100)).unwrap();
    assert_refused!(soon(in_flight).await, ErrorKind::Unfoldable { .. });
    let view = session.view().unwrap();
    assert_eq!((view.head(), view.sum, view.counters.event), (EventId::new(1), 1, 1));
    assert_eq!(look(&store, "s").await.1, EventId::new(3));
    usable(&store, "other").await;
    switch.turn_off();
    soon(session.address().unwrap().send(Restart)).await.unwrap();
    soon(session.recovery()).await.unwrap();
    assert_eq!((session.condition(), session.view().unwrap().sum), (Condition::Ready, 11));
    assert_eq!(ids_of(&append(&session, TallyBody::Added(100)).await.unwrap()), [4]);
    soon(store.close()).await.unwrap();
}

async fn a_panic_in_decode_names_the_event_and_ends_with_the_next_build(config: StoreConfig) {
    let store = open(&config).await;
    let session = soon(store.open_session("s")).await.unwrap();
    let switch = Switch::on();
    append(&session, TallyBody::Added(1)).await.unwrap();
    append(&session, switch.trap(Place::Decode)).await.unwrap();
    append(&session, TallyBody::Added(10)).await.unwrap();

    let page = soon(session.events_after(EventId::ZERO, 10)).await.unwrap();
    assert_eq!(page.events.len(), 1);
    let is_second = |event: &EventId| *event == EventId::new(2);
    assert_refused!(
        soon(session.events_after(EventId::new(1), 10)).await,
        ErrorKind::Undecodable { event, .. } if is_second(event)
    );
    // The stream of a subscriber that would have to read it says so, and ends.
    let stream = soon(session.subscribe(SubscribeFrom::After(EventId::ZERO))).await.unwrap();
    let items = soon(stream.collect::<Vec<_>>()).await;
    let [Item::Event(_), Item::Failed(error)] = &items[..] else { panic!("{items:?}") };
    assert!(matches!(error.kind(), ErrorKind::Undecodable { event, .. } if is_second(event)), "{error}");

    soon(session.address().unwrap().send(Restart)).await.unwrap();
    assert_refused!(soon(session.recovery()).await, ErrorKind::Undecodable { event, .. } if is_second(event));
    let refused = append(&session, TallyBody::Added(100)).await;
    assert!(refused.is_err());
    assert_eq!(session.view().unwrap().sum, 11, "the last view stays");
    usable(&store, "other").await;

    switch.turn_off();
    soon(session.recovery()).await.unwrap();
    assert_eq!(ids_of(&append(&session, TallyBody::Added(100)).await.unwrap()), [4]);
    assert_eq!(session.view().unwrap().sum, 111);
    soon(store.close()).await.unwrap();
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
    let session = soon(store.open_session("s")).await.unwrap();
    let other = soon(store.open_session("other")).await.unwrap();
    let switch = Switch::on();
    let mut receipts = Vec::new();
    for n in 0..30 {
        if n % 10 == 5 {
            let batch = vec![TallyBody::Added(1000 + n), switch.trap(place), TallyBody::Added(2000 + n)];
            // A function that is called on the caller's thread refuses the append there.
            match session.append_batch(batch) {
                Ok(receipt) => receipts.push((1000 + n, receipt)),
                Err(error) => assert!(matches!(error.kind(), ErrorKind::BodyRefused { .. }), "{error:?}"),
            }
        } else {
            receipts.push((n, session.append(TallyBody::Added(n)).unwrap()));
        }
    }
    let elsewhere = other.append(TallyBody::Added(1)).unwrap();
    let answers = answers(receipts).await;
    soon(elsewhere).await.unwrap();
    for (n, answer) in &answers {
        match answer {
            Ok(_) => assert!(*n < 1000, "{n} was to panic"),
            Err(error) => assert!(*n >= 1000, "{n} is refused for the panic of another: {error}"),
        }
        if let Err(error) = answer {
            assert!(matches!(error.kind(), ErrorKind::BodyRefused { .. }), "{error:?}");
        }
    }
    assert_answers_agree(&answers, &numbers(&whole_log(&session).await));

    // Once more, with nothing else in flight.
    let before = look(&store, "s").await;
    assert_refused!(append(&session, switch.trap(place)).await, ErrorKind::BodyRefused { .. });
    assert_eq!(look(&store, "s").await, before);
    usable(&store, "s").await;
    usable(&store, "other").await;
    soon(store.close()).await.unwrap();
}

async fn a_panic_in_check_on_the_actor_answers_everyone(config: StoreConfig) {
    let store = open(&config).await;
    let session = soon(store.open_session("s")).await.unwrap();
    let switch = Switch::on();
    assert_refused!(session.append(switch.trap(Place::Check)), ErrorKind::BodyRefused { .. });
    append(&session, TallyBody::Added(1)).await.unwrap();

    let address = session.address().unwrap();
    let receipts: Vec<_> = (10..20).map(|n| (n, session.append(TallyBody::Added(n)).unwrap())).collect();
    let sent = soon(address.send(Append::new(switch.trap(Place::Check)))).await.unwrap();
    assert_refused!(sent, ErrorKind::BodyRefused { .. });
    let more: Vec<_> = (20..30).map(|n| (n, session.append(TallyBody::Added(n)).unwrap())).collect();
    let answers = answers(receipts.into_iter().chain(more)).await;
    assert!(answers.iter().all(|(_, answer)| answer.is_ok()), "{answers:?}");
    assert_answers_agree(&answers, &numbers(&whole_log(&session).await));
    assert!(address.connected(), "the address that a host keeps stays valid");
    usable(&store, "s").await;
    usable(&store, "other").await;
    soon(store.close()).await.unwrap();
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
    let session = soon(store.open_session("s")).await.unwrap();
    let switch = Switch::on();
    append(&session, TallyBody::Added(1)).await.unwrap();
    append(&session, switch.trap(place)).await.unwrap();
    soon(session.address().unwrap().send(Restart)).await.unwrap();
    let in_flight = session.append(TallyBody::Added(10)).unwrap();
    let condition = Condition::Unfoldable { event: EventId::new(2) };
    assert_refused!(soon(in_flight).await, ErrorKind::Unfoldable { event, .. } if *event == EventId::new(2));
    assert_eq!(soon(session.recovery()).await.unwrap().condition, condition);
    assert_eq!((session.condition(), session.view().unwrap().sum), (condition.clone(), 1));
    assert_eq!(whole_log(&session).await.len(), 2);
    usable(&store, "other").await;
    soon(store.close()).await.unwrap();

    let store = open(&config).await;
    assert_eq!(soon(store.open_session("s")).await.unwrap().condition(), condition);
    assert_eq!(soon(store.read_state("s")).await.unwrap().report.condition, condition);
    usable(&store, "other").await;
    switch.turn_off();
    soon(store.close()).await.unwrap();

    let store = open(&config).await;
    assert_eq!(look(&store, "s").await.1, EventId::new(2));
    usable(&store, "s").await;
    soon(store.close()).await.unwrap();
}

async fn a_panic_in_turns_harms_no_append(config: StoreConfig) {
    let store = open(&config).await;
    let session = soon(store.open_session("s")).await.unwrap();
    let switch = Switch::on();
    append(&session, switch.trap(Place::Turns)).await.unwrap();
    assert_refused!(session.take_turn().await, ErrorKind::Unavailable { .. });
    let address = session.address().unwrap();
    let receipts: Vec<_> = (10..20).map(|n| (n, session.append(TallyBody::Added(n)).unwrap())).collect();
    assert_refused!(soon(address.send(TakeTurn::default())).await.unwrap(), ErrorKind::Unavailable { .. });
    let answers = answers(receipts).await;
    assert!(answers.iter().all(|(_, answer)| answer.is_ok()), "{answers:?}");
    assert_answers_agree(&answers, &numbers(&whole_log(&session).await));
    usable(&store, "s").await;
    switch.turn_off();
    drop(session.take_turn().await.unwrap());
    soon(store.close()).await.unwrap();
}
