//! Goal: text that somebody else wrote reaches no terminal raw. Method: a session whose every text takes a terminal
//! over, through every command, with and without colours.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod common;

use common::{run, sessions};

/// What none of the outputs may hold. A newline ends a line, and with colours ESC begins those of the command itself.
fn hostile_in(text: &str) -> Vec<char> {
    let is_hostile = |c: &char| {
        c.is_control() && *c != '\n'
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    text.chars().filter(is_hostile).collect()
}

fn outputs(directory: &std::path::Path, more: &[&str]) -> Vec<String> {
    const SESSION: &str = "hostile\u{202e}";
    let commands = [
        &["ls"][..],
        &["show", SESSION],
        &["show", SESSION, "--full"],
        &["show", SESSION, "--raw"],
        &["show", SESSION, "--json"],
        &["log", SESSION],
        &["log", SESSION, "--json"],
        &["ls", "--json"],
        &["verify"],
        &["stats"],
        &["preflight"],
        &["grep", "evil"],
        &["grep", "evil", "--json"],
        &["salvage"],
        &["salvage", SESSION],
    ];
    commands.iter().map(|arguments| run(directory, &[*arguments, more].concat()).ok()).collect()
}

#[test]
fn hostile_text_is_escaped_in_every_output() {
    let directory = tempfile::tempdir().unwrap();
    sessions::hostile(directory.path());
    for output in outputs(directory.path(), &[]) {
        // Tabs stand between columns.
        let found: Vec<_> = hostile_in(&output).into_iter().filter(|c| *c != '\t').collect();
        assert_eq!(found, [], "{}", output.escape_debug());
        assert!(!output.is_empty());
    }
    // It is told what was there: escaped for people, and whole for programs.
    let shown = run(directory.path(), &["show", "hostile\u{202e}"]).ok();
    assert!(shown.contains("\\u{1b}[2J\\u{1b}]0;owned\\u{7}\\u{9b}31m\\u{202e}evil"), "{shown}");
    let told = run(directory.path(), &["log", "hostile\u{202e}", "--json", "--type", "session_errored"]).ok();
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["body"]["session_errored"]["kind"], sessions::HOSTILE);
}

#[test]
fn with_colours_only_those_of_the_command_are_there() {
    let directory = tempfile::tempdir().unwrap();
    sessions::hostile(directory.path());
    let mut colours = 0;
    for output in outputs(directory.path(), &["--color", "always"]) {
        let mut plain = String::new();
        let mut rest = output.as_str();
        while let Some((before, after)) = rest.split_once('\u{1b}') {
            plain.push_str(before);
            let (code, after) = after.split_once('m').unwrap();
            assert!(code.starts_with('[') && code[1..].chars().all(|c| c.is_ascii_digit() || c == ';'), "{code:?}");
            colours += 1;
            rest = after;
        }
        plain.push_str(rest);
        assert_eq!(hostile_in(&plain).into_iter().filter(|c| *c != '\t').collect::<Vec<_>>(), []);
    }
    assert!(colours > 20);
}

#[test]
fn a_long_line_is_shortened_unless_all_of_it_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    sessions::hostile(directory.path());
    let longest = |arguments: &[&str]| {
        let output = run(directory.path(), arguments).ok();
        output.lines().map(|line| line.chars().count()).max().unwrap()
    };
    const SESSION: &str = "hostile\u{202e}";
    assert!(longest(&["show", SESSION]) < 5_000);
    assert!(longest(&["log", SESSION]) < 5_000);
    assert!(longest(&["show", SESSION, "--full"]) >= 1_000_000);
}

#[test]
fn an_error_that_repeats_what_was_typed_is_escaped_too() {
    let directory = tempfile::tempdir().unwrap();
    sessions::everything(directory.path());
    let absent = "absent\u{202e}\u{200b}";
    let error = run(directory.path(), &["show", absent]).failed(4);
    assert_eq!(hostile_in(&error), [], "{error}");
    let error = run(&directory.path().join("\u{1b}[2J"), &["ls"]).failed(3);
    assert_eq!(hostile_in(&error), [], "{error}");
}
