//! What is left of a body that was redacted: ids, times, numbers, and what belongs to what. Every text is gone that a
//! person, a language model or a tool has written. Every struct is taken apart without `..`, so that a new field must
//! be considered here.

use std::collections::BTreeMap;

use super::body::AgentBody;
use super::entity::{Eval, Failure, SessionInfo, Step, Turn};
use super::message::{Message, MessageOrigin};
use super::part::{Part, PartBody, ResultPart, ToolCall, ToolKind, ToolResult};
use crate::content::{Content, Json};

/// Stands for a text that is gone. Providers take no empty text.
const REDACTED: &str = "[redacted]";
/// Stands for JSON that is gone.
const NO_MEMBERS: &str = "{}";

impl AgentBody {
    /// The same event, with nothing in it that was said.
    pub(super) fn redacted(&self) -> Self {
        match self {
            Self::SessionStarted(session) => Self::SessionStarted(of_session(session)),
            Self::TurnStarted(turn) => Self::TurnStarted(of_turn(turn)),
            Self::TurnPut(turn) => Self::TurnPut(of_turn(turn)),
            Self::StepStarted(step) => Self::StepStarted(of_step(step)),
            Self::StepPut(step) => Self::StepPut(of_step(step)),
            Self::MessageAppended(message) => Self::MessageAppended(of_message(message)),
            Self::EvalAdded(eval) => Self::EvalAdded(of_eval(eval)),
            Self::VarsSnapshotted(_) => Self::VarsSnapshotted(NO_MEMBERS.into()),
            Self::SessionCompacted { vars, boundary, message } => Self::SessionCompacted {
                vars: vars.as_ref().map(|_| NO_MEMBERS.into()),
                boundary: *boundary,
                message: of_message(message),
            },
            Self::StopRequested => Self::StopRequested,
            Self::Stopped => Self::Stopped,
            Self::SessionErrored(failure) => Self::SessionErrored(of_failure(failure)),
            Self::TurnQueued { message } => Self::TurnQueued { message: *message },
            Self::Custom { kind, json: _ } => Self::Custom { kind: kind.clone(), json: Json::default() },
        }
    }
}

fn text(content: Option<&Content>) -> Option<Content> {
    content.map(|_| REDACTED.into())
}

fn of_failure(failure: &Failure) -> Failure {
    let Failure { kind, message: _, extra: _ } = failure;
    Failure::new(kind.clone(), REDACTED)
}

fn of_session(session: &SessionInfo) -> SessionInfo {
    let SessionInfo { id, status, created, labels: _, provider, model, instructions, tools, parent, extra: _ } =
        session;
    SessionInfo {
        id: id.clone(),
        status: *status,
        created: *created,
        labels: BTreeMap::new(),
        provider: provider.clone(),
        model: model.clone(),
        instructions: text(instructions.as_ref()),
        tools: tools.as_ref().map(|_| "[]".into()),
        parent: parent.clone(),
        extra: Json::default(),
    }
}

fn of_turn(turn: &Turn) -> Turn {
    let Turn {
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
        extra: _,
    } = turn;
    Turn {
        id: *id,
        status: *status,
        started: *started,
        ended: *ended,
        user_message: *user_message,
        final_value: text(final_value.as_ref()),
        preview: text(preview.as_ref()),
        usage: *usage,
        cost_millionths: *cost_millionths,
        error: error.as_ref().map(of_failure),
        extra: Json::default(),
    }
}

fn of_step(step: &Step) -> Step {
    let Step { id, turn, status, started, ended, request, response_summary, assistant_message, usage, error, extra: _ } =
        step;
    Step {
        id: *id,
        turn: *turn,
        status: *status,
        started: *started,
        ended: *ended,
        request: text(request.as_ref()),
        response_summary: text(response_summary.as_ref()),
        assistant_message: *assistant_message,
        usage: *usage,
        error: error.as_ref().map(of_failure),
        extra: Json::default(),
    }
}

fn of_message(message: &Message) -> Message {
    let Message { id, event_id, role, name: _, turn, step, at, parts, parent, agent, origin, extra: _ } = message;
    let mut parts: Vec<_> = parts.iter().filter_map(of_part).collect();
    if parts.is_empty() {
        parts.push(Part::text(REDACTED));
    }
    Message {
        id: *id,
        event_id: *event_id,
        role: role.clone(),
        name: None,
        turn: *turn,
        step: *step,
        at: *at,
        parts,
        parent: *parent,
        agent: agent.clone(),
        origin: origin.as_deref().map(of_origin).map(Box::new),
        extra: Json::default(),
    }
}

fn of_origin(origin: &MessageOrigin) -> MessageOrigin {
    let MessageOrigin { id: _, model, stop_reason, usage, verbatim: _ } = origin;
    MessageOrigin { id: None, model: model.clone(), stop_reason: stop_reason.clone(), usage: *usage, verbatim: None }
}

/// `None` for a thought: a provider takes one back only with its signature, which is of the thought that is gone.
fn of_part(part: &Part) -> Option<Part> {
    let Part { body, origin: _ } = part;
    let body = match body {
        PartBody::Thought(_) | PartBody::RedactedThought(_) => return None,
        PartBody::Refusal(_) => PartBody::Refusal(REDACTED.into()),
        // The id and the name stay, so that the call has its result and the result its call.
        PartBody::ToolCall(ToolCall { id, name, arguments: _, kind }) => {
            let arguments = if *kind == ToolKind::Custom { REDACTED } else { NO_MEMBERS };
            let (id, name, kind) = (id.clone(), name.clone(), kind.clone());
            PartBody::ToolCall(ToolCall { id, name, arguments: arguments.into(), kind })
        }
        PartBody::ToolResult(ToolResult { call_id, name, parts: _, is_error }) => PartBody::ToolResult(ToolResult {
            call_id: call_id.clone(),
            name: name.clone(),
            parts: vec![ResultPart::Text(REDACTED.into())],
            is_error: *is_error,
        }),
        PartBody::Text(_) | PartBody::Media(_) | PartBody::Other { kind: _, json: _ } => {
            PartBody::Text(REDACTED.into())
        }
    };
    Some(Part { body, origin: None })
}

fn of_eval(eval: &Eval) -> Eval {
    let Eval {
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
        exit_code,
        session,
        error,
        at,
        elapsed_micros,
        usage,
        extra: _,
    } = eval;
    Eval {
        id: *id,
        turn: *turn,
        step: *step,
        index: *index,
        tool_name: tool_name.clone(),
        call_id: call_id.clone(),
        code: text(code.as_ref()),
        status: *status,
        result: text(result.as_ref()),
        preview: text(preview.as_ref()),
        stdout: text(stdout.as_ref()),
        stderr: text(stderr.as_ref()),
        exit_code: *exit_code,
        session: session.clone(),
        error: error.as_ref().map(of_failure),
        at: *at,
        elapsed_micros: *elapsed_micros,
        usage: *usage,
        extra: Json::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Agent;
    use crate::agent::tests::full_bodies;
    use crate::id::EventId;
    use crate::model::SessionModel;

    #[test]
    fn what_is_left_of_every_body_names_no_blob_and_counts_as_the_body_did() {
        for body in full_bodies() {
            let redacted = Agent::redact(&body).unwrap();
            assert_eq!(redacted.event_type(), body.event_type());
            Agent::check(&redacted).unwrap();
            let mut blobs = 0;
            Agent::blob_refs(&redacted, &mut |_| blobs += 1);
            assert_eq!(blobs, 0, "{redacted:?}");
            assert_eq!(Agent::redact(&redacted).unwrap(), redacted, "once more");
            let (mut one, mut other) = (body.clone(), redacted);
            let high = || crate::agent::Counters { message: 1000, turn: 1000, step: 1000, eval: 1000 };
            let (mut before, mut after) = (high(), high());
            let stamped = [(&mut before, &mut one), (&mut after, &mut other)]
                .map(|(counters, body)| Agent::stamp(counters, EventId::new(5000), body));
            assert_eq!((&stamped[0], before), (&stamped[1], after), "{body:?}");
        }
    }

    #[test]
    fn a_redacted_call_still_has_its_result() {
        let call = ToolCall {
            id: "c1".to_owned(),
            name: "search".to_owned(),
            arguments: "secret".into(),
            ..Default::default()
        };
        let thought = Part { body: PartBody::Thought("secret".into()), origin: None };
        let asked = Part { body: PartBody::ToolCall(call), origin: None };
        let AgentBody::MessageAppended(message) =
            AgentBody::MessageAppended(Message::answer([thought, asked])).redacted()
        else {
            panic!("of the same type")
        };
        let [Part { body: PartBody::ToolCall(call), origin: None }] = message.parts.as_slice() else {
            panic!("{message:?}")
        };
        assert_eq!((call.id.as_str(), call.name.as_str(), call.arguments.as_inline()), ("c1", "search", Some("{}")));
        let result = of_message(&Message::tool_result("c1", "secret"));
        let PartBody::ToolResult(result) = &result.parts[0].body else { panic!("{result:?}") };
        assert_eq!((result.call_id.as_str(), &result.parts), ("c1", &vec![ResultPart::Text("[redacted]".into())]));
    }
}
