//! Goal: every public message does what its call does, and a restart of any actor, with work in flight, loses nothing
//! and answers everything. Method: send the messages to the addresses, and `Restart` between them.

use foldlog::agent::{Agent, AgentBody, Turn};
use foldlog::{
    Append, Appended, BlobKind, Condition, CurrentView, Error, ErrorKind, EventId, EventsAfter, GetBlob, Item, NextIds,
    Notify, PutBlob, Recovery, Restart, Session, Subscribe, SubscribeFrom, TakeTurn,
};
use futures::future::join_all;

use crate::common::*;

on_both_media!(
    append_is_answered_with_the_committed_events,
    an_append_that_is_refused_answers_so,
    current_view_is_the_view,
    events_after_reads_a_page,
    next_ids_count_what_was_sent_before,
    notify_shows_a_transient_after_the_appends_sent_before,
    subscribe_registers_a_recipient,
    take_turn_gives_one_guard,
    recovery_tells_what_the_last_one_found,
    a_session_restarts_with_appends_in_flight,
    a_session_restarts_while_it_recovers,
    a_restart_keeps_the_address_the_turn_and_the_keys,
    the_persist_actor_restarts_with_appends_in_flight,
    the_persist_actor_and_the_sessions_restart_at_once,
    put_blob_and_get_blob_are_the_blobs,
    the_blob_actor_restarts_with_puts_and_appends_in_flight,
    messages_to_a_closed_session_are_refused,
);

async fn append_is_answered_with_the_committed_events(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let address = session.address().unwrap();
    let appended = address.send(Append::<Agent>::new(user("hello"))).await.unwrap().unwrap();
    assert_eq!((ids(&appended.events), appended.head, appended.repeated), (vec![1], at(1), false));
    assert_eq!(session.view().unwrap().head(), at(1));
    let batch = Append::<Agent>::batch(vec![user("a"), user("b")]).expect_head(at(1)).key(key("k"));
    assert_eq!(address.send(batch.clone()).await.unwrap().unwrap().head, at(3));
    assert!(address.send(batch).await.unwrap().unwrap().repeated);
    assert!(address.send(Append::<Agent>::batch(Vec::new())).await.unwrap().unwrap().events.is_empty());
    assert_head(&session, 3).await;
    store.close().await.unwrap();
}

async fn an_append_that_is_refused_answers_so(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let address = session.address().unwrap();
    let stale = Append::<Agent>::new(user("x")).expect_head(at(9));
    assert_refused!(address.send(stale).await.unwrap(), ErrorKind::HeadMoved { .. });
    let bad = AgentBody::Custom { kind: String::new(), json: Default::default() };
    assert_refused!(address.send(Append::<Agent>::new(bad)).await.unwrap(), ErrorKind::BodyRefused { .. });
    assert_head(&session, 0).await;
    store.close().await.unwrap();
}

async fn current_view_is_the_view(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let address = session.address().unwrap();
    session.append(user("hello")).unwrap().await.unwrap();
    let view = address.send(CurrentView::<Agent>::default()).await.unwrap().unwrap();
    assert!(std::sync::Arc::ptr_eq(&view, &session.view().unwrap()));
    assert_eq!(view.messages.len(), 1);
    store.close().await.unwrap();
}

async fn events_after_reads_a_page(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    session.append_batch((1..=5).map(noted).collect()).unwrap().await.unwrap();
    let page = session.address().unwrap().send(EventsAfter::<Agent>::new(at(1), 3)).await.unwrap().unwrap();
    assert_eq!((ids(&page.events), page.more), (vec![2, 3, 4], true));
    let page = session.address().unwrap().send(EventsAfter::<Agent>::new(at(5), 3)).await.unwrap().unwrap();
    assert_eq!((ids(&page.events), page.more), (vec![], false));
    store.close().await.unwrap();
}

async fn next_ids_count_what_was_sent_before(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let address = session.address().unwrap();
    let receipt = session.append_batch(vec![AgentBody::TurnStarted(Turn::default()), user("x")]).unwrap();
    let (head, counters) = address.send(NextIds::<Agent>::default()).await.unwrap().unwrap();
    assert_eq!((head, counters.turn, counters.message), (at(2), 1, 1));
    receipt.await.unwrap();
    store.close().await.unwrap();
}

async fn notify_shows_a_transient_after_the_appends_sent_before(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let (recipient, mut received) = collector();
    session.subscribe_actor(SubscribeFrom::Now, recipient).await.unwrap();
    let receipt = session.append(noted(1)).unwrap();
    session.address().unwrap().send(Notify::<Agent>(shown(7))).await.unwrap().unwrap();
    assert_eq!(received.take(1).await, ["1"]);
    let Item::Transient(transient) = received.next().await else { panic!("it is the transient") };
    assert_eq!(transient, shown(7));
    receipt.await.unwrap();
    assert_head(&session, 1).await;
    store.close().await.unwrap();
}

async fn subscribe_registers_a_recipient(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    session.append(noted(1)).unwrap().await.unwrap();
    let (recipient, mut received) = collector();
    let subscribe = Subscribe { from: SubscribeFrom::After(EventId::ZERO), recipient };
    let subscription = session.address().unwrap().send(subscribe).await.unwrap().unwrap();
    session.append(noted(2)).unwrap().await.unwrap();
    assert_eq!(received.take(2).await, ["1", "2"]);
    subscription.cancel();
    session.append(noted(3)).unwrap().await.unwrap();
    store.close().await.unwrap();
    assert!(received.so_far().is_empty());
}

async fn take_turn_gives_one_guard(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let address = session.address().unwrap();
    let guard = address.send(TakeTurn::<Agent>::default()).await.unwrap().unwrap();
    assert_refused!(address.send(TakeTurn::<Agent>::default()).await.unwrap(), ErrorKind::TurnInFlight { .. });
    assert_refused!(session.take_turn().await, ErrorKind::TurnInFlight { .. });
    drop(guard);
    drop(session.take_turn().await.unwrap());
    store.close().await.unwrap();
}

async fn recovery_tells_what_the_last_one_found(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let address = session.address().unwrap();
    assert_eq!(address.send(Recovery).await.unwrap().unwrap().events, 0);
    session.append(AgentBody::TurnStarted(Turn::default())).unwrap().await.unwrap();
    address.send(Restart).await.unwrap();
    let report = soon(address.send(Recovery)).await.unwrap().unwrap();
    assert_eq!((report.events, report.unfinished.len(), report.condition), (1, 1, Condition::Ready));
    store.close().await.unwrap();
}

/// Every answer is definite and true: written with these ids, or not written. Tells how many were written.
async fn assert_answers_are_true(session: &Session, answers: Vec<Result<Appended<Agent>, Error>>) -> u64 {
    let mut written = Vec::new();
    for answer in answers {
        match answer {
            Ok(appended) => written.extend(ids(&appended.events)),
            Err(error) => assert!(matches!(error.kind(), ErrorKind::NotWritten { .. }), "{error:?}"),
        }
    }
    session.recovery().await.unwrap();
    assert_head(session, written.len() as u64).await;
    assert_eq!(written, (1..=written.len() as u64).collect::<Vec<_>>(), "in the order of the calls");
    written.len() as u64
}

async fn a_session_restarts_with_appends_in_flight(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let other = store.open_session("other").await.unwrap();
    let mut receipts = Vec::new();
    let mut others = Vec::new();
    for n in 0..200 {
        receipts.push(session.append(user(n.to_string())).unwrap());
        others.push(other.append(noted(n)).unwrap());
        if n % 40 == 20 {
            session.address().unwrap().send(Restart).await.unwrap();
        }
    }
    let written = assert_answers_are_true(&session, soon(join_all(receipts)).await).await;
    assert!(written > 0);
    assert_eq!(session.view().unwrap().counters.message, written, "the counters are those of the log");
    assert!(soon(join_all(others)).await.iter().all(Result::is_ok), "no other session is touched");
    assert_eq!(session.append(noted(0)).unwrap().await.unwrap().head, at(written + 1));
    store.close().await.unwrap();
}

async fn a_session_restarts_while_it_recovers(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    session.append_batch((0..50).map(noted).collect()).unwrap().await.unwrap();
    let address = session.address().unwrap();
    for _ in 0..20 {
        address.try_send(Restart).unwrap();
        // Waits for the recovery that is on, if one is.
        let counted = soon(session.counters());
        address.send(Restart).await.unwrap();
        assert_eq!(counted.await.unwrap().0, at(50));
    }
    soon(session.recovery()).await.unwrap();
    assert_eq!(session.append(noted(0)).unwrap().await.unwrap().head, at(51));
    assert_head(&session, 51).await;
    store.close().await.unwrap();
}

async fn a_restart_keeps_the_address_the_turn_and_the_keys(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let address = session.address().unwrap();
    let guard = session.take_turn().await.unwrap();
    let keyed = || Append::<Agent>::new(noted(1)).key(key("k"));
    session.append_with(keyed()).unwrap().await.unwrap();
    address.send(Restart).await.unwrap();
    assert_refused!(session.take_turn().await, ErrorKind::TurnInFlight { .. });
    assert!(address.send(keyed()).await.unwrap().unwrap().repeated);
    assert_eq!(session.address().unwrap(), address);
    drop(guard);
    drop(session.take_turn().await.unwrap());
    assert_head(&session, 1).await;
    store.close().await.unwrap();
}

async fn the_persist_actor_restarts_with_appends_in_flight(disk: TestDisk) {
    let store = disk.open().await;
    let sessions = join_all((0..4).map(|n| store.open_session(format!("s{n}")))).await;
    let sessions: Vec<_> = sessions.into_iter().map(Result::unwrap).collect();
    let mut receipts: Vec<Vec<_>> = sessions.iter().map(|_| Vec::new()).collect();
    let mut restarts = Vec::new();
    for n in 0..100 {
        for (session, receipts) in sessions.iter().zip(&mut receipts) {
            receipts.push(session.append(noted(n)).unwrap());
        }
        if n % 10 == 5 {
            restarts.push(actix::spawn(store.persist_address().send(Restart)));
            actix::clock::sleep(std::time::Duration::ZERO).await;
        }
    }
    for (session, receipts) in sessions.iter().zip(receipts) {
        assert_answers_are_true(session, soon(join_all(receipts)).await).await;
        let head = session.view().unwrap().head();
        assert_eq!(session.append(noted(0)).unwrap().await.unwrap().head, head.next());
    }
    assert!(soon(join_all(restarts)).await.into_iter().all(|restart| restart.unwrap().is_ok()));
    store.close().await.unwrap();
}

async fn the_persist_actor_and_the_sessions_restart_at_once(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let mut receipts = Vec::new();
    for n in 0..60 {
        receipts.push(session.append(noted(n)).unwrap());
        if n % 20 == 10 {
            let (persist, session) = (store.persist_address(), session.address().unwrap());
            let (one, two) = futures::join!(persist.send(Restart), session.send(Restart));
            assert!(one.is_ok() && two.is_ok());
        }
    }
    assert_answers_are_true(&session, soon(join_all(receipts)).await).await;
    store.close().await.unwrap();
}

async fn put_blob_and_get_blob_are_the_blobs(disk: TestDisk) {
    let store = disk.open().await;
    let address = store.blob_address();
    let blob = address.send(PutBlob { bytes: b"hello".to_vec(), kind: BlobKind::Text }).await.unwrap().unwrap();
    assert_eq!(blob, store.put_text("hello").await.unwrap());
    assert_eq!(address.send(GetBlob { digest: blob.digest }).await.unwrap().unwrap(), b"hello");
    let missing = address.send(GetBlob { digest: dangling().digest }).await.unwrap();
    assert_refused!(missing, ErrorKind::UnknownBlob { .. });
    store.close().await.unwrap();
}

async fn the_blob_actor_restarts_with_puts_and_appends_in_flight(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let address = store.blob_address();
    let mut puts = Vec::new();
    for n in 0..40 {
        let store = store.clone();
        puts.push(actix::spawn(async move { store.put_text(format!("blob {n}")).await }));
        if n % 10 == 5 {
            address.send(Restart).await.unwrap();
        }
    }
    let mut receipts = Vec::new();
    for (n, put) in soon(join_all(puts)).await.into_iter().enumerate() {
        let blob = put.unwrap().unwrap();
        receipts.push(session.append(AgentBody::VarsSnapshotted(foldlog::Content::Blob(blob))).unwrap());
        if n % 10 == 5 {
            address.send(Restart).await.unwrap();
        }
    }
    for (n, receipt) in receipts.into_iter().enumerate() {
        assert_eq!(soon(receipt).await.unwrap().head, at(n as u64 + 1));
    }
    assert_refused!(store.get_bytes(dangling().digest).await, ErrorKind::UnknownBlob { .. });
    assert!(store.verify().await.unwrap().is_sound());
    assert_head(&session, 40).await;
    store.close().await.unwrap();
}

async fn messages_to_a_closed_session_are_refused(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let address = session.address().unwrap();
    session.append(noted(1)).unwrap().await.unwrap();
    session.close().await.unwrap();
    let late = soon(address.send(Append::<Agent>::new(noted(2)))).await.unwrap();
    assert_refused!(late, ErrorKind::SessionClosed { .. });
    assert_refused!(soon(address.send(NextIds::<Agent>::default())).await.unwrap(), ErrorKind::SessionClosed { .. });
    assert_refused!(soon(address.send(Recovery)).await.unwrap(), ErrorKind::SessionClosed { .. });
    let (recipient, mut received) = collector();
    let subscribed = soon(address.send(Subscribe::<Agent> { from: SubscribeFrom::Now, recipient })).await.unwrap();
    assert_refused!(subscribed, ErrorKind::SessionClosed { .. });
    assert_refused!(soon(address.send(Notify::<Agent>(shown(1)))).await.unwrap(), ErrorKind::SessionClosed { .. });
    assert_refused!(soon(address.send(TakeTurn::<Agent>::default())).await.unwrap(), ErrorKind::SessionClosed { .. });
    assert_eq!(address.send(CurrentView::<Agent>::default()).await.unwrap().unwrap().head(), at(1));
    assert!(received.so_far().is_empty());
    assert_head(&store.open_session("s").await.unwrap(), 1).await;
    store.close().await.unwrap();
}
