//! The state machine of a session, without actix: it takes appends in the order of the calls, checks and stamps them,
//! folds what was persisted, and answers. It outlives the session's actor, so that an append in flight gets its answer
//! even if the actor dies.
//!
//! The state machine does no I/O. What it asks of others it leaves as [`Effect`]s, which the actor performs; the
//! answers come back by the methods in `commit`, `answers`, `redacting`, `cold` and `snapshots`. These, `claims` and
//! `deleted` are more methods of the one type, in files by what they are for; so they and this file name each other.

mod answers;
mod claims;
pub(super) mod cold;
mod commit;
mod deleted;
mod due;
mod redacting;
mod snapshots;

use std::collections::VecDeque;
use std::sync::Arc;

use futures::channel::oneshot;

use super::append::{Appended, Bodies};
use super::in_flight::{InFlight, Request, StampedAppend};
use super::live::{Beginning, KeptLimits, OpenStreams, Subscriber};
use super::permit::Permit;
use super::published::Published;
use super::redact::Redact;
use super::retry::Earlier;
use super::stamper::{Stamped, Stamper};
use crate::config::StoreConfig;
use crate::error::{Error, ErrorKind};
use crate::id::{AppendKey, Digest, EventId, SessionId, Timestamp};
use crate::model::{SessionModel, View};
use crate::port::{BlobStore, Claiming, Epoch, Head, Listed, LogKey, LogMeta, Write};
use crate::replay::{KeyFilter, KeyIndex, Recovered, RecoveryReport};
use crate::stats::{Metrics, ResidentCount};
use crate::threads::{Panicked, guarded};
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
    TakeSnapshot { epoch: Epoch, head: Head, view: Arc<View<M>>, keys: Option<KeyFilter>, redactions: u64 },
    /// To a recovery thread; answered by [`SessionState::redaction_prepared`].
    PrepareRedaction { redact: Arc<Redact<M>> },
    /// To the blob threads; answered by [`SessionState::refs_checked`].
    CheckRefs { blobs: Vec<(Digest, u64)> },
    /// To a reader thread; answered by [`SessionState::key_found`].
    FindKey { key: AppendKey },
    /// To a reader thread, which answers the request with what the log has under its append key.
    Repeat { written: Earlier, request: Request<M> },
    /// The session is in memory from now on, and may be emptied.
    Resident,
    /// The session was deleted: its subscribers end, and are told why.
    Deleted { subscribers: Vec<Arc<Subscriber<M>>> },
    /// The session is closed: its subscribers end, and another store may write it.
    Close { release: Option<Epoch>, subscribers: Vec<Arc<Subscriber<M>>>, done: CloseReply<M> },
}

/// Called when the session is closed, with the subscribers that may still have items to take, and whether its log was
/// given up.
pub(crate) type CloseReply<M> = Box<dyn FnOnce(Vec<Arc<Subscriber<M>>>, Result<(), Error>) + Send>;

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

/// See [`SessionState::when_ready`].
enum UntilReady<M: SessionModel> {
    Report(oneshot::Sender<Result<RecoveryReport, Error>>),
    /// An append with a key that this store may not write. The append that it may be a retry of is told of when the
    /// view has it.
    Retry {
        request: Request<M>,
        otherwise: Error,
    },
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
    Closed(Ended),
}

/// Why a session takes nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Closed,
    /// Its log is void. Nothing is appended to another log of its name.
    Deleted,
}

/// What keeps a session that is open from handling its next task.
#[derive(Debug, Clone, Copy, Default)]
struct Open {
    /// A question about the first waiting task, or about the log, is on its way.
    is_asking: bool,
    /// An append was refused, so those stamped after it are about to be refused too. Nothing is stamped until the last
    /// of them is refused.
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
    /// What waits until the session is open, and has read what another store may have written.
    ready: Vec<UntilReady<M>>,
    /// What the session counts for in the limits of residency.
    resident: ResidentCount,
    subscribers: Vec<Arc<Subscriber<M>>>,
    /// The transients of what is still being written, from the first subscriber or the first such transient on.
    streams: Option<Arc<OpenStreams<M>>>,
    kept_limits: Arc<KeptLimits>,
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
        kept_limits: &Arc<KeptLimits>,
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
            stamper: Stamper::new(head, M::counters(&view), Arc::clone(view.core())),
            committed: head,
            published: Arc::new(Published::new(view)),
            report,
            ready: Vec::new(),
            resident: ResidentCount::new(metrics, owned.is_some()),
            subscribers: Vec::new(),
            streams: None,
            kept_limits: Arc::clone(kept_limits),
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

    /// Registers a subscriber, which `make` makes from what the session has published.
    pub(super) fn subscribe(
        &mut self,
        make: impl FnOnce(Beginning<M>) -> Arc<Subscriber<M>>,
    ) -> Result<Arc<Subscriber<M>>, Error> {
        if matches!(self.phase, Phase::Closed(_)) {
            return Err(self.closed());
        }
        self.subscribers.retain(|subscriber| !subscriber.is_gone());
        let beginning = Beginning { head: self.committed.id, streams: Arc::clone(self.streams()) };
        let subscriber = make(beginning);
        self.subscribers.push(Arc::clone(&subscriber));
        Ok(subscriber)
    }

    fn streams(&mut self) -> &Arc<OpenStreams<M>> {
        self.streams.get_or_insert_with(|| Arc::new(OpenStreams::new(&self.kept_limits)))
    }

    /// What the step asks for that ends with this call.
    pub(super) fn take_effects(&mut self) -> Vec<Effect<M>> {
        self.published.set_owned(self.owned.is_some());
        std::mem::take(&mut self.effects)
    }

    /// The actor starts, for the first time or again.
    pub(super) fn started(&mut self) {
        match self.phase {
            Phase::Open(_) if self.incarnation == 0 => {}
            Phase::Cold if self.waiting.is_empty() => {}
            // The answer may have been lost with the actor before.
            Phase::Cold | Phase::Waking(_) => self.wake(),
            Phase::Closed(_) => {}
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
        // A step that panicked may have left effects. Only these kinds do not depend on what is forgotten now.
        let stays = |effect: &Effect<M>| {
            matches!(effect, Effect::Repeat { .. } | Effect::Close { .. } | Effect::Deleted { .. })
        };
        self.effects.retain(stays);
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
                Phase::Closed(_) => return self.refuse_waiting(&self.closed()),
                Phase::Open(_) | Phase::Recovering | Phase::Waking(_) | Phase::Failed => return,
            }
            match self.waiting.pop_front() {
                None => return,
                Some(Task::Append(request)) if request.redact.is_some() && !self.is_quiet() => {
                    return self.waiting.push_front(Task::Append(request));
                }
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

    fn close(&mut self, done: CloseReply<M>) {
        if let Phase::Closed(_) = self.phase {
            return done(Vec::new(), Ok(()));
        }
        self.phase = Phase::Closed(Ended::Closed);
        self.streams = None;
        self.resident.leave();
        let subscribers = std::mem::take(&mut self.subscribers);
        self.effects.push(Effect::Close { release: self.owned.take(), subscribers, done });
    }

    /// Checks one append; stamps and sends it when nothing is left to ask.
    fn append(&mut self, mut request: Request<M>, env: &Env<'_>) {
        if request.bodies.len() == 0 {
            let head = self.stamper.head.id;
            let nothing = Appended { events: Vec::new(), head, repeated: false };
            let answer = self.check_head(&request).map(|()| nothing);
            return request.answer(answer);
        }
        if let Some(error) = self.published.refusal(&self.id) {
            return self.refuse_append(request, error);
        }
        let Some(epoch) = self.owned else {
            // Another store may have used the key since the log was searched.
            request.is_key_checked = false;
            return self.ask_first(Task::Append(request), Effect::Fence { claim: Claiming::Yes });
        };
        if let Some(key) = request.key.clone() {
            match self.keys.get(&key) {
                Some(first) if first > self.committed.id => return self.join(first, request),
                Some(first) => {
                    return self.effects.push(Effect::Repeat { written: Earlier::From(first), request });
                }
                None if request.is_key_checked || !self.keys.may_be_in_log(&key) => {}
                // The index keeps only the last keys, and may have dropped one that is in flight. Nothing is stamped
                // while the log is searched, so what the search finds stays true.
                None => match self.in_flight.first_of(&key) {
                    Some(first) => return self.join(first, request),
                    None => return self.ask_first(Task::Append(request), Effect::FindKey { key }),
                },
            }
        }
        if let Err(error) = self.check_head(&request) {
            return request.answer(Err(error));
        }
        if let Some(redact) = request.redact.clone() {
            return self.prepare_redaction(request, redact);
        }
        if !request.are_refs_checked {
            let mut blobs = match guarded("blob_refs", || request.blobs()) {
                Ok(blobs) => blobs,
                Err(panicked) => return request.answer(Err(refused_by(panicked))),
            };
            blobs.retain(|(digest, bytes)| !env.blobs.is_known_durable(digest, *bytes));
            if !blobs.is_empty() {
                return self.ask_first(Task::Append(request), Effect::CheckRefs { blobs });
            }
        }
        let bodies = std::mem::replace(&mut request.bodies, Bodies::Model(Vec::new()));
        // The stamper's head and counters change only in `send`, so a panic leaves nothing behind.
        let called = match M::REFUSE_BY_VIEW {
            Some(_) => "stamp, REFUSE_BY_VIEW, apply, event_type, blob_refs or encoding",
            None => "stamp, event_type, blob_refs or encoding",
        };
        let stamped = guarded(called, || {
            let view = self.view_to_judge_by()?;
            self.stamper.stamp(bodies, request.key.as_ref(), view, env.now, env.config.record_bytes_max)
        });
        match stamped.unwrap_or_else(|panicked| Err(refused_by(panicked))) {
            Err(error) if self.in_flight.has_appends() => self.in_flight.push_refused(request.into_reply(), error),
            Err(error) => request.answer(Err(error)),
            Ok(stamped) => {
                env.metrics.stamped(stamped.head.at, env.now);
                self.send(stamped, epoch, request);
            }
        }
    }

    /// The view by which the session model may refuse a body; `None` for one that does not ask for it.
    fn view_to_judge_by(&mut self) -> Result<Option<Arc<View<M>>>, Error> {
        if M::REFUSE_BY_VIEW.is_none() {
            return Ok(None);
        }
        // A session that is open has a view.
        let no_view = || ErrorKind::Unavailable { reason: format!("session {} has no view just now", self.id) };
        let committed = self.published.view().ok_or_else(no_view)?;
        Ok(Some(self.stamper.view_ahead(committed, &self.in_flight)))
    }

    /// Sends a stamped append to be persisted, and goes on from it.
    fn send(&mut self, stamped: Stamped<M>, epoch: Epoch, request: Request<M>) {
        if let (Some(key), Some(first)) = (&stamped.key, stamped.events.first()) {
            self.keys.insert(key.key.clone(), first.id());
        }
        let record_bytes = stamped.stored.iter().map(|event| event.record.len() as u64).sum();
        self.resident.grow(record_bytes);
        let after = self.stamper.head.chain;
        self.stamper.advance(&stamped);
        let Stamped { stored, events, head, key, core, .. } = stamped;
        let listed = core.map(|core| Box::new(Listed { session: self.id.clone(), core }));
        let write = Write::Append { log: self.log, epoch, after, events: stored, listed };
        self.effects.push(Effect::Persist { last: head.id, write });
        let replies = vec![request.into_reply()];
        self.in_flight.push_append(StampedAppend { events, head, key, record_bytes, replies });
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

    /// Lets a retry share the answer of the append in flight that begins with `first`.
    fn join(&mut self, first: EventId, request: Request<M>) {
        let Some(original) = self.in_flight.find(first) else {
            let reason = "the first append with this key was refused a moment ago".to_owned();
            return request.answer(Err(ErrorKind::NotWritten { session: self.id.clone(), reason }.into()));
        };
        if original.is_same(&request) {
            original.replies.push(request.into_reply());
        } else {
            let (written, given) = (original.events.len() as u64, request.bodies.len() as u64);
            request.answer(Err(ErrorKind::KeyReused { session: self.id.clone(), first, written, given }.into()));
        }
    }

    /// Puts the task back to the front and asks a question first. Every task behind waits too, so the order stays.
    fn ask_first(&mut self, task: Task<M>, question: Effect<M>) {
        self.waiting.push_front(task);
        self.set_asking(true);
        self.effects.push(question);
    }
}

fn refused_by(panicked: Panicked) -> Error {
    ErrorKind::BodyRefused { reason: panicked.to_string() }.into()
}

#[cfg(test)]
mod tests;
