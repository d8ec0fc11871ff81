//! How a session is emptied: what the ring of resident sessions asks of an entry.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::Entry;
use crate::model::SessionModel;
use crate::session::residency::{EmptyOutcome, Resident};
use crate::session::state::cold::{Emptied, Emptying};
use crate::threads::{guarded, lock};

/// What the ring knows of a session.
#[derive(Debug, Default)]
pub(super) struct Residence {
    /// Whether anybody has called since the ring asked last.
    used: AtomicBool,
    in_ring: AtomicBool,
}

impl<M: SessionModel> Entry<M> {
    /// Notes that somebody calls. Only the first call after the ring has looked writes.
    pub(in crate::session) fn touch(&self) {
        if !self.residence.used.load(Ordering::Relaxed) {
            self.residence.used.store(true, Ordering::Relaxed);
        }
    }

    /// The session is in memory: the ring takes it, unless it is there already.
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
            // Whoever asks lets go of it.
            self.residence.in_ring.store(false, Ordering::Relaxed);
        }
        is_gone
    }

    fn try_empty(&self) -> EmptyOutcome {
        let emptied = {
            let mut state = lock(&self.state);
            let emptied = state.empty();
            if matches!(emptied, Emptying::Emptied(_) | Emptying::Gone) {
                // Under the lock, so that it enters again when it has woken, and not before. Also when it is cold already:
                // its actor may have said that it is resident after it was emptied.
                self.residence.in_ring.store(false, Ordering::Relaxed);
            }
            emptied
        };
        match emptied {
            Emptying::Busy => EmptyOutcome::Busy,
            Emptying::Gone => EmptyOutcome::Gone,
            Emptying::Emptied(emptied) => {
                // The one place where the view of an idle session goes. Its fields are the host's, so its end is too.
                let Emptied { view, keys } = emptied;
                // The failure is logged, and the view is gone all the same.
                let _ = guarded("drop of a view", || drop((view, keys)));
                self.services.metrics.session_emptied();
                EmptyOutcome::Emptied
            }
        }
    }
}
