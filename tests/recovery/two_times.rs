//! Goal: a database whose files are of two times is refused, and one that a crash leaves is not. Method: the directory
//! is copied at several moments, as a kill would leave it there, and the files of the copies are mixed.

use std::path::{Path, PathBuf};
use std::process::Command;

use foldlog::{ErrorKind, SnapshotPolicy, Store, StoreConfig};

use crate::common::*;

/// A store, and copies of its directory.
struct Moments {
    root: tempfile::TempDir,
    store: Option<Store<Tally>>,
}

/// The files of a database.
const DB: &str = "events.db";
const WAL: &str = "events.db-wal";
const SHM: &str = "events.db-shm";

impl Moments {
    async fn new() -> Self {
        let mut moments = Self { root: tempfile::tempdir().unwrap(), store: None };
        moments.open().await;
        moments
    }

    fn live(&self) -> PathBuf {
        self.root.path().join("live")
    }

    async fn open(&mut self) {
        self.store = Some(open(&config(&self.live())).await);
    }

    async fn close(&mut self) {
        soon(self.store.take().unwrap().close()).await.unwrap();
    }

    /// Appends some events, and takes a copy when they are acknowledged. The copy is made by another process: in this
    /// one it would cost SQLite its locks.
    async fn append(&self, events: u64, copy: &str) -> PathBuf {
        let session = soon(self.store.as_ref().unwrap().open_session("s")).await.unwrap();
        for n in 0..events {
            append(&session, TallyBody::Noted(format!("{n}"))).await.unwrap();
        }
        self.copy(copy)
    }

    fn copy(&self, name: &str) -> PathBuf {
        let copy = self.root.path().join(name);
        let copied = Command::new("cp").arg("-r").arg(self.live()).arg(&copy).status().unwrap();
        assert!(copied.success());
        copy
    }

    /// Appends until the write-ahead log was begun anew `times` times, which is when its salts change.
    async fn begin_anew(&self, times: usize) {
        let session = soon(self.store.as_ref().unwrap().open_session("s")).await.unwrap();
        let salts = || std::fs::read(self.live().join(WAL)).unwrap()[16..24].to_vec();
        for _ in 0..times {
            let before = salts();
            while salts() == before {
                append(&session, TallyBody::Noted("n".repeat(200_000))).await.unwrap();
            }
        }
    }
}

/// Without stored views, which would tell by themselves that a database has gone.
fn config(directory: &Path) -> StoreConfig {
    StoreConfig { snapshots: SnapshotPolicy::OFF, ..StoreConfig::directory(directory) }
}

/// A directory with files of two others.
fn mixed(name: &str, of: &[(&Path, &str)]) -> PathBuf {
    let mixed = of[0].0.with_file_name(name);
    assert!(Command::new("cp").arg("-r").arg(of[0].0).arg(&mixed).status().unwrap().success());
    for file in [DB, WAL, SHM] {
        let _ = std::fs::remove_file(mixed.join(file));
    }
    for (from, file) in of {
        std::fs::copy(from.join(file), mixed.join(file)).unwrap();
    }
    mixed
}

async fn is_refused(directory: &Path, because: &str) {
    let before: Vec<_> = [DB, WAL].map(|file| std::fs::read(directory.join(file)).ok()).into();
    let refused = soon(Store::<Tally>::open_model(config(directory))).await.expect_err(because);
    assert!(matches!(refused.kind(), ErrorKind::CorruptStore { .. }), "{refused}");
    let text = refused.to_string();
    assert!(text.contains("not of one time") && text.contains(because), "{text}");
    let after: Vec<_> = [DB, WAL].map(|file| std::fs::read(directory.join(file)).ok()).into();
    assert!(before == after, "what is left is untouched");
}

/// Opens, has so many events, verifies, and takes more.
async fn is_whole(directory: &Path, events: u64) {
    let store = open(&config(directory)).await;
    let session = soon(store.open_session("s")).await.unwrap();
    assert_head(&session, events).await;
    assert!(soon(store.verify()).await.unwrap().is_sound());
    append(&session, TallyBody::Added(1)).await.unwrap();
    soon(store.close()).await.unwrap();
}

#[actix::test]
async fn what_a_kill_leaves_at_any_moment_opens() {
    let mut moments = Moments::new().await;
    let (mut events, mut copies) = (0, Vec::new());
    for round in 0..3 {
        for n in 0..3 {
            copies.push((moments.append(2, &format!("{round}-{n}")).await, events + 2));
            events += 2;
        }
        moments.close().await;
        copies.push((moments.copy(&format!("closed-{round}")), events));
        moments.open().await;
    }
    for (copy, events) in &copies {
        is_whole(copy, *events).await;
    }
    moments.close().await;
}

/// At each moment the write-ahead log alone tells what is copied, so that `events.db` may be older than it by one log.
#[actix::test]
async fn what_a_kill_leaves_around_a_checkpoint_opens() {
    let mut moments = Moments::new().await;
    let session = soon(moments.store.as_ref().unwrap().open_session("s")).await.unwrap();
    let mut copies = Vec::new();
    for n in 1..=60 {
        append(&session, TallyBody::Noted("n".repeat(200_000))).await.unwrap();
        if n % 4 == 0 {
            copies.push((moments.copy(&n.to_string()), n));
        }
    }
    for (copy, events) in copies {
        is_whole(&copy, events).await;
        std::fs::remove_dir_all(copy).unwrap();
    }
    drop(session);
    moments.close().await;
}

#[actix::test]
async fn an_older_database_beside_a_newer_log_is_refused() {
    let mut moments = Moments::new().await;
    moments.append(3, "first").await;
    moments.close().await;
    let old = moments.copy("old");
    moments.open().await;
    moments.append(3, "second").await;
    moments.close().await;
    moments.open().await;
    let new = moments.append(3, "third").await;
    is_refused(&mixed("restored", &[(&old, DB), (&new, WAL)]), "follows write-ahead log").await;
    is_refused(&mixed("restored-with-index", &[(&old, DB), (&new, WAL), (&new, SHM)]), "follows write-ahead log").await;
    is_whole(&old, 3).await;
    is_whole(&new, 9).await;
    moments.close().await;
}

/// As a copy that is slower than the store: first the database, and the log when it was begun anew.
#[actix::test]
async fn a_copy_that_took_longer_than_a_checkpoint_is_refused() {
    let mut moments = Moments::new().await;
    moments.begin_anew(1).await;
    let early = moments.append(2, "early").await;
    moments.begin_anew(2).await;
    let late = moments.append(2, "late").await;
    is_refused(&mixed("slow", &[(&early, DB), (&late, WAL)]), "follows write-ahead log").await;
    is_refused(&mixed("backwards", &[(&late, DB), (&early, WAL)]), "follows write-ahead log").await;
    moments.close().await;
}

#[actix::test]
async fn a_log_that_was_removed_is_missed_as_long_as_its_index_is_there() {
    let mut moments = Moments::new().await;
    let copy = moments.append(5, "killed").await;
    is_refused(&mixed("without-log", &[(&copy, DB), (&copy, SHM)]), "events.db-wal is gone").await;
    // SQLite itself removes both, and the index first.
    is_whole(&mixed("without-index", &[(&copy, DB), (&copy, WAL)]), 5).await;
    is_whole(&copy, 5).await;
    moments.close().await;
}

/// A log of the same generation that is older than what was copied of it: its pages would hide newer ones.
#[actix::test]
async fn an_older_copy_of_a_log_beside_pages_that_were_copied_later_is_refused() {
    let mut moments = Moments::new().await;
    let early = moments.append(3, "early").await;
    let store = moments.store.as_ref().unwrap();
    let session = soon(store.open_session("s")).await.unwrap();
    let note = TallyBody::Noted("n".repeat(500_000));
    soon(session.append_batch(vec![note; 6]).unwrap()).await.unwrap();
    eventually("a checkpoint", || store.stats().upkeep.runs > 0).await;
    let late = moments.copy("late");
    is_refused(&mixed("older-log", &[(&late, DB), (&early, WAL), (&late, SHM)]), "has the first").await;
    drop(session);
    moments.close().await;
}

/// Pages that are in neither file would be read as empty ones.
#[actix::test]
async fn a_database_that_was_cut_beside_its_log_is_refused() {
    let mut moments = Moments::new().await;
    moments.begin_anew(1).await;
    let copy = moments.append(1, "killed").await;
    let file = std::fs::OpenOptions::new().write(true).open(copy.join(DB)).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(length - 20 * 4096).unwrap();
    is_refused(&copy, "are not in events.db-wal").await;
    moments.close().await;
}

/// Another program may be the last to close the database, and takes the write-ahead log away with it.
#[actix::test]
async fn a_database_that_another_program_has_closed_opens() {
    let mut moments = Moments::new().await;
    let copy = moments.append(5, "killed").await;
    let connection = rusqlite::Connection::open(copy.join(DB)).unwrap();
    connection.query_row("SELECT count(*) FROM events", [], |_| Ok(())).unwrap();
    connection.close().unwrap();
    assert!(!copy.join(WAL).exists());
    is_whole(&copy, 5).await;
    moments.close().await;
}
