//! What a store counts while it runs: always on, and cheap enough for that.

mod histogram;
mod metrics;
mod resident;

use std::time::Duration;

use crate::port::Upkeep;

pub use histogram::Histogram;
pub(crate) use metrics::{Gauge, Metrics};
pub(crate) use resident::ResidentCount;

/// What a store has done and met since it was opened, and what it has to do. [`Store::stats`](crate::Store::stats) takes it.
///
/// Each number is exact, and together they may be a moment apart. They count what this store did: another one on the same
/// directory has its own. What ends in `_micros` is in microseconds, the part below one left out; a histogram counts too,
/// by its [`count`](Histogram::count).
///
/// An append is counted before its caller is answered, so that whoever has an answer finds it here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// How many appends were acknowledged: a batch is one, and a retry that found its first result is none.
    pub appends_acknowledged: u64,
    /// How many events they wrote.
    pub events_acknowledged: u64,
    /// How long each of these appends took, from the call to its answer: checks, the wait for its turn, the commit, and the
    /// fold. For an append that is sent as a message, from when the session's actor took it from its mailbox.
    pub acknowledgement_micros: Histogram,
    /// How many appends were refused at the call, since their session had `session_in_flight_max` in flight:
    /// [`ErrorKind::Busy`](crate::ErrorKind::Busy).
    pub appends_busy: u64,
    /// How many appends and transients are on their way now, of all sessions: accepted, and not answered or shown.
    pub in_flight: u64,

    /// How long each group took to be committed: the transaction, its COMMIT and the sync in it. A group is what one
    /// transaction wrote of whatever waited; those that only opened, claimed or gave up sessions are not counted.
    pub commit_micros: Histogram,
    /// How many appends each of these groups wrote.
    pub group_appends: Histogram,
    /// How many events each of these groups wrote.
    pub group_events: Histogram,
    /// How many groups were rolled back, or had a COMMIT that failed. Those who waited for them know what became of their
    /// appends: see [`ErrorKind`](crate::ErrorKind).
    pub groups_failed: u64,
    /// How many writes wait for the log now, or are in the transaction that is on: appends, and what opens, claims and gives
    /// up sessions.
    pub writes_queued: u64,

    /// How often another process that held the database's write lock made a group of appends wait. Waits of less than a
    /// quarter of a second are SQLite's own, and not counted.
    pub lock_waits: u64,
    /// How long these waits took in all, the one that is on now included.
    pub lock_waited: Duration,
    /// For how long a group waits by now, if one does.
    pub lock_waiting: Option<Duration>,

    /// How the upkeep of the log stands: checkpoints, on a directory.
    pub upkeep: Upkeep,

    /// How many sessions are open in this store.
    pub sessions_open: u64,
    /// How many of these are in memory. The others were emptied, and come back on their next call.
    pub sessions_resident: u64,
    /// How many record bytes are behind those in memory, roughly: their views grow with it.
    pub resident_bytes: u64,
    /// How many sessions were emptied, by the limits of [`ResidencyConfig`](crate::ResidencyConfig) or by
    /// [`Store::empty_idle_sessions`](crate::Store::empty_idle_sessions). A session is counted each time.
    pub sessions_emptied: u64,
    /// How often these limits came to be exceeded, since the sessions in memory were busy.
    pub residency_exceeded: u64,
    /// How long each recovery of a session took, from when it was asked for to when its log was folded: of one that was
    /// opened, that was emptied and is needed, whose actor restarted, or that another store has written. A session that is made needs none.
    pub recovery_micros: Histogram,
    /// How many recoveries failed: the log could not be read, is damaged, or the store was closed.
    pub recoveries_failed: u64,
    /// How many recoveries are on now, those included that wait for a thread.
    pub recoveries_running: u64,
    /// How many reads wait for a thread now: recoveries, pages of events, states read from disk.
    pub reads_queued: u64,

    /// How many recoveries and readings of a state began with a stored view.
    pub snapshot_hits: u64,
    /// How many stored views could not be used, being damaged, missing or of another build: the log was folded instead.
    pub snapshot_fallbacks: u64,
    /// How many views were stored.
    pub snapshots_written: u64,

    /// How many puts of a blob were answered with its reference.
    pub blob_puts: u64,
    /// How many bytes they put.
    pub blob_bytes_put: u64,
    /// How many of these puts found their bytes stored already.
    pub blobs_deduplicated: u64,
    /// How many bytes were not stored once more, for that.
    pub blob_bytes_deduplicated: u64,
    /// How many puts, reads and checks of blobs wait for a thread now.
    pub blob_calls_queued: u64,

    /// How many gap markers subscribers were given.
    pub subscriber_gaps: u64,
    /// How many events these gaps left out: their subscribers may read them from the log.
    pub subscriber_events_left_out: u64,
    /// How many transients they left out.
    pub subscriber_transients_left_out: u64,
}
