//! The directory of a copy of a store: a backup, or a store that is restored from one.
//!
//! Crash story. A new copy begins with a file that says that it is unfinished, durably, before anything else; while it
//! is there no store opens the directory, and the next copy into it makes the database anew and keeps the blobs that it
//! finds whole. The database is made aside, synced, named; then that file goes. A later backup into the directory is
//! one transaction: cut off, it leaves the backup of before, and perhaps blobs that nothing names, which the next one
//! removes. In both cases a blob is durable before the commit that names it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::blobs::FileBlobs;
use super::blobs::list::names_in;
use super::directory::{BLOBS, SNAPSHOTS, StoreDirectory, create_directory_and_parents};
use super::files::{Files, OsFiles, failed, give_way, unless};
use super::log::{CopiedLog, CopyRole, Database, ReadOnlyDatabase};
use super::medium::Directory;
use super::place::{self, DATABASE, UNFINISHED};
use super::rebuild::{BlobFailure, copy_blob};
use crate::codec;
use crate::error::{Error, ErrorKind};
use crate::id::{BlobRef, Digest, Timestamp};
use crate::port::{BlobError, BlobStore, LogError, Medium, OpenedToRead, Position, ScannedPage, StoreId};

/// What the file says that marks a directory as unfinished.
const UNFINISHED_TEXT: &[u8] =
    b"A copy of a foldlog store that is not finished. Make it again into this directory, or remove \
the directory.\n";

/// What a copy is made of and for.
#[derive(Debug, Clone)]
pub(crate) struct Copying<'a> {
    pub(crate) role: CopyRole,
    /// The medium of the source: the copy's files are made as those of a directory are, if it is one.
    pub(crate) medium: &'a Medium,
    pub(crate) source: Option<StoreId>,
    pub(crate) model: &'static str,
    pub(crate) now: Timestamp,
}

/// A copy that is being made or brought up to date. Nobody else has the directory open meanwhile. Dropping it gives up
/// what was not committed.
pub(crate) struct CopyDirectory {
    pub(crate) log: CopiedLog,
    blobs: FileBlobs,
    role: CopyRole,
    model: &'static str,
    vfs: Option<&'static str>,
    root: PathBuf,
    is_new: bool,
    // Dropped after what is in it.
    directory: StoreDirectory,
}

/// What there is where a copy is to be made.
enum Target {
    /// Nothing, or an empty directory.
    Empty,
    Unfinished,
    Database,
}

impl CopyDirectory {
    /// Opens a directory for a copy. Blocks, as all calls do, on a thread of the copy's own, which gives way to all
    /// others from now on.
    pub(crate) fn open(to: &Path, copying: &Copying<'_>) -> Result<Self, Error> {
        give_way();
        let engine = copying.medium.engine::<Directory>();
        let (files, vfs) = match engine {
            Some(directory) => (Arc::clone(&directory.files), directory.vfs),
            None => (Arc::new(OsFiles) as Arc<dyn Files>, None),
        };
        let root = std::path::absolute(to).map_err(failed("cannot find directory", to))?;
        if let Some(directory) = engine {
            check_apart(&directory.path, &root)?;
        }
        let database = Database { path: root.join(DATABASE), vfs };
        // Looked at before anything is made: what is refused is left as it is.
        let has_marked = match look(&*files, &root)? {
            Target::Database if copying.role == CopyRole::Restore => return Err(occupied(&root, DATABASE)),
            Target::Database => {
                CopiedLog::check(&database, copying.model, copying.source)?;
                false
            }
            Target::Empty => mark_unfinished(&*files, &root)?,
            Target::Unfinished => false,
        };
        let directory = StoreDirectory::open(Arc::clone(&files), &root, copying.now)?;
        directory.lock_alone()?;
        // Somebody may have finished it, or opened it as a store, before it was locked.
        let is_finished = has_marked && database.path.symlink_metadata().is_ok();
        let is_new = match look(&*files, &root)? {
            Target::Unfinished if is_finished => {
                // The mark says of what somebody else has made since the first look that it is not finished.
                remove_mark(&*files, &root)?;
                return Err(changed(&root));
            }
            Target::Unfinished => true,
            Target::Database if copying.role == CopyRole::Backup => {
                CopiedLog::check(&database, copying.model, copying.source)?;
                false
            }
            _ => return Err(changed(&root)),
        };
        let log = if is_new {
            for suffix in ["", "-wal", "-shm"] {
                let path = database.companion(suffix);
                unless(std::io::ErrorKind::NotFound, files.remove_file(&path))
                    .map_err(failed("cannot remove", &path))?;
            }
            let aside = directory.tmp().join(DATABASE);
            directory.create_private_file(&aside)?;
            CopiedLog::create(aside, vfs, copying.model, copying.role, copying.source)?
        } else {
            CopiedLog::open(database, copying.model)?
        };
        let blobs = FileBlobs::new(files, directory.blobs(), directory.tmp(), u64::MAX);
        let mut copy = Self { log, blobs, role: copying.role, model: copying.model, vfs, root, is_new, directory };
        if is_new && copy.has_blobs()? {
            // Of a copy that was cut off: some of them may be of sessions that were deleted since.
            copy.log.clean();
        }
        Ok(copy)
    }

    fn has_blobs(&self) -> Result<bool, Error> {
        Ok(names_in(&**self.directory.files(), self.directory.blobs())?.iter().any(|name| !name.starts_with('.')))
    }

    /// Makes a blob durable here, with the bytes that the source has, unless it is here already. Tells whether it was
    /// copied.
    pub(crate) fn copy_blob(&self, source: &dyn BlobStore, blob: &BlobRef) -> Result<bool, BlobFailure> {
        match self.blobs.ensure_durable(&blob.digest, blob.bytes) {
            Ok(true) => return Ok(false),
            // It is copied again.
            Ok(false) | Err(BlobError::Corrupt { .. }) => {}
            Err(error @ BlobError::OtherLength { .. }) => return Err(BlobFailure::Old(error.into())),
            Err(error) => return Err(BlobFailure::New(error.into())),
        }
        copy_blob(source, &self.blobs, blob)?;
        // Read back: what was written is what was asked for.
        self.blobs.inspect(&blob.digest).map_err(|error| BlobFailure::New(error.into()))?;
        Ok(true)
    }

    /// Commits the copy, as what the source was at a position, and leaves nothing in it that it does not name. What
    /// follows is [`FinishedCopy::put_in_place`].
    pub(crate) fn finish(self, end: Position) -> Result<FinishedCopy, Error> {
        let Self { mut log, blobs, role, model, vfs, root, is_new, directory } = self;
        // The name of the write-ahead log, before anything is committed that is only there.
        directory.sync_root()?;
        log.commit(role, end)?;
        if log.is_unclean() {
            log.rewrite().map_err(|error| not_rewritten(error, &root))?;
            remove_unnamed(&log, &blobs)?;
        }
        let database = log.close()?;
        if is_new {
            directory.name_file(&database, &directory.events_db())?;
            directory.mark_made()?;
        }
        Ok(FinishedCopy { model, vfs, root, is_new, directory })
    }
}

/// A copy that has all that it is to have. Until it is put in place, a new one still counts as unfinished.
pub(crate) struct FinishedCopy {
    model: &'static str,
    vfs: Option<&'static str>,
    root: PathBuf,
    is_new: bool,
    directory: StoreDirectory,
}

impl FinishedCopy {
    /// Opens it to be verified.
    pub(crate) fn open_to_read(&self) -> Result<OpenedToRead, Error> {
        let (log, found) = ReadOnlyDatabase::open(self.directory.events_db(), self.vfs, Some(self.model), true)?;
        let files = self.directory.files();
        let blobs_in = |name: &str| Arc::new(FileBlobs::to_read(Arc::clone(files), &self.root.join(name), u64::MAX));
        let (blobs, snapshots) = (blobs_in(BLOBS), blobs_in(SNAPSHOTS));
        Ok(OpenedToRead { log: Arc::new(log), model: found.model, format: Some(found.format), blobs, snapshots })
    }

    /// Lets stores open it, durably.
    pub(crate) fn put_in_place(self) -> Result<(), Error> {
        if self.is_new {
            remove_mark(&**self.directory.files(), &self.root)?;
        }
        Ok(())
    }
}

/// Why a database was not written anew. SQLite does that through a temporary file, and does not say which of the two
/// files had no room.
fn not_rewritten(error: LogError, root: &Path) -> Error {
    if !matches!(error, LogError::DiskFull) {
        return error.into();
    }
    let set = ["SQLITE_TMPDIR", "TMPDIR"].into_iter().find_map(std::env::var_os);
    let temporaries = set.map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
    let text = format!(
        "the database of the copy was to be written anew, which needs room for a second one in {}, and some in {}",
        temporaries.display(),
        root.display()
    );
    Error::with_source(ErrorKind::DiskFull, text)
}

/// Removes the blobs that no event of the copy names.
fn remove_unnamed(log: &CopiedLog, blobs: &FileBlobs) -> Result<(), Error> {
    const EVENTS: usize = 1024;
    const BYTES: usize = 1 << 20;
    let (mut named, mut page, mut after) = (HashSet::<Digest>::new(), ScannedPage::default(), Position::START);
    while let Some(next) = log.read_back(&mut page, after, EVENTS, BYTES)? {
        for row in page.rows() {
            let decoded = codec::decode_record(row.event.record);
            let (header, _) = decoded.map_err(|error| LogError::Corrupt(error.to_string()))?;
            named.extend(header.refs.iter().map(|blob| blob.digest));
        }
        after = next;
    }
    blobs.clear(None, |digest| named.contains(digest))?;
    Ok(())
}

/// Refuses a copy in its source, and one around it.
fn check_apart(from: &Path, to: &Path) -> Result<(), Error> {
    let from = from.canonicalize().map_err(failed("cannot find directory", from))?;
    let existing = to.ancestors().find(|path| path.exists()).unwrap_or(to);
    let resolved = existing.canonicalize().map_err(failed("cannot find directory", existing))?;
    let what = if resolved == from && existing == to {
        "is the store itself"
    } else if resolved.starts_with(&from) {
        "lies in the store"
    } else if existing == to && from.starts_with(&resolved) {
        "holds the store"
    } else {
        return Ok(());
    };
    let what = format!("{} {what}: a copy of a store needs a directory of its own", to.display());
    Err(ErrorKind::InvalidArgument { what }.into())
}

fn look(files: &dyn Files, root: &Path) -> Result<Target, Error> {
    // What file systems leave in an empty directory.
    let is_content = |name: &&String| !name.starts_with('.') && *name != "lost+found";
    // Listed first: a copy that somebody else begins meanwhile makes its mark before anything else.
    let names = names_in(files, root)?;
    if place::is_unfinished(root) {
        return Ok(Target::Unfinished);
    }
    if root.join(DATABASE).symlink_metadata().is_ok() {
        return Ok(Target::Database);
    }
    match names.iter().filter(is_content).min() {
        Some(name) => Err(occupied(root, name)),
        None => Ok(Target::Empty),
    }
}

fn occupied(root: &Path, name: &str) -> Error {
    let what = format!(
        "{} holds {name}: a copy of a store needs a directory that does not exist or is empty, or that is an earlier backup of \
         this very store",
        root.display()
    );
    ErrorKind::InvalidArgument { what }.into()
}

fn changed(root: &Path) -> Error {
    let reason = format!("{} was changed by somebody else just now: try again", root.display());
    ErrorKind::Unavailable { reason }.into()
}

/// Marks a directory as unfinished, durably, and tells whether it was this call that did.
fn mark_unfinished(files: &dyn Files, root: &Path) -> Result<bool, Error> {
    create_directory_and_parents(files, root)?;
    let mark = root.join(UNFINISHED);
    let is_ours = match files.create_file(&mark) {
        Ok(file) => {
            files.write(&mark, &file, UNFINISHED_TEXT).map_err(failed("cannot write", &mark))?;
            files.sync_file(&mark, &file).map_err(failed("cannot sync", &mark))?;
            true
        }
        // Somebody else makes a copy here: the lock tells.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => false,
        Err(error) => return Err(failed("cannot create", &mark)(error).into()),
    };
    files.sync_directory(root).map_err(failed("cannot sync directory", root))?;
    Ok(is_ours)
}

fn remove_mark(files: &dyn Files, root: &Path) -> Result<(), Error> {
    let mark = root.join(UNFINISHED);
    files.remove_file(&mark).map_err(failed("cannot remove", &mark))?;
    Ok(files.sync_directory(root).map_err(failed("cannot sync directory", root))?)
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;
    use crate::config::StoreConfig;
    use crate::sqlite::blobs::fault::FaultyFiles;
    use crate::store::Store;

    #[test]
    fn a_full_disk_is_told_with_the_places_that_need_room() {
        let told = not_rewritten(LogError::DiskFull, Path::new("/backups/b"));
        assert!(matches!(told.kind(), ErrorKind::DiskFull));
        assert!(told.to_string().ends_with(", and some in /backups/b"), "{told}");
        let told = not_rewritten(LogError::Busy, Path::new("/backups/b"));
        assert!(!matches!(told.kind(), ErrorKind::DiskFull), "{told}");
    }

    /// The second looks while there is nothing, and marks the directory when the first has finished.
    #[test]
    fn a_first_copy_that_another_call_has_finished_meanwhile_is_left_as_it_is() {
        let places = tempfile::tempdir().unwrap();
        let (from, to) = (places.path().join("store"), places.path().join("copy"));
        let store = block_on(Store::open(StoreConfig::directory(&from))).unwrap();
        block_on(store.open_session("s")).unwrap();
        let files = FaultyFiles::default();
        let (first, there) = (store.clone(), to.clone());
        files.before_next("create_file", move || assert_eq!(block_on(first.backup(there)).unwrap().sessions, 1));
        let medium = Medium::new(Directory { files: Arc::new(files), ..Directory::new(from) });
        let now = Timestamp::from_micros(0);
        let copying = Copying { role: CopyRole::Backup, medium: &medium, source: None, model: "agent", now };
        let refused = CopyDirectory::open(&to, &copying).err().unwrap();
        assert!(matches!(refused.kind(), ErrorKind::Unavailable { .. }), "{refused}");
        let copy = block_on(Store::open_read_only(StoreConfig::directory(&to))).unwrap();
        assert_eq!(block_on(copy.list_sessions(None, 10)).unwrap().len(), 1);
        block_on(copy.close()).unwrap();
        block_on(store.close()).unwrap();
    }
}
