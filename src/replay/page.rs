//! Pages of events, as hosts read them and as a fold reads them.

use serde::Serialize;

use crate::error::{Error, ErrorKind};
use crate::event::LogEvent;
use crate::id::{EventId, SessionId};
use crate::log_position::LogPosition;
use crate::model::SessionModel;
use crate::port::{Head, LogMeta, LogReader};
use crate::port::{StoredPage, StoredRow};
use crate::replay::record::{check, corrupt, decode};

/// The most record bytes in one page, whatever the number of its events.
pub(crate) const PAGE_BYTES_MAX: usize = 4 << 20;

/// Reads one page as it is stored, without a check. The error of an event that cannot be read names its session.
pub(crate) fn read(
    reader: &mut dyn LogReader,
    page: &mut StoredPage,
    session: &SessionId,
    log: LogMeta,
    after: EventId,
    events_max: usize,
) -> Result<(), Error> {
    let read = reader.page_into(page, log.key, after, events_max, PAGE_BYTES_MAX);
    read.map_err(|error| error.of_session(session))
}

/// Checks that a log has the event that somebody wants to go on from.
pub(crate) fn check_position(
    reader: &mut dyn LogReader,
    session: &SessionId,
    log: LogMeta,
    after: LogPosition,
) -> Result<(), Error> {
    let event = after.event();
    let head = reader.head(log).map_err(|error| error.of_session(session))?.id;
    if event > head {
        return Err(ErrorKind::BeyondHead { session: session.clone(), event, head }.into());
    }
    if !after.has_chain() {
        return Ok(());
    }
    let chain = match event <= log.base.id {
        true => Some(log.base.chain),
        false => reader.chain_at(log.key, event).map_err(|error| error.of_session(session))?,
    };
    match chain {
        Some(chain) if after.is_of(chain.start_bytes()) => Ok(()),
        _ => Err(ErrorKind::OtherHistory { session: session.clone(), event }.into()),
    }
}

/// Some events of a log, in order.
#[derive(Serialize)]
#[serde(bound = "")]
#[non_exhaustive]
pub struct EventPage<M: SessionModel> {
    /// The events after the one that was asked for.
    pub events: Vec<LogEvent<M>>,
    /// Whether more events may follow. If so, ask for the events after the last of this page.
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

/// Reads one page of decoded events, as [`read_page_by`] does.
pub(crate) fn read_page<M: SessionModel>(
    reader: &mut dyn LogReader,
    session: &SessionId,
    log: LogMeta,
    position: LogPosition,
    events_max: usize,
) -> Result<EventPage<M>, Error> {
    let (events, more) = read_page_by(reader, session, log, position, events_max, |stored| decode(session, stored))?;
    Ok(EventPage { events, more })
}

/// Reads one page, checks its chain, and decodes each of its events as `decode` says. Also tells whether more events
/// may follow. A page ends before an event that is damaged or cannot be decoded; if it begins with such an event, that
/// is its error. A position beyond the end of the log, or of another history, is an error, too.
pub(crate) fn read_page_by<T>(
    reader: &mut dyn LogReader,
    session: &SessionId,
    log: LogMeta,
    position: LogPosition,
    events_max: usize,
    decode: impl Fn(StoredRow<'_>) -> Result<T, Error>,
) -> Result<(Vec<T>, bool), Error> {
    let after = position.event();
    let mut stored = StoredPage::default();
    read(reader, &mut stored, session, log, after, events_max)?;
    if stored.is_empty() || position.has_chain() {
        check_position(reader, session, log, position)?;
    }
    let mut events = Vec::with_capacity(stored.len());
    let mut head = log.base;
    if after > EventId::ZERO && !stored.is_empty() {
        // Of the event before the page only the stored hash is read: that event may be damaged, and the events after it
        // are still what was written.
        let lost = || corrupt(session, after, "the log lost it".to_owned());
        let chain = reader.chain_at(log.key, after).map_err(|error| error.of_session(session))?;
        head = Head { id: after, chain: chain.ok_or_else(lost)?, at: head.at };
    }
    for stored in stored.rows() {
        match check(session, &head, stored).and_then(|_| decode(stored)) {
            Ok(event) => events.push(event),
            Err(error) if events.is_empty() => return Err(error),
            Err(_) => break,
        }
        head = Head { id: stored.id, chain: stored.chain, at: stored.at };
    }
    Ok((events, !stored.is_empty()))
}
