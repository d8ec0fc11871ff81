//! Puts, appends and sweeps of three stores on one medium, in every order.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use super::turns::{Turns, every_order};
use crate::blobs::put::{PutLog, put};
use crate::blobs::sweep::{SweepPlan, SweepWorld, Swept, sweep};
use crate::codec::{self, Chain, RecordHeader};
use crate::error::Error;
use crate::id::{BlobEncoding, BlobKind, BlobRef, Digest, EventId, SessionId, Timestamp};
use crate::memory::MemoryDisk;
use crate::port::*;
use crate::sqlite::{Directory, Files, OsFiles};

/// A protection that is left out, to see that it is missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    /// A put does not touch a file that it finds.
    Touch,
    /// A put does not look at the list.
    LookAtTheList,
    /// A put takes its blob off the list whatever has happened to it since.
    ListingNumber,
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
struct Peer {
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

    fn put(&self, bytes: &[u8]) -> Put {
        put(&*self.blobs, &mut PeerLog(self), bytes).unwrap()
    }

    /// Appends an event that names a blob, as a session does: it looks first. Tells whether the event was committed.
    fn append(&self, digest: Digest, bytes: u64) -> bool {
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

    fn sweep(&self) -> Swept {
        let mut reader = self.reader.lock().unwrap();
        let mut reader = Stepped { reader: &mut **reader, peer: self, scans: 0 };
        let mut world = PeerWorld { peer: self, reader: &mut reader };
        sweep(&mut world, SweepPlan { grace: GRACE, is_dry: false }).unwrap()
    }

    fn has(&self, digest: &Digest) -> bool {
        self.blobs.look(digest).unwrap().is_some()
    }

    fn is_listed(&self, digest: &Digest) -> bool {
        self.reader.lock().unwrap().sweep_mark(digest).unwrap().listed.is_some()
    }
}

struct PeerLog<'a>(&'a Peer);

impl PutLog for PeerLog<'_> {
    fn mark(&mut self, digest: &Digest) -> Result<SweepMark, Error> {
        self.0.turns.step();
        let mark = self.0.reader.lock().unwrap().sweep_mark(digest)?;
        Ok(if self.0.is_without(Without::LookAtTheList) { SweepMark { listed: None, ..mark } } else { mark })
    }

    fn step(&mut self, step: SweepStep) -> Result<SweepDone, Error> {
        if let (true, SweepStep::Unlist { blobs }) = (self.0.is_without(Without::ListingNumber), &step) {
            let (digest, _) = blobs[0];
            return self.0.turns.commit(|| {
                let listed = self.0.reader.lock().unwrap().sweep_mark(&digest)?.listed;
                let blobs = listed.map(|listing| (digest, listing)).into_iter().collect();
                let write = Write::Sweep(SweepStep::Unlist { blobs });
                self.0.log.lock().unwrap().commit(&[write]).unwrap().remove(0).unwrap();
                Ok(SweepDone::Unlisted(1))
            });
        }
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
        PeerLog(self.peer).step_as_it_is(step)
    }

    fn pause(&mut self, _: &Swept) -> Result<(), Error> {
        Ok(())
    }
}

impl PeerLog<'_> {
    fn step_as_it_is(&self, step: SweepStep) -> Result<SweepDone, Error> {
        let Written::Swept(done) = self.0.commit(Write::Sweep(step)).unwrap() else { panic!("another answer") };
        Ok(done)
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
struct Scene {
    turns: Arc<Turns>,
    without: Arc<Mutex<Without>>,
    host: Peer,
    other: Peer,
    sweeper: Peer,
    memory: Option<MemoryDisk>,
    directory: Option<tempfile::TempDir>,
    /// How many blobs there were: each order has one of its own.
    blobs: Mutex<u64>,
}

impl Scene {
    fn memory() -> Self {
        let disk = MemoryDisk::default();
        Self::of(Arc::default(), Arc::new(Mutex::new(Without::Nothing)), Medium::memory(disk.clone()), Some(disk), None)
    }

    fn directory() -> Self {
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
        // From now on each commit looks for the blobs that it names, in every order.
        sweeper.commit(Write::Sweep(SweepStep::Count)).unwrap();
        Self { turns, without, host, other, sweeper, memory, directory, blobs: Mutex::new(0) }
    }

    /// A blob that was put long ago, and that no event names.
    fn old_blob(&self) -> Vec<u8> {
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
            let old = SystemTime::now() - 2 * GRACE;
            File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
        }
    }

    fn path_of(&self, digest: &Digest) -> Option<PathBuf> {
        let name = digest.to_string();
        Some(self.directory.as_ref()?.path().join("blobs").join(&name[..2]).join(&name))
    }

    /// Leaves nothing behind that the next order would meet.
    fn clear(&self, digest: &Digest) {
        for listed in self.sweeper.reader.lock().unwrap().listed_blobs(None, 10).unwrap() {
            self.sweeper.commit(Write::Sweep(SweepStep::Unlist { blobs: vec![listed] })).unwrap();
        }
        self.sweeper.blobs.remove(digest).unwrap();
    }
}

/// What an order has shown.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    orders: usize,
    /// Events that name a blob which is not there.
    dangling: usize,
    /// Appends that were refused right after a put had answered.
    refused: usize,
    /// Blobs that are listed still.
    listed: usize,
}

/// A host puts a blob that is there and names it, while another store sweeps.
fn put_and_append(scene: &Scene, changes_max: usize) -> Seen {
    let mut seen = Seen::default();
    seen.orders = every_order(changes_max, |choose| {
        let bytes = scene.old_blob();
        let digest = codec::digest(&bytes);
        let appended = Mutex::new(false);
        let host = || {
            let Put { digest, bytes, .. } = scene.host.put(&bytes);
            *appended.lock().unwrap() = scene.host.append(digest, bytes);
        };
        let sweeper = || {
            scene.sweeper.sweep();
        };
        scene.turns.play(vec![Box::new(host), Box::new(sweeper)], choose);
        let is_appended = *appended.lock().unwrap();
        seen.refused += usize::from(!is_appended);
        seen.dangling += usize::from(is_appended && !scene.host.has(&digest));
        seen.listed += usize::from(scene.host.is_listed(&digest));
        if !is_appended || !scene.host.has(&digest) {
            scene.clear(&digest);
        }
    });
    seen
}

/// A host names a blob that it has put long ago, another host puts it again, and a third store sweeps.
fn append_beside_a_put(scene: &Scene, changes_max: usize) -> Seen {
    let mut seen = Seen::default();
    seen.orders = every_order(changes_max, |choose| {
        let bytes = scene.old_blob();
        let digest = codec::digest(&bytes);
        let appended = Mutex::new(false);
        let host = || *appended.lock().unwrap() = scene.host.append(digest, bytes.len() as u64);
        let other = || {
            scene.other.put(&bytes);
        };
        let sweeper = || {
            scene.sweeper.sweep();
        };
        scene.turns.play(vec![Box::new(host), Box::new(other), Box::new(sweeper)], choose);
        let is_appended = *appended.lock().unwrap();
        seen.dangling += usize::from(is_appended && !scene.host.has(&digest));
        // What the other host has put is there for its grace time, whatever became of the append.
        seen.refused += usize::from(!scene.host.has(&digest));
        seen.listed += usize::from(scene.host.is_listed(&digest));
        if !is_appended || !scene.host.has(&digest) {
            scene.clear(&digest);
        }
    });
    seen
}

/// A host names a blob that it has put long ago, while two stores sweep.
fn append_beside_two_sweeps(scene: &Scene, changes_max: usize) -> Seen {
    let mut seen = Seen::default();
    seen.orders = every_order(changes_max, |choose| {
        let bytes = scene.old_blob();
        let digest = codec::digest(&bytes);
        let appended = Mutex::new(false);
        let host = || *appended.lock().unwrap() = scene.host.append(digest, bytes.len() as u64);
        let [one, two] = [&scene.sweeper, &scene.other].map(|peer| {
            move || {
                peer.sweep();
            }
        });
        scene.turns.play(vec![Box::new(host), Box::new(one), Box::new(two)], choose);
        let is_appended = *appended.lock().unwrap();
        seen.dangling += usize::from(is_appended && !scene.host.has(&digest));
        seen.listed += usize::from(scene.host.is_listed(&digest));
        if !is_appended || !scene.host.has(&digest) {
            scene.clear(&digest);
        }
    });
    seen
}

/// How many changes of turn are tried: all that there are would take hours on a directory.
fn changes_max(usual: usize) -> usize {
    let asked = std::env::var("FOLDLOG_ORDERS").ok().and_then(|changes| changes.parse().ok());
    asked.unwrap_or(usual)
}

fn assert_nothing_lost(seen: &Seen, at_least: usize) {
    println!("{seen:?}");
    assert!(seen.orders >= at_least, "{seen:?}");
    assert_eq!((seen.dangling, seen.refused, seen.listed), (0, 0, 0), "{seen:?}");
}

#[test]
fn whatever_the_order_a_blob_that_was_put_stays_and_its_append_is_taken_in_memory() {
    assert_nothing_lost(&put_and_append(&Scene::memory(), changes_max(6)), 100);
}

#[test]
fn whatever_the_order_a_blob_that_was_put_stays_and_its_append_is_taken() {
    assert_nothing_lost(&put_and_append(&Scene::directory(), changes_max(3)), 200);
}

#[test]
fn whatever_the_order_no_event_names_a_blob_that_is_swept_and_put_again_in_memory() {
    assert_nothing_lost(&append_beside_a_put(&Scene::memory(), changes_max(3)), 100);
}

#[test]
fn whatever_the_order_no_event_names_a_blob_that_is_swept_and_put_again() {
    assert_nothing_lost(&append_beside_a_put(&Scene::directory(), changes_max(2)), 200);
}

#[test]
fn whatever_the_order_two_sweeps_remove_no_blob_that_an_event_names() {
    assert_nothing_lost(&append_beside_two_sweeps(&Scene::memory(), changes_max(3)), 100);
    assert_nothing_lost(&append_beside_two_sweeps(&Scene::directory(), changes_max(2)), 100);
}

#[test]
fn with_each_protection_left_out_an_order_is_found_that_loses_something() {
    let without = |scene: Scene, without| {
        *scene.without.lock().unwrap() = without;
        scene
    };
    let refused = put_and_append(&without(Scene::directory(), Without::Touch), 2).refused;
    assert!(refused > 0, "an untouched file is removed right after its put");
    let seen = put_and_append(&without(Scene::memory(), Without::LookAtTheList), 3);
    assert!(seen.refused > 0, "{seen:?}");
    for left_out in [Without::List, Without::SecondReading, Without::Count] {
        let seen = append_beside_two_sweeps(&without(Scene::memory(), left_out), 2);
        assert!(seen.dangling > 0, "{left_out:?}: {seen:?}");
    }
    let seen = put_and_append(&without(Scene::memory(), Without::ListingNumber), 4);
    assert!(seen.refused + seen.dangling > 0, "{seen:?}");
}
