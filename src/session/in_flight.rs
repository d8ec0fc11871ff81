//! What a session has sent to be persisted and has no answer for yet, in order.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::codec;
use crate::error::Error;
use crate::id::{AppendKey, EventId};
use crate::model::{Event, SessionModel};
use crate::port::Head;
use crate::session::append::{AppendReply, Appended, Counted, Request};
use crate::session::stamper::StampedKey;
use crate::stats::Counters;

/// An append that was stamped and sent.
pub(crate) struct StampedAppend<M: SessionModel> {
    pub(crate) events: Vec<Arc<Event<M>>>,
    pub(crate) head: Head,
    pub(crate) key: Option<StampedKey>,
    /// Of all its records.
    pub(crate) record_bytes: u64,
    pub(crate) replies: Vec<AppendReply<M>>,
}

impl<M: SessionModel> StampedAppend<M> {
    pub(crate) fn answer(self, answer: &Result<Appended<M>, Error>) {
        for reply in self.replies {
            reply.answer(answer.clone());
        }
    }

    /// Answers that it is in the log.
    pub(crate) fn acknowledge(self, counters: &Counters) {
        // The others are retries that joined it.
        if let Some(first) = self.replies.first() {
            counters.append_acknowledged(self.events.len(), first.asked.elapsed());
        }
        let appended = Appended { events: self.events, head: self.head.id, repeated: false };
        for reply in self.replies {
            reply.answer(Ok(appended.clone()));
        }
    }

    /// Whether a retry under the same key has the same bodies.
    pub(crate) fn is_same(&self, retry: &Request<M>) -> bool {
        self.key
            .as_ref()
            .is_some_and(|key| codec::fingerprint(key.salt, &retry.bodies).is_ok_and(|again| again == key.fingerprint))
    }
}

/// Appends and transients in the order in which they were accepted. A transient waits for the appends ahead of it.
pub(crate) struct InFlight<M: SessionModel>(VecDeque<InFlightTask<M>>);

enum InFlightTask<M: SessionModel> {
    Append(StampedAppend<M>),
    Transient(M::Transient, Counted),
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

    fn appends(&self) -> impl Iterator<Item = &StampedAppend<M>> {
        self.0.iter().filter_map(|task| match task {
            InFlightTask::Append(append) => Some(append),
            InFlightTask::Transient(..) => None,
        })
    }

    pub(crate) fn push_append(&mut self, append: StampedAppend<M>) {
        self.0.push_back(InFlightTask::Append(append));
    }

    pub(crate) fn push_transient(&mut self, transient: M::Transient, counted: Counted) {
        self.0.push_back(InFlightTask::Transient(transient, counted));
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

    /// Takes the next transient, if no append is ahead of it.
    pub(crate) fn next_transient(&mut self) -> Option<M::Transient> {
        match self.0.pop_front()? {
            InFlightTask::Transient(transient, _counted) => Some(transient),
            append @ InFlightTask::Append(_) => {
                self.0.push_front(append);
                None
            }
        }
    }

    /// Takes the oldest append. Transients ahead of it were taken before.
    pub(crate) fn next_append(&mut self) -> Option<StampedAppend<M>> {
        match self.0.pop_front()? {
            InFlightTask::Append(append) => Some(append),
            transient @ InFlightTask::Transient(..) => {
                self.0.push_front(transient);
                None
            }
        }
    }
}
