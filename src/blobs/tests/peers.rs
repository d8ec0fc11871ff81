//! Three stores on one medium, each step of which waits for its turn.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::turns::Turns;
use crate::blobs::put::{PutLog, put};
use crate::blobs::sweep::{SweepPlan, SweepWorld, Swept, sweep};
use crate::codec::{self, Chain, RecordHeader};
use crate::error::{Error, OwnerInfo};
use crate::id::{BlobEncoding, BlobKind, BlobRef, Digest, EventId, SessionId, Timestamp};
use crate::memory::MemoryDisk;
use crate::port::*;
use crate::sqlite::{Directory, Files, OsFiles};

/// A protection that is left out, to see that it is missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Without {
    Nothing,
    /// A put does not touch a file that it finds.
    Touch,
    /// A put does not look at the list.
    LookAtTheList,
    /// A sweep lists nothing before it removes.
    List,
    /// A sweep does not read the events that were committed since.
    SecondReading,
    /// A sweep does not count before removed blobs leave the list.
    Count,
}

/// File operations, each of them a step.
#[derive(Debug)]
struct SteppedFiles {
    turns: Arc<Turns>,
    without: Arc<Mutex<Without>>,
}

impl std::fmt::Debug for Turns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Turns")
    }
}

impl Files for SteppedFiles {
    fn create_file(&self, path: &Path) -> io::Result<File> {
        OsFiles.create_file(path)
    }
    fn write(&self, path: &Path, file: &File, bytes: &[u8]) -> io::Result<()> {
        OsFiles.write(path, file, bytes)
    }
    fn write_uncached(&self, path: &Path, file: &File, bytes: &[u8]) -> io::Result<()> {
        OsFiles.write_uncached(path, file, bytes)
    }
    // What is synced when does not show here: the power cuts have that.
    fn sync_file(&self, _: &Path, _: &File) -> io::Result<()> {
        Ok(())
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.turns.step();
        OsFiles.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.turns.step();
        OsFiles.remove_file(path)
    }
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        OsFiles.create_directory(path)
    }
    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        OsFiles.remove_directory(path)
    }
    fn sync_directory(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn touch(&self, path: &Path) -> io::Result<()> {
        self.turns.step();
        if *self.without.lock().unwrap() == Without::Touch {
            return Ok(());
        }
        OsFiles.touch(path)
    }
    fn open_file(&self, path: &Path) -> io::Result<File> {
        self.turns.step();
        OsFiles.open_file(path)
    }
    fn read(&self, path: &Path, file: &File, buffer: &mut [u8]) -> io::Result<usize> {
        OsFiles.read(path, file, buffer)
    }
    fn list_directory(&self, path: &Path) -> io::Result<Vec<OsString>> {
        OsFiles.list_directory(path)
    }
}

/// One store: what it has of the medium, and a session that it owns.
pub(super) struct Peer {
    turns: Arc<Turns>,
    blobs: Arc<dyn BlobStore>,
    log: Mutex<Box<dyn EventLog>>,
    reader: Mutex<Box<dyn LogReader>>,
    head: Mutex<(LogKey, Epoch, EventId, Chain)>,
    without: Arc<Mutex<Without>>,
    _ownership: Arc<dyn Ownership>,
}

impl Peer {
    fn open(medium: &Medium, name: &str, turns: &Arc<Turns>, without: &Arc<Mutex<Without>>) -> Self {
        let opened = medium.open(&opening()).unwrap();
        let (mut log, reader) = (opened.log.writer().unwrap(), opened.log.reader().unwrap());
        let register = Write::Register { session: SessionId::new(name).unwrap(), at: Timestamp::default() };
        let answer = log.commit(&[register]).unwrap().remove(0).unwrap();
        let Written::Registered { meta, owned: Some(epoch) } = answer else { panic!("{answer:?}") };
        Self {
            turns: Arc::clone(turns),
            blobs: opened.blobs,
            log: Mutex::new(log),
            reader: Mutex::new(reader),
            head: Mutex::new((meta.key, epoch, EventId::ZERO, meta.base.chain)),
            without: Arc::clone(without),
            _ownership: opened.ownership,
        }
    }

    fn is_without(&self, without: Without) -> bool {
        *self.without.lock().unwrap() == without
    }

    fn commit(&self, write: Write) -> Result<Written, Refusal> {
        self.turns.commit(|| self.log.lock().unwrap().commit(&[write]).unwrap().remove(0))
    }

    pub(super) fn put(&self, bytes: &[u8]) -> Put {
        put(&*self.blobs, &mut PeerLog(self), bytes).unwrap()
    }

    /// Appends an event that names a blob, as a session does: it looks first. Tells whether the event was committed.
    pub(super) fn append(&self, digest: Digest, bytes: u64) -> bool {
        self.turns.step();
        if !self.blobs.is_known_durable(&digest, bytes) && !self.blobs.ensure_durable(&digest, bytes).unwrap() {
            return false;
        }
        let mut head = self.head.lock().unwrap();
        let (log, epoch, last, after) = *head;
        let id = last.next();
        let blob = BlobRef { digest, bytes, kind: BlobKind::Bytes, encoding: BlobEncoding::Plain };
        let header = RecordHeader {
            schema: 1,
            event_type: Some("x"),
            salt: [0; 8],
            first: id,
            last: id,
            key: None,
            refs: vec![blob],
        };
        let record = codec::encode_record(&header, &[]);
        let chain = after.next(id, Timestamp::default(), &record);
        let event = StoredEvent { id, event_type: "x".into(), at: Timestamp::default(), key: None, chain, record };
        match self.commit(Write::Append { log, epoch, after, events: vec![event], listed: None }) {
            Ok(_) => {
                *head = (log, epoch, id, chain);
                true
            }
            Err(Refusal::NoBlob { .. }) => false,
            Err(refusal) => panic!("{refusal:?}"),
        }
    }

    pub(super) fn sweep(&self) -> Swept {
        let mut reader = self.reader.lock().unwrap();
        let mut reader = Stepped { reader: &mut **reader, peer: self, scans: 0 };
        let mut world = PeerWorld { peer: self, reader: &mut reader };
        sweep(&mut world, SweepPlan { grace: GRACE, is_dry: false }).unwrap()
    }

    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.blobs.look(digest).unwrap().is_some()
    }

    pub(super) fn is_listed(&self, digest: &Digest) -> bool {
        self.reader.lock().unwrap().sweep_mark(digest).unwrap().listed.is_some()
    }
}

pub(super) struct PeerLog<'a>(pub(super) &'a Peer);

impl PutLog for PeerLog<'_> {
    fn mark(&mut self, digest: &Digest) -> Result<SweepMark, Error> {
        self.0.turns.step();
        let mark = self.0.reader.lock().unwrap().sweep_mark(digest)?;
        Ok(if self.0.is_without(Without::LookAtTheList) { SweepMark { listed: None, ..mark } } else { mark })
    }

    fn step(&mut self, step: SweepStep) -> Result<SweepDone, Error> {
        let Written::Swept(done) = self.0.commit(Write::Sweep(step)).unwrap() else { panic!("another answer") };
        Ok(done)
    }
}

struct PeerWorld<'a> {
    peer: &'a Peer,
    reader: &'a mut dyn LogReader,
}

impl SweepWorld for PeerWorld<'_> {
    fn reader(&mut self) -> &mut dyn LogReader {
        self.reader
    }

    fn blobs(&self) -> &dyn BlobStore {
        &*self.peer.blobs
    }

    fn step(&mut self, step: SweepStep) -> Result<SweepDone, Error> {
        let step = match step {
            SweepStep::Count if self.peer.is_without(Without::Count) => return Ok(SweepDone::Counted),
            // What is not listed cannot be removed: it is listed for the removal alone.
            SweepStep::List { .. } if self.peer.is_without(Without::List) => {
                return Ok(SweepDone::Listed { listing: Listing(1), left: Vec::new() });
            }
            SweepStep::Remove { blobs, grace, .. } if self.peer.is_without(Without::List) => {
                return self.peer.turns.commit(|| {
                    let mut log = self.peer.log.lock().unwrap();
                    let mut one = |step| match log.commit(&[Write::Sweep(step)]).unwrap().remove(0).unwrap() {
                        Written::Swept(done) => done,
                        other => panic!("{other:?}"),
                    };
                    let SweepDone::Listed { listing, .. } = one(SweepStep::List { blobs: blobs.clone(), grace }) else {
                        panic!("another answer")
                    };
                    let done = one(SweepStep::Remove { listing, blobs: blobs.clone(), grace });
                    let mut rows: Vec<_> = blobs.iter().map(|digest| (*digest, listing)).collect();
                    rows.extend(blobs.iter().map(|digest| (*digest, listing.removed())));
                    one(SweepStep::Unlist { blobs: rows });
                    Ok(done)
                });
            }
            step => step,
        };
        PeerLog(self.peer).step(step)
    }

    fn removed(&mut self, _: &Digest, _: u64) {}

    fn pause(&mut self, _: &Swept) -> Result<(), Error> {
        Ok(())
    }
}

/// A reader of which each scan that gives something is a step.
struct Stepped<'a> {
    reader: &'a mut dyn LogReader,
    peer: &'a Peer,
    scans: usize,
}

impl LogReader for Stepped<'_> {
    fn scan(
        &mut self,
        page: &mut ScannedPage,
        after: Position,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<Option<Position>, LogError> {
        self.peer.turns.step();
        self.scans += 1;
        if self.scans > 2 && self.peer.is_without(Without::SecondReading) {
            return Ok(None);
        }
        self.reader.scan(page, after, events_max, bytes_max)
    }

    fn sweep_mark(&mut self, digest: &Digest) -> Result<SweepMark, LogError> {
        self.reader.sweep_mark(digest)
    }

    fn listed_blobs(&mut self, after: Option<&Digest>, max: usize) -> Result<Vec<(Digest, Listing)>, LogError> {
        self.reader.listed_blobs(after, max)
    }

    fn standing(&mut self) -> Result<Standing, LogError> {
        unreachable!()
    }
    fn feed(&mut self, _: &mut FeedPage, _: FeedPlace, _: usize, _: usize) -> Result<(), LogError> {
        unreachable!()
    }
    fn version(&mut self) -> Result<LogVersion, LogError> {
        unreachable!()
    }
    fn cursor(&mut self, _: &str) -> Result<Option<String>, LogError> {
        unreachable!()
    }
    fn cursors(&mut self, _: &str, _: usize) -> Result<Vec<(String, String)>, LogError> {
        unreachable!()
    }
    fn find(&mut self, _: &SessionId) -> Result<Option<LogMeta>, LogError> {
        unreachable!()
    }
    fn sessions(&mut self, _: Option<&SessionId>, _: usize) -> Result<Vec<SessionRow>, LogError> {
        unreachable!()
    }
    fn page_into(&mut self, _: &mut StoredPage, _: LogKey, _: EventId, _: usize, _: usize) -> Result<(), LogError> {
        unreachable!()
    }
    fn find_key(&mut self, _: LogKey, _: &crate::id::AppendKey) -> Result<Option<StoredEvent>, LogError> {
        unreachable!()
    }
    fn head(&mut self, _: LogMeta) -> Result<Head, LogError> {
        unreachable!()
    }
    fn record_bytes(&mut self, _: LogKey, _: EventId, _: usize) -> Result<(EventId, u64), LogError> {
        unreachable!()
    }
    fn living_owner(&mut self, _: LogKey) -> Result<Option<OwnerInfo>, LogError> {
        unreachable!()
    }
    fn redactions(&mut self, _: LogKey) -> Result<u64, LogError> {
        unreachable!()
    }
    fn erasing(&mut self) -> Result<Erasing, LogError> {
        unreachable!()
    }
    fn redacted_logs(&mut self) -> Result<std::collections::HashMap<LogKey, u64>, LogError> {
        unreachable!()
    }
    fn chain_at(&mut self, _: LogKey, _: EventId) -> Result<Option<Chain>, LogError> {
        unreachable!()
    }
    fn snapshot(&mut self, _: LogKey) -> Result<Option<SnapshotRow>, LogError> {
        unreachable!()
    }
    fn snapshots(&mut self, _: LogKey, _: usize) -> Result<Vec<(LogKey, Digest)>, LogError> {
        unreachable!()
    }
    fn audit(&mut self) -> &mut dyn LogAudit {
        unreachable!()
    }
}

const GRACE: Duration = Duration::from_secs(3600);

fn opening() -> Opening {
    Opening {
        model: "test",
        create: Create::default(),
        now: Timestamp::default(),
        durability: Durability::ProcessCrash,
        blob_bytes_max: 1 << 20,
        snapshot_bytes_max: 1 << 20,
    }
}

/// A medium with two hosts and one that sweeps.
pub(super) struct Scene {
    pub(super) turns: Arc<Turns>,
    pub(super) without: Arc<Mutex<Without>>,
    pub(super) host: Peer,
    pub(super) other: Peer,
    pub(super) sweeper: Peer,
    memory: Option<MemoryDisk>,
    directory: Option<tempfile::TempDir>,
    /// How many blobs there were: each order has one of its own.
    blobs: Mutex<u64>,
}

impl Scene {
    pub(super) fn memory() -> Self {
        let disk = MemoryDisk::default();
        Self::of(Arc::default(), Arc::new(Mutex::new(Without::Nothing)), Medium::memory(disk.clone()), Some(disk), None)
    }

    /// A directory whose stores look for the blobs that each commit names, in every order.
    pub(super) fn directory() -> Self {
        let scene = Self::unswept_directory();
        scene.sweeper.commit(Write::Sweep(SweepStep::Count)).unwrap();
        scene
    }

    /// A directory for which no sweep was counted yet.
    pub(super) fn unswept_directory() -> Self {
        let path = tempfile::tempdir().unwrap();
        let (turns, without) = (Arc::new(Turns::default()), Arc::new(Mutex::new(Without::Nothing)));
        let files = SteppedFiles { turns: Arc::clone(&turns), without: Arc::clone(&without) };
        let medium = Directory { files: Arc::new(files), ..Directory::new(path.path().to_owned()) };
        Self::of(turns, without, Medium::new(medium), None, Some(path))
    }

    fn of(
        turns: Arc<Turns>,
        without: Arc<Mutex<Without>>,
        medium: Medium,
        memory: Option<MemoryDisk>,
        directory: Option<tempfile::TempDir>,
    ) -> Self {
        let [host, other, sweeper] =
            ["host", "other", "sweeper"].map(|name| Peer::open(&medium, name, &turns, &without));
        Self { turns, without, host, other, sweeper, memory, directory, blobs: Mutex::new(0) }
    }

    /// A blob that was put long ago, and that no event names.
    pub(super) fn old_blob(&self) -> Vec<u8> {
        // All of them know the same at the beginning of each order.
        for peer in [&self.host, &self.other, &self.sweeper] {
            peer.commit(Write::Sweep(SweepStep::Unlist { blobs: Vec::new() })).unwrap();
            let mark = peer.reader.lock().unwrap().sweep_mark(&codec::digest(b"")).unwrap();
            peer.blobs.see_sweeps(mark.count);
        }
        let mut number = self.blobs.lock().unwrap();
        *number += 1;
        let bytes = format!("blob {number}").into_bytes();
        self.host.put(&bytes);
        self.age(&codec::digest(&bytes));
        bytes
    }

    fn age(&self, digest: &Digest) {
        if let Some(disk) = &self.memory {
            disk.age_blobs();
        }
        if let Some(path) = self.path_of(digest) {
            let file = File::options().write(true).open(path).unwrap();
            let put = file.metadata().unwrap().modified().unwrap();
            file.set_modified(put - 2 * GRACE).unwrap();
        }
    }

    fn path_of(&self, digest: &Digest) -> Option<PathBuf> {
        let name = digest.to_string();
        Some(self.directory.as_ref()?.path().join("blobs").join(&name[..2]).join(&name))
    }

    /// Leaves nothing behind that the next order would meet.
    pub(super) fn clear(&self, digest: &Digest) {
        for listed in self.sweeper.reader.lock().unwrap().listed_blobs(None, 10).unwrap() {
            self.sweeper.commit(Write::Sweep(SweepStep::Unlist { blobs: vec![listed] })).unwrap();
        }
        self.sweeper.blobs.remove(digest).unwrap();
    }
}
