//! Goal: one store writes a session at a time, every other one reads it, and it changes hands without a gap. Method:
//! two stores on one medium in one process, on both media.

use crate::common::*;
use foldlog::testkit::{Fault, Faults, Port};
use foldlog::{Append, ErrorKind, EventId, Item, Store, StoreConfig, SubscribeFrom};
use futures::StreamExt;

on_both_media! {
    a_session_that_another_store_writes_is_read_only_and_names_its_owner,
    a_session_goes_on_once_its_owner_has_closed_the_store,
    a_session_goes_on_once_its_owner_has_closed_the_session,
    another_session_is_free,
    two_stores_that_create_a_session_at_once_have_one,
    ids_stay_dense_through_many_changes_of_hands,
    subscribers_of_a_reader_get_what_the_owner_wrote_once_it_takes_over,
    appends_that_wait_behind_a_refused_claim_are_all_refused,
    an_append_key_holds_across_stores,
    a_retry_in_a_store_that_may_not_write_gets_the_first_result,
    closing_a_session_tells_when_its_log_was_not_given_up,
    a_turn_is_taken_in_one_store_only,
    a_reader_that_subscribes_gets_what_is_in_the_log,
}

async fn a_session_that_another_store_writes_is_read_only_and_names_its_owner(config: StoreConfig) {
    let owner = open(&config).await;
    let owned = soon(owner.open_session("s")).await.unwrap();
    append(&owned, TallyBody::Added(1)).await.unwrap();

    let reader = open(&config).await;
    let read = soon(reader.open_session("s")).await.unwrap();
    assert_eq!(*read.view().unwrap(), *owned.view().unwrap());
    for n in 2..5 {
        assert_refused!(
            append(&read, TallyBody::Added(100)).await,
            ErrorKind::OwnedElsewhere { session, owner }
                if session.as_str() == "s" && owner.process == std::process::id() && !owner.host.is_empty()
                    && owner.since.as_micros() > 0 && !owner.id.is_empty()
        );
        // The owner goes on, and what it writes can be read elsewhere.
        append(&owned, TallyBody::Added(1)).await.unwrap();
        assert_eq!(whole_log(&read).await.len(), n);
        assert_eq!(look(&reader, "s").await, ((*owned.view().unwrap()).clone(), EventId::new(n as u64)));
    }
    assert_eq!(read.view().unwrap().head(), EventId::new(1), "a view moves when its own store recovers");
    assert_eq!(owned.view().unwrap().sum, 4);
    let text = append(&read, TallyBody::Added(100)).await.unwrap_err().to_string();
    assert!(text.contains(&std::process::id().to_string()) && text.contains('s'), "{text}");
    soon(reader.close()).await.unwrap();
    append(&owned, TallyBody::Added(1)).await.unwrap();
    soon(owner.close()).await.unwrap();
}

async fn a_turn_is_taken_in_one_store_only(config: StoreConfig) {
    let (owner, reader) = (open(&config).await, open(&config).await);
    let owned = soon(owner.open_session("s")).await.unwrap();
    let read = soon(reader.open_session("s")).await.unwrap();
    append(&owned, TallyBody::Added(1)).await.unwrap();
    let turn = soon(owned.take_turn()).await.unwrap();
    for _ in 0..2 {
        assert_refused!(soon(read.take_turn()).await, ErrorKind::OwnedElsewhere { .. });
    }
    drop(turn);
    assert_refused!(soon(read.take_turn()).await, ErrorKind::OwnedElsewhere { .. });
    soon(owner.close()).await.unwrap();
    let _turn = soon(read.take_turn()).await.unwrap();
    assert_eq!(read.view().unwrap().sum, 1, "whoever has the turn has the view");
    assert_refused!(soon(read.take_turn()).await, ErrorKind::TurnInFlight { .. });
    soon(reader.close()).await.unwrap();
}

async fn a_reader_that_subscribes_gets_what_is_in_the_log(config: StoreConfig) {
    let (owner, reader) = (open(&config).await, open(&config).await);
    let owned = soon(owner.open_session("s")).await.unwrap();
    let read = soon(reader.open_session("s")).await.unwrap();
    for n in 1..=3 {
        append(&owned, TallyBody::Added(n)).await.unwrap();
    }
    let mut stream = soon(read.subscribe(SubscribeFrom::After(EventId::ZERO))).await.unwrap();
    for n in 1..=3 {
        let item = soon(stream.next()).await;
        assert!(matches!(&item, Some(Item::Event(event)) if event.id() == EventId::new(n)), "{item:?}");
    }
    assert_eq!(read.view().unwrap().sum, 6);
    soon(owner.close()).await.unwrap();
    soon(reader.close()).await.unwrap();
}

async fn a_session_goes_on_once_its_owner_has_closed_the_store(config: StoreConfig) {
    goes_on_after(config, async |store, _| soon(store.close()).await.unwrap()).await;
}

async fn a_session_goes_on_once_its_owner_has_closed_the_session(config: StoreConfig) {
    goes_on_after(config, async |_, session| soon(session.close()).await.unwrap()).await;
}

async fn goes_on_after(config: StoreConfig, leave: impl AsyncFn(&Store<Tally>, &foldlog::Session<Tally>)) {
    let first = open(&config).await;
    let theirs = soon(first.open_session("s")).await.unwrap();
    append(&theirs, TallyBody::Added(1)).await.unwrap();
    let second = open(&config).await;
    let ours = soon(second.open_session("s")).await.unwrap();
    append(&theirs, TallyBody::Added(10)).await.unwrap();
    assert_refused!(append(&ours, TallyBody::Added(100)).await, ErrorKind::OwnedElsewhere { .. });
    leave(&first, &theirs).await;
    assert_eq!(ids_of(&append(&ours, TallyBody::Added(100)).await.unwrap()), [3]);
    assert_eq!((ours.view().unwrap().sum, ours.view().unwrap().head()), (111, EventId::new(3)));
    assert_eq!(look(&second, "s").await.0, *ours.view().unwrap());
    soon(first.close()).await.unwrap();
    usable(&second, "s").await;
    soon(second.close()).await.unwrap();
}

async fn another_session_is_free(config: StoreConfig) {
    let (first, second) = (open(&config).await, open(&config).await);
    usable(&first, "one").await;
    usable(&second, "two").await;
    usable(&first, "one").await;
    assert_refused!(
        append(&soon(second.open_session("one")).await.unwrap(), TallyBody::Added(1)).await,
        ErrorKind::OwnedElsewhere { .. }
    );
    usable(&second, "two").await;
    assert_eq!(soon(first.list_sessions(None, 10)).await.unwrap().len(), 2);
    soon(first.close()).await.unwrap();
    soon(second.close()).await.unwrap();
}

async fn two_stores_that_create_a_session_at_once_have_one(config: StoreConfig) {
    let (first, second) = (open(&config).await, open(&config).await);
    for round in 0..20 {
        let id = format!("s{round}");
        let (one, two) = soon(futures::future::join(first.open_session(&id), second.open_session(&id))).await;
        let (one, two) = (one.unwrap(), two.unwrap());
        let (one, two) =
            futures::future::join(append(&one, TallyBody::Added(1)), append(&two, TallyBody::Added(1))).await;
        assert_eq!([&one, &two].iter().filter(|answer| answer.is_ok()).count(), 1, "{one:?} {two:?}");
        let refused = one.err().or(two.err()).unwrap();
        assert!(matches!(refused.kind(), ErrorKind::OwnedElsewhere { .. }), "{refused}");
        assert_eq!(look(&first, &id).await.1, EventId::new(1));
    }
    assert_eq!(soon(second.list_sessions(None, 100)).await.unwrap().len(), 20);
    soon(first.close()).await.unwrap();
    soon(second.close()).await.unwrap();
}

async fn ids_stay_dense_through_many_changes_of_hands(config: StoreConfig) {
    let stores = [open(&config).await, open(&config).await, open(&config).await];
    let mut expected = 0;
    for round in 0..12 {
        let session = soon(stores[round % 3].open_session("s")).await.unwrap();
        let receipts: Vec<_> = (0..5).map(|_| session.append(TallyBody::Added(1)).unwrap()).collect();
        for receipt in receipts {
            expected += 1;
            assert_eq!(ids_of(&soon(receipt).await.unwrap()), [expected]);
        }
        assert_eq!(session.view().unwrap().sum, expected);
        soon(session.close()).await.unwrap();
    }
    // Handles that are kept: all that changes hands is the ownership.
    let kept = [soon(stores[0].open_session("s")).await.unwrap(), soon(stores[1].open_session("s")).await.unwrap()];
    append(&kept[0], TallyBody::Added(1)).await.unwrap();
    assert_refused!(append(&kept[1], TallyBody::Added(1)).await, ErrorKind::OwnedElsewhere { .. });
    soon(kept[0].close()).await.unwrap();
    append(&kept[1], TallyBody::Added(1)).await.unwrap();
    let events = whole_log(&kept[1]).await;
    assert!(events.iter().zip(1..).all(|(event, id)| event.id().get() == id));
    assert!(events.windows(2).all(|pair| pair[0].at() <= pair[1].at()));
    for store in &stores {
        soon(store.close()).await.unwrap();
    }
    // Opening again checks every id and the whole chain.
    let store = open(&config).await;
    assert_eq!(look(&store, "s").await.0.sum, expected + 2);
    usable(&store, "s").await;
    soon(store.close()).await.unwrap();
}

async fn subscribers_of_a_reader_get_what_the_owner_wrote_once_it_takes_over(config: StoreConfig) {
    let (first, second) = (open(&config).await, open(&config).await);
    let theirs = soon(first.open_session("s")).await.unwrap();
    append(&theirs, TallyBody::Added(1)).await.unwrap();
    let ours = soon(second.open_session("s")).await.unwrap();
    let stream = soon(ours.subscribe(SubscribeFrom::Now)).await.unwrap();
    for n in 2..=10 {
        append(&theirs, TallyBody::Added(n)).await.unwrap();
    }
    assert_refused!(append(&ours, TallyBody::Added(0)).await, ErrorKind::OwnedElsewhere { .. });
    soon(theirs.close()).await.unwrap();
    append(&ours, TallyBody::Added(11)).await.unwrap();
    append(&ours, TallyBody::Added(12)).await.unwrap();
    let events = soon(stream.take(11).collect::<Vec<_>>()).await;
    let seen: Vec<_> = events
        .iter()
        .map(|item| match item {
            Item::Event(event) => event.id().get(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(seen, (2..=12).collect::<Vec<_>>());
    soon(first.close()).await.unwrap();
    soon(second.close()).await.unwrap();
}

/// Nothing is to be written for it: a host whose request reaches another process after a time-out is told what became
/// of it.
async fn a_retry_in_a_store_that_may_not_write_gets_the_first_result(config: StoreConfig) {
    let (owner, reader) = (open(&config).await, open(&config).await);
    let owned = soon(owner.open_session("s")).await.unwrap();
    let read = soon(reader.open_session("s")).await.unwrap();
    let batch = || Append::batch(vec![TallyBody::Added(1), TallyBody::named("a")]).key(key("first"));
    let first = soon(owned.append_with(batch()).unwrap()).await.unwrap();
    for _ in 0..2 {
        let retries = [batch(), keyed(TallyBody::Added(5), "first"), keyed(TallyBody::Added(5), "second")];
        let receipts = retries.map(|append| read.append_with(append).unwrap());
        let [repeated, reused, new] = futures::future::join_all(receipts).await.try_into().unwrap();
        let repeated = repeated.unwrap();
        assert_eq!((ids_of(&repeated), repeated.head, repeated.repeated), (ids_of(&first), first.head, true));
        assert_eq!(read.view().unwrap().head(), first.head, "what is told is in the view");
        assert_refused!(reused, ErrorKind::KeyReused { first, .. } if *first == at(1));
        assert_refused!(new, ErrorKind::OwnedElsewhere { .. });
    }
    assert_head(&owned, 2).await;
    soon(reader.close()).await.unwrap();
    soon(owner.close()).await.unwrap();
}

async fn closing_a_session_tells_when_its_log_was_not_given_up(config: StoreConfig) {
    let faults = Faults::default();
    let (owner, other) = (open(&faults.watch(config.clone())).await, open(&config).await);
    let owned = soon(owner.open_session("s")).await.unwrap();
    append(&owned, TallyBody::Added(1)).await.unwrap();
    let stream = soon(owned.subscribe(SubscribeFrom::Now)).await.unwrap();
    faults.fail_next(Port::Commit, Fault::DiskFull);
    assert_refused!(soon(owned.close()).await, ErrorKind::DiskFull);
    // It is closed here, and nobody else may write it yet.
    assert_eq!(soon(stream.collect::<Vec<_>>()).await.len(), 0);
    assert_refused!(append(&owned, TallyBody::Added(1)).await, ErrorKind::SessionClosed { .. });
    let theirs = soon(other.open_session("s")).await.unwrap();
    assert_refused!(append(&theirs, TallyBody::Added(1)).await, ErrorKind::OwnedElsewhere { .. });
    // As its text says: opening and closing it once more gives the log up.
    let again = soon(owner.open_session("s")).await.unwrap();
    append(&again, TallyBody::Added(1)).await.unwrap();
    soon(again.close()).await.unwrap();
    append(&theirs, TallyBody::Added(1)).await.unwrap();
    soon(other.close()).await.unwrap();
    soon(owner.close()).await.unwrap();
}

async fn appends_that_wait_behind_a_refused_claim_are_all_refused(config: StoreConfig) {
    let (first, second) = (open(&config).await, open(&config).await);
    usable(&first, "s").await;
    let ours = soon(second.open_session("s")).await.unwrap();
    let before = look(&first, "s").await;
    let receipts: Vec<_> = (0..50).map(|_| ours.append(TallyBody::Added(1)).unwrap()).collect();
    ours.notify("seen by nobody".to_owned()).unwrap();
    for receipt in receipts {
        assert_refused!(soon(receipt).await, ErrorKind::OwnedElsewhere { .. });
    }
    assert_eq!(soon(ours.counters()).await.unwrap().0, EventId::new(1));
    assert_eq!(look(&second, "s").await, before);
    usable(&first, "s").await;
    soon(first.close()).await.unwrap();
    soon(second.close()).await.unwrap();
}

async fn an_append_key_holds_across_stores(config: StoreConfig) {
    let (first, second) = (open(&config).await, open(&config).await);
    let theirs = soon(first.open_session("s")).await.unwrap();
    let ours = soon(second.open_session("s")).await.unwrap();
    let retried = || keyed(TallyBody::Added(1), "key");
    soon(theirs.append_with(retried()).unwrap()).await.unwrap();
    soon(theirs.close()).await.unwrap();
    // What the second store folded when it opened did not hold the key.
    let repeated = soon(ours.append_with(retried()).unwrap()).await.unwrap();
    assert!(repeated.repeated);
    assert_eq!(ids_of(&repeated), [1]);
    assert_eq!(look(&second, "s").await.1, EventId::new(1));
    soon(first.close()).await.unwrap();
    soon(second.close()).await.unwrap();
}
