//! The answer to a retry whose append is in the log: what that append wrote, read from the log.

use std::sync::{Arc, Mutex};

use super::append::{Appended, Bodies};
use super::in_flight::Request;
use crate::codec;
use crate::error::{Error, ErrorKind};
use crate::event::{LogEvent, OwnBody};
use crate::id::{EventId, SessionId};
use crate::model::SessionModel;
use crate::port::{LogMeta, LogReader};
use crate::replay::corrupt;
use crate::replay::read_page;
use crate::threads::{Readers, guarded, lock};

/// The append in the log that a request may be a retry of.
pub(crate) enum Earlier {
    /// It is there, and begins with this event.
    From(EventId),
    /// The log is searched for the request's key. If it is not there, or the search fails, the request is refused.
    Perhaps { otherwise: Error },
}

/// Answers a retry with what the earlier append wrote.
pub(crate) fn repeat<M: SessionModel>(
    readers: &Readers,
    session: SessionId,
    log: LogMeta,
    written: Earlier,
    request: Request<M>,
) {
    let waiting = Arc::new(Mutex::new(Some(request)));
    let taken = Arc::clone(&waiting);
    let submitted = readers.submit_urgent(move |slot| {
        let Some(request) = lock(&taken).take() else { return };
        let read = || slot.read(|reader| read_earlier::<M>(reader, &session, log, written, &request));
        let repeated = guarded("decode", read)
            .unwrap_or_else(|panicked| Err(ErrorKind::Unavailable { reason: panicked.to_string() }.into()));
        request.answer(repeated);
    });
    // Not taken by a store that is closed. Dropped, its receipt would say that nothing was written.
    if submitted.is_err()
        && let Some(request) = lock(&waiting).take()
    {
        request.answer(Err(ErrorKind::StoreClosed.into()));
    }
}

fn read_earlier<M: SessionModel>(
    reader: &mut dyn LogReader,
    session: &SessionId,
    log: LogMeta,
    written: Earlier,
    request: &Request<M>,
) -> Result<Appended<M>, Error> {
    let first = match written {
        Earlier::From(first) => first,
        Earlier::Perhaps { otherwise } => {
            let found = request.key.as_ref().and_then(|key| reader.find_key(log.key, key).ok().flatten());
            found.ok_or(otherwise)?.id
        }
    };
    read_repeated(reader, session, log, first, &request.bodies)
}

/// Reads what the append whose first event is `first` wrote, if it wrote these bodies, as far as that can be known.
fn read_repeated<M: SessionModel>(
    reader: &mut dyn LogReader,
    session: &SessionId,
    log: LogMeta,
    first: EventId,
    bodies: &Bodies<M>,
) -> Result<Appended<M>, Error> {
    let stored = reader.page(log.key, first.prev(), 1, 0).map_err(|error| error.of_session(session))?;
    let Some(stored) = stored.rows().next().filter(|stored| stored.id == first) else {
        return Err(corrupt(session, first, "the log does not hold it".to_owned()));
    };
    let (header, _) =
        codec::decode_record(stored.record).map_err(|error| corrupt(session, first, error.to_string()))?;
    let mut may_be_same = bodies.may_be_of(Some(stored.event_type).filter(|event_type| OwnBody::is_type(event_type)));
    // Bodies of two schemas have different bytes, whatever they say: then the key alone decides.
    if may_be_same && header.schema == bodies.schema() {
        let again = bodies
            .fingerprint(header.salt)
            .map_err(|error| Error::from(ErrorKind::BodyRefused { reason: error.to_string() }))?;
        may_be_same = header.key.is_some_and(|(_, fingerprint)| fingerprint == again);
    }
    if !may_be_same {
        let written = header.last.get().saturating_sub(first.get()).saturating_add(1);
        let (session, given) = (session.clone(), bodies.len() as u64);
        return Err(ErrorKind::KeyReused { session, first, written, given }.into());
    }
    let mut events = Vec::new();
    let mut head = first.prev();
    while head < header.last {
        let left = usize::try_from(header.last.get() - head.get()).unwrap_or(usize::MAX);
        let page = read_page(reader, session, log, head.into(), left)?;
        let Some(last) = page.events.last() else {
            return Err(corrupt(session, head.next(), "the log ends within an append".to_owned()));
        };
        head = last.id();
        events.extend(page.events);
    }
    Ok(Appended { events: events.into_iter().filter_map(LogEvent::into_model).collect(), head, repeated: true })
}
