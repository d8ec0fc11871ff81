//! The tool calls that have no result.

use std::fmt;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::agent::id::MessageId;
use crate::agent::part::ToolResult;
use crate::id::EventId;

/// A tool call that has no result yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OpenCall {
    /// The message that holds the call.
    pub message: MessageId,
    /// The event of that message.
    pub event_id: EventId,
    /// The place of the call among the parts of the message, from 0.
    pub part: u32,
    /// The id of the call; empty where the provider gives none.
    pub call_id: String,
    /// The tool.
    pub name: String,
    /// The side chain that the call belongs to; `None` for the session's own conversation.
    pub agent: Option<String>,
}

impl OpenCall {
    fn is_answered_by(&self, agent: Option<&str>, result: &ToolResult) -> bool {
        self.agent.as_deref() == agent
            // Without ids, the name of the tool is all that tells two calls apart.
            && (!self.call_id.is_empty() || result.name.as_ref().is_none_or(|name| *name == self.name))
    }

    fn place(&self) -> (MessageId, u32) {
        (self.message, self.part)
    }
}

/// The tool calls of a session that have no result yet. A clone shares structure.
#[derive(Clone, Default, PartialEq)]
pub struct OpenCalls {
    /// By the id of the call, its message, and its place there: a log may hold any number of calls that nobody answers, and
    /// a result must find its call among them.
    calls: OrdMap<(String, MessageId, u32), OpenCall>,
}

impl OpenCalls {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether every call has its result.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// The calls, in the order in which they were made.
    pub fn iter(&self) -> impl Iterator<Item = &OpenCall> {
        let mut calls: Vec<_> = self.calls.values().collect();
        calls.sort_unstable_by_key(|call| call.place());
        calls.into_iter()
    }

    pub(super) fn add(&mut self, call: OpenCall) {
        self.calls.insert((call.call_id.clone(), call.message, call.part), call);
    }

    /// Takes the call that a result answers: the nearest of its id, and of one message the first.
    pub(super) fn take(&mut self, agent: Option<&str>, result: &ToolResult) -> Option<OpenCall> {
        let key = |message, part| (result.call_id.clone(), message, part);
        let is_answered = |call: &&OpenCall| call.is_answered_by(agent, result);
        let of_id = key(MessageId::new(0), 0)..=key(MessageId::new(u64::MAX), u32::MAX);
        let nearest = self.calls.range(of_id).rev().map(|(_, call)| call).find(is_answered)?.message;
        let of_message = key(nearest, 0)..=key(nearest, u32::MAX);
        let first = self.calls.range(of_message).map(|(_, call)| call).find(is_answered)?.part;
        self.calls.remove(&key(nearest, first))
    }

    /// Drops those whose messages come before an event: nobody is sent them any more.
    pub(super) fn drop_before(&mut self, boundary: EventId) {
        if self.calls.values().any(|call| call.event_id < boundary) {
            self.calls = self
                .calls
                .iter()
                .filter(|(_, call)| call.event_id >= boundary)
                .map(|(key, call)| (key.clone(), call.clone()))
                .collect();
        }
    }
}

impl FromIterator<OpenCall> for OpenCalls {
    fn from_iter<I: IntoIterator<Item = OpenCall>>(calls: I) -> Self {
        let mut open = Self::default();
        calls.into_iter().for_each(|call| open.add(call));
        open
    }
}

impl fmt::Debug for OpenCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(message: u64, call_id: &str) -> OpenCall {
        OpenCall {
            message: MessageId::new(message),
            event_id: EventId::new(message),
            part: 0,
            call_id: call_id.to_owned(),
            name: "tool".to_owned(),
            agent: None,
        }
    }

    #[test]
    fn a_result_finds_its_call_among_many_that_nobody_answers() {
        let mut open: OpenCalls = (1..=20_000).map(|n| call(n, &format!("call_{n}"))).collect();
        for n in 0..20_000 {
            assert!(open.take(None, &ToolResult::text(format!("result_{n}"), "done")).is_none());
        }
        assert_eq!(open.take(None, &ToolResult::text("call_7", "done")).map(|call| call.message.get()), Some(7));
        assert_eq!((open.len(), open.iter().next().map(|call| call.message.get())), (19_999, Some(1)));
        open.drop_before(EventId::new(10_000));
        assert_eq!(open.len(), 10_001);
    }
}
