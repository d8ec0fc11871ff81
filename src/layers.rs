//! Where the testkit comes between a store and what it stands on. In a host's store every layer is absent.

use std::fmt;
use std::sync::Arc;

use crate::port::blob::BlobStore;
use crate::port::log::LogMedium;
use crate::sqlite::files::{Files, OsFiles};

/// Puts something before every end of a log that is opened.
pub(crate) type WrapLog = Arc<dyn Fn(Arc<dyn LogMedium>) -> Arc<dyn LogMedium> + Send + Sync>;
/// The same for a blob store.
pub(crate) type WrapBlobs = Arc<dyn Fn(Arc<dyn BlobStore>) -> Arc<dyn BlobStore> + Send + Sync>;

#[derive(Clone, Default)]
pub struct Layers {
    /// What blob files and the directory go through instead of the file system itself.
    pub(crate) files: Option<Arc<dyn Files>>,
    /// The SQLite VFS that the database goes through instead of SQLite's own.
    pub(crate) vfs: Option<&'static str>,
    /// After how many bytes of commits a checkpoint is due, so that a test meets some.
    pub(crate) checkpoint_bytes: Option<usize>,
    pub(crate) log: Option<WrapLog>,
    pub(crate) blobs: Option<WrapBlobs>,
}

impl Layers {
    pub(crate) fn files(&self) -> Arc<dyn Files> {
        self.files.clone().unwrap_or_else(|| Arc::new(OsFiles))
    }

    pub(crate) fn log(&self, medium: Arc<dyn LogMedium>) -> Arc<dyn LogMedium> {
        match &self.log {
            Some(wrap) => wrap(medium),
            None => medium,
        }
    }

    pub(crate) fn blobs(&self, blobs: Arc<dyn BlobStore>) -> Arc<dyn BlobStore> {
        match &self.blobs {
            Some(wrap) => wrap(blobs),
            None => blobs,
        }
    }
}

impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { files, vfs, checkpoint_bytes, log, blobs } = self;
        let mut layers = f.debug_struct("Layers");
        layers.field("files", files).field("vfs", vfs).field("checkpoint_bytes", checkpoint_bytes);
        layers.field("log", &log.is_some()).field("blobs", &blobs.is_some());
        layers.finish()
    }
}
