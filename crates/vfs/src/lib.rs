//! A SQLite VFS that shows a test every operation on a database's files, and lets it fail.
//!
//! [`watch`] names a directory; every connection that is opened through the VFS [`NAME`] to a file in it tells the
//! [`Watch`] of each operation before it is done. All else goes to SQLite's own VFS.
//!
//! This is a crate of its own because a VFS is a table of C functions: the crate holds all of foldlog's unsafe code,
//! and only the `testkit` feature depends on it.
//!
//! # Examples
//! ```
//! use std::sync::{Arc, Mutex};
//!
//! #[derive(Debug, Default)]
//! struct Count(Mutex<usize>);
//!
//! impl foldlog_vfs::Watch for Count {
//!     fn operate(
//!         &self,
//!         operation: &foldlog_vfs::Operation<'_>,
//!         run: &mut dyn FnMut() -> Result<(), foldlog_vfs::Failure>,
//!     ) -> Result<(), foldlog_vfs::Failure> {
//!         if let foldlog_vfs::Operation::Write { .. } = operation {
//!             *self.0.lock().unwrap() += 1;
//!         }
//!         run()
//!     }
//! }
//!
//! let directory = std::env::temp_dir();
//! let count = Arc::new(Count::default());
//! let watched = foldlog_vfs::watch(&directory, count.clone()).unwrap();
//! // Connection::open_with_flags_and_vfs(directory.join("x.db"), flags, foldlog_vfs::NAME)
//! drop(watched);
//! ```

mod file;
mod fork;
mod vfs;

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::ffi;

pub use fork::ends_well_in_a_forked_child;

/// The name that the VFS is registered under.
pub const NAME: &str = "foldlog-testkit";

/// Something that SQLite is about to do with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation<'a> {
    /// Opens a file. `makes` is true when the file does not exist yet.
    Open {
        /// The file.
        path: &'a Path,
        /// Whether the operation makes the file.
        makes: bool,
    },
    /// Reads bytes.
    Read {
        /// The file.
        path: &'a Path,
        /// The first byte, counted from 0.
        offset: u64,
        /// How many bytes.
        len: usize,
    },
    /// Writes bytes.
    Write {
        /// The file.
        path: &'a Path,
        /// The place of the first byte, counted from 0.
        offset: u64,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// Sets a file's length.
    Truncate {
        /// The file.
        path: &'a Path,
        /// The new length, in bytes.
        len: u64,
    },
    /// Makes a file's bytes durable.
    Sync {
        /// Of which file.
        path: &'a Path,
    },
    /// Removes a file's name.
    Remove {
        /// The file.
        path: &'a Path,
        /// Whether SQLite wants the directory synced after the removal.
        sync_directory: bool,
    },
    /// Maps a part of the shared index of the write-ahead log of a database.
    MapShared {
        /// The database.
        path: &'a Path,
    },
}

/// SQLite's code for what went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure(pub i32);

impl Failure {
    /// There is no space left.
    pub const DISK_FULL: Self = Self(ffi::SQLITE_FULL);
    /// A file cannot be opened.
    pub const CANNOT_OPEN: Self = Self(ffi::SQLITE_CANTOPEN);
    /// A file is read-only.
    pub const READ_ONLY: Self = Self(ffi::SQLITE_READONLY);

    /// The device failed during this operation.
    #[must_use]
    pub fn of_device(operation: &Operation<'_>) -> Self {
        Self(match operation {
            Operation::Open { .. } => ffi::SQLITE_CANTOPEN,
            Operation::Read { .. } => ffi::SQLITE_IOERR_READ,
            Operation::Write { .. } => ffi::SQLITE_IOERR_WRITE,
            Operation::Truncate { .. } => ffi::SQLITE_IOERR_TRUNCATE,
            Operation::Sync { .. } => ffi::SQLITE_IOERR_FSYNC,
            Operation::Remove { .. } => ffi::SQLITE_IOERR_DELETE,
            Operation::MapShared { .. } => ffi::SQLITE_IOERR_SHMMAP,
        })
    }
}

/// Sees each operation before it is done, and decides whether it is done.
pub trait Watch: Debug + Send + Sync {
    /// Decides on one operation. `run` does the operation. Call `run` at most once; do not call it if the operation is
    /// to fail, or to be skipped while SQLite is told that it was done. A panic becomes a failure of the device.
    ///
    /// # Errors
    /// What SQLite is to be told. Hand on an error of `run`: a read past the end of a file is one.
    fn operate(&self, operation: &Operation<'_>, run: &mut dyn FnMut() -> Result<(), Failure>) -> Result<(), Failure>;
}

/// A watched directory. Dropping it ends the watch; files that are open then stay watched until they are closed.
#[derive(Debug)]
pub struct Watched {
    directory: PathBuf,
}

type Watches = Vec<(PathBuf, Arc<dyn Watch>)>;

static WATCHES: Mutex<Watches> = Mutex::new(Vec::new());

/// Watches the database files in a directory and below it. The path is made absolute in the same way as SQLite
/// does it.
///
/// # Errors
/// When the directory is not there, or SQLite does not take the VFS.
pub fn watch(directory: &Path, watch: Arc<dyn Watch>) -> io::Result<Watched> {
    vfs::register()?;
    let directory = directory.canonicalize()?;
    watches().push((directory.clone(), watch));
    Ok(Watched { directory })
}

fn watches() -> MutexGuard<'static, Watches> {
    WATCHES.lock().unwrap_or_else(PoisonError::into_inner)
}

fn watch_of(path: &Path) -> Option<Arc<dyn Watch>> {
    // The latest watch, if a directory is watched twice.
    watches().iter().rev().find(|(directory, _)| path.starts_with(directory)).map(|(_, watch)| Arc::clone(watch))
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut watches = watches();
        if let Some(at) = watches.iter().rposition(|(directory, _)| *directory == self.directory) {
            watches.remove(at);
        }
    }
}
