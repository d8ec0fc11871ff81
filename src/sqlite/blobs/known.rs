//! Which blobs need not be read and synced again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::id::Digest;
use crate::port::SweepCount;

/// 65,536 digests, about 5 MiB: more than the blobs that a host's running sessions name again and again. A digest that
/// has dropped out costs a read of its file, nothing else.
const KNOWN_DIGESTS_MAX: usize = 65_536;

/// The digests that this store object itself has made durable or has checked, with the length of each; the oldest drops
/// out at the limit.
#[derive(Debug)]
pub(crate) struct Known {
    digests_max: usize,
    state: Mutex<KnownState>,
}

#[derive(Debug, Default)]
struct KnownState {
    bytes: HashMap<Digest, u64>,
    oldest_first: VecDeque<Digest>,
    /// As of which count of sweeps all of it holds.
    sweeps_seen: Option<SweepCount>,
    /// Whether sweeps were counted since the store has opened.
    has_forgotten: bool,
}

impl Default for Known {
    fn default() -> Self {
        Self::with_limit(KNOWN_DIGESTS_MAX)
    }
}

impl Known {
    fn with_limit(digests_max: usize) -> Self {
        Self { digests_max, state: Mutex::default() }
    }

    /// The length of a blob.
    pub(crate) fn get(&self, digest: &Digest) -> Option<u64> {
        self.lock().bytes.get(digest).copied()
    }

    /// Remembers a blob that was made durable by a call which began as of that count of sweeps. If sweeps were counted
    /// meanwhile, the blob may have been swept and put again by a store that has not synced it yet: then it is not
    /// remembered.
    pub(crate) fn insert(&self, digest: Digest, bytes: u64, as_of: Option<SweepCount>) {
        let mut state = self.lock();
        if state.sweeps_seen != as_of {
            return;
        }
        if state.bytes.insert(digest, bytes).is_some() {
            return;
        }
        state.oldest_first.push_back(digest);
        while state.oldest_first.len() > self.digests_max {
            if let Some(oldest) = state.oldest_first.pop_front() {
                state.bytes.remove(&oldest);
            }
        }
    }

    /// Forgets a digest, because its blob was found missing or damaged, or was removed.
    pub(crate) fn remove(&self, digest: &Digest) {
        let mut state = self.lock();
        if state.bytes.remove(digest).is_some() {
            state.oldest_first.retain(|known| known != digest);
        }
    }

    pub(crate) fn clear(&self) {
        self.lock().forget();
    }

    pub(crate) fn sweeps_seen(&self) -> Option<SweepCount> {
        self.lock().sweeps_seen
    }

    /// Notes a count of sweeps. If it is higher than the one that was seen before, everything is forgotten. A lower one
    /// was read before it.
    pub(crate) fn see_sweeps(&self, count: SweepCount) {
        let mut state = self.lock();
        if state.sweeps_seen.is_some_and(|seen| seen >= count) {
            return;
        }
        if state.sweeps_seen.replace(count).is_some() {
            state.forget();
            state.has_forgotten = true;
        }
    }

    /// Whether sweeps were counted since the store has opened.
    pub(crate) fn has_forgotten(&self) -> bool {
        self.lock().has_forgotten
    }

    fn lock(&self) -> MutexGuard<'_, KnownState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KnownState {
    fn forget(&mut self) {
        self.bytes = HashMap::new();
        self.oldest_first = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_set_stays_within_its_limit_and_drops_the_oldest() {
        let known = Known::with_limit(2);
        let [a, b, c] = [1, 2, 3].map(|byte| Digest::from_bytes([byte; 32]));
        for digest in [a, b, b, c] {
            known.insert(digest, 7, None);
        }
        assert_eq!([a, b, c].map(|digest| known.get(&digest)), [None, Some(7), Some(7)]);
        assert_eq!(known.lock().oldest_first.len(), 2);
        known.remove(&b);
        assert_eq!([a, b, c].map(|digest| known.get(&digest)), [None, None, Some(7)]);
        assert_eq!(known.lock().oldest_first.len(), 1);
        known.clear();
        assert_eq!([a, b, c].map(|digest| known.get(&digest)), [None; 3]);
    }

    #[test]
    fn what_was_made_durable_before_a_sweep_was_counted_is_not_remembered_after() {
        let known = Known::default();
        let [a, b] = [1, 2].map(|byte| Digest::from_bytes([byte; 32]));
        known.see_sweeps(SweepCount(3));
        assert!(!known.has_forgotten(), "the first count is that of the opening");
        let before = known.sweeps_seen();
        known.insert(a, 7, before);
        known.see_sweeps(SweepCount(3));
        assert_eq!(known.get(&a), Some(7));
        known.see_sweeps(SweepCount(4));
        known.insert(b, 7, before);
        assert_eq!([a, b].map(|digest| known.get(&digest)), [None; 2]);
        assert!(known.has_forgotten());
    }
}
