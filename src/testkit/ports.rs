//! The watched ends of a log and the watched blob store.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::codec::Chain;
use crate::error::{ErrorKind, OwnerInfo};
use crate::id::{AppendKey, Digest, EventId, SessionId};
use crate::port::{
    BlobError, BlobListing, BlobLook, BlobStore, CommitError, Erasing, EventLog, FeedPage, FeedPlace, Head, Listing,
    LogAudit, LogError, LogKey, LogMedium, LogMeta, LogReader, LogSource, LogVersion, Position, Put, Refusal,
    ScannedPage, SessionRow, Settled, SnapshotRow, Standing, StoredEvent, StoredPage, SweepCount, SweepMark, Upkeep,
    UpkeepLeft, UpkeepMoment, Write, Written,
};
use crate::testkit::{Call, Fault, Faults, Group, Outcome};

/// An error that a fault can make.
trait Made {
    fn made(fault: Fault) -> Self;
}

const MADE: &str = "a fault of the testkit";

impl Made for LogError {
    fn made(fault: Fault) -> Self {
        match fault {
            Fault::DiskFull => Self::DiskFull,
            Fault::Busy => Self::Busy,
            Fault::Io | Fault::CommitLost | Fault::CommitKept | Fault::Panic => Self::Io(MADE.to_owned()),
        }
    }
}

impl Made for CommitError {
    fn made(fault: Fault) -> Self {
        match fault {
            Fault::CommitLost | Fault::CommitKept => Self::Unknown(LogError::made(fault)),
            _ => Self::NotWritten(LogError::made(fault)),
        }
    }
}

impl Made for BlobError {
    fn made(fault: Fault) -> Self {
        let kind = match fault {
            Fault::DiskFull => ErrorKind::DiskFull,
            _ => ErrorKind::Io { what: MADE, path: PathBuf::new() },
        };
        Self::Medium(kind.into())
    }
}

impl Faults {
    /// Does a call, or fails it as planned, and records it.
    fn call<T, E: Made>(&self, call: Call, does: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let fault = self.begin(&call);
        let result = match fault {
            None => does(),
            Some(Fault::CommitKept) => does().and_then(|_| Err(E::made(Fault::CommitKept))),
            Some(fault) => Err(E::made(fault)),
        };
        let outcome = match (fault, &result) {
            (Some(fault), _) => Outcome::Injected(fault),
            (None, Ok(_)) => Outcome::Done,
            (None, Err(_)) => Outcome::Failed,
        };
        self.record(call, outcome);
        #[expect(clippy::panic, reason = "it was told to")]
        if fault == Some(Fault::Panic) {
            panic!("{MADE}");
        }
        result
    }
}

pub(super) struct WatchedMedium {
    medium: Arc<dyn LogMedium>,
    faults: Faults,
}

impl WatchedMedium {
    pub(super) fn new(medium: Arc<dyn LogMedium>, faults: Faults) -> Self {
        Self { medium, faults }
    }
}

impl LogSource for WatchedMedium {
    fn reader(&self) -> Result<Box<dyn LogReader>, LogError> {
        let reader = self.faults.call(Call::OpenReader, || self.medium.reader())?;
        Ok(Box::new(WatchedReader { reader, faults: self.faults.clone() }))
    }
}

impl LogMedium for WatchedMedium {
    fn writer(&self) -> Result<Box<dyn EventLog>, LogError> {
        let log = self.faults.call(Call::OpenWriter, || self.medium.writer())?;
        Ok(Box::new(WatchedLog { log, faults: self.faults.clone() }))
    }

    fn upkeep(&self) -> Upkeep {
        self.medium.upkeep()
    }
}

struct WatchedLog {
    log: Box<dyn EventLog>,
    faults: Faults,
}

impl EventLog for WatchedLog {
    fn commit(&mut self, group: &[Write]) -> Result<Vec<Result<Written, Refusal>>, CommitError> {
        let call = Call::Commit { group: group.iter().map(Group::of).collect() };
        self.faults.call(call, || self.log.commit(group))
    }

    fn settle(&mut self, group: &[Write]) -> Result<Vec<Settled>, LogError> {
        self.faults.call(Call::Settle, || self.log.settle(group))
    }

    fn upkeep(&mut self, moment: UpkeepMoment) -> Result<UpkeepLeft, LogError> {
        self.faults.call(Call::Upkeep, || self.log.upkeep(moment))
    }

    fn left(&self) -> UpkeepLeft {
        self.log.left()
    }

    fn redactions_left(&self) -> UpkeepLeft {
        self.log.redactions_left()
    }

    fn close(self: Box<Self>) -> Result<(), LogError> {
        let Self { log, faults } = *self;
        faults.call(Call::CloseLog, || log.close())
    }
}

struct WatchedReader {
    reader: Box<dyn LogReader>,
    faults: Faults,
}

impl LogReader for WatchedReader {
    fn find(&mut self, session: &SessionId) -> Result<Option<LogMeta>, LogError> {
        self.faults.call(Call::Find { session: session.clone() }, || self.reader.find(session))
    }

    fn sessions(&mut self, after: Option<&SessionId>, max: usize) -> Result<Vec<SessionRow>, LogError> {
        self.faults.call(Call::Sessions { after: after.cloned() }, || self.reader.sessions(after, max))
    }

    fn page_into(
        &mut self,
        page: &mut StoredPage,
        log: LogKey,
        after: EventId,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<(), LogError> {
        let read = || self.reader.page_into(page, log, after, events_max, bytes_max);
        self.faults.call(Call::Page { log: log.0, after }, read)
    }

    fn find_key(&mut self, log: LogKey, key: &AppendKey) -> Result<Option<StoredEvent>, LogError> {
        self.faults.call(Call::FindKey { log: log.0, key: key.clone() }, || self.reader.find_key(log, key))
    }

    fn head(&mut self, log: LogMeta) -> Result<Head, LogError> {
        self.faults.call(Call::Head { log: log.key.0 }, || self.reader.head(log))
    }

    fn record_bytes(&mut self, log: LogKey, after: EventId, events_max: usize) -> Result<(EventId, u64), LogError> {
        self.reader.record_bytes(log, after, events_max)
    }

    fn living_owner(&mut self, log: LogKey) -> Result<Option<OwnerInfo>, LogError> {
        self.reader.living_owner(log)
    }

    fn chain_at(&mut self, log: LogKey, id: EventId) -> Result<Option<Chain>, LogError> {
        self.faults.call(Call::ChainAt { log: log.0, event: id }, || self.reader.chain_at(log, id))
    }

    fn redactions(&mut self, log: LogKey) -> Result<u64, LogError> {
        self.reader.redactions(log)
    }

    fn redacted_logs(&mut self) -> Result<HashMap<LogKey, u64>, LogError> {
        self.faults.call(Call::Scan, || self.reader.redacted_logs())
    }

    fn snapshot(&mut self, log: LogKey) -> Result<Option<SnapshotRow>, LogError> {
        self.reader.snapshot(log)
    }

    fn snapshots(&mut self, after: LogKey, max: usize) -> Result<Vec<(LogKey, Digest)>, LogError> {
        self.reader.snapshots(after, max)
    }

    fn scan(
        &mut self,
        page: &mut ScannedPage,
        after: Position,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<Option<Position>, LogError> {
        self.faults.call(Call::Scan, || self.reader.scan(page, after, events_max, bytes_max))
    }

    fn feed(
        &mut self,
        page: &mut FeedPage,
        after: FeedPlace,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<(), LogError> {
        self.faults.call(Call::Scan, || self.reader.feed(page, after, events_max, bytes_max))
    }

    fn version(&mut self) -> Result<LogVersion, LogError> {
        self.reader.version()
    }

    fn cursor(&mut self, name: &str) -> Result<Option<String>, LogError> {
        self.reader.cursor(name)
    }

    fn cursors(&mut self, after: &str, max: usize) -> Result<Vec<(String, String)>, LogError> {
        self.reader.cursors(after, max)
    }

    fn sweep_mark(&mut self, digest: &Digest) -> Result<SweepMark, LogError> {
        self.faults.call(Call::SweepMark { digest: *digest }, || self.reader.sweep_mark(digest))
    }

    fn listed_blobs(&mut self, after: Option<&Digest>, max: usize) -> Result<Vec<(Digest, Listing)>, LogError> {
        self.reader.listed_blobs(after, max)
    }

    fn standing(&mut self) -> Result<Standing, LogError> {
        self.faults.call(Call::Scan, || self.reader.standing())
    }

    fn erasing(&mut self) -> Result<Erasing, LogError> {
        self.reader.erasing()
    }

    /// Calls of a verification are passed on unwatched: a verification looks for faults, and is given none here.
    fn audit(&mut self) -> &mut dyn LogAudit {
        self.reader.audit()
    }
}

pub(super) struct WatchedBlobs {
    blobs: Arc<dyn BlobStore>,
    faults: Faults,
}

impl WatchedBlobs {
    pub(super) fn new(blobs: Arc<dyn BlobStore>, faults: Faults) -> Self {
        Self { blobs, faults }
    }
}

impl BlobStore for WatchedBlobs {
    fn put(&self, bytes: &[u8]) -> Result<Put, BlobError> {
        self.faults.call(Call::PutBlob { bytes: bytes.len() as u64 }, || self.blobs.put(bytes))
    }

    fn get(&self, digest: &Digest) -> Result<Vec<u8>, BlobError> {
        self.faults.call(Call::GetBlob { digest: *digest }, || self.blobs.get(digest))
    }

    fn ensure_durable(&self, digest: &Digest, bytes: u64) -> Result<bool, BlobError> {
        self.faults.call(Call::EnsureBlob { digest: *digest }, || self.blobs.ensure_durable(digest, bytes))
    }

    fn is_known_durable(&self, digest: &Digest, bytes: u64) -> bool {
        self.blobs.is_known_durable(digest, bytes)
    }

    fn inspect(&self, digest: &Digest) -> Result<u64, BlobError> {
        self.faults.call(Call::GetBlob { digest: *digest }, || self.blobs.inspect(digest))
    }

    fn remove(&self, digest: &Digest) -> Result<(), BlobError> {
        self.blobs.remove(digest)
    }

    fn forget(&self, digest: &Digest) {
        self.blobs.forget(digest);
    }

    fn look(&self, digest: &Digest) -> Result<Option<BlobLook>, BlobError> {
        self.blobs.look(digest)
    }

    fn sweeps_seen(&self) -> Option<SweepCount> {
        self.blobs.sweeps_seen()
    }

    fn see_sweeps(&self, count: SweepCount) {
        self.blobs.see_sweeps(count);
    }

    fn list(&self, first: u8) -> Result<BlobListing, BlobError> {
        self.blobs.list(first)
    }

    fn rescan(&self) -> Result<(), BlobError> {
        self.faults.call(Call::RescanBlobs, || self.blobs.rescan())
    }

    fn concurrency(&self) -> usize {
        self.blobs.concurrency()
    }
}
