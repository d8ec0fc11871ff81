//! What a host chooses, each default with its reason.

use std::path::PathBuf;
use std::time::Duration;

use actix::ArbiterHandle;

use crate::clock::Clock;
use crate::error::{Error, ErrorKind};
use crate::memory::MemoryDisk;
use crate::port::{Create, Durability, Medium};
use crate::replay::SnapshotPolicy;

/// How to open a store. The medium is the only thing that a host changes between a durable store and one in memory.
///
/// # Examples
/// ```
/// use foldlog::StoreConfig;
///
/// let durable = StoreConfig::directory("agent-sessions");
/// let in_memory = StoreConfig::memory();
/// let tuned = StoreConfig { inline_bytes_max: 4 << 10, ..StoreConfig::directory("agent-sessions") };
/// # let _ = (durable, in_memory, tuned);
/// ```
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Where events and blobs are kept.
    pub medium: Medium,
    /// Whether opening makes a store where there is none. Default: [`Create::WhereEmpty`], so that a wrong path to a
    /// directory with other files makes none. [`Create::Never`] finds every wrong path.
    pub create: Create,
    /// What an acknowledgement promises. Default: [`Durability::PowerLoss`], since group commit makes it nearly free.
    pub durability: Durability,
    /// The arbiters that session actors run on, in turn. Default: none, which means the arbiter that opens the store,
    /// or a thread of foldlog's own where there is none. On the arbiter that opens the store, nothing of a session may
    /// be [blocked on](crate::Receipt#blocking).
    pub arbiters: Vec<ArbiterHandle>,
    /// Where events get their time from.
    pub clock: Clock,
    /// Live delivery.
    pub live: LiveConfig,
    /// Which sessions stay in memory.
    pub residency: ResidencyConfig,
    /// Text and JSON up to this many UTF-8 bytes stay inline, larger values become blobs. See
    /// `DEFAULT_INLINE_BYTES_MAX`.
    pub inline_bytes_max: usize,
    /// The largest encoded event, in bytes. Default 1 MiB: larger values belong in blobs.
    pub record_bytes_max: usize,
    /// The largest blob, in bytes. Default 64 MiB: a blob is held in memory while it is put or read.
    pub blob_bytes_max: usize,
    /// The most bodies in one batch. Default 4,096: a batch is one transaction and one fold.
    pub batch_events_max: usize,
    /// The largest append, a batch or one body, in bytes as
    /// [`session_in_flight_bytes_max`](Self::session_in_flight_bytes_max) counts them. Default 16 MiB: all of an append
    /// is in memory several times while it is written, and is one transaction, behind which the other sessions wait. A
    /// larger one fails with `TooLarge`.
    pub batch_bytes_max: usize,
    /// The most appends and transients of one session in flight. Default 1,024. At the limit the call fails with
    /// `Busy`.
    pub session_in_flight_max: usize,
    /// The most bytes of one session's appends in flight. An append counts with the encoded bytes of its bodies and 256
    /// bytes for each, which is about what an event takes beside its body. The memory that it takes is two to three
    /// times that: its bodies, its records, and what is folded into the view. Transients, whose size foldlog does not
    /// know, count for nothing. Default 64 MiB: a quarter of what the store takes, so that no session takes all. At the
    /// limit the call fails with `Busy`; an append that is larger than the limit fails with `TooLarge`.
    pub session_in_flight_bytes_max: usize,
    /// The most bytes of all sessions' appends in flight, counted in the same way. Default 256 MiB, as for
    /// [`resident_bytes_max`](ResidencyConfig::resident_bytes_max): what is in flight stays below a gigabyte of memory.
    pub in_flight_bytes_max: usize,
    /// The most bytes of one session's transients that are kept for subscribers who come late: those of streams that no
    /// event has ended (see [`SessionModel::transient_key`](crate::SessionModel::transient_key)). A transient counts
    /// with its [`transient_bytes`](crate::SessionModel::transient_bytes) and 128 bytes for what is around them.
    /// Default 4 MiB: 25,000 deltas of a few words, more than the longest answers have. At the limit the oldest go, and
    /// who comes late gets a gap marker in their place. With 0 nothing is kept.
    pub session_kept_transients_bytes_max: usize,
    /// The most bytes of all sessions' kept transients, counted in the same way. Default 64 MiB: a hundred long
    /// answers, or a thousand usual ones, that are being written at the same time. At the limit a session that shows a
    /// transient gives up its own oldest.
    pub kept_transients_bytes_max: usize,
    /// The most events in one transaction. Default 4,096: more gains nothing and makes the first of them wait. Each
    /// other write, such as one that opens or claims a session, counts as one event.
    pub group_events_max: usize,
    /// The most record bytes in one transaction. Default 8 MiB, for the same reason.
    pub group_bytes_max: usize,
    /// How many of a session's last append keys are remembered in memory; older ones are looked up in the log. Default
    /// 256: a retry comes soon after its append, and every session in memory keeps up to this many.
    pub append_keys_max: usize,
    /// The most events in one page of a log read, and the most sessions that one read of a list takes. Default 1,024.
    pub page_events_max: usize,
    /// The most calls that wait for a reader or blob thread. Default 4,096. At the limit the call fails with `Busy`.
    /// The sessions that are opened do not count: they wait their turn, however many they are.
    pub queued_jobs_max: usize,
    /// The most bytes of blobs that wait to be written, or are being written. Default 256 MiB: four of the largest. At
    /// the limit the call fails with `Busy`; a blob that is alone is written, whatever its size.
    pub queued_put_bytes_max: usize,
    /// When views are stored. Default: see [`SnapshotPolicy`].
    pub snapshots: SnapshotPolicy,
    /// The most turns of a session. Default: no limit.
    pub session_turns_max: Option<u64>,
    /// How long closing waits for appends in flight and for subscribers to take what is queued. Default 10 s.
    pub close_timeout: Duration,
}

/// Which sessions stay in memory. A handle keeps working whether or not its session is in memory: an emptied session
/// reads its log on the next call that needs the view. A busy session is never emptied. If the busy sessions alone are
/// over a limit, the limit is exceeded, and [`Stats::residency_exceeded`](crate::Stats::residency_exceeded) counts
/// that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResidencyConfig {
    /// The most sessions in memory. Default 10,000: a session takes a few kilobytes beside its view, so these take tens
    /// of megabytes.
    pub resident_sessions_max: usize,
    /// The most bytes of records behind the sessions in memory; the size of a view grows with its records. Default 256
    /// MiB.
    pub resident_bytes_max: usize,
    /// After how long without a call a session is emptied. It may take up to a fourth longer than this. Default ten
    /// minutes: longer than people take to answer, and short enough to give memory back after a busy hour. `None` for
    /// never.
    pub session_idle_max: Option<Duration>,
    /// The most sessions that read their logs at once. Default 4: each of them reads, decodes and folds, which takes a
    /// core, and holds a page and an unfinished view in memory. At most half of this number, rounded down, serves logs
    /// of more than 16,384 events, so that a few long logs keep no short log waiting.
    pub recoveries_max: usize,
}

impl ResidencyConfig {
    /// The configuration under which the store empties no session by itself.
    #[must_use]
    pub fn unlimited() -> Self {
        Self {
            resident_sessions_max: usize::MAX,
            resident_bytes_max: usize::MAX,
            session_idle_max: None,
            ..Self::default()
        }
    }
}

impl Default for ResidencyConfig {
    fn default() -> Self {
        Self {
            resident_sessions_max: 10_000,
            resident_bytes_max: 256 << 20,
            session_idle_max: Some(Duration::from_secs(600)),
            recoveries_max: 4,
        }
    }
}

/// How subscribers are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveConfig {
    /// The most items that wait for one subscriber. Default 1,024.
    pub subscriber_queue_max: usize,
    /// What happens when the queue is full.
    pub lag: LagPolicy,
}

/// What happens to a subscriber whose queue is full. In every case transients are dropped before events are left out:
/// the oldest transient in the queue is dropped first. Transients of a stream that is still open
/// ([`SessionModel::transient_key`](crate::SessionModel::transient_key)) come when the queue has drained instead.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LagPolicy {
    /// Events are left out until the queue has drained, then one gap marker says which events were left out.
    #[default]
    Gap,
    /// Events are read from the log again when the queue has drained, so that no event is left out.
    CatchUp,
}

/// Text and JSON of up to this many bytes stay inline.
///
/// Of 95 contents of recorded agent runs 12 are over 4 KiB, one is over 16 KiB and none is over 32 KiB. With all
/// contents different, replaying these runs at 4 KiB took three times as long as at 16 KiB, because each blob costs two
/// syncs, and it took more disk space than at 16 KiB.
pub const DEFAULT_INLINE_BYTES_MAX: usize = 16 << 10;

impl StoreConfig {
    /// A durable store under a directory.
    #[must_use]
    pub fn directory(path: impl Into<PathBuf>) -> Self {
        Self::on(Medium::directory(path))
    }

    /// A store in memory, on a disk of its own.
    #[must_use]
    pub fn memory() -> Self {
        Self::on(Medium::memory(MemoryDisk::default()))
    }

    /// A store on a medium, all else at its default.
    #[must_use]
    pub fn on(medium: Medium) -> Self {
        Self {
            medium,
            create: Create::default(),
            durability: Durability::default(),
            arbiters: Vec::new(),
            clock: Clock::default(),
            live: LiveConfig::default(),
            residency: ResidencyConfig::default(),
            inline_bytes_max: DEFAULT_INLINE_BYTES_MAX,
            record_bytes_max: 1 << 20,
            blob_bytes_max: 64 << 20,
            batch_events_max: 4096,
            batch_bytes_max: 16 << 20,
            session_in_flight_max: 1024,
            session_in_flight_bytes_max: 64 << 20,
            in_flight_bytes_max: 256 << 20,
            session_kept_transients_bytes_max: 4 << 20,
            kept_transients_bytes_max: 64 << 20,
            group_events_max: 4096,
            group_bytes_max: 8 << 20,
            append_keys_max: 256,
            page_events_max: 1024,
            queued_jobs_max: 4096,
            queued_put_bytes_max: 256 << 20,
            snapshots: SnapshotPolicy::default(),
            session_turns_max: None,
            close_timeout: Duration::from_secs(10),
        }
    }
}

impl StoreConfig {
    /// Refuses limits under which the store could do nothing.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let limits = [
            ("live.subscriber_queue_max", self.live.subscriber_queue_max),
            ("residency.recoveries_max", self.residency.recoveries_max),
            ("record_bytes_max", self.record_bytes_max),
            ("batch_events_max", self.batch_events_max),
            ("batch_bytes_max", self.batch_bytes_max),
            ("session_in_flight_max", self.session_in_flight_max),
            ("session_in_flight_bytes_max", self.session_in_flight_bytes_max),
            ("in_flight_bytes_max", self.in_flight_bytes_max),
            ("group_events_max", self.group_events_max),
            ("group_bytes_max", self.group_bytes_max),
            ("page_events_max", self.page_events_max),
            ("queued_jobs_max", self.queued_jobs_max),
        ];
        match limits.iter().find(|(_, limit)| *limit == 0) {
            Some((name, _)) => {
                Err(ErrorKind::InvalidArgument { what: format!("{name} is 0, it must be at least 1") }.into())
            }
            None => Ok(()),
        }
    }
}

impl Default for LiveConfig {
    fn default() -> Self {
        Self { subscriber_queue_max: 1024, lag: LagPolicy::Gap }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_nothing_is_refused_by_name() {
        assert!(StoreConfig::memory().check().is_ok());
        let error = StoreConfig { page_events_max: 0, ..StoreConfig::memory() }.check().unwrap_err();
        assert_eq!(error.to_string(), "page_events_max is 0, it must be at least 1");
        let live = LiveConfig { subscriber_queue_max: 0, ..LiveConfig::default() };
        assert!(StoreConfig { live, ..StoreConfig::memory() }.check().is_err());
    }
}
