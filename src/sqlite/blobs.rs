//! Blobs as files: `<blobs>/<first 2 hex digits>/<64 hex digits>`. Only complete blobs have such a name.
//!
//! Crash story of a put. The bytes go to a temporary, which is synced before the rename: otherwise a power cut could
//! leave the name with half of the bytes. The directories above the name are synced before the answer: otherwise a
//! power cut could take the name away from under an acknowledged event. A crash before the rename leaves a temporary,
//! which the next store to open clears; a crash after it leaves a blob that no event names, which is legal.
//!
//! Stored views are kept the same way, but are never synced: a power cut may take a view away, or leave its name with
//! other bytes. Both are found when the view is read, and its log is folded instead.

mod compare;
pub(crate) mod known;
pub(crate) mod list;
mod sweep;

#[cfg(test)]
pub(crate) mod fault;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use crate::codec;
use crate::id::Digest;
use crate::port::{BlobError, BlobListing, BlobLook, BlobStore, Put, SweepCount};
use crate::sqlite::blobs::compare::{holds, read_and_hash};
use crate::sqlite::blobs::known::Known;
use crate::sqlite::files::{FileError, FileId, Files, Reading, create_temporary, failed, unless};

impl From<FileError> for BlobError {
    fn from(error: FileError) -> Self {
        Self::Medium(error.into())
    }
}

/// A put waits for two syncs, and a disk takes several of them at once.
const CONCURRENCY: usize = 8;

/// A put syncs what it writes, so the system's cache would only be in the way: a page is found for each block, filled,
/// and written from there, which was most of what a put of 1 MiB cost the processor. The price is that the first read
/// comes from the disk. Blobs smaller than this gain little.
pub(crate) const UNCACHED_BYTES_MIN: usize = 256 << 10;

/// The only way to a blob's path. It takes a digest, so that no text can name a file elsewhere.
pub(crate) fn shard_and_path(blobs: &Path, digest: &Digest) -> (PathBuf, PathBuf) {
    let [first, ..] = *digest.as_bytes();
    let shard = blobs.join(format!("{first:02x}"));
    let path = shard.join(digest.to_string());
    (shard, path)
}

/// A blob store in a directory that other store objects, in this process and in others, use at the same time.
#[derive(Debug)]
pub(crate) struct FileBlobs {
    files: Arc<dyn Files>,
    blobs: PathBuf,
    tmp: PathBuf,
    bytes_max: u64,
    /// How the names of this store's temporaries begin: another blob store of the same owner may use the same
    /// directory.
    temporaries_of: &'static str,
    /// Whether anything is synced.
    syncs: bool,
    next_temporary: AtomicU64,
    known: Known,
    /// The first bytes of digests whose directory is known to be durable in `blobs`.
    shards: Mutex<HashSet<u8>>,
    /// Whether a sync of something that already has its name has failed. The kernel reports such a failure once and
    /// then takes the lost pages for clean: a second sync that succeeds proves nothing. From then on, and for as long
    /// as this object lives, a blob that is found is written anew instead of synced.
    sync_failed: AtomicBool,
    /// The directory that `known` and `shards` describe. A rescan replaces it by the directory that is there then.
    directory: Mutex<Option<HeldDirectory>>,
    /// A call that has a temporary holds this for reading; a call that clears all temporaries holds it for writing.
    temporaries: RwLock<()>,
}

impl FileBlobs {
    /// Takes the blob directory and a directory for temporaries of its own, on the same file system.
    pub(crate) fn new(files: Arc<dyn Files>, blobs: &Path, tmp: &Path, bytes_max: u64) -> Self {
        Self {
            files,
            blobs: blobs.to_owned(),
            tmp: tmp.to_owned(),
            bytes_max,
            temporaries_of: "",
            syncs: true,
            next_temporary: AtomicU64::new(0),
            known: Known::default(),
            shards: Mutex::default(),
            sync_failed: AtomicBool::new(false),
            directory: Mutex::new(HeldDirectory::open(blobs).ok()),
            temporaries: RwLock::new(()),
        }
    }

    /// A blob directory of which the calls that read are made, and no other. It keeps no file open.
    pub(crate) fn to_read(files: Arc<dyn Files>, blobs: &Path, bytes_max: u64) -> Self {
        let mut this = Self::new(files, blobs, blobs, bytes_max);
        this.directory = Mutex::default();
        this
    }

    /// Remembers a blob as durable, if it is where it will be looked for. The last step before anyone is told so.
    ///
    /// `false` if nothing has the name any more, as when a sweep was faster: then nobody is told. `as_of` is what was
    /// seen of sweeps when the call began.
    fn acknowledge(&self, digest: Digest, bytes: u64, as_of: Option<SweepCount>) -> Result<bool, FileError> {
        // Perhaps it was put aside meanwhile.
        self.check_directory()?;
        let (_, path) = shard_and_path(&self.blobs, &digest);
        match FileId::look(&path) {
            Ok((_, found)) if found == bytes => {
                self.known.insert(digest, bytes, as_of);
                Ok(true)
            }
            Ok((_, found)) => {
                let changed = io::Error::other(format!("it was {bytes} bytes, and is {found} now"));
                Err(failed("cannot rely on", &path)(changed))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failed("cannot look at", &path)(error)),
        }
    }

    /// The length of a blob that was acknowledged, if its file is still there with it. What the medium contradicts is
    /// forgotten.
    fn known_bytes(&self, digest: &Digest) -> Option<u64> {
        let bytes = self.known.get(digest)?;
        let (_, path) = shard_and_path(&self.blobs, digest);
        if FileId::look(&path).is_ok_and(|(_, found)| found == bytes) && self.check_directory().is_ok() {
            return Some(bytes);
        }
        self.known.remove(digest);
        None
    }

    /// Whether the directory is still the one that the store opened.
    fn check_directory(&self) -> Result<(), FileError> {
        let known =
            self.directory.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|directory| directory.id);
        let what = match FileId::look(&self.blobs) {
            Ok((found, _)) if known == Some(found) => return Ok(()),
            Ok(_) => "it was replaced",
            Err(error) if error.kind() == io::ErrorKind::NotFound => "it was removed",
            Err(error) => return Err(failed("cannot look at", &self.blobs)(error)),
        };
        // What was made durable meanwhile was made so in another directory.
        self.forget_shards();
        let what = format!("{what} while the store was open; close the store and open it again");
        Err(failed("cannot rely on", &self.blobs)(io::Error::other(what)))
    }

    fn look_at_directory(&self) {
        let directory = HeldDirectory::open(&self.blobs).ok();
        *self.directory.lock().unwrap_or_else(PoisonError::into_inner) = directory;
    }

    /// The store for the stored views of an owner, beside its blobs. Views survive the process but perhaps not a power
    /// cut: syncing their megabytes would delay the syncs of commits on the same disk.
    pub(crate) fn of_snapshots(files: Arc<dyn Files>, snapshots: &Path, tmp: &Path, bytes_max: u64) -> Self {
        Self { temporaries_of: "snapshot-", syncs: false, ..Self::new(files, snapshots, tmp, bytes_max) }
    }

    /// Removes the files that `is_named` does not know and, if `until` is given, that are from then or before.
    pub(crate) fn clear(
        &self,
        until: Option<SystemTime>,
        is_named: impl Fn(&Digest) -> bool,
    ) -> Result<u64, BlobError> {
        let mut cleared = 0;
        for first in 0..=u8::MAX {
            for digest in
                list::list(&*self.files, &self.blobs, first)?.digests.iter().filter(|digest| !is_named(digest))
            {
                let (_, path) = shard_and_path(&self.blobs, digest);
                let modified = || path.metadata().and_then(|found| found.modified());
                if until.is_none_or(|until| modified().is_ok_and(|modified| modified <= until)) {
                    self.remove(digest)?;
                    cleared += 1;
                }
            }
        }
        Ok(cleared)
    }

    fn open_blob(&self, digest: &Digest) -> Result<Option<(PathBuf, File)>, FileError> {
        let (_, path) = shard_and_path(&self.blobs, digest);
        match self.files.open_file(&path) {
            Ok(file) => Ok(Some((path, file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("cannot open", &path)(error)),
        }
    }

    fn reading<'a>(&'a self, path: &'a Path, file: &'a File) -> Reading<'a> {
        Reading { files: &*self.files, path, file }
    }

    /// Reads no more than the limit, and what the file had at first if it grows meanwhile.
    fn read(&self, digest: &Digest, path: &Path, file: &File) -> Result<Vec<u8>, BlobError> {
        let size = file.metadata().map_err(failed("cannot look at", path))?.len();
        if size > self.bytes_max {
            return Err(BlobError::TooLarge { size, limit: self.bytes_max });
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        match read_and_hash(self.reading(path, file), &mut bytes) {
            Ok(found) if found == *digest => Ok(bytes),
            Ok(_) => Err(BlobError::Corrupt { digest: *digest }),
            // The file became shorter while it was read.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(BlobError::Corrupt { digest: *digest }),
            Err(error) => Err(failed("cannot read", path)(error).into()),
        }
    }

    /// Makes the shard directory of a digest durable, whoever has made it: another thread or process may have done so a
    /// moment ago, and may die before its sync.
    fn ensure_shard(&self, digest: &Digest, shard: &Path) -> Result<(), FileError> {
        let [first, ..] = *digest.as_bytes();
        if self.shards.lock().unwrap_or_else(PoisonError::into_inner).contains(&first) {
            return Ok(());
        }
        if !shard.is_dir() {
            unless(io::ErrorKind::AlreadyExists, self.files.create_directory(shard))
                .map_err(failed("cannot create directory", shard))?;
        }
        self.sync_directory(&self.blobs)?;
        self.shards.lock().unwrap_or_else(PoisonError::into_inner).insert(first);
        Ok(())
    }

    fn sync_directory(&self, path: &Path) -> Result<(), FileError> {
        if !self.syncs {
            return Ok(());
        }
        self.files.sync_directory(path).map_err(|error| {
            self.sync_failed.store(true, Ordering::SeqCst);
            failed("cannot sync directory", path)(error)
        })
    }

    /// Writes bytes to a new temporary and renames it to their name, over any file that has the name.
    fn write(&self, digest: &Digest, bytes: &[u8]) -> Result<(), FileError> {
        let _mine = self.temporaries.read().unwrap_or_else(PoisonError::into_inner);
        let (shard, path) = shard_and_path(&self.blobs, digest);
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        let temporary = self.tmp.join(format!("{}{number}", self.temporaries_of));
        let written = self
            .ensure_shard(digest, &shard)
            .and_then(|()| self.write_temporary(&temporary, bytes))
            .and_then(|()| self.files.rename(&temporary, &path).map_err(failed("cannot rename to", &path)));
        if let Err(error) = written {
            self.shard_may_be_gone(digest);
            if let Err(error) = unless(io::ErrorKind::NotFound, self.files.remove_file(&temporary)) {
                log::warn!("cannot remove temporary {}: {error}", temporary.display());
            }
            return Err(error);
        }
        self.sync_directory(&shard)
    }

    fn write_temporary(&self, temporary: &Path, bytes: &[u8]) -> Result<(), FileError> {
        let file = create_temporary(&*self.files, temporary).map_err(failed("cannot create", temporary))?;
        let written = if self.syncs && bytes.len() >= UNCACHED_BYTES_MIN {
            self.files.write_uncached(temporary, &file, bytes)
        } else {
            self.files.write(temporary, &file, bytes)
        };
        written.map_err(failed("cannot write", temporary))?;
        if !self.syncs {
            return Ok(());
        }
        self.files.sync_file(temporary, &file).map_err(failed("cannot sync", temporary))
    }

    /// Makes a blob that was found and read as durable as a blob that was just put.
    fn sync_found(&self, digest: &Digest, path: &Path, file: &File) -> Result<(), FileError> {
        if !self.syncs {
            return Ok(());
        }
        let (shard, _) = shard_and_path(&self.blobs, digest);
        self.ensure_shard(digest, &shard)?;
        self.files.sync_file(path, file).map_err(|error| {
            self.sync_failed.store(true, Ordering::SeqCst);
            failed("cannot sync", path)(error)
        })?;
        self.sync_directory(&shard)
    }

    fn forget_shards(&self) {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn shard_may_be_gone(&self, digest: &Digest) {
        let [first, ..] = *digest.as_bytes();
        self.shards.lock().unwrap_or_else(PoisonError::into_inner).remove(&first);
    }
}

/// A directory that is kept open, so that its number stays its own.
#[derive(Debug)]
struct HeldDirectory {
    id: FileId,
    _open: File,
}

impl HeldDirectory {
    fn open(path: &Path) -> io::Result<Self> {
        let open = File::open(path)?;
        Ok(Self { id: FileId::look(path)?.0, _open: open })
    }
}

impl FileBlobs {
    /// Stores bytes, and tells whether they were there already, undamaged.
    fn store(&self, digest: &Digest, bytes: &[u8]) -> Result<bool, BlobError> {
        match self.open_blob(digest)? {
            Some((path, file))
                if file.metadata().is_ok_and(|metadata| metadata.len() == bytes.len() as u64)
                    && holds(self.reading(&path, &file), bytes) =>
            {
                // Touched first: a sweep that removes the file after this call has looked at its name would have seen
                // that.
                if self.touched(&path) && !self.sync_failed.load(Ordering::SeqCst) {
                    self.sync_found(digest, &path, &file)?;
                } else {
                    self.write(digest, bytes)?;
                }
                Ok(true)
            }
            Some(_) => {
                log::warn!("a damaged blob is replaced by the same bytes, put again");
                log::debug!("the damaged blob is {digest}");
                self.write(digest, bytes)?;
                Ok(false)
            }
            None => {
                self.write(digest, bytes)?;
                Ok(false)
            }
        }
    }

    /// Makes a blob that is there durable, and gives its length.
    fn ensure(&self, digest: &Digest) -> Result<Option<u64>, BlobError> {
        let Some((path, file)) = self.open_blob(digest)? else { return Ok(None) };
        let stored = file.metadata().map_err(failed("cannot look at", &path))?.len();
        if self.sync_failed.load(Ordering::SeqCst) {
            let bytes = self.read(digest, &path, &file)?;
            self.write(digest, &bytes)?;
        } else {
            // This store's limit does not apply: another store, with a larger limit, may have put the blob.
            if codec::digest_of_reader(self.reading(&path, &file)).map_err(failed("cannot read", &path))? != *digest {
                return Err(BlobError::Corrupt { digest: *digest });
            }
            self.sync_found(digest, &path, &file)?;
        }
        Ok(Some(stored))
    }
}

impl BlobStore for FileBlobs {
    fn put(&self, bytes: &[u8]) -> Result<Put, BlobError> {
        let digest = codec::digest(bytes);
        let put = |existed| Put { digest, bytes: bytes.len() as u64, existed };
        loop {
            let as_of = self.known.sweeps_seen();
            if self.known_bytes(&digest).is_some() && self.touched(&shard_and_path(&self.blobs, &digest).1) {
                return Ok(put(true));
            }
            self.check_directory()?;
            let existed = self.store(&digest, bytes)?;
            // Otherwise a sweep has removed the file meanwhile, and the bytes are stored anew.
            if self.acknowledge(digest, bytes.len() as u64, as_of)? {
                return Ok(put(existed));
            }
        }
    }

    fn get(&self, digest: &Digest) -> Result<Vec<u8>, BlobError> {
        let found = self.open_blob(digest)?.ok_or(BlobError::Missing { digest: *digest });
        let read = found.and_then(|(path, file)| self.read(digest, &path, &file));
        if let Err(BlobError::Missing { .. } | BlobError::Corrupt { .. }) = read {
            // Gone or damaged since it was made durable: the next put of the same bytes must write them.
            self.known.remove(digest);
        }
        read
    }

    fn ensure_durable(&self, digest: &Digest, bytes: u64) -> Result<bool, BlobError> {
        let as_of = self.known.sweeps_seen();
        let stored = match self.known_bytes(digest) {
            Some(stored) => stored,
            None => {
                self.check_directory()?;
                let Some(stored) = self.ensure(digest)? else { return Ok(false) };
                if !self.acknowledge(*digest, stored, as_of)? {
                    return Ok(false);
                }
                stored
            }
        };
        if stored != bytes {
            return Err(BlobError::OtherLength { digest: *digest, wanted: bytes, stored });
        }
        Ok(true)
    }

    fn is_known_durable(&self, digest: &Digest, bytes: u64) -> bool {
        self.known_bytes(digest) == Some(bytes)
    }

    fn remove(&self, digest: &Digest) -> Result<(), BlobError> {
        let (_, path) = shard_and_path(&self.blobs, digest);
        self.known.remove(digest);
        // The removal is not synced: nothing names the file if it comes back after a power cut.
        Ok(unless(io::ErrorKind::NotFound, self.files.remove_file(&path)).map_err(failed("cannot remove", &path))?)
    }

    fn inspect(&self, digest: &Digest) -> Result<u64, BlobError> {
        let Some((path, file)) = self.open_blob(digest)? else {
            self.known.remove(digest);
            return Err(BlobError::Missing { digest: *digest });
        };
        if codec::digest_of_reader(self.reading(&path, &file)).map_err(failed("cannot read", &path))? != *digest {
            // As in `get`: the next put of the same bytes must write them.
            self.known.remove(digest);
            return Err(BlobError::Corrupt { digest: *digest });
        }
        Ok(file.metadata().map_err(failed("cannot look at", &path))?.len())
    }

    fn forget(&self, digest: &Digest) {
        self.known.remove(digest);
    }

    fn look(&self, digest: &Digest) -> Result<Option<BlobLook>, BlobError> {
        Ok(self.look_at(digest)?)
    }

    fn sweeps_seen(&self) -> Option<SweepCount> {
        self.known.sweeps_seen()
    }

    fn see_sweeps(&self, count: SweepCount) {
        self.known.see_sweeps(count);
    }

    fn list(&self, first: u8) -> Result<BlobListing, BlobError> {
        Ok(list::list(&*self.files, &self.blobs, first)?)
    }

    fn concurrency(&self) -> usize {
        CONCURRENCY
    }

    fn rescan(&self) -> Result<(), BlobError> {
        let _all = self.temporaries.write().unwrap_or_else(PoisonError::into_inner);
        self.known.clear();
        self.forget_shards();
        unless(io::ErrorKind::NotFound, self.files.remove_directory(&self.tmp))
            .map_err(failed("cannot remove directory", &self.tmp))?;
        for directory in [&self.blobs, &self.tmp] {
            if !directory.is_dir() {
                unless(io::ErrorKind::AlreadyExists, self.files.create_directory(directory))
                    .map_err(failed("cannot create directory", directory))?;
            }
            if let Some(parent) = directory.parent() {
                self.sync_directory(parent)?;
            }
        }
        self.look_at_directory();
        self.files.list_directory(&self.blobs).map_err(failed("cannot read directory", &self.blobs))?;
        Ok(())
    }
}
