//! The directory of a store: its layout, its locks, and what dead stores have left in it.
//!
//! Any number of processes and store objects use one directory at once. Two kinds of lock keep them apart, both
//! released by the kernel when a process dies, so that no clock and no heartbeat is needed:
//!
//! - `owners/<owner>`: exclusive for as long as the store object lives. Everybody else only ever takes it *shared*, so
//!   that nobody who looks can be mistaken for a living owner by someone else who looks.
//! - `LOCK`: shared by every open store, exclusive only while one creates or migrates.

mod claim;
mod views;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::owner_file::{is_here, left, parse_owner_file};
use crate::error::{Error, ErrorKind, OwnerInfo};
use crate::id::Timestamp;
use crate::port::{Liveness, OwnerId, Ownership};
use crate::sqlite::files::{FileError, Files, Reading, create_temporary, failed, unless};
use crate::sqlite::place::{DATABASE, MADE, check_file_systems, was_made};
use claim::{claim, has_name};

#[derive(Debug, thiserror::Error)]
pub(crate) enum DirectoryError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("cannot get random bytes")]
    Random(#[source] io::Error),
    /// The directory cannot hold a store as it is.
    #[error("{0}")]
    Unsuitable(String),
    /// Other stores kept a lock for as long as this store was ready to wait.
    #[error("{what} {} is held by other stores", path.display())]
    Busy { what: &'static str, path: PathBuf },
}

impl From<DirectoryError> for Error {
    fn from(error: DirectoryError) -> Self {
        match error {
            DirectoryError::File(error) => error.into(),
            DirectoryError::Random(source) => {
                Self::with_source(ErrorKind::Unavailable { reason: "cannot get random bytes".to_owned() }, source)
            }
            DirectoryError::Unsuitable(reason) => ErrorKind::UnsuitablePlace { reason }.into(),
            DirectoryError::Busy { .. } => ErrorKind::Unavailable { reason: error.to_string() }.into(),
        }
    }
}

/// A store's hold on its directory. Dropping it gives up the owner's name, its temporaries and both locks.
#[derive(Debug)]
pub(crate) struct StoreDirectory {
    files: Arc<dyn Files>,
    root: PathBuf,
    blobs: PathBuf,
    tmp: PathBuf,
    me: OwnerId,
    info: OwnerInfo,
    owner_file: File,
    lock: File,
    released: AtomicBool,
}

pub(super) const BLOBS: &str = "blobs";
pub(super) const SNAPSHOTS: &str = "snapshots";
pub(super) const TMP: &str = "tmp";
pub(super) const OWNERS: &str = "owners";
pub(super) const LOCK: &str = "LOCK";

/// How often a store tries to get the lock. With waits of up to 64 ms this takes about three seconds: enough for many
/// stores that create one directory together, and finite when an older build keeps a directory open that this build
/// must migrate.
const LOCK_ATTEMPTS_MAX: u32 = 100;

impl StoreDirectory {
    /// Opens a directory, created when absent with its parents, claims an owner of it and clears what dead ones left.
    /// `since` is what others are told when they ask who owns a session.
    pub(crate) fn open(files: Arc<dyn Files>, path: &Path, since: Timestamp) -> Result<Self, DirectoryError> {
        // The process may change its working directory later.
        let root = std::path::absolute(path).map_err(failed("cannot find directory", path))?;
        create_directory_and_parents(&*files, &root)?;
        let directories = [BLOBS, SNAPSHOTS, TMP, OWNERS].map(|name| root.join(name));
        for directory in &directories {
            if !directory.is_dir() {
                unless(io::ErrorKind::AlreadyExists, files.create_directory(directory))
                    .map_err(failed("cannot create directory", directory))?;
                // Something else has the name, not a directory that another store has just made.
                if !directory.is_dir() {
                    let error = io::ErrorKind::NotADirectory.into();
                    return Err(failed("the store needs a directory at", directory)(error).into());
                }
            }
        }
        check_file_systems(&root, &directories)?;
        let lock_path = root.join(LOCK);
        create_unless_there(&*files, &lock_path)?;
        // Another store may have made all of this a moment ago, and die before its sync: synced whoever made it.
        files.sync_directory(&root).map_err(failed("cannot sync directory", &root))?;
        let lock = OpenOptions::new().read(true).write(true).open(&lock_path);
        let lock = lock.map_err(failed("cannot open", &lock_path))?;

        // Neither the owner file nor the directory for temporaries is worth a sync: after a power cut both are garbage.
        let (info, me, owner_file) = claim(&*files, &root.join(OWNERS), since)?;
        let (blobs, tmp) = (root.join(BLOBS), root.join(TMP).join(me.as_str()));
        let released = AtomicBool::new(false);
        let directory = Self { files, root, blobs, tmp, me, info, owner_file, lock, released };
        // After the owner file, never before it: a directory without one is taken for a dead owner's.
        let created = directory.files.create_directory(&directory.tmp);
        created.map_err(failed("cannot create directory", &directory.tmp))?;
        directory.clear_dead_owners()?;
        Ok(directory)
    }

    /// SQLite's database file.
    pub(crate) fn events_db(&self) -> PathBuf {
        self.root.join(DATABASE)
    }

    pub(crate) fn blobs(&self) -> &Path {
        &self.blobs
    }

    /// Where stored views are, as files like those of blobs.
    pub(crate) fn snapshots(&self) -> PathBuf {
        self.root.join(SNAPSHOTS)
    }

    /// The copies of damaged write-ahead logs, by name.
    pub(crate) fn kept_copies(&self) -> Result<Vec<String>, DirectoryError> {
        let names = self.files.list_directory(&self.root).map_err(failed("cannot read directory", &self.root))?;
        let mut copies: Vec<_> = names.into_iter().filter_map(|name| name.into_string().ok()).collect();
        copies.retain(|name| name.starts_with(&format!("{DATABASE}-wal.damaged-")));
        copies.sort_unstable();
        Ok(copies)
    }

    /// When this store opened the directory, by the clock of the file system.
    pub(crate) fn opened_at(&self) -> Option<std::time::SystemTime> {
        self.owner_file.metadata().and_then(|file| file.modified()).ok()
    }

    /// This store's own temporaries, on the file system of the blobs.
    pub(crate) fn tmp(&self) -> &Path {
        &self.tmp
    }

    pub(crate) fn files(&self) -> &Arc<dyn Files> {
        &self.files
    }

    /// Makes an empty file that only its owner can read, with a durable name; leaves one that exists as it is.
    ///
    /// SQLite gives the `-wal` and `-shm` files the mode of the database file, so that this one call covers all three.
    /// An existing file is not even opened: closing any handle of a database file drops every POSIX lock that this
    /// process has on it, those of other connections included. For the same reason a database is created under the
    /// exclusive lock only, see [`Self::lock_shared_or_create`].
    pub(crate) fn create_private_file(&self, path: &Path) -> Result<(), DirectoryError> {
        create_unless_there(&*self.files, path)?;
        match path.parent() {
            Some(parent) => self.sync_directory(parent),
            None => Ok(()),
        }
    }

    /// Gives a complete file its name in the directory, durably: a power cut leaves the whole file or no name.
    ///
    /// No connection may have the file open, for the reason that [`Self::create_private_file`] gives.
    pub(crate) fn name_file(&self, from: &Path, to: &Path) -> Result<(), DirectoryError> {
        let file = self.files.open_file(from).map_err(failed("cannot open", from))?;
        self.files.sync_file(from, &file).map_err(failed("cannot sync", from))?;
        self.files.rename(from, to).map_err(failed("cannot rename to", to))?;
        self.sync_root()
    }

    /// Makes the names in the directory itself durable.
    pub(crate) fn sync_root(&self) -> Result<(), DirectoryError> {
        self.sync_directory(&self.root)
    }

    fn sync_directory(&self, path: &Path) -> Result<(), DirectoryError> {
        Ok(self.files.sync_directory(path).map_err(failed("cannot sync directory", path))?)
    }

    /// Takes the directory's lock shared, for as long as this object lives, with the directory ready for use: of all
    /// stores that open it at once, one creates or migrates it, alone, and the others wait.
    ///
    /// To be called once, while the store opens: one object has one hold on the lock, and its threads would share it.
    pub(crate) fn lock_shared_or_create<E: From<DirectoryError>>(
        &self,
        is_ready: impl FnMut() -> Result<bool, E>,
        create: impl FnMut() -> Result<(), E>,
    ) -> Result<(), E> {
        let outcome = self.try_lock_shared_or_create(LOCK_ATTEMPTS_MAX, is_ready, create);
        if outcome.is_err() {
            self.unlock()?;
        }
        outcome
    }

    fn try_lock_shared_or_create<E: From<DirectoryError>>(
        &self,
        attempts_max: u32,
        mut is_ready: impl FnMut() -> Result<bool, E>,
        mut create: impl FnMut() -> Result<(), E>,
    ) -> Result<(), E> {
        for attempt in 0..attempts_max {
            // Blocks while someone creates.
            self.lock_shared()?;
            if is_ready()? {
                return Ok(());
            }
            // A lock cannot be widened without letting go of it, so every look before this is void afterwards: whoever
            // gets it exclusively looks again, and whoever narrows it goes round to the check above.
            self.unlock()?;
            match self.lock.try_lock() {
                Ok(()) => {
                    if !is_ready()? {
                        create()?;
                    }
                    self.unlock()?;
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(random_wait(attempt)),
                Err(TryLockError::Error(error)) => Err(self.lock_failed(error))?,
            }
        }
        Err(DirectoryError::Busy { what: "lock of directory", path: self.root.clone() })?
    }

    /// Takes the directory's lock exclusively, for as long as this object lives. To be called once, instead of
    /// [`Self::lock_shared_or_create`].
    pub(crate) fn lock_alone(&self) -> Result<(), DirectoryError> {
        for attempt in 0..LOCK_ATTEMPTS_MAX {
            match self.lock.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) => std::thread::sleep(random_wait(attempt)),
                Err(TryLockError::Error(error)) => return Err(self.lock_failed(error)),
            }
        }
        Err(DirectoryError::Busy { what: "lock of directory", path: self.root.clone() })
    }

    /// Runs something while no other store has the directory open; `None` when one has. Others that open it meanwhile
    /// wait. To be called before [`Self::lock_shared_or_create`].
    pub(crate) fn if_alone<T, E: From<DirectoryError>>(
        &self,
        run: impl FnOnce() -> Result<T, E>,
    ) -> Result<Option<T>, E> {
        match self.lock.try_lock() {
            Ok(()) => {
                let outcome = run();
                self.unlock()?;
                outcome.map(Some)
            }
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(self.lock_failed(error))?,
        }
    }

    /// Copies a file of the directory to `<name>.<what>-<n>` beside it, durably, and private like all the others:
    /// `None` when there are `max` of them already. A crash leaves a temporary or the whole copy.
    pub(crate) fn keep_copy(&self, path: &Path, what: &str, max: usize) -> Result<Option<PathBuf>, DirectoryError> {
        const CHUNK: usize = 64 << 10;
        let beside = |number: usize| {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".{what}-{number}"));
            PathBuf::from(name)
        };
        let Some(copy) = (1..=max).map(beside).find(|copy| !copy.exists()) else { return Ok(None) };
        let temporary = self.tmp.join("copy");
        let mut from = File::open(path).map_err(failed("cannot open", path))?;
        let to = create_temporary(&*self.files, &temporary).map_err(failed("cannot create", &temporary))?;
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = from.read(&mut buffer).map_err(failed("cannot read", path))?;
            let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
            self.files.write(&temporary, &to, bytes).map_err(failed("cannot write", &temporary))?;
        }
        self.files.sync_file(&temporary, &to).map_err(failed("cannot sync", &temporary))?;
        self.files.rename(&temporary, &copy).map_err(failed("cannot rename to", &copy))?;
        self.sync_root()?;
        Ok(Some(copy))
    }

    /// Whether a database was ever complete here.
    pub(crate) fn was_made(&self) -> Result<bool, DirectoryError> {
        Ok(was_made(&*self.files, &self.root)?)
    }

    /// Notes that the database is complete and has its name, durably. Several stores may do this at once.
    pub(crate) fn mark_made(&self) -> Result<(), DirectoryError> {
        let path = self.root.join(LOCK);
        let length = self.lock.metadata().map_err(failed("cannot look at", &path))?.len();
        if length == 0 {
            self.files.write(&path, &self.lock, MADE).map_err(failed("cannot write", &path))?;
            self.files.sync_file(&path, &self.lock).map_err(failed("cannot sync", &path))?;
        }
        Ok(())
    }

    fn lock_shared(&self) -> Result<(), DirectoryError> {
        loop {
            match self.lock.lock_shared() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => return outcome.map_err(|error| self.lock_failed(error)),
            }
        }
    }

    fn unlock(&self) -> Result<(), DirectoryError> {
        self.lock.unlock().map_err(|error| self.lock_failed(error))
    }

    fn lock_failed(&self, error: io::Error) -> DirectoryError {
        failed("cannot lock directory", &self.root)(error).into()
    }

    fn owner_path(&self, owner: &OwnerId) -> PathBuf {
        self.root.join(OWNERS).join(owner.as_str())
    }

    /// Removes what dead owners left: their owner files, then every directory for temporaries that has none. A crash in
    /// between leaves such a directory to the next store that opens. Several stores may do this at once.
    ///
    /// Somebody else's leavings that cannot be removed are no reason not to open.
    pub(crate) fn clear_dead_owners(&self) -> Result<(), DirectoryError> {
        for owner in self.owners_in(OWNERS)? {
            if let Err(error) = self.remove_owner_file_if_dead(&owner) {
                log::warn!("cannot clear what a dead store left: {error}");
            }
        }
        // An owner file is made before its directory for temporaries, and no id is used twice: a file that is not there
        // now was removed, and cannot come back between this look and the removal.
        for owner in self.owners_in(TMP)? {
            if matches!(self.owner_path(&owner).try_exists(), Ok(false))
                && let Err(error) = self.remove_temporaries(&owner)
            {
                log::warn!("cannot clear what a dead store left: {error}");
            }
        }
        Ok(())
    }

    fn remove_owner_file_if_dead(&self, owner: &OwnerId) -> Result<(), FileError> {
        let path = self.owner_path(owner);
        let file = match self.files.open_file(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed("cannot open", &path)(error)),
        };
        // Held until the end. It may be the file of a store that is opening and has not locked it yet: that store finds
        // its file locked or gone, and takes another name before it makes anything else.
        match file.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(failed("cannot lock", &path)(error)),
        }
        unless(io::ErrorKind::NotFound, self.files.remove_file(&path)).map_err(failed("cannot remove", &path))
    }

    fn remove_temporaries(&self, owner: &OwnerId) -> Result<(), FileError> {
        let path = self.root.join(TMP).join(owner.as_str());
        unless(io::ErrorKind::NotFound, self.files.remove_directory(&path))
            .map_err(failed("cannot remove directory", &path))
    }

    /// The other owners that a directory names. Names of any other form are not foldlog's and stay.
    fn owners_in(&self, name: &str) -> Result<Vec<OwnerId>, FileError> {
        let path = self.root.join(name);
        let names = self.files.list_directory(&path).map_err(failed("cannot read directory", &path))?;
        Ok(names.iter().filter_map(|name| OwnerId::parse(name.to_str()?)).filter(|owner| *owner != self.me).collect())
    }

    /// Gives everything up, in the order in which a crash at any point leaves what the next store clears. Only the
    /// first call does something. Others take this owner for dead from then on, so nothing may write afterwards.
    fn leave(&self) -> Result<(), DirectoryError> {
        // A process that was forked from the owner's shares the open files: to unlock one would unlock it for both.
        if self.released.swap(true, Ordering::SeqCst) || self.info.process != std::process::id() {
            return Ok(());
        }
        let path = self.owner_path(&self.me);
        let removed = self.remove_temporaries(&self.me).and_then(|()| {
            unless(io::ErrorKind::NotFound, self.files.remove_file(&path)).map_err(failed("cannot remove", &path))
        });
        // Not left to closing the files: a child process that is just being started still has them open.
        let unlocked = self.owner_file.unlock().map_err(failed("cannot unlock", &path));
        // Behind the unlock: as long as another store takes this owner for alive, it is told that it is of this
        // process.
        left(&self.info);
        self.unlock()?;
        Ok(removed.and(unlocked)?)
    }
}

impl Drop for StoreDirectory {
    fn drop(&mut self) {
        if let Err(error) = self.leave() {
            log::warn!("cannot leave the store directory in order, the next store will clear it: {error}");
        }
    }
}

impl Ownership for StoreDirectory {
    fn me(&self) -> &OwnerId {
        &self.me
    }

    fn liveness(&self, owner: &str) -> Result<Liveness, Error> {
        if owner == self.me.as_str() {
            return Ok(Liveness::Alive(self.info.clone()));
        }
        // No store has ever had a name of another form; above all, such a name is never made a path.
        let Some(owner) = OwnerId::parse(owner) else { return Ok(Liveness::Dead) };
        let path = self.owner_path(&owner);
        Ok(look_at_owner(&*self.files, &owner, &path).map_err(failed("cannot look at", &path))?)
    }

    fn still_held(&self) -> Result<bool, Error> {
        Ok(has_name(&self.owner_file, &self.owner_path(&self.me)))
    }

    fn release(&self) -> Result<(), Error> {
        Ok(self.leave()?)
    }
}

/// Looks whether an owner is alive: it is as long as its file is locked.
pub(crate) fn look_at_owner(files: &dyn Files, owner: &OwnerId, path: &Path) -> io::Result<Liveness> {
    let file = match files.open_file(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Liveness::Dead),
        Err(error) => return Err(error),
    };
    let in_this_process = is_here(owner);
    match file.try_lock_shared() {
        Ok(()) => Ok(Liveness::Dead),
        Err(TryLockError::WouldBlock) => {
            let mut text = Vec::new();
            Reading { files, path, file: &file }.take(4096).read_to_end(&mut text)?;
            let info = parse_owner_file(owner, &String::from_utf8_lossy(&text));
            Ok(Liveness::Alive(OwnerInfo { in_this_process, ..info }))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Makes a directory and the parents that it lacks, each durable before the next.
pub(crate) fn create_directory_and_parents(files: &dyn Files, path: &Path) -> Result<(), FileError> {
    let mut missing = Vec::new();
    let mut existing = path;
    while !existing.exists() {
        missing.push(existing);
        let Some(parent) = existing.parent() else { break };
        existing = parent;
    }
    // Another store may have made it a moment ago, and die before its sync. One whose parent may not be read, or cannot
    // be synced at all, was not made by foldlog, which would have stopped there.
    if let Some(parent) = existing.parent() {
        match files.sync_directory(parent) {
            Err(error) if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput) => {}
            outcome => outcome.map_err(failed("cannot sync directory", parent))?,
        }
    }
    for directory in missing.into_iter().rev() {
        unless(io::ErrorKind::AlreadyExists, files.create_directory(directory))
            .map_err(failed("cannot create directory", directory))?;
        if let Some(parent) = directory.parent() {
            files.sync_directory(parent).map_err(failed("cannot sync directory", parent))?;
        }
    }
    if path.is_dir() {
        return Ok(());
    }
    Err(failed("the store needs a directory at", path)(io::ErrorKind::NotADirectory.into()))
}

fn create_unless_there(files: &dyn Files, path: &Path) -> Result<(), FileError> {
    unless(io::ErrorKind::AlreadyExists, files.create_file(path).map(drop)).map_err(failed("cannot create", path))
}

/// A wait that doubles with each attempt up to 64 ms, times a random share: two stores that keep each other from the
/// exclusive lock must not retry at the same moments.
fn random_wait(attempt: u32) -> Duration {
    let random = u64::from(getrandom::u32().unwrap_or(attempt) % 1000);
    Duration::from_micros((1_u64 << attempt.min(6)) * (1 + random))
}

#[cfg(test)]
mod tests;
