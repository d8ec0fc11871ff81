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

/// The body of a stored event, and what its record says of it.
#[derive(Clone, Copy)]
pub(crate) struct StoredBody<'a> {
    schema: u16,
    /// Whether the type of the event is under its chain hash, so that no damage can have made it.
    is_typed: bool,
    bytes: &'a [u8],
}

impl StoredBody<'_> {
    /// Whether the event is of foldlog's own. None is in a record without a type, so that no damage makes one.
    pub(crate) fn is_own(&self, stored: StoredRow<'_>) -> bool {
        self.is_typed && OwnBody::is_type(stored.event_type)
    }
}

/// Splits the record of a stored event into its header and its body, and holds the column of the type against it.
pub(crate) fn open_record<'a>(
    session: &SessionId,
    stored: StoredRow<'a>,
) -> Result<(RecordHeader<'a>, StoredBody<'a>), Error> {
    let decoded = codec::decode_record(stored.record);
    let (header, bytes) = decoded.map_err(|error| corrupt(session, stored.id, error.to_string()))?;
    if let Some(event_type) = header.event_type.filter(|event_type| *event_type != stored.event_type) {
        return Err(wrong_type(session, stored, event_type));
    }
    let body = StoredBody { schema: header.schema, is_typed: header.event_type.is_some(), bytes };
    Ok((header, body))
}

fn wrong_type(session: &SessionId, stored: StoredRow<'_>, event_type: &str) -> Error {
    corrupt(session, stored.id, format!("it is stored as {:?}, and its record is of {event_type:?}", stored.event_type))
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
    let (_, body) = open_record(session, stored)?;
    catch_unwind(|| decode_unguarded(session, stored, body))
        .unwrap_or_else(|_| Err(panicked(session, stored, body)))
        .map(Into::into)
}

pub(crate) fn panicked(session: &SessionId, stored: StoredRow<'_>, body: StoredBody<'_>) -> Error {
    undecodable(session, stored, body, "decode panicked".to_owned())
}

/// Decodes the body of a stored event whose record is open already.
fn decode_unguarded<M: SessionModel>(
    session: &SessionId,
    stored: StoredRow<'_>,
    body: StoredBody<'_>,
) -> Result<Decoded<M>, Error> {
    if body.is_own(stored) {
        return decode_own(session, stored, body).map(Decoded::Own);
    }
    decode_model(session, stored, body).map(Decoded::Model)
}

/// Decodes an event of foldlog's own.
pub(crate) fn decode_own(session: &SessionId, stored: StoredRow<'_>, body: StoredBody<'_>) -> Result<OwnEvent, Error> {
    let decoded = OwnBody::decode(stored.event_type, body.schema, body.bytes);
    let decoded = decoded.map_err(|error| match error {
        DecodeError::Unknown => newer(session, stored, body.schema),
        DecodeError::Malformed { reason } => corrupt(session, stored.id, reason),
    })?;
    Ok(OwnEvent::new(stored.id, stored.at, stored.chain.start_bytes(), decoded))
}

/// Decodes an event of the session model, whose `decode` may panic. Inline, since a body is large, and each call moves
/// it.
#[inline]
pub(crate) fn decode_model<M: SessionModel>(
    session: &SessionId,
    stored: StoredRow<'_>,
    body: StoredBody<'_>,
) -> Result<Event<M>, Error> {
    let StoredBody { schema, bytes, .. } = body;
    let decoded = M::decode(stored.event_type, schema, bytes);
    let decoded = decoded.map_err(|error| not_decoded::<M>(session, stored, body, error))?;
    // The model decides by the type how it decodes. Only a body of another schema may decode to another type.
    let event_type = M::event_type(&decoded);
    if schema == M::SCHEMA && event_type != stored.event_type {
        return Err(wrong_type(session, stored, event_type));
    }
    Ok(Event::new(stored.id, stored.at, stored.chain.start_bytes(), decoded))
}

/// Why the session model did not decode an event.
///
/// The chain does not cover the type of a record of format 1: a type that this build does not know, before a body that
/// it knows, is damage, and no event of a newer build. Of an older schema nothing follows from that, since a build need
/// not decode every schema that there was.
fn not_decoded<M: SessionModel>(
    session: &SessionId,
    stored: StoredRow<'_>,
    body: StoredBody<'_>,
    error: DecodeError,
) -> Error {
    if !body.is_typed
        && body.schema == M::SCHEMA
        && let Ok(untyped) = codec::decode_body::<M::Body>(body.bytes)
        && M::event_type(&untyped) != stored.event_type
    {
        return wrong_type(session, stored, M::event_type(&untyped));
    }
    match error {
        DecodeError::Unknown => newer(session, stored, body.schema),
        DecodeError::Malformed { reason } => undecodable(session, stored, body, reason),
    }
}

fn newer(session: &SessionId, stored: StoredRow<'_>, schema: u16) -> Error {
    let (session, event_type) = (session.clone(), stored.event_type.to_owned());
    ErrorKind::NewerRecord { session, event: stored.id, event_type, schema }.into()
}

/// The bytes of a body are under the chain hash, which everyone checks before decoding: they are those that were
/// written. So the session model has changed what it reads. The type of a record of format 1 is not under the hash, so
/// there it may be damage.
fn undecodable(session: &SessionId, stored: StoredRow<'_>, body: StoredBody<'_>, reason: String) -> Error {
    if !body.is_typed {
        return corrupt(session, stored.id, format!("its body does not decode as {:?}: {reason}", stored.event_type));
    }
    let (session, event_type) = (session.clone(), stored.event_type.to_owned());
    ErrorKind::Undecodable { session, event: stored.id, event_type, schema: body.schema, reason }.into()
}

pub(crate) fn corrupt(session: &SessionId, event: EventId, reason: String) -> Error {
    ErrorKind::CorruptEvent { session: session.clone(), event, reason }.into()
}
