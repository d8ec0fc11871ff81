//! A reader whose errors say which database they are about.

use std::path::PathBuf;

use super::reader::SqliteReader;
use crate::codec::Chain;
use crate::id::{AppendKey, Digest, EventId, SessionId};
use crate::port::{
    Head, LogAudit, LogError, LogKey, LogMeta, LogReader, SessionRow, SnapshotRow, StoredEvent, StoredPage,
};

/// See the module.
pub(super) struct NamedReader {
    pub(super) reader: SqliteReader,
    pub(super) database: PathBuf,
}

impl NamedReader {
    fn read<T>(&mut self, read: impl FnOnce(&mut SqliteReader) -> Result<T, LogError>) -> Result<T, LogError> {
        read(&mut self.reader).map_err(|error| error.of_database(&self.database))
    }
}

impl LogReader for NamedReader {
    fn find(&mut self, session: &SessionId) -> Result<Option<LogMeta>, LogError> {
        self.read(|reader| reader.find(session))
    }

    fn sessions(&mut self, after: Option<&SessionId>, max: usize) -> Result<Vec<SessionRow>, LogError> {
        self.read(|reader| LogReader::sessions(reader, after, max))
    }

    fn page_into(
        &mut self,
        page: &mut StoredPage,
        log: LogKey,
        after: EventId,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<(), LogError> {
        self.read(|reader| reader.page_into(page, log, after, events_max, bytes_max))
    }

    fn find_key(&mut self, log: LogKey, key: &AppendKey) -> Result<Option<StoredEvent>, LogError> {
        self.read(|reader| reader.find_key(log, key))
    }

    fn head(&mut self, log: LogMeta) -> Result<Head, LogError> {
        self.read(|reader| reader.head(log))
    }

    fn chain_at(&mut self, log: LogKey, id: EventId) -> Result<Option<Chain>, LogError> {
        self.read(|reader| reader.chain_at(log, id))
    }

    fn snapshot(&mut self, log: LogKey) -> Result<Option<SnapshotRow>, LogError> {
        self.read(|reader| reader.snapshot(log))
    }

    fn snapshots(&mut self, after: LogKey, max: usize) -> Result<Vec<(LogKey, Digest)>, LogError> {
        self.read(|reader| reader.snapshots(after, max))
    }

    fn audit(&mut self) -> &mut dyn LogAudit {
        self.reader.audit()
    }
}
