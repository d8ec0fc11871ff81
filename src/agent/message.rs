//! Messages, and who speaks them.

use serde::{Deserialize, Serialize};

use crate::agent::entity::Usage;
use crate::agent::id::{MessageId, StepId, TurnId};
use crate::agent::part::{Part, ToolResult};
use crate::content::{Content, Json};
use crate::id::{EventId, Timestamp};

/// One message of the conversation.
///
/// The common message is one line: `Message::user("hello")`. What a provider sent beside the parts, and must get back,
/// is in [`Message::origin`] and in [`Part::origin`]. docs/guide/providers.md says where each field of four providers'
/// interfaces lives.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The id, minted when the message is stamped.
    pub id: MessageId,
    /// The event that appended the message; set when the message is stamped.
    pub event_id: EventId,
    /// Who speaks.
    pub role: Role,
    /// The speaker's name, where one role has several.
    pub name: Option<String>,
    /// The turn that the message belongs to: one that has begun, or the next one, which the message opens.
    pub turn: Option<TurnId>,
    /// The step that the message belongs to.
    pub step: Option<StepId>,
    /// When the message was said. If it is left out, the view takes the time of the event.
    pub at: Option<Timestamp>,
    /// The parts of the message, in order.
    pub parts: Vec<Part>,
    /// The message before this one in its side chain, or in the branch that it came from.
    pub parent: Option<MessageId>,
    /// The subagent or side chain that the message belongs to. `None` for the session's own conversation, which alone
    /// [`AgentView::provider_messages`](crate::agent::AgentView::provider_messages) gives.
    pub agent: Option<String>,
    /// What the provider sent beside the parts.
    pub origin: Option<Box<MessageOrigin>>,
    /// A JSON object of what has no field of its own.
    pub extra: Json,
}

impl Message {
    /// A message of one text.
    #[must_use]
    pub fn text(role: Role, text: impl Into<Content>) -> Self {
        Self { role, parts: vec![Part::text(text)], ..Self::default() }
    }

    /// A system message of one text.
    #[must_use]
    pub fn system(text: impl Into<Content>) -> Self {
        Self::text(Role::System, text)
    }

    /// A user's message of one text.
    #[must_use]
    pub fn user(text: impl Into<Content>) -> Self {
        Self::text(Role::User, text)
    }

    /// An assistant's message of one text.
    #[must_use]
    pub fn assistant(text: impl Into<Content>) -> Self {
        Self::text(Role::Assistant, text)
    }

    /// An assistant's message of these parts.
    #[must_use]
    pub fn answer(parts: impl IntoIterator<Item = Part>) -> Self {
        Self { role: Role::Assistant, parts: parts.into_iter().collect(), ..Self::default() }
    }

    /// The message that answers a tool call with a text.
    #[must_use]
    pub fn tool_result(call_id: impl Into<String>, content: impl Into<Content>) -> Self {
        Self::tool(ToolResult::text(call_id, content))
    }

    /// The message that answers a tool call with an error.
    #[must_use]
    pub fn tool_error(call_id: impl Into<String>, content: impl Into<Content>) -> Self {
        Self::tool(ToolResult { is_error: Some(true), ..ToolResult::text(call_id, content) })
    }

    /// The message that answers a tool call.
    #[must_use]
    pub fn tool(result: ToolResult) -> Self {
        Self { role: Role::Tool, parts: vec![result.into()], ..Self::default() }
    }

    /// The message with one part more.
    #[must_use]
    pub fn with(mut self, part: impl Into<Part>) -> Self {
        self.parts.push(part.into());
        self
    }

    /// The message with what the provider sent beside the parts.
    #[must_use]
    pub fn with_origin(mut self, origin: MessageOrigin) -> Self {
        self.origin = Some(Box::new(origin));
        self
    }

    /// The text parts, one behind the other; `None` if one of them is a blob.
    #[must_use]
    pub fn inline_text(&self) -> Option<String> {
        self.parts.iter().filter_map(Part::as_text).map(Content::as_inline).collect()
    }
}

/// Who speaks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Role {
    /// The host, to the language model.
    System,
    /// The user, who may be another agent.
    #[default]
    User,
    /// The language model.
    Assistant,
    /// A tool, in answer to a tool call.
    Tool,
    /// The environment: what code or a command printed.
    Observation,
    /// Any other role, by its name.
    Other(String),
    /// The developer of the host, to the language model, where a provider tells this role from the system's.
    Developer,
}

impl Role {
    /// Whether the message instructs the language model and belongs before the conversation.
    pub(super) fn is_instruction(&self) -> bool {
        matches!(self, Self::System | Self::Developer)
    }
}

/// What a provider sent with a message, beside its parts.
///
/// foldlog never reads or rewrites the texts in it. What is large belongs into a blob:
/// [`Store::intern_text`](crate::Store::intern_text).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageOrigin {
    /// The provider's id of the message or response.
    pub id: Option<String>,
    /// The language model that answered. A session may speak to several.
    pub model: Option<String>,
    /// Why the answer ended, in the provider's words, such as `end_turn`, `tool_calls` or `MAX_TOKENS`.
    pub stop_reason: Option<String>,
    /// The tokens of the call that gave this message.
    pub usage: Option<Usage>,
    /// JSON text, byte for byte as it was sent: the members that have no field here, or the whole answer, as the host
    /// likes it.
    pub verbatim: Option<Content>,
}
