//! Goal: a verification finds each kind of damage where it is, goes on behind it, and finds nothing where there is
//! none. Method: change rows, index and files of a closed store; append while one runs.

use foldlog::{ErrorKind, Problem, Store, StoreConfig};

use crate::common::tally::OldTally;
use crate::common::*;
use crate::{Prepared, note};

fn places(problems: &[Problem]) -> Vec<(Option<&str>, Option<u64>)> {
    let place = |problem: &Problem| (problem.session.clone(), problem.event.map(foldlog::EventId::get));
    let mut places: Vec<_> = problems.iter().map(place).collect();
    places.sort();
    places.dedup();
    let leak = |name: String| -> &'static str { Box::leak(name.into_boxed_str()) };
    places.into_iter().map(|(session, event)| (session.map(|id| leak(id.as_str().to_owned())), event)).collect()
}

fn of(session: &str) -> String {
    format!("log_key = (SELECT log_key FROM sessions WHERE session_id = '{session}')")
}

#[actix::test]
async fn an_undamaged_store_is_sound_and_counted() {
    let prepared = Prepared::new(20).await;
    let store = open(&prepared.config()).await;
    let found = soon(store.verify()).await.unwrap();
    assert!(found.is_sound() && found.problems.is_empty(), "{:?}", found.problems);
    let events: usize = prepared.sessions.iter().map(|session| session.events.len()).sum();
    assert_eq!((found.sessions, found.events), (6, events as u64));
    assert_eq!((found.blobs, found.orphans, found.strays), (3, 1, 0));
    assert_eq!(found.blob_bytes, prepared.blobs.iter().map(|blob| blob.bytes).sum::<u64>());
    assert!(found.record_bytes > 39_000);
    assert_eq!(found.to_string(), format!("6 sessions, {events} events, 3 undamaged blobs, 0 problems"));
    soon(store.close()).await.unwrap();
}

/// Each changes the rows of one session, and says which events must be named. Nothing else may be.
#[actix::test]
async fn each_damaged_event_is_named_and_the_search_goes_on_behind_it() {
    let two = "record = CAST(record || x'00' AS BLOB)";
    let cases = [
        (format!("UPDATE events SET {two} WHERE event_id IN (2, 5) AND {}", of("few")), vec![2, 5]),
        (format!("UPDATE events SET chain = zeroblob(32) WHERE event_id = 3 AND {}", of("few")), vec![3]),
        (format!("UPDATE events SET chain = x'00' WHERE event_id = 3 AND {}", of("few")), vec![3]),
        (format!("UPDATE events SET event_at = event_at - 1 WHERE event_id = 4 AND {}", of("few")), vec![4]),
        (format!("UPDATE events SET event_type = 'noted' WHERE event_id = 4 AND {}", of("few")), vec![4]),
        (format!("UPDATE events SET append_key = NULL WHERE event_id = 7 AND {}", of("few")), vec![7]),
        (format!("UPDATE events SET append_key = x'aa' WHERE event_id = 2 AND {}", of("few")), vec![2]),
        (format!("DELETE FROM events WHERE event_id IN (2, 3) AND {}", of("few")), vec![2, 3]),
        (format!("DELETE FROM events WHERE event_id IN (6, 7) AND {}", of("few")), vec![6, 7]),
        (format!("UPDATE logs SET log_id = randomblob(16) WHERE {}", of("few")), vec![1]),
    ];
    let prepared = Prepared::new(20).await;
    for (damage, wanted) in cases {
        prepared.restore();
        prepared.sql(&damage);
        let store = open(&prepared.config()).await;
        let found = soon(store.verify()).await.unwrap();
        let wanted: Vec<_> = wanted.into_iter().map(|event| (Some("few"), Some(event))).collect();
        // Problems of the tables that hold the rows together may be named beside these.
        let named: Vec<_> = found.problems.into_iter().filter(|problem| problem.session.is_some()).collect();
        assert_eq!(places(&named), wanted, "{damage}: {named:?}");
        assert!(named.iter().all(|problem| problem.to_string().contains("session few")));
        assert_eq!(found.sessions, 6);
        soon(store.close()).await.unwrap();
    }
}

#[actix::test]
async fn an_event_of_a_newer_build_is_named_and_no_damage() {
    let directory = tempfile::tempdir().unwrap();
    let config = StoreConfig::directory(directory.path());
    let store = open(&config).await;
    let session = soon(store.open_session("few")).await.unwrap();
    let later = || TallyBody::named("of a type that the old build does not know");
    soon(session.append_batch(vec![TallyBody::Added(1); 3]).unwrap()).await.unwrap();
    soon(session.append_batch(vec![later(), later()]).unwrap()).await.unwrap();
    soon(store.close()).await.unwrap();

    let store = soon(Store::<OldTally>::open_model(config)).await.unwrap();
    let found = soon(store.verify()).await.unwrap();
    assert_eq!(places(&found.problems), [(Some("few"), Some(4))]);
    assert!(matches!(found.problems[0].error.kind(), ErrorKind::NewerRecord { .. }));
    assert!(found.is_sound());
    soon(store.close()).await.unwrap();
}

/// The record says of which type it is, so a type that nobody knows is no event of a newer build.
#[actix::test]
async fn a_changed_type_is_damage_whether_or_not_this_build_knows_the_new_one() {
    let prepared = Prepared::new(20).await;
    for event_type in ["later", "addee", "foldlog.later", ""] {
        prepared.restore();
        prepared.sql(&format!("UPDATE events SET event_type = '{event_type}' WHERE event_id = 4 AND {}", of("few")));
        let store = open(&prepared.config()).await;
        let found = soon(store.verify()).await.unwrap();
        assert_eq!(places(&found.problems), [(Some("few"), Some(4))], "{event_type}");
        assert!(matches!(found.problems[0].error.kind(), ErrorKind::CorruptEvent { .. }), "{:?}", found.problems);
        assert!(!found.is_sound());
        let session = soon(store.open_session("few")).await;
        assert!(matches!(session.unwrap_err().kind(), ErrorKind::CorruptEvent { .. }), "{event_type}");
        soon(store.close()).await.unwrap();
    }
}

/// Each makes the session unreadable for a writer, or will for a later build.
#[actix::test]
async fn a_damaged_text_beside_the_events_is_found_and_its_session_named() {
    let prepared = Prepared::new(20).await;
    for damage in [
        format!("UPDATE logs SET owner = CAST(x'ff' AS TEXT) WHERE {}", of("few")),
        format!("UPDATE logs SET owner = 'nobody' WHERE {}", of("few")),
        "UPDATE sessions SET title = CAST(x'ff' AS TEXT) WHERE session_id = 'few'".to_owned(),
        "UPDATE sessions SET labels = CAST(x'ff' AS TEXT) WHERE session_id = 'few'".to_owned(),
    ] {
        prepared.restore();
        prepared.sql(&damage);
        let store = open(&prepared.config()).await;
        let found = soon(store.verify()).await.unwrap();
        let [problem] = &found.problems[..] else { panic!("{damage}: {:?}", found.problems) };
        assert!(problem.to_string().contains("of session few"), "{damage}: {problem}");
        assert_eq!(found.sessions, 6);
        soon(store.close()).await.unwrap();
    }
}

#[actix::test]
async fn rows_that_lead_nowhere_are_found() {
    // So many that the index has rows in both of its tables.
    let prepared = Prepared::new(700).await;
    for (damage, wanted) in [
        ("DELETE FROM sessions WHERE session_id = 'few'", "has no session"),
        ("DELETE FROM logs WHERE log_key = 1", "which is not there"),
        ("DELETE FROM logs WHERE log_key = 1", "there is no such log"),
        (
            "UPDATE event_index SET log_key = 77 WHERE log_key = 1",
            "the index of events of log 77 is damaged from event 1",
        ),
        (
            "UPDATE event_index SET first_event = 2 WHERE log_key = 1",
            "the index of events of log 1 is damaged from event 2",
        ),
        (
            "UPDATE event_index SET runs = x'00' WHERE log_key = 1",
            "the index of events of log 1 is damaged from event 1",
        ),
        ("UPDATE events SET log_key = 77 WHERE log_key = 1", "the index leads to event 1 of log 77"),
        ("DELETE FROM event_index WHERE log_key = 1", "is in no index"),
        (
            "DELETE FROM recent_index WHERE first_position < (SELECT max(first_position) FROM recent_index)",
            "is in no index",
        ),
        ("UPDATE events SET append_key = x'6b' WHERE append_key IS NOT NULL", "is not that of the index"),
        ("UPDATE events SET append_key = x'6b' WHERE position = 2", "append key of event 2 of log 1 is in no index"),
        ("UPDATE sessions SET log_key = 1", "has 6 sessions"),
    ] {
        prepared.restore();
        prepared.sql(&format!("PRAGMA foreign_keys = OFF; {damage}"));
        let store = open(&prepared.config()).await;
        let found = soon(store.verify()).await.unwrap();
        let texts: Vec<_> = found.problems.iter().map(ToString::to_string).collect();
        assert!(texts.iter().any(|text| text.contains(wanted)), "{damage}: {texts:?}");
        soon(store.close()).await.unwrap();
    }
}

#[actix::test]
async fn a_table_that_is_defined_otherwise_is_found() {
    let prepared = Prepared::new(20).await;
    for damage in [
        "sql = replace(sql, 'epoch', 'epokh') WHERE name = 'logs'",
        "sql = replace(sql, 'FROM', 'from') WHERE name = 'event_log'",
    ] {
        prepared.restore();
        prepared.sql(&format!("PRAGMA writable_schema = ON; UPDATE sqlite_schema SET {damage}"));
        let store = open(&prepared.config()).await;
        let found = soon(store.verify()).await.unwrap();
        let texts: Vec<_> = found.problems.iter().map(ToString::to_string).collect();
        assert!(texts.iter().any(|text| text.contains("is not as foldlog defines it")), "{damage}: {texts:?}");
        soon(store.close()).await.unwrap();
    }
}

#[actix::test]
async fn files_among_the_blobs_that_are_none_are_counted_and_left_alone() {
    let prepared = Prepared::new(10).await;
    let file = prepared.blob_file(&prepared.blobs[0]);
    let strays = [file.with_extension("bak"), prepared.directory.path().join("blobs/notes"), file.with_file_name("ab")];
    for stray in &strays {
        std::fs::write(stray, "theirs").unwrap();
    }
    // One blob under another's name is a damaged blob.
    let lost = prepared.blob_file(&prepared.blobs[1]);
    std::fs::copy(&file, &lost).unwrap();
    let store = open(&prepared.config()).await;
    let found = soon(store.verify()).await.unwrap();
    assert_eq!(found.strays, 3);
    assert_eq!(places(&found.problems), [(Some("blobs"), Some(2))]);
    assert!(matches!(found.problems[0].error.kind(), ErrorKind::CorruptBlob { .. }));
    assert!(strays.iter().all(|stray| std::fs::read(stray).unwrap() == b"theirs"));
    soon(store.close()).await.unwrap();
}

/// An index that lost the last entry of a log shows a shorter log, and it is no error by itself.
#[actix::test]
async fn a_log_whose_last_entry_the_index_lost_does_not_open_shorter() {
    let prepared = Prepared::new(700).await;
    let connection = rusqlite::Connection::open(prepared.db()).unwrap();
    let (few, large): (i64, i64) = connection
        .query_row("SELECT (SELECT log_key FROM sessions WHERE session_id = 'few'), (SELECT log_key FROM sessions WHERE session_id = 'large')", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    connection.close().unwrap();
    // The row (few, 1, ...) becomes one of (large, 1, ...): header, then the log key, as SQLite stores small numbers.
    let mut bytes = prepared.bytes(&prepared.db());
    let found: Vec<usize> = (0..bytes.len() - 8)
        .filter(|at| bytes[*at..at + 3] == [4, 1, 9] && bytes[at + 3] % 2 == 0 && bytes[at + 4] == few as u8)
        .collect();
    let [entry] = found[..] else { panic!("the entry is at {found:?}") };
    bytes[entry + 4] = large as u8;
    std::fs::write(prepared.db(), bytes).unwrap();
    let store = open(&prepared.config()).await;
    let opened = soon(store.open_session("few")).await.map(|session| session.view().unwrap().head());
    assert!(matches!(opened.as_ref().unwrap_err().kind(), ErrorKind::CorruptStore { .. }), "{opened:?}");
    assert!(!soon(store.verify()).await.unwrap().is_sound());
    soon(store.open_session("one")).await.unwrap();
    soon(store.close()).await.unwrap();
}

/// Index entries that no read goes through are compared with the table all the same.
#[actix::test]
async fn an_index_that_lost_its_entries_is_found() {
    let prepared = Prepared::new(700).await;
    for (index, wanted) in [("event_index", "is in no index"), ("sqlite_autoindex_logs_1", "sqlite_autoindex_logs_1")] {
        prepared.restore();
        let connection = rusqlite::Connection::open(prepared.db()).unwrap();
        let root: u32 = connection
            .query_row("SELECT rootpage FROM sqlite_schema WHERE name = ?1", [index], |row| row.get(0))
            .unwrap();
        connection.close().unwrap();
        let mut bytes = prepared.bytes(&prepared.db());
        // The number of entries in the page.
        bytes[(root as usize - 1) * 4096 + 3..][..2].fill(0);
        std::fs::write(prepared.db(), bytes).unwrap();
        let store = open(&prepared.config()).await;
        let found = soon(store.verify()).await.unwrap();
        assert!(found.problems.iter().any(|problem| problem.to_string().contains(wanted)), "{index}: {found:?}");
        soon(store.close()).await.unwrap();
    }
}

#[actix::test]
async fn appends_beside_a_verification_are_no_problem_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let config = StoreConfig { page_events_max: 7, ..StoreConfig::directory(directory.path()) };
    let store = open(&config).await;
    let session = soon(store.open_session("busy")).await.unwrap();
    append(&session, note(1)).await.unwrap();
    for round in 0..10 {
        let receipts: Vec<_> = (0..20)
            .map(|n| session.append_batch(vec![note(round), TallyBody::Added(n), TallyBody::Added(n)]).unwrap())
            .collect();
        let found = soon(store.verify()).await.unwrap();
        assert!(found.problems.is_empty(), "{:?}", found.problems);
        for receipt in receipts {
            soon(receipt).await.unwrap();
        }
        let blob = soon(store.put_bytes(vec![round as u8; 100])).await.unwrap();
        append(&session, TallyBody::Attached(blob)).await.unwrap();
    }
    let found = soon(store.verify()).await.unwrap();
    assert_eq!((found.events, session.view().unwrap().head()), (1 + 610, at(611)));
    soon(store.close()).await.unwrap();
}

/// The session was folded when its log was whole, so only the reading of a page can notice the damage.
#[actix::test]
async fn what_is_damaged_after_the_open_is_not_served() {
    let prepared = Prepared::new(20).await;
    let store = open(&prepared.config()).await;
    let session = soon(store.open_session("few")).await.unwrap();
    prepared.sql(&format!("UPDATE events SET event_at = event_at + 1 WHERE event_id = 4 AND {}", of("few")));
    let page = soon(session.events_after(at(0), 100)).await.unwrap();
    assert_eq!(page.events.len(), 3);
    let refused = soon(session.events_after(at(3), 100)).await.unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::CorruptEvent { event, .. } if *event == at(4)), "{refused:?}");
    // The events after the damaged one are served as they were written.
    assert_eq!(soon(session.events_after(at(4), 100)).await.unwrap().events.len(), 3);
    soon(store.close()).await.unwrap();
}

/// An event that is missing may be the only one that names a blob.
#[actix::test]
async fn a_store_without_the_first_event_of_a_session_is_not_swept() {
    let prepared = Prepared::new(20).await;
    let of_blobs = "log_key = (SELECT log_key FROM sessions WHERE session_id = 'blobs')";
    prepared.sql(&format!("DELETE FROM events WHERE event_id = 1 AND {of_blobs}"));
    let store = open(&prepared.config()).await;
    let sweep = foldlog::Sweep::default().grace(std::time::Duration::ZERO);
    assert_refused!(soon(store.sweep(sweep)).await, ErrorKind::CorruptStore { .. });
    for blob in &prepared.blobs {
        soon(store.get_bytes(blob.digest)).await.unwrap();
    }
    soon(store.close()).await.unwrap();
}
