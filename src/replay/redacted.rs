//! Holds the redacted records of a log against the events that say which they are, for a verification.

use std::collections::BTreeMap;

use crate::codec;
use crate::event::{OwnBody, OwnEvent};
use crate::id::{Digest, EventId};
use crate::port::StoredEvent;

/// What a verification has seen of a log's redactions. The chain does not cover a record that was redacted: the event
/// `foldlog.redacted` has its digest, and that event is under the chain.
#[derive(Debug, Clone, Default)]
pub(crate) struct RedactedRecords {
    /// The records that are redacted.
    found: BTreeMap<EventId, Digest>,
    /// What the last event says that names a record.
    noted: BTreeMap<EventId, Noted>,
}

#[derive(Debug, Clone, Copy)]
struct Noted {
    record: Digest,
    by: EventId,
}

impl RedactedRecords {
    /// Takes a record that can be read.
    pub(crate) fn record(&mut self, stored: &StoredEvent) {
        self.found.extend(codec::redacted_digest(&stored.record).map(|digest| (stored.id, digest)));
    }

    /// Takes an event of foldlog's own.
    pub(crate) fn event(&mut self, event: &OwnEvent) {
        if let OwnBody::Redacted(redacted) = event.body() {
            let noted = redacted.events.iter().map(|it| (it.event, Noted { record: it.record, by: event.id() }));
            self.noted.extend(noted);
        }
    }

    /// How many records were redacted.
    pub(crate) fn count(&self) -> u64 {
        self.found.len() as u64
    }

    /// What is wrong, event by event. Events behind `through` were written while others were read, so that what they
    /// note need not be what was read; that they note it counts.
    pub(crate) fn problems(&self, through: EventId) -> Vec<(EventId, String)> {
        let of_found = self.found.iter().filter_map(|(event, digest)| match self.noted.get(event) {
            None => Some((*event, "its record was redacted, and no event says so".to_owned())),
            Some(noted) if noted.record != *digest && noted.by <= through => {
                Some((*event, format!("its record was redacted, and is not the one that event {} says", noted.by)))
            }
            Some(_) => None,
        });
        let of_noted = self.noted.iter().filter_map(|(event, noted)| {
            let is_missing = noted.by <= through && !self.found.contains_key(event);
            is_missing.then(|| (*event, format!("event {} says that it was redacted, and it is not", noted.by)))
        });
        of_found.chain(of_noted).collect()
    }
}
