//! What a caller hands over to be appended, and what it gets back.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix::prelude::{Message, MessageResponse};
use futures::channel::oneshot;

use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::id::{AppendKey, EventId, SessionId};
use crate::model::SessionModel;

/// An append: one or more bodies, all or nothing, and the conditions under which they are written.
///
/// As a message to a [`SessionActor`](crate::SessionActor) it is answered with the [`Appended`] events once they are
/// durable and folded. Should the model's `apply` panic on one, it is durable and not folded: see
/// [`Condition`](crate::Condition).
///
/// # Cancellation
/// Dropping the future of a sent message before the actor has reached it cancels the append, and a full mailbox reorders
/// it. [`Session::append`](crate::Session::append) has neither trait.
#[derive(Message)]
#[rtype(result = "Result<Appended<M>, Error>")]
pub struct Append<M: SessionModel> {
    pub(crate) bodies: Vec<M::Body>,
    pub(crate) expected_head: Option<EventId>,
    pub(crate) key: Option<AppendKey>,
}

impl<M: SessionModel> Append<M> {
    /// Appends one body.
    #[must_use]
    pub fn new(body: M::Body) -> Self {
        Self::batch(vec![body])
    }

    /// Appends bodies with consecutive ids, all or nothing. An empty batch writes nothing and succeeds.
    #[must_use]
    pub fn batch(bodies: Vec<M::Body>) -> Self {
        Self { bodies, expected_head: None, key: None }
    }

    /// Appends only if `head` is the last stamped event; otherwise [`ErrorKind::HeadMoved`].
    #[must_use]
    pub fn expect_head(mut self, head: EventId) -> Self {
        self.expected_head = Some(head);
        self
    }

    /// Appends only once under this key: a retry returns the first result and writes nothing. A retry has the same bodies,
    /// or it is refused with [`ErrorKind::KeyReused`]; those of another schema of the model are not compared.
    #[must_use]
    pub fn key(mut self, key: AppendKey) -> Self {
        self.key = Some(key);
        self
    }
}

impl<M: SessionModel> Clone for Append<M> {
    fn clone(&self) -> Self {
        Self { bodies: self.bodies.clone(), expected_head: self.expected_head, key: self.key.clone() }
    }
}

impl<M: SessionModel> std::fmt::Debug for Append<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("Append");
        debug.field("bodies", &self.bodies).field("expected_head", &self.expected_head).field("key", &self.key).finish()
    }
}

/// What an append wrote.
#[derive(MessageResponse)]
#[non_exhaustive]
pub struct Appended<M: SessionModel> {
    /// The stamped events, in order.
    pub events: Vec<Arc<Event<M>>>,
    /// The last event of the append; for an empty batch the head it found.
    pub head: EventId,
    /// Whether another append with the same key has written them. Of all that ask with one key, at most one is told
    /// `false`: of those that waited for the same commit the first whose receipt was still held.
    pub repeated: bool,
}

impl<M: SessionModel> Clone for Appended<M> {
    fn clone(&self) -> Self {
        Self { events: self.events.clone(), head: self.head, repeated: self.repeated }
    }
}

impl<M: SessionModel> std::fmt::Debug for Appended<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("Appended");
        debug.field("events", &self.events).field("head", &self.head).field("repeated", &self.repeated).finish()
    }
}

/// The promise of an answer to an append that has its place in the session's order already.
///
/// # Errors
/// The future's error says whether anything was written: nothing was, unless its kind is
/// [`ErrorKind::OutcomeUnknown`].
///
/// # Cancellation
/// Dropping a receipt cancels nothing: the append goes on.
#[must_use = "the append is durable only once its receipt has answered Ok"]
pub struct Receipt<M: SessionModel> {
    pub(super) session: SessionId,
    pub(super) answer: oneshot::Receiver<Result<Appended<M>, Error>>,
}

impl<M: SessionModel> std::fmt::Debug for Receipt<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receipt").field("session", &self.session).finish_non_exhaustive()
    }
}

impl<M: SessionModel> Future for Receipt<M> {
    type Output = Result<Appended<M>, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(context).map(|answer| {
            // An append that was stamped is always answered; one that was dropped before is not written.
            answer.unwrap_or_else(|_| {
                let reason = "its actor ended before it was stamped".to_owned();
                Err(ErrorKind::NotWritten { session: self.session.clone(), reason }.into())
            })
        })
    }
}
