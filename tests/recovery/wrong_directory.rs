//! Goal: a store is made only where the host meant it. Method: absent, empty and foreign directories, under each
//! setting; what was there before is there afterwards, and nothing else.

use std::path::Path;

use foldlog::{Create, ErrorKind, Medium, MemoryDisk, Store, StoreConfig};

use crate::common::*;

fn config(path: &Path, create: Create) -> StoreConfig {
    StoreConfig { create, ..StoreConfig::directory(path) }
}

fn names(path: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(path) else { return vec!["absent".to_owned()] };
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

async fn refused(config: StoreConfig, path: &Path, wanted: &str) {
    let before = names(path);
    let error = soon(Store::<Tally>::open_model(config)).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NoStore { .. }), "{error:?}");
    assert!(error.to_string().contains(wanted), "{error}");
    assert_eq!(names(path), before, "nothing was made");
}

async fn opens(config: StoreConfig) {
    let store = soon(Store::<Tally>::open_model(config)).await.unwrap();
    usable(&store, "s").await;
    soon(store.close()).await.unwrap();
}

#[actix::test]
async fn a_store_that_must_be_there_is_not_made_where_there_is_none() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("deep/er");
    refused(config(&path, Create::Never), &path, path.to_str().unwrap()).await;
    assert_eq!(names(root.path()), [""; 0], "no parent either");
    std::fs::create_dir_all(&path).unwrap();
    refused(config(&path, Create::Never), &path, "events.db").await;
    let error = soon(Store::open_existing(StoreConfig::directory(&path))).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NoStore { .. }), "{error}");
    let store = soon(Store::open(StoreConfig::directory(&path))).await.unwrap();
    soon(store.close()).await.unwrap();
    soon(soon(Store::open_existing(StoreConfig::directory(&path))).await.unwrap().close()).await.unwrap();
}

#[actix::test]
async fn a_directory_with_foreign_files_becomes_a_store_only_when_the_host_says_so() {
    for foreign in ["letter.txt", "photos", "events.sqlite", "blobs.tar"] {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join(foreign), "mine").unwrap();
        refused(StoreConfig::directory(root.path()), root.path(), foreign).await;
        opens(config(root.path(), Create::Anywhere)).await;
        // Now it is a store, whatever lies beside it.
        opens(StoreConfig::directory(root.path())).await;
        opens(config(root.path(), Create::Never)).await;
        assert_eq!(std::fs::read_to_string(root.path().join(foreign)).unwrap(), "mine");
    }
}

/// What tools leave in an empty directory, and what a store leaves that died while it was made.
#[actix::test]
async fn a_directory_that_is_as_good_as_empty_becomes_a_store() {
    for left in [&["lost+found/"][..], &[".gitkeep", ".DS_Store"], &["blobs/.gitkeep"], &["LOCK", "owners/", "tmp/"]] {
        let root = tempfile::tempdir().unwrap();
        for name in left {
            let path = root.path().join(name);
            match name.strip_suffix('/') {
                Some(_) => std::fs::create_dir(path).unwrap(),
                None => {
                    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                    std::fs::write(path, "").unwrap();
                }
            }
        }
        opens(StoreConfig::directory(root.path())).await;
    }
}

/// A stored view tells of a database as a blob does.
#[actix::test]
async fn a_database_that_is_gone_while_its_stored_views_are_there_is_no_new_store() {
    let root = tempfile::tempdir().unwrap();
    let mut tuned = StoreConfig::directory(root.path());
    tuned.snapshots.closing_events = 1;
    let store = soon(Store::<Tally>::open_model(tuned)).await.unwrap();
    let session = soon(store.open_session("s")).await.unwrap();
    for n in 0..5 {
        append(&session, TallyBody::Added(n)).await.unwrap();
    }
    soon(session.close()).await.unwrap();
    soon(store.close()).await.unwrap();
    assert_ne!(names(&root.path().join("snapshots")), [""; 0]);
    std::fs::remove_file(root.path().join("events.db")).unwrap();
    for create in [Create::WhereEmpty, Create::Anywhere, Create::Never] {
        let error = soon(Store::<Tally>::open_model(config(root.path(), create))).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::CorruptStore { .. }), "{create:?}: {error}");
    }
}

#[actix::test]
async fn a_disk_in_memory_on_which_no_store_was_ever_opened_has_none() {
    let on = |disk: &MemoryDisk, create| StoreConfig { create, ..StoreConfig::on(Medium::memory(disk.clone())) };
    let disk = MemoryDisk::default();
    let error = soon(Store::<Tally>::open_model(on(&disk, Create::Never))).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NoStore { .. }), "{error}");
    opens(on(&disk, Create::WhereEmpty)).await;
    opens(on(&disk, Create::Never)).await;
}
