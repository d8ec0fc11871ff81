//! The actor of one session: its mailbox is the session's lock. The actor only drives [`SessionState`], and performs
//! the effects that the state asks for.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use actix::prelude::*;

use super::append::{Append, Appended};
use super::entry::Entry;
use super::entry::{fold_log, prepare_redaction};
use super::live::Source;
use super::reply::{Answer, Answered, ReplyTo};
use super::retry::repeat;
use super::state::{CloseReply, Effect, Ended, Env, SessionState, Task};
use crate::blobs::EnsureDurable;
use crate::commit::PersistError;
use crate::error::Error;
use crate::id::AppendKey;
use crate::model::SessionModel;
use crate::port::{Epoch, LogError, Refusal, Write, Written};
use crate::replay::NewSnapshot;
use crate::session::live::Subscriber;
use crate::threads::{Courier, ReaderSlot, Restart, guarded, lock};

/// The actor of one session, which handles one actor message after the other. It stamps appends, sends them to the
/// persist actor, and folds, publishes and answers them only after the commit.
///
/// Its address comes from [`Session::address`](crate::Session::address). A host may send it [`Append`],
/// [`Describe`](crate::Describe), [`CurrentView`](crate::CurrentView), [`DeleteSession`](crate::DeleteSession),
/// [`EventsAfter`](crate::EventsAfter), [`NextIds`](crate::NextIds),
/// [`Notify`](crate::Notify), [`Subscribe`](crate::Subscribe), [`TakeTurn`](crate::TakeTurn),
/// [`Redact`](crate::Redact), [`TakeOver`](crate::TakeOver), [`Recovery`](crate::Recovery) and [`Restart`].
pub struct SessionActor<M: SessionModel> {
    pub(super) entry: Arc<Entry<M>>,
    courier: Courier,
}

impl<M: SessionModel> SessionActor<M> {
    /// `courier` leads to the arbiter that the actor is started on.
    pub(super) fn new(entry: Arc<Entry<M>>, courier: Courier) -> Self {
        Self { entry, courier }
    }

    /// Runs one step of the state machine, and performs the effects that the step asks for.
    pub(super) fn step(&mut self, context: &mut Context<Self>, step: impl FnOnce(&mut SessionState<M>, &Env<'_>)) {
        let entry = Arc::clone(&self.entry);
        entry.touch();
        let guarded = catch_unwind(AssertUnwindSafe(|| {
            let services = &entry.services;
            let env = Env {
                now: services.config.clock.now(),
                config: &services.config,
                blobs: &*services.blobs,
                metrics: &services.metrics,
                store_closes: services.is_closed(),
            };
            let mut state = lock(&entry.state);
            step(&mut state, &env);
            let effects = state.take_effects();
            let incarnation = state.incarnation();
            drop(state);
            for effect in effects {
                self.perform(effect, incarnation, context);
            }
            services.residency.look();
        }));
        if guarded.is_err() {
            // The session model or foldlog has a bug. The actor starts again, and recovers the session from the log.
            log::error!("a session's step panicked: it is recovered from the log");
            context.stop();
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "questions to the blob actor are counted: each is of an append in flight"
    )]
    fn perform(&self, effect: Effect<M>, incarnation: u64, context: &Context<Self>) {
        let services = &self.entry.services;
        // Each question gets a `ReplyTo` of its own.
        let reply_to = || {
            let (entry, courier) = (Arc::clone(&self.entry), Some(self.courier.clone()));
            ReplyTo::new(entry, context.address(), courier, incarnation)
        };
        match effect {
            Effect::Persist { last, write } => {
                let reply_to = reply_to();
                let reply =
                    Box::new(move |result, follows| reply_to.send(Answered::Persisted { last, result, follows }));
                services.persist(write, incarnation, reply);
            }
            Effect::Fence { claim } => {
                let write = Write::Fence { log: self.entry.log, claim };
                let reply_to = reply_to();
                let reply = Box::new(move |result, _| reply_to.send(Answered::Fenced { claim, result }));
                services.persist(write, incarnation, reply);
            }
            Effect::Recover { head, watch } => fold_log(reply_to(), head, watch),
            Effect::PrepareRedaction { redact } => prepare_redaction(reply_to(), redact),
            Effect::Resident => self.entry.enter_ring(),
            Effect::TakeSnapshot { epoch, head, view, keys, redactions } => {
                let new = NewSnapshot { log: self.entry.log, epoch, head, view, keys, redactions };
                let (bytes_max, reply_to) = (services.config.snapshots.bytes_max, reply_to());
                let (persist, metrics) = (services.persist.clone(), Arc::clone(&services.metrics));
                let reply = move |outcome| reply_to.send(Answered::SnapshotTaken(outcome));
                services.snapshots.take(new, bytes_max, persist, metrics, reply);
            }
            Effect::CheckRefs { blobs } => {
                let reply_to = reply_to();
                let reply = Box::new(move |result| reply_to.send(Answered::RefsChecked(result)));
                services.blob.do_send(EnsureDurable { blobs, reply });
            }
            Effect::FindKey { key } => self.find_key(reply_to(), key),
            Effect::Repeat { written, request } => {
                repeat(&services.readers, self.entry.id.clone(), self.entry.log, written, request);
            }
            Effect::Deleted { subscribers } => self.entry.tell_deleted(&subscribers),
            Effect::Close { release, subscribers, done } => self.close(release, subscribers, done, incarnation),
        }
    }

    /// Searches the log for an append key, on a reader thread. In a store that is closed, `reply_to` is dropped
    /// unanswered.
    fn find_key(&self, reply_to: ReplyTo<M>, key: AppendKey) {
        let entry = Arc::clone(&self.entry);
        let submitted = self.entry.services.readers.submit_urgent(move |slot: &mut ReaderSlot| {
            // Guarded, since a `reply_to` that a panic dropped would say that the store is closed.
            let found = guarded("search for a key", || slot.read(|reader| reader.find_key(entry.log.key, &key)));
            let panicked = |_| Err(LogError::Io("the search for an append key panicked".to_owned()));
            let found = found.unwrap_or_else(panicked);
            let found = found.map(|found| found.map(|event| event.id));
            reply_to.send(Answered::KeyFound(found.map_err(|error| error.of_session(&entry.id))));
        });
        if submitted.is_err() {
            log::debug!("a key was to be searched for in a store that is closed");
        }
    }

    fn close(
        &self,
        release: Option<Epoch>,
        subscribers: Vec<Arc<Subscriber<M>>>,
        done: CloseReply<M>,
        incarnation: u64,
    ) {
        for subscriber in &subscribers {
            subscriber.end(Box::new(|| ()));
        }
        let services = &self.entry.services;
        // A store that is closing releases no single log: it gives all of them up at once, with its ownership.
        match release.filter(|_| !services.is_closed()) {
            None => {
                self.entry.mark_closed(Ended::Closed);
                done(subscribers, Ok(()));
            }
            Some(epoch) => {
                let write = Write::Release { log: self.entry.log.key, epoch };
                // If the release fails, this store owns the log until the store closes.
                let entry = Arc::clone(&self.entry);
                let reply = Box::new(move |released: Result<Written, PersistError>, _| {
                    // This may run before the call below does, and nobody may be told before the entry is marked.
                    entry.mark_closed(Ended::Closed);
                    let released = match released {
                        Ok(_) => Ok(()),
                        // Another store has taken the log over, or this one closes and gives up all of its logs.
                        Err(
                            PersistError::Refused(Refusal::Owned(_) | Refusal::StaleEpoch | Refusal::Deleted)
                            | PersistError::Closed,
                        ) => Ok(()),
                        Err(error) => Err(error.of_session(&entry.id)),
                    };
                    done(subscribers, released);
                });
                // Sent before the entry is marked, so that it is ahead of the writes of a caller who finds the session
                // closed and opens it again.
                services.persist(write, incarnation, reply);
                self.entry.mark_closed(Ended::Closed);
            }
        }
    }

    /// Where a subscriber of this session catches up from.
    pub(super) fn source(&self) -> Source {
        let services = &self.entry.services;
        let (readers, metrics) = (services.readers.clone(), Arc::clone(&services.metrics));
        Source { session: self.entry.id.clone(), log: self.entry.log, readers, metrics }
    }
}

impl<M: SessionModel> Actor for SessionActor<M> {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        self.step(context, |state, _| state.started());
    }
}

impl<M: SessionModel> Supervised for SessionActor<M> {}

impl<M: SessionModel> Handler<Restart> for SessionActor<M> {
    type Result = ();

    fn handle(&mut self, _: Restart, context: &mut Context<Self>) {
        context.stop();
    }
}

impl<M: SessionModel> Handler<Append<M>> for SessionActor<M> {
    // Resolves after the commit, without holding the mailbox.
    type Result = ResponseFuture<Result<Appended<M>, Error>>;

    fn handle(&mut self, append: Append<M>, context: &mut Context<Self>) -> Self::Result {
        match self.entry.admit(append) {
            Err(error) => Box::pin(async { Err(error) }),
            Ok((task, receipt)) => {
                self.step(context, |state, env| state.accept(task, env));
                Box::pin(receipt)
            }
        }
    }
}

/// A task that was admitted on the caller's thread.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Accept<M: SessionModel>(pub(super) Task<M>);

impl<M: SessionModel> Handler<Accept<M>> for SessionActor<M> {
    // The answer goes over the task's own channel, so that dropping a future cancels nothing.
    type Result = ();

    fn handle(&mut self, Accept(task): Accept<M>, context: &mut Context<Self>) {
        self.step(context, |state, env| state.accept(task, env));
    }
}

impl<M: SessionModel> Handler<Answer<M>> for SessionActor<M> {
    type Result = ();

    fn handle(&mut self, mut answer: Answer<M>, context: &mut Context<Self>) {
        let (Some(answered), incarnation) = (answer.take(), answer.incarnation) else { return };
        self.step(context, |state, env| {
            // An answer to an earlier incarnation is dropped: the log was asked again since.
            if incarnation != state.incarnation() {
                return;
            }
            match answered {
                Answered::Persisted { last, result, follows } => state.persisted(last, result, follows, env),
                Answered::Fenced { claim, result } => state.fenced(claim, result, env),
                Answered::Recovered(result) => state.recovered(*result, env),
                Answered::RedactionPrepared(result) => state.redaction_prepared(*result, env),
                Answered::RefsChecked(result) => state.refs_checked(result, env),
                Answered::KeyFound(result) => state.key_found(result, env),
                Answered::SnapshotTaken(outcome) => state.snapshot_taken(outcome, env),
                Answered::Lost => state.lost(),
            }
        });
    }
}
