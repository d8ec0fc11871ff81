//! The bytes of a view: its parts in order, each collection as a list.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use imbl::Vector;
use serde::de::{SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::append_list::AppendList;
use super::counters::Counters;
use super::entities::Entities;
use super::entity::{Eval, Failure, SessionInfo, Step, Turn};
use super::message::Message;
use super::view::AgentView;
use crate::content::Content;
use crate::id::EventId;
use crate::model::{DecodeError, decode_view, encode_view};

#[derive(Serialize, Deserialize)]
struct Parts {
    session: Option<Shared<SessionInfo>>,
    messages: List<Message, AppendList<Message>>,
    turns: List<Turn, Vector<Arc<Turn>>>,
    steps: List<Step, Vector<Arc<Step>>>,
    evals: List<Eval, AppendList<Eval>>,
    counters: [u64; 5],
    vars: Option<Shared<Content>>,
    compact_from: Option<EventId>,
    error: Option<Shared<Failure>>,
}

pub(super) fn encode(view: &AgentView) -> Option<Vec<u8>> {
    // Taken apart without `..`, so that a new field must be considered here. The clones share structure.
    let AgentView { session, messages, turns, steps, evals, counters, vars, compact_from, error } = view.clone();
    let Counters { event, message, turn, step, eval } = counters;
    encode_view(&Parts {
        session: session.map(Shared),
        messages: List::of(messages),
        turns: List::of(turns.into_items()),
        steps: List::of(steps.into_items()),
        evals: List::of(evals),
        counters: [event, message, turn, step, eval],
        vars: vars.map(Shared),
        compact_from,
        error: error.map(Shared),
    })
}

pub(super) fn decode(bytes: &[u8]) -> Result<AgentView, DecodeError> {
    let Parts { session, messages, turns, steps, evals, counters, vars, compact_from, error } = decode_view(bytes)?;
    let [event, message, turn, step, eval] = counters;
    Ok(AgentView {
        session: session.map(|Shared(session)| session),
        messages: messages.0,
        turns: Entities::of(turns.0, |turn| turn.id),
        steps: Entities::of(steps.0, |step| step.id),
        evals: evals.0,
        counters: Counters { event, message, turn, step, eval },
        vars: vars.map(|Shared(vars)| vars),
        compact_from,
        error: error.map(|Shared(error)| error),
    })
}

/// Encoded as what it holds.
struct Shared<T>(Arc<T>);

impl<T: Serialize> Serialize for Shared<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Shared<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(|value| Self(Arc::new(value)))
    }
}

/// Encoded as a list. Decoded into its place at once: a list of values in between would be as large again.
struct List<T, C>(C, PhantomData<T>);

impl<T, C> List<T, C> {
    fn of(items: C) -> Self {
        Self(items, PhantomData)
    }
}

impl<T: Serialize, C> Serialize for List<T, C>
where
    for<'a> &'a C: IntoIterator<Item = &'a Arc<T>>,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // With its length first, which not every iterator knows.
        let mut list = serializer.serialize_seq(Some((&self.0).into_iter().count()))?;
        (&self.0).into_iter().try_for_each(|item| list.serialize_element(&**item))?;
        list.end()
    }
}

impl<'de, T: Deserialize<'de>, C: Default + Extend<Arc<T>>> Deserialize<'de> for List<T, C> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T, C>(PhantomData<(T, C)>);
        impl<'de, T: Deserialize<'de>, C: Default + Extend<Arc<T>>> Visitor<'de> for Items<T, C> {
            type Value = List<T, C>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<List<T, C>, A::Error> {
                let mut list = C::default();
                while let Some(item) = items.next_element::<T>()? {
                    list.extend([Arc::new(item)]);
                }
                Ok(List::of(list))
            }
        }
        deserializer.deserialize_seq(Items(PhantomData))
    }
}
