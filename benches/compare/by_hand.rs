//! What a host would write by hand with rusqlite: one table, WAL, a prepared statement that is kept, SQLite's own
//! automatic checkpoints, no chain, no owner, no catalogue. The payload is as long as foldlog's body and encoded
//! beforehand.
//!
//! Callers are simulated on the connection's thread, in turn, with one append in flight each: so the baseline pays for
//! no queue, no lock and no other thread, and each caller waits exactly for the appends of all the others. The
//! exception is [`insert_behind_spawn_blocking`], which is what an async host has to write.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use foldlog::Durability;
use foldlog::agent::AgentBody;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::appends::message;
use crate::common;
use crate::measure::{Sample, Timing, Window};

const TABLE: &str = "CREATE TABLE events(session_id TEXT, event_id INTEGER, event_type TEXT, event_at TEXT, event BLOB,
    PRIMARY KEY(session_id, event_id))";
const INSERT: &str = "INSERT INTO events VALUES (?1, ?2, ?3, '2025-01-01T00:00:00.000000Z', ?4)";

/// A database of its own. Closing it checkpoints the write-ahead log.
pub(crate) struct ByHand {
    connection: Connection,
    _directory: TempDir,
}

impl ByHand {
    pub(crate) fn open(durability: Durability) -> Self {
        let directory = common::directory();
        let connection = Connection::open(directory.path().join("events.db")).unwrap();
        let level = match durability {
            Durability::PowerLoss => "FULL",
            _ => "NORMAL",
        };
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection.pragma_update(None, "synchronous", level).unwrap();
        connection.execute_batch(TABLE).unwrap();
        Self { connection, _directory: directory }
    }

    pub(crate) fn insert(&self, session: &str, number: i64, event_type: &str, payload: &[u8]) {
        let mut insert = self.connection.prepare_cached(INSERT).unwrap();
        insert.execute((session, number, event_type, payload)).unwrap();
    }

    fn in_transaction(&self, inserts: impl FnOnce()) {
        self.connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        inserts();
        self.connection.execute_batch("COMMIT").unwrap();
    }

    pub(crate) fn close(self) {
        self.connection.close().map_err(|(_, error)| error).unwrap();
    }
}

/// Who inserts, and how many events each transaction has.
#[derive(Clone, Copy)]
pub(crate) struct Inserts {
    pub(crate) sessions: usize,
    pub(crate) callers: usize,
    /// With 1, each is a commit of its own. With more callers than this, it is the group that a hand-written group
    /// commit would reach; with fewer, a batch.
    pub(crate) transaction: usize,
    pub(crate) durability: Durability,
}

impl Inserts {
    /// One commit an event.
    pub(crate) fn one_by_one(callers: usize, durability: Durability) -> Self {
        Self { sessions: callers, callers, transaction: 1, durability }
    }
}

/// As many bytes as a store's body has.
fn payload() -> Vec<u8> {
    encode(&message(1_000_000))
}

pub(crate) fn encode(body: &AgentBody) -> Vec<u8> {
    bincode2::serde::encode_to_vec(body, bincode2::config::standard()).unwrap()
}

pub(crate) fn insert(inserts: Inserts, timing: Timing) -> Sample {
    let Inserts { sessions, callers, transaction, durability } = inserts;
    let database = ByHand::open(durability);
    let names: Vec<String> = (0..sessions).map(|session| format!("session-{session}")).collect();
    let mut payload = payload();
    let window = timing.start();
    let mut asked = vec![Instant::now(); callers];
    let mut latencies = Vec::new();
    let (mut number, mut first) = (0_i64, 0);
    while !window.is_over() {
        let mut row = |caller: usize| {
            number += 1;
            payload[..8].copy_from_slice(&number.to_le_bytes());
            database.insert(&names[caller % sessions], number, "message_appended", &payload);
        };
        match transaction {
            1 => row(first),
            _ => database.in_transaction(|| (0..transaction).for_each(|place| row((first + place) % callers))),
        }
        let acknowledged = Instant::now();
        for place in 0..transaction.min(callers) {
            let asked = &mut asked[(first + place) % callers];
            if window.counts(acknowledged) {
                latencies.push(acknowledged - *asked);
            }
            *asked = acknowledged;
        }
        first = (first + transaction) % callers;
    }
    database.close();
    window.stop(transaction.div_ceil(callers), latencies)
}

/// One caller on an async executor. A blocking commit may not run there, so each is handed to a thread, and the
/// connection is shared behind a lock.
pub(crate) async fn insert_behind_spawn_blocking(durability: Durability, timing: Timing) -> Sample {
    let database = Arc::new(Mutex::new(ByHand::open(durability)));
    let payload: Arc<[u8]> = payload().into();
    let window = timing.start();
    let mut latencies = Vec::new();
    let mut number = 0_i64;
    while !window.is_over() {
        number += 1;
        let asked = Instant::now();
        let (database, payload) = (Arc::clone(&database), Arc::clone(&payload));
        let inserted = tokio::task::spawn_blocking(move || {
            database.lock().unwrap().insert("session", number, "message_appended", &payload);
        });
        inserted.await.unwrap();
        push(&window, asked, &mut latencies);
    }
    Arc::into_inner(database).unwrap().into_inner().unwrap().close();
    window.stop(1, latencies)
}

fn push(window: &Window, asked: Instant, latencies: &mut Vec<std::time::Duration>) {
    let acknowledged = Instant::now();
    if window.counts(acknowledged) {
        latencies.push(acknowledged - asked);
    }
}

/// The bytes of a record of format 2 before its body, when it has neither key nor references, and without its event
/// type; and where the length of the type stands.
const HEADER_BYTES: usize = 33;
const TYPE_LENGTH: usize = 3;

/// Reads, hashes and decodes the rows of a store's only session, and does nothing with them.
pub(crate) fn scan(database: &Path, events: usize) {
    let database = Connection::open(database).unwrap();
    let mut select = database.prepare("SELECT record FROM events WHERE log_key = 1 ORDER BY position").unwrap();
    let mut rows = select.query([]).unwrap();
    let mut found = 0;
    while let Some(row) = rows.next().unwrap() {
        let record = row.get_ref(0).unwrap().as_blob().unwrap();
        std::hint::black_box(blake3::hash(record));
        let header = HEADER_BYTES + usize::from(record[TYPE_LENGTH]);
        let config = bincode2::config::standard();
        let body: (AgentBody, usize) = bincode2::serde::decode_from_slice(&record[header..], config).unwrap();
        std::hint::black_box(&body);
        found += 1;
    }
    assert_eq!(found, events, "the same rows");
}
