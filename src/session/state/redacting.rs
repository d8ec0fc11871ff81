//! How a session redacts: the records that take the place of others are made on another thread, while nothing is in
//! flight; then one write puts them into the log, with the event that says so. Then the session reads its log anew, as
//! after a failure: whatever it held of the old events is gone before anyone is answered.

use std::sync::Arc;

use futures::channel::oneshot;

use super::{Effect, Env, Open, Phase, SessionState, Task};
use crate::error::{Error, ErrorKind};
use crate::model::SessionModel;
use crate::port::{Epoch, Listed, LogRedaction, Write};
use crate::replay::{PreparedRedaction, RecoveryReport};
use crate::session::append::Bodies;
use crate::session::in_flight::{Request, StampedAppend};
use crate::session::redact::Redact;

impl<M: SessionModel> SessionState<M> {
    /// Whether nothing is on its way that holds what may be redacted: neither an append nor a view that is to be
    /// stored.
    pub(super) fn is_quiet(&self) -> bool {
        self.in_flight.is_empty() && !self.snapshots.is_underway()
    }

    /// A read of the log has found so many redactions. Answers when the view is not of before the last of them.
    pub(in crate::session) fn redactions_found(
        &mut self,
        redactions: u64,
        reply: oneshot::Sender<Result<RecoveryReport, Error>>,
    ) {
        let is_idle = matches!(self.phase, Phase::Open(Open { is_asking: false, is_unwinding: false }));
        if redactions > self.published.redactions() && is_idle && !self.in_flight.has_appends() {
            // It is none of this store's own: another store has taken the session over. The log says who owns it.
            self.owned = None;
        }
        self.when_ready(reply);
    }

    /// Has the records made, and keeps everything behind waiting.
    pub(super) fn prepare_redaction(&mut self, request: Request<M>, redact: Arc<Redact<M>>) {
        self.ask_first(Task::Append(request), Effect::PrepareRedaction { redact });
    }

    /// The records were made, or the redaction is refused.
    pub(in crate::session) fn redaction_prepared(
        &mut self,
        result: Result<PreparedRedaction<M>, Error>,
        env: &Env<'_>,
    ) {
        self.set_asking(false);
        if let Some(Task::Append(request)) = self.waiting.pop_front() {
            match (result, self.owned, request.redact.clone()) {
                (Ok(prepared), Some(epoch), Some(redact)) => self.redact(prepared, epoch, &redact, request, env),
                (Err(error), ..) => request.answer(Err(error)),
                // The ownership was lost meanwhile: the redaction asks for it, and is prepared again.
                _ => self.waiting.push_front(Task::Append(request)),
            }
        }
        self.advance(env);
    }

    fn redact(
        &mut self,
        prepared: PreparedRedaction<M>,
        epoch: Epoch,
        redact: &Redact<M>,
        request: Request<M>,
        env: &Env<'_>,
    ) {
        let PreparedRedaction { records, noted, blobs, head, counters, core } = prepared;
        if head != self.stamper.head {
            let reason = "the log went on while the redaction was prepared".to_owned();
            return request.answer(Err(ErrorKind::NotWritten { session: self.id.clone(), reason }.into()));
        }
        if counters != self.stamper.counters {
            let reason = "with the replacements, the session's counters are others than they are".to_owned();
            return request.answer(Err(ErrorKind::BodyRefused { reason }.into()));
        }
        // Set by an earlier preparation, if the session lost its ownership then: of the same events.
        redact.blobs.get_or_init(|| blobs);
        let (bodies, bytes_max) = (Bodies::Own(redact.body(noted)), env.config.record_bytes_max);
        let mut stamped = match self.stamper.stamp(bodies, None, None, env.now, bytes_max) {
            Ok(stamped) => stamped,
            Err(error) => return request.answer(Err(error)),
        };
        // One body makes one event.
        let Some(event) = stamped.stored.pop() else { return };
        env.metrics.stamped(stamped.head.at, env.now);
        let after = self.stamper.head.chain;
        let listed = (core != *self.stamper.core()).then(|| Listed { session: self.id.clone(), core });
        let record_bytes = event.record.len() as u64;
        self.resident.grow(record_bytes);
        self.stamper.advance(&stamped);
        let redaction = LogRedaction { log: self.log, epoch, after, event, records, listed };
        self.effects.push(Effect::Persist { last: stamped.head.id, write: Write::Redact(Box::new(redaction)) });
        let (events, head, replies) = (stamped.events, stamped.head, vec![request.into_reply()]);
        self.in_flight.push_append(StampedAppend { events, head, key: None, record_bytes, replies });
        // Nothing is stamped until the log was read again.
        self.set_asking(true);
    }
}
