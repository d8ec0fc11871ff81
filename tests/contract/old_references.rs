//! Goal: what schema 1 accepted and no append may name any more does not keep a session from being repaired. Method: a
//! model that writes the bytes of schema 1 leaves turns, steps and calls open; this build interrupts them.

use std::sync::Arc;

use foldlog::agent::{Agent, Step, StepStatus, TurnStatus};
use foldlog::{DecodeError, Event, SessionModel, Store, Unfinished, View, decode_body};
use serde::{Deserialize, Serialize};

use crate::common::*;

on_both_media!(
    a_turn_of_a_message_that_never_was_is_interrupted,
    a_step_of_a_turn_that_never_was_is_interrupted,
    a_call_in_a_step_and_turn_that_never_were_gets_its_result,
    a_reference_to_message_0_does_not_become_the_last_message,
    references_to_what_is_there_are_kept,
);

/// The bodies of schema 1 that these tests need, with their numbers among all; the fields in their stored order.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum OldBody {
    SessionStarted,
    TurnStarted(OldTurn),
    TurnPut(OldTurn),
    StepStarted(OldStep),
    StepPut(OldStep),
    MessageAppended(OldMessage),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum Running {
    Running,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct OldTurn {
    id: u64,
    status: Running,
    started: Option<i64>,
    ended: Option<i64>,
    user_message: Option<u64>,
    final_value: Option<String>,
    preview: Option<String>,
    usage: Option<()>,
    cost: Option<u64>,
    error: Option<()>,
    extra: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct OldStep {
    id: u64,
    turn: Option<u64>,
    status: Running,
    started: Option<i64>,
    ended: Option<i64>,
    request: Option<String>,
    response: Option<String>,
    assistant_message: Option<u64>,
    usage: Option<()>,
    error: Option<()>,
    extra: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum OldRole {
    System,
    User,
    Assistant,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum OldContent {
    Inline(String),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum OldPart {
    Text(OldContent),
    Thought(OldContent),
    ToolCall { id: String, name: String, arguments: OldContent },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct OldMessage {
    id: u64,
    event_id: u64,
    role: OldRole,
    name: Option<String>,
    turn: Option<u64>,
    step: Option<u64>,
    at: Option<i64>,
    parts: Vec<OldPart>,
    extra: String,
}

enum OldAgent {}

impl SessionModel for OldAgent {
    const NAME: &'static str = "agent";
    const SCHEMA: u16 = 1;
    type Body = OldBody;
    type View = ();
    type Counters = ();
    type Transient = ();

    fn event_type(body: &OldBody) -> &'static str {
        match body {
            OldBody::SessionStarted => "session_started",
            OldBody::TurnStarted(_) => "turn_started",
            OldBody::TurnPut(_) => "turn_put",
            OldBody::StepStarted(_) => "step_started",
            OldBody::StepPut(_) => "step_put",
            OldBody::MessageAppended(_) => "message_appended",
        }
    }

    fn apply(_: &mut (), _: &Event<Self>) {}

    fn decode(_: &str, _: u16, body: &[u8]) -> Result<OldBody, DecodeError> {
        decode_body(body)
    }
}

fn turn(id: u64, user_message: Option<u64>) -> OldBody {
    OldBody::TurnStarted(OldTurn {
        id,
        status: Running::Running,
        started: None,
        ended: None,
        user_message,
        final_value: None,
        preview: None,
        usage: None,
        cost: None,
        error: None,
        extra: "{}".to_owned(),
    })
}

fn step(id: u64, turn: Option<u64>, assistant_message: Option<u64>) -> OldBody {
    OldBody::StepStarted(OldStep {
        id,
        turn,
        status: Running::Running,
        started: None,
        ended: None,
        request: None,
        response: None,
        assistant_message,
        usage: None,
        error: None,
        extra: "{}".to_owned(),
    })
}

/// A message of event 1 with a call.
fn called(turn: Option<u64>, step: Option<u64>) -> OldBody {
    let call = OldPart::ToolCall {
        id: "call_0".to_owned(),
        name: "run".to_owned(),
        arguments: OldContent::Inline("{}".to_owned()),
    };
    OldBody::MessageAppended(OldMessage {
        id: 1,
        event_id: 1,
        role: OldRole::Assistant,
        name: None,
        turn,
        step,
        at: None,
        parts: vec![call],
        extra: "{}".to_owned(),
    })
}

/// Interrupts a session of these bodies, in which nothing is unfinished then. Gives what was ended, and the view.
async fn interrupted(disk: &TestDisk, bodies: Vec<OldBody>) -> (Vec<String>, Arc<View<Agent>>) {
    let old: Store<OldAgent> = disk.open_model().await;
    old.open_session("s").await.unwrap().append_batch(bodies).unwrap().await.unwrap();
    old.close().await.unwrap();
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let ended: Vec<Unfinished> = session.interrupt("the host was restarted").await.unwrap();
    assert_eq!(session.unfinished().unwrap(), []);
    providers::assert_accepted(&session.provider_messages().await.unwrap());
    let view = session.view().unwrap();
    store.close().await.unwrap();
    (ended.iter().map(ToString::to_string).collect(), view)
}

async fn a_turn_of_a_message_that_never_was_is_interrupted(disk: TestDisk) {
    let (ended, view) = interrupted(&disk, vec![turn(1, Some(777)), turn(2, None)]).await;
    assert_eq!(ended, ["turn 1", "turn 2"], "one bad turn does not keep the other from being ended");
    let turn = view.turns.iter().next().unwrap();
    assert_eq!((turn.status, turn.user_message), (TurnStatus::Interrupted, None));
}

async fn a_step_of_a_turn_that_never_was_is_interrupted(disk: TestDisk) {
    let (ended, view) = interrupted(&disk, vec![step(1, Some(9), Some(777))]).await;
    assert_eq!(ended, ["step 1"]);
    let step: &Step = view.steps.last().unwrap();
    assert_eq!((step.status, step.turn, step.assistant_message), (StepStatus::Interrupted, None, None));
}

async fn a_call_in_a_step_and_turn_that_never_were_gets_its_result(disk: TestDisk) {
    let (ended, view) = interrupted(&disk, vec![called(Some(9), Some(4))]).await;
    assert_eq!(ended, ["tool_call call_0"]);
    let result = view.messages.last().unwrap();
    assert_eq!((result.turn, result.step), (None, None));
    assert_eq!(result.parts[0].as_tool_result().unwrap().is_error, Some(true));
}

async fn a_reference_to_message_0_does_not_become_the_last_message(disk: TestDisk) {
    let (_, view) = interrupted(&disk, vec![called(None, None), turn(1, Some(0)), step(1, Some(1), Some(0))]).await;
    assert_eq!(view.turns.last().unwrap().user_message, None);
    assert_eq!(view.steps.last().unwrap().assistant_message, None);
}

async fn references_to_what_is_there_are_kept(disk: TestDisk) {
    let (ended, view) =
        interrupted(&disk, vec![called(Some(1), Some(1)), turn(1, Some(1)), step(1, Some(1), Some(1))]).await;
    assert_eq!(ended, ["turn 1", "step 1", "tool_call call_0"]);
    assert_eq!(view.turns.last().unwrap().user_message.map(|id| id.get()), Some(1));
    let (step, result) = (view.steps.last().unwrap(), view.messages.last().unwrap());
    assert_eq!((step.turn, step.assistant_message.map(|id| id.get())), (result.turn, Some(1)));
    assert_eq!((result.turn.map(|id| id.get()), result.step.map(|id| id.get())), (Some(1), Some(1)));
}
