//! Stamping: gives bodies their ids and time, encodes them as records, and chains the records. Pure, except that the
//! salts are random.

use std::borrow::Cow;
use std::sync::Arc;

use crate::codec;
use crate::codec::{Fingerprint, RecordError, RecordHeader, Salt, SaltSource};
use crate::error::{Error, ErrorKind};
use crate::event::{Event, LogEvent, OwnBody, OwnEvent, SessionCore};
use crate::id::{AppendKey, BlobRef, EventId, Timestamp};
use crate::model::{SessionModel, View};
use crate::port::{Head, StoredEvent};
use crate::session::append::Bodies;
use crate::session::in_flight::InFlight;

/// Stamps the appends of one session. Each goes on from the last stamped event, which may be ahead of the last
/// committed one.
pub(crate) struct Stamper<M: SessionModel> {
    pub(crate) head: Head,
    pub(crate) counters: M::Counters,
    core: Arc<SessionCore>,
    /// See [`Stamper::view_ahead`]. Kept while appends are in flight, for the next one.
    ahead: Option<Arc<View<M>>>,
    salts: Option<SaltSource>,
}

/// An append that is stamped, and not sent to be persisted yet.
pub(crate) struct Stamped<M: SessionModel> {
    pub(crate) stored: Vec<StoredEvent>,
    pub(crate) events: Vec<LogEvent<M>>,
    pub(crate) head: Head,
    /// Held against a retry that comes while this append is in flight.
    pub(crate) key: Option<StampedKey>,
    /// The core behind the append, if the append changes it.
    pub(crate) core: Option<Arc<SessionCore>>,
    counters: M::Counters,
}

/// An append key, and the salted fingerprint that tells the bodies under this key from other bodies.
#[derive(Debug, Clone)]
pub(crate) struct StampedKey {
    pub(crate) key: AppendKey,
    pub(crate) salt: Salt,
    pub(crate) fingerprint: Fingerprint,
}

impl<M: SessionModel> Stamper<M> {
    pub(crate) fn new(head: Head, counters: M::Counters, core: Arc<SessionCore>) -> Self {
        Self { head, counters, core, ahead: None, salts: None }
    }

    /// Goes back, or forward, to a committed event.
    pub(crate) fn reset(&mut self, head: Head, counters: M::Counters, core: Arc<SessionCore>) {
        self.head = head;
        self.counters = counters;
        self.core = core;
        self.ahead = None;
    }

    /// What foldlog knows of the session at the last stamped event.
    pub(crate) fn core(&self) -> &Arc<SessionCore> {
        &self.core
    }

    /// Drops everything but the head.
    pub(crate) fn empty(&mut self, head: Head) {
        *self = Self::new(head, M::Counters::default(), Arc::default());
    }

    /// The view at the last stamped event, by which a session model may refuse a body: the committed view, with what is
    /// in flight folded in. Nobody else is shown it, since a commit that fails takes back what is in flight.
    pub(crate) fn view_ahead(&mut self, committed: Arc<View<M>>, in_flight: &InFlight<M>) -> Arc<View<M>> {
        // Taken out, so that a panic of the session model leaves no view behind that is half folded.
        let ahead = self.ahead.take().filter(|ahead| ahead.head() > committed.head());
        let mut view = ahead.unwrap_or(committed);
        for event in in_flight.events_after(view.head()) {
            Arc::make_mut(&mut view).apply(event);
        }
        self.ahead = in_flight.has_appends().then(|| Arc::clone(&view));
        view
    }

    /// Nothing is in flight any more.
    pub(crate) fn caught_up(&mut self) {
        self.ahead = None;
    }

    /// Stamps bodies with consecutive ids, all or none. `view` is that of the last stamped event, if the session model
    /// may refuse bodies by it. The stamper's head, counters and core change only in [`Stamper::advance`].
    pub(crate) fn stamp(
        &mut self,
        bodies: Bodies<M>,
        key: Option<&AppendKey>,
        view: Option<Arc<View<M>>>,
        now: Timestamp,
        record_bytes_max: usize,
    ) -> Result<Stamped<M>, Error> {
        let first_salt = self.salt()?;
        let key = match key {
            Some(key) => {
                let fingerprint = bodies.fingerprint(first_salt).map_err(refused)?;
                Some(StampedKey { key: key.clone(), salt: first_salt, fingerprint })
            }
            None => None,
        };
        let count = bodies.len();
        let size = self.head.id.get() + count as u64;
        if size > EventId::MAX.get() {
            // Behind the largest id there is no next one.
            return Err(ErrorKind::TooLarge { what: "log", unit: "events", size, limit: EventId::MAX.get() }.into());
        }
        let mut stamped = Stamped {
            stored: Vec::with_capacity(count),
            events: Vec::with_capacity(count),
            head: self.head,
            key,
            core: None,
            counters: self.counters.clone(),
        };
        let append = AppendToStamp {
            first: self.head.id.next(),
            last: EventId::new(size),
            at: now.max(self.head.at),
            first_salt,
            record_bytes_max: record_bytes_max.min(codec::RECORD_BYTES_LIMIT),
        };
        match bodies {
            Bodies::Model(bodies) => self.stamp_bodies(&mut stamped, &append, bodies, view)?,
            Bodies::Own(body) => self.stamp_own(&mut stamped, &append, body)?,
        }
        Ok(stamped)
    }

    fn stamp_bodies(
        &mut self,
        stamped: &mut Stamped<M>,
        append: &AppendToStamp,
        bodies: Vec<M::Body>,
        mut view: Option<Arc<View<M>>>,
    ) -> Result<(), Error> {
        for mut body in bodies {
            let id = stamped.head.id.next();
            let refused_by_model = |reason| Error::from(ErrorKind::BodyRefused { reason });
            M::stamp(&mut stamped.counters, id, &mut body).map_err(refused_by_model)?;
            if let (Some(refuse), Some(view)) = (M::REFUSE_BY_VIEW, &view) {
                let refused_by_view = |reason| Error::from(ErrorKind::RefusedByView { reason });
                refuse(view.state(), &body).map_err(refused_by_view)?;
            }
            let bytes = codec::encode_body(&body).map_err(refused)?;
            codec::check_shape(&body, &bytes).map_err(refused)?;
            let event_type = M::event_type(&body);
            if event_type.len() > codec::EVENT_TYPE_BYTES_MAX {
                return Err(refused(RecordError::LongEventType { bytes: event_type.len() }));
            }
            let mut refs = Vec::new();
            M::blob_refs(&body, &mut |blob| refs.push(*blob));
            let salt = if id == append.first { append.first_salt } else { self.salt()? };
            stamped.chain(append, Encoded { schema: M::SCHEMA, event_type, salt, refs, bytes: &bytes })?;
            let Head { at, chain, .. } = stamped.head;
            let event = LogEvent::Model(Arc::new(Event::new(id, at, chain.start_bytes(), body)));
            if let Some(view) = &mut view
                && id < append.last
            {
                Arc::make_mut(view).apply(&event);
            }
            stamped.events.push(event);
        }
        Ok(())
    }

    /// Stamps a body of foldlog's own, which the session model never sees: its counters stay.
    fn stamp_own(&mut self, stamped: &mut Stamped<M>, append: &AppendToStamp, body: OwnBody) -> Result<(), Error> {
        let mut core = (*self.core).clone();
        core.apply(&body);
        core.check()?;
        stamped.core = (core != *self.core).then(|| Arc::new(core));
        let (bytes, event_type) = (body.encode().map_err(refused)?, body.event_type());
        let (schema, salt, refs) = (OwnBody::SCHEMA, append.first_salt, Vec::new());
        stamped.chain(append, Encoded { schema, event_type, salt, refs, bytes: &bytes })?;
        let Head { id, at, chain } = stamped.head;
        stamped.events.push(LogEvent::Own(Arc::new(OwnEvent::new(id, at, chain.start_bytes(), body))));
        Ok(())
    }

    /// Goes on after an append that was sent to be persisted.
    pub(crate) fn advance(&mut self, stamped: &Stamped<M>) {
        self.head = stamped.head;
        self.counters = stamped.counters.clone();
        if let Some(core) = &stamped.core {
            self.core = Arc::clone(core);
        }
    }

    fn salt(&mut self) -> Result<Salt, Error> {
        let salts = match &mut self.salts {
            Some(salts) => salts,
            None => self.salts.insert(SaltSource::new().map_err(|error| {
                Error::from(ErrorKind::Unavailable { reason: format!("no random bytes: {error}") })
            })?),
        };
        Ok(salts.next())
    }
}

/// What the events of one append have in common.
struct AppendToStamp {
    first: EventId,
    last: EventId,
    at: Timestamp,
    first_salt: Salt,
    record_bytes_max: usize,
}

/// A body in the form in which it is stored, and what its record says of it.
struct Encoded<'a> {
    schema: u16,
    event_type: &'static str,
    salt: Salt,
    refs: Vec<BlobRef>,
    bytes: &'a [u8],
}

impl<M: SessionModel> Stamped<M> {
    /// Makes the record of the next event, and chains it to the one before.
    fn chain(&mut self, append: &AppendToStamp, encoded: Encoded<'_>) -> Result<(), Error> {
        let AppendToStamp { first, last, at, record_bytes_max: limit, .. } = *append;
        let Encoded { schema, event_type, salt, refs, bytes } = encoded;
        let id = self.head.id.next();
        // The append's key stands on its first event.
        let key = self.key.as_ref().filter(|_| id == first);
        let header = RecordHeader {
            schema,
            event_type: Some(event_type),
            salt,
            first,
            last,
            key: key.map(|key| (key.key.clone(), key.fingerprint)),
            refs,
        };
        let record = codec::encode_record(&header, bytes);
        if record.len() > limit {
            let (size, limit) = (record.len() as u64, limit as u64);
            return Err(ErrorKind::TooLarge { what: "encoded event", unit: "bytes", size, limit }.into());
        }
        self.head = Head { id, chain: self.head.chain.next(id, at, &record), at };
        let (event_type, key) = (Cow::Borrowed(event_type), key.map(|key| key.key.clone()));
        self.stored.push(StoredEvent { id, event_type, at, key, chain: self.head.chain, record });
        Ok(())
    }
}

fn refused(error: RecordError) -> Error {
    ErrorKind::BodyRefused { reason: error.to_string() }.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{Agent, AgentBody};
    use crate::codec::Chain;

    #[test]
    fn behind_the_largest_id_nothing_is_stamped_and_no_id_is_given_twice() {
        let before = EventId::MAX.prev();
        let head = Head { id: before, chain: Chain::start(&[1; 16]), at: Timestamp::default() };
        let mut stamper = Stamper::<Agent>::new(head, Default::default(), Arc::default());
        let bodies = |count| Bodies::Model(vec![AgentBody::StopRequested; count]);
        let mut stamp = |count| stamper.stamp(bodies(count), None, None, head.at, 1 << 20);
        let refused = stamp(2).err().expect("one too many");
        assert!(matches!(refused.kind(), ErrorKind::TooLarge { what: "log", .. }), "{refused}");
        let last = stamp(1).unwrap();
        assert_eq!(last.head.id, EventId::MAX);
        stamper.advance(&last);
        assert!(stamper.stamp(bodies(1), None, None, head.at, 1 << 20).is_err());
    }
}
