//! The list of blobs that are being swept, on a disk in memory.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::PoisonError;

use super::blobs::MemoryBlobMap;
use crate::codec;
use crate::id::Digest;
use crate::port::{Listing, StoredEvent, SweepCount, SweepDone, SweepMark, SweepStep};

/// See the module. The lock of the disk is held for each call, as a transaction that writes is on a directory.
#[derive(Default)]
pub(super) struct SweptList {
    listed: BTreeMap<[u8; 32], Listing>,
    /// How many numbers were given to listings.
    listings: i64,
    sweeps: i64,
}

impl SweptList {
    pub(super) fn mark(&self, digest: &Digest) -> SweepMark {
        SweepMark { listed: self.listed.get(digest.as_bytes()).copied(), count: self.count() }
    }

    pub(super) fn count(&self) -> SweepCount {
        SweepCount(self.sweeps)
    }

    pub(super) fn listed(&self, after: Option<&Digest>, max: usize) -> Vec<(Digest, Listing)> {
        let after = after.map_or(Bound::Unbounded, |digest| Bound::Excluded(*digest.as_bytes()));
        let rows = self.listed.range((after, Bound::Unbounded)).take(max);
        rows.map(|(digest, listing)| (Digest::from_bytes(*digest), *listing)).collect()
    }

    /// The first blob that events name and that is being swept, or is gone. Before the first sweep there is none: then
    /// the session has looked.
    pub(super) fn first_missing(&self, blobs: &MemoryBlobMap, events: &[StoredEvent]) -> Option<Digest> {
        if self.listings == 0 {
            return None;
        }
        let blobs = blobs.lock().unwrap_or_else(PoisonError::into_inner);
        // A record that does not decode names nothing.
        let headers = events.iter().filter_map(|event| codec::decode_record(&event.record).ok());
        let mut named = headers.flat_map(|(header, _)| header.refs).map(|blob| blob.digest);
        named.find(|digest| self.listed.contains_key(digest.as_bytes()) || !blobs.contains_key(digest))
    }

    pub(super) fn step(&mut self, blobs: &MemoryBlobMap, step: &SweepStep) -> SweepDone {
        match step {
            SweepStep::List { blobs: wanted, grace } => {
                self.listings += 1;
                let listing = Listing(self.listings);
                let blobs = blobs.lock().unwrap_or_else(PoisonError::into_inner);
                let is_in_grace =
                    |digest: &&Digest| blobs.get(digest).is_some_and(|blob| blob.look().is_in_grace(*grace));
                let (left, chosen): (Vec<_>, Vec<_>) = wanted.iter().partition(is_in_grace);
                self.listed.extend(chosen.into_iter().map(|digest: Digest| (*digest.as_bytes(), listing)));
                SweepDone::Listed { listing, left }
            }
            SweepStep::Remove { listing, blobs: wanted, grace } => {
                let mut blobs = blobs.lock().unwrap_or_else(PoisonError::into_inner);
                let mut left = Vec::new();
                for digest in wanted {
                    let is_listed = self.listed.get(digest.as_bytes()) == Some(listing);
                    if !is_listed || blobs.get(digest).is_some_and(|blob| blob.look().is_in_grace(*grace)) {
                        left.push(*digest);
                        continue;
                    }
                    blobs.remove(digest);
                    self.listed.insert(*digest.as_bytes(), listing.removed());
                }
                SweepDone::Removed { left }
            }
            SweepStep::Unlist { blobs } => {
                let before = self.listed.len();
                for (digest, listing) in blobs {
                    if self.listed.get(digest.as_bytes()) == Some(listing) {
                        self.listed.remove(digest.as_bytes());
                    }
                }
                SweepDone::Unlisted(before - self.listed.len())
            }
            SweepStep::Count => {
                self.sweeps += 1;
                SweepDone::Counted
            }
        }
    }
}
