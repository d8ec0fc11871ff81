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
    upkeep_scheduled: bool,
    /// Since when another process has held the lock that the group waits for.
    locked_out: Option<Instant>,
}

impl PersistActor {
    pub(crate) fn new(writer: GroupWriter, metrics: Arc<Metrics>) -> Self {
        Self { writer, metrics, flush_scheduled: false, upkeep_scheduled: false, locked_out: None }
    }

    fn schedule(&mut self, context: &mut Context<Self>) {
        if !self.flush_scheduled {
            self.flush_scheduled = true;
            // Actix handles `Flush` once the mailbox is drained, so the group has all that waited in the mailbox.
            context.notify(Flush);
        }
    }

    fn schedule_upkeep(&mut self, context: &mut Context<Self>) {
        if !self.upkeep_scheduled && self.writer.upkeep_left() == UpkeepLeft::HeldBack {
            self.upkeep_scheduled = true;
            context.run_later(UPKEEP_RETRY, |actor, context| {
                actor.upkeep_scheduled = false;
                actor.writer.keep_up_when_idle();
                actor.schedule_upkeep(context);
            });
        }
    }
}

impl Actor for PersistActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        if !self.writer.is_idle() {
            self.schedule(context);
        }
    }
}

impl Supervised for PersistActor {
    fn restarting(&mut self, _: &mut Context<Self>) {
        // What was scheduled was lost with the old context.
        self.flush_scheduled = false;
        self.upkeep_scheduled = false;
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
