//! What a feed gives.

use std::fmt;

use serde::{Serialize, Serializer};

use super::position::FeedPosition;
use crate::error::Error;
use crate::id::{EventId, HistoryId, SessionId};

/// One item of a feed. `E` is what it has of an event: [`LogEvent`](crate::LogEvent), or
/// [`EventHeader`](crate::EventHeader) where the session model is not known.
///
/// Serialises as `{"event": ..}`, `{"unreadable": ..}`, `{"deleted": ..}`, `{"caught_up": ..}`, `{"failed": ..}` or
/// `"ended"`: docs/json.md.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FeedItem<E> {
    /// A committed event. A redaction is told as the event `foldlog.redacted` that it is.
    Event(FeedEvent<E>),
    /// An event is here that cannot be read or decoded. The feed goes on behind it.
    Unreadable(UnreadableEvent),
    /// A session was deleted.
    Deleted(DeletedHistory),
    /// Everything that was committed was told. It is told when the feed first comes to the end, and again each time
    /// that it comes there after it had fallen behind by more than a page.
    CaughtUp(FeedPosition),
    /// The log cannot be read on, or the store was closed: nothing follows but the end. A feed from the position of the
    /// last item goes on, once what the error says is done.
    #[serde(serialize_with = "as_text")]
    Failed(Error),
    /// Nothing follows. Only an actor gets this item; a stream just ends.
    Ended,
}

impl<E> FeedItem<E> {
    /// The position behind the item: a feed from there begins with what follows. `None` for the end.
    #[must_use]
    pub fn position(&self) -> Option<FeedPosition> {
        match self {
            Self::Event(event) => Some(event.position),
            Self::Unreadable(event) => Some(event.position),
            Self::Deleted(deleted) => Some(deleted.position),
            Self::CaughtUp(position) => Some(*position),
            Self::Failed(_) | Self::Ended => None,
        }
    }
}

fn as_text<S: Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn as_text_if_any<S: Serializer>(session: &Option<SessionId>, serializer: S) -> Result<S::Ok, S::Error> {
    session.as_ref().map(SessionId::as_str).serialize(serializer)
}

/// A committed event, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FeedEvent<E> {
    /// The session.
    #[serde(serialize_with = "as_text")]
    pub session: SessionId,
    /// The session's history: it tells the session from one of the same name that was deleted.
    pub history: HistoryId,
    /// The event.
    pub event: E,
    /// The position behind it.
    pub position: FeedPosition,
}

/// An event that cannot be read or decoded.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct UnreadableEvent {
    /// The session, if it can be read.
    #[serde(serialize_with = "as_text_if_any")]
    pub session: Option<SessionId>,
    /// The session's history, if it can be read.
    pub history: Option<HistoryId>,
    /// The event's number in the session's log, if it can be read.
    pub event: Option<EventId>,
    /// What is wrong.
    #[serde(serialize_with = "as_text")]
    pub error: Error,
    /// The position behind it.
    pub position: FeedPosition,
}

/// A session that was deleted. Its name is gone from the store, so only its history can be told: what a consumer keeps
/// of the events of that history is to go. Events that the feed had not told by then are never told, so the history may
/// be one that the consumer has not heard of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DeletedHistory {
    /// The history.
    pub history: HistoryId,
    /// The position behind the deletion.
    pub position: FeedPosition,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn json(item: &FeedItem<u8>) -> String {
        serde_json::to_string(item).unwrap()
    }

    #[test]
    fn items_have_one_form_in_json() {
        let history: HistoryId = "000102030405060708090a0b0c0d0e0f".parse().unwrap();
        let position: FeedPosition = "6f01a2b3c4d5e6f7-1042-0-89abcdef01234567".parse().unwrap();
        let session = SessionId::new("s1").unwrap();
        let (texts, error) = (format!(r#""history":"{history}""#), Error::from(ErrorKind::StoreClosed));
        let event = FeedItem::Event(FeedEvent { session: session.clone(), history, event: 7, position });
        assert_eq!(
            json(&event),
            format!(r#"{{"event":{{"session":"s1",{texts},"event":7,"position":"{position}"}}}}"#)
        );
        let (event, session) = (Some(EventId::new(3)), Some(session));
        let unreadable = UnreadableEvent { session, history: Some(history), event, error: error.clone(), position };
        let wanted = format!(
            r#"{{"unreadable":{{"session":"s1",{texts},"event":3,"error":"{error}","position":"{position}"}}}}"#
        );
        assert_eq!(json(&FeedItem::Unreadable(unreadable)), wanted);
        let deleted = FeedItem::Deleted(DeletedHistory { history, position });
        assert_eq!(json(&deleted), format!(r#"{{"deleted":{{{texts},"position":"{position}"}}}}"#));
        assert_eq!(json(&FeedItem::CaughtUp(position)), format!(r#"{{"caught_up":"{position}"}}"#));
        assert_eq!(json(&FeedItem::Failed(error)), r#"{"failed":"the store is closed: open it again"}"#);
        assert_eq!(json(&FeedItem::Ended), r#""ended""#);
    }
}
