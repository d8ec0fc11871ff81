//! A turn with a tool call, a crash between the call and its result, and the repair. Run it twice: the first run ends itself
//! in the middle of the turn, as a crash would; the second finds what was left, repairs it, and runs the turn again.

use std::collections::HashSet;
use std::path::PathBuf;

use foldlog::agent::{
    Agent, AgentBody, Eval, Failure, Message, Part, PartBody, ResultPart, Role, Step, StepStatus, ToolCall, Turn,
    TurnId, TurnStatus,
};
use foldlog::{Append, AppendKey, Content, Error, Session, Store, StoreConfig};
use serde_json::{Map, Value, json};

#[actix::main]
async fn main() -> Result<(), Error> {
    let given = std::env::args_os().nth(1).map(PathBuf::from);
    let directory = given.unwrap_or_else(|| std::env::temp_dir().join("foldlog-tool-repair"));
    let store = Store::open(StoreConfig::directory(&directory)).await?;
    let session = store.open_session("orders").await?;
    // One turn at a time: another caller gets `TurnInFlight` until the guard is dropped.
    let turn = session.take_turn().await?;
    if session.unfinished()?.is_empty() {
        run_turn(&session, Life::CrashesBeforeTheToolAnswers).await?;
    } else {
        repair(&session).await?;
        run_turn(&session, Life::Whole).await?;
        println!("{:#}", for_provider(&session).await?);
    }
    drop(turn);
    store.close().await
}

#[derive(PartialEq)]
enum Life {
    CrashesBeforeTheToolAnswers,
    Whole,
}

/// A user's message, a step in which the language model calls a tool, a step in which it answers.
async fn run_turn(session: &Session<Agent>, life: Life) -> Result<(), Error> {
    let asked = session.append(AgentBody::MessageAppended(Message::user("where is order 4711?")))?.await?;
    let user_message = session.view()?.messages.last().map(|message| message.id);
    session.append(AgentBody::TurnStarted(Turn { user_message, ..Turn::default() }))?.await?;
    // The ids are minted when an event is stamped: the view has them once the receipt has answered.
    let turn = session.view()?.turns.last().map(|turn| turn.id).unwrap_or_default();
    println!("event {}: turn {} has begun", asked.head, turn.get());

    start_step(session, turn).await?;
    // What a language model would answer. The call's id is its own; provider ids are texts.
    let call_id = format!("call_{}", turn.get());
    let call = Part::tool_call(call_id.clone(), "track", r#"{"order":4711}"#);
    let message = Message { role: Role::Assistant, turn: Some(turn), parts: vec![call], ..Message::default() };
    session.append(AgentBody::MessageAppended(message))?.await?;
    if life == Life::CrashesBeforeTheToolAnswers {
        println!("the tool call is durable; now this process ends itself. Run it again.");
        std::process::abort();
    }

    // What the tool did, its answer to the language model, and the end of the step: all or nothing.
    let eval =
        Eval { turn: Some(turn), tool_name: Some("track".into()), call_id: Some(call_id.clone()), ..Eval::default() };
    let mut bodies = vec![
        AgentBody::EvalAdded(eval),
        AgentBody::MessageAppended(Message {
            turn: Some(turn),
            ..Message::tool_result(call_id, "in transit, due Friday")
        }),
    ];
    bodies.extend(end_steps(session, StepStatus::Done, None)?);
    session.append_batch(bodies)?.await?;

    start_step(session, turn).await?;
    let answer = Message { turn: Some(turn), ..Message::assistant("Your order comes on Friday.") };
    let mut bodies = vec![AgentBody::MessageAppended(answer)];
    bodies.extend(end_steps(session, StepStatus::Done, None)?);
    bodies.extend(end_turns(session, TurnStatus::Final, None)?);
    let appended = session.append_batch(bodies)?.await?;
    println!("event {}: turn {} has ended", appended.head, turn.get());
    Ok(())
}

async fn start_step(session: &Session<Agent>, turn: TurnId) -> Result<(), Error> {
    session.append(AgentBody::StepStarted(Step::of_turn(turn)))?.await.map(drop)
}

/// Ends what a crash has left: answers each tool call that has no result, so that a provider takes the messages, and ends
/// the steps and turns that still run. The append key makes it safe to repeat, should this process die here, too.
async fn repair(session: &Session<Agent>) -> Result<(), Error> {
    let view = session.view()?;
    for left in session.unfinished()? {
        println!("{left} was left running");
    }
    let failure = || Some(Failure::new("interrupted", "the host ended before this did"));
    let mut bodies = Vec::new();
    for (turn, call) in unanswered_calls(&view.messages.iter().map(AsRef::as_ref).collect::<Vec<_>>()) {
        println!("tool call {call} has no result");
        // Whether the tool had begun is not known. Say so, and let the language model decide.
        bodies.push(AgentBody::MessageAppended(Message {
            turn,
            ..Message::tool_result(call, "interrupted: it may or may not have run")
        }));
    }
    bodies.extend(end_steps(session, StepStatus::Error, failure())?);
    bodies.extend(end_turns(session, TurnStatus::Error, failure())?);
    let key = AppendKey::new(format!("repair-{}", view.head()))?;
    let appended = session.append_with(Append::batch(bodies).key(key))?.await?;
    println!("event {}: repaired", appended.head);
    Ok(())
}

fn unanswered_calls(messages: &[&Message]) -> Vec<(Option<TurnId>, String)> {
    let parts = || messages.iter().flat_map(|message| message.parts.iter().map(|part| (message.turn, part)));
    let answered: HashSet<&str> =
        parts().filter_map(|(_, part)| part.as_tool_result().map(|result| result.call_id.as_str())).collect();
    parts()
        .filter_map(|(turn, part)| Some((turn, part.as_tool_call()?.id.clone())))
        .filter(|(_, id)| !answered.contains(id.as_str()))
        .collect()
}

/// Puts that end the running steps. A put replaces the whole entity, so it begins with a copy of what the view has.
fn end_steps(session: &Session<Agent>, status: StepStatus, error: Option<Failure>) -> Result<Vec<AgentBody>, Error> {
    let (view, ended) = (session.view()?, Some(session.store().now()));
    let running = view.steps.iter().filter(|step| step.status == StepStatus::Running);
    let end = |step: &Step| Step { status, ended, error: error.clone(), ..step.clone() };
    Ok(running.map(|step| AgentBody::StepPut(end(step))).collect())
}

fn end_turns(session: &Session<Agent>, status: TurnStatus, error: Option<Failure>) -> Result<Vec<AgentBody>, Error> {
    let (view, ended) = (session.view()?, Some(session.store().now()));
    let running = view.turns.iter().filter(|turn| turn.status == TurnStatus::Running);
    let end = |turn: &Turn| Turn { status, ended, error: error.clone(), ..turn.clone() };
    Ok(running.map(|turn| AgentBody::TurnPut(end(turn))).collect())
}

/// The messages that are kept since the last compaction, in the form that chat interfaces of providers take.
async fn for_provider(session: &Session<Agent>) -> Result<Value, Error> {
    let mut messages = Vec::new();
    let view = session.view()?;
    for message in view.kept_messages() {
        let role = match &message.role {
            Role::System => "system",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
            _ => "user",
        };
        let mut json = Map::from_iter([("role".to_owned(), role.into())]);
        let mut calls = Vec::new();
        for part in &message.parts {
            match &part.body {
                PartBody::Text(text) => {
                    json.insert("content".into(), text_of(session, text).await?.into());
                }
                PartBody::ToolCall(ToolCall { id, name, arguments, .. }) => calls.push(json!({
                    "id": id,
                    "type": "function",
                    "function": { "name": name, "arguments": text_of(session, arguments).await? },
                })),
                PartBody::ToolResult(result) => {
                    json.insert("tool_call_id".into(), result.call_id.as_str().into());
                    if let [ResultPart::Text(text)] = &result.parts[..] {
                        json.insert("content".into(), text_of(session, text).await?.into());
                    }
                }
                // What a provider's thoughts and media look like differs: see its documentation.
                _ => {}
            }
        }
        if !calls.is_empty() {
            json.insert("tool_calls".into(), calls.into());
        }
        messages.push(Value::Object(json));
    }
    Ok(messages.into())
}

/// The text of a content, inline or read from its blob.
async fn text_of(session: &Session<Agent>, content: &Content) -> Result<String, Error> {
    session.store().read_content(content).await
}
