//! Goal: damaged views are counted, damaged rows are problems, and files that a crash left go. Method: verify a store
//! whose files and rows are damaged; open one with files that no row names, alone and beside another store.

use std::path::Path;

use foldlog::agent::Agent;

use super::{files_in, open, prepared};
use crate::common::*;

#[actix::test]
async fn a_verification_counts_damaged_views_and_finds_damaged_rows() {
    let (disk, path, _) = prepared().await;
    let store = open::<Agent>(&disk, |_| ()).await;
    let found = store.verify().await.unwrap();
    assert!(found.is_sound(), "{:?}", found.problems);
    assert_eq!(found.snapshots, 2);
    let files = files_in(&path);
    std::fs::remove_file(&files[0]).unwrap();
    let found = store.verify().await.unwrap();
    assert!(found.is_sound(), "{:?}", found.problems);
    assert_eq!(found.snapshots, 1);
    std::fs::write(&files[1], "not a view").unwrap();
    let found = store.verify().await.unwrap();
    // A power cut may leave missing and damaged files. Nothing is lost with them.
    assert!(found.is_sound(), "{:?}", found.problems);
    assert_eq!((found.snapshots, found.damaged_snapshots), (0, 1));
    // The rows of both, since either file may be that of `s`.
    let database = rusqlite::Connection::open(path.join("events.db")).unwrap();
    assert_eq!(database.execute("UPDATE snapshots SET chain = zeroblob(7)", []).unwrap(), 2);
    assert_eq!(store.verify().await.unwrap().problems.len(), 2);
    store.close().await.unwrap();
}

#[actix::test]
async fn files_that_a_crash_left_are_removed_by_the_next_store_that_comes_alone() {
    let (disk, path, view) = prepared().await;
    let named = files_in(&path);
    // Another digest, whatever the last digit of this one is.
    let unnamed = |named: &Path| {
        let (rest, last) = named.file_name().unwrap().to_str().unwrap().split_at(63);
        named.with_file_name(format!("{rest}{}", if last == "0" { "1" } else { "0" }))
    };
    let (orphan, new) = (unnamed(&named[0]), unnamed(&named[1]));
    let one = open::<Agent>(&disk, |_| ()).await;
    std::fs::write(&orphan, "left by a crash").unwrap();
    std::fs::write(&new, "about to be named").unwrap();
    let later = named[1].metadata().unwrap().modified().unwrap() + std::time::Duration::from_secs(3600);
    std::fs::File::options().write(true).open(&new).unwrap().set_modified(later).unwrap();
    // A store that is not alone removes nothing.
    let other = open::<Agent>(&disk, |_| ()).await;
    assert_eq!(other.read_state("s").await.unwrap().view, view);
    assert!(orphan.exists());
    one.close().await.unwrap();
    other.close().await.unwrap();
    assert!(orphan.exists());
    let store = open::<Agent>(&disk, |_| ()).await;
    eventually("it is removed", || !orphan.exists()).await;
    store.close().await.unwrap();
    assert!(new.exists() && named.iter().all(|file| file.exists()));
}
