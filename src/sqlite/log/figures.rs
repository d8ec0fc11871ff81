//! What the writing end counts of its upkeep, for the store's statistics.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::port::Upkeep;

/// The numbers. Every access is relaxed: a number that is a moment old does no harm, and no number is ever torn.
#[derive(Debug, Default)]
pub(super) struct UpkeepFigures {
    log_bytes: AtomicU64,
    runs: AtomicU64,
    runs_blocked: AtomicU64,
}

impl UpkeepFigures {
    /// The write-ahead log was seen to have this size.
    pub(super) fn log_bytes(&self, bytes: u64) {
        self.log_bytes.store(bytes, Ordering::Relaxed);
    }

    /// A checkpoint moved everything.
    pub(super) fn checkpoint(&self) {
        self.runs.fetch_add(1, Ordering::Relaxed);
    }

    /// A reader kept a checkpoint from moving everything.
    pub(super) fn checkpoint_blocked(&self) {
        self.runs_blocked.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Upkeep {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Upkeep { log_bytes: read(&self.log_bytes), runs: read(&self.runs), runs_blocked: read(&self.runs_blocked) }
    }
}
