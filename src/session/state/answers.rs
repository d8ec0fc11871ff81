//! What a session does with the answers to its fences, of the threads that read its log, and of the blob threads.

use std::sync::Arc;

use super::{Effect, Env, Open, Phase, SessionState, Task};
use crate::commit::PersistError;
use crate::error::{Error, ErrorKind};
use crate::id::{EventId, SessionId};
use crate::model::SessionModel;
use crate::port::{Claiming, Refusal, Written};
use crate::replay::Recovered;
use crate::session::retry::Earlier;

impl<M: SessionModel> SessionState<M> {
    /// The persist actor has answered a fence, which may have made this store the log's owner.
    pub(in crate::session) fn fenced(&mut self, claim: Claiming, result: Result<Written, PersistError>, env: &Env<'_>) {
        if let Err(PersistError::Refused(Refusal::Deleted)) = result {
            return self.was_deleted();
        }
        self.set_asking(false);
        match (result, claim) {
            (Ok(Written::Fenced { head, owned }), _) => {
                self.owned = owned;
                if let Some(Task::Claim(task)) = self.waiting.front_mut() {
                    // A take-over that waited while another question was asked has still to be asked for.
                    task.is_asked = task.claim != Claiming::Force || claim == Claiming::Force;
                }
                // Another store has written if the head differs. A session that recovers reads its log in any case.
                if !self.is_ready() || head != self.committed {
                    self.phase = Phase::Recovering;
                    self.effects.push(Effect::Recover { head: head.id, watch: self.in_flight.heads() });
                }
            }
            (result, Claiming::No) if self.is_ready() => {
                let error = unavailable(&self.id, result);
                self.tell_all_ready(Err(&error));
                // A claim that stayed in front would ask again at once, and for ever.
                if matches!(self.waiting.front(), Some(Task::Claim(_)))
                    && let Some(Task::Claim(task)) = self.waiting.pop_front()
                {
                    drop(task.reply.send(Err(error)));
                }
            }
            (result, Claiming::No) => self.failed(unavailable(&self.id, result), "the log cannot be read"),
            (result, claim) => {
                self.refuse_appends(claim, &unavailable(&self.id, result));
                if self.is_ready() && !self.ready.is_empty() {
                    // The refusal brings no head, and those who wait want to know what the owner has written.
                    self.set_asking(true);
                    return self.effects.push(Effect::Fence { claim: Claiming::No });
                }
            }
        }
        if self.is_ready() {
            self.tell_all_ready(Ok(()));
        }
        self.advance(env);
    }

    /// The log was folded, or could not be: everyone who waited is answered by what the log says.
    pub(in crate::session) fn recovered(&mut self, result: Result<Recovered<M>, Error>, env: &Env<'_>) {
        let recovered = match result {
            Ok(recovered) => recovered,
            Err(error) if matches!(error.kind(), ErrorKind::SessionDeleted { .. }) => return self.was_deleted(),
            Err(error) => {
                self.failed(error, "the log cannot be read");
                return self.advance(env);
            }
        };
        if let (Phase::Recovering, Some(streams)) = (&self.phase, &self.streams) {
            // Events that another store has committed, and that nobody here is told of, may have ended any of them.
            streams.cut_all();
        }
        self.phase = Phase::Open(Open::default());
        self.committed = recovered.head;
        self.stamper.reset(recovered.head, recovered.counters, Arc::clone(recovered.view.core()));
        self.keys = recovered.keys;
        self.snapshots.restart(recovered.tail);
        self.resident.enter(recovered.bytes);
        self.effects.push(Effect::Resident);
        self.published.replace(recovered.view, recovered.report.condition.clone());
        let is_redacted = recovered.redactions != self.published.redactions();
        self.published.set_redactions(recovered.redactions);
        self.report = recovered.report;
        for subscriber in &self.subscribers {
            if is_redacted {
                subscriber.forget_events();
            }
            subscriber.resync(self.committed.id);
        }
        self.publish_transients();
        while let Some(append) = self.in_flight.next_append() {
            if recovered.chains.get(&append.head.id) == Some(&append.head.chain) {
                if let Some(streams) = &self.streams {
                    streams.end(&append.events);
                }
                append.acknowledge(env.metrics);
            } else {
                self.take_back_refusals();
                let reason = "the session was recovered before it was written".to_owned();
                append.answer(&Err(ErrorKind::NotWritten { session: self.id.clone(), reason }.into()));
            }
            self.publish_transients();
        }
        self.tell_all_ready(Ok(()));
        self.advance(env);
    }

    fn failed(&mut self, error: Error, reason: &str) {
        log::error!("a session cannot be recovered; whoever opens it is told why, and debug lines name it");
        log::debug!("session {} cannot be recovered: {error}", self.id);
        // The replies to those who wait for the view are dropped with the phase. They then read the view by themselves.
        self.phase = Phase::Failed;
        self.persisted = 0;
        self.publish_transients();
        self.take_back_refusals();
        while let Some(append) = self.in_flight.next_append() {
            self.answer_unknown(append, &format!("{reason}: {error}"));
            self.publish_transients();
        }
        self.refuse_waiting(&error);
    }

    /// A question was not answered, since the store has closed while it was on its way.
    pub(in crate::session) fn lost(&mut self) {
        if !matches!(self.phase, Phase::Closed(_)) {
            self.failed(ErrorKind::StoreClosed.into(), "the store closed");
        }
    }

    /// No arbiter is left to run the session's actor: everyone who waits is answered.
    pub(in crate::session) fn abandon(&mut self) {
        let reason = "the arbiters for its sessions have stopped";
        self.failed(ErrorKind::MustReopen { reason: reason.to_owned() }.into(), reason);
        self.effects.clear();
    }

    /// The blob threads have looked for the blobs that the first waiting append references.
    pub(in crate::session) fn refs_checked(&mut self, result: Result<(), Error>, env: &Env<'_>) {
        self.checked(result.map(|()| CheckFound::Refs), env);
    }

    /// The log was searched for the key of the first waiting append.
    pub(in crate::session) fn key_found(&mut self, result: Result<Option<EventId>, Error>, env: &Env<'_>) {
        self.checked(result.map(CheckFound::Key), env);
    }

    fn checked(&mut self, result: Result<CheckFound, Error>, env: &Env<'_>) {
        self.set_asking(false);
        if let Some(Task::Append(mut request)) = self.waiting.pop_front() {
            match result {
                Err(error) => request.answer(Err(error)),
                Ok(CheckFound::Key(Some(first))) => {
                    self.effects.push(Effect::Repeat { written: Earlier::From(first), request });
                }
                Ok(finding) => {
                    match finding {
                        CheckFound::Refs => request.are_refs_checked = true,
                        CheckFound::Key(_) => request.is_key_checked = true,
                    }
                    self.waiting.push_front(Task::Append(request));
                }
            }
        }
        self.advance(env);
    }
}

/// What a check of the first waiting append has found.
enum CheckFound {
    Refs,
    Key(Option<EventId>),
}

/// Why a fence was not answered with the head.
fn unavailable(session: &SessionId, result: Result<Written, PersistError>) -> Error {
    match result {
        Err(error) => error.of_session(session),
        Ok(_) => unavailable_error("the log gave an answer that was not asked for"),
    }
}

fn unavailable_error(reason: &str) -> Error {
    ErrorKind::Unavailable { reason: reason.to_owned() }.into()
}
