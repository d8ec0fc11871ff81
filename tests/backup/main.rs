//! Goal: a backup has all that was acknowledged before it was asked for, verified and on the disk, whatever runs beside
//! it and wherever it is cut off; and a restored store is that backup. Method: compare every session of the copy with
//! the store, event by event with its chain, on both media; cut backups off by kills, failing disks and power cuts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod copies;
mod cost;
mod cut_off;
mod deletions;
mod kills;
mod redactions;
mod refusals;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::common::*;
use foldlog::{Digest, EventId, LogPosition, ReadOnlyStore, SessionSummary, Store, StoreConfig, Timestamp, View};

/// Not a test of its own: does nothing unless another test runs it as a child.
#[actix::test]
async fn as_a_child() {
    let Some(child::Task { task, name, directory }) = child::task() else { return };
    match task.as_str() {
        "backups" => kills::back_up_until_killed(&directory, &name).await,
        other => panic!("no task {other}"),
    }
}

/// All that a copy must have of a session: its row in the list, its view, each event's id, time, type and chain.
#[derive(Debug, PartialEq)]
struct Whole {
    summary: SessionSummary,
    view: View<Tally>,
    events: Vec<(EventId, Timestamp, String)>,
}

/// Everything that is in a store, read from its medium.
async fn whole(store: &ReadOnlyStore<Tally>) -> BTreeMap<String, Whole> {
    let mut found = BTreeMap::new();
    for summary in store.list_sessions(None, 10_000).await.unwrap() {
        let (mut events, mut after) = (Vec::new(), LogPosition::from(EventId::ZERO));
        loop {
            let page = store.events_after(&summary.id, after, usize::MAX).await.unwrap();
            // A position carries a part of the chain.
            events.extend(page.events.iter().map(|it| (it.id(), it.at(), format!("{it:?} {}", it.position()))));
            let Some(last) = page.events.last().filter(|_| page.more) else { break };
            after = last.position();
        }
        let view = store.read_state(&summary.id).await.unwrap().view;
        for blob in &view.blobs {
            assert_eq!(store.get_bytes(blob.digest).await.unwrap().len() as u64, blob.bytes);
        }
        found.insert(summary.id.as_str().to_owned(), Whole { summary, view, events });
    }
    found
}

async fn read_only(path: &Path) -> ReadOnlyStore<Tally> {
    soon(Store::<Tally>::open_model_read_only(StoreConfig::directory(path))).await.unwrap()
}

/// Everything that is in a directory, which verifies.
async fn whole_of(path: &Path) -> BTreeMap<String, Whole> {
    let store = read_only(path).await;
    let verification = soon(store.verify()).await.unwrap();
    assert!(verification.problems.is_empty(), "{:?}", verification.problems);
    let found = whole(&store).await;
    soon(store.close()).await.unwrap();
    found
}

/// A place for copies.
struct Places(tempfile::TempDir);

impl Places {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// Appends, batches, keys, titles, blobs: some of each to some sessions.
async fn fill(store: &Store<Tally>, round: u64) {
    for n in 0..4 {
        let session = store.open_session(format!("s{n}")).await.unwrap();
        append(&session, TallyBody::Added(round)).await.unwrap();
        let batch = (0..5).map(TallyBody::Added).collect();
        session.append_batch(batch).unwrap().await.unwrap();
        session.append_with(keyed(TallyBody::named("key"), &format!("k{round}"))).unwrap().await.unwrap();
        let blob = store.put_bytes(format!("blob {n} {round}").repeat(100).into_bytes()).await.unwrap();
        append(&session, TallyBody::Attached(blob)).await.unwrap();
    }
    let titled = store.open_session("s1").await.unwrap();
    titled.describe(foldlog::Describe::new().title(format!("title {round}"))).unwrap().await.unwrap();
    store.open_session(format!("empty {round}")).await.unwrap();
}

/// The names of the blobs that a directory has.
fn blobs_in(path: &Path) -> Vec<Digest> {
    let files = files_below(&path.join("blobs"));
    files.iter().map(|file| file.file_name().unwrap().to_str().unwrap().parse().unwrap()).collect()
}
