//! Goal: the examples that the guide explains do what it says. Method: the compiled programs, and an HTTP client of a few lines.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::common::child::{Child, run};

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

#[test]
fn a_client_of_server_sent_events_goes_on_from_the_last_one_that_it_has() {
    let directory = tempfile::tempdir().unwrap();
    let server = Child::example("sse_server", &["0", directory.path().to_str().unwrap()]);
    let address = server.next().unwrap().strip_prefix("listening on ").unwrap().to_owned();
    let follow = |last: &str| {
        let head = format!("GET /sessions/s/events HTTP/1.1\r\nHost: test\r\nLast-Event-ID: {last}\r\n\r\n");
        BufReader::new(ask(&address, &head)).lines().map(Result::unwrap)
    };
    let post = |key: &str, text: &str| {
        let head =
            format!("POST /sessions/s/messages HTTP/1.1\r\nHost: test\r\nConnection: close\r\nIdempotency-Key: {key}");
        let mut answer = String::new();
        let request = format!("{head}\r\nContent-Length: {}\r\n\r\n{text}", text.len());
        ask(&address, &request).read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer.split_once("\r\n\r\n").unwrap().1.trim().to_owned()
    };
    let mut live = follow("0");
    assert!(live.next().unwrap().contains("200"));
    assert_eq!(post("k1", "first"), "1");
    assert_eq!(post("k1", "first"), "1", "a retry is no second message");
    assert_eq!(post("k2", "second"), "2");
    let ids = |lines: &mut dyn Iterator<Item = String>, count| -> Vec<String> {
        lines.filter(|line| line.starts_with("id: ")).take(count).collect()
    };
    let first = live.find_map(|line| Some(line.strip_prefix("data: ")?.to_owned())).unwrap();
    let first: serde_json::Value = serde_json::from_str(&first).unwrap();
    assert_eq!(first["event"]["type"], "message_appended");
    assert_eq!(first["event"]["body"]["message_appended"]["parts"][0]["body"]["text"], "first");
    let mut live = follow("0");
    let seen = ids(&mut live, 2);
    assert!(seen[0].starts_with("id: 1-") && seen[1].starts_with("id: 2-"), "{seen:?}");
    assert_eq!(ids(&mut follow(&seen[0][4..]), 1), seen[1..], "after a lost connection");
    let refused = follow("7").next().unwrap();
    assert!(refused.contains("416"), "an id that the log has not reached: {refused}");
    let refused = follow("1-0000000000000000").next().unwrap();
    assert!(refused.contains("410"), "an event of another history: {refused}");
    server.kill();
}

fn ask(address: &str, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    stream
}
