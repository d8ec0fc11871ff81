//! What one session counts for while it is in memory.

use std::sync::Arc;

use crate::stats::Metrics;

/// The count of one session. Dropping it takes the session out of the numbers.
#[derive(Debug)]
pub(crate) struct ResidentCount {
    metrics: Arc<Metrics>,
    bytes: Option<u64>,
}

impl ResidentCount {
    pub(crate) fn new(metrics: &Arc<Metrics>, is_resident: bool) -> Self {
        let mut resident = Self { metrics: Arc::clone(metrics), bytes: None };
        if is_resident {
            resident.enter(0);
        }
        resident
    }

    pub(crate) fn enter(&mut self, bytes: u64) {
        self.leave();
        self.bytes = Some(bytes);
        self.metrics.session_entered(bytes);
    }

    /// Adds bytes of records. Events that were stamped and then refused count, too, until the session is recovered.
    pub(crate) fn grow(&mut self, more: u64) {
        if let Some(bytes) = &mut self.bytes {
            *bytes += more;
            self.metrics.session_grew(more);
        }
    }

    pub(crate) fn leave(&mut self) {
        if let Some(bytes) = self.bytes.take() {
            self.metrics.session_left(bytes);
        }
    }
}

#[cfg(test)]
impl ResidentCount {
    pub(crate) fn is_resident(&self) -> bool {
        self.bytes.is_some()
    }
}

impl Drop for ResidentCount {
    fn drop(&mut self) {
        self.leave();
    }
}
