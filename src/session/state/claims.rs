//! Who may write: a claim asks the log, whoever waits to be up to date is answered when it has told, and what waits is refused
//! when the session cannot be written.

use futures::channel::oneshot;

use super::{ClaimTask, Effect, Open, Phase, SessionState, Task};
use crate::error::Error;
use crate::model::SessionModel;
use crate::port::Claiming;
use crate::replay::RecoveryReport;

impl<M: SessionModel> SessionState<M> {
    /// Answers when the session is recovered. If this store does not own the log, it first reads what another store may
    /// have written.
    pub(in crate::session) fn when_ready(&mut self, reply: oneshot::Sender<Result<RecoveryReport, Error>>) {
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

    pub(super) fn claim(&mut self, task: ClaimTask) {
        // The appends in flight will report a lost ownership, and a fence would only queue behind them: a turn must not wait
        // for a commit that another process holds up.
        let commits_tell = task.claim == Claiming::Yes && self.in_flight.has_appends();
        if self.owned.is_some() && (task.is_asked || commits_tell) {
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

    /// Refuses the waiting appends and claims, since the session cannot be written just now. The other tasks stay, and so
    /// does a take-over, unless it was what `asked`.
    pub(super) fn refuse_appends(&mut self, asked: Claiming, error: &Error) {
        for task in std::mem::take(&mut self.waiting) {
            match task {
                Task::Claim(task) if task.claim == Claiming::Force && asked != Claiming::Force => {
                    self.waiting.push_back(Task::Claim(task));
                }
                Task::Append(request) => self.refuse_append(request, error.clone()),
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
        for reply in self.ready.drain(..) {
            drop(reply.send(Err(error.clone())));
        }
    }
}
