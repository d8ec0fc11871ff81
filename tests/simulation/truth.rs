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
        is_stored: impl Fn(&TallyBody) -> bool,
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
        if !handed.iter().all(is_stored) {
            return Must::Dangling;
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
        Some(match bodies == handed {
            true => Must::Repeat { first: *first },
            false => Must::KeyReused { first: *first },
        })
    }
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
            other => panic!("no history appends {other:?}"),
        },
        other => panic!("no history appends {other:?}"),
    }
}

/// The first event of an append that is in the log.
pub fn first_of(appended: &Appended<Tally>) -> EventId {
    // A describe is one event, and none of the model's.
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
    let labels = marks.map(|mark| (label_of(mark), mark.clone())).collect();
    assert_eq!((found, found_labels), (title.as_str(), &labels), "the title and labels");
}

/// The view of a log, folded by other means than the model's.
pub fn folded(log: &[TallyBody]) -> TallyView {
    let mut view = TallyView::default();
    for body in log {
        match body {
            TallyBody::Noted(_) => continue,
            TallyBody::Added(n) => view.sum += n,
            TallyBody::Named { id, name } => view.names.push((*id, name.clone())),
            TallyBody::Attached(blob) => view.blobs.push(*blob),
            other => panic!("no history appends {other:?}"),
        }
    }
    let events = log.iter().filter(|body| !matches!(body, TallyBody::Noted(_))).count() as u64;
    view.counters = TallyCounters { event: events, name: view.names.len() as u64 };
    view
}

/// The number by which an append is told from all others: the one in its first body.
pub fn mark(body: &TallyBody) -> Option<u64> {
    match body {
        TallyBody::Added(n) => Some(*n),
        TallyBody::Named { name: text, .. } | TallyBody::Noted(text) => text.parse().ok(),
        _ => None,
    }
}

pub fn position(id: EventId) -> usize {
    usize::try_from(id.get()).unwrap()
}
