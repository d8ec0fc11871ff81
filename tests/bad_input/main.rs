//! Goal: bad input gives a typed error, and nothing else. Method: hand it in on both media, or damage the files of a
//! closed store, match the kind, look at what is stored before and after, and use the store again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod calls;
mod damage;
mod foreign_files;
mod newer_builds;

use std::path::{Path, PathBuf};

use foldlog::{Digest, StoreConfig};
use rusqlite::Connection;
use support::{ProbeBody, keyed, open, within};

fn digest_of(bytes: &[u8]) -> Digest {
    Digest::from_bytes(*blake3::hash(bytes).as_bytes())
}

fn db(directory: &Path) -> PathBuf {
    directory.join("events.db")
}

fn sql(directory: &Path, statement: &str) {
    let connection = Connection::open(db(directory)).unwrap();
    connection.execute_batch(statement).unwrap();
    // So that what was changed is in the file itself.
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    connection.close().unwrap();
}

/// A closed store with sessions of five events each.
async fn with_sessions(directory: &Path, sessions: &[&str]) -> StoreConfig {
    let config = StoreConfig::directory(directory);
    let store = open(&config).await;
    for id in sessions {
        let session = within(store.open_session(id)).await.unwrap();
        let note = ProbeBody::Noted(format!("note of {id}"));
        within(session.append_batch(vec![ProbeBody::Added(1), note.clone()]).unwrap()).await.unwrap();
        let append = keyed(note.clone(), "key");
        within(session.append_with(append).unwrap()).await.unwrap();
        within(session.append_batch(vec![note, ProbeBody::Added(1)]).unwrap()).await.unwrap();
    }
    within(store.close()).await.unwrap();
    config
}
