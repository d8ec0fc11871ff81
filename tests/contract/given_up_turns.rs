//! Goal: a turn that was given up without an end, in a process that lives on, spoils no turn after it, and its request
//! is answered. Method: each call that begins a turn, behind one that was dropped, revoked, or left by another store;
//! futures that are dropped, or kept, after each number of polls.

use foldlog::agent::{Agent, AgentBody, Message, Part, Role, RunningTurn, TurnBegun, TurnEnd, TurnStatus};
use foldlog::{Error, ErrorKind, Session, SessionModel};
use futures::FutureExt;
use futures::future::join;

use crate::common::*;

on_both_media!(
    each_call_that_begins_a_turn_ends_one_that_was_dropped,
    a_request_whose_turn_was_dropped_is_answered_before_those_behind_it,
    a_request_is_told_that_it_runs_only_while_somebody_runs_it,
    a_turn_that_was_revoked_is_ended_by_the_next,
    a_turn_that_another_store_left_is_ended_by_the_next_request,
    what_is_open_outside_of_the_turn_stays_open,
    a_request_that_was_dropped_while_it_began_is_lost_to_nobody,
    where_no_turn_can_begin_a_given_up_turn_is_no_silent_nothing,
    a_beginning_that_is_kept_is_revoked_and_takes_no_turn_afterwards,
);

async fn ask(session: &Session, name: &str) -> Result<TurnBegun, Error> {
    session.begin_turn_once(Message::user(name), key(name)).await
}

fn now(begun: Result<TurnBegun, Error>) -> RunningTurn {
    match begun {
        Ok(TurnBegun::Now(turn)) => turn,
        other => panic!("it does not begin: {other:?}"),
    }
}

/// Gives the turn up in the middle of a tool call.
async fn give_up(mut turn: RunningTurn) {
    turn.begin_step().await.unwrap();
    turn.say(Message::answer([Part::tool_call("call_1", "track", "{}")])).await.unwrap();
}

async fn asked(turn: &RunningTurn) -> String {
    let messages = turn.provider_messages().await.unwrap();
    providers::assert_accepted(&messages);
    messages.iter().rfind(|message| message.role == Role::User).unwrap().inline_text().unwrap()
}

/// Answers whatever waits, and tells what was answered.
async fn answer_all(session: &Session, mut next: Option<RunningTurn>) -> Vec<String> {
    let mut answered = Vec::new();
    while let Some(mut turn) = next {
        answered.push(asked(&turn).await);
        turn.answer(Message::assistant("so")).await.unwrap();
        next = session.begin_next_turn().await.unwrap();
    }
    answered
}

fn turns(session: &Session) -> Vec<(u64, TurnStatus)> {
    let view = session.view().unwrap();
    view.turns.iter().map(|turn| (turn.user_message.unwrap_or_default().get(), turn.status)).collect()
}

async fn each_call_that_begins_a_turn_ends_one_that_was_dropped(disk: TestDisk) {
    let store = disk.open().await;
    for call in 0..4 {
        let session = store.open_session(format!("{call}")).await.unwrap();
        give_up(now(ask(&session, "a").await)).await;
        let turn = match call {
            0 => session.begin_turn(Message::user("b")).await.unwrap(),
            1 => {
                let first = session.view().unwrap().messages[0].id;
                session.begin_turn_for(first).await.unwrap()
            }
            2 => now(ask(&session, "a").await),
            _ => session.begin_next_turn().await.unwrap().expect("a turn was given up"),
        };
        let first = session.view().unwrap().turns.iter().next().unwrap().clone();
        assert_eq!(first.status, TurnStatus::Interrupted, "call {call}");
        let reason = format!("{:?}", first.error);
        assert!(reason.contains("given up without an end"), "{reason}");
        assert_eq!(asked(&turn).await, if call == 0 { "b" } else { "a" });
        let open: Vec<_> = session.unfinished().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(open, ["turn 2"], "call {call}");
        drop(turn);
    }
    store.close().await.unwrap();
}

async fn a_request_whose_turn_was_dropped_is_answered_before_those_behind_it(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    give_up(now(ask(&session, "a").await)).await;
    assert!(matches!(ask(&session, "b").await, Ok(TurnBegun::Queued(message)) if message.get() == 4));
    let next = session.begin_next_turn().await.unwrap();
    assert_eq!(answer_all(&session, next).await, ["a", "b"]);
    let ended = TurnStatus::Final;
    assert_eq!(turns(&session), [(1, TurnStatus::Interrupted), (1, ended), (4, ended)]);
    store.close().await.unwrap();
}

async fn a_request_is_told_that_it_runs_only_while_somebody_runs_it(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    drop(now(ask(&session, "a").await));
    let mut other = session.begin_turn(Message::user("b")).await.unwrap();
    assert!(matches!(ask(&session, "a").await, Ok(TurnBegun::Queued(_))), "nobody runs it");
    other.end(TurnEnd::Final).await.unwrap();
    let turn = now(ask(&session, "a").await);
    assert!(matches!(ask(&session, "a").await, Ok(TurnBegun::Running(found)) if found.id == turn.id()));
    drop(turn);
    store.close().await.unwrap();
}

async fn a_turn_that_was_revoked_is_ended_by_the_next(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let mut hangs = now(ask(&session, "a").await);
    assert!(session.revoke_turn());
    let mut turn = session.begin_next_turn().await.unwrap().expect("its request waits");
    assert_refused!(hangs.answer(Message::assistant("late")).await, ErrorKind::TurnNotHeld { .. });
    turn.answer(Message::assistant("so")).await.unwrap();
    assert_eq!(turns(&session), [(1, TurnStatus::Interrupted), (1, TurnStatus::Final)]);
    store.close().await.unwrap();
}

/// The store that takes the request was open all the time, so its view is an old one.
async fn a_turn_that_another_store_left_is_ended_by_the_next_request(disk: TestDisk) {
    let (store, other) = (disk.open().await, disk.open().await);
    let session = store.open_session("s").await.unwrap();
    session.close().await.unwrap();
    let left = other.open_session("s").await.unwrap();
    let turn = now(ask(&left, "a").await);
    let session = store.open_session("s").await.unwrap();
    assert_refused!(ask(&session, "b").await, ErrorKind::OwnedElsewhere { .. });
    give_up(turn).await;
    other.close().await.unwrap();
    assert!(matches!(ask(&session, "b").await, Ok(TurnBegun::Queued(_))));
    let next = session.begin_next_turn().await.unwrap();
    assert_eq!(answer_all(&session, next).await, ["a", "b"]);
    store.close().await.unwrap();
}

async fn what_is_open_outside_of_the_turn_stays_open(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let background = Message { agent: Some("background".to_owned()), ..called("slow") };
    append(&session, AgentBody::MessageAppended(background)).await.unwrap();
    give_up(session.begin_turn(Message::user("a")).await.unwrap()).await;
    let mut turn = session.begin_turn(Message::user("b")).await.unwrap();
    let open: Vec<_> = session.unfinished().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(open, ["turn 2", "tool_call slow"]);
    turn.end(TurnEnd::Final).await.unwrap();
    drop(session.begin_next_turn().await.unwrap().expect("a was given up"));
    assert_eq!(
        Agent::unfinished(session.view().unwrap().state()).len(),
        2,
        "the call, and the turn that was dropped just now"
    );
    store.close().await.unwrap();
}

fn called(id: &str) -> Message {
    Message::answer([Part::tool_call(id, "track", "{}")])
}

/// As a server does it whose client goes away in the middle of its request.
async fn a_request_that_was_dropped_while_it_began_is_lost_to_nobody(disk: TestDisk) {
    let store = disk.open().await;
    for polls in 0..1000 {
        let session = store.open_session(format!("{polls}")).await.unwrap();
        let mut first = Box::pin(ask(&session, "a"));
        let mut was_ready = false;
        for _ in 0..polls {
            if let Some(begun) = first.as_mut().now_or_never() {
                drop(now(begun));
                was_ready = true;
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(first);
        let next = match ask(&session, "b").await.unwrap() {
            TurnBegun::Now(turn) => Some(turn),
            TurnBegun::Queued(_) => session.begin_next_turn().await.unwrap(),
            other => panic!("after {polls} polls: {other:?}"),
        };
        let answered = answer_all(&session, next).await;
        let is_there = session.view().unwrap().messages.iter().any(|said| said.inline_text().as_deref() == Some("a"));
        assert_eq!(answered.len(), if is_there { 2 } else { 1 }, "after {polls} polls: {:?}", turns(&session));
        assert!(session.unfinished().unwrap().is_empty(), "after {polls} polls");
        if was_ready {
            return store.close().await.unwrap();
        }
    }
    panic!("it is never ready");
}

async fn where_no_turn_can_begin_a_given_up_turn_is_no_silent_nothing(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    drop(now(ask(&session, "a").await));
    session.stop().await.unwrap();
    assert_refused!(session.begin_next_turn().await, ErrorKind::SessionStopped { .. });
    session.interrupt("the session has stopped").await.unwrap();
    assert_eq!(turns(&session), [(1, TurnStatus::Interrupted)]);
    store.close().await.unwrap();
}

/// A `select!` loop may keep a future that it polls no more.
async fn a_beginning_that_is_kept_is_revoked_and_takes_no_turn_afterwards(disk: TestDisk) {
    let store = disk.open().await;
    // How many polls it takes depends on other threads, which a loaded machine lets wait.
    for polls in 1..1000 {
        let session = store.open_session(format!("{polls}")).await.unwrap();
        let mut kept = Box::pin(ask(&session, "a"));
        for _ in 0..polls {
            if let Some(begun) = kept.as_mut().now_or_never() {
                drop(begun);
                return store.close().await.unwrap();
            }
            tokio::task::yield_now().await;
        }
        let other = session.clone();
        let waits = tokio::spawn(async move { ask(&other, "b").await });
        tokio::task::yield_now().await;
        session.revoke_turn();
        let next = match soon(waits).await.unwrap().unwrap() {
            TurnBegun::Now(turn) => Some(turn),
            TurnBegun::Queued(_) => soon(session.begin_next_turn()).await.unwrap(),
            other => panic!("after {polls} polls: {other:?}"),
        };
        let (late, _) = soon(join(kept, answer_all(&session, next))).await;
        match late {
            Ok(TurnBegun::Now(mut turn)) => {
                assert_refused!(turn.answer(Message::assistant("late")).await, ErrorKind::TurnNotHeld { .. });
            }
            Ok(_) => {}
            Err(error) => assert!(matches!(error.kind(), ErrorKind::TurnNotHeld { .. }), "{error}"),
        }
        let next = soon(session.begin_next_turn()).await.unwrap();
        answer_all(&session, next).await;
        assert!(session.view().unwrap().unanswered().next().is_none(), "after {polls} polls");
        assert!(session.unfinished().unwrap().is_empty(), "after {polls} polls: {:?}", turns(&session));
        drop(session.take_turn().await.expect("nobody kept it"));
    }
    panic!("it is never ready");
}
