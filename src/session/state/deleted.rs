//! What a session does when it was deleted: everyone who waits is told so, whatever the session was doing.

use std::sync::Arc;

use super::{Effect, Ended, Phase, SessionState};
use crate::error::{Error, ErrorKind};
use crate::model::SessionModel;
use crate::session::in_flight::Due;
use crate::session::live::Subscriber;
use crate::threads::guarded;

impl<M: SessionModel> SessionState<M> {
    /// The log has said that the session was deleted.
    pub(super) fn was_deleted(&mut self) {
        if let Some(subscribers) = self.end_deleted() {
            self.effects.push(Effect::Deleted { subscribers });
        }
    }

    /// Ends the session, and gives the subscribers that are still to be told; `None` if it has ended so before. An
    /// append in flight may have been written before its log was deleted; nothing is left of it either way.
    pub(in crate::session) fn end_deleted(&mut self) -> Option<Vec<Arc<Subscriber<M>>>> {
        if let Phase::Closed(Ended::Deleted) = self.phase {
            return None;
        }
        // Answers that are on their way are of what is gone.
        self.incarnation += 1;
        self.persisted = 0;
        self.owned = None;
        self.forget_effects();
        // Those who wait for the view are dropped with the phase. They then read the view by themselves, and are told.
        self.phase = Phase::Closed(Ended::Deleted);
        self.resident.leave();
        let error: Error = ErrorKind::SessionDeleted { session: self.id.clone() }.into();
        loop {
            match self.in_flight.next_due() {
                Some(Due::Refused(reply, _)) => drop(reply.answer(Err(error.clone()))),
                Some(Due::Transient(transient)) => {
                    // Guarded, since its drop is the host's. A panic is logged.
                    let _ = guarded("drop of a transient", || drop(transient));
                }
                None => match self.in_flight.next_append() {
                    Some(append) => append.answer(&Err(error.clone())),
                    None => break,
                },
            }
        }
        self.refuse_waiting(&error);
        if let Some(streams) = self.streams.take() {
            // Guarded for the same reason.
            let _ = guarded("drop of a transient", || streams.cut_all());
        }
        Some(std::mem::take(&mut self.subscribers))
    }
}
