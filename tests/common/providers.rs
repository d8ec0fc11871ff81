//! The rules for the order of messages that chat interfaces of providers check, written down as a checker.
//!
//! **OpenAI chat completions.** Every assistant's message with tool calls is followed directly by tool messages, one
//! for each of its ids; nothing else stands between, and no tool message stands elsewhere.
//!
//! **Anthropic messages.** Neighbours of one role are merged first, and tools speak as the user. Then the results of an
//! assistant's message are in the next message, the user's, at its beginning, one for each of its ids; no result stands
//! elsewhere. The conversation does not begin with a result, and no message and no text is empty.
//!
//! **Gemini contents.** Merged likewise: the content directly behind one with function calls is the user's, and has as
//! many function responses as there are calls, for the same functions; no response stands elsewhere.
//!
//! In all three, instructions come before the conversation.

use std::sync::Arc;

use foldlog::Content;
use foldlog::agent::{Message, PartBody, Role, ToolKind};

/// What stands in a conversation, as far as the rules look at it.
#[derive(Debug, Clone, PartialEq)]
enum Block {
    Call { id: String, name: String },
    Result { id: String, name: Option<String> },
    Other,
    EmptyText,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Speaker {
    Instructions,
    Assistant,
    User,
}

/// A message as a host converts it: its speaker, its blocks in order.
fn converted(message: &Message) -> (Speaker, Vec<Block>) {
    let speaker = match message.role {
        Role::System | Role::Developer => Speaker::Instructions,
        Role::Assistant => Speaker::Assistant,
        _ => Speaker::User,
    };
    let blocks = message.parts.iter().map(|part| match &part.body {
        PartBody::ToolCall(call) if call.kind != ToolKind::Provider => {
            Block::Call { id: call.id.clone(), name: call.name.clone() }
        }
        PartBody::ToolResult(result) if speaker == Speaker::User => {
            Block::Result { id: result.call_id.clone(), name: result.name.clone() }
        }
        PartBody::Text(Content::Inline(text)) if text.is_empty() && part.origin.is_none() => Block::EmptyText,
        _ => Block::Other,
    });
    (speaker, blocks.collect())
}

/// Whether all three providers accept the messages; if not, which rule they break.
pub fn accept(messages: &[Arc<Message>]) -> Result<(), String> {
    let converted: Vec<_> = messages.iter().map(|message| converted(message)).collect();
    let start = converted.iter().take_while(|(speaker, _)| *speaker == Speaker::Instructions).count();
    let conversation = &converted[start..];
    if conversation.iter().any(|(speaker, _)| *speaker == Speaker::Instructions) {
        return Err("an instruction stands within the conversation".to_owned());
    }
    openai(conversation).map_err(|rule| format!("OpenAI: {rule}"))?;
    let merged = merged(conversation);
    anthropic(&merged).map_err(|rule| format!("Anthropic: {rule}"))?;
    gemini(&merged).map_err(|rule| format!("Gemini: {rule}"))
}

/// Panics with the messages if a provider refuses them.
pub fn assert_accepted(messages: &[Arc<Message>]) {
    if let Err(rule) = accept(messages) {
        panic!("{rule}: {messages:#?}");
    }
}

fn ids(blocks: &[Block]) -> Vec<&str> {
    let mut ids: Vec<_> = blocks
        .iter()
        .filter_map(|block| match block {
            Block::Call { id, .. } | Block::Result { id, .. } => Some(id.as_str()),
            _ => None,
        })
        .collect();
    ids.sort_unstable();
    ids
}

fn calls(blocks: &[Block]) -> Vec<Block> {
    blocks.iter().filter(|block| matches!(block, Block::Call { .. })).cloned().collect()
}

/// Each result becomes a tool message; what a user's or a tool's message says beside becomes the user's message behind.
fn openai(conversation: &[(Speaker, Vec<Block>)]) -> Result<(), String> {
    let mut awaited: Vec<Block> = Vec::new();
    for (speaker, blocks) in conversation {
        if *speaker == Speaker::Assistant {
            if !awaited.is_empty() {
                return Err(format!("an assistant's message stands before the tool messages of {awaited:?}"));
            }
            awaited = calls(blocks);
            continue;
        }
        for block in blocks {
            match block {
                Block::Result { id, .. } => {
                    let place =
                        awaited.iter().position(|call| matches!(call, Block::Call { id: wanted, .. } if wanted == id));
                    awaited
                        .remove(place.ok_or_else(|| format!("the tool message of {id:?} answers no call before it"))?);
                }
                _ if !awaited.is_empty() => {
                    return Err(format!("a user's message stands before the tool messages of {awaited:?}"));
                }
                _ => {}
            }
        }
    }
    if awaited.is_empty() { Ok(()) } else { Err(format!("no tool message for {awaited:?}")) }
}

fn merged(conversation: &[(Speaker, Vec<Block>)]) -> Vec<(Speaker, Vec<Block>)> {
    let mut merged: Vec<(Speaker, Vec<Block>)> = Vec::new();
    for (speaker, blocks) in conversation {
        match merged.last_mut() {
            Some((last, said)) if last == speaker => said.extend(blocks.iter().cloned()),
            _ => merged.push((*speaker, blocks.clone())),
        }
    }
    merged
}

fn anthropic(merged: &[(Speaker, Vec<Block>)]) -> Result<(), String> {
    let nothing = (Speaker::User, Vec::new());
    for (place, (speaker, blocks)) in merged.iter().enumerate() {
        if blocks.is_empty() || blocks.contains(&Block::EmptyText) {
            return Err(format!("message {place} is empty, or a text of it"));
        }
        let before = place.checked_sub(1).and_then(|before| merged.get(before)).unwrap_or(&nothing);
        let results = blocks.iter().take_while(|block| matches!(block, Block::Result { .. })).count();
        let (results, rest) = blocks.split_at(results);
        if rest.iter().any(|block| matches!(block, Block::Result { .. })) {
            return Err(format!("message {place} has a result that is not at its beginning"));
        }
        if *speaker == Speaker::User && ids(results) != ids(&calls(&before.1)) {
            return Err(format!(
                "message {place} has results {results:?}, and before it are calls {:?}",
                calls(&before.1)
            ));
        }
    }
    match merged.last() {
        Some((Speaker::Assistant, blocks)) if !calls(blocks).is_empty() => {
            Err("the last calls have no result".to_owned())
        }
        _ => Ok(()),
    }
}

fn gemini(merged: &[(Speaker, Vec<Block>)]) -> Result<(), String> {
    let mut called: Vec<Block> = Vec::new();
    for (place, (speaker, blocks)) in merged.iter().enumerate() {
        let responses: Vec<_> = blocks.iter().filter(|block| matches!(block, Block::Result { .. })).collect();
        if responses.len() != called.len() {
            return Err(format!("content {place} has {} responses for {} calls", responses.len(), called.len()));
        }
        for response in responses {
            let Block::Result { id, name } = response else { continue };
            // Where the result names its function, that function was called; where it does not, the id is all there is.
            let fits = |call: &Block| match call {
                Block::Call { id: of, name: called } => {
                    of == id && name.as_ref().is_none_or(|name| name == called || !id.is_empty())
                }
                _ => false,
            };
            let place =
                called.iter().position(fits).ok_or_else(|| format!("the response {id:?} {name:?} is of no call"))?;
            called.remove(place);
        }
        called = if *speaker == Speaker::Assistant { calls(blocks) } else { Vec::new() };
    }
    if called.is_empty() { Ok(()) } else { Err("the last calls have no response".to_owned()) }
}
