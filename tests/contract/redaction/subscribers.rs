//! Goal: subscribers get nothing of what was redacted, however the redaction is answered. Method: a secret waits in a
//! subscriber's queue; the session's actor restarts, the outcome stays unknown, or another store redacts.

use foldlog::agent::Agent;
use foldlog::testkit::{Call, Fault, Faults, Group, Port};
use foldlog::{ErrorKind, EventId, EventStream, EventsAfter, Item, OwnBody, Restart, Session, Store, SubscribeFrom};
use futures::StreamExt;

use super::{SECRET, assert_gone, redact, say};
use crate::common::*;

on_both_media!(
    a_subscriber_is_given_nothing_of_what_was_queued_and_learns_what_was_redacted,
    a_redaction_that_a_restart_answers_leaves_subscribers_nothing_of_before,
    a_redaction_of_unknown_outcome_leaves_subscribers_nothing_of_before_once_the_log_was_read,
    a_subscriber_of_another_store_is_given_nothing_of_before_once_the_log_was_read,
    a_read_in_another_store_takes_the_secret_out_of_its_view,
    a_read_in_a_store_that_has_lost_the_session_takes_the_secret_out_of_its_view,
);

async fn a_subscriber_is_given_nothing_of_what_was_queued_and_learns_what_was_redacted(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let (mut live, mut late) = (
        session.subscribe(SubscribeFrom::Now).await.unwrap(),
        session.subscribe(SubscribeFrom::After(EventId::ZERO)).await.unwrap(),
    );
    say(&session, "one").await;
    let said = say(&session, SECRET).await;
    say(&session, "three").await;
    let Item::Event(first) = soon(live.next()).await.unwrap() else { panic!("an event") };
    assert_eq!(first.id(), at(1));
    soon(session.redact(redact([said]))).await.unwrap();
    say(&session, "five").await;
    for (stream, from) in [(&mut live, 2), (&mut late, 1)] {
        for id in from..=5 {
            let item = soon(stream.next()).await.unwrap();
            let Item::Event(event) = &item else { panic!("{item:?}") };
            assert_eq!(event.id(), at(id));
            assert!(!format!("{item:?}").contains(SECRET), "{item:?}");
            if id == 4 {
                let OwnBody::Redacted(noted) = event.as_own().unwrap().body() else { panic!("{event:?}") };
                assert_eq!(noted.events[0].event, said);
            }
        }
    }
    soon(store.close()).await.unwrap();
}

/// A store with faults; the secret is event 2, and is queued for a subscriber that was given event 1.
async fn queued_secret(disk: &TestDisk) -> (Faults, Store, Session, EventStream<Agent>) {
    let faults = Faults::default();
    let store = Store::open(faults.watch(disk.config())).await.unwrap();
    let session = store.open_session("s").await.unwrap();
    let mut live = session.subscribe(SubscribeFrom::Now).await.unwrap();
    say(&session, "one").await;
    say(&session, SECRET).await;
    assert_next(&mut live, 1).await;
    (faults, store, session, live)
}

/// The next item is this event, and does not have the secret.
async fn assert_next(stream: &mut EventStream<Agent>, id: u64) {
    let item = soon(stream.next()).await.unwrap();
    let Item::Event(event) = &item else { panic!("{item:?}") };
    assert_eq!(event.id(), at(id));
    assert!(!format!("{item:?}").contains(SECRET), "{item:?}");
}

async fn a_redaction_that_a_restart_answers_leaves_subscribers_nothing_of_before(disk: TestDisk) {
    let (faults, store, session, mut live) = queued_secret(&disk).await;
    let redacts = |group: &Group| matches!(group, Group::Redact { .. });
    let mut held = faults
        .hold_where(Port::Commit, move |call| matches!(call, Call::Commit { group } if group.iter().any(redacts)));
    let redacting = session.redact(redact([at(2)]));
    futures::pin_mut!(redacting);
    assert!(futures::poll!(redacting.as_mut()).is_pending());
    soon(held.reached()).await;
    // The actor that handles the second message is a new one: the answer to the redaction is not for it.
    let address = session.address().unwrap();
    soon(address.send(Restart)).await.unwrap();
    soon(address.send(EventsAfter::<Agent>::new(EventId::ZERO, 1))).await.unwrap().unwrap();
    held.release();
    soon(redacting).await.unwrap();
    assert_next(&mut live, 2).await;
    assert_next(&mut live, 3).await;
    assert_gone(&store, &session, 1).await;
    soon(store.close()).await.unwrap();
}

async fn a_redaction_of_unknown_outcome_leaves_subscribers_nothing_of_before_once_the_log_was_read(disk: TestDisk) {
    let (faults, store, session, mut live) = queued_secret(&disk).await;
    faults.fail_next(Port::Commit, Fault::CommitKept);
    faults.fail_next(Port::Settle, Fault::Panic);
    assert_refused!(soon(session.redact(redact([at(2)]))).await, ErrorKind::OutcomeUnknown { .. });
    soon(session.recovery()).await.unwrap();
    assert_next(&mut live, 2).await;
    assert_next(&mut live, 3).await;
    assert_gone(&store, &session, 1).await;
    soon(store.close()).await.unwrap();
}

async fn a_subscriber_of_another_store_is_given_nothing_of_before_once_the_log_was_read(disk: TestDisk) {
    let (_, store, session, _) = queued_secret(&disk).await;
    let other = disk.open().await;
    let seen = other.resume_session("s").await.unwrap();
    let mut late = seen.subscribe(SubscribeFrom::After(EventId::ZERO)).await.unwrap();
    assert_next(&mut late, 1).await;
    soon(session.redact(redact([at(2)]))).await.unwrap();
    soon(seen.recovery()).await.unwrap();
    assert_next(&mut late, 2).await;
    assert_next(&mut late, 3).await;
    soon(other.close()).await.unwrap();
    soon(store.close()).await.unwrap();
}

/// Reads as a host does, and finds the redaction.
async fn read_by(session: &foldlog::Session, read: &str) {
    match read {
        "a page" => assert_eq!(soon(session.events_after(EventId::ZERO, 1)).await.unwrap().events.len(), 1),
        "a page by a message" => {
            let asked = session.address().unwrap().send(EventsAfter::new(EventId::ZERO, 1));
            assert_eq!(soon(asked).await.unwrap().unwrap().events.len(), 1);
        }
        _ => assert!(!format!("{:?}", soon(session.current_view()).await.unwrap()).contains(SECRET)),
    }
    assert!(!format!("{:?}", session.view().unwrap()).contains(SECRET), "{read}");
}

async fn a_read_in_another_store_takes_the_secret_out_of_its_view(disk: TestDisk) {
    let (store, other) = (disk.open().await, disk.open().await);
    for (before, read) in ["a page", "a page by a message", "a view"].into_iter().enumerate() {
        let session = store.open_session(read).await.unwrap();
        let said = say(&session, SECRET).await;
        let seen = other.resume_session(read).await.unwrap();
        let mut live = seen.subscribe(SubscribeFrom::Now).await.unwrap();
        soon(session.redact(redact([said]))).await.unwrap();
        // Nobody has asked until now.
        assert!(format!("{:?}", seen.view().unwrap()).contains(SECRET));
        read_by(&seen, read).await;
        assert_gone(&other, &seen, before as u64 + 1).await;
        assert_next(&mut live, 2).await;
    }
    soon(other.close()).await.unwrap();
    soon(store.close()).await.unwrap();
}

async fn a_read_in_a_store_that_has_lost_the_session_takes_the_secret_out_of_its_view(disk: TestDisk) {
    let (store, other) = (disk.open().await, disk.open().await);
    let session = store.open_session("s").await.unwrap();
    let said = say(&session, SECRET).await;
    let taken = other.resume_session("s").await.unwrap();
    taken.take_over().await.unwrap();
    soon(taken.redact(redact([said]))).await.unwrap();
    // The store that it was taken from does not know yet that it does not own it.
    read_by(&session, "a page").await;
    read_by(&session, "a view").await;
    assert_gone(&store, &session, 1).await;
    soon(other.close()).await.unwrap();
    soon(store.close()).await.unwrap();
}
