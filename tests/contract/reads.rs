//! Goal: the view, the stored state and the log agree, and reading them opens nothing. Method: read beside the writer,
//! from a second store, in pages of every size.

use std::sync::Arc;

use foldlog::agent::AgentBody;
use foldlog::{Clock, Content, ErrorKind, EventId, Item, ManualClock, SubscribeFrom, Timestamp};

use crate::common::*;

on_both_media!(
    a_view_shows_an_append_once_its_receipt_has_answered,
    whoever_was_told_of_an_event_on_any_thread_sees_it_in_the_view,
    a_view_already_taken_never_changes,
    the_stored_state_is_read_from_a_second_store_without_opening_the_session,
    events_after_an_id_come_in_order_and_in_pages,
    a_page_is_no_longer_than_the_configuration_says,
    events_read_back_are_the_events_appended,
    time_never_goes_back_within_a_session,
    verify_names_each_reference_that_does_not_resolve_and_nothing_else,
);

async fn a_view_shows_an_append_once_its_receipt_has_answered(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let again = store.open_session("s").await.unwrap();
    for n in 1..=20 {
        session.append(user(n.to_string())).unwrap().await.unwrap();
        for handle in [&session, &again] {
            assert_eq!((handle.view().unwrap().head(), handle.view().unwrap().messages.len()), (at(n), n as usize));
        }
    }
    store.close().await.unwrap();
}

/// The caller, a subscriber and whoever opens the session are on threads of their own, where the session's actor is
/// not.
async fn whoever_was_told_of_an_event_on_any_thread_sees_it_in_the_view(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let (sender, done) = futures::channel::oneshot::channel();
    std::thread::spawn(move || {
        let stream = futures::executor::block_on(session.subscribe(SubscribeFrom::Now)).unwrap();
        let follower = std::thread::spawn({
            let session = session.clone();
            move || {
                for item in futures::executor::block_on_stream(stream).take(300) {
                    let Item::Event(event) = item else { panic!("it is an event") };
                    assert!(session.view().unwrap().head() >= event.id(), "a subscriber sees what it was given");
                }
            }
        });
        for id in 1..=300 {
            let appended = futures::executor::block_on(session.append(noted(id)).unwrap()).unwrap();
            assert!(session.view().unwrap().head() >= appended.head, "read your writes");
        }
        follower.join().unwrap();
        for round in 0..20 {
            futures::executor::block_on(session.close()).unwrap();
            let again = futures::executor::block_on(session.store().resume_session("s")).unwrap();
            assert_eq!(again.view().unwrap().head(), at(300), "an open session shows its log, in round {round}");
            futures::executor::block_on(again.close()).unwrap();
        }
        sender.send(()).unwrap();
    });
    soon(done).await.expect("the other threads did not panic");
    store.close().await.unwrap();
}

async fn a_view_already_taken_never_changes(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    session.append(user("one")).unwrap().await.unwrap();
    let taken = session.view().unwrap();
    let copy = (*taken).clone();
    session.append(user("two")).unwrap().await.unwrap();
    store.close().await.unwrap();
    assert_eq!(*taken, copy);
    assert_eq!((taken.head(), taken.messages.len()), (at(1), 1));
    assert_eq!(session.view().unwrap().messages.len(), 2, "the last view stays readable");
}

async fn the_stored_state_is_read_from_a_second_store_without_opening_the_session(disk: TestDisk) {
    let writer = disk.open().await;
    let session = writer.open_session("s").await.unwrap();
    session.append(user("one")).unwrap().await.unwrap();
    let reader = disk.open().await;
    let state = reader.read_state("s").await.unwrap();
    assert_eq!((&state.view, state.report.events), (&*session.view().unwrap(), 1));
    session.append_batch(vec![user("two"), user("three")]).unwrap().await.unwrap();
    assert_eq!(reader.read_state("s").await.unwrap().view, *session.view().unwrap());
    assert_eq!(state.view.head(), at(1));
    // Reading has claimed nothing: the writer goes on.
    session.append(user("four")).unwrap().await.unwrap();
    assert_eq!(writer.read_state("s").await.unwrap().view, reader.read_state("s").await.unwrap().view);
    // A session that is open in the reading store: its view stays, and reads of its log show more.
    let there = reader.resume_session("s").await.unwrap();
    session.append(user("five")).unwrap().await.unwrap();
    assert_eq!(there.view().unwrap().head(), at(4));
    assert_eq!(log_ids(&there).await, [1, 2, 3, 4, 5]);
    assert_refused!(there.append(user("six")).unwrap().await, ErrorKind::OwnedElsewhere { owner, .. }
        if owner.process == std::process::id());
    assert_head(&session, 5).await;
    writer.close().await.unwrap();
    // The owner has closed: the reader may write, and goes on from the log.
    assert_eq!(there.append(user("six")).unwrap().await.unwrap().head, at(6));
    assert_head(&there, 6).await;
    reader.close().await.unwrap();
}

async fn events_after_an_id_come_in_order_and_in_pages(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    assert!(session.events_after(EventId::ZERO, 10).await.unwrap().events.is_empty());
    session.append_batch((1..=7).map(noted).collect()).unwrap().await.unwrap();
    for after in 0..=7 {
        let rest: Vec<u64> = (after + 1..=7).collect();
        for max in 1..=8 {
            let page = session.events_after(at(after), max).await.unwrap();
            assert_eq!(ids(&page.events), rest[..max.min(rest.len())]);
            assert_eq!(page.more, !rest.is_empty());
        }
    }
    assert_refused!(session.events_after(EventId::MAX, 10).await, ErrorKind::BeyondHead { .. });
    store.close().await.unwrap();
}

async fn a_page_is_no_longer_than_the_configuration_says(disk: TestDisk) {
    let store = disk.open_with(|config| config.page_events_max = 3).await;
    let session = store.open_session("s").await.unwrap();
    session.append_batch((1..=8).map(noted).collect()).unwrap().await.unwrap();
    assert_eq!(ids(&session.events_after(EventId::ZERO, usize::MAX).await.unwrap().events), [1, 2, 3]);
    assert_head(&session, 8).await;
    assert!(store.verify().await.unwrap().is_sound());
    store.close().await.unwrap();
}

async fn events_read_back_are_the_events_appended(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let mut appended = Vec::new();
    for body in [user("one"), noted(2), AgentBody::StopRequested] {
        appended.extend(session.append(body).unwrap().await.unwrap().events);
    }
    let same = |read: &[Arc<foldlog::Event<_>>]| {
        read.len() == 3
            && read.iter().zip(&appended).all(|(read, appended): (&Arc<foldlog::Event<foldlog::agent::Agent>>, _)| {
                (read.id(), read.at(), read.body()) == (appended.id(), appended.at(), appended.body())
            })
    };
    assert!(same(&whole_log(&session).await));
    store.close().await.unwrap();
    let store = disk.open().await;
    assert!(same(&whole_log(&store.resume_session("s").await.unwrap()).await));
    store.close().await.unwrap();
}

async fn time_never_goes_back_within_a_session(disk: TestDisk) {
    let clock = ManualClock::new(Timestamp::from_micros(1_000));
    let with_clock = |config: &mut foldlog::StoreConfig| config.clock = Clock::Manual(clock.clone());
    let store = disk.open_with(with_clock).await;
    let session = store.open_session("s").await.unwrap();
    session.append(noted(1)).unwrap().await.unwrap();
    clock.set(Timestamp::from_micros(5_000));
    session.append(noted(2)).unwrap().await.unwrap();
    clock.set(Timestamp::from_micros(10));
    session.append_batch(vec![noted(3), noted(4)]).unwrap().await.unwrap();
    store.close().await.unwrap();
    let store = disk.open_with(with_clock).await;
    let session = store.open_session("s").await.unwrap();
    session.append(noted(5)).unwrap().await.unwrap();
    clock.set(Timestamp::from_micros(6_000));
    session.append(noted(6)).unwrap().await.unwrap();
    let times: Vec<_> = whole_log(&session).await.iter().map(|event| event.at().as_micros()).collect();
    assert_eq!(times, [1_000, 5_000, 5_000, 5_000, 5_000, 6_000]);
    assert_eq!(store.list_sessions(None, 1).await.unwrap()[0].created.as_micros(), 1_000);
    store.close().await.unwrap();
}

/// A directory loses a blob's file; the memory of this test's disk loses nothing.
async fn verify_names_each_reference_that_does_not_resolve_and_nothing_else(disk: TestDisk) {
    let store = disk.open().await;
    assert!(store.verify().await.unwrap().is_sound());
    let kept = store.put_text("kept").await.unwrap();
    let lost = store.put_text("lost").await.unwrap();
    let damaged = store.put_bytes(b"damaged".to_vec()).await.unwrap();
    let (first, second) = (store.open_session("a").await.unwrap(), store.open_session("b").await.unwrap());
    let vars = |blob| AgentBody::VarsSnapshotted(Content::Blob(blob));
    first.append_batch(vec![user("x"), vars(kept), vars(lost), vars(lost)]).unwrap().await.unwrap();
    second.append_batch(vec![vars(lost), vars(damaged)]).unwrap().await.unwrap();
    assert!(store.verify().await.unwrap().is_sound());
    let Some(path) = disk.path() else { return store.close().await.unwrap() };
    let file = |blob: &foldlog::BlobRef| {
        let name = blob.digest.to_string();
        path.join("blobs").join(&name[..2]).join(&name)
    };
    std::fs::remove_file(file(&lost)).unwrap();
    std::fs::write(file(&damaged), b"other bytes").unwrap();
    let broken = store.verify().await.unwrap().problems;
    let named: Vec<_> = broken
        .iter()
        .map(|broken| (broken.session.as_ref().unwrap().as_str(), broken.event.unwrap().get(), broken.digest.unwrap()))
        .collect();
    assert_eq!(named, [("a", 3, lost.digest), ("b", 2, damaged.digest)], "each once, where it stands first");
    assert!(matches!(broken[0].error.kind(), ErrorKind::UnknownBlob { digest } if *digest == lost.digest));
    assert!(matches!(broken[1].error.kind(), ErrorKind::CorruptBlob { digest } if *digest == damaged.digest));
    // Putting the same bytes again heals both.
    store.put_text("lost").await.unwrap();
    store.put_bytes(b"damaged".to_vec()).await.unwrap();
    assert!(store.verify().await.unwrap().is_sound());
    store.close().await.unwrap();
}
