//! Goal: once a store's directory, database, write-ahead log or blobs were removed or replaced under it, nothing more
//! is acknowledged, the errors say why, and what was acknowledged before is there when the files are back. Method: move
//! them away, with nothing, an empty one or a copy in their place, before the store's first commit and after some.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::*;
use foldlog::{Error, ErrorKind, Restart, Session, StoreConfig};

/// What is put where the files were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Instead {
    Nothing,
    Empty,
    Copy,
}

/// Files that are moved away. Only by their names: to open and close the database in this process would drop its locks.
struct Moved {
    path: PathBuf,
    away: PathBuf,
}

impl Moved {
    fn new(path: PathBuf, outside: &Path, instead: Instead) -> Self {
        let away = outside.join("away");
        let is_directory = path.is_dir();
        fs::rename(&path, &away).unwrap();
        match instead {
            Instead::Nothing => {}
            Instead::Empty if is_directory => fs::create_dir(&path).unwrap(),
            Instead::Empty => fs::write(&path, "").unwrap(),
            Instead::Copy => assert!(Command::new("cp").arg("-a").args([&away, &path]).status().unwrap().success()),
        }
        Self { path, away }
    }

    fn put_back(self) {
        if self.path.is_dir() {
            fs::remove_dir_all(&self.path).unwrap();
        } else if self.path.exists() {
            fs::remove_file(&self.path).unwrap();
        }
        fs::rename(self.away, self.path).unwrap();
    }
}

fn assert_says(error: &Error, what: &str) {
    let is_typed =
        matches!(error.kind(), ErrorKind::OutcomeUnknown { .. } | ErrorKind::MustReopen { .. } | ErrorKind::Io { .. });
    assert!(is_typed && error.to_string().contains(what), "wanted {what:?}: {error:?}");
}

async fn sums(session: &Session<Tally>) -> Vec<TallyBody> {
    whole_log(session).await.iter().map(|event| event.body().clone()).collect()
}

/// Moves `name` of a store with `acknowledged` appends since it was opened, and then puts it back, or else finds all of
/// them without it.
async fn moved(name: &str, instead: Instead, acknowledged: u64, is_put_back: bool) {
    let outside = tempfile::tempdir().unwrap();
    let root = outside.path().join("store");
    let config = StoreConfig::directory(&root);
    let store = open(&config).await;
    append(&soon(store.open_session("s")).await.unwrap(), TallyBody::Added(0)).await.unwrap();
    soon(store.close()).await.unwrap();

    let store = open(&config).await;
    let session = soon(store.open_session("s")).await.unwrap();
    for n in 1..=acknowledged {
        append(&session, TallyBody::Added(n)).await.unwrap();
    }
    let view = session.view().unwrap();
    let files = Moved::new(root.join(name), outside.path(), instead);
    let file = if name.is_empty() { "events.db" } else { name };
    let removed = instead == Instead::Nothing || (instead == Instead::Empty && name.is_empty());
    let what = format!("{file} was {} while the store was open", if removed { "removed" } else { "replaced" });
    for _ in 0..3 {
        assert_says(&append(&session, TallyBody::Added(100)).await.unwrap_err(), &what);
        // A session that is made now, or restarted, finds the same.
        assert_says(&soon(store.open_session("new")).await.unwrap_err(), &what);
        soon(session.address().unwrap().send(Restart)).await.unwrap();
        soon(store.persist_address().send(Restart)).await.unwrap();
    }
    assert_eq!(session.view().unwrap(), view);
    drop(soon(store.close()).await);

    if is_put_back {
        files.put_back();
    }
    let store = open(&config).await;
    let session = soon(store.resume_session("s")).await.unwrap();
    let found = sums(&session).await;
    let told: Vec<_> = (0..=acknowledged).map(TallyBody::Added).collect();
    // The append that noticed it was told that its outcome is not known.
    let with_unknown: Vec<_> = told.iter().cloned().chain([TallyBody::Added(100)]).collect();
    assert!(found == told || found == with_unknown, "{name} {instead:?} after {acknowledged}: {found:?}");
    assert!(soon(store.verify()).await.unwrap().is_sound());
    usable(&store, "s").await;
    soon(store.close()).await.unwrap();
}

const WAL: &str = "events.db-wal";

#[actix::test]
async fn a_directory_that_is_removed_or_replaced_is_noticed_before_the_next_acknowledgement() {
    let _watchdog = watchdog();
    for instead in [Instead::Nothing, Instead::Empty, Instead::Copy] {
        for acknowledged in [0, 3] {
            moved("", instead, acknowledged, true).await;
        }
    }
}

#[actix::test]
async fn a_database_that_is_removed_or_replaced_is_noticed_before_the_next_acknowledgement() {
    let _watchdog = watchdog();
    for instead in [Instead::Nothing, Instead::Empty, Instead::Copy] {
        for acknowledged in [0, 3] {
            moved("events.db", instead, acknowledged, true).await;
        }
    }
}

#[actix::test]
async fn a_write_ahead_log_that_is_removed_or_replaced_is_noticed_before_the_next_acknowledgement() {
    let _watchdog = watchdog();
    for instead in [Instead::Nothing, Instead::Empty, Instead::Copy] {
        for acknowledged in [0, 3] {
            moved(WAL, instead, acknowledged, true).await;
        }
    }
}

/// The store still has the removed log open, and copies what it holds into the database.
#[actix::test]
async fn what_a_removed_write_ahead_log_held_is_there_without_it() {
    let _watchdog = watchdog();
    for instead in [Instead::Nothing, Instead::Empty] {
        for acknowledged in [0, 3] {
            moved(WAL, instead, acknowledged, false).await;
        }
    }
}

#[actix::test]
async fn a_blob_directory_that_is_removed_or_replaced_is_noticed_before_the_next_acknowledgement() {
    let _watchdog = watchdog();
    for (name, instead) in
        [("blobs", Instead::Nothing), ("blobs", Instead::Empty), ("blobs", Instead::Copy), ("", Instead::Nothing)]
    {
        let outside = tempfile::tempdir().unwrap();
        let root = outside.path().join("store");
        let store = open(&StoreConfig::directory(&root)).await;
        let session = soon(store.open_session("s")).await.unwrap();
        let known = soon(store.put_bytes(vec![1; 100])).await.unwrap();
        append(&session, TallyBody::Attached(known)).await.unwrap();

        let files = Moved::new(root.join(name), outside.path(), instead);
        let what = if instead == Instead::Nothing { "it was removed" } else { "it was replaced" };
        for _ in 0..2 {
            assert_says(&soon(store.put_bytes(vec![1; 100])).await.unwrap_err(), what);
            assert_says(&append(&session, TallyBody::Attached(known)).await.unwrap_err(), what);
            assert_refused!(soon(store.put_bytes(vec![2; 100])).await, ErrorKind::Io { .. });
        }
        if instead == Instead::Empty {
            // After a restart the blob actor takes the directory that is there, in which it knows no blob.
            soon(store.blob_address().send(Restart)).await.unwrap();
            let looked = async {
                while !matches!(
                    append(&session, TallyBody::Attached(known)).await.unwrap_err().kind(),
                    ErrorKind::DanglingRef { .. }
                ) {}
            };
            soon(looked).await;
            assert_eq!(soon(store.put_bytes(vec![1; 100])).await.unwrap(), known);
        } else {
            files.put_back();
        }
        append(&session, TallyBody::Attached(known)).await.unwrap();
        assert!(soon(store.verify()).await.unwrap().is_sound());
        usable(&store, "s").await;
        soon(store.close()).await.unwrap();
    }
}
