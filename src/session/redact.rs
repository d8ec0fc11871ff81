//! Redacting events: what a host asks for, and what it is told.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, OnceLock};

use actix::prelude::*;

use super::actor::SessionActor;
use super::append::{Append, Bodies};
use super::entry::Entry;
use crate::commit::Erase;
use crate::error::{Error, ErrorKind};
use crate::event::{Event, OwnBody, Redacted, RedactedEvent};
use crate::id::{Digest, EventId};
use crate::model::SessionModel;
use crate::port::Erasing;
use crate::replay::Replace;

/// Which events of a session are to be redacted, why, and what is to be left of them:
/// [`Session::redact`](crate::Session::redact).
///
/// **What is left.** [`Redact::replace`] says it. Without it the session model does ([`SessionModel::redact`]); the
/// built-in [`Agent`](crate::agent::Agent) leaves ids, roles, times, numbers, tools' names and the ids of calls, and
/// `[redacted]` where a text was. Of foldlog's own events, foldlog itself takes away title, labels and reason: a label
/// is then what it was before the event, also one that the event has taken away.
///
/// # Errors
/// As an actor message, those of [`Session::redact`](crate::Session::redact).
///
/// # Cancellation
/// As an actor message, that of [`Append`].
#[derive(Message)]
#[rtype(result = "Result<Redaction, Error>")]
pub struct Redact<M: SessionModel> {
    pub(crate) events: BTreeSet<EventId>,
    pub(crate) reason: String,
    pub(crate) replace: Option<Replace<M>>,
    expected_head: Option<EventId>,
    /// Blobs that the events name, and do not name any more when they are redacted: found when the redaction is
    /// prepared.
    pub(super) blobs: OnceLock<Vec<Digest>>,
}

impl<M: SessionModel> Redact<M> {
    /// Redacts these events, all or none.
    #[must_use]
    pub fn new(events: impl IntoIterator<Item = EventId>) -> Self {
        let events = events.into_iter().collect();
        Self { events, reason: String::new(), replace: None, expected_head: None, blobs: OnceLock::new() }
    }

    /// Says why, and on whose behalf: a text of at most 1,024 bytes, which stays in the log.
    #[must_use]
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = reason.into();
        self
    }

    /// Has each event of the session model replaced by what the function makes of it, whatever the session model would
    /// make. The replacement must be of the same event type, and name no blob that the original does not name: nobody
    /// would look for it, and a sweep may remove it. Its ids are those of the original, whatever the function puts
    /// there.
    #[must_use]
    pub fn replace(mut self, replace: impl Fn(&Event<M>) -> M::Body + Send + Sync + 'static) -> Self {
        self.replace = Some(Arc::new(replace));
        self
    }

    /// Redacts only if `head` is the last stamped event: see [`Append::expect_head`].
    #[must_use]
    pub fn expect_head(mut self, head: EventId) -> Self {
        self.expected_head = Some(head);
        self
    }

    fn into_append(self) -> (Append<M>, Arc<Self>) {
        let redact = Arc::new(self);
        let bodies = Bodies::Own(redact.body(Vec::new()));
        let (expected_head, asked) = (redact.expected_head, Some(Arc::clone(&redact)));
        (Append { bodies, redact: asked, expected_head, key: None }, redact)
    }

    /// What the session notes of it, with the events whose records were made.
    pub(super) fn body(&self, events: Vec<RedactedEvent>) -> OwnBody {
        OwnBody::Redacted(Redacted { events, reason: self.reason.clone() })
    }

    /// Refuses what no session can do, and tells how many bytes the names of the events take.
    pub(super) fn check(&self, events_max: usize) -> Result<u64, Error> {
        if self.events.is_empty() {
            return Err(ErrorKind::InvalidArgument { what: "a redaction names no event".to_owned() }.into());
        }
        if self.events.len() > events_max {
            let (size, limit) = (self.events.len() as u64, events_max as u64);
            return Err(ErrorKind::TooLarge { what: "redaction", unit: "events", size, limit }.into());
        }
        Ok((self.events.len() * size_of::<EventId>()) as u64)
    }
}

impl<M: SessionModel> Clone for Redact<M> {
    fn clone(&self) -> Self {
        let Self { events, reason, replace, expected_head, blobs: _ } = self;
        let (events, reason, replace) = (events.clone(), reason.clone(), replace.clone());
        Self { events, reason, replace, expected_head: *expected_head, blobs: OnceLock::new() }
    }
}

impl<M: SessionModel> fmt::Debug for Redact<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, reason, replace, expected_head, blobs: _ } = self;
        let mut debug = f.debug_struct("Redact");
        debug.field("events", events).field("reason", reason).field("expected_head", expected_head);
        debug.field("replace", &replace.is_some()).finish()
    }
}

/// A redaction that is written: nobody reads the old events any more, here or in another process, also after a crash.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Redaction {
    /// The event `foldlog.redacted`, which says what was redacted and why.
    pub event: EventId,
    /// Whether bytes of the old events may still be in a file.
    pub erasure: Erasure,
}

/// Whether bytes of what was redacted may still be in a file of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Erasure {
    /// None is left.
    Complete,
    /// Something keeps them.
    Pending(ErasurePending),
}

/// What keeps bytes of redacted or deleted events in a store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErasurePending {
    /// Whether the log still has them: a program reads it in a long transaction, or another store writes it. The store
    /// goes on by itself.
    pub log: bool,
    /// Blobs that redacted events named, which no other event may name. A sweep takes them away.
    pub blobs: Vec<Digest>,
    /// Files that foldlog keeps for people and does not remove: copies of damaged write-ahead logs. They may hold
    /// anything that the log ever held. Look at them, and remove them.
    pub copies: Vec<String>,
}

impl<M: SessionModel> Entry<M> {
    /// Hands over a redaction, which takes its place in the session's order at this call; waits until it is written,
    /// and then for what can be erased at once.
    pub(crate) async fn redact(self: Arc<Self>, redact: Redact<M>) -> Result<Redaction, Error> {
        let (append, redact) = redact.into_append();
        let event = self.append(append)?.await?.head;
        self.erased(event, &redact).await
    }

    async fn erased(&self, event: EventId, redact: &Redact<M>) -> Result<Redaction, Error> {
        let Erasing { redacted, copies, .. } = self.services.erase(Erase::Redacted).await?;
        let blobs = redact.blobs.get().cloned().unwrap_or_default();
        let pending = ErasurePending { log: redacted > 0, blobs, copies };
        let is_complete = pending == ErasurePending::default();
        let erasure = if is_complete { Erasure::Complete } else { Erasure::Pending(pending) };
        Ok(Redaction { event, erasure })
    }
}

impl<M: SessionModel> Handler<Redact<M>> for SessionActor<M> {
    // Resolves after the commit and the erasure, without holding the mailbox.
    type Result = ResponseFuture<Result<Redaction, Error>>;

    fn handle(&mut self, redact: Redact<M>, context: &mut Context<Self>) -> Self::Result {
        let entry = Arc::clone(&self.entry);
        let (append, redact) = redact.into_append();
        let appended = self.handle(append, context);
        Box::pin(async move { entry.erased(appended.await?.head, &redact).await })
    }
}
