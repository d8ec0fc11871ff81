//! Who may write: a claim asks the log, whoever waits to be up to date is answered when it has told, and what waits is
//! refused when the session cannot be written.

use futures::channel::oneshot;

use super::{ClaimTask, Effect, Ended, Open, Phase, SessionState, Task, UntilReady};
use crate::error::{Error, ErrorKind};
use crate::model::SessionModel;
use crate::port::Claiming;
use crate::replay::RecoveryReport;
use crate::session::in_flight::Request;
use crate::session::retry::Earlier;

impl<M: SessionModel> SessionState<M> {
    /// Answers when the session is recovered. If this store does not own the log, it first reads what another store may
    /// have written.
    pub(in crate::session) fn when_ready(&mut self, reply: oneshot::Sender<Result<RecoveryReport, Error>>) {
        let reply = UntilReady::Report(reply);
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
            Phase::Open(_) | Phase::Cold => self.tell_ready(reply, Ok(())),
            Phase::Closed(_) => self.tell_ready(reply, Err(&self.closed())),
            Phase::Recovering | Phase::Waking(_) => self.ready.push(reply),
            Phase::Failed => {
                self.ready.push(reply);
                self.recover();
            }
        }
    }

    pub(super) fn claim(&mut self, task: ClaimTask) {
        // The appends in flight will report a lost ownership, and a fence would only queue behind them: a turn must not
        // wait for a commit that another process holds up.
        let commits_tell = task.claim == Claiming::Yes && self.in_flight.has_appends();
        // A question that claims nothing has its answer when everything that was sent before it is in the view, or
        // refused.
        let is_quiet = self.owned.is_some() && !self.in_flight.has_appends();
        let is_settled = task.claim == Claiming::No && (task.is_asked || is_quiet);
        if is_settled || self.owned.is_some() && (task.is_asked || commits_tell) {
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

    /// Refuses the waiting appends and claims, since the session cannot be written just now. The other tasks stay, and
    /// so does a take-over, unless it was what `asked`.
    pub(super) fn refuse_appends(&mut self, asked: Claiming, error: &Error) {
        for task in std::mem::take(&mut self.waiting) {
            match task {
                Task::Claim(task) if task.claim == Claiming::Force && asked != Claiming::Force => {
                    self.waiting.push_back(Task::Claim(task));
                }
                Task::Append(request) if request.key.is_some() => {
                    self.ready.push(UntilReady::Retry { request, otherwise: error.clone() });
                }
                Task::Append(request) => request.answer(Err(error.clone())),
                Task::Claim(task) => drop(task.reply.send(Err(error.clone()))),
                task => self.waiting.push_back(task),
            }
        }
    }

    pub(super) fn refuse_waiting(&mut self, error: &Error) {
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
        self.tell_all_ready(Err(error));
    }

    pub(super) fn tell_all_ready(&mut self, result: Result<(), &Error>) {
        for waiting in std::mem::take(&mut self.ready) {
            self.tell_ready(waiting, result);
        }
    }

    /// Tells one who waits that the session is open, or why it cannot be read. Whoever asked may have lost interest.
    fn tell_ready(&mut self, waiting: UntilReady<M>, result: Result<(), &Error>) {
        match (waiting, result) {
            (UntilReady::Report(reply), Ok(())) => drop(reply.send(Ok(self.report.clone()))),
            (UntilReady::Report(reply), Err(error)) => drop(reply.send(Err(error.clone()))),
            (UntilReady::Retry { request, otherwise }, Ok(())) => self.refuse_append(request, otherwise),
            (UntilReady::Retry { request, otherwise }, Err(_)) => request.answer(Err(otherwise)),
        }
    }

    /// Refuses an append, unless it is a retry of one that the log has: that one's result is told all the same.
    pub(super) fn refuse_append(&mut self, request: Request<M>, otherwise: Error) {
        match &request.key {
            Some(_) => self.effects.push(Effect::Repeat { written: Earlier::Perhaps { otherwise }, request }),
            None => request.answer(Err(otherwise)),
        }
    }

    pub(super) fn closed(&self) -> Error {
        match self.phase {
            Phase::Closed(Ended::Deleted) => ErrorKind::SessionDeleted { session: self.id.clone() }.into(),
            _ => ErrorKind::SessionClosed { session: self.id.clone() }.into(),
        }
    }
}
