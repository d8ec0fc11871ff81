//! The folded state of a session, with the event that it is at.

use std::fmt::{self, Debug};
use std::ops::Deref;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::codec;
use crate::event::Event;
use crate::id::{Digest, EventId};
use crate::model::SessionModel;

/// The folded state of a session at an event. Dereferences to the session model's own view.
///
/// Serialises as `{"head": .., "state": ..}` where the session model's own view has serde: docs/json.md.
pub struct View<M: SessionModel> {
    head: EventId,
    state: M::View,
}

impl<M: SessionModel> View<M> {
    pub(crate) fn new(head: EventId, state: M::View) -> Self {
        Self { head, state }
    }

    /// The last event that is folded into this view.
    #[must_use]
    pub fn head(&self) -> EventId {
        self.head
    }

    /// The BLAKE3 of the encoded view: views of equal states have equal digests. `None` for a session model that does
    /// not encode views.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        M::encode_view(&self.state).map(|bytes| codec::digest(&bytes))
    }

    /// The session model's own view.
    #[must_use]
    pub fn state(&self) -> &M::View {
        &self.state
    }

    /// Folds the event that follows.
    pub(crate) fn apply(&mut self, event: &Event<M>) {
        M::apply(&mut self.state, event);
        self.head = event.id();
    }
}

impl<M: SessionModel> Deref for View<M> {
    type Target = M::View;

    fn deref(&self) -> &M::View {
        &self.state
    }
}

impl<M: SessionModel> Clone for View<M> {
    fn clone(&self) -> Self {
        Self { head: self.head, state: self.state.clone() }
    }
}

impl<M: SessionModel> Serialize for View<M>
where
    M::View: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut view = serializer.serialize_struct("View", 2)?;
        view.serialize_field("head", &self.head)?;
        view.serialize_field("state", &self.state)?;
        view.end()
    }
}

impl<M: SessionModel> PartialEq for View<M> {
    fn eq(&self, other: &Self) -> bool {
        self.head == other.head && self.state == other.state
    }
}

impl<M: SessionModel> Debug for View<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("head", &self.head).field("state", &self.state).finish()
    }
}
