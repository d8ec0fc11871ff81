//! A turn with a tool call, a crash between the call and its result, and the repair. Run it twice: the first run ends
//! itself in the middle of the turn, as a crash would; the second finds what was left open, ends it, and runs a turn of
//! its own.

use std::path::PathBuf;

use foldlog::agent::{Agent, Eval, Message, Part, PartBody, ResultPart, Role, ToolResult};
use foldlog::{Content, Error, Session, Store, StoreConfig};
use serde_json::{Value, json};

#[actix::main]
async fn main() -> Result<(), Error> {
    let given = std::env::args_os().nth(1).map(PathBuf::from);
    let directory = given.unwrap_or_else(|| std::env::temp_dir().join("foldlog-tool-repair"));
    let store = Store::open(StoreConfig::directory(&directory)).await?;
    let session = store.open_session("orders").await?;
    // What a crash has left open is ended: then a provider takes the messages, and a turn may begin.
    let left = session.interrupt("the host ended before this did").await?;
    for open in &left {
        println!("{open} was left open, and is ended now");
    }
    run_turn(&session, if left.is_empty() { Life::CrashesBeforeTheToolAnswers } else { Life::Whole }).await?;
    println!("{:#}", for_provider(&session).await?);
    store.close().await
}

#[derive(PartialEq)]
enum Life {
    CrashesBeforeTheToolAnswers,
    Whole,
}

/// A user's message, a step in which the language model calls a tool, a step in which it answers.
async fn run_turn(session: &Session<Agent>, life: Life) -> Result<(), Error> {
    // One turn at a time: another caller gets `TurnInFlight` until this one has ended.
    let mut turn = session.begin_turn(Message::user("where is order 4711?")).await?;
    println!("turn {} has begun", turn.id());
    turn.begin_step().await?;
    // What a language model would answer. The call's id is its own.
    let call_id = format!("call_{}", turn.id());
    turn.say(Message::answer([Part::tool_call(call_id.as_str(), "track", r#"{"order":4711}"#)])).await?;
    if life == Life::CrashesBeforeTheToolAnswers {
        println!("the tool call is durable; now this process ends itself. Run it again.");
        std::process::abort();
    }
    // What the tool did, and its answer to the language model: both or neither.
    let eval = Eval { tool_name: Some("track".to_owned()), elapsed_micros: Some(1_200), ..Eval::default() };
    turn.tool_eval(eval, ToolResult::text(call_id, "in transit, due Friday")).await?;
    turn.begin_step().await?;
    let ended = turn.answer(Message::assistant("Your order comes on Friday.")).await?;
    println!("event {}: turn {} has ended", ended.head, turn.id());
    Ok(())
}

/// The messages in the form that chat interfaces take: 30 lines to adapt to a provider. Every content is inline here.
async fn for_provider(session: &Session<Agent>) -> Result<Value, Error> {
    let text_of = |content: &Content| content.as_inline().unwrap_or_default().to_owned();
    let mut json = Vec::new();
    for message in session.provider_messages().await? {
        let role = match &message.role {
            Role::System | Role::Developer => "system",
            Role::Assistant => "assistant",
            _ => "user",
        };
        let mut texts = String::new();
        let mut calls = Vec::new();
        for part in &message.parts {
            match &part.body {
                PartBody::Text(text) => texts.push_str(&text_of(text)),
                PartBody::ToolCall(call) => calls.push(json!({
                    "id": call.id,
                    "type": "function",
                    "function": { "name": call.name, "arguments": text_of(&call.arguments) },
                })),
                PartBody::ToolResult(result) => {
                    let text = |part: &ResultPart| match part {
                        ResultPart::Text(text) | ResultPart::Json(text) => text_of(text),
                        _ => String::new(),
                    };
                    let text: String = result.parts.iter().map(text).collect();
                    json.push(json!({ "role": "tool", "tool_call_id": result.call_id, "content": text }));
                }
                // What a provider's thoughts and media look like differs: see its documentation.
                _ => {}
            }
        }
        match (texts.is_empty(), calls.is_empty()) {
            (true, true) => {}
            (_, true) => json.push(json!({ "role": role, "content": texts })),
            (_, false) => json.push(json!({ "role": role, "content": texts, "tool_calls": calls })),
        }
    }
    Ok(json.into())
}
