//! Tells builds apart whose items have different bytes.

use std::sync::LazyLock;

use serde::Serialize;

use crate::agent::entity::{Eval, EvalStatus, Failure, Step, StepStatus, Turn, TurnStatus, Usage};
use crate::agent::id::{EvalId, MessageId, StepId, TurnId};
use crate::agent::message::{Message, MessageOrigin, Role};
use crate::agent::part::{Media, MediaSource, Part, PartBody, PartOrigin, ResultPart, ToolCall, ToolKind, ToolResult};
use crate::codec;
use crate::content::{Content, Json};
use crate::id::{BlobEncoding, BlobKind, BlobRef, Digest, EventId, Timestamp};
use crate::model::encode_view;

/// Differs between builds whose items have different bytes: the beginning of the digest of a sample. A chunk is decoded
/// long after the view was accepted, so a view of another layout must be refused before.
pub(super) static LAYOUT: LazyLock<[u8; 8]> = LazyLock::new(|| {
    let digest = encode_view(&Sample::new()).map(|bytes| *codec::digest(&bytes).as_bytes());
    digest.and_then(|digest| digest.first_chunk().copied()).unwrap_or_default()
});

/// An item of each kind, with every field set and every variant. The fields of one struct differ from each other, so
/// that two that change their places show, too. No `..` here, so that a new field must be set.
#[derive(Serialize)]
struct Sample {
    message: Message,
    turn: Turn,
    step: Step,
    eval: Eval,
    roles: [Role; 7],
    turn_statuses: [TurnStatus; 7],
    step_statuses: [StepStatus; 4],
    eval_statuses: [EvalStatus; 6],
    blob_kinds: [BlobKind; 3],
}

impl Sample {
    fn new() -> Self {
        let text = |text: &str| Some(text.to_owned());
        let content = |text: &str| Some(Content::from(text));
        let number = |number: u64| Some(u64::MAX - number);
        let at = |micros| Some(Timestamp::from_micros(micros));
        let failure = || Some(Failure { kind: "kind".to_owned(), message: "message".into(), extra: Json::default() });
        let usage = Some(Usage {
            input_tokens: number(1),
            output_tokens: number(2),
            cache_read_tokens: number(3),
            cache_write_tokens: number(4),
            reasoning_tokens: number(5),
            total_tokens: number(6),
        });
        let origin = PartOrigin { id: text("id"), signature: content("signature"), verbatim: content("verbatim") };
        let part = |body| Part { body, origin: Some(Box::new(origin.clone())) };
        Self {
            message: Message {
                id: MessageId::new(1),
                event_id: EventId::new(2),
                role: Role::default(),
                name: text("name"),
                turn: Some(TurnId::new(3)),
                step: Some(StepId::new(4)),
                at: at(5),
                parts: part_bodies().map(part).collect(),
                parent: Some(MessageId::new(6)),
                agent: text("agent"),
                origin: Some(Box::new(MessageOrigin {
                    id: text("id"),
                    model: text("model"),
                    stop_reason: text("stop_reason"),
                    usage,
                    verbatim: content("verbatim"),
                })),
                extra: Json::default(),
            },
            turn: Turn {
                id: TurnId::new(1),
                status: TurnStatus::default(),
                started: at(2),
                ended: at(3),
                user_message: Some(MessageId::new(4)),
                final_value: content("final_value"),
                preview: content("preview"),
                usage,
                cost_millionths: number(5),
                error: failure(),
                extra: Json::default(),
            },
            step: Step {
                id: StepId::new(1),
                turn: Some(TurnId::new(2)),
                status: StepStatus::default(),
                started: at(3),
                ended: at(4),
                request: content("request"),
                response_summary: content("response_summary"),
                assistant_message: Some(MessageId::new(5)),
                usage,
                error: failure(),
                extra: Json::default(),
            },
            eval: Eval {
                id: EvalId::new(1),
                turn: Some(TurnId::new(2)),
                step: Some(StepId::new(3)),
                index: u32::MAX,
                tool_name: text("tool_name"),
                call_id: text("call_id"),
                code: content("code"),
                status: EvalStatus::default(),
                result: content("result"),
                preview: content("preview"),
                stdout: content("stdout"),
                stderr: content("stderr"),
                exit_code: Some(i32::MIN),
                session: text("session"),
                error: failure(),
                at: at(4),
                elapsed_micros: number(5),
                usage,
                extra: Json::default(),
            },
            roles: [
                Role::System,
                Role::User,
                Role::Assistant,
                Role::Tool,
                Role::Observation,
                Role::Other("role".to_owned()),
                Role::Developer,
            ],
            turn_statuses: [
                TurnStatus::Running,
                TurnStatus::Final,
                TurnStatus::Error,
                TurnStatus::Timeout,
                TurnStatus::BudgetExceeded,
                TurnStatus::Cancelled,
                TurnStatus::Interrupted,
            ],
            step_statuses: [StepStatus::Running, StepStatus::Done, StepStatus::Error, StepStatus::Interrupted],
            eval_statuses: [
                EvalStatus::Ok,
                EvalStatus::Final,
                EvalStatus::Error,
                EvalStatus::Denied,
                EvalStatus::Cancelled,
                EvalStatus::Timeout,
            ],
            blob_kinds: [BlobKind::Bytes, BlobKind::Text, BlobKind::Json],
        }
    }
}

/// Every part of a message for the sample: every tool kind, part of a result, and source of media.
fn part_bodies() -> impl Iterator<Item = PartBody> {
    let blob = BlobRef {
        digest: Digest::from_bytes(std::array::from_fn(|place| place as u8)),
        bytes: u64::MAX,
        kind: BlobKind::Bytes,
        encoding: BlobEncoding::Plain,
    };
    let media = |source| Media { source, media_type: Some("media_type".to_owned()), name: Some("name".to_owned()) };
    let call = |kind| {
        PartBody::ToolCall(ToolCall { id: "id".to_owned(), name: "name".to_owned(), arguments: "{}".into(), kind })
    };
    let sources = [
        MediaSource::Blob(blob),
        MediaSource::Url("url".into()),
        MediaSource::FileId("file_id".to_owned()),
        MediaSource::Base64("base64".into()),
    ];
    let kinds = [ToolKind::Function, ToolKind::Custom, ToolKind::Provider, ToolKind::Other("kind".to_owned())];
    let result = ToolResult {
        call_id: "call_id".to_owned(),
        name: Some("name".to_owned()),
        parts: vec![
            ResultPart::Text("text".into()),
            ResultPart::Json("json".into()),
            ResultPart::Media(media(MediaSource::Blob(blob))),
            ResultPart::Other { kind: "kind".to_owned(), json: "json".into() },
        ],
        is_error: Some(true),
    };
    let others = [
        PartBody::Text("text".into()),
        PartBody::Thought(blob.into()),
        PartBody::ToolResult(result),
        PartBody::Refusal("refusal".into()),
        PartBody::RedactedThought("redacted_thought".into()),
        PartBody::Other { kind: "kind".to_owned(), json: "json".into() },
    ];
    let media = sources.map(|source| PartBody::Media(media(source)));
    others.into_iter().chain(media).chain(kinds.map(call))
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::Value;

    use super::*;

    #[test]
    fn every_field_of_the_sample_is_set_and_differs_from_those_beside_it() {
        fn check(value: &Value) {
            match value {
                Value::Null => panic!("a field is not set"),
                Value::Array(items) => {
                    assert!(!items.is_empty(), "a list without an item");
                    items.iter().for_each(check);
                }
                Value::Object(members) => {
                    let values: Vec<_> = members.values().map(Value::to_string).collect();
                    for (place, value) in values.iter().enumerate() {
                        assert!(!values[..place].contains(value), "two fields are {value}");
                    }
                    members.values().for_each(check);
                }
                _ => {}
            }
        }
        check(&serde_json::to_value(Sample::new()).unwrap());
    }

    /// Checks that a list has every variant of its type: serde names them all where it finds another one.
    fn has_every_variant<T: Serialize + DeserializeOwned>(values: &[T]) {
        let all = serde_json::from_str::<T>(r#"{"no such variant":null}"#).map(drop).unwrap_err().to_string();
        let names: Vec<_> = all.split('`').skip(3).step_by(2).collect();
        assert!(!names.is_empty(), "{all}");
        let named: Vec<Value> = values.iter().map(|value| serde_json::to_value(value).unwrap()).collect();
        let is_named = |name: &&str| named.iter().any(|value| value.get(name).is_some() || value == name);
        assert_eq!(names.iter().filter(|name| !is_named(name)).collect::<Vec<_>>(), [&""; 0]);
    }

    #[test]
    fn the_sample_has_every_variant() {
        let sample = Sample::new();
        let bodies: Vec<_> = sample.message.parts.iter().map(|part| part.body.clone()).collect();
        let (mut sources, mut results, mut kinds) = (Vec::new(), Vec::new(), Vec::new());
        for body in &bodies {
            match body {
                PartBody::Media(media) => sources.push(media.source.clone()),
                PartBody::ToolResult(result) => results.extend(result.parts.clone()),
                PartBody::ToolCall(call) => kinds.push(call.kind.clone()),
                _ => {}
            }
        }
        has_every_variant(&bodies);
        has_every_variant(&sources);
        has_every_variant(&results);
        has_every_variant(&kinds);
        has_every_variant(&sample.roles);
        has_every_variant(&sample.turn_statuses);
        has_every_variant(&sample.step_statuses);
        has_every_variant(&sample.eval_statuses);
        has_every_variant(&sample.blob_kinds);
        has_every_variant(&[BlobEncoding::Plain]);
    }
}
