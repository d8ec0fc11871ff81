//! Events: what a log holds, stamped and in order.
//!
//! The modules `event` and `model` use each other: an event belongs to a session model, and the model applies the
//! event.

mod core;
mod own;

use std::fmt;
use std::sync::Arc;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::id::{EventId, Timestamp};
use crate::log_position::{ChainStart, LogPosition};
use crate::model::SessionModel;

pub use self::core::SessionCore;
pub use self::own::{Described, OwnBody, OwnEvent, Redacted, RedactedEvent};

/// A stamped fact of a session: an id, a time, and the body that the host appended. Only foldlog makes one, by stamping
/// a body or by decoding a record; a test makes one with `testkit::event` (feature `testkit`).
///
/// Serialises as an object of its id, time, type, position and body, for the wire: docs/json.md has the form.
///
/// **Event versus [`LogEvent`].** [`SessionModel::apply`] folds an `Event`, so its body is always the session model's.
/// A log may also hold foldlog's own events, so pages and subscriptions give a [`LogEvent`].
pub struct Event<M: SessionModel> {
    id: EventId,
    at: Timestamp,
    chain: ChainStart,
    body: M::Body,
}

// Written by hand, here and elsewhere: a derive would require `M: Clone` of the session model, which is only a type
// name.
impl<M: SessionModel> Clone for Event<M> {
    fn clone(&self) -> Self {
        Self { id: self.id, at: self.at, chain: self.chain, body: self.body.clone() }
    }
}

impl<M: SessionModel> fmt::Debug for Event<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("id", &self.id).field("at", &self.at).field("body", &self.body).finish()
    }
}

impl<M: SessionModel> Event<M> {
    pub(crate) fn new(id: EventId, at: Timestamp, chain: ChainStart, body: M::Body) -> Self {
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

    /// When it was stamped. It is never before the time of the event ahead of it.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// What happened.
    #[must_use]
    pub fn body(&self) -> &M::Body {
        &self.body
    }

    /// What happened, without the id and the time.
    #[must_use]
    pub fn into_body(self) -> M::Body {
        self.body
    }

    /// The type that is stored with the event.
    #[must_use]
    pub fn event_type(&self) -> &'static str {
        M::event_type(&self.body)
    }

    /// The same fact for another session model: this id and time, with a body of that model. For a model whose body
    /// holds the body of another, and which has that one's `apply` fold it.
    ///
    /// # Examples
    /// ```
    /// use foldlog::agent::{Agent, AgentBody, AgentView};
    /// use foldlog::{DecodeError, Event, SessionModel, decode_body};
    /// # use serde::{Deserialize, Serialize};
    ///
    /// # #[derive(Debug, Clone, Serialize, Deserialize)]
    /// enum DeskBody {
    ///     Agent(AgentBody),
    ///     Rated { stars: u8 },
    /// }
    /// # #[derive(Debug, Clone, Default, PartialEq)]
    /// struct DeskView {
    ///     agent: AgentView,
    ///     stars: Vec<u8>,
    /// }
    /// # struct Desk;
    /// impl SessionModel for Desk {
    ///     fn apply(view: &mut DeskView, event: &Event<Self>) {
    ///         match event.body() {
    ///             DeskBody::Agent(body) => Agent::apply_owned(&mut view.agent, event.with_body(body.clone())),
    ///             DeskBody::Rated { stars } => view.stars.push(*stars),
    ///         }
    ///     }
    ///     // ...
    /// #    const NAME: &'static str = "desk";
    /// #    const SCHEMA: u16 = 1;
    /// #    type Body = DeskBody;
    /// #    type View = DeskView;
    /// #    type Counters = ();
    /// #    type Transient = ();
    /// #    fn event_type(_: &DeskBody) -> &'static str { "desk" }
    /// #    fn decode(_: &str, _: u16, bytes: &[u8]) -> Result<DeskBody, DecodeError> { decode_body(bytes) }
    /// }
    /// ```
    #[must_use]
    pub fn with_body<N: SessionModel>(&self, body: N::Body) -> Event<N> {
        Event { id: self.id, at: self.at, chain: self.chain, body }
    }
}

/// The one form of all events in JSON.
fn serialize_event<S: Serializer>(
    serializer: S,
    position: LogPosition,
    at: Timestamp,
    event_type: &str,
    body: &impl Serialize,
) -> Result<S::Ok, S::Error> {
    let mut event = serializer.serialize_struct("Event", 5)?;
    event.serialize_field("id", &position.event())?;
    event.serialize_field("at", &at)?;
    event.serialize_field("type", event_type)?;
    event.serialize_field("position", &position)?;
    event.serialize_field("body", body)?;
    event.end()
}

impl<M: SessionModel> Serialize for Event<M> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_event(serializer, self.position(), self.at, self.event_type(), &self.body)
    }
}

/// An event of a log: one of the session model, or one of foldlog's own. A clone shares it.
///
/// Serialises as the [`Event`] or [`OwnEvent`] that it is. The type tells them apart.
#[non_exhaustive]
pub enum LogEvent<M: SessionModel> {
    /// What the host appended.
    Model(Arc<Event<M>>),
    /// What foldlog itself has noted. The note takes the next event id as any event does, and is not folded into the
    /// session model's view.
    Own(Arc<OwnEvent>),
}

impl<M: SessionModel> LogEvent<M> {
    /// Its number in the session's log.
    #[must_use]
    pub fn id(&self) -> EventId {
        match self {
            Self::Model(event) => event.id,
            Self::Own(event) => event.id(),
        }
    }

    /// Where it is, for a consumer that goes on from here later.
    #[must_use]
    pub fn position(&self) -> LogPosition {
        match self {
            Self::Model(event) => event.position(),
            Self::Own(event) => event.position(),
        }
    }

    /// When it was stamped. It is never before the time of the event ahead of it.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Model(event) => event.at,
            Self::Own(event) => event.at(),
        }
    }

    /// The type that is stored with the event. The types of foldlog's own events begin with `foldlog.`.
    #[must_use]
    pub fn event_type(&self) -> &'static str {
        match self {
            Self::Model(event) => event.event_type(),
            Self::Own(event) => event.body().event_type(),
        }
    }

    /// What the host appended; `None` for an event of foldlog's own.
    #[must_use]
    pub fn body(&self) -> Option<&M::Body> {
        self.as_model().map(|event| event.body())
    }

    /// The event of the session model, if it is one.
    #[must_use]
    pub fn as_model(&self) -> Option<&Arc<Event<M>>> {
        match self {
            Self::Model(event) => Some(event),
            Self::Own(_) => None,
        }
    }

    pub(crate) fn into_model(self) -> Option<Arc<Event<M>>> {
        match self {
            Self::Model(event) => Some(event),
            Self::Own(_) => None,
        }
    }

    /// The event of foldlog's own, if it is one.
    #[must_use]
    pub fn as_own(&self) -> Option<&Arc<OwnEvent>> {
        match self {
            Self::Model(_) => None,
            Self::Own(event) => Some(event),
        }
    }
}

impl<M: SessionModel> Serialize for LogEvent<M> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Model(event) => event.as_ref().serialize(serializer),
            Self::Own(event) => event.as_ref().serialize(serializer),
        }
    }
}

impl<M: SessionModel> Clone for LogEvent<M> {
    fn clone(&self) -> Self {
        match self {
            Self::Model(event) => Self::Model(Arc::clone(event)),
            Self::Own(event) => Self::Own(Arc::clone(event)),
        }
    }
}

impl<M: SessionModel> fmt::Debug for LogEvent<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model(event) => event.fmt(f),
            Self::Own(event) => event.fmt(f),
        }
    }
}
