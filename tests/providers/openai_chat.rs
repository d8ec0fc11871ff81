//! The OpenAI chat completions interface: a converter for it, and its recorded conversation.

use foldlog::Content;
use foldlog::agent::{
    Media, MediaSource, Message, MessageOrigin, Part, PartBody, ResultPart, Role, ToolCall, ToolKind, ToolResult, Usage,
};

use crate::object::{Object, id_of, media_of_url, text, url_of_media, with_origin};
use crate::{assert_same, entries, kept, made_here, unnoticed};

const RECORDED: &str = include_str!("../data/providers/openai_chat.json");

/// A message that the host sent, or a completion.
fn message_of(mut entry: Object) -> Message {
    // A completion holds the message in its first choice. Its rest keeps the frames around it.
    let Some(mut choices) = entry.take_list("choices") else {
        let message = said(&mut entry);
        return with_origin(message, MessageOrigin { verbatim: entry.verbatim(), ..MessageOrigin::default() });
    };
    let choice = &mut choices[0];
    let mut rest: Object = choice.take("message").unwrap();
    let message = said(&mut rest);
    choice.put("message", rest);
    let stop_reason = choice.take("finish_reason");
    entry.put("choices", choices);
    let origin = MessageOrigin {
        id: entry.take("id"),
        model: entry.take("model"),
        stop_reason,
        usage: entry.get("usage").map(|usage| usage_of(&usage)),
        verbatim: entry.verbatim(),
    };
    with_origin(message, origin)
}

fn usage_of(usage: &Object) -> Usage {
    Usage {
        input_tokens: usage.get("prompt_tokens"),
        output_tokens: usage.get("completion_tokens"),
        cache_read_tokens: usage.get_in("prompt_tokens_details", "cached_tokens"),
        cache_write_tokens: usage.get_in("prompt_tokens_details", "cache_write_tokens"),
        reasoning_tokens: usage.get_in("completion_tokens_details", "reasoning_tokens"),
        total_tokens: usage.get("total_tokens"),
    }
}

/// Takes out of a message what the fields hold.
fn said(rest: &mut Object) -> Message {
    let role: String = rest.take("role").unwrap();
    if matches!(role.as_str(), "tool" | "function") {
        return Message::tool(result_of(rest));
    }
    let mut parts = Vec::new();
    parts.extend(rest.take::<String>("reasoning_content").map(Part::thought));
    parts.extend(rest.take::<String>("content").map(Part::text));
    parts.extend(rest.take_list("content").into_iter().flatten().map(|part| part.into_part(part_of)));
    parts.extend(rest.take::<String>("refusal").map(|said| PartBody::Refusal(said.into()).into()));
    parts.extend(rest.take("audio").and_then(spoken));
    parts.extend(rest.take_list("tool_calls").into_iter().flatten().map(|call| call.into_part(call_of)));
    parts.extend(rest.take("function_call").and_then(|mut function: Object| function_of(&mut function, String::new())));
    let role = match role.as_str() {
        "system" => Role::System,
        "developer" => Role::Developer,
        "assistant" => Role::Assistant,
        _ => Role::User,
    };
    Message { role, name: rest.take("name"), parts, ..Message::default() }
}

fn part_of(mut part: Object) -> Option<Part> {
    let kind: String = part.get("type")?;
    Some(match kind.as_str() {
        "text" => {
            let said: String = part.take("text")?;
            part.beside(Part::text(said))
        }
        "refusal" => {
            let said: String = part.take("refusal")?;
            part.beside(PartBody::Refusal(said.into()))
        }
        "image_url" => {
            let mut image: Object = part.take("image_url")?;
            let media = media_of_url(image.take("url")?, None);
            part.put("image_url", image);
            part.beside(media)
        }
        "input_audio" => {
            let mut audio: Object = part.take("input_audio")?;
            let data: String = audio.take("data")?;
            let media_type = audio.get::<String>("format").map(|format| format!("audio/{format}"));
            part.put("input_audio", audio);
            part.beside(Media { source: MediaSource::Base64(data.into()), media_type, name: None })
        }
        "file" => {
            let mut file: Object = part.take("file")?;
            let name = file.take("filename");
            let media = match file.take("file_data") {
                Some(data) => media_of_url(data, name),
                None => Media { source: MediaSource::FileId(file.take("file_id")?), media_type: None, name },
            };
            part.put("file", file);
            part.beside(media)
        }
        _ => return None,
    })
}

/// What the language model spoke. It goes back to the provider as its id alone.
fn spoken(mut audio: Object) -> Option<Part> {
    let id: String = audio.take("id")?;
    let source = match audio.take::<String>("data") {
        Some(data) => MediaSource::Base64(data.into()),
        None => MediaSource::FileId(id.clone()),
    };
    Some(audio.beside(Media { source, media_type: None, name: None }).with_id(id))
}

fn call_of(mut call: Object) -> Option<Part> {
    let kind: String = call.get("type")?;
    Some(match kind.as_str() {
        "function" => {
            let id = call.take("id")?;
            let mut function: Object = call.take("function")?;
            let part = function_of(&mut function, id)?;
            call.put("function", function);
            call.beside(part)
        }
        "custom" => {
            let mut custom: Object = call.take("custom")?;
            let (id, name) = (call.take("id")?, custom.take("name")?);
            let arguments = custom.take::<String>("input")?.into();
            call.put("custom", custom);
            call.beside(ToolCall { id, name, arguments, kind: ToolKind::Custom })
        }
        // The host owes a result for this call too, so it is a call to foldlog.
        _ => {
            let (id, arguments) = (call.take("id")?, call.take_json(&kind)?.into());
            call.beside(ToolCall { id, name: kind.clone(), arguments, kind: ToolKind::Other(kind) })
        }
    })
}

fn function_of(function: &mut Object, id: String) -> Option<Part> {
    let name: String = function.take("name")?;
    let arguments: String = function.take("arguments")?;
    Some(Part::tool_call(id, name, arguments))
}

/// A result. The legacy role `function` names the tool and has no id.
fn result_of(rest: &mut Object) -> ToolResult {
    let call_id = rest.take("tool_call_id").unwrap_or_default();
    let mut parts: Vec<_> =
        rest.take::<String>("content").map(|text| ResultPart::Text(text.into())).into_iter().collect();
    if let Some(mut list) = rest.take_list("content") {
        let texts = list.iter_mut().map(|part| part.take::<String>("text").unwrap());
        parts.extend(texts.map(|text| ResultPart::Text(text.into())));
        rest.put("content", list);
    }
    ToolResult { call_id, name: rest.take("name"), parts, is_error: None }
}

/// The entry that the message came from. Of a completion, the message in its first choice goes back to the provider,
/// its `audio` as the id alone.
fn entry_of(message: &Message) -> Object {
    let origin = message.origin.as_deref().cloned().unwrap_or_default();
    let mut entry = Object::of_verbatim(origin.verbatim.as_ref());
    let Some(mut choices) = entry.take_list("choices") else {
        put_said(&mut entry, message);
        return entry;
    };
    let mut rest = choices[0].take("message").unwrap();
    put_said(&mut rest, message);
    choices[0].put("message", rest);
    choices[0].put_some("finish_reason", origin.stop_reason);
    entry.put("choices", choices);
    entry.put_some("id", origin.id);
    entry.put_some("model", origin.model);
    entry
}

fn put_said(rest: &mut Object, message: &Message) {
    let role = match message.role {
        Role::System => "system",
        Role::Developer => "developer",
        Role::Assistant => "assistant",
        Role::Tool if message.parts.iter().filter_map(Part::as_tool_result).any(|result| result.call_id.is_empty()) => {
            "function"
        }
        Role::Tool => "tool",
        _ => "user",
    };
    rest.put("role", role);
    rest.put_some("name", message.name.as_ref());
    let (mut content, mut calls) = (Vec::new(), Vec::new());
    let is_one_text = message.parts.iter().filter_map(Part::as_text).count() == 1;
    for part in &message.parts {
        let mut object = Object::rest_of(part);
        // What stands in a list has its type beside it.
        let is_listed = object.has("type");
        match &part.body {
            PartBody::Thought(thought) => rest.put("reasoning_content", text(thought)),
            PartBody::Text(said) if !is_listed && is_one_text => rest.put("content", text(said)),
            PartBody::Refusal(said) if !is_listed => rest.put("refusal", text(said)),
            PartBody::Media(media) if !is_listed && message.role == Role::Assistant => {
                rest.put("audio", audio_of(object, part, media))
            }
            PartBody::ToolCall(call) if call.id.is_empty() => {
                put_function(&mut object, call);
                rest.put("function_call", object);
            }
            PartBody::ToolCall(call) => {
                put_call(&mut object, call);
                calls.push(object);
            }
            PartBody::ToolResult(result) => put_result(rest, result),
            body => {
                put_body(&mut object, body);
                content.push(object);
            }
        }
    }
    rest.put_some("content", Some(content).filter(|list| !list.is_empty()));
    rest.put_some("tool_calls", Some(calls).filter(|list| !list.is_empty()));
}

fn audio_of(mut rest: Object, part: &Part, media: &Media) -> Object {
    rest.put_some("id", id_of(part));
    if let MediaSource::Base64(data) = &media.source {
        rest.put("data", text(data));
    }
    rest
}

fn put_function(function: &mut Object, call: &ToolCall) {
    function.put("name", &call.name);
    function.put("arguments", text(&call.arguments));
}

fn put_call(object: &mut Object, call: &ToolCall) {
    object.put("id", &call.id);
    match &call.kind {
        ToolKind::Custom => {
            object.is_a("custom");
            let mut custom: Object = object.take("custom").unwrap_or_default();
            custom.put("name", &call.name);
            custom.put("input", text(&call.arguments));
            object.put("custom", custom);
        }
        ToolKind::Other(kind) => object.put_json(kind, text(&call.arguments)),
        _ => {
            object.is_a("function");
            let mut function: Object = object.take("function").unwrap_or_default();
            put_function(&mut function, call);
            object.put("function", function);
        }
    }
}

fn put_result(rest: &mut Object, result: &ToolResult) {
    rest.put_some("tool_call_id", Some(&result.call_id).filter(|id| !id.is_empty()));
    // Only the legacy role names the tool.
    rest.put_some("name", result.name.as_ref().filter(|_| result.call_id.is_empty()));
    let texts = result.parts.iter().filter_map(|part| match part {
        ResultPart::Text(said) => Some(text(said)),
        _ => None,
    });
    match rest.take_list("content") {
        Some(mut list) => {
            list.iter_mut().zip(texts).for_each(|(part, said)| part.put("text", said));
            rest.put("content", list);
        }
        None => rest.put("content", texts.collect::<String>()),
    }
}

fn put_body(object: &mut Object, body: &PartBody) {
    match body {
        PartBody::Text(said) => {
            object.is_a("text");
            object.put("text", text(said));
        }
        PartBody::Refusal(said) => object.put("refusal", text(said)),
        PartBody::Media(media) => put_media(object, media),
        PartBody::Other { json, .. } => *object = Object::parse(text(json)),
        other => panic!("OpenAI chat has no {other:?}"),
    }
}

fn put_media(object: &mut Object, media: &Media) {
    object.is_a(if matches!(media.source, MediaSource::FileId(_)) { "file" } else { "image_url" });
    let kind: String = object.get("type").unwrap();
    let mut inner: Object = object.take(&kind).unwrap_or_default();
    match (kind.as_str(), &media.source) {
        ("input_audio", MediaSource::Base64(data)) => inner.put("data", text(data)),
        ("file", MediaSource::FileId(id)) => inner.put("file_id", id),
        ("file", _) => inner.put("file_data", url_of_media(media)),
        _ => inner.put("url", url_of_media(media)),
    }
    inner.put_some("filename", media.name.as_ref());
    object.put(&kind, inner);
}

fn back(messages: &[Message]) -> Vec<Object> {
    messages.iter().map(entry_of).collect()
}

#[actix::test]
async fn every_kind_of_part_comes_back_from_a_store_as_it_came() {
    assert_same(&back(&kept(RECORDED, message_of).await), &entries(RECORDED));
}

#[test]
fn what_the_host_made_itself_goes_out_in_the_interface_s_form() {
    let wanted = r#"[
        { "role": "system", "content": "Be brief." },
        { "role": "user", "content": "What is clock 17?" },
        { "role": "assistant", "content": "I look it up.", "tool_calls": [
            { "id": "c1", "type": "function", "function": { "name": "inventory", "arguments": "{\"number\": 17.0}" } },
            { "id": "c2", "type": "function", "function": { "name": "inventory", "arguments": "{\"number\": 17.0}" } }
        ] },
        { "role": "tool", "tool_call_id": "c1", "content": "oak" },
        { "role": "tool", "tool_call_id": "c2", "content": "interrupted" },
        { "role": "assistant", "content": "Of oak." }
    ]"#;
    assert_same(&back(&made_here()), &entries(wanted));
}

#[actix::test]
async fn results_that_come_late_and_in_any_order_go_back_behind_their_calls() {
    let recorded = entries(RECORDED);
    let [before, results, after] = [&recorded[..4], &recorded[4..8], &recorded[8..]];
    let results: Vec<Object> = results.iter().rev().cloned().collect();
    let hurry = Object::parse(r#"{ "role": "user", "content": "Hurry." }"#);
    let log = [before, std::slice::from_ref(&hurry), &results, after].concat();
    let wanted = [before, &results, std::slice::from_ref(&hurry), after].concat();
    let said: Vec<Message> = log.into_iter().map(message_of).collect();
    assert_same(&back(&crate::store::kept(&said).await), &wanted);
}

#[actix::test]
async fn the_typed_fields_are_filled() {
    let messages = kept(RECORDED, message_of).await;
    assert_eq!((&messages[0].role, &messages[1].role), (&Role::Developer, &Role::System));
    assert_eq!(messages[2].name.as_deref(), Some("visitor_7"));
    let answer = &messages[3];
    let origin = answer.origin.as_ref().unwrap();
    assert_eq!(origin.id.as_deref(), Some("chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG"));
    assert_eq!(origin.model.as_deref(), Some("gpt-5.2-2025-12-11"));
    assert_eq!(origin.stop_reason.as_deref(), Some("tool_calls"));
    let usage = Usage {
        input_tokens: Some(1117),
        output_tokens: Some(246),
        cache_read_tokens: Some(1024),
        cache_write_tokens: Some(64),
        reasoning_tokens: Some(192),
        total_tokens: Some(1363),
    };
    assert_eq!(origin.usage, Some(usage));
    assert!(matches!(answer.parts[0].body, PartBody::Thought(_)));
    let calls: Vec<_> = answer.parts.iter().filter_map(Part::as_tool_call).collect();
    assert_eq!(calls[0].arguments, Content::from(r#"{"number": 17,  "since": 1.10}"#), "byte for byte");
    assert_eq!(calls[1].arguments, Content::from(r#"{"number": 17, "room": "#), "broken JSON, as it came");
    assert_eq!(calls[2].kind, ToolKind::Custom);
    assert_eq!(calls[3].kind, ToolKind::Other("hologram".to_owned()));

    let refused =
        messages.iter().find(|message| matches!(message.parts[..], [Part { body: PartBody::Refusal(_), .. }]));
    let origin = refused.unwrap().origin.as_ref().unwrap();
    assert_eq!((origin.stop_reason.as_deref(), origin.usage), (Some("content_filter"), None));
    let audio = &messages.iter().find_map(|message| match &message.parts[..] {
        [part @ Part { body: PartBody::Media(Media { source: MediaSource::Base64(_), .. }), .. }] => id_of(part),
        _ => None,
    });
    assert_eq!(audio.map(String::as_str), Some("audio_abc123"));
}

#[actix::test]
async fn a_converter_that_loses_something_is_caught() {
    let messages = kept(RECORDED, message_of).await;
    // The interface has no signatures, and no flag of an error.
    assert_eq!(unnoticed(&messages, back), ["signature", "error flag"]);
}
