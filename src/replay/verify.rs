//! Checks one log for a verification.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::codec;
use crate::codec::Chain;
use crate::error::{Error, ErrorKind};
use crate::event::{LogEvent, OwnBody, SessionCore};
use crate::id::{BlobRef, EventId, SessionId, Timestamp};
use crate::model::SessionModel;
use crate::port::{AuditedEvent, LogMeta, StoredEvent};
use crate::replay::record::{corrupt, decode};
use crate::replay::redacted::RedactedRecords;

/// Checks the events of one log, in order. It goes on after an event that is wrong.
pub(crate) struct LogCheck<M: SessionModel> {
    session: SessionId,
    next: EventId,
    /// The chain hashes that the next event may follow: the one that the event before stores and, if that one is wrong,
    /// the one that it should store. Empty if neither is known.
    before: Vec<Chain>,
    at: Timestamp,
    append_ends: EventId,
    newer: bool,
    /// What foldlog's own events fold to, through an event. `None` once one of them may be missing.
    core: Option<Arc<SessionCore>>,
    core_through: EventId,
    redacted: RedactedRecords,
    model: PhantomData<fn() -> M>,
}

// Not derived: that would ask for a model that can be cloned.
impl<M: SessionModel> Clone for LogCheck<M> {
    fn clone(&self) -> Self {
        let Self { session, next, before, at, append_ends, newer, core, core_through, redacted, model } = self;
        let (session, before, core, redacted) = (session.clone(), before.clone(), core.clone(), redacted.clone());
        let (next, at, append_ends, newer, core_through) = (*next, *at, *append_ends, *newer, *core_through);
        Self { session, next, before, at, append_ends, newer, core, core_through, redacted, model: *model }
    }
}

/// What the check of one event has found.
#[derive(Debug, Default)]
pub(crate) struct EventFindings {
    pub(crate) refs: Vec<BlobRef>,
    pub(crate) problems: Vec<(EventId, Error)>,
}

impl<M: SessionModel> LogCheck<M> {
    /// `core_through` is the event whose [`core`](Self::core) is wanted.
    pub(crate) fn new(session: SessionId, log: LogMeta, core_through: EventId) -> Self {
        Self {
            session,
            next: log.base.id.next(),
            before: vec![log.base.chain],
            at: Timestamp::from_micros(i64::MIN),
            append_ends: log.base.id,
            newer: false,
            core: Some(Arc::default()),
            core_through,
            redacted: RedactedRecords::default(),
            model: PhantomData,
        }
    }

    /// The last event that was looked at.
    pub(crate) fn head(&self) -> EventId {
        self.next.prev()
    }

    /// The last event of the append that the last event belongs to.
    pub(crate) fn append_ends(&self) -> EventId {
        self.append_ends
    }

    /// What foldlog's own events fold to, of those that were looked at; `None` if that is not known, since something is
    /// wrong.
    pub(crate) fn core(&self) -> Option<&Arc<SessionCore>> {
        self.core.as_ref()
    }

    pub(crate) fn event(&mut self, found: AuditedEvent) -> EventFindings {
        let checked = self.look(found);
        if checked.problems.iter().any(|(_, error)| may_hide_own_event(error)) {
            self.core = None;
        }
        checked
    }

    fn look(&mut self, found: AuditedEvent) -> EventFindings {
        let mut checked = EventFindings::default();
        let mut wrong = |event: EventId, reason: String| {
            checked.problems.push((event, corrupt(&self.session, event, reason)));
        };
        if found.id != self.next {
            wrong(self.next, format!("the log goes on with event {}", found.id));
            self.before.clear();
        }
        self.next = found.id.next();
        let stored = match found.row {
            Ok(stored) => stored,
            Err(error) => {
                wrong(found.id, error.reason());
                self.before.clear();
                return checked;
            }
        };
        let follows: Vec<_> =
            self.before.iter().map(|before| before.next(stored.id, stored.at, &stored.record)).collect();
        if !follows.is_empty() && !follows.contains(&stored.chain) {
            wrong(stored.id, "its chain hash does not follow from the event before".to_owned());
        } else if stored.at < self.at {
            wrong(stored.id, format!("its time {} is before that of the event ahead, {}", stored.at, self.at));
        }
        self.at = stored.at;
        // If the stored hash follows, the next event may follow only it; otherwise also the first of those that should
        // have been. What is kept does not grow with the log.
        let is_written = follows.contains(&stored.chain);
        self.before = if is_written { Vec::new() } else { follows };
        self.before.truncate(1);
        self.before.push(stored.chain);
        // Damaged bytes make the hash wrong and the record as well: that is one problem of the event, and not two.
        let first = checked.problems.iter().all(|(event, _)| *event != stored.id);
        match self.record(&stored) {
            Ok(refs) => checked.refs = refs,
            Err(error) if matches!(error.kind(), ErrorKind::NewerRecord { .. }) => {
                if may_hide_own_event(&error) {
                    self.core = None;
                }
                // Only the first event of a newer build is reported, since the session is read-only from there on.
                if !std::mem::replace(&mut self.newer, true) {
                    checked.problems.push((stored.id, error));
                }
                checked.refs = codec::decode_record(&stored.record).map(|(header, _)| header.refs).unwrap_or_default();
            }
            Err(error) if first => {
                // Without the hash before it, nobody knows whether the bytes are those that were written.
                let error = match error.kind() {
                    ErrorKind::Undecodable { reason, .. } if !is_written => {
                        corrupt(&self.session, stored.id, format!("its body does not decode: {reason}"))
                    }
                    _ => error,
                };
                checked.problems.push((stored.id, error));
            }
            Err(_) => {}
        }
        checked
    }

    fn record(&mut self, stored: &StoredEvent) -> Result<Vec<BlobRef>, Error> {
        let wrong = |reason: String| Err(corrupt(&self.session, stored.id, reason));
        let (header, _) = match codec::decode_record(&stored.record) {
            Ok(decoded) => decoded,
            Err(error) => return wrong(error.to_string()),
        };
        if stored.id < header.first || header.last < stored.id {
            return wrong(format!("its append has events {} to {}", header.first, header.last));
        }
        self.append_ends = header.last;
        let key = header.key.map(|(key, _)| key).filter(|_| stored.id == header.first);
        if key != stored.key {
            return wrong("its append key is not the one in its record".to_owned());
        }
        self.redacted.record(stored);
        if let LogEvent::Own(event) = decode::<M>(&self.session, stored.row())? {
            self.redacted.event(&event);
            if stored.id <= self.core_through
                && let Some(core) = &mut self.core
            {
                Arc::make_mut(core).apply(event.body());
            }
        }
        Ok(header.refs)
    }

    /// Checks where the log ends. `head` is the session's head when the verification came to it: the log must reach it.
    pub(crate) fn end(&self, head: EventId) -> Option<(EventId, Error)> {
        let wanted = head.max(self.append_ends);
        let reason = || format!("the log ends before it, at {}", self.head());
        (self.head() < wanted).then(|| (self.next, corrupt(&self.session, self.next, reason())))
    }

    /// How many records were redacted.
    pub(crate) fn redacted(&self) -> u64 {
        self.redacted.count()
    }

    /// Checks that every redacted record is one that an event of the log says. To be called when the whole log was
    /// looked at.
    pub(crate) fn redactions(&self, head: EventId) -> Vec<(EventId, Error)> {
        // A build that does not know an event of foldlog's own does not know what the event says.
        let problems = if self.newer { Vec::new() } else { self.redacted.problems(head) };
        problems.into_iter().map(|(event, reason)| (event, corrupt(&self.session, event, reason))).collect()
    }
}

/// Whether an event with this problem may be one of foldlog's own that cannot be read.
fn may_hide_own_event(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::NewerRecord { event_type, .. } => OwnBody::is_type(event_type),
        // Its type is under the chain hash, and the session model was asked.
        ErrorKind::Undecodable { .. } => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{Agent, AgentBody};
    use crate::codec::RecordHeader;
    use crate::event::Described;

    fn record_of(id: EventId, body: &AgentBody) -> Vec<u8> {
        let (schema, event_type) = (Agent::SCHEMA, Some(body.event_type()));
        let header =
            RecordHeader { schema, event_type, salt: [7; 8], first: id, last: id, key: None, refs: Vec::new() };
        codec::encode_record(&header, &codec::encode_body(body).unwrap())
    }

    /// A session may be described after its row of the list was read, and before its events are.
    #[test]
    fn the_core_is_that_of_the_event_that_it_is_asked_for() {
        let log = LogMeta::root(crate::port::LogKey(1), [1; 16]);
        let described =
            |title: &str| OwnBody::Described(Described { title: Some(title.to_owned()), ..Described::default() });
        for (through, title) in [(0, ""), (1, "one"), (2, "two"), (9, "two")] {
            let mut check = LogCheck::<Agent>::new(SessionId::new("s").unwrap(), log, EventId::new(through));
            let mut chain = log.base.chain;
            for (body, id) in [described("one"), described("two")].iter().zip(1..) {
                let (id, at, key) = (EventId::new(id), Timestamp::default(), None);
                let (schema, event_type) = (OwnBody::SCHEMA, Some(body.event_type()));
                let header =
                    RecordHeader { schema, event_type, salt: [7; 8], first: id, last: id, key: None, refs: Vec::new() };
                let record = codec::encode_record(&header, &body.encode().unwrap());
                chain = chain.next(id, at, &record);
                let stored = StoredEvent { id, event_type: body.event_type().into(), at, key, chain, record };
                assert!(check.event(AuditedEvent { id, row: Ok(stored) }).problems.is_empty());
            }
            assert_eq!(check.core().unwrap().title, title);
        }
    }

    /// As after an update of the whole column: a long log would take quadratic time.
    #[test]
    fn a_log_whose_every_chain_hash_is_wrong_keeps_no_more_for_each_event() {
        let log = LogMeta::root(crate::port::LogKey(1), [1; 16]);
        let mut check = LogCheck::<Agent>::new(SessionId::new("s").unwrap(), log, EventId::MAX);
        let (mut right, mut problems) = (Chain::start(&log.log_id), 0);
        for id in (1..=100).map(EventId::new) {
            let body = AgentBody::StopRequested;
            let record = record_of(id, &body);
            let at = Timestamp::default();
            right = right.next(id, at, &record);
            // The last one is right again: it follows from what the others should have been.
            let chain = if id.get() == 100 { right } else { Chain([9; 32]) };
            let stored = StoredEvent { id, event_type: Agent::event_type(&body).into(), at, key: None, chain, record };
            problems += check.event(AuditedEvent { id, row: Ok(stored) }).problems.len();
            assert!(check.before.len() <= 2);
        }
        assert_eq!(problems, 99);
    }

    /// The chain is right: only the order of the times is wrong, as after a writer that did not keep it.
    #[test]
    fn a_time_before_that_of_the_event_ahead_is_a_problem_though_the_chain_holds() {
        let log = LogMeta::root(crate::port::LogKey(1), [1; 16]);
        let mut check = LogCheck::<Agent>::new(SessionId::new("s").unwrap(), log, EventId::MAX);
        let mut chain = Chain::start(&log.log_id);
        let mut problems = Vec::new();
        let mut kept = Vec::new();
        for (id, at) in [(1, 50), (2, 50), (3, 49), (4, 49)] {
            let (id, at) = (EventId::new(id), Timestamp::from_micros(at));
            let body = AgentBody::StopRequested;
            let record = record_of(id, &body);
            chain = chain.next(id, at, &record);
            let event_type = Agent::event_type(&body).into();
            let stored = StoredEvent { id, event_type, at, key: None, chain, record };
            problems.extend(check.event(AuditedEvent { id, row: Ok(stored) }).problems);
            kept.push(check.before.len());
        }
        assert_eq!(kept, [1; 4], "with each more, a long log would take quadratic time");
        let [(event, error)] = problems.as_slice() else { panic!("{problems:?}") };
        assert_eq!(*event, EventId::new(3));
        assert!(error.to_string().contains("is before that of the event ahead"), "{error}");
    }
}
