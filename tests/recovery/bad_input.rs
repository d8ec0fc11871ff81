//! Goal: bad input gives a typed error, and nothing else. Method: hand it in on both media, or damage the files of a
//! closed store, match the kind, look at what is stored before and after, and use the store again.

mod damage;
mod foreign_files;
mod hostile_bytes;

use std::path::{Path, PathBuf};

use crate::common::*;
use foldlog::StoreConfig;
use rusqlite::Connection;

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
        let session = soon(store.open_session(id)).await.unwrap();
        let note = TallyBody::Noted(format!("note of {id}"));
        soon(session.append_batch(vec![TallyBody::Added(1), note.clone()]).unwrap()).await.unwrap();
        let append = keyed(note.clone(), "key");
        soon(session.append_with(append).unwrap()).await.unwrap();
        soon(session.append_batch(vec![note, TallyBody::Added(1)]).unwrap()).await.unwrap();
    }
    soon(store.close()).await.unwrap();
    config
}
