//! Goal: wherever the chat host is killed, and however often, each request is answered once, and providers take the
//! messages. Method: the compiled example ends itself after each number of lines, or is killed at random moments; its
//! directory is then read with a store of our own. `FOLDLOG_KILLS=100` kills it so often, `FOLDLOG_SEED` repeats the
//! choices.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use foldlog::agent::{Agent, AgentBody, AgentView, Message, Part, PartBody, Role, ToolResult, TurnStatus};
use foldlog::{Store, StoreConfig, View};
use futures::executor::block_on;

use crate::common::child::{Child, run};
use crate::common::providers::accept;
use crate::common::{number_of, seeded_dice};

/// How often the host is killed at a random moment.
const KILLS: u64 = 25;

/// What the example asks: the text, how the turn ends that is the last of it, and the tools that it calls.
const REQUESTS: [(&str, TurnStatus, &[&str]); 4] = [
    ("How warm is it in Oslo and Barcelona?", TurnStatus::Final, &["Oslo", "Barcelona"]),
    ("And in Paris and Bergen?", TurnStatus::Final, &["Paris", "Bergen"]),
    ("Tell me a long story", TurnStatus::Cancelled, &[]),
    ("No, a short one", TurnStatus::Final, &[]),
];

#[test]
fn a_chat_that_dies_at_any_line_answers_each_request_once_when_it_runs_again() {
    let (next, left_open) = (AtomicUsize::new(1), Mutex::new(BTreeSet::new()));
    // Each chat waits for the disk most of the time.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| while dies_and_is_finished(next.fetch_add(1, Ordering::SeqCst), &left_open) {});
        }
    });
    let left_open = left_open.into_inner().unwrap();
    // Where it dies at the first of two results, the second may have been on its way, and be written too.
    assert!(left_open.contains(&0) && left_open.contains(&2), "calls without a result where it died: {left_open:?}");
}

/// Lets a chat die after so many lines, and another process finish it. Tells whether it had so many lines to show.
fn dies_and_is_finished(lines: usize, left_open: &Mutex<BTreeSet<usize>>) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let died = run_chat(directory.path(), &[&lines.to_string()]);
    if !died.status.success() {
        assert_eq!(died.lines.len(), lines, "it dies after that line: {died:?}");
        left_open.lock().unwrap().insert(read_view(directory.path()).open_calls.len());
        finish(directory.path());
        return true;
    }
    assert!(lines > 34, "it has shown {lines} lines, and has more events than that");
    let head = assert_answered_once(directory.path());
    let again = run_chat(directory.path(), &[]);
    assert_eq!(again.lines.len(), REQUESTS.len(), "one line for each request, and nothing else: {again:?}");
    assert_eq!(assert_answered_once(directory.path()), head, "nothing was left to write");
    false
}

#[test]
fn a_result_of_a_chat_that_died_before_the_other_is_asked_for_no_more() {
    let (directory, _) = died_where(&[], "message_appended", |view| view.open_calls.len() == 2);
    // It is appended here, since the chat itself may write both results before it dies at the first.
    block_on(async {
        let store = Store::open(StoreConfig::directory(directory.path())).await.unwrap();
        let session = store.open_session("chat").await.unwrap();
        let view = session.view().unwrap();
        let (turn, step) = (view.turns.last().unwrap().id, view.steps.last().unwrap().id);
        let result = ToolResult::text(view.open_calls.iter().next().unwrap().call_id.as_str(), "4 degrees");
        let message = Message { turn: Some(turn), step: Some(step), ..Message::tool(result) };
        session.append(AgentBody::MessageAppended(message)).unwrap().await.unwrap();
        store.close().await.unwrap();
    });
    assert_eq!(read_view(directory.path()).open_calls.len(), 1);
    finish(directory.path());
}

#[test]
fn a_chat_that_died_between_each_answer_and_its_compaction_is_compacted() {
    let has_only_ended = |view: &AgentView, turns: usize| {
        view.turns.len() == turns
            && view.turns.iter().all(|turn| turn.status != TurnStatus::Running)
            && view.compact_from.is_none()
    };
    let (_, lines) = died_where(&[], "turn_put", |view| has_only_ended(view, 2));
    let (directory, _) = died_where(&[lines], "turn_put", |view| has_only_ended(view, 3));
    finish(directory.path());
}

/// A directory in which chats have died after each of these numbers of lines, and then another one at a line that ends
/// like this, where the view is as it is wanted; and after how many lines that one died.
fn died_where(before: &[usize], line_end: &str, is_wanted: impl Fn(&AgentView) -> bool) -> (tempfile::TempDir, usize) {
    let run_before = || {
        let directory = tempfile::tempdir().unwrap();
        for lines in before {
            run_chat(directory.path(), &[&lines.to_string()]);
        }
        directory
    };
    // What stands in the log at a line may differ by what was on its way: where it was too much, it is tried again.
    for _ in 0..20 {
        let shown = run_chat(run_before().path(), &[]).lines;
        // A chat counts the lines that it shows of its session, which begin with an id or with blanks, and no others.
        let counted =
            shown.iter().filter(|line| line.starts_with(|first: char| first == ' ' || first.is_ascii_digit()));
        for (line, _) in counted.enumerate().filter(|(_, line)| line.ends_with(line_end)) {
            let directory = run_before();
            run_chat(directory.path(), &[&(line + 1).to_string()]);
            if is_wanted(&read_view(directory.path())) {
                return (directory, line + 1);
            }
        }
    }
    panic!("no chat has died there");
}

#[test]
fn a_chat_that_is_killed_again_and_again_answers_each_request_once() {
    let mut dice = seeded_dice();
    let kills = number_of("FOLDLOG_KILLS").unwrap_or(KILLS);
    let (mut struck, mut most) = (0, 0);
    while struck < kills {
        let directory = tempfile::tempdir().unwrap();
        let mut here = 0;
        // A chat that ends by itself had nothing left to do.
        while struck < kills && strike(directory.path(), dice.below(25), dice.below(3_000)) {
            struck += 1;
            here += 1;
        }
        finish(directory.path());
        most = most.max(here);
    }
    println!("{struck} kills, up to {most} of one chat");
}

/// Kills the chat some time after it has shown so many lines. Tells whether it was still alive.
fn strike(directory: &Path, lines: u64, micros: u64) -> bool {
    let chat = Child::example("chat_host", &[directory.to_str().unwrap()]);
    for _ in 0..lines {
        if chat.next().is_none() {
            return false;
        }
    }
    // The moment is random, so there is nothing to wait for.
    std::thread::sleep(Duration::from_micros(micros));
    chat.kill().status.code().is_none()
}

fn run_chat(directory: &Path, more: &[&str]) -> crate::common::child::Ended {
    run("chat_host", &[&[directory.to_str().unwrap()], more].concat())
}

/// Runs the chat to its end, and looks at what it has left.
fn finish(directory: &Path) {
    let ended = run_chat(directory, &[]);
    assert!(ended.status.success(), "{ended:?}");
    assert_answered_once(directory);
}

fn read_view(directory: &Path) -> View<Agent> {
    block_on(async {
        let store = Store::open(StoreConfig::directory(directory)).await.unwrap();
        let state = store.read_state("chat").await.unwrap();
        store.close().await.unwrap();
        state.view
    })
}

/// Checks the whole session, and gives its last event.
fn assert_answered_once(directory: &Path) -> u64 {
    block_on(async {
        let store = Store::open(StoreConfig::directory(directory)).await.unwrap();
        let session = store.resume_session("chat").await.unwrap();
        let view = session.current_view().await.unwrap();
        for (text, status, cities) in REQUESTS {
            assert_request(&view, text, status, cities);
        }
        assert_eq!(session.unfinished().unwrap(), []);
        assert!(view.compact_from.is_some(), "more than 8 messages, and no compaction");
        let messages = session.provider_messages().await.unwrap();
        accept(&messages).unwrap();
        let verified = store.verify().await.unwrap();
        assert!(verified.is_sound(), "{:?}", verified.problems);
        store.close().await.unwrap();
        view.head().get()
    })
}

fn assert_request(view: &AgentView, text: &str, status: TurnStatus, cities: &[&str]) {
    let said = |message: &Message| message.inline_text().unwrap_or_default();
    let asked: Vec<_> =
        view.messages.iter().filter(|message| message.role == Role::User && said(message) == text).collect();
    assert_eq!(asked.len(), 1, "{text} was appended once");
    let turns: Vec<_> = view.turns.iter().filter(|turn| turn.user_message == Some(asked[0].id)).collect();
    let (last, before) = turns.split_last().expect("a turn of each request");
    assert_eq!(last.status, status, "{text}");
    assert!(before.iter().all(|turn| turn.status == TurnStatus::Interrupted), "{text}: {before:?}");

    let wanted = format!("That was {text:?}; {} tools have answered.", cities.len());
    let answers: Vec<_> = view.messages.iter().filter(|message| said(message) == wanted).collect();
    assert_eq!(answers.len(), usize::from(status == TurnStatus::Final), "{text} was answered once");
    assert!(answers.iter().all(|answer| answer.turn == Some(last.id)));

    // What a tool has answered is asked of no tool again.
    for city in cities {
        let is_real = |result: &&ToolResult| result.call_id == *city && result.is_error != Some(true);
        let parts = view.messages.iter().flat_map(|message| &message.parts);
        let real = parts.filter_map(Part::as_tool_result).filter(is_real).count();
        assert_eq!(real, 1, "results of the tool for {city}");
    }
    let calls = view.messages.iter().filter(|message| turns.iter().any(|turn| message.turn == Some(turn.id)));
    let calls = calls.flat_map(|message| &message.parts).filter(|part| matches!(part.body, PartBody::ToolCall(_)));
    assert!(calls.count() >= cities.len());
}
