//! Goal: each command reads beside a host that writes, sees what is committed, and does no harm, whatever becomes of
//! it. Method: the command and a host are processes of their own on one directory; tests wait for what they say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod common;

use std::path::Path;
use std::process::{Child, Stdio};

use common::host::{Host, Lines, be_a_host};
use common::{command, run};

/// Not a test of its own: does nothing unless another test runs it as a process.
#[test]
fn as_a_host() {
    be_a_host();
}

/// The ids of events, of lines of JSON.
fn id_of(line: &str) -> u64 {
    line.split("\"id\":").nth(1).unwrap().split(',').next().unwrap().parse().unwrap()
}

/// A command that follows a session.
struct Follower {
    process: Child,
    lines: Lines,
}

impl Follower {
    fn start(directory: &Path, arguments: &[&str]) -> Self {
        let mut process = command(directory, arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = Lines::of(process.stdout.take().unwrap());
        Self { process, lines }
    }

    /// Reads through an event, and holds that the events until then follow one another.
    fn through(&self, after: u64, last: u64) {
        for expected in after + 1..=last {
            let line = self.lines.next().unwrap_or_else(|| panic!("the command has ended before event {expected}"));
            assert_eq!(id_of(&line), expected, "{line}");
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn every_command_reads_beside_a_host_that_writes_all_the_time() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let mut host = Host::start(directory);
    let before = host.append("busy", 5);
    host.flood("busy");
    for _ in 0..3 {
        let listed = run(directory, &["ls"]).ok();
        let events: u64 = listed.split('\t').nth(1).unwrap().parse().unwrap();
        assert!(events >= before, "{listed}");
        let shown = run(directory, &["show", "busy"]).ok();
        assert!(shown.contains("message 0") && shown.contains("message 4"), "{shown}");
        let logged = run(directory, &["log", "busy", "--json"]).ok();
        let ids: Vec<_> = logged.lines().map(id_of).collect();
        assert!(ids.len() as u64 >= events);
        assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>());
        assert!(run(directory, &["verify"]).ok().contains("nothing is damaged"));
        let found = run(directory, &["grep", "message 4$", "-m", "2"]).ok();
        assert!(found.starts_with("busy:5  message_appended text  message 4\n"), "{found}");
        let counted = run(directory, &["stats", "--json"]).ok();
        assert!(counted.starts_with("{\"v\":1,\"model\":\"agent\",\"sessions\":1,"), "{counted}");
        assert!(run(directory, &["preflight"]).ok().contains("reads every session to its end"));
        let salvaged = run(directory, &["salvage"]).ok();
        assert!(salvaged.split('\t').nth(1).unwrap().parse::<u64>().unwrap() >= before, "{salvaged}");
        let absent = "00".repeat(32);
        assert!(run(directory, &["cat", &absent]).failed(4).contains("there is no blob 0000"));
    }
    let head = host.calm();
    // A repair goes on for as long as events come, so the host is open and does nothing.
    let to = tempfile::tempdir().unwrap();
    assert!(run(directory, &["repair", to.path().to_str().unwrap()]).ok().contains("taken: 1 session, "));
    assert!(run(to.path(), &["verify"]).ok().contains("nothing is damaged"));
    let listed = run(directory, &["ls", "--json"]).ok();
    assert!(listed.contains(&format!("\"events\":{head},")), "{listed}");
    host.end();
}

#[test]
fn a_log_is_followed_without_losing_or_repeating_an_event() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let mut host = Host::start(directory);
    let begun = host.append("s", 3);
    let follower = Follower::start(directory, &["log", "s", "-f", "--json"]);
    follower.through(0, begun);
    // It waits now, and each append is told alone.
    for head in begun + 1..=begun + 5 {
        assert_eq!(host.append("s", 1), head);
        follower.through(head - 1, head);
    }
    host.flood("s");
    follower.through(begun + 5, begun + 1_000);
    let head = host.calm();
    follower.through(begun + 1_000, head);
    // The host goes, and another one comes.
    host.end();
    let mut host = Host::start(directory);
    let last = host.append("s", 10);
    follower.through(head, last);
    host.end();
}

#[test]
fn a_follower_can_begin_in_the_midst_and_choose_types() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let mut host = Host::start(directory);
    let begun = host.append("s", 10);
    let from_the_end = Follower::start(directory, &["log", "s", "-f", "-n", "2", "--json"]);
    let nothing = Follower::start(directory, &["log", "s", "-f", "--type", "turn_started", "--json"]);
    from_the_end.through(begun - 2, begun);
    let head = host.append("s", 2);
    from_the_end.through(begun, head);
    host.end();
    drop(from_the_end);
    let Follower { process, .. } = &nothing;
    let id = process.id().to_string();
    assert!(std::process::Command::new("kill").arg(id).status().unwrap().success());
    assert_eq!(nothing.lines.next(), None, "none of the events is of that type");
}

/// Waits until a process has the database open, or has ended. Where no one can tell, it is struck at once.
fn until_it_reads(process: &mut Child) {
    let open_files = Path::new("/proc").join(process.id().to_string()).join("fd");
    while process.try_wait().unwrap().is_none() {
        let Ok(files) = open_files.read_dir() else { return };
        let mut paths = files.map_while(Result::ok).filter_map(|file| file.path().read_link().ok());
        if paths.any(|path| path.ends_with("events.db")) {
            return;
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_command_that_is_killed_leaves_nothing_behind_and_the_host_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let mut host = Host::start(directory);
    host.append("s", 200);
    host.flood("s");
    let commands = [
        &["log", "s", "-f", "--json"][..],
        &["log", "s", "--json"],
        &["show", "s"],
        &["verify"],
        &["ls"],
        &["grep", "message"],
        &["stats"],
        &["preflight"],
        &["salvage"],
    ];
    for arguments in commands {
        for _ in 0..3 {
            let mut process =
                command(directory, arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            until_it_reads(&mut process);
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
    let head = host.calm();
    assert_eq!(host.append("s", 5), head + 5);
    assert!(run(directory, &["verify"]).ok().contains("nothing is damaged"));
    host.end();
    let names: Vec<_> = common::files(directory).into_iter().map(|(path, _)| path).collect();
    let is_expected = |path: &Path| {
        let name = path.strip_prefix(directory).unwrap().to_str().unwrap();
        name == "events.db" || name == "LOCK" || name.starts_with("snapshots/")
    };
    assert!(names.iter().all(|path| is_expected(path)), "{names:?}");
}

#[test]
fn commands_change_no_file_of_a_closed_store() {
    let directory = tempfile::tempdir().unwrap();
    common::sessions::everything(directory.path());
    let directory = directory.path();
    let before = common::files(directory);
    for arguments in [
        &["ls"][..],
        &["show", "support-4711"],
        &["log", "support-4711"],
        &["verify"],
        &["show", "support-4711", "--json"],
        &["grep", "order"],
        &["stats"],
        &["preflight"],
        &["salvage"],
        &["cat", &"00".repeat(32)],
    ] {
        run(directory, arguments);
        assert!(common::files(directory) == before, "{arguments:?}");
    }
}
