//! Goal: a command that is killed while it changes something harms nothing, and the next run finishes. Method: the
//! command is killed beside a host that writes, at moments that the files or its output tell; then everything is read,
//! and the same is done once more.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod common;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use common::host::{Host, be_a_host};
use common::sessions::Written;
use common::{command, files, run};
use foldlog::agent::{AgentBody, Message};

/// Not a test of its own: does nothing unless another test runs it as a process.
#[test]
fn as_a_host() {
    be_a_host();
}

/// Enough that erasing and redacting take many steps.
const EVENTS: usize = 2000;

fn message(text: &str) -> AgentBody {
    AgentBody::MessageAppended(Message::user(text))
}

fn victim(directory: &Path, name: &str) {
    let mut written = Written::begin(directory, name);
    written.batch((0..EVENTS).map(|n| message(&format!("secret of {name} {n}"))).collect());
    written.end();
}

fn has_bytes(directory: &Path, bytes: &str) -> bool {
    files(directory).iter().any(|(_, found)| found.windows(bytes.len()).any(|window| window == bytes.as_bytes()))
}

fn names_in(directory: &Path) -> usize {
    directory.read_dir().map_or(0, Iterator::count)
}

/// Starts a command, waits until something is so, and kills it. It may have ended before.
fn kill_when(directory: &Path, arguments: &[&str], mut is_so: impl FnMut(&mut Child) -> bool) {
    let mut process = command(directory, arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    while process.try_wait().unwrap().is_none() && !is_so(&mut process) {
        std::thread::yield_now();
    }
    // Fails when it has ended.
    let _ = process.kill();
    process.wait().unwrap();
}

/// Whether the command has the store open to write: it is an owner beside the host.
fn writes(directory: &Path) -> impl FnMut(&mut Child) -> bool {
    let before = names_in(&directory.join("owners"));
    let owners = directory.join("owners");
    move |_| names_in(&owners) > before
}

/// Whether the command has said something.
fn says(process: &mut Child) -> bool {
    let mut line = String::new();
    let stdout = process.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap() > 0
}

/// Everything is whole, the host goes on, and no dead owner is left once another store has come.
fn is_unharmed(directory: &Path, host: &mut Host) {
    let verified = run(directory, &["verify"]).ok();
    assert!(verified.contains("nothing is damaged"), "{verified}");
    let head = host.append("busy", 1);
    assert_eq!(host.append("busy", 1), head + 1);
}

fn is_cleared(directory: &Path) {
    assert_eq!((names_in(&directory.join("owners")), names_in(&directory.join("tmp"))), (0, 0));
}

#[test]
fn sessions_that_were_being_deleted_go_with_the_next_run() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    for name in ["a", "b", "c"] {
        victim(directory, name);
    }
    let mut host = Host::start(directory);
    host.append("busy", 5);
    host.flood("busy");
    kill_when(directory, &["rm", "a", "--yes"], writes(directory));
    kill_when(directory, &["rm", "a", "b", "--yes"], writes(directory));
    // It says what it has deleted, and erases then.
    kill_when(directory, &["rm", "a", "b", "c", "--yes"], says);
    host.calm();
    is_unharmed(directory, &mut host);
    host.end();
    let again = run(directory, &["rm", "a", "b", "c", "--yes"]);
    assert!(matches!(again.status.code(), Some(0 | 4)), "{again:?}");
    assert!(again.stdout.is_empty() || !again.stdout.contains("not erased"), "{again:?}");
    assert!(run(directory, &["ls"]).ok().starts_with("busy\t"));
    // Also what an earlier run had deleted and not erased.
    for name in ["a", "b", "c"] {
        assert!(!has_bytes(directory, &format!("secret of {name} ")), "{name}");
    }
    assert!(run(directory, &["doctor"]).ok().contains("nothing that was deleted or redacted is left"));
    is_cleared(directory);
}

#[test]
fn a_sweep_that_was_cut_off_is_finished_by_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let mut written = Written::begin(directory, "named");
    let kept = written.put("kept");
    written.after(1, AgentBody::MessageAppended(Message::user(kept)));
    for n in 0..300 {
        written.put(&format!("nobody names blob {n}"));
    }
    written.end();
    let mut host = Host::start(directory);
    host.append("busy", 5);
    let sweep = ["sweep", "--grace", "0s", "--yes"];
    kill_when(directory, &sweep, writes(directory));
    kill_when(directory, &[&sweep[..], &["--json"]].concat(), says);
    let blobs = directory.join("blobs");
    let left = files(&blobs).len();
    kill_when(directory, &sweep, |_| files(&blobs).len() < left.min(250));
    is_unharmed(directory, &mut host);
    run(directory, &sweep).ok();
    assert_eq!(files(&blobs).len(), 1);
    assert_eq!(run(directory, &["cat", &kept.digest.to_string()]).ok(), "kept");
    is_unharmed(directory, &mut host);
    host.end();
    is_cleared(directory);
}

#[test]
fn a_redaction_that_was_cut_off_is_made_whole_by_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    victim(directory, "a");
    let mut host = Host::start(directory);
    host.append("busy", 5);
    let events: Vec<_> = (1..=EVENTS).map(|n| n.to_string()).collect();
    let redact: Vec<_> =
        ["redact", "a", "--reason", "r", "--yes"].into_iter().chain(events.iter().map(String::as_str)).collect();
    kill_when(directory, &redact, writes(directory));
    is_unharmed(directory, &mut host);
    let head = |directory: &Path| run(directory, &["ls", "--after", "Z", "-n", "1"]).ok();
    let before = head(directory);
    // Killed when the event that says so is there, while it erases.
    kill_when(directory, &redact, |_| head(directory) != before);
    is_unharmed(directory, &mut host);
    host.end();
    run(directory, &redact).ok();
    assert!(!has_bytes(directory, "secret of a "));
    assert!(run(directory, &["show", "a"]).ok().contains("[redacted]"));
    assert!(run(directory, &["verify"]).ok().contains("nothing is damaged"));
    is_cleared(directory);
}

#[test]
fn a_backup_that_was_cut_off_is_refused_as_a_store_and_finished_by_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    victim(directory, "a");
    let mut host = Host::start(directory);
    host.append("busy", 5);
    host.flood("busy");
    let place = tempfile::tempdir().unwrap();
    let to = place.path().join("backup");
    let backup = ["backup", to.to_str().unwrap()];
    kill_when(directory, &backup, |_| to.join("UNFINISHED-COPY").exists());
    if to.join("UNFINISHED-COPY").exists() {
        let refused = run(&to, &["ls"]).failed(3);
        assert!(refused.contains("was not finished"), "{refused}");
        let doctor = run(&to, &["doctor"]);
        assert!(doctor.status.code() == Some(1) && doctor.stdout.contains("was not finished"), "{}", doctor.stdout);
    }
    run(directory, &backup).ok();
    let whole = run(&to, &["ls"]).ok();
    // A later one that is cut off leaves the backup of before, or is done.
    kill_when(directory, &backup, |_| names_in(&to) > 8);
    assert!(run(&to, &["verify"]).ok().contains("nothing is damaged"));
    assert!(whole.starts_with("a\t2000\t"), "{whole}");
    host.calm();
    is_unharmed(directory, &mut host);
    host.end();
    run(directory, &backup).ok();
    let sessions = |directory: &Path| run(directory, &["ls"]).ok();
    assert_eq!(sessions(&to), sessions(directory));
    is_cleared(directory);
}
