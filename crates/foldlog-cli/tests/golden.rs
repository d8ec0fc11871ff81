//! Goal: what each command says, to people and to programs, is what docs/command.md documents, and stays. Method:
//! golden files, over directories of older formats and over sessions with everything in them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod common;

use common::{assert_golden, data, run, sessions, without_chains};
use foldlog::agent::{Message, TurnBegun};
use foldlog::{AppendKey, Store, StoreConfig};

/// The directories that commands are run on, and the names of their golden files' folders.
fn directories() -> Vec<(&'static str, tempfile::TempDir)> {
    let made = |make: fn(&std::path::Path)| {
        let directory = tempfile::tempdir().unwrap();
        make(directory.path());
        directory
    };
    vec![
        ("format_1", data("format-1/closed")),
        ("format_2", data("format-2/closed")),
        ("everything", made(sessions::everything)),
        ("other_model", made(sessions::of_another_model)),
    ]
}

fn name_of(directory: &str) -> &'static str {
    match directory {
        "everything" => "support-4711",
        "other_model" => "tally",
        "format_2" => "shared",
        _ => "plain",
    }
}

#[test]
fn sessions_are_listed() {
    for (name, directory) in directories() {
        let directory = directory.path();
        assert_golden(&format!("{name}/ls.txt"), directory, &run(directory, &["ls"]).ok());
        assert_golden(&format!("{name}/ls.json"), directory, &run(directory, &["ls", "--json"]).ok());
    }
}

#[test]
fn a_session_is_shown() {
    for (name, directory) in directories() {
        let (directory, session) = (directory.path(), name_of(name));
        assert_golden(&format!("{name}/show.txt"), directory, &run(directory, &["show", session]).ok());
        assert_golden(&format!("{name}/show.json"), directory, &run(directory, &["show", session, "--json"]).ok());
    }
    let (_, directory) = directories().remove(2);
    let directory = directory.path();
    assert_golden("everything/show_full.txt", directory, &run(directory, &["show", "support-4711", "--full"]).ok());
    let raw = run(directory, &["show", "support-4711", "--raw"]).ok();
    let one_line = run(directory, &["show", "support-4711", "--json"]).ok();
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(value(&raw), value(&one_line));
}

#[test]
fn the_events_of_a_session_are_listed() {
    for (name, directory) in directories() {
        let (directory, session) = (directory.path(), name_of(name));
        assert_golden(&format!("{name}/log.txt"), directory, &run(directory, &["log", session]).ok());
        assert_golden(&format!("{name}/log.json"), directory, &run(directory, &["log", session, "--json"]).ok());
    }
}

#[test]
fn a_part_of_the_events_is_listed() {
    let directory = tempfile::tempdir().unwrap();
    sessions::everything(directory.path());
    let ids = |more: &[&str]| {
        let listed = run(directory.path(), &[&["log", "support-4711"], more].concat()).ok();
        let ids = listed.lines().map(|line| line.split_whitespace().next().unwrap().parse().unwrap());
        ids.collect::<Vec<u64>>()
    };
    let all = ids(&[]);
    assert_eq!(all, (1..=all.len() as u64).collect::<Vec<_>>());
    assert_eq!(ids(&["--since", "15"]), all[15..]);
    assert_eq!(ids(&["-n", "3"]), all[all.len() - 3..]);
    assert_eq!(ids(&["-n", "1000"]), all);
    assert_eq!(ids(&["--type", "turn_started,turn_put"]), [4, 11, 13, 18]);
    assert_eq!(ids(&["--type", "turn_started", "--type", "custom", "--since", "4"]), [13, 16]);
    assert_eq!(ids(&["--since", "2023-11-14T22:13:25Z"]), all[11..]);
    assert_eq!(ids(&["--since", "2023-11-14T23:13:25+01:00"]), all[11..]);
    // All events are years old.
    assert_eq!(ids(&["--since", "1d"]), [0; 0]);
    // A position goes on from where it was told.
    let told = run(directory.path(), &["log", "support-4711", "-n", "2", "--json"]).ok();
    let position = told.lines().next().unwrap().split("\"position\":\"").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(ids(&["--since", position]), all[all.len() - 1..]);
}

#[test]
fn a_list_of_sessions_is_cut_into_pages() {
    let directory = data("format-2/closed");
    let ids = |more: &[&str]| {
        let listed = run(directory.path(), &[&["ls"], more].concat()).ok();
        listed.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let all = ids(&[]);
    assert!(all.len() > 2, "{all:?}");
    assert_eq!(ids(&["-n", "1"]), all[..1]);
    assert_eq!(ids(&["--after", &all[0], "--max", "1"]), all[1..2]);
    assert_eq!(ids(&["--after", all.last().unwrap()]), [""; 0]);
}

#[test]
fn a_blob_is_written_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    sessions::everything(directory.path());
    let directory = directory.path();
    let shown = run(directory, &["show", "support-4711"]).ok();
    let digest = |before: &str| shown.split(before).nth(1).unwrap()[..64].to_owned();
    let (text, image) = (digest("foldlog cat "), digest("[image/png, 6 B, blob "));
    let expected: String = (1..=40).map(|n| format!("order {n}: delivered\n")).collect();
    assert_eq!(run(directory, &["cat", &text]).ok(), expected);
    let written = common::command(directory, &["cat", &image]).output().unwrap();
    assert_eq!(written.stdout, [0x89, b'P', b'N', b'G', 0, 255]);
    assert_golden("everything/cat_text.json", directory, &run(directory, &["cat", &text, "--json"]).ok());
    assert_golden("everything/cat_bytes.json", directory, &run(directory, &["cat", &image, "--json"]).ok());
}

#[test]
fn a_verification_tells_what_is_damaged() {
    let directory = tempfile::tempdir().unwrap();
    sessions::everything(directory.path());
    let directory = directory.path();
    assert_golden("everything/verify.txt", directory, &run(directory, &["verify"]).ok());
    assert_golden("everything/verify.json", directory, &run(directory, &["verify", "--json"]).ok());
    // The blob with the most bytes is the text.
    let blobs = common::files(&directory.join("blobs"));
    let (path, bytes) = blobs.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    std::fs::write(path, &bytes[1..]).unwrap();
    for (arguments, golden) in [(&["verify"][..], "damaged.txt"), (&["verify", "--json"][..], "damaged.json")] {
        let found = run(directory, arguments);
        assert_eq!((found.status.code(), found.stderr.as_str()), (Some(1), ""));
        assert_golden(&format!("everything/verify_{golden}"), directory, &found.stdout);
    }
    // The rest can be read, and the damage is named where it is met.
    let shown = run(directory, &["show", "support-4711"]).ok();
    assert!(shown.contains("It comes on Friday.") && shown.contains("is damaged"), "{shown}");
    let digest = path.file_name().unwrap().to_str().unwrap();
    assert!(run(directory, &["cat", digest]).failed(5).contains("is damaged"));
}

#[test]
fn help_is_that_of_the_documentation() {
    let nowhere = std::path::Path::new("/nowhere");
    assert_golden("help.txt", nowhere, &run(nowhere, &["--help"]).ok());
}

/// Without what differs from run to run, and from build to build: chains, times, sizes of files.
fn comparable(text: &str) -> String {
    let text = without_times(&without_chains(text));
    text.split("\nevents.db\t").next().unwrap().to_owned()
}

#[test]
fn the_documentation_shows_what_the_command_says() {
    let directory = tempfile::tempdir().unwrap();
    sessions::everything(directory.path());
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/command.md");
    let documentation = std::fs::read_to_string(&path).unwrap();
    let mut shown = 0;
    let mut blessed = String::new();
    for (number, block) in documentation.split("```").enumerate() {
        let is_block = number % 2 == 1;
        let Some(example) = block.strip_prefix("text\n$ foldlog ").filter(|_| is_block) else {
            blessed.push_str(&if number == 0 { block.to_owned() } else { format!("```{block}") });
            continue;
        };
        shown += 1;
        let (line, expected) = example.split_once('\n').unwrap();
        let arguments: Vec<_> = line.split(' ').collect();
        let found = run(directory.path(), &arguments).stdout;
        if std::env::var_os("FOLDLOG_BLESS").is_some() {
            blessed.push_str(&format!("```text\n$ foldlog {line}\n{found}"));
        } else {
            assert_eq!(comparable(expected), comparable(&found), "foldlog {line}");
        }
    }
    assert!(shown >= 5, "the examples are found");
    if std::env::var_os("FOLDLOG_BLESS").is_some() {
        std::fs::write(path, blessed).unwrap();
    }
}

#[test]
fn every_member_of_json_is_documented() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let documentation = std::fs::read_to_string(root.join("../../docs/command.md")).unwrap();
    let mut members = std::collections::BTreeSet::new();
    for (path, bytes) in common::files(&root.join("tests/golden")) {
        if path.extension().is_some_and(|extension| extension == "json") {
            for line in String::from_utf8(bytes).unwrap().lines() {
                let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
                assert_eq!(object["v"], 1, "{line}");
                members.extend(object.into_iter().map(|(member, _)| member));
            }
        }
    }
    assert!(members.len() > 30, "{members:?}");
    for member in members {
        assert!(documentation.contains(&format!("`{member}`")), "docs/command.md says nothing of `{member}`");
    }
}

#[test]
fn what_was_said_is_found() {
    let directory = tempfile::tempdir().unwrap();
    sessions::everything(directory.path());
    let directory = directory.path();
    for (arguments, golden) in [
        (&["grep", "order"][..], "grep.txt"),
        (&["grep", "order 2[0-9]", "--json"], "grep.json"),
        (&["grep", "-i", "ORDER", "--no-blobs"], "grep_no_blobs.txt"),
    ] {
        assert_golden(&format!("everything/{golden}"), directory, &run(directory, arguments).ok());
    }
    let ids = |arguments: &[&str]| {
        let found = run(directory, &[&["grep"], arguments].concat()).ok();
        let id = |line: &str| line.split(':').nth(1).unwrap().split(' ').next().unwrap().parse::<u64>().unwrap();
        found.lines().map(id).collect::<Vec<_>>()
    };
    assert_eq!(ids(&["-F", "orders[1]"]), [15]);
    assert_eq!(ids(&["Friday", "--type", "turn_put"]), [11]);
    assert_eq!(ids(&["Friday", "-m", "1"]), [3]);
    assert_eq!(ids(&["support", "--session", "support-4711"]), [1]);
    assert_eq!(ids(&["priority"]), [19]);
    run(directory, &["grep", "nobody said this"]).failed(1);
    run(directory, &["grep", "x", "--session", "absent"]).failed(4);
    assert!(run(directory, &["grep", "orders["]).failed(2).contains("-F"));
}

#[test]
fn what_there_is_is_counted() {
    for (name, directory) in directories() {
        // Files that this build makes may have other sizes than those of the next one.
        if name.starts_with("format") {
            let directory = directory.path();
            assert_golden(&format!("{name}/stats.txt"), directory, &run(directory, &["stats"]).ok());
            assert_golden(&format!("{name}/stats.json"), directory, &run(directory, &["stats", "--json"]).ok());
        }
    }
}

/// How long something took, in the place of which a word stands.
fn without_times(text: &str) -> String {
    let json = regex::Regex::new("\"elapsed_micros\":[0-9]+").unwrap();
    let words = regex::Regex::new("in [0-9.]+ (us|ms|s)\\b").unwrap();
    let text = json.replace_all(text, "\"elapsed_micros\":0");
    words.replace_all(&text, "in N ms").into_owned()
}

#[test]
fn a_build_is_tried_on_what_others_wrote() {
    // How a stored view compares depends on the build that stored it: here none is stored.
    let directory = tempfile::tempdir().unwrap();
    sessions::everything(directory.path());
    let directory = directory.path();
    let said = without_times(&run(directory, &["preflight"]).ok());
    // Which session is slowest differs from run to run.
    let said: String =
        said.lines().filter(|line| !line.starts_with("slowest: ")).map(|line| format!("{line}\n")).collect();
    assert_golden("everything/preflight.txt", directory, &said);
    let told = without_times(&run(directory, &["preflight", "--json"]).ok());
    let (sessions, whole) = told.trim_end().rsplit_once('\n').unwrap();
    assert_golden("everything/preflight.json", directory, &format!("{sessions}\n"));
    let whole: serde_json::Value = serde_json::from_str(whole).unwrap();
    assert_eq!((&whole["clean"], &whole["findings"]), (&serde_json::json!(true), &serde_json::json!(0)));
}

/// Without what a doctor says of the machine.
fn without_the_machine(told: &str) -> String {
    let is_of_the_machine =
        |line: &&str| line.contains("\"about\":\"file system\"") || line.contains("\"about\":\"space\"");
    let told: String = told.lines().filter(|line| !is_of_the_machine(line)).map(|line| format!("{line}\n")).collect();
    let text = regex::Regex::new("\"(says|advice)\":\"[^\"]*\"").unwrap();
    let notes = regex::Regex::new("\"notes\":[0-9]+").unwrap();
    let told = text.replace_all(&told, "\"$1\":\"a text\"");
    notes.replace_all(&told, "\"notes\":0").into_owned()
}

#[test]
fn what_is_changed_is_told_to_programs() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    sessions::everything(directory);
    let mut written = sessions::Written::begin(directory, "other");
    written.put("nobody names this");
    written.after(1, foldlog::agent::AgentBody::MessageAppended(foldlog::agent::Message::user("my key is 12345")));
    written.end();
    let to = tempfile::tempdir().unwrap();
    let (backup, restored) = (to.path().join("backup"), to.path().join("restored"));
    let (backup, restored) = (backup.to_str().unwrap(), restored.to_str().unwrap());
    let time = regex::Regex::new("\"last\":\"[^\"]*\"").unwrap();
    for (golden, arguments) in [
        ("doctor", &["doctor"][..]),
        ("rm_dry", &["rm", "other", "--dry-run"]),
        ("retain_dry", &["retain", "--sessions-max", "0", "--dry-run"]),
        ("sweep_dry", &["sweep", "--grace", "0s", "--dry-run"]),
        ("redact_dry", &["redact", "other", "1", "--reason", "a key", "--dry-run"]),
        ("redact", &["redact", "other", "1", "--reason", "a key", "--yes"]),
        ("sweep", &["sweep", "--grace", "0s", "--yes"]),
        ("backup", &["backup", backup]),
        ("restore", &["restore", backup, restored]),
        ("rm", &["rm", "other", "--yes"]),
        ("describe", &["describe", "support-4711", "--title", "Found", "--label", "seen=yes"]),
        ("retain", &["retain", "--sessions-max", "0", "--unfinished", "--yes"]),
    ] {
        let told = run(directory, &[arguments, &["--json"]].concat()).ok();
        let told = if golden == "doctor" { without_the_machine(&told) } else { told };
        let told =
            if golden.starts_with("retain") { time.replace_all(&told, "\"last\":\"TIME\"").into_owned() } else { told };
        assert_golden(&format!("changes/{golden}.json"), directory, &told);
    }
}

#[test]
fn what_was_sent_while_another_turn_ran_stands_in_its_own() {
    let directory = tempfile::tempdir().unwrap();
    futures::executor::block_on(async {
        let store = Store::open(StoreConfig::directory(directory.path())).await.unwrap();
        let session = store.open_session("s").await.unwrap();
        let mut turn = session.begin_turn(Message::user("question 1")).await.unwrap();
        for n in ["question 2", "question 3"] {
            let begun = session.begin_turn_once(Message::user(n), AppendKey::new(n).unwrap()).await.unwrap();
            assert!(matches!(begun, TurnBegun::Queued(_)));
        }
        turn.begin_step().await.unwrap();
        turn.say(Message::assistant("let me see")).await.unwrap();
        drop(turn);
        // The request is begun again.
        session.interrupt("the host was restarted").await.unwrap();
        for answer in ["answer 1", "answer 2"] {
            let mut turn = session.begin_next_turn().await.unwrap().unwrap();
            turn.begin_step().await.unwrap();
            turn.answer(Message::assistant(answer)).await.unwrap();
        }
        store.close().await.unwrap();
    });
    let shown = run(directory.path(), &["show", "s"]).ok();
    let expected = [
        "turn 1",
        "question 1",
        "let me see",
        "turn 2",
        "for the message of turn 1",
        "answer 1",
        "turn 3",
        "question 2",
        "answer 2",
        "waiting for a turn",
        "question 3",
    ];
    let mut rest = &shown[..];
    for text in expected {
        let at = rest.find(text).unwrap_or_else(|| panic!("no {text:?} where it is expected:\n{shown}"));
        rest = &rest[at + text.len()..];
    }
    for text in expected.iter().filter(|text| !text.starts_with("turn") && !text.starts_with("for")) {
        assert_eq!(shown.matches(text).count(), 1, "{text}:\n{shown}");
    }
}
