//! How much of a session is in flight: appends and transients that were accepted and are not answered or shown.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::stats::Metrics;

/// Counts what is in flight of one session. The metrics of its store count along.
pub(crate) struct InFlightCount {
    session: AtomicUsize,
    metrics: Arc<Metrics>,
}

impl InFlightCount {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { session: AtomicUsize::new(0), metrics }
    }
}

/// The permission for one thing to be in flight. It is given back when dropped.
pub(crate) struct Permit(Arc<InFlightCount>);

impl Permit {
    /// Counts one more, unless that is over the limit.
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
