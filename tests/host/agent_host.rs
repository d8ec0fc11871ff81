//! Goal: the agent host keeps what it has told, through restarts of the actor, of the program, and SIGKILL. Method: the
//! compiled example runs as a child process, and its directory is read with a store of our own. `FOLDLOG_KILLS=100`
//! kills it so often, `FOLDLOG_SEED` repeats the choices.

use std::path::Path;
use std::time::{Duration, Instant};

use foldlog::agent::{StepStatus, TurnStatus};
use foldlog::{Store, StoreConfig, StoredState};

use crate::common::child::{Child, Ended, run};
use crate::common::{number_of, seeded_dice};

/// How often the host is killed. tests/kills/ kills a process that uses the store in every way, and for longer.
const KILLS: u64 = 25;

struct Host {
    dir: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn store(&self) -> String {
        self.dir.path().join("store").to_string_lossy().into_owned()
    }

    fn script(&self, lines: &str) -> String {
        let path = self.dir.path().join("script.rhai");
        std::fs::write(&path, lines).unwrap();
        path.to_string_lossy().into_owned()
    }

    /// Runs a script to its end, which must be a good one.
    fn run(&self, lines: &str) -> Ended {
        let ended = run("agent_host", &["--dir", &self.store(), "--script", &self.script(lines)]);
        assert!(ended.status.success(), "{ended:?}");
        ended
    }

    fn start(&self) -> Child {
        Child::example("agent_host", &["--dir", &self.store()])
    }

    async fn open(&self) -> Store {
        Store::open(StoreConfig::directory(self.store())).await.unwrap()
    }

    async fn state(&self) -> StoredState<foldlog::agent::Agent> {
        let store = self.open().await;
        let state = store.read_state("default").await.unwrap();
        store.close().await.unwrap();
        state
    }
}

#[test]
fn the_script_of_the_readme_prints_its_results_and_finds_its_variables_again() {
    let host = Host::new();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/session.rhai");
    for number in 1..=2 {
        let ended = run("agent_host", &["--dir", &host.store(), "--script", &script.to_string_lossy()]);
        assert!(ended.status.success(), "{ended:?}");
        let report = format!("\"{}", (0..2000).map(|n| format!("line {n} of the report; ")).collect::<String>());
        let expected = [
            "()".to_owned(),
            format!("\"this is run {number}\""),
            "()".to_owned(),
            "[0,1,1,2,3,5,8,13,21,34,55,89]".to_owned(),
            "48890".to_owned(),
            format!("{}... (48892 bytes)", &report[..100]),
            "()".to_owned(),
            "error: Function not found: no_such_function () (line 1, position 1)".to_owned(),
            "[0,2,8,34]".to_owned(),
            format!("{{\"largest\":89,\"report_bytes\":48890,\"runs\":{number}}}"),
        ];
        assert_eq!(ended.lines, expected);
        assert!(ended.stderr.contains("| what a line prints is kept with its eval"), "{}", ended.stderr);
        assert!(ended.stderr.contains("its view the same"), "{}", ended.stderr);
    }
}

#[actix::test]
async fn every_line_is_a_turn_with_its_step_and_eval_and_large_values_are_blobs() {
    let host = Host::new();
    host.run("let pad = \"\"; for n in 0..20000 { pad += \"x\"; } pad\nprint(\"hello\"); 1 / 0\n");
    let view = host.state().await.view;
    assert_eq!((view.turns.len(), view.steps.len(), view.evals.len(), view.messages.len()), (2, 2, 2, 4));
    assert!(view.vars.as_ref().unwrap().as_blob().is_some(), "the variables are larger than the inline limit");
    let turns: Vec<_> = view.turns.iter().collect();
    assert_eq!((turns[0].status, turns[1].status), (TurnStatus::Final, TurnStatus::Error));
    assert_eq!(turns[0].final_value.as_ref().unwrap().as_blob().unwrap().bytes, 20_002);
    assert!(turns.iter().all(|turn| turn.started.is_some() && turn.ended >= turn.started));
    let steps: Vec<_> = view.steps.iter().map(|step| step.status).collect();
    assert_eq!(steps, [StepStatus::Done, StepStatus::Error]);
    let eval = &view.evals[1];
    assert_eq!(eval.stdout.as_ref().unwrap().as_inline(), Some("hello\n"));
    assert!(eval.error.as_ref().unwrap().message.as_inline().unwrap().contains("Division by zero"));
    assert_eq!(turns[0].user_message, Some(view.messages[0].id));
    assert_eq!(view.messages[1].turn, Some(turns[0].id));
    assert_eq!(turns[1].user_message, Some(view.messages[2].id));
}

#[test]
fn variables_and_functions_live_through_a_restart_of_the_actor_and_of_the_program() {
    let host = Host::new();
    let first = host.run("fn twice(n) { n * 2 }\nlet x = 21;\n:restart\ntwice(x)\n:compact\n:restart\ntwice(x) + 1");
    assert_eq!(first.lines, ["()", "()", "42", "43"]);
    assert_eq!(first.stderr.matches("the actor is back").count(), 2, "{}", first.stderr);
    assert_eq!(host.run("x\ntwice(x)").lines, ["21", "42"]);
}

#[test]
fn the_stats_of_the_store_are_shown_when_asked_for() {
    let host = Host::new();
    let large = "let pad = \"\"; for n in 0..20000 { pad += \"x\"; } pad";
    let ended = host.run(&format!(":stats\n{large}\npad\n:restart\n:stats"));
    let shown: Vec<_> = ended.stderr.lines().collect();
    // The session's first event, and for each of the two turns four appends of eight events.
    for (line, times) in [
        ("appends: 1 acknowledged, 1 events; 0 refused as busy", 1),
        ("appends: 9 acknowledged, 17 events; 0 refused as busy", 1),
        ("groups: 9 committed, 0 failed", 1),
        ("waits for another process: 0, 0ns in all", 2),
        ("sessions: 1 open; 0 recoveries, 0 failed", 1),
        ("sessions: 1 open; 1 recoveries, 0 failed", 1),
        // Result and variables of both turns: two values of 20,002 and 20,010 bytes, put twice each.
        ("blobs: 4 puts, 2 of them there already, which saved 40012 bytes", 1),
        ("gaps of subscribers: 0, of 0 events and 0 transients", 2),
    ] {
        assert_eq!(shown.iter().filter(|shown| **shown == line).count(), times, "{line}: {}", ended.stderr);
    }
    assert!(!ended.lines.iter().any(|line| line.contains("appends")), "stdout has results only: {ended:?}");
}

#[test]
fn values_come_back_as_they_were() {
    let host = Host::new();
    let values = [
        "31.245270191439438",
        "0.30000000000000004",
        "1.0",
        "9223372036854775807",
        "[1,-2,[],{\"a\":null,\"é\":true}]",
        "\"a\\\"\\\\\\n\\té😀\"",
    ];
    let mut script = String::new();
    for (place, value) in values.iter().enumerate() {
        let literal = value.replace("{\"a\":null", "#{\"a\":()");
        script.push_str(&format!("let v{place} = {literal}; v{place}\n"));
    }
    assert_eq!(host.run(&script).lines, values);
    let again: String = (0..values.len()).map(|place| format!("v{place}\n")).collect();
    assert_eq!(host.run(&again).lines, values);
}

#[test]
fn a_line_that_fails_or_hangs_is_an_error_line_and_changes_nothing() {
    let host = Host::new();
    let script = "let a = [1];\na.push(2); nope()\na\nloop {}\nsleep(100000)\nimport \"x\" as x;\nlet b = (\n:nonsense\n\n// no line\na";
    let ended = host.run(script);
    let errors: Vec<_> = ended.lines.iter().map(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors, [false, true, false, true, true, true, true, false], "{ended:?}");
    assert_eq!((ended.lines[2].as_str(), ended.lines[7].as_str()), ("[1]", "[1]"));
    assert!(ended.stderr.contains(":nonsense is none of"), "{}", ended.stderr);
}

#[test]
fn a_bad_argument_or_a_store_error_ends_with_its_text_and_without_success() {
    let host = Host::new();
    let file = host.script("1");
    let store = host.store();
    for (arguments, text) in [
        (vec!["--nonsense"], "unknown argument --nonsense"),
        (vec!["--dir"], "--dir wants a value"),
        (vec!["--dir", &store, "--script", "/no/such/file"], "/no/such/file"),
        (vec!["--dir", &store, "--session", "", "--script", &file], "session id is not valid"),
        (vec!["--dir", &file, "--script", &file], "script.rhai"),
    ] {
        let ended = run("agent_host", &arguments);
        assert!(!ended.status.success(), "{arguments:?}: {ended:?}");
        assert!(ended.stderr.contains(text), "{arguments:?}: {ended:?}");
        assert_eq!(ended.lines, Vec::<String>::new());
    }
}

#[test]
fn a_second_host_of_the_same_session_is_refused_and_the_first_goes_on() {
    let host = Host::new();
    let mut first = host.start();
    first.say("let mine = 1; mine");
    first.expect("1");
    let second = run("agent_host", &["--dir", &host.store(), "--script", &host.script("2")]);
    assert!(!second.status.success(), "{second:?}");
    assert!(second.stderr.contains("is written by"), "{second:?}");
    first.say("mine + 1");
    first.expect("2");
    assert!(first.end().status.success());
    assert_eq!(host.run("mine").lines, ["1"]);
}

#[actix::test]
async fn a_turn_that_was_killed_midway_is_ended_by_the_next_host() {
    let host = Host::new();
    let mut first = host.start();
    first.say("let x = 1; x");
    first.expect("1");
    first.say("x = 2; loop {}");
    let reader = host.open().await;
    let deadline = Instant::now() + Duration::from_secs(30);
    while reader.read_state("default").await.unwrap().report.unfinished.len() < 2 {
        assert!(Instant::now() < deadline, "the turn never began");
    }
    let killed = first.kill();
    assert_eq!(killed.lines, Vec::<String>::new(), "the turn was not to end before the kill");
    reader.close().await.unwrap();

    let second = host.run("x");
    assert_eq!(second.lines, ["1"]);
    assert!(second.stderr.contains("turn 2 was left running"), "{}", second.stderr);
    assert!(second.stderr.contains("step 2 was left running"), "{}", second.stderr);
    let state = host.state().await;
    assert_eq!(state.report.unfinished, []);
    let turns: Vec<_> = state.view.turns.iter().map(|turn| turn.status).collect();
    assert_eq!(turns, [TurnStatus::Final, TurnStatus::Interrupted, TurnStatus::Final]);
    let ended = state.view.turns.iter().nth(1).unwrap();
    assert_eq!(ended.error.as_ref().unwrap().kind, "interrupted");
}

#[actix::test]
async fn i1_sigkills_at_random_moments_lose_no_turn_that_was_told_and_run_none_twice() {
    let mut dice = seeded_dice();
    let host = Host::new();
    // The variables are larger than the inline limit: each turn stores a blob before it refers to it.
    let mut lines = "if !is_def_var(\"n\") { 0 } else { n }\n".to_owned();
    lines.push_str("let n = if is_def_var(\"n\") { n } else { 0 }; let pad = \"\"; pad.pad(17000, 'x'); n\n");
    lines.push_str(&"n += 1; n\n".repeat(1000));
    let script = host.script(&lines);

    let (mut told, mut turns_told, mut silent) = (0, 0, 0);
    for kill in 0..number_of("FOLDLOG_KILLS").unwrap_or(KILLS) {
        let host = Child::example("agent_host", &["--dir", &host.store(), "--script", &script]);
        let wanted = dice.below(10);
        let mut heard: Vec<_> = (0..wanted).map(|_| host.next().expect("it ends only when it is killed")).collect();
        // The moment is random, so there is nothing to wait for. A host that has told nothing may be opening or
        // recovering.
        std::thread::sleep(Duration::from_micros(dice.below(if wanted == 0 { 60_000 } else { 4_000 })));
        let ended = host.kill();
        assert!(ended.status.code().is_none(), "kill {kill}: the host ended by itself: {ended:?}");
        heard.extend(ended.lines);

        let numbers: Vec<u64> = heard.iter().map(|line| line.parse().unwrap()).collect();
        if let Some(found) = numbers.first() {
            assert!((told..=told + 1).contains(found), "kill {kill}: {told} was told, {found} was found");
            let counted = numbers.iter().enumerate().map(|(place, _)| found + (place as u64).saturating_sub(1));
            assert_eq!(numbers, counted.collect::<Vec<_>>(), "kill {kill}");
        }
        silent += u64::from(numbers.is_empty());
        told = numbers.last().copied().unwrap_or(told);
        turns_told += numbers.len();
    }
    println!("{told} counted in {turns_told} turns; {silent} hosts were killed before they told anything");

    let last = host.run("n");
    let found: u64 = last.lines[0].parse().unwrap();
    assert!((told..=told + 1).contains(&found), "{told} was told, {found} was found");
    let store = host.open().await;
    let state = store.read_state("default").await.unwrap();
    assert_eq!(state.report.unfinished, []);
    let verified = store.verify().await.unwrap();
    assert!(verified.is_sound(), "{:?}", verified.problems);
    // Every number was counted once, in order: no turn was lost, none ran twice.
    let mut counted = Vec::new();
    for eval in &state.view.evals {
        if store.read_content(eval.code.as_ref().unwrap()).await.unwrap() == "n += 1; n" {
            let result = store.read_content(eval.result.as_ref().unwrap()).await.unwrap();
            counted.push(result.parse::<u64>().unwrap());
        }
    }
    assert_eq!(counted, (1..=found).collect::<Vec<_>>());
    let finals = state.view.turns.iter().filter(|turn| turn.status == TurnStatus::Final).count();
    assert!(finals >= turns_told, "{turns_told} turns were told, {finals} are there");
    store.close().await.unwrap();
}
