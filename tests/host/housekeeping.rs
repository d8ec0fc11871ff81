//! Goal: the example that deletes, redacts, retains, sweeps, backs up and restores does so on recorded runs, and leaves
//! a planted key nowhere. Method: the compiled example, on a made-up run, which itself looks at each byte.

use serde_json::json;

#[test]
fn a_store_is_kept_in_order_and_a_planted_key_is_in_no_byte_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let run = json!({"history": [
        {"role": "user", "content": "fix it", "agent": "main"},
        {"role": "assistant", "content": "done ".repeat(2_000), "thought": "", "action": "submit", "agent": "main"},
    ]});
    let file = dir.path().join("recorded.traj.json");
    std::fs::write(&file, run.to_string()).unwrap();
    let store = dir.path().join("store");
    let arguments = ["--dir", &store.to_string_lossy(), &file.to_string_lossy()];
    let ended = crate::common::child::run("housekeeping", &arguments);
    assert!(ended.status.success(), "{ended:?}");
    let said = |text: &str| assert!(ended.lines.iter().any(|line| line.contains(text)), "{text}: {ended:?}");
    said("played and described: 10 sessions, ");
    said("planted a key, redacted it and swept: 11 sessions, ");
    said("deleted a session: 10 sessions, ");
    said("recorded: stays: 1 things in it are unfinished");
    said("kept the newest and swept: 6 sessions, ");
    said("first backup: 6 sessions, ");
    said("second backup: 6 sessions, 0 new events");
    said("restored a backup: 6 sessions, ");
}
