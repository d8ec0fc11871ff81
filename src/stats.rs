//! What a store counts while it runs. Counting is always on, and cheap enough for that.

mod histogram;
mod metrics;
mod outage;
mod resident;

use std::time::Duration;

use crate::port::Upkeep;

pub use histogram::Histogram;
pub(crate) use metrics::{Gauge, Metrics};
pub(crate) use outage::Outage;
pub(crate) use resident::ResidentCount;

/// What a store has done since it was opened, what went wrong, and what waits. [`Store::stats`](crate::Store::stats)
/// gives it.
///
/// Each number is exact, but two numbers may be from slightly different moments. They count what this store did:
/// another store on the same directory counts for itself. A field that ends in `_micros` is in whole microseconds,
/// rounded down. A histogram also tells how many values it holds, by its [`count`](Histogram::count).
///
/// An append is counted before its caller is answered, so an append that was answered is always counted here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// How many appends were acknowledged. A batch counts as one; a retry that found its first result is not counted.
    pub appends_acknowledged: u64,
    /// How many events these appends wrote.
    pub events_acknowledged: u64,
    /// How long each of these appends took, from the call to its answer: checks, the wait for its turn, the commit, and
    /// the fold. For an append that is sent as a message, from when the session's actor took it from its mailbox.
    pub acknowledgement_micros: Histogram,
    /// How many appends were refused at the call, since their session or the store had as much in flight as
    /// [`StoreConfig`](crate::StoreConfig) allows: [`ErrorKind::Busy`](crate::ErrorKind::Busy).
    pub appends_busy: u64,
    /// How many appends and transients of all sessions are in flight now: accepted, and not yet answered or delivered.
    pub in_flight: u64,
    /// The most by which an event was stamped ahead of the clock. Times within a session never go back: after the clock
    /// has once read a later time, the session's events keep that time until the clock has passed it. Seconds are
    /// usual, after a clock was set right; days mean that a clock was, or is, wrong.
    pub clock_ahead: Duration,
    /// How many bytes these appends count for: see
    /// [`session_in_flight_bytes_max`](crate::StoreConfig::session_in_flight_bytes_max).
    pub in_flight_bytes: u64,

    /// How long each group took to be committed: the transaction, its COMMIT and the sync in it. A group is all the
    /// writes of one transaction; a group that only opened, claimed or gave up sessions is not counted.
    pub commit_micros: Histogram,
    /// How many appends each of these groups wrote.
    pub group_appends: Histogram,
    /// How many events each of these groups wrote.
    pub group_events: Histogram,
    /// How many groups were rolled back, or had a COMMIT that failed. The error that an append of the group ends with
    /// says whether the append was written: see [`ErrorKind`](crate::ErrorKind).
    pub groups_failed: u64,
    /// How many writes wait for the log now, or are in the running transaction: appends, and the writes that open,
    /// claim and give up sessions.
    pub writes_queued: u64,

    /// How often another process that held the database's write lock made a group of appends wait. Waits of less than a
    /// quarter of a second are SQLite's own, and not counted.
    pub lock_waits: u64,
    /// How long these waits took in all, a wait that has not ended included.
    pub lock_waited: Duration,
    /// How long a group has waited so far, if a group waits now.
    pub lock_waiting: Option<Duration>,

    /// How long each step took by which what was deleted is erased, and its room given back. A group that comes
    /// meanwhile waits for the step.
    pub erasing_step_micros: Histogram,
    /// How the upkeep of the log stands: checkpoints, on a directory.
    pub upkeep: Upkeep,

    /// How many sessions are open in this store.
    pub sessions_open: u64,
    /// How many of the open sessions are in memory. The others were emptied, and come back on their next call.
    pub sessions_resident: u64,
    /// Roughly how many bytes of records are behind the sessions in memory. The size of their views grows with it.
    pub resident_bytes: u64,
    /// How many sessions were emptied, by the limits of [`ResidencyConfig`](crate::ResidencyConfig) or by
    /// [`Store::empty_idle_sessions`](crate::Store::empty_idle_sessions). A session is counted each time.
    pub sessions_emptied: u64,
    /// How often a limit of [`ResidencyConfig`](crate::ResidencyConfig) came to be exceeded, because the sessions in
    /// memory were busy.
    pub residency_exceeded: u64,
    /// How long each recovery of a session took, from the request until its log was folded. A session is recovered when
    /// it is opened, when it was emptied and is needed, when its actor restarts, and when another store has written it.
    /// A new session needs no recovery.
    pub recovery_micros: Histogram,
    /// How many recoveries failed: the log could not be read, is damaged, or the store was closed.
    pub recoveries_failed: u64,
    /// How many recoveries run now, those included that wait for a thread.
    pub recoveries_running: u64,
    /// How many reads wait for a thread now: recoveries, pages of events, states read from disk.
    pub reads_queued: u64,

    /// How many recoveries and readings of a state began with a stored view.
    pub snapshot_hits: u64,
    /// How many stored views could not be used, because they were damaged, missing or of another build. The log was
    /// folded instead.
    pub snapshot_fallbacks: u64,
    /// How many views were stored.
    pub snapshots_written: u64,

    /// How many puts of a blob were answered with its reference.
    pub blob_puts: u64,
    /// How many bytes these puts were given.
    pub blob_bytes_put: u64,
    /// How many of these puts found their bytes stored already.
    pub blobs_deduplicated: u64,
    /// How many bytes were not stored a second time, because they were stored already.
    pub blob_bytes_deduplicated: u64,
    /// How many puts, reads and checks of blobs wait for a thread now.
    pub blob_calls_queued: u64,

    /// How many bytes the transients count for that are kept for subscribers who come late: see
    /// [`kept_transients_bytes_max`](crate::StoreConfig::kept_transients_bytes_max).
    pub kept_transients_bytes: u64,
    /// How many gap markers subscribers were given.
    pub subscriber_gaps: u64,
    /// How many events these gaps left out. A subscriber can read them from the log.
    pub subscriber_events_left_out: u64,
    /// How many transients these gaps left out.
    pub subscriber_transients_left_out: u64,
}
