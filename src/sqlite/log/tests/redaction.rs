//! Goal: a redaction overwrites what it replaces wherever the medium has it, and tells when nothing is left. Method:
//! sessions whose events stand among each other, in rows of all sizes, from which some are deleted and some redacted,
//! in random order; after each, every byte of the directory is searched.

use std::collections::BTreeMap;

use super::deleted::{all_bytes, delete};
use super::*;
use crate::codec::{self, RecordHeader};

/// A session of the test, and the events that still have their secrets.
struct Log {
    name: String,
    log: LogMeta,
    epoch: Epoch,
    events: Vec<StoredEvent>,
    whole: BTreeMap<u64, String>,
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % end
    }
}

impl Log {
    fn event(&mut self, dice: &mut Random) -> StoredEvent {
        let id = self.events.len() as u64 + 1;
        let secret = format!("{:016x}", dice.below(1 << 31) << 32 | dice.below(1 << 31));
        let bytes = match dice.below(16) {
            0 => 27_000,
            1..=3 => 2_000 + dice.below(3_000),
            _ => 60 + dice.below(500),
        };
        let record = secret.bytes().cycle().take(bytes as usize).collect();
        let key = (dice.below(3) == 0).then(|| format!("key-{secret}"));
        self.whole.insert(id, secret);
        let event = StoredEvent { record, ..event(id, key.as_deref()) };
        self.events.push(event.clone());
        event
    }

    fn redaction(&mut self, id: u64, body: &[u8]) -> Write {
        let before = &self.events[id as usize - 1];
        let header = RecordHeader {
            schema: 1,
            event_type: Some("x"),
            salt: [0; 8],
            first: before.id,
            last: before.id,
            key: before.key.clone().map(|key| (key, [0; 16])),
            refs: Vec::new(),
        };
        let record = codec::redact_record(&before.record, &header, "x", body);
        let event = event(self.events.len() as u64 + 1, None);
        let after = self.events.last().unwrap().chain;
        self.events.push(event.clone());
        Write::Redact(Box::new(LogRedaction {
            log: self.log.key,
            epoch: self.epoch,
            after,
            event,
            records: vec![RedactedRecord { event: EventId::new(id), record }],
            listed: None,
        }))
    }
}

fn interleaved(end: &mut End, sessions: usize, rounds: u64, dice: &mut Random) -> Vec<Log> {
    let mut logs: Vec<_> = (0..sessions)
        .map(|n| {
            let name = format!("session-{n}");
            let (log, epoch) = end.register(&name);
            Log { name, log, epoch: epoch.unwrap(), events: Vec::new(), whole: BTreeMap::new() }
        })
        .collect();
    for _ in 0..rounds {
        let group: Vec<_> = logs
            .iter_mut()
            .filter_map(|log| {
                let events: Vec<_> = (0..dice.below(4)).map(|_| log.event(dice)).collect();
                (!events.is_empty()).then(|| {
                    // The key stands on the first event of an append only.
                    let events = events.into_iter().enumerate();
                    let events = events.map(|(n, it)| StoredEvent { key: it.key.filter(|_| n == 0), ..it });
                    append(log.log, log.epoch, events.collect())
                })
            })
            .collect();
        for answer in end.log.commit(&group).unwrap() {
            answer.unwrap();
        }
        end.log.upkeep(UpkeepMoment::AfterGroup).unwrap();
    }
    // As they are stored.
    for log in &mut logs {
        log.events = end.reader.page(log.log.key, EventId::ZERO, 10_000, usize::MAX).unwrap().to_events();
    }
    logs
}

/// The files that have a part of a secret.
fn places_of(directory: &std::path::Path, secret: &str) -> Vec<String> {
    let part = &secret[secret.len() - 12..];
    let is_in = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(part);
    let found = all_bytes(directory).into_iter().filter(|(_, bytes)| is_in(bytes));
    found.map(|(path, _)| path.display().to_string()).collect()
}

/// By what the index has of the key.
fn assert_no_hash(directory: &std::path::Path, key: &AppendKey) {
    // Searches bytes quickly, also in a build for tests.
    let engine = rusqlite::Connection::open_in_memory().unwrap();
    let hash = codec::key_hash(key);
    for path in ["events.db", "events.db-wal"] {
        let bytes = std::fs::read(directory.join(path)).unwrap();
        let found: i64 = engine.query_row("SELECT instr(?1, ?2)", (bytes, &hash[..8]), |row| row.get(0)).unwrap();
        assert_eq!(found, 0, "the hash of its key is in {path}");
    }
}

fn erase(end: &mut End) {
    for _ in 0..10_000 {
        if end.log.left() == UpkeepLeft::Nothing {
            let left = end.reader.erasing().unwrap();
            return assert_eq!((left.logs, left.redacted, left.copies), (0, 0, Vec::new()));
        }
        end.log.upkeep(UpkeepMoment::Idle).unwrap();
    }
    panic!("no end in sight");
}

#[test]
fn what_is_redacted_among_other_events_after_random_deletes_is_in_no_byte_of_the_directory() {
    let mut dice = Random(5);
    let disk = Disk::Directory(tempfile::tempdir().unwrap());
    let Disk::Directory(directory) = &disk else { unreachable!() };
    let mut end = disk.open();
    let mut logs = interleaved(&mut end, 12, 120, &mut dice);
    for round in 0..80 {
        if round % 12 == 7 {
            let gone = logs.remove(dice.below(logs.len() as u64) as usize);
            delete(&mut end, &gone.name, gone.log).unwrap();
        }
        let place = dice.below(logs.len() as u64) as usize;
        let log = &mut logs[place];
        let Some(id) = log.whole.keys().nth(dice.below(log.whole.len() as u64) as usize).copied() else { continue };
        let secret = log.whole.remove(&id).unwrap();
        assert!(!places_of(directory.path(), &secret).is_empty());
        let before = log.events[id as usize - 1].clone();
        // Mostly smaller than what it replaces, and now and then larger than any.
        let body = vec![b'.'; if round % 9 == 8 { 600 } else { 4 }];
        let redaction = log.redaction(id, &body);
        end.write(redaction).unwrap();
        assert_eq!(end.log.left(), UpkeepLeft::Steps);
        erase(&mut end);
        assert_eq!(places_of(directory.path(), &secret), [""; 0], "round {round}: event {id} of {}", log.name);
        assert_eq!(end.wrong(), [""; 0], "round {round}");
        let found = end.reader.page(log.log.key, before.id.prev(), 1, 0).unwrap().to_events().remove(0);
        let (header, found_body) = codec::decode_record(&found.record).unwrap();
        assert_eq!(
            (found.id, found.chain, found.key, header.first, found_body),
            (before.id, before.chain, None, before.id, &body[..])
        );
        if let Some(key) = before.key {
            assert_eq!(end.reader.find_key(log.log.key, &key).unwrap().unwrap().id, before.id);
            assert_no_hash(directory.path(), &key);
        }
    }
}

#[test]
fn a_redaction_counts_and_voids_the_views_of_before_and_its_key_is_still_found() {
    for disk in Disk::both() {
        let (mut end, mut dice) = (disk.open(), Random(3));
        let mut logs = interleaved(&mut end, 3, 20, &mut dice);
        let log = &mut logs[1];
        let key = log.events.iter().find_map(|event| Some((event.id, event.key.clone()?))).unwrap();
        let head = log.events.last().unwrap().clone();
        let row = SnapshotRow {
            event: head.id,
            chain: head.chain,
            digest: Digest::from_bytes([3; 32]),
            bytes: 1,
            view_schema: 1,
            schema: 1,
        };
        let view = |epoch, redactions| Write::Snapshot { log: log.log.key, epoch, row, redactions };
        let (of_before, of_after, early) = (view(log.epoch, 0), view(log.epoch, 1), view(log.epoch, 1));
        assert!(matches!(end.write(early), Err(Refusal::Redacted)), "of a redaction that is not there");
        end.write(of_before.clone()).unwrap();
        assert_eq!(end.reader.redactions(log.log.key).unwrap(), 0);
        let mut readers = [disk.open(), disk.open()];
        // This one has the index of before in its writing end, too.
        let (own, owned) = readers[0].register("of another store");
        readers[0].write(append(own, owned.unwrap(), vec![event(1, None)])).unwrap();
        for other in &mut readers {
            assert_eq!(other.reader.find_key(log.log.key, &key.1).unwrap().unwrap().id, key.0);
        }
        let redaction = log.redaction(key.0.get(), b"");
        end.write(redaction.clone()).unwrap();
        assert_eq!(end.reader.snapshot(log.log.key).unwrap(), None);
        assert!(matches!(end.write(of_before), Err(Refusal::Redacted)));
        end.write(of_after).unwrap();
        let [settled] = end.log.settle(std::slice::from_ref(&redaction)).unwrap().try_into().unwrap();
        assert!(matches!(settled.outcome, SettledAs::Written));
        for other in &mut readers {
            // Another store's end has the index of before in memory.
            assert_eq!(other.reader.redactions(log.log.key).unwrap(), 1);
            let found = other.reader.find_key(log.log.key, &key.1).unwrap().unwrap();
            assert_eq!((found.id, found.key), (key.0, None));
            assert_eq!(other.reader.find_key(log.log.key, &AppendKey::new("other").unwrap()).unwrap(), None);
        }
        // What comes next moves the index on, and brings nothing back.
        for _ in 0..200 {
            let next = event(log.events.len() as u64 + 1, None);
            let after = log.events.last().unwrap().chain;
            log.events.push(next.clone());
            end.write(Write::Append { log: log.log.key, epoch: log.epoch, after, events: vec![next], listed: None })
                .unwrap();
        }
        for id in 2..200 {
            readers[0].write(append(own, owned.unwrap(), vec![event(id, None)])).unwrap();
        }
        assert_eq!(end.wrong(), [""; 0]);
        assert_eq!(end.reader.find_key(log.log.key, &key.1).unwrap().unwrap().id, key.0);
        if let Disk::Directory(directory) = &disk {
            assert_no_hash(directory.path(), &key.1);
        }
    }
}

#[test]
fn a_redaction_that_does_not_follow_the_head_or_is_of_another_record_changes_nothing() {
    for disk in Disk::both() {
        let (mut end, mut dice) = (disk.open(), Random(9));
        let mut logs = interleaved(&mut end, 2, 10, &mut dice);
        let log = &mut logs[0];
        let before = log.events.clone();
        let Write::Redact(right) = log.redaction(2, b"") else { unreachable!() };
        let mut wrong = Vec::new();
        for change in 0..4 {
            let mut redaction = (*right).clone();
            match change {
                0 => redaction.after = Chain([0; 32]),
                1 => redaction.epoch = Epoch(77),
                2 => redaction.records[0].event = EventId::new(3),
                _ => redaction.records.push(RedactedRecord { event: EventId::new(999), record: vec![3; 40] }),
            }
            wrong.push(Write::Redact(Box::new(redaction)));
        }
        for write in wrong {
            assert!(end.write(write).is_err());
            let found = end.reader.page(log.log.key, EventId::ZERO, 1000, usize::MAX).unwrap().to_events();
            assert_eq!(found, before);
            assert_eq!(end.reader.redactions(log.log.key).unwrap(), 0);
        }
        end.write(Write::Redact(right)).unwrap();
        assert_eq!(end.wrong(), [""; 0]);
    }
}

#[test]
fn a_reader_of_another_program_holds_the_erasure_back_and_the_next_store_finishes_it() {
    let mut dice = Random(1);
    let disk = Disk::Directory(tempfile::tempdir().unwrap());
    let Disk::Directory(directory) = &disk else { unreachable!() };
    let mut end = disk.open();
    let mut logs = interleaved(&mut end, 3, 20, &mut dice);
    let log = &mut logs[2];
    let secret = log.whole[&1].clone();
    let beside = disk.beside();
    beside.execute_batch("BEGIN; SELECT count(*) FROM events").unwrap();
    // Of a store that died between the file and its row.
    let unnamed = directory.path().join("snapshots/00");
    std::fs::create_dir_all(&unnamed).unwrap();
    std::fs::write(unnamed.join("0".repeat(64)), &secret).unwrap();
    // And the one that the log names.
    let (head, digest) = (log.events.last().unwrap(), Digest::from_bytes([1; 32]));
    let row = SnapshotRow { event: head.id, chain: head.chain, digest, bytes: 1, view_schema: 1, schema: 1 };
    let named = directory.path().join("snapshots/01").join(digest.to_string());
    std::fs::create_dir_all(named.parent().unwrap()).unwrap();
    std::fs::write(&named, &secret).unwrap();
    end.write(Write::Snapshot { log: log.log.key, epoch: log.epoch, row, redactions: 0 }).unwrap();
    let redaction = log.redaction(1, b"");
    end.write(redaction).unwrap();
    while end.log.left() == UpkeepLeft::Steps {
        end.log.upkeep(UpkeepMoment::Idle).unwrap();
    }
    assert_eq!(end.log.left(), UpkeepLeft::HeldBack);
    assert!(!named.exists(), "the view of before goes with the commit, whatever keeps the log");
    assert_eq!(end.reader.erasing().unwrap().redacted, 1);
    assert!(!places_of(directory.path(), &secret).is_empty());
    drop(end);
    let mut next = disk.open();
    assert_ne!(next.log.left(), UpkeepLeft::Nothing);
    beside.execute_batch("COMMIT").unwrap();
    erase(&mut next);
    assert_eq!(places_of(directory.path(), &secret), [""; 0]);
}

#[test]
fn a_damaged_deleted_log_does_not_hold_a_redaction_back() {
    let mut dice = Random(3);
    let disk = Disk::Directory(tempfile::tempdir().unwrap());
    let Disk::Directory(directory) = &disk else { unreachable!() };
    let mut end = disk.open();
    let mut logs = interleaved(&mut end, 3, 20, &mut dice);
    let gone = &logs[0];
    let segment = (gone.log.key.0, vec![0xff; 20]);
    disk.beside().execute("INSERT INTO event_index(log_key, first_event, runs) VALUES (?1, 900, ?2)", segment).unwrap();
    delete(&mut end, &gone.name, gone.log).unwrap();
    while end.log.left() == UpkeepLeft::Steps {
        end.log.upkeep(UpkeepMoment::Idle).unwrap();
    }
    let left = end.reader.erasing().unwrap();
    assert_eq!((left.logs, left.redacted), (1, 0), "its index cannot be read");
    let secret = logs[2].whole[&1].clone();
    let redaction = logs[2].redaction(1, b"");
    end.write(redaction).unwrap();
    assert_eq!(end.reader.erasing().unwrap().redacted, 1);
    while end.log.left() == UpkeepLeft::Steps {
        end.log.upkeep(UpkeepMoment::Idle).unwrap();
    }
    let left = end.reader.erasing().unwrap();
    assert_eq!((left.logs, left.redacted), (1, 0));
    assert_eq!(places_of(directory.path(), &secret), [""; 0]);
}
