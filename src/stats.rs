//! What a store counts while it runs: always on, and cheap enough for that.

use std::sync::Arc;
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
    /// How often another process that held the database's write lock made a group of appends wait. Waits of less than a
    /// quarter of a second are SQLite's own, and not counted.
    pub lock_waits: u64,
    /// How long these waits took in all, the one that is on now included.
    pub lock_waited: Duration,
    /// For how long a group waits by now, if one does.
    pub lock_waiting: Option<Duration>,
    /// How many sessions are resident now: their views are in memory.
    pub sessions_resident: u64,
    /// The record bytes behind these views, roughly.
    pub resident_bytes: u64,
    /// How many sessions were emptied, by the limits of [`ResidencyConfig`](crate::ResidencyConfig) or by
    /// [`Store::empty_idle_sessions`](crate::Store::empty_idle_sessions).
    pub sessions_emptied: u64,
    /// How often the limits were exceeded since every session looked at was busy or just used.
    pub residency_exceeded: u64,
    /// How many logs were folded: for sessions that were opened, woken or recovered.
    pub recoveries: u64,
    /// How many of these run now.
    pub recoveries_running: u64,
}

/// The counters behind [`Stats`].
#[derive(Debug)]
pub(crate) struct Counters {
    opened: Instant,
    appends_acknowledged: AtomicU64,
    appends_busy: AtomicU64,
    lock_waits: AtomicU64,
    /// Of the waits that have ended.
    lock_waited_micros: AtomicU64,
    sessions_resident: AtomicU64,
    resident_bytes: AtomicU64,
    sessions_emptied: AtomicU64,
    residency_exceeded: AtomicU64,
    recoveries: AtomicU64,
    recoveries_ended: AtomicU64,
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
            lock_waits: AtomicU64::new(0),
            lock_waited_micros: AtomicU64::new(0),
            sessions_resident: AtomicU64::new(0),
            resident_bytes: AtomicU64::new(0),
            sessions_emptied: AtomicU64::new(0),
            residency_exceeded: AtomicU64::new(0),
            recoveries: AtomicU64::new(0),
            recoveries_ended: AtomicU64::new(0),
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

    /// How many sessions are resident, and their bytes.
    pub(crate) fn resident(&self) -> (u64, u64) {
        (self.sessions_resident.load(Ordering::Relaxed), self.resident_bytes.load(Ordering::Relaxed))
    }

    pub(crate) fn session_emptied(&self) {
        self.sessions_emptied.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn residency_exceeded(&self) {
        self.residency_exceeded.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn recovery_began(&self) {
        self.recoveries.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn recovery_ended(&self) {
        self.recoveries_ended.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn look(&self) -> Stats {
        let lock_waiting = match self.lock_waiting_since.load(Ordering::Relaxed) {
            NOT_WAITING => None,
            since => Some(self.opened.elapsed().saturating_sub(Duration::from_micros(since))),
        };
        let (sessions_resident, resident_bytes) = self.resident();
        // In this order, so that the difference is never negative.
        let recoveries_ended = self.recoveries_ended.load(Ordering::Acquire);
        let recoveries = self.recoveries.load(Ordering::Relaxed);
        let waited = Duration::from_micros(self.lock_waited_micros.load(Ordering::Relaxed));
        Stats {
            appends_acknowledged: self.appends_acknowledged.load(Ordering::Relaxed),
            appends_busy: self.appends_busy.load(Ordering::Relaxed),
            lock_waits: self.lock_waits.load(Ordering::Relaxed),
            lock_waited: waited + lock_waiting.unwrap_or_default(),
            lock_waiting,
            sessions_resident,
            resident_bytes,
            sessions_emptied: self.sessions_emptied.load(Ordering::Relaxed),
            residency_exceeded: self.residency_exceeded.load(Ordering::Relaxed),
            recoveries,
            recoveries_running: recoveries.saturating_sub(recoveries_ended),
        }
    }
}

/// What one session counts for while it is resident.
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
        self.counters.sessions_resident.fetch_add(1, Ordering::Relaxed);
        self.counters.resident_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn grow(&mut self, more: u64) {
        if let Some(bytes) = &mut self.bytes {
            *bytes += more;
            self.counters.resident_bytes.fetch_add(more, Ordering::Relaxed);
        }
    }

    pub(crate) fn leave(&mut self) {
        if let Some(bytes) = self.bytes.take() {
            self.counters.sessions_resident.fetch_sub(1, Ordering::Relaxed);
            self.counters.resident_bytes.fetch_sub(bytes, Ordering::Relaxed);
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
