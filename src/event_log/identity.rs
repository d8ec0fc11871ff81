//! Whether the files that SQLite writes to are still the ones that their names lead to: it goes on writing into files that
//! were removed or replaced, and says that all is well.

use std::io;
use std::path::{Path, PathBuf};

use super::LogError;

/// The database and its write-ahead log, as they were when first seen.
pub(super) struct Identity {
    files: [(PathBuf, Option<FileId>); 2],
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
            let (found, bytes) = look(path).map_err(|error| LogError::Io(format!("{} is gone: {error}", name())))?;
            if *known.get_or_insert(found) != found {
                return Err(LogError::Io(format!("{} was replaced while it was in use", name())));
            }
            wal_bytes = bytes;
        }
        Ok(wal_bytes)
    }
}

/// Device and inode.
type FileId = (u64, u64);

/// Which file a path leads to, and its size. Does not ask for times: Linux gives a file whose times were looked at a new one
/// at its next write, however soon that is, and the next sync then has the inode to write, too. A commit took twice as long.
#[cfg(target_os = "linux")]
fn look(path: &Path) -> io::Result<(FileId, u64)> {
    use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
    let found = statx(CWD, path, AtFlags::empty(), StatxFlags::INO | StatxFlags::SIZE)?;
    let device = u64::from(found.stx_dev_major) << 32 | u64::from(found.stx_dev_minor);
    Ok(((device, found.stx_ino), found.stx_size))
}

#[cfg(not(target_os = "linux"))]
fn look(path: &Path) -> io::Result<(FileId, u64)> {
    use std::os::unix::fs::MetadataExt;
    let found = path.metadata()?;
    Ok(((found.dev(), found.ino()), found.len()))
}
