//! The built-in session model: an agent's session with its messages, turns, steps, and evals (executed code and tool
//! calls). Pure: no I/O, no clock.
//!
//! - [`AgentBody`]: what a host appends. A creating body (`TurnStarted`, `StepStarted`, `MessageAppended`, `EvalAdded`,
//!   `SessionCompacted`) is given its entity's id when it is stamped, whatever the host put there; a `...Put` names the
//!   id of an entity and replaces that whole entity, in place.
//! - [`AgentView`]: what the events fold into. A view shares structure with the views before it. It does not hold the
//!   events themselves, which are read from the log.
//! - [`AgentTransient`]: what subscribers see and nobody keeps.
//!
//! # Examples
//! ```
//! use foldlog::agent::{AgentBody, AgentView, Message, MessageId, SessionInfo, Turn};
//!
//! let bodies = [
//!     AgentBody::SessionStarted(SessionInfo { model: Some("some-model".to_owned()), ..SessionInfo::default() }),
//!     AgentBody::MessageAppended(Message::user("What is 6 times 7?")),
//!     AgentBody::TurnStarted(Turn::for_message(MessageId::new(1))),
//!     AgentBody::MessageAppended(Message::assistant("42")),
//! ];
//! # let _ = (bodies, AgentView::default());
//! ```

mod append_list;
mod blobs;
mod body;
mod calls;
mod check;
mod conversation;
mod counters;
mod entities;
mod entity;
mod id;
mod message;
mod open_calls;
mod part;
mod redact;
mod schema1;
mod streams;
#[cfg(test)]
mod tests;
mod view;
mod view_bytes;
mod view_json;

#[doc(no_inline)]
pub use crate::content::{Content, Json};
pub use append_list::{AppendList, Iter};
pub use body::{AgentBody, AgentTransient, OutputStream};
pub use calls::{Compacted, RunningTurn, StopOutcome, TurnBegun, TurnEnd};
pub use counters::{Counter, Counters};
pub use entities::Entities;
pub use entity::{Eval, EvalStatus, Failure, SessionInfo, SessionStatus, Step, StepStatus, Turn, TurnStatus, Usage};
pub use id::{EvalId, MessageId, StepId, TurnId};
pub use message::{Message, MessageOrigin, Role};
pub use open_calls::{OpenCall, OpenCalls};
pub use part::{Media, MediaSource, Part, PartBody, PartOrigin, ResultPart, ToolCall, ToolKind, ToolResult};
pub use view::{AgentView, Progress};

use bytes::Bytes;

use schema1::BodyV1;

use crate::event::Event;
use crate::id::{BlobRef, EventId};
use crate::model::{DecodeError, SessionModel, Turns, Unfinished, decode_body};

/// The built-in session model: names the types of this module to [`SessionModel`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agent {}

impl SessionModel for Agent {
    const NAME: &'static str = "agent";
    const SCHEMA: u16 = 2;
    const VIEW_SCHEMA: u16 = 4;

    type Body = AgentBody;
    type View = AgentView;
    type Counters = Counters;
    type Transient = AgentTransient;

    fn event_type(body: &AgentBody) -> &'static str {
        body.event_type()
    }

    fn check(body: &AgentBody) -> Result<(), String> {
        body.check()
    }

    fn stamp(counters: &mut Counters, id: EventId, body: &mut AgentBody) -> Result<(), String> {
        counters.stamp(id, body)
    }

    fn apply(view: &mut AgentView, event: &Event<Self>) {
        view.apply(event.at(), event.body().clone());
    }

    #[inline]
    fn apply_owned(view: &mut AgentView, event: Event<Self>) {
        view.apply(event.at(), event.into_body());
    }

    /// Texts, thoughts, arguments, results, files, and what a provider sent beside them go. Ids, roles, times, numbers,
    /// tools' names and the ids of calls stay, so that each call has its result and the conversation can go on.
    fn redact(body: &AgentBody) -> Option<AgentBody> {
        Some(body.redacted())
    }

    fn counters(view: &AgentView) -> Counters {
        view.counters
    }

    fn blob_refs(body: &AgentBody, each: &mut dyn FnMut(&BlobRef)) {
        body.blob_refs(each);
    }

    fn transient_key(transient: &AgentTransient) -> Option<String> {
        streams::key(transient)
    }

    fn transient_bytes(transient: &AgentTransient) -> usize {
        streams::bytes(transient)
    }

    fn ends_stream(body: &AgentBody, key: &str) -> bool {
        streams::ends(body, key)
    }

    fn turns(view: &AgentView) -> Turns {
        view.turns_taken()
    }

    fn unfinished(view: &AgentView) -> Vec<Unfinished> {
        view.unfinished()
    }

    fn encode_view(view: &AgentView) -> Option<Vec<u8>> {
        view_bytes::encode(view)
    }

    /// Messages, turns, steps and evals stay packed in chunks of 64 until an item of the chunk is asked for. The first
    /// chunk of each list, a last chunk that is not full, and the chunks of unfinished turns and steps are decoded at
    /// once.
    ///
    /// A view that another build wrote, whose items have another layout at the same
    /// [`VIEW_SCHEMA`](SessionModel::VIEW_SCHEMA), is refused as a whole.
    fn decode_view(bytes: Bytes) -> Result<AgentView, DecodeError> {
        view_bytes::decode(bytes)
    }

    // Inlined into the fold of a log: a body is large, and each call that is not inlined moves the body.
    #[inline]
    fn decode(event_type: &str, schema: u16, bytes: &[u8]) -> Result<AgentBody, DecodeError> {
        let is_known = AgentBody::EVENT_TYPES.contains(&event_type);
        let body: AgentBody = match schema {
            // No build adds to schema 1 any more, so a body of it under a type that is not known has a damaged type.
            1 => match decode_body::<BodyV1>(bytes) {
                Err(_) if !is_known => return Err(DecodeError::Unknown),
                body => body?.into(),
            },
            Self::SCHEMA if is_known => decode_body(bytes)?,
            _ => return Err(DecodeError::Unknown),
        };
        if body.event_type() != event_type {
            let reason = format!("it is stored as {event_type} and its bytes are {}", body.event_type());
            return Err(DecodeError::Malformed { reason });
        }
        Ok(body)
    }
}
