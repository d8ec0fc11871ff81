//! Goal: what is no store of this build is refused as a store that writes would refuse it, by name, and left as it is;
//! damage is reported alike. Method: absent, foreign and damaged directories, and disks in memory.

use foldlog::{ErrorKind, Medium, MemoryDisk, Store, StoreConfig};

use crate::common::*;
use crate::{assert_reads, assert_untouched, listing, open_to_read, prepared};

fn sql(directory: &std::path::Path, statement: &str) {
    let connection = rusqlite::Connection::open(directory.join("events.db")).unwrap();
    connection.execute_batch(statement).unwrap();
    connection.close().unwrap();
}

type Opened = Result<foldlog::ReadOnlyStore<Tally>, foldlog::Error>;

async fn opened(config: &StoreConfig) -> Opened {
    soon(Store::open_model_read_only(config.clone())).await
}

#[actix::test]
async fn where_there_is_no_store_none_is_made() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let absent = directory.path().join("absent");
    for path in [absent.as_path(), directory.path()] {
        // Whatever the configuration says of making one.
        for create in [foldlog::Create::Never, foldlog::Create::WhereEmpty, foldlog::Create::Anywhere] {
            let config = StoreConfig { create, ..StoreConfig::directory(path) };
            assert_refused!(opened(&config).await, ErrorKind::NoStore { .. });
        }
    }
    assert!(!absent.exists());
    let file = directory.path().join("file");
    std::fs::write(&file, "x").unwrap();
    assert_refused!(opened(&StoreConfig::directory(&file)).await, ErrorKind::NoStore { .. });
    // A database that nothing was ever made in.
    std::fs::write(directory.path().join("events.db"), "").unwrap();
    assert_refused!(opened(&StoreConfig::directory(directory.path())).await, ErrorKind::NoStore { .. });
    sql(directory.path(), "PRAGMA page_size = 4096; VACUUM");
    assert_refused!(opened(&StoreConfig::directory(directory.path())).await, ErrorKind::NoStore { .. });
    assert_eq!(files_below(directory.path()), [directory.path().join("events.db"), file]);

    let config = StoreConfig::on(Medium::memory(MemoryDisk::default()));
    assert_refused!(opened(&config).await, ErrorKind::NoStore { .. });
    soon(open(&config).await.close()).await.unwrap();
    assert!(opened(&config).await.is_ok());
}

#[actix::test]
async fn a_store_of_another_model_is_refused() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    for config in [StoreConfig::directory(directory.path().join("store")), StoreConfig::memory()] {
        soon(open(&config).await.close()).await.unwrap();
        assert_refused!(soon(Store::open_read_only(config)).await, ErrorKind::WrongModel { .. });
    }
}

#[actix::test]
async fn formats_that_this_build_does_not_read_are_refused_by_their_number_and_left_untouched() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let config = StoreConfig::directory(directory.path());
    let blob = prepared(directory.path()).await;
    sql(directory.path(), "PRAGMA user_version = 4711");
    let before = listing(directory.path());
    assert_refused!(opened(&config).await, ErrorKind::NewerFormat { found: 4711, .. });
    assert_untouched(directory.path(), &before);
    sql(directory.path(), "PRAGMA user_version = 0");
    assert_refused!(opened(&config).await, ErrorKind::OlderFormat { found: 0, oldest: 1 });
    sql(directory.path(), "PRAGMA user_version = 2");
    assert_reads(directory.path(), blob, 0).await;
}

#[actix::test]
async fn a_format_that_changes_while_the_store_is_open_is_named() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    prepared(directory.path()).await;
    let mut config = StoreConfig::directory(directory.path());
    // So that the same connection reads before and after.
    config.residency.recoveries_max = 1;
    // A store beside it keeps the write-ahead log, and with it the connection.
    for is_beside in [false, true] {
        let store = if is_beside { Some(open(&config).await) } else { None };
        let reader = open_to_read(&config).await;
        assert!(soon(reader.read_state("s")).await.is_ok());
        sql(directory.path(), "PRAGMA user_version = 4711");
        let error = soon(reader.read_state("s")).await.err().unwrap();
        assert!(matches!(error.kind(), ErrorKind::Unavailable { .. }), "{error:?}");
        assert!(error.to_string().contains("format 4711"), "{error}");
        sql(directory.path(), "PRAGMA user_version = 2");
        assert!(soon(reader.read_state("s")).await.is_ok());
        soon(reader.close()).await.unwrap();
        if let Some(store) = store {
            soon(store.close()).await.unwrap();
        }
    }
}

#[actix::test]
async fn a_database_that_is_foreign_or_lost_is_refused() {
    let _watchdog = watchdog();
    for setup in
        ["PRAGMA application_id = 1; CREATE TABLE theirs(x)", "PRAGMA journal_mode = WAL; CREATE TABLE theirs(x)"]
    {
        let directory = tempfile::tempdir().unwrap();
        sql(directory.path(), setup);
        let before = listing(directory.path());
        assert_refused!(opened(&StoreConfig::directory(directory.path())).await, ErrorKind::NotAStore { .. });
        assert_untouched(directory.path(), &before);
    }
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("events.db"), "not a database ".repeat(1000)).unwrap();
    assert_refused!(opened(&StoreConfig::directory(directory.path())).await, ErrorKind::NotAStore { .. });

    let directory = tempfile::tempdir().unwrap();
    prepared(directory.path()).await;
    std::fs::write(directory.path().join("events.db"), "").unwrap();
    assert_refused!(opened(&StoreConfig::directory(directory.path())).await, ErrorKind::CorruptStore { .. });
    sql(directory.path(), "PRAGMA page_size = 4096; VACUUM");
    assert_refused!(opened(&StoreConfig::directory(directory.path())).await, ErrorKind::CorruptStore { .. });
    std::fs::remove_file(directory.path().join("events.db")).unwrap();
    assert_refused!(opened(&StoreConfig::directory(directory.path())).await, ErrorKind::CorruptStore { .. });
}

/// Nobody reads its journal then, which may hold what belongs into the database.
#[actix::test]
async fn a_database_of_another_journal_mode_is_refused() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let blob = prepared(directory.path()).await;
    let journal = directory.path().join("events.db-journal");
    std::fs::write(&journal, "x").unwrap();
    let error = opened(&StoreConfig::directory(directory.path())).await.err().unwrap();
    assert!(error.to_string().contains("journal mode"), "{error}");
    std::fs::remove_file(journal).unwrap();
    assert_reads(directory.path(), blob, 0).await;
}

#[actix::test]
async fn a_limit_of_nothing_is_refused() {
    let config = StoreConfig { page_events_max: 0, ..StoreConfig::memory() };
    assert_refused!(opened(&config).await, ErrorKind::InvalidArgument { .. });
}

#[actix::test]
async fn damage_is_reported_as_a_store_that_writes_reports_it() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let config = StoreConfig::directory(directory.path());
    let blob = prepared(directory.path()).await;
    let name = blob.digest.to_string();
    let store = open(&config).await;
    for session in ["t", "u"] {
        usable(&store, session).await;
    }
    soon(store.close()).await.unwrap();
    let path = directory.path().join("blobs").join(&name[..2]).join(&name);
    std::fs::write(path, b"a blot").unwrap();
    sql(
        directory.path(),
        "UPDATE events SET record = zeroblob(40) WHERE position = 2; UPDATE logs SET owner = CAST(x'ff' AS TEXT) WHERE log_key = 2",
    );
    let reader = open_to_read(&config).await;
    let found = soon(reader.verify()).await.unwrap();
    let store = open(&config).await;
    let expected = soon(store.verify()).await.unwrap();
    soon(store.close()).await.unwrap();
    let texts = |verification: &foldlog::Verification| {
        verification.problems.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert!(texts(&found).len() >= 3, "{:?}", texts(&found));
    assert_eq!((found.to_string(), texts(&found)), (expected.to_string(), texts(&expected)));

    assert_refused!(soon(reader.read_state("s")).await, ErrorKind::CorruptEvent { event, .. } if *event == at(2));
    assert_eq!(ids(&soon(reader.events_after("s", at(0), 10)).await.unwrap().events), [1]);
    assert_refused!(soon(reader.events_after("s", at(1), 10)).await, ErrorKind::CorruptEvent { .. });
    assert_refused!(soon(reader.get_bytes(blob.digest)).await, ErrorKind::CorruptBlob { .. });
    assert_eq!(soon(reader.read_state("u")).await.unwrap().view.sum, 1);
    soon(reader.close()).await.unwrap();
}
