//! Goal: a turn's whole life, a line for each thing, leaves the events that a host would have written by hand. Method:
//! the log after each kind of turn; retries of the beginning; ends that fail, turns that are dropped or taken away.

use foldlog::agent::{
    AgentBody, AgentTransient, Eval, Failure, Message, MessageId, MessageOrigin, OutputStream, Part, StepId,
    StepStatus, ToolResult, TurnBegun, TurnEnd, TurnId, TurnStatus, Usage,
};
use foldlog::testkit::{Fault, Faults, Port};
use foldlog::{ErrorKind, Item, Session, StoreConfig, SubscribeFrom};
use futures::StreamExt;

use crate::common::*;

on_both_media!(
    a_turn_with_a_tool_is_written_in_order_and_batches,
    usage_is_summed_over_the_messages_of_a_step_and_the_steps_of_a_turn,
    every_end_is_put_and_keeps_what_the_turn_had,
    calls_that_nobody_answered_have_a_result_after_the_end,
    a_turn_for_a_message_that_is_there,
    a_retry_under_the_same_key_begins_no_second_turn,
    a_retry_is_told_of_the_turn_though_none_can_begin_now,
    a_key_of_another_message_is_refused,
    retries_at_once_begin_one_turn,
    a_request_whose_turn_died_is_answered_once_however_often_it_comes_again,
    an_end_that_fails_can_be_tried_again,
    a_turn_that_was_taken_away_writes_nothing_more,
    a_dropped_turn_logs_one_warning_gives_the_right_back_and_stays_unfinished,
    deltas_and_output_name_the_turn_and_the_step,
    deltas_that_find_the_session_busy_wait_for_the_next,
    a_step_that_failed_is_followed_by_another,
    appended_names_what_it_has_minted,
);

async fn types(session: &Session) -> Vec<&'static str> {
    whole_log(session).await.iter().map(|event| event.event_type()).collect()
}

fn called(ids: &[&str]) -> Message {
    Message::answer(ids.iter().map(|id| Part::tool_call(*id, "track", "{}")))
}

fn with_usage(message: Message, input: u64, output: Option<u64>) -> Message {
    let usage = Usage { input_tokens: Some(input), output_tokens: output, ..Usage::default() };
    message.with_origin(MessageOrigin { usage: Some(usage), ..MessageOrigin::default() })
}

async fn a_turn_with_a_tool_is_written_in_order_and_batches(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    append(&session, user("earlier")).await.unwrap();
    let mut turn = session.begin_turn(Message::user("where is it?")).await.unwrap();
    assert_eq!((turn.id(), turn.user_message(), turn.step_id()), (TurnId::new(1), MessageId::new(2), None));
    turn.begin_step().await.unwrap();
    turn.say(called(&["a", "b"])).await.unwrap();
    let eval = Eval { result: Some("in transit".into()), ..Eval::default() };
    let (b, a) = futures::join!(
        turn.tool_eval(eval, ToolResult { name: Some("track".to_owned()), ..ToolResult::text("b", "done") }),
        turn.tool_result(ToolResult::text("a", "done")),
    );
    assert_eq!((b.unwrap().events.len(), a.unwrap().events.len()), (2, 1));
    turn.begin_step().await.unwrap();
    assert_eq!(turn.step_id(), Some(StepId::new(2)));
    let ended = turn.answer(Message::text(foldlog::agent::Role::User, "on Friday")).await.unwrap();
    assert_eq!(ended.events.len(), 3);
    let written = [
        "message_appended",
        "message_appended",
        "turn_started",
        "step_started",
        "message_appended",
        "eval_added",
        "message_appended",
        "message_appended",
        "step_put",
        "step_started",
        "message_appended",
        "step_put",
        "turn_put",
    ];
    assert_eq!(types(&session).await, written);
    let view = session.view().unwrap();
    let turn = view.turns.last().unwrap();
    assert_eq!((turn.status, turn.user_message), (TurnStatus::Final, Some(MessageId::new(2))));
    assert!(turn.started.is_some() && turn.ended >= turn.started);
    let steps: Vec<_> =
        view.steps.iter().map(|step| (step.status, step.turn, step.assistant_message.map(MessageId::get))).collect();
    assert_eq!(steps, [(StepStatus::Done, Some(turn.id), Some(3)), (StepStatus::Done, Some(turn.id), Some(6))]);
    assert!(view.steps.iter().all(|step| step.started.is_some() && step.ended >= step.started));
    let of = |message: &Message| (message.turn.map(TurnId::get), message.step.map(StepId::get));
    let messages: Vec<_> = view.messages.iter().map(|message| of(message)).collect();
    let in_first = (Some(1), Some(1));
    assert_eq!(messages, [(None, None), (None, None), in_first, in_first, in_first, (Some(1), Some(2))]);
    let eval = &view.evals[0];
    assert_eq!(
        (eval.turn, eval.step, eval.call_id.as_deref(), eval.tool_name.as_deref()),
        (Some(turn.id), Some(StepId::new(1)), Some("b"), Some("track"))
    );
    assert_eq!(view.messages.last().unwrap().role, foldlog::agent::Role::Assistant, "an answer is the assistant's");
    assert!(session.unfinished().unwrap().is_empty());
    providers::assert_accepted(&session.provider_messages().await.unwrap());
    drop(session.take_turn().await.unwrap());
    store.close().await.unwrap();
}

async fn usage_is_summed_over_the_messages_of_a_step_and_the_steps_of_a_turn(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let mut other = session.begin_turn(Message::user("another turn")).await.unwrap();
    other.begin_step().await.unwrap();
    other.answer(with_usage(Message::assistant("x"), 1000, Some(1000))).await.unwrap();
    let mut turn = session.begin_turn(Message::user("hi")).await.unwrap();
    turn.begin_step().await.unwrap();
    turn.say(with_usage(called(&["a"]), 10, None)).await.unwrap();
    turn.say(with_usage(called(&["b"]), 1, None)).await.unwrap();
    turn.tool_result(ToolResult::text("a", "done")).await.unwrap();
    turn.begin_step().await.unwrap();
    turn.say(Message::assistant("not known")).await.unwrap();
    turn.begin_step().await.unwrap();
    turn.answer(with_usage(Message::assistant("y"), 100, Some(5))).await.unwrap();
    let view = session.view().unwrap();
    let numbers =
        |usage: Option<Usage>| usage.map(|usage| (usage.input_tokens, usage.output_tokens, usage.reasoning_tokens));
    let steps: Vec<_> = view.steps.iter().skip(1).map(|step| numbers(step.usage)).collect();
    assert_eq!(steps, [Some((Some(11), None, None)), None, Some((Some(100), Some(5), None))]);
    assert_eq!(numbers(view.turns.last().unwrap().usage), Some((Some(111), Some(5), None)), "not known is not 0");
    store.close().await.unwrap();
}

async fn every_end_is_put_and_keeps_what_the_turn_had(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let failure = || Failure::new("provider", "gone");
    let ends = [
        (TurnEnd::Final, TurnStatus::Final, StepStatus::Done),
        (TurnEnd::Value("42".into()), TurnStatus::Final, StepStatus::Done),
        (TurnEnd::Error(failure()), TurnStatus::Error, StepStatus::Error),
        (TurnEnd::Timeout, TurnStatus::Timeout, StepStatus::Error),
        (TurnEnd::BudgetExceeded, TurnStatus::BudgetExceeded, StepStatus::Done),
        (TurnEnd::Cancelled, TurnStatus::Cancelled, StepStatus::Error),
    ];
    for (end, status, step_status) in ends {
        let mut turn = session.begin_turn(Message::user("hi")).await.unwrap();
        turn.begin_step().await.unwrap();
        turn.update(|turn| turn.preview = Some("short".into())).await.unwrap();
        let before = session.view().unwrap().turns.last().unwrap().clone();
        turn.end(end.clone()).await.unwrap();
        assert_refused!(turn.end(TurnEnd::Final).await, ErrorKind::TurnNotHeld { .. });
        let view = session.view().unwrap();
        let (turn, step) = (view.turns.last().unwrap(), view.steps.last().unwrap());
        assert_eq!((turn.status, step.status), (status, step_status));
        let ended = foldlog::agent::Turn {
            status,
            ended: turn.ended,
            final_value: turn.final_value.clone(),
            error: turn.error.clone(),
            ..(*before).clone()
        };
        assert_eq!(**turn, ended);
        assert_eq!(turn.final_value.is_some(), matches!(end, TurnEnd::Value(_)));
        assert_eq!(turn.error.clone(), matches!(end, TurnEnd::Error(_)).then(failure));
        assert_eq!(step.error.is_some(), step_status == StepStatus::Error);
    }
    assert!(session.unfinished().unwrap().is_empty());
    store.close().await.unwrap();
}

async fn calls_that_nobody_answered_have_a_result_after_the_end(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    append(&session, AgentBody::MessageAppended(called(&["elsewhere"]))).await.unwrap();
    let mut turn = session.begin_turn(Message::user("hi")).await.unwrap();
    turn.say(called(&["a", "b"])).await.unwrap();
    turn.tool_result(ToolResult::text("a", "done")).await.unwrap();
    turn.end(TurnEnd::Cancelled).await.unwrap();
    let open: Vec<_> = session.view().unwrap().open_calls.iter().map(|call| call.call_id.clone()).collect();
    assert_eq!(open, ["elsewhere"], "which is not of this turn");
    let last = session.view().unwrap().messages.last().unwrap().clone();
    assert_eq!(last.parts[0].as_tool_result().unwrap().is_error, Some(true));
    store.close().await.unwrap();
}

async fn a_turn_for_a_message_that_is_there(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let said = append(&session, user("while you were busy")).await.unwrap().message_id().unwrap();
    append(&session, user("and another")).await.unwrap();
    let mut turn = session.begin_turn_for(said).await.unwrap();
    assert_eq!(turn.user_message(), said);
    turn.end(TurnEnd::Final).await.unwrap();
    assert_eq!(types(&session).await[2..], ["turn_started", "turn_put"]);
    assert_refused!(session.begin_turn_for(MessageId::new(9)).await, ErrorKind::BodyRefused { .. });
    drop(session.take_turn().await.expect("a turn that was not begun is given back"));
    store.close().await.unwrap();
}

async fn a_retry_under_the_same_key_begins_no_second_turn(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let begin = || session.begin_turn_once(Message::user("hi"), key("k"));
    let TurnBegun::Now(mut turn) = begin().await.unwrap() else { panic!("it is the first") };
    // The first is still running.
    let TurnBegun::Running(found) = begin().await.unwrap() else { panic!("the turn runs") };
    assert_eq!((found.id, found.status), (turn.id(), TurnStatus::Running));
    // Another message has come in between.
    append(&session, user("x")).await.unwrap();
    turn.answer(Message::assistant("ho")).await.unwrap();
    let TurnBegun::Ended(found) = begin().await.unwrap() else { panic!("the turn has ended") };
    assert_eq!((found.id, found.status), (turn.id(), TurnStatus::Final));
    assert_eq!(session.view().unwrap().turns.len(), 1);
    drop(session.take_turn().await.expect("no retry keeps the turn"));
    assert_head(&session, 5).await;
    store.close().await.unwrap();
}

async fn a_retry_is_told_of_the_turn_though_none_can_begin_now(disk: TestDisk) {
    let store = disk.open_with(|config| config.session_turns_max = Some(1)).await;
    let session = store.open_session("s").await.unwrap();
    let begin = |name: &str| session.begin_turn_once(Message::user("hi"), key(name));
    let TurnBegun::Now(mut turn) = begin("k").await.unwrap() else { panic!("it is the first") };
    assert_refused!(begin("other").await, ErrorKind::TurnLimit { .. });
    turn.end(TurnEnd::Final).await.unwrap();
    assert_refused!(begin("other").await, ErrorKind::TurnLimit { .. });
    assert!(matches!(begin("k").await.unwrap(), TurnBegun::Ended(_)));
    session.stop().await.unwrap();
    assert_refused!(begin("other").await, ErrorKind::SessionStopped { .. });
    assert!(matches!(begin("k").await.unwrap(), TurnBegun::Ended(_)));
    assert_head(&session, 5).await;
    store.close().await.unwrap();
}

async fn a_key_of_another_message_is_refused(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    drop(session.begin_turn_once(Message::user("hi"), key("k")).await.unwrap());
    let refused = session.begin_turn_once(Message::user("something else"), key("k")).await;
    assert_refused!(refused, ErrorKind::KeyReused { .. });
    // The turn that was dropped is ended, and nothing else is written.
    assert_head(&session, 3).await;
    store.close().await.unwrap();
}

async fn retries_at_once_begin_one_turn(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let begins = (0..8).map(|_| session.begin_turn_once(Message::user("hi"), key("k")));
    let begun = soon(futures::future::join_all(begins)).await;
    let now = begun.iter().filter(|begun| matches!(begun, Ok(TurnBegun::Now(_)))).count();
    assert_eq!(now, 1);
    let running = begun.iter().filter(|begun| matches!(begun, Ok(TurnBegun::Running(_)))).count();
    assert_eq!(running, 7, "{begun:?}");
    assert_eq!(session.view().unwrap().turns.len(), 1);
    drop(begun);
    store.close().await.unwrap();
}

async fn a_request_whose_turn_died_is_answered_once_however_often_it_comes_again(disk: TestDisk) {
    let request =
        async |session: &foldlog::Session| session.begin_turn_once(Message::user("hi"), key("k")).await.unwrap();
    for interrupts in [false, true] {
        for _ in 0..3 {
            let store = disk.open().await;
            let session = store.open_session(format!("{interrupts}")).await.unwrap();
            if interrupts {
                session.interrupt("the host was restarted").await.unwrap();
            }
            let TurnBegun::Now(mut turn) = request(&session).await else { panic!("it has no answer yet") };
            turn.begin_step().await.unwrap();
            turn.say(Message::answer([foldlog::agent::Part::tool_call("c", "tool", "{}")])).await.unwrap();
            drop(turn);
            store.close().await.unwrap();
        }
        let store = disk.open().await;
        let session = store.open_session(format!("{interrupts}")).await.unwrap();
        let TurnBegun::Now(mut turn) = request(&session).await else { panic!("it has no answer yet") };
        assert!(matches!(request(&session).await, TurnBegun::Running(found) if found.id == turn.id()), "it is run");
        turn.answer(Message::assistant("ho")).await.unwrap();
        for _ in 0..2 {
            let TurnBegun::Ended(found) = request(&session).await else { panic!("it has an answer") };
            assert_eq!((found.id.get(), found.status), (4, TurnStatus::Final), "the last turn, not the first");
        }
        let view = session.view().unwrap();
        assert!(session.unfinished().unwrap().is_empty());
        let interrupted = view.turns.iter().filter(|turn| turn.status == TurnStatus::Interrupted).count();
        assert_eq!((view.turns.len(), interrupted), (4, 3));
        let asked = view.messages.iter().filter(|message| message.role == foldlog::agent::Role::User).count();
        assert_eq!(asked, 1, "the user's message is there once");
        store.close().await.unwrap();
    }
}

async fn an_end_that_fails_can_be_tried_again(disk: TestDisk) {
    let faults = Faults::default();
    let store = foldlog::Store::open(faults.watch(disk.config())).await.unwrap();
    let session = store.open_session("s").await.unwrap();
    let mut turn = session.begin_turn(Message::user("hi")).await.unwrap();
    turn.begin_step().await.unwrap();
    faults.fail_next(Port::Commit, Fault::DiskFull);
    assert_refused!(turn.answer(Message::assistant("ho")).await, ErrorKind::DiskFull);
    assert_refused!(session.take_turn().await, ErrorKind::TurnInFlight { .. });
    turn.answer(Message::assistant("ho")).await.unwrap();
    assert!(session.unfinished().unwrap().is_empty());
    assert_head(&session, 6).await;
    store.close().await.unwrap();
}

async fn a_turn_that_was_taken_away_writes_nothing_more(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let mut turn = session.begin_turn(Message::user("hi")).await.unwrap();
    assert!(session.revoke_turn());
    session.interrupt("it hangs").await.unwrap();
    assert_refused!(turn.begin_step().await, ErrorKind::TurnNotHeld { session } if session.as_str() == "s");
    assert_refused!(turn.say(Message::assistant("x")).await, ErrorKind::TurnNotHeld { .. });
    assert_refused!(turn.delta("x"), ErrorKind::TurnNotHeld { .. });
    assert_refused!(turn.answer(Message::assistant("x")).await, ErrorKind::TurnNotHeld { .. });
    assert_eq!(session.view().unwrap().turns.last().unwrap().status, TurnStatus::Interrupted);
    assert_head(&session, 3).await;
    store.close().await.unwrap();
}

thread_local! {
    /// The warnings of foldlog on this thread.
    static WARNINGS: std::cell::RefCell<Vec<String>> = const { std::cell::RefCell::new(Vec::new()) };
}

struct Warnings;

impl log::Log for Warnings {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() == log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            WARNINGS.with_borrow_mut(|lines| lines.push(record.args().to_string()));
        }
    }

    fn flush(&self) {}
}

async fn a_dropped_turn_logs_one_warning_gives_the_right_back_and_stays_unfinished(disk: TestDisk) {
    // Another test of this process may have installed it.
    let _ = log::set_logger(&Warnings);
    log::set_max_level(log::LevelFilter::Warn);
    let store = disk.open().await;
    let session = store.open_session("secret").await.unwrap();
    let turn = session.begin_turn(Message::user("hi")).await.unwrap();
    WARNINGS.take();
    drop(turn);
    let warnings = WARNINGS.take();
    assert_eq!(warnings, ["turn 1 was dropped without an end; the next turn that begins ends it"]);
    assert_eq!(session.unfinished().unwrap().len(), 1);
    drop(session.take_turn().await.unwrap());
    assert_head(&session, 2).await;
    let mut ended = session.begin_turn(Message::user("hi")).await.unwrap();
    ended.end(TurnEnd::Final).await.unwrap();
    drop(ended);
    assert_eq!(WARNINGS.take(), Vec::<String>::new());
    store.close().await.unwrap();
}

async fn deltas_and_output_name_the_turn_and_the_step(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let mut turn = session.begin_turn(Message::user("hi")).await.unwrap();
    let mut items = session.subscribe(SubscribeFrom::Now).await.unwrap();
    turn.delta("a").unwrap();
    turn.begin_step().await.unwrap();
    turn.delta("b").unwrap();
    turn.output(OutputStream::Stderr, "c").unwrap();
    turn.end(TurnEnd::Final).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        if let Item::Transient(transient) = soon(items.next()).await.unwrap() {
            seen.push(transient);
        }
    }
    let (turn, none, step) = (TurnId::new(1), StepId::new(0), StepId::new(1));
    let text = |text: &str| text.to_owned();
    assert_eq!(
        seen,
        [
            AgentTransient::TokenDelta { turn, step: none, text: text("a") },
            AgentTransient::TokenDelta { turn, step, text: text("b") },
            AgentTransient::OutputChunk { turn, step, stream: OutputStream::Stderr, text: text("c") },
        ]
    );
    store.close().await.unwrap();
}

async fn deltas_that_find_the_session_busy_wait_for_the_next(disk: TestDisk) {
    let faults = Faults::default();
    let config = StoreConfig { session_in_flight_max: 3, ..faults.watch(disk.config()) };
    let store = foldlog::Store::open(config).await.unwrap();
    let session = store.open_session("s").await.unwrap();
    let mut turn = session.begin_turn(Message::user("hi")).await.unwrap();
    turn.begin_step().await.unwrap();
    let mut items = session.subscribe(SubscribeFrom::Now).await.unwrap();
    let mut held = faults.hold(Port::Commit);
    let on_its_way = session.append(noted(0)).unwrap();
    held.reached().await;
    // One append and two transients are in flight, and the rest waits.
    for number in 0..100 {
        turn.delta(format!("{number} ")).unwrap();
        turn.output(OutputStream::Stdout, "x").unwrap();
    }
    assert_refused!(turn.delta("y".repeat(70_000)), ErrorKind::Busy { .. });
    held.release();
    on_its_way.await.unwrap();
    append(&session, noted(1)).await.unwrap();
    turn.delta("end").unwrap();
    turn.output(OutputStream::Stdout, "end").unwrap();
    let (mut text, mut output) = (String::new(), String::new());
    while !(text.ends_with("end") && output.ends_with("end")) {
        match soon(items.next()).await.unwrap() {
            Item::Transient(AgentTransient::TokenDelta { text: shown, .. }) => text += &shown,
            Item::Transient(AgentTransient::OutputChunk { text: shown, .. }) => output += &shown,
            Item::Event(_) => {}
            other => panic!("{other:?}"),
        }
    }
    let all: String = (0..100).map(|number| format!("{number} ")).collect();
    assert_eq!((text, output), (all + "end", "x".repeat(100) + "end"));
    turn.answer(Message::assistant("so")).await.unwrap();
    store.close().await.unwrap();
}

async fn a_step_that_failed_is_followed_by_another(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let mut turn = session.begin_turn(Message::user("hi")).await.unwrap();
    turn.begin_step().await.unwrap();
    turn.end_step(Some(Failure::new("provider", "overloaded"))).await.unwrap();
    assert_eq!(turn.step_id(), None);
    turn.begin_step().await.unwrap();
    turn.answer(Message::assistant("ho")).await.unwrap();
    let steps: Vec<_> = session.view().unwrap().steps.iter().map(|step| step.status).collect();
    assert_eq!(steps, [StepStatus::Error, StepStatus::Done]);
    store.close().await.unwrap();
}

async fn appended_names_what_it_has_minted(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let bodies = vec![
        user("a"),
        AgentBody::TurnStarted(foldlog::agent::Turn::for_last_message()),
        AgentBody::StepStarted(foldlog::agent::Step::default()),
        AgentBody::EvalAdded(Eval::default()),
        user("b"),
        AgentBody::TurnPut(foldlog::agent::Turn { id: TurnId::new(1), ..Default::default() }),
    ];
    let appended = session.append_batch(bodies).unwrap().await.unwrap();
    assert_eq!(appended.message_ids().map(MessageId::get).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(appended.turn_ids().map(TurnId::get).collect::<Vec<_>>(), [1]);
    assert_eq!((appended.message_id(), appended.turn_id()), (Some(MessageId::new(1)), Some(TurnId::new(1))));
    assert_eq!((appended.step_id().map(StepId::get), appended.eval_id().map(|id| id.get())), (Some(1), Some(1)));
    let nothing = append(&session, noted(1)).await.unwrap();
    assert_eq!(
        (nothing.message_id(), nothing.turn_id(), nothing.step_id(), nothing.eval_id()),
        (None, None, None, None)
    );
    store.close().await.unwrap();
}
