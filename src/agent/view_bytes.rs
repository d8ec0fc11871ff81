//! The bytes of a view: its parts in order, each collection as a list.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::counters::Counters;
use super::entities::Entities;
use super::entity::{Eval, Failure, SessionInfo, Step, Turn};
use super::message::Message;
use super::view::AgentView;
use crate::content::Content;
use crate::id::EventId;
use crate::model::{DecodeError, decode_view, encode_view};

/// What is encoded: of references when it is written and of values when it is read, which makes no difference to bincode.
#[derive(Serialize, Deserialize)]
struct Parts<Info, Messages, Turns, Steps, Evals, Vars, Error> {
    session: Option<Info>,
    messages: Vec<Messages>,
    turns: Vec<Turns>,
    steps: Vec<Steps>,
    evals: Vec<Evals>,
    counters: [u64; 5],
    vars: Option<Vars>,
    compact_from: Option<EventId>,
    error: Option<Error>,
}

type Read = Parts<SessionInfo, Message, Turn, Step, Eval, Content, Failure>;

pub(super) fn encode(view: &AgentView) -> Option<Vec<u8>> {
    // Taken apart without `..`, so that a new field must be considered here.
    let AgentView { session, messages, turns, steps, evals, counters, vars, compact_from, error } = view;
    let Counters { event, message, turn, step, eval } = *counters;
    encode_view(&Parts {
        session: session.as_deref(),
        messages: messages.iter().map(|message| &**message).collect(),
        turns: turns.iter().map(|turn| &**turn).collect(),
        steps: steps.iter().map(|step| &**step).collect(),
        evals: evals.iter().map(|eval| &**eval).collect(),
        counters: [event, message, turn, step, eval],
        vars: vars.as_deref(),
        compact_from: *compact_from,
        error: error.as_deref(),
    })
}

pub(super) fn decode(bytes: &[u8]) -> Result<AgentView, DecodeError> {
    let Read { session, messages, turns, steps, evals, counters, vars, compact_from, error } = decode_view(bytes)?;
    let [event, message, turn, step, eval] = counters;
    Ok(AgentView {
        session: session.map(Arc::new),
        messages: messages.into_iter().map(Arc::new).collect(),
        turns: Entities::of(turns, |turn| turn.id),
        steps: Entities::of(steps, |step| step.id),
        evals: evals.into_iter().map(Arc::new).collect(),
        counters: Counters { event, message, turn, step, eval },
        vars: vars.map(Arc::new),
        compact_from,
        error: error.map(Arc::new),
    })
}
