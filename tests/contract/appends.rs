//! Goal: an append is stamped, durable and folded in the order of the calls, or refused without a trace. Method:
//! receipts in flight, batches, expected heads and bodies that must be refused.

use std::pin::pin;

use foldlog::agent::{AgentBody, Counter, Counters, Eval, SessionInfo, Step, Turn, TurnId};
use foldlog::{Append, BlobRef, ErrorKind, EventId, SubscribeFrom};
use futures::{FutureExt, StreamExt};

use crate::common::*;

on_both_media!(
    an_append_is_answered_with_its_stamped_event_and_shows_in_the_view,
    appends_take_their_ids_in_the_order_of_the_calls,
    a_dropped_receipt_cancels_nothing,
    a_batch_gets_consecutive_ids_and_sees_its_own,
    a_batch_with_one_bad_body_writes_nothing,
    an_empty_batch_succeeds_and_writes_nothing,
    a_fresh_expected_head_is_accepted_and_a_stale_one_refused,
    of_concurrent_appends_that_expect_one_head_exactly_one_is_written,
    the_expected_head_counts_what_is_in_flight,
    next_ids_count_what_is_in_flight,
    a_put_of_what_was_never_started_is_refused_and_the_counters_stay,
    what_is_over_a_limit_is_refused_and_nothing_is_written,
    a_body_that_names_a_missing_blob_is_refused_until_the_blob_is_put,
    a_reference_with_another_length_than_its_blob_has_is_refused_at_the_append,
    what_was_accepted_behind_a_refused_append_is_written,
    a_session_takes_so_many_appends_in_flight_and_says_busy_at_once,
    an_empty_batch_is_refused_like_any_other,
);

async fn an_append_is_answered_with_its_stamped_event_and_shows_in_the_view(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let appended = session.append(user("hello")).unwrap().await.unwrap();
    assert_eq!((appended.head, appended.repeated, ids(&appended.events)), (at(1), false, vec![1]));
    let AgentBody::MessageAppended(message) = appended.events[0].body() else { panic!("it is the body appended") };
    assert_eq!((message.id.get(), message.event_id), (1, at(1)));
    assert_eq!(appended.events[0].event_type(), "message_appended");
    assert_eq!(session.view().unwrap().messages[0].parts, message.parts);
    assert_eq!(session.view().unwrap().head(), at(1));
    assert_head(&session, 1).await;
    store.close().await.unwrap();
}

async fn appends_take_their_ids_in_the_order_of_the_calls(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let mut receipts: Vec<_> = (1..=100).map(|n| session.append(noted(n)).unwrap()).collect();
    // The order of the waits is not the order of the calls.
    while let Some(receipt) = receipts.pop() {
        let appended = soon(receipt).await.unwrap();
        assert_eq!(appended.head, at(receipts.len() as u64 + 1));
        let AgentBody::Custom { json, .. } = appended.events[0].body() else { panic!("it is a note") };
        assert_eq!(json.as_str(), appended.head.to_string());
    }
    assert_head(&session, 100).await;
    store.close().await.unwrap();
}

async fn a_dropped_receipt_cancels_nothing(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    for n in 1..=30 {
        let receipt = session.append(noted(n)).unwrap();
        drop(receipt);
    }
    session.append(noted(31)).unwrap().await.unwrap();
    assert_head(&session, 31).await;
    store.close().await.unwrap();
}

async fn a_batch_gets_consecutive_ids_and_sees_its_own(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    session.append(AgentBody::SessionStarted(SessionInfo::default())).unwrap().await.unwrap();
    let before = session.append(noted(0)).unwrap();
    let batch = session
        .append_batch(vec![
            user("hello"),
            AgentBody::TurnStarted(Turn::default()),
            AgentBody::TurnStarted(Turn::default()),
            AgentBody::StepStarted(Step::of_turn(TurnId::new(2))),
            AgentBody::EvalAdded(Eval::default()),
        ])
        .unwrap();
    let after = session.append(noted(1)).unwrap();
    assert_eq!(before.await.unwrap().head, at(2));
    let batch = batch.await.unwrap();
    assert_eq!((ids(&batch.events), batch.head), (vec![3, 4, 5, 6, 7], at(7)));
    assert_eq!(after.await.unwrap().head, at(8));
    let view = session.view().unwrap();
    assert_eq!(entity_ids(&view), [1, 2, 1, 1]);
    assert_eq!(view.turns.iter().map(|turn| turn.id.get()).collect::<Vec<_>>(), [1, 2]);
    assert_head(&session, 8).await;
    store.close().await.unwrap();
}

async fn a_batch_with_one_bad_body_writes_nothing(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    session.append(user("first")).unwrap().await.unwrap();
    let mut stream = session.subscribe(SubscribeFrom::Now).await.unwrap();
    let bad_kind = AgentBody::Custom { kind: String::new(), json: Default::default() };
    assert_refused!(session.append_batch(vec![user("a"), bad_kind, user("b")]), ErrorKind::BodyRefused { .. });
    let vars = AgentBody::VarsSnapshotted(foldlog::Content::Blob(dangling()));
    let dangling = session.append_batch(vec![user("a"), vars, user("b")]).unwrap();
    assert_refused!(dangling.await, ErrorKind::DanglingRef { .. });
    // It can be checked by itself, and is refused where it is stamped: there is no such turn.
    let nowhere = Turn { id: TurnId::new(2), ..Turn::default() };
    let batch = vec![AgentBody::TurnStarted(Turn::default()), AgentBody::TurnPut(nowhere), user("b")];
    assert_refused!(session.append_batch(batch).unwrap().await, ErrorKind::BodyRefused { .. });
    assert_eq!(session.counters().await.unwrap(), (at(1), session.view().unwrap().counters));
    assert_head(&session, 1).await;
    assert!(stream.next().now_or_never().is_none(), "no subscriber saw any of it");
    assert_eq!(session.append(user("second")).unwrap().await.unwrap().head, at(2));
    assert_head(&session, 2).await;
    store.close().await.unwrap();
}

async fn an_empty_batch_succeeds_and_writes_nothing(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    session.append(user("hello")).unwrap().await.unwrap();
    let nothing = session.append_batch(Vec::new()).unwrap().await.unwrap();
    assert_eq!((nothing.events.len(), nothing.head, nothing.repeated), (0, at(1), false));
    assert_head(&session, 1).await;
    store.close().await.unwrap();
}

async fn a_fresh_expected_head_is_accepted_and_a_stale_one_refused(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let expecting = |head| session.append_with(Append::new(noted(1)).expect_head(head)).unwrap();
    assert_eq!(expecting(EventId::ZERO).await.unwrap().head, at(1));
    assert_eq!(expecting(at(1)).await.unwrap().head, at(2));
    for stale in [0, 1, 3, 99, EventId::MAX.get()] {
        assert_refused!(
            expecting(at(stale)).await,
            ErrorKind::HeadMoved { session, expected, actual }
                if session.as_str() == "s" && *expected == at(stale) && *actual == at(2)
        );
    }
    let batch = Append::batch(vec![noted(1), noted(2)]).expect_head(at(1));
    assert_refused!(session.append_with(batch).unwrap().await, ErrorKind::HeadMoved { .. });
    assert_head(&session, 2).await;
    store.close().await.unwrap();
}

async fn of_concurrent_appends_that_expect_one_head_exactly_one_is_written(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    session.append(noted(0)).unwrap().await.unwrap();
    let receipts: Vec<_> =
        (0..20).map(|n| session.append_with(Append::new(noted(n)).expect_head(at(1))).unwrap()).collect();
    let mut written = 0;
    for receipt in receipts {
        match receipt.await {
            Ok(_) => written += 1,
            Err(error) => assert!(matches!(error.kind(), ErrorKind::HeadMoved { .. }), "{error:?}"),
        }
    }
    assert_eq!(written, 1);
    assert_head(&session, 2).await;
    store.close().await.unwrap();
}

async fn the_expected_head_counts_what_is_in_flight(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let first = session.append(noted(1)).unwrap();
    let second = session.append_with(Append::new(noted(2)).expect_head(at(1))).unwrap();
    let third = session.append_with(Append::new(noted(3)).expect_head(at(1))).unwrap();
    assert_eq!(first.await.unwrap().head, at(1));
    assert_eq!(second.await.unwrap().head, at(2));
    assert_refused!(third.await, ErrorKind::HeadMoved { actual, .. } if *actual == at(2));
    assert_head(&session, 2).await;
    store.close().await.unwrap();
}

async fn next_ids_count_what_is_in_flight(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    assert_eq!(session.counters().await.unwrap().0.next().get(), 1);
    for counter in [Counter::Message, Counter::Turn, Counter::Step, Counter::Eval] {
        assert_eq!(session.next_id(counter).await.unwrap(), 1);
    }
    let receipts: Vec<_> = (0..10).map(|_| session.append(AgentBody::TurnStarted(Turn::default())).unwrap()).collect();
    assert_eq!(session.next_id(Counter::Turn).await.unwrap(), 11);
    assert_eq!(session.counters().await.unwrap().0.next().get(), 11);
    assert_eq!(session.next_id(Counter::Step).await.unwrap(), 1);
    let (head, counters) = session.counters().await.unwrap();
    assert_eq!((head, counters.turn), (at(10), 10));
    for receipt in receipts {
        receipt.await.unwrap();
    }
    let appended = session.append(AgentBody::TurnStarted(Turn::default())).unwrap().await.unwrap();
    let AgentBody::TurnStarted(turn) = appended.events[0].body() else { panic!("it is a turn") };
    assert_eq!(turn.id.get(), 11, "what was promised is what it gets");
    store.close().await.unwrap();
}

async fn a_put_of_what_was_never_started_is_refused_and_the_counters_stay(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    session.append(AgentBody::TurnStarted(Turn::default())).unwrap().await.unwrap();
    let put = session.append(AgentBody::TurnPut(Turn { id: TurnId::new(7), ..Turn::default() })).unwrap();
    assert_eq!(session.next_id(Counter::Turn).await.unwrap(), 2);
    assert_refused!(put.await, ErrorKind::BodyRefused { .. });
    session.append(AgentBody::TurnStarted(Turn::default())).unwrap().await.unwrap();
    let put = session.append(AgentBody::TurnPut(Turn { id: TurnId::new(2), ..Turn::default() })).unwrap();
    put.await.unwrap();
    assert_eq!(session.view().unwrap().turns.iter().map(|turn| turn.id.get()).collect::<Vec<_>>(), [1, 2]);
    assert_refused!(session.append(AgentBody::TurnPut(Turn::default())), ErrorKind::BodyRefused { .. });
    assert_head(&session, 3).await;
    store.close().await.unwrap();
}

async fn what_is_over_a_limit_is_refused_and_nothing_is_written(disk: TestDisk) {
    let change = |config: &mut foldlog::StoreConfig| {
        (config.batch_events_max, config.record_bytes_max) = (3, 1000);
    };
    let store = disk.open_with(change).await;
    let session = store.open_session("s").await.unwrap();
    let four = (0..4).map(noted).collect();
    assert_refused!(session.append_batch(four), ErrorKind::TooLarge { size: 4, limit: 3, .. });
    let large = session.append(user("x".repeat(1000))).unwrap().await;
    assert_refused!(large, ErrorKind::TooLarge { size: 1001.., limit: 1000, .. });
    let batch = session.append_batch(vec![noted(0), user("x".repeat(1000)), noted(1)]).unwrap().await;
    assert_refused!(batch, ErrorKind::TooLarge { limit: 1000, .. });
    assert_eq!(session.counters().await.unwrap(), (EventId::ZERO, Counters::default()));
    assert_head(&session, 0).await;
    let three = (0..3).map(noted).collect();
    let ahead = session.append_batch(three).unwrap();
    let refused = session.append(user("x".repeat(1000))).unwrap();
    let behind = session.append(noted(3)).unwrap();
    assert_eq!(ids_of(&ahead.await.unwrap()), [1, 2, 3]);
    assert_refused!(refused.await, ErrorKind::TooLarge { .. });
    assert_eq!(behind.await.unwrap().head, at(4));
    assert_head(&session, 4).await;
    store.close().await.unwrap();
}

async fn a_body_that_names_a_missing_blob_is_refused_until_the_blob_is_put(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    // Its digest is known from another store; this one does not have it.
    let other = TestDisk::memory().open().await;
    let blob = other.put_text("somewhere else").await.unwrap();
    other.close().await.unwrap();
    let vars = || AgentBody::VarsSnapshotted(foldlog::Content::Blob(blob));
    assert_refused!(
        session.append(vars()).unwrap().await,
        ErrorKind::DanglingRef { digest } if *digest == blob.digest
    );
    assert_head(&session, 0).await;
    assert_eq!(store.put_text("somewhere else").await.unwrap(), blob);
    assert_eq!(session.append(vars()).unwrap().await.unwrap().head, at(1));
    assert_head(&session, 1).await;
    store.close().await.unwrap();
}

async fn a_reference_with_another_length_than_its_blob_has_is_refused_at_the_append(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let blob = store.put_text("stored").await.unwrap();
    let vars = |bytes| AgentBody::VarsSnapshotted(foldlog::Content::Blob(BlobRef { bytes, ..blob }));
    // Known to this store, and to one that has to look.
    let other = disk.open().await;
    let there = other.open_session("there").await.unwrap();
    for session in [&session, &there] {
        for bytes in [5, 7, 0, u64::MAX] {
            let batch = vec![vars(6), vars(bytes)];
            assert_refused!(
                session.append_batch(batch).unwrap().await,
                ErrorKind::WrongBlobLength { digest, referenced, stored: 6 }
                    if *digest == blob.digest && *referenced == bytes
            );
            assert_head(session, 0).await;
        }
        assert_eq!(session.append(vars(6)).unwrap().await.unwrap().head, at(1));
    }
    assert!(store.verify().await.unwrap().is_sound());
    other.close().await.unwrap();
    store.close().await.unwrap();
}

async fn what_was_accepted_behind_a_refused_append_is_written(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let blob = store.put_text("stored").await.unwrap();
    let first = session.append(noted(1)).unwrap();
    let refused = session.append(AgentBody::VarsSnapshotted(foldlog::Content::Blob(dangling()))).unwrap();
    let stale = session.append_with(Append::new(noted(2)).expect_head(at(77))).unwrap();
    let vars = |blob| AgentBody::VarsSnapshotted(foldlog::Content::Blob(blob));
    let batch = session.append_batch(vec![noted(3), vars(blob), vars(dangling())]).unwrap();
    let whole = session.append_batch(vec![noted(3), vars(blob)]).unwrap();
    let last = session.append(noted(4)).unwrap();
    assert_eq!(first.await.unwrap().head, at(1));
    assert_refused!(refused.await, ErrorKind::DanglingRef { .. });
    assert_refused!(stale.await, ErrorKind::HeadMoved { .. });
    assert_refused!(batch.await, ErrorKind::DanglingRef { .. });
    assert_eq!(ids_of(&whole.await.unwrap()), [2, 3]);
    assert_eq!(last.await.unwrap().head, at(4));
    assert_head(&session, 4).await;
    assert!(store.verify().await.unwrap().is_sound());
    store.close().await.unwrap();
}

async fn a_session_takes_so_many_appends_in_flight_and_says_busy_at_once(disk: TestDisk) {
    let store = disk.open_with(|config| config.session_in_flight_max = 8).await;
    let session = store.open_session("s").await.unwrap();
    let other = store.open_session("other").await.unwrap();
    // Nothing is handled before the first wait: this is the arbiter of the session.
    let mut receipts: Vec<_> = (0..8).map(|n| session.append(noted(n)).unwrap()).collect();
    assert_refused!(session.append(noted(8)), ErrorKind::Busy { limit: 8, .. });
    assert_refused!(session.append_batch(vec![noted(8)]), ErrorKind::Busy { .. });
    assert_refused!(session.notify(shown(1)), ErrorKind::Busy { .. });
    receipts.push(other.append(noted(0)).unwrap());
    for receipt in receipts {
        pin!(receipt).await.unwrap();
    }
    assert_head(&session, 8).await;
    assert_head(&other, 1).await;
    // A receipt that was dropped and an append that was refused count no more once they are answered.
    for n in 0..10 {
        drop(session.append(noted(n)).unwrap());
        session.append(noted(n)).unwrap().await.unwrap();
        let stale = session.append_with(Append::new(noted(n)).expect_head(EventId::ZERO)).unwrap();
        assert_refused!(stale.await, ErrorKind::HeadMoved { .. });
    }
    assert_head(&session, 28).await;
    store.close().await.unwrap();
}

async fn an_empty_batch_is_refused_like_any_other(disk: TestDisk) {
    let store = disk.open().await;
    let session = soon(store.open_session("s")).await.unwrap();
    soon(session.append(noted(1)).unwrap()).await.unwrap();
    let empty = |head| session.append_with(Append::batch(vec![]).expect_head(at(head))).unwrap();
    assert_eq!(soon(empty(1)).await.unwrap().head, at(1));
    assert_refused!(soon(empty(7)).await, ErrorKind::HeadMoved { actual, .. } if *actual == at(1));
    assert_head(&session, 1).await;
    soon(session.close()).await.unwrap();
    assert_refused!(session.append_batch(vec![]), ErrorKind::SessionClosed { .. });
    soon(store.close()).await.unwrap();
}
