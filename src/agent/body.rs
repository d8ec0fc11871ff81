//! What a host appends, and the transients that it only delivers to subscribers.

use serde::{Deserialize, Serialize};

use crate::agent::entity::{Eval, Failure, SessionInfo, Step, Turn};
use crate::agent::id::{MessageId, StepId, TurnId};
use crate::agent::message::Message;
use crate::content::{Content, Json};
use crate::id::EventId;

/// What can happen in an agent's session.
///
/// The stored bytes depend on the order of the variants and of every field below them: both may only change together
/// with the schema version, and the old shape must stay decodable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[expect(
    clippy::large_enum_variant,
    reason = "an eval in a box would be more work for every host; bodies are moved, not kept"
)]
pub enum AgentBody {
    /// The session is described, or described anew: this description replaces the one before.
    SessionStarted(SessionInfo),
    /// A turn begins; its id is minted.
    TurnStarted(Turn),
    /// The turn with this id is replaced by this one, as a whole.
    TurnPut(Turn),
    /// A step begins; its id is minted.
    StepStarted(Step),
    /// The step with this id is replaced by this one, as a whole.
    StepPut(Step),
    /// A message; its id is minted, its event id set.
    MessageAppended(Message),
    /// A code block or tool call was executed; its id is minted.
    EvalAdded(Eval),
    /// The variables of the session, as the host writes them.
    VarsSnapshotted(Content),
    /// Messages need not be sent to the language model any more: the message here stands for those before the boundary.
    SessionCompacted {
        /// The variables; `None` leaves them as they were.
        vars: Option<Content>,
        /// The first event whose message is kept. [`EventId::ZERO`] stands for this event itself, which is set when it
        /// is stamped; an event behind this one is refused. A boundary before that of an earlier compaction changes
        /// nothing.
        boundary: EventId,
        /// The message that stands for those before it; its id is minted, its event id set.
        message: Message,
    },
    /// The session was asked to stop.
    StopRequested,
    /// The session has stopped.
    Stopped,
    /// The session ended in an error.
    SessionErrored(Failure),
    /// A small fact of the host's own. The view does not hold the fact, which is read from the log.
    Custom {
        /// The host's name for this kind of fact: 1 to [`AgentBody::KIND_BYTES_MAX`] bytes.
        kind: String,
        /// The fact.
        json: Json,
    },
    /// A turn is asked for, and cannot begin yet: the message waits for it, as one of
    /// [`AgentView::unanswered`](crate::agent::AgentView::unanswered).
    TurnQueued {
        /// The message that waits. Message 0 stands for the last message before this event.
        message: MessageId,
    },
}

impl AgentBody {
    /// The longest `kind` of [`AgentBody::Custom`], in UTF-8 bytes.
    pub const KIND_BYTES_MAX: usize = 128;

    /// A compaction: the message stands for all messages before it. [`Session::compact`](crate::Session::compact)
    /// stands for those up to an event.
    #[must_use]
    pub fn compacted(vars: Option<Content>, message: Message) -> Self {
        Self::SessionCompacted { vars, boundary: EventId::ZERO, message }
    }
}

/// The stored type of each variant, in their order. The compiler refuses a variant that is not in the table.
macro_rules! event_types {
    ($($variant:ident => $name:literal,)*) => {
        impl AgentBody {
            /// The stored type of every variant, in their order.
            pub const EVENT_TYPES: &'static [&'static str] = &[$($name),*];

            /// The type that is stored beside the event.
            #[must_use]
            pub fn event_type(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => $name,)*
                }
            }
        }
    };
}

event_types! {
    SessionStarted => "session_started",
    TurnStarted => "turn_started",
    TurnPut => "turn_put",
    StepStarted => "step_started",
    StepPut => "step_put",
    MessageAppended => "message_appended",
    EvalAdded => "eval_added",
    VarsSnapshotted => "vars_snapshotted",
    SessionCompacted => "session_compacted",
    StopRequested => "stop_requested",
    Stopped => "stopped",
    SessionErrored => "session_errored",
    Custom => "custom",
    TurnQueued => "turn_queued",
}

/// A live item: delivered to subscribers, never persisted and never folded.
///
/// The token deltas of a step are a stream, and so is what is written to each of its outputs. A subscriber that comes
/// late gets them from the beginning, until an event ends the stream:
///
/// | event | ends |
/// |---|---|
/// | [`MessageAppended`](AgentBody::MessageAppended) of the assistant | the deltas of the step that it names; if it names none, of its turn; if it names no turn either, of the session |
/// | [`EvalAdded`](AgentBody::EvalAdded) | the output, by the same rule |
/// | [`StepPut`](AgentBody::StepPut), [`TurnPut`](AgentBody::TurnPut) with an end | everything of the step, of the turn |
/// | [`Stopped`](AgentBody::Stopped), [`SessionErrored`](AgentBody::SessionErrored) | everything |
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AgentTransient {
    /// Text that the language model has just produced.
    TokenDelta {
        /// The turn that runs.
        turn: TurnId,
        /// The step that runs.
        step: StepId,
        /// The text that follows the deltas before.
        text: String,
    },
    /// Output that code or a tool has just written.
    OutputChunk {
        /// The turn that runs.
        turn: TurnId,
        /// The step that runs.
        step: StepId,
        /// Where it was written to.
        stream: OutputStream,
        /// The text that follows the chunks before.
        text: String,
    },
    /// Anything that the host names.
    Other {
        /// The host's name for it.
        kind: String,
        /// The item.
        json: Json,
    },
}

/// Where output was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}
