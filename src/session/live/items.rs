//! What a subscriber is given, and from where a subscription begins.

use crate::event::LogEvent;
use crate::id::EventId;
use crate::log_position::LogPosition;
use crate::model::SessionModel;

/// From where a subscription begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubscribeFrom {
    /// From the next event that is committed. What is still being written
    /// ([`SessionModel::transient_key`](crate::SessionModel::transient_key)) comes from its beginning.
    Now,
    /// From the event after this one: first the log, then live. At the change no event is left out, and none comes twice.
    /// An event that the log does not have is an error.
    After(EventId),
    /// The same, from an event of one history: an event of another history is an error, too.
    AfterPosition(LogPosition),
}

impl SubscribeFrom {
    /// After which event, unless it is from now on.
    pub(crate) fn position(self) -> Option<LogPosition> {
        match self {
            Self::Now => None,
            Self::After(event) => Some(event.into()),
            Self::AfterPosition(position) => Some(position),
        }
    }
}

/// One item of a subscription.
#[non_exhaustive]
pub enum Item<M: SessionModel> {
    /// A committed event. Ids ascend by one, except for the events that a [`Gap`] names.
    Event(LogEvent<M>),
    /// A live item, which is never persisted.
    Transient(M::Transient),
    /// Something was left out here.
    Gap(Gap),
    /// The session or the store was closed, or the log could not be read: nothing follows. Only an actor gets this
    /// item; a stream just ends.
    Ended,
}

impl<M: SessionModel> std::fmt::Debug for Item<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Event(event) => f.debug_tuple("Event").field(event).finish(),
            Self::Transient(transient) => f.debug_tuple("Transient").field(transient).finish(),
            Self::Gap(gap) => f.debug_tuple("Gap").field(gap).finish(),
            Self::Ended => f.write_str("Ended"),
        }
    }
}

impl<M: SessionModel> Clone for Item<M> {
    fn clone(&self) -> Self {
        match self {
            Self::Event(event) => Self::Event(event.clone()),
            Self::Transient(transient) => Self::Transient(transient.clone()),
            Self::Gap(gap) => Self::Gap(*gap),
            Self::Ended => Self::Ended,
        }
    }
}

/// What a subscriber has not been given: it lagged behind, or came late to what is still being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// The last event that was delivered, or that the gap before this one named: read the log after it.
    pub after: EventId,
    /// The last event that was left out. Equal to `after` when only transients were.
    pub through: EventId,
    /// How many transients were left out: they did not fit the queue, came while the subscriber read the log, or are no
    /// longer kept of what is still being written. For a slow subscriber the number may be too large, if streams of
    /// transients ended meanwhile.
    pub transients: u64,
}
