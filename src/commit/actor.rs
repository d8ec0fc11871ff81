//! The actor that owns the event log's one writing connection and groups commits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use futures::channel::oneshot;

use crate::commit::error::PersistError;
use crate::commit::group::{GroupWriter, Next, Pending, Reply};
use crate::error::{Error, ErrorKind};
use crate::port::{LogError, SweepDone, SweepStep, UpkeepLeft, Write, Written};
use crate::stats::Metrics;
use crate::threads::Restart;

/// How long a group waits before it asks again for a lock that another process holds. SQLite has waited for the lock
/// already, so this pause only lets the actor handle what is in its mailbox.
const RETRY: Duration = Duration::from_millis(10);
/// A step of the upkeep takes the log's writer away from the groups. So, while groups come, a pause follows that is
/// longer than the step by this factor; and one as long as the step while none comes.
const PAUSE_FACTOR: u32 = 24;
/// How often what a reader or another process has held back is tried for those who wait, at intervals of [`RETRY`].
const HELD_BACK_TRIES: u32 = 50;
/// After how long what a reader has held back is tried again. Rare enough to cost nothing, and soon enough for whoever
/// watches how full the disk is.
const UPKEEP_RETRY: Duration = Duration::from_secs(1);

/// Owns the event log's one writing connection. All appends of all sessions that wait become one transaction.
///
/// The only message that a host may send it is [`Restart`].
pub struct PersistActor {
    writer: GroupWriter,
    metrics: Arc<Metrics>,
    flush_scheduled: bool,
    upkeep_scheduled: Option<KeepUp>,
    /// How many upkeeps were ever scheduled.
    upkeeps: u64,
    /// How long the last step of the upkeep took, and whether a group was committed since.
    step_took: Duration,
    group_since_step: bool,
    /// Those who wait until the upkeep has no more steps.
    waiting_for_steps: Vec<oneshot::Sender<Result<(), LogError>>>,
    waiting_for_redactions: Vec<oneshot::Sender<Result<(), LogError>>>,
    /// How often what a reader has held back is tried again before they are told.
    tries_left: u32,
    /// Since when another process has held the lock that the group waits for.
    locked_out: Option<Instant>,
}

impl PersistActor {
    pub(crate) fn new(writer: GroupWriter, metrics: Arc<Metrics>) -> Self {
        Self {
            writer,
            metrics,
            flush_scheduled: false,
            upkeep_scheduled: None,
            upkeeps: 0,
            step_took: Duration::ZERO,
            group_since_step: false,
            waiting_for_steps: Vec::new(),
            waiting_for_redactions: Vec::new(),
            tries_left: 0,
            locked_out: None,
        }
    }

    fn schedule(&mut self, context: &mut Context<Self>) {
        if !self.flush_scheduled {
            self.flush_scheduled = true;
            // Actix handles `Flush` once the mailbox is drained, so the group has all that waited in the mailbox.
            context.notify(Flush);
        }
    }

    fn schedule_upkeep(&mut self, context: &mut Context<Self>) {
        let left = self.writer.upkeep_left();
        // Most readers need the log for a moment.
        if left == UpkeepLeft::HeldBack && self.may_try_again() {
            return self.schedule_upkeep_in(RETRY, context);
        }
        let redactions = self.writer.redactions_left();
        if redactions == UpkeepLeft::HeldBack && self.may_try_again() {
            return self.schedule_upkeep_in(RETRY, context);
        }
        if redactions != UpkeepLeft::Steps {
            answer(&mut self.waiting_for_redactions, &Ok(()));
        }
        if left != UpkeepLeft::Steps {
            self.answer_all_waiting(&Ok(()));
        }
        let pause = match left {
            UpkeepLeft::Nothing => return,
            UpkeepLeft::HeldBack => UPKEEP_RETRY,
            UpkeepLeft::Steps if self.is_waited_for() => Duration::ZERO,
            UpkeepLeft::Steps if self.group_since_step => self.step_took.saturating_mul(PAUSE_FACTOR),
            UpkeepLeft::Steps => self.step_took,
        };
        self.schedule_upkeep_in(pause, context);
    }

    /// Whether those who wait are not told yet that something is left.
    fn may_try_again(&self) -> bool {
        self.tries_left > 0 && self.is_waited_for()
    }

    fn is_waited_for(&self) -> bool {
        !self.waiting_for_steps.is_empty() || !self.waiting_for_redactions.is_empty()
    }

    fn schedule_upkeep_in(&mut self, pause: Duration, context: &mut Context<Self>) {
        if self.upkeep_scheduled.is_some() {
            return;
        }
        self.upkeeps += 1;
        let this = KeepUp(self.upkeeps);
        self.upkeep_scheduled = Some(this);
        if pause.is_zero() {
            // Handled behind what waits in the mailbox.
            context.notify(this);
        } else {
            context.run_later(pause, move |actor, context| actor.keep_up(this, context));
        }
    }

    fn keep_up(&mut self, this: KeepUp, context: &mut Context<Self>) {
        if self.upkeep_scheduled != Some(this) {
            return;
        }
        self.upkeep_scheduled = None;
        let begun = Instant::now();
        let done = self.writer.keep_up_when_idle();
        (self.step_took, self.group_since_step) = (begun.elapsed(), false);
        match done {
            // Another process writes.
            Err(LogError::Busy) => {
                self.tries_left = self.tries_left.saturating_sub(1);
                if !self.may_try_again() {
                    self.answer_all_waiting(&Ok(()));
                }
                self.schedule_upkeep_in(RETRY, context);
            }
            Err(error) => {
                self.answer_all_waiting(&Err(error));
                self.schedule_upkeep(context);
            }
            Ok(()) => {
                let left = [self.writer.upkeep_left(), self.writer.redactions_left()];
                let is_held_back = left.contains(&UpkeepLeft::HeldBack);
                self.tries_left = self.tries_left.saturating_sub(u32::from(is_held_back));
                self.schedule_upkeep(context);
            }
        }
    }

    fn answer_all_waiting(&mut self, with: &Result<(), LogError>) {
        answer(&mut self.waiting_for_redactions, with);
        answer(&mut self.waiting_for_steps, with);
    }
}

fn answer(waiting: &mut Vec<oneshot::Sender<Result<(), LogError>>>, with: &Result<(), LogError>) {
    for waiting in waiting.drain(..) {
        // Whoever asked may have lost interest.
        let _ = waiting.send(with.clone());
    }
}

impl Actor for PersistActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        if !self.writer.is_idle() {
            self.schedule(context);
        }
        self.schedule_upkeep(context);
    }
}

impl Supervised for PersistActor {
    fn restarting(&mut self, _: &mut Context<Self>) {
        // What was scheduled was lost with the old context.
        self.flush_scheduled = false;
        self.upkeep_scheduled = None;
        self.writer.reset();
    }
}

impl Handler<Restart> for PersistActor {
    type Result = ();

    fn handle(&mut self, _: Restart, context: &mut Context<Self>) {
        context.stop();
    }
}

/// One write, and the reply that gets its answer.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Persist {
    pub(crate) write: Write,
    pub(crate) incarnation: u64,
    pub(crate) reply: Reply,
}

impl Handler<Persist> for PersistActor {
    // The answer comes after COMMIT, by the reply that the message brings.
    type Result = ();

    fn handle(&mut self, persist: Persist, context: &mut Context<Self>) {
        let Persist { write, incarnation, reply } = persist;
        self.writer.push(Pending { write, incarnation, reply });
        self.schedule(context);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Flush;

impl Handler<Flush> for PersistActor {
    type Result = ();

    fn handle(&mut self, _: Flush, context: &mut Context<Self>) {
        self.flush_scheduled = false;
        let begun = Instant::now();
        let next = self.writer.flush();
        self.group_since_step = true;
        match (next, self.locked_out) {
            (Next::Retry, None) => {
                log::warn!("another process holds the event log's lock: appends wait");
                self.metrics.lock_wait_began(begun);
                self.locked_out = Some(begun);
            }
            (Next::Idle | Next::Flush, Some(since)) => {
                let waited = since.elapsed();
                log::warn!("another process held the event log's lock for {waited:?}");
                self.metrics.lock_wait_ended(waited);
                self.locked_out = None;
            }
            _ => {}
        }
        self.schedule_upkeep(context);
        match next {
            Next::Idle => {}
            Next::Flush => self.schedule(context),
            Next::Retry => {
                self.flush_scheduled = true;
                context.run_later(RETRY, |actor, context| {
                    actor.flush_scheduled = false;
                    actor.schedule(context);
                });
            }
        }
    }
}

/// The upkeep of this number is due, unless it was put forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "()")]
struct KeepUp(u64);

impl Handler<KeepUp> for PersistActor {
    type Result = ();

    fn handle(&mut self, this: KeepUp, context: &mut Context<Self>) {
        self.keep_up(this, context);
    }
}

/// Takes the steps of the upkeep without a pause, and is answered when there are no more of this, or none that can be
/// taken now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "Result<(), LogError>")]
pub(crate) enum Erase {
    /// What was redacted. It goes first.
    Redacted,
    /// That, and what was deleted.
    All,
}

impl Handler<Erase> for PersistActor {
    // Between two steps the actor handles other messages.
    type Result = ResponseFuture<Result<(), LogError>>;

    fn handle(&mut self, what: Erase, context: &mut Context<Self>) -> Self::Result {
        let (sender, receiver) = oneshot::channel();
        match what {
            Erase::Redacted => self.waiting_for_redactions.push(sender),
            Erase::All => self.waiting_for_steps.push(sender),
        }
        self.tries_left = HELD_BACK_TRIES;
        self.upkeep_scheduled = None;
        self.schedule_upkeep_in(Duration::ZERO, context);
        // The actor answers all of them, unless it ends.
        let lost = || LogError::Io("the writing end of the log was opened again".to_owned());
        Box::pin(async move { receiver.await.unwrap_or_else(|_| Err(lost())) })
    }
}

/// Commits what waits and closes the log: see [`GroupWriter::close`].
#[derive(Message)]
#[rtype(result = "Result<(), LogError>")]
pub(crate) struct CloseLog {
    pub(crate) deadline: Instant,
}

impl Handler<CloseLog> for PersistActor {
    // Done when the handler returns: closing is synchronous.
    type Result = Result<(), LogError>;

    fn handle(&mut self, CloseLog { deadline }: CloseLog, _: &mut Context<Self>) -> Self::Result {
        self.writer.close(deadline)
    }
}

/// Sends a write that no session has counted as in flight, and waits for its answer.
pub(crate) async fn persist_one(persist: &Addr<PersistActor>, write: Write) -> Result<Written, PersistError> {
    let (sender, receiver) = oneshot::channel();
    // The caller may have lost interest.
    let reply: Reply = Box::new(move |answer, _| drop(sender.send(answer)));
    if persist.send(Persist { write, incarnation: 0, reply }).await.is_err() {
        return Err(PersistError::Closed);
    }
    receiver.await.unwrap_or(Err(PersistError::Closed))
}

/// Commits one step of a sweep, on a thread that may wait. A step that was not written may be asked for again.
pub(crate) fn sweep_one(persist: &Addr<PersistActor>, step: SweepStep) -> Result<SweepDone, Error> {
    match futures::executor::block_on(persist_one(persist, Write::Sweep(step))) {
        Ok(Written::Swept(done)) => Ok(done),
        Ok(_) => Err(ErrorKind::Unavailable { reason: "the log did not do the step of the sweep".to_owned() }.into()),
        Err(error) => Err(error.of_store()),
    }
}
