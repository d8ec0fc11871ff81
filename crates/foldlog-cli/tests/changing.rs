//! Goal: each command that changes something does it beside a host, leaves alone what a host has open, and deletes
//! nothing that nobody agreed to. Method: the command is run as a process, beside a host that is one; what it leaves is
//! read again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};

use common::host::{Host, be_a_host};
use common::sessions::{self, Written};
use common::{files, run};
use foldlog::agent::{AgentBody, Message};
use serde_json::Value;

/// Not a test of its own: does nothing unless another test runs it as a process.
#[test]
fn as_a_host() {
    be_a_host();
}

fn message(text: &str) -> AgentBody {
    AgentBody::MessageAppended(Message::user(text))
}

/// A directory with sessions of one event each, `hello from NAME`.
fn with_sessions(names: &[&str]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for name in names {
        let mut written = Written::begin(directory.path(), name);
        written.after(1, message(&format!("hello from {name}")));
        written.end();
    }
    directory
}

fn listed(directory: &Path) -> Vec<String> {
    let listed = run(directory, &["ls"]).ok();
    listed.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
}

/// Whether any file below a directory has these bytes.
fn has_bytes(directory: &Path, bytes: &str) -> bool {
    files(directory).iter().any(|(_, found)| found.windows(bytes.len()).any(|window| window == bytes.as_bytes()))
}

/// The last object of an output in JSON.
fn last(stdout: &str) -> Value {
    serde_json::from_str(stdout.lines().last().unwrap()).unwrap()
}

#[test]
fn a_session_is_deleted_and_no_byte_of_it_is_left() {
    let directory = with_sessions(&["a", "b", "c"]);
    let directory = directory.path();
    let deleted = run(directory, &["rm", "a", "c", "--yes"]).ok();
    assert!(
        deleted.starts_with("deleted: a, 1 event\ndeleted: c, 1 event\ngone: 2 sessions, 2 events\nerased: "),
        "{deleted}"
    );
    assert_eq!(listed(directory), ["b"]);
    assert!(!has_bytes(directory, "hello from a") && !has_bytes(directory, "hello from c"));
    assert!(has_bytes(directory, "hello from b"));
    assert!(run(directory, &["verify"]).ok().contains("nothing is damaged"));
}

#[test]
fn nothing_goes_without_leave_and_a_dry_run_changes_no_byte() {
    let directory = tempfile::tempdir().unwrap();
    sessions::everything(directory.path());
    let directory = directory.path();
    {
        let written = Written::begin(directory, "other");
        written.put("nobody names this");
        written.end();
    }
    let before = files(directory);
    for arguments in [
        &["rm", "support-4711"][..],
        &["retain", "--sessions-max", "0", "--unfinished"],
        &["sweep", "--grace", "0s"],
        &["redact", "support-4711", "3", "--reason", "test"],
    ] {
        let error = run(directory, arguments).failed(2);
        assert!(error.contains("--yes") && error.contains("--dry-run"), "{error}");
        assert!(files(directory) == before, "{arguments:?}");
        let json = run(directory, &[arguments, &["--json"]].concat()).failed(2);
        assert!(json.contains("--yes"), "{json}");
        let would = run(directory, &[arguments, &["--dry-run"]].concat()).ok();
        assert!(would.contains("would"), "{would}");
        assert!(files(directory) == before, "{arguments:?}");
        let would = run(directory, &[arguments, &["--dry-run", "--json"]].concat()).ok();
        assert_eq!(last(&would)["dry_run"], true, "{would}");
        assert!(files(directory) == before, "{arguments:?}");
        let both = run(directory, &[arguments, &["--dry-run", "--yes"]].concat());
        assert_eq!(both.status.code(), Some(2));
    }
    // Refused before anything is asked for.
    run(directory, &["describe", "support-4711"]).failed(2);
    run(directory, &["retain", "--yes"]).failed(2);
    assert!(files(directory) == before);
}

#[test]
fn a_dry_run_needs_no_right_to_write() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = with_sessions(&["a"]);
    let path = directory.path();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o500)).unwrap();
    assert!(run(path, &["rm", "a", "--dry-run"]).ok().contains("would go: a"));
    assert!(run(path, &["retain", "--sessions-max", "0", "--dry-run"]).ok().contains("would go: a"));
    assert!(run(path, &["sweep", "--dry-run"]).ok().contains("would go: 0 blobs"));
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn what_a_host_has_open_stays_and_its_process_is_named() {
    let directory = with_sessions(&["free"]);
    let directory = directory.path();
    let mut host = Host::start(directory);
    let head = host.append("busy", 3);
    let process = format!("process {}", host.process());
    for arguments in [
        &["rm", "busy", "--yes"][..],
        &["rm", "busy", "--dry-run"],
        &["describe", "busy", "--title", "t"],
        &["redact", "busy", "1", "--reason", "r", "--yes"],
    ] {
        let refused = run(directory, arguments);
        assert_eq!(refused.status.code(), Some(6), "{arguments:?}: {}", refused.stderr);
        assert!(
            refused.stderr.contains(&process) && refused.stderr.contains("then run the command again"),
            "{}",
            refused.stderr
        );
    }
    for mode in ["--dry-run", "--yes"] {
        let retained = run(directory, &["retain", "--sessions-max", "0", "--unfinished", mode]);
        assert!(retained.stdout.contains("stays: busy") && retained.stdout.contains(&process), "{}", retained.stdout);
    }
    assert_eq!(listed(directory), ["busy"]);
    assert_eq!(host.append("busy", 1), head + 1);
    host.end();
}

#[test]
fn commands_work_beside_a_host_that_writes_all_the_time() {
    let directory = with_sessions(&["a", "b", "secret"]);
    let directory = directory.path();
    let mut host = Host::start(directory);
    host.append("busy", 5);
    host.flood("busy");
    let described = run(directory, &["describe", "a", "--title", "Found", "--label", "team=support"]).ok();
    assert_eq!(described, "a: Found\n  team=support\n");
    let erased = |ran: common::Ran| {
        // A host that writes may keep the log for a moment, and then the answer says so.
        assert!(matches!(ran.status.code(), Some(0 | 1)), "{ran:?}");
        assert!(ran.stdout.contains("erased"), "{ran:?}");
    };
    erased(run(directory, &["rm", "b", "--yes"]));
    erased(run(directory, &["redact", "secret", "1", "--reason", "asked for", "--yes"]));
    erased(run(
        directory,
        &["retain", "--sessions-max", "100", "--bytes-max", "0", "--label", "team=support", "--yes"],
    ));
    assert!(run(directory, &["sweep", "--grace", "0s", "--yes"]).ok().contains("removed: 0 blobs"));
    let to = tempfile::tempdir().unwrap();
    let to = to.path().join("backup");
    run(directory, &["backup", to.to_str().unwrap(), "--verify"]).ok();
    let head = host.calm();
    assert_eq!(host.append("busy", 5), head + 5);
    host.end();
    assert_eq!(listed(directory), ["busy", "secret"]);
    assert_eq!(listed(&to), ["busy", "secret"]);
    // Whatever was left goes with the next store that is there alone.
    run(directory, &["rm", "busy", "--yes"]).ok();
    for gone in ["hello from a", "hello from b", "hello from secret"] {
        assert!(!has_bytes(directory, gone), "{gone}");
    }
    assert!(run(directory, &["verify"]).ok().contains("nothing is damaged"));
}

#[test]
fn sessions_that_rules_do_not_keep_are_deleted() {
    let directory = with_sessions(&["a", "b", "c"]);
    let directory = directory.path();
    run(directory, &["describe", "a", "--label", "kind=scratch"]).ok();
    run(directory, &["describe", "b", "--label", "kind=scratch", "--label", "kept=yes"]).ok();
    let retained = run(directory, &["retain", "--sessions-max", "1", "--label", "kind=scratch", "--yes"]).ok();
    assert!(retained.contains("deleted: a") && retained.contains("gone: 1 of 2 sessions"), "{retained}");
    assert_eq!(listed(directory), ["b", "c"]);
    // The others have events of today, and `c` of years ago.
    let retained = run(directory, &["retain", "--unchanged-for", "1d", "--yes"]).ok();
    assert!(retained.contains("gone: 1 of 2 sessions"), "{retained}");
    assert_eq!(listed(directory), ["b"]);
    run(directory, &["retain", "--bytes-max", "1K", "--yes"]).ok();
    assert_eq!(listed(directory), ["b"]);
    // An unfinished session stays unless asked for.
    sessions::everything(directory);
    let stays = run(directory, &["retain", "--sessions-max", "0", "--yes"]).ok();
    assert!(stays.contains("stays: support-4711") && stays.contains("unfinished"), "{stays}");
    run(directory, &["retain", "--sessions-max", "0", "--unfinished", "--yes"]).ok();
    assert_eq!(listed(directory), [""; 0]);
}

#[test]
fn blobs_that_no_event_names_are_removed_after_their_grace_time() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    sessions::everything(directory);
    let written = Written::begin(directory, "other");
    let blob = written.put("nobody names this");
    written.end();
    let digest = blob.digest.to_string();
    let kept = run(directory, &["sweep", "--yes"]).ok();
    assert!(kept.contains("removed: 0 blobs") && kept.contains("in their grace time: 1 blob of 17 B"), "{kept}");
    let would = run(directory, &["sweep", "--grace", "0s", "--dry-run"]).ok();
    assert!(would.starts_with(&format!("{digest}  17 B\nwould go: 1 blob of 17 B\n")), "{would}");
    let swept = run(directory, &["sweep", "--grace", "0s", "--yes", "--json"]).ok();
    assert_eq!(serde_json::from_str::<Value>(swept.lines().next().unwrap()).unwrap()["digest"], digest.as_str());
    assert_eq!(last(&swept)["referenced"], 2);
    run(directory, &["cat", &digest]).failed(4);
    assert!(run(directory, &["verify"]).ok().contains("nothing is damaged"));
}

#[test]
fn many_blobs_are_counted_for_people_and_all_named_for_programs() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let written = Written::begin(directory, "s");
    for n in 0..30 {
        written.put(&format!("blob {n}"));
    }
    written.end();
    let would = run(directory, &["sweep", "--grace", "0s", "--dry-run"]).ok();
    assert_eq!(would.lines().filter(|line| line.len() > 64).count(), 20, "{would}");
    assert!(would.contains("… 10 more blobs: --json names all\nwould go: 30 blobs"), "{would}");
    let told = run(directory, &["sweep", "--grace", "0s", "--dry-run", "--json"]).ok();
    assert_eq!(told.lines().count(), 31);
}

#[test]
fn what_events_say_is_taken_out_and_the_session_goes_on() {
    let directory = with_sessions(&["a"]);
    let directory = directory.path();
    let blob = {
        let mut written = Written::begin(directory, "b");
        let blob = written.put("a secret in a blob");
        written.after(1, message("my key is 12345")).after(1, AgentBody::MessageAppended(Message::user(blob)));
        written.end();
        blob
    };
    let shown = run(directory, &["redact", "b", "2", "1", "--reason", "a key", "--dry-run"]).ok();
    assert!(shown.starts_with("1 message_appended\n  says       user: my key is 12345\n  would say  "), "{shown}");
    assert!(shown.contains("[redacted]"), "{shown}");
    let redacted = run(directory, &["redact", "b", "1", "--reason", "a key", "--yes"]).ok();
    assert!(redacted.starts_with("redacted: 1 event, as event 3 says\nerased: "), "{redacted}");
    assert!(!has_bytes(directory, "my key is 12345"));
    assert!(run(directory, &["log", "b"]).ok().contains("events 1: a key"));
    // The blob is left to a sweep, and the exit code says that something is left.
    let redacted = run(directory, &["redact", "b", "2", "--reason", "a key", "--yes"]);
    assert_eq!(redacted.status.code(), Some(1));
    assert!(redacted.stdout.contains("still there: 1 blob that it named"), "{}", redacted.stdout);
    assert!(has_bytes(directory, "a secret in a blob"));
    run(directory, &["sweep", "--grace", "0s", "--yes"]).ok();
    assert!(!has_bytes(directory, "a secret in a blob"), "{}", blob.digest);
    // The same once more does no harm.
    run(directory, &["redact", "b", "1", "--reason", "again", "--yes"]).ok();
    run(directory, &["redact", "b", "9", "--reason", "r", "--yes"]).failed(4);
    run(directory, &["redact", "b", "0", "--reason", "r", "--dry-run"]).failed(4);
    run(directory, &["redact", "b", "9", "--reason", "r", "--dry-run"]).failed(4);
    run(directory, &["redact", "absent", "1", "--reason", "r", "--yes"]).failed(4);
    assert!(run(directory, &["verify"]).ok().contains("nothing is damaged"));
}

#[test]
fn a_title_and_labels_are_given_and_taken_away() {
    let directory = with_sessions(&["a"]);
    let directory = directory.path();
    run(directory, &["describe", "a", "--title", "One", "--label", "x=1", "--label", "y=2"]).ok();
    let told = run(directory, &["describe", "a", "--remove-label", "x", "--label", "y=3", "--json"]).ok();
    let told = last(&told);
    assert_eq!((&told["title"], &told["labels"]), (&"One".into(), &serde_json::json!({"y": "3"})));
    assert_eq!(run(directory, &["describe", "a", "--title", ""]).ok(), "a: \n  y=3\n");
    run(directory, &["describe", "absent", "--title", "t"]).failed(4);
    assert_eq!(listed(directory), ["a"], "no session is made");
    run(directory, &["describe", "a", "--label", "no-value"]).failed(2);
}

#[test]
fn a_backup_is_made_and_repeated_and_a_new_store_is_made_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    sessions::everything(directory);
    let place = tempfile::tempdir().unwrap();
    let (to, restored) = (place.path().join("backup"), place.path().join("restored"));
    let (to_text, restored_text) = (to.to_str().unwrap(), restored.to_str().unwrap());
    let before = files(directory);
    let made = run(directory, &["backup", to_text]).ok();
    assert!(made.starts_with("copied: 19 events of ") && made.contains("2 blobs of 797 B"), "{made}");
    assert!(files(directory) == before, "the store is only read");
    let again = last(&run(directory, &["backup", to_text, "--json"]).ok());
    assert_eq!((&again["events"], &again["sessions"]), (&0.into(), &1.into()));
    run(directory, &["rm", "support-4711", "--yes"]).ok();
    // What was deleted is in the backup until it is made again.
    let made = run(Path::new("/nowhere"), &["restore", to_text, restored_text]).ok();
    assert!(made.contains("1 session"), "{made}");
    assert!(run(&restored, &["show", "support-4711"]).ok().contains("It comes on Friday."));
    assert!(run(&restored, &["verify"]).ok().contains("nothing is damaged"));
    let refused = run(Path::new("/nowhere"), &["restore", to_text, restored_text]).failed(2);
    assert!(refused.contains(restored_text), "{refused}");
    let again = run(directory, &["backup", to_text]).ok();
    assert!(again.contains("taken out, since they were deleted: 1 session"), "{again}");
    assert_eq!(listed(&to), [""; 0]);
    // A directory that has something else is none for a backup.
    run(directory, &["backup", place.path().to_str().unwrap()]).failed(2);
    run(Path::new("/nowhere"), &["restore", place.path().join("absent").to_str().unwrap(), to_text]).failed(3);
}

#[test]
fn a_store_of_another_model_or_format_is_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    sessions::of_another_model(directory.path());
    let before = files(directory.path());
    let to = directory.path().with_extension("backup");
    for arguments in [
        &["rm", "tally", "--yes"][..],
        &["retain", "--sessions-max", "0", "--yes"],
        &["sweep", "--yes"],
        &["redact", "tally", "1", "--reason", "r", "--yes"],
        &["describe", "tally", "--title", "t"],
        &["backup", to.to_str().unwrap()],
    ] {
        let error = run(directory.path(), arguments).failed(3);
        assert!(error.contains("\"counter\"") && error.contains("its host can call"), "{error}");
        assert!(files(directory.path()) == before, "{arguments:?}");
    }
    assert!(!to.exists());
    // To open a store of an older format to write would lock out the hosts that made it.
    let older = common::data("format-1/closed");
    let before = files(older.path());
    for arguments in [&["rm", "plain", "--yes"][..], &["sweep", "--yes"], &["describe", "plain", "--title", "t"]] {
        let error = run(older.path(), arguments).failed(3);
        assert!(error.contains("is of format 1") && error.contains("open it first"), "{error}");
        assert!(files(older.path()) == before, "{arguments:?}");
    }
}

#[test]
fn of_several_sessions_those_that_can_go_do() {
    let directory = with_sessions(&["a", "b"]);
    let directory = directory.path();
    let ran = run(directory, &["rm", "a", "absent", "b", "--yes", "--json"]);
    assert_eq!(ran.status.code(), Some(4));
    assert!(ran.stderr.contains("there is no session absent"), "{}", ran.stderr);
    let objects: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let gone: Vec<_> = objects.iter().filter(|it| it["gone"] == true).map(|it| it["session"].clone()).collect();
    assert_eq!(gone, ["a", "b"]);
    assert_eq!((&objects.last().unwrap()["sessions"], &objects.last().unwrap()["pending"]), (&2.into(), &0.into()));
    assert_eq!(listed(directory), [""; 0]);
}

#[test]
fn a_person_is_asked_on_a_terminal() {
    // `script` makes a terminal.
    let has_script = Command::new("script").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !has_script.is_ok_and(|status| status.success()) {
        eprintln!("skipped: there is no `script` to make a terminal with");
        return;
    }
    let directory = with_sessions(&["a", "b"]);
    let directory = directory.path();
    let answer = |answer: &str, arguments: &str| {
        let line = format!("{} {arguments}", env!("CARGO_BIN_EXE_foldlog"));
        let mut process = Command::new("script")
            .args(["-qec", &line, "/dev/null"])
            .env("FOLDLOG_DIR", directory)
            .env("NO_COLOR", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut process.stdin.take().unwrap(), answer.as_bytes()).unwrap();
        let output = process.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, said) = answer("n\n", "rm a");
    assert!(code == Some(1) && said.contains("goes: a, 1 event"), "{said}");
    assert!(
        said.contains("Delete 1 session with all events, for good? [y/N]") && said.contains("nothing was deleted"),
        "{said}"
    );
    assert_eq!(listed(directory), ["a", "b"]);
    let (code, said) = answer("y\n", "rm a");
    assert!(code == Some(0) && said.contains("deleted: a, 1 event"), "{said}");
    assert_eq!(listed(directory), ["b"]);
    let (code, said) = answer("", "retain --sessions-max 0");
    assert!(code == Some(1) && said.contains("would go: b"), "{said}");
    assert_eq!(listed(directory), ["b"]);
}
