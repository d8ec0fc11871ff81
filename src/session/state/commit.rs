//! What a session does when the persist actor has answered for an append: fold, publish, deliver, acknowledge, in this
//! order; or refuse it, and everything stamped after it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use super::{Env, Open, Phase, SessionState};
use crate::commit::{Follows, PersistError};
use crate::error::{Error, ErrorKind};
use crate::event::LogEvent;
use crate::id::EventId;
use crate::model::{SessionModel, View, apply_to};
use crate::port::{LogError, Refusal, Written};
use crate::replay::Condition;
use crate::session::in_flight::StampedAppend;

impl<M: SessionModel> SessionState<M> {
    /// The persist actor has answered for the oldest append in flight without an answer. Those of one group are folded
    /// together, so that a view that is slow to clone is cloned once for them all.
    pub(in crate::session) fn persisted(
        &mut self,
        last: EventId,
        result: Result<Written, PersistError>,
        follows: Follows,
        env: &Env<'_>,
    ) {
        if let Err(PersistError::Refused(Refusal::Deleted)) = result {
            return self.was_deleted();
        }
        self.follow_epoch(&result);
        if self.in_flight.oldest().is_some_and(StampedAppend::is_redaction) {
            self.set_asking(false);
            if result.is_ok() {
                // It is acknowledged when the log was read anew.
                return self.recover();
            }
        }
        self.persisted += usize::from(result.is_ok());
        if result.is_ok() && follows == Follows::More {
            return;
        }
        let persisted = std::mem::take(&mut self.persisted);
        self.commit(persisted, env);
        if let Err(error) = result {
            let Some(append) = self.in_flight.next_append() else { return };
            debug_assert_eq!(append.head.id, last, "answers come in the order of the appends");
            self.take_back_refusals();
            if let PersistError::Unknown { text: reason, .. } = error {
                self.answer_unknown(append, &reason);
                self.recover();
            } else {
                self.refuse(append, &error);
            }
            self.publish_transients();
        }
        if self.is_unwinding() && !self.in_flight.has_appends() {
            self.set_unwinding(false);
            self.stamper.reset(self.committed, self.published.counters(), self.published.core());
        }
        self.advance(env);
    }

    /// Settling a failed commit may have raised the epoch of the log: this store goes on under the raised epoch.
    fn follow_epoch(&mut self, result: &Result<Written, PersistError>) {
        let (Ok(Written::Appended { raised }) | Err(PersistError::NotWritten { raised, .. })) = result else { return };
        if self.owned.is_some() {
            self.owned = raised.or(self.owned);
        }
    }

    fn set_unwinding(&mut self, is_unwinding: bool) {
        let is_asking = matches!(self.phase, Phase::Open(Open { is_asking: true, .. }));
        self.phase = Phase::Open(Open { is_asking, is_unwinding });
    }

    /// Shows and acknowledges the oldest appends in flight, which are durable. Should it panic, the recovery that
    /// follows shows and answers those that are still in flight.
    fn commit(&mut self, appends: usize, env: &Env<'_>) {
        if appends == 0 {
            return;
        }
        self.fold(self.in_flight.events(appends));
        self.subscribers.retain(|subscriber| !subscriber.is_gone());
        for _ in 0..appends {
            let Some(append) = self.in_flight.next_append() else { break };
            self.committed = append.head;
            if let Some(streams) = &self.streams {
                streams.end(&append.events);
            }
            let delivered = catch_unwind(AssertUnwindSafe(|| {
                for event in &append.events {
                    for subscriber in &self.subscribers {
                        subscriber.event(event);
                    }
                }
            }));
            if let Err(panic) = delivered {
                self.in_flight.put_back(append);
                resume_unwind(panic);
            }
            self.snapshots.tail.add(append.events.len() as u64, append.record_bytes);
            append.acknowledge(env.metrics);
            self.publish_transients();
        }
        if !self.in_flight.has_appends() {
            self.stamper.caught_up();
        }
        self.snapshot_if_due(env);
    }

    /// Folds committed events into the next view, and publishes it. If the session model panics on an event, the view
    /// ends at the event before.
    fn fold<'a>(&self, events: impl Iterator<Item = &'a LogEvent<M>> + Clone)
    where
        M: 'a,
    {
        if *self.published.condition() != Condition::Ready {
            return;
        }
        // A session is not cold while it commits, so there is a view.
        let Some(view) = self.published.view() else { return };
        let (mut state, mut core) = (view.state().clone(), Arc::clone(view.core()));
        let mut head = view.head();
        let mut unfoldable = None;
        for (folded, event) in events.clone().enumerate() {
            if catch_unwind(AssertUnwindSafe(|| apply_to(&mut state, &mut core, event))).is_err() {
                log::error!("apply panicked on a committed event: its session is read-only until a build folds it");
                unfoldable = Some(event.id());
                // The panic may have left `state` half changed, so the events before are folded anew.
                (state, core) = (view.state().clone(), Arc::clone(view.core()));
                for event in events.take(folded) {
                    apply_to(&mut state, &mut core, event);
                }
                break;
            }
            head = event.id();
        }
        self.published.advance(Arc::new(View::new(head, state, core)), unfoldable);
    }

    fn refuse(&mut self, append: StampedAppend<M>, error: &PersistError) {
        let is_first_refused = !self.is_unwinding();
        self.set_unwinding(true);
        if let Some(key) = &append.key {
            self.keys.remove(&key.key);
        }
        let not_written =
            |reason: &str| ErrorKind::NotWritten { session: self.id.clone(), reason: reason.to_owned() }.into();
        let told: Error = match error {
            PersistError::Refused(refusal) => {
                let follows = matches!(refusal, Refusal::HeadMoved { .. }) && !is_first_refused;
                if !follows && matches!(refusal, Refusal::HeadMoved { .. } | Refusal::StaleEpoch | Refusal::Owned(_)) {
                    // The next append claims the log again, and finds out what another store wrote.
                    self.owned = None;
                }
                match refusal.of_session(&self.id) {
                    Some(kind) => kind.into(),
                    None if *refusal == Refusal::KeyTaken => {
                        self.keys.distrust();
                        not_written("its append key is in the log, and the first result will be told")
                    }
                    None if follows => not_written("an append ahead of it was refused"),
                    None => not_written("another store took the session over, or wrote to it"),
                }
            }
            PersistError::NotWritten { error: LogError::Busy | LogError::Io(_), .. } | PersistError::Fenced => {
                not_written(&error.to_string())
            }
            PersistError::NotWritten { error, .. } => error.clone().of_session(&self.id),
            PersistError::Closed | PersistError::Unknown { .. } => ErrorKind::StoreClosed.into(),
        };
        append.answer(&Err(told));
    }

    pub(super) fn answer_unknown(&self, append: StampedAppend<M>, reason: &str) {
        append.answer(&Err(ErrorKind::OutcomeUnknown { session: self.id.clone(), reason: reason.to_owned() }.into()));
    }
}
