//! Goal: each call is answered by a session that was emptied as by one in memory. Method: empty it before every call.

use std::sync::Arc;

use foldlog::agent::{AgentBody, Counter, Turn};
use foldlog::{
    Append, CurrentView, ErrorKind, EventId, EventsAfter, NextIds, Notify, Recovery, Restart, StopOutcome, Subscribe,
    SubscribeFrom, TakeOver, TakeTurn,
};
use futures::StreamExt;

use super::{empty, empty_one};
use crate::common::*;

on_both_media!(
    an_emptied_session_shows_the_same_view_and_goes_on_where_it_was,
    the_view_of_an_emptied_session_is_there_on_its_own_arbiter_at_once_and_again,
    a_view_is_read_once_for_all_who_ask_while_the_session_wakes,
    keys_and_heads_are_found_after_emptying,
    each_message_is_answered_by_an_emptied_session,
    a_turn_and_the_hosts_context_are_kept,
    an_emptied_session_opens_at_once_and_without_a_read,
    subscribers_from_before_and_after_miss_nothing_and_see_nothing_twice,
    a_transient_reaches_subscribers_and_wakes_nobody,
    what_wants_no_view_leaves_the_session_cold,
    stopping_and_compacting_work_on_an_emptied_session,
);

async fn an_emptied_session_shows_the_same_view_and_goes_on_where_it_was(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    for n in 1..=5 {
        session.append(user(n.to_string())).unwrap().await.unwrap();
    }
    let before = session.view().unwrap();
    let stats = store.stats();
    assert_eq!((stats.sessions_resident, stats.recovery_micros.count()), (1, 0));
    assert!(stats.resident_bytes > 0);
    empty_one(&session).await;
    assert_eq!(*session.view().unwrap(), *before);
    empty_one(&session).await;
    assert_eq!(*session.current_view().await.unwrap(), *before);
    empty_one(&session).await;
    assert_eq!(session.append(user("6")).unwrap().await.unwrap().head, at(6));
    assert_head(&session, 6).await;
    // A session that is cold already is not emptied again.
    empty_one(&session).await;
    empty(&store, 0);
    empty(&store, 0);
    assert_head(&session, 6).await;
    session.recovery().await.unwrap();
    let bytes = store.stats().resident_bytes;
    assert!(bytes > stats.resident_bytes, "{bytes}");
    store.close().await.unwrap();
}

async fn the_view_of_an_emptied_session_is_there_on_its_own_arbiter_at_once_and_again(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    session.append(user("1")).unwrap().await.unwrap();
    for _ in 0..20 {
        // The actor may not have taken the notice of the last waking from its mailbox yet.
        store.empty_idle_sessions();
        let first = session.view().unwrap();
        assert_eq!(first.head(), at(1));
        assert_eq!(*first, *session.view().unwrap());
        soon(session.address().unwrap().send(Restart)).await.unwrap();
        store.empty_idle_sessions();
        assert_eq!((session.view().unwrap().head(), session.unfinished().unwrap()), (at(1), vec![]));
    }
    store.close().await.unwrap();
}

async fn a_view_is_read_once_for_all_who_ask_while_the_session_wakes(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    session.append(user("1")).unwrap().await.unwrap();
    empty_one(&session).await;
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let session = session.clone();
            std::thread::spawn(move || session.view().unwrap())
        })
        .collect();
    let views: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(views.iter().all(|view| Arc::ptr_eq(view, &views[0])));
    assert_eq!((views[0].head(), store.stats().recovery_micros.count()), (at(1), 1));
    store.close().await.unwrap();
}

async fn keys_and_heads_are_found_after_emptying(disk: TestDisk) {
    for keys_max in [0, 1, 1024] {
        let store = disk.open_with(|config| config.append_keys_max = keys_max).await;
        let session = store.open_session(format!("s{keys_max}")).await.unwrap();
        let keyed = |n: u64, body: u64| session.append_with(Append::new(noted(body)).key(key(&n.to_string()))).unwrap();
        for n in 1..=3 {
            assert!(!keyed(n, n).await.unwrap().repeated);
        }
        for n in 1..=3 {
            empty_one(&session).await;
            let again = keyed(n, n).await.unwrap();
            assert_eq!((again.repeated, again.head), (true, at(n)));
            empty_one(&session).await;
            assert_refused!(keyed(n, 9).await, ErrorKind::KeyReused { first, .. } if *first == at(n));
        }
        empty_one(&session).await;
        let stale = session.append_with(Append::new(noted(4)).expect_head(at(2))).unwrap().await;
        assert_refused!(stale, ErrorKind::HeadMoved { actual, .. } if *actual == at(3));
        empty_one(&session).await;
        session.append_with(Append::new(noted(4)).expect_head(at(3)).key(key("4"))).unwrap().await.unwrap();
        assert_head(&session, 4).await;
        store.close().await.unwrap();
    }
}

async fn each_message_is_answered_by_an_emptied_session(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    session.append(user("1")).unwrap().await.unwrap();
    // An address from before the session was emptied.
    let address = session.address().unwrap();
    empty_one(&session).await;
    assert_eq!(soon(address.send(Append::new(user("2")))).await.unwrap().unwrap().head, at(2));
    empty_one(&session).await;
    let view = soon(address.send(CurrentView::default())).await.unwrap().unwrap();
    assert_eq!(view.head(), at(2));
    empty_one(&session).await;
    let page = soon(address.send(EventsAfter::new(EventId::ZERO, 10))).await.unwrap().unwrap();
    assert_eq!(ids(&page.events), [1, 2]);
    let (head, counters) = soon(address.send(NextIds::default())).await.unwrap().unwrap();
    assert_eq!((head, counters.next(Counter::Message)), (at(2), 3));
    empty_one(&session).await;
    assert_eq!(session.counters().await.unwrap(), (head, counters));
    empty_one(&session).await;
    soon(address.send(Notify(shown(1)))).await.unwrap().unwrap();
    let (recipient, mut received) = collector();
    soon(address.send(Subscribe { from: SubscribeFrom::After(at(1)), recipient })).await.unwrap().unwrap();
    assert_eq!(received.take(1).await, ["2"]);
    drop(soon(address.send(TakeTurn::default())).await.unwrap().unwrap());
    empty_one(&session).await;
    soon(address.send(TakeOver)).await.unwrap().unwrap();
    store.empty_idle_sessions();
    assert_eq!(soon(address.send(Recovery)).await.unwrap().unwrap().events, 2);
    for _ in 0..2 {
        soon(address.send(Restart)).await.unwrap();
    }
    assert_eq!(soon(address.send(Append::new(user("3")))).await.unwrap().unwrap().head, at(3));
    assert_eq!(received.take(1).await, ["3"]);
    assert_head(&session, 3).await;
    store.close().await.unwrap();
}

async fn a_turn_and_the_hosts_context_are_kept(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let context = session.context_or_insert_with(|| 7_u64);
    let guard = session.take_turn().await.unwrap();
    session.append(AgentBody::TurnStarted(Turn::default())).unwrap().await.unwrap();
    empty_one(&session).await;
    assert_refused!(session.take_turn().await, ErrorKind::TurnInFlight { .. });
    store.empty_idle_sessions();
    assert!(Arc::ptr_eq(&context, &session.context::<u64>().unwrap()));
    assert_eq!(session.unfinished().unwrap().len(), 1);
    store.empty_idle_sessions();
    drop(guard);
    drop(session.take_turn().await.unwrap());
    assert_head(&session, 1).await;
    store.close().await.unwrap();
}

async fn an_emptied_session_opens_at_once_and_without_a_read(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    session.append(user("1")).unwrap().await.unwrap();
    empty_one(&session).await;
    let again = store.open_session("s").await.unwrap();
    let resumed = store.resume_session("s").await.unwrap();
    assert_eq!(store.stats().recovery_micros.count(), 0);
    assert_eq!(again.append(user("2")).unwrap().await.unwrap().head, at(2));
    assert_head(&resumed, 2).await;
    assert!(Arc::ptr_eq(&session.view().unwrap(), &resumed.view().unwrap()));
    store.close().await.unwrap();
}

async fn subscribers_from_before_and_after_miss_nothing_and_see_nothing_twice(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    session.append(noted(1)).unwrap().await.unwrap();
    let (recipient, mut before) = collector();
    session.subscribe_actor(SubscribeFrom::After(EventId::ZERO), recipient).await.unwrap();
    let stream = session.subscribe(SubscribeFrom::Now).await.unwrap();
    session.append(noted(2)).unwrap().await.unwrap();
    empty_one(&session).await;
    let (recipient, mut cold) = collector();
    session.subscribe_actor(SubscribeFrom::After(at(1)), recipient).await.unwrap();
    let (recipient, mut now) = collector();
    session.subscribe_actor(SubscribeFrom::Now, recipient).await.unwrap();
    for n in 3..=4 {
        session.append(noted(n)).unwrap().await.unwrap();
        empty_one(&session).await;
    }
    store.close().await.unwrap();
    assert_eq!(before.until_ended().await, ["1", "2", "3", "4"]);
    assert_eq!(cold.until_ended().await, ["2", "3", "4"]);
    assert_eq!(now.until_ended().await, ["3", "4"]);
    let streamed: Vec<_> = soon(stream.map(|item| subscribers::short(&item)).collect()).await;
    assert_eq!(streamed, ["2", "3", "4"]);
}

async fn a_transient_reaches_subscribers_and_wakes_nobody(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let (recipient, mut received) = collector();
    session.subscribe_actor(SubscribeFrom::Now, recipient).await.unwrap();
    empty_one(&session).await;
    session.notify(shown(1)).unwrap();
    assert_eq!(received.take(1).await, ["transient"]);
    assert_eq!((store.stats().sessions_resident, store.stats().recovery_micros.count()), (0, 0));
    session.append(noted(1)).unwrap().await.unwrap();
    session.notify(shown(2)).unwrap();
    assert_eq!(received.take(2).await, ["1", "transient"]);
    store.close().await.unwrap();
}

async fn what_wants_no_view_leaves_the_session_cold(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    session.append(noted(1)).unwrap().await.unwrap();
    empty_one(&session).await;
    assert_eq!(session.condition(), foldlog::Condition::Ready);
    assert_eq!(log_ids(&session).await, [1]);
    session.recovery().await.unwrap();
    soon(session.address().unwrap().send(Restart)).await.unwrap();
    assert_eq!(session.recovery().await.unwrap().events, 0);
    assert_eq!((store.stats().sessions_resident, store.stats().recovery_micros.count()), (0, 0));
    session.close().await.unwrap();
    store.close().await.unwrap();
}

async fn stopping_and_compacting_work_on_an_emptied_session(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    session.append(user("1")).unwrap().await.unwrap();
    empty_one(&session).await;
    session.compact(foldlog::agent::Message::user("all of it"), at(1), None).await.unwrap();
    empty_one(&session).await;
    assert_eq!(session.stop().await.unwrap(), StopOutcome::Stopped);
    empty_one(&session).await;
    assert_refused!(session.take_turn().await, ErrorKind::SessionStopped { .. });
    assert_head(&session, 4).await;
    store.close().await.unwrap();
}
