//! Folding a log: recovery of a session, states read from disk, pages of events. Runs on reader threads.

mod fold;
mod pages;

use std::collections::HashMap;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::time::Duration;

use super::key_index::KeyIndex;
use crate::codec::{self, Chain, RecordHeader};
use crate::error::{Error, ErrorKind};
use crate::event_log::{Head, LogError, LogMeta, LogReader, StoredPage, StoredRow};
use crate::id::{EventId, SessionId};
use crate::model::{DecodeError, Event, SessionModel, Unfinished, View};
use crate::snapshot::Tail;

pub(crate) use fold::{Fold, Origin};

/// The most record bytes in one page, beside the number of its events.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// Whether a session can be appended to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
            head: Head::before_first(log),
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

/// Reads one page as it is stored. An event that cannot be read is named with its session.
fn read(
    reader: &mut dyn LogReader,
    page: &mut StoredPage,
    session: &SessionId,
    log: LogMeta,
    after: EventId,
    events_max: usize,
) -> Result<(), Error> {
    reader.page_into(page, log.key, after, events_max, PAGE_BYTES_MAX).map_err(|error| match error {
        LogError::CorruptEvent { event, reason } => corrupt(session, event, reason),
        error => error.into(),
    })
}

/// Checks that a stored event follows the one before: no hole, no changed byte.
pub(crate) fn check(session: &SessionId, before: &Head, stored: StoredRow<'_>) -> Result<(), Error> {
    if stored.id != before.id.next() {
        return Err(corrupt(session, before.id.next(), format!("the log goes on with event {}", stored.id)));
    }
    if before.chain.next(stored.id, stored.at, stored.record) != stored.chain {
        return Err(corrupt(session, stored.id, "its chain hash does not follow from the event before".to_owned()));
    }
    Ok(())
}

/// Splits the record of a stored event into its header and the body's bytes.
pub(crate) fn open_record<'a>(session: &SessionId, stored: StoredRow<'a>) -> Result<(RecordHeader, &'a [u8]), Error> {
    codec::decode_record(stored.record).map_err(|error| corrupt(session, stored.id, error.to_string()))
}

/// Decodes a stored event.
pub(crate) fn decode<M: SessionModel>(session: &SessionId, stored: StoredRow<'_>) -> Result<Event<M>, Error> {
    let (header, body) = open_record(session, stored)?;
    decode_body(session, stored, header.schema, body)
}

/// Decodes the body of a stored event whose record is open already.
fn decode_body<M: SessionModel>(
    session: &SessionId,
    stored: StoredRow<'_>,
    schema: u16,
    body: &[u8],
) -> Result<Event<M>, Error> {
    catch_unwind(|| decode_unguarded(session, stored, schema, body)).unwrap_or_else(|_| Err(panicked(session, stored)))
}

fn panicked(session: &SessionId, stored: StoredRow<'_>) -> Error {
    corrupt(session, stored.id, "decode panicked".to_owned())
}

/// The model's `decode` may panic.
fn decode_unguarded<M: SessionModel>(
    session: &SessionId,
    stored: StoredRow<'_>,
    schema: u16,
    body: &[u8],
) -> Result<Event<M>, Error> {
    let body = M::decode(stored.event_type, schema, body).map_err(|error| match error {
        DecodeError::Unknown => Error::from(ErrorKind::NewerRecord {
            session: session.clone(),
            event: stored.id,
            event_type: stored.event_type.to_owned(),
            schema,
        }),
        DecodeError::Malformed { reason } => corrupt(session, stored.id, reason),
    })?;
    // The type's column is outside of the chain. Only at another schema may a body have come to be of another type.
    let event_type = M::event_type(&body);
    if schema == M::SCHEMA && event_type != stored.event_type {
        let reason = format!("it is stored as {} and its body is {event_type}", stored.event_type);
        return Err(corrupt(session, stored.id, reason));
    }
    Ok(Event::new(stored.id, stored.at, body))
}

pub(crate) fn corrupt(session: &SessionId, event: EventId, reason: String) -> Error {
    ErrorKind::CorruptEvent { session: session.clone(), event, reason }.into()
}

/// Some events of a log, in order.
pub struct EventPage<M: SessionModel> {
    /// The events after the one that was asked for.
    pub events: Vec<Arc<Event<M>>>,
    /// Whether more may follow: ask again after the last of these.
    pub more: bool,
}

impl<M: SessionModel> Clone for EventPage<M> {
    fn clone(&self) -> Self {
        Self { events: self.events.clone(), more: self.more }
    }
}

impl<M: SessionModel> std::fmt::Debug for EventPage<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventPage").field("events", &self.events).field("more", &self.more).finish()
    }
}

/// Reads one page and checks its chain. A damaged event is the error of the page that begins with it.
pub(crate) fn read_page<M: SessionModel>(
    reader: &mut dyn LogReader,
    session: &SessionId,
    log: LogMeta,
    after: EventId,
    events_max: usize,
) -> Result<EventPage<M>, Error> {
    let mut stored = StoredPage::default();
    read(reader, &mut stored, session, log, after, events_max)?;
    let mut events = Vec::with_capacity(stored.len());
    let mut head = Head::before_first(log);
    if after > EventId::ZERO && !stored.is_empty() {
        // Only the hash: a page may begin behind an event that is damaged, and what follows it is still what was written.
        let lost = || corrupt(session, after, "the log lost it".to_owned());
        head = Head { id: after, chain: reader.chain_at(log.key, after)?.ok_or_else(lost)?, at: head.at };
    }
    for stored in stored.rows() {
        match check(session, &head, stored).and_then(|_| decode(session, stored)) {
            Ok(event) => events.push(Arc::new(event)),
            Err(error) if events.is_empty() => return Err(error),
            Err(_) => break,
        }
        head = Head { id: stored.id, chain: stored.chain, at: stored.at };
    }
    Ok(EventPage { events, more: !stored.is_empty() })
}
