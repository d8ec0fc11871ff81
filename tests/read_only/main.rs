//! Goal: a store that is opened to be read shows what is committed at each call, makes and changes no file, and opens
//! where a store that writes cannot. Method: read beside stores that write, in this process and in others; compare all
//! files before and after; mount file systems that are full or read-only, in a child process with mounts of its own, so
//! that none is left behind whatever becomes of the test. Where a process may not mount, those tests say so and do
//! nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod beside;
mod mounts;
mod preflight;
mod refusals;
mod untouched;
mod untyped;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::child::{self, Child};
use crate::common::*;
use foldlog::{BlobRef, EventId, ReadOnlyStore, Store, StoreConfig};

/// Not a test of its own: does nothing unless another test runs it as a child.
#[actix::test]
async fn as_a_child() {
    let Some(child::Task { task, name, directory }) = child::task() else { return };
    match task.as_str() {
        "write" => write(&directory).await,
        "lock" => untouched::lock(&directory),
        "mounts" => mounts::run(&name, &directory).await,
        other => panic!("no task {other}"),
    }
}

/// A process that has a store open. To `add` it appends to session `s`, and to `close` it closes the store.
struct Writer(Child);

impl Writer {
    /// Starts it and waits until the store is open.
    fn start(directory: &Path) -> Self {
        let child = Child::with_task("write", "writer", directory);
        child.expect("open");
        Self(child)
    }

    fn add(&mut self) {
        self.0.say("add");
        self.0.expect("added");
    }

    fn close(mut self) {
        self.0.say("close");
        self.0.expect("closed");
        assert!(self.0.end().status.success());
    }

    fn kill(self) {
        drop(self.0.kill());
    }
}

async fn write(directory: &Path) {
    let store = open(&StoreConfig::directory(directory)).await;
    child::tell("open");
    while let Some(word) = child::hear() {
        if word == "close" {
            break;
        }
        let session = store.open_session("s").await.unwrap();
        append(&session, TallyBody::Added(1)).await.unwrap();
        child::tell("added");
    }
    store.close().await.unwrap();
    child::tell("closed");
}

async fn open_to_read(config: &StoreConfig) -> ReadOnlyStore<Tally> {
    soon(Store::open_model_read_only(config.clone())).await.unwrap()
}

/// The sum of a session and its last event, by its state, its pages and the list of sessions.
async fn sum_and_head(store: &ReadOnlyStore<Tally>, session: &str) -> (u64, u64) {
    let view = soon(store.read_state(session)).await.unwrap().view;
    let mut events = Vec::new();
    loop {
        let after = events.last().map_or(EventId::ZERO, HasId::event_id);
        let page = soon(store.events_after(session, after, 7)).await.unwrap();
        events.extend(page.events);
        if !page.more {
            break;
        }
    }
    let head = view.head().get();
    assert_eq!(ids(&events), (1..=head).collect::<Vec<_>>());
    let listed = soon(store.list_sessions(None, 10_000)).await.unwrap();
    let listed = listed.into_iter().find(|summary| summary.id.as_str() == session).unwrap();
    assert_eq!(listed.head.get(), head);
    (view.sum, head)
}

/// Makes a store with a session `s` that holds three events, one of them with a blob, and closes it.
async fn prepared(directory: &Path) -> BlobRef {
    let store = open(&StoreConfig::directory(directory)).await;
    let session = soon(store.open_session("s")).await.unwrap();
    let blob = soon(store.put_bytes(b"a blob".to_vec())).await.unwrap();
    for body in [TallyBody::Added(1), TallyBody::Attached(blob), TallyBody::Added(1)] {
        append(&session, body).await.unwrap();
    }
    soon(store.close()).await.unwrap();
    blob
}

/// Reads everything in the store that [`prepared`] has made and that has `added` more events.
async fn assert_reads(directory: &Path, blob: BlobRef, added: u64) {
    let store = open_to_read(&StoreConfig::directory(directory)).await;
    assert_reads_of(&store, blob, added).await;
    soon(store.close()).await.unwrap();
}

async fn assert_reads_of(store: &ReadOnlyStore<Tally>, blob: BlobRef, added: u64) {
    assert_eq!(sum_and_head(store, "s").await, (2 + added, 3 + added));
    assert_eq!(soon(store.get_bytes(blob.digest)).await.unwrap(), b"a blob");
    let verification = soon(store.verify()).await.unwrap();
    assert!(verification.is_sound(), "{:?}", verification.problems);
    assert_eq!((verification.sessions, verification.events, verification.blobs), (1, 3 + added, 1));
}

/// A file or directory as far as a writer could change it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Listed {
    path: PathBuf,
    /// Inode, mode, size, and the times of the last write and change.
    status: [i64; 6],
    content: String,
}

/// Everything below a directory, but for `events.db-shm` and the times of the directory that holds it.
fn listing(root: &Path) -> Vec<Listed> {
    let listed = |path: PathBuf| {
        let found = path.symlink_metadata().unwrap();
        // By another process: to close a handle of `events.db` in this one would drop SQLite's locks.
        let content = Command::new("cksum").arg(&path).output().unwrap().stdout;
        let content = if found.is_dir() { String::new() } else { String::from_utf8(content).unwrap() };
        // SQLite, run by root, gives the write-ahead log the owner that it has, which counts as a change of its status.
        let changed =
            if path.ends_with("events.db-wal") { 0 } else { found.ctime() * 1_000_000_000 + found.ctime_nsec() };
        let [seconds, nanoseconds, changed] =
            if path == root { [0; 3] } else { [found.mtime(), found.mtime_nsec(), changed] };
        let size = if found.is_dir() { 0 } else { found.size() as i64 };
        let (inode, mode) = (found.ino() as i64, i64::from(found.mode()));
        let status = [inode, mode, size, seconds, nanoseconds, changed];
        Listed { path, status, content }
    };
    let mut paths = vec![root.to_owned()];
    let mut all = Vec::new();
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            paths.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        if path.file_name().is_none_or(|name| name != "events.db-shm") {
            all.push(listed(path));
        }
    }
    all.sort();
    all
}

/// Asserts that nothing below a directory was made, changed or removed.
#[track_caller]
fn assert_untouched(root: &Path, before: &[Listed]) {
    let after = listing(root);
    let gone: Vec<_> = before.iter().filter(|listed| !after.contains(listed)).collect();
    let new: Vec<_> = after.iter().filter(|listed| !before.contains(listed)).collect();
    assert!(gone.is_empty() && new.is_empty(), "before: {gone:#?}\nafter: {new:#?}");
}

/// The names of the files beside the database that SQLite keeps.
fn companions(directory: &Path) -> Vec<&'static str> {
    ["events.db-shm", "events.db-wal"].into_iter().filter(|name| directory.join(name).exists()).collect()
}
