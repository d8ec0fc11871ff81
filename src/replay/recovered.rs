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
    /// It can be appended to.
    #[default]
    Ready,
    /// An event is of a type or schema that this build does not know. The session is read-only, and its view ends
    /// before that event.
    NewerRecord {
        /// The first such event.
        event: EventId,
        /// Its type.
        event_type: String,
        /// Its schema version.
        schema: u16,
    },
    /// The session model's `apply` panicked on a committed event. The session is read-only, and its view ends before
    /// that event. Or a recovery found that the session model's `counters` or `unfinished` panics on the view, which
    /// then ends with this event.
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
    /// How many events were read from the log. Those in the stored view that the recovery began with do not count.
    pub events: u64,
    /// How long it took to read and fold these events.
    pub elapsed: Duration,
    /// What was begun and has no end. Of the agent model, [`Session::interrupt`](crate::Session::interrupt) ends it.
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
    /// The bytes of all records, roughly: what the session counts for while it is resident.
    pub(crate) bytes: u64,
    /// The chain hash of each event that was asked for and is in the log.
    pub(crate) chains: HashMap<EventId, Chain>,
    /// How much of the log is in no snapshot yet.
    pub(crate) tail: Tail,
    /// How often events of the log were redacted before it was read.
    pub(crate) redactions: u64,
}

impl<M: SessionModel> Recovered<M> {
    /// What there is of a session that has no events yet.
    pub(crate) fn fresh(log: LogMeta, keys_max: usize) -> Self {
        Self {
            view: Arc::new(View::new(EventId::ZERO, M::View::default(), Arc::default())),
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
            redactions: 0,
        }
    }
}
