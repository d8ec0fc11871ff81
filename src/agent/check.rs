//! Refuses bodies that must never be persisted, since the fold and its readers rely on what is checked here.

use crate::agent::body::AgentBody;
use crate::agent::entity::{Eval, Failure, SessionInfo, Step, Turn};
use crate::agent::id::ID_MAX;
use crate::agent::message::Message;
use crate::content::Json;

impl AgentBody {
    pub(super) fn check(&self) -> Result<(), String> {
        match self {
            Self::SessionStarted(session) => check_session(session),
            Self::TurnStarted(turn) => check_turn(turn),
            Self::TurnPut(turn) => check_put_id("turn", turn.id.get()).and_then(|()| check_turn(turn)),
            Self::StepStarted(step) => check_step(step),
            Self::StepPut(step) => check_put_id("step", step.id.get()).and_then(|()| check_step(step)),
            Self::MessageAppended(message) | Self::SessionCompacted { message, .. } => check_message(message),
            Self::EvalAdded(eval) => check_eval(eval),
            Self::SessionErrored(failure) => check_failure("session error", failure),
            Self::Custom { kind, .. } => check_kind(kind),
            Self::VarsSnapshotted(_) | Self::StopRequested | Self::Stopped | Self::TurnQueued { message: _ } => Ok(()),
        }
    }
}

fn check_put_id(what: &str, id: u64) -> Result<(), String> {
    if (1..=ID_MAX).contains(&id) {
        return Ok(());
    }
    Err(format!("{what} put names id {id}, limit is 1 to {ID_MAX}"))
}

fn check_kind(kind: &str) -> Result<(), String> {
    let limit = AgentBody::KIND_BYTES_MAX;
    if (1..=limit).contains(&kind.len()) {
        return Ok(());
    }
    Err(format!("kind of a custom event is {} bytes, limit is 1 to {limit}", kind.len()))
}

fn check_session(session: &SessionInfo) -> Result<(), String> {
    check_extra("session", &session.extra)
}

fn check_turn(turn: &Turn) -> Result<(), String> {
    check_extra("turn", &turn.extra)?;
    turn.error.iter().try_for_each(|failure| check_failure("turn error", failure))
}

fn check_step(step: &Step) -> Result<(), String> {
    check_extra("step", &step.extra)?;
    step.error.iter().try_for_each(|failure| check_failure("step error", failure))
}

fn check_eval(eval: &Eval) -> Result<(), String> {
    check_extra("eval", &eval.extra)?;
    eval.error.iter().try_for_each(|failure| check_failure("eval error", failure))
}

fn check_message(message: &Message) -> Result<(), String> {
    check_extra("message", &message.extra)
}

fn check_failure(what: &str, failure: &Failure) -> Result<(), String> {
    check_extra(what, &failure.extra)
}

fn check_extra(what: &str, extra: &Json) -> Result<(), String> {
    // Canonical text has no space before its first byte.
    if extra.as_str().starts_with('{') {
        return Ok(());
    }
    let start: String = extra.as_str().chars().take(20).collect();
    Err(format!("extra of a {what} is {start}, wanted a JSON object"))
}
