//! Whether the files that SQLite writes to are still the ones that their names lead to: SQLite goes on writing into
//! files that were removed or replaced, and reports no error.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::port::LogError;
use crate::sqlite::files::FileId;

/// The database that a store has opened, and the write-ahead log of a connection.
#[derive(Clone)]
pub(crate) struct Identity {
    files: Vec<(PathBuf, FileId)>,
    /// Why the store must be opened again; empty as long as it need not. After files were exchanged, some of what
    /// SQLite shares between the connections of a process belongs to the old files, and some to the new files.
    lost: Arc<OnceLock<String>>,
}

impl Identity {
    /// The identity of a database that exists.
    pub(crate) fn of(database: PathBuf) -> Result<Self, LogError> {
        Self { files: Vec::new(), lost: Arc::default() }.with(database)
    }

    /// This identity with the write-ahead log of an open connection added.
    pub(crate) fn with(&self, path: PathBuf) -> Result<Self, LogError> {
        let (id, _) =
            FileId::look(&path).map_err(|error| LogError::Io(format!("cannot look at {}: {error}", name(&path))))?;
        let files = self.files.iter().cloned().chain([(path, id)]).collect();
        Ok(Self { files, lost: Arc::clone(&self.lost) })
    }

    /// Notes why the store must be opened again. Until then nothing may be written, and the write-ahead log must not
    /// begin anew.
    pub(crate) fn lose(&self, reason: String) -> LogError {
        again(self.lost.get_or_init(|| reason))
    }

    /// Fails if [`lose`](Self::lose) was called, with its reason.
    pub(crate) fn check_kept(&self) -> Result<(), LogError> {
        self.lost.get().map_or(Ok(()), |reason| Err(again(reason)))
    }

    /// Fails if a name leads to another file, and gives the size of the write-ahead log. To be called after each
    /// commit, before the commit is acknowledged; and before and after a connection is opened.
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
    LogError::Lost(format!("{reason}, and whatever else has it open must let go of it"))
}

fn name(path: &Path) -> impl std::fmt::Display {
    path.display()
}
