//! Goal: one turn at a time, none after the end, and a stop or a compaction that every later reader sees. Method:
//! guards held, dropped, lost in a panic and raced for.

use foldlog::agent::{AgentBody, Failure, Message, SessionInfo, SessionStatus, Turn, TurnId, TurnStatus};
use foldlog::{ErrorKind, Session, StopOutcome};

use crate::common::*;

on_both_media!(
    a_second_taker_is_refused_until_the_guard_is_dropped,
    a_guard_is_given_back_when_its_task_panics,
    a_session_that_is_closed_and_opened_again_gives_no_second_turn_while_the_first_is_held,
    of_many_takers_at_once_exactly_one_gets_the_turn,
    a_session_that_has_stopped_or_failed_gives_no_turn,
    a_session_gives_no_more_turns_than_its_limit,
    stopping_an_idle_session_stops_it_and_stopping_it_again_writes_nothing,
    stopping_a_busy_session_asks_it_to_stop_and_the_runner_stops_it,
    a_stop_and_a_compaction_are_there_after_reopening,
    two_that_stop_a_busy_session_at_once_ask_it_once,
);

fn types(events: &[std::sync::Arc<foldlog::Event<foldlog::agent::Agent>>]) -> Vec<&'static str> {
    events.iter().map(|event| event.event_type()).collect()
}

fn status(session: &Session) -> Option<SessionStatus> {
    session.view().unwrap().progress().status
}

async fn a_second_taker_is_refused_until_the_guard_is_dropped(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let again = store.open_session("s").await.unwrap();
    let other = store.open_session("other").await.unwrap();
    let guard = session.take_turn().await.unwrap();
    assert_refused!(again.take_turn().await, ErrorKind::TurnInFlight { session } if session.as_str() == "s");
    drop(other.take_turn().await.unwrap());
    // The guard keeps others from taking the turn, and not from appending.
    session.append(AgentBody::TurnStarted(Turn::default())).unwrap().await.unwrap();
    drop(guard);
    drop(again.take_turn().await.unwrap());
    drop(session.take_turn().await.unwrap());
    assert_head(&session, 1).await;
    store.close().await.unwrap();
}

async fn a_session_that_is_closed_and_opened_again_gives_no_second_turn_while_the_first_is_held(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let guard = session.take_turn().await.unwrap();
    session.close().await.unwrap();
    let again = store.open_session("s").await.unwrap();
    assert_refused!(again.take_turn().await, ErrorKind::TurnInFlight { .. });
    drop(guard);
    drop(again.take_turn().await.unwrap());
    store.close().await.unwrap();
}

async fn a_guard_is_given_back_when_its_task_panics(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let guard = session.take_turn().await.unwrap();
    let task = actix::spawn(async move {
        let _guard = guard;
        panic!("on purpose: a turn that panics");
    });
    assert!(soon(task).await.is_err());
    drop(session.take_turn().await.unwrap());
    store.close().await.unwrap();
}

async fn of_many_takers_at_once_exactly_one_gets_the_turn(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let start = std::sync::Arc::new(std::sync::Barrier::new(8));
    let takers = (0..8).map(|_| {
        let (session, start) = (session.clone(), std::sync::Arc::clone(&start));
        let (sender, receiver) = futures::channel::oneshot::channel();
        std::thread::spawn(move || {
            start.wait();
            sender.send(futures::executor::block_on(session.take_turn())).unwrap();
        });
        receiver
    });
    let taken = soon(futures::future::try_join_all(takers.collect::<Vec<_>>())).await.unwrap();
    assert_eq!(taken.iter().filter(|taken| taken.is_ok()).count(), 1);
    drop(taken);
    drop(session.take_turn().await.unwrap());
    store.close().await.unwrap();
}

async fn a_session_that_has_stopped_or_failed_gives_no_turn(disk: TestDisk) {
    let store = disk.open().await;
    let errored = AgentBody::SessionErrored(Failure::new("kind", "text"));
    for body in [AgentBody::StopRequested, AgentBody::Stopped, errored] {
        let session = store.open_session(body.event_type()).await.unwrap();
        let guard = session.take_turn().await.unwrap();
        session.append(body).unwrap().await.unwrap();
        drop(guard);
        let id = session.id().clone();
        assert_refused!(session.take_turn().await, ErrorKind::SessionStopped { session } if *session == id);
        assert_head(&session, 1).await;
    }
    store.close().await.unwrap();
}

async fn a_session_gives_no_more_turns_than_its_limit(disk: TestDisk) {
    let store = disk.open_with(|config| config.session_turns_max = Some(2)).await;
    let session = store.open_session("s").await.unwrap();
    for _ in 0..2 {
        let _guard = session.take_turn().await.unwrap();
        session.append(AgentBody::TurnStarted(Turn::default())).unwrap().await.unwrap();
    }
    assert_refused!(session.take_turn().await, ErrorKind::TurnLimit { turns: 2, limit: 2, .. });
    assert_head(&session, 2).await;
    store.close().await.unwrap();
    let store = disk.open_with(|config| config.session_turns_max = Some(2)).await;
    let session = store.open_session("s").await.unwrap();
    assert_refused!(session.take_turn().await, ErrorKind::TurnLimit { .. });
    store.close().await.unwrap();
}

async fn stopping_an_idle_session_stops_it_and_stopping_it_again_writes_nothing(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    session.append(AgentBody::SessionStarted(SessionInfo::default())).unwrap().await.unwrap();
    assert_eq!(session.stop().await.unwrap(), StopOutcome::Stopped);
    assert_eq!(types(&whole_log(&session).await), ["session_started", "stop_requested", "stopped"]);
    assert_eq!(status(&session), Some(SessionStatus::Stopped));
    assert_eq!(session.stop().await.unwrap(), StopOutcome::Stopped);
    assert_refused!(session.take_turn().await, ErrorKind::SessionStopped { .. });
    assert_head(&session, 3).await;
    store.close().await.unwrap();
}

async fn stopping_a_busy_session_asks_it_to_stop_and_the_runner_stops_it(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let guard = session.take_turn().await.unwrap();
    session.append(AgentBody::TurnStarted(Turn::default())).unwrap().await.unwrap();
    assert_eq!(session.stop().await.unwrap(), StopOutcome::Requested);
    assert_eq!(session.stop().await.unwrap(), StopOutcome::Requested);
    assert_eq!(status(&session), Some(SessionStatus::StopRequested));
    let ended = Turn { id: TurnId::new(1), status: TurnStatus::Final, ..Turn::default() };
    session.append(AgentBody::TurnPut(ended)).unwrap().await.unwrap();
    drop(guard);
    assert_refused!(session.take_turn().await, ErrorKind::SessionStopped { .. });
    assert_eq!(session.stop().await.unwrap(), StopOutcome::Stopped);
    let log = ["turn_started", "stop_requested", "turn_put", "stopped"];
    assert_eq!(types(&whole_log(&session).await), log);
    assert_eq!(status(&session), Some(SessionStatus::Stopped));
    store.close().await.unwrap();
}

async fn a_stop_and_a_compaction_are_there_after_reopening(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    session.append(user("one")).unwrap().await.unwrap();
    session.compact(Message::user("so far"), at(1), Some("vars".into())).await.unwrap();
    session.stop().await.unwrap();
    let before = session.view().unwrap();
    store.close().await.unwrap();
    let store = disk.open().await;
    let session = store.resume_session("s").await.unwrap();
    assert_eq!(*session.view().unwrap(), *before);
    assert_refused!(session.take_turn().await, ErrorKind::SessionStopped { .. });
    store.close().await.unwrap();
}

async fn two_that_stop_a_busy_session_at_once_ask_it_once(disk: TestDisk) {
    let store = disk.open().await;
    let session = soon(store.open_session("s")).await.unwrap();
    let turn = soon(session.take_turn()).await.unwrap();
    let (one, two) = soon(futures::future::join(session.stop(), session.stop())).await;
    one.unwrap();
    two.unwrap();
    let types = types(&whole_log(&session).await);
    assert_eq!(types.iter().filter(|name| name.contains("stop_requested")).count(), 1, "{types:?}");
    drop(turn);
    soon(store.close()).await.unwrap();
}
