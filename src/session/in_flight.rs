//! An append on its way: as the caller asked for it ([`Request`]), stamped and sent to be persisted
//! ([`StampedAppend`]), and answered ([`AppendReply`]). Stamped appends that have no answer yet stand in a queue, in
//! order ([`InFlight`]).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use futures::channel::oneshot;

use super::append::{Append, Appended, Bodies, Receipt};
use super::permit::Permit;
use super::redact::Redact;
use super::stamper::StampedKey;
use crate::error::Error;
use crate::event::{LogEvent, OwnBody};
use crate::id::{AppendKey, Digest, EventId, SessionId};
use crate::model::SessionModel;
use crate::port::Head;
use crate::stats::Metrics;

/// An append that was accepted and is not stamped yet.
pub(crate) struct Request<M: SessionModel> {
    pub(crate) bodies: Bodies<M>,
    /// What is to be redacted: see [`Append`].
    pub(crate) redact: Option<Arc<Redact<M>>>,
    pub(crate) expected_head: Option<EventId>,
    pub(crate) key: Option<AppendKey>,
    /// Whether the blobs that it references are known to be durable.
    pub(crate) are_refs_checked: bool,
    /// Whether its key is known not to be in the log.
    pub(crate) is_key_checked: bool,
    reply: AppendReply<M>,
}

/// Answers one caller, whose append counts as in flight until then.
pub(crate) struct AppendReply<M: SessionModel> {
    sender: oneshot::Sender<Result<Appended<M>, Error>>,
    /// When the caller called.
    pub(crate) asked: Instant,
    _permit: Permit,
}

impl<M: SessionModel> AppendReply<M> {
    /// Tells whether somebody still waits for the answer.
    pub(crate) fn answer(self, answer: Result<Appended<M>, Error>) -> bool {
        drop(self._permit);
        self.sender.send(answer).is_ok()
    }
}

impl<M: SessionModel> Request<M> {
    /// `process` is this process, which the caller has asked for already.
    pub(crate) fn new(
        append: Append<M>,
        session: SessionId,
        process: u32,
        asked: Instant,
        permit: Permit,
    ) -> (Self, Receipt<M>) {
        let (sender, answer) = oneshot::channel();
        let request = Self {
            bodies: append.bodies,
            redact: append.redact,
            expected_head: append.expected_head,
            key: append.key,
            are_refs_checked: false,
            is_key_checked: false,
            reply: AppendReply { sender, asked, _permit: permit },
        };
        (request, Receipt { session, answer, process })
    }

    pub(crate) fn answer(self, answer: Result<Appended<M>, Error>) {
        self.reply.answer(answer);
    }

    pub(crate) fn into_reply(self) -> AppendReply<M> {
        self.reply
    }

    /// The blobs that the bodies reference, each once for each length that a reference gives it.
    pub(crate) fn blobs(&self) -> Vec<(Digest, u64)> {
        let mut blobs = Vec::new();
        let Bodies::Model(bodies) = &self.bodies else { return blobs };
        for body in bodies {
            M::blob_refs(body, &mut |blob| blobs.push((blob.digest, blob.bytes)));
        }
        blobs.sort_unstable();
        blobs.dedup();
        blobs
    }
}

/// An append that was stamped and sent to be persisted.
pub(crate) struct StampedAppend<M: SessionModel> {
    pub(crate) events: Vec<LogEvent<M>>,
    pub(crate) head: Head,
    pub(crate) key: Option<StampedKey>,
    /// The bytes of all its records.
    pub(crate) record_bytes: u64,
    pub(crate) replies: Vec<AppendReply<M>>,
}

impl<M: SessionModel> StampedAppend<M> {
    pub(crate) fn answer(self, answer: &Result<Appended<M>, Error>) {
        for reply in self.replies {
            reply.answer(answer.clone());
        }
    }

    /// Answers all callers that the append is in the log.
    pub(crate) fn acknowledge(self, metrics: &Metrics) {
        // The other replies are of retries that joined the append: they count as no appends.
        if let Some(first) = self.replies.first() {
            metrics.append_acknowledged(self.events.len(), first.asked.elapsed());
        }
        let events = self.events.into_iter().filter_map(LogEvent::into_model).collect();
        let mut appended = Appended { events, head: self.head.id, repeated: false };
        for reply in self.replies {
            // Only one may take itself for the first, or two would go on from it.
            appended.repeated |= reply.answer(Ok(appended.clone()));
        }
    }

    /// Whether it has redacted other events.
    pub(crate) fn is_redaction(&self) -> bool {
        let own = self.events.first().and_then(LogEvent::as_own);
        own.is_some_and(|event| matches!(event.body(), OwnBody::Redacted(_)))
    }

    /// Whether a retry under the same key has the same bodies.
    pub(crate) fn is_same(&self, retry: &Request<M>) -> bool {
        let own = self.events.first().and_then(LogEvent::as_own).map(|event| event.body().event_type());
        let is_same = |key: &StampedKey| retry.bodies.fingerprint(key.salt).is_ok_and(|again| again == key.fingerprint);
        retry.bodies.may_be_of(own) && self.key.as_ref().is_some_and(is_same)
    }
}

/// Stamped appends, and what waits for the appends ahead of it, in the order in which they were accepted.
pub(crate) struct InFlight<M: SessionModel>(VecDeque<InFlightTask<M>>);

enum InFlightTask<M: SessionModel> {
    Append(StampedAppend<M>),
    Transient(M::Transient, Permit),
    /// An append that could not be stamped. What was stamped ahead may be the reason, and no answer speaks of what a
    /// crash could take back.
    Refused(AppendReply<M>, Error),
}

/// What no append is ahead of any more.
pub(crate) enum Due<M: SessionModel> {
    Transient(M::Transient),
    Refused(AppendReply<M>, Error),
}

impl<M: SessionModel> InFlight<M> {
    pub(crate) fn new() -> Self {
        Self(VecDeque::new())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn has_appends(&self) -> bool {
        self.appends().next().is_some()
    }

    /// The last event of each append.
    pub(crate) fn heads(&self) -> Vec<EventId> {
        self.appends().map(|append| append.head.id).collect()
    }

    /// The chain hash of the last event of each append.
    #[cfg(test)]
    pub(crate) fn chains(&self) -> Vec<crate::codec::Chain> {
        self.appends().map(|append| append.head.chain).collect()
    }

    fn appends(&self) -> impl DoubleEndedIterator<Item = &StampedAppend<M>> + Clone {
        self.0.iter().filter_map(|task| match task {
            InFlightTask::Append(append) => Some(append),
            InFlightTask::Transient(..) | InFlightTask::Refused(..) => None,
        })
    }

    /// The events that were stamped after this one, which is the last of its append.
    pub(crate) fn events_after(&self, head: EventId) -> impl Iterator<Item = &LogEvent<M>> {
        // From the back, where few are new, while hundreds may wait for the disk.
        let newer: Vec<_> = self.appends().rev().take_while(|append| append.head.id > head).collect();
        newer.into_iter().rev().flat_map(|append| &append.events)
    }

    /// The events of the oldest appends.
    pub(crate) fn events(&self, appends: usize) -> impl Iterator<Item = &LogEvent<M>> + Clone {
        self.appends().take(appends).flat_map(|append| &append.events)
    }

    pub(crate) fn push_append(&mut self, append: StampedAppend<M>) {
        self.0.push_back(InFlightTask::Append(append));
    }

    pub(crate) fn push_transient(&mut self, transient: M::Transient, counted: Permit) {
        self.0.push_back(InFlightTask::Transient(transient, counted));
    }

    pub(crate) fn push_refused(&mut self, reply: AppendReply<M>, error: Error) {
        self.0.push_back(InFlightTask::Refused(reply, error));
    }

    /// An append was not written, or nobody knows: what was refused behind it is told so instead of its own error.
    pub(crate) fn take_back_refusals(&mut self, not_written: &Error) {
        for task in &mut self.0 {
            if let InFlightTask::Refused(_, error) = task {
                *error = not_written.clone();
            }
        }
    }

    /// The oldest append without an answer.
    pub(crate) fn oldest(&self) -> Option<&StampedAppend<M>> {
        self.appends().next()
    }

    /// Puts back the append that was taken last.
    pub(crate) fn put_back(&mut self, append: StampedAppend<M>) {
        self.0.push_front(InFlightTask::Append(append));
    }

    /// The first event of the append with this key.
    pub(crate) fn first_of(&self, key: &AppendKey) -> Option<EventId> {
        let append = self.appends().find(|append| append.key.as_ref().is_some_and(|stamped| stamped.key == *key))?;
        append.events.first().map(|event| event.id())
    }

    /// The append that begins with this event.
    pub(crate) fn find(&mut self, first: EventId) -> Option<&mut StampedAppend<M>> {
        self.0.iter_mut().find_map(|task| match task {
            InFlightTask::Append(append) if append.events.first().is_some_and(|event| event.id() == first) => {
                Some(append)
            }
            _ => None,
        })
    }

    /// Takes what is next, if no append is ahead of it.
    pub(crate) fn next_due(&mut self) -> Option<Due<M>> {
        match self.0.pop_front()? {
            InFlightTask::Transient(transient, _counted) => Some(Due::Transient(transient)),
            InFlightTask::Refused(reply, error) => Some(Due::Refused(reply, error)),
            append @ InFlightTask::Append(_) => {
                self.0.push_front(append);
                None
            }
        }
    }

    /// Takes the oldest append. The caller has taken what is ahead of it.
    pub(crate) fn next_append(&mut self) -> Option<StampedAppend<M>> {
        match self.0.pop_front()? {
            InFlightTask::Append(append) => Some(append),
            due @ (InFlightTask::Transient(..) | InFlightTask::Refused(..)) => {
                self.0.push_front(due);
                None
            }
        }
    }
}
