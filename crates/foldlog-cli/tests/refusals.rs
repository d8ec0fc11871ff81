//! Goal: a command that cannot do what it is asked says why and what to do, and its exit code tells it to a program.
//! Method: every exit code of docs/command.md.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod common;

use std::io::Read;
use std::process::{Command, Stdio};

use common::{command, run, sessions};

#[test]
fn a_directory_without_a_store_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    for command in [&["ls"][..], &["show", "s"], &["log", "s"], &["verify"], &["grep", "x"], &["stats"], &["preflight"]]
    {
        let error = run(directory.path(), command).failed(3);
        assert!(error.starts_with("foldlog: ") && error.contains("there is no store"), "{error}");
        assert!(error.contains("--dir") && error.contains("FOLDLOG_DIR"), "{error}");
        assert_eq!(common::files(directory.path()), []);
    }
    let absent = directory.path().join("absent");
    run(&absent, &["ls"]).failed(3);
    assert!(!absent.exists());
    std::fs::write(directory.path().join("events.db"), "something else").unwrap();
    let error = run(directory.path(), &["ls"]).failed(3);
    assert!(error.contains("is not a foldlog database"), "{error}");
}

#[test]
fn a_wrong_command_line_says_what_is_wanted() {
    let directory = tempfile::tempdir().unwrap();
    let mut without = Command::new(env!("CARGO_BIN_EXE_foldlog"));
    let output = without.arg("ls").env_remove("FOLDLOG_DIR").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("--dir DIR") && error.contains("FOLDLOG_DIR"), "{error}");
    for arguments in [&["nonsense"][..], &[], &["show"], &["cat", "12"], &["log", "s", "--since", "soon"], &["repair"]]
    {
        let error = run(directory.path(), arguments);
        assert_eq!(error.status.code(), Some(2), "{arguments:?}: {}", error.stderr);
    }
    // A directory on the command line comes before that of the environment.
    sessions::everything(directory.path());
    let listed = run(std::path::Path::new("/nowhere"), &["ls", "--dir", directory.path().to_str().unwrap()]).ok();
    assert!(listed.starts_with("support-4711\t"));
}

#[test]
fn what_is_not_there_is_told_by_its_name() {
    let directory = tempfile::tempdir().unwrap();
    sessions::everything(directory.path());
    let directory = directory.path();
    for arguments in [&["show", "absent"][..], &["log", "absent"], &["log", "absent", "-f"]] {
        let error = run(directory, arguments).failed(4);
        assert!(error.contains("there is no session absent") && error.contains("foldlog ls"), "{error}");
    }
    run(directory, &["log", "support-4711", "--since", "1000"]).failed(4);
    let another_history = run(directory, &["log", "support-4711", "--since", "3-0000000000000000"]).failed(5);
    assert!(another_history.contains("another history"), "{another_history}");
    run(directory, &["show", ""]).failed(2);
}

#[test]
fn a_store_of_another_model_shows_what_can_be_read_and_says_what_needs_the_model() {
    let directory = tempfile::tempdir().unwrap();
    sessions::of_another_model(directory.path());
    let directory = directory.path();
    assert!(run(directory, &["ls"]).ok().starts_with("tally\t3\t"));
    let logged = run(directory, &["log", "tally", "--type", "added"]).ok();
    assert_eq!(logged.lines().count(), 2);
    let error = run(directory, &["verify"]).failed(3);
    assert!(error.contains("\"counter\"") && error.contains("ReadOnlyStore::<Model>::verify"), "{error}");
    let error = run(directory, &["preflight"]).failed(3);
    assert!(error.contains("ReadOnlyStore::<Model>::preflight"), "{error}");
    run(directory, &["grep", "x"]).failed(3);
    assert!(run(directory, &["stats"]).ok().contains("1 session of the model counter, 3 events"));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let directory = tempfile::tempdir().unwrap();
    sessions::hostile(directory.path());
    // More than a pipe takes: the command is still writing when its reader goes.
    for arguments in [&["show", "hostile\u{202e}", "--full"][..], &["show", "hostile\u{202e}", "--json"]] {
        let mut process = command(directory.path(), arguments);
        let mut process = process.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = process.stdout.take().unwrap();
        stdout.read_exact(&mut [0; 10]).unwrap();
        drop(stdout);
        let output = process.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
    }
}

#[test]
fn colours_come_when_they_are_asked_for_and_never_against_no_color() {
    let directory = tempfile::tempdir().unwrap();
    sessions::everything(directory.path());
    let has_colours = |arguments: &[&str], name: &str| {
        let mut command = command(directory.path(), arguments);
        let output = command.env(name, "1").output().unwrap();
        String::from_utf8(output.stdout).unwrap().contains('\u{1b}')
    };
    let show = ["show", "support-4711"];
    assert!(!has_colours(&show, "UNRELATED"), "a pipe");
    assert!(has_colours(&[&show[..], &["--color", "always"]].concat(), "UNRELATED"));
    assert!(has_colours(&show, "CLICOLOR_FORCE"));
    assert!(!has_colours(&[&show[..], &["--color", "never"]].concat(), "CLICOLOR_FORCE"));
    assert!(!has_colours(&show, "NO_COLOR"));
}

#[test]
fn completions_name_every_command_for_every_shell() {
    let nowhere = std::path::Path::new("/nowhere");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(nowhere, &["completions", shell]).ok();
        for command in [
            "ls",
            "show",
            "log",
            "cat",
            "grep",
            "stats",
            "verify",
            "repair",
            "salvage",
            "preflight",
            "describe",
            "rm",
            "retain",
            "sweep",
            "redact",
            "backup",
            "restore",
            "doctor",
            "completions",
        ] {
            assert!(script.contains(command), "{shell} {command}");
        }
    }
}
