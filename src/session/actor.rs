//! The actor of one session: its mailbox is the per-session lock. It only drives [`SessionState`].
//!
//! [`SessionState`]: crate::session::state::SessionState

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use actix::prelude::*;

use crate::blobs::actor::EnsureDurable;
use crate::commit::group::PersistError;
use crate::error::Error;
use crate::id::EventId;
use crate::model::SessionModel;
use crate::port::{Claim, LogError, Write, Written};
use crate::replay::recovered::Recovered;
use crate::replay::snapshot::store::{NewSnapshot, SnapshotOutcome};
use crate::session::append::{Append, Appended, repeat};
use crate::session::entry::Entry;
use crate::session::state::{Effect, Env, SessionState, Task};
use crate::session::subscription::Source;
use crate::session::waking::fold_log;
use crate::threads::courier::Courier;
use crate::threads::guard::guarded;
use crate::threads::restart::Restart;
use crate::threads::workers::{ReaderSlot, lock};

/// The actor of one session. Its mailbox is the session's lock: it stamps, sends to the persist actor, and folds,
/// publishes and replies only after the commit.
///
/// Its address comes from [`Session::address`](crate::Session::address). A host may send it [`Append`], [`CurrentView`],
/// [`EventsAfter`], [`NextIds`], [`Notify`], [`Subscribe`], [`TakeTurn`], [`TakeOver`], [`Recovery`] and [`Restart`].
pub struct SessionActor<M: SessionModel> {
    pub(crate) entry: Arc<Entry<M>>,
    courier: Courier,
}

impl<M: SessionModel> SessionActor<M> {
    /// `courier` leads to the arbiter that it is started on.
    pub(crate) fn new(entry: Arc<Entry<M>>, courier: Courier) -> Self {
        Self { entry, courier }
    }

    /// Runs one step of the state, and sends what it asks for.
    pub(crate) fn step(&mut self, context: &mut Context<Self>, step: impl FnOnce(&mut SessionState<M>, &Env<'_>)) {
        let entry = Arc::clone(&self.entry);
        entry.touch();
        let guarded = catch_unwind(AssertUnwindSafe(|| {
            let services = &entry.services;
            let env = Env {
                now: services.config.clock.now(),
                config: &services.config,
                blobs: &*services.blobs,
                counters: &services.counters,
                store_closes: services.check_open().is_err(),
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
            // A bug of the model or of ours. The log knows what is true: start again from there.
            log::error!("a session's step panicked: it is recovered from the log");
            context.stop();
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the order of the writes is the order of the log; appends in flight are counted"
    )]
    fn perform(&self, effect: Effect<M>, incarnation: u64, context: &Context<Self>) {
        let services = &self.entry.services;
        // One for each question: dropped without an answer, it says so.
        let back = || {
            let (entry, courier) = (Arc::clone(&self.entry), Some(self.courier.clone()));
            Way::new(entry, context.address(), courier, incarnation)
        };
        match effect {
            Effect::Persist { last, write } => {
                let back = back();
                let reply = Box::new(move |answer: Result<Written, PersistError>| {
                    back.send(Answered::Persisted { last, result: answer });
                });
                services.persist(write, incarnation, reply);
            }
            Effect::Fence { claim } => {
                let write = Write::Fence { log: self.entry.log, claim };
                let back = back();
                let reply = Box::new(move |result| back.send(Answered::Fenced { claim, result }));
                services.persist(write, incarnation, reply);
            }
            Effect::Recover { head, watch } => fold_log(back(), head, watch),
            Effect::Resident => self.entry.enter_ring(),
            Effect::TakeSnapshot { epoch, head, view, keys } => {
                let new = NewSnapshot { log: self.entry.log, epoch, head, view, keys };
                let (bytes_max, back) = (services.config.snapshots.bytes_max, back());
                let (persist, counters) = (services.persist.clone(), Arc::clone(&services.counters));
                let reply = move |outcome| back.send(Answered::SnapshotTaken(outcome));
                services.snapshots.take(new, bytes_max, persist, counters, reply);
            }
            Effect::CheckRefs { digests } => {
                let back = back();
                let reply = Box::new(move |result| back.send(Answered::RefsChecked(result)));
                services.blob.do_send(EnsureDurable { digests, reply });
            }
            Effect::FindKey { key } => {
                let log = self.entry.log.key;
                self.read(back(), move |slot| {
                    // Guarded, since a question without an answer means that the store is closed.
                    let found = guarded("search for a key", || slot.read(|reader| reader.find_key(log, &key)));
                    let panicked = |_| Err(LogError::Io("the search for an append key panicked".to_owned()));
                    let found = found.unwrap_or_else(panicked);
                    Answered::KeyFound(found.map(|found| found.map(|event| event.id)).map_err(Error::from))
                });
            }
            Effect::Repeat { first, request } => {
                repeat(&services.readers, self.entry.id.clone(), self.entry.log, first, request);
            }
            Effect::Close { release, subscribers, done } => {
                for subscriber in &subscribers {
                    subscriber.end(Box::new(|| ()));
                }
                // A store that closes gives up all of its logs at once, with its owner's lock.
                match release.filter(|_| services.check_open().is_ok()) {
                    None => {
                        self.entry.mark_closed();
                        done(subscribers);
                    }
                    Some(epoch) => {
                        let write = Write::Release { log: self.entry.log.key, epoch };
                        // Should it fail, the log stays this store's, until the store closes.
                        let entry = Arc::clone(&self.entry);
                        let reply = Box::new(move |_| {
                            // Before anyone is told.
                            entry.mark_closed();
                            done(subscribers);
                        });
                        // Ahead of whatever an opener sends who finds the session closed.
                        services.persist(write, incarnation, reply);
                        self.entry.mark_closed();
                    }
                }
            }
        }
    }

    /// Runs a short read on a reader thread and sends its answer back. The readers of a store that is closed take nothing.
    fn read(&self, back: Way<M>, read: impl FnOnce(&mut ReaderSlot) -> Answered<M> + Send + 'static) {
        let submitted = self.entry.services.readers.submit_urgent(move |slot| back.send(read(slot)));
        if submitted.is_err() {
            log::debug!("a session was to be read in a store that is closed");
        }
    }

    pub(crate) fn source(&self) -> Source {
        let services = &self.entry.services;
        let (readers, counters) = (services.readers.clone(), Arc::clone(&services.counters));
        Source { session: self.entry.id.clone(), log: self.entry.log, readers, counters }
    }
}

/// The way back to the actor that asked, or to the one that took its place.
pub(crate) struct Way<M: SessionModel> {
    pub(crate) entry: Arc<Entry<M>>,
    address: Addr<SessionActor<M>>,
    /// `None` where no arbiter is known: the actor is woken for this answer alone.
    courier: Option<Courier>,
    pub(crate) incarnation: u64,
    gone: bool,
}

impl<M: SessionModel> Way<M> {
    pub(crate) fn new(
        entry: Arc<Entry<M>>,
        address: Addr<SessionActor<M>>,
        courier: Option<Courier>,
        incarnation: u64,
    ) -> Self {
        Self { entry, address, courier, incarnation, gone: false }
    }

    pub(crate) fn send(mut self, answer: Answered<M>) {
        self.go(answer);
    }

    fn go(&mut self, answer: Answered<M>) {
        self.gone = true;
        let (entry, incarnation) = (Arc::clone(&self.entry), self.incarnation);
        let answer = Answer { entry, incarnation, answer: Some(answer) };
        let letter = Letter { address: self.address.clone(), answer: Some(answer) };
        match &self.courier {
            Some(courier) => courier.send(move || drop(letter)),
            None => drop(letter),
        }
    }
}

/// Goes into the actor's mailbox when it is dropped: by its courier, or with it. An arbiter that ends may drop the courier
/// ahead of the actor, which is connected still and would hear nothing of it.
struct Letter<M: SessionModel> {
    address: Addr<SessionActor<M>>,
    answer: Option<Answer<M>>,
}

impl<M: SessionModel> Drop for Letter<M> {
    #[expect(clippy::disallowed_methods, reason = "one answer for each question, and the questions are counted")]
    fn drop(&mut self) {
        if let Some(answer) = self.answer.take() {
            self.address.do_send(answer);
        }
    }
}

impl<M: SessionModel> Drop for Way<M> {
    fn drop(&mut self) {
        if !self.gone {
            self.go(Answered::Lost);
        }
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
pub(crate) struct Accept<M: SessionModel>(pub(crate) Task<M>);

impl<M: SessionModel> Handler<Accept<M>> for SessionActor<M> {
    // The answer goes over the task's own channel, so that dropping a future cancels nothing.
    type Result = ();

    fn handle(&mut self, Accept(task): Accept<M>, context: &mut Context<Self>) {
        self.step(context, |state, env| state.accept(task, env));
    }
}

/// An answer to an [`Effect`], with the incarnation that asked.
#[derive(Message)]
#[rtype(result = "()")]
struct Answer<M: SessionModel> {
    entry: Arc<Entry<M>>,
    incarnation: u64,
    answer: Option<Answered<M>>,
}

impl<M: SessionModel> Drop for Answer<M> {
    fn drop(&mut self) {
        if self.answer.is_some() {
            // Its arbiter died before or after it was sent: the actor that takes its place asks again, and answers what
            // was in flight. A session that is closed has nothing in flight.
            drop(self.entry.address());
        }
    }
}

pub(crate) enum Answered<M: SessionModel> {
    Persisted {
        last: EventId,
        result: Result<Written, PersistError>,
    },
    Fenced {
        claim: Claim,
        result: Result<Written, PersistError>,
    },
    Recovered(Box<Result<Recovered<M>, Error>>),
    RefsChecked(Result<(), Error>),
    KeyFound(Result<Option<EventId>, Error>),
    SnapshotTaken(SnapshotOutcome),
    /// Whoever was asked is gone.
    Lost,
}

impl<M: SessionModel> Handler<Answer<M>> for SessionActor<M> {
    type Result = ();

    fn handle(&mut self, mut answer: Answer<M>, context: &mut Context<Self>) {
        let (Some(answered), incarnation) = (answer.answer.take(), answer.incarnation) else { return };
        self.step(context, |state, env| {
            // One that was asked before a restart: the log has told since.
            if incarnation != state.incarnation() {
                return;
            }
            match answered {
                Answered::Persisted { last, result } => state.persisted(last, result, env),
                Answered::Fenced { claim, result } => state.fenced(claim, result, env),
                Answered::Recovered(result) => state.recovered(*result, env),
                Answered::RefsChecked(result) => state.refs_checked(result, env),
                Answered::KeyFound(result) => state.key_found(result, env),
                Answered::SnapshotTaken(outcome) => state.snapshot_taken(outcome, env),
                Answered::Lost => state.lost(),
            }
        });
    }
}
