//! Checks a stored event against the one before it, and decodes it.

use std::panic::catch_unwind;
use std::sync::Arc;

use crate::codec;
use crate::codec::RecordHeader;
use crate::error::{Error, ErrorKind};
use crate::event::{Event, LogEvent, OwnBody, OwnEvent};
use crate::id::{EventId, SessionId};
use crate::model::{DecodeError, SessionModel};
use crate::port::Head;
use crate::port::StoredRow;

/// Checks that a stored event follows the one before: that its id is the next, and that its chain hash is right.
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

/// A stored event, decoded: of the session model, or foldlog's own.
pub(crate) enum Decoded<M: SessionModel> {
    Model(Event<M>),
    Own(OwnEvent),
}

impl<M: SessionModel> From<Decoded<M>> for LogEvent<M> {
    fn from(decoded: Decoded<M>) -> Self {
        match decoded {
            Decoded::Model(event) => Self::Model(Arc::new(event)),
            Decoded::Own(event) => Self::Own(Arc::new(event)),
        }
    }
}

/// Decodes a stored event.
pub(crate) fn decode<M: SessionModel>(session: &SessionId, stored: StoredRow<'_>) -> Result<LogEvent<M>, Error> {
    let (header, body) = open_record(session, stored)?;
    catch_unwind(|| decode_unguarded(session, stored, header.schema, body))
        .unwrap_or_else(|_| Err(panicked(session, stored)))
        .map(Into::into)
}

pub(crate) fn panicked(session: &SessionId, stored: StoredRow<'_>) -> Error {
    corrupt(session, stored.id, "decode panicked".to_owned())
}

/// Decodes the body of a stored event whose record is open already.
fn decode_unguarded<M: SessionModel>(
    session: &SessionId,
    stored: StoredRow<'_>,
    schema: u16,
    body: &[u8],
) -> Result<Decoded<M>, Error> {
    if OwnBody::is_type(stored.event_type) {
        return decode_own(session, stored, schema, body).map(Decoded::Own);
    }
    decode_model(session, stored, schema, body).map(Decoded::Model)
}

/// Decodes an event of foldlog's own.
pub(crate) fn decode_own(
    session: &SessionId,
    stored: StoredRow<'_>,
    schema: u16,
    body: &[u8],
) -> Result<OwnEvent, Error> {
    let body =
        OwnBody::decode(stored.event_type, schema, body).map_err(|error| failed(session, stored, schema, error))?;
    Ok(OwnEvent::new(stored.id, stored.at, body))
}

/// Decodes an event of the session model, whose `decode` may panic. Inline, since a body is large, and each call moves it.
#[inline]
pub(crate) fn decode_model<M: SessionModel>(
    session: &SessionId,
    stored: StoredRow<'_>,
    schema: u16,
    body: &[u8],
) -> Result<Event<M>, Error> {
    let body = M::decode(stored.event_type, schema, body).map_err(|error| failed(session, stored, schema, error))?;
    // The chain does not cover the column of the event type. Only a body of another schema may decode to another type.
    let event_type = M::event_type(&body);
    if schema == M::SCHEMA && event_type != stored.event_type {
        let reason = format!("it is stored as {} and its body is {event_type}", stored.event_type);
        return Err(corrupt(session, stored.id, reason));
    }
    Ok(Event::new(stored.id, stored.at, body))
}

fn failed(session: &SessionId, stored: StoredRow<'_>, schema: u16, error: DecodeError) -> Error {
    match error {
        DecodeError::Unknown => Error::from(ErrorKind::NewerRecord {
            session: session.clone(),
            event: stored.id,
            event_type: stored.event_type.to_owned(),
            schema,
        }),
        DecodeError::Malformed { reason } => corrupt(session, stored.id, reason),
    }
}

pub(crate) fn corrupt(session: &SessionId, event: EventId, reason: String) -> Error {
    ErrorKind::CorruptEvent { session: session.clone(), event, reason }.into()
}
