//! The one place through which foldlog uses files: each operation can be recorded, and made to fail.

mod group;
mod priority;
#[cfg(target_os = "linux")]
mod uncached;

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::id::Timestamp;

/// Every operation whose loss or order a power cut could show, and those that read. Looking at what a path is goes to
/// the file system directly, as do locks.
///
/// A name is durable only once its directory is synced, its bytes only once its file is; no operation here does the
/// other's work on the side, so that a record of them is the whole story.
pub(crate) trait Files: fmt::Debug + Send + Sync {
    /// Makes a new file, whatever the umask: for its owner alone, or for the group of its directory, too. An existing
    /// one is an error.
    fn create_file(&self, path: &Path) -> io::Result<File>;
    fn write(&self, path: &Path, file: &File, bytes: &[u8]) -> io::Result<()>;
    /// Writes many bytes that are synced soon and not read soon: past the system's cache, if the file system can do
    /// that. Before the sync the bytes are no more durable than those of a [`write`](Self::write).
    fn write_uncached(&self, path: &Path, file: &File, bytes: &[u8]) -> io::Result<()>;
    fn sync_file(&self, path: &Path, file: &File) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Makes one new directory, open to those who may use its files. An existing one is an error.
    fn create_directory(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory with all that is in it.
    fn remove_directory(&self, path: &Path) -> io::Result<()>;
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
    /// Sets the time of a file to now. It is durable with the next sync of the file.
    fn touch(&self, path: &Path) -> io::Result<()>;

    /// Opens a file for reading.
    fn open_file(&self, path: &Path) -> io::Result<File>;
    /// Reads some bytes from where the last read ended, none at the end.
    fn read(&self, path: &Path, file: &File, buffer: &mut [u8]) -> io::Result<usize>;
    /// The names in a directory, in no order.
    fn list_directory(&self, path: &Path) -> io::Result<Vec<OsString>>;
}

pub(crate) use group::GroupFiles;
pub(crate) use priority::give_way;

/// A file that is read through its layer.
pub(crate) struct Reading<'a> {
    pub(crate) files: &'a dyn Files,
    pub(crate) path: &'a Path,
    pub(crate) file: &'a File,
}

impl Read for Reading<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.files.read(self.path, self.file, buffer)
    }
}

/// The file system itself.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OsFiles;

const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

impl Files for OsFiles {
    fn create_file(&self, path: &Path) -> io::Result<File> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(FILE_MODE).open(path)?;
        // A umask can only have taken bits away, so the file was never wider than this.
        file.set_permissions(Permissions::from_mode(FILE_MODE))?;
        Ok(file)
    }

    fn write(&self, _path: &Path, mut file: &File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn write_uncached(&self, _path: &Path, mut file: &File, bytes: &[u8]) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        let bytes = uncached::write_blocks(file, bytes)?;
        file.write_all(bytes)
    }

    fn sync_file(&self, _path: &Path, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().mode(DIRECTORY_MODE).create(path)?;
        fs::set_permissions(path, Permissions::from_mode(DIRECTORY_MODE))
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn touch(&self, path: &Path) -> io::Result<()> {
        use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, utimensat};
        // Not a time of this process's: whoever may write the file may do this, too.
        let [now, as_it_is] = [UTIME_NOW, UTIME_OMIT].map(|tv_nsec| Timespec { tv_sec: 0, tv_nsec });
        let times = Timestamps { last_access: as_it_is, last_modification: now };
        Ok(utimensat(CWD, path, &times, AtFlags::empty())?)
    }

    fn open_file(&self, path: &Path) -> io::Result<File> {
        File::open(path)
    }

    fn read(&self, _path: &Path, mut file: &File, buffer: &mut [u8]) -> io::Result<usize> {
        file.read(buffer)
    }

    fn list_directory(&self, path: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect()
    }
}

/// Which file or directory a name leads to: device and inode. While a file is open, no other file gets the same pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId(u64, u64);

impl FileId {
    pub(crate) fn is_on_the_file_system_of(self, other: Self) -> bool {
        self.0 == other.0
    }

    /// Gives the size, too. It does not ask for times: Linux gives a file whose times were read a new time at the next
    /// write, however soon that is, and the next sync must then write the inode, too. With times, a commit took twice
    /// as long.
    #[cfg(target_os = "linux")]
    pub(crate) fn look(path: &Path) -> io::Result<(Self, u64)> {
        use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
        let found = statx(CWD, path, AtFlags::empty(), StatxFlags::INO | StatxFlags::SIZE)?;
        let device = u64::from(found.stx_dev_major) << 32 | u64::from(found.stx_dev_minor);
        Ok((Self(device, found.stx_ino), found.stx_size))
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn look(path: &Path) -> io::Result<(Self, u64)> {
        use std::os::unix::fs::MetadataExt;
        let found = path.metadata()?;
        Ok((Self(found.dev(), found.ino()), found.len()))
    }
}

/// A file, with what changes when somebody writes into it: size, and times in nanoseconds. Two writes within one tick
/// of the file system's clock can leave the same times.
///
/// Not for the files of a store that writes: [`FileId::look`] says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileStamp {
    id: (u64, u64),
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileStamp {
    pub(crate) fn look(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let found = path.metadata()?;
        Ok(Self {
            id: (found.dev(), found.ino()),
            bytes: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// When somebody last wrote into the file, by the clock of the file system.
    pub(crate) fn modified(&self) -> Timestamp {
        let (seconds, nanoseconds) = self.modified;
        Timestamp::from_micros(seconds.saturating_mul(1_000_000).saturating_add(nanoseconds / 1000))
    }
}

/// Gives what a path leads to, or `None` where nothing has the name.
pub(crate) fn if_there<T>(looked: io::Result<T>) -> io::Result<Option<T>> {
    match looked {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a path is on a read-only mount: then nobody can write there, whatever the permissions are.
#[cfg(target_os = "linux")]
pub(crate) fn is_mounted_read_only(path: &Path) -> io::Result<bool> {
    use rustix::fs::{StatVfsMountFlags, statvfs};
    Ok(statvfs(path)?.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Whether a file is on a read-only mount, as its opening for writing tells. Nothing is written.
#[cfg(not(target_os = "linux"))]
pub(crate) fn is_mounted_read_only(path: &Path) -> io::Result<bool> {
    let opened = OpenOptions::new().write(true).open(path);
    Ok(opened.is_err_and(|error| error.kind() == io::ErrorKind::ReadOnlyFilesystem))
}

/// Why this process may not read and write a file that is there, as far as the system tells without opening it: to open
/// and close a database file would drop SQLite's locks.
#[cfg(target_os = "linux")]
pub(crate) fn may_not_be_written(path: &Path) -> Option<io::Error> {
    use rustix::fs::{Access, access};
    let refused = io::Error::from(access(path, Access::READ_OK | Access::WRITE_OK).err()?);
    matches!(refused.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem).then_some(refused)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn may_not_be_written(_path: &Path) -> Option<io::Error> {
    None
}

/// An operation on a path that failed.
#[derive(Debug, thiserror::Error)]
#[error("{what} {}: {source}", path.display())]
pub(crate) struct FileError {
    /// What was tried, as the beginning of a sentence that the path ends: `cannot write`.
    pub(crate) what: &'static str,
    pub(crate) path: PathBuf,
    #[source]
    pub(crate) source: io::Error,
}

impl FileError {
    /// Whether more disk space would help. If so, a caller waits and tries again; if the disk is broken, it does not.
    pub(crate) fn is_disk_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

impl From<FileError> for crate::error::Error {
    fn from(error: FileError) -> Self {
        use crate::error::ErrorKind;
        if error.is_disk_full() {
            return Self::with_source(ErrorKind::DiskFull, error);
        }
        if error.source.kind() == io::ErrorKind::CrossesDevices {
            let reason =
                format!("{error}: it must be on one file system, and in one mount, with the rest of the directory");
            return ErrorKind::UnsuitablePlace { reason }.into();
        }
        Self::with_source(ErrorKind::Io { what: error.what, path: error.path }, error.source)
    }
}

/// Makes a temporary, and first the directory for it where a cleaner has removed that: `tmp/<owner>`, perhaps with
/// `tmp`.
pub(crate) fn create_temporary(files: &dyn Files, path: &Path) -> io::Result<File> {
    match (files.create_file(path), path.parent()) {
        (Err(error), Some(own)) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(all) = own.parent() {
                unless(io::ErrorKind::AlreadyExists, files.create_directory(all))?;
            }
            unless(io::ErrorKind::AlreadyExists, files.create_directory(own))?;
            files.create_file(path)
        }
        (made, _) => made,
    }
}

/// For `map_err`: names what was tried, on which path.
pub(crate) fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    move |source| FileError { what, path: path.to_owned(), source }
}

/// Takes an operation whose outcome is already there as done: several stores make and clear the same things at once.
pub(crate) fn unless(kind: io::ErrorKind, outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == kind => Ok(()),
        outcome => outcome,
    }
}
