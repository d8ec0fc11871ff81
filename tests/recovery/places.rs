//! Goal: a place that cannot hold a store is named, with its path and with what to do, and is not called a matter of
//! waiting. Method: stores are opened in such places; what was there before is there afterwards.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use crate::common::*;
use foldlog::{Error, ErrorKind, NextStep, Store, StoreConfig};

/// Opening fails with a permanent error that says all of this.
async fn refused(path: &Path, says: &[&str]) -> Error {
    let error = soon(Store::<Tally>::open_model(StoreConfig::directory(path))).await.unwrap_err();
    assert_eq!(error.next_step(), NextStep::MendTheSetup, "{error:?}");
    for says in says {
        assert!(error.to_string().contains(says), "wanted {says:?}: {error}");
    }
    error
}

async fn unsuitable(path: &Path, says: &[&str]) {
    let error = refused(path, says).await;
    assert!(matches!(error.kind(), ErrorKind::UnsuitablePlace { .. }), "{error:?}");
    assert!(error.to_string().contains(path.to_str().unwrap()), "no path: {error}");
}

/// A store with one event, closed.
async fn made(path: &Path) {
    let store = open(&StoreConfig::directory(path)).await;
    append(&soon(store.open_session("s")).await.unwrap(), TallyBody::Added(1)).await.unwrap();
    soon(store.close()).await.unwrap();
}

/// The store there works, and has the event of [`made`].
async fn works(path: &Path) {
    let store = open(&StoreConfig::directory(path)).await;
    let session = soon(store.resume_session("s")).await.unwrap();
    assert_eq!(log_ids(&session).await[..1], [1]);
    usable(&store, "s").await;
    soon(store.close()).await.unwrap();
}

/// A directory below `root` whose path has this many bytes.
fn long_path(root: &Path, bytes: usize) -> std::path::PathBuf {
    let mut path = root.to_owned();
    loop {
        match bytes - path.as_os_str().len() {
            0 => return path,
            left @ 2..=201 => path.push("x".repeat(left - 1)),
            _ => path.push("x".repeat(199)),
        }
    }
}

#[actix::test]
async fn a_path_that_is_too_long_is_named_and_nothing_is_made() {
    let root = tempfile::tempdir().unwrap();
    for bytes in [458, 600, 4090, 5000] {
        let path = long_path(root.path(), bytes);
        unsuitable(&path, &["too long", &bytes.to_string(), "limit"]).await;
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0, "{bytes}: nothing was made");
    }
    // The longest that is taken works, blobs and all.
    let path = long_path(root.path(), 457);
    made(&path).await;
    works(&path).await;
    // A short name for a long path is the long path.
    let far = long_path(root.path(), 470);
    fs::create_dir_all(&far).unwrap();
    let near = root.path().join("near");
    symlink(&far, &near).unwrap();
    unsuitable(&near, &["too long"]).await;
    assert_eq!(fs::read_dir(&far).unwrap().count(), 0);
}

#[actix::test]
async fn a_database_that_is_a_directory_or_a_symbolic_link_is_named_and_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("directory");
    fs::create_dir_all(path.join("events.db")).unwrap();
    unsuitable(&path, &["events.db is a directory"]).await;
    assert!(path.join("events.db").is_dir());

    let dangling = root.path().join("dangling");
    fs::create_dir(&dangling).unwrap();
    symlink(root.path().join("nowhere"), dangling.join("events.db")).unwrap();
    unsuitable(&dangling, &["events.db is a symbolic link"]).await;
    assert!(dangling.join("events.db").is_symlink() && !root.path().join("nowhere").exists());

    let (store, linked) = (root.path().join("store"), root.path().join("linked"));
    made(&store).await;
    fs::create_dir(&linked).unwrap();
    symlink(store.join("events.db"), linked.join("events.db")).unwrap();
    unsuitable(&linked, &["events.db is a symbolic link"]).await;
    assert!(linked.join("events.db").is_symlink());
    works(&store).await;
    // A link to the whole directory is as good as the directory.
    let whole = root.path().join("whole");
    symlink(&store, &whole).unwrap();
    works(&whole).await;
}

#[actix::test]
async fn a_changed_journal_mode_is_told_with_the_pragma_that_mends_it() {
    let root = tempfile::tempdir().unwrap();
    made(root.path()).await;
    let set = |mode: &str| {
        let database = rusqlite::Connection::open(root.path().join("events.db")).unwrap();
        database.query_row(&format!("PRAGMA journal_mode={mode}"), [], |row| row.get::<_, String>(0)).unwrap()
    };
    assert_eq!(set("delete"), "delete");
    unsuitable(root.path(), &["events.db", "journal mode is delete", "PRAGMA journal_mode=WAL"]).await;
    assert_eq!(set("wal"), "wal");
    works(root.path()).await;
}

/// Blobs get their names by a rename, which cannot cross file systems.
#[actix::test]
async fn a_blob_directory_on_another_file_system_is_refused_at_the_opening() {
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else { return eprintln!("left out: no second file system") };
    let root = tempfile::tempdir().unwrap();
    if elsewhere.path().metadata().unwrap().dev() == root.path().metadata().unwrap().dev() {
        return eprintln!("left out: one file system");
    }
    for name in ["blobs", "snapshots", "tmp"] {
        let path = root.path().join(name);
        fs::create_dir(&path).unwrap();
        symlink(elsewhere.path(), path.join(name)).unwrap();
        unsuitable(&path, &[name, "another file system"]).await;
        assert!(!path.join("events.db").exists());
        fs::remove_file(path.join(name)).unwrap();
        made(&path).await;
        works(&path).await;
    }
}

/// The errors of the operating system come with the path that they are about.
#[actix::test]
async fn a_file_that_may_not_be_written_is_named() {
    let root = tempfile::tempdir().unwrap();
    made(root.path()).await;
    let database = root.path().join("events.db");
    let mode =
        |path: &Path, mode| fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    mode(&database, 0o000);
    if fs::File::open(&database).is_ok() {
        return eprintln!("left out: this user may read every file");
    }
    refused(root.path(), &[database.to_str().unwrap(), "ermission"]).await;
    mode(&database, 0o400);
    refused(root.path(), &[database.to_str().unwrap(), "ermission"]).await;
    mode(&database, 0o600);
    // SQLite has given them the mode of the database.
    refused(root.path(), &["events.db-", "ermission"]).await;
    for name in ["events.db-wal", "events.db-shm"].map(|name| root.path().join(name)) {
        if name.exists() {
            mode(&name, 0o600);
        }
    }
    mode(&root.path().join("owners"), 0o500);
    refused(root.path(), &["owners", "ermission"]).await;
    mode(&root.path().join("owners"), 0o700);
    works(root.path()).await;
}
