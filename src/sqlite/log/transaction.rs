//! A transaction whose BEGIN and COMMIT are prepared once: for one event these are a good part of what SQLite does.

use rusqlite::Connection;

/// A transaction that is rolled back when dropped, unless it was committed.
pub(crate) struct Transaction<'a>(&'a Connection);

impl<'a> Transaction<'a> {
    /// Begins a transaction that takes the write lock at once.
    pub(crate) fn writing(connection: &'a Connection) -> rusqlite::Result<Self> {
        Self::begin(connection, "BEGIN IMMEDIATE")
    }

    /// Begins a transaction that takes no lock that a writer would wait for.
    pub(crate) fn reading(connection: &'a Connection) -> rusqlite::Result<Self> {
        Self::begin(connection, "BEGIN DEFERRED")
    }

    fn begin(connection: &'a Connection, statement: &'static str) -> rusqlite::Result<Self> {
        run(connection, statement)?;
        Ok(Self(connection))
    }

    /// Commits. If COMMIT fails, the transaction may still be open, and is rolled back.
    pub(crate) fn commit(self) -> rusqlite::Result<()> {
        run(self.0, "COMMIT")
    }

    pub(crate) fn rollback(self) -> rusqlite::Result<()> {
        self.end()
    }

    fn end(&self) -> rusqlite::Result<()> {
        // After some errors SQLite has ended the transaction by itself.
        if self.0.is_autocommit() { Ok(()) } else { run(self.0, "ROLLBACK") }
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            log::error!("a transaction could not be rolled back: {error}");
        }
    }
}

fn run(connection: &Connection, statement: &'static str) -> rusqlite::Result<()> {
    connection.prepare_cached(statement)?.execute([]).map(drop)
}
