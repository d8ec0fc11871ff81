//! The Anthropic messages interface: a converter for it, and its recorded conversation.

use foldlog::Content;
use foldlog::agent::{
    Media, MediaSource, Message, MessageOrigin, Part, PartBody, ResultPart, Role, ToolCall, ToolKind, ToolResult, Usage,
};

use crate::object::{Object, signature_of, text, with_origin};
use crate::{assert_same, entries, kept, made_here, unnoticed};

const RECORDED: &str = include_str!("../data/providers/anthropic_messages.json");

/// A message that the host sent, or an answer.
fn message_of(mut rest: Object) -> Message {
    let role: String = rest.take("role").unwrap();
    let parts = match rest.take::<String>("content") {
        Some(text) => vec![Part::text(text)],
        None => {
            rest.take::<Vec<Object>>("content").unwrap().into_iter().map(|block| block.into_part(part_of)).collect()
        }
    };
    let role = match role.as_str() {
        "assistant" => Role::Assistant,
        // It stays where it was said, while foldlog puts messages of `Role::System` before all others.
        "system" => Role::Other(role),
        // Results and what is said after them stay together.
        _ if parts.iter().any(|part| part.as_tool_result().is_some()) => Role::Tool,
        _ => Role::User,
    };
    let origin = MessageOrigin {
        id: rest.take("id"),
        model: rest.take("model"),
        stop_reason: rest.take("stop_reason"),
        usage: rest.get("usage").map(|usage| usage_of(&usage)),
        verbatim: rest.verbatim(),
    };
    with_origin(Message { role, parts, ..Message::default() }, origin)
}

fn usage_of(usage: &Object) -> Usage {
    let cache_read_tokens: Option<u64> = usage.get("cache_read_input_tokens");
    let cache_write_tokens: Option<u64> = usage.get("cache_creation_input_tokens");
    let not_cached: Option<u64> = usage.get("input_tokens");
    Usage {
        input_tokens: not_cached
            .map(|tokens| tokens + cache_read_tokens.unwrap_or_default() + cache_write_tokens.unwrap_or_default()),
        output_tokens: usage.get("output_tokens"),
        cache_read_tokens,
        cache_write_tokens,
        reasoning_tokens: usage.get_in("output_tokens_details", "thinking_tokens"),
        total_tokens: None,
    }
}

fn part_of(mut block: Object) -> Option<Part> {
    let kind: String = block.get("type")?;
    Some(match kind.as_str() {
        "text" => {
            let text: String = block.take("text")?;
            block.beside(Part::text(text))
        }
        "thinking" => {
            let thinking: String = block.take("thinking")?;
            let signature: Option<String> = block.take("signature");
            block.beside(signature.into_iter().fold(Part::thought(thinking), Part::with_signature))
        }
        "redacted_thinking" => {
            let data: String = block.take("data")?;
            block.beside(PartBody::RedactedThought(data.into()))
        }
        "tool_use" | "server_tool_use" | "mcp_tool_use" => {
            let (id, name) = (block.take("id")?, block.take("name")?);
            let arguments = block.take_json("input")?.into();
            let kind = if kind == "tool_use" { ToolKind::Function } else { ToolKind::Provider };
            block.beside(ToolCall { id, name, arguments, kind })
        }
        "tool_result" | "mcp_tool_result" => {
            let call_id = block.take("tool_use_id")?;
            let is_error = block.take("is_error");
            let parts = result_parts_of(&mut block);
            block.beside(ToolResult { call_id, name: None, parts, is_error })
        }
        // What a tool of the provider answered is opaque.
        _ if block.has("tool_use_id") => {
            let call_id = block.take("tool_use_id")?;
            let parts = vec![ResultPart::Json(block.take_json("content")?.into())];
            block.beside(ToolResult { call_id, parts, ..ToolResult::default() })
        }
        "image" | "document" => {
            let media = media_of(&mut block)?;
            block.beside(media)
        }
        _ => return None,
    })
}

/// Takes the content out of a result. What its blocks have beside their texts and media stays, as a list.
fn result_parts_of(result: &mut Object) -> Vec<ResultPart> {
    if let Some(text) = result.take::<String>("content") {
        return vec![ResultPart::Text(text.into())];
    }
    let mut blocks = result.take_list("content").unwrap_or_default();
    let parts: Vec<ResultPart> = blocks.iter_mut().map(result_part_of).collect();
    if !blocks.is_empty() {
        result.put("content", blocks);
    }
    parts
}

fn result_part_of(block: &mut Object) -> ResultPart {
    let kind: String = block.get("type").unwrap_or_default();
    if let Some(said) = block.take::<String>("text") {
        return ResultPart::Text(said.into());
    }
    match media_of(block) {
        Some(media) => ResultPart::Media(media),
        None => ResultPart::Other { kind, json: std::mem::take(block).to_json().into() },
    }
}

/// Takes the media out of an image or a document; `None` where its source is text or blocks.
fn media_of(block: &mut Object) -> Option<Media> {
    let mut source: Object = block.get("source")?;
    let place = match source.get::<String>("type")?.as_str() {
        "base64" => MediaSource::Base64(source.take::<String>("data")?.into()),
        "url" => MediaSource::Url(source.take::<String>("url")?.into()),
        "file" => MediaSource::FileId(source.take("file_id")?),
        _ => return None,
    };
    let media = Media { source: place, media_type: source.take("media_type"), name: block.take("title") };
    block.put("source", source);
    Some(media)
}

/// The entry that the message came from. Of an answer, `role` and `content` go back to the provider.
fn entry_of(message: &Message) -> Object {
    let origin = message.origin.as_deref().cloned().unwrap_or_default();
    let mut entry = Object::of_verbatim(origin.verbatim.as_ref());
    entry.put_some("id", origin.id);
    entry.put_some("model", origin.model);
    entry.put_some("stop_reason", origin.stop_reason);
    let role = match message.role {
        Role::Assistant => "assistant",
        Role::System | Role::Other(_) => "system",
        _ => "user",
    };
    entry.put("role", role);
    match &message.parts[..] {
        // A text without anything beside it was sent as a plain text.
        [Part { body: PartBody::Text(said), origin: None }] => entry.put("content", text(said)),
        parts => entry.put("content", parts.iter().map(block_of).collect::<Vec<_>>()),
    }
    entry
}

fn block_of(part: &Part) -> Object {
    let mut block = Object::rest_of(part);
    match &part.body {
        PartBody::Text(said) => {
            block.is_a("text");
            block.put("text", text(said));
        }
        PartBody::Thought(thinking) => {
            block.is_a("thinking");
            block.put("thinking", text(thinking));
            block.put_some("signature", signature_of(part));
        }
        PartBody::RedactedThought(data) => {
            block.is_a("redacted_thinking");
            block.put("data", text(data));
        }
        PartBody::ToolCall(call) => {
            block.is_a("tool_use");
            block.put("id", &call.id);
            block.put("name", &call.name);
            block.put_json("input", text(&call.arguments));
        }
        PartBody::ToolResult(result) => {
            block.is_a("tool_result");
            block.put("tool_use_id", &result.call_id);
            block.put_some("is_error", result.is_error);
            put_result_parts(&mut block, &result.parts);
        }
        PartBody::Media(media) => put_media(&mut block, media),
        PartBody::Other { json, .. } => block = Object::parse(text(json)),
        other => panic!("Anthropic has no {other:?}"),
    }
    block
}

fn put_result_parts(result: &mut Object, parts: &[ResultPart]) {
    match (parts, result.take_list("content")) {
        (parts, Some(mut blocks)) => {
            blocks.iter_mut().zip(parts).for_each(|(block, part)| put_result_part(block, part));
            result.put("content", blocks);
        }
        ([ResultPart::Text(said)], None) => result.put("content", text(said)),
        ([ResultPart::Json(json)], None) => result.put_json("content", text(json)),
        _ => {}
    }
}

fn put_result_part(block: &mut Object, part: &ResultPart) {
    match part {
        ResultPart::Text(said) => block.put("text", text(said)),
        ResultPart::Media(media) => put_media(block, media),
        ResultPart::Json(json) | ResultPart::Other { json, .. } => *block = Object::parse(text(json)),
        other => panic!("Anthropic has no {other:?}"),
    }
}

fn put_media(block: &mut Object, media: &Media) {
    let mut source: Object = block.take("source").unwrap_or_default();
    source.put_some("media_type", media.media_type.as_ref());
    match &media.source {
        MediaSource::Base64(data) => source.put("data", text(data)),
        MediaSource::Url(url) => source.put("url", text(url)),
        MediaSource::FileId(id) => source.put("file_id", id),
        other => panic!("{other:?} was not read"),
    }
    block.put("source", source);
    block.put_some("title", media.name.as_ref());
}

fn back(messages: &[Message]) -> Vec<Object> {
    messages.iter().map(entry_of).collect()
}

#[actix::test]
async fn every_kind_of_block_comes_back_from_a_store_as_it_came() {
    assert_same(&back(&kept(RECORDED, message_of).await), &entries(RECORDED));
}

#[test]
fn what_the_host_made_itself_goes_out_in_the_interface_s_form() {
    let wanted = r#"[
        { "role": "system", "content": "Be brief." },
        { "role": "user", "content": "What is clock 17?" },
        { "role": "assistant", "content": [
            { "type": "text", "text": "I look it up." },
            { "type": "tool_use", "id": "c1", "name": "inventory", "input": { "number": 17.0 } },
            { "type": "tool_use", "id": "c2", "name": "inventory", "input": { "number": 17.0 } }
        ] },
        { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "c1", "content": "oak" }] },
        { "role": "user", "content": [
            { "type": "tool_result", "tool_use_id": "c2", "content": "interrupted", "is_error": true }
        ] },
        { "role": "assistant", "content": "Of oak." }
    ]"#;
    assert_same(&back(&made_here()), &entries(wanted));
}

#[actix::test]
async fn the_typed_fields_are_filled() {
    let messages = kept(RECORDED, message_of).await;
    let answer = &messages[2];
    let origin = answer.origin.as_ref().unwrap();
    assert_eq!(origin.id.as_deref(), Some("msg_01XFDUDYJgAACzvnptvVoYEL"));
    assert_eq!(origin.stop_reason.as_deref(), Some("tool_use"));
    let usage = Usage {
        input_tokens: Some(2095 + 10_500 + 2051),
        output_tokens: Some(503),
        cache_read_tokens: Some(10_500),
        cache_write_tokens: Some(2051),
        reasoning_tokens: Some(120),
        total_tokens: None,
    };
    assert_eq!(origin.usage, Some(usage));
    assert!(signature_of(&answer.parts[0]).unwrap().starts_with("EqQBCgIY"));
    assert!(matches!(&answer.parts[1].body, PartBody::RedactedThought(data) if text(data).starts_with("EmwKAhgB")));

    let calls: Vec<_> = answer.parts.iter().filter_map(Part::as_tool_call).collect();
    let kinds: Vec<_> = calls.iter().map(|call| (call.id.as_str(), &call.kind)).collect();
    let (host, provider) = (&ToolKind::Function, &ToolKind::Provider);
    assert_eq!(kinds[3..], [("toolu_01A", host), ("toolu_01B", host), ("toolu_01C", host)]);
    assert!(kinds[..3].iter().all(|(_, kind)| *kind == provider));
    let wanted = r#"{ "number": 17, "since": 1.10, "all": 1e2, "id": 12345678901234567890123 }"#;
    assert_eq!(calls[3].arguments, Content::from(wanted), "byte for byte");

    let results: Vec<_> = messages[3].parts.iter().filter_map(Part::as_tool_result).collect();
    assert_eq!(results.iter().map(|result| result.is_error).collect::<Vec<_>>(), [Some(false), Some(true), None]);
    let [ResultPart::Text(_), ResultPart::Media(image), ResultPart::Media(document), ResultPart::Other { kind, .. }] =
        &results[0].parts[..]
    else {
        panic!("{:?}", results[0].parts)
    };
    assert_eq!(image.media_type.as_deref(), Some("image/jpeg"));
    assert_eq!(document.name.as_deref(), Some("Card"));
    assert_eq!(kind, "tool_reference");
    let refused = messages.last().unwrap().origin.as_ref().unwrap();
    assert_eq!(refused.stop_reason.as_deref(), Some("refusal"));
    assert_eq!(refused.usage.unwrap().input_tokens, Some(80));
}

#[actix::test]
async fn a_converter_that_loses_something_is_caught() {
    let messages = kept(RECORDED, message_of).await;
    // The id of a block is that of its call.
    assert_eq!(unnoticed(&messages, back), ["part id"]);
}
