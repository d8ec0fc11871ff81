//! foldlog's own events: what it notes in a log beside the events of the session model.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};

use super::core::{DESCRIBED_LABELS_MAX, LABEL_BYTES_MAX, LABEL_VALUE_BYTES_MAX, TITLE_BYTES_MAX, at_most};
use super::serialize_event;
use crate::codec::{self, Fingerprint, RecordError, Salt};
use crate::error::{Error, ErrorKind};
use crate::id::{Digest, EventId, Timestamp};
use crate::log_position::{ChainStart, LogPosition};
use crate::model::{DecodeError, decode_body};

/// The most bytes of a redaction's reason.
const REASON_BYTES_MAX: usize = 1024;

/// An event of foldlog's own: the same for every session model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnEvent {
    id: EventId,
    at: Timestamp,
    chain: ChainStart,
    body: OwnBody,
}

impl OwnEvent {
    pub(crate) fn new(id: EventId, at: Timestamp, chain: ChainStart, body: OwnBody) -> Self {
        Self { id, at, chain, body }
    }

    /// Where it is, for a consumer that goes on from here later.
    #[must_use]
    pub fn position(&self) -> LogPosition {
        LogPosition::new(self.id, self.chain)
    }

    /// Its number in the session's log.
    #[must_use]
    pub fn id(&self) -> EventId {
        self.id
    }

    /// When it was stamped.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// What foldlog has noted.
    #[must_use]
    pub fn body(&self) -> &OwnBody {
        &self.body
    }
}

impl Serialize for OwnEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_event(serializer, self.position(), self.at, self.body.event_type(), &self.body)
    }
}

/// What foldlog notes in a log. A log that holds a note of a newer build opens read-only, as a log with any other event
/// type that this build does not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum OwnBody {
    /// The session was given a title or labels: [`Session::describe`](crate::Session::describe).
    #[serde(rename = "foldlog.described")]
    Described(Described),
    /// Events of the session were redacted: their bodies were replaced.
    #[serde(rename = "foldlog.redacted")]
    Redacted(Redacted),
}

/// What a describe has changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Described {
    /// The title from now on, or `None` if the title stays as it is. An empty one takes the title away.
    pub title: Option<String>,
    /// The labels that were set, each with its value, or taken away: `None`. The others stay as they are.
    pub labels: BTreeMap<String, Option<String>>,
}

/// Which events were redacted, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Redacted {
    /// The events whose records were replaced, in the order of their ids: those that were to be redacted, and the first
    /// one of an append with a key, which loses the key and its fingerprint.
    pub events: Vec<RedactedEvent>,
    /// Why, and by whom, as the host says it.
    pub reason: String,
}

/// An event that was redacted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RedactedEvent {
    /// The event.
    pub event: EventId,
    /// The BLAKE3 of the record that stands in its place, without the zeros at its end.
    pub record: Digest,
}

impl OwnBody {
    /// The prefix of the types of foldlog's own events. No session model may use it.
    pub(crate) const TYPE_PREFIX: &'static str = "foldlog.";
    /// The schema version of every body that this build writes.
    pub(crate) const SCHEMA: u16 = 1;

    const DESCRIBED: &'static str = "foldlog.described";
    const REDACTED: &'static str = "foldlog.redacted";

    pub(crate) fn is_type(event_type: &str) -> bool {
        event_type.starts_with(Self::TYPE_PREFIX)
    }

    /// The type that is stored with the event.
    pub(crate) fn event_type(&self) -> &'static str {
        match self {
            Self::Described(_) => Self::DESCRIBED,
            Self::Redacted(_) => Self::REDACTED,
        }
    }

    /// Refuses a body that must never be persisted. How many labels the session has then is checked when it is stamped.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let Described { title, labels } = match self {
            Self::Described(described) => described,
            Self::Redacted(redacted) => return at_most("reason", "bytes", redacted.reason.len(), REASON_BYTES_MAX),
        };
        at_most("title", "bytes", title.as_ref().map_or(0, String::len), TITLE_BYTES_MAX)?;
        at_most("describe", "labels", labels.len(), DESCRIBED_LABELS_MAX)?;
        for (label, value) in labels {
            if label.is_empty() {
                return Err(ErrorKind::InvalidArgument { what: "a label has an empty name".to_owned() }.into());
            }
            at_most("name of a label", "bytes", label.len(), LABEL_BYTES_MAX)?;
            at_most("value of a label", "bytes", value.as_ref().map_or(0, String::len), LABEL_VALUE_BYTES_MAX)?;
        }
        Ok(())
    }

    /// What is left when it is redacted. Names of labels go with the other texts, since they may be secrets: a label is
    /// then what it was before the event, also one that the event has taken away. An earlier title does not come back.
    pub(crate) fn redacted(&self) -> Self {
        match self {
            Self::Described(described) => Self::Described(Described {
                title: described.title.as_ref().map(|_| String::new()),
                labels: BTreeMap::new(),
            }),
            Self::Redacted(redacted) => Self::Redacted(Redacted { reason: String::new(), ..redacted.clone() }),
        }
    }

    /// The bytes of what the variant holds: the event type says which variant it is.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, RecordError> {
        match self {
            Self::Described(described) => codec::encode_body(described),
            Self::Redacted(redacted) => codec::encode_body(redacted),
        }
    }

    /// Tells the body from others under the same append key.
    pub(crate) fn fingerprint(&self, salt: Salt) -> Result<Fingerprint, RecordError> {
        match self {
            Self::Described(described) => codec::fingerprint(salt, std::slice::from_ref(described)),
            Self::Redacted(redacted) => codec::fingerprint(salt, std::slice::from_ref(redacted)),
        }
    }

    /// Decodes one of foldlog's own events; the session model is never asked to.
    pub(crate) fn decode(event_type: &str, schema: u16, bytes: &[u8]) -> Result<Self, DecodeError> {
        match (event_type, schema) {
            (Self::DESCRIBED, 1) => decode_body(bytes).map(Self::Described),
            (Self::REDACTED, 1) => decode_body(bytes).map(Self::Redacted),
            _ => Err(DecodeError::Unknown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> [OwnBody; 2] {
        let labels = [("team".to_owned(), Some("a".to_owned())), ("todo".to_owned(), None)].into();
        let described = Described { title: Some("T".to_owned()), labels };
        let event = RedactedEvent { event: EventId::new(3), record: Digest::from_bytes([7; 32]) };
        [OwnBody::Described(described), OwnBody::Redacted(Redacted { events: vec![event], reason: "a key".to_owned() })]
    }

    /// Every later build must decode these bytes.
    #[test]
    fn own_bodies_have_the_bytes_of_their_schema_and_come_back_from_them() {
        let golden = [
            "01 01 54 02 04 7465616d 01 01 61 04 746f646f 00",
            "01 03 0707070707070707070707070707070707070707070707070707070707070707 05 61206b6579",
        ];
        for (body, golden) in samples().iter().zip(golden) {
            let bytes = body.encode().unwrap();
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, golden.replace(' ', ""));
            assert_eq!(OwnBody::decode(body.event_type(), OwnBody::SCHEMA, &bytes).as_ref(), Ok(body));
            for len in 0..bytes.len() {
                let cut = OwnBody::decode(body.event_type(), OwnBody::SCHEMA, &bytes[..len]);
                assert!(matches!(cut, Err(DecodeError::Malformed { .. })), "{len}: {cut:?}");
            }
        }
    }

    #[test]
    fn a_type_or_schema_of_a_newer_build_is_not_known() {
        for (event_type, schema) in [("foldlog.described", 2), ("foldlog.unheard_of", 1), ("foldlog.", 1)] {
            assert_eq!(OwnBody::decode(event_type, schema, &[0, 0]), Err(DecodeError::Unknown));
        }
    }
}
