//! Goal: wherever the index puts its entries, and whatever is damaged of it, a log reads the same, and damage is found.
//! Method: groups of any shape beside a plain list of events; rows of the index that are changed and lost.

use super::*;
use crate::sqlite::log::recent::Recent;

/// Many logs in a group, few, one; batches, single appends, keys: wherever the index puts the entries, the same is
/// read.
#[test]
fn groups_of_any_shape_are_read_back_as_a_plain_list_of_events() {
    const LOGS: u64 = 12;
    for disk in Disk::both() {
        let mut end = disk.open();
        let logs: Vec<_> = (0..LOGS).map(|n| end.register(&format!("s{n}"))).collect();
        let mut plain: Vec<Vec<StoredEvent>> = vec![Vec::new(); LOGS as usize];
        // A small generator of our own: the same at each run.
        let mut state = 4711_u64;
        let mut below = |max: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) % max
        };
        for round in 0..400 {
            let (from, width) = (below(LOGS), 1 + if round % 7 == 0 { 0 } else { below(LOGS) });
            let mut group = Vec::new();
            for n in (from..from + width).map(|n| (n % LOGS) as usize) {
                let batch = if below(9) == 0 { 1 + below(30) } else { 1 };
                let head = plain[n].len() as u64;
                let key = (below(3) == 0).then(|| format!("{n}-{head}"));
                let events: Vec<_> =
                    (1..=batch).map(|more| event(head + more, key.as_deref().filter(|_| more == 1))).collect();
                plain[n].extend(events.clone());
                group.push(append(logs[n].0, logs[n].1.unwrap(), events));
            }
            assert!(end.log.commit(&group).unwrap().iter().all(Result::is_ok));
            let n = below(LOGS) as usize;
            let after = below(plain[n].len() as u64 + 2);
            let expected: Vec<_> = plain[n].iter().skip(after as usize).take(9).cloned().collect();
            assert_eq!(
                end.reader.page(logs[n].0.key, EventId::new(after), 9, usize::MAX).unwrap().to_events(),
                expected
            );
            if let Some(event) = plain[n].get(after as usize) {
                assert_eq!(end.reader.chain_at(logs[n].0.key, event.id).unwrap(), Some(event.chain));
                let Some(key) = &event.key else { continue };
                assert_eq!(end.reader.find_key(logs[n].0.key, key).unwrap().as_ref(), Some(event));
            }
        }
        let rows = end.reader.sessions(None, 100).unwrap();
        for row in rows {
            let n = logs.iter().position(|(log, _)| *log == row.meta).unwrap();
            assert_eq!(row.head.get(), plain[n].len() as u64);
            assert_eq!(end.reader.page(row.meta.key, EventId::ZERO, 10_000, usize::MAX).unwrap().to_events(), plain[n]);
        }
        assert_eq!(end.wrong(), [""; 0]);
        if let Disk::Directory(path) = &disk {
            let connection = rusqlite::Connection::open(path.path().join("events.db")).unwrap();
            let count = |table: &str| -> i64 {
                connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
            };
            assert!(count("recent_index") > 0 && count("event_index") > 0, "both are used");
        }
    }
}

/// `verify` finds it; until then nobody's append fails for it, and nothing grows for it.
#[test]
fn a_damaged_index_of_one_log_makes_no_index_grow_and_no_commit_move_more() {
    let last_row = "log_key = 1 AND first_event = (SELECT max(first_event) FROM event_index WHERE log_key = 1)";
    for damage in [
        format!("UPDATE event_index SET runs = x'00' WHERE {last_row}"),
        format!("DELETE FROM event_index WHERE {last_row}"),
    ] {
        let disk = Disk::Directory(tempfile::tempdir().unwrap());
        let mut end = disk.open();
        let logs: Vec<_> = (0..4).map(|n| end.register(&format!("s{n}"))).collect();
        append_to_all(&mut end, &logs, 1..=200);
        let find = format!("SELECT first_event FROM event_index WHERE {last_row}");
        let damaged: i64 = disk.beside().query_row(&find, [], |row| row.get(0)).unwrap();
        assert_eq!(disk.beside().execute(&damage, []).unwrap(), 1);
        // With an end that goes on, and with one that finds it so.
        for (mut end, ids) in [(end, 201..=350), (disk.open(), 351..=500)] {
            for id in ids.clone() {
                let group: Vec<_> = logs
                    .iter()
                    .map(|(log, _)| {
                        let fenced = end.write(Write::Fence { log: *log, claim: Claiming::Force });
                        let Ok(Written::Fenced { owned: Some(epoch), .. }) = fenced else { panic!("{fenced:?}") };
                        append(*log, epoch, vec![event(id, None)])
                    })
                    .collect();
                assert!(end.log.commit(&group).unwrap().iter().all(Result::is_ok));
                let count = "SELECT count(*) FROM recent_index";
                let rows: i64 = disk.beside().query_row(count, [], |row| row.get(0)).unwrap();
                assert!(rows <= 128, "{damage}: {rows} rows after event {id}");
            }
            assert_eq!(end.ids(logs[1].0), (1..=*ids.end()).collect::<Vec<_>>());
            let reads =
                |reader: &mut dyn LogReader, after| reader.page(logs[0].0.key, EventId::new(after), 900, usize::MAX);
            // A hole is seen by whoever checks the chain.
            let page = reads(&mut *end.reader, 0).map_or(Vec::new(), |page| page.to_events());
            let dense = page.iter().zip(1..).take_while(|(event, id)| event.id.get() == *id).count();
            assert!((dense as i64) < damaged, "{damage}: read to {dense}");
            assert_eq!(
                reads(&mut *end.reader, 300).unwrap().len() as u64,
                ids.end() - 300,
                "what is behind it is found"
            );
            assert!(end.wrong().iter().any(|sentence| sentence.contains("log 1")), "{:?}", end.wrong());
        }
    }
}

/// What stands where entries are moved to and cannot be read is of the same events: it is mended.
#[test]
fn a_damaged_row_in_the_place_of_entries_that_are_moved_is_replaced() {
    let disk = Disk::Directory(tempfile::tempdir().unwrap());
    let mut end = disk.open();
    let logs: Vec<_> = (0..4).map(|n| end.register(&format!("s{n}"))).collect();
    append_to_all(&mut end, &logs, 1..=1);
    disk.beside().execute("INSERT INTO event_index VALUES (1, 1, x'00')", []).unwrap();
    append_to_all(&mut end, &logs, 2..=200);
    for (log, _) in &logs {
        assert_eq!(end.ids(*log), (1..=200).collect::<Vec<_>>());
    }
    assert_eq!(end.wrong(), [""; 0]);
}

#[test]
fn a_row_of_the_recent_index_that_is_damaged_or_lost_is_read_from_the_events_and_found() {
    for (damage, sentence) in [
        ("UPDATE recent_index SET runs = x'00' WHERE first_position = 5", "damaged from position 5 on"),
        ("DELETE FROM recent_index WHERE first_position = 5", "goes on at position 9, and not at 5"),
        ("DELETE FROM recent_index WHERE first_position = 37", "goes on at position 41, and not at 37"),
    ] {
        let disk = Disk::Directory(tempfile::tempdir().unwrap());
        let mut end = disk.open();
        let logs: Vec<_> = (0..4).map(|n| end.register(&format!("s{n}"))).collect();
        append_to_all(&mut end, &logs, 1..=10);
        let key = event(11, Some("k"));
        end.write(append(logs[0].0, logs[0].1.unwrap(), vec![key.clone()])).unwrap();
        assert_eq!(disk.beside().execute(damage, []).unwrap(), 1);
        // With the ends that have read it before, and with new ones.
        for mut end in [end, disk.open()] {
            for (log, _) in &logs {
                let expected = if log.key.0 == 1 { 11 } else { 10 };
                assert_eq!(end.ids(*log), (1..=expected).collect::<Vec<_>>(), "{damage}");
                let head = end.write(Write::Fence { log: *log, claim: Claiming::No });
                assert!(matches!(head, Ok(Written::Fenced { head, .. }) if head.id.get() == expected), "{damage}");
            }
            let found = end.reader.find_key(logs[0].0.key, &AppendKey::new("k").unwrap()).unwrap();
            assert_eq!(found.as_ref(), Some(&key));
            assert!(end.wrong().iter().any(|wrong| wrong.contains(sentence)), "{damage}: {:?}", end.wrong());
        }
    }
}

#[test]
fn recent_entries_are_moved_as_fast_as_they_come_and_stay_few() {
    let disk = Disk::Directory(tempfile::tempdir().unwrap());
    let (mut first, mut second) = (disk.open(), disk.open());
    let logs: Vec<_> = (0..10).map(|n| first.register(&format!("s{n}"))).collect();
    let others: Vec<_> = (10..13).map(|n| second.register(&format!("s{n}"))).collect();
    for id in 1..=300 {
        append_to_all(&mut first, &logs[..if id <= 100 { 10 } else { 2 }], id..=id);
        // Another store moves what this one wrote, and the other way round.
        append_to_all(&mut second, &others, id..=id);
        let rows = disk.beside().query_row("SELECT count(*) FROM recent_index", [], |row| row.get::<_, i64>(0));
        assert!(rows.unwrap() <= 128, "after group {id}");
    }
    for (n, (log, _)) in logs.iter().chain(&others).enumerate() {
        let last = if (2..10).contains(&n) { 100 } else { 300 };
        assert_eq!(second.ids(*log), (1..=last).collect::<Vec<_>>());
    }
    assert_eq!(first.wrong(), [""; 0]);
}

fn append_to_all(end: &mut End, logs: &[(LogMeta, Option<Epoch>)], ids: std::ops::RangeInclusive<u64>) {
    for id in ids {
        let append = |(log, epoch): &(LogMeta, Option<Epoch>)| append(*log, epoch.unwrap(), vec![event(id, None)]);
        let group: Vec<_> = logs.iter().map(append).collect();
        let answers = end.log.commit(&group).unwrap();
        assert!(answers.iter().all(Result::is_ok), "group {id}: {answers:?}");
    }
}

/// The row before it tells where a row begins that does not say it any more; before the first one there is none.
#[test]
fn a_first_or_later_row_of_the_recent_index_that_moved_hides_no_event_and_adds_none() {
    for damage in [
        "UPDATE recent_index SET first_position = 2 WHERE first_position = 1",
        "UPDATE recent_index SET first_position = 4 WHERE first_position = 1",
        "UPDATE recent_index SET first_position = -3 WHERE first_position = 1",
        "UPDATE recent_index SET first_position = 7 WHERE first_position = 5",
        "UPDATE recent_index SET first_position = 3 WHERE first_position = 9",
        "UPDATE recent_index SET first_position = 5000 WHERE first_position = 37",
        "DELETE FROM recent_index WHERE first_position > 1; UPDATE recent_index SET first_position = 90",
    ] {
        let disk = Disk::Directory(tempfile::tempdir().unwrap());
        let mut end = disk.open();
        let logs: Vec<_> = (0..4).map(|n| end.register(&format!("s{n}"))).collect();
        append_to_all(&mut end, &logs, 1..=10);
        disk.beside().execute_batch(damage).unwrap();
        let mut fresh = disk.open();
        for end in [&mut end, &mut fresh] {
            for (log, _) in &logs {
                assert_eq!(end.ids(*log), (1..=10).collect::<Vec<_>>(), "{damage}");
                let head = end.write(Write::Fence { log: *log, claim: Claiming::No });
                assert!(matches!(head, Ok(Written::Fenced { head, .. }) if head.id.get() == 10), "{damage}");
            }
        }
        assert!(!fresh.wrong().is_empty(), "{damage}");
        // What was damaged is moved away without a loss.
        append_to_all(&mut end, &logs, 11..=200);
        for (log, _) in &logs {
            assert_eq!(fresh.ids(*log), (1..=200).collect::<Vec<_>>(), "{damage}");
        }
    }
}

#[test]
fn runs_that_are_no_blob_are_damage_of_their_row_alone() {
    for (table, row) in [("recent_index", "first_position > 0"), ("event_index", "log_key = 1")] {
        let disk = Disk::Directory(tempfile::tempdir().unwrap());
        let mut end = disk.open();
        let logs: Vec<_> = (0..4).map(|n| end.register(&format!("s{n}"))).collect();
        append_to_all(&mut end, &logs, 1..=100);
        let sql = "UPDATE sqlite_schema SET sql = replace(sql, ?1, ?2) WHERE name = ?3";
        let retype = |from: &str, to: &str| {
            let beside = disk.beside();
            beside.pragma_update(None, "writable_schema", true).unwrap();
            assert_eq!(beside.execute(sql, (from, to, table)).unwrap(), 1);
        };
        retype(" BLOB NOT NULL", " ANY NOT NULL");
        let changed = disk.beside().execute(&format!("UPDATE {table} SET runs = CAST(runs AS TEXT) WHERE {row}"), []);
        assert!(changed.unwrap() > 0);
        retype(" ANY NOT NULL", " BLOB NOT NULL");
        let mut fresh = disk.open();
        for end in [&mut end, &mut fresh] {
            for (log, _) in logs.iter().filter(|(log, _)| table == "recent_index" || log.key.0 != 1) {
                assert_eq!(end.ids(*log), (1..=100).collect::<Vec<_>>(), "{table}");
            }
            assert_eq!(end.reader.sessions(None, 10).unwrap().len(), 4, "{table}");
            assert!(!end.wrong().is_empty(), "{table}");
        }
        let new = fresh.register("new");
        append_to_all(&mut fresh, &[new], 1..=1);
    }
}

#[test]
fn an_end_that_slept_while_another_store_wrote_much_looks_no_event_up_without_the_index() {
    let disk = Disk::Directory(tempfile::tempdir().unwrap());
    let mut end = disk.open();
    let logs: Vec<_> = (0..4).map(|n| end.register(&format!("s{n}"))).collect();
    append_to_all(&mut end, &logs, 1..=2);
    let mut slept = Recent::load(&disk.beside()).unwrap();
    append_to_all(&mut end, &logs, 3..=1000);
    slept.catch_up(&disk.beside()).unwrap();
    let now = Recent::load(&disk.beside()).unwrap();
    assert_eq!(slept.events(), now.events());
    assert_eq!(slept.end(), now.end());
}

/// What a store knows of a row that others have deleted is settled with it, and not with the row behind it.
#[test]
fn a_run_that_began_in_rows_that_are_gone_takes_no_event_of_another_log_with_it() {
    let disk = Disk::Directory(tempfile::tempdir().unwrap());
    let (mut first, mut second) = (disk.open(), disk.open());
    let [many, one] = ["many", "one"].map(|name| second.register(name));
    let own = first.register("own");
    for id in 1..=297 {
        let mut group = vec![append(many.0, many.1.unwrap(), vec![event(id, None)])];
        if id == 234 {
            group.push(append(one.0, one.1.unwrap(), vec![event(1, None)]));
        }
        assert!(second.log.commit(&group).unwrap().iter().all(Result::is_ok));
        first.write(Write::Fence { log: many.0, claim: Claiming::No }).unwrap();
    }
    append_to_all(&mut first, &[own], 1..=1);
    let mut fresh = disk.open();
    assert_eq!(fresh.ids(one.0), [1]);
    assert_eq!(fresh.wrong(), [""; 0]);
}

/// Two stores take turns in any pattern, with refused writes among theirs; a third looks now and then, others are
/// new. `FOLDLOG_SEED` replays one history.
#[test]
fn stores_that_take_turns_lose_no_event_of_each_other() {
    let seed = std::env::var("FOLDLOG_SEED").ok().and_then(|seed| seed.parse().ok());
    let histories = std::env::var("FOLDLOG_HISTORIES").ok().and_then(|number| number.parse().ok()).unwrap_or(1);
    for seed in seed.map_or(0..histories, |seed: u64| seed..seed + 1) {
        println!("FOLDLOG_SEED={seed}");
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 4711;
        let mut below = |max: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) % max
        };
        let disk = Disk::Directory(tempfile::tempdir().unwrap());
        let mut ends = [disk.open(), disk.open()];
        let mut sleeper = disk.open();
        let mut logs: Vec<Vec<_>> = Vec::new();
        for (which, end) in ends.iter_mut().enumerate() {
            logs.push((0..7).map(|n| (end.register(&format!("{which}-{n}")), 0_u64)).collect());
        }
        for _ in 0..40 {
            let which = below(2) as usize;
            let width = 1 + below(7);
            for _ in 0..1 + below(60) {
                let mut group = Vec::new();
                let from = below(7);
                for n in from..from + if below(3) == 0 { width } else { 1 } {
                    let ((log, epoch), head) = &mut logs[which][(n % 7) as usize];
                    // Of an owner that it no longer is.
                    if below(8) == 0 {
                        group.push(append(*log, Epoch(77), vec![event(*head + 1, None)]));
                    }
                    let batch = if below(6) == 0 { 1 + below(40) } else { 1 };
                    let key = (below(4) == 0).then(|| format!("{head}"));
                    let events = (1..=batch).map(|more| event(*head + more, key.as_deref().filter(|_| more == 1)));
                    group.push(append(*log, epoch.unwrap(), events.collect()));
                    *head += batch;
                }
                let answers = ends[which].log.commit(&group).unwrap();
                let stale = |write: &Write| matches!(write, Write::Append { epoch: Epoch(77), .. });
                assert!(
                    group.iter().zip(&answers).all(|(write, answer)| answer.is_ok() != stale(write)),
                    "{answers:?}"
                );
                if below(3) == 0 {
                    let ((log, _), head) = logs[which][below(7) as usize];
                    let fence = ends[1 - which].write(Write::Fence { log, claim: Claiming::No });
                    assert!(matches!(fence, Ok(Written::Fenced { head: found, .. }) if found.id.get() == head));
                }
            }
            let mut fresh = disk.open();
            for ((log, _), head) in logs.iter().flatten() {
                let [one, other] = &mut ends;
                for end in [&mut fresh, one, other, &mut sleeper] {
                    if below(3) > 0 {
                        let after = below(*head + 1);
                        let page = end.reader.page(log.key, EventId::new(after), 50, usize::MAX).unwrap().to_events();
                        let ids: Vec<_> = page.iter().map(|event| event.id.get()).collect();
                        assert_eq!(ids, (after + 1..=*head).take(50).collect::<Vec<_>>());
                    }
                }
            }
            assert_eq!(fresh.wrong(), [""; 0]);
            if below(4) == 0 {
                sleeper = fresh;
            }
        }
    }
}
