//! Goal: the examples that the guide explains do what it says. Method: the compiled programs.

use crate::common::child::run;

#[test]
fn a_turn_that_died_between_a_tool_call_and_its_result_is_repaired_and_runs_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let first = run("tool_repair", &[path]);
    assert!(!first.status.success(), "it ends itself: {first:?}");
    let second = run("tool_repair", &[path]);
    assert!(second.status.success(), "{second:?}");
    let said = second.lines.join("\n");
    for wanted in ["turn 1 was left open", "step 1 was left open", "tool_call call_1 was left open", "turn 2 has ended"]
    {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    // For a provider each call has its result, and the text of what it answered is there.
    let messages: serde_json::Value = serde_json::from_str(&said[said.find("\n[").unwrap()..]).unwrap();
    let texts: Vec<_> = messages.as_array().unwrap().iter().map(|message| &message["tool_call_id"]).collect();
    assert_eq!(texts.iter().filter(|id| id.is_string()).count(), 2, "{messages}");
    assert_eq!(messages[2]["tool_call_id"], messages[1]["tool_calls"][0]["id"]);
    let third = run("tool_repair", &[path]);
    assert!(!third.status.success(), "nothing was left, so it runs a turn and ends itself again: {third:?}");
}
