//! What a recovery finds: everything that a session needs to go on.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::Chain;
use crate::error::{Error, ErrorKind};
use crate::id::{EventId, SessionId};
use crate::model::{SessionModel, Unfinished, View};
use crate::port::{Head, LogMeta};
use crate::replay::key_index::KeyIndex;
use crate::replay::snapshot::Tail;

/// Whether a session can be appended to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// It can.
    #[default]
    Ready,
    /// An event is of a type or schema that this build does not know: read-only, the view stands before it.
    NewerRecord {
        /// The first such event.
        event: EventId,
        /// Its type.
        event_type: String,
        /// Its schema version.
        schema: u16,
    },
    /// `apply` panicked on a committed event: read-only, the view stands before it. Or the model panicked over the view
    /// that this event completed.
    Unfoldable {
        /// The event.
        event: EventId,
    },
}

impl Condition {
    /// The error that an append to a session in this condition gets.
    pub(crate) fn refusal(&self, session: &SessionId) -> Option<Error> {
        let session = session.clone();
        match self.clone() {
            Self::Ready => None,
            Self::NewerRecord { event, event_type, schema } => {
                Some(ErrorKind::NewerRecord { session, event, event_type, schema }.into())
            }
            Self::Unfoldable { event } => Some(ErrorKind::Unfoldable { session, event }.into()),
        }
    }
}

/// What a recovery did and found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// How many events were read.
    pub events: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// What was begun and has no end: a host repairs it, for example with a `TurnPut` that ends the turn.
    pub unfinished: Vec<Unfinished>,
    /// Whether the session can be appended to.
    pub condition: Condition,
}

/// Everything a session needs to go on.
pub(crate) struct Recovered<M: SessionModel> {
    pub(crate) view: Arc<View<M>>,
    pub(crate) head: Head,
    pub(crate) report: RecoveryReport,
    pub(crate) keys: KeyIndex,
    pub(crate) counters: M::Counters,
    /// Of all records: how large the session is, roughly, while it is resident.
    pub(crate) bytes: u64,
    /// The chain at each event that was asked for and is there.
    pub(crate) chains: HashMap<EventId, Chain>,
    /// What a stored view does not hold yet.
    pub(crate) tail: Tail,
}

impl<M: SessionModel> Recovered<M> {
    /// A session that was made this moment.
    pub(crate) fn fresh(log: LogMeta, keys_max: usize) -> Self {
        Self {
            view: Arc::new(View::new(EventId::ZERO, M::View::default())),
            head: log.base,
            report: RecoveryReport {
                events: 0,
                elapsed: Duration::ZERO,
                unfinished: Vec::new(),
                condition: Condition::Ready,
            },
            keys: KeyIndex::new(keys_max),
            counters: M::Counters::default(),
            bytes: 0,
            chains: HashMap::new(),
            tail: Tail::default(),
        }
    }
}
