//! What a host would write by hand with rusqlite.

use std::path::Path;
use std::time::{Duration, Instant};

use foldlog::Durability;
use foldlog::agent::AgentBody;
use rusqlite::Connection;

use super::measure::{Sample, Window};

const TABLE: &str = "CREATE TABLE events(session_id TEXT, event_id INTEGER, event_type TEXT, event_at TEXT, event BLOB,
    PRIMARY KEY(session_id, event_id))";

/// Commits `events` rows at a time, of as many sessions as there are callers. The callers wait in turn, one append in
/// flight each, so each of them waits for the appends of all the others.
pub(crate) fn insert(
    callers: usize,
    events: usize,
    durability: Durability,
    warm_up: Duration,
    timed: Duration,
) -> Sample {
    let directory = super::directory();
    let database = Connection::open(directory.path().join("events.db")).unwrap();
    let level = match durability {
        Durability::PowerLoss => "FULL",
        Durability::ProcessCrash => "NORMAL",
    };
    database.pragma_update(None, "journal_mode", "WAL").unwrap();
    database.pragma_update(None, "synchronous", level).unwrap();
    database.execute_batch(TABLE).unwrap();
    let mut insert = database.prepare("INSERT INTO events VALUES (?1, ?2, ?3, ?4, ?5)").unwrap();
    let sessions: Vec<String> = (0..callers).map(|session| format!("session-{session}")).collect();
    // As many bytes as the encoding of the other side's body.
    let mut payload = vec![b'.'; super::text(1_000_000).len() + 20];

    let window = Window::after(warm_up, timed);
    let mut latencies = Vec::new();
    let mut asked = vec![Instant::now(); callers];
    let mut number = 0_i64;
    'timed: loop {
        for (session, asked) in sessions.iter().zip(&mut asked) {
            if window.is_over() {
                break 'timed;
            }
            if events > 1 {
                database.execute_batch("BEGIN IMMEDIATE").unwrap();
            }
            for _ in 0..events {
                number += 1;
                payload[..8].copy_from_slice(&number.to_le_bytes());
                insert.execute((session, number, "message_appended", "2025-01-01T00:00:00.000000Z", &payload)).unwrap();
            }
            if events > 1 {
                database.execute_batch("COMMIT").unwrap();
            }
            let acknowledged = Instant::now();
            if window.contains(acknowledged) {
                latencies.push(acknowledged - *asked);
            }
            *asked = acknowledged;
        }
    }
    window.sample(events, latencies)
}

/// The bytes of a record before its body, when it has neither key nor references.
const HEADER_BYTES: usize = 32;

/// Reads, hashes and decodes the rows of a store's only session, and does nothing with them.
pub(crate) fn scan(database: &Path, events: usize) -> Sample {
    let started = Instant::now();
    let database = Connection::open(database).unwrap();
    let mut select = database.prepare("SELECT record FROM events WHERE log_key = 1 ORDER BY position").unwrap();
    let mut rows = select.query([]).unwrap();
    let mut found = 0;
    while let Some(row) = rows.next().unwrap() {
        let record = row.get_ref(0).unwrap().as_blob().unwrap();
        std::hint::black_box(blake3::hash(record));
        let config = bincode2::config::standard();
        let body: (AgentBody, usize) = bincode2::serde::decode_from_slice(&record[HEADER_BYTES..], config).unwrap();
        std::hint::black_box(&body);
        found += 1;
    }
    assert_eq!(found, events, "the same rows");
    Sample::rate(events, started.elapsed())
}
