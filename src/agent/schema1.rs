//! The bodies of schema 1, as builds before schema 2 wrote them, and how they are upcast on read.
//!
//! Frozen: every type below a body stands here as it was, so that a change of today's types cannot change what these
//! bytes mean.

use std::collections::BTreeMap;

use serde::Deserialize;
#[cfg(test)]
use serde::Serialize;

use crate::agent::body::AgentBody;
use crate::agent::entity::{
    Eval, EvalStatus, Failure, SessionInfo, SessionStatus, Step, StepStatus, Turn, TurnStatus, Usage,
};
use crate::agent::id::{EvalId, MessageId, StepId, TurnId};
use crate::agent::message::{Message, Role};
use crate::agent::part::Part;
use crate::content::{Content, Json};
use crate::id::{BlobRef, EventId, Timestamp};

#[derive(Deserialize)]
#[cfg_attr(test, derive(Debug, Clone, Serialize))]
pub(super) enum BodyV1 {
    SessionStarted(SessionInfoV1),
    TurnStarted(TurnV1),
    TurnPut(TurnV1),
    StepStarted(StepV1),
    StepPut(StepV1),
    MessageAppended(MessageV1),
    EvalAdded(EvalV1),
    VarsSnapshotted(Content),
    SessionCompacted { vars: Option<Content>, boundary: EventId, message: MessageV1 },
    StopRequested,
    Stopped,
    SessionErrored(FailureV1),
    Custom { kind: String, json: Json },
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(Debug, Clone, Serialize))]
pub(super) struct SessionInfoV1 {
    pub(super) id: Option<String>,
    pub(super) status: SessionStatusV1,
    pub(super) created: Option<Timestamp>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) provider: Option<String>,
    pub(super) model: Option<String>,
    pub(super) extra: Json,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(Debug, Clone, Serialize))]
pub(super) enum SessionStatusV1 {
    Running,
    StopRequested,
    Stopped,
    Error,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(Debug, Clone, Serialize))]
pub(super) struct TurnV1 {
    pub(super) id: TurnId,
    pub(super) status: TurnStatusV1,
    pub(super) started: Option<Timestamp>,
    pub(super) ended: Option<Timestamp>,
    pub(super) user_message: Option<MessageId>,
    pub(super) final_value: Option<Content>,
    pub(super) preview: Option<Content>,
    pub(super) usage: Option<UsageV1>,
    pub(super) cost_millionths: Option<u64>,
    pub(super) error: Option<FailureV1>,
    pub(super) extra: Json,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(Debug, Clone, Serialize))]
pub(super) enum TurnStatusV1 {
    Running,
    Final,
    Error,
    Timeout,
    BudgetExceeded,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(Debug, Clone, Serialize))]
pub(super) struct StepV1 {
    pub(super) id: StepId,
    pub(super) turn: Option<TurnId>,
    pub(super) status: StepStatusV1,
    pub(super) started: Option<Timestamp>,
    pub(super) ended: Option<Timestamp>,
    pub(super) request: Option<Content>,
    pub(super) response_summary: Option<Content>,
    pub(super) assistant_message: Option<MessageId>,
    pub(super) usage: Option<UsageV1>,
    pub(super) error: Option<FailureV1>,
    pub(super) extra: Json,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(Debug, Clone, Serialize))]
pub(super) enum StepStatusV1 {
    Running,
    Done,
    Error,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(Debug, Clone, Serialize))]
pub(super) struct EvalV1 {
    pub(super) id: EvalId,
    pub(super) turn: Option<TurnId>,
    pub(super) step: Option<StepId>,
    pub(super) index: u32,
    pub(super) tool_name: Option<String>,
    pub(super) call_id: Option<String>,
    pub(super) code: Option<Content>,
    pub(super) status: EvalStatusV1,
    pub(super) result: Option<Content>,
    pub(super) preview: Option<Content>,
    pub(super) stdout: Option<Content>,
    pub(super) stderr: Option<Content>,
    pub(super) error: Option<FailureV1>,
    pub(super) at: Option<Timestamp>,
    pub(super) elapsed_micros: Option<u64>,
    pub(super) usage: Option<UsageV1>,
    pub(super) extra: Json,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(Debug, Clone, Serialize))]
pub(super) enum EvalStatusV1 {
    Ok,
    Final,
    Error,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(Debug, Clone, Serialize))]
pub(super) struct FailureV1 {
    pub(super) kind: String,
    pub(super) message: Content,
    pub(super) extra: Json,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(Debug, Clone, Serialize))]
pub(super) struct UsageV1 {
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    pub(super) cache_read_tokens: u64,
    pub(super) cache_write_tokens: u64,
    pub(super) reasoning_tokens: u64,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(Debug, Clone, Serialize))]
pub(super) struct MessageV1 {
    pub(super) id: MessageId,
    pub(super) event_id: EventId,
    pub(super) role: RoleV1,
    pub(super) name: Option<String>,
    pub(super) turn: Option<TurnId>,
    pub(super) step: Option<StepId>,
    pub(super) at: Option<Timestamp>,
    pub(super) parts: Vec<PartV1>,
    pub(super) extra: Json,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(Debug, Clone, Serialize))]
pub(super) enum RoleV1 {
    System,
    User,
    Assistant,
    Tool,
    Observation,
    Other(String),
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(Debug, Clone, Serialize))]
pub(super) enum PartV1 {
    Text(Content),
    Thought(Content),
    ToolCall { id: String, name: String, arguments: Content },
    ToolResult { call_id: String, content: Content },
    Media { media_type: String, blob: BlobRef },
}

impl From<SessionInfoV1> for SessionInfo {
    fn from(session: SessionInfoV1) -> Self {
        let SessionInfoV1 { id, status, created, labels, provider, model, extra } = session;
        Self { id, status: status.into(), created, labels, provider, model, extra, ..Self::default() }
    }
}

impl From<TurnV1> for Turn {
    fn from(turn: TurnV1) -> Self {
        let TurnV1 {
            id,
            status,
            started,
            ended,
            user_message,
            final_value,
            preview,
            usage,
            cost_millionths,
            error,
            extra,
        } = turn;
        Self {
            id,
            status: status.into(),
            started,
            ended,
            user_message,
            final_value,
            preview,
            usage: usage.map(Into::into),
            cost_millionths,
            error: error.map(Into::into),
            extra,
        }
    }
}

impl From<StepV1> for Step {
    fn from(step: StepV1) -> Self {
        let StepV1 {
            id,
            turn,
            status,
            started,
            ended,
            request,
            response_summary,
            assistant_message,
            usage,
            error,
            extra,
        } = step;
        Self {
            id,
            turn,
            status: status.into(),
            started,
            ended,
            request,
            response_summary,
            assistant_message,
            usage: usage.map(Into::into),
            error: error.map(Into::into),
            extra,
        }
    }
}

impl From<EvalV1> for Eval {
    fn from(eval: EvalV1) -> Self {
        let EvalV1 {
            id,
            turn,
            step,
            index,
            tool_name,
            call_id,
            code,
            status,
            result,
            preview,
            stdout,
            stderr,
            error,
            at,
            elapsed_micros,
            usage,
            extra,
        } = eval;
        Self {
            id,
            turn,
            step,
            index,
            tool_name,
            call_id,
            code,
            status: status.into(),
            result,
            preview,
            stdout,
            stderr,
            error: error.map(Into::into),
            at,
            elapsed_micros,
            usage: usage.map(Into::into),
            extra,
            ..Self::default()
        }
    }
}

impl From<MessageV1> for Message {
    fn from(message: MessageV1) -> Self {
        let MessageV1 { id, event_id, role, name, turn, step, at, parts, extra } = message;
        Self {
            id,
            event_id,
            role: role.into(),
            name,
            turn,
            step,
            at,
            parts: parts.into_iter().map(Into::into).collect(),
            extra,
            ..Self::default()
        }
    }
}

impl From<FailureV1> for Failure {
    fn from(failure: FailureV1) -> Self {
        let FailureV1 { kind, message, extra } = failure;
        Self { kind, message, extra }
    }
}

impl From<SessionStatusV1> for SessionStatus {
    fn from(status: SessionStatusV1) -> Self {
        match status {
            SessionStatusV1::Running => Self::Running,
            SessionStatusV1::StopRequested => Self::StopRequested,
            SessionStatusV1::Stopped => Self::Stopped,
            SessionStatusV1::Error => Self::Error,
        }
    }
}

impl From<TurnStatusV1> for TurnStatus {
    fn from(status: TurnStatusV1) -> Self {
        match status {
            TurnStatusV1::Running => Self::Running,
            TurnStatusV1::Final => Self::Final,
            TurnStatusV1::Error => Self::Error,
            TurnStatusV1::Timeout => Self::Timeout,
            TurnStatusV1::BudgetExceeded => Self::BudgetExceeded,
        }
    }
}

impl From<StepStatusV1> for StepStatus {
    fn from(status: StepStatusV1) -> Self {
        match status {
            StepStatusV1::Running => Self::Running,
            StepStatusV1::Done => Self::Done,
            StepStatusV1::Error => Self::Error,
        }
    }
}

impl From<EvalStatusV1> for EvalStatus {
    fn from(status: EvalStatusV1) -> Self {
        match status {
            EvalStatusV1::Ok => Self::Ok,
            EvalStatusV1::Final => Self::Final,
            EvalStatusV1::Error => Self::Error,
        }
    }
}

impl From<RoleV1> for Role {
    fn from(role: RoleV1) -> Self {
        match role {
            RoleV1::System => Self::System,
            RoleV1::User => Self::User,
            RoleV1::Assistant => Self::Assistant,
            RoleV1::Tool => Self::Tool,
            RoleV1::Observation => Self::Observation,
            RoleV1::Other(name) => Self::Other(name),
        }
    }
}

/// In schema 1, 0 stood for a number that was not known, too.
impl From<UsageV1> for Usage {
    fn from(usage: UsageV1) -> Self {
        let UsageV1 { input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens } = usage;
        let known = |tokens| (tokens > 0).then_some(tokens);
        Self {
            input_tokens: known(input_tokens),
            output_tokens: known(output_tokens),
            cache_read_tokens: known(cache_read_tokens),
            cache_write_tokens: known(cache_write_tokens),
            reasoning_tokens: known(reasoning_tokens),
            total_tokens: None,
        }
    }
}

impl From<PartV1> for Part {
    fn from(part: PartV1) -> Self {
        match part {
            PartV1::Text(text) => Self::text(text),
            PartV1::Thought(text) => Self::thought(text),
            PartV1::ToolCall { id, name, arguments } => Self::tool_call(id, name, arguments),
            PartV1::ToolResult { call_id, content } => Self::tool_result(call_id, content),
            PartV1::Media { media_type, blob } => Self::media(media_type, blob),
        }
    }
}

impl From<BodyV1> for AgentBody {
    fn from(body: BodyV1) -> Self {
        match body {
            BodyV1::SessionStarted(session) => Self::SessionStarted(session.into()),
            BodyV1::TurnStarted(turn) => Self::TurnStarted(turn.into()),
            BodyV1::TurnPut(turn) => Self::TurnPut(turn.into()),
            BodyV1::StepStarted(step) => Self::StepStarted(step.into()),
            BodyV1::StepPut(step) => Self::StepPut(step.into()),
            BodyV1::MessageAppended(message) => Self::MessageAppended(message.into()),
            BodyV1::EvalAdded(eval) => Self::EvalAdded(eval.into()),
            BodyV1::VarsSnapshotted(vars) => Self::VarsSnapshotted(vars),
            BodyV1::SessionCompacted { vars, boundary, message } => {
                Self::SessionCompacted { vars, boundary, message: message.into() }
            }
            BodyV1::StopRequested => Self::StopRequested,
            BodyV1::Stopped => Self::Stopped,
            BodyV1::SessionErrored(failure) => Self::SessionErrored(failure.into()),
            BodyV1::Custom { kind, json } => Self::Custom { kind, json },
        }
    }
}
