//! What one session counts for while it is in memory.

use std::sync::Arc;

use crate::stats::Counters;

/// Counted out when dropped.
#[derive(Debug)]
pub(crate) struct Resident {
    counters: Arc<Counters>,
    bytes: Option<u64>,
}

impl Resident {
    pub(crate) fn new(counters: &Arc<Counters>, is_resident: bool) -> Self {
        let mut resident = Self { counters: Arc::clone(counters), bytes: None };
        if is_resident {
            resident.enter(0);
        }
        resident
    }

    pub(crate) fn enter(&mut self, bytes: u64) {
        self.leave();
        self.bytes = Some(bytes);
        self.counters.session_entered(bytes);
    }

    /// What is stamped and then refused counts as well, until the session is recovered.
    pub(crate) fn grow(&mut self, more: u64) {
        if let Some(bytes) = &mut self.bytes {
            *bytes += more;
            self.counters.session_grew(more);
        }
    }

    pub(crate) fn leave(&mut self) {
        if let Some(bytes) = self.bytes.take() {
            self.counters.session_left(bytes);
        }
    }
}

#[cfg(test)]
impl Resident {
    pub(crate) fn is_resident(&self) -> bool {
        self.bytes.is_some()
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        self.leave();
    }
}
