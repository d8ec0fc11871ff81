//! Goal: a store's files are for one user, or for the group of their directory where the host says so. Method:
//! everything a store makes is made, and the modes are read.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::common::*;
use foldlog::{Medium, StoreConfig};

fn all_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(all_below(&path));
        }
        found.push(path);
    }
    found
}

/// Each path with its mode, while the store is open and has written everything that there is.
async fn modes(medium: Medium, root: &Path) -> Vec<(PathBuf, u32)> {
    let mut config = StoreConfig::on(medium);
    config.snapshots.closing_events = 1;
    let store = open(&config).await;
    let session = soon(store.open_session("s")).await.unwrap();
    append(&session, TallyBody::Added(1)).await.unwrap();
    let wal = fs::read(root.join("events.db-wal")).unwrap();
    soon(store.close()).await.unwrap();
    // Of a damaged write-ahead log a copy is kept.
    let mut damaged = wal;
    damaged[32 + 24 + 100] ^= 1;
    let path = root.join("events.db-wal");
    fs::write(&path, damaged).unwrap();
    fs::set_permissions(&path, root.join("events.db").metadata().unwrap().permissions()).unwrap();

    let store = open(&config).await;
    let session = soon(store.open_session("s")).await.unwrap();
    for size in [100, 300 << 10] {
        let blob = soon(store.put_bytes(vec![1; size])).await.unwrap();
        append(&session, TallyBody::Attached(blob)).await.unwrap();
    }
    soon(session.close()).await.unwrap();
    soon(store.open_session("t")).await.unwrap();
    let found =
        all_below(root).into_iter().map(|path| (path.clone(), path.metadata().unwrap().mode() & 0o7777)).collect();
    soon(store.close()).await.unwrap();
    found
}

fn assert_modes(found: &[(PathBuf, u32)], file: u32, directory: u32) {
    for (path, mode) in found {
        let wanted = if path.is_dir() || path.parent().unwrap().ends_with("tmp") { directory } else { file };
        assert_eq!(*mode, wanted, "{}: {mode:o}, wanted {wanted:o}", path.display());
    }
    let names: Vec<_> = found.iter().map(|(path, _)| path.to_str().unwrap()).collect();
    for part in ["LOCK", "owners/", "tmp/", "blobs/", "snapshots/", "events.db", "-wal", "-shm", "damaged-"] {
        assert!(names.iter().any(|name| name.contains(part)), "no {part}: {names:?}");
    }
}

#[actix::test]
async fn the_files_of_a_directory_are_for_its_user_alone() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("store");
    let found = modes(Medium::directory(&path), &path).await;
    assert_modes(&found, 0o600, 0o700);
    assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o700);
}

#[actix::test]
async fn the_files_of_a_group_directory_are_for_its_group_too() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("store");
    let medium = Medium::group_directory(&path);
    assert_eq!(medium.as_directory(), Some(&*path));
    let found = modes(medium, &path).await;
    assert_modes(&found, 0o660, 0o2770);
    // What was made for the group goes with the directory, too, and not with whoever makes it.
    let group = path.metadata().unwrap().gid();
    assert!(found.iter().all(|(path, _)| path.metadata().map_or(group, |found| found.gid()) == group));
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o2770);
}
