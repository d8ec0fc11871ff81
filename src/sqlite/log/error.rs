//! What can be wrong when a row is read or written. The compiler asks at each place which of the three it is.

use std::path::Path;

use rusqlite::{ErrorCode, ffi};

use crate::id::EventId;
use crate::port::{LogError, Refusal};

pub(super) type SqlResult<T> = Result<T, SqlError>;

#[derive(Debug, thiserror::Error)]
pub(super) enum SqlError {
    /// SQLite's own error: the whole transaction has failed.
    #[error(transparent)]
    Sqlite(rusqlite::Error),
    /// Rows of one log are not what foldlog has written. Other logs can go on.
    #[error("{}", .0.reason)]
    Damaged(Damage),
    /// Something beside SQLite has failed, such as looking at an owner's file.
    #[error("{0}")]
    Outside(String),
}

/// Takes a page that cannot be read as an answer: `None`.
pub(super) fn unless_torn<T>(read: SqlResult<T>) -> SqlResult<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if error.is_torn_page() => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is wrong with rows of one log.
#[derive(Debug)]
pub(super) struct Damage {
    /// The first event that cannot be found for it, if that is known.
    pub(super) event: Option<EventId>,
    pub(super) reason: String,
}

impl SqlError {
    pub(super) fn damaged(reason: impl Into<String>) -> Self {
        Self::Damaged(Damage { event: None, reason: reason.into() })
    }

    pub(super) fn damaged_from(event: EventId, reason: impl Into<String>) -> Self {
        Self::Damaged(Damage { event: Some(event), reason: reason.into() })
    }

    pub(super) fn outside(error: &dyn std::fmt::Display) -> Self {
        Self::Outside(error.to_string())
    }

    /// Whether SQLite has met a page that is not what it should be. What needs no such page can be read all the same.
    pub(super) fn is_torn_page(&self) -> bool {
        let Self::Sqlite(error) = self else { return false };
        matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
    }

    /// The same error, as damage of one log alone: for reads that concern no other.
    pub(super) fn of_one_log(self) -> Self {
        if self.is_torn_page() { Self::damaged(self.to_string()) } else { self }
    }

    /// Whether the medium has not given the bytes, or has given others: for a reader that takes whatever is left.
    pub(super) fn is_unreadable(&self) -> bool {
        let Self::Sqlite(error) = self else { return true };
        self.is_torn_page() || error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure)
    }
}

impl From<Damage> for Refusal {
    fn from(Damage { event, reason }: Damage) -> Self {
        Self::Damaged { event, reason }
    }
}

impl From<rusqlite::Error> for SqlError {
    /// An error without a code of SQLite's is about a value: one of another type or size than foldlog writes, or a row
    /// that is missing.
    fn from(error: rusqlite::Error) -> Self {
        if error.sqlite_error_code().is_some() { Self::Sqlite(error) } else { Self::damaged(error.to_string()) }
    }
}

impl From<SqlError> for LogError {
    fn from(error: SqlError) -> Self {
        match error {
            SqlError::Sqlite(error) => match error.sqlite_error_code() {
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
                Some(ErrorCode::DiskFull) => Self::DiskFull,
                // SQLite's general error says of statements that never change that the database is not as they need it.
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown) | None => {
                    Self::Corrupt(error.to_string())
                }
                Some(_) => {
                    let (text, remedy) = explained(&error);
                    match remedy {
                        Remedy::Time => Self::Io(text),
                        Remedy::Person => Self::Unusable(text),
                    }
                }
            },
            SqlError::Damaged(Damage { event: Some(event), reason }) => Self::CorruptEvent { event, reason },
            SqlError::Damaged(Damage { event: None, reason }) => Self::Corrupt(reason),
            SqlError::Outside(reason) => Self::Io(reason),
        }
    }
}

/// What ends a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Remedy {
    /// It may end by itself.
    Time,
    /// It does not.
    Person,
}

/// SQLite's text for an error, and behind it what its extended code means. The text alone is `disk I/O error` for two
/// dozen of them.
fn explained(error: &rusqlite::Error) -> (String, Remedy) {
    let code = error.sqlite_error().map_or(0, |error| error.extended_code);
    let (meaning, remedy) = match code {
        ffi::SQLITE_IOERR_READ | ffi::SQLITE_IOERR_SHORT_READ => ("a read failed", Remedy::Time),
        ffi::SQLITE_IOERR_WRITE => ("a write failed", Remedy::Time),
        ffi::SQLITE_IOERR_FSYNC => ("a sync of the file failed", Remedy::Time),
        ffi::SQLITE_IOERR_DIR_FSYNC => ("a sync of the directory failed", Remedy::Time),
        ffi::SQLITE_IOERR_TRUNCATE => ("the file could not be cut", Remedy::Time),
        ffi::SQLITE_IOERR_FSTAT => ("the file could not be looked at", Remedy::Time),
        ffi::SQLITE_IOERR_DELETE => ("a file could not be removed", Remedy::Time),
        ffi::SQLITE_IOERR_NOMEM => ("memory ran out", Remedy::Time),
        ffi::SQLITE_IOERR_LOCK | ffi::SQLITE_IOERR_RDLOCK | ffi::SQLITE_IOERR_UNLOCK | ffi::SQLITE_IOERR_SHMLOCK => {
            ("a lock could not be taken: the file system must have POSIX locks", Remedy::Time)
        }
        ffi::SQLITE_IOERR_SHMOPEN | ffi::SQLITE_IOERR_SHMSIZE => {
            ("the file events.db-shm could not be opened or made larger", Remedy::Time)
        }
        ffi::SQLITE_IOERR_SHMMAP => (
            "events.db-shm could not be mapped into memory: put the directory on a local file system, which can do that, unless \
             memory ran out",
            Remedy::Person,
        ),
        ffi::SQLITE_READONLY_ROLLBACK => (
            "a program died while it changed the database by a rollback journal, which foldlog never uses: open the \
             database once with the sqlite3 shell, which finishes that",
            Remedy::Person,
        ),
        code => match code & 0xff {
            ffi::SQLITE_CANTOPEN => (
                "a file of the database could not be opened: may this process read and write it and its directory, and \
                 has it descriptors left?",
                Remedy::Time,
            ),
            ffi::SQLITE_READONLY | ffi::SQLITE_PERM => {
                ("this process may not write the database, or its file system is mounted read-only", Remedy::Person)
            }
            _ => return (format!("{error} (SQLite's code {code})"), Remedy::Time),
        },
    };
    (format!("{error}: {meaning} (SQLite's code {code})"), remedy)
}

impl LogError {
    /// This error with the path of the database that it is about.
    pub(super) fn of_database(self, path: &Path) -> Self {
        let named = |text: String| {
            if text.contains(&*path.to_string_lossy()) { text } else { format!("{}: {text}", path.display()) }
        };
        match self {
            Self::Io(text) => Self::Io(named(text)),
            Self::Unusable(text) => Self::Unusable(named(text)),
            other => other,
        }
    }
}

impl From<rusqlite::Error> for LogError {
    fn from(error: rusqlite::Error) -> Self {
        SqlError::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(code: i32) -> LogError {
        LogError::from(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))
    }

    #[test]
    fn an_error_of_sqlite_says_what_failed_and_on_which_database() {
        let path = Path::new("/store/events.db");
        let text = |code| told(code).of_database(path).to_string();
        for (code, says) in [
            (ffi::SQLITE_IOERR_FSYNC, "a sync of the file failed"),
            (ffi::SQLITE_IOERR_SHMMAP, "mapped into memory"),
            (ffi::SQLITE_CANTOPEN, "could not be opened"),
            (ffi::SQLITE_READONLY_DIRECTORY, "may not write"),
            (ffi::SQLITE_PROTOCOL, "SQLite's code 15"),
        ] {
            assert!(text(code).starts_with("/store/events.db: ") && text(code).contains(says), "{}", text(code));
        }
        assert_eq!(told(ffi::SQLITE_IOERR_FSYNC).of_database(path).of_database(path).to_string(), text(1034));
    }

    #[test]
    fn only_what_may_end_by_itself_is_called_so() {
        assert!(matches!(told(ffi::SQLITE_IOERR_WRITE), LogError::Io(_)));
        assert!(matches!(told(ffi::SQLITE_CANTOPEN), LogError::Io(_)));
        assert!(matches!(told(ffi::SQLITE_READONLY), LogError::Unusable(_)));
        assert!(matches!(told(ffi::SQLITE_IOERR_SHMMAP), LogError::Unusable(_)));
        assert!(matches!(told(ffi::SQLITE_BUSY), LogError::Busy));
        assert!(matches!(told(ffi::SQLITE_FULL), LogError::DiskFull));
    }
}
