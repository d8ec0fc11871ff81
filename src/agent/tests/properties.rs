//! Goal: stamping and folding agree, whatever is appended. docs/conformance.md 3, 11, 17, 18, 26.

use proptest::prelude::*;

use super::*;

fn body() -> impl Strategy<Value = AgentBody> {
    // What a caller may put into a creating body; a put names any id that `check` lets through, also one that is not
    // there.
    let any_id = || any::<u64>();
    let put_id = || prop_oneof![9 => 1_u64..12, 1 => 1_u64..1 << 40];
    let turn = |id| Turn { id: TurnId::new(id), ..Turn::default() };
    let step = |id| Step { id: StepId::new(id), ..Step::default() };
    let message = |id: u64| Message { id: MessageId::new(id), event_id: EventId::new(id), ..Message::user("hello") };
    prop_oneof![
        Just(AgentBody::SessionStarted(SessionInfo::default())),
        any_id().prop_map(move |id| AgentBody::TurnStarted(turn(id))),
        put_id().prop_map(move |id| AgentBody::TurnPut(turn(id))),
        any_id().prop_map(move |id| AgentBody::StepStarted(step(id))),
        put_id().prop_map(move |id| AgentBody::StepPut(step(id))),
        any_id().prop_map(move |id| AgentBody::MessageAppended(message(id))),
        any_id().prop_map(|id| AgentBody::EvalAdded(Eval { id: EvalId::new(id), ..Eval::default() })),
        Just(AgentBody::VarsSnapshotted("{}".into())),
        any_id().prop_map(move |id| AgentBody::SessionCompacted {
            vars: None,
            boundary: EventId::new(id),
            message: message(id)
        }),
        Just(AgentBody::StopRequested),
        Just(AgentBody::Stopped),
        Just(AgentBody::SessionErrored(Failure::new("provider", "gone"))),
        Just(AgentBody::Custom { kind: "note".to_owned(), json: Json::default() }),
        (0_u64..4).prop_map(|id| AgentBody::TurnQueued { message: MessageId::new(id) }),
    ]
}

fn bodies() -> impl Strategy<Value = Vec<AgentBody>> {
    prop::collection::vec(body(), 0..120)
}

proptest! {
    #[test]
    fn stamping_leaves_the_counters_where_the_fold_puts_them(bodies in bodies()) {
        let mut script = Script::default();
        for body in bodies {
            prop_assert_eq!(Agent::check(&body), Ok(()));
            drop(script.try_append(body));
            prop_assert_eq!(script.counters, Agent::counters(&script.view));
        }
    }

    #[test]
    fn a_batch_is_stamped_as_its_bodies_would_be_one_by_one(bodies in bodies()) {
        let one_by_one = Script::of_accepted(bodies.clone());
        let mut counters = Counters::default();
        let mut view = AgentView::default();
        let mut stamped = Vec::new();
        for mut body in bodies {
            if Agent::stamp(&mut counters, EventId::new(stamped.len() as u64 + 1), &mut body).is_ok() {
                stamped.push(body);
            }
        }
        for (body, id) in stamped.into_iter().zip(1..) {
            Agent::apply(&mut view, &Event::new(EventId::new(id), time(EventId::new(id)), [0; 8], body));
        }
        prop_assert_eq!(counters, view.counters);
        prop_assert_eq!(view, one_by_one.view);
    }

    #[test]
    fn any_earlier_view_with_the_events_after_it_gives_the_same_view(bodies in bodies(), at in any::<prop::sample::Index>()) {
        let script = Script::of_accepted(bodies);
        let split = at.index(script.events.len() + 1);
        let (before, after) = script.events.split_at(split);
        let mut view = AgentView::default();
        before.iter().for_each(|event| Agent::apply(&mut view, event));
        let earlier = view.clone();
        let unchanged = format!("{earlier:?}");
        after.iter().for_each(|event| Agent::apply(&mut view, event));
        prop_assert_eq!(view, script.view);
        prop_assert_eq!(format!("{earlier:?}"), unchanged);
    }

    #[test]
    fn entities_are_found_by_their_ids_in_the_order_in_which_they_came(bodies in bodies()) {
        let script = Script::of_accepted(bodies);
        let view = &script.view;
        let mut turns = Vec::new();
        for event in &script.events {
            if let AgentBody::TurnStarted(turn) | AgentBody::TurnPut(turn) = event.body()
                && !turns.contains(&turn.id)
            {
                turns.push(turn.id);
            }
        }
        prop_assert_eq!(view.turns.iter().map(|turn| turn.id).collect::<Vec<_>>(), turns);
        prop_assert!(view.turns.iter().all(|turn| view.turns.get(turn.id) == Some(turn)));
        prop_assert!(view.steps.iter().all(|step| view.steps.get(step.id) == Some(step)));
        prop_assert!(view.messages.iter().all(|message| view.message(message.id) == Some(message)));
        prop_assert!(view.evals.iter().all(|eval| view.eval(eval.id) == Some(eval)));
        prop_assert!(view.messages.iter().is_sorted_by(|a, b| a.id < b.id && a.event_id < b.event_id));
        let boundary = view.compact_from.unwrap_or(EventId::ZERO);
        let kept: Vec<_> = view.messages.iter().filter(|message| message.event_id >= boundary).collect();
        prop_assert_eq!(view.kept_messages().collect::<Vec<_>>(), kept);
    }
}
