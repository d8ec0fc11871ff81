//! The OpenAI responses interface: a converter for it, and its recorded conversation.
//!
//! An item of several texts becomes several parts with the item's id. The first of them has the item's rest.

use foldlog::Content;
use foldlog::agent::{
    Media, MediaSource, Message, MessageOrigin, Part, PartBody, ResultPart, Role, ToolCall, ToolKind, ToolResult, Usage,
};

use crate::object::{Object, id_of, media_of_url, signature_of, text, url_of_media, with_origin};
use crate::{assert_same, entries, kept, made_here, unnoticed};

const RECORDED: &str = include_str!("../data/providers/openai_responses.json");

/// An item that the host sent, or a response.
fn message_of(mut entry: Object) -> Message {
    if entry.has("object") {
        let output = entry.take_list("output").unwrap_or_default();
        let reason: Option<String> = entry.get_in("incomplete_details", "reason");
        let origin = MessageOrigin {
            id: entry.take("id"),
            model: entry.take("model"),
            stop_reason: reason.or_else(|| entry.get("status")),
            usage: entry.get("usage").map(|usage| usage_of(&usage)),
            verbatim: entry.verbatim(),
        };
        return with_origin(Message::answer(output.into_iter().flat_map(parts_of)), origin);
    }
    let role: Option<String> = entry.take("role");
    let role = match role.as_deref() {
        Some("system") => Role::System,
        Some("developer") => Role::Developer,
        Some("assistant") => Role::Assistant,
        Some(_) => Role::User,
        None => {
            let role = if entry.has("call_id") { Role::Tool } else { Role::Other("item".to_owned()) };
            return Message { role, parts: parts_of(entry), ..Message::default() };
        }
    };
    let parts = match entry.take::<String>("content") {
        Some(said) => vec![Part::text(said)],
        None => entry.take_list("content").into_iter().flatten().map(|part| part.into_part(said_of)).collect(),
    };
    with_origin(
        Message { role, parts, ..Message::default() },
        MessageOrigin { verbatim: entry.verbatim(), ..MessageOrigin::default() },
    )
}

fn usage_of(usage: &Object) -> Usage {
    Usage {
        input_tokens: usage.get("input_tokens"),
        output_tokens: usage.get("output_tokens"),
        cache_read_tokens: usage.get_in("input_tokens_details", "cached_tokens"),
        cache_write_tokens: usage.get_in("input_tokens_details", "cache_write_tokens"),
        reasoning_tokens: usage.get_in("output_tokens_details", "reasoning_tokens"),
        total_tokens: usage.get("total_tokens"),
    }
}

/// The parts of an item.
fn parts_of(item: Object) -> Vec<Part> {
    match item.get::<String>("type").as_deref() {
        Some("message") => of_list(item, "content", said_of),
        Some("reasoning") => of_list(item, "summary", thought_of),
        _ => vec![item.into_part(part_of)],
    }
}

fn part_of(mut item: Object) -> Option<Part> {
    let kind: String = item.get("type")?;
    let has_call_id = item.get::<String>("call_id").is_some();
    let call_kind = match kind.as_str() {
        "function_call" => ToolKind::Function,
        "custom_tool_call" => ToolKind::Custom,
        "web_search_call" | "file_search_call" | "code_interpreter_call" | "mcp_call" => ToolKind::Provider,
        "image_generation_call" => return generated(item),
        _ if kind.ends_with("_output") && has_call_id => return result_of(item),
        // The host owes a result for each other call with an id, unless the provider says that it runs the tool.
        _ if kind.ends_with("_call") && has_call_id && item.get("execution") != Some("server".to_owned()) => {
            ToolKind::Other(kind.clone())
        }
        _ => return None,
    };
    let own_id: Option<String> = item.take("id");
    let id = item.take("call_id").or_else(|| own_id.clone())?;
    let name = item.take("name").unwrap_or(kind);
    let texts = item.take::<String>("arguments").or_else(|| item.take::<String>("input"));
    let arguments = texts.or_else(|| item.take_json("action")).unwrap_or_default().into();
    let part = item.beside(ToolCall { id, name, arguments, kind: call_kind });
    Some(own_id.into_iter().fold(part, Part::with_id))
}

/// One part for each object of a list. The first part has the item's rest, with what is left of each object.
fn of_list(mut item: Object, name: &str, part_of: fn(Object) -> Option<Part>) -> Vec<Part> {
    let id: Option<String> = item.take("id");
    let signature: Option<String> = item.take("encrypted_content");
    let mut parts: Vec<Part> =
        item.take_list(name).into_iter().flatten().map(|object| object.into_part(part_of)).collect();
    if parts.is_empty() {
        // A thought that shows nothing, or a message that says nothing.
        parts.push(if name == "summary" { Part::thought("") } else { Part::text("") });
    } else {
        item.put(name, parts.iter().map(Object::rest_of).collect::<Vec<_>>());
    }
    let (mut rest, mut signature) = (item.verbatim(), signature);
    let with_id = |part: Part| {
        // The first part takes both.
        let part = rest.take().into_iter().fold(Part::from(part.body), Part::with_verbatim);
        let part = signature.take().into_iter().fold(part, Part::with_signature);
        id.iter().cloned().fold(part, Part::with_id)
    };
    parts.into_iter().map(with_id).collect()
}

fn thought_of(mut summary: Object) -> Option<Part> {
    let thought: String = summary.take("text")?;
    Some(summary.beside(Part::thought(thought)))
}

/// A part of a message's content.
fn said_of(mut part: Object) -> Option<Part> {
    let kind: String = part.get("type")?;
    if kind == "refusal" {
        let said: String = part.take("refusal")?;
        return Some(part.beside(PartBody::Refusal(said.into())));
    }
    if let Some(said) = part.take::<String>("text") {
        return Some(part.beside(Part::text(said)));
    }
    let media = media_of(&mut part)?;
    Some(part.beside(media))
}

/// Takes the media out of an image or a file.
fn media_of(part: &mut Object) -> Option<Media> {
    let url = ["image_url", "file_data", "file_url"].iter().find_map(|name| part.take::<String>(name));
    let file = part.take("file_id");
    let name = part.take("filename");
    match (url, file) {
        (Some(url), _) => Some(media_of_url(url, name)),
        (None, Some(id)) => Some(Media { source: MediaSource::FileId(id), media_type: None, name }),
        (None, None) => None,
    }
}

fn generated(mut item: Object) -> Option<Part> {
    let id: String = item.take("id")?;
    let data: String = item.take("result")?;
    let media_type = Some("image/png".to_owned());
    Some(item.beside(Media { source: MediaSource::Base64(data.into()), media_type, name: None }).with_id(id))
}

fn result_of(mut item: Object) -> Option<Part> {
    let call_id = item.take("call_id")?;
    let kind: String = item.get("type")?;
    let parts = match item.take::<String>("output") {
        Some(said) => vec![ResultPart::Text(said.into())],
        None if !matches!(kind.as_str(), "function_call_output" | "custom_tool_call_output") => {
            item.take_json("output").map(|json| ResultPart::Json(json.into())).into_iter().collect()
        }
        None => {
            let mut list = item.take_list("output")?;
            let parts = list.iter_mut().map(result_part_of).collect();
            item.put("output", list);
            parts
        }
    };
    let has_failed = item.get("status") == Some("failed".to_owned());
    Some(item.beside(ToolResult { call_id, name: None, parts, is_error: has_failed.then_some(true) }))
}

fn result_part_of(part: &mut Object) -> ResultPart {
    if let Some(said) = part.take::<String>("text") {
        return ResultPart::Text(said.into());
    }
    match media_of(part) {
        Some(media) => ResultPart::Media(media),
        None => ResultPart::Other {
            kind: part.get("type").unwrap_or_default(),
            json: std::mem::take(part).to_json().into(),
        },
    }
}

/// The entries that the message came from. Of a response, the items in `output` go back to the provider.
fn entries_of(message: &Message) -> Vec<Object> {
    let origin = message.origin.as_deref().cloned().unwrap_or_default();
    let mut entry = Object::of_verbatim(origin.verbatim.as_ref());
    if entry.has("object") {
        entry.put("output", items_of(&message.parts));
        entry.put_some("id", origin.id);
        entry.put_some("model", origin.model);
        return vec![entry];
    }
    let is_item = |part: &&Part| {
        matches!(part.body, PartBody::ToolCall(_) | PartBody::ToolResult(_)) || matches!(message.role, Role::Other(_))
    };
    let (items, said): (Vec<&Part>, Vec<&Part>) = message.parts.iter().partition(is_item);
    match &said[..] {
        [] => return items.into_iter().map(item_of).collect(),
        [Part { body: PartBody::Text(said), origin: None }] => entry.put("content", text(said)),
        said => entry.put("content", said.iter().map(|part| said_back(part)).collect::<Vec<_>>()),
    }
    let role = match message.role {
        Role::System => "system",
        Role::Developer => "developer",
        Role::Assistant => "assistant",
        _ => "user",
    };
    entry.put("role", role);
    std::iter::once(entry).chain(items.into_iter().map(item_of)).collect()
}

fn items_of(parts: &[Part]) -> Vec<Object> {
    parts.chunk_by(|left, right| id_of(left).is_some() && id_of(left) == id_of(right)).map(listed).collect()
}

/// The item of several parts.
fn listed(parts: &[Part]) -> Object {
    let mut item = Object::rest_of(&parts[0]);
    let list = match item.get::<String>("type").as_deref() {
        Some("reasoning") => "summary",
        Some("message") => "content",
        _ => return item_of(&parts[0]),
    };
    item.put_some("id", id_of(&parts[0]));
    item.put_some("encrypted_content", signature_of(&parts[0]));
    if let Some(mut objects) = item.take_list(list) {
        objects.iter_mut().zip(parts).for_each(|(object, part)| put_said(object, &part.body));
        item.put(list, objects);
    }
    item
}

fn said_back(part: &Part) -> Object {
    let mut object = Object::rest_of(part);
    put_said(&mut object, &part.body);
    object
}

fn put_said(object: &mut Object, body: &PartBody) {
    match body {
        PartBody::Text(said) | PartBody::Thought(said) => object.put("text", text(said)),
        PartBody::Refusal(said) => object.put("refusal", text(said)),
        PartBody::Media(media) => put_media(object, media),
        PartBody::Other { json, .. } => *object = Object::parse(text(json)),
        other => panic!("a message has no {other:?}"),
    }
}

fn put_media(object: &mut Object, media: &Media) {
    let kind: String = object.get("type").unwrap_or_default();
    match (kind.as_str(), &media.source) {
        (_, MediaSource::FileId(id)) => object.put("file_id", id),
        ("input_image", _) => object.put("image_url", url_of_media(media)),
        (_, MediaSource::Url(url)) => object.put("file_url", text(url)),
        _ => object.put("file_data", url_of_media(media)),
    }
    object.put_some("filename", media.name.as_ref());
}

fn item_of(part: &Part) -> Object {
    let mut item = Object::rest_of(part);
    item.put_some("id", id_of(part));
    match &part.body {
        PartBody::ToolCall(call) => put_call(&mut item, call),
        PartBody::ToolResult(result) => put_result(&mut item, result),
        PartBody::Media(Media { source: MediaSource::Base64(data), .. }) => item.put("result", text(data)),
        PartBody::Other { json, .. } => item = Object::parse(text(json)),
        PartBody::Text(_) | PartBody::Thought(_) | PartBody::Refusal(_) => put_said(&mut item, &part.body),
        other => panic!("no item is {other:?}"),
    }
    item
}

fn put_call(item: &mut Object, call: &ToolCall) {
    let kind: String = item.get("type").unwrap_or_default();
    let arguments = text(&call.arguments);
    match call.kind {
        ToolKind::Function => {
            item.is_a("function_call");
            item.put("arguments", arguments);
        }
        ToolKind::Custom => {
            item.is_a("custom_tool_call");
            item.put("input", arguments);
        }
        _ if kind == "mcp_call" => item.put("arguments", arguments),
        // It stands under another name, in the rest.
        _ if arguments.is_empty() => {}
        _ => item.put_json("action", arguments),
    }
    if call.kind != ToolKind::Provider {
        item.put("call_id", &call.id);
    }
    let kind: String = item.get("type").unwrap_or_default();
    item.put_some("name", Some(&call.name).filter(|name| **name != kind));
}

fn put_result(item: &mut Object, result: &ToolResult) {
    item.is_a("function_call_output");
    item.put("call_id", &result.call_id);
    match (&result.parts[..], item.take_list("output")) {
        ([ResultPart::Text(said)], None) => item.put("output", text(said)),
        ([ResultPart::Json(json)], None) => item.put_json("output", text(json)),
        ([], None) => {}
        (parts, list) => {
            let mut list = list.unwrap_or_else(|| vec![Object::default(); parts.len()]);
            list.iter_mut().zip(parts).for_each(|(object, part)| put_result_part(object, part));
            item.put("output", list);
        }
    }
}

fn put_result_part(object: &mut Object, part: &ResultPart) {
    match part {
        ResultPart::Text(said) => {
            object.is_a("input_text");
            object.put("text", text(said));
        }
        ResultPart::Media(media) => put_media(object, media),
        ResultPart::Json(json) | ResultPart::Other { json, .. } => *object = Object::parse(text(json)),
        other => panic!("no result has {other:?}"),
    }
}

fn back(messages: &[Message]) -> Vec<Object> {
    messages.iter().flat_map(entries_of).collect()
}

#[actix::test]
async fn every_kind_of_item_comes_back_from_a_store_as_it_came() {
    assert_same(&back(&kept(RECORDED, message_of).await), &entries(RECORDED));
}

#[test]
fn what_the_host_made_itself_goes_out_in_the_interface_s_form() {
    let wanted = r#"[
        { "role": "system", "content": "Be brief." },
        { "role": "user", "content": "What is clock 17?" },
        { "role": "assistant", "content": "I look it up." },
        { "type": "function_call", "call_id": "c1", "name": "inventory", "arguments": "{\"number\": 17.0}" },
        { "type": "function_call", "call_id": "c2", "name": "inventory", "arguments": "{\"number\": 17.0}" },
        { "type": "function_call_output", "call_id": "c1", "output": "oak" },
        { "type": "function_call_output", "call_id": "c2", "output": "interrupted" },
        { "role": "assistant", "content": "Of oak." }
    ]"#;
    assert_same(&back(&made_here()), &entries(wanted));
}

#[actix::test]
async fn the_typed_fields_are_filled() {
    let messages = kept(RECORDED, message_of).await;
    let answer = &messages[2];
    let origin = answer.origin.as_ref().unwrap();
    assert_eq!(origin.id.as_deref(), Some("resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b"));
    assert_eq!(origin.stop_reason.as_deref(), Some("completed"));
    let usage = Usage {
        input_tokens: Some(1328),
        output_tokens: Some(452),
        cache_read_tokens: Some(1024),
        cache_write_tokens: Some(256),
        reasoning_tokens: Some(384),
        total_tokens: Some(1780),
    };
    assert_eq!(origin.usage, Some(usage));

    let [first, second, search, mcp, ..] = &answer.parts[..] else { panic!("{:?}", answer.parts) };
    assert!(matches!((&first.body, &second.body), (PartBody::Thought(_), PartBody::Thought(_))));
    assert!(signature_of(first).unwrap().starts_with("gAAAAABofs8C"));
    assert_eq!(id_of(first), id_of(second));
    assert_eq!(messages[7].parts[0].as_tool_result().unwrap().is_error, Some(true), "a patch that failed");
    for part in [search, mcp] {
        assert_eq!(part.as_tool_call().unwrap().kind, ToolKind::Provider);
    }
    assert!(answer.parts.iter().any(|part| matches!(part.body, PartBody::Refusal(_))));
    let owed: Vec<_> =
        answer.parts.iter().filter_map(Part::as_tool_call).filter(|call| call.kind != ToolKind::Provider).collect();
    let ids: Vec<_> = owed.iter().map(|call| call.id.as_str()).collect();
    assert_eq!(ids, ["call_unLAR8MvFNptuiZK6K6HCy5k", "call_2", "call_3", "call_4", "call_5"]);
    assert_eq!(owed[0].arguments, Content::from(r#"{"number":  17, "since": 1.10}"#), "byte for byte");
    assert_eq!(owed[2].kind, ToolKind::Custom);
    assert_eq!(owed[3].kind, ToolKind::Other("shell_call".to_owned()));

    let result = messages[3].parts[0].as_tool_result().unwrap();
    let [ResultPart::Text(_), ResultPart::Media(image), ResultPart::Media(file), ResultPart::Other { .. }] =
        &result.parts[..]
    else {
        panic!("{:?}", result.parts)
    };
    assert_eq!(image.media_type.as_deref(), Some("image/jpeg"));
    assert_eq!(file.name.as_deref(), Some("card.pdf"));
    let incomplete = messages[8].origin.as_ref().unwrap();
    assert_eq!((incomplete.stop_reason.as_deref(), incomplete.usage), (Some("max_output_tokens"), None));
}

#[actix::test]
async fn a_converter_that_loses_something_is_caught() {
    let messages = kept(RECORDED, message_of).await;
    // Why a response ended stands in two members, which both stay verbatim. A result that failed says so in its
    // status.
    assert_eq!(unnoticed(&messages, back), ["error flag", "stop reason"]);
}
