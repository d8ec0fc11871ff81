//! The file of a database, and how it is opened.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::schema::BUSY_TIMEOUT;
use crate::port::LogError;
use crate::sqlite::files::may_not_be_written;

/// A database file, and which of SQLite's VFS leads to it; `None` for its own.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    pub(crate) path: PathBuf,
    pub(crate) vfs: Option<&'static str>,
}

impl Database {
    /// A file that SQLite keeps beside the database.
    pub(crate) fn companion(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(suffix);
        name.into()
    }

    /// The directory that it is in.
    pub(crate) fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    pub(crate) fn has_wal(&self) -> bool {
        std::fs::metadata(self.companion("-wal")).is_ok_and(|meta| meta.len() > 0)
    }

    /// Whether the file is empty. A file that does not exist counts as empty.
    pub(crate) fn is_empty(&self) -> bool {
        std::fs::metadata(&self.path).map_or(0, |meta| meta.len()) == 0
    }

    /// Opens it to read what it has together with its write-ahead log.
    pub(crate) fn open_to_look(&self) -> rusqlite::Result<Connection> {
        let connection = self.open(OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        Ok(connection)
    }

    /// Opens the file alone, as one that nobody writes: without a lock, and without its write-ahead log.
    pub(crate) fn open_immutable(&self) -> rusqlite::Result<Connection> {
        let file = Self { path: as_uri(&self.path, IMMUTABLE), vfs: self.vfs };
        file.open(OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI)
    }

    /// The database or a file beside it, if this process may not write it, and why.
    pub(super) fn refused_file(&self) -> Option<(PathBuf, std::io::Error)> {
        let mut files = ["", "-wal", "-shm"].into_iter().map(|suffix| self.companion(suffix));
        files.find_map(|file| may_not_be_written(&file).map(|refused| (file, refused)))
    }

    /// An error with the path of the database, and with what the file system says where it refuses a file.
    pub(super) fn explained(&self, error: LogError) -> LogError {
        let LogError::Io(text) = &error else { return error.of_database(&self.path) };
        match self.refused_file() {
            Some((file, refused)) => {
                LogError::Unusable(format!("{} may not be written: {refused}: {text}", file.display()))
            }
            None => error.of_database(&self.path),
        }
    }

    pub(crate) fn open(&self, flags: OpenFlags) -> rusqlite::Result<Connection> {
        // Never CREATE: a database that has gone is an error, not a new start.
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = match self.vfs {
            Some(vfs) => Connection::open_with_flags_and_vfs(&self.path, flags, vfs),
            None => Connection::open_with_flags(&self.path, flags),
        }?;
        if flags.contains(OpenFlags::SQLITE_OPEN_READ_WRITE) {
            // What is deleted or moved is overwritten wherever it stood, in pages that are used anew, too.
            connection.pragma_update(None, "secure_delete", "ON")?;
        }
        Ok(connection)
    }
}

/// For a file that nobody writes: SQLite takes no lock on it, looks for no companions, and never looks again at what it
/// has read once.
pub(super) const IMMUTABLE: &str = "immutable=1";

/// The name of a file as a URI with a parameter: every byte but those of plain names is escaped.
pub(super) fn as_uri(path: &Path, parameter: &str) -> PathBuf {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => uri.push(char::from(*byte)),
            byte => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri.push('?');
    uri.push_str(parameter);
    uri.into()
}
