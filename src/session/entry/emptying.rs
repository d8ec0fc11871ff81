//! How a session is emptied: what the ring of resident sessions asks of an entry.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::Entry;
use crate::model::SessionModel;
use crate::session::residency::{EmptyOutcome, Resident};
use crate::session::state::cold::{Emptied, Emptying};
use crate::threads::{guarded, lock};

/// What the ring of resident sessions needs to know of a session.
#[derive(Debug, Default)]
pub(super) struct Residence {
    /// Whether the session was used since the ring asked last.
    used: AtomicBool,
    in_ring: AtomicBool,
}

impl<M: SessionModel> Entry<M> {
    /// Notes that the session is used. Only the first use after the ring has asked writes the flag; the others read it.
    pub(in crate::session) fn touch(&self) {
        if !self.residence.used.load(Ordering::Relaxed) {
            self.residence.used.store(true, Ordering::Relaxed);
        }
    }

    /// Puts a session that has come into memory into the ring, unless it is in the ring already.
    pub(crate) fn enter_ring(self: &Arc<Self>) {
        if !self.residence.in_ring.swap(true, Ordering::Relaxed) {
            let session: Arc<dyn Resident> = Arc::clone(self) as _;
            self.services.residency.enter(Arc::downgrade(&session), Instant::now());
        }
    }
}

impl<M: SessionModel> Resident for Entry<M> {
    fn take_used(&self) -> bool {
        self.residence.used.swap(false, Ordering::Relaxed)
    }

    fn is_gone(&self) -> bool {
        let state = lock(&self.state);
        let is_gone = state.is_gone();
        if is_gone {
            // The ring, which asks, drops its slot on this answer.
            self.residence.in_ring.store(false, Ordering::Relaxed);
        }
        is_gone
    }

    fn try_empty(&self) -> EmptyOutcome {
        let emptied = {
            let mut state = lock(&self.state);
            let emptied = state.empty();
            if matches!(emptied, Emptying::Emptied(_) | Emptying::Gone) {
                // Cleared under the lock, so that the session enters the ring again when it has woken, and not before.
                // Cleared also for a session that is cold already: its actor may have entered it after it was emptied.
                self.residence.in_ring.store(false, Ordering::Relaxed);
            }
            emptied
        };
        match emptied {
            Emptying::Busy => EmptyOutcome::Busy,
            Emptying::Gone => EmptyOutcome::Gone,
            Emptying::Emptied(emptied) => {
                // The view of an idle session is dropped only here. Its fields are the host's, so its drop may panic.
                let Emptied { view, keys } = emptied;
                // A panic is logged, and the view is gone all the same.
                let _ = guarded("drop of a view", || drop((view, keys)));
                self.services.metrics.session_emptied();
                EmptyOutcome::Emptied
            }
        }
    }
}
