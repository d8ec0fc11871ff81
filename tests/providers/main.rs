//! Goal: what a provider sent goes back to it as it came. Method: conversations of four interfaces, made by hand with
//! every kind of part, are turned into messages by a converter as a host would write it, kept in a directory, read by
//! another store, turned back, and compared as JSON, number for number. foldlog has no converter of its own: each file
//! here is one to copy. docs/guide/providers.md says where each field lives.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod anthropic_messages;
mod gemini_generate_content;
mod object;
mod openai_chat;
mod openai_responses;
mod store;

use crate::object::Object;
use foldlog::Json;
use foldlog::agent::{Message, Part, PartBody, PartOrigin, ToolResult};

/// The entries of a recorded conversation: what the host sent, and whole answers.
fn entries(recorded: &str) -> Vec<Object> {
    serde_json::from_str(recorded).unwrap()
}

/// The messages of a recorded conversation, kept in a store and read from another.
async fn kept(recorded: &str, message_of: impl Fn(Object) -> Message) -> Vec<Message> {
    let messages: Vec<Message> = entries(recorded).into_iter().map(message_of).collect();
    store::kept(&messages).await
}

/// A conversation that came from no provider, as a host and foldlog themselves make it.
fn made_here() -> Vec<Message> {
    let calls = ["c1", "c2"].map(|id| Part::tool_call(id, "inventory", r#"{"number": 17.0}"#));
    let result = |id, text| ToolResult { name: Some("inventory".to_owned()), ..ToolResult::text(id, text) };
    vec![
        Message::system("Be brief."),
        Message::user("What is clock 17?"),
        Message::answer([Part::text("I look it up.")].into_iter().chain(calls)),
        Message::tool(result("c1", "oak")),
        Message::tool(ToolResult { is_error: Some(true), ..result("c2", "interrupted") }),
        Message::assistant("Of oak."),
    ]
}

/// What came back is what was sent, as JSON values: members in any order, numbers digit for digit.
fn assert_same(came: &[Object], sent: &[Object]) {
    for (came, sent) in came.iter().zip(sent) {
        assert_eq!(canonical(came), canonical(sent));
    }
    assert_eq!(came.len(), sent.len());
}

fn canonical(entry: &Object) -> Json {
    Json::parse(&entry.to_json()).unwrap()
}

/// The control: loses something of the messages in each of the [`LOSSES`], and names those that the comparison does not
/// notice.
fn unnoticed(messages: &[Message], back: impl Fn(&[Message]) -> Vec<Object>) -> Vec<&'static str> {
    let whole: Vec<Json> = back(messages).iter().map(canonical).collect();
    let is_unnoticed = |lose: Lose| {
        let mut messages = messages.to_vec();
        messages.iter_mut().for_each(lose);
        back(&messages).iter().map(canonical).eq(whole.iter().cloned())
    };
    LOSSES.into_iter().filter(|(_, lose)| is_unnoticed(*lose)).map(|(what, _)| what).collect()
}

type Lose = fn(&mut Message);

/// Ways to lose something of a message.
const LOSSES: [(&str, Lose); 9] = [
    ("signature", |message| origins(message, |origin| origin.signature = None)),
    ("part id", |message| origins(message, |origin| origin.id = None)),
    ("part verbatim", |message| origins(message, |origin| origin.verbatim = None)),
    ("call id", |message| {
        bodies(message, |body| match body {
            PartBody::ToolCall(call) => call.id.clear(),
            PartBody::ToolResult(result) => result.call_id.clear(),
            _ => {}
        });
    }),
    ("error flag", |message| {
        bodies(message, |body| {
            if let PartBody::ToolResult(result) = body {
                result.is_error = None;
            }
        });
    }),
    ("other kinds", |message| message.parts.retain(|part| !matches!(part.body, PartBody::Other { .. }))),
    ("message id", |message| message.origin.iter_mut().for_each(|origin| origin.id = None)),
    ("stop reason", |message| message.origin.iter_mut().for_each(|origin| origin.stop_reason = None)),
    ("message verbatim", |message| message.origin.iter_mut().for_each(|origin| origin.verbatim = None)),
];

fn origins(message: &mut Message, lose: fn(&mut PartOrigin)) {
    message.parts.iter_mut().filter_map(|part| part.origin.as_deref_mut()).for_each(lose);
}

fn bodies(message: &mut Message, lose: fn(&mut PartBody)) {
    message.parts.iter_mut().map(|part| &mut part.body).for_each(lose);
}
