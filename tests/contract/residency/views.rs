//! Goal: an emptied session whose log cannot give its view back shows an error that says why, and never an empty view.
//! Method: bytes that are malformed, stores that are closed, reads that fail.

use foldlog::testkit::{Fault, Faults, Port};
use foldlog::{Error, ErrorKind, EventId, SessionModel, View};

use super::empty_one;
use crate::common::tally::{Place, Switch};
use crate::common::*;

on_both_media!(
    a_log_that_the_model_does_not_decode_is_told_and_no_empty_view_shown,
    a_closed_store_is_told_and_no_empty_view_shown,
    a_session_that_is_read_for_its_view_when_the_store_closes_shows_all_or_tells,
    a_view_in_memory_stays_readable_after_every_end,
);

async fn a_log_that_the_model_does_not_decode_is_told_and_no_empty_view_shown(disk: TestDisk) {
    let store = disk.open_model::<Tally>().await;
    let session = store.open_session("s").await.unwrap();
    let bad = Switch::off();
    session.append_batch(vec![bad.trap(Place::DecodeFails), TallyBody::Added(7)]).unwrap().await.unwrap();
    empty_one(&session).await;
    bad.turn_on();
    // While it wakes, and after the waking has failed.
    for _ in 0..3 {
        assert_undecodable(session.view());
        assert_undecodable(session.current_view().await);
        assert_undecodable(session.unfinished());
        assert_undecodable(session.append(TallyBody::Added(8)).unwrap().await);
        assert_undecodable(session.take_turn().await);
    }
    bad.turn_off();
    assert_eq!((session.view().unwrap().head(), session.view().unwrap().sum), (at(2), 7));
    store.close().await.unwrap();
}

#[track_caller]
fn assert_undecodable<T: std::fmt::Debug>(answer: Result<T, Error>) {
    assert_refused!(answer, ErrorKind::Undecodable { session, event, .. } if session.as_str() == "s" && *event == at(1));
}

#[track_caller]
fn assert_corrupt<T: std::fmt::Debug>(answer: Result<T, Error>) {
    assert_refused!(answer, ErrorKind::CorruptEvent { session, event, .. } if session.as_str() == "s" && *event == at(1));
}

/// The same with a file that really was changed.
#[actix::test]
async fn a_damaged_row_of_an_emptied_session_is_told() {
    let disk = TestDisk::directory();
    let store = disk.open_model::<Tally>().await;
    let session = store.open_session("s").await.unwrap();
    session.append_batch(vec![TallyBody::Added(3), TallyBody::Added(7)]).unwrap().await.unwrap();
    empty_one(&session).await;
    let damage = "UPDATE events SET record = x'00' WHERE event_id = 1";
    rusqlite::Connection::open(disk.path().unwrap().join("events.db")).unwrap().execute(damage, []).unwrap();
    for _ in 0..2 {
        assert_corrupt(session.view());
        assert_corrupt(session.current_view().await);
    }
    store.close().await.unwrap();
}

async fn a_closed_store_is_told_and_no_empty_view_shown(disk: TestDisk) {
    let store = disk.open().await;
    let (cold, closed) = (store.open_session("cold").await.unwrap(), store.open_session("closed").await.unwrap());
    for session in [&cold, &closed] {
        session.append(user("1")).unwrap().await.unwrap();
    }
    store.empty_idle_sessions();
    closed.close().await.unwrap();
    assert_eq!(closed.view().unwrap().head(), at(1), "of a closed session the log is read");
    store.empty_idle_sessions();
    store.close().await.unwrap();
    for session in [&cold, &closed] {
        assert_refused!(session.view(), ErrorKind::StoreClosed);
        assert_refused!(session.current_view().await, ErrorKind::StoreClosed);
        assert_refused!(session.unfinished(), ErrorKind::StoreClosed);
    }
}

async fn a_session_that_is_read_for_its_view_when_the_store_closes_shows_all_or_tells(disk: TestDisk) {
    let faults = Faults::default();
    let store = disk.open_with(|config| *config = faults.watch(config.clone())).await;
    let session = store.open_session("s").await.unwrap();
    session.append(user("1")).unwrap().await.unwrap();
    empty_one(&session).await;
    let mut held = faults.hold(Port::Page);
    let viewers: Vec<_> = (0..4)
        .map(|_| {
            let session = session.clone();
            std::thread::spawn(move || session.view())
        })
        .collect();
    soon(held.reached()).await;
    let closing = store.clone();
    let closing = actix::spawn(async move { closing.close().await });
    held.release();
    soon(closing).await.unwrap().unwrap();
    for viewer in viewers {
        assert_whole_or(viewer.join().unwrap());
    }
}

fn assert_whole_or<M: SessionModel>(answer: Result<std::sync::Arc<View<M>>, Error>) {
    match answer {
        Ok(view) => assert_eq!(view.head(), at(1)),
        Err(error) => assert!(matches!(error.kind(), ErrorKind::StoreClosed), "{error}"),
    }
}

async fn a_view_in_memory_stays_readable_after_every_end(disk: TestDisk) {
    let faults = Faults::default();
    let store = disk.open_with(|config| *config = faults.watch(config.clone())).await;
    let (closed, kept) = (store.open_session("closed").await.unwrap(), store.open_session("kept").await.unwrap());
    for session in [&closed, &kept] {
        session.append(user("1")).unwrap().await.unwrap();
    }
    closed.close().await.unwrap();
    faults.fail_all(Port::Page, Fault::Io);
    for session in [&closed, &kept] {
        assert_eq!(session.view().unwrap().head(), at(1));
    }
    faults.clear();
    store.close().await.unwrap();
    for session in [&closed, &kept] {
        assert_eq!(session.view().unwrap().head(), at(1));
        assert_eq!(session.unfinished().unwrap(), []);
        assert_ne!(session.current_view().await.unwrap().head(), EventId::ZERO);
    }
}
