//! What a session does with the answers: of the persist actor, of the reader threads, of the blob threads.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::commit::group::PersistError;
use crate::error::{Error, ErrorKind};
use crate::id::EventId;
use crate::model::SessionModel;
use crate::port::{Claim, LogError, Refusal, Written};
use crate::replay::recovered::Recovered;
use crate::session::in_flight::StampedAppend;
use crate::session::state::{Effect, Env, Phase, SessionState, Task};

impl<M: SessionModel> SessionState<M> {
    /// The persist actor has answered for the oldest append in flight.
    pub(crate) fn persisted(&mut self, last: EventId, result: Result<Written, PersistError>, env: &Env<'_>) {
        self.follow_epoch(&result);
        let Some(append) = self.in_flight.next_append() else { return };
        debug_assert_eq!(append.head.id, last, "answers come in the order of the appends");
        match result {
            Ok(_) => self.commit(append, env),
            Err(PersistError::Unknown(reason)) => {
                self.answer_unknown(append, &reason);
                self.recover();
            }
            Err(error) => {
                let first_refused = self.phase != Phase::Unwinding;
                self.refused(append, &error, first_refused);
            }
        }
        self.publish_transients();
        if self.phase == Phase::Unwinding && !self.in_flight.has_appends() {
            self.phase = Phase::Ready;
            self.stamper.reset(self.committed, self.published.counters());
        }
        self.advance(env);
    }

    /// Finding out about a failed commit may have raised the epoch of the log: this store goes on under the new one.
    fn follow_epoch(&mut self, result: &Result<Written, PersistError>) {
        let (Ok(Written::Appended { raised }) | Err(PersistError::NotWritten { raised, .. })) = result else { return };
        if self.owned.is_some() {
            self.owned = raised.or(self.owned);
        }
    }

    fn commit(&mut self, append: StampedAppend<M>, env: &Env<'_>) {
        self.committed = append.head;
        let shown = catch_unwind(AssertUnwindSafe(|| {
            self.published.fold(&append.events);
            self.subscribers.retain(|subscriber| !subscriber.is_gone());
            for event in &append.events {
                for subscriber in &self.subscribers {
                    subscriber.event(event);
                }
            }
        }));
        if let Err(panic) = shown {
            // It is durable: the recovery that follows shows it and answers it.
            self.in_flight.put_back(append);
            resume_unwind(panic);
        }
        self.snapshots.tail.add(append.events.len() as u64, append.record_bytes);
        append.acknowledge(env.counters);
        self.snapshot_if_due(env);
    }

    fn refused(&mut self, append: StampedAppend<M>, error: &PersistError, first_refused: bool) {
        self.phase = Phase::Unwinding;
        if let Some(key) = &append.key {
            self.keys.remove(&key.key);
        }
        let session = self.id.clone();
        let reason = match error {
            PersistError::Refused(Refusal::HeadMoved { .. }) if !first_refused => {
                "an append ahead of it was refused".to_owned()
            }
            PersistError::Refused(Refusal::KeyTaken) => {
                self.keys.distrust();
                "its append key is in the log; append again for the first result".to_owned()
            }
            PersistError::Refused(Refusal::HeadMoved { .. } | Refusal::StaleEpoch | Refusal::Owned(_)) => {
                // The next append claims the log again, and finds out what another store wrote.
                self.owned = None;
                "another store took the session over, or wrote to it; append again".to_owned()
            }
            PersistError::Refused(Refusal::UnknownLog) => "its log is gone".to_owned(),
            PersistError::Refused(Refusal::Damaged(reason)) => format!("its log is damaged: {reason}"),
            PersistError::NotWritten { .. } | PersistError::Fenced => error.to_string(),
            PersistError::Closed | PersistError::Unknown(_) => "the store is closed".to_owned(),
        };
        let kind = match error {
            PersistError::NotWritten { error: LogError::DiskFull, .. } => ErrorKind::DiskFull,
            // It was taken over: by whom is what the caller needs to know.
            PersistError::Refused(Refusal::Owned(owner)) => ErrorKind::OwnedElsewhere { session, owner: owner.clone() },
            PersistError::Closed => ErrorKind::StoreClosed,
            _ => ErrorKind::NotWritten { session, reason },
        };
        append.answer(&Err(kind.into()));
    }

    fn answer_unknown(&self, append: StampedAppend<M>, reason: &str) {
        append.answer(&Err(ErrorKind::OutcomeUnknown { session: self.id.clone(), reason: reason.to_owned() }.into()));
    }

    /// The session's log is fenced, and perhaps this store's own now.
    pub(crate) fn fenced(&mut self, claim: Claim, result: Result<Written, PersistError>, env: &Env<'_>) {
        self.checking = false;
        match (result, claim) {
            (Ok(Written::Fenced { head, owned }), _) => {
                self.owned = owned;
                if let Some(Task::Claim(task)) = self.waiting.front_mut() {
                    // A take-over that waited while something else was asked has still to be done.
                    task.asked = task.claim != Claim::Force || claim == Claim::Force;
                }
                // Another store may have written since. A session that recovers has everything to read.
                if self.phase != Phase::Ready || head != self.committed {
                    self.phase = Phase::Recovering;
                    self.effects.push(Effect::Recover { head: head.id, watch: self.in_flight.heads() });
                }
            }
            (Err(PersistError::Refused(Refusal::Owned(owner))), _) => {
                let error = ErrorKind::OwnedElsewhere { session: self.id.clone(), owner };
                self.refuse_appends(&error.into());
            }
            (result, Claim::No) if self.phase == Phase::Ready => {
                let error = unavailable(result);
                self.ready.drain(..).for_each(|reply| drop(reply.send(Err(error.clone()))));
                // It would ask again at once, and for ever.
                if matches!(self.waiting.front(), Some(Task::Claim(_)))
                    && let Some(Task::Claim(task)) = self.waiting.pop_front()
                {
                    drop(task.reply.send(Err(error)));
                }
            }
            (result, Claim::No) => self.failed(unavailable(result), "the log cannot be read"),
            (result, Claim::Yes | Claim::Force) => self.refuse_appends(&unavailable(result)),
        }
        if self.phase == Phase::Ready {
            self.answer_ready();
        }
        self.advance(env);
    }

    fn answer_ready(&mut self) {
        for reply in self.ready.drain(..) {
            drop(reply.send(Ok(self.report.clone())));
        }
    }

    /// The log is folded: everyone who waited is answered by what it says.
    pub(crate) fn recovered(&mut self, result: Result<Recovered<M>, Error>, env: &Env<'_>) {
        let recovered = match result {
            Ok(recovered) => recovered,
            Err(error) => {
                self.failed(error, "the log cannot be read");
                return self.advance(env);
            }
        };
        self.phase = Phase::Ready;
        self.committed = recovered.head;
        self.stamper.reset(recovered.head, recovered.counters);
        self.keys = recovered.keys;
        self.snapshots.restart(recovered.tail);
        self.resident.enter(recovered.bytes);
        self.effects.push(Effect::Resident);
        self.published.replace(recovered.view, recovered.report.condition.clone());
        self.report = recovered.report;
        for subscriber in &self.subscribers {
            subscriber.resync(self.committed.id);
        }
        self.publish_transients();
        while let Some(append) = self.in_flight.next_append() {
            if recovered.chains.get(&append.head.id) == Some(&append.head.chain) {
                append.acknowledge(env.counters);
            } else {
                let reason = "the session was recovered before it was written".to_owned();
                append.answer(&Err(ErrorKind::NotWritten { session: self.id.clone(), reason }.into()));
            }
            self.publish_transients();
        }
        self.answer_ready();
        self.advance(env);
    }

    fn failed(&mut self, error: Error, reason: &str) {
        log::error!("a session cannot be recovered");
        log::debug!("session {} cannot be recovered: {error}", self.id);
        self.phase = Phase::Failed;
        // They read the view by themselves then.
        self.viewers = None;
        self.publish_transients();
        while let Some(append) = self.in_flight.next_append() {
            self.answer_unknown(append, &format!("{reason}: {error}"));
            self.publish_transients();
        }
        self.refuse_waiting(&error);
    }

    /// A question was not answered, since the store has closed under it.
    pub(crate) fn lost(&mut self) {
        if self.phase != Phase::Closed {
            self.checking = false;
            self.failed(ErrorKind::StoreClosed.into(), "the store closed");
        }
    }

    /// The arbiter of the session is gone for good.
    pub(crate) fn abandon(&mut self) {
        self.failed(unavailable_error("the arbiter of the session has stopped"), "the session's arbiter has stopped");
        self.effects.clear();
    }

    /// The blobs that the first waiting append references were looked at.
    pub(crate) fn refs_checked(&mut self, result: Result<(), Error>, env: &Env<'_>) {
        self.checked(result.map(|()| Checked::Refs), env);
    }

    /// The log was searched for the key of the first waiting append.
    pub(crate) fn key_found(&mut self, result: Result<Option<EventId>, Error>, env: &Env<'_>) {
        self.checked(result.map(Checked::Key), env);
    }

    fn checked(&mut self, result: Result<Checked, Error>, env: &Env<'_>) {
        self.checking = false;
        if let Some(Task::Append(mut request)) = self.waiting.pop_front() {
            match result {
                Err(error) => request.answer(Err(error)),
                Ok(Checked::Key(Some(first))) => self.effects.push(Effect::Repeat { first, request }),
                Ok(checked) => {
                    match checked {
                        Checked::Refs => request.refs_checked = true,
                        Checked::Key(_) => request.key_checked = true,
                    }
                    self.waiting.push_front(Task::Append(request));
                }
            }
        }
        self.advance(env);
    }
}

enum Checked {
    Refs,
    Key(Option<EventId>),
}
fn unavailable(result: Result<Written, PersistError>) -> Error {
    match result {
        Err(PersistError::NotWritten { error, .. }) => error.into(),
        Err(PersistError::Refused(Refusal::Damaged(reason))) => ErrorKind::CorruptStore { reason }.into(),
        Err(PersistError::Closed) => ErrorKind::StoreClosed.into(),
        Err(error) => unavailable_error(&error.to_string()),
        Ok(_) => unavailable_error("the log gave an answer that was not asked for"),
    }
}

fn unavailable_error(reason: &str) -> Error {
    ErrorKind::Unavailable { reason: reason.to_owned() }.into()
}
