//! What a sweep does with blob files, and how a put keeps a file from it: by the time of the file.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::{FileBlobs, shard_and_path};
use crate::clock::Clock;
use crate::id::Digest;
use crate::port::BlobLook;
use crate::sqlite::files::{FileError, FileStamp, failed, if_there, unless};

impl FileBlobs {
    /// Looks at a blob by its name. The time is that of the file, which the system's clock has given: by the same clock
    /// its age is told.
    pub(super) fn look_at(&self, digest: &Digest) -> Result<Option<BlobLook>, FileError> {
        let (_, path) = shard_and_path(&self.blobs, digest);
        let found = if_there(FileStamp::look(&path)).map_err(failed("cannot look at", &path))?;
        Ok(found.map(|found| {
            let age = Clock::System.now().as_micros().saturating_sub(found.modified().as_micros());
            BlobLook { bytes: found.bytes(), age: u64::try_from(age).ok().map(Duration::from_micros) }
        }))
    }

    /// Whether a file could be touched. One that could not is written anew: it is gone, or belongs to somebody else.
    pub(super) fn touched(&self, path: &Path) -> bool {
        if !self.syncs {
            return true;
        }
        let touched = self.files.touch(path);
        touched.inspect_err(|error| log::debug!("cannot touch {}: {error}", path.display())).is_ok()
    }

    /// Removes the file of a blob for a sweep, unless it was put or touched within the grace time. Tells whether
    /// nothing has the name any more. The removal is not synced: a file that comes back after a power cut is one that
    /// no event names.
    pub(crate) fn sweep(&self, digest: &Digest, grace: Duration) -> Result<bool, FileError> {
        // What lies in another directory under this name is of another store.
        self.check_directory()?;
        let (_, path) = shard_and_path(&self.blobs, digest);
        match self.look_at(digest)? {
            Some(look) if look.is_in_grace(grace) => Ok(false),
            None => Ok(true),
            Some(_) => {
                unless(io::ErrorKind::NotFound, self.files.remove_file(&path))
                    .map_err(failed("cannot remove", &path))?;
                Ok(true)
            }
        }
    }

    /// Whether sweeps were counted since this store has opened.
    pub(crate) fn has_forgotten(&self) -> bool {
        self.known.has_forgotten()
    }
}
