//! Whether the files that SQLite writes to are still the ones that their names lead to: it goes on writing into files that
//! were removed or replaced, and says that all is well.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::port::LogError;
use crate::sqlite::files::FileId;

/// The database that a store has opened, and the write-ahead log of a connection.
#[derive(Clone)]
pub(crate) struct Identity {
    files: Vec<(PathBuf, FileId)>,
    /// Why the store must be opened again, once it must. After an exchange of files, of what SQLite shares between the
    /// connections of a process some belongs to the old ones, and some to the new.
    lost: Arc<OnceLock<String>>,
}

impl Identity {
    /// Of a database that is there.
    pub(crate) fn of(database: PathBuf) -> Result<Self, LogError> {
        Self { files: Vec::new(), lost: Arc::default() }.with(database)
    }

    /// The same with the write-ahead log of a connection that is open.
    pub(crate) fn with(&self, path: PathBuf) -> Result<Self, LogError> {
        let (id, _) =
            FileId::look(&path).map_err(|error| LogError::Io(format!("cannot look at {}: {error}", name(&path))))?;
        let files = self.files.iter().cloned().chain([(path, id)]).collect();
        Ok(Self { files, lost: Arc::clone(&self.lost) })
    }

    /// Nothing may be written any more, nor the write-ahead log begun anew, until the store was opened again.
    pub(crate) fn lose(&self, reason: String) -> LogError {
        again(self.lost.get_or_init(|| reason))
    }

    /// The same as an error, if it is so.
    pub(crate) fn check_kept(&self) -> Result<(), LogError> {
        self.lost.get().map_or(Ok(()), |reason| Err(again(reason)))
    }

    /// Compares, and gives the size of the write-ahead log. To be called after each commit, before anyone is told; and
    /// around the opening of a connection.
    pub(crate) fn check(&self) -> Result<u64, LogError> {
        self.check_kept()?;
        let mut bytes = 0;
        for (path, known) in &self.files {
            let reason = match FileId::look(path) {
                Ok((found, size)) if found == *known => {
                    bytes = size;
                    continue;
                }
                Ok(_) => format!("{} was replaced while the store was open", name(path)),
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                    format!("{} was removed while the store was open", name(path))
                }
                Err(error) => return Err(LogError::Io(format!("cannot look at {}: {error}", name(path)))),
            };
            return Err(self.lose(reason));
        }
        Ok(bytes)
    }

    /// Whether a store that opens the directory now would find nothing to read in the write-ahead log.
    pub(crate) fn wal_is_empty(&self) -> bool {
        self.files.last().is_none_or(|(path, _)| FileId::look(path).map_or(0, |(_, size)| size) == 0)
    }
}

fn again(reason: &str) -> LogError {
    LogError::Io(format!("{reason}; close the store, and whatever else has its database open, and open it again"))
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
