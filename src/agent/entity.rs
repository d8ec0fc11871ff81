//! What a session consists of, apart from its messages.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::agent::id::{EvalId, MessageId, StepId, TurnId};
use crate::content::{Content, Json};
use crate::id::Timestamp;

/// The session as its host describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionInfo {
    /// The host's own id or name of the session.
    pub id: Option<String>,
    /// Whether the session goes on.
    pub status: SessionStatus,
    /// When the session was created. If it is left out, the view takes the time of the event.
    pub created: Option<Timestamp>,
    /// The host's labels.
    pub labels: BTreeMap<String, String>,
    /// Who serves the language model.
    pub provider: Option<String>,
    /// Which language model answers.
    pub model: Option<String>,
    /// The instructions that every call of the language model begins with, where they are no message.
    pub instructions: Option<Content>,
    /// The tools that the language model may call: JSON text, as the provider takes it.
    pub tools: Option<Content>,
    /// The session that this one goes on from or works for, by its name.
    pub parent: Option<String>,
    /// A JSON object of what has no field of its own.
    pub extra: Json,
}

/// Whether a session goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SessionStatus {
    /// The session takes turns.
    #[default]
    Running,
    /// The session was asked to stop, and takes no further turn.
    StopRequested,
    /// The session has stopped.
    Stopped,
    /// The session ended in an error.
    Error,
}

impl SessionStatus {
    pub(super) fn is_running(self) -> bool {
        self == Self::Running
    }
}

/// One run of the agent, from a user's message to an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// Minted by `TurnStarted`, named by `TurnPut`.
    pub id: TurnId,
    /// How it ended, if it has.
    pub status: TurnStatus,
    /// When the turn began. If `TurnStarted` leaves it out, the view takes the time of the event.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// The message that the turn answers. In a body, id 0 stands for the last message before the turn.
    pub user_message: Option<MessageId>,
    /// The result of the turn.
    pub final_value: Option<Content>,
    /// A short form of the result, to show.
    pub preview: Option<Content>,
    /// The tokens that all steps of the turn used together.
    pub usage: Option<Usage>,
    /// What the turn cost, in millionths of the host's currency.
    pub cost_millionths: Option<u64>,
    /// Why it failed.
    pub error: Option<Failure>,
    /// A JSON object of what has no field of its own.
    pub extra: Json,
}

impl Turn {
    /// A running turn that answers a message.
    #[must_use]
    pub fn for_message(message: MessageId) -> Self {
        Self { user_message: Some(message), ..Self::default() }
    }

    /// A running turn that answers the last message before it: for a batch that appends both.
    #[must_use]
    pub fn for_last_message() -> Self {
        Self::for_message(MessageId::default())
    }

    pub(super) fn is_running(&self) -> bool {
        self.status == TurnStatus::Running
    }
}

/// How a turn ended, if it has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TurnStatus {
    /// It has not ended.
    #[default]
    Running,
    /// The turn ended with a final value.
    Final,
    /// The turn ended in an error.
    Error,
    /// The turn ran out of time.
    Timeout,
    /// The turn ran out of tokens, steps or money.
    BudgetExceeded,
    /// The user or the host ended the turn before it was done.
    Cancelled,
    /// Its task or process ended before the turn did: the next turn that began, or
    /// [`Session::interrupt`](crate::Session::interrupt), has put this.
    Interrupted,
}

/// One call of the language model within a turn, and what follows from it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Minted by `StepStarted`, named by `StepPut`.
    pub id: StepId,
    /// The turn that it belongs to.
    pub turn: Option<TurnId>,
    /// How it ended, if it has.
    pub status: StepStatus,
    /// When the step began. If `StepStarted` leaves it out, the view takes the time of the event.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// What the language model was asked.
    pub request: Option<Content>,
    /// What the provider said beside the message: its id, finish reason and the like.
    pub response_summary: Option<Content>,
    /// The message that the language model answered with. In a body, id 0 stands for the last message before it.
    pub assistant_message: Option<MessageId>,
    /// What it used.
    pub usage: Option<Usage>,
    /// Why it failed.
    pub error: Option<Failure>,
    /// A JSON object of what has no field of its own.
    pub extra: Json,
}

impl Step {
    /// A running step of a turn.
    #[must_use]
    pub fn of_turn(turn: TurnId) -> Self {
        Self { turn: Some(turn), ..Self::default() }
    }

    pub(super) fn is_running(&self) -> bool {
        self.status == StepStatus::Running
    }
}

/// How a step ended, if it has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StepStatus {
    /// It has not ended.
    #[default]
    Running,
    /// The step ran to its end.
    Done,
    /// The step ended in an error.
    Error,
    /// Its task or process ended before the step did: the next turn that began, or
    /// [`Session::interrupt`](crate::Session::interrupt), has put this.
    Interrupted,
}

/// One code block or tool call that was executed, with its result.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Eval {
    /// Minted by `EvalAdded`.
    pub id: EvalId,
    /// The turn that it belongs to.
    pub turn: Option<TurnId>,
    /// The step that it belongs to.
    pub step: Option<StepId>,
    /// The place of the eval among those of its step, from 0.
    pub index: u32,
    /// The tool that was called.
    pub tool_name: Option<String>,
    /// The id of the tool call that the eval answers.
    pub call_id: Option<String>,
    /// The code, or the tool call's arguments.
    pub code: Option<Content>,
    /// How it ended.
    pub status: EvalStatus,
    /// What the eval returned.
    pub result: Option<Content>,
    /// A short form of the result, to show.
    pub preview: Option<Content>,
    /// What the eval wrote to standard output.
    pub stdout: Option<Content>,
    /// What the eval wrote to standard error.
    pub stderr: Option<Content>,
    /// The number with which the process of the eval ended.
    pub exit_code: Option<i32>,
    /// The session of the subagent that the eval ran, by its name.
    pub session: Option<String>,
    /// Why it failed.
    pub error: Option<Failure>,
    /// When the eval ended. If it is left out, the view takes the time of the event.
    pub at: Option<Timestamp>,
    /// How long the eval ran, in microseconds.
    pub elapsed_micros: Option<u64>,
    /// The tokens that the eval used, if it called a language model itself.
    pub usage: Option<Usage>,
    /// A JSON object of what has no field of its own.
    pub extra: Json,
}

/// How an eval ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EvalStatus {
    /// The eval ended with a result.
    #[default]
    Ok,
    /// The eval ended with the turn's final value.
    Final,
    /// The eval ended in an error.
    Error,
    /// The user or the host did not allow the eval.
    Denied,
    /// The user or the host ended the eval before it was done.
    Cancelled,
    /// The eval ran out of time.
    Timeout,
}

/// Why something failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The host's name for this kind of failure, such as `provider_timeout`.
    pub kind: String,
    /// The text for people.
    pub message: Content,
    /// A JSON object of what has no field of its own.
    pub extra: Json,
}

impl Failure {
    /// A failure of a kind.
    #[must_use]
    pub fn new(kind: impl Into<String>, message: impl Into<Content>) -> Self {
        Self { kind: kind.into(), message: message.into(), extra: Json::default() }
    }
}

/// Numbers of tokens, as the provider counts them. `None` is a number that is not known, which is not 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt, those included that were read from the provider's cache or written to it. A provider that
    /// counts them apart (Anthropic does) gives three numbers: their sum is this one.
    pub input_tokens: Option<u64>,
    /// Tokens of the answer, those included that were spent on thought.
    pub output_tokens: Option<u64>,
    /// Tokens of the prompt that were read from the provider's cache.
    pub cache_read_tokens: Option<u64>,
    /// Tokens of the prompt that were written to the provider's cache.
    pub cache_write_tokens: Option<u64>,
    /// Tokens of the answer that were spent on thought.
    pub reasoning_tokens: Option<u64>,
    /// All tokens, where the provider gives a total of its own.
    pub total_tokens: Option<u64>,
}

impl Usage {
    /// Adds what is known.
    pub(super) fn add(sum: &mut Option<Self>, usage: Option<Self>) {
        if let Some(usage) = usage {
            *sum.get_or_insert_default() += usage;
        }
    }
}

/// Each number is added to its like. One that is known on one side only stays as it is.
impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        let add = |sum: &mut Option<u64>, tokens: Option<u64>| {
            if let Some(tokens) = tokens {
                *sum = Some(sum.unwrap_or_default().saturating_add(tokens));
            }
        };
        let Self { input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, total_tokens } =
            other;
        add(&mut self.input_tokens, input_tokens);
        add(&mut self.output_tokens, output_tokens);
        add(&mut self.cache_read_tokens, cache_read_tokens);
        add(&mut self.cache_write_tokens, cache_write_tokens);
        add(&mut self.reasoning_tokens, reasoning_tokens);
        add(&mut self.total_tokens, total_tokens);
    }
}
