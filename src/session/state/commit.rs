//! What a session does when the persist actor has answered for an append: fold, publish, deliver, acknowledge, in this
//! order; or refuse it, and everything stamped after it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use super::{Env, Open, Phase, SessionState};
use crate::commit::PersistError;
use crate::error::ErrorKind;
use crate::event::{Event, LogEvent};
use crate::id::EventId;
use crate::model::{SessionModel, View};
use crate::port::{LogError, Refusal, Written};
use crate::replay::Condition;
use crate::session::in_flight::StampedAppend;

impl<M: SessionModel> SessionState<M> {
    /// The persist actor has answered for the oldest append in flight.
    pub(in crate::session) fn persisted(
        &mut self,
        last: EventId,
        result: Result<Written, PersistError>,
        env: &Env<'_>,
    ) {
        self.follow_epoch(&result);
        let Some(append) = self.in_flight.next_append() else { return };
        debug_assert_eq!(append.head.id, last, "answers come in the order of the appends");
        match result {
            Ok(_) => self.commit(append, env),
            Err(PersistError::Unknown(reason)) => {
                self.answer_unknown(append, &reason);
                self.recover();
            }
            Err(error) => self.refuse(append, &error),
        }
        self.publish_transients();
        if self.is_unwinding() && !self.in_flight.has_appends() {
            self.set_unwinding(false);
            self.stamper.reset(self.committed, self.published.counters());
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

    fn commit(&mut self, append: StampedAppend<M>, env: &Env<'_>) {
        self.committed = append.head;
        let shown = catch_unwind(AssertUnwindSafe(|| {
            self.fold(&append.events);
            self.subscribers.retain(|subscriber| !subscriber.is_gone());
            for event in &append.events {
                let event = LogEvent::Model(Arc::clone(event));
                for subscriber in &self.subscribers {
                    subscriber.event(&event);
                }
            }
        }));
        if let Err(panic) = shown {
            // The append is durable: the recovery that follows the panic publishes and acknowledges it.
            self.in_flight.put_back(append);
            resume_unwind(panic);
        }
        self.snapshots.tail.add(append.events.len() as u64, append.record_bytes);
        append.acknowledge(env.metrics);
        self.snapshot_if_due(env);
    }

    /// Folds committed events into the next view, and publishes it. If the session model panics on an event, the view
    /// ends at the event before.
    fn fold(&self, events: &[Arc<Event<M>>]) {
        if *self.published.condition() != Condition::Ready {
            return;
        }
        // A session is not cold while it commits, so there is a view.
        let Some(view) = self.published.view() else { return };
        let mut state = view.state().clone();
        let mut head = view.head();
        let mut unfoldable = None;
        for (folded, event) in events.iter().enumerate() {
            if catch_unwind(AssertUnwindSafe(|| M::apply(&mut state, event))).is_err() {
                log::error!("apply panicked on a committed event: its session is read-only until a build folds it");
                unfoldable = Some(event.id());
                // The panic may have left `state` half changed, so the events before are folded anew.
                state = view.state().clone();
                for event in events.iter().take(folded) {
                    M::apply(&mut state, event);
                }
                break;
            }
            head = event.id();
        }
        self.published.advance(Arc::new(View::new(head, state)), unfoldable);
    }

    fn refuse(&mut self, append: StampedAppend<M>, error: &PersistError) {
        let is_first_refused = !self.is_unwinding();
        self.set_unwinding(true);
        if let Some(key) = &append.key {
            self.keys.remove(&key.key);
        }
        let session = self.id.clone();
        let reason = match error {
            PersistError::Refused(Refusal::HeadMoved { .. }) if !is_first_refused => {
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
            // The session was taken over, and the caller needs to know by whom.
            PersistError::Refused(Refusal::Owned(owner)) => ErrorKind::OwnedElsewhere { session, owner: owner.clone() },
            PersistError::Closed => ErrorKind::StoreClosed,
            _ => ErrorKind::NotWritten { session, reason },
        };
        append.answer(&Err(kind.into()));
    }

    pub(super) fn answer_unknown(&self, append: StampedAppend<M>, reason: &str) {
        append.answer(&Err(ErrorKind::OutcomeUnknown { session: self.id.clone(), reason: reason.to_owned() }.into()));
    }
}
