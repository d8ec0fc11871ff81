//! The two ways to a disk: that of blob files and directories, and that of the database. Each operation asks the disk
//! first whether it is to run.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use foldlog_vfs::{Failure, Operation, Watch, Watched};

use super::{Class, Decision, DiskError, DiskInner};
use crate::sqlite::{Files, OsFiles};
use crate::testkit::journal::{JournalEntry, SyncOf};

/// A store's access to a disk.
#[derive(Debug)]
pub(super) struct DiskLayer {
    pub(super) inner: Arc<DiskInner>,
    #[expect(dead_code, reason = "the directory is watched for as long as a configuration or a store has this")]
    pub(super) watched: Watched,
}

pub(super) fn watch(inner: &Arc<DiskInner>) -> io::Result<Watched> {
    foldlog_vfs::watch(inner.directory.path(), Arc::new(DatabaseFiles(Arc::clone(inner))))
}

impl DiskLayer {
    fn operate<T>(
        &self,
        class: Class,
        path: &Path,
        name: &str,
        run: impl FnOnce() -> io::Result<(T, Option<JournalEntry>)>,
    ) -> io::Result<T> {
        let what = || format!("{name} {}", path.strip_prefix(&self.inner.root).unwrap_or(path).display());
        self.inner.operate(class, what, |decision| match decision {
            Decision::Fail { error, .. } => Err((error.io(), None)),
            _ => run().map_err(|error| (error, None)),
        })
    }

    fn write(
        &self,
        path: &Path,
        file: &File,
        bytes: &[u8],
        run: impl FnOnce(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let what = || format!("write {}", path.strip_prefix(&self.inner.root).unwrap_or(path).display());
        self.inner.operate(Class::Write, what, |decision| {
            let write = |bytes: &[u8]| -> io::Result<Option<JournalEntry>> {
                let mut position = file;
                let offset = position.stream_position()?;
                run(bytes)?;
                Ok(self.inner.inside(path).map(|path| JournalEntry::Wrote { path, offset, bytes: bytes.to_vec() }))
            };
            match decision {
                // A full disk takes some of the bytes.
                Decision::Fail { error, .. } => {
                    let half = bytes.split_at(bytes.len() / 2).0;
                    Err((error.io(), write(half).unwrap_or(None)))
                }
                _ => write(bytes).map(|entry| ((), entry)).map_err(|error| (error, None)),
            }
        })
    }

    fn sync(
        &self,
        path: &Path,
        name: &str,
        run: impl FnOnce() -> io::Result<()>,
        entry: SyncEntries,
    ) -> io::Result<()> {
        let inside = self.inner.inside(path);
        let class = Class::Sync(SyncOf::of_path(inside.as_deref().unwrap_or(path)));
        let what = || format!("{name} {}", inside.as_deref().unwrap_or(path).display());
        self.inner.operate(class, what, |decision| match decision {
            Decision::Fail { error, .. } => Err((error.io(), inside.clone().map(entry.failed))),
            Decision::PassOver => Ok(((), None)),
            Decision::Run => run().map_err(|error| (error, None)).map(|()| ((), inside.clone().map(entry.done))),
        })
    }
}

/// What is recorded of a sync.
struct SyncEntries {
    done: fn(PathBuf) -> JournalEntry,
    failed: fn(PathBuf) -> JournalEntry,
}

impl Files for DiskLayer {
    fn create_file(&self, path: &Path) -> io::Result<File> {
        self.operate(Class::Write, path, "make", || {
            Ok((OsFiles.create_file(path)?, self.inner.inside(path).map(|path| JournalEntry::Made { path })))
        })
    }

    fn write(&self, path: &Path, file: &File, bytes: &[u8]) -> io::Result<()> {
        self.write(path, file, bytes, |bytes| OsFiles.write(path, file, bytes))
    }

    // Recorded as any other: what it leaves is durable no sooner.
    fn write_uncached(&self, path: &Path, file: &File, bytes: &[u8]) -> io::Result<()> {
        self.write(path, file, bytes, |bytes| OsFiles.write_uncached(path, file, bytes))
    }

    fn sync_file(&self, path: &Path, file: &File) -> io::Result<()> {
        let entries = SyncEntries {
            done: |path| JournalEntry::Synced { path },
            failed: |path| JournalEntry::SyncFailed { path },
        };
        self.sync(path, "sync", || OsFiles.sync_file(path, file), entries)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operate(Class::Write, to, "rename to", || {
            OsFiles.rename(from, to)?;
            let paths = self.inner.inside(from).zip(self.inner.inside(to));
            Ok(((), paths.map(|(from, to)| JournalEntry::Renamed { from, to })))
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.operate(Class::Remove, path, "remove", || {
            OsFiles.remove_file(path)?;
            Ok(((), self.inner.inside(path).map(|path| JournalEntry::Removed { path })))
        })
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.operate(Class::Write, path, "make directory", || {
            OsFiles.create_directory(path)?;
            Ok(((), self.inner.inside(path).map(|path| JournalEntry::MadeDirectory { path })))
        })
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.operate(Class::Remove, path, "remove directory", || {
            OsFiles.remove_directory(path)?;
            Ok(((), self.inner.inside(path).map(|path| JournalEntry::RemovedDirectory { path })))
        })
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let entries = SyncEntries {
            done: |path| JournalEntry::SyncedDirectory { path },
            failed: |path| JournalEntry::SyncFailed { path },
        };
        self.sync(path, "sync directory", || OsFiles.sync_directory(path), entries)
    }

    // Nobody relies on it after a power cut.
    fn touch(&self, path: &Path) -> io::Result<()> {
        self.operate(Class::Write, path, "touch", || Ok((OsFiles.touch(path)?, None)))
    }

    fn open_file(&self, path: &Path) -> io::Result<File> {
        self.operate(Class::Read, path, "open", || Ok((OsFiles.open_file(path)?, None)))
    }

    fn read(&self, path: &Path, file: &File, buffer: &mut [u8]) -> io::Result<usize> {
        self.operate(Class::Read, path, "read", || Ok((OsFiles.read(path, file, buffer)?, None)))
    }

    fn list_directory(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.operate(Class::Read, path, "list", || Ok((OsFiles.list_directory(path)?, None)))
    }
}

/// The database's files on a disk.
#[derive(Debug)]
struct DatabaseFiles(Arc<DiskInner>);

impl Watch for DatabaseFiles {
    fn operate(&self, operation: &Operation<'_>, run: &mut dyn FnMut() -> Result<(), Failure>) -> Result<(), Failure> {
        let (name, path, class) = match *operation {
            Operation::Open { path, makes: true } => ("make", path, Class::Write),
            Operation::Open { path, makes: false } => ("open", path, Class::Read),
            Operation::Write { path, .. } => ("write", path, Class::Write),
            Operation::Truncate { path, .. } => ("truncate", path, Class::Write),
            Operation::Sync { path } => ("sync", path, Class::Sync(SyncOf::of_path(path))),
            Operation::Remove { path, .. } => ("remove", path, Class::Remove),
            Operation::Read { path, .. } => ("read", path, Class::Read),
            Operation::MapShared { path } => ("map the index of", path, Class::Read),
            _ => return run(),
        };
        let Some(inside) = self.0.inside(path) else { return run() };
        let what = || format!("{name} {}", inside.display());
        let entry = || match *operation {
            Operation::Open { makes: true, .. } => Some(JournalEntry::Made { path: inside.clone() }),
            Operation::Write { offset, bytes, .. } => {
                Some(JournalEntry::Wrote { path: inside.clone(), offset, bytes: bytes.to_vec() })
            }
            Operation::Truncate { len, .. } => Some(JournalEntry::Truncated { path: inside.clone(), len }),
            Operation::Sync { .. } => Some(JournalEntry::Synced { path: inside.clone() }),
            Operation::Remove { .. } => Some(JournalEntry::Removed { path: inside.clone() }),
            _ => None,
        };
        self.0.operate(class, what, |decision| match decision {
            Decision::PassOver => Ok(((), None)),
            Decision::Run => run().map(|()| ((), entry())).map_err(|failure| (failure, None)),
            Decision::Fail { error, count } => {
                let failure = match error {
                    DiskError::Full if matches!(class, Class::Write) => Failure::DISK_FULL,
                    DiskError::ReadOnly if name == "make" => Failure::CANNOT_OPEN,
                    DiskError::ReadOnly => Failure::READ_ONLY,
                    _ => Failure::of_device(operation),
                };
                let entry = match class {
                    Class::Sync(_) => Some(JournalEntry::SyncFailed { path: inside.clone() }),
                    // Every other write that a device fails has arrived all the same. One for which there is no space
                    // has not.
                    Class::Write if name == "write" && error == DiskError::Device && count % 2 == 0 => {
                        run().is_ok().then(&entry).flatten()
                    }
                    _ => None,
                };
                Err((failure, entry))
            }
        })
    }
}
