//! The tool calls that have no result.

use std::cmp::Reverse;
use std::fmt;

use imbl::{OrdMap, OrdSet};
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
    fn place(&self) -> (MessageId, u32) {
        (self.message, self.part)
    }

    /// As what a result may seek the call.
    fn sought_as(&self) -> impl Iterator<Item = SoughtCall> {
        let of_name = |name| SoughtCall { agent: self.agent.clone(), call_id: self.call_id.clone(), name };
        let named = self.call_id.is_empty().then(|| of_name(Some(self.name.clone())));
        std::iter::once(of_name(None)).chain(named)
    }
}

/// A call as a result seeks it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct SoughtCall {
    agent: Option<String>,
    call_id: String,
    /// Without ids, the name of the tool is all that tells two calls apart. `None` for a result that has an id, and for
    /// one that has neither, which answers a call of any name.
    name: Option<String>,
}

impl SoughtCall {
    fn of(agent: Option<&str>, result: &ToolResult) -> Self {
        let name = result.name.clone().filter(|_| result.call_id.is_empty());
        Self { agent: agent.map(str::to_owned), call_id: result.call_id.clone(), name }
    }
}

/// As what a call is sought, and its place. Of one [`SoughtCall`], the first is the one that a result takes: that of
/// the last message, and there the first part.
type CallKey = (SoughtCall, Reverse<MessageId>, u32);

/// The tool calls of a session that have no result yet. A clone shares structure.
#[derive(Clone, Default, PartialEq)]
pub struct OpenCalls {
    /// By message, and by the place there.
    calls: OrdMap<(MessageId, u32), OpenCall>,
    /// The same calls as results seek them: a log may hold any number of calls that nobody answers, and a result must
    /// find its call among them.
    by_sought: OrdSet<CallKey>,
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
        self.calls.values()
    }

    pub(super) fn add(&mut self, call: OpenCall) {
        // No two calls have one place, but for a log that gave a message's id twice.
        self.remove(call.place());
        self.by_sought.extend(call.sought_as().map(|sought| (sought, Reverse(call.message), call.part)));
        self.calls.insert(call.place(), call);
    }

    fn remove(&mut self, place: (MessageId, u32)) -> Option<OpenCall> {
        let call = self.calls.remove(&place)?;
        for sought in call.sought_as() {
            self.by_sought.remove(&(sought, Reverse(call.message), call.part));
        }
        Some(call)
    }

    /// Takes the call that a result answers: the nearest of its id, and of one message the first.
    pub(super) fn take(&mut self, agent: Option<&str>, result: &ToolResult) -> Option<OpenCall> {
        let least: CallKey = (SoughtCall::of(agent, result), Reverse(MessageId::new(u64::MAX)), 0);
        let (sought, Reverse(message), part) = self.by_sought.range::<_, CallKey>(&least..).next()?;
        if *sought == least.0 { self.remove((*message, *part)) } else { None }
    }

    /// Drops those whose messages come before an event: nobody is sent them any more.
    pub(super) fn drop_before(&mut self, boundary: EventId) {
        if self.iter().any(|call| call.event_id < boundary) {
            *self = self.iter().filter(|call| call.event_id >= boundary).cloned().collect();
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
    use proptest::prelude::*;

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

    #[test]
    fn a_result_finds_its_call_among_many_of_its_id_that_it_does_not_answer() {
        let of_agent = |n| OpenCall { agent: Some(format!("agent_{n}")), ..call(n, "call_0") };
        let of_name = |n| OpenCall { name: format!("tool_{n}"), ..call(20_000 + n, "") };
        let mut open: OpenCalls = (1..=20_000).flat_map(|n| [of_agent(n), of_name(n)]).collect();
        let (with_id, named) = (ToolResult::text("call_0", "done"), |n| ToolResult {
            name: Some(format!("tool_{n}")),
            ..ToolResult::text("", "done")
        });
        for n in 1..=20_000 {
            assert_eq!(open.take(None, &with_id), None);
            assert_eq!(open.take(Some("agent_1"), &named(n)), None);
        }
        for n in 1..20_000 {
            assert_eq!(open.take(Some(&format!("agent_{n}")), &with_id), Some(of_agent(n)));
            assert_eq!(open.take(None, &named(n)), Some(of_name(n)));
        }
        assert_eq!(open.iter().cloned().collect::<Vec<_>>(), [of_agent(20_000), of_name(20_000)]);
        assert_eq!(open.take(None, &ToolResult::text("", "done")), Some(of_name(20_000)));
        assert_eq!(open.by_sought.len(), 1, "a call that is taken leaves no key behind");
    }

    fn any_call() -> impl Strategy<Value = OpenCall> {
        // A place may come twice, and messages in any order.
        let place = (1..6_u64, 0..3_u32);
        (place, prop::sample::select(vec!["", "a", "b"]), prop::sample::select(vec!["x", "y"]), any_agent()).prop_map(
            |((message, part), call_id, name, agent)| OpenCall {
                part,
                name: name.to_owned(),
                agent,
                ..call(message, call_id)
            },
        )
    }

    fn any_agent() -> impl Strategy<Value = Option<String>> {
        prop::sample::select(vec![None, Some("side".to_owned())])
    }

    fn any_result() -> impl Strategy<Value = ToolResult> {
        let name = prop::sample::select(vec![None, Some("x".to_owned()), Some("y".to_owned())]);
        (prop::sample::select(vec!["", "a", "b"]), name)
            .prop_map(|(call_id, name)| ToolResult { name, ..ToolResult::text(call_id, "done") })
    }

    /// The rule in the words of the module `conversation`, over a list.
    fn taken(open: &mut Vec<OpenCall>, agent: Option<&str>, result: &ToolResult) -> Option<OpenCall> {
        let is_answered = |call: &OpenCall| {
            call.agent.as_deref() == agent
                && call.call_id == result.call_id
                && (!call.call_id.is_empty() || result.name.as_ref().is_none_or(|name| *name == call.name))
        };
        let nearest = open.iter().filter(|call| is_answered(call)).map(|call| call.message).max()?;
        let of_nearest = open.iter().filter(|call| is_answered(call) && call.message == nearest);
        let place = of_nearest.map(OpenCall::place).min()?;
        let at = open.iter().position(|call| call.place() == place)?;
        Some(open.remove(at))
    }

    proptest! {
        #[test]
        fn results_take_the_calls_that_the_rule_says(
            steps in prop::collection::vec((prop::option::of(any_call()), any_agent(), any_result(), 0..8_u64), 0..60),
        ) {
            let (mut open, mut listed) = (OpenCalls::default(), Vec::new());
            for (call, agent, result, boundary) in steps {
                match call {
                    Some(call) => {
                        listed.retain(|other: &OpenCall| other.place() != call.place());
                        listed.push(call.clone());
                        open.add(call);
                    }
                    None if boundary == 0 => {
                        open.drop_before(EventId::new(2));
                        listed.retain(|call| call.message >= MessageId::new(2));
                    }
                    None => {
                        let agent = agent.as_deref();
                        prop_assert_eq!(open.take(agent, &result), taken(&mut listed, agent, &result));
                    }
                }
                listed.sort_unstable_by_key(OpenCall::place);
                prop_assert_eq!(open.iter().cloned().collect::<Vec<_>>(), listed.clone());
                prop_assert_eq!(open.len(), listed.len());
                prop_assert!(open == listed.iter().cloned().collect::<OpenCalls>());
            }
        }
    }
}
