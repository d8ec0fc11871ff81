//! Giving a session a title and labels: an append of an event of foldlog's own.

use std::fmt;
use std::marker::PhantomData;

use actix::prelude::*;

use super::actor::SessionActor;
use super::append::{Append, Appended, Bodies};
use crate::error::Error;
use crate::event::{Described, OwnBody};
use crate::id::{AppendKey, EventId};
use crate::model::SessionModel;

/// A change of a session's title and labels, and the conditions under which it is written:
/// [`Session::describe`](crate::Session::describe).
///
/// It changes what it names and leaves the rest: of two callers that set a label each, neither undoes what the other
/// did. It is one event, `foldlog.described`, among the events of the session, and is answered as an append is. One
/// that names nothing writes nothing and succeeds.
///
/// # Limits
/// A title has at most 1,024 bytes, the name of a label 1 to 64, the value of a label at most 256, and a session has at
/// most 32 labels: all of it is read by each list of sessions. One describe names at most 64 labels.
///
/// # Errors
/// As an actor message, those of [`Session::describe`](crate::Session::describe) and those of its
/// [`Receipt`](crate::Receipt).
///
/// # Cancellation
/// As an actor message, that of [`Append`].
#[derive(Message)]
#[rtype(result = "Result<Appended<M>, Error>")]
pub struct Describe<M: SessionModel> {
    described: Described,
    expected_head: Option<EventId>,
    key: Option<AppendKey>,
    model: PhantomData<fn() -> M>,
}

impl<M: SessionModel> Default for Describe<M> {
    fn default() -> Self {
        Self { described: Described::default(), expected_head: None, key: None, model: PhantomData }
    }
}

impl<M: SessionModel> Describe<M> {
    /// Changes nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the session this title. An empty one takes the title away.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.described.title = Some(title.into());
        self
    }

    /// Gives the session this label, or another value for it.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.described.labels.insert(name.into(), Some(value.into()));
        self
    }

    /// Takes a label away, if the session has it.
    #[must_use]
    pub fn remove_label(mut self, name: impl Into<String>) -> Self {
        self.described.labels.insert(name.into(), None);
        self
    }

    /// Writes only if `head` is the last stamped event: see [`Append::expect_head`].
    #[must_use]
    pub fn expect_head(mut self, head: EventId) -> Self {
        self.expected_head = Some(head);
        self
    }

    /// Writes at most once under this key: see [`Append::key`].
    #[must_use]
    pub fn key(mut self, key: AppendKey) -> Self {
        self.key = Some(key);
        self
    }

    pub(crate) fn into_append(self) -> Append<M> {
        let Self { described, expected_head, key, model: _ } = self;
        let is_empty = described == Described::default();
        let bodies = if is_empty { Bodies::Model(Vec::new()) } else { Bodies::Own(OwnBody::Described(described)) };
        Append { bodies, redact: None, expected_head, key }
    }
}

impl<M: SessionModel> Clone for Describe<M> {
    fn clone(&self) -> Self {
        let Self { described, expected_head, key, model } = self;
        Self { described: described.clone(), expected_head: *expected_head, key: key.clone(), model: *model }
    }
}

impl<M: SessionModel> fmt::Debug for Describe<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { described, expected_head, key, model: _ } = self;
        let mut debug = f.debug_struct("Describe");
        debug.field("described", described).field("expected_head", expected_head).field("key", key).finish()
    }
}

impl<M: SessionModel> Handler<Describe<M>> for SessionActor<M> {
    // Resolves after the commit, without holding the mailbox.
    type Result = ResponseFuture<Result<Appended<M>, Error>>;

    fn handle(&mut self, describe: Describe<M>, context: &mut Context<Self>) -> Self::Result {
        self.handle(describe.into_append(), context)
    }
}
