//! Which of an agent's transients make a stream, and which events end it.
//!
//! A step has up to three streams: the text of the language model, standard output, standard error. A stream ends with
//! the event that holds what it announced, or after which nothing can hold it any more. [`AgentTransient`] has the
//! table.

use crate::agent::body::{AgentBody, AgentTransient, OutputStream};
use crate::agent::id::{StepId, TurnId};
use crate::agent::message::Role;

const TEXT: &str = "text";
const STDOUT: &str = "stdout";
const STDERR: &str = "stderr";

pub(super) fn key(transient: &AgentTransient) -> Option<String> {
    let (turn, step, kind) = match transient {
        AgentTransient::TokenDelta { turn, step, .. } => (turn, step, TEXT),
        AgentTransient::OutputChunk { turn, step, stream: OutputStream::Stdout, .. } => (turn, step, STDOUT),
        AgentTransient::OutputChunk { turn, step, stream: OutputStream::Stderr, .. } => (turn, step, STDERR),
        AgentTransient::Other { .. } => return None,
    };
    Some(format!("{turn}/{step}/{kind}"))
}

pub(super) fn bytes(transient: &AgentTransient) -> usize {
    match transient {
        AgentTransient::TokenDelta { text, .. } | AgentTransient::OutputChunk { text, .. } => text.len(),
        AgentTransient::Other { json, .. } => json.as_str().len(),
    }
}

pub(super) fn ends(body: &AgentBody, key: &str) -> bool {
    let mut parts = key.split('/');
    let mut number = || parts.next().and_then(|part| part.parse().ok());
    let (Some(turn), Some(step)) = (number().map(TurnId::new), number().map(StepId::new)) else { return false };
    let is_text = parts.next() == Some(TEXT);
    // A step's number is its own within the session, so a turn that is named beside it says nothing more.
    let is_named = |named_turn: Option<TurnId>, named_step: Option<StepId>| match (named_turn, named_step) {
        (_, Some(named)) => named == step,
        (Some(named), None) => named == turn,
        (None, None) => true,
    };
    match body {
        AgentBody::MessageAppended(message) => {
            is_text && message.role == Role::Assistant && is_named(message.turn, message.step)
        }
        AgentBody::EvalAdded(eval) => !is_text && is_named(eval.turn, eval.step),
        AgentBody::StepPut(put) => !put.is_running() && put.id == step,
        AgentBody::TurnPut(put) => !put.is_running() && put.id == turn,
        AgentBody::Stopped | AgentBody::SessionErrored(_) => true,
        AgentBody::SessionStarted(_)
        | AgentBody::TurnStarted(_)
        | AgentBody::StepStarted(_)
        | AgentBody::VarsSnapshotted(_)
        | AgentBody::SessionCompacted { .. }
        | AgentBody::StopRequested
        | AgentBody::Custom { .. }
        | AgentBody::TurnQueued { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{Eval, Failure, Message, SessionInfo, Step, StepStatus, Turn, TurnStatus};
    use crate::content::Json;

    const TURN: TurnId = TurnId::new(3);
    const STEP: StepId = StepId::new(7);

    /// Which of a step's streams an event ends: text, standard output, standard error.
    fn ended(body: &AgentBody) -> [bool; 3] {
        let output = |stream| AgentTransient::OutputChunk { turn: TURN, step: STEP, stream, text: "out".to_owned() };
        let delta = AgentTransient::TokenDelta { turn: TURN, step: STEP, text: "a".to_owned() };
        [delta, output(OutputStream::Stdout), output(OutputStream::Stderr)]
            .map(|transient| ends(body, &key(&transient).unwrap()))
    }

    #[test]
    fn each_event_ends_the_streams_that_the_table_names() {
        let (text, output, all, none) =
            ([true, false, false], [false, true, true], [true, true, true], [false, false, false]);
        let said = |turn, step| AgentBody::MessageAppended(Message { turn, step, ..Message::assistant("all of it") });
        let eval = |turn, step| AgentBody::EvalAdded(Eval { turn, step, ..Eval::default() });
        let (other_turn, other_step) = (Some(TurnId::new(4)), Some(StepId::new(8)));
        for (turn, step, is_named) in [
            (None, None, true),
            (Some(TURN), None, true),
            (Some(TURN), Some(STEP), true),
            (None, Some(STEP), true),
            (other_turn, None, false),
            (Some(TURN), other_step, false),
            (None, other_step, false),
        ] {
            assert_eq!(ended(&said(turn, step)), if is_named { text } else { none }, "{turn:?} {step:?}");
            assert_eq!(ended(&eval(turn, step)), if is_named { output } else { none }, "{turn:?} {step:?}");
        }
        let step = |id, status| AgentBody::StepPut(Step { id, status, ..Step::of_turn(TURN) });
        assert_eq!(ended(&step(STEP, StepStatus::Done)), all);
        assert_eq!(ended(&step(STEP, StepStatus::Error)), all);
        assert_eq!(ended(&step(STEP, StepStatus::Running)), none);
        assert_eq!(ended(&step(StepId::new(8), StepStatus::Done)), none);
        let turn = |id, status| AgentBody::TurnPut(Turn { id, status, ..Turn::default() });
        assert_eq!(ended(&turn(TURN, TurnStatus::Timeout)), all);
        assert_eq!(ended(&turn(TURN, TurnStatus::Running)), none);
        assert_eq!(ended(&turn(TurnId::new(4), TurnStatus::Final)), none);
        assert_eq!(ended(&AgentBody::Stopped), all);
        assert_eq!(ended(&AgentBody::SessionErrored(Failure::default())), all);
        for body in [
            AgentBody::SessionStarted(SessionInfo::default()),
            AgentBody::TurnStarted(Turn::default()),
            AgentBody::StepStarted(Step::of_turn(TURN)),
            AgentBody::MessageAppended(Message::user("more")),
            AgentBody::MessageAppended(Message::tool_result("call_1", "42")),
            AgentBody::compacted(None, Message::assistant("a summary")),
            AgentBody::StopRequested,
            AgentBody::Custom { kind: "note".to_owned(), json: Json::default() },
            AgentBody::TurnQueued { message: crate::agent::MessageId::new(1) },
        ] {
            assert_eq!(ended(&body), none, "{}", body.event_type());
        }
    }

    #[test]
    fn what_the_host_names_itself_is_of_no_stream() {
        assert_eq!(key(&AgentTransient::Other { kind: "typing".to_owned(), json: Json::default() }), None);
    }
}
