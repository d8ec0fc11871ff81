//! Files of a directory that several users share.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Files, OsFiles};

/// The file system itself, with files and directories that the group may use as their owner does.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct GroupFiles;

const FILE_MODE: u32 = 0o660;
/// With the bit that gives what is made in the directory the directory's group, and not that of whoever makes it.
const DIRECTORY_MODE: u32 = 0o2770;

impl Files for GroupFiles {
    fn create_file(&self, path: &Path) -> io::Result<File> {
        let file = OsFiles.create_file(path)?;
        file.set_permissions(Permissions::from_mode(FILE_MODE))?;
        Ok(file)
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        OsFiles.create_directory(path)?;
        fs::set_permissions(path, Permissions::from_mode(DIRECTORY_MODE))
    }

    fn write(&self, path: &Path, file: &File, bytes: &[u8]) -> io::Result<()> {
        OsFiles.write(path, file, bytes)
    }

    fn write_uncached(&self, path: &Path, file: &File, bytes: &[u8]) -> io::Result<()> {
        OsFiles.write_uncached(path, file, bytes)
    }

    fn sync_file(&self, path: &Path, file: &File) -> io::Result<()> {
        OsFiles.sync_file(path, file)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsFiles.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        OsFiles.remove_file(path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        OsFiles.remove_directory(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        OsFiles.sync_directory(path)
    }

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
