//! Goal: both logs keep the same promises. Method: one body a claim, run on a log in memory and on one under a
//! directory.

mod deleted;
mod index;
mod positions;
mod redaction;
mod scan;

use std::sync::Arc;

use crate::codec::Chain;
use crate::id::{AppendKey, Digest, EventId, SessionId, Timestamp};
use crate::memory::MemoryDisk;
use crate::port::*;

enum Disk {
    Memory(MemoryDisk),
    Directory(tempfile::TempDir),
}

/// One store's end of a disk.
struct End {
    log: Box<dyn EventLog>,
    reader: Box<dyn LogReader>,
    me: String,
    ownership: Arc<dyn Ownership>,
}

impl Disk {
    fn both() -> [Self; 2] {
        [Self::Memory(MemoryDisk::default()), Self::Directory(tempfile::tempdir().unwrap())]
    }

    /// A connection of someone who is no foldlog.
    fn beside(&self) -> rusqlite::Connection {
        let Self::Directory(path) = self else { unreachable!("only a directory has a database") };
        rusqlite::Connection::open(path.path().join("events.db")).unwrap()
    }

    fn open(&self) -> End {
        let medium = match self {
            Self::Memory(disk) => Medium::memory(disk.clone()),
            Self::Directory(path) => Medium::directory(path.path()),
        };
        let opened = medium.open(&opening()).unwrap();
        let (log, reader) = (opened.log.writer().unwrap(), opened.log.reader().unwrap());
        End { log, reader, me: opened.ownership.me().to_string(), ownership: opened.ownership }
    }
}

fn opening() -> Opening {
    Opening {
        model: "test",
        create: Create::default(),
        now: Timestamp::default(),
        durability: Durability::PowerLoss,
        blob_bytes_max: 1 << 20,
        snapshot_bytes_max: 1 << 20,
    }
}

impl End {
    fn write(&mut self, write: Write) -> Result<Written, Refusal> {
        self.log.commit(&[write]).unwrap().remove(0)
    }

    fn register(&mut self, name: &str) -> (LogMeta, Option<Epoch>) {
        let session = SessionId::new(name).unwrap();
        match self.write(Write::Register { session, at: Timestamp::default() }) {
            Ok(Written::Registered { meta, owned }) => (meta, owned),
            other => panic!("{other:?}"),
        }
    }

    /// All sentences that an audit has to say of what holds the rows together.
    fn wrong(&mut self) -> Vec<String> {
        self.reader.audit().structure(10).unwrap()
    }

    fn ids(&mut self, log: LogMeta) -> Vec<u64> {
        let page = self.reader.page(log.key, EventId::ZERO, 1000, usize::MAX).unwrap().to_events();
        page.iter().map(|event| event.id.get()).collect()
    }
}

fn event(id: u64, key: Option<&str>) -> StoredEvent {
    StoredEvent {
        id: EventId::new(id),
        event_type: "x".into(),
        at: Timestamp::from_micros(id as i64),
        key: key.map(|key| AppendKey::new(key).unwrap()),
        chain: Chain([id as u8; 32]),
        record: vec![id as u8; 10],
    }
}

fn append(log: LogMeta, epoch: Epoch, events: Vec<StoredEvent>) -> Write {
    let after = match events[0].id.prev() {
        EventId::ZERO => Chain::start(&log.log_id),
        before => event(before.get(), None).chain,
    };
    Write::Append { log: log.key, epoch, after, events, listed: None }
}

#[test]
fn registering_twice_finds_the_first_log() {
    for disk in Disk::both() {
        let mut end = disk.open();
        let (first, owned) = end.register("s");
        assert!(owned.is_some());
        assert_eq!(end.register("s"), (first, None));
        assert_ne!(end.register("other").0.key, first.key);
        assert_eq!(end.reader.find(&SessionId::new("s").unwrap()).unwrap(), Some(first));
        assert_eq!(end.reader.find(&SessionId::new("none").unwrap()).unwrap(), None);
    }
}

#[test]
fn what_is_appended_is_read_back_in_pages() {
    for disk in Disk::both() {
        let mut end = disk.open();
        let (log, epoch) = end.register("s");
        let events: Vec<_> = (1..=5).map(|id| event(id, None)).collect();
        end.write(append(log, epoch.unwrap(), events.clone())).unwrap();
        let reader = &mut end.reader;
        assert_eq!(reader.page(log.key, EventId::ZERO, 1000, usize::MAX).unwrap().to_events(), events);
        assert_eq!(reader.page(log.key, EventId::new(2), 2, usize::MAX).unwrap().to_events(), events[2..4]);
        assert_eq!(
            reader.page(log.key, EventId::new(1), 10, 15).unwrap().to_events(),
            events[1..3],
            "ends at its bytes"
        );
        assert_eq!(reader.page(log.key, EventId::new(5), 10, 10).unwrap().to_events(), []);
        assert_eq!(end.reader.chain_at(log.key, EventId::new(3)).unwrap(), Some(Chain([3; 32])));
        assert_eq!(end.reader.chain_at(log.key, EventId::new(6)).unwrap(), None);
    }
}

#[test]
fn an_append_that_does_not_follow_the_head_is_left_out_of_its_group() {
    for disk in Disk::both() {
        let mut end = disk.open();
        let (one, epoch_one) = end.register("one");
        let (two, epoch_two) = end.register("two");
        let answers = end.log.commit(&[
            append(one, epoch_one.unwrap(), vec![event(2, None)]),
            append(two, epoch_two.unwrap(), vec![event(1, None), event(2, None)]),
            append(one, epoch_one.unwrap(), vec![event(1, None)]),
        ]);
        let answers = answers.unwrap();
        assert_eq!(answers[0].as_ref().unwrap_err(), &Refusal::HeadMoved { head: EventId::ZERO });
        assert!(answers[1].is_ok() && answers[2].is_ok());
        assert_eq!((end.ids(one), end.ids(two)), (vec![1], vec![1, 2]));
    }
}

#[test]
fn an_append_that_goes_on_from_another_chain_is_refused() {
    for disk in Disk::both() {
        let mut end = disk.open();
        let (log, epoch) = end.register("s");
        let epoch = epoch.unwrap();
        end.write(append(log, epoch, vec![event(1, None)])).unwrap();
        let foreign =
            Write::Append { log: log.key, epoch, after: Chain([9; 32]), events: vec![event(2, None)], listed: None };
        assert_eq!(end.write(foreign).unwrap_err(), Refusal::HeadMoved { head: EventId::new(1) });
        assert_eq!(end.ids(log), [1]);
    }
}

#[test]
fn an_append_key_is_taken_once_and_a_second_use_leaves_the_rest_of_its_group_alone() {
    for disk in Disk::both() {
        let mut end = disk.open();
        let (one, epoch) = end.register("one");
        let (two, epoch_two) = end.register("two");
        let epoch = epoch.unwrap();
        end.write(append(one, epoch, vec![event(1, Some("k")), event(2, None)])).unwrap();
        let answers = end.log.commit(&[
            append(two, epoch_two.unwrap(), vec![event(1, Some("k"))]),
            append(one, epoch, vec![event(3, None), event(4, Some("k"))]),
            append(one, epoch, vec![event(3, Some("other"))]),
        ]);
        let answers = answers.unwrap();
        assert!(answers[0].is_ok(), "keys are a session's own");
        assert_eq!(answers[1].as_ref().unwrap_err(), &Refusal::KeyTaken);
        assert!(answers[2].is_ok());
        assert_eq!((end.ids(one), end.ids(two)), (vec![1, 2, 3], vec![1]));
        let key = AppendKey::new("k").unwrap();
        assert_eq!(end.reader.find_key(one.key, &key).unwrap().unwrap().id.get(), 1);
    }
}

#[test]
fn a_log_has_one_owner_that_lives_and_the_next_one_raises_the_epoch() {
    for disk in Disk::both() {
        let (mut first, mut second) = (disk.open(), disk.open());
        let (log, epoch) = first.register("s");
        let epoch = epoch.unwrap();
        first.write(append(log, epoch, vec![event(1, None)])).unwrap();
        let claim = || Write::Fence { log, claim: Claiming::Yes };
        assert_eq!(owner_named(second.write(claim())), first.me);
        assert_eq!(owner_named(second.write(append(log, epoch, vec![event(2, None)]))), first.me);
        first.ownership.release().unwrap();
        let (head, taken) = match second.write(claim()) {
            Ok(Written::Fenced { head, owned }) => (head, owned.unwrap()),
            other => panic!("{other:?}"),
        };
        assert_eq!((head.id.get(), head.chain), (1, Chain([1; 32])));
        assert!(taken > epoch);
        second.write(append(log, taken, vec![event(2, None)])).unwrap();
        let late = first.log.commit(&[append(log, epoch, vec![event(3, None)])]).unwrap().remove(0);
        assert_eq!(owner_named(late), second.me, "the old owner learns it at its next append");
        second.ownership.release().unwrap();
        let late = first.log.commit(&[append(log, epoch, vec![event(3, None)])]).unwrap().remove(0);
        assert_eq!(late.unwrap_err(), Refusal::StaleEpoch, "and of nobody once the other is gone");
        assert_eq!(first.ids(log), [1, 2]);
    }
}

#[test]
fn a_log_is_taken_over_from_an_owner_that_lives_and_its_epoch_keeps_that_one_out() {
    for disk in Disk::both() {
        let (mut first, mut second) = (disk.open(), disk.open());
        let (log, epoch) = first.register("s");
        let epoch = epoch.unwrap();
        let take_over = || Write::Fence { log, claim: Claiming::Force };
        let taken = |written| match written {
            Ok(Written::Fenced { head, owned }) => (head.id.get(), owned.unwrap()),
            other => panic!("{other:?}"),
        };
        assert_eq!(taken(first.write(take_over())), (0, epoch), "its own already");
        first.write(append(log, epoch, vec![event(1, None)])).unwrap();

        let (head, second_epoch) = taken(second.write(take_over()));
        assert_eq!(head, 1);
        assert!(second_epoch > epoch);
        let old_owner = first.log.commit(&[
            append(log, epoch, vec![event(2, None)]),
            append(log, epoch, vec![event(3, None)]),
            Write::Release { log: log.key, epoch },
            Write::Fence { log, claim: Claiming::Yes },
        ]);
        for (place, answer) in old_owner.unwrap().into_iter().enumerate() {
            match answer {
                Ok(Written::Released) => assert_eq!(place, 2),
                answer => assert_eq!(owner_named(answer), second.me, "{place}"),
            }
        }
        second.write(append(log, second_epoch, vec![event(2, None)])).unwrap();
        assert_eq!(first.ids(log), [1, 2]);

        // And back: an epoch is used once, so that what was stamped before stays out.
        let (head, third_epoch) = taken(first.write(take_over()));
        assert_eq!(head, 2);
        assert!(third_epoch > second_epoch);
        assert_eq!(first.write(append(log, epoch, vec![event(3, None)])).unwrap_err(), Refusal::StaleEpoch);
        first.write(append(log, third_epoch, vec![event(3, None)])).unwrap();
        assert_eq!(owner_named(second.write(append(log, second_epoch, vec![event(4, None)]))), first.me);
        assert_eq!(second.ids(log), [1, 2, 3]);
    }
}

fn owner_named(answer: Result<Written, Refusal>) -> String {
    match answer {
        Err(Refusal::Owned(owner)) => {
            assert_eq!(owner.process, std::process::id());
            owner.id
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stored_view_is_named_by_its_owner_and_only_of_what_is_in_the_log() {
    for disk in Disk::both() {
        let (mut first, mut second) = (disk.open(), disk.open());
        let (log, epoch) = first.register("s");
        let epoch = epoch.unwrap();
        first.write(append(log, epoch, vec![event(1, None), event(2, None)])).unwrap();
        let chain = |id: u64| event(id, None).chain;
        let row = |id: u64, chain, digest| SnapshotRow {
            event: EventId::new(id),
            chain,
            digest: Digest::from_bytes([digest; 32]),
            bytes: 7,
            view_schema: 1,
            schema: 1,
        };
        let name = |epoch, row| Write::Snapshot { log: log.key, epoch, row, redactions: 0 };
        let head = Refusal::HeadMoved { head: EventId::new(2) };
        assert_eq!(first.write(name(epoch, row(3, chain(3), 1))).unwrap_err(), head, "not there yet");
        assert_eq!(first.write(name(epoch, row(2, chain(1), 1))).unwrap_err(), head, "of other events");
        assert_eq!(first.reader.snapshot(log.key).unwrap(), None);
        let replaced = |written| match written {
            Ok(Written::SnapshotIndexed { replaced }) => replaced,
            other => panic!("{other:?}"),
        };
        assert_eq!(replaced(first.write(name(epoch, row(1, chain(1), 1)))), None);
        assert_eq!(replaced(first.write(name(epoch, row(2, chain(2), 2)))), Some(Digest::from_bytes([1; 32])));
        assert_eq!(replaced(first.write(name(epoch, row(2, chain(2), 2)))), None, "the same stays");
        assert_eq!(second.reader.snapshot(log.key).unwrap(), Some(row(2, chain(2), 2)));

        second.write(Write::Fence { log, claim: Claiming::Force }).unwrap();
        assert_eq!(first.write(name(epoch, row(1, chain(1), 3))).unwrap_err(), Refusal::StaleEpoch);
        assert_eq!(second.reader.snapshot(log.key).unwrap(), Some(row(2, chain(2), 2)));
    }
}

#[test]
fn an_owner_that_releases_a_log_leaves_it_to_the_next() {
    for disk in Disk::both() {
        let (mut first, mut second) = (disk.open(), disk.open());
        let (log, epoch) = first.register("s");
        first.write(Write::Release { log: log.key, epoch: epoch.unwrap() }).unwrap();
        let claimed = second.write(Write::Fence { log, claim: Claiming::Yes });
        assert!(matches!(claimed, Ok(Written::Fenced { owned: Some(_), .. })), "{claimed:?}");
    }
}

#[test]
fn sessions_are_listed_in_the_order_of_their_ids() {
    for disk in Disk::both() {
        let mut end = disk.open();
        for name in ["b", "a", "c"] {
            let (log, epoch) = end.register(name);
            end.write(append(log, epoch.unwrap(), vec![event(1, None)])).unwrap();
        }
        let mut names = |after: Option<&str>, max| -> Vec<String> {
            let after = after.map(|name| SessionId::new(name).unwrap());
            let rows = end.reader.sessions(after.as_ref(), max).unwrap();
            assert!(rows.iter().all(|row| row.head.get() == 1));
            rows.iter().map(|row| row.session.to_string()).collect()
        };
        assert_eq!(names(None, 10), ["a", "b", "c"]);
        assert_eq!(names(Some("a"), 1), ["b"]);
        assert_eq!(names(Some("c"), 10), Vec::<String>::new());
    }
}

#[test]
fn a_database_or_write_ahead_log_that_goes_away_is_noticed_before_the_next_acknowledgement() {
    for name in ["events.db", "events.db-wal"] {
        let path = tempfile::tempdir().unwrap();
        let disk = Disk::Directory(path);
        let Disk::Directory(path) = &disk else { unreachable!() };
        let mut end = disk.open();
        let (log, epoch) = end.register("s");
        let epoch = epoch.unwrap();
        end.write(append(log, epoch, vec![event(1, None)])).unwrap();
        std::fs::rename(path.path().join(name), path.path().join("elsewhere")).unwrap();
        for id in [2, 3] {
            let gone = end.log.commit(&[append(log, epoch, vec![event(id, None)])]);
            let is_told =
                matches!(&gone, Err(CommitError::Unknown(LogError::Lost(text))) if text.contains("was removed"));
            assert!(is_told, "{gone:?}");
        }
    }
}

#[test]
fn an_impossible_event_id_is_damage_of_one_session_and_not_of_the_list() {
    let disk = Disk::Directory(tempfile::tempdir().unwrap());
    let Disk::Directory(path) = &disk else { unreachable!() };
    let mut end = disk.open();
    for name in ["damaged", "whole"] {
        let (log, epoch) = end.register(name);
        end.write(append(log, epoch.unwrap(), vec![event(1, None)])).unwrap();
    }
    let connection = rusqlite::Connection::open(path.path().join("events.db")).unwrap();
    connection.execute("UPDATE events SET event_id = 9223372036854775807 WHERE log_key = 1", []).unwrap();
    let whole = end.reader.find(&SessionId::new("whole").unwrap()).unwrap().unwrap();
    let damaged = end.reader.find(&SessionId::new("damaged").unwrap()).unwrap().unwrap();
    let fence = |log| Write::Fence { log, claim: Claiming::No };
    let answers = end.log.commit(&[fence(damaged), fence(whole)]).unwrap();
    assert!(matches!(&answers[0], Err(Refusal::Damaged { .. })), "{:?}", answers[0]);
    assert!(matches!(&answers[1], Ok(Written::Fenced { .. })), "a damaged log is alone in its group");
    let rows = end.reader.sessions(None, 10).unwrap();
    let heads: Vec<_> = rows.iter().map(|row| (row.session.as_str(), row.head)).collect();
    assert_eq!(heads, [("damaged", EventId::new(1)), ("whole", EventId::new(1))]);
}

/// Everybody else's writes of the group are written, and the connection goes on.
#[test]
fn an_owner_that_cannot_be_looked_at_is_a_refusal_of_one_write_that_names_its_file() {
    let disk = Disk::Directory(tempfile::tempdir().unwrap());
    let Disk::Directory(path) = &disk else { unreachable!() };
    let mut end = disk.open();
    let (claimed, _) = end.register("claimed");
    let (mine, epoch) = end.register("mine");
    // A link that leads to itself cannot be opened by anyone.
    let owner = format!("{:032x}", 7);
    let file = path.path().join("owners").join(&owner);
    std::os::unix::fs::symlink(&file, &file).unwrap();
    disk.beside().execute("UPDATE logs SET owner = ?2 WHERE log_key = ?1", (claimed.key.0, &owner)).unwrap();
    let group = [
        append(mine, epoch.unwrap(), vec![event(1, None)]),
        Write::Fence { log: claimed, claim: Claiming::Yes },
        append(mine, epoch.unwrap(), vec![event(2, None)]),
    ];
    let answers = end.log.commit(&group).unwrap();
    assert!(matches!(answers[0], Ok(Written::Appended { .. })), "{answers:?}");
    let name = format!("owners/{owner}");
    assert!(matches!(&answers[1], Err(Refusal::Unavailable(reason)) if reason.contains(&name)), "{answers:?}");
    assert!(matches!(answers[2], Ok(Written::Appended { .. })), "{answers:?}");
    assert_eq!(end.ids(mine), [1, 2]);
    end.write(append(mine, epoch.unwrap(), vec![event(3, None)])).unwrap();
    std::fs::remove_file(&file).unwrap();
    end.write(Write::Fence { log: claimed, claim: Claiming::Yes }).unwrap();
}

/// As a failed COMMIT is settled: the write-ahead log may hold what never reached the disk, and is not relied on.
#[test]
fn what_is_settled_is_in_the_database_itself() {
    let path = tempfile::tempdir().unwrap();
    let alone = tempfile::tempdir().unwrap();
    let disk = Disk::Directory(path);
    let Disk::Directory(path) = &disk else { unreachable!() };
    let mut end = disk.open();
    let (log, epoch) = end.register("s");
    let write = append(log, epoch.unwrap(), vec![event(1, None), event(2, None)]);
    let group = [write];
    end.log.commit(&group).unwrap().remove(0).unwrap();
    let settled = end.log.settle(&group).unwrap();
    assert!(matches!(settled.as_slice(), [Settled { outcome: SettledAs::Written, raised: None }]), "{settled:?}");
    let copy = alone.path().join("events.db");
    std::fs::copy(path.path().join("events.db"), &copy).unwrap();
    let connection = rusqlite::Connection::open(copy).unwrap();
    let events: i64 = connection.query_row("SELECT count(*) FROM events", [], |row| row.get(0)).unwrap();
    assert_eq!(events, 2, "without the write-ahead log");
}
