//! Goal: what is stored is private and readable by plain tools, and logs tell no secrets. Method: look at modes, names
//! and rows of a store's files, and collect every log line of a scenario in which much goes wrong.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

use crate::common::tally::{Place, Switch};
use crate::common::*;
use foldlog::{AppendKey, BlobRef, Digest, ErrorKind, EventId, Restart, StoreConfig, SubscribeFrom};
use futures::StreamExt;
use rusqlite::Connection;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Everything below a directory, itself included, with its mode.
fn assert_private(root: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut paths = vec![root.to_owned()];
    while let Some(path) = paths.pop() {
        let wanted = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode(&path), wanted, "{} has mode {:o}", path.display(), mode(&path));
        if path.is_dir() {
            paths.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            names.push(path.strip_prefix(root).unwrap().to_string_lossy().into_owned());
        }
    }
    names
}

#[actix::test]
async fn directories_are_0700_and_files_0600_while_open_and_after() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let made = directory.path().join("parent");
    let root = made.join("store");
    let store = open(&StoreConfig::directory(&root)).await;
    let session = soon(store.open_session("s")).await.unwrap();
    for n in 0..5_u8 {
        let blob = soon(store.put_bytes(vec![n; 1000])).await.unwrap();
        append(&session, TallyBody::Attached(blob)).await.unwrap();
    }
    let names = assert_private(&made);
    for wanted in ["store/events.db", "store/events.db-wal", "store/events.db-shm", "store/LOCK"] {
        assert!(names.iter().any(|name| name == wanted), "{wanted} is not in {names:?}");
    }
    assert!(names.iter().any(|name| name.starts_with("store/owners/")), "{names:?}");
    assert_eq!(names.iter().filter(|name| name.starts_with("store/blobs/")).count(), 5);
    soon(store.persist_address().send(Restart)).await.unwrap();
    append(&session, TallyBody::Added(1)).await.unwrap();
    assert_private(&made);
    soon(store.close()).await.unwrap();
    assert_private(&made);
}

#[actix::test]
async fn every_blob_file_has_the_blake3_of_its_bytes_as_its_name() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let store = open(&StoreConfig::directory(directory.path())).await;
    let mut digests: Vec<Digest> = Vec::new();
    for bytes in [vec![], b"one".to_vec(), vec![0; 100_000], "é".repeat(999).into_bytes(), b"one".to_vec()] {
        digests.push(soon(store.put_bytes(bytes)).await.unwrap().digest);
    }
    soon(store.close()).await.unwrap();
    let files = files_below(&directory.path().join("blobs"));
    assert_eq!(files.len(), 4, "equal bytes are one file");
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        assert_eq!(name, blake3::hash(&std::fs::read(&file).unwrap()).to_hex().as_str());
        assert_eq!(file.parent().unwrap().file_name().unwrap().to_str().unwrap(), &name[..2]);
        assert!(digests.iter().any(|digest| digest.to_string() == name));
    }
}

#[actix::test]
async fn the_log_is_read_with_plain_sql() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let store = open(&StoreConfig::directory(directory.path())).await;
    for id in ["one", "two"] {
        let session = soon(store.open_session(id)).await.unwrap();
        soon(session.append_batch(vec![TallyBody::Added(1), TallyBody::Noted("x".to_owned())]).unwrap()).await.unwrap();
    }
    let read = || {
        let connection = Connection::open(directory.path().join("events.db")).unwrap();
        let mut statement = connection
            .prepare("select session_id, event_id, event_type, event_at from event_log order by session_id, event_id")
            .unwrap();
        let rows = statement.query_map([], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?, row.get::<_, String>(3)?))
        });
        rows.unwrap().collect::<Result<Vec<_>, _>>().unwrap()
    };
    // While it is open, and after.
    let rows = read();
    soon(store.close()).await.unwrap();
    assert_eq!(read(), rows);
    let short: Vec<_> = rows.iter().map(|(session, id, kind, _)| (session.as_str(), *id, kind.as_str())).collect();
    assert_eq!(short, [("one", 1, "added"), ("one", 2, "noted"), ("two", 1, "added"), ("two", 2, "noted")]);
    for (.., at) in rows {
        let shape: String = at.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000-00-00T00:00:00.000000Z", "{at}");
        assert!(at.as_str() > "2024-01-01" && at.as_str() < "2200", "{at}");
    }
}

// --- logs ---

struct Collector;

static LINES: Mutex<Vec<(log::Level, String)>> = Mutex::new(Vec::new());
static COLLECTOR: Collector = Collector;
static INSTALLED: Once = Once::new();

impl log::Log for Collector {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = format!("{}: {}", record.target(), record.args());
        LINES.lock().unwrap_or_else(PoisonError::into_inner).push((record.level(), line));
    }

    fn flush(&self) {}
}

const SESSION: &str = "sentinel-session";
const BODY: &str = "sentinel-body";
const KEY: &str = "sentinel-key";

#[actix::test]
async fn session_ids_and_bodies_are_in_no_log_line_above_debug() {
    let _watchdog = watchdog();
    INSTALLED.call_once(|| {
        log::set_logger(&COLLECTOR).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
    });
    let directory = tempfile::tempdir().unwrap();
    let config = StoreConfig {
        record_bytes_max: 500,
        close_timeout: Duration::from_millis(200),
        ..StoreConfig::directory(directory.path())
    };
    let secret = || TallyBody::Noted(BODY.to_owned());
    let named = |what: &str| format!("{SESSION}-{what}");
    let switches = [Switch::on(), Switch::on(), Switch::on(), Switch::on()];

    // What a host may do.
    let store = open(&config).await;
    for what in ["plain", "damaged", "trapped", "decode", "counters"] {
        let session = soon(store.open_session(named(what))).await.unwrap();
        append(&session, secret()).await.unwrap();
        soon(session.append_with(keyed(secret(), KEY)).unwrap()).await.unwrap();
    }
    let session = soon(store.open_session(named("plain"))).await.unwrap();
    let blob = soon(store.put_text(BODY)).await.unwrap();
    append(&session, TallyBody::Attached(blob)).await.unwrap();

    // What it may get wrong.
    let missing = BlobRef { digest: Digest::from_bytes([1; 32]), ..blob };
    assert_refused!(append(&session, TallyBody::Attached(missing)).await, ErrorKind::DanglingRef { .. });
    assert_refused!(append(&session, TallyBody::Noted(BODY.repeat(100))).await, ErrorKind::TooLarge { .. });
    assert_refused!(
        soon(session.append_with(keyed(TallyBody::Added(1), KEY)).unwrap()).await,
        ErrorKind::KeyReused { .. }
    );
    assert_refused!(soon(store.open_session(format!("{SESSION}\n"))).await, ErrorKind::InvalidSessionId { .. });
    assert!(AppendKey::new(KEY.repeat(10)).is_err());

    // Another store, restarts, and a model that panics.
    let other = open(&config).await;
    let theirs = soon(other.open_session(named("plain"))).await.unwrap();
    assert_refused!(append(&theirs, secret()).await, ErrorKind::OwnedElsewhere { .. });
    soon(session.address().unwrap().send(Restart)).await.unwrap();
    soon(store.persist_address().send(Restart)).await.unwrap();
    soon(store.blob_address().send(Restart)).await.unwrap();
    for (what, place) in [("trapped", Place::Apply), ("decode", Place::Decode), ("counters", Place::Counters)] {
        let session = soon(store.open_session(named(what))).await.unwrap();
        append(&session, switches[0].trap(place)).await.unwrap();
        assert!(append(&session, switches[1].trap(Place::Stamp)).await.is_err());
        soon(session.address().unwrap().send(Restart)).await.unwrap();
        let _ = soon(session.recovery()).await;
        if let Ok(stream) = soon(session.subscribe(SubscribeFrom::After(EventId::ZERO))).await {
            let _ = tokio::time::timeout(Duration::from_millis(50), stream.collect::<Vec<_>>()).await;
        }
        let _ = soon(other.open_session(named(what))).await;
    }
    soon(other.close()).await.unwrap();
    soon(store.close()).await.unwrap();

    // Damage, a lock that someone else holds, and a table that someone has dropped.
    let database = Connection::open(directory.path().join("events.db")).unwrap();
    let log = format!("(SELECT log_key FROM sessions WHERE session_id = '{}')", named("damaged"));
    database
        .execute(&format!("UPDATE events SET record = record || x'00' WHERE log_key = {log}"), [])
        .or_else(|_| {
            database.execute(&format!("UPDATE events SET record = zeroblob(length(record)) WHERE log_key = {log}"), [])
        })
        .unwrap();
    let blob_file = files_below(&directory.path().join("blobs")).pop().unwrap();
    std::fs::write(&blob_file, "damaged").unwrap();
    let store = open(&config).await;
    assert_refused!(soon(store.open_session(named("damaged"))).await, ErrorKind::CorruptEvent { .. });
    assert_refused!(soon(store.get_bytes(blob.digest)).await, ErrorKind::CorruptBlob { .. });
    soon(store.put_text(BODY)).await.unwrap();
    let session = soon(store.open_session(named("plain"))).await.unwrap();
    append(&session, secret()).await.unwrap();
    database.execute_batch("DROP VIEW event_log; DROP TABLE events").unwrap();
    assert!(append(&session, secret()).await.is_err());
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    let waiting = session.append_with(keyed(secret(), "another")).unwrap();
    assert!(soon(store.close()).await.is_err());
    drop(database);
    let _ = soon(waiting).await;

    let lines = LINES.lock().unwrap().clone();
    let tells = |line: &str| [SESSION, BODY, KEY].iter().any(|secret| line.contains(secret));
    for (level, line) in &lines {
        assert!(*level >= log::Level::Debug || !tells(line), "{level}: {line}");
    }
    // Much was logged, or the test would prove little; and debug lines do name the session.
    let loud: Vec<_> = lines.iter().filter(|(level, _)| *level < log::Level::Info).collect();
    assert!(loud.len() >= 6, "{loud:#?}");
    assert!(lines.iter().any(|(level, line)| *level == log::Level::Debug && line.contains(SESSION)), "{lines:#?}");
}
