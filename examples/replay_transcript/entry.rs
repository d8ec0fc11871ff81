//! One `history` entry of a transcript, as a message and back.
//!
//! What has a place in a [`Message`] goes there: role, name, thought, texts, tool calls with their arguments verbatim,
//! tool results, the action. The rest goes into `extra`, as `{"entry": {...}, "shape": [...]}`: the members without a
//! place, and what a reader of the parts alone could not know. The entry can be rebuilt from the message and nothing
//! else.

use foldlog::agent::{Media, MediaSource, Message, Part, PartBody, ResultPart, Role, ToolCall, ToolResult};
use foldlog::{BlobRef, Content, Error, Json, Store};
use serde_json::{Map, Value, json};

/// The content was a list of texts, not one text.
const CONTENT_LIST: &str = "content-list";
/// The one tool call is the action.
const ACTION_CALL: &str = "action-call";
/// The entry was no object.
const NO_OBJECT: &str = "no-object";
/// The rest is too large to be kept inline: it is the last part.
const REST_APART: &str = "rest-apart";
/// The tool of an action: the transcripts do not name it.
pub(crate) const ACTION_TOOL: &str = "action";
const REST_MEDIA: &str = "application/json";

/// Interns contents, and counts what stays inline.
pub(crate) struct Contents {
    pub(crate) store: Store,
    pub(crate) inline: u64,
    pub(crate) inline_bytes: u64,
}

impl Contents {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, inline: 0, inline_bytes: 0 }
    }

    pub(crate) async fn text(&mut self, text: String) -> Result<Content, Error> {
        let content = self.store.intern_text(text).await?;
        if let Some(text) = content.as_inline() {
            self.inline += 1;
            self.inline_bytes += text.len() as u64;
        }
        Ok(content)
    }

    /// The blob of a value that is too large to be kept inline.
    async fn large(&mut self, json: &Json) -> Result<Option<BlobRef>, Error> {
        Ok(self.store.intern_json(json.clone()).await?.as_blob().copied())
    }
}

/// A message, the code that it asks to run, and the results that it reports.
pub(crate) struct Mapped {
    pub(crate) message: Message,
    /// The code that the message asks to run: tool name, call id, code.
    pub(crate) calls: Vec<Call>,
    /// What the message says of the calls before it: call id, result.
    pub(crate) results: Vec<(String, Content)>,
}

pub(crate) struct Call {
    pub(crate) tool: String,
    pub(crate) id: String,
    pub(crate) code: Content,
}

/// Maps an entry. `observes` says that the entry before it was an action, which a user's message answers.
pub(crate) async fn to_message(contents: &mut Contents, entry: &Value, observes: bool) -> Result<Mapped, Error> {
    let mut shape = Vec::new();
    let mut parts = Vec::new();
    let mut calls = Vec::new();
    let mut results = Vec::new();
    let mut rest = match entry {
        Value::Object(members) => members.clone(),
        other => {
            shape.push(NO_OBJECT);
            Map::from_iter([(NO_OBJECT.to_owned(), other.clone())])
        }
    };

    let role = match take_text(&mut rest, "role").as_deref() {
        None => Role::Other(String::new()),
        Some("system") => Role::System,
        Some("user") if observes => Role::Observation,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("tool") => Role::Tool,
        Some(other) => Role::Other(other.to_owned()),
    };
    let name = take_text(&mut rest, "agent");
    if let Some(thought) = take_text(&mut rest, "thought") {
        parts.push(Part::thought(contents.text(thought).await?));
    }

    let texts = match rest.get("content") {
        Some(Value::String(text)) => Some(vec![text.clone()]),
        Some(Value::Array(items)) if !items.is_empty() => items.iter().map(text_of).collect(),
        _ => None,
    };
    if let Some(texts) = texts {
        if rest.remove("content").is_some_and(|content| content.is_array()) {
            shape.push(CONTENT_LIST);
        }
        let answered = one_call_id(&rest);
        if answered.is_some() {
            rest.remove("tool_call_ids");
        }
        for text in texts {
            let content = contents.text(text).await?;
            if let Some(call_id) = &answered {
                results.push((call_id.clone(), content.clone()));
                parts.push(Part::tool_result(call_id.clone(), content));
            } else {
                if observes {
                    results.push((String::new(), content.clone()));
                }
                parts.push(Part::text(content));
            }
        }
    }

    if let Some(tool_calls) = tool_calls_of(&rest) {
        rest.remove("tool_calls");
        // The action repeats the call in another form, so it stays in the rest.
        for (id, name, arguments) in tool_calls {
            let arguments = contents.text(arguments).await?;
            calls.push(Call { tool: name.clone(), id: id.clone(), code: arguments.clone() });
            parts.push(Part::tool_call(id, name, arguments));
        }
    } else if let Some(action) = take_text(&mut rest, "action") {
        shape.push(ACTION_CALL);
        let arguments = contents.text(action).await?;
        calls.push(Call { tool: ACTION_TOOL.to_owned(), id: String::new(), code: arguments.clone() });
        parts.push(Part::tool_call("", ACTION_TOOL, arguments));
    }

    let mut rest = Json::from_value(&Value::Object(rest))?;
    if let Some(blob) = contents.large(&rest).await? {
        shape.push(REST_APART);
        parts.push(Part::media(REST_MEDIA, blob));
        rest = Json::default();
    }
    let extra = if rest == Json::default() && shape.is_empty() {
        rest
    } else {
        Json::from_value(&json!({ "entry": rest.to_value()?, "shape": shape }))?
    };
    Ok(Mapped { message: Message { role, name, parts, extra, ..Message::default() }, calls, results })
}

/// Rebuilds the entry from the message.
pub(crate) async fn from_message(store: &Store, message: &Message) -> Result<Value, Error> {
    let mut extra = match message.extra.to_value()? {
        Value::Object(extra) => extra,
        _ => Map::new(),
    };
    let shape = extra.remove("shape").unwrap_or_default();
    let has = |mark: &str| shape.as_array().is_some_and(|marks| marks.iter().any(|known| known == mark));
    let mut entry = match extra.remove("entry") {
        Some(Value::Object(entry)) => entry,
        _ => Map::new(),
    };
    let mut texts = Vec::new();
    let mut tool_calls = Vec::new();
    for part in &message.parts {
        match &part.body {
            PartBody::Thought(content) => {
                entry.insert("thought".to_owned(), store.read_content(content).await?.into());
            }
            PartBody::Text(content) => texts.push(store.read_content(content).await?),
            PartBody::ToolResult(ToolResult { call_id, parts, .. }) => {
                if let [ResultPart::Text(content)] = &parts[..] {
                    texts.push(store.read_content(content).await?);
                }
                entry.insert("tool_call_ids".to_owned(), json!([call_id]));
            }
            PartBody::ToolCall(ToolCall { arguments, .. }) if has(ACTION_CALL) => {
                entry.insert("action".to_owned(), store.read_content(arguments).await?.into());
            }
            PartBody::ToolCall(ToolCall { id, name, arguments, .. }) => {
                let arguments = store.read_content(arguments).await?;
                tool_calls.push(
                    json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } }),
                );
            }
            PartBody::Media(Media { source: MediaSource::Blob(blob), .. }) => {
                let rest = store.read_content(&Content::Blob(*blob)).await?;
                if let Value::Object(rest) = Json::parse(&rest)?.to_value()? {
                    entry.extend(rest);
                }
            }
            _ => {}
        }
    }
    if has(CONTENT_LIST) {
        let list = texts.into_iter().map(|text| json!({ "type": "text", "text": text })).collect();
        entry.insert("content".to_owned(), Value::Array(list));
    } else if let Some(text) = texts.pop() {
        entry.insert("content".to_owned(), text.into());
    }
    if !tool_calls.is_empty() {
        entry.insert("tool_calls".to_owned(), Value::Array(tool_calls));
    }
    if let Some(name) = &message.name {
        entry.insert("agent".to_owned(), name.as_str().into());
    }
    let role = match &message.role {
        Role::System => "system",
        Role::Observation => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
        Role::Other(role) => role,
        _ => "user",
    };
    if !role.is_empty() {
        entry.insert("role".to_owned(), role.into());
    }
    if has(NO_OBJECT) { Ok(entry.remove(NO_OBJECT).unwrap_or_default()) } else { Ok(Value::Object(entry)) }
}

/// Where two values differ first, as a path and both values in short.
pub(crate) fn difference(expected: &Value, found: &Value) -> Option<String> {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            let missing =
                expected.keys().find(|name| !found.contains_key(*name)).map(|name| format!(".{name}: is missing"));
            let added =
                || found.keys().find(|name| !expected.contains_key(*name)).map(|name| format!(".{name}: was added"));
            missing.or_else(added).or_else(|| {
                expected.iter().zip(found).find_map(|((name, expected), (_, found))| {
                    difference(expected, found).map(|rest| format!(".{name}{rest}"))
                })
            })
        }
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            expected.iter().zip(found).enumerate().find_map(|(place, (expected, found))| {
                difference(expected, found).map(|rest| format!("[{place}]{rest}"))
            })
        }
        (Value::String(expected), Value::String(found)) if expected != found => {
            let place = expected.bytes().zip(found.bytes()).take_while(|(a, b)| a == b).count();
            Some(format!(": strings of {} and {} bytes differ at byte {place}", expected.len(), found.len()))
        }
        _ if expected == found => None,
        _ => Some(format!(": {} became {}", short(expected), short(found))),
    }
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(60).collect()
}

/// Takes a text that is not empty. Any other value stays where it is.
fn take_text(members: &mut Map<String, Value>, name: &str) -> Option<String> {
    match members.get(name) {
        Some(Value::String(text)) if name != "role" || !text.is_empty() => {
            let text = text.clone();
            members.remove(name);
            Some(text)
        }
        _ => None,
    }
}

/// The text of `{"type": "text", "text": ...}` with no other member.
fn text_of(item: &Value) -> Option<String> {
    let text = item.get("text")?.as_str()?;
    (item == &json!({ "type": "text", "text": text })).then(|| text.to_owned())
}

/// The call that a tool's message answers, if it is one.
fn one_call_id(members: &Map<String, Value>) -> Option<String> {
    match members.get("tool_call_ids")?.as_array()?.as_slice() {
        [Value::String(id)] => Some(id.clone()),
        _ => None,
    }
}

/// Id, name and arguments of each tool call, if they are all function calls with no other member.
fn tool_calls_of(members: &Map<String, Value>) -> Option<Vec<(String, String, String)>> {
    let calls = members.get("tool_calls")?.as_array()?;
    let read = |call: &Value| {
        let id = call.get("id")?.as_str()?;
        let name = call.pointer("/function/name")?.as_str()?;
        let arguments = call.pointer("/function/arguments")?.as_str()?;
        let same = json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } });
        (call == &same).then(|| (id.to_owned(), name.to_owned(), arguments.to_owned()))
    };
    if calls.is_empty() { None } else { calls.iter().map(read).collect() }
}
