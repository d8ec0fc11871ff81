//! Goal: a deleted log is void at every step of its erasing, and in the end gone with every byte, while all others stay
//! as they are. Method: steps one by one on both media, with an audit and a new reader after each.

use std::collections::HashMap;

use super::*;
use crate::codec::{self, RecordHeader};
use crate::id::{BlobEncoding, BlobKind, BlobRef};

/// Deletes a log as its session's store does.
pub(super) fn delete(end: &mut End, name: &str, log: LogMeta) -> Result<Written, Refusal> {
    let session = SessionId::new(name).unwrap();
    end.write(Write::Delete { session, log: log.key, head: None, at: Timestamp::default() })
}

/// Does all steps, and calls `look` after each of them.
fn erase(disk: &Disk, end: &mut End, mut look: impl FnMut(&mut End)) -> usize {
    let mut steps = 0;
    while end.log.left() == UpkeepLeft::Steps {
        end.log.upkeep(UpkeepMoment::Idle).unwrap();
        steps += 1;
        assert!(steps < 10_000, "no end in sight");
        assert_eq!(end.wrong(), [""; 0], "after step {steps}");
        if let Disk::Directory(_) = disk {
            look(&mut disk.open());
        }
        look(end);
    }
    steps
}

fn random_event(dice: &mut u64, id: u64, secret: &str) -> StoredEvent {
    *dice = dice.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    let bytes = match *dice >> 60 {
        0 => 27_000,
        1..=3 => 2_000 + (*dice >> 40) as usize % 3_000,
        _ => 60 + (*dice >> 40) as usize % 500,
    };
    let record = secret.bytes().cycle().take(bytes).collect();
    let key = (*dice >> 33).is_multiple_of(3).then(|| format!("{secret}-{id}"));
    StoredEvent { record, ..event(id, key.as_deref()) }
}

/// Sessions whose events stand among each other in random groups. Each has its own secret in records, keys and name.
fn interleaved(end: &mut End, sessions: usize, rounds: u64, dice: &mut u64) -> Vec<(String, LogMeta, u64)> {
    let mut made: Vec<_> = (0..sessions)
        .map(|n| {
            let secret = format!("secret-{:016x}", (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let (log, epoch) = end.register(&secret);
            (secret, log, epoch.unwrap(), 0)
        })
        .collect();
    for _ in 0..rounds {
        let mut group = Vec::new();
        for (secret, log, epoch, head) in &mut made {
            *dice = dice.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            if (*dice >> 60) < 6 {
                let count = 1 + (*dice >> 30) % 3;
                let mut events: Vec<_> = (1..=count).map(|n| random_event(dice, *head + n, secret)).collect();
                events.iter_mut().skip(1).for_each(|event| event.key = None);
                group.push(append(*log, *epoch, events));
                *head += count;
            }
        }
        for answer in end.log.commit(&group).unwrap() {
            answer.unwrap();
        }
        end.log.upkeep(UpkeepMoment::AfterGroup).unwrap();
    }
    made.into_iter().map(|(secret, log, _, head)| (secret, log, head)).collect()
}

pub(super) fn all_bytes(directory: &std::path::Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(all_bytes(&path));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            files.push((path, bytes));
        }
    }
    files
}

/// Where any of these texts is, in any file. A part of it is a leak, too.
fn places_of<'a>(directory: &std::path::Path, secrets: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    const PART: usize = 12;
    let parts: HashMap<&[u8], &String> =
        secrets.into_iter().map(|secret| (&secret.as_bytes()[secret.len() - PART..], secret)).collect();
    let mut found = Vec::new();
    for (path, bytes) in all_bytes(directory) {
        // All of them are hexadecimal digits.
        let begins = |window: &&[u8]| window[0].is_ascii_hexdigit() && window[PART - 1].is_ascii_hexdigit();
        for secret in bytes.windows(PART).filter(begins).filter_map(|window| parts.get(window)) {
            found.push(format!("{secret} in {}", path.display()));
        }
    }
    found
}

#[test]
fn a_deleted_log_has_no_name_and_takes_nothing_and_its_name_is_free() {
    for disk in Disk::both() {
        let mut end = disk.open();
        let (log, epoch) = end.register("s");
        let epoch = epoch.unwrap();
        end.write(append(log, epoch, vec![event(1, Some("k"))])).unwrap();
        assert!(matches!(delete(&mut end, "s", log), Ok(Written::Deleted)));
        assert_eq!(end.reader.find(&SessionId::new("s").unwrap()).unwrap(), None);
        assert_eq!(end.reader.sessions(None, 10).unwrap(), []);
        let deleted = |answer: Result<_, Refusal>| matches!(answer, Err(Refusal::Deleted));
        assert!(deleted(end.write(append(log, epoch, vec![event(2, None)]))));
        for claim in [Claiming::No, Claiming::Yes, Claiming::Force] {
            assert!(deleted(end.write(Write::Fence { log, claim })));
        }
        assert!(deleted(end.write(Write::Release { log: log.key, epoch })));
        assert!(matches!(delete(&mut end, "s", log), Ok(Written::Deleted)), "once more");
        let gone = |answer: Result<(), LogError>| assert!(matches!(answer, Err(LogError::Deleted)), "{answer:?}");
        let look = |end: &mut End| {
            gone(end.reader.page(log.key, EventId::ZERO, 10, 1000).map(drop));
            gone(end.reader.head(log).map(drop));
            gone(end.reader.chain_at(log.key, EventId::new(1)).map(drop));
            gone(end.reader.find_key(log.key, &AppendKey::new("k").unwrap()).map(drop));
        };
        look(&mut end);
        let (again, owned) = end.register("s");
        assert_ne!(again.key, log.key);
        end.write(append(again, owned.unwrap(), vec![event(1, Some("k"))])).unwrap();
        // The handle of the deleted one that is asked to delete once more deletes nothing.
        assert!(matches!(delete(&mut end, "s", log), Ok(Written::Deleted)));
        erase(&disk, &mut end, |end| {
            look(end);
            assert_eq!(end.ids(again), [1]);
        });
        assert_eq!(end.reader.erasing().unwrap().logs, 0);
        assert!(deleted(end.write(append(log, epoch, vec![event(2, None)]))));
        assert_eq!(end.ids(again), [1]);
    }
}

#[test]
fn a_log_of_another_store_that_is_alive_or_that_has_moved_on_is_not_deleted() {
    for disk in Disk::both() {
        let (mut one, mut other) = (disk.open(), disk.open());
        let (log, epoch) = one.register("s");
        one.write(append(log, epoch.unwrap(), vec![event(1, None)])).unwrap();
        assert!(matches!(delete(&mut other, "s", log), Err(Refusal::Owned(owner)) if owner.id == one.me));
        let session = SessionId::new("s").unwrap();
        let stale = Write::Delete { session, log: log.key, head: Some(EventId::ZERO), at: Timestamp::default() };
        assert!(matches!(one.write(stale), Err(Refusal::HeadMoved { head }) if head == EventId::new(1)));
        assert_eq!(other.ids(log), [1]);
        one.ownership.release().unwrap();
        assert!(matches!(delete(&mut other, "s", log), Ok(Written::Deleted)));
        assert!(matches!(one.write(append(log, epoch.unwrap(), vec![event(2, None)])), Err(Refusal::Deleted)));
    }
}

#[test]
fn erasing_leaves_no_byte_and_no_other_log_is_touched() {
    let mut dice = 7;
    let disk = Disk::Directory(tempfile::tempdir().unwrap());
    let Disk::Directory(directory) = &disk else { unreachable!() };
    let mut end = disk.open();
    let made = interleaved(&mut end, 12, 300, &mut dice);
    // One after the other, each beside what the others have left.
    let mut left: Vec<_> = made.iter().collect();
    let mut gone = Vec::new();
    for _ in 0..11 {
        dice = dice.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let (secret, log, _) = left.remove((dice >> 33) as usize % left.len());
        assert!(!places_of(directory.path(), [secret]).is_empty());
        delete(&mut end, secret, *log).unwrap();
        erase(&disk, &mut end, |_| {});
        gone.push(secret);
        assert_eq!(places_of(directory.path(), gone.iter().copied()), [""; 0]);
        for (_, log, head) in &left {
            assert_eq!(end.ids(*log).len() as u64, (*head).min(1000));
        }
    }
}

/// Rows that go take their neighbours along to other pages. What stood in the place of those must not stay there.
#[test]
fn an_event_that_stood_beside_deleted_ones_leaves_no_byte_when_it_is_deleted_itself() {
    let mut dice = 3_u64;
    let mut next = move |end: usize| {
        dice = dice.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (dice >> 33) as usize % end
    };
    let disk = Disk::Directory(tempfile::tempdir().unwrap());
    let Disk::Directory(directory) = &disk else { unreachable!() };
    let mut end = disk.open();
    let mut logs: Vec<_> = (0..24)
        .map(|n| {
            let (log, epoch) = end.register(&format!("s{n}"));
            (format!("s{n}"), log, epoch.unwrap(), Vec::new())
        })
        .collect();
    for _ in 0..1200 {
        let place = next(logs.len());
        let (_, log, epoch, secrets) = &mut logs[place];
        let events = (0..1 + next(8)).map(|_| {
            let secret = format!("{:016x}", (next(1 << 31) << 32) | next(1 << 31));
            let record =
                secret.bytes().cycle().take(20 + next(if secret.ends_with('0') { 2500 } else { 200 })).collect();
            secrets.push(secret);
            StoredEvent { record, ..event(secrets.len() as u64, None) }
        });
        let events = events.collect();
        end.write(append(*log, *epoch, events)).unwrap();
    }
    let mut gone = Vec::new();
    while logs.len() > 1 {
        let (name, log, _, secrets) = logs.swap_remove(next(logs.len()));
        delete(&mut end, &name, log).unwrap();
        while end.log.left() == UpkeepLeft::Steps {
            end.log.upkeep(UpkeepMoment::Idle).unwrap();
        }
        gone.extend(secrets);
        if logs.len() % 6 == 1 {
            assert_eq!(places_of(directory.path(), &gone), [""; 0]);
        }
    }
    assert_eq!(end.wrong(), [""; 0]);
}

#[test]
fn no_name_stays_in_the_pages_of_the_others() {
    let mut dice = 11_u64;
    let mut next = move || {
        dice = dice.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        dice >> 33
    };
    let disk = Disk::Directory(tempfile::tempdir().unwrap());
    let Disk::Directory(directory) = &disk else { unreachable!() };
    let mut end = disk.open();
    let name =
        |n: u64| format!("{:016x}-{}-{n:012}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15), "x".repeat(n as usize % 90));
    let mut left: Vec<_> = (0..400)
        .map(|n| {
            let (log, epoch) = end.register(&name(n));
            end.write(append(log, epoch.unwrap(), vec![event(1, None)])).unwrap();
            (n, log)
        })
        .collect();
    let mut found = Vec::new();
    for round in 0..300 {
        let (n, log) = left.remove(next() as usize % left.len());
        delete(&mut end, &name(n), log).unwrap();
        if round % 3 == 0 {
            let again = 1000 + round;
            let (log, _) = end.register(&name(again));
            left.push((again, log));
        }
        if round % 50 == 49 {
            while end.log.left() == UpkeepLeft::Steps {
                end.log.upkeep(UpkeepMoment::Idle).unwrap();
            }
            let gone = (0..400).chain(1000..1300).filter(|n| !left.iter().any(|(m, _)| m == n));
            let gone: Vec<_> = gone.map(name).collect();
            found.extend(places_of(directory.path(), &gone));
        }
    }
    assert_eq!(found, [""; 0]);
}

#[test]
fn the_last_of_many_logs_that_wait_to_be_moved_is_erased() {
    for disk in Disk::both() {
        let mut end = disk.open();
        let logs: Vec<_> = (0..40)
            .map(|n| {
                let (log, epoch) = end.register(&format!("s{n}"));
                end.write(append(log, epoch.unwrap(), vec![event(1, None)])).unwrap();
                log
            })
            .collect();
        delete(&mut end, "s39", logs[39]).unwrap();
        erase(&disk, &mut end, |_| {});
        assert_eq!(end.reader.erasing().unwrap().logs, 0);
    }
}

/// A record that names a blob.
fn naming(id: u64, digest: Digest) -> StoredEvent {
    let blob = BlobRef { digest, bytes: 3, kind: BlobKind::Text, encoding: BlobEncoding::Plain };
    let (first, last) = (EventId::new(id), EventId::new(id));
    let header =
        RecordHeader { schema: 1, event_type: Some("x"), salt: [0; 8], first, last, key: None, refs: vec![blob] };
    StoredEvent { record: codec::encode_record(&header, b"body"), ..event(id, None) }
}

/// Whatever transaction of a store comes first behind a commit of another one, it takes notice for all that follow.
#[test]
fn a_listing_of_another_store_is_seen_by_an_append_behind_a_step_of_erasing() {
    for disk in Disk::both() {
        let (mut one, mut other) = (disk.open(), disk.open());
        let (log, epoch) = one.register("s");
        let (gone, gone_epoch) = one.register("gone");
        let events = (1..=3).map(|id| event(id, None)).collect();
        one.write(append(gone, gone_epoch.unwrap(), events)).unwrap();
        delete(&mut one, "gone", gone).unwrap();
        let digest = Digest::from_bytes([7; 32]);
        let list = SweepStep::List { blobs: vec![digest], grace: std::time::Duration::ZERO };
        assert!(matches!(other.write(Write::Sweep(list)), Ok(Written::Swept(_))));
        one.log.upkeep(UpkeepMoment::Idle).unwrap();
        let refused = one.write(append(log, epoch.unwrap(), vec![naming(1, digest)]));
        assert!(matches!(refused, Err(Refusal::NoBlob { .. })), "{refused:?}");
    }
}

/// What another store erases between the emptying of the log by one store and its next commit is in the log that was
/// begun since.
#[test]
fn a_mark_goes_only_if_its_log_had_no_row_before_the_write_ahead_log_was_emptied() {
    let disk = Disk::Directory(tempfile::tempdir().unwrap());
    let mut end = disk.open();
    let logs = ["a", "b"].map(|name| {
        let (log, epoch) = end.register(name);
        end.write(append(log, epoch.unwrap(), vec![event(1, None)])).unwrap();
        log
    });
    let beside = disk.beside();
    for (name, log) in ["a", "b"].iter().zip(logs) {
        delete(&mut end, name, log).unwrap();
        beside.execute("DELETE FROM logs WHERE log_key = ?1", [log.key.0]).unwrap();
    }
    let erased = crate::sqlite::log::deleted::erased(&beside).unwrap();
    assert_eq!(erased, logs.map(|log| log.key));
    crate::sqlite::log::deleted::unmark(&beside, &erased[..1]).unwrap();
    assert_eq!(crate::sqlite::log::deleted::erased(&beside).unwrap(), [logs[1].key]);
}
