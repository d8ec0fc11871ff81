//! One log line when something begins to fail, and one when it works again.

use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};

/// Something that fails each time it is tried while the cause lasts, such as every commit while the disk is full. Only
/// the beginning and the end of that are logged: a line for each failure would be thousands in a few seconds.
#[derive(Debug)]
pub(crate) struct Outage {
    /// What fails, as the log line says it.
    what: &'static str,
    failures: AtomicU64,
}

impl Outage {
    pub(crate) const fn of(what: &'static str) -> Self {
        Self { what, failures: AtomicU64::new(0) }
    }

    /// Notes a failure, and logs the first.
    pub(crate) fn failed(&self, error: impl Display) {
        let what = self.what;
        match self.failures.fetch_add(1, Ordering::Relaxed) {
            0 => log::error!("{what} fails: {error}. Further failures are counted, and logged at debug level"),
            _ => log::debug!("{what} fails: {error}"),
        }
    }

    /// Notes a success, and logs one that ends an outage.
    pub(crate) fn worked(&self) {
        // Read first: nearly every call finds that nothing has failed.
        if self.failures.load(Ordering::Relaxed) > 0 {
            let failures = self.failures.swap(0, Ordering::Relaxed);
            if failures > 0 {
                log::warn!("{} works again, after {failures} failures", self.what);
            }
        }
    }
}
