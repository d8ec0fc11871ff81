//! Counts what is in flight in a session: appends that are not answered yet, and transients that are not delivered yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::stats::Metrics;

/// How much of one session is in flight. The metrics of its store count the same for all sessions.
pub(crate) struct InFlightCount {
    session: AtomicUsize,
    metrics: Arc<Metrics>,
}

impl InFlightCount {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { session: AtomicUsize::new(0), metrics }
    }
}

/// The permission for one append or transient to be in flight. Dropping the permit gives the permission back.
pub(crate) struct Permit(Arc<InFlightCount>);

impl Permit {
    /// Takes a permit; `None` if `limit` of them are taken.
    pub(crate) fn take(count: &Arc<InFlightCount>, limit: usize) -> Option<Self> {
        count.metrics.flight_began();
        let permit = Self(Arc::clone(count));
        (count.session.fetch_add(1, Ordering::AcqRel) < limit).then_some(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.session.fetch_sub(1, Ordering::AcqRel);
        self.0.metrics.flight_ended();
    }
}
