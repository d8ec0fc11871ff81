//! What a sweep asks of the log: which blobs are listed to be removed. The rules are in
//! [`blobs/sweep.rs`](crate::blobs).

use std::time::Duration;

use crate::id::Digest;

/// The number under which a blob is listed, never given twice. It changes with each step that lists or removes the
/// blob, so that whoever has seen it can tell that nothing has happened to the blob since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listing(pub(crate) i64);

impl Listing {
    /// The number of a listed blob once it was removed under this one.
    pub(crate) fn removed(self) -> Self {
        Self(-self.0.abs())
    }
}

/// How many times a sweep has said that removed blobs leave the list. What a store knew to be durable before counts no
/// longer after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SweepCount(pub(crate) i64);

/// What the list says of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SweepMark {
    /// `None` if the blob is not listed.
    pub(crate) listed: Option<Listing>,
    pub(crate) count: SweepCount,
}

/// One step of a sweep, or of a put that meets one. It becomes a part of a group, and of the group's transaction. All
/// of them may be asked for again.
#[derive(Debug, Clone)]
pub(crate) enum SweepStep {
    /// Lists those blobs that nobody has put or touched within the grace time, also if they are listed already: under a
    /// new number. Appends that name one are refused from then on.
    List { blobs: Vec<Digest>, grace: Duration },
    /// Removes the files of those blobs that are still listed under this number and that nobody has put or touched
    /// within the grace time, while no other write can be committed. They stay listed.
    Remove { listing: Listing, blobs: Vec<Digest>, grace: Duration },
    /// Takes those blobs off the list that are still listed under their number. A blob that is there must be durable,
    /// and must have been made so after its number was read; of the blobs that were removed, [`SweepStep::Count`] comes
    /// first.
    Unlist { blobs: Vec<(Digest, Listing)> },
    /// Makes every store forget, at its next commit at the latest, what it knew to be durable.
    Count,
}

/// What a step of a sweep did.
#[derive(Debug, Clone)]
pub(crate) enum SweepDone {
    /// Under which number, and the blobs that are not listed under it.
    Listed {
        listing: Listing,
        left: Vec<Digest>,
    },
    /// The blobs that were left where they are.
    Removed {
        left: Vec<Digest>,
    },
    /// How many blobs were taken off the list.
    Unlisted(usize),
    Counted,
}
