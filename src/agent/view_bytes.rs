//! The bytes of a view. Small values, and those that a recovery reads, come first and are decoded at once. Messages,
//! turns, steps and evals follow in chunks, which are decoded when an item of theirs is asked for.
//!
//! ```text
//! u32  little-endian: length of the head
//! ...  the head in bincode, varint: each collection as the sizes of its chunks; of turns and steps also the ids, as runs
//!      of ids that follow each other, and the places of those that are not finished
//! ...  the chunks of messages, turns, steps and evals: each the bincode of a list of 64, the last of what is left
//! ```
//! A chunk is known to decode before anybody asks for its items: the bytes were checked against their digest, and the
//! store that wrote them has decoded them and compared the view first. Lengths and counts are checked when a view is
//! loaded, and that the build which wrote it has items of the same layout. The first chunk, a last chunk that is not
//! full, and the chunks of unfinished turns and steps are decoded then. A chunk that does not decode in spite of all
//! that is logged as an error, and its items say that they cannot be read.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::agent::append_list::{AppendList, CHUNK, Items, Packed};
use crate::agent::counters::Counters;
use crate::agent::entities::Entities;
use crate::agent::entity::{Eval, EvalStatus, Failure, SessionInfo, Step, StepStatus, Turn, TurnStatus};
use crate::agent::id::{MessageId, StepId};
use crate::agent::message::{Message, Role};
use crate::agent::open_calls::OpenCall;
use crate::agent::view::{AgentView, StepSoFar};
use crate::content::Content;
use crate::id::EventId;
use crate::model::{DecodeError, decode_view, encode_view};

mod layout;

use layout::LAYOUT;

#[derive(Serialize, Deserialize)]
struct ViewHead {
    /// See [`LAYOUT`].
    layout: [u8; 8],
    session: Option<Shared<SessionInfo>>,
    messages: Outline,
    turns: EntitiesOutline,
    steps: EntitiesOutline,
    evals: Outline,
    counters: [u64; 4],
    vars: Option<Shared<Content>>,
    compact_from: Option<EventId>,
    error: Option<Shared<Failure>>,
    open_calls: Vec<OpenCall>,
    instructions: Vec<MessageId>,
    summary: Option<MessageId>,
    summaries: Vec<MessageId>,
    unanswered: Vec<MessageId>,
    running_steps: Vec<(StepId, StepSoFar)>,
}

/// The sizes of a list whose items come behind the head.
#[derive(Serialize, Deserialize)]
struct Outline {
    items: u64,
    chunk_bytes: Vec<u32>,
}

#[derive(Serialize, Deserialize)]
struct EntitiesOutline {
    list: Outline,
    /// The runs of ids: the first id of each, and its length.
    runs: Vec<(u64, u64)>,
    /// The places of the entities that are not finished.
    unfinished: Vec<u64>,
}

pub(super) fn encode(view: &AgentView) -> Option<Vec<u8>> {
    // Taken apart without `..`, so that a new field must be considered here. The clones share structure.
    let AgentView {
        session,
        messages,
        turns,
        steps,
        evals,
        counters,
        vars,
        compact_from,
        error,
        open_calls,
        instructions,
        summary,
        summaries,
        unanswered,
        running_steps,
    } = view.clone();
    let Counters { message, turn, step, eval } = counters;
    let mut chunks = Vec::new();
    let head = encode_view(&ViewHead {
        layout: *LAYOUT,
        session: session.map(Shared),
        messages: pack(messages.len(), messages.chunks(), &mut chunks)?,
        turns: pack_entities(&turns, Turn::is_running, &mut chunks)?,
        steps: pack_entities(&steps, Step::is_running, &mut chunks)?,
        evals: pack(evals.len(), evals.chunks(), &mut chunks)?,
        counters: [message, turn, step, eval],
        vars: vars.map(Shared),
        compact_from,
        error: error.map(Shared),
        open_calls: open_calls.iter().cloned().collect(),
        instructions: instructions.into_iter().collect(),
        summary,
        summaries: summaries.into_iter().collect(),
        unanswered: unanswered.into_iter().collect(),
        running_steps: running_steps.into_iter().collect(),
    })?;
    Some([&u32::try_from(head.len()).ok()?.to_le_bytes(), head.as_slice(), &chunks].concat())
}

pub(super) fn decode(mut bytes: Bytes) -> Result<AgentView, DecodeError> {
    let head_bytes = bytes.try_get_u32_le().map_err(|_| malformed("it ends within a length"))?;
    let head = take(&mut bytes, head_bytes)?;
    let ViewHead {
        layout,
        session,
        messages,
        turns,
        steps,
        evals,
        counters,
        vars,
        compact_from,
        error,
        open_calls,
        instructions,
        summary,
        summaries,
        unanswered,
        running_steps,
    } = decode_view(&head)?;
    if layout != *LAYOUT {
        return Err(malformed("a build wrote it whose items have another layout"));
    }
    let [message, turn, step, eval] = counters;
    let messages = unpack(&messages, &mut bytes)?;
    let turns = unpack_entities(&turns, Turn::is_running, &mut bytes)?;
    let steps = unpack_entities(&steps, Step::is_running, &mut bytes)?;
    let evals = unpack(&evals, &mut bytes)?;
    if !bytes.is_empty() {
        return Err(malformed("it goes on behind its last chunk"));
    }
    Ok(AgentView {
        session: session.map(|Shared(session)| session),
        messages,
        turns,
        steps,
        evals,
        counters: Counters { message, turn, step, eval },
        vars: vars.map(|Shared(vars)| vars),
        compact_from,
        error: error.map(|Shared(error)| error),
        open_calls: open_calls.into_iter().collect(),
        instructions: instructions.into(),
        summary,
        summaries: summaries.into(),
        unanswered: unanswered.into_iter().collect(),
        running_steps: running_steps.into_iter().collect(),
    })
}

fn malformed(reason: &str) -> DecodeError {
    DecodeError::Malformed { reason: reason.to_owned() }
}

fn take(bytes: &mut Bytes, len: u32) -> Result<Bytes, DecodeError> {
    let len = len as usize;
    if len <= bytes.len() { Ok(bytes.split_to(len)) } else { Err(malformed("it ends within a part")) }
}

/// Writes the chunks of a list. A chunk that came packed is copied: its bytes are those that its items would encode to.
fn pack<'a, T: Serialize + 'a>(
    len: usize,
    list: impl Iterator<Item = (impl Iterator<Item = &'a Arc<T>>, Option<&'a Packed<T>>)>,
    chunks: &mut Vec<u8>,
) -> Option<Outline> {
    let mut outline = Outline { items: len as u64, chunk_bytes: Vec::new() };
    for (items, packed) in list {
        let before = chunks.len();
        match packed {
            Some(packed) => chunks.extend_from_slice(&packed.bytes),
            None => chunks.extend(encode_view(&items.map(|item| &**item).collect::<Vec<_>>())?),
        }
        outline.chunk_bytes.push(u32::try_from(chunks.len() - before).ok()?);
    }
    Some(outline)
}

fn pack_entities<K: Into<u64>, T: Serialize>(
    entities: &Entities<K, T>,
    is_unfinished: impl Fn(&T) -> bool,
    chunks: &mut Vec<u8>,
) -> Option<EntitiesOutline> {
    Some(EntitiesOutline {
        list: pack(entities.len(), entities.chunks(), chunks)?,
        runs: entities.runs(),
        unfinished: entities.unfinished(is_unfinished).map(|(place, _)| place as u64).collect(),
    })
}

fn unpack<T: Stored>(outline: &Outline, bytes: &mut Bytes) -> Result<AppendList<T>, DecodeError> {
    let mut list = AppendList::default();
    let mut left = outline.items;
    for (number, len) in outline.chunk_bytes.iter().enumerate() {
        let chunk = take(bytes, *len)?;
        let count = left.min(CHUNK as u64);
        left -= count;
        // Bincode begins so short a list with one byte, the number of its items.
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

fn unpack_entities<K, T: Stored>(
    outline: &EntitiesOutline,
    is_unfinished: impl Fn(&T) -> bool,
    bytes: &mut Bytes,
) -> Result<Entities<K, T>, DecodeError> {
    let list = unpack(&outline.list, bytes)?;
    Entities::of(list, &outline.runs, &outline.unfinished, is_unfinished)
        .ok_or_else(|| malformed("ids or unfinished entities do not fit the list"))
}

fn unpack_full<T: Stored>(bytes: &[u8]) -> Items<T> {
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

/// An item that is stored in chunks.
trait Stored: DeserializeOwned {
    /// The item that stands for one that cannot be read, and that nobody takes for a real one.
    fn unreadable() -> Self;
}

const UNREADABLE: &str = "foldlog.unreadable";

impl Stored for Message {
    fn unreadable() -> Self {
        Self::text(Role::Other(UNREADABLE.to_owned()), "this message of a stored view cannot be read")
    }
}

impl Stored for Turn {
    fn unreadable() -> Self {
        let error = Failure::new(UNREADABLE, "this turn of a stored view cannot be read");
        Self { status: TurnStatus::Error, error: Some(error), ..Self::default() }
    }
}

impl Stored for Step {
    fn unreadable() -> Self {
        let error = Failure::new(UNREADABLE, "this step of a stored view cannot be read");
        Self { status: StepStatus::Error, error: Some(error), ..Self::default() }
    }
}

impl Stored for Eval {
    fn unreadable() -> Self {
        let error = Failure::new(UNREADABLE, "this eval of a stored view cannot be read");
        Self { status: EvalStatus::Error, error: Some(error), ..Self::default() }
    }
}

/// An `Arc` that is encoded as the value that it holds.
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
