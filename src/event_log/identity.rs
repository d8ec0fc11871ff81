//! Whether the files that SQLite writes to are still the ones that their names lead to: it goes on writing into files that
//! were removed or replaced, and says that all is well.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::LogError;

/// The database and its write-ahead log, as they were when first seen.
pub(super) struct Identity {
    files: [(PathBuf, Option<(u64, u64)>); 2],
}

impl Identity {
    pub(super) fn new(database: &Path) -> Self {
        let mut wal = database.as_os_str().to_owned();
        wal.push("-wal");
        Self { files: [(database.to_owned(), None), (wal.into(), None)] }
    }

    /// Compares, and gives the size of the write-ahead log. To be called after each commit, when both are there, and before
    /// anyone is told.
    pub(super) fn check(&mut self) -> Result<u64, LogError> {
        let mut wal_bytes = 0;
        for (path, known) in &mut self.files {
            let name = || path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let meta = path.metadata().map_err(|error| LogError::Io(format!("{} is gone: {error}", name())))?;
            let found = (meta.dev(), meta.ino());
            if *known.get_or_insert(found) != found {
                return Err(LogError::Io(format!("{} was replaced while it was in use", name())));
            }
            wal_bytes = meta.len();
        }
        Ok(wal_bytes)
    }
}
