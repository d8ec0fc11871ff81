//! The way back: how the answer to a question of a session reaches the session's actor, whatever dies on the way.
//!
//! ```text
//! SessionActor ── question ──▶ persist actor, reader thread, recovery thread, blob thread
//!      ▲            with a ReplyTo                        │ reply_to.send(answered)
//!      │                                                  │ or the ReplyTo is dropped: the answer is `Lost`
//!      │                                                  ▼
//!      │                                          SendOnDrop { Answer } ── to the courier of the actor's arbiter
//!      │                                                  │ the courier drops it there; or whoever has it drops it
//!      └───────────── Answer, in the mailbox ◀────────────┘
//!                        │ dropped unhandled, since the arbiter has ended: the session's actor starts on another one,
//!                        ▼ asks again, and answers what was in flight by what the log says
//! ```
//!
//! Each step sends when it is dropped, so that no path out of any thread, a panic included, leaves a session waiting.
//! One wake-up of the arbiter serves all answers of a commit group: that is what the courier is for.

use std::sync::Arc;

use actix::prelude::*;

use super::actor::SessionActor;
use super::entry::Entry;
use crate::commit::{Follows, PersistError};
use crate::error::Error;
use crate::id::EventId;
use crate::model::SessionModel;
use crate::port::{Claiming, Written};
use crate::replay::{PreparedRedaction, Recovered, SnapshotOutcome};
use crate::threads::Courier;

/// Sends the answer to one question. If it is dropped before, it sends [`Answered::Lost`].
pub(super) struct ReplyTo<M: SessionModel> {
    pub(super) entry: Arc<Entry<M>>,
    address: Addr<SessionActor<M>>,
    /// `None` if the actor's arbiter is not known: then the answer goes to the actor's mailbox by itself.
    courier: Option<Courier>,
    pub(super) incarnation: u64,
    is_sent: bool,
}

impl<M: SessionModel> ReplyTo<M> {
    pub(super) fn new(
        entry: Arc<Entry<M>>,
        address: Addr<SessionActor<M>>,
        courier: Option<Courier>,
        incarnation: u64,
    ) -> Self {
        Self { entry, address, courier, incarnation, is_sent: false }
    }

    pub(super) fn send(mut self, answered: Answered<M>) {
        self.dispatch(answered);
    }

    fn dispatch(&mut self, answered: Answered<M>) {
        self.is_sent = true;
        let answer = Answer { entry: Arc::clone(&self.entry), incarnation: self.incarnation, answered: Some(answered) };
        let send_on_drop = SendOnDrop { address: self.address.clone(), answer: Some(answer) };
        match &self.courier {
            Some(courier) => courier.send(move || drop(send_on_drop)),
            None => drop(send_on_drop),
        }
    }
}

impl<M: SessionModel> Drop for ReplyTo<M> {
    fn drop(&mut self) {
        if !self.is_sent {
            self.dispatch(Answered::Lost);
        }
    }
}

/// Sends its answer to the actor's mailbox when dropped, so it arrives even if the arbiter discards the courier's task:
/// an arbiter that ends may do so while the actor is still connected.
struct SendOnDrop<M: SessionModel> {
    address: Addr<SessionActor<M>>,
    answer: Option<Answer<M>>,
}

impl<M: SessionModel> Drop for SendOnDrop<M> {
    #[expect(clippy::disallowed_methods, reason = "one answer for each question, and the questions are counted")]
    fn drop(&mut self) {
        if let Some(answer) = self.answer.take() {
            self.address.do_send(answer);
        }
    }
}

/// An answer in the actor's mailbox, with the incarnation that asked.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Answer<M: SessionModel> {
    entry: Arc<Entry<M>>,
    pub(super) incarnation: u64,
    answered: Option<Answered<M>>,
}

impl<M: SessionModel> Answer<M> {
    pub(super) fn take(&mut self) -> Option<Answered<M>> {
        self.answered.take()
    }
}

impl<M: SessionModel> Drop for Answer<M> {
    fn drop(&mut self) {
        if self.answered.is_some() {
            // No actor has handled the answer, since the arbiter has ended. Asking for the address starts the actor on
            // another arbiter, where the session recovers. A session that is closed has nothing in flight.
            drop(self.entry.address());
        }
    }
}

/// The answer to an [`Effect`](super::state::Effect).
pub(super) enum Answered<M: SessionModel> {
    Persisted {
        last: EventId,
        result: Result<Written, PersistError>,
        follows: Follows,
    },
    Fenced {
        claim: Claiming,
        result: Result<Written, PersistError>,
    },
    Recovered(Box<Result<Recovered<M>, Error>>),
    RedactionPrepared(Box<Result<PreparedRedaction<M>, Error>>),
    RefsChecked(Result<(), Error>),
    KeyFound(Result<Option<EventId>, Error>),
    SnapshotTaken(SnapshotOutcome),
    /// The question was dropped without an answer.
    Lost,
}
