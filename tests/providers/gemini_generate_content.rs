//! The Gemini generateContent interface: a converter for it, and its recorded conversation.

use foldlog::Content;
use foldlog::agent::{
    Media, MediaSource, Message, MessageOrigin, Part, PartBody, ResultPart, Role, ToolCall, ToolKind, ToolResult, Usage,
};

use crate::object::{Object, signature_of, text, with_origin};
use crate::{assert_same, entries, kept, made_here, unnoticed};

const RECORDED: &str = include_str!("../data/providers/gemini_generate_content.json");

/// A content that the host sent, or an answer.
fn message_of(mut entry: Object) -> Message {
    if entry.has("parts") {
        return said(&mut entry);
    }
    // The content is in the first candidate. Its rest keeps the frames around it.
    let mut message = Message { role: Role::Assistant, ..Message::default() };
    let mut stop_reason = None;
    if let Some(mut candidates) = entry.take_list("candidates") {
        let candidate = &mut candidates[0];
        stop_reason = candidate.take("finishReason");
        if let Some(mut content) = candidate.take::<Object>("content") {
            message = said(&mut content);
            candidate.put("content", content);
        }
        entry.put("candidates", candidates);
    }
    let origin = MessageOrigin {
        id: entry.take("responseId"),
        model: entry.take("modelVersion"),
        stop_reason,
        usage: entry.get("usageMetadata").map(|usage| usage_of(&usage)),
        verbatim: entry.verbatim(),
    };
    with_origin(message, origin)
}

fn usage_of(usage: &Object) -> Usage {
    // Thoughts and the results of tools that the provider ran are counted apart.
    let sum = |name: &str, apart: &str| {
        let count: Option<u64> = usage.get(name);
        count.map(|count| count + usage.get::<u64>(apart).unwrap_or_default())
    };
    Usage {
        input_tokens: sum("promptTokenCount", "toolUsePromptTokenCount"),
        output_tokens: sum("candidatesTokenCount", "thoughtsTokenCount"),
        cache_read_tokens: usage.get("cachedContentTokenCount"),
        cache_write_tokens: None,
        reasoning_tokens: usage.get("thoughtsTokenCount"),
        total_tokens: usage.get("totalTokenCount"),
    }
}

fn said(content: &mut Object) -> Message {
    let role: String = content.take("role").unwrap();
    let parts: Vec<Part> = content.take_list("parts").into_iter().flatten().map(part_of).collect();
    let role = match role.as_str() {
        "model" => Role::Assistant,
        _ if parts.iter().any(|part| part.as_tool_result().is_some()) => Role::Tool,
        _ => Role::User,
    };
    Message { role, parts, ..Message::default() }
}

/// A part. Its kind is the name of the member that it has.
fn part_of(mut part: Object) -> Part {
    let signature: Option<String> = part.take("thoughtSignature");
    let is_thought = part.get("thought") == Some(true) && part.take::<bool>("thought").is_some();
    let found = if let Some(said) = part.take::<String>("text") {
        let body = if is_thought { PartBody::Thought(said.into()) } else { PartBody::Text(said.into()) };
        part.beside(body)
    } else {
        part.into_part(|mut part| {
            let body = body_of(&mut part)?;
            Some(part.beside(body))
        })
    };
    signature.into_iter().fold(found, Part::with_signature)
}

const CALLS: [&str; 3] = ["functionCall", "toolCall", "executableCode"];
const RESULTS: [&str; 3] = ["functionResponse", "toolResponse", "codeExecutionResult"];

/// Takes out of a part what the fields hold.
fn body_of(part: &mut Object) -> Option<PartBody> {
    let kind = CALLS.iter().chain(&RESULTS).find(|kind| part.has(kind));
    let Some(kind) = kind else { return media_of(part).map(PartBody::Media) };
    let mut inner: Object = part.take(kind)?;
    let id = inner.take("id").unwrap_or_default();
    let body = match *kind {
        "functionCall" => {
            let arguments = inner.take_json("args").unwrap_or_default().into();
            PartBody::ToolCall(ToolCall { id, name: inner.take("name")?, arguments, kind: ToolKind::Function })
        }
        "toolCall" => {
            let arguments = inner.take_json("args").unwrap_or_default().into();
            PartBody::ToolCall(ToolCall { id, name: inner.take("toolType")?, arguments, kind: ToolKind::Provider })
        }
        "executableCode" => {
            let (name, code) = ((*kind).to_owned(), inner.take::<String>("code")?);
            PartBody::ToolCall(ToolCall { id, name, arguments: code.into(), kind: ToolKind::Provider })
        }
        "functionResponse" => PartBody::ToolResult(response_of(id, &mut inner)?),
        "toolResponse" => {
            let parts = vec![ResultPart::Json(inner.take_json("response")?.into())];
            PartBody::ToolResult(ToolResult { call_id: id, name: inner.take("toolType"), parts, is_error: None })
        }
        _ => {
            let printed: String = inner.take("output").unwrap_or_default();
            PartBody::ToolResult(ToolResult::text(id, printed))
        }
    };
    part.put(kind, inner);
    Some(body)
}

fn response_of(call_id: String, response: &mut Object) -> Option<ToolResult> {
    // The provider takes the member `error` of a response as an error.
    let is_error = response.get::<Object>("response").filter(|response| response.has("error")).map(|_| true);
    let mut parts = vec![ResultPart::Json(response.take_json("response")?.into())];
    if let Some(mut list) = response.take_list("parts") {
        parts.extend(list.iter_mut().map(|part| match media_of(part) {
            Some(media) => ResultPart::Media(media),
            None => ResultPart::Other { kind: part.first_name(), json: std::mem::take(part).to_json().into() },
        }));
        response.put("parts", list);
    }
    Some(ToolResult { call_id, name: response.take("name"), parts, is_error })
}

fn media_of(part: &mut Object) -> Option<Media> {
    let kind = ["inlineData", "fileData"].into_iter().find(|kind| part.has(kind))?;
    let mut inner: Object = part.get(kind)?;
    let source = match kind {
        "inlineData" => MediaSource::Base64(inner.take::<String>("data")?.into()),
        _ => MediaSource::Url(inner.take::<String>("fileUri")?.into()),
    };
    let media = Media { source, media_type: inner.take("mimeType"), name: inner.take("displayName") };
    part.put(kind, inner);
    Some(media)
}

/// The entry that the message came from. Of an answer, the content of the first candidate goes back to the provider.
fn entry_of(message: &Message) -> Object {
    let Some(origin) = message.origin.as_deref().cloned() else {
        let mut content = Object::default();
        put_said(&mut content, message);
        return content;
    };
    let mut entry = Object::of_verbatim(origin.verbatim.as_ref());
    if let Some(mut candidates) = entry.take_list("candidates") {
        if let Some(mut content) = candidates[0].take("content") {
            put_said(&mut content, message);
            candidates[0].put("content", content);
        }
        candidates[0].put_some("finishReason", origin.stop_reason);
        entry.put("candidates", candidates);
    }
    entry.put_some("responseId", origin.id);
    entry.put_some("modelVersion", origin.model);
    entry
}

fn put_said(content: &mut Object, message: &Message) {
    content.put("role", if message.role == Role::Assistant { "model" } else { "user" });
    let parts: Vec<Object> = message.parts.iter().map(part_back).collect();
    content.put_some("parts", Some(parts).filter(|parts| !parts.is_empty()));
}

fn part_back(part: &Part) -> Object {
    let mut object = Object::rest_of(part);
    match &part.body {
        PartBody::Text(said) => object.put("text", text(said)),
        PartBody::Thought(said) => {
            object.put("thought", true);
            object.put("text", text(said));
        }
        PartBody::Media(media) => put_media(&mut object, media),
        PartBody::ToolCall(call) => put_call(&mut object, call),
        PartBody::ToolResult(result) => put_result(&mut object, result),
        PartBody::Other { json, .. } => object = Object::parse(text(json)),
        other => panic!("Gemini has no {other:?}"),
    }
    object.put_some("thoughtSignature", signature_of(part));
    object
}

fn put_call(object: &mut Object, call: &ToolCall) {
    let kind = CALLS.iter().find(|kind| object.has(kind) || call.name == **kind).unwrap_or(&CALLS[0]);
    let mut inner: Object = object.take(kind).unwrap_or_default();
    inner.put_some("id", Some(&call.id).filter(|id| !id.is_empty()));
    let arguments = text(&call.arguments);
    if *kind == "executableCode" {
        inner.put("code", arguments);
    } else {
        inner.put(if *kind == "toolCall" { "toolType" } else { "name" }, &call.name);
        if !arguments.is_empty() {
            inner.put_json("args", arguments);
        }
    }
    object.put(kind, inner);
}

fn put_result(object: &mut Object, result: &ToolResult) {
    let kind = RESULTS.iter().find(|kind| object.has(kind)).unwrap_or(&RESULTS[0]);
    let mut inner: Object = object.take(kind).unwrap_or_default();
    inner.put_some("id", Some(&result.call_id).filter(|id| !id.is_empty()));
    inner.put_some(if *kind == "toolResponse" { "toolType" } else { "name" }, result.name.as_ref());
    let (first, media) = result.parts.split_first().unwrap();
    match first {
        ResultPart::Json(json) => inner.put_json("response", text(json)),
        ResultPart::Text(printed) if *kind == "codeExecutionResult" => inner.put("output", text(printed)),
        ResultPart::Text(said) => {
            let mut response = Object::default();
            response.put(if result.is_error == Some(true) { "error" } else { "output" }, text(said));
            inner.put("response", response);
        }
        other => panic!("Gemini has no {other:?}"),
    }
    if let Some(mut list) = inner.take_list("parts") {
        list.iter_mut().zip(media).for_each(|(object, part)| match part {
            ResultPart::Media(media) => put_media(object, media),
            ResultPart::Other { json, .. } => *object = Object::parse(text(json)),
            other => panic!("Gemini has no {other:?}"),
        });
        inner.put("parts", list);
    }
    object.put(kind, inner);
}

fn put_media(object: &mut Object, media: &Media) {
    let (kind, name, data) = match &media.source {
        MediaSource::Base64(data) => ("inlineData", "data", data),
        MediaSource::Url(url) => ("fileData", "fileUri", url),
        other => panic!("Gemini has no {other:?}"),
    };
    let mut inner: Object = object.take(kind).unwrap_or_default();
    inner.put(name, text(data));
    inner.put_some("mimeType", media.media_type.as_ref());
    inner.put_some("displayName", media.name.as_ref());
    object.put(kind, inner);
}

fn back(messages: &[Message]) -> Vec<Object> {
    messages.iter().map(entry_of).collect()
}

/// Answers without a part are kept in the log, and are not sent.
fn sendable(recorded: &str) -> Vec<Object> {
    let is_sendable = |entry: &Object| !message_of(entry.clone()).parts.is_empty();
    entries(recorded).into_iter().filter(is_sendable).collect()
}

#[actix::test]
async fn every_kind_of_part_comes_back_from_a_store_as_it_came() {
    assert_same(&back(&kept(RECORDED, message_of).await), &sendable(RECORDED));
    assert_eq!(entries(RECORDED).len() - sendable(RECORDED).len(), 2);
}

#[test]
fn what_the_host_made_itself_goes_out_in_the_interface_s_form() {
    // The system's instructions are no content of this interface.
    let wanted = r#"[
        { "role": "user", "parts": [{ "text": "What is clock 17?" }] },
        { "role": "model", "parts": [
            { "text": "I look it up." },
            { "functionCall": { "id": "c1", "name": "inventory", "args": { "number": 17.0 } } },
            { "functionCall": { "id": "c2", "name": "inventory", "args": { "number": 17.0 } } }
        ] },
        { "role": "user", "parts": [
            { "functionResponse": { "id": "c1", "name": "inventory", "response": { "output": "oak" } } }
        ] },
        { "role": "user", "parts": [
            { "functionResponse": { "id": "c2", "name": "inventory", "response": { "error": "interrupted" } } }
        ] },
        { "role": "model", "parts": [{ "text": "Of oak." }] }
    ]"#;
    assert_same(&back(&made_here()[1..]), &entries(wanted));
}

#[test]
fn an_answer_that_was_blocked_comes_back_as_it_came() {
    let recorded = entries(RECORDED);
    let messages: Vec<Message> = recorded.iter().cloned().map(message_of).collect();
    assert_same(&back(&messages), &recorded);
}

#[actix::test]
async fn the_typed_fields_are_filled() {
    let messages = kept(RECORDED, message_of).await;
    let answer = &messages[1];
    let origin = answer.origin.as_ref().unwrap();
    assert_eq!(origin.id.as_deref(), Some("mAitaLmkHPPlz7IPvtfUqQ4"));
    assert_eq!(origin.model.as_deref(), Some("gemini-3-pro-preview"));
    assert_eq!(origin.stop_reason.as_deref(), Some("STOP"));
    let usage = Usage {
        input_tokens: Some(1310 + 90),
        output_tokens: Some(60 + 240),
        cache_read_tokens: Some(1024),
        cache_write_tokens: None,
        reasoning_tokens: Some(240),
        total_tokens: Some(1700),
    };
    assert_eq!(origin.usage, Some(usage));

    assert!(matches!(answer.parts[0].body, PartBody::Thought(_)));
    let calls: Vec<_> =
        answer.parts.iter().filter_map(|part| Some((part.as_tool_call()?, signature_of(part)))).collect();
    let named: Vec<_> = calls.iter().map(|(call, _)| (call.name.as_str(), call.id.as_str(), &call.kind)).collect();
    let wanted = [
        ("GOOGLE_SEARCH_WEB", "srv_1", &ToolKind::Provider),
        ("executableCode", "", &ToolKind::Provider),
        ("inventory", "fc_1", &ToolKind::Function),
        ("photograph", "", &ToolKind::Function),
        ("wind_up", "", &ToolKind::Function),
    ];
    assert_eq!(named, wanted);
    assert!(calls[2].1.unwrap().starts_with("CpcHAdHtim"), "the first call of the host has a signature");
    assert_eq!(calls[2].0.arguments, Content::from(r#"{ "number": 17, "since": 1.10, "all": 1e2 }"#), "byte for byte");

    let results: Vec<_> = messages[2].parts.iter().filter_map(Part::as_tool_result).collect();
    assert_eq!(results.iter().map(|result| result.is_error).collect::<Vec<_>>(), [None, Some(true), None]);
    let [ResultPart::Json(_), ResultPart::Media(image), ResultPart::Media(file), ResultPart::Other { .. }] =
        &results[0].parts[..]
    else {
        panic!("{:?}", results[0].parts)
    };
    assert_eq!((image.name.as_deref(), file.media_type.as_deref()), (Some("card.jpg"), Some("application/pdf")));
}

#[actix::test]
async fn a_converter_that_loses_something_is_caught() {
    let messages = kept(RECORDED, message_of).await;
    // A part has no id but that of its call. An error is a member of the response.
    assert_eq!(unnoticed(&messages, back), ["part id", "error flag"]);
}
