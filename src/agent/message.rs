//! Messages and their parts.

use serde::{Deserialize, Serialize};

use crate::agent::id::{MessageId, StepId, TurnId};
use crate::content::{Content, Json};
use crate::id::{BlobRef, EventId, Timestamp};

/// One message of the conversation.
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
    /// The turn that the message belongs to.
    pub turn: Option<TurnId>,
    /// The step that the message belongs to.
    pub step: Option<StepId>,
    /// When the message was said. If it is left out, the view takes the time of the event.
    pub at: Option<Timestamp>,
    /// The parts of the message, in order.
    pub parts: Vec<Part>,
    /// A JSON object of what has no field of its own.
    pub extra: Json,
}

impl Message {
    /// A message of one text.
    #[must_use]
    pub fn text(role: Role, text: impl Into<Content>) -> Self {
        Self { role, parts: vec![Part::Text(text.into())], ..Self::default() }
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

    /// The message that answers a tool call.
    #[must_use]
    pub fn tool_result(call_id: impl Into<String>, content: impl Into<Content>) -> Self {
        let result = Part::ToolResult { call_id: call_id.into(), content: content.into() };
        Self { role: Role::Tool, parts: vec![result], ..Self::default() }
    }
}

/// Who speaks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
}

/// A part of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Part {
    /// Text to read.
    Text(Content),
    /// What the language model thought before it spoke.
    Thought(Content),
    /// A tool to call.
    ToolCall {
        /// The id of the call, which the result names.
        id: String,
        /// The tool.
        name: String,
        /// The arguments as the language model wrote them: JSON text, or what should have been, never rewritten.
        arguments: Content,
    },
    /// What a tool answered.
    ToolResult {
        /// The id of the tool call.
        call_id: String,
        /// The answer.
        content: Content,
    },
    /// An image, a sound, a document.
    Media {
        /// The media type, such as `image/png`.
        media_type: String,
        /// The bytes.
        blob: BlobRef,
    },
}
