//! Goal: what the writing end keeps in memory, and the size of its write-ahead log, have a bound. Method: a writing end
//! beside a reader that stays.

use super::*;
use crate::codec::Chain;
use crate::id::{EventId, SessionId, Timestamp};
use crate::port::{Claiming, Durability, LogMeta, LogSource, StoredEvent};
use crate::sqlite::blobs::FileBlobs;
use crate::sqlite::files::OsFiles;
use crate::sqlite::log::medium::{LogSettings, SqliteMedium};
use crate::sqlite::log::schema::Database;

const CHECKPOINT_BYTES: usize = 32 << 10;

struct Bench {
    log: SqliteLog,
    medium: SqliteMedium,
    wal: PathBuf,
    path: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let path = tempfile::tempdir().unwrap();
        let directory = StoreDirectory::open(Arc::new(OsFiles), path.path(), Timestamp::default()).unwrap();
        let directory = Arc::new(directory);
        let durability = Durability::PowerLoss;
        let settings = LogSettings { vfs: None, durability, model: "test", checkpoint_bytes: Some(CHECKPOINT_BYTES) };
        let blobs = FileBlobs::new(Arc::new(OsFiles), directory.blobs(), directory.tmp(), 1 << 20);
        let blobs = Arc::new(blobs);
        let medium = SqliteMedium::open(Arc::clone(&directory), &settings, Arc::clone(&blobs)).unwrap();
        let database = Database { path: directory.events_db(), vfs: None };
        let identity = Identity::of(database.path.clone()).unwrap();
        let wal = database.companion("-wal");
        let here = Arc::new(OpenHere::note(path.path()));
        let figures = Arc::default();
        let setup = WriterSetup {
            directory,
            database,
            identity,
            durability,
            checkpoint_bytes: CHECKPOINT_BYTES,
            figures,
            here,
            blobs,
        };
        Self { log: SqliteLog::open(setup).unwrap(), medium, wal, path }
    }

    /// Another program that reads.
    fn foreign(&self) -> Connection {
        Connection::open(self.path.path().join("events.db")).unwrap()
    }

    fn register(&mut self, names: std::ops::Range<usize>) -> Vec<(LogMeta, Epoch)> {
        let register =
            |n| Write::Register { session: SessionId::new(format!("s{n}")).unwrap(), at: Timestamp::default() };
        let group: Vec<_> = names.map(register).collect();
        let made = self.log.commit(&group).unwrap().into_iter().map(|answer| match answer {
            Ok(Written::Registered { meta, owned: Some(epoch) }) => (meta, epoch),
            other => panic!("{other:?}"),
        });
        made.collect()
    }

    /// Appends an event of 16 KiB behind the `n` that are there.
    fn append(&mut self, (log, epoch): (LogMeta, Epoch), n: u64) {
        let chain = |n| if n == 0 { Chain::start(&log.log_id) } else { Chain([n as u8; 32]) };
        let id = EventId::new(n + 1);
        let (event_type, at, record) = ("x".into(), Timestamp::default(), vec![7; 16 << 10]);
        let event = StoredEvent { id, event_type, at, key: None, chain: chain(n + 1), record };
        let append = Write::Append { log: log.key, epoch, after: chain(n), events: vec![event], listed: None };
        assert!(matches!(self.log.commit(&[append]).unwrap()[..], [Ok(Written::Appended { .. })]));
    }

    fn wal_bytes(&self) -> u64 {
        self.wal.metadata().unwrap().len()
    }
}

#[test]
fn what_is_remembered_of_logs_has_a_bound_and_a_forgotten_log_is_looked_up_again() {
    let mut bench = Bench::new();
    let mut first = Vec::new();
    for n in 0..LOGS_MAX / 1000 + 2 {
        let made = bench.register(n * 1000..(n + 1) * 1000);
        first.push(made[0]);
        assert!(bench.log.remembered.logs.len() <= LOGS_MAX, "{}", bench.log.remembered.logs.len());
    }
    for n in 0..3 {
        for log in &first {
            bench.append(*log, n);
        }
    }
    // One that is gone is not remembered either.
    let fence = first.iter().map(|(log, _)| Write::Fence { log: *log, claim: Claiming::No }).collect::<Vec<_>>();
    bench.log.remembered.logs.clear();
    for answer in bench.log.commit(&fence).unwrap() {
        assert!(matches!(answer, Ok(Written::Fenced { head, .. }) if head.id == EventId::new(3)));
    }
}

/// Both ends of it: what a reader held back is given back at the next commits, and without any commit.
#[test]
fn a_write_ahead_log_that_a_reader_held_back_becomes_small_when_the_reader_has_gone() {
    for is_busy in [true, false] {
        let mut bench = Bench::new();
        let log = bench.register(0..1)[0];
        let foreign = bench.foreign();
        let mut n = 0;
        let mut append = |bench: &mut Bench| {
            bench.append(log, n);
            n += 1;
            bench.log.upkeep(UpkeepMoment::AfterGroup).unwrap()
        };
        append(&mut bench);
        foreign.execute_batch("BEGIN; SELECT count(*) FROM events").unwrap();
        let usual = upkeep::wal_bytes_max(CHECKPOINT_BYTES);
        while bench.wal_bytes() < 4 * usual {
            append(&mut bench);
        }
        assert_eq!(bench.log.upkeep(UpkeepMoment::Idle).unwrap(), UpkeepLeft::HeldBack);
        assert!(bench.wal_bytes() >= 4 * usual);
        foreign.execute_batch("ROLLBACK").unwrap();
        if is_busy {
            for _ in 0..8 {
                append(&mut bench);
            }
            assert!(bench.wal_bytes() <= usual, "{} bytes", bench.wal_bytes());
            assert_eq!(append(&mut bench), UpkeepLeft::Nothing);
        } else {
            assert_eq!(bench.log.upkeep(UpkeepMoment::Idle).unwrap(), UpkeepLeft::Nothing);
            assert_eq!(bench.wal_bytes(), 0);
        }
        let page = bench.medium.reader().unwrap().page(log.0.key, EventId::ZERO, 10_000, usize::MAX).unwrap();
        assert_eq!(page.len() as u64, n);
    }
}

/// All that is in the write-ahead log may be in the database, too, while a reader still needs the file.
#[test]
fn a_reader_of_the_last_state_keeps_the_file_and_it_is_cut_afterwards() {
    let mut bench = Bench::new();
    let log = bench.register(0..1)[0];
    let (early, late) = (bench.foreign(), bench.foreign());
    bench.append(log, 0);
    early.execute_batch("BEGIN; SELECT count(*) FROM events").unwrap();
    let mut n = 1;
    while bench.wal_bytes() < 2 * upkeep::wal_bytes_max(CHECKPOINT_BYTES) {
        bench.append(log, n);
        n += 1;
        bench.log.upkeep(UpkeepMoment::AfterGroup).unwrap();
    }
    late.execute_batch("BEGIN; SELECT count(*) FROM events").unwrap();
    early.execute_batch("ROLLBACK").unwrap();
    let before = bench.log.upkeep(UpkeepMoment::Idle).unwrap();
    assert_eq!(before, UpkeepLeft::HeldBack, "all was copied, and the file is in use");
    bench.append(log, n);
    late.execute_batch("ROLLBACK").unwrap();
    bench.log.upkeep(UpkeepMoment::Idle).unwrap();
    assert_eq!(bench.log.upkeep(UpkeepMoment::Idle).unwrap(), UpkeepLeft::Nothing);
}
