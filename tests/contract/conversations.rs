//! Goal: wherever a history is cut, after an interruption its messages are in an order that providers accept, and
//! nothing that was said is missing. Method: random histories of calls and results, cut anywhere and gone on with; the
//! rules of tests/common/providers.rs. First, that the rules refuse what providers refuse.

use foldlog::agent::{
    AgentBody, AgentView, Message, MessageId, Part, PartBody, Role, Step, StepStatus, ToolCall, ToolKind, ToolResult,
    Turn, TurnStatus,
};
use foldlog::{EventId, Session};
use proptest::prelude::*;

use crate::common::providers::{accept, assert_accepted};
use crate::common::*;

/// Something that happens in a session. Numbers choose among what is there.
#[derive(Debug, Clone)]
enum Act {
    User(&'static str),
    Instruct(Role),
    /// The assistant calls tools, with these ids and names, and says a text before if it is not empty.
    Call {
        text: &'static str,
        calls: Vec<(&'static str, &'static str)>,
        chain: Option<&'static str>,
    },
    /// A result, or several in one message, perhaps with more beside.
    Results {
        of: Vec<(&'static str, Option<&'static str>)>,
        role: Role,
        beside: bool,
        chain: Option<&'static str>,
    },
    ProviderCall,
    /// For the user's last message, if there is one.
    TurnStarted,
    StepStarted,
    Compact(prop::sample::Index),
}

fn chain() -> impl Strategy<Value = Option<&'static str>> {
    prop_oneof![5 => Just(None), 1 => Just(Some("side"))]
}

fn act() -> impl Strategy<Value = Act> {
    // Ids that repeat, an empty one, and some that are used but once in a while.
    let id = || prop_oneof![4 => Just("call_0"), 2 => Just(""), 1 => Just("a"), 1 => Just("b"), 1 => Just("c")];
    let name = || prop_oneof![Just("search"), Just("run")];
    let calls = prop::collection::vec((id(), name()), 0..4);
    let of = prop::collection::vec((id(), prop::option::of(name())), 1..4);
    let role = prop_oneof![5 => Just(Role::Tool), 2 => Just(Role::User), 1 => Just(Role::Observation)];
    prop_oneof![
        3 => prop_oneof![4 => Just("hello"), 1 => Just("")].prop_map(Act::User),
        1 => prop_oneof![Just(Role::System), Just(Role::Developer)].prop_map(Act::Instruct),
        6 => (prop_oneof![Just("so"), Just("")], calls, chain())
            .prop_map(|(text, calls, chain)| Act::Call { text, calls, chain }),
        8 => (of, role, prop::bool::weighted(0.2), chain())
            .prop_map(|(of, role, beside, chain)| Act::Results { of, role, beside, chain }),
        1 => Just(Act::ProviderCall),
        2 => Just(Act::TurnStarted),
        2 => Just(Act::StepStarted),
        1 => any::<prop::sample::Index>().prop_map(Act::Compact),
    ]
}

async fn now(session: &Session, body: AgentBody) {
    session.append(body).unwrap().await.unwrap();
}

async fn perform(session: &Session, act: Act, number: usize) {
    let view = session.view().unwrap();
    let newest_turn = view.turns.last().map(|turn| turn.id);
    let body = match act {
        Act::User(text) => Message::user(text),
        Act::Instruct(role) => Message::text(role, format!("instruction {number}")),
        Act::Call { text, calls, chain } => {
            let calls = calls.into_iter().map(|(id, name)| Part::tool_call(id, name, "{}"));
            let parts: Vec<_> = [Part::text(text)].into_iter().chain(calls).collect();
            let parent = view.messages.last().map(|last| last.id).filter(|_| chain.is_some());
            Message { agent: chain.map(str::to_owned), parent, turn: newest_turn, ..Message::answer(parts) }
        }
        Act::Results { of, role, beside, chain } => {
            let mut parts = Vec::new();
            for (id, name) in of {
                let name = name.map(str::to_owned);
                parts.push(ToolResult { name, ..ToolResult::text(id, format!("result {number}")) }.into());
                parts.extend(beside.then(|| Part::text(format!("beside {number}"))));
            }
            Message { role, parts, agent: chain.map(str::to_owned), ..Message::default() }
        }
        Act::ProviderCall => {
            let call = ToolCall { id: "call_0".to_owned(), kind: ToolKind::Provider, ..ToolCall::default() };
            Message::answer([call.into(), Part::tool_result("call_0", "found")])
        }
        Act::TurnStarted => {
            let asked = view.messages.iter().rev().find(|message| message.role == Role::User);
            let turn = asked.map_or_else(Turn::default, |asked| Turn::for_message(asked.id));
            return now(session, AgentBody::TurnStarted(turn)).await;
        }
        Act::StepStarted => {
            let step = Step { turn: newest_turn, request: Some("asked".into()), ..Step::default() };
            return now(session, AgentBody::StepStarted(step)).await;
        }
        Act::Compact(through) => {
            let through = EventId::new(through.index(view.head().get() as usize + 1) as u64);
            let compacted = session.compact(Message::user(format!("sum {number}")), through, None).await;
            let is_covered = Some(through.next()) < view.compact_from;
            let Ok(compacted) = compacted else {
                assert!(is_covered, "only what is summed up already is refused: {compacted:?}");
                return;
            };
            assert!(!is_covered);
            assert!(compacted.boundary <= through.next().max(view.compact_from.unwrap_or_default()));
            assert!(Some(compacted.boundary) >= view.compact_from, "it never goes back");
            return;
        }
    };
    now(session, AgentBody::MessageAppended(body)).await;
}

/// Interrupts, and asserts all that must be true after it.
async fn interrupt(session: &Session) {
    let before = session.view().unwrap();
    let open = session.unfinished().unwrap();
    assert_eq!(session.interrupt("the host died").await.unwrap(), open);
    let view = session.view().unwrap();
    let written = view.head().get() - before.head().get();
    assert_eq!(written, open.len() as u64, "one event for each thing that was open, and none for anything else");
    assert_eq!(session.unfinished().unwrap(), []);
    assert!(view.open_calls.is_empty());
    assert_eq!(session.interrupt("again").await.unwrap(), []);
    assert_eq!(session.view().unwrap().head(), view.head(), "nothing open, nothing written");
    for (now, then) in view.turns.iter().zip(before.turns.iter()) {
        let is_put = then.status == TurnStatus::Running;
        let put =
            Turn { status: TurnStatus::Interrupted, ended: now.ended, error: now.error.clone(), ..(**then).clone() };
        assert_eq!(**now, if is_put { put } else { (**then).clone() });
        assert!(now.ended >= now.started && now.error.is_some());
    }
    for (now, then) in view.steps.iter().zip(before.steps.iter()) {
        let is_put = then.status == StepStatus::Running;
        let put =
            Step { status: StepStatus::Interrupted, ended: now.ended, error: now.error.clone(), ..(**then).clone() };
        assert_eq!(**now, if is_put { put } else { (**then).clone() });
    }
    let messages = session.provider_messages().await.unwrap();
    assert_accepted(&messages);
    let wanted = to_say(&view);
    let mut said = said(&messages);
    // A question that a compaction has covered before its turn did something is given, too.
    said.retain(|(id, _)| wanted.iter().any(|(wanted, _)| wanted == id));
    assert_eq!(said, wanted);
}

/// What the messages say beside results: the ids of messages with what stands in them, in order.
fn said(messages: &[std::sync::Arc<Message>]) -> Vec<(MessageId, PartBody)> {
    let of = |message: &std::sync::Arc<Message>| {
        let id = message.id;
        // What a tool says beside its results may have moved with them, or have gone with a result that is not sent.
        let parts = if message.role == Role::Tool { &[][..] } else { &message.parts[..] };
        parts.iter().map(move |part| (id, part.body.clone())).collect::<Vec<_>>()
    };
    let mut said: Vec<_> = messages.iter().flat_map(of).collect();
    said.retain(|(_, part)| !matches!(part, PartBody::ToolResult(result) if result.parts != Part::tool_result("", "found").as_tool_result().unwrap().parts));
    said
}

/// What must be said: all of the session's own conversation that is kept, the instructions first, and the last summary.
/// What was said in a turn stands with the message that the turn answers.
fn to_say(view: &AgentView) -> Vec<(MessageId, PartBody)> {
    let is_instruction = |message: &Message| matches!(message.role, Role::System | Role::Developer);
    let is_sum = |message: &Message| message.inline_text().is_some_and(|text| text.starts_with("sum "));
    let own = || view.messages.iter().filter(|message| message.agent.is_none());
    let instructions = own().filter(|message| is_instruction(message));
    let summary = view.messages.iter().rev().find(|message| is_sum(message)).into_iter();
    let kept = view.kept_messages().filter(|message| message.agent.is_none());
    let mut kept: Vec<_> = kept.filter(|message| !is_instruction(message) && !is_sum(message)).collect();
    kept.sort_by_key(|message| {
        let asked = message.turn.and_then(|turn| view.turns.get(turn)?.user_message);
        asked.map_or(message.id, |asked| asked.min(message.id))
    });
    let messages: Vec<_> = instructions.chain(summary).chain(kept).cloned().collect();
    let mut all = said(&messages);
    all.retain(|(_, part)| *part != Part::text("").body);
    all
}

fn check(acts: Vec<Act>, cut: prop::sample::Index) {
    futures::executor::block_on(async {
        let store = TestDisk::memory().open().await;
        let session = store.open_session("s").await.unwrap();
        let cut = cut.index(acts.len() + 1);
        for (number, act) in acts.into_iter().enumerate() {
            if number == cut {
                // What comes after it may be the real results of calls that are answered by now.
                interrupt(&session).await;
            }
            perform(&session, act, number).await;
        }
        interrupt(&session).await;
        store.close().await.unwrap();
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: number_of("FOLDLOG_CASES").unwrap_or(150) as u32, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_cut_and_interrupted_is_accepted_by_providers_and_says_all_that_was_said(
        acts in prop::collection::vec(act(), 0..40),
        cut in any::<prop::sample::Index>(),
    ) {
        check(acts, cut);
    }
}

fn result(id: &str) -> Message {
    Message::tool_result(id, "done")
}

fn call(ids: &[&str]) -> Message {
    Message::answer(ids.iter().map(|id| Part::tool_call(*id, "run", "{}")))
}

#[test]
fn the_rules_refuse_what_providers_refuse() {
    let refused = |messages: Vec<Message>| {
        let messages: Vec<_> = messages.into_iter().map(std::sync::Arc::new).collect();
        accept(&messages).expect_err("a provider refuses it")
    };
    let user = || Message::user("hi");
    let accepted = [user(), call(&["a", "b"]), result("b"), result("a"), user()].map(std::sync::Arc::new);
    assert_accepted(&accepted);
    assert!(refused(vec![user(), call(&["a"])]).contains("no tool message"));
    assert!(refused(vec![user(), call(&["a"]), user(), result("a")]).contains("stands before the tool messages"));
    assert!(refused(vec![user(), call(&["a"]), Message::assistant("x"), result("a")]).contains("stands before"));
    assert!(refused(vec![user(), call(&["a"]), result("a"), result("a")]).contains("answers no call"));
    assert!(refused(vec![result("a"), user()]).contains("answers no call"));
    assert!(refused(vec![user(), Message::system("late")]).contains("within the conversation"));
    assert!(refused(vec![user(), Message::assistant("")]).contains("empty"));
    assert!(refused(vec![user(), Message::answer([])]).contains("empty"));
    let beside = result("a").with(Part::text("beside"));
    assert!(refused(vec![user(), call(&["a", "b"]), beside, result("b")]).contains("stands before the tool messages"));
}
