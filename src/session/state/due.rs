//! What is told in the order of the appends without being appended: transients, and refusals.

use std::sync::Arc;

use crate::error::ErrorKind;
use crate::model::SessionModel;
use crate::session::in_flight::Due;
use crate::threads::guarded;

use super::SessionState;

impl<M: SessionModel> SessionState<M> {
    /// Delivers the transients, and tells the refusals, that no append is ahead of. Transients of streams are kept.
    pub(super) fn publish_transients(&mut self) {
        while let Some(due) = self.in_flight.next_due() {
            match due {
                Due::Refused(reply, error) => drop(reply.answer(Err(error))),
                Due::Transient(transient) => self.publish_transient(transient),
            }
        }
    }

    fn publish_transient(&mut self, transient: M::Transient) {
        let Some((key, bytes)) = stream_of::<M>(&transient) else { return self.deliver(&transient, None) };
        let transient = Arc::new(transient);
        let number = self.streams().keep(&transient, key, bytes);
        self.deliver(&transient, Some(number));
    }

    fn deliver(&self, transient: &M::Transient, number: Option<u64>) {
        for subscriber in &self.subscribers {
            subscriber.transient(transient, number);
        }
    }

    /// An append was not written, or nobody knows whether it was.
    pub(super) fn take_back_refusals(&mut self) {
        let reason = "an append ahead of it, which it was judged by, was not written".to_owned();
        self.in_flight.take_back_refusals(&ErrorKind::NotWritten { session: self.id.clone(), reason }.into());
    }
}

/// The stream of a transient, and its bytes. One that the session model panics on is of no stream.
fn stream_of<M: SessionModel>(transient: &M::Transient) -> Option<(String, u64)> {
    let stream = || M::transient_key(transient).map(|key| (key, M::transient_bytes(transient) as u64));
    guarded("transient_key or transient_bytes", stream).unwrap_or(None)
}
