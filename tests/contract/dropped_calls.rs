//! Goal: a call of a turn whose future is dropped, as a timeout does, takes nothing back and is done twice by no retry.
//! Method: the future is polled so often and then dropped, for every number of polls until it would have been ready.

use foldlog::Session;
use foldlog::agent::{Agent, AppendList, Message, RunningTurn, TurnBegun, TurnEnd, TurnStatus};
use foldlog::{Error, ErrorKind, Store};
use futures::FutureExt;
use std::future::Future;
use std::pin::pin;

use crate::common::*;

on_both_media!(
    an_answer_that_is_tried_again_is_given_once,
    a_turn_that_has_ended_does_not_run_again,
    a_step_that_was_begun_ends_with_its_turn,
    a_request_whose_first_caller_has_left_is_run_by_another,
    a_turn_that_was_begun_is_interrupted,
    a_request_whose_answer_is_on_its_way_gets_no_other,
    a_request_that_is_queued_on_its_way_is_not_overtaken,
    a_stop_that_is_repeated_appends_nothing_twice,
);

/// Polls a future so often, and drops it. Tells whether it was ready.
async fn dropped_after<T>(polls: usize, call: impl Future<Output = T>) -> bool {
    let mut call = pin!(call);
    for _ in 0..polls {
        if call.as_mut().now_or_never().is_some() {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

/// Runs a case for each number of polls, until the call is ready within them.
async fn at_every_poll(disk: TestDisk, case: impl AsyncFn(&Session, usize) -> bool) {
    let store = disk.open().await;
    for polls in 0..1000 {
        let session = store.open_session(format!("{polls}")).await.unwrap();
        let was_ready = soon(case(&session, polls)).await;
        // What is on its way from the dropped call is in the view behind this.
        session.append(noted(0)).unwrap().await.unwrap();
        assert!(session.unfinished().unwrap().is_empty(), "after {polls} polls");
        if was_ready {
            return store.close().await.unwrap();
        }
    }
    panic!("it is never ready");
}

fn is_not_held<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(error) if matches!(error.kind(), ErrorKind::TurnNotHeld { .. }))
}

async fn begun(session: &Session) -> RunningTurn {
    session.begin_turn(Message::user("hi")).await.unwrap()
}

async fn an_answer_that_is_tried_again_is_given_once(disk: TestDisk) {
    at_every_poll(disk, async |session, polls| {
        let mut turn = begun(session).await;
        let was_ready = dropped_after(polls, turn.answer(Message::assistant("ho"))).await;
        let again = turn.answer(Message::assistant("ho")).await;
        assert!(again.is_ok() || is_not_held(&again), "{again:?}");
        let messages: &AppendList<_> = &session.view().unwrap().messages;
        assert_eq!(messages.len(), 2, "after {polls} polls");
        was_ready
    })
    .await;
}

async fn a_turn_that_has_ended_does_not_run_again(disk: TestDisk) {
    at_every_poll(disk, async |session, polls| {
        let mut turn = begun(session).await;
        let was_ready = dropped_after(polls, turn.end(TurnEnd::Final)).await;
        let put = turn.update(|turn| turn.cost_millionths = Some(7)).await;
        if put.is_ok() {
            turn.end(TurnEnd::Final).await.unwrap();
        }
        let view = session.view().unwrap();
        let ended = view.turns.last().unwrap();
        assert_eq!((ended.status, ended.cost_millionths), (TurnStatus::Final, put.is_ok().then_some(7)));
        was_ready
    })
    .await;
}

async fn a_step_that_was_begun_ends_with_its_turn(disk: TestDisk) {
    at_every_poll(disk, async |session, polls| {
        let mut turn = begun(session).await;
        let was_ready = dropped_after(polls, turn.begin_step()).await;
        turn.begin_step().await.unwrap();
        turn.answer(Message::assistant("ho")).await.unwrap();
        was_ready
    })
    .await;
}

async fn a_request_whose_first_caller_has_left_is_run_by_another(disk: TestDisk) {
    let store: Store<Agent> = disk.open().await;
    let key = || foldlog::AppendKey::new("k").unwrap();
    for polls in 0..1000 {
        let session = store.open_session(format!("{polls}")).await.unwrap();
        let mut first = Box::pin(session.begin_turn_once(Message::user("hi"), key()));
        let mut was_ready = false;
        for _ in 0..polls {
            was_ready |= first.as_mut().now_or_never().is_some();
            if was_ready {
                break;
            }
            tokio::task::yield_now().await;
        }
        if was_ready {
            return store.close().await.unwrap();
        }
        let mut second = Box::pin(session.begin_turn_once(Message::user("hi"), key()));
        let early = second.as_mut().now_or_never();
        drop(first);
        let begun = match early {
            Some(begun) => begun,
            None => soon(second).await,
        };
        // Whoever is told that somebody runs it may ask again, and is told to run it if nobody does.
        let mut turn = match begun {
            Ok(TurnBegun::Now(turn)) => turn,
            _ => match soon(session.begin_turn_once(Message::user("hi"), key())).await.unwrap() {
                TurnBegun::Now(turn) => turn,
                other => panic!("after {polls} polls nobody runs it: {other:?}"),
            },
        };
        turn.answer(Message::assistant("ho")).await.unwrap();
        assert_eq!(session.view().unwrap().messages.len(), 2);
    }
    panic!("it is never ready");
}

async fn a_turn_that_was_begun_is_interrupted(disk: TestDisk) {
    at_every_poll(disk, async |session, polls| {
        let was_ready = dropped_after(polls, session.begin_turn(Message::user("hi"))).await;
        session.interrupt("its caller has left").await.unwrap();
        was_ready
    })
    .await;
}

async fn a_request_whose_answer_is_on_its_way_gets_no_other(disk: TestDisk) {
    at_every_poll(disk, async |session, polls| {
        let request = || session.begin_turn_once(Message::user("hi"), foldlog::AppendKey::new("k").unwrap());
        let TurnBegun::Now(mut turn) = request().await.unwrap() else { panic!("it is the first") };
        let was_ready = dropped_after(polls, turn.answer(Message::assistant("ho"))).await;
        drop(turn);
        if let TurnBegun::Now(mut turn) = request().await.unwrap() {
            turn.answer(Message::assistant("ho")).await.unwrap();
        }
        assert_eq!(session.view().unwrap().messages.len(), 2, "after {polls} polls");
        was_ready
    })
    .await;
}

async fn a_request_that_is_queued_on_its_way_is_not_overtaken(disk: TestDisk) {
    at_every_poll(disk, async |session, polls| {
        let request = |name| session.begin_turn_once(Message::user(name), key(name));
        let TurnBegun::Now(running) = request("a").await.unwrap() else { panic!("it is the first") };
        let was_ready = dropped_after(polls, request("b")).await;
        drop(running);
        let began = request("c").await.unwrap();
        assert!(matches!(began, TurnBegun::Queued(_)), "a was given up, and comes first: {began:?}");
        let mut answered = Vec::new();
        while let Some(mut turn) = session.begin_next_turn().await.unwrap() {
            let asked = session.view().unwrap().message(turn.user_message()).unwrap().inline_text().unwrap();
            answered.push(asked);
            turn.answer(Message::assistant("ho")).await.unwrap();
        }
        let is_ahead = answered.len() == 3;
        assert!(is_ahead || !was_ready, "it was told that it waits: {answered:?}");
        let in_order: &[&str] = if is_ahead { &["a", "b", "c"] } else { &["a", "c"] };
        assert_eq!(answered, in_order, "after {polls} polls");
        was_ready
    })
    .await;
}

async fn a_stop_that_is_repeated_appends_nothing_twice(disk: TestDisk) {
    at_every_poll(disk, async |session, polls| {
        let was_ready = dropped_after(polls, session.stop()).await;
        session.stop().await.unwrap();
        let events = session.events_after(foldlog::EventId::ZERO, 9).await.unwrap().events;
        let types: Vec<_> = events.iter().map(|event| event.event_type()).collect();
        assert_eq!(types, ["stop_requested", "stopped"], "after {polls} polls");
        was_ready
    })
    .await;
}
