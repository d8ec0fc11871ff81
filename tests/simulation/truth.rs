//! Goal: a reference that is right by being simple. Method: what each session's log must hold, as plain lists.

use std::collections::{BTreeMap, HashMap, HashSet};

use foldlog::{Appended, Error, EventId, LogEvent, OwnBody, Receipt, SessionCore};

use crate::common::tally::{TallyCounters, TallyView};
use crate::common::{Tally, TallyBody};

/// What must come of an append, where that is known.
#[derive(Debug, Clone, PartialEq)]
pub enum Must {
    /// Faults, restarts or another store decide: the log tells afterwards.
    Any,
    Write {
        first: u64,
    },
    Nothing {
        head: u64,
    },
    Repeat {
        first: u64,
    },
    KeyReused {
        first: u64,
    },
    HeadMoved {
        actual: u64,
    },
    Dangling,
    OwnedElsewhere,
    /// A retry in a store that may not write, of an append that another store has in flight.
    OwnedElsewhereOr(Box<Must>),
}

/// An append that was accepted.
pub struct Sent {
    pub handed: Vec<TallyBody>,
    pub key: Option<u64>,
    pub expected: Option<u64>,
    /// The events that it redacts, by their ids; empty for an append.
    pub redacts: Vec<usize>,
    pub store: usize,
    pub must: Must,
    /// `None` once it has answered, or was dropped.
    pub receipt: Option<Receipt<Tally>>,
    pub answer: Option<Result<Appended<Tally>, Error>>,
}

/// Who may write a session.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Owner {
    Nobody,
    Store(usize),
    Unsure,
}

pub struct Truth {
    pub name: String,
    /// Whether it is known to exist.
    pub is_made: bool,
    pub owner: Owner,
    /// Stamped bodies that are in the log for sure.
    pub log: Vec<TallyBody>,
    /// The log and what is in flight, where nothing can go wrong with it.
    pub predicted: Vec<TallyBody>,
    /// The appends whose key was used: the bodies as handed over, and the first event.
    pub keys: HashMap<u64, (Vec<TallyBody>, u64)>,
    /// Those of them of which nothing is left to compare a retry with, since events of the append were redacted.
    pub gone_keys: HashSet<u64>,
    /// Keys of deleted sessions of this name.
    pub old_keys: Vec<u64>,
    /// Whether `predicted` and `keys` can be relied upon.
    pub is_sure: bool,
    /// The first mark after which they can: what was made before may rest on an append that was refused since.
    pub sure_from: u64,
    pub sent: Vec<Sent>,
    /// What was refused, by its mark: it must never turn up.
    pub refused: HashSet<u64>,
}

impl Truth {
    pub fn new(name: String) -> Self {
        Self {
            name,
            is_made: false,
            owner: Owner::Nobody,
            log: Vec::new(),
            predicted: Vec::new(),
            keys: HashMap::new(),
            gone_keys: HashSet::new(),
            old_keys: Vec::new(),
            is_sure: true,
            sure_from: 0,
            sent: Vec::new(),
            refused: HashSet::new(),
        }
    }

    /// What must come of an append by a store, and what it changes in the prediction.
    pub fn predict(
        &mut self,
        store: usize,
        handed: &[TallyBody],
        key: Option<u64>,
        expected: Option<u64>,
        is_stored: impl Fn(&TallyBody) -> Known,
    ) -> Must {
        if !self.is_sure {
            return Must::Any;
        }
        let head = self.predicted.len() as u64;
        let moved = expected.filter(|expected| *expected != head).map(|_| Must::HeadMoved { actual: head });
        if handed.is_empty() && self.owner != Owner::Store(store) {
            // Answered by what this store knows of the log.
            return Must::Any;
        }
        if handed.is_empty() {
            return moved.unwrap_or(Must::Nothing { head });
        }
        match (self.owner, self.known(handed, key)) {
            (Owner::Unsure, _) => return Must::Any,
            // What is in the log is told in any store.
            (Owner::Store(owner), Some(known)) if owner != store => {
                let is_written = |sent: &Sent| sent.key == key && matches!(sent.answer, Some(Ok(_)));
                let is_written = self.sent.iter().any(is_written);
                return if is_written { known } else { Must::OwnedElsewhereOr(Box::new(known)) };
            }
            (Owner::Store(owner), None) if owner != store => return Must::OwnedElsewhere,
            (_, known) => {
                self.owner = Owner::Store(store);
                if let Some(known) = known {
                    return known;
                }
            }
        }
        if let Some(moved) = moved {
            return moved;
        }
        match handed.iter().map(is_stored).min() {
            Some(Known::Gone) => return Must::Dangling,
            // What a sweep has made of the blob is not known: the answer tells.
            Some(Known::Perhaps) => {
                self.is_sure = false;
                return Must::Any;
            }
            _ => {}
        }
        let first = head + 1;
        self.predicted = stamped(&self.predicted, handed);
        if let Some(key) = key {
            self.keys.insert(key, (handed.to_vec(), first));
        }
        Must::Write { first }
    }

    /// What must come of an append with a key that was written.
    pub fn known(&self, handed: &[TallyBody], key: Option<u64>) -> Option<Must> {
        let (bodies, first) = self.keys.get(&key?)?;
        // What is left of a redacted append tells only whose bodies it had: the host's, or foldlog's own.
        let is_alike = |one: &[TallyBody]| one.first().map(is_own) == handed.first().map(is_own);
        Some(match bodies == handed || self.gone_keys.contains(&key?) && is_alike(bodies) {
            true => Must::Repeat { first: *first },
            false => Must::KeyReused { first: *first },
        })
    }
}

/// Whether something is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Known {
    Gone,
    Perhaps,
    There,
}

impl Truth {
    /// Applies a redaction of these events to a log. Its own event is not among them.
    pub fn redact(log: &mut [TallyBody], events: &[usize]) {
        for event in events {
            log[event - 1] = redacted(&log[event - 1]);
        }
    }

    /// Notes that events of the log are redacted for sure.
    pub fn was_redacted(&mut self, events: &[usize]) {
        let is_of = |first: u64, count: usize| {
            let first = usize::try_from(first).unwrap();
            events.iter().any(|event| (first..first + count).contains(event))
        };
        let gone = self.keys.iter().filter(|(_, (bodies, first))| is_of(*first, bodies.len())).map(|(key, _)| *key);
        self.gone_keys.extend(gone);
        // What they said must never turn up again.
        self.refused.extend(events.iter().filter_map(|event| mark(&self.log[event - 1])));
        Self::redact(&mut self.log, events);
    }

    /// The session was deleted: what a new one of its name begins with.
    pub fn deleted(&mut self, is_stormy: bool) {
        let Self { name, log, predicted, keys, mut old_keys, sent, mut refused, .. } =
            std::mem::replace(self, Self::new(String::new()));
        let handed = sent.iter().flat_map(|sent| &sent.handed);
        refused.extend(log.iter().chain(&predicted).chain(handed).filter_map(mark));
        old_keys.extend(keys.keys().copied().chain(sent.iter().filter_map(|sent| sent.key)));
        let owner = if is_stormy { Owner::Unsure } else { Owner::Nobody };
        *self = Self { refused, old_keys, owner, is_sure: !is_stormy, ..Self::new(name) };
    }
}

/// What a redaction leaves of a body.
pub fn redacted(body: &TallyBody) -> TallyBody {
    match body {
        TallyBody::Added(_) => TallyBody::Added(0),
        TallyBody::Named { id, .. } => TallyBody::Named { id: *id, name: "-".to_owned() },
        TallyBody::Attached(blob) => TallyBody::Attached(*blob),
        // By foldlog: the title that a describe gave, and the reason of a redaction.
        TallyBody::Noted(_) => TallyBody::Noted(String::new()),
        TallyBody::FoldedFor(_) => TallyBody::FoldedFor(0),
        other => panic!("no history appends {other:?}"),
    }
}

/// Whether an event that had this body may have that one now.
pub fn is_now(before: &TallyBody, now: &TallyBody) -> bool {
    before == now || redacted(before) == *now
}

/// Whether it stands for an event of foldlog's own.
pub fn is_own(body: &TallyBody) -> bool {
    matches!(body, TallyBody::Noted(_) | TallyBody::FoldedFor(_))
}

/// Stands in a list of bodies for a redaction with this mark, which no history appends otherwise.
pub fn redaction(mark: u64) -> TallyBody {
    TallyBody::FoldedFor(mark)
}

/// A log with these bodies appended, with the ids that they get.
pub fn stamped(log: &[TallyBody], handed: &[TallyBody]) -> Vec<TallyBody> {
    let mut log = log.to_vec();
    let mut names = log.iter().filter(|body| matches!(body, TallyBody::Named { .. })).count() as u64;
    for body in handed {
        log.push(match body {
            TallyBody::Named { name, .. } => {
                names += 1;
                TallyBody::Named { id: names, name: name.clone() }
            }
            body => body.clone(),
        });
    }
    log
}

/// Stands in a list of bodies for a describe by this mark, which no history appends otherwise.
pub fn described(mark: u64) -> TallyBody {
    TallyBody::Noted(mark.to_string())
}

/// The label that a describe by this mark sets: one of three, so that they are set again and again.
pub fn label_of(mark: &str) -> String {
    format!("label {}", mark.parse::<u64>().unwrap() % 3)
}

/// An event, as it stands in a list of bodies.
pub fn shown(event: &LogEvent<Tally>) -> TallyBody {
    match event {
        LogEvent::Model(event) => event.body().clone(),
        LogEvent::Own(event) => match event.body() {
            OwnBody::Described(described) => TallyBody::Noted(described.title.clone().expect("each sets a title")),
            OwnBody::Redacted(redacted) => redaction(redacted.reason.parse().unwrap_or_default()),
            other => panic!("no history appends {other:?}"),
        },
        other => panic!("no history appends {other:?}"),
    }
}

/// The first event of an append that is in the log.
pub fn first_of(appended: &Appended<Tally>) -> EventId {
    // A describe or a redaction is one event, and none of the model's.
    appended.events.first().map_or(appended.head, |event| event.id())
}

/// Asserts that a title and labels are those that the describes of a log give.
#[track_caller]
pub fn assert_core(core: &SessionCore, log: &[TallyBody]) {
    assert_described(&core.title, &core.labels, log);
}

#[track_caller]
pub fn assert_described(found: &str, found_labels: &BTreeMap<String, String>, log: &[TallyBody]) {
    let marks = log.iter().filter_map(|body| if let TallyBody::Noted(mark) = body { Some(mark) } else { None });
    let title = marks.clone().next_back().cloned().unwrap_or_default();
    // A describe that was redacted gives an empty title and no label.
    let labels = marks.filter(|mark| !mark.is_empty()).map(|mark| (label_of(mark), mark.clone())).collect();
    assert_eq!((found, found_labels), (title.as_str(), &labels), "the title and labels");
}

/// The view of a log, folded by other means than the model's.
pub fn folded(log: &[TallyBody]) -> TallyView {
    let mut view = TallyView::default();
    for body in log {
        match body {
            TallyBody::Noted(_) | TallyBody::FoldedFor(_) => continue,
            TallyBody::Added(n) => view.sum += n,
            TallyBody::Named { id, name } => view.names.push((*id, name.clone())),
            TallyBody::Attached(blob) => view.blobs.push(*blob),
            other => panic!("no history appends {other:?}"),
        }
    }
    let events = log.iter().filter(|body| !is_own(body)).count() as u64;
    view.counters = TallyCounters { event: events, name: view.names.len() as u64 };
    view
}

/// The number by which an append is told from all others: the one in its first body.
pub fn mark(body: &TallyBody) -> Option<u64> {
    match body {
        TallyBody::Added(n) | TallyBody::FoldedFor(n) => Some(*n),
        TallyBody::Named { name: text, .. } | TallyBody::Noted(text) => text.parse().ok(),
        _ => None,
    }
    // A redacted body has none.
    .filter(|mark| *mark > 0)
}

pub fn position(id: EventId) -> usize {
    usize::try_from(id.get()).unwrap()
}
