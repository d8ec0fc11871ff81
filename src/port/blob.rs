//! Blobs: immutable bytes under the name of their BLAKE3, stored once for all sessions.

use std::io;
use std::path::PathBuf;

use crate::error::{Error, ErrorKind};
use crate::id::Digest;
use crate::sqlite::files::FileError;

/// Where blobs live. Knows bytes and digests, not kinds: references of several kinds to equal bytes share one blob.
///
/// Once `put` or `ensure_durable` has said yes, a power cut does not take the blob away: only then may an event name it.
/// The store of views alone promises less, see [`FileBlobs::of_snapshots`].
/// Any number of threads may call at once, the same bytes included.
pub(crate) trait BlobStore: Send + Sync {
    /// Stores bytes. The caller has checked their size.
    ///
    /// Bytes that are there already are read and synced again before the answer, since whoever wrote them may have died
    /// between its rename and its sync; damaged ones are replaced.
    fn put(&self, bytes: &[u8]) -> Result<Put, BlobError>;

    /// Gives the bytes, if they hash to the digest. More than the store's limit are refused before they are read.
    fn get(&self, digest: &Digest) -> Result<Vec<u8>, BlobError>;

    /// Does for a stored blob what a put that finds it does; `false` when there is none.
    fn ensure_durable(&self, digest: &Digest) -> Result<bool, BlobError>;

    /// Whether this store object remembers the blob as durable. No I/O, so that an append can ask on any thread; `false`
    /// may mean forgotten.
    fn is_known_durable(&self, digest: &Digest) -> bool;

    /// Removes a blob that nobody names any more, if it is there. Only of stored views: an event may name any blob.
    fn remove(&self, digest: &Digest) -> Result<(), BlobError>;

    /// Reads a blob without a limit and without keeping it, and gives its length if it hashes to its name.
    fn inspect(&self, digest: &Digest) -> Result<u64, BlobError>;

    /// The blobs whose digests begin with this byte. No blob is opened.
    fn list(&self, first: u8) -> Result<Shelf, BlobError>;

    /// After a restart: takes nothing for known any more and puts the directories in order. Waits for calls in flight.
    fn rescan(&self) -> Result<(), BlobError>;
}

/// What a put did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Put {
    pub(crate) digest: Digest,
    pub(crate) bytes: u64,
    /// Whether the bytes were there already, undamaged.
    pub(crate) existed: bool,
}

/// The blobs that begin with one byte.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    pub(crate) digests: Vec<Digest>,
    /// How many files lie among them that no blob has the name of; those beside the directories of blobs are counted with
    /// the first of these.
    pub(crate) strays: u64,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum BlobError {
    #[error("no blob {digest}")]
    Missing { digest: Digest },
    #[error("blob {digest} is damaged: its bytes do not hash to its name")]
    Corrupt { digest: Digest },
    #[error("blob is {size} bytes, limit is {limit}")]
    TooLarge { size: u64, limit: u64 },
    /// Apart from `Io`, since space coming back mends it.
    #[error("disk is full: {what} {}", path.display())]
    DiskFull {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{what} {}", path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl From<FileError> for BlobError {
    fn from(error: FileError) -> Self {
        let is_disk_full = error.is_disk_full();
        let FileError { what, path, source } = error;
        if is_disk_full { Self::DiskFull { what, path, source } } else { Self::Io { what, path, source } }
    }
}

impl From<BlobError> for Error {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Missing { digest } => ErrorKind::UnknownBlob { digest }.into(),
            BlobError::Corrupt { digest } => ErrorKind::CorruptBlob { digest }.into(),
            BlobError::TooLarge { size, limit } => {
                ErrorKind::TooLarge { what: "blob", unit: "bytes", size, limit }.into()
            }
            BlobError::DiskFull { what, path, source } | BlobError::Io { what, path, source } => {
                FileError { what, path, source }.into()
            }
        }
    }
}
