//! Goal: ids come from the counters. docs/conformance.md 1 to 7 and 11.

use super::*;
use crate::agent::Counter;

fn counters(message: u64, turn: u64, step: u64, eval: u64) -> Counters {
    Counters { message, turn, step, eval }
}

fn turn_ids(view: &AgentView) -> Vec<u64> {
    view.turns.iter().map(|turn| turn.id.get()).collect()
}

#[test]
fn a_new_session_has_zero_counters_and_nothing_in_it() {
    let view = AgentView::default();
    assert_eq!(Agent::counters(&view), counters(0, 0, 0, 0));
    assert!(view.session.is_none() && view.vars.is_none() && view.compact_from.is_none() && view.error.is_none());
    assert!(view.messages.is_empty() && view.turns.is_empty() && view.steps.is_empty() && view.evals.is_empty());
    for counter in [Counter::Message, Counter::Turn, Counter::Step, Counter::Eval] {
        assert_eq!(view.counters.next(counter), 1);
    }
}

#[test]
fn the_first_entity_of_each_kind_gets_id_1() {
    let view = Script::of([
        AgentBody::SessionStarted(SessionInfo::default()),
        AgentBody::TurnStarted(Turn::default()),
        AgentBody::StepStarted(Step::default()),
        AgentBody::MessageAppended(Message::user("hello")),
        AgentBody::EvalAdded(Eval::default()),
    ])
    .view;
    assert_eq!(view.turns.last().unwrap().id, TurnId::new(1));
    assert_eq!(view.steps.last().unwrap().id, StepId::new(1));
    assert_eq!(view.messages[0].id, MessageId::new(1));
    assert_eq!(view.messages[0].event_id, EventId::new(4));
    assert_eq!(view.evals[0].id, EvalId::new(1));
    assert_eq!(view.counters, counters(1, 1, 1, 1));
}

#[test]
fn two_sessions_mint_their_ids_apart() {
    let mut first = Script::of([AgentBody::TurnStarted(Turn::default()), AgentBody::TurnStarted(Turn::default())]);
    let second = Script::of([AgentBody::TurnStarted(Turn::default())]);
    first.append(AgentBody::TurnStarted(Turn::default()));
    assert_eq!(turn_ids(&first.view), [1, 2, 3]);
    assert_eq!(turn_ids(&second.view), [1]);
}

#[test]
fn ids_that_the_caller_put_into_a_creating_body_are_overwritten() {
    let message = || Message { id: MessageId::new(77), event_id: EventId::new(99), ..Message::user("hello") };
    let view = Script::of([
        AgentBody::TurnStarted(Turn { id: TurnId::new(77), ..Turn::default() }),
        AgentBody::StepStarted(Step { id: StepId::new(77), ..Step::default() }),
        AgentBody::EvalAdded(Eval { id: EvalId::new(77), ..Eval::default() }),
        AgentBody::MessageAppended(message()),
        AgentBody::SessionCompacted { vars: None, boundary: EventId::ZERO, message: message() },
    ])
    .view;
    assert_eq!(turn_ids(&view), [1]);
    assert!(view.steps.get(StepId::new(1)).is_some() && view.steps.get(StepId::new(77)).is_none());
    assert!(view.eval(EvalId::new(1)).is_some() && view.eval(EvalId::new(77)).is_none());
    let ids: Vec<_> = view.messages.iter().map(|message| (message.id.get(), message.event_id.get())).collect();
    assert_eq!(ids, [(1, 4), (2, 5)]);
    assert_eq!(view.compact_from, Some(EventId::new(5)));
    assert_eq!(view.counters, counters(2, 1, 1, 1));
}

#[test]
fn a_put_of_an_absent_id_is_refused_and_one_that_a_log_holds_is_added() {
    let turn = |id| AgentBody::TurnPut(Turn { id: TurnId::new(id), ..Turn::default() });
    let step = |id| AgentBody::StepPut(Step { id: StepId::new(id), ..Step::default() });
    let mut script = Script::default();
    assert_eq!(script.try_append(turn(1)), Err("it names turn 1, and the session has none".to_owned()));
    script.append(AgentBody::TurnStarted(Turn::default()));
    script.append(AgentBody::StepStarted(Step::default()));
    assert_eq!(script.try_append(turn(7)), Err("it names turn 7, and the last of this session is 1".to_owned()));
    assert_eq!(script.try_append(step(7)), Err("it names step 7, and the last of this session is 1".to_owned()));
    [turn(7), turn(3), step(7)].into_iter().for_each(|body| script.fold(body));
    assert_eq!(turn_ids(&script.view), [1, 7, 3]);
    assert_eq!(script.view.counters, counters(0, 7, 7, 0));

    // The next id comes behind all of them, also where the log is stamped on.
    script.counters = script.view.counters;
    script.append(AgentBody::TurnStarted(Turn::default()));
    script.append(AgentBody::StepStarted(Step::default()));
    script.append(turn(3));
    assert_eq!(turn_ids(&script.view), [1, 7, 3, 8]);
    assert_eq!(script.view.steps.iter().map(|step| step.id.get()).collect::<Vec<_>>(), [1, 7, 8]);
}

#[test]
fn a_body_that_names_an_entity_which_is_not_there_is_refused() {
    let (message, turn, step) = (Some(MessageId::new(2)), Some(TurnId::new(2)), Some(StepId::new(2)));
    let one = || (TurnId::new(1), StepId::new(1));
    let bodies = || {
        [
            AgentBody::TurnStarted(Turn { user_message: message, ..Turn::default() }),
            AgentBody::TurnPut(Turn { id: one().0, user_message: message, ..Turn::default() }),
            AgentBody::StepStarted(Step { turn, ..Step::default() }),
            AgentBody::StepPut(Step { id: one().1, turn, ..Step::default() }),
            AgentBody::StepPut(Step { id: one().1, assistant_message: message, ..Step::default() }),
            AgentBody::MessageAppended(Message { turn: Some(TurnId::new(3)), ..Message::default() }),
            AgentBody::MessageAppended(Message { step, ..Message::default() }),
            AgentBody::MessageAppended(Message { parent: message, ..Message::default() }),
            AgentBody::compacted(None, Message { parent: message, ..Message::default() }),
            AgentBody::EvalAdded(Eval { turn, ..Eval::default() }),
            AgentBody::EvalAdded(Eval { step, ..Eval::default() }),
            AgentBody::TurnQueued { message: MessageId::new(2) },
        ]
    };
    let begin = || {
        [
            AgentBody::MessageAppended(Message::user("hello")),
            AgentBody::TurnStarted(Turn::default()),
            AgentBody::StepStarted(Step::default()),
        ]
    };
    let script = || Script::of(begin());
    for body in bodies() {
        let refused = script().try_append(body.clone()).unwrap_err();
        assert!(refused.ends_with("and the last of this session is 1"), "{body:?}: {refused}");
        let mut with_both = Script::of(begin().into_iter().chain(begin()));
        with_both.append(body);
    }
    script().append(AgentBody::MessageAppended(Message { turn, ..Message::user("it opens the next turn") }));
    let zero = AgentBody::MessageAppended(Message { turn: Some(TurnId::new(0)), ..Message::default() });
    assert!(script().try_append(zero).is_err());
}

#[test]
fn a_boundary_behind_its_compaction_is_refused_and_one_before_an_earlier_one_changes_nothing() {
    let compacted = |boundary| AgentBody::SessionCompacted {
        vars: None,
        boundary: EventId::new(boundary),
        message: Message::user("sum"),
    };
    let mut script = Script::of((0..4).map(|n| AgentBody::MessageAppended(Message::user(format!("{n}")))));
    assert!(script.try_append(compacted(6)).unwrap_err().contains("behind the compaction"));
    script.append(compacted(3));
    assert_eq!(script.view.compact_from, Some(EventId::new(3)));
    script.append(compacted(2));
    assert_eq!(script.view.compact_from, Some(EventId::new(3)));
    script.append(compacted(0));
    assert_eq!(script.view.compact_from, Some(EventId::new(7)));
}

#[test]
fn a_put_names_an_id_from_1_to_the_largest_exact_json_number() {
    let turn = |id| Agent::check(&AgentBody::TurnPut(Turn { id: TurnId::new(id), ..Turn::default() }));
    let step = |id| Agent::check(&AgentBody::StepPut(Step { id: StepId::new(id), ..Step::default() }));
    for id in [1, (1 << 53) - 1] {
        assert_eq!((turn(id), step(id)), (Ok(()), Ok(())));
    }
    for id in [0, 1 << 53, u64::MAX] {
        assert_eq!(turn(id), Err(format!("turn put names id {id}, limit is 1 to 9007199254740991")));
        assert_eq!(step(id), Err(format!("step put names id {id}, limit is 1 to 9007199254740991")));
    }
}

#[test]
fn a_compaction_mints_its_message_from_the_message_counter() {
    let script = Script::of([
        AgentBody::MessageAppended(Message::user("hello")),
        AgentBody::compacted(Some("{}".into()), Message::system("summary")),
    ]);
    assert_eq!(script.view.messages[1].id, MessageId::new(2));
    assert_eq!(script.view.counters, counters(2, 0, 0, 0));
}

#[test]
fn a_fold_takes_the_larger_of_counter_and_id_and_never_mints() {
    let mut view = AgentView { counters: counters(9, 9, 9, 9), ..AgentView::default() };
    let fold = |view: &mut AgentView, id: u64, entity: u64| {
        let body = AgentBody::TurnStarted(Turn { id: TurnId::new(entity), ..Turn::default() });
        Agent::apply(view, &Event::new(EventId::new(id), Timestamp::default(), [0; 8], body));
    };
    fold(&mut view, 4, 5);
    assert_eq!(turn_ids(&view), [5]);
    assert_eq!(view.counters, counters(9, 9, 9, 9));
    fold(&mut view, 12, 11);
    assert_eq!(turn_ids(&view), [5, 11]);
    assert_eq!(view.counters, counters(9, 11, 9, 9));
}

#[test]
fn a_kind_is_1_to_128_bytes_and_extra_is_an_object() {
    let custom = |kind: String| Agent::check(&AgentBody::Custom { kind, json: Json::parse("1").unwrap() });
    assert_eq!(custom("x".to_owned()), Ok(()));
    assert_eq!(custom("x".repeat(128)), Ok(()));
    assert_eq!(custom(String::new()), Err("kind of a custom event is 0 bytes, limit is 1 to 128".to_owned()));
    assert_eq!(custom("ä".repeat(65)), Err("kind of a custom event is 130 bytes, limit is 1 to 128".to_owned()));

    let extra = || Json::parse(" [ 1 ] ").unwrap();
    let failure = || Some(Failure { extra: extra(), ..Failure::default() });
    let message = || Message { extra: extra(), ..Message::default() };
    let turn = Turn { id: TurnId::new(1), ..Turn::default() };
    let step = Step { id: StepId::new(1), ..Step::default() };
    let bad = [
        AgentBody::SessionStarted(SessionInfo { extra: extra(), ..SessionInfo::default() }),
        AgentBody::TurnStarted(Turn { extra: extra(), ..turn.clone() }),
        AgentBody::TurnPut(Turn { error: failure(), ..turn.clone() }),
        AgentBody::StepStarted(Step { extra: extra(), ..step.clone() }),
        AgentBody::StepPut(Step { error: failure(), ..step.clone() }),
        AgentBody::EvalAdded(Eval { extra: extra(), ..Eval::default() }),
        AgentBody::EvalAdded(Eval { error: failure(), ..Eval::default() }),
        AgentBody::MessageAppended(message()),
        AgentBody::compacted(None, message()),
        AgentBody::SessionErrored(failure().unwrap()),
    ];
    for body in bad {
        let reason = Agent::check(&body).unwrap_err();
        assert!(reason.starts_with("extra of a ") && reason.ends_with(" is [1], wanted a JSON object"), "{reason}");
    }
    for body in full_bodies() {
        assert_eq!(Agent::check(&body), Ok(()), "{}", body.event_type());
    }
}

#[test]
fn message_0_stands_for_the_last_message_in_turns_steps_and_queued_turns() {
    let last = || Some(MessageId::default());
    let script = Script::of([
        AgentBody::MessageAppended(Message::user("a")),
        AgentBody::TurnStarted(Turn::for_last_message()),
        AgentBody::StepStarted(Step::of_turn(TurnId::new(1))),
        AgentBody::MessageAppended(Message::assistant("b")),
        AgentBody::StepPut(Step { id: StepId::new(1), assistant_message: last(), ..Step::default() }),
        AgentBody::TurnQueued { message: MessageId::default() },
    ]);
    let queued = AgentBody::TurnQueued { message: MessageId::new(2) };
    assert_eq!(script.events.last().unwrap().body(), &queued);
    assert_eq!(script.view.turns.last().unwrap().user_message, Some(MessageId::new(1)));
    assert_eq!(script.view.steps.last().unwrap().assistant_message, Some(MessageId::new(2)));
    let mut counters = Counters::default();
    let mut body = AgentBody::TurnStarted(Turn::for_last_message());
    let refused = Agent::stamp(&mut counters, EventId::new(1), &mut body).unwrap_err();
    assert!(refused.contains("the session has none"), "{refused}");
    assert_eq!(counters, Counters::default());
}
