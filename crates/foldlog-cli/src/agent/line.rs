//! An event on one line.

use foldlog::agent::{
    AgentBody, Eval, Failure, Media, MediaSource, Message, PartBody, ResultPart, SessionInfo, Step, ToolResult, Turn,
};
use foldlog::{BlobRef, Content, Described, OwnBody, Redacted, Timestamp};

use super::numbers::{cost, name_of, tokens};
use crate::terminal::{bytes, duration, escaped, shortened};

/// How many characters of a text stand on a line.
const CHARACTERS_MAX: usize = 200;

/// What a body says, on one line.
pub(crate) fn line_of(body: &AgentBody) -> String {
    match body {
        AgentBody::SessionStarted(session) => of_session(session),
        AgentBody::TurnStarted(turn) | AgentBody::TurnPut(turn) => of_turn(turn),
        AgentBody::StepStarted(step) | AgentBody::StepPut(step) => of_step(step),
        AgentBody::MessageAppended(message) => of_message(message),
        AgentBody::EvalAdded(eval) => of_eval(eval),
        AgentBody::VarsSnapshotted(vars) => content_on_a_line(vars),
        AgentBody::SessionCompacted { boundary, message, .. } => {
            format!("up to event {boundary}: {}", of_message(message))
        }
        AgentBody::SessionErrored(failure) => of_failure(failure),
        AgentBody::Custom { kind, json } => format!("{} {}", text(kind), text(json.as_str())),
        _ => String::new(),
    }
}

/// What an event of foldlog's own says, on one line.
pub(crate) fn own_line_of(body: &OwnBody) -> String {
    match body {
        OwnBody::Described(Described { title, labels, .. }) => {
            let title = title.as_deref().map(|title| match title {
                "" => "no title".to_owned(),
                title => format!("title {}", text(title)),
            });
            let labels = labels.iter().map(|(name, value)| match value {
                Some(value) => format!("{}={}", text(name), text(value)),
                None => format!("no {}", text(name)),
            });
            title.into_iter().chain(labels).collect::<Vec<_>>().join(", ")
        }
        OwnBody::Redacted(Redacted { events, reason, .. }) => {
            let ids: Vec<_> = events.iter().take(10).map(|redacted| redacted.event.to_string()).collect();
            let more = if events.len() > ids.len() {
                format!(" and {} more", events.len() - ids.len())
            } else {
                String::new()
            };
            format!("events {}{more}: {}", ids.join(", "), text(reason))
        }
        _ => String::new(),
    }
}

/// A content, or which blob it is.
pub(crate) fn content_on_a_line(content: &Content) -> String {
    match content {
        Content::Inline(inline) => text(inline),
        Content::Blob(blob) => of_blob(blob, &name_of(&blob.kind)),
    }
}

/// Where the bytes of a media are.
pub(crate) fn media_on_a_line(media: &Media) -> String {
    let what = media.media_type.as_deref().map_or_else(|| "media".to_owned(), text);
    let source = match &media.source {
        MediaSource::Blob(blob) => of_blob(blob, &what),
        MediaSource::Url(url) => format!("[{what}] {}", content_on_a_line(url)),
        MediaSource::FileId(id) => format!("[{what}, file {}]", text(id)),
        MediaSource::Base64(content) => match content {
            Content::Inline(inline) => format!("[{what}, {} of base64]", bytes(inline.len() as u64)),
            Content::Blob(blob) => of_blob(blob, &format!("{what} as base64")),
        },
        _ => format!("[{what}]"),
    };
    match &media.name {
        Some(name) => format!("{} {source}", text(name)),
        None => source,
    }
}

fn of_blob(blob: &BlobRef, what: &str) -> String {
    format!("[{what}, {}, blob {}]", bytes(blob.bytes), blob.digest)
}

/// The beginning of a text.
fn text(text: &str) -> String {
    // Shortened first: a text may have millions of characters.
    escaped(&shortened(text, CHARACTERS_MAX)).into_owned()
}

fn of_session(session: &SessionInfo) -> String {
    let named = |what: &str, value: &Option<String>| value.as_deref().map(|value| format!("{what} {}", text(value)));
    let mut parts: Vec<_> = [
        named("id", &session.id),
        named("provider", &session.provider),
        named("model", &session.model),
        named("parent", &session.parent),
    ]
    .into_iter()
    .flatten()
    .collect();
    parts.extend(session.labels.iter().map(|(name, value)| format!("{}={}", text(name), text(value))));
    parts.join(", ")
}

/// How long something took that began and ended.
pub(crate) fn span(started: Option<Timestamp>, ended: Option<Timestamp>) -> Option<String> {
    let micros = ended?.as_micros().checked_sub(started?.as_micros())?;
    u64::try_from(micros).ok().map(duration)
}

fn of_turn(turn: &Turn) -> String {
    let parts = [
        Some(format!("turn {} {}", turn.id, name_of(&turn.status))),
        span(turn.started, turn.ended),
        turn.usage.as_ref().and_then(tokens),
        turn.cost_millionths.map(cost),
        turn.error.as_ref().map(of_failure),
        turn.preview.as_ref().or(turn.final_value.as_ref()).map(content_on_a_line),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn of_step(step: &Step) -> String {
    let of_turn = step.turn.map_or_else(String::new, |turn| format!(" of turn {turn}"));
    let parts = [
        Some(format!("step {}{of_turn} {}", step.id, name_of(&step.status))),
        span(step.started, step.ended),
        step.usage.as_ref().and_then(tokens),
        step.error.as_ref().map(of_failure),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn of_message(message: &Message) -> String {
    let parts = message.parts.iter().map(|part| match &part.body {
        PartBody::Text(content) => content_on_a_line(content),
        PartBody::Thought(content) => format!("(thought) {}", content_on_a_line(content)),
        PartBody::RedactedThought(_) => "(redacted thought)".to_owned(),
        PartBody::Refusal(content) => format!("(refusal) {}", content_on_a_line(content)),
        PartBody::ToolCall(call) => format!("calls {} {}", text(&call.name), content_on_a_line(&call.arguments)),
        PartBody::ToolResult(result) => of_result(result),
        PartBody::Media(media) => media_on_a_line(media),
        PartBody::Other { kind, json } => format!("({}) {}", text(kind), content_on_a_line(json)),
        _ => "(a part of a newer build)".to_owned(),
    });
    let parts = parts.collect::<Vec<_>>().join(" | ");
    format!("{}: {}", name_of(&message.role), shortened(&parts, 4 * CHARACTERS_MAX))
}

fn of_result(result: &ToolResult) -> String {
    let parts = result.parts.iter().map(|part| match part {
        ResultPart::Text(content) | ResultPart::Json(content) => content_on_a_line(content),
        ResultPart::Media(media) => media_on_a_line(media),
        ResultPart::Other { kind, json } => format!("({}) {}", text(kind), content_on_a_line(json)),
        _ => "(a part of a newer build)".to_owned(),
    });
    let failed = if result.is_error == Some(true) { " failed" } else { "" };
    format!("result of {}{failed}: {}", text(&result.call_id), parts.collect::<Vec<_>>().join(" | "))
}

fn of_eval(eval: &Eval) -> String {
    let name = eval.tool_name.as_deref().map_or_else(|| format!("eval {}", eval.id), text);
    let parts = [
        Some(format!("{name} {}", name_of(&eval.status))),
        eval.elapsed_micros.map(duration),
        eval.exit_code.map(|code| format!("exit code {code}")),
        eval.error.as_ref().map(of_failure),
        eval.preview.as_ref().or(eval.result.as_ref()).or(eval.stdout.as_ref()).map(content_on_a_line),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn of_failure(failure: &Failure) -> String {
    format!("{}: {}", text(&failure.kind), content_on_a_line(&failure.message))
}
