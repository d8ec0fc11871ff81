//! A new directory of what is valid in a damaged one: made beside its name, and given the name at the very end.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::blobs::FileBlobs;
use super::blobs::list::names_in;
use super::directory::{BLOBS, StoreDirectory, create_directory_and_parents};
use super::files::{FileError, Files, OsFiles, failed, if_there};
use super::log::RebuiltLog;
use super::place::DATABASE;
use crate::error::{Error, ErrorKind};
use crate::id::{BlobRef, Timestamp};
use crate::port::{BlobError, BlobStore};

/// What the name of a directory that is not complete ends with.
const UNPLACED: &str = ".part";

/// A directory that is being filled. Dropping it removes everything that was made.
pub(crate) struct RebuiltDirectory {
    pub(crate) log: RebuiltLog,
    old_blobs: FileBlobs,
    new_blobs: FileBlobs,
    // Dropped after what is in it.
    directory: StoreDirectory,
    unplaced: UnplacedDirectory,
}

/// Why a blob was not copied.
pub(crate) enum BlobFailure {
    /// The old directory does not have it as it is referenced.
    Old(Error),
    /// The new directory cannot be written.
    New(Error),
}

/// Copies a blob, durably, if its bytes are what the reference says.
pub(super) fn copy_blob(old: &dyn BlobStore, new: &FileBlobs, blob: &BlobRef) -> Result<(), BlobFailure> {
    let bytes = old.get(&blob.digest).map_err(|error| BlobFailure::Old(error.into()))?;
    if bytes.len() as u64 != blob.bytes {
        let stored = bytes.len() as u64;
        let error = BlobError::OtherLength { digest: blob.digest, wanted: blob.bytes, stored };
        return Err(BlobFailure::Old(error.into()));
    }
    new.put(&bytes).map(drop).map_err(|error| BlobFailure::New(error.into()))
}

impl RebuiltDirectory {
    /// Makes `<to>.part`. `to` must not exist, or be an empty directory, and not lie in `from`.
    pub(crate) fn start(from: &Path, to: &Path, model: &str, now: Timestamp) -> Result<Self, Error> {
        let files: Arc<dyn Files> = Arc::new(OsFiles);
        let unplaced = UnplacedDirectory::make(Arc::clone(&files), from, to)?;
        let directory = StoreDirectory::open(Arc::clone(&files), &unplaced.path, now)?;
        // Made aside and named when it is complete, as every database.
        let database = directory.tmp().join(DATABASE);
        directory.create_private_file(&database)?;
        let log = RebuiltLog::create(database, model)?;
        // A blob was within the limit of the store that put it.
        let old_blobs = FileBlobs::new(Arc::clone(&files), &from.join(BLOBS), directory.tmp(), u64::MAX);
        let new_blobs = FileBlobs::new(files, directory.blobs(), directory.tmp(), u64::MAX);
        Ok(Self { log, old_blobs, new_blobs, directory, unplaced })
    }

    /// Copies a blob, durably, if its bytes are what the reference says.
    pub(crate) fn copy_blob(&self, blob: &BlobRef) -> Result<(), BlobFailure> {
        copy_blob(&self.old_blobs, &self.new_blobs, blob)
    }

    /// Names the database. From then on the directory can be opened where it is.
    pub(crate) fn finish(self) -> Result<UnplacedDirectory, Error> {
        // Dropped in the other order, if something fails.
        let Self { unplaced, directory, log, .. } = self;
        let database = log.finish()?;
        directory.name_file(&database, &directory.events_db())?;
        Ok(unplaced)
    }
}

/// A directory under the name for what is not complete. Dropping it removes it, unless it was put in place.
pub(crate) struct UnplacedDirectory {
    files: Arc<dyn Files>,
    path: PathBuf,
    to: PathBuf,
    is_ours: bool,
}

impl UnplacedDirectory {
    fn make(files: Arc<dyn Files>, from: &Path, to: &Path) -> Result<Self, Error> {
        let refused = |what: String| Err(ErrorKind::InvalidArgument { what }.into());
        let from = from.canonicalize().map_err(failed("cannot find directory", from))?;
        let to = std::path::absolute(to).map_err(failed("cannot find directory", to))?;
        let Some(name) = to.file_name() else {
            return refused(format!("{} has no name of its own, which a new directory needs", to.display()));
        };
        if !is_absent(&to)? {
            let names = names_in(&*files, &to)?;
            if let Some(name) = names.iter().min() {
                let to = to.display();
                return refused(format!(
                    "{to} holds {name}: a repair needs a directory that does not exist or is empty"
                ));
            }
        }
        let existing = to.ancestors().find(|path| path.exists()).unwrap_or(&to);
        if existing.canonicalize().map_err(failed("cannot find directory", existing))?.starts_with(&from) {
            return refused(format!("{} lies in the damaged directory, which a repair leaves alone", to.display()));
        }
        let mut unplaced = name.to_owned();
        unplaced.push(UNPLACED);
        let path = to.with_file_name(unplaced);
        if !is_absent(&path)? {
            let path = path.display();
            return refused(format!(
                "{path} is there: another repair makes it, or was cut off; if none runs, remove it"
            ));
        }
        if let Some(parent) = path.parent() {
            create_directory_and_parents(&*files, parent)?;
        }
        // Not one that another repair has made since.
        files.create_directory(&path).map_err(failed("cannot create directory", &path))?;
        Ok(Self { files, path, to, is_ours: true })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the directory its name, durably.
    pub(crate) fn put_in_place(mut self) -> Result<(), Error> {
        let sync = |path: &Path| self.files.sync_directory(path).map_err(failed("cannot sync directory", path));
        sync(&self.path)?;
        self.files.rename(&self.path, &self.to).map_err(failed("cannot rename to", &self.to))?;
        if let Some(parent) = self.to.parent() {
            sync(parent)?;
        }
        self.is_ours = false;
        Ok(())
    }
}

impl Drop for UnplacedDirectory {
    fn drop(&mut self) {
        if self.is_ours
            && let Err(error) = self.files.remove_directory(&self.path)
        {
            log::warn!("cannot remove {}, which a repair has begun: {error}", self.path.display());
        }
    }
}

fn is_absent(path: &Path) -> Result<bool, FileError> {
    Ok(if_there(path.symlink_metadata()).map_err(failed("cannot look at", path))?.is_none())
}
