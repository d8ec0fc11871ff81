//! Goal: `doctor` finds what is wrong with a directory, whether or not a store opens in it, and changes nothing.
//! Method: each thing that it looks for is made.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod common;

use std::path::Path;

use common::host::{Host, be_a_host};
use common::{files, run, sessions};

/// Not a test of its own: does nothing unless another test runs it as a process.
#[test]
fn as_a_host() {
    be_a_host();
}

/// What is said of a directory that has a problem, which must hold all of these.
#[track_caller]
fn finds(directory: &Path, expected: &[&str]) {
    let ran = run(directory, &["doctor"]);
    assert_eq!((ran.status.code(), ran.stderr.as_str()), (Some(1), ""), "{}", ran.stdout);
    for expected in expected {
        assert!(ran.stdout.contains(expected), "{expected:?} is not in\n{}", ran.stdout);
    }
}

#[test]
fn a_healthy_directory_has_no_problem_and_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    sessions::everything(directory);
    let before = files(directory);
    let said = run(directory, &["doctor"]).ok();
    for expected in
        ["nobody has the store open", "format 2, of the session model agent", "0 problems", "left-overs   none"]
    {
        assert!(said.contains(expected), "{expected:?} is not in\n{said}");
    }
    let told = run(directory, &["doctor", "--json"]).ok();
    assert!(told.lines().last().unwrap().starts_with("{\"v\":1,\"healthy\":true,\"problems\":0,"), "{told}");
    assert!(files(directory) == before);
    let older = common::data("format-1/closed");
    assert!(run(older.path(), &["doctor"]).ok().contains("format 1, of the session model"));
    let other = tempfile::tempdir().unwrap();
    sessions::of_another_model(other.path());
    assert!(run(other.path(), &["doctor"]).ok().contains("of the session model counter"));
}

#[test]
fn a_host_is_named_and_a_killed_one_is_told_from_it() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let mut host = Host::start(directory);
    host.append("s", 3);
    let process = format!("process {}", host.process());
    let said = run(directory, &["doctor"]).ok();
    let line = said.lines().find(|line| line.contains(&process)).unwrap();
    assert!(line.starts_with("ok") && line.ends_with("has the store open"), "{said}");
    assert!(!said.contains("nobody has"), "{said}");
    host.append("s", 3);
    host.kill();
    let said = run(directory, &["doctor"]).ok();
    let line = said.lines().find(|line| line.contains(&process)).unwrap();
    assert!(line.starts_with("note") && line.contains("has died with the store open"), "{said}");
    assert!(said.contains("a host was killed") && said.contains("temporaries of stores that have died"), "{said}");
    // The write-ahead log goes, and with it commits: the files are of two times.
    std::fs::remove_file(directory.join("events.db-wal")).unwrap();
    finds(directory, &["problem  files", "events.db-wal is gone", "put all files back from one moment"]);
}

#[test]
fn what_is_no_store_is_told_and_nothing_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    finds(path, &["problem  store", "there is no store", "--dir"]);
    assert_eq!(files(path), []);
    finds(&path.join("absent"), &["problem  rights", "is no directory"]);
    std::fs::write(path.join("events.db"), "something else").unwrap();
    finds(path, &["is not a foldlog database"]);
}

#[test]
fn left_overs_are_told_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    sessions::everything(directory);
    std::fs::write(directory.join("notes.txt"), "mine").unwrap();
    assert!(run(directory, &["doctor"]).ok().contains("it has what is not foldlog's: notes.txt"));
    std::fs::write(directory.join("events.db-wal.damaged-1"), "old").unwrap();
    finds(directory, &["problem  left-overs", "events.db-wal.damaged-1", "docs/guide/damage.md"]);
    std::fs::write(directory.join("UNFINISHED-COPY"), "").unwrap();
    finds(directory, &["was not finished", "make the same backup or restore into it again", "problem  store"]);
}

#[test]
fn a_damaged_database_is_a_problem() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    sessions::everything(directory);
    std::fs::write(directory.join("events.db"), "").unwrap();
    finds(directory, &["problem  store", "it does not open"]);
}
