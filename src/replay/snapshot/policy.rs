//! When a view is due to be stored.

/// A snapshot is due only if the records since the last one have at least the last one's size divided by this. Then all
/// snapshots of a log but the newest are together at most this many times as large as the log.
const TAIL_SHARE: u64 = 4;

/// When views are stored, so that a session is not folded from its first event when it is opened again.
///
/// Whatever this policy says, a snapshot is due only when the records since the last one have a quarter of the last
/// one's size. So all snapshots that a log ever had before its newest one are together at most four times as large as
/// the log. Only the newest one is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotPolicy {
    /// A snapshot is due after this many events. Default 16,384: to fold them again took 18 ms (messages, evals, turns
    /// and steps of an agent, 230 bytes each), which is little for a session that opens, and snapshots that are due
    /// more often take time from commits.
    pub every_events: u64,
    /// A snapshot is also due after so many bytes of records. Default 8 MiB: to fold 6.6 MB of such events took 38 ms.
    pub every_bytes: u64,
    /// A snapshot is due when a session is closed that has this many events since the last one. Default 4,096: to fold
    /// them again took 5 ms. A store that closes takes no snapshots: with many sessions that could take longer than
    /// [`StoreConfig::close_timeout`](crate::StoreConfig::close_timeout).
    pub closing_events: u64,
    /// The largest snapshot, in bytes. Default 64 MiB, as for a blob: a larger view is not stored, but folded from its
    /// events.
    pub bytes_max: u64,
}

impl SnapshotPolicy {
    /// Stores no views. Views that are stored already are used.
    pub const OFF: Self =
        Self { every_events: u64::MAX, every_bytes: u64::MAX, closing_events: u64::MAX, bytes_max: 64 << 20 };
}

impl Default for SnapshotPolicy {
    fn default() -> Self {
        Self { every_events: 16_384, every_bytes: 8 << 20, closing_events: 4096, bytes_max: 64 << 20 }
    }
}

/// How much was committed and is not in a snapshot yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) events: u64,
    /// The bytes of their records.
    pub(crate) bytes: u64,
    /// The size of the snapshot that these events follow, in bytes; 0 if there is none.
    pub(crate) snapshot_bytes: u64,
}

impl Tail {
    pub(crate) fn add(&mut self, events: u64, bytes: u64) {
        self.events = self.events.saturating_add(events);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    pub(crate) fn is_due(&self, policy: &SnapshotPolicy) -> bool {
        self.is_worth_it() && (self.events >= policy.every_events || self.bytes >= policy.every_bytes)
    }

    pub(crate) fn is_due_on_closing(&self, policy: &SnapshotPolicy) -> bool {
        self.is_worth_it() && self.events >= policy.closing_events
    }

    fn is_worth_it(&self) -> bool {
        self.bytes.saturating_mul(TAIL_SHARE) >= self.snapshot_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_snapshots_of_a_growing_log_are_a_constant_multiple_of_it() {
        let policy = SnapshotPolicy { every_events: 1, ..SnapshotPolicy::default() };
        // A view as large as its log: the worst that does not grow by itself.
        let (mut tail, mut log, mut written) = (Tail::default(), 0, 0);
        for _ in 0..100_000 {
            log += 300;
            tail.add(1, 300);
            if tail.is_due(&policy) {
                written += log;
                tail = Tail { snapshot_bytes: log, ..Tail::default() };
            }
        }
        assert!(written <= (TAIL_SHARE + 1) * log + log, "{written} of {log}");
    }
}
