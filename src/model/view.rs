//! The folded state of a session, with the event that it is at.

use std::fmt::{self, Debug};
use std::ops::Deref;
use std::sync::Arc;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::codec;
use crate::event::{LogEvent, SessionCore};
use crate::id::{Digest, EventId};
use crate::model::SessionModel;

/// The folded state of a session at an event. Dereferences to the session model's own view.
///
/// Serialises as `{"head": .., "state": .., "core": ..}` where the session model's own view has serde: docs/json.md.
pub struct View<M: SessionModel> {
    head: EventId,
    state: M::View,
    core: Arc<SessionCore>,
}

impl<M: SessionModel> View<M> {
    pub(crate) fn new(head: EventId, state: M::View, core: Arc<SessionCore>) -> Self {
        Self { head, state, core }
    }

    /// The last event that is folded into this view.
    #[must_use]
    pub fn head(&self) -> EventId {
        self.head
    }

    /// The BLAKE3 of the session model's own view, encoded: equal states have equal digests. `None` for a session model
    /// that does not encode views.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        M::encode_view(&self.state).map(|bytes| codec::digest(&bytes))
    }

    /// The session model's own view.
    #[must_use]
    pub fn state(&self) -> &M::View {
        &self.state
    }

    /// What foldlog itself knows of the session at the same event: its title and labels.
    #[must_use]
    pub fn core(&self) -> &Arc<SessionCore> {
        &self.core
    }

    /// Folds the event that follows.
    pub(crate) fn apply(&mut self, event: &LogEvent<M>) {
        apply_to(&mut self.state, &mut self.core, event);
        self.head = event.id();
    }
}

/// Folds one event: into the state of the session model, or into the core.
pub(crate) fn apply_to<M: SessionModel>(state: &mut M::View, core: &mut Arc<SessionCore>, event: &LogEvent<M>) {
    match event {
        LogEvent::Model(event) => M::apply(state, event),
        LogEvent::Own(event) => Arc::make_mut(core).apply(event.body()),
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
        Self { head: self.head, state: self.state.clone(), core: Arc::clone(&self.core) }
    }
}

impl<M: SessionModel> Serialize for View<M>
where
    M::View: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut view = serializer.serialize_struct("View", 3)?;
        view.serialize_field("head", &self.head)?;
        view.serialize_field("state", &self.state)?;
        view.serialize_field("core", &*self.core)?;
        view.end()
    }
}

impl<M: SessionModel> PartialEq for View<M> {
    fn eq(&self, other: &Self) -> bool {
        self.head == other.head && self.state == other.state && self.core == other.core
    }
}

impl<M: SessionModel> Debug for View<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { head, state, core } = self;
        f.debug_struct("View").field("head", head).field("state", state).field("core", core).finish()
    }
}
