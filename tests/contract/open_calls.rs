//! Goal: nothing that ends leaves a tool call open, however many there are. Method: more calls than a batch takes, by
//! events and by bytes; an answer that calls tools itself.

use foldlog::agent::{
    AgentBody, Message, MessageId, Part, ResultPart, Role, Step, StepStatus, ToolKind, Turn, TurnEnd, TurnStatus,
};
use foldlog::testkit::{Fault, Faults, Port};
use foldlog::{Session, Store};

use crate::common::*;

on_both_media!(
    an_interruption_with_a_long_reason_is_cut_by_bytes_and_no_result_repeats_all_of_it,
    large_steps_are_interrupted_in_batches_that_fit_and_turns_last,
    an_answer_that_calls_tools_leaves_none_of_them_open,
    a_turn_with_more_open_calls_than_a_batch_takes_ends_and_its_answer_is_with_the_end,
    an_end_that_fails_between_its_batches_can_be_tried_again,
);

fn called(calls: usize) -> Message {
    Message::answer((0..calls).map(|n| Part::tool_call(format!("call_{n}"), "run", "{}")))
}

/// A store whose batches take `bytes`.
async fn narrow(disk: &TestDisk, bytes: usize) -> Store {
    disk.open_with(|config| config.batch_bytes_max = bytes).await
}

async fn assert_nothing_is_open(session: &Session) {
    assert_eq!(session.unfinished().unwrap(), []);
    providers::assert_accepted(&session.provider_messages().await.unwrap());
}

async fn an_interruption_with_a_long_reason_is_cut_by_bytes_and_no_result_repeats_all_of_it(disk: TestDisk) {
    let store = narrow(&disk, 64 << 10).await;
    let session = store.open_session("s").await.unwrap();
    append(&session, AgentBody::TurnStarted(Turn::default())).await.unwrap();
    for _ in 0..4 {
        append(&session, AgentBody::MessageAppended(called(50))).await.unwrap();
    }
    let reason = "ä backtrace ".repeat(400);
    let ended = session.interrupt(reason.as_str()).await.unwrap();
    assert_eq!(ended.len(), 201);
    assert_nothing_is_open(&session).await;
    let view = session.view().unwrap();
    assert_eq!((view.messages.len(), view.head()), (204, at(206)), "a result for each call, and the put last");
    let result = view.messages.last().unwrap().parts[0].as_tool_result().unwrap().clone();
    let [ResultPart::Text(text)] = &result.parts[..] else { panic!("{result:?}") };
    let text = text.as_inline().unwrap();
    assert!(text.contains("ä backtrace ä backtrace"), "{text}");
    assert!((500..600).contains(&text.chars().count()), "{} characters", text.chars().count());
    let error = view.turns.last().unwrap().error.clone().unwrap();
    assert_eq!(error.message.as_inline(), Some(reason.as_str()), "the turn has all of it");
    store.close().await.unwrap();
}

async fn large_steps_are_interrupted_in_batches_that_fit_and_turns_last(disk: TestDisk) {
    let store = narrow(&disk, 64 << 10).await;
    let session = store.open_session("s").await.unwrap();
    append(&session, AgentBody::TurnStarted(Turn::default())).await.unwrap();
    for _ in 0..12 {
        let step = Step { request: Some("x".repeat(15 << 10).into()), ..Step::default() };
        append(&session, AgentBody::StepStarted(step)).await.unwrap();
    }
    assert_eq!(session.interrupt("restart").await.unwrap().len(), 13);
    assert_nothing_is_open(&session).await;
    let log = whole_log(&session).await;
    assert_eq!((log.len(), log.last().unwrap().event_type()), (26, "turn_put"));
    assert_eq!(session.view().unwrap().turns.last().unwrap().status, TurnStatus::Interrupted);
    store.close().await.unwrap();
}

async fn an_answer_that_calls_tools_leaves_none_of_them_open(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    append(&session, AgentBody::MessageAppended(called(1))).await.unwrap();
    let mut turn = session.begin_turn(Message::user("hi")).await.unwrap();
    turn.begin_step().await.unwrap();
    turn.say(called(1)).await.unwrap();
    let of_provider = Part::from(foldlog::agent::ToolCall {
        kind: ToolKind::Provider,
        ..called(1).parts[0].as_tool_call().unwrap().clone()
    });
    turn.answer(called(2).with(of_provider)).await.unwrap();

    let log = whole_log(&session).await;
    let types: Vec<_> = log.iter().skip(5).map(|event| event.event_type()).collect();
    let [said, put] = ["message_appended", "step_put"];
    assert_eq!(types, [said, said, put, said, said, "turn_put"]);
    let view = session.view().unwrap();
    let open: Vec<_> = view.open_calls.iter().map(|call| call.message.get()).collect();
    assert_eq!(open, [1], "only the call that was made outside of the turn");
    let step = view.steps.last().unwrap();
    assert_eq!((step.status, step.assistant_message), (StepStatus::Done, Some(MessageId::new(5))));
    let results: Vec<_> = view.messages.iter().filter(|message| message.role == Role::Tool).collect();
    assert_eq!(results.len(), 3, "what the provider runs itself gets none");
    for result in results {
        assert_eq!((result.turn, result.step), (Some(turn.id()), Some(step.id)));
        assert_eq!(result.parts[0].as_tool_result().unwrap().is_error, Some(true));
    }
    session.interrupt("the other call").await.unwrap();
    assert_nothing_is_open(&session).await;
    store.close().await.unwrap();
}

async fn a_turn_with_more_open_calls_than_a_batch_takes_ends_and_its_answer_is_with_the_end(disk: TestDisk) {
    let limits: [fn(&mut foldlog::StoreConfig); 2] =
        [|config| config.batch_events_max = 64, |config| config.batch_bytes_max = 16 << 10];
    for (round, limit) in limits.into_iter().enumerate() {
        let store = disk.open_with(limit).await;
        let session = store.open_session(format!("s{round}")).await.unwrap();
        let mut turn = session.begin_turn(Message::user("hi")).await.unwrap();
        for _ in 0..2 {
            turn.say(called(50)).await.unwrap();
        }
        let appended = turn.answer(Message::assistant("done")).await.unwrap();
        let last: Vec<_> = appended.events.iter().rev().take(2).map(|event| event.event_type()).collect();
        assert_eq!(last, ["turn_put", "message_appended"], "the answer and the end are one batch");
        assert_nothing_is_open(&session).await;
        assert_head(&session, 4 + 100 + 2).await;
        assert_eq!(session.view().unwrap().turns.last().unwrap().status, TurnStatus::Final);
        store.close().await.unwrap();
    }
}

async fn an_end_that_fails_between_its_batches_can_be_tried_again(disk: TestDisk) {
    let faults = Faults::default();
    let config = foldlog::StoreConfig { batch_events_max: 40, ..disk.config() };
    let store = Store::open(faults.watch(config)).await.unwrap();
    let session = store.open_session("s").await.unwrap();
    let mut turn = session.begin_turn(Message::user("hi")).await.unwrap();
    turn.say(called(100)).await.unwrap();
    faults.fail_nth(Port::Commit, 2, Fault::DiskFull);
    assert!(turn.end(TurnEnd::Cancelled).await.is_err());
    assert_eq!(session.view().unwrap().open_calls.len(), 60, "the first batch is there, the second is not");
    turn.end(TurnEnd::Cancelled).await.unwrap();
    assert_nothing_is_open(&session).await;
    assert_head(&session, 3 + 100 + 1).await;
    store.close().await.unwrap();
}
