//! What a session actor does, without actix: takes appends in the order of the calls, checks and stamps them, folds what
//! was persisted, answers. It outlives the actor, so that an append in flight gets its answer whatever dies.

mod answers;
pub(crate) mod cold;
mod snapshots;

use std::collections::VecDeque;
use std::sync::Arc;

use futures::channel::oneshot;

use crate::config::StoreConfig;
use crate::error::{Error, ErrorKind};
use crate::id::{AppendKey, Digest, EventId, SessionId, Timestamp};
use crate::model::{SessionModel, View};
use crate::port::BlobStore;
use crate::port::{Claim, Epoch, Head, LogMeta, Write};
use crate::replay::key_index::{KeyFilter, KeyIndex};
use crate::replay::recovered::{Recovered, RecoveryReport};
use crate::session::append::{Appended, Counted, Request};
use crate::session::in_flight::{InFlight, StampedAppend};
use crate::session::published::Published;
use crate::session::stamper::{Stamped, Stamper};
use crate::session::subscription::Subscriber;
use crate::stats::{Counters, Resident};
use crate::threads::guard::{Panicked, guarded};
use snapshots::SnapshotState;

/// What the session asks of others. The answers come back with the incarnation that asked; those of an earlier one are
/// dropped.
pub(crate) enum Effect<M: SessionModel> {
    /// To the persist actor; answered by [`SessionState::persisted`].
    Persist { last: EventId, write: Write },
    /// To the persist actor; answered by [`SessionState::fenced`].
    Fence { claim: Claim },
    /// To a reader thread; answered by [`SessionState::recovered`].
    Recover { head: EventId, watch: Vec<EventId> },
    /// To the blob threads; answered by [`SessionState::snapshot_taken`].
    TakeSnapshot { epoch: Epoch, head: Head, view: Arc<View<M>>, keys: Option<KeyFilter> },
    /// To the blob threads; answered by [`SessionState::refs_checked`].
    CheckRefs { digests: Vec<Digest> },
    /// To a reader thread; answered by [`SessionState::key_found`].
    FindKey { key: AppendKey },
    /// To a reader thread, which answers the request itself: its key is in the log.
    Repeat { first: EventId, request: Request<M> },
    /// The session has become resident: from now on it may be emptied.
    Resident,
    /// The session is closed: its subscribers end, and another store may write it.
    Close { release: Option<Epoch>, subscribers: Vec<Arc<Subscriber<M>>>, done: CloseReply<M> },
}

/// Told when a session is closed, with the subscribers that may still have items to take.
pub(crate) type CloseReply<M> = Box<dyn FnOnce(Vec<Arc<Subscriber<M>>>) + Send>;

use cold::ViewReply;
/// What is read of the world while a request is handled.
pub(crate) struct Env<'a> {
    pub(crate) now: Timestamp,
    pub(crate) config: &'a StoreConfig,
    pub(crate) blobs: &'a dyn BlobStore,
    pub(crate) counters: &'a Counters,
    pub(crate) store_closes: bool,
}

/// One thing asked of the session, in the order of the calls.
pub(crate) enum Task<M: SessionModel> {
    Append(Request<M>),
    Transient(M::Transient, Counted),
    /// Head and counters after everything accepted before.
    Counters(oneshot::Sender<Result<(EventId, M::Counters), Error>>),
    /// Makes this store the log's owner, and the view current.
    Claim(ClaimTask),
    Close(CloseReply<M>),
}

pub(crate) struct ClaimTask {
    pub(crate) claim: Claim,
    /// Whether the log was asked since: what this store remembers may be old, for a take-over tells nobody.
    pub(crate) asked: bool,
    pub(crate) reply: oneshot::Sender<Result<(), Error>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Waiting for the fence, then for the log.
    Recovering,
    Ready,
    /// Emptied: the next task that needs what was dropped wakes it.
    Cold,
    /// Waiting for the log, after it was cold: nothing of it can be in flight, so there is no fence.
    Waking,
    /// An append was refused: those stamped after it are about to be. Nothing is stamped until the last of them is.
    Unwinding,
    /// The log could not be read. The next task tries again.
    Failed,
    Closed,
}

pub(crate) struct SessionState<M: SessionModel> {
    id: SessionId,
    log: LogMeta,
    incarnation: u64,
    phase: Phase,
    /// Whether the first waiting task is being checked elsewhere.
    checking: bool,
    waiting: VecDeque<Task<M>>,
    in_flight: InFlight<M>,
    owned: Option<Epoch>,
    keys: KeyIndex,
    snapshots: SnapshotState,
    stamper: Stamper<M>,
    /// As of the last persisted event.
    committed: Head,
    published: Arc<Published<M>>,
    report: RecoveryReport,
    ready: Vec<oneshot::Sender<Result<RecoveryReport, Error>>>,
    /// Who waits for the view, while a fold that wakes the session runs and will answer them.
    viewers: Option<Vec<ViewReply<M>>>,
    /// What it counts for in the limits of residency.
    resident: Resident,
    subscribers: Vec<Arc<Subscriber<M>>>,
    effects: Vec<Effect<M>>,
}

impl<M: SessionModel> SessionState<M> {
    /// `owned` is there for a session that was made this moment: there is nothing to recover.
    pub(crate) fn new(
        id: SessionId,
        log: LogMeta,
        owned: Option<Epoch>,
        keys_max: usize,
        counters: &Arc<Counters>,
    ) -> Self {
        let Recovered { view, head, report, keys, .. } = Recovered::<M>::fresh(log, keys_max);
        Self {
            id,
            log,
            incarnation: 0,
            phase: if owned.is_some() { Phase::Ready } else { Phase::Recovering },
            checking: false,
            waiting: VecDeque::new(),
            in_flight: InFlight::new(),
            owned,
            keys,
            snapshots: SnapshotState::default(),
            stamper: Stamper::new(head, M::counters(&view)),
            committed: head,
            published: Arc::new(Published::new(view)),
            report,
            ready: Vec::new(),
            viewers: None,
            resident: Resident::new(counters, owned.is_some()),
            subscribers: Vec::new(),
            effects: Vec::new(),
        }
    }

    pub(crate) fn incarnation(&self) -> u64 {
        self.incarnation
    }

    pub(crate) fn published(&self) -> &Arc<Published<M>> {
        &self.published
    }

    /// Registers a subscriber that `make` makes from the last event that those before it were given.
    pub(crate) fn subscribe(
        &mut self,
        make: impl FnOnce(EventId) -> Arc<Subscriber<M>>,
    ) -> Result<Arc<Subscriber<M>>, Error> {
        if self.phase == Phase::Closed {
            return Err(self.closed());
        }
        self.subscribers.retain(|subscriber| !subscriber.is_gone());
        let subscriber = make(self.committed.id);
        self.subscribers.push(Arc::clone(&subscriber));
        Ok(subscriber)
    }

    pub(crate) fn take_effects(&mut self) -> Vec<Effect<M>> {
        std::mem::take(&mut self.effects)
    }

    /// The actor starts, for the first time or again.
    pub(crate) fn started(&mut self) {
        match self.phase {
            Phase::Ready if self.incarnation == 0 => {}
            Phase::Cold if self.waiting.is_empty() => {}
            // The answer may have gone with the last actor.
            Phase::Cold | Phase::Waking => self.wake(),
            Phase::Closed => {}
            Phase::Recovering | Phase::Ready | Phase::Unwinding | Phase::Failed => self.recover(),
        }
        self.incarnation = self.incarnation.max(1);
    }

    fn recover(&mut self) {
        self.incarnation += 1;
        self.phase = Phase::Recovering;
        self.forget_questions();
        self.effects.push(Effect::Fence { claim: Claim::No });
    }

    fn forget_questions(&mut self) {
        self.checking = false;
        // The answer of one that is on its way comes to an earlier incarnation.
        self.snapshots.is_taking = false;
        // A step that panicked may have left some. Only these two do not depend on what is forgotten now.
        self.effects.retain(|effect| matches!(effect, Effect::Repeat { .. } | Effect::Close { .. }));
    }

    /// Answers when the session is recovered. Where another store may write the log, it is brought up to date first.
    pub(crate) fn when_ready(&mut self, reply: oneshot::Sender<Result<RecoveryReport, Error>>) {
        match &self.phase {
            Phase::Ready if self.owned.is_none() => {
                self.ready.push(reply);
                if !self.checking {
                    self.checking = true;
                    self.effects.push(Effect::Fence { claim: Claim::No });
                }
            }
            // What this store owns is as it was, also if it is cold.
            Phase::Cold if self.owned.is_none() => {
                self.ready.push(reply);
                self.wake();
            }
            Phase::Ready | Phase::Unwinding | Phase::Cold => drop(reply.send(Ok(self.report.clone()))),
            Phase::Closed => drop(reply.send(Err(self.closed()))),
            Phase::Recovering | Phase::Waking => self.ready.push(reply),
            Phase::Failed => {
                self.ready.push(reply);
                self.recover();
            }
        }
    }

    fn closed(&self) -> Error {
        ErrorKind::SessionClosed { session: self.id.clone() }.into()
    }

    /// Takes a task. Its place in the session's order is this call.
    pub(crate) fn accept(&mut self, task: Task<M>, env: &Env<'_>) {
        self.waiting.push_back(task);
        if self.phase == Phase::Failed {
            self.recover();
        }
        self.advance(env);
    }

    /// Handles waiting tasks until one has to wait for an answer from elsewhere.
    pub(crate) fn advance(&mut self, env: &Env<'_>) {
        while !self.checking {
            match self.phase {
                Phase::Ready => {}
                Phase::Cold => match self.waiting.front() {
                    None => return,
                    // These need nothing of what was dropped.
                    Some(Task::Transient(..) | Task::Close(_)) => {}
                    Some(_) => return self.wake(),
                },
                Phase::Closed => return self.refuse_waiting(&self.closed()),
                Phase::Recovering | Phase::Waking | Phase::Unwinding | Phase::Failed => return,
            }
            match self.waiting.pop_front() {
                None => return,
                Some(Task::Append(request)) => self.append(request, env),
                Some(Task::Transient(transient, count)) => {
                    self.in_flight.push_transient(transient, count);
                    self.publish_transients();
                }
                // Whoever asked may have lost interest.
                Some(Task::Counters(reply)) => {
                    drop(reply.send(Ok((self.stamper.head.id, self.stamper.counters.clone()))))
                }
                Some(Task::Claim(task)) => self.claim(task),
                Some(Task::Close(done)) if self.in_flight.is_empty() => {
                    if self.snapshot_before_closing(env) {
                        return self.waiting.push_front(Task::Close(done));
                    }
                    self.close(done);
                }
                Some(Task::Close(done)) => return self.waiting.push_front(Task::Close(done)),
            }
        }
    }

    fn claim(&mut self, task: ClaimTask) {
        // What is in flight tells of a robbery by itself, and a look would have to wait for it.
        let told_anyway = task.claim == Claim::Yes && self.in_flight.has_appends();
        if self.owned.is_some() && (task.asked || told_anyway) {
            // Whoever asked may have lost interest.
            return drop(task.reply.send(Ok(())));
        }
        let claim = match task.claim {
            // Only looks, which needs no write lock.
            Claim::Yes if self.owned.is_some() => Claim::No,
            claim => claim,
        };
        self.check_first(Task::Claim(task), Effect::Fence { claim });
    }

    fn close(&mut self, done: CloseReply<M>) {
        self.phase = Phase::Closed;
        self.resident.leave();
        let subscribers = std::mem::take(&mut self.subscribers);
        self.effects.push(Effect::Close { release: self.owned.take(), subscribers, done });
    }

    /// The session cannot be written just now. What does not write goes on.
    fn refuse_appends(&mut self, error: &Error) {
        for task in std::mem::take(&mut self.waiting) {
            match task {
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
                Task::Counters(reply) => drop(reply.send(Err(error.clone()))),
                Task::Claim(task) => drop(task.reply.send(Err(error.clone()))),
                Task::Transient(..) => {}
                // Closed by someone else, or not recovered: in both cases nothing is in flight.
                Task::Close(done) => self.close(done),
            }
        }
        for reply in self.ready.drain(..) {
            drop(reply.send(Err(error.clone())));
        }
    }

    /// Checks one append; stamps and sends it when nothing is left to ask.
    fn append(&mut self, mut request: Request<M>, env: &Env<'_>) {
        if request.bodies.is_empty() {
            let head = self.stamper.head.id;
            let nothing = Appended { events: Vec::new(), head, repeated: false };
            let answer = self.check_head(&request).map(|()| nothing);
            return request.answer(answer);
        }
        if let Some(error) = self.published.refusal(&self.id) {
            return request.answer(Err(error));
        }
        let Some(epoch) = self.owned else {
            // Another store may have written it since the log was searched.
            request.key_checked = false;
            return self.check_first(Task::Append(request), Effect::Fence { claim: Claim::Yes });
        };
        if let Some(key) = request.key.clone() {
            match self.keys.get(&key) {
                Some(first) if first > self.committed.id => return self.join(first, request),
                Some(first) => return self.effects.push(Effect::Repeat { first, request }),
                None if request.key_checked || !self.keys.may_be_in_log(&key) => {}
                // Left out of the index while it is in flight. Nothing is stamped while the log is searched.
                None => match self.in_flight.first_of(&key) {
                    Some(first) => return self.join(first, request),
                    None => return self.check_first(Task::Append(request), Effect::FindKey { key }),
                },
            }
        }
        if let Err(error) = self.check_head(&request) {
            return request.answer(Err(error));
        }
        if !request.refs_checked {
            let digests = match guarded("blob_refs", || request.digests()) {
                Ok(digests) => digests,
                Err(panicked) => return request.answer(Err(refused_by(panicked))),
            };
            let digests: Vec<_> = digests.into_iter().filter(|digest| !env.blobs.is_known_durable(digest)).collect();
            if !digests.is_empty() {
                return self.check_first(Task::Append(request), Effect::CheckRefs { digests });
            }
        }
        let bodies = std::mem::take(&mut request.bodies);
        // Ids and counters stay until `advance`, so a panic leaves nothing behind.
        let stamped = guarded("stamp, event_type, blob_refs or encoding", || {
            self.stamper.stamp(bodies, request.key.as_ref(), env.now, env.config.record_bytes_max)
        });
        match stamped.unwrap_or_else(|panicked| Err(refused_by(panicked))) {
            Err(error) => request.answer(Err(error)),
            Ok(stamped) => {
                if let (Some(key), Some(first)) = (&stamped.key, stamped.events.first()) {
                    self.keys.insert(key.key.clone(), first.id());
                }
                self.resident.grow(stamped.stored.iter().map(|event| event.record.len() as u64).sum());
                let after = self.stamper.head.chain;
                self.stamper.advance(&stamped);
                let Stamped { stored, events, head, key, .. } = stamped;
                let record_bytes = stored.iter().map(|event| event.record.len() as u64).sum();
                let write = Write::Append { log: self.log.key, epoch, after, events: stored };
                self.effects.push(Effect::Persist { last: head.id, write });
                let replies = vec![request.into_reply()];
                self.in_flight.push_append(StampedAppend { events, head, key, record_bytes, replies });
            }
        }
    }

    fn check_head(&self, request: &Request<M>) -> Result<(), Error> {
        let actual = self.stamper.head.id;
        match request.expected_head {
            Some(expected) if expected != actual => {
                Err(ErrorKind::HeadMoved { session: self.id.clone(), expected, actual }.into())
            }
            _ => Ok(()),
        }
    }

    /// Puts the request back to the front until something is known. Everything behind it waits, so the order stays.
    fn check_first(&mut self, task: Task<M>, effect: Effect<M>) {
        self.waiting.push_front(task);
        self.checking = true;
        self.effects.push(effect);
    }

    /// A retry of an append that is still in flight shares its answer.
    fn join(&mut self, first: EventId, request: Request<M>) {
        let Some(original) = self.in_flight.find(first) else {
            let reason = "the first append with this key was refused a moment ago; append again".to_owned();
            return request.answer(Err(ErrorKind::NotWritten { session: self.id.clone(), reason }.into()));
        };
        if original.is_same(&request) {
            original.replies.push(request.into_reply());
        } else {
            request.answer(Err(ErrorKind::KeyReused { session: self.id.clone(), first }.into()));
        }
    }

    /// Shows the transients that no append is ahead of.
    fn publish_transients(&mut self) {
        while let Some(transient) = self.in_flight.next_transient() {
            for subscriber in &self.subscribers {
                subscriber.transient(&transient);
            }
        }
    }
}

fn refused_by(panicked: Panicked) -> Error {
    ErrorKind::BodyRefused { reason: panicked.to_string() }.into()
}

#[cfg(test)]
mod tests;
