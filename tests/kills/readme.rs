//! Goal: the host of the README, killed between any two of its lines or within one, leaves a session that one call
//! makes acceptable to providers. Method: a child runs the lines of the README and waits after each; after its death
//! the session is opened and interrupted, and the next child goes on with it. First, that the lines here are those of
//! the README.

use std::path::Path;

use foldlog::agent::{Message, Part, ToolResult, TurnStatus};
use foldlog::{Error, Store, StoreConfig};

use crate::common::child::{Child, hear, tell};
use crate::common::providers::assert_accepted;
use crate::common::*;

/// How often the host waits.
const PAUSES: usize = 12;

/// Tells the parent that the host has come here, and goes on when it is told to.
fn pause() {
    tell("paused");
    hear().expect("the parent says when to go on");
}

/// The program of the README. Without its comments and pauses, these are its lines.
pub(crate) async fn host(directory: &Path) -> Result<(), Error> {
    pause();
    let store = Store::open(StoreConfig::directory(directory)).await?;
    pause();
    let session = store.open_session("support-4711").await?;
    pause();
    let mut turn = session.begin_turn(Message::user("where is my order?")).await?;
    pause();
    turn.begin_step().await?;
    pause();
    let messages = turn.provider_messages().await?;
    pause();
    println!("{messages:?}");
    pause();
    let call = Part::tool_call("call_1", "track", r#"{"order":4711}"#);
    pause();
    turn.say(Message::answer([call])).await?;
    pause();
    turn.tool_result(ToolResult::text("call_1", "in transit, due Friday")).await?;
    pause();
    turn.begin_step().await?;
    pause();
    turn.answer(Message::assistant("It comes on Friday.")).await?;
    pause();
    store.close().await
}

#[test]
fn the_lines_here_are_those_of_the_readme() {
    let bare = |line: &str| line.split(" // ").next().unwrap().trim().to_owned();
    let lines = |text: &str, from: &str| -> Vec<String> {
        let after = &text[text.find(from).expect(from)..];
        let body = after.lines().skip(1).take_while(|line| !line.starts_with('}')).map(bare);
        body.filter(|line| !line.is_empty() && line != "pause();").collect()
    };
    let readme = lines(include_str!("../../README.md"), "async fn main()");
    let here = lines(include_str!("readme.rs"), "pub(crate) async fn host(");
    assert_eq!(here.join("\n").replace("(directory)", "(\"sessions\")"), readme.join("\n"));
    let own = include_str!("readme.rs").lines().filter(|line| *line == "    pause();").count();
    assert_eq!(own, PAUSES);
}

/// What the session is after a kill and an interruption. Gives the number of its turns.
async fn assert_repaired(directory: &Path) -> usize {
    let store = soon(Store::open(StoreConfig::directory(directory))).await.unwrap();
    let session = soon(store.open_session("support-4711")).await.unwrap();
    let left = soon(session.interrupt("the program was killed")).await.unwrap();
    assert_accepted(&soon(session.provider_messages()).await.unwrap());
    assert_eq!(session.unfinished().unwrap(), []);
    let view = session.view().unwrap();
    let interrupted = view.turns.last().is_some_and(|turn| turn.status == TurnStatus::Interrupted);
    assert_eq!(interrupted, left.iter().any(|open| open.kind == "turn"));
    assert!(view.turns.iter().all(|turn| turn.started.is_some() && turn.ended >= turn.started));
    soon(store.close()).await.unwrap();
    view.turns.len()
}

#[actix::test]
async fn killed_between_any_two_lines_of_the_readme_a_session_is_acceptable_after_one_call() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let mut turns = 0;
    for lines in 0..PAUSES {
        let mut child = Child::with_task("readme", "host", directory.path());
        child.expect("paused");
        for _ in 0..lines {
            child.say("go on");
            child.expect("paused");
        }
        child.kill();
        turns += usize::from(lines >= 3);
        assert_eq!(assert_repaired(directory.path()).await, turns, "after {lines} lines");
    }
}

#[actix::test]
async fn killed_within_a_line_of_the_readme_a_session_is_acceptable_after_one_call() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    for lines in 0..PAUSES {
        let mut child = Child::with_task("readme", "host", directory.path());
        child.expect("paused");
        for _ in 0..lines {
            child.say("go on");
            child.expect("paused");
        }
        child.say("go on");
        child.kill();
        assert_repaired(directory.path()).await;
    }
}
