//! The port to blobs: immutable bytes under the name of their BLAKE3, stored once for all sessions.

use std::time::Duration;

use super::sweep::SweepCount;
use crate::error::{Error, ErrorKind};
use crate::id::Digest;

/// Where blobs live. It knows bytes and digests, not kinds: references of several kinds to equal bytes share one blob.
///
/// Once `put` or `ensure_durable` has said yes, a power cut does not take the blob away: only then may an event name
/// it. (The store of views may promise less: views need not be durable.) Any number of threads may call at once, with
/// the same bytes too.
pub(crate) trait BlobStore: Send + Sync {
    /// Stores bytes. The caller has checked their size.
    ///
    /// Bytes that are stored already are made durable again before the answer, since the store that wrote them may have
    /// died before they were durable. A damaged blob is replaced. The blob counts as put just now: a sweep leaves it
    /// for its grace time.
    fn put(&self, bytes: &[u8]) -> Result<Put, BlobError>;

    /// Gives the bytes, if they hash to the digest. A blob over the store's limit is refused before it is read.
    fn get(&self, digest: &Digest) -> Result<Vec<u8>, BlobError>;

    /// Makes a stored blob of this length durable, as a put of bytes that are stored already does; `false` when there
    /// is no such blob.
    fn ensure_durable(&self, digest: &Digest, bytes: u64) -> Result<bool, BlobError>;

    /// Whether this store object remembers the blob as durable, and the medium still has it with this length. It looks
    /// at names and sizes only, which takes microseconds, so that any thread may ask. `false` may also mean that it has
    /// forgotten the blob.
    fn is_known_durable(&self, digest: &Digest, bytes: u64) -> bool;

    /// Removes a blob that nobody names any more, if it is there. Only for stored views: an event may name any blob.
    fn remove(&self, digest: &Digest) -> Result<(), BlobError>;

    /// Reads a blob without a limit and without keeping it, and gives its length if it hashes to its name.
    fn inspect(&self, digest: &Digest) -> Result<u64, BlobError>;

    /// The blobs whose digests begin with this byte. No blob is opened.
    fn list(&self, first: u8) -> Result<BlobListing, BlobError>;

    /// Forgets that it knows a blob as durable.
    fn forget(&self, digest: &Digest);

    /// Looks at a blob by its name: no byte is read.
    fn look(&self, digest: &Digest) -> Result<Option<BlobLook>, BlobError>;

    /// As of which count of sweeps this store object knows blobs as durable. `None` until its log was opened.
    fn sweeps_seen(&self) -> Option<SweepCount>;

    /// Forgets which blobs it remembered as durable, unless it has seen this count of sweeps already.
    fn see_sweeps(&self, count: SweepCount);

    /// Called after a restart: forgets which blobs it remembered as durable, and makes the directories that it needs.
    /// Waits for calls in flight.
    fn rescan(&self) -> Result<(), BlobError>;

    /// How many calls the store serves well at once.
    fn concurrency(&self) -> usize;
}

/// What a put did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Put {
    pub(crate) digest: Digest,
    pub(crate) bytes: u64,
    /// Whether the bytes were there already, undamaged.
    pub(crate) existed: bool,
}

/// A blob, as its name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlobLook {
    pub(crate) bytes: u64,
    /// How long ago it was put or touched. `None` if that is in the future, as after a clock that went back.
    pub(crate) age: Option<Duration>,
}

impl BlobLook {
    /// Whether a sweep with this grace time leaves the blob. One of which the time is not known stays, unless no time
    /// is given.
    pub(crate) fn is_in_grace(&self, grace: Duration) -> bool {
        !grace.is_zero() && self.age.is_none_or(|age| age < grace)
    }
}

/// The blobs whose digests begin with one byte.
#[derive(Debug, Default)]
pub(crate) struct BlobListing {
    pub(crate) digests: Vec<Digest>,
    /// How many things lie among these blobs and have no blob's name. Things that lie outside of all shards are counted
    /// in the listing of byte 0.
    pub(crate) strays: u64,
}

/// Why a call on a blob failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BlobError {
    #[error("no blob {digest}")]
    Missing { digest: Digest },
    #[error("blob {digest} is damaged: its bytes do not hash to its name")]
    Corrupt { digest: Digest },
    #[error("blob is {size} bytes, limit is {limit}")]
    TooLarge { size: u64, limit: u64 },
    #[error("blob {digest} is {stored} bytes, and not {wanted}")]
    OtherLength { digest: Digest, wanted: u64, stored: u64 },
    /// The engine's own error, as a host is told it.
    #[error(transparent)]
    Medium(Error),
}

impl From<BlobError> for Error {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Missing { digest } => ErrorKind::UnknownBlob { digest }.into(),
            BlobError::Corrupt { digest } => ErrorKind::CorruptBlob { digest }.into(),
            BlobError::TooLarge { size, limit } => {
                ErrorKind::TooLarge { what: "blob", unit: "bytes", size, limit }.into()
            }
            BlobError::OtherLength { digest, wanted, stored } => {
                ErrorKind::WrongBlobLength { digest, referenced: wanted, stored }.into()
            }
            BlobError::Medium(error) => error,
        }
    }
}
