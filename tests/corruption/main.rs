//! Goal: damage of any kind is found, named and local, and what is whole can still be had. Method: flip bits, cut, zero
//! and delete in the files of a store, then open, verify and salvage.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod files;
mod flips;
mod pages;
mod repair;
mod salvage;
mod torn;
mod verify;
mod wal;

use std::path::{Path, PathBuf};

use crate::common::child;
use crate::common::*;
use foldlog::{BlobRef, Event, Store, StoreConfig, View};

/// Not a test of its own: does nothing unless another test runs it as a child.
#[actix::test]
async fn as_a_child() {
    let Some(child::Task { task, name, .. }) = child::task() else { return };
    match task.as_str() {
        "repair" => repair::as_a_child(&name),
        other => panic!("no task {other}"),
    }
}

/// What a session held before anything was damaged.
struct Original {
    name: String,
    view: View<Tally>,
    events: Vec<Plain>,
}

/// An event in plain values.
type Plain = (u64, i64, TallyBody);

fn plain(event: &Event<Tally>) -> Plain {
    (event.id().get(), event.at().as_micros(), event.body().clone())
}

/// A closed store: what it holds, and the bytes of its files.
struct Prepared {
    directory: tempfile::TempDir,
    sessions: Vec<Original>,
    blobs: Vec<BlobRef>,
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl Prepared {
    /// Sessions of several sizes: more events than one page of an index has room for, records of several pages, blobs.
    async fn new(many: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&StoreConfig::directory(directory.path())).await;
        let mut blobs = Vec::new();
        for content in ["a first blob", "a second one"] {
            blobs.push(soon(store.put_bytes(content.repeat(20).into_bytes())).await.unwrap());
        }
        // No event names this one.
        blobs.push(soon(store.put_bytes(b"an orphan".to_vec())).await.unwrap());
        for name in ["blobs", "few", "large", "many", "none", "one"] {
            let session = soon(store.open_session(name)).await.unwrap();
            let added = |range: std::ops::Range<u64>| range.map(TallyBody::Added).collect::<Vec<_>>();
            let batches = match name {
                "blobs" => vec![vec![TallyBody::Attached(blobs[0]), TallyBody::Attached(blobs[1])]],
                "few" => vec![added(0..3), added(3..4), added(4..6)],
                "large" => vec![vec![note(9_000)], added(0..2), vec![note(30_000), note(10)]],
                "many" => (0..many / 10).map(|n| added(n..n + 10)).collect(),
                "none" => vec![],
                _ => vec![added(7..8)],
            };
            for batch in batches {
                soon(session.append_batch(batch).unwrap()).await.unwrap();
            }
            if name == "few" {
                soon(session.append_with(keyed(TallyBody::Added(1), "key")).unwrap()).await.unwrap();
            }
        }
        let sessions = look_at_all(&store).await;
        soon(store.close()).await.unwrap();
        let read = |path: PathBuf| (path.clone(), std::fs::read(path).unwrap());
        let files = files_below(directory.path()).into_iter().map(read).collect();
        Self { directory, sessions, blobs, files }
    }

    fn config(&self) -> StoreConfig {
        StoreConfig::directory(self.directory.path())
    }

    fn db(&self) -> PathBuf {
        self.directory.path().join("events.db")
    }

    fn bytes(&self, path: &Path) -> Vec<u8> {
        self.files.iter().find(|(known, _)| known == path).unwrap().1.clone()
    }

    fn blob_file(&self, blob: &BlobRef) -> PathBuf {
        let name = blob.digest.to_string();
        self.directory.path().join("blobs").join(&name[..2]).join(&name)
    }

    /// Puts every file back as it was.
    fn restore(&self) {
        for path in files_below(self.directory.path()) {
            if !self.files.iter().any(|(known, _)| *known == path) {
                std::fs::remove_file(path).unwrap();
            }
        }
        for (path, bytes) in &self.files {
            if std::fs::read(path).ok().as_ref() != Some(bytes) {
                std::fs::write(path, bytes).unwrap();
            }
        }
    }

    fn sql(&self, statement: &str) {
        let connection = rusqlite::Connection::open(self.db()).unwrap();
        connection.execute_batch(statement).unwrap();
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        connection.close().unwrap();
    }
}

fn note(bytes: usize) -> TallyBody {
    TallyBody::Noted("n".repeat(bytes))
}

async fn look_at_all(store: &Store<Tally>) -> Vec<Original> {
    let mut sessions = Vec::new();
    for summary in soon(store.list_sessions(None, 1000)).await.unwrap() {
        let session = soon(store.open_session(summary.id.as_str())).await.unwrap();
        let events = whole_log(&session).await.iter().map(|event| plain(event)).collect();
        sessions.push(Original {
            name: summary.id.as_str().to_owned(),
            view: (*session.view().unwrap()).clone(),
            events,
        });
    }
    sessions
}
