//! Goal: each event type folds as it should. docs/conformance.md 14, 16 to 22, 27, 80 and the gates of 111.

use super::*;
use crate::model::{Turns, Unfinished};

fn texts<'a>(messages: impl Iterator<Item = &'a std::sync::Arc<Message>>) -> Vec<&'a str> {
    messages
        .map(|message| match &message.parts[..] {
            [part] => part.as_text().unwrap().as_inline().unwrap(),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn status(view: &AgentView) -> SessionStatus {
    view.session.as_ref().unwrap().status
}

#[test]
fn a_fold_leaves_the_view_that_it_was_given_unchanged() {
    let mut script = Script::of([AgentBody::SessionStarted(SessionInfo::default())]);
    let before = script.view.clone();
    let copy = before.clone();
    script.append(AgentBody::TurnStarted(Turn::default()));
    script.append(AgentBody::StopRequested);
    assert_eq!(before, copy);
    assert_eq!((before.turns.len(), status(&before)), (0, SessionStatus::Running));
    assert_eq!((script.view.turns.len(), status(&script.view)), (1, SessionStatus::StopRequested));

    let before = script.view.clone();
    script.append(AgentBody::TurnPut(Turn { id: TurnId::new(1), status: TurnStatus::Final, ..Turn::default() }));
    assert_eq!(before.turns.last().unwrap().status, TurnStatus::Running);
    assert_eq!(script.view.turns.last().unwrap().status, TurnStatus::Final);
}

#[test]
fn a_second_session_started_replaces_the_first_as_a_whole() {
    let first = SessionInfo { provider: Some("a".to_owned()), model: Some("b".to_owned()), ..SessionInfo::default() };
    let second = SessionInfo { model: Some("c".to_owned()), ..SessionInfo::default() };
    let script = Script::of([AgentBody::SessionStarted(first), AgentBody::SessionStarted(second)]);
    let session = script.view.session.unwrap();
    assert_eq!((session.provider.as_deref(), session.model.as_deref()), (None, Some("c")));
}

#[test]
fn a_put_replaces_the_whole_entity_in_place() {
    let script = Script::of([
        AgentBody::SessionStarted(SessionInfo::default()),
        AgentBody::MessageAppended(Message::user("hello")),
        AgentBody::TurnStarted(Turn::for_message(MessageId::new(1))),
        AgentBody::StepStarted(Step { request: Some("asked".into()), ..Step::of_turn(TurnId::new(1)) }),
        AgentBody::EvalAdded(Eval::default()),
        AgentBody::StepPut(Step { id: StepId::new(1), status: StepStatus::Done, ..Step::default() }),
        AgentBody::TurnPut(Turn { id: TurnId::new(1), status: TurnStatus::Final, ..Turn::default() }),
    ]);
    let view = &script.view;
    assert_eq!((view.turns.len(), view.steps.len(), view.messages.len(), view.evals.len()), (1, 1, 1, 1));
    assert_eq!(view.counters, Counters { message: 1, turn: 1, step: 1, eval: 1 });
    let turn = Turn { id: TurnId::new(1), status: TurnStatus::Final, ..Turn::default() };
    let step = Step { id: StepId::new(1), status: StepStatus::Done, ..Step::default() };
    assert_eq!(**view.turns.get(TurnId::new(1)).unwrap(), turn, "nothing of the old turn is left");
    assert_eq!(**view.steps.get(StepId::new(1)).unwrap(), step, "nothing of the old step is left");
}

#[test]
fn a_put_keeps_the_order_of_the_others() {
    let mut script = Script::of((0..100).map(|_| AgentBody::TurnStarted(Turn::default())));
    script.append(AgentBody::TurnPut(Turn { id: TurnId::new(42), status: TurnStatus::Error, ..Turn::default() }));
    let ids: Vec<_> = script.view.turns.iter().map(|turn| turn.id.get()).collect();
    assert_eq!(ids, (1..=100).collect::<Vec<_>>());
    let failed: Vec<_> = script.view.turns.iter().filter(|turn| turn.status == TurnStatus::Error).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].id, TurnId::new(42));
}

#[test]
fn a_time_that_a_creating_body_leaves_out_is_that_of_its_event() {
    let own = Some(Timestamp::from_micros(5));
    let script = Script::of([
        AgentBody::SessionStarted(SessionInfo::default()),
        AgentBody::TurnStarted(Turn::default()),
        AgentBody::StepStarted(Step::default()),
        AgentBody::MessageAppended(Message::user("hello")),
        AgentBody::EvalAdded(Eval::default()),
        AgentBody::TurnStarted(Turn { started: own, ..Turn::default() }),
        AgentBody::MessageAppended(Message { at: own, ..Message::default() }),
    ]);
    let view = script.view;
    let at = |event| Some(time(EventId::new(event)));
    assert_eq!(view.session.as_ref().unwrap().created, at(1));
    assert_eq!(view.turns.get(TurnId::new(1)).unwrap().started, at(2));
    assert_eq!(view.steps.last().unwrap().started, at(3));
    assert_eq!(view.messages[0].at, at(4));
    assert_eq!(view.evals[0].at, at(5));
    assert_eq!(view.turns.last().unwrap().started, own);
    assert_eq!(view.messages[1].at, own);
}

#[test]
fn variables_and_custom_facts_change_nothing_else() {
    let mut script = Script::of([AgentBody::SessionStarted(SessionInfo::default())]);
    let before = script.view.clone();
    script.append(AgentBody::VarsSnapshotted("{}".into()));
    script.append(AgentBody::Custom { kind: "note".to_owned(), json: Json::default() });
    assert_eq!(script.view.vars.as_deref(), Some(&Content::from("{}")));
    assert_eq!(AgentView { vars: None, ..script.view }, before);
}

#[test]
fn a_compaction_sets_variables_boundary_and_message_in_one_event() {
    let mut script = Script::of([
        AgentBody::SessionStarted(SessionInfo::default()),
        AgentBody::MessageAppended(Message::user("old")),
        AgentBody::VarsSnapshotted("old vars".into()),
    ]);
    (0..4).for_each(|_| script.append(AgentBody::TurnStarted(Turn::default())));
    assert_eq!(texts(script.view.kept_messages()), ["old"]);
    script.append(AgentBody::compacted(Some("vars".into()), Message::user("summary")));
    let view = &script.view;
    assert_eq!(view.compact_from, Some(EventId::new(8)));
    assert_eq!(view.vars.as_deref(), Some(&Content::from("vars")));
    assert_eq!((view.messages.len(), view.counters.message), (2, 2));
    assert_eq!(texts(view.kept_messages()), ["summary"]);
    assert_eq!(view.turns.len(), 4, "what was folded before stays");

    script.append(AgentBody::compacted(None, Message::user("another")));
    assert_eq!(script.view.compact_from, Some(EventId::new(9)));
    assert_eq!(script.view.vars.as_deref(), Some(&Content::from("vars")), "no variables given, none changed");
}

#[test]
fn kept_messages_are_those_from_the_boundary_on() {
    let mut script = Script::default();
    assert_eq!(script.view.kept_messages().len(), 0);
    for i in 0..200 {
        script.append(AgentBody::MessageAppended(Message::user(format!("a{i}"))));
        script.append(AgentBody::StepStarted(Step::default()));
    }
    assert_eq!(script.view.kept_messages().len(), 200);
    script.append(AgentBody::compacted(None, Message::system("summary")));
    assert_eq!(texts(script.view.kept_messages()), ["summary"]);
    for text in ["b", "c"] {
        script.append(AgentBody::EvalAdded(Eval::default()));
        script.append(AgentBody::MessageAppended(Message::assistant(text)));
    }
    assert_eq!(texts(script.view.kept_messages()), ["summary", "b", "c"]);
    assert_eq!(texts(script.view.kept_messages().rev()), ["c", "b", "summary"]);
    assert_eq!(script.view.messages.len(), 203);
    assert_eq!(script.view.message(MessageId::new(202)).unwrap().role, Role::Assistant);
    assert!(script.view.message(MessageId::new(204)).is_none());
}

#[test]
fn a_stop_changes_the_status_and_nothing_else_of_the_session() {
    let session = SessionInfo { model: Some("m".to_owned()), ..SessionInfo::default() };
    let mut script = Script::of([AgentBody::SessionStarted(session)]);
    let before = script.view.session.clone().unwrap();
    for (body, wanted) in
        [(AgentBody::StopRequested, SessionStatus::StopRequested), (AgentBody::Stopped, SessionStatus::Stopped)]
    {
        script.append(body);
        assert_eq!(**script.view.session.as_ref().unwrap(), SessionInfo { status: wanted, ..(*before).clone() });
        assert!(script.view.error.is_none());
    }
}

#[test]
fn an_error_is_kept_and_a_session_without_description_holds_only_its_status() {
    let failure = Failure::new("provider", "gone");
    let script = Script::of([AgentBody::SessionErrored(failure.clone())]);
    assert_eq!(script.view.error.as_deref(), Some(&failure));
    let session = SessionInfo { status: SessionStatus::Error, ..SessionInfo::default() };
    assert_eq!(script.view.session.as_deref(), Some(&session));
}

#[test]
fn progress_says_where_the_session_stands() {
    let mut script = Script::default();
    let fresh = script.progress();
    assert_eq!((fresh.status, fresh.running, fresh.in_flight, fresh.turn_count), (None, false, false, 0));
    script.append(AgentBody::SessionStarted(SessionInfo { id: Some("s".to_owned()), ..SessionInfo::default() }));
    script.append(AgentBody::TurnStarted(Turn::default()));
    let progress = script.progress();
    let wanted = crate::agent::Progress {
        id: Some("s".to_owned()),
        status: Some(SessionStatus::Running),
        running: true,
        turn_count: 1,
        current_turn: Some(TurnId::new(1)),
        step_count: 0,
        in_flight: true,
        last_event_id: EventId::new(2),
    };
    assert_eq!(progress, wanted);
    script.append(AgentBody::StepStarted(Step::of_turn(TurnId::new(1))));
    script.append(AgentBody::TurnPut(Turn { id: TurnId::new(1), status: TurnStatus::Timeout, ..Turn::default() }));
    let progress = script.progress();
    assert_eq!((progress.in_flight, progress.step_count, progress.last_event_id.get()), (false, 1, 4));
}

#[test]
fn turns_stop_with_a_stop_request_a_stop_or_an_error() {
    assert_eq!(Agent::turns(&AgentView::default()), Turns { stopped: false, started: 0 });
    let ends =
        [AgentBody::StopRequested, AgentBody::Stopped, AgentBody::SessionErrored(Failure::new("provider", "gone"))];
    for end in ends {
        let mut script =
            Script::of([AgentBody::SessionStarted(SessionInfo::default()), AgentBody::TurnStarted(Turn::default())]);
        assert_eq!(Agent::turns(&script.view), Turns { stopped: false, started: 1 });
        script.append(end);
        assert_eq!(Agent::turns(&script.view), Turns { stopped: true, started: 1 });
    }
}

#[test]
fn turns_and_steps_without_an_end_are_unfinished() {
    let script = Script::of([
        AgentBody::TurnStarted(Turn::default()),
        AgentBody::TurnStarted(Turn::default()),
        AgentBody::StepStarted(Step::of_turn(TurnId::new(2))),
        AgentBody::StepStarted(Step::of_turn(TurnId::new(2))),
        AgentBody::TurnPut(Turn { id: TurnId::new(1), status: TurnStatus::Final, ..Turn::default() }),
        AgentBody::StepPut(Step { id: StepId::new(1), status: StepStatus::Error, ..Step::default() }),
    ]);
    let wanted = [Unfinished::new("turn", 2), Unfinished::new("step", 2)];
    assert_eq!(Agent::unfinished(&script.view), wanted);
}

fn unanswered(view: &AgentView) -> Vec<u64> {
    view.unanswered().map(|message| message.id.get()).collect()
}

#[test]
fn a_message_waits_from_its_queueing_or_interruption_until_its_turn_begins() {
    let put = |id, message, status| {
        AgentBody::TurnPut(Turn { id: TurnId::new(id), status, ..Turn::for_message(MessageId::new(message)) })
    };
    let begun = |message| AgentBody::TurnStarted(Turn::for_message(MessageId::new(message)));
    let mut script = Script::of([
        AgentBody::MessageAppended(Message::user("said, and no turn asked for")),
        AgentBody::MessageAppended(Message::user("begun")),
        begun(2),
    ]);
    for _ in 3..=4 {
        script.append(AgentBody::MessageAppended(Message::user("queued")));
        script.append(AgentBody::TurnQueued { message: MessageId::default() });
    }
    assert_eq!(unanswered(&script.view), [3, 4]);
    let steps = [
        (put(1, 2, TurnStatus::Running), vec![3, 4]),
        // It came first, and goes first.
        (put(1, 2, TurnStatus::Interrupted), vec![2, 3, 4]),
        (put(1, 2, TurnStatus::Interrupted), vec![2, 3, 4]),
        (begun(2), vec![3, 4]),
        (put(2, 2, TurnStatus::Error), vec![3, 4]),
        // Says nothing new of an answer that came since.
        (put(1, 2, TurnStatus::Interrupted), vec![3, 4]),
        (begun(4), vec![3]),
        (put(3, 4, TurnStatus::Interrupted), vec![3, 4]),
        // Nobody shall answer it any more.
        (put(3, 4, TurnStatus::Cancelled), vec![3]),
        (AgentBody::compacted(None, Message::system("so far")), vec![3]),
        (begun(3), vec![]),
        (put(4, 3, TurnStatus::Final), vec![]),
    ];
    for (body, left) in steps {
        let event = format!("{body:?}");
        script.append(body);
        assert_eq!(unanswered(&script.view), left, "{event}");
    }
}

#[test]
fn a_message_that_waits_and_is_not_there_is_not_given() {
    let mut script = Script::default();
    assert!(script.try_append(AgentBody::TurnQueued { message: MessageId::new(1) }).is_err());
    script.fold(AgentBody::TurnQueued { message: MessageId::new(7) });
    let turn = Turn { id: TurnId::new(1), status: TurnStatus::Interrupted, ..Turn::for_message(MessageId::new(8)) };
    script.fold(AgentBody::TurnPut(turn));
    assert_eq!(unanswered(&script.view), [0_u64; 0]);
}

#[test]
fn a_step_that_runs_tells_its_last_answer_and_its_usage_without_its_messages() {
    let (first, second) = (StepId::new(1), StepId::new(2));
    let used = |tokens| Some(Usage { output_tokens: Some(tokens), ..Usage::default() });
    let said = |role, step, tokens| {
        let origin = MessageOrigin { usage: used(tokens), ..MessageOrigin::default() };
        AgentBody::MessageAppended(Message { step: Some(step), ..Message::text(role, "x").with_origin(origin) })
    };
    let mut script = Script::of([
        AgentBody::TurnStarted(Turn::default()),
        AgentBody::StepStarted(Step::of_turn(TurnId::new(1))),
        AgentBody::StepStarted(Step::of_turn(TurnId::new(1))),
        said(Role::Assistant, first, 1),
        said(Role::Assistant, second, 10),
        said(Role::Assistant, first, 100),
        said(Role::Tool, first, 1000),
    ]);
    let found: Vec<_> = script.view.running_steps.iter().map(|(id, step)| (*id, step.answer, step.usage)).collect();
    assert_eq!(found, [(first, Some(MessageId::new(3)), used(101)), (second, Some(MessageId::new(2)), used(10))]);
    script.append(AgentBody::StepPut(Step { id: first, status: StepStatus::Done, ..Step::default() }));
    script.append(said(Role::Assistant, first, 1));
    assert!(script.view.running_steps.keys().eq([&second]));
    script.append(AgentBody::StepStarted(Step { status: StepStatus::Done, ..Step::default() }));
    assert!(script.view.running_steps.keys().eq([&second]));
}
