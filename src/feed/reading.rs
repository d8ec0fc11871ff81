//! Reading one page of a feed, and making items of it.

use std::collections::HashMap;

use super::item::{DeletedHistory, FeedEvent, FeedItem, UnreadableEvent};
use super::position::{FeedPosition, Told};
use crate::error::{Error, ErrorKind};
use crate::id::{EventId, HistoryId, SessionId};
use crate::port::{FeedPage, FeedPlace, Head, History, LogError, LogKey, LogReader, StoredRow};
use crate::replay::{PAGE_BYTES_MAX, check, corrupt};

/// Makes of a stored event what the feed gives of it.
pub(crate) type Decode<E> = fn(&SessionId, StoredRow<'_>) -> Result<E, Error>;

/// Of how many logs the last event is remembered: about 2 MiB. At the limit all of them are forgotten, and each is read
/// once more.
const HEADS_MAX: usize = 16_384;

/// What a feed reads with, one page after the other.
pub(super) struct FeedReading<E> {
    page: FeedPage,
    /// The last event of each log that was read: the next one must follow it.
    heads: HashMap<LogKey, Head>,
    decode: Decode<E>,
}

/// What a page has given.
pub(super) struct FeedBatch<E> {
    /// The items, each with about as many bytes as it takes.
    pub(super) items: Vec<(FeedItem<E>, usize)>,
    /// Where the next page begins.
    pub(super) next: FeedPlace,
    /// The last position of an item of the page, or the one before.
    pub(super) told: Told,
    pub(super) more: bool,
}

impl<E> FeedReading<E> {
    pub(super) fn new(begin: FeedPlace, decode: Decode<E>) -> Self {
        Self { page: FeedPage::new(begin), heads: HashMap::new(), decode }
    }

    pub(super) fn read(
        &mut self,
        reader: &mut dyn LogReader,
        after: FeedPlace,
        mut told: Told,
        events_max: usize,
    ) -> Result<FeedBatch<E>, LogError> {
        let Self { page, heads, decode } = self;
        reader.feed(page, after, events_max, PAGE_BYTES_MAX)?;
        if heads.len() >= HEADS_MAX {
            heads.clear();
        }
        let mut items = Vec::new();
        for (number, history) in &page.deletions {
            told.place.deletion = *number;
            items.push((
                FeedItem::Deleted(DeletedHistory { history: *history, position: FeedPosition::behind(told) }),
                0,
            ));
        }
        for row in page.events.rows() {
            let event = row.event;
            told.see_event(FeedPlace { event: row.position, ..told.place }, Some(event.chain));
            let position = FeedPosition::behind(told);
            let Some(history) = page.history(row.log) else {
                let reason = format!("event {} is of log {}, which has no session", event.id, row.log.0);
                items.push((unreadable(None, Some(event.id), ErrorKind::CorruptStore { reason }.into(), position), 0));
                continue;
            };
            let before = head_before(reader, heads, row.log, history, event.id)?;
            let checked =
                before.and_then(|before| before.map_or(Ok(()), |before| check(&history.session, &before, event)));
            let item = match checked.and_then(|()| decode(&history.session, event)) {
                Ok(decoded) => FeedItem::Event(FeedEvent {
                    session: history.session.clone(),
                    history: HistoryId::from_bytes(history.log.log_id),
                    event: decoded,
                    position,
                }),
                Err(error) => unreadable(Some(history), Some(event.id), error, position),
            };
            heads.insert(row.log, Head { id: event.id, chain: event.chain, at: event.at });
            items.push((item, event.record.len()));
        }
        if let Some(row) = &page.unreadable {
            told.see_event(FeedPlace { event: row.position, ..told.place }, None);
            let history = row.log.and_then(|log| page.history(log));
            let error = match (history, row.event) {
                (Some(history), Some(event)) => corrupt(&history.session, event, row.reason.clone()),
                _ => ErrorKind::CorruptStore { reason: row.reason.clone() }.into(),
            };
            items.push((unreadable(history, row.event, error, FeedPosition::behind(told)), 0));
        }
        Ok(FeedBatch { items, next: page.next, told, more: page.more })
    }
}

/// The event that the one with this id follows. `None` if the log was deleted after the page was read: then nothing can
/// be checked.
fn head_before(
    reader: &mut dyn LogReader,
    heads: &HashMap<LogKey, Head>,
    log: LogKey,
    history: &History,
    id: EventId,
) -> Result<Result<Option<Head>, Error>, LogError> {
    let base = history.log.base;
    let known = [Some(&base), heads.get(&log)].into_iter().flatten().find(|head| head.id.next() == id);
    if let Some(head) = known {
        return Ok(Ok(Some(*head)));
    }
    let before = EventId::new(id.get().saturating_sub(1));
    let lost = |reason: String| Ok(Err(corrupt(&history.session, id, reason)));
    match reader.chain_at(log, before) {
        Ok(Some(chain)) => Ok(Ok(Some(Head { id: before, chain, at: base.at }))),
        Ok(None) => lost("the log lost the event before it".to_owned()),
        Err(LogError::Deleted) => Ok(Ok(None)),
        Err(error @ (LogError::Corrupt(_) | LogError::CorruptEvent { .. })) => {
            lost(format!("the event before it cannot be read: {}", error.reason()))
        }
        Err(error) => Err(error),
    }
}

fn unreadable<E>(
    history: Option<&History>,
    event: Option<EventId>,
    error: Error,
    position: FeedPosition,
) -> FeedItem<E> {
    FeedItem::Unreadable(UnreadableEvent {
        session: history.map(|history| history.session.clone()),
        history: history.map(|history| HistoryId::from_bytes(history.log.log_id)),
        event,
        error,
        position,
    })
}
