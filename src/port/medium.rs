//! A medium as a whole: what a host names in its configuration, and what opening it gives a store.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use super::blob::BlobStore;
use super::log::{LogMedium, LogReader, LogSource};
use super::ownership::Ownership;
use crate::error::Error;
use crate::id::Timestamp;

/// Where a store keeps events and blobs: [`Medium::directory`] or [`Medium::memory`].
#[derive(Clone)]
pub struct Medium(Arc<dyn OpenMedium>);

impl Medium {
    pub(crate) fn new(engine: impl OpenMedium + 'static) -> Self {
        Self(Arc::new(engine))
    }

    pub(crate) fn open(&self, opening: &Opening) -> Result<OpenedMedium, Error> {
        self.0.open(opening)
    }

    pub(crate) fn open_to_read(&self, opening: &OpeningToRead) -> Result<OpenedToRead, Error> {
        self.0.open_to_read(opening)
    }

    /// The engine, if it is of this type; the media that wrap it are passed through.
    pub(crate) fn engine<E: OpenMedium>(&self) -> Option<&E> {
        let engine: &dyn Any = &*self.0;
        engine.downcast_ref().or_else(|| self.0.beneath()?.engine())
    }
}

impl fmt::Debug for Medium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An engine that can open its medium for a store.
pub(crate) trait OpenMedium: Any + fmt::Debug + Send + Sync {
    /// Blocks. From then on other stores see this one as alive, until it releases its ownership.
    fn open(&self, opening: &Opening) -> Result<OpenedMedium, Error>;

    /// Blocks. Makes and changes nothing, and needs nothing that can be written. Other stores take no notice, and may
    /// open, write and close the medium at any time: what they commit is there at the next read.
    fn open_to_read(&self, opening: &OpeningToRead) -> Result<OpenedToRead, Error>;

    /// The medium that this one wraps, if it wraps one.
    fn beneath(&self) -> Option<&Medium> {
        None
    }
}

/// What a store tells the medium that it opens.
#[derive(Debug, Clone)]
pub(crate) struct Opening {
    /// The name of the session model, which the medium keeps: no other model can open it.
    pub(crate) model: &'static str,
    pub(crate) create: Create,
    pub(crate) now: Timestamp,
    pub(crate) durability: Durability,
    pub(crate) blob_bytes_max: u64,
    pub(crate) snapshot_bytes_max: u64,
}

/// What a store that only reads tells the medium that it opens.
#[derive(Debug, Clone)]
pub(crate) struct OpeningToRead {
    /// As in [`Opening`]; `None` to read a medium of whichever session model it is.
    pub(crate) model: Option<&'static str>,
    pub(crate) blob_bytes_max: u64,
    pub(crate) snapshot_bytes_max: u64,
}

/// Whether opening makes a store where there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Create {
    /// Never: [`ErrorKind::NoStore`](crate::ErrorKind::NoStore) tells that there is none.
    Never,
    /// In a directory that does not exist or is empty, but for what file systems and tools leave there (names that
    /// begin with a dot, `lost+found`). A directory with other files is refused by name.
    #[default]
    WhereEmpty,
    /// In any directory, beside whatever is there.
    Anywhere,
}

/// What an acknowledgement promises.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// Acknowledged events survive a power cut. On a directory this is SQLite's `synchronous=FULL`.
    #[default]
    PowerLoss,
    /// Acknowledged events survive the death of the process, and a power cut may lose the last of them. The log stays a
    /// prefix of what was acknowledged. On a directory this is SQLite's `synchronous=NORMAL`.
    ProcessCrash,
}

/// One store's ends of a medium.
pub(crate) struct OpenedMedium {
    pub(crate) log: Arc<dyn LogMedium>,
    pub(crate) blobs: Arc<dyn BlobStore>,
    /// Where the bytes of stored views are. It may promise less than `blobs` does: stored views need not be durable.
    pub(crate) snapshots: Arc<dyn BlobStore>,
    pub(crate) ownership: Arc<dyn Ownership>,
    /// What is to be tidied up once, in the background, after the store has opened.
    pub(crate) tidy: Option<Tidy>,
    /// What the medium found when it was opened, for the one public call that knows this engine's type of answer.
    pub(crate) found: Option<Arc<dyn Any + Send + Sync>>,
}

/// In which format a store is stored: [`UntypedStore::format`](crate::UntypedStore::format).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Format {
    /// That of the store.
    pub found: i64,
    /// The newest that this build knows, to which a store that opens to write brings an older one.
    pub supported: i64,
}

/// What a store that only reads gets of a medium. Of the two blob stores it makes the calls that read, and no other.
pub(crate) struct OpenedToRead {
    /// The name of the session model that the medium keeps.
    pub(crate) model: String,
    /// The format in which the medium is stored, if it is stored.
    pub(crate) format: Option<Format>,
    pub(crate) log: Arc<dyn LogSource>,
    pub(crate) blobs: Arc<dyn BlobStore>,
    pub(crate) snapshots: Arc<dyn BlobStore>,
}

/// Removes the files that an earlier store has left behind and that nothing names any more.
pub(crate) type Tidy = Box<dyn FnOnce(&mut dyn LogReader) -> Result<(), Error> + Send>;
