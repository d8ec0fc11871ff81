//! What a store counts while it runs: always on, and cheap enough for that.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a store has done and met since it was opened. [`Store::stats`](crate::Store::stats) takes it; each number is exact,
/// and together they may be a moment apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// How many appends were acknowledged: a batch is one, and a retry that found its first result is none.
    pub appends_acknowledged: u64,
    /// How many appends were refused at the call, since their session had `session_in_flight_max` in flight:
    /// [`ErrorKind::Busy`](crate::ErrorKind::Busy).
    pub appends_busy: u64,
    /// How many recoveries and readings of a state began with a stored view.
    pub snapshot_hits: u64,
    /// How many stored views could not be used, being damaged, missing or of another build: the log was folded instead.
    pub snapshot_fallbacks: u64,
    /// How many views were stored.
    pub snapshots_written: u64,
    /// How often another process that held the database's write lock made a group of appends wait. Waits of less than a
    /// quarter of a second are SQLite's own, and not counted.
    pub lock_waits: u64,
    /// How long these waits took in all, the one that is on now included.
    pub lock_waited: Duration,
    /// For how long a group waits by now, if one does.
    pub lock_waiting: Option<Duration>,
}

/// The counters behind [`Stats`].
#[derive(Debug)]
pub(crate) struct Counters {
    opened: Instant,
    appends_acknowledged: AtomicU64,
    appends_busy: AtomicU64,
    pub(crate) snapshot_hits: AtomicU64,
    pub(crate) snapshot_fallbacks: AtomicU64,
    pub(crate) snapshots_written: AtomicU64,
    lock_waits: AtomicU64,
    /// Of the waits that have ended.
    lock_waited_micros: AtomicU64,
    /// When the wait that is on began, in microseconds after `opened`; [`NOT_WAITING`] when none is.
    lock_waiting_since: AtomicU64,
}

const NOT_WAITING: u64 = u64::MAX;

impl Counters {
    pub(crate) fn new() -> Self {
        Self {
            opened: Instant::now(),
            appends_acknowledged: AtomicU64::new(0),
            appends_busy: AtomicU64::new(0),
            snapshot_hits: AtomicU64::new(0),
            snapshot_fallbacks: AtomicU64::new(0),
            snapshots_written: AtomicU64::new(0),
            lock_waits: AtomicU64::new(0),
            lock_waited_micros: AtomicU64::new(0),
            lock_waiting_since: AtomicU64::new(NOT_WAITING),
        }
    }

    pub(crate) fn append_acknowledged(&self) {
        self.appends_acknowledged.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn append_busy(&self) {
        self.appends_busy.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn lock_wait_began(&self, at: Instant) {
        self.lock_waits.fetch_add(1, Ordering::Relaxed);
        self.lock_waiting_since.store(micros(at.saturating_duration_since(self.opened)), Ordering::Relaxed);
    }

    pub(crate) fn lock_wait_ended(&self, waited: Duration) {
        self.lock_waiting_since.store(NOT_WAITING, Ordering::Relaxed);
        self.lock_waited_micros.fetch_add(micros(waited), Ordering::Relaxed);
    }

    pub(crate) fn look(&self) -> Stats {
        let lock_waiting = match self.lock_waiting_since.load(Ordering::Relaxed) {
            NOT_WAITING => None,
            since => Some(self.opened.elapsed().saturating_sub(Duration::from_micros(since))),
        };
        let waited = Duration::from_micros(self.lock_waited_micros.load(Ordering::Relaxed));
        Stats {
            appends_acknowledged: self.appends_acknowledged.load(Ordering::Relaxed),
            appends_busy: self.appends_busy.load(Ordering::Relaxed),
            snapshot_hits: self.snapshot_hits.load(Ordering::Relaxed),
            snapshot_fallbacks: self.snapshot_fallbacks.load(Ordering::Relaxed),
            snapshots_written: self.snapshots_written.load(Ordering::Relaxed),
            lock_waits: self.lock_waits.load(Ordering::Relaxed),
            lock_waited: waited + lock_waiting.unwrap_or_default(),
            lock_waiting,
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(NOT_WAITING - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_for_the_lock_is_seen_while_it_is_on_and_adds_up_afterwards() {
        let counters = Counters::new();
        assert_eq!(counters.look(), Stats::default());
        counters.lock_wait_began(counters.opened);
        let during = counters.look();
        assert_eq!((during.lock_waits, during.lock_waiting), (1, Some(during.lock_waited)));
        counters.lock_wait_ended(Duration::from_secs(60));
        counters.lock_wait_began(Instant::now());
        counters.lock_wait_ended(Duration::from_millis(1500));
        let after = Stats { lock_waits: 2, lock_waited: Duration::from_millis(61_500), ..Stats::default() };
        assert_eq!(counters.look(), after);
        counters.append_acknowledged();
        counters.append_busy();
        assert_eq!(counters.look(), Stats { appends_acknowledged: 1, appends_busy: 1, ..after });
    }
}
