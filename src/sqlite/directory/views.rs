//! Removing the files of stored views.

use std::collections::HashSet;
use std::io;

use super::{DirectoryError, StoreDirectory};
use crate::id::Digest;
use crate::sqlite::blobs::list::list;
use crate::sqlite::blobs::shard_and_path;
use crate::sqlite::files::{failed, unless};

impl StoreDirectory {
    /// Removes the file of a stored view, durably.
    pub(crate) fn remove_view(&self, digest: &Digest) -> Result<(), DirectoryError> {
        let (shard, path) = shard_and_path(&self.snapshots(), digest);
        unless(io::ErrorKind::NotFound, self.files.remove_file(&path)).map_err(failed("cannot remove", &path))?;
        if shard.exists() { self.sync_directory(&shard) } else { Ok(()) }
    }

    /// Removes the stored views whose names begin with a byte and that no log names. Tells how many there were, whether
    /// named or not.
    pub(crate) fn remove_views_but(&self, named: &HashSet<Digest>, first: u8) -> Result<usize, DirectoryError> {
        let stored = list(&*self.files, &self.snapshots(), first)?.digests;
        stored.iter().filter(|digest| !named.contains(digest)).try_for_each(|digest| self.remove_view(digest))?;
        Ok(stored.len())
    }
}
