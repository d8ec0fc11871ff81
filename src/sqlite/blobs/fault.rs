//! For tests: records every operation that makes something durable, and makes a chosen one fail.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::sqlite::files::{Files, OsFiles};

/// One operation, by name, and the path it was for (a rename: the path it was to).
pub(crate) type FileOperation = (&'static str, PathBuf);

/// The file system, with a record of its operations. Clones share one record.
#[derive(Debug, Clone, Default)]
pub(crate) struct FaultyFiles(Arc<Mutex<Watch>>);

#[derive(Debug, Default)]
struct Watch {
    operations: Vec<FileOperation>,
    meanwhile: Option<Meanwhile>,
    /// Which operation fails, counted from the next one (0), and with what.
    fails: Option<(usize, io::ErrorKind)>,
}

/// What happens before the next operation of this name.
struct Meanwhile(&'static str, Box<dyn FnOnce() + Send>);

impl fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Meanwhile").field(&self.0).finish_non_exhaustive()
    }
}

impl FaultyFiles {
    /// Has something happen before the next operation of a name.
    pub(crate) fn before_next(&self, name: &'static str, run: impl FnOnce() + Send + 'static) {
        self.0.lock().unwrap().meanwhile = Some(Meanwhile(name, Box::new(run)));
    }

    /// Takes what was done since the last call.
    pub(crate) fn take_operations(&self) -> Vec<FileOperation> {
        std::mem::take(&mut self.0.lock().unwrap().operations)
    }

    /// Lets the operation after `skipped` more of them fail, once.
    pub(crate) fn fail_after(&self, skipped: usize, kind: io::ErrorKind) {
        self.0.lock().unwrap().fails = Some((skipped, kind));
    }

    /// Takes the fault away; tells whether it was still to come.
    pub(crate) fn disarm(&self) -> bool {
        self.0.lock().unwrap().fails.take().is_some()
    }

    fn before(&self, name: &'static str, path: &Path) -> io::Result<()> {
        let meanwhile = self.0.lock().unwrap().meanwhile.take_if(|meanwhile| meanwhile.0 == name);
        if let Some(Meanwhile(_, run)) = meanwhile {
            run();
        }
        let mut watch = self.0.lock().unwrap();
        watch.operations.push((name, path.to_owned()));
        match watch.fails.take() {
            Some((0, kind)) => Err(kind.into()),
            Some((skipped, kind)) => {
                watch.fails = Some((skipped - 1, kind));
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Files for FaultyFiles {
    fn create_file(&self, path: &Path) -> io::Result<File> {
        self.before("create_file", path)?;
        OsFiles.create_file(path)
    }

    /// A failing write leaves half of the bytes behind, as a full disk does.
    fn write(&self, path: &Path, file: &File, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.before("write", path) {
            OsFiles.write(path, file, &bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        OsFiles.write(path, file, bytes)
    }

    fn write_uncached(&self, path: &Path, file: &File, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.before("write_uncached", path) {
            OsFiles.write_uncached(path, file, &bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        OsFiles.write_uncached(path, file, bytes)
    }

    fn sync_file(&self, path: &Path, file: &File) -> io::Result<()> {
        self.before("sync_file", path)?;
        OsFiles.sync_file(path, file)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.before("rename", to)?;
        OsFiles.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.before("remove_file", path)?;
        OsFiles.remove_file(path)
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.before("create_directory", path)?;
        OsFiles.create_directory(path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.before("remove_directory", path)?;
        OsFiles.remove_directory(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.before("sync_directory", path)?;
        OsFiles.sync_directory(path)
    }

    // What reads is neither recorded nor failed here, nor what makes nothing durable.

    fn touch(&self, path: &Path) -> io::Result<()> {
        OsFiles.touch(path)
    }

    fn open_file(&self, path: &Path) -> io::Result<File> {
        OsFiles.open_file(path)
    }

    fn read(&self, path: &Path, file: &File, buffer: &mut [u8]) -> io::Result<usize> {
        OsFiles.read(path, file, buffer)
    }

    fn list_directory(&self, path: &Path) -> io::Result<Vec<OsString>> {
        OsFiles.list_directory(path)
    }
}
