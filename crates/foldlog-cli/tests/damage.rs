//! Goal: of a damaged directory the commands tell what is wrong, and save what is whole. Method: bytes of one event are
//! changed; one event is of a newer build.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod common;

use common::{assert_golden, files, run, sessions};
use foldlog::agent::{AgentBody, Message};

#[test]
fn a_damaged_event_is_named_and_the_events_before_it_are_saved() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    sessions::everything(directory);
    sessions::damage_event(directory, 12);
    let before = files(directory);

    let verified = run(directory, &["verify"]);
    assert_eq!(verified.status.code(), Some(1));
    assert!(verified.stdout.contains("event 12 of session support-4711 is damaged"), "{}", verified.stdout);
    let logged = run(directory, &["log", "support-4711"]);
    assert_eq!((logged.status.code(), logged.stdout.lines().count()), (Some(5), 11));
    assert!(logged.stderr.contains("event 12") && logged.stderr.contains("foldlog verify"), "{}", logged.stderr);
    assert!(run(directory, &["show", "support-4711"]).failed(5).contains("event 12"));
    // What is whole can be searched, and what cannot is told.
    let found = run(directory, &["grep", "Friday"]);
    assert_eq!((found.status.code(), found.stdout.lines().count()), (Some(5), 3));
    assert!(found.stderr.contains("event 12"), "{}", found.stderr);

    let salvaged = run(directory, &["salvage"]);
    assert_eq!(salvaged.status.code(), Some(1));
    assert!(salvaged.stdout.starts_with("support-4711\t11\tevent 12"), "{}", salvaged.stdout);
    let salvaged = run(directory, &["salvage", "support-4711", "--json"]);
    assert_eq!((salvaged.status.code(), salvaged.stdout.lines().count()), (Some(1), 11));
    assert!(salvaged.stderr.contains("11 events can be read"), "{}", salvaged.stderr);
    let in_json = run(directory, &["salvage", "--json"]);
    assert_golden("damaged/salvage.json", directory, &in_json.stdout);

    let preflight = run(directory, &["preflight"]);
    assert_eq!(preflight.status.code(), Some(1));
    assert!(preflight.stdout.contains("event 12"), "{}", preflight.stdout);

    let to = tempfile::tempdir().unwrap();
    let to = to.path().join("repaired");
    let repaired = run(directory, &["repair", to.to_str().unwrap()]);
    assert_eq!((repaired.status.code(), repaired.stderr.as_str()), (Some(1), ""));
    assert_golden("damaged/repair.txt", &to, &repaired.stdout);
    assert!(run(&to, &["verify"]).ok().contains("nothing is damaged"));
    assert!(run(&to, &["show", "support-4711"]).ok().contains("It comes on Friday."));
    let again = run(directory, &["repair", to.to_str().unwrap()]).failed(2);
    assert!(again.contains("is empty"), "{again}");
    assert!(files(directory) == before, "the damaged directory is left as it is");
}

#[test]
fn a_repair_is_told_to_programs() {
    let directory = tempfile::tempdir().unwrap();
    sessions::everything(directory.path());
    sessions::damage_event(directory.path(), 12);
    let to = directory.path().with_extension("repaired");
    let repaired = run(directory.path(), &["repair", to.to_str().unwrap(), "--json"]);
    assert_eq!(repaired.status.code(), Some(1));
    assert_golden("damaged/repair.json", directory.path(), &repaired.stdout);
    std::fs::remove_dir_all(to).unwrap();
}

#[test]
fn an_event_of_a_newer_build_is_shown_as_far_as_it_can_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    sessions::with_a_newer_event(directory);
    let logged = run(directory, &["log", "of-tomorrow"]).ok();
    let lines: Vec<_> = logged.lines().collect();
    assert_eq!(lines.len(), 2, "{logged}");
    assert!(lines[1].contains(" dreamt ") && lines[1].contains("a newer build wrote it"), "{logged}");
    assert_golden("newer/log.json", directory, &run(directory, &["log", "of-tomorrow", "--json"]).ok());
    let shown = run(directory, &["show", "of-tomorrow"]).ok();
    assert!(shown.contains("before") && shown.contains("the view ends before event 2"), "{shown}");
    assert_golden("newer/show.json", directory, &run(directory, &["show", "of-tomorrow", "--json"]).ok());
    // It is no damage, and no reason to take nothing.
    assert!(run(directory, &["verify"]).ok().contains("nothing is damaged"));
    let preflight = run(directory, &["preflight"]);
    assert_eq!(preflight.status.code(), Some(1));
    assert!(preflight.stdout.contains("dreamt") && preflight.stdout.contains("2 sessions"), "{}", preflight.stdout);
    let found = run(directory, &["grep", "before|Friday"]);
    assert_eq!((found.status.code(), found.stdout.lines().count()), (Some(5), 4), "{found:?}");
}

#[test]
fn a_log_of_many_events_of_a_newer_build_has_each_of_them_once() {
    let directory = tempfile::tempdir().unwrap();
    sessions::with_newer_events(directory.path(), 20);
    let logged = run(directory.path(), &["log", "of-tomorrow", "--json"]).ok();
    let ids = logged.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].clone());
    assert_eq!(ids.collect::<Vec<_>>(), (1..=21).collect::<Vec<u64>>());
    assert_eq!(logged.matches("\"unreadable\":").count(), 20);
}

#[test]
fn a_session_whose_last_event_is_damaged_is_listed_and_so_are_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    sessions::everything(directory);
    let mut written = sessions::Written::begin(directory, "whole");
    written.after(1, AgentBody::MessageAppended(Message::user("hello")));
    written.end();
    let whole = "whole\t1\t2023-11-14T22:13:20.000000Z\t2023-11-14T22:13:20.001000Z\t\n";

    // The time of an event is beside its record.
    sessions::damage_event(directory, 19);
    let listed = run(directory, &["ls"]).ok();
    assert!(listed.contains("\t2023-11-14T22:14:26.590000Z\tWhere is my order?\n"), "{listed}");
    assert!(listed.ends_with(whole), "{listed}");
    sessions::lose_event(directory, 19);
    let listed = run(directory, &["ls"]).ok();
    assert!(listed.starts_with("support-4711\t19\t2023-11-14T22:13:20.000000Z\t\t"), "{listed}");
    assert!(listed.ends_with(whole), "{listed}");
    assert!(
        run(directory, &["ls", "--json"])
            .ok()
            .contains("\"events\":19,\"created\":\"2023-11-14T22:13:20.000000Z\",\"last\":null")
    );
}

#[test]
fn a_search_tells_once_of_a_blob_that_cannot_be_read_and_finds_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let mut written = sessions::Written::begin(directory, "s");
    let blob = written.put("hay\na needle\n");
    for _ in 0..2 {
        written.after(1, AgentBody::MessageAppended(Message::user(blob)));
    }
    written.after(1, AgentBody::MessageAppended(Message::user("no needle")));
    written.end();
    let found = run(directory, &["grep", "needle"]).ok();
    let expected: String = (1..=2).map(|id| format!("s:{id}  message_appended text  a needle\n")).collect();
    assert_eq!(found, format!("{expected}s:3  message_appended text  no needle\n"));

    let digest = blob.digest.to_string();
    let file = directory.join("blobs").join(&digest[..2]).join(&digest);
    std::fs::write(&file, "hay\nA needle\n").unwrap();
    for (code, what) in [(5, "is damaged"), (4, "there is no blob")] {
        let found = run(directory, &["grep", "needle"]);
        assert_eq!(
            (found.status.code(), found.stdout.as_str()),
            (Some(code), "s:3  message_appended text  no needle\n")
        );
        assert!(found.stderr.contains(what) && found.stderr.contains(&digest), "{}", found.stderr);
        assert_eq!(found.stderr.matches("foldlog: ").count(), 1, "{}", found.stderr);
        assert_eq!(run(directory, &["grep", "needle", "--no-blobs"]).ok().lines().count(), 1);
        let _ = std::fs::remove_file(&file);
    }
}

#[test]
fn a_session_that_is_folded_in_part_is_counted_as_unread() {
    let directory = tempfile::tempdir().unwrap();
    sessions::with_a_newer_event(directory.path());
    let counted = run(directory.path(), &["stats", "--json"]).ok();
    let counted: serde_json::Value = serde_json::from_str(&counted).unwrap();
    assert_eq!((&counted["sessions"], &counted["events"]), (&2.into(), &21.into()));
    assert_eq!((&counted["used"]["turns"], &counted["used"]["unread_sessions"]), (&2.into(), &1.into()));
}

#[test]
fn copies_of_damaged_write_ahead_logs_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    sessions::everything(directory.path());
    for number in 1..=2 {
        std::fs::write(directory.path().join(format!("events.db-wal.damaged-{number}")), "copy").unwrap();
    }
    let counted = run(directory.path(), &["stats", "--json"]).ok();
    let counted: serde_json::Value = serde_json::from_str(&counted).unwrap();
    assert_eq!(counted["files"]["events.db-wal.damaged"], serde_json::json!({"files": 2, "bytes": 8}));
}

#[test]
fn a_salvage_says_once_that_names_cannot_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    sessions::everything(directory);
    sessions::damage_names(directory);
    for arguments in [&["salvage"][..], &["salvage", "--json"]] {
        let found = run(directory, arguments);
        assert_eq!((found.status.code(), found.stdout.as_str()), (Some(1), ""), "{}", found.stderr);
        assert_eq!(found.stderr.matches("foldlog: ").count(), 1, "{}", found.stderr);
    }
}

#[test]
fn a_stored_view_of_a_session_that_cannot_be_folded_is_not_compared() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    sessions::with_a_stored_view(directory);
    assert!(run(directory, &["preflight", "--json"]).ok().contains("\"stored_view\":\"same\""));
    sessions::damage_event(directory, 1);
    let found = run(directory, &["preflight", "--json"]);
    assert_eq!(found.status.code(), Some(1));
    assert!(found.stdout.contains("\"stored_view\":\"not_compared\""), "{}", found.stdout);
}
