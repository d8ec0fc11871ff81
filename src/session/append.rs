//! What a caller hands over to be appended, and what it gets back.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix::prelude::{Message, MessageResponse};
use futures::channel::oneshot;

use crate::codec::{self, Fingerprint, RecordError, Salt};
use crate::error::{Error, ErrorKind};
use crate::event::{Event, OwnBody};
use crate::id::{AppendKey, EventId, SessionId};
use crate::model::SessionModel;
use crate::session::redact::Redact;

/// An append: one or more bodies, all or nothing, and the conditions under which they are written.
///
/// Sent as an actor message to a [`SessionActor`](crate::SessionActor), an append is answered with [`Appended`] once
/// its events are durable and folded. If the session model's `apply` panics on an event, it is durable and not folded:
/// see [`Condition`](crate::Condition).
///
/// # Errors
/// As an actor message, those of [`Session::append_with`](crate::Session::append_with) and those of its [`Receipt`].
///
/// # Cancellation
/// Dropping the future of a sent actor message before the actor handles it cancels the append, and a full mailbox may
/// change the order of appends. Neither happens with [`Session::append`](crate::Session::append).
#[derive(Message)]
#[rtype(result = "Result<Appended<M>, Error>")]
pub struct Append<M: SessionModel> {
    pub(crate) bodies: Bodies<M>,
    /// What is to be redacted, if it is a redaction. Its body is then the event that says so, without the events that
    /// it names: they are known when the redaction was prepared.
    pub(crate) redact: Option<Arc<Redact<M>>>,
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
        Self { bodies: Bodies::Model(bodies), redact: None, expected_head: None, key: None }
    }

    /// Appends only if `head` is the last stamped event; otherwise the append is refused with [`ErrorKind::HeadMoved`].
    #[must_use]
    pub fn expect_head(mut self, head: EventId) -> Self {
        self.expected_head = Some(head);
        self
    }

    /// Appends at most once under this key: a retry with the same bodies writes nothing and returns what the first
    /// append wrote. One with other bodies is refused with [`ErrorKind::KeyReused`]; bodies of another schema of the
    /// session model are not compared.
    #[must_use]
    pub fn key(mut self, key: AppendKey) -> Self {
        self.key = Some(key);
        self
    }
}

impl<M: SessionModel> Clone for Append<M> {
    fn clone(&self) -> Self {
        let Self { bodies, redact, expected_head, key } = self;
        let (bodies, redact, key) = (bodies.clone(), redact.clone(), key.clone());
        Self { bodies, redact, expected_head: *expected_head, key }
    }
}

impl<M: SessionModel> std::fmt::Debug for Append<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("Append");
        debug.field("bodies", &self.bodies).field("expected_head", &self.expected_head).field("key", &self.key).finish()
    }
}

/// What is to be stamped: as an event is, of the session model or foldlog's own.
pub(crate) enum Bodies<M: SessionModel> {
    Model(Vec<M::Body>),
    /// One body of foldlog's own. The session model is asked about none.
    Own(OwnBody),
}

impl<M: SessionModel> Bodies<M> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Model(bodies) => bodies.len(),
            Self::Own(_) => 1,
        }
    }

    /// The schema version of their encoding.
    pub(crate) fn schema(&self) -> u16 {
        match self {
            Self::Model(_) => M::SCHEMA,
            Self::Own(_) => OwnBody::SCHEMA,
        }
    }

    pub(crate) fn fingerprint(&self, salt: Salt) -> Result<Fingerprint, RecordError> {
        match self {
            Self::Model(bodies) => codec::fingerprint(salt, bodies),
            Self::Own(body) => body.fingerprint(salt),
        }
    }

    /// Whether they may be those of an append whose first event is foldlog's own, of this type, or else of the session
    /// model.
    pub(crate) fn may_be_of(&self, own_type: Option<&str>) -> bool {
        match self {
            Self::Model(_) => own_type.is_none(),
            Self::Own(body) => own_type == Some(body.event_type()),
        }
    }
}

impl<M: SessionModel> Clone for Bodies<M> {
    fn clone(&self) -> Self {
        match self {
            Self::Model(bodies) => Self::Model(bodies.clone()),
            Self::Own(body) => Self::Own(body.clone()),
        }
    }
}

impl<M: SessionModel> std::fmt::Debug for Bodies<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Model(bodies) => bodies.fmt(f),
            Self::Own(body) => body.fmt(f),
        }
    }
}

/// What an append wrote.
#[derive(MessageResponse)]
#[non_exhaustive]
pub struct Appended<M: SessionModel> {
    /// The stamped events of the session model, in order. A [`Describe`](crate::Describe) has none.
    pub events: Vec<Arc<Event<M>>>,
    /// The last event of the append; for an empty one, the last event that was stamped before it.
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

/// The answer to come to an append that has taken its place in the session's order. Resolves to [`Appended`] once the
/// events are durable and folded.
///
/// # Errors
/// [`ErrorKind::OutcomeUnknown`] if it is not known whether the append was written. With every other kind, this append
/// wrote nothing:
/// - its conditions: [`ErrorKind::HeadMoved`], [`ErrorKind::KeyReused`], [`ErrorKind::RefusedByView`];
/// - its bodies: [`ErrorKind::BodyRefused`]; [`ErrorKind::TooLarge`] for an encoded event; [`ErrorKind::DanglingRef`]
///   or [`ErrorKind::CorruptBlob`] for a blob that they reference;
/// - the session: [`ErrorKind::NotWritten`], [`ErrorKind::OwnedElsewhere`], [`ErrorKind::NewerRecord`],
///   [`ErrorKind::Unfoldable`], [`ErrorKind::CorruptEvent`], [`ErrorKind::Undecodable`], [`ErrorKind::SessionClosed`];
/// - the store: [`ErrorKind::DiskFull`], [`ErrorKind::Unavailable`], [`ErrorKind::Io`], [`ErrorKind::UnsuitablePlace`],
///   [`ErrorKind::CorruptStore`], [`ErrorKind::StoreClosed`], [`ErrorKind::MustReopen`].
///
/// # Cancellation
/// Dropping a receipt cancels nothing: the append goes on.
///
/// # Blocking
/// Await a receipt; do not block on it (`block_on(receipt)`) on the thread that its session runs on. A thread that
/// blocks runs no actor, so the answer never comes. Where a store was opened inside an actix system, its sessions run
/// on the thread that opened it, unless [`StoreConfig::arbiters`](crate::StoreConfig::arbiters) names others: a host
/// that has to block there gives the store an arbiter of its own, `arbiters: vec![Arbiter::new().handle()]`. The same
/// goes for every other future of a session. On a thread without an actix system blocking is fine.
#[must_use = "the append is durable only once its receipt has answered Ok"]
pub struct Receipt<M: SessionModel> {
    pub(super) session: SessionId,
    pub(super) answer: oneshot::Receiver<Result<Appended<M>, Error>>,
    /// The process that made the append.
    pub(super) process: u32,
}

impl<M: SessionModel> std::fmt::Debug for Receipt<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receipt").field("session", &self.session).finish_non_exhaustive()
    }
}

impl<M: SessionModel> Future for Receipt<M> {
    type Output = Result<Appended<M>, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = Pin::new(&mut self.answer).poll(context);
        if polled.is_pending() && std::process::id() != self.process {
            let reason = "this process was forked after the append was made, and the answer goes to the other process";
            let (session, reason) = (self.session.clone(), reason.to_owned());
            return Poll::Ready(Err(ErrorKind::OutcomeUnknown { session, reason }.into()));
        }
        polled.map(|answer| {
            // A stamped append is always answered. One that was dropped without an answer was not stamped, nor written.
            answer.unwrap_or_else(|_| {
                let reason = "its actor ended before it was stamped".to_owned();
                Err(ErrorKind::NotWritten { session: self.session.clone(), reason }.into())
            })
        })
    }
}
