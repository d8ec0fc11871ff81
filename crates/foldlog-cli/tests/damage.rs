//! Goal: of a damaged directory the commands tell what is wrong, and save what is whole. Method: bytes of one event are
//! changed; one event is of a newer build.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod common;

use common::{assert_golden, files, run, sessions};

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
