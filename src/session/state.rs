//! The state machine of a session, without actix: it takes appends in the order of the calls, checks and stamps them,
//! folds what was persisted, and answers. It outlives the session's actor, so that an append in flight gets its answer
//! even if the actor dies.
//!
//! The state machine does no I/O. What it asks of others it leaves as [`Effect`]s, which the actor performs; the
//! answers come back by the methods in `commit`, `answers`, `cold` and `snapshots`.

mod answers;
mod appends;
pub(super) mod cold;
mod commit;
mod snapshots;

use std::collections::VecDeque;
use std::sync::Arc;

use futures::channel::oneshot;

use super::in_flight::{InFlight, Request};
use super::live::Subscriber;
use super::permit::Permit;
use super::published::Published;
use super::stamper::Stamper;
use crate::config::StoreConfig;
use crate::error::{Error, ErrorKind};
use crate::id::{AppendKey, Digest, EventId, SessionId, Timestamp};
use crate::model::{SessionModel, View};
use crate::port::{BlobStore, Claiming, Epoch, Head, LogKey, LogMeta, Write};
use crate::replay::{KeyFilter, KeyIndex, Recovered, RecoveryReport};
use crate::stats::{Metrics, ResidentCount};
use cold::ViewReply;
use snapshots::SnapshotState;

/// What the session asks of others. An answer comes back with the incarnation that asked; an answer to an earlier
/// incarnation is dropped.
pub(super) enum Effect<M: SessionModel> {
    /// To the persist actor; answered by [`SessionState::persisted`].
    Persist { last: EventId, write: Write },
    /// To the persist actor; answered by [`SessionState::fenced`].
    Fence { claim: Claiming },
    /// To a recovery thread; answered by [`SessionState::recovered`].
    Recover { head: EventId, watch: Vec<EventId> },
    /// To the thread that stores views; answered by [`SessionState::snapshot_taken`].
    TakeSnapshot { epoch: Epoch, head: Head, view: Arc<View<M>>, keys: Option<KeyFilter> },
    /// To the blob threads; answered by [`SessionState::refs_checked`].
    CheckRefs { blobs: Vec<(Digest, u64)> },
    /// To a reader thread; answered by [`SessionState::key_found`].
    FindKey { key: AppendKey },
    /// To a reader thread, which answers the request with what the log has under its append key.
    Repeat { first: EventId, request: Request<M> },
    /// The session is in memory from now on, and may be emptied.
    Resident,
    /// The session is closed: its subscribers end, and another store may write it.
    Close { release: Option<Epoch>, subscribers: Vec<Arc<Subscriber<M>>>, done: CloseReply<M> },
}

/// Called when the session is closed, with the subscribers that may still have items to take.
pub(crate) type CloseReply<M> = Box<dyn FnOnce(Vec<Arc<Subscriber<M>>>) + Send>;

/// What a step of the state machine reads from outside of it.
pub(super) struct Env<'a> {
    pub(super) now: Timestamp,
    pub(super) config: &'a StoreConfig,
    pub(super) blobs: &'a dyn BlobStore,
    pub(super) metrics: &'a Metrics,
    pub(super) store_closes: bool,
}

/// One thing that is asked of the session. Tasks are handled in the order of the calls.
pub(crate) enum Task<M: SessionModel> {
    Append(Request<M>),
    Transient(M::Transient, Permit),
    /// Answers the last stamped event and the counters, once everything that was accepted before is stamped.
    NextIds(oneshot::Sender<Result<(EventId, M::Counters), Error>>),
    /// Makes this store the log's owner, and the view current.
    Claim(ClaimTask),
    Close(CloseReply<M>),
}

/// See [`Task::Claim`].
pub(crate) struct ClaimTask {
    pub(crate) claim: Claiming,
    /// Whether the log has answered since the claim was made. Before that, what this store remembers of its ownership
    /// may be out of date: nobody tells a store that its session was taken over.
    pub(crate) is_asked: bool,
    pub(crate) reply: oneshot::Sender<Result<(), Error>>,
}

/// What a session is doing, with the data that it has only then.
enum Phase<M: SessionModel> {
    /// The session waits for its fence, and then for the fold of its log.
    Recovering,
    /// The session takes appends.
    Open(Open),
    /// The session was emptied. The next task that needs what was dropped wakes it.
    Cold,
    /// The session was cold, and waits for the fold of its log. It has nothing in flight, so it needs no fence.
    Waking(Viewers<M>),
    /// The session could not be recovered. The next task makes it try again.
    Failed,
    Closed,
}

/// What keeps a session that is open from handling its next task.
#[derive(Debug, Clone, Copy, Default)]
struct Open {
    /// A question about the first waiting task, or about the log, is on its way.
    is_asking: bool,
    /// An append was refused, so those stamped after it are about to be refused too. Nothing is stamped until the last of
    /// them is refused.
    is_unwinding: bool,
}

/// Those who wait for the view of a session that is waking. `None` once the fold has told them, which it does before
/// the actor gets its answer.
type Viewers<M> = Option<Vec<ViewReply<M>>>;

/// See the module.
pub(crate) struct SessionState<M: SessionModel> {
    id: SessionId,
    log: LogKey,
    /// Rises each time the session recovers or wakes, so that answers to earlier questions are recognized.
    incarnation: u64,
    phase: Phase<M>,
    waiting: VecDeque<Task<M>>,
    in_flight: InFlight<M>,
    /// How many of the oldest appends in flight are durable, and wait for the rest of their group to be folded with it.
    persisted: usize,
    /// The epoch under which this store owns the log.
    owned: Option<Epoch>,
    keys: KeyIndex,
    snapshots: SnapshotState,
    stamper: Stamper<M>,
    /// The last persisted event.
    committed: Head,
    published: Arc<Published<M>>,
    report: RecoveryReport,
    /// Who waits until the session is open.
    ready: Vec<oneshot::Sender<Result<RecoveryReport, Error>>>,
    /// What the session counts for in the limits of residency.
    resident: ResidentCount,
    subscribers: Vec<Arc<Subscriber<M>>>,
    effects: Vec<Effect<M>>,
}

impl<M: SessionModel> SessionState<M> {
    /// `owned` is `Some` for a session that was created just now: there is nothing to recover.
    pub(super) fn new(
        id: SessionId,
        log: LogMeta,
        owned: Option<Epoch>,
        keys_max: usize,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let Recovered { view, head, report, keys, .. } = Recovered::<M>::fresh(log, keys_max);
        Self {
            id,
            log: log.key,
            incarnation: 0,
            phase: if owned.is_some() { Phase::Open(Open::default()) } else { Phase::Recovering },
            waiting: VecDeque::new(),
            in_flight: InFlight::new(),
            persisted: 0,
            owned,
            keys,
            snapshots: SnapshotState::default(),
            stamper: Stamper::new(head, M::counters(&view)),
            committed: head,
            published: Arc::new(Published::new(view)),
            report,
            ready: Vec::new(),
            resident: ResidentCount::new(metrics, owned.is_some()),
            subscribers: Vec::new(),
            effects: Vec::new(),
        }
    }

    pub(super) fn incarnation(&self) -> u64 {
        self.incarnation
    }

    pub(super) fn published(&self) -> &Arc<Published<M>> {
        &self.published
    }

    /// The last event that was persisted, as far as the session knows.
    pub(super) fn committed(&self) -> EventId {
        self.committed.id
    }

    /// Registers a subscriber, which `make` makes from the last event that the other subscribers were given.
    pub(super) fn subscribe(
        &mut self,
        make: impl FnOnce(EventId) -> Arc<Subscriber<M>>,
    ) -> Result<Arc<Subscriber<M>>, Error> {
        if matches!(self.phase, Phase::Closed) {
            return Err(self.closed());
        }
        self.subscribers.retain(|subscriber| !subscriber.is_gone());
        let subscriber = make(self.committed.id);
        self.subscribers.push(Arc::clone(&subscriber));
        Ok(subscriber)
    }

    pub(super) fn take_effects(&mut self) -> Vec<Effect<M>> {
        std::mem::take(&mut self.effects)
    }

    /// The actor starts, for the first time or again.
    pub(super) fn started(&mut self) {
        match self.phase {
            Phase::Open(_) if self.incarnation == 0 => {}
            Phase::Cold if self.waiting.is_empty() => {}
            // The answer may have been lost with the actor before.
            Phase::Cold | Phase::Waking(_) => self.wake(),
            Phase::Closed => {}
            Phase::Recovering | Phase::Open(_) | Phase::Failed => self.recover(),
        }
        self.incarnation = self.incarnation.max(1);
    }

    fn recover(&mut self) {
        self.incarnation += 1;
        self.persisted = 0;
        self.phase = Phase::Recovering;
        self.forget_effects();
        self.effects.push(Effect::Fence { claim: Claiming::No });
    }

    /// Forgets what an earlier incarnation has asked, since the answers will be dropped.
    fn forget_effects(&mut self) {
        self.snapshots.forget();
        // A step that panicked may have left effects. Only these two kinds do not depend on what is forgotten now.
        self.effects.retain(|effect| matches!(effect, Effect::Repeat { .. } | Effect::Close { .. }));
    }

    /// Whether the session is open and not unwinding. A question may be on its way.
    fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Open(Open { is_unwinding: false, .. }))
    }

    fn is_unwinding(&self) -> bool {
        matches!(self.phase, Phase::Open(Open { is_unwinding: true, .. }))
    }

    /// Notes that a question is on its way, or was answered. Only an open session keeps note of it.
    fn set_asking(&mut self, is_asking: bool) {
        if let Phase::Open(open) = &mut self.phase {
            open.is_asking = is_asking;
        }
    }

    /// Answers when the session is recovered. If this store does not own the log, it first reads what another store may
    /// have written.
    pub(super) fn when_ready(&mut self, reply: oneshot::Sender<Result<RecoveryReport, Error>>) {
        match &self.phase {
            Phase::Open(Open { is_asking, is_unwinding: false }) if self.owned.is_none() => {
                let is_asking = *is_asking;
                self.ready.push(reply);
                if !is_asking {
                    self.set_asking(true);
                    self.effects.push(Effect::Fence { claim: Claiming::No });
                }
            }
            // A cold session that this store owns needs no reading: nobody else has written to it.
            Phase::Cold if self.owned.is_none() => {
                self.ready.push(reply);
                self.wake();
            }
            Phase::Open(_) | Phase::Cold => drop(reply.send(Ok(self.report.clone()))),
            Phase::Closed => drop(reply.send(Err(self.closed()))),
            Phase::Recovering | Phase::Waking(_) => self.ready.push(reply),
            Phase::Failed => {
                self.ready.push(reply);
                self.recover();
            }
        }
    }

    fn closed(&self) -> Error {
        ErrorKind::SessionClosed { session: self.id.clone() }.into()
    }

    /// Takes a task, which takes its place in the session's order at this call.
    pub(super) fn accept(&mut self, task: Task<M>, env: &Env<'_>) {
        self.waiting.push_back(task);
        if matches!(self.phase, Phase::Failed) {
            self.recover();
        }
        self.advance(env);
    }

    /// Handles waiting tasks until one has to wait for an answer from elsewhere.
    fn advance(&mut self, env: &Env<'_>) {
        loop {
            match self.phase {
                Phase::Open(Open { is_asking: false, is_unwinding: false }) => {}
                Phase::Cold => match self.waiting.front() {
                    None => return,
                    // These need nothing of what was dropped.
                    Some(Task::Transient(..) | Task::Close(_)) => {}
                    Some(_) => return self.wake(),
                },
                Phase::Closed => return self.refuse_waiting(&self.closed()),
                Phase::Open(_) | Phase::Recovering | Phase::Waking(_) | Phase::Failed => return,
            }
            match self.waiting.pop_front() {
                None => return,
                Some(Task::Append(request)) => self.append(request, env),
                Some(Task::Transient(transient, permit)) => {
                    self.in_flight.push_transient(transient, permit);
                    self.publish_transients();
                }
                // Whoever asked may have lost interest.
                Some(Task::NextIds(reply)) => {
                    drop(reply.send(Ok((self.stamper.head.id, self.stamper.counters.clone()))))
                }
                Some(Task::Claim(task)) => self.claim(task),
                Some(Task::Close(done)) => {
                    if !self.in_flight.is_empty() || self.snapshot_before_closing(env) {
                        return self.waiting.push_front(Task::Close(done));
                    }
                    self.close(done);
                }
            }
        }
    }

    fn claim(&mut self, task: ClaimTask) {
        if self.owned.is_some() && task.is_asked {
            // Whoever asked may have lost interest.
            return drop(task.reply.send(Ok(())));
        }
        let claim = match task.claim {
            // `Claiming::No` only looks, which needs no write lock.
            Claiming::Yes if self.owned.is_some() => Claiming::No,
            claim => claim,
        };
        self.ask_first(Task::Claim(task), Effect::Fence { claim });
    }

    fn close(&mut self, done: CloseReply<M>) {
        self.phase = Phase::Closed;
        self.resident.leave();
        let subscribers = std::mem::take(&mut self.subscribers);
        self.effects.push(Effect::Close { release: self.owned.take(), subscribers, done });
    }

    /// Refuses the waiting appends and claims, since the session cannot be written just now. The other tasks stay, and so
    /// does a take-over, unless it was what `asked`.
    fn refuse_appends(&mut self, asked: Claiming, error: &Error) {
        for task in std::mem::take(&mut self.waiting) {
            match task {
                Task::Claim(task) if task.claim == Claiming::Force && asked != Claiming::Force => {
                    self.waiting.push_back(Task::Claim(task));
                }
                Task::Append(request) => request.answer(Err(error.clone())),
                Task::Claim(task) => drop(task.reply.send(Err(error.clone()))),
                task => self.waiting.push_back(task),
            }
        }
    }

    fn refuse_waiting(&mut self, error: &Error) {
        for task in std::mem::take(&mut self.waiting) {
            match task {
                Task::Append(request) => request.answer(Err(error.clone())),
                Task::NextIds(reply) => drop(reply.send(Err(error.clone()))),
                Task::Claim(task) => drop(task.reply.send(Err(error.clone()))),
                Task::Transient(..) => {}
                // The session was closed by an earlier task, or not recovered: in both cases nothing is in flight.
                Task::Close(done) => self.close(done),
            }
        }
        for reply in self.ready.drain(..) {
            drop(reply.send(Err(error.clone())));
        }
    }

    /// Puts the task back to the front and asks a question first. Every task behind waits too, so the order stays.
    fn ask_first(&mut self, task: Task<M>, question: Effect<M>) {
        self.waiting.push_front(task);
        self.set_asking(true);
        self.effects.push(question);
    }

    /// Delivers the transients that no append is ahead of.
    fn publish_transients(&mut self) {
        while let Some(transient) = self.in_flight.next_transient() {
            for subscriber in &self.subscribers {
                subscriber.transient(&transient);
            }
        }
    }
}

#[cfg(test)]
mod tests;
