//! Which blobs a body references. Every struct is taken apart without `..`, so that a new field must be considered
//! here.

use crate::agent::body::AgentBody;
use crate::agent::entity::{Eval, Failure, SessionInfo, Step, Turn};
use crate::agent::message::{Message, MessageOrigin};
use crate::agent::part::{Media, MediaSource, Part, PartBody, PartOrigin, ResultPart, ToolCall, ToolResult};
use crate::content::Content;
use crate::id::BlobRef;

type Each<'a> = &'a mut dyn FnMut(&BlobRef);

impl AgentBody {
    pub(super) fn blob_refs(&self, each: Each<'_>) {
        match self {
            Self::SessionStarted(session) => of_session(session, each),
            Self::TurnStarted(turn) | Self::TurnPut(turn) => of_turn(turn, each),
            Self::StepStarted(step) | Self::StepPut(step) => of_step(step, each),
            Self::MessageAppended(message) => of_message(message, each),
            Self::EvalAdded(eval) => of_eval(eval, each),
            Self::VarsSnapshotted(vars) => of_content(vars, each),
            Self::SessionCompacted { vars, boundary: _, message } => {
                of_contents([vars], each);
                of_message(message, each);
            }
            Self::SessionErrored(failure) => of_failure(failure, each),
            Self::StopRequested
            | Self::Stopped
            | Self::Custom { kind: _, json: _ }
            | Self::TurnQueued { message: _ } => {}
        }
    }
}

impl Message {
    /// Calls `each` with every blob that the message references.
    pub(super) fn blob_refs(&self, each: Each<'_>) {
        of_message(self, each);
    }
}

fn of_content(content: &Content, each: Each<'_>) {
    if let Some(blob) = content.as_blob() {
        each(blob);
    }
}

fn of_contents<const N: usize>(contents: [&Option<Content>; N], each: Each<'_>) {
    for blob in contents.into_iter().flatten().filter_map(Content::as_blob) {
        each(blob);
    }
}

fn of_failure(failure: &Failure, each: Each<'_>) {
    let Failure { kind: _, message, extra: _ } = failure;
    of_content(message, each);
}

fn of_session(session: &SessionInfo, each: Each<'_>) {
    let SessionInfo {
        id: _,
        status: _,
        created: _,
        labels: _,
        provider: _,
        model: _,
        instructions,
        tools,
        parent: _,
        extra: _,
    } = session;
    of_contents([instructions, tools], each);
}

fn of_turn(turn: &Turn, each: Each<'_>) {
    let Turn {
        id: _,
        status: _,
        started: _,
        ended: _,
        user_message: _,
        final_value,
        preview,
        usage: _,
        cost_millionths: _,
        error,
        extra: _,
    } = turn;
    of_contents([final_value, preview], each);
    error.iter().for_each(|failure| of_failure(failure, each));
}

fn of_step(step: &Step, each: Each<'_>) {
    let Step {
        id: _,
        turn: _,
        status: _,
        started: _,
        ended: _,
        request,
        response_summary,
        assistant_message: _,
        usage: _,
        error,
        extra: _,
    } = step;
    of_contents([request, response_summary], each);
    error.iter().for_each(|failure| of_failure(failure, each));
}

fn of_eval(eval: &Eval, each: Each<'_>) {
    let Eval {
        id: _,
        turn: _,
        step: _,
        index: _,
        tool_name: _,
        call_id: _,
        code,
        status: _,
        result,
        preview,
        stdout,
        stderr,
        exit_code: _,
        session: _,
        error,
        at: _,
        elapsed_micros: _,
        usage: _,
        extra: _,
    } = eval;
    of_contents([code, result, preview, stdout, stderr], each);
    error.iter().for_each(|failure| of_failure(failure, each));
}

fn of_message(message: &Message, each: Each<'_>) {
    let Message {
        id: _,
        event_id: _,
        role: _,
        name: _,
        turn: _,
        step: _,
        at: _,
        parts,
        parent: _,
        agent: _,
        origin,
        extra: _,
    } = message;
    parts.iter().for_each(|part| of_part(part, each));
    if let Some(MessageOrigin { id: _, model: _, stop_reason: _, usage: _, verbatim }) = origin.as_deref() {
        of_contents([verbatim], each);
    }
}

fn of_part(part: &Part, each: Each<'_>) {
    let Part { body, origin } = part;
    match body {
        PartBody::Text(content)
        | PartBody::Thought(content)
        | PartBody::RedactedThought(content)
        | PartBody::Refusal(content)
        | PartBody::Other { kind: _, json: content } => of_content(content, each),
        PartBody::ToolCall(ToolCall { id: _, name: _, arguments, kind: _ }) => of_content(arguments, each),
        PartBody::ToolResult(ToolResult { call_id: _, name: _, parts, is_error: _ }) => {
            parts.iter().for_each(|part| of_result_part(part, each));
        }
        PartBody::Media(media) => of_media(media, each),
    }
    if let Some(PartOrigin { id: _, signature, verbatim }) = origin.as_deref() {
        of_contents([signature, verbatim], each);
    }
}

fn of_result_part(part: &ResultPart, each: Each<'_>) {
    match part {
        ResultPart::Text(content) | ResultPart::Json(content) | ResultPart::Other { kind: _, json: content } => {
            of_content(content, each);
        }
        ResultPart::Media(media) => of_media(media, each),
    }
}

fn of_media(media: &Media, each: Each<'_>) {
    let Media { source, media_type: _, name: _ } = media;
    match source {
        MediaSource::Blob(blob) => each(blob),
        MediaSource::Url(content) | MediaSource::Base64(content) => of_content(content, each),
        MediaSource::FileId(_) => {}
    }
}
