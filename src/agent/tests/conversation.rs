//! Goal: results find their calls, and the messages come in the order that providers take. Method: short conversations,
//! written as one word a message: what it says is what the test compares.

use super::*;
use crate::agent::OpenCall;

/// `u:`, `a:`, `s:` a user, an assistant, a system with a text; `c:x,y` an answer that calls x and y; `r:x` a result of
/// x; `e:x` an error of x; `sum:` a compaction of everything; `sum3:` one that keeps event 3 and what follows.
fn body(word: &str) -> AgentBody {
    let (kind, text) = word.split_once(':').unwrap();
    let ids = || text.split(',').filter(|id| *id != "-");
    let message = match kind {
        "u" => Message::user(text),
        "a" => Message::assistant(text),
        "s" => Message::system(text),
        "d" => Message::text(Role::Developer, text),
        "c" => Message::answer(text.split(',').map(|id| Part::tool_call(id.trim_matches('-'), "tool", "{}"))),
        "r" => Message {
            role: Role::Tool,
            parts: ids().map(|id| Part::tool_result(id, "done")).collect(),
            ..Message::default()
        },
        "e" => Message::tool_error(text, "failed"),
        "x" => Message {
            role: Role::Assistant,
            parts: vec![search(), Part::tool_result(text, "found")],
            ..Message::default()
        },
        _ => {
            let boundary = EventId::new(kind.strip_prefix("sum").unwrap().parse().unwrap_or(0));
            return AgentBody::SessionCompacted { vars: None, boundary, message: Message::user(text) };
        }
    };
    AgentBody::MessageAppended(message)
}

/// A tool that the provider runs itself.
fn search() -> Part {
    let (id, name, arguments) = ("srv".to_owned(), "search".to_owned(), "{}".into());
    ToolCall { id, name, arguments, kind: ToolKind::Provider }.into()
}

fn view(words: &str) -> AgentView {
    Script::of(words.split_whitespace().map(body)).view
}

/// The messages of a view as words.
fn provider_order(view: &AgentView) -> String {
    words_of(&view.provider_messages())
}

fn order_of_all(script: &Script) -> String {
    provider_order(&script.view)
}

fn words_of(messages: &[std::sync::Arc<Message>]) -> String {
    let word = |part: &Part| match &part.body {
        PartBody::ToolCall(call) if call.kind == ToolKind::Provider => format!("p:{}", call.id),
        PartBody::ToolCall(call) => format!("c:{}", call.id),
        PartBody::ToolResult(result) if result.is_error == Some(true) => format!("e:{}", result.call_id),
        PartBody::ToolResult(result) => format!("r:{}", result.call_id),
        PartBody::Text(text) => text.as_inline().unwrap().to_owned(),
        other => panic!("{other:?}"),
    };
    let words = |message: &std::sync::Arc<Message>| message.parts.iter().map(word).collect::<Vec<_>>().join("+");
    messages.iter().map(words).collect::<Vec<_>>().join(" ")
}

fn order_of(words: &str) -> String {
    provider_order(&view(words))
}

fn open(words: &str) -> Vec<(u64, u32, String)> {
    let of = |call: &OpenCall| (call.message.get(), call.part, call.call_id.clone());
    view(words).open_calls.iter().map(of).collect()
}

#[test]
fn a_conversation_in_order_comes_as_it_is() {
    assert_eq!(order_of("s:sys u:hi c:1 r:1 c:2,3 r:2 r:3 a:bye"), "sys hi c:1 r:1 c:2+c:3 r:2 r:3 bye");
    assert_eq!(order_of(""), "");
}

#[test]
fn a_result_comes_right_behind_its_call_whatever_was_said_between() {
    assert_eq!(order_of("u:hi c:1 u:hurry r:1 a:bye"), "hi c:1 r:1 hurry bye");
    assert_eq!(order_of("u:hi c:1 u:hurry c:2 r:2 r:1"), "hi c:1 r:1 hurry c:2 r:2");
    assert_eq!(order_of("c:1,2 u:hurry r:2 r:1"), "c:1+c:2 r:2 r:1 hurry");
    // One message with the results of two answers is parted.
    assert_eq!(order_of("c:1 c:2 r:1,2"), "c:1 r:1 c:2 r:2");
}

#[test]
fn a_result_belongs_to_the_nearest_unanswered_call_of_its_id() {
    assert_eq!(order_of("c:0 r:0 c:0 e:0"), "c:0 r:0 c:0 e:0");
    assert_eq!(open("c:0 r:0 c:0"), [(3, 0, "0".to_owned())]);
    // The nearest first, then the one before.
    assert_eq!(order_of("c:0 u:x c:0 r:0 e:0"), "c:0 e:0 x c:0 r:0");
    // Twice in one answer: from the first to the last.
    assert_eq!(open("c:0,0 r:0"), [(1, 1, "0".to_owned())]);
    // Without ids.
    assert_eq!(open("c:-,- r:"), [(1, 1, String::new())]);
    assert_eq!(order_of("c:-,- r: e: r:"), "c:+c: r: e:");
}

#[test]
fn without_ids_the_name_tells_two_calls_apart() {
    let answer = Message::answer(["a", "b"].map(|name| Part::tool_call("", name, "{}")));
    let named = |name: &str| ToolResult { name: Some(name.to_owned()), ..ToolResult::text("", name) };
    let mut script = Script::of([AgentBody::MessageAppended(answer)]);
    script.append(AgentBody::MessageAppended(Message::tool(named("b"))));
    assert_eq!(script.view.open_calls.iter().map(|call| call.name.as_str()).collect::<Vec<_>>(), ["a"]);
    script.append(AgentBody::MessageAppended(Message::tool(named("c"))));
    assert_eq!(script.view.open_calls.len(), 1, "nobody called it");
    script.append(AgentBody::MessageAppended(Message::tool(named("a"))));
    assert!(script.view.open_calls.is_empty());
}

#[test]
fn a_result_of_no_call_and_a_second_result_are_not_sent() {
    assert_eq!(order_of("r:9 u:hi c:1 e:1 r:1 r:2 a:bye"), "hi c:1 e:1 bye");
    assert_eq!(order_of("u:hi r:1 c:1"), "hi c:1", "the call came later");
}

#[test]
fn what_the_provider_ran_stays_where_it_stood_and_is_owed_by_nobody() {
    assert_eq!(order_of("u:hi x:srv a:bye"), "hi p:srv+r:srv bye");
    assert!(open("x:srv").is_empty());
    // Its result does not answer a call of the host.
    assert_eq!(open("c:srv x:srv").len(), 1);
}

#[test]
fn instructions_come_first_and_the_summary_behind_them() {
    assert_eq!(order_of("u:a s:one sum:sum1 d:two u:b"), "one two sum1 b");
    assert_eq!(order_of("s:one u:a u:b sum3:sum u:c"), "one sum b c");
    assert_eq!(order_of("u:a sum:first u:b sum2:second u:c"), "second b c", "an earlier summary is always covered");
    // A compaction that covers less than an earlier one stands for nothing.
    assert_eq!(order_of("u:a u:b sum3:first u:c sum1:second u:d"), "first c d");
}

#[test]
fn calls_that_a_compaction_covers_are_no_longer_open() {
    assert_eq!(open("u:a c:1 sum:sum"), []);
    assert_eq!(order_of("u:a c:1 sum:sum r:1 u:b"), "sum b");
    assert_eq!(open("u:a c:1 sum2:sum"), [(2, 0, "1".to_owned())]);
    assert_eq!(order_of("u:a c:1 sum2:sum r:1 u:b"), "sum c:1 r:1 b");
}

#[test]
fn the_boundary_goes_back_to_the_call_of_a_kept_result() {
    let boundary = |words: &str, through| view(words).boundary_after(EventId::new(through)).get();
    assert_eq!(boundary("u:a u:b u:c", 2), 3);
    assert_eq!(boundary("u:a c:1 r:1 u:b", 3), 4);
    assert_eq!(boundary("u:a c:1 r:1 u:b", 2), 2, "the result is kept");
    assert_eq!(boundary("u:a c:1 u:b", 3), 2, "the result is still to come");
    // The call of the kept result keeps another result, whose call is earlier still.
    assert_eq!(boundary("u:a c:1 c:2 r:1 u:b r:2", 5), 2);
    assert_eq!(boundary("u:a c:1 r:1 c:2 u:b r:2", 5), 4);
    assert_eq!(boundary("c:1 sum:sum r:1 u:a", 3), 4, "what is covered has no calls any more");
}

#[test]
fn a_side_chain_has_calls_of_its_own_and_is_not_sent() {
    let side = |word| match body(word) {
        AgentBody::MessageAppended(message) => {
            AgentBody::MessageAppended(Message { agent: Some("side".to_owned()), ..message })
        }
        other => other,
    };
    let mut script = Script::of([body("u:hi"), body("c:1"), side("s:other"), side("c:1"), side("r:1")]);
    assert_eq!(script.view.open_calls.iter().map(|call| call.agent.clone()).collect::<Vec<_>>(), [None]);
    script.append(side("r:1"));
    assert_eq!(script.view.open_calls.len(), 1);
    script.append(body("r:1"));
    assert_eq!(provider_order(&script.view), "hi c:1 r:1");
    assert!(script.view.open_calls.is_empty());
}

#[test]
fn a_message_with_results_and_more_is_parted() {
    let more = |role, parts: Vec<Part>| AgentBody::MessageAppended(Message { role, parts, ..Message::default() });
    let result = || Part::tool_result("1", "done");
    let user = more(Role::User, vec![Part::text("and"), result(), Part::text("more")]);
    assert_eq!(provider_order(&Script::of([body("c:1"), body("u:hi"), user]).view), "c:1 r:1 hi and+more");
    let tool = || more(Role::Tool, vec![result(), Part::text("image")]);
    assert_eq!(provider_order(&Script::of([body("c:1"), body("u:hi"), tool()]).view), "c:1 r:1+image hi");
    assert_eq!(provider_order(&Script::of([body("u:hi"), tool()]).view), "hi", "its result is of no call");
    let ahead = || more(Role::Tool, vec![Part::text("note"), result()]);
    assert_eq!(provider_order(&Script::of([body("c:1"), body("u:hi"), ahead()]).view), "c:1 r:1 note hi");
    assert_eq!(provider_order(&Script::of([body("u:hi"), ahead()]).view), "hi");
}

#[test]
fn what_a_tool_says_beside_its_results_stands_behind_all_results_of_the_answer() {
    let tool = |parts: Vec<Part>| AgentBody::MessageAppended(Message { role: Role::Tool, parts, ..Message::default() });
    let result = |id: &str| Part::tool_result(id, "done");
    let between = tool(vec![result("1"), Part::text("one"), result("2"), Part::text("two")]);
    assert_eq!(provider_order(&Script::of([body("c:1,2"), between]).view), "c:1+c:2 r:1+r:2 one+two");
    let first = tool(vec![result("1"), Part::text("one")]);
    assert_eq!(
        provider_order(&Script::of([body("c:1,2"), first, body("r:2"), body("u:x")]).view),
        "c:1+c:2 r:1 r:2 one x"
    );
    let orphan = tool(vec![result("1"), result("9"), Part::text("of nine")]);
    assert_eq!(provider_order(&Script::of([body("c:1"), orphan]).view), "c:1 r:1", "it goes with its result");
}

#[test]
fn instructions_and_summaries_call_nothing_and_answer_nothing() {
    let call = || Part::tool_call("1", "tool", "{}");
    let instruction =
        |part: Part| AgentBody::MessageAppended(Message { role: Role::System, ..Message::answer([part]) });
    assert!(Script::of([instruction(call())]).view.open_calls.is_empty());
    let script = Script::of([body("c:1"), instruction(Part::tool_result("1", "done"))]);
    assert_eq!(script.view.open_calls.len(), 1, "an instruction is sent first, and would be no answer there");
    let summary = AgentBody::compacted(None, Message::answer([call()]));
    let script = Script::of([body("u:a"), summary, body("u:b")]);
    assert!(script.view.open_calls.is_empty());
    assert_eq!(script.view.boundary_after(EventId::new(3)).get(), 4);
}

#[test]
fn empty_texts_are_not_sent_unless_they_have_an_origin() {
    let empty = || Part::text("");
    let said = |parts: Vec<Part>| AgentBody::MessageAppended(Message::answer(parts));
    let script = Script::of([body("u:hi"), said(vec![empty()]), said(vec![empty(), Part::text("x")])]);
    assert_eq!(provider_order(&script.view), "hi x");
    let signed = Script::of([said(vec![empty().with_signature("s")])]);
    assert_eq!(signed.view.provider_messages().len(), 1);
}

#[test]
fn a_description_gives_no_turns_back_to_a_session_that_has_stopped() {
    let described = || AgentBody::SessionStarted(SessionInfo { model: Some("m".to_owned()), ..SessionInfo::default() });
    for end in [AgentBody::StopRequested, AgentBody::Stopped, AgentBody::SessionErrored(Failure::default())] {
        let script = Script::of([described(), end, described()]);
        assert!(Agent::turns(&script.view).stopped);
        assert_eq!(script.view.session.unwrap().model.as_deref(), Some("m"));
    }
}

#[test]
fn a_turn_is_sent_what_it_answers_last_and_not_what_was_sent_for_later_turns() {
    let of_turn = |turn, word: &str| match body(word) {
        AgentBody::MessageAppended(message) => {
            AgentBody::MessageAppended(Message { turn: Some(TurnId::new(turn)), ..message })
        }
        other => other,
    };
    let begun = |message| AgentBody::TurnStarted(Turn::for_message(MessageId::new(message)));
    let order = |script: &Script, turn| words_of(&script.view.provider_messages_of(TurnId::new(turn)));
    let mut script = Script::of([body("s:sys"), body("u:one"), begun(2), of_turn(1, "c:1"), body("u:two")]);
    script.append(of_turn(1, "r:1"));
    assert_eq!(order(&script, 1), "sys one c:1 r:1", "the second message waits for its turn");
    script.append(of_turn(1, "a:first"));
    // A result without a turn, in the form of another provider, is not taken for what a user has sent.
    let result = Message { role: Role::User, parts: vec![Part::tool_result("2", "done")], ..Message::default() };
    for body in [begun(4), of_turn(2, "c:2"), AgentBody::MessageAppended(result), body("u:three")] {
        script.append(body);
    }
    assert_eq!(order(&script, 2), "sys one c:1 r:1 first two c:2 r:2");
    for body in [begun(9), of_turn(3, "a:third")] {
        script.append(body);
    }
    assert_eq!(order(&script, 3), "sys one c:1 r:1 first two c:2 r:2 three third", "the turns before stand together");
    // The first message is answered anew, twice. What was added for it stays with it.
    (0..2).for_each(|_| script.append(begun(2)));
    assert_eq!(order(&script, 5), "sys two c:2 r:2 three third one c:1 r:1 first");
    assert_eq!(order(&script, 9), order_of_all(&script), "a turn that is not there has nothing of its own");
}
