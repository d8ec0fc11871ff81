//! The metrics behind [`Stats`]. Each thing that is counted has one method here, which is called where it happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::id::Timestamp;
use crate::port::Upkeep;
use crate::stats::Stats;
use crate::stats::histogram::Recorder;

/// From how many microseconds on an event that is stamped ahead of the clock is worth a line: a day. A clock that is
/// set right by seconds or minutes, or by a time zone, is no matter.
const CLOCK_AHEAD_WARN: u64 = 24 * 3600 * 1_000_000;

/// The numbers. Every access is relaxed: a number that is a moment old does no harm, and no number is ever torn.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    acknowledgement_micros: Recorder,
    events_acknowledged: Number,
    appends_busy: Number,
    in_flight: Number,
    /// In microseconds.
    clock_ahead: AtomicU64,
    in_flight_bytes: Number,
    commit_micros: Recorder,
    group_appends: Recorder,
    group_events: Recorder,
    erasing_step_micros: Recorder,
    groups_failed: Number,
    writes_sent: Number,
    writes_answered: Number,
    lock_waits: LockWaits,
    sessions_resident: Number,
    resident_bytes: Number,
    sessions_emptied: Number,
    residency_exceeded: Number,
    recovery_micros: Recorder,
    recoveries_failed: Number,
    recoveries_running: Number,
    pub(crate) reads_queued: Gauge,
    snapshot_hits: Number,
    snapshot_fallbacks: Number,
    snapshots_written: Number,
    blob_puts: Number,
    blob_bytes_put: Number,
    blobs_deduplicated: Number,
    blob_bytes_deduplicated: Number,
    pub(crate) blob_calls_queued: Gauge,
    kept_transients_bytes: Number,
    subscriber_gaps: Number,
    subscriber_events_left_out: Number,
    subscriber_transients_left_out: Number,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Counts an append. To be called before its caller is told.
    pub(crate) fn append_acknowledged(&self, events: usize, took: Duration) {
        self.acknowledgement_micros.record(micros(took));
        self.events_acknowledged.add(events as u64);
    }

    pub(crate) fn append_busy(&self) {
        self.appends_busy.add(1);
    }

    /// An append was stamped with `at` while the clock said `now`. `at` is later where an earlier event of the session
    /// is: times of a session never go back.
    pub(crate) fn stamped(&self, at: Timestamp, now: Timestamp) {
        let ahead = at.as_micros().saturating_sub(now.as_micros());
        let Some(ahead) = u64::try_from(ahead).ok().filter(|ahead| *ahead > 0) else { return };
        let before = self.clock_ahead.fetch_max(ahead, Ordering::Relaxed);
        // Once for a store: many sessions may have events from the same wrong clock.
        if before <= CLOCK_AHEAD_WARN && ahead > CLOCK_AHEAD_WARN {
            let hours = Duration::from_micros(ahead).as_secs() / 3600;
            log::warn!(
                "the clock is {hours} hours behind the last event of a session: it was wrong then, or is wrong now. Until it \
                 has passed that time, each event of the session gets the time of that event"
            );
        }
    }

    /// Counts an append or transient, and tells how many bytes are in flight with it.
    pub(crate) fn flight_began(&self, bytes: u64) -> u64 {
        self.in_flight.add(1);
        self.in_flight_bytes.0.fetch_add(bytes, Ordering::Relaxed) + bytes
    }

    pub(crate) fn flight_ended(&self, bytes: u64) {
        self.in_flight.take_one();
        self.in_flight_bytes.take(bytes);
    }

    pub(crate) fn write_sent(&self) {
        self.writes_sent.add(1);
    }

    /// Sets how many writes were answered since the store was opened. Only the persist actor's thread calls it.
    pub(crate) fn writes_answered(&self, in_all: u64) {
        self.writes_answered.set(in_all);
    }

    pub(crate) fn group_committed(&self, took: Duration, appends: u64, events: u64) {
        if appends > 0 {
            self.commit_micros.record(micros(took));
            self.group_appends.record(appends);
            self.group_events.record(events);
        }
    }

    pub(crate) fn erasing_step(&self, took: Duration) {
        self.erasing_step_micros.record(micros(took));
    }

    pub(crate) fn group_failed(&self) {
        self.groups_failed.add(1);
    }

    pub(crate) fn lock_wait_began(&self, at: Instant) {
        self.lock_waits.began(at);
    }

    pub(crate) fn lock_wait_ended(&self, waited: Duration) {
        self.lock_waits.ended(waited);
    }

    pub(super) fn session_entered(&self, bytes: u64) {
        self.sessions_resident.add(1);
        self.resident_bytes.add(bytes);
    }

    pub(super) fn session_grew(&self, bytes: u64) {
        self.resident_bytes.add(bytes);
    }

    pub(super) fn session_left(&self, bytes: u64) {
        self.sessions_resident.take_one();
        self.resident_bytes.take(bytes);
    }

    /// How many sessions are in memory, and how many bytes of records are behind them.
    pub(crate) fn resident(&self) -> (u64, u64) {
        (self.sessions_resident.get(), self.resident_bytes.get())
    }

    pub(crate) fn session_emptied(&self) {
        self.sessions_emptied.add(1);
    }

    pub(crate) fn residency_exceeded(&self) {
        self.residency_exceeded.add(1);
    }

    /// Counts a recovery that begins. Dropping the result without [`RunningRecovery::ended`] counts the recovery as
    /// failed.
    pub(crate) fn recovery_began(self: &Arc<Self>) -> RunningRecovery {
        self.recoveries_running.add(1);
        RunningRecovery { metrics: Arc::clone(self), began: Instant::now(), is_folded: false }
    }

    /// A stored view was used.
    pub(crate) fn snapshot_hit(&self) {
        self.snapshot_hits.add(1);
    }

    /// A stored view could not be used.
    pub(crate) fn snapshot_fallback(&self) {
        self.snapshot_fallbacks.add(1);
    }

    /// A view was stored, and its log names it.
    pub(crate) fn snapshot_written(&self) {
        self.snapshots_written.add(1);
    }

    pub(crate) fn blob_put(&self, bytes: u64) {
        self.blob_puts.add(1);
        self.blob_bytes_put.add(bytes);
    }

    /// One of the puts found its bytes stored already.
    pub(crate) fn blob_deduplicated(&self, bytes: u64) {
        self.blobs_deduplicated.add(1);
        self.blob_bytes_deduplicated.add(bytes);
    }

    /// Counts a transient that is kept, and tells how many bytes are kept with it.
    pub(crate) fn kept_grew(&self, bytes: u64) -> u64 {
        self.kept_transients_bytes.0.fetch_add(bytes, Ordering::Relaxed) + bytes
    }

    pub(crate) fn kept_shrank(&self, bytes: u64) {
        self.kept_transients_bytes.take(bytes);
    }

    pub(crate) fn subscriber_gap(&self, events: u64, transients: u64) {
        self.subscriber_gaps.add(1);
        self.subscriber_events_left_out.add(events);
        self.subscriber_transients_left_out.add(transients);
    }

    /// All numbers except for those that the store itself fills in: its open sessions, and the upkeep of its log.
    pub(crate) fn snapshot(&self) -> Stats {
        let acknowledgement_micros = self.acknowledgement_micros.snapshot();
        // `writes_answered` is read first, so that a write that comes in between is not counted as answered and not as
        // sent.
        let answered = self.writes_answered.get();
        let writes_queued = self.writes_sent.get().saturating_sub(answered);
        let lock_waiting = self.lock_waits.waiting();
        let lock_waited = Duration::from_micros(self.lock_waits.waited_micros.get());
        Stats {
            appends_acknowledged: acknowledgement_micros.count(),
            events_acknowledged: self.events_acknowledged.get(),
            acknowledgement_micros,
            appends_busy: self.appends_busy.get(),
            in_flight: self.in_flight.get(),
            clock_ahead: Duration::from_micros(self.clock_ahead.load(Ordering::Relaxed)),
            in_flight_bytes: self.in_flight_bytes.get(),
            commit_micros: self.commit_micros.snapshot(),
            group_appends: self.group_appends.snapshot(),
            group_events: self.group_events.snapshot(),
            groups_failed: self.groups_failed.get(),
            writes_queued,
            lock_waits: self.lock_waits.count.get(),
            lock_waited: lock_waited + lock_waiting.unwrap_or_default(),
            lock_waiting,
            erasing_step_micros: self.erasing_step_micros.snapshot(),
            upkeep: Upkeep::default(),
            sessions_open: 0,
            sessions_resident: self.sessions_resident.get(),
            resident_bytes: self.resident_bytes.get(),
            sessions_emptied: self.sessions_emptied.get(),
            residency_exceeded: self.residency_exceeded.get(),
            recovery_micros: self.recovery_micros.snapshot(),
            recoveries_failed: self.recoveries_failed.get(),
            recoveries_running: self.recoveries_running.get(),
            reads_queued: self.reads_queued.get(),
            snapshot_hits: self.snapshot_hits.get(),
            snapshot_fallbacks: self.snapshot_fallbacks.get(),
            snapshots_written: self.snapshots_written.get(),
            blob_puts: self.blob_puts.get(),
            blob_bytes_put: self.blob_bytes_put.get(),
            blobs_deduplicated: self.blobs_deduplicated.get(),
            blob_bytes_deduplicated: self.blob_bytes_deduplicated.get(),
            blob_calls_queued: self.blob_calls_queued.get(),
            kept_transients_bytes: self.kept_transients_bytes.get(),
            subscriber_gaps: self.subscriber_gaps.get(),
            subscriber_events_left_out: self.subscriber_events_left_out.get(),
            subscriber_transients_left_out: self.subscriber_transients_left_out.get(),
        }
    }
}

/// One number that any thread may change.
#[derive(Debug, Default)]
pub(crate) struct Number(AtomicU64);

/// A number that is kept by code that does not know [`Metrics`].
pub(crate) type Gauge = Arc<Number>;

impl Number {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn take_one(&self) {
        self.take(1);
    }

    fn take(&self, less: u64) {
        self.0.fetch_sub(less, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A recovery that was asked for, counted as running until dropped.
pub(crate) struct RunningRecovery {
    metrics: Arc<Metrics>,
    began: Instant,
    is_folded: bool,
}

impl RunningRecovery {
    /// Counts how the recovery ended. To be called before anyone is told of the result.
    pub(crate) fn ended<T, E>(mut self, result: &Result<T, E>) {
        self.is_folded = result.is_ok();
    }
}

impl Drop for RunningRecovery {
    fn drop(&mut self) {
        if self.is_folded {
            self.metrics.recovery_micros.record(micros(self.began.elapsed()));
        } else {
            self.metrics.recoveries_failed.add(1);
        }
        self.metrics.recoveries_running.take_one();
    }
}

/// The waits for a lock that another process holds, one at a time.
#[derive(Debug)]
struct LockWaits {
    opened: Instant,
    count: Number,
    /// How long the waits took that have ended.
    waited_micros: Number,
    /// When the present wait began, in microseconds after `opened`; [`NOT_WAITING`] when there is none.
    since: Number,
}

const NOT_WAITING: u64 = u64::MAX;

impl Default for LockWaits {
    fn default() -> Self {
        let since = Number(AtomicU64::new(NOT_WAITING));
        Self { opened: Instant::now(), count: Number::default(), waited_micros: Number::default(), since }
    }
}

impl LockWaits {
    fn began(&self, at: Instant) {
        self.count.add(1);
        self.since.set(micros(at.saturating_duration_since(self.opened)));
    }

    fn ended(&self, waited: Duration) {
        self.since.set(NOT_WAITING);
        self.waited_micros.add(micros(waited));
    }

    fn waiting(&self) -> Option<Duration> {
        match self.since.get() {
            NOT_WAITING => None,
            since => Some(self.opened.elapsed().saturating_sub(Duration::from_micros(since))),
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
        let metrics = Metrics::new();
        assert_eq!(metrics.snapshot(), Stats::default());
        metrics.lock_wait_began(metrics.lock_waits.opened);
        let during = metrics.snapshot();
        assert_eq!((during.lock_waits, during.lock_waiting), (1, Some(during.lock_waited)));
        metrics.lock_wait_ended(Duration::from_secs(60));
        metrics.lock_wait_began(Instant::now());
        metrics.lock_wait_ended(Duration::from_millis(1500));
        let after = Stats { lock_waits: 2, lock_waited: Duration::from_millis(61_500), ..Stats::default() };
        assert_eq!(metrics.snapshot(), after);
    }
}
