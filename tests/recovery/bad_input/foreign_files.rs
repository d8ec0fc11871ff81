//! Goal: what is no store of this build is refused and left as it is. Method: change or replace the files of a closed
//! store.

use std::path::PathBuf;

use foldlog::{ErrorKind, EventId, Store, StoreConfig};

use super::{db, sql, with_sessions};
use crate::common::*;

#[actix::test]
async fn a_newer_format_is_refused_and_left_untouched() {
    let directory = tempfile::tempdir().unwrap();
    let config = with_sessions(directory.path(), &["s"]).await;
    sql(directory.path(), "PRAGMA user_version = 3");
    let before = std::fs::read(db(directory.path())).unwrap();
    for _ in 0..2 {
        assert_refused!(
            soon(Store::<Tally>::open_model(config.clone())).await,
            ErrorKind::NewerFormat { found: 3, supported: 2 }
        );
    }
    assert!(std::fs::read(db(directory.path())).unwrap() == before, "the database was changed");
    assert_eq!(files_below(&directory.path().join("owners")), [] as [PathBuf; 0]);

    sql(directory.path(), "PRAGMA user_version = 2");
    let store = open(&config).await;
    assert_eq!(look(&store, "s").await.1, EventId::new(5));
    usable(&store, "s").await;
    soon(store.close()).await.unwrap();
}

#[actix::test]
async fn a_database_of_another_application_is_refused_and_left_untouched() {
    for setup in [
        "PRAGMA application_id = 1; CREATE TABLE theirs(x)",
        "CREATE TABLE theirs(x)",
        "PRAGMA user_version = 7",
        "PRAGMA journal_mode = WAL; CREATE TABLE theirs(x)",
    ] {
        let directory = tempfile::tempdir().unwrap();
        sql(directory.path(), setup);
        let before = std::fs::read(db(directory.path())).unwrap();
        let path = db(directory.path());
        assert_refused!(
            soon(Store::<Tally>::open_model(StoreConfig::directory(directory.path()))).await,
            ErrorKind::NotAStore { path: named } if *named == path
        );
        assert!(std::fs::read(&path).unwrap() == before, "the database was changed: {setup}");
    }
}

#[actix::test]
async fn a_file_that_is_no_database_is_refused_and_left_untouched() {
    let long = "not a database ".repeat(1000);
    for content in [long.as_bytes(), &long.as_bytes()[..600], b"precious", b"xy", &[0; 4096]] {
        let directory = tempfile::tempdir().unwrap();
        let path = db(directory.path());
        std::fs::write(&path, content).unwrap();
        assert_refused!(
            soon(Store::<Tally>::open_model(StoreConfig::directory(directory.path()))).await,
            ErrorKind::NotAStore { path: named } if *named == path
        );
        assert!(std::fs::read(&path).unwrap() == content, "{} bytes were changed", content.len());
    }
}

#[actix::test]
async fn a_directory_that_cannot_be_written_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "theirs").unwrap();
    for path in [file.clone(), file.join("below"), file.join("far/below"), PathBuf::from("/proc/foldlog-test/x")] {
        assert_refused!(
            soon(Store::<Tally>::open_model(StoreConfig::directory(&path))).await,
            ErrorKind::Io { path: named, .. } if path.starts_with(named)
        );
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"theirs");
    assert_eq!(files_below(directory.path()), [file]);

    // A name that foldlog needs is taken by something else.
    for name in ["blobs", "tmp", "owners"] {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(name), "theirs").unwrap();
        assert_refused!(
            soon(Store::<Tally>::open_model(StoreConfig::directory(directory.path()))).await,
            ErrorKind::Io { path, .. } if path.starts_with(directory.path())
        );
        assert_eq!(std::fs::read(directory.path().join(name)).unwrap(), b"theirs");
    }
    for name in ["LOCK", "events.db"] {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join(name)).unwrap();
        let opened = soon(Store::<Tally>::open_model(StoreConfig::directory(directory.path()))).await;
        assert_refused!(opened, ErrorKind::Io { .. } | ErrorKind::NotAStore { .. } | ErrorKind::UnsuitablePlace { .. });
    }
}
