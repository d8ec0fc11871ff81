//! The bytes of a view. What is small, and what a recovery looks at, comes first and is decoded at once; messages and
//! evals follow in chunks, which are decoded when somebody looks at them.
//!
//! ```text
//! u32  little-endian: length of the head
//! ...  the head in bincode, varint: each collection as a list, the two long ones as the sizes of their chunks
//! ...  the chunks of the messages, then those of the evals: each the bincode of a list of 64, the last of what is left
//! ```
//! That a chunk decodes is known before anybody asks for its items: the store hands out the bytes that a digest names,
//! and whoever wrote them has decoded them and compared the view first. Lengths and counts are checked when a view is
//! loaded, and the first chunk, and a last one that is not full, are decoded then, so that a build with other items does
//! not take it. A chunk that does not decode in spite of all that is logged as an error, and its items say that they
//! cannot be read.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use imbl::Vector;
use serde::de::{DeserializeOwned, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::append_list::{AppendList, CHUNK, Items};
use super::counters::Counters;
use super::entities::Entities;
use super::entity::{Eval, EvalStatus, Failure, SessionInfo, Step, Turn};
use super::message::{Message, Role};
use super::view::AgentView;
use crate::content::Content;
use crate::id::EventId;
use crate::model::{DecodeError, decode_view, encode_view};

#[derive(Serialize, Deserialize)]
struct Head {
    session: Option<Shared<SessionInfo>>,
    messages: Outline,
    turns: List<Turn>,
    steps: List<Step>,
    evals: Outline,
    counters: [u64; 5],
    vars: Option<Shared<Content>>,
    compact_from: Option<EventId>,
    error: Option<Shared<Failure>>,
}

/// A list whose items come behind the head.
#[derive(Serialize, Deserialize)]
struct Outline {
    items: u64,
    chunk_bytes: Vec<u32>,
}

pub(super) fn encode(view: &AgentView) -> Option<Vec<u8>> {
    // Taken apart without `..`, so that a new field must be considered here. The clones share structure.
    let AgentView { session, messages, turns, steps, evals, counters, vars, compact_from, error } = view.clone();
    let Counters { event, message, turn, step, eval } = counters;
    let mut chunks = Vec::new();
    let head = encode_view(&Head {
        session: session.map(Shared),
        messages: pack(&messages, &mut chunks)?,
        turns: List(turns.into_items()),
        steps: List(steps.into_items()),
        evals: pack(&evals, &mut chunks)?,
        counters: [event, message, turn, step, eval],
        vars: vars.map(Shared),
        compact_from,
        error: error.map(Shared),
    })?;
    Some([&u32::try_from(head.len()).ok()?.to_le_bytes(), head.as_slice(), &chunks].concat())
}

pub(super) fn decode(mut bytes: Bytes) -> Result<AgentView, DecodeError> {
    let head_bytes = bytes.try_get_u32_le().map_err(|_| malformed("it ends within a length"))?;
    let head = take(&mut bytes, head_bytes)?;
    let Head { session, messages, turns, steps, evals, counters, vars, compact_from, error } = decode_view(&head)?;
    let [event, message, turn, step, eval] = counters;
    let (messages, evals) = (unpack(&messages, &mut bytes)?, unpack(&evals, &mut bytes)?);
    if !bytes.is_empty() {
        return Err(malformed("it goes on behind its last chunk"));
    }
    Ok(AgentView {
        session: session.map(|Shared(session)| session),
        messages,
        turns: Entities::of(turns.0, |turn| turn.id),
        steps: Entities::of(steps.0, |step| step.id),
        evals,
        counters: Counters { event, message, turn, step, eval },
        vars: vars.map(|Shared(vars)| vars),
        compact_from,
        error: error.map(|Shared(error)| error),
    })
}

fn malformed(reason: &str) -> DecodeError {
    DecodeError::Malformed { reason: reason.to_owned() }
}

fn take(bytes: &mut Bytes, len: u32) -> Result<Bytes, DecodeError> {
    let len = len as usize;
    if len <= bytes.len() { Ok(bytes.split_to(len)) } else { Err(malformed("it ends within a part")) }
}

/// Writes the chunks of a list. One that is packed still, or was, has the bytes that its items would have.
fn pack<T: Serialize>(list: &AppendList<T>, chunks: &mut Vec<u8>) -> Option<Outline> {
    let mut outline = Outline { items: list.len() as u64, chunk_bytes: Vec::new() };
    for (items, packed) in list.chunks() {
        let before = chunks.len();
        match packed {
            Some(bytes) => chunks.extend_from_slice(bytes),
            None => chunks.extend(encode_view(&items.map(|item| &**item).collect::<Vec<_>>())?),
        }
        outline.chunk_bytes.push(u32::try_from(chunks.len() - before).ok()?);
    }
    Some(outline)
}

fn unpack<T: Packed>(outline: &Outline, bytes: &mut Bytes) -> Result<AppendList<T>, DecodeError> {
    let mut list = AppendList::default();
    let mut left = outline.items;
    for (number, len) in outline.chunk_bytes.iter().enumerate() {
        let chunk = take(bytes, *len)?;
        let count = left.min(CHUNK as u64);
        left -= count;
        // How bincode begins a list that is this short.
        if count == 0 || chunk.first().is_none_or(|first| u64::from(*first) != count) {
            return Err(malformed("a chunk has other items than its list"));
        }
        if number > 0 && count == CHUNK as u64 {
            list.push_packed(chunk, unpack_full);
        } else {
            list.extend(decode_view::<Vec<T>>(&chunk)?.into_iter().map(Arc::new));
        }
    }
    if left == 0 { Ok(list) } else { Err(malformed("a list has fewer items than it says")) }
}

fn unpack_full<T: Packed>(bytes: &[u8]) -> Items<T> {
    let items = decode_view::<Vec<T>>(bytes).and_then(|items| {
        let items: Vec<_> = items.into_iter().map(Arc::new).collect();
        items.into_boxed_slice().try_into().map_err(|_| malformed("not a full chunk"))
    });
    items.unwrap_or_else(|error| {
        log::error!("items of a stored view cannot be read, delete the stored views of this directory: {error}");
        let item = Arc::new(T::unreadable());
        Box::new(std::array::from_fn(|_| Arc::clone(&item)))
    })
}

/// What is stored in chunks.
trait Packed: DeserializeOwned {
    /// What stands where an item cannot be read: nobody takes it for one.
    fn unreadable() -> Self;
}

const UNREADABLE: &str = "foldlog.unreadable";

impl Packed for Message {
    fn unreadable() -> Self {
        Self::text(Role::Other(UNREADABLE.to_owned()), "this message of a stored view cannot be read")
    }
}

impl Packed for Eval {
    fn unreadable() -> Self {
        let error = Failure::new(UNREADABLE, "this eval of a stored view cannot be read");
        Self { status: EvalStatus::Error, error: Some(error), ..Self::default() }
    }
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
struct List<T>(Vector<Arc<T>>);

impl<T: Serialize> Serialize for List<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|item| &**item))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = List<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<List<T>, A::Error> {
                let mut list = Vector::new();
                while let Some(item) = items.next_element::<T>()? {
                    list.push_back(Arc::new(item));
                }
                Ok(List(list))
            }
        }
        deserializer.deserialize_seq(Entries(PhantomData))
    }
}
