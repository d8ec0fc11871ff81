//! Stamping: gives bodies their ids and time, encodes them as records, and chains the records. Pure, except that the
//! salts are random.

use std::borrow::Cow;
use std::sync::Arc;

use crate::codec;
use crate::codec::{Fingerprint, RecordError, RecordHeader, Salt, SaltSource};
use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::id::{AppendKey, EventId, Timestamp};
use crate::model::{SessionModel, View};
use crate::port::{Head, StoredEvent};
use crate::session::in_flight::InFlight;

/// Stamps the appends of one session. Each goes on from the last stamped event, which may be ahead of the last
/// committed one.
pub(crate) struct Stamper<M: SessionModel> {
    pub(crate) head: Head,
    pub(crate) counters: M::Counters,
    /// See [`Stamper::view_ahead`]. Kept while appends are in flight, for the next one.
    ahead: Option<Arc<View<M>>>,
    salts: Option<SaltSource>,
}

/// An append that is stamped, and not sent to be persisted yet.
pub(crate) struct Stamped<M: SessionModel> {
    pub(crate) stored: Vec<StoredEvent>,
    pub(crate) events: Vec<Arc<Event<M>>>,
    pub(crate) head: Head,
    /// Held against a retry that comes while this append is in flight.
    pub(crate) key: Option<StampedKey>,
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
    pub(crate) fn new(head: Head, counters: M::Counters) -> Self {
        Self { head, counters, ahead: None, salts: None }
    }

    /// Goes back, or forward, to a committed event.
    pub(crate) fn reset(&mut self, head: Head, counters: M::Counters) {
        self.head = head;
        self.counters = counters;
        self.ahead = None;
    }

    /// Drops everything but the head.
    pub(crate) fn empty(&mut self, head: Head) {
        *self = Self::new(head, M::Counters::default());
    }

    /// The view at the last stamped event, by which a session model may refuse a body: the committed view, with what is in
    /// flight folded in. Nobody else is shown it, since a commit that fails takes back what is in flight.
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

    /// Stamps bodies with consecutive ids, all or none. `view` is that of the last stamped event, if the session model may
    /// refuse bodies by it. The stamper's head and counters change only in [`Stamper::advance`].
    pub(crate) fn stamp(
        &mut self,
        bodies: Vec<M::Body>,
        key: Option<&AppendKey>,
        mut view: Option<Arc<View<M>>>,
        now: Timestamp,
        record_bytes_max: usize,
    ) -> Result<Stamped<M>, Error> {
        let first_salt = self.salt()?;
        let key = match key {
            Some(key) => {
                let fingerprint = codec::fingerprint(first_salt, &bodies).map_err(refused)?;
                Some(StampedKey { key: key.clone(), salt: first_salt, fingerprint })
            }
            None => None,
        };
        let size = self.head.id.get() + bodies.len() as u64;
        if size > EventId::MAX.get() {
            // Behind the largest id there is no next one.
            return Err(ErrorKind::TooLarge { what: "log", unit: "events", size, limit: EventId::MAX.get() }.into());
        }
        let (first, last) = (self.head.id.next(), EventId::new(size));
        let at = now.max(self.head.at);
        let mut head = self.head;
        let mut counters = self.counters.clone();
        let mut stored = Vec::with_capacity(bodies.len());
        let mut events = Vec::with_capacity(bodies.len());
        for mut body in bodies {
            let id = head.id.next();
            let refused_by_model = |reason| Error::from(ErrorKind::BodyRefused { reason });
            M::stamp(&mut counters, id, &mut body).map_err(refused_by_model)?;
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
            // The append's key stands on its first event.
            let (salt, key) = if id == first { (first_salt, key.as_ref()) } else { (self.salt()?, None) };
            let header = RecordHeader {
                schema: M::SCHEMA,
                event_type: Some(event_type),
                salt,
                first,
                last,
                key: key.map(|key| (key.key.clone(), key.fingerprint)),
                refs,
            };
            let record = codec::encode_record(&header, &bytes);
            let limit = record_bytes_max.min(codec::RECORD_BYTES_LIMIT);
            if record.len() > limit {
                let (size, limit) = (record.len() as u64, limit as u64);
                return Err(ErrorKind::TooLarge { what: "encoded event", unit: "bytes", size, limit }.into());
            }
            head = Head { id, chain: head.chain.next(id, at, &record), at };
            let key = key.map(|key| key.key.clone());
            stored.push(StoredEvent { id, event_type: Cow::Borrowed(event_type), at, key, chain: head.chain, record });
            let event = Arc::new(Event::new(id, at, head.chain.start_bytes(), body));
            if let Some(view) = &mut view
                && id < last
            {
                Arc::make_mut(view).apply(&event);
            }
            events.push(event);
        }
        Ok(Stamped { stored, events, head, key, counters })
    }

    /// Goes on after an append that was sent to be persisted.
    pub(crate) fn advance(&mut self, stamped: &Stamped<M>) {
        self.head = stamped.head;
        self.counters = stamped.counters.clone();
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
        let mut stamper = Stamper::<Agent>::new(head, Default::default());
        let mut stamp = |count| stamper.stamp(vec![AgentBody::StopRequested; count], None, None, head.at, 1 << 20);
        let refused = stamp(2).err().expect("one too many");
        assert!(matches!(refused.kind(), ErrorKind::TooLarge { what: "log", .. }), "{refused}");
        let last = stamp(1).unwrap();
        assert_eq!(last.head.id, EventId::MAX);
        stamper.advance(&last);
        assert!(stamper.stamp(vec![AgentBody::StopRequested], None, None, head.at, 1 << 20).is_err());
    }
}
