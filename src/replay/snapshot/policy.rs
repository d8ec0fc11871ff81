//! When a view is due to be stored.

/// A snapshot is due when the events since the last one are at least this part of its size: all snapshots of a log
/// together are then at most this many times as large as the log.
const TAIL_SHARE: u64 = 4;

/// When views are stored, so that a session is not folded from its first event when it is opened again.
///
/// Whatever this says, a snapshot is due only when the events since the last one are a quarter of its size: all snapshots
/// that are ever written of a log are together at most four times as large as the log, and one is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotPolicy {
    /// One is due after so many events. Default 16,384: to fold them again took 18 ms (messages, evals, turns and steps of
    /// an agent, 230 bytes each), which is little for a session that opens, and views that come due more often take time
    /// from commits.
    pub every_events: u64,
    /// Or after so many bytes of records. Default 8 MiB: to fold 6.6 MB of the same took 38 ms.
    pub every_bytes: u64,
    /// One is due when a session is closed that has so many events since the last. Default 4,096: to fold them again took
    /// 5 ms. A store that closes stores no views: with many sessions that would take longer than it may, and what is not
    /// stored by then is folded soon enough.
    pub closing_events: u64,
    /// The largest snapshot. Default 64 MiB, as for a blob: a larger view is folded from its events.
    pub bytes_max: u64,
}

impl SnapshotPolicy {
    /// No view is stored. Those that are there are used.
    pub const OFF: Self =
        Self { every_events: u64::MAX, every_bytes: u64::MAX, closing_events: u64::MAX, bytes_max: 64 << 20 };
}

impl Default for SnapshotPolicy {
    fn default() -> Self {
        Self { every_events: 16_384, every_bytes: 8 << 20, closing_events: 4096, bytes_max: 64 << 20 }
    }
}

/// What was committed and is not in a snapshot yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) events: u64,
    /// Of their records.
    pub(crate) bytes: u64,
    /// The size of the snapshot that they follow, 0 for none.
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
