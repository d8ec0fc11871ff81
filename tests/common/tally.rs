//! A small session model: in builds that know more or less than one another, and with traps that a test sets and lifts.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

use foldlog::{BlobRef, DecodeError, Event, EventId, SessionModel, Turns, Unfinished, decode_body};
use serde::{Deserialize, Serialize};

/// Writes schema 1, whose amounts are dozens.
pub const ANCIENT: u8 = 1;
/// Does not know the event type `named`.
pub const OLD: u8 = 2;
pub const TODAY: u8 = 3;

/// One build of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TallyBuild<const BUILD: u8>;

pub type Tally = TallyBuild<TODAY>;
pub type AncientTally = TallyBuild<ANCIENT>;
pub type OldTally = TallyBuild<OLD>;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TallyBody {
    /// Adds to the sum.
    Added(u64),
    /// Changes nothing.
    Noted(String),
    /// Mints an id for a name.
    Named {
        id: u64,
        name: String,
    },
    Attached(BlobRef),
    /// Refused by `check`.
    Refused,
    /// Springs in one place, for as long as its switch is on.
    Trapped(Trap),
    /// Records the thread that folds it: see [`threads_that_folded`].
    FoldedFor(u64),
    /// No turn may be taken any more.
    Finished,
    /// Any number of blobs, so that a redaction can take them away.
    Listed(Vec<BlobRef>),
}

impl TallyBody {
    pub fn named(name: &str) -> Self {
        Self::Named { id: 0, name: name.to_owned() }
    }
}

/// Where a trap springs: the function of the model, and what it does then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    Check,
    BlobRefs,
    Stamp,
    EventType,
    Apply,
    Counters,
    Turns,
    Unfinished,
    Decode,
    EncodeView,
    DecodeView,
    /// The view panics once when it is cloned, and turns its switch off.
    CloneOnce,
    /// `decode` says that the bytes are malformed, as they are on a disk that has gone bad.
    DecodeFails,
    DecodeViewFails,
    /// `decode_view` gives another view than the one that was encoded.
    DecodeViewChanges,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trap {
    place: Place,
    switch: u64,
}

impl Trap {
    fn is_set(self, place: Place) -> bool {
        self.place == place && lock(&ON).contains(&self.switch)
    }

    fn step_on(self, place: Place) {
        assert!(!self.is_set(place), "on purpose: the trap in {place:?} springs");
    }
}

static ON: Mutex<BTreeSet<u64>> = Mutex::new(BTreeSet::new());
static NEXT_SWITCH: AtomicU64 = AtomicU64::new(1);

/// Sets and lifts a trap. To turn it off is as if the host had been built again without its mistake.
#[derive(Debug, Clone, Copy)]
pub struct Switch(u64);

impl Switch {
    pub fn on() -> Self {
        let switch = Self::off();
        switch.turn_on();
        switch
    }

    pub fn off() -> Self {
        Self(NEXT_SWITCH.fetch_add(1, Ordering::SeqCst))
    }

    pub fn is_on(self) -> bool {
        lock(&ON).contains(&self.0)
    }

    pub fn turn_on(self) {
        lock(&ON).insert(self.0);
    }

    pub fn turn_off(self) {
        lock(&ON).remove(&self.0);
    }

    /// The body whose trap this switch sets and lifts.
    pub fn trap(self, place: Place) -> TallyBody {
        TallyBody::Trapped(Trap { place, switch: self.0 })
    }
}

static FOLDED: Mutex<Vec<(u64, ThreadId)>> = Mutex::new(Vec::new());

/// The threads that folded a `FoldedFor` of this group. Each test has a group of its own, since tests run at once.
pub fn threads_that_folded(group: u64) -> HashSet<ThreadId> {
    lock(&FOLDED).iter().filter(|(of, _)| *of == group).map(|(_, thread)| *thread).collect()
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TallyView {
    pub sum: u64,
    pub names: Vec<(u64, String)>,
    pub blobs: Vec<BlobRef>,
    pub counters: TallyCounters,
    pub finished: bool,
    pub trap: Option<Trap>,
}

impl TallyView {
    fn step_on(&self, place: Place) {
        if let Some(trap) = self.trap {
            trap.step_on(place);
        }
    }

    fn is_set(&self, place: Place) -> bool {
        self.trap.is_some_and(|trap| trap.is_set(place))
    }
}

impl Clone for TallyView {
    fn clone(&self) -> Self {
        if let Some(trap) = self.trap {
            let springs = trap.place == Place::CloneOnce && lock(&ON).remove(&trap.switch);
            assert!(!springs, "on purpose: this view panics when it is cloned");
        }
        Self {
            sum: self.sum,
            names: self.names.clone(),
            blobs: self.blobs.clone(),
            counters: self.counters,
            finished: self.finished,
            trap: self.trap,
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TallyCounters {
    /// How many events there are.
    pub event: u64,
    /// The last id of a name.
    pub name: u64,
}

fn step_on(place: Place, body: &TallyBody) {
    if let TallyBody::Trapped(trap) = body {
        trap.step_on(place);
    }
}

impl<const BUILD: u8> SessionModel for TallyBuild<BUILD> {
    const NAME: &'static str = "tally";
    const SCHEMA: u16 = if BUILD == ANCIENT { 1 } else { 2 };
    // They fold differently, since one does not know a type.
    const VIEW_SCHEMA: u16 = BUILD as u16;

    type Body = TallyBody;
    type View = TallyView;
    type Counters = TallyCounters;
    type Transient = String;

    fn event_type(body: &TallyBody) -> &'static str {
        step_on(Place::EventType, body);
        match body {
            TallyBody::Added(_) => "added",
            TallyBody::Noted(_) => "noted",
            TallyBody::Named { .. } => "named",
            TallyBody::Attached(_) => "attached",
            TallyBody::Refused => "refused",
            TallyBody::Trapped(_) => "trapped",
            TallyBody::FoldedFor(_) => "folded",
            TallyBody::Finished => "finished",
            TallyBody::Listed(_) => "listed",
        }
    }

    fn encode_view(view: &TallyView) -> Option<Vec<u8>> {
        view.step_on(Place::EncodeView);
        foldlog::encode_view(view)
    }

    fn decode_view(bytes: foldlog::Bytes) -> Result<TallyView, DecodeError> {
        let mut view: TallyView = foldlog::decode_view(&bytes)?;
        view.step_on(Place::DecodeView);
        if view.is_set(Place::DecodeViewFails) {
            return Err(DecodeError::Unknown);
        }
        view.sum += u64::from(view.is_set(Place::DecodeViewChanges));
        Ok(view)
    }

    fn check(body: &TallyBody) -> Result<(), String> {
        step_on(Place::Check, body);
        if *body == TallyBody::Refused { Err("never to be persisted".to_owned()) } else { Ok(()) }
    }

    fn stamp(counters: &mut TallyCounters, _: EventId, body: &mut TallyBody) -> Result<(), String> {
        // Before the trap, so that counters which a panic left behind would be noticed.
        counters.event += 1;
        step_on(Place::Stamp, body);
        if let TallyBody::Named { id, .. } = body {
            counters.name += 1;
            *id = counters.name;
        }
        Ok(())
    }

    fn apply(view: &mut TallyView, event: &Event<Self>) {
        // Before the trap, so that a view which a panic left behind would be noticed. Counted, and not taken from the
        // event, so that an event which is applied twice would be noticed.
        view.counters.event += 1;
        step_on(Place::Apply, event.body());
        match event.body() {
            TallyBody::Added(n) => view.sum += n,
            TallyBody::Named { id, name } => {
                view.names.push((*id, name.clone()));
                view.counters.name = view.counters.name.max(*id);
            }
            TallyBody::Attached(blob) => view.blobs.push(*blob),
            TallyBody::Trapped(trap) => view.trap = Some(*trap),
            TallyBody::FoldedFor(group) => lock(&FOLDED).push((*group, std::thread::current().id())),
            TallyBody::Finished => view.finished = true,
            TallyBody::Listed(blobs) => view.blobs.extend(blobs),
            TallyBody::Noted(_) | TallyBody::Refused => {}
        }
    }

    fn counters(view: &TallyView) -> TallyCounters {
        view.step_on(Place::Counters);
        view.counters
    }

    fn blob_refs(body: &TallyBody, each: &mut dyn FnMut(&BlobRef)) {
        step_on(Place::BlobRefs, body);
        match body {
            TallyBody::Attached(blob) => each(blob),
            TallyBody::Listed(blobs) => blobs.iter().for_each(each),
            _ => {}
        }
    }

    fn turns(view: &TallyView) -> Turns {
        view.step_on(Place::Turns);
        Turns { stopped: view.finished, started: view.names.len() as u64 }
    }

    fn unfinished(view: &TallyView) -> Vec<Unfinished> {
        view.step_on(Place::Unfinished);
        view.names.iter().map(|(id, _)| Unfinished::new("name", *id)).collect()
    }

    fn decode(event_type: &str, schema: u16, bytes: &[u8]) -> Result<TallyBody, DecodeError> {
        let is_known = match event_type {
            "added" | "noted" | "attached" | "trapped" | "folded" | "finished" | "listed" => true,
            "named" => BUILD > OLD,
            _ => false,
        };
        if schema > Self::SCHEMA || !is_known {
            return Err(DecodeError::Unknown);
        }
        let body = decode_body(bytes)?;
        step_on(Place::Decode, &body);
        match body {
            TallyBody::Trapped(trap) if trap.is_set(Place::DecodeFails) => {
                Err(DecodeError::Malformed { reason: "a byte is not what it was".to_owned() })
            }
            TallyBody::Added(dozens) if schema == 1 && BUILD != ANCIENT => Ok(TallyBody::Added(12 * dozens)),
            body => Ok(body),
        }
    }
}
