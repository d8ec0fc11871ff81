//! A second model, tiny and of our own, in four builds that share their directories.

use foldlog::{BlobRef, DecodeError, Event, EventId, SessionModel, Turns, Unfinished, decode_body};
use serde::{Deserialize, Serialize};

/// Writes schema 1, whose amounts are dozens.
pub const ANCIENT: u8 = 1;
/// Does not know the event type `named`.
pub const OLD: u8 = 2;
pub const TODAY: u8 = 3;
/// Folds what today's build panics on.
pub const MENDED: u8 = 4;

/// One build of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TallyBuild<const BUILD: u8>;

pub type Tally = TallyBuild<TODAY>;
pub type AncientTally = TallyBuild<ANCIENT>;
pub type OldTally = TallyBuild<OLD>;
pub type MendedTally = TallyBuild<MENDED>;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TallyBody {
    /// Adds to the sum. 0 is refused by `check`.
    Added(u64),
    /// Mints an id for a name.
    Named {
        id: u64,
        name: String,
    },
    Attached(BlobRef),
    /// `apply` panics on it, after it has spoilt the view.
    Poisoned,
    /// No turn may be taken any more.
    Finished,
}

impl TallyBody {
    pub fn named(name: &str) -> Self {
        Self::Named { id: 0, name: name.to_owned() }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TallyView {
    pub sum: u64,
    pub names: Vec<(u64, String)>,
    pub blobs: Vec<BlobRef>,
    pub counters: TallyCounters,
    pub finished: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TallyCounters {
    pub event: u64,
    pub name: u64,
}

impl<const BUILD: u8> SessionModel for TallyBuild<BUILD> {
    const NAME: &'static str = "tally";
    const SCHEMA: u16 = if BUILD == ANCIENT { 1 } else { 2 };
    // They fold differently: one does not know a type, one panics where another does not.
    const VIEW_SCHEMA: u16 = BUILD as u16;

    type Body = TallyBody;
    type View = TallyView;
    type Counters = TallyCounters;
    type Transient = String;

    fn event_type(body: &TallyBody) -> &'static str {
        match body {
            TallyBody::Added(_) => "added",
            TallyBody::Named { .. } => "named",
            TallyBody::Attached(_) => "attached",
            TallyBody::Poisoned => "poisoned",
            TallyBody::Finished => "finished",
        }
    }

    fn encode_view(view: &TallyView) -> Option<Vec<u8>> {
        foldlog::encode_view(view)
    }

    fn decode_view(bytes: foldlog::Bytes) -> Result<TallyView, DecodeError> {
        foldlog::decode_view(&bytes)
    }

    fn check(body: &TallyBody) -> Result<(), String> {
        if *body == TallyBody::Added(0) { Err("nothing is added".to_owned()) } else { Ok(()) }
    }

    fn stamp(counters: &mut TallyCounters, id: EventId, body: &mut TallyBody) -> Result<(), String> {
        counters.event = id.get();
        if let TallyBody::Named { id, .. } = body {
            counters.name += 1;
            *id = counters.name;
        }
        Ok(())
    }

    fn apply(view: &mut TallyView, event: &Event<Self>) {
        view.counters.event = event.id().get();
        match event.body() {
            TallyBody::Added(n) => view.sum += n,
            TallyBody::Named { id, name } => {
                view.names.push((*id, name.clone()));
                view.counters.name = view.counters.name.max(*id);
            }
            TallyBody::Attached(blob) => view.blobs.push(*blob),
            TallyBody::Poisoned if BUILD == MENDED => {}
            TallyBody::Poisoned => {
                view.sum = u64::MAX;
                panic!("on purpose: this build cannot fold a poisoned body");
            }
            TallyBody::Finished => view.finished = true,
        }
    }

    fn counters(view: &TallyView) -> TallyCounters {
        view.counters
    }

    fn blob_refs(body: &TallyBody, each: &mut dyn FnMut(&BlobRef)) {
        if let TallyBody::Attached(blob) = body {
            each(blob);
        }
    }

    fn turns(view: &TallyView) -> Turns {
        Turns { stopped: view.finished, started: view.names.len() as u64 }
    }

    fn unfinished(view: &TallyView) -> Vec<Unfinished> {
        view.names.iter().map(|(id, _)| Unfinished { kind: "name", id: *id }).collect()
    }

    fn decode(event_type: &str, schema: u16, bytes: &[u8]) -> Result<TallyBody, DecodeError> {
        if schema > Self::SCHEMA || (event_type == "named" && BUILD <= OLD) {
            return Err(DecodeError::Unknown);
        }
        match (decode_body(bytes)?, schema) {
            (TallyBody::Added(dozens), 1) if BUILD != ANCIENT => Ok(TallyBody::Added(12 * dozens)),
            (body, _) => Ok(body),
        }
    }
}
