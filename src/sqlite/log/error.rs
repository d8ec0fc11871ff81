//! What can be wrong when a row is read or written. The compiler asks at each place which of the three it is.

use rusqlite::ErrorCode;

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
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) | None => Self::Corrupt(error.to_string()),
                Some(_) => Self::Io(error.to_string()),
            },
            SqlError::Damaged(Damage { event: Some(event), reason }) => Self::CorruptEvent { event, reason },
            SqlError::Damaged(Damage { event: None, reason }) => Self::Corrupt(reason),
            SqlError::Outside(reason) => Self::Io(reason),
        }
    }
}

impl From<rusqlite::Error> for LogError {
    fn from(error: rusqlite::Error) -> Self {
        SqlError::from(error).into()
    }
}
