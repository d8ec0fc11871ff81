//! Goal: an interruption ends all that a dead process left open, and nothing that is alive. Method: turns that are
//! dropped in the middle, faults at its commit, results that come late, guards held and taken away.

use foldlog::agent::{AgentBody, Message, Part, Role, Step, StepStatus, Turn, TurnStatus, Usage};
use foldlog::testkit::{Fault, Faults, Port};
use foldlog::{ErrorKind, Session};

use crate::common::*;

on_both_media!(
    turns_steps_and_calls_are_ended_in_one_batch_with_all_that_they_had,
    nothing_open_writes_nothing,
    a_turn_that_is_alive_here_is_not_ended,
    whoever_has_the_turn_may_interrupt_and_a_guard_without_it_may_not,
    a_stopped_session_can_be_interrupted,
    a_real_result_that_comes_later_stays_in_the_log_and_is_not_sent,
    calls_of_one_id_each_get_a_result_of_their_own_side_chains_too,
    a_commit_that_fails_leaves_all_open_and_the_next_try_ends_it,
    appends_of_others_in_flight_do_not_disturb_it,
    more_open_calls_than_a_batch_takes_are_ended_too,
    a_session_of_another_store_is_left_to_it,
);

fn called(id: &str) -> Message {
    Message::answer([Part::tool_call(id, "run", "{}")])
}

fn types(session: &[std::sync::Arc<foldlog::Event<foldlog::agent::Agent>>]) -> Vec<&'static str> {
    session.iter().map(|event| event.event_type()).collect()
}

async fn turns_steps_and_calls_are_ended_in_one_batch_with_all_that_they_had(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let mut turn = session.begin_turn(Message::user("hi")).await.unwrap();
    let request = Step { request: Some("asked".into()), ..Step::default() };
    turn.begin_step_with(request).await.unwrap();
    turn.say(called("call_1")).await.unwrap();
    turn.update(|turn| turn.cost_millionths = Some(7)).await.unwrap();
    drop(turn);
    let before = session.view().unwrap();

    let ended = session.interrupt("power was cut").await.unwrap();
    assert_eq!(ended.iter().map(ToString::to_string).collect::<Vec<_>>(), ["turn 1", "step 1", "tool_call call_1"]);
    let log = whole_log(&session).await;
    assert_eq!(types(&log[before.head().get() as usize..]), ["message_appended", "step_put", "turn_put"]);
    let view = session.view().unwrap();
    let (turn, was) = (view.turns.last().unwrap(), before.turns.last().unwrap());
    let error = turn.error.clone().unwrap();
    assert_eq!((error.kind.as_str(), error.message.as_inline()), ("interrupted", Some("power was cut")));
    assert!(turn.ended >= turn.started && turn.started.is_some());
    let put = Turn { status: TurnStatus::Interrupted, ended: turn.ended, error: Some(error), ..(**was).clone() };
    assert_eq!((**turn).clone(), put);
    let (step, was) = (view.steps.last().unwrap(), before.steps.last().unwrap());
    let put = Step { status: StepStatus::Interrupted, ended: step.ended, error: step.error.clone(), ..(**was).clone() };
    assert_eq!((**step).clone(), put);
    let result = view.messages.last().unwrap();
    assert_eq!((&result.role, result.turn, result.step), (&Role::Tool, Some(turn.id), Some(step.id)));
    let answer = result.parts[0].as_tool_result().unwrap();
    assert_eq!((answer.call_id.as_str(), answer.is_error), ("call_1", Some(true)));
    providers::assert_accepted(&session.provider_messages().await.unwrap());
    drop(session.begin_turn(Message::user("again")).await.unwrap());
    store.close().await.unwrap();
}

async fn nothing_open_writes_nothing(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    assert_eq!(session.interrupt("x").await.unwrap(), []);
    let mut turn = session.begin_turn(Message::user("hi")).await.unwrap();
    turn.answer(Message::assistant("ho")).await.unwrap();
    assert_eq!(session.interrupt("x").await.unwrap(), []);
    assert_head(&session, 4).await;
    store.close().await.unwrap();
}

async fn a_turn_that_is_alive_here_is_not_ended(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let turn = session.begin_turn(Message::user("hi")).await.unwrap();
    turn.say(called("call_1")).await.unwrap();
    let again = store.open_session("s").await.unwrap();
    assert_refused!(again.interrupt("x").await, ErrorKind::TurnInFlight { .. });
    assert_head(&session, 3).await;
    assert_eq!(session.view().unwrap().turns.last().unwrap().status, TurnStatus::Running);
    drop(turn);
    assert_eq!(again.interrupt("x").await.unwrap().len(), 2);
    drop(session.take_turn().await.unwrap());
    store.close().await.unwrap();
}

async fn whoever_has_the_turn_may_interrupt_and_a_guard_without_it_may_not(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    append(&session, AgentBody::TurnStarted(Turn::default())).await.unwrap();
    let guard = session.take_turn().await.unwrap();
    assert_eq!(guard.interrupt("x").await.unwrap().len(), 1);
    append(&session, AgentBody::TurnStarted(Turn::default())).await.unwrap();
    assert!(session.revoke_turn());
    assert_refused!(guard.interrupt("x").await, ErrorKind::TurnNotHeld { session } if session.as_str() == "s");
    assert_head(&session, 3).await;
    store.close().await.unwrap();
}

async fn a_stopped_session_can_be_interrupted(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    append(&session, AgentBody::TurnStarted(Turn::default())).await.unwrap();
    session.stop().await.unwrap();
    assert_refused!(session.take_turn().await, ErrorKind::SessionStopped { .. });
    assert_eq!(session.interrupt("x").await.unwrap().len(), 1);
    assert!(session.unfinished().unwrap().is_empty());
    store.close().await.unwrap();
}

async fn a_real_result_that_comes_later_stays_in_the_log_and_is_not_sent(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    append(&session, AgentBody::MessageAppended(called("call_0"))).await.unwrap();
    append(&session, user("are you there?")).await.unwrap();
    session.interrupt("x").await.unwrap();
    append(&session, AgentBody::MessageAppended(Message::tool_result("call_0", "late"))).await.unwrap();
    let messages = session.provider_messages().await.unwrap();
    assert_eq!(messages.iter().map(|message| message.id.get()).collect::<Vec<_>>(), [1, 3, 2]);
    providers::assert_accepted(&messages);
    assert_eq!(session.view().unwrap().messages.len(), 4);
    store.close().await.unwrap();
}

async fn calls_of_one_id_each_get_a_result_of_their_own_side_chains_too(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    for _ in 0..2 {
        append(&session, AgentBody::TurnStarted(Turn::default())).await.unwrap();
        let turn = session.view().unwrap().turns.last().unwrap().id;
        append(&session, AgentBody::MessageAppended(Message { turn: Some(turn), ..called("call_0") })).await.unwrap();
    }
    let side =
        Message { agent: Some("side".to_owned()), parent: Some(foldlog::agent::MessageId::new(2)), ..called("call_0") };
    append(&session, AgentBody::MessageAppended(side)).await.unwrap();
    session.interrupt("x").await.unwrap();
    let view = session.view().unwrap();
    let results: Vec<_> = view.messages.iter().skip(3).collect();
    let of = |message: &Message| {
        (message.turn.map(|turn| turn.get()), message.agent.clone(), message.parent.map(|id| id.get()))
    };
    assert_eq!(
        results.iter().map(|message| of(message)).collect::<Vec<_>>(),
        [(None, Some("side".to_owned()), Some(3)), (Some(2), None, None), (Some(1), None, None)]
    );
    let order: Vec<_> = view.provider_messages().iter().map(|message| message.turn.map(|turn| turn.get())).collect();
    assert_eq!(order, [Some(1), Some(1), Some(2), Some(2)], "each result is behind the call that it was made for");
    store.close().await.unwrap();
}

async fn a_commit_that_fails_leaves_all_open_and_the_next_try_ends_it(disk: TestDisk) {
    let faults = Faults::default();
    let store = foldlog::Store::open(faults.watch(disk.config())).await.unwrap();
    let session = store.open_session("s").await.unwrap();
    let turn = session.begin_turn(Message::user("hi")).await.unwrap();
    turn.say(called("call_1")).await.unwrap();
    drop(turn);
    // With the turn taken, the next commit is that of the interruption.
    let guard = session.take_turn().await.unwrap();
    for fault in [Fault::DiskFull, Fault::CommitLost] {
        faults.fail_next(Port::Commit, fault);
        assert!(guard.interrupt("x").await.is_err());
        assert_eq!(session.unfinished().unwrap().len(), 2);
    }
    drop(guard);
    // COMMIT reports an error, and the events are there all the same.
    let guard = session.take_turn().await.unwrap();
    faults.fail_next(Port::Commit, Fault::CommitKept);
    assert_eq!(guard.interrupt("x").await.unwrap().len(), 2);
    drop(guard);
    assert_eq!(session.interrupt("x").await.unwrap(), []);
    assert_head(&session, 5).await;
    store.close().await.unwrap();
}

/// The events that an interruption does not know yet make it look again.
async fn appends_of_others_in_flight_do_not_disturb_it(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    append(&session, AgentBody::MessageAppended(called("call_1"))).await.unwrap();
    append(&session, AgentBody::MessageAppended(called("call_2"))).await.unwrap();
    let receipts: Vec<_> = (0..20).map(|n| session.append(noted(n)).unwrap()).collect();
    let late = session.append(AgentBody::MessageAppended(Message::tool_result("call_1", "done"))).unwrap();
    session.interrupt("x").await.unwrap();
    late.await.unwrap();
    drop(futures::future::join_all(receipts).await);
    let view = session.view().unwrap();
    let errors = view.messages.iter().filter_map(|message| message.parts[0].as_tool_result());
    let errors: Vec<_> = errors.filter(|result| result.is_error == Some(true)).map(|result| &*result.call_id).collect();
    assert_eq!(errors, ["call_2"], "call 1 had its answer in flight");
    providers::assert_accepted(&view.provider_messages());
    store.close().await.unwrap();
}

async fn more_open_calls_than_a_batch_takes_are_ended_too(disk: TestDisk) {
    let store = disk.open_with(|config| config.batch_events_max = 3).await;
    let session: Session = store.open_session("s").await.unwrap();
    append(&session, AgentBody::TurnStarted(Turn { usage: Some(Usage::default()), ..Turn::default() })).await.unwrap();
    let many = Message::answer((0..10).map(|_| Part::tool_call("call_0", "run", "{}")));
    append(&session, AgentBody::MessageAppended(many)).await.unwrap();
    assert_eq!(session.interrupt("x").await.unwrap().len(), 11);
    assert_eq!(session.unfinished().unwrap(), []);
    assert_head(&session, 13).await;
    providers::assert_accepted(&session.provider_messages().await.unwrap());
    store.close().await.unwrap();
}

async fn a_session_of_another_store_is_left_to_it(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let turn = session.begin_turn(Message::user("hi")).await.unwrap();
    let other = disk.open().await;
    let there = other.open_session("s").await.unwrap();
    assert_refused!(there.interrupt("x").await, ErrorKind::OwnedElsewhere { .. });
    drop(turn);
    assert_head(&session, 2).await;
    store.close().await.unwrap();
    assert_eq!(there.interrupt("x").await.unwrap().len(), 1);
    other.close().await.unwrap();
}
