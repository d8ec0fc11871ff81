//! Goal: clients of the server with server-sent events lose nothing, whatever happens to their connections or to the
//! server. Method: the compiled example, and an HTTP client of a few lines on the loopback.

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use foldlog::agent::TurnStatus;
use foldlog::{Store, StoreConfig};
use futures::executor::block_on;
use serde_json::{Value, json};

use crate::common::child::Child;
use crate::common::files_below;

struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start(directory: &Path) -> Self {
        let process = Child::example("sse_server", &["0", directory.to_str().unwrap()]);
        let address = process.next().unwrap().strip_prefix("listening on ").unwrap().to_owned();
        Self { process, address }
    }

    /// Posts a message to session `s`, and gives the head of the answer, and its body.
    fn post(&self, key: &str, text: &str) -> (String, String) {
        let head =
            format!("POST /sessions/s/messages HTTP/1.1\r\nIdempotency-Key: {key}\r\nContent-Length: {}", text.len());
        self.ask(&format!("{head}\r\nHost: test\r\nConnection: close\r\n\r\n{text}"))
    }

    fn get(&self, path: &str) -> (String, String) {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"))
    }

    fn ask(&self, request: &str) -> (String, String) {
        let mut answer = String::new();
        self.connect(request).read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    fn connect(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    /// Follows session `s` behind an event, as a browser does when it connects again.
    fn follow(&self, last: &str) -> Follower {
        let request = format!("GET /sessions/s/events HTTP/1.1\r\nHost: test\r\nLast-Event-ID: {last}\r\n\r\n");
        let mut lines = BufReader::new(self.connect(&request)).lines();
        let status = lines.next().unwrap().unwrap();
        Follower { status, lines, last: last.to_owned() }
    }
}

/// A client of server-sent events.
struct Follower {
    status: String,
    lines: Lines<BufReader<TcpStream>>,
    /// The id of the last event that it has.
    last: String,
}

impl Follower {
    /// What the server sends next. `None` when the connection has ended.
    fn next(&mut self) -> Option<Value> {
        loop {
            let line = self.lines.next()?.ok()?;
            if let Some(id) = line.strip_prefix("id: ") {
                self.last = id.to_owned();
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return Some(serde_json::from_str(data).unwrap());
            }
        }
    }

    /// Takes words of an answer until there are so many.
    fn words(&mut self, count: usize) -> String {
        let words = std::iter::from_fn(|| self.next()).filter_map(|item| Some(word(&item)?.to_owned()));
        words.take(count).collect()
    }

    /// Takes events, without the words between them, up to the end of a turn with this status.
    fn events_until_turn(&mut self, status: &str) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            let item = self.next().unwrap_or_else(|| panic!("the turn has not ended as {status}: {events:#?}"));
            if item["event"].is_object() {
                events.push(item["event"].clone());
            }
            if item["event"]["body"]["turn_put"]["status"] == status {
                return events;
            }
        }
    }
}

fn word(item: &Value) -> Option<&str> {
    item["transient"]["token_delta"]["text"].as_str()
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

/// How often a whole answer to a text is among events.
fn answers(events: &[Value], text: &str) -> usize {
    let wanted = format!("You said: {text}");
    let said = events.iter().map(|event| &event["body"]["message_appended"]["parts"][0]["body"]["text"]);
    said.filter(|said| **said == *wanted).count()
}

/// A text whose answer takes many times longer than what a test does meanwhile.
fn long_text(words: usize) -> String {
    (0..words).map(|word| format!("word{word} ")).collect()
}

#[test]
fn a_request_that_comes_again_gets_the_same_response_and_one_answer() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let (status, body) = server.post("k1", "hello there");
    assert!(status.starts_with("HTTP/1.1 202"), "{status}");
    assert_eq!(server.post("k1", "hello there").1, body, "while it is answered, or just behind it");
    let events = server.follow("0").events_until_turn("final");
    assert_eq!(
        types(&events),
        ["message_appended", "turn_started", "step_started", "message_appended", "step_put", "turn_put"]
    );
    assert_eq!(answers(&events, "hello there"), 1);
    assert_eq!(server.post("k1", "hello there").1, body, "when it was answered");
    assert_eq!(server.post("k2", "more").1, json!({ "message": 3 }).to_string());
    let events = server.follow("6").events_until_turn("final");
    assert_eq!((answers(&events, "more"), answers(&events, "hello there")), (1, 0));
    server.process.kill();
}

#[test]
fn a_client_that_lost_its_connection_goes_on_behind_its_last_event() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    server.post("k1", "hello");
    let whole = server.follow("0").events_until_turn("final");
    for taken in 0..whole.len() {
        let mut client = server.follow("0");
        for _ in 0..taken {
            while client.next().unwrap()["event"].is_null() {}
        }
        let rest = server.follow(&client.last).events_until_turn("final");
        assert_eq!(rest, whole[taken..], "behind {}", client.last);
    }
    server.process.kill();
}

#[test]
fn a_client_that_comes_late_gets_every_word_of_half_an_answer() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let text = long_text(1_000);
    server.post("k1", &text);
    let answer = format!("You said: {text}");
    let mut first = server.follow("0");
    let begun = first.words(5);
    assert!(answer.starts_with(&begun), "{begun}");
    let (count, last) = (20, first.last.clone());
    for mut late in [server.follow("0"), server.follow(&last)] {
        let words = late.words(count);
        assert_eq!(words.split_whitespace().count(), count);
        assert!(answer.starts_with(&words), "from the first word on, none missing and none twice: {words}");
    }
    server.process.kill();
}

#[test]
fn requests_that_come_while_another_is_answered_wait_and_are_answered_once_in_order_also_by_the_next_server() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let text = long_text(100);
    server.post("k1", &text);
    server.follow("0").words(2);
    for _ in 0..2 {
        for (key, message) in [("k2", 2), ("k3", 3)] {
            let (status, body) = server.post(key, key);
            assert!(status.starts_with("HTTP/1.1 202"), "{status}");
            assert_eq!(body, json!({ "message": message }).to_string());
        }
    }
    server.process.kill();
    let server = Server::start(directory.path());
    let mut client = server.follow("0");
    let events: Vec<_> = (0..3).flat_map(|_| client.events_until_turn("final")).collect();
    assert_eq!([&text, "k2", "k3"].map(|asked| answers(&events, asked)), [1, 1, 1]);
    assert_eq!(server.post("k2", "k2").1, json!({ "message": 2 }).to_string(), "when it was answered");
    server.process.signal("-TERM");
    assert!(server.process.end().status.success());
    let turns: Vec<_> = state(directory.path()).iter().map(|(status, message)| (*status, message.get())).collect();
    let ended = TurnStatus::Final;
    assert_eq!(turns, [(TurnStatus::Interrupted, 1), (ended, 1), (ended, 2), (ended, 3)]);
}

#[test]
fn a_server_that_starts_while_another_runs_a_turn_takes_what_that_leaves() {
    let directory = tempfile::tempdir().unwrap();
    let old = Server::start(directory.path());
    let text = long_text(200);
    old.post("k1", &text);
    old.follow("0").words(2);
    let new = Server::start(directory.path());
    let (status, refusal) = new.post("k2", "more");
    assert!(!status.starts_with("HTTP/1.1 202"), "the old server has the session: {status}");
    assert!(refusal.contains("take_over"), "it names the owner: {refusal}");
    old.process.signal("-TERM");
    assert!(old.process.end().status.success());
    assert!(new.post("k2", "more").0.starts_with("HTTP/1.1 202"));
    let mut client = new.follow("0");
    let events: Vec<_> = (0..2).flat_map(|_| client.events_until_turn("final")).collect();
    assert_eq!([&text, "more"].map(|asked| answers(&events, asked)), [1, 1]);
    new.process.signal("-TERM");
    assert!(new.process.end().status.success());
    let turns: Vec<_> = state(directory.path()).iter().map(|(status, message)| (*status, message.get())).collect();
    assert_eq!(turns, [(TurnStatus::Interrupted, 1), (TurnStatus::Final, 1), (TurnStatus::Final, 2)]);
}

#[test]
fn an_answer_that_kills_have_cut_off_is_given_once_by_the_last_server() {
    let directory = tempfile::tempdir().unwrap();
    let text = long_text(100);
    let mut server = Server::start(directory.path());
    let response = server.post("k1", &text);
    let mut client = server.follow("0");
    for kill in 1..=3 {
        assert_eq!(client.words(2), "You said: ", "server {kill} was answering");
        server.process.kill();
        assert_eq!(std::iter::from_fn(|| client.next()).filter(|item| item["event"].is_object()).count(), 0);
        server = Server::start(directory.path());
        client = server.follow(&client.last);
        let ended = client.events_until_turn("interrupted");
        assert_eq!(types(&ended), ["step_put", "turn_put"], "the client sees how the turn before has ended");
    }
    let rest = client.events_until_turn("final");
    assert_eq!(types(&rest), ["turn_started", "step_started", "message_appended", "step_put", "turn_put"]);
    assert_eq!(server.post("k1", &text).1, response.1, "the client asks again");
    let events = server.follow("0").events_until_turn("final");
    assert_eq!(answers(&events, &text), 1);
    server.process.signal("-TERM");
    let ended = server.process.end();
    assert!(ended.status.success(), "{ended:?}");
    let state = state(directory.path());
    let turns: Vec<_> = state.iter().map(|(status, message)| (*status, message.get())).collect();
    let cut = (TurnStatus::Interrupted, 1);
    assert_eq!(turns, [cut, cut, cut, (TurnStatus::Final, 1)], "the repeated request has begun no other turn");
}

#[test]
fn told_to_end_it_ends_the_streams_and_leaves_a_store_that_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    server.post("k1", &long_text(1_000));
    let mut client = server.follow("0");
    client.words(2);
    server.process.signal("-TERM");
    let mut lines = Vec::new();
    while let Some(Ok(line)) = client.lines.next() {
        lines.push(line);
    }
    // The last chunk of HTTP, which a connection that is cut does not have. So the store was closed before the server.
    assert_eq!(lines[lines.len() - 2..], ["0", ""], "{lines:?}");
    let ended = server.process.end();
    assert!(ended.status.success(), "{ended:?}");
    let left = files_below(directory.path()).into_iter().map(|path| path.file_name().unwrap().to_owned());
    assert_eq!(left.collect::<Vec<_>>(), ["LOCK", "events.db"], "no write-ahead log and no owner");
    assert_eq!(state(directory.path())[0].0, TurnStatus::Running, "the next server goes on with it");
}

/// The turns of session `s`, and the messages that they answer.
fn state(directory: &Path) -> Vec<(TurnStatus, foldlog::agent::MessageId)> {
    block_on(async {
        let store = Store::open(StoreConfig::directory(directory)).await.unwrap();
        let state = store.read_state("s").await.unwrap();
        store.close().await.unwrap();
        state.view.turns.iter().map(|turn| (turn.status, turn.user_message.unwrap())).collect()
    })
}

#[test]
fn sessions_are_listed_in_pages_and_errors_are_statuses() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let refused = |answer: (String, String), status: &str, text: &str| {
        assert!(answer.0.starts_with(&format!("HTTP/1.1 {status} ")), "{answer:?}");
        assert!(answer.1.contains(text), "{answer:?}");
    };
    refused(server.get("/sessions/s/events"), "404", "there is no such session");
    let without_key =
        "POST /sessions/s/messages HTTP/1.1\r\nContent-Length: 5\r\nHost: test\r\nConnection: close\r\n\r\nhello";
    refused(server.ask(without_key), "400", "each message needs an Idempotency-Key");
    assert_eq!(server.get("/sessions").1, "[]", "to ask for a session makes none");
    refused(server.post("", "hello"), "400", "append key is 0 bytes, limit is 1 to 64");
    refused(server.post(&"k".repeat(65), "hello"), "400", "append key is 65 bytes");
    refused(server.get(&format!("/sessions/{}/events", "s".repeat(257))), "400", "session id");

    server.post("k1", "hello");
    server.follow("0").events_until_turn("final");
    refused(server.post("k1", "another text"), "422", "with other bodies");
    let listed: Value = serde_json::from_str(&server.get("/sessions").1).unwrap();
    assert_eq!((&listed[0]["id"], &listed[0]["head"]), (&json!("s"), &json!(6)));
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(server.get("/sessions?after=s").1, "[]");
    for (last, status) in [("7", "416"), ("1-0000000000000000", "410"), ("nonsense", "400")] {
        let refused = server.follow(last).status;
        assert!(refused.contains(status), "{last}: {refused}");
    }
    server.process.kill();
}
