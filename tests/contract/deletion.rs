//! Goal: a session that is deleted is gone at once and for good, everyone who had to do with it is told, and nothing
//! else changes. Method: delete with handles, turns, subscribers and appends about, here and in another store; look,
//! and verify.

use foldlog::{DeleteSession, ErrorKind, EventId, EventsAfter, Item, SnapshotPolicy, SubscribeFrom};
use futures::StreamExt;
use futures::future::join_all;

use crate::common::*;

on_both_media!(
    a_deleted_session_is_gone_and_its_handles_say_so,
    a_new_session_of_the_name_shares_nothing_with_the_deleted_one,
    appends_in_flight_are_answered,
    subscribers_end_with_the_reason,
    a_turn_that_is_held_ends_and_the_new_session_has_its_own,
    a_session_of_another_living_store_is_not_deleted,
    another_store_learns_of_it_at_its_next_call,
    a_read_in_another_store_ends_the_session_there,
    a_session_is_deleted_by_a_message_too,
    an_emptied_session_and_one_that_was_never_opened_are_deleted,
    a_stored_view_goes_with_its_session,
    deleting_goes_on_when_its_future_is_dropped,
    an_unknown_session_is_an_error,
    many_callers_delete_and_open_one_session_at_once,
    a_session_that_cannot_be_read_is_deleted_all_the_same,
);

/// Nothing of the session is left, and the rest verifies.
async fn assert_erased(store: &foldlog::Store<Tally>) {
    assert!(soon(store.erase_deleted()).await.unwrap().is_complete());
    let found = soon(store.verify()).await.unwrap();
    assert!(found.is_sound(), "{:?}", found.problems);
}

async fn a_deleted_session_is_gone_and_its_handles_say_so(disk: TestDisk) {
    let store = disk.open_model::<Tally>().await;
    let (session, other) = (store.open_session("s").await.unwrap(), store.open_session("other").await.unwrap());
    for n in 1..=5 {
        append(&session, TallyBody::Added(n)).await.unwrap();
        append(&other, TallyBody::Added(n)).await.unwrap();
    }
    let address = session.address().unwrap();
    soon(store.delete_session("s")).await.unwrap();
    let names = async || -> Vec<String> {
        let listed = store.list_sessions(None, 10).await.unwrap();
        listed.into_iter().map(|summary| summary.id.to_string()).collect()
    };
    assert_eq!(names().await, ["other"]);
    assert_refused!(store.resume_session("s").await, ErrorKind::UnknownSession { .. });
    assert_refused!(store.read_state("s").await, ErrorKind::UnknownSession { .. });
    for erased in [false, true] {
        assert_refused!(session.append(TallyBody::Added(1)), ErrorKind::SessionDeleted { .. });
        assert_refused!(session.view(), ErrorKind::SessionDeleted { .. });
        assert_refused!(session.current_view().await, ErrorKind::SessionDeleted { .. });
        assert_refused!(session.counters().await, ErrorKind::SessionDeleted { .. });
        assert_refused!(session.events_after(EventId::ZERO, 1).await, ErrorKind::SessionDeleted { .. });
        assert_refused!(session.subscribe(SubscribeFrom::Now).await, ErrorKind::SessionDeleted { .. });
        assert_refused!(session.take_turn().await, ErrorKind::SessionDeleted { .. });
        assert_refused!(session.take_over().await, ErrorKind::SessionDeleted { .. });
        assert_refused!(session.recovery().await, ErrorKind::SessionDeleted { .. });
        assert_refused!(session.notify(String::new()), ErrorKind::SessionDeleted { .. });
        assert_refused!(address.send(foldlog::Recovery).await.unwrap(), ErrorKind::SessionDeleted { .. });
        session.close().await.unwrap();
        if !erased {
            assert_erased(&store).await;
            // In memory nothing is left to be erased in steps.
            assert_eq!(store.stats().erasing_step_micros.count() > 0, disk.path().is_some());
        }
    }
    assert_head(&other, 5).await;
    append(&other, TallyBody::Added(6)).await.unwrap();
    soon(store.close()).await.unwrap();
    let store = disk.open_model::<Tally>().await;
    assert_refused!(store.resume_session("s").await, ErrorKind::UnknownSession { .. });
    assert_head(&store.resume_session("other").await.unwrap(), 6).await;
    assert_erased(&store).await;
    store.close().await.unwrap();
}

async fn a_new_session_of_the_name_shares_nothing_with_the_deleted_one(disk: TestDisk) {
    let store = disk.open_model::<Tally>().await;
    let old = store.open_session("s").await.unwrap();
    old.append_with(keyed(TallyBody::Added(1), "k")).unwrap().await.unwrap();
    old.context_or_insert_with(|| 7_u64);
    for round in 1..=3 {
        soon(store.delete_session("s")).await.unwrap();
        let new = store.open_session("s").await.unwrap();
        assert_eq!(new.view().unwrap().head(), EventId::ZERO);
        assert_eq!(new.context::<u64>(), None);
        // The key is new there: a late retry is written, and says that it is a first append.
        let appended = new.append_with(keyed(TallyBody::Added(round), "k")).unwrap().await.unwrap();
        assert!(!appended.repeated);
        new.context_or_insert_with(|| 8_u64);
        assert_refused!(old.append(TallyBody::Added(1)), ErrorKind::SessionDeleted { .. });
        assert_head(&new, 1).await;
        if round == 2 {
            assert_erased(&store).await;
        }
    }
    soon(store.close()).await.unwrap();
}

async fn appends_in_flight_are_answered(disk: TestDisk) {
    let store = disk.open_model::<Tally>().await;
    let session = store.open_session("s").await.unwrap();
    let receipts: Vec<_> = (1..=50).map(|n| session.append(TallyBody::Added(n)).unwrap()).collect();
    let (deleted, answers) = futures::join!(soon(store.delete_session("s")), soon(join_all(receipts)));
    deleted.unwrap();
    for answer in answers {
        if let Err(error) = answer {
            assert!(matches!(error.kind(), ErrorKind::SessionDeleted { .. }), "{error:?}");
        }
    }
    assert_erased(&store).await;
    soon(store.close()).await.unwrap();
}

async fn subscribers_end_with_the_reason(disk: TestDisk) {
    let store = disk.open_model::<Tally>().await;
    let session = store.open_session("s").await.unwrap();
    append(&session, TallyBody::Added(1)).await.unwrap();
    let live = session.subscribe(SubscribeFrom::After(EventId::ZERO)).await.unwrap();
    let (recipient, received) = collector();
    let _actor = session.subscribe_actor(SubscribeFrom::Now, recipient).await.unwrap();
    append(&session, TallyBody::Added(2)).await.unwrap();
    soon(store.delete_session("s")).await.unwrap();
    let items: Vec<_> = soon(live.collect::<Vec<_>>()).await;
    let is_reason = |item: &Item<Tally>| matches!(item, Item::Failed(error) if matches!(error.kind(), ErrorKind::SessionDeleted { .. }));
    // What was queued may come first, or not be read any more; the reason is the last item, and comes once.
    assert!(is_reason(items.last().unwrap()), "{items:?}");
    assert_eq!(items.iter().filter(|item| is_reason(item)).count(), 1);
    let mut received = received;
    let mut got = Vec::new();
    loop {
        let item = soon(received.next()).await;
        let is_end = matches!(item, Item::Ended);
        got.push(item);
        if is_end {
            break;
        }
    }
    assert!(is_reason(&got[got.len() - 2]), "{got:?}");
    soon(store.close()).await.unwrap();
}

async fn a_turn_that_is_held_ends_and_the_new_session_has_its_own(disk: TestDisk) {
    let store = disk.open_model::<Tally>().await;
    let session = store.open_session("s").await.unwrap();
    let guard = session.take_turn().await.unwrap();
    soon(store.delete_session("s")).await.unwrap();
    assert!(!guard.is_held());
    let new = store.open_session("s").await.unwrap();
    let held = new.take_turn().await.unwrap();
    drop(guard);
    assert!(held.is_held(), "the old guard gives nothing back");
    drop(held);
    soon(store.close()).await.unwrap();
}

async fn a_session_of_another_living_store_is_not_deleted(disk: TestDisk) {
    let (store, owner) = (disk.open_model::<Tally>().await, disk.open_model::<Tally>().await);
    let session = owner.open_session("s").await.unwrap();
    append(&session, TallyBody::Added(1)).await.unwrap();
    let seen = store.open_session("s").await.unwrap();
    assert_refused!(soon(store.delete_session("s")).await, ErrorKind::OwnedElsewhere { .. });
    append(&session, TallyBody::Added(2)).await.unwrap();
    assert_eq!(seen.recovery().await.map(|_| seen.view().unwrap().head()).unwrap(), at(2), "the handle goes on");
    soon(session.close()).await.unwrap();
    soon(store.delete_session("s")).await.unwrap();
    assert_refused!(owner.resume_session("s").await, ErrorKind::UnknownSession { .. });
    soon(owner.close()).await.unwrap();
    soon(store.close()).await.unwrap();
}

async fn another_store_learns_of_it_at_its_next_call(disk: TestDisk) {
    let (store, beside) = (disk.open_model::<Tally>().await, disk.open_model::<Tally>().await);
    let session = store.open_session("s").await.unwrap();
    append(&session, TallyBody::Added(1)).await.unwrap();
    let seen = beside.open_session("s").await.unwrap();
    let stream = seen.subscribe(SubscribeFrom::After(at(1))).await.unwrap();
    soon(store.delete_session("s")).await.unwrap();
    // Written by the other before and after the rows are gone, and after the name has another log.
    for step in 0..3 {
        let append = async { seen.append(TallyBody::Added(1))?.await };
        assert_refused!(soon(append).await, ErrorKind::SessionDeleted { .. });
        assert_refused!(seen.events_after(EventId::ZERO, 10).await, ErrorKind::SessionDeleted { .. });
        match step {
            0 => assert_erased(&store).await,
            _ => drop(store.open_session("s").await.unwrap()),
        }
    }
    let items = soon(stream.collect::<Vec<_>>()).await;
    assert!(
        matches!(items.last(), Some(Item::Failed(error)) if matches!(error.kind(), ErrorKind::SessionDeleted { .. }))
    );
    let new = beside.open_session("s").await.unwrap();
    assert_eq!(new.view().unwrap().head(), EventId::ZERO);
    usable(&store, "s").await;
    soon(store.close()).await.unwrap();
    assert_erased(&beside).await;
    soon(beside.close()).await.unwrap();
}

async fn a_read_in_another_store_ends_the_session_there(disk: TestDisk) {
    let (store, beside) = (disk.open_model::<Tally>().await, disk.open_model::<Tally>().await);
    for call in ["a page", "a page by a message", "a view", "a subscription"] {
        let session = store.open_session("s").await.unwrap();
        append(&session, TallyBody::Added(1)).await.unwrap();
        let seen = beside.open_session("s").await.unwrap();
        let stream = seen.subscribe(SubscribeFrom::Now).await.unwrap();
        seen.context_or_insert_with(|| 7_u64);
        soon(store.delete_session("s")).await.unwrap();
        // Nobody has asked until now.
        assert_eq!(seen.view().unwrap().sum, 1);
        let refused = match call {
            "a page" => soon(seen.events_after(EventId::ZERO, 10)).await.map(drop),
            "a page by a message" => {
                let asked = seen.address().unwrap().send(EventsAfter::new(EventId::ZERO, 10));
                soon(asked).await.unwrap().map(drop)
            }
            "a view" => soon(seen.current_view()).await.map(drop),
            _ => soon(seen.subscribe(SubscribeFrom::Now)).await.map(drop),
        };
        assert_refused!(refused, ErrorKind::SessionDeleted { .. });
        let items = soon(stream.collect::<Vec<_>>()).await;
        let is_reason = |item: &Item<Tally>| matches!(item, Item::Failed(error) if matches!(error.kind(), ErrorKind::SessionDeleted { .. }));
        assert!(items.len() == 1 && is_reason(&items[0]), "{call}: {items:?}");
        assert_refused!(seen.view(), ErrorKind::SessionDeleted { .. });
        assert_eq!(seen.context::<u64>(), None, "{call}");
        // The session of its name is a new one.
        let new = beside.open_session("s").await.unwrap();
        assert_eq!(new.view().unwrap().head(), EventId::ZERO);
        soon(new.close()).await.unwrap();
        soon(store.delete_session("s")).await.unwrap();
    }
    assert_eq!(beside.stats().sessions_open, 0);
    soon(store.close()).await.unwrap();
    soon(beside.close()).await.unwrap();
}

async fn a_session_is_deleted_by_a_message_too(disk: TestDisk) {
    let store = disk.open_model::<Tally>().await;
    let session = store.open_session("s").await.unwrap();
    append(&session, TallyBody::Added(1)).await.unwrap();
    let address = session.address().unwrap();
    soon(address.send(DeleteSession)).await.unwrap().unwrap();
    soon(address.send(DeleteSession)).await.unwrap().unwrap();
    assert_refused!(session.append(TallyBody::Added(1)), ErrorKind::SessionDeleted { .. });
    assert_refused!(store.delete_session("s").await, ErrorKind::UnknownSession { .. });
    usable(&store, "s").await;
    soon(store.close()).await.unwrap();
}

async fn an_emptied_session_and_one_that_was_never_opened_are_deleted(disk: TestDisk) {
    let store = disk.open_model::<Tally>().await;
    for name in ["cold", "closed"] {
        usable(&store, name).await;
    }
    soon(store.close()).await.unwrap();
    let store = disk.open_model::<Tally>().await;
    let cold = store.open_session("cold").await.unwrap();
    eventually("empty", || store.empty_idle_sessions() > 0).await;
    soon(store.delete_session("cold")).await.unwrap();
    soon(store.delete_session("closed")).await.unwrap();
    assert_refused!(cold.current_view().await, ErrorKind::SessionDeleted { .. });
    assert_refused!(cold.append(TallyBody::Added(1)), ErrorKind::SessionDeleted { .. });
    assert_eq!(store.list_sessions(None, 10).await.unwrap().len(), 0);
    assert_erased(&store).await;
    soon(store.close()).await.unwrap();
}

async fn a_stored_view_goes_with_its_session(disk: TestDisk) {
    let snapshots = SnapshotPolicy { every_events: 1, closing_events: 1, ..SnapshotPolicy::default() };
    let open = async || disk.try_open_model::<Tally>(|config| config.snapshots = snapshots).await.unwrap();
    let store = open().await;
    let session = store.open_session("s").await.unwrap();
    append(&session, TallyBody::named("a name")).await.unwrap();
    session.close().await.unwrap();
    assert_eq!(store.stats().snapshots_written, 1);
    assert_eq!(soon(store.verify()).await.unwrap().snapshots, 1);
    soon(store.delete_session("s")).await.unwrap();
    assert_erased(&store).await;
    soon(store.close()).await.unwrap();
    if let Some(path) = disk.path() {
        assert_eq!(files_below(&path.join("snapshots")), [""; 0].map(std::path::PathBuf::from));
    }
}

async fn deleting_goes_on_when_its_future_is_dropped(disk: TestDisk) {
    let store = disk.open_model::<Tally>().await;
    usable(&store, "s").await;
    {
        let mut deleted = Box::pin(store.delete_session("s"));
        // Far enough that the write was sent, or not: both are fine.
        for _ in 0..3 {
            if futures::poll!(deleted.as_mut()).is_ready() {
                break;
            }
            actix::clock::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
    match soon(store.delete_session("s")).await {
        Ok(()) => {}
        Err(error) => assert!(matches!(error.kind(), ErrorKind::UnknownSession { .. }), "{error:?}"),
    }
    usable(&store, "s").await;
    assert_erased(&store).await;
    soon(store.close()).await.unwrap();
}

async fn an_unknown_session_is_an_error(disk: TestDisk) {
    let store = disk.open_model::<Tally>().await;
    assert_refused!(store.delete_session("s").await, ErrorKind::UnknownSession { .. });
    assert_refused!(store.delete_session("").await, ErrorKind::InvalidSessionId { .. });
    soon(store.close()).await.unwrap();
    assert_refused!(store.delete_session("s").await, ErrorKind::StoreClosed);
    assert_refused!(store.erase_deleted().await, ErrorKind::StoreClosed);
}

async fn many_callers_delete_and_open_one_session_at_once(disk: TestDisk) {
    let store = disk.open_model::<Tally>().await;
    for _ in 0..20 {
        let opens = (0..4).map(|n| {
            let store = store.clone();
            async move {
                let session = soon(store.open_session("s")).await.unwrap();
                for answer in [soon(async { session.append(TallyBody::Added(n))?.await }).await] {
                    if let Err(error) = answer {
                        assert!(matches!(error.kind(), ErrorKind::SessionDeleted { .. }), "{error:?}");
                    }
                }
            }
        });
        let deletes = (0..2).map(|_| {
            let store = store.clone();
            async move {
                match soon(store.delete_session("s")).await {
                    Ok(()) => {}
                    Err(error) => assert!(matches!(error.kind(), ErrorKind::UnknownSession { .. }), "{error:?}"),
                }
            }
        });
        futures::join!(join_all(opens), join_all(deletes));
    }
    usable(&store, "s").await;
    assert_erased(&store).await;
    soon(store.close()).await.unwrap();
}

async fn a_session_that_cannot_be_read_is_deleted_all_the_same(disk: TestDisk) {
    let Some(path) = disk.path() else { return };
    let store = disk.open_model::<Tally>().await;
    usable(&store, "s").await;
    usable(&store, "other").await;
    soon(store.close()).await.unwrap();
    let connection = rusqlite::Connection::open(path.join("events.db")).unwrap();
    connection.execute("UPDATE events SET record = zeroblob(40) WHERE log_key = 1", []).unwrap();
    drop(connection);
    let store = disk.open_model::<Tally>().await;
    assert_refused!(store.open_session("s").await, ErrorKind::CorruptEvent { .. });
    soon(store.delete_session("s")).await.unwrap();
    usable(&store, "s").await;
    assert_erased(&store).await;
    soon(store.close()).await.unwrap();
}
