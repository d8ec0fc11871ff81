//! A chat that goes on where it was killed. A scripted provider stands in for a language model: it streams its answers
//! and calls two tools at once, and the user changes a question while it is answered. Kill the program wherever you
//! like, or let it kill itself, and start it again: it ends what was left open, and no request is answered twice.
//!
//! ```sh
//! cargo run --example chat_host -- /tmp/chat 7    # dies when it has shown 7 lines
//! cargo run --example chat_host -- /tmp/chat      # goes on
//! ```

use std::{path::PathBuf, pin::pin, sync::Arc, time::Duration};

use actix::clock::{sleep, timeout};
use foldlog::agent::{Agent, AgentTransient, Failure, Message, Part, Role, RunningTurn};
use foldlog::agent::{ToolCall, ToolResult, TurnBegun, TurnEnd};
use foldlog::{AppendKey, Error, EventStream, Item, Session, Store, StoreConfig, SubscribeFrom};
use futures::StreamExt;
use futures::future::{pending, try_join_all};
use serde_json::json;

/// What the user asks, each with the id of the request: a client that got no answer sends the same request again.
const REQUESTS: [(&str, &str); 4] = [
    ("request-1", "How warm is it in Oslo and Barcelona?"),
    ("request-2", "And in Paris and Bergen?"),
    (CHANGED, "Tell me a long story"),
    ("request-3-edited", "No, a short one"),
];
/// The user changes this request as soon as its answer begins to show.
const CHANGED: &str = "request-3";
/// When a turn has ended and there are more messages than this, one message comes to stand for them.
const MESSAGES_MAX: usize = 8;

#[actix::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().map_or_else(|| std::env::temp_dir().join("foldlog-chat-host"), PathBuf::from);
    let lines_max = arguments.next().map(|lines| lines.parse()).transpose()?;
    let store = Store::open(StoreConfig::directory(directory)).await?;
    let session = store.open_session("chat").await?;
    let showing = actix::spawn(show(session.subscribe(SubscribeFrom::Now).await?, lines_max));
    for (request, text) in REQUESTS {
        match session.begin_turn_once(Message::user(text), AppendKey::new(request)?).await? {
            // Also if a kill has cut a turn off: what it has left open is ended by then.
            TurnBegun::Now(mut turn) => {
                if let Err(error) = run(&mut turn, request).await {
                    // If the turn were dropped instead, the next run of this program would begin it again.
                    turn.end(TurnEnd::Error(Failure::new("host", error.to_string()))).await?;
                }
                compact(&session).await?;
            }
            TurnBegun::Ended(turn) => println!("{request} has its turn: {:?}", turn.status),
            // Nobody else runs turns of this session: see begin_next_turn for hosts that take requests at any time.
            other => println!("{request} waits: {other:?}"),
        }
    }
    compact(&session).await?; // a kill may have come between an answer and this
    store.close().await?; // ends the stream that is shown
    Ok(showing.await?)
}

/// Runs a turn to its end: asks the language model until it calls no more tools, or until the user changes the
/// question.
async fn run(turn: &mut RunningTurn, request: &str) -> Result<(), Error> {
    let session = turn.session().clone();
    let mut changed = pin!(changed(&session, request));
    loop {
        turn.begin_step().await?;
        let answer = provider(&turn.provider_messages().await?);
        for word in answer.inline_text().unwrap_or_default().split_inclusive(' ') {
            turn.delta(word)?;
            // The next word takes a while, and the user may have changed the question by then.
            if let Ok(changed) = timeout(Duration::from_millis(1), changed.as_mut()).await {
                changed?;
                return turn.end(TurnEnd::Cancelled).await.map(drop);
            }
        }
        let calls: Vec<_> = answer.parts.iter().filter_map(Part::as_tool_call).cloned().collect();
        if calls.is_empty() {
            return turn.answer(answer).await.map(drop);
        }
        turn.say(answer).await?; // durable before a tool runs
        // All tools at once. Each result is durable as soon as its tool is done.
        try_join_all(calls.iter().map(async |call| turn.tool_result(weather(call).await).await)).await?;
    }
}

/// Comes back when the user has changed the question of a request.
async fn changed(session: &Session, request: &str) -> Result<(), Error> {
    let CHANGED = request else { return pending().await };
    let mut items = session.subscribe(SubscribeFrom::Now).await?;
    while !matches!(items.next().await, Some(Item::Transient(_)) | None) {}
    Ok(())
}

/// Lets one message stand for all so far, if there are many. A real host asks the language model for it.
async fn compact(session: &Session) -> Result<(), Error> {
    let view = session.current_view().await?;
    if view.kept_messages().len() > MESSAGES_MAX {
        session.compact(Message::user("Before this, we talked about the weather."), view.head(), None).await?;
    }
    Ok(())
}

/// What a language model would answer: docs/guide/providers.md says how the messages go to a real one.
fn provider(messages: &[Arc<Message>]) -> Message {
    let asked = messages.iter().rfind(|message| message.role == Role::User).and_then(|user| user.inline_text());
    let asked = asked.unwrap_or_default();
    let since = messages.rsplit(|message| message.role == Role::User).next().unwrap_or_default();
    let results = since.iter().flat_map(|message| &message.parts).filter_map(Part::as_tool_result);
    // The result of a call that a kill has interrupted is an error: this model calls the tool again.
    let known: Vec<_> = results.filter(|result| result.is_error != Some(true)).map(|result| &*result.call_id).collect();
    let cities = ["Oslo", "Barcelona", "Paris", "Bergen"].into_iter();
    let unknown = cities.filter(|city| asked.contains(city) && !known.contains(city));
    let mut calls =
        unknown.map(|city| Part::tool_call(city, "weather", json!({ "city": city }).to_string())).peekable();
    let text = match calls.peek() {
        Some(_) => "Let me see. ".to_owned(),
        None if asked.contains("long") => "and then ".repeat(10_000),
        None => format!("That was {asked:?}; {} tools have answered.", known.len()),
    };
    Message::answer([Part::text(text)].into_iter().chain(calls))
}

/// What a tool does. One takes longer than another.
async fn weather(call: &ToolCall) -> ToolResult {
    sleep(Duration::from_millis(call.id.len() as u64)).await;
    ToolResult::text(call.id.as_str(), format!("{} degrees", call.id.len()))
}

/// Shows events and words as they come, a line each. After so many lines the process ends, as in a crash.
async fn show(items: EventStream<Agent>, lines_max: Option<usize>) {
    let mut lines = items.enumerate();
    while let Some((line, item)) = lines.next().await {
        match item {
            Item::Event(event) => println!("{} {}", event.id(), event.event_type()),
            Item::Transient(AgentTransient::TokenDelta { text, .. }) => println!("  {text}"),
            other => println!("{other:?}"),
        }
        if lines_max == Some(line + 1) {
            std::process::abort();
        }
    }
}
