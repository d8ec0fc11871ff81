//! Goal: a database that is cut, zeroed, gone or something else is refused with what to do, left as it is, and salvaged
//! where SQLite can read it. Method: replace the file of a closed store.

use foldlog::{Create, ErrorKind, Store, StoreConfig};

use crate::common::*;
use crate::{Prepared, plain};

#[actix::test]
async fn a_truncated_database_is_refused_or_names_what_it_lost() {
    let prepared = Prepared::new(700).await;
    let whole = prepared.bytes(&prepared.db());
    let mut opened = 0;
    for pages in 1..whole.len() / 4096 {
        for odd in [0, 100] {
            prepared.restore();
            let cut = &whole[..pages * 4096 + odd];
            std::fs::write(prepared.db(), cut).unwrap();
            match soon(Store::<Tally>::open_model(prepared.config())).await {
                Err(error) => match error.kind() {
                    ErrorKind::CorruptStore { reason } => assert!(reason.contains("Store::repair"), "{reason}"),
                    other => panic!("{pages} pages: {other:?}"),
                },
                Ok(store) => {
                    opened += 1;
                    assert!(!soon(store.verify()).await.unwrap().is_sound(), "{pages} pages");
                    let _ = soon(store.close()).await;
                }
            }
            if let Ok(mut salvage) = Store::<Tally>::salvage_model(prepared.directory.path()) {
                for original in &prepared.sessions {
                    let Ok(salvaged) = salvage.session(&original.name) else { continue };
                    let events: Vec<_> = of_model(salvaged.events).map(|event| plain(&event)).collect();
                    assert!(original.events.starts_with(&events), "{pages} pages: {}", original.name);
                }
            }
        }
    }
    println!("{opened} cuts opened");
}

#[actix::test]
async fn an_empty_or_missing_database_beside_its_blobs_is_no_new_store() {
    let prepared = Prepared::new(10).await;
    for gone in [false, true] {
        std::fs::write(prepared.db(), b"").unwrap();
        if gone {
            std::fs::remove_file(prepared.db()).unwrap();
        }
        let opened = soon(Store::<Tally>::open_model(prepared.config())).await;
        let error = opened.unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::CorruptStore { reason } if reason.contains("put it back")),
            "{error:?}"
        );
        assert_eq!(std::fs::metadata(prepared.db()).map_or(0, |meta| meta.len()), 0);
        assert_eq!(prepared.db().exists(), !gone, "nothing was made");
    }
    prepared.restore();
    soon(soon(Store::<Tally>::open_model(prepared.config())).await.unwrap().close()).await.unwrap();
}

#[actix::test]
async fn a_zeroed_header_is_refused_and_left_as_it_is() {
    let prepared = Prepared::new(10).await;
    for end in [16, 100, 4096] {
        let mut bytes = prepared.bytes(&prepared.db());
        bytes[..end].fill(0);
        std::fs::write(prepared.db(), &bytes).unwrap();
        let error = soon(Store::<Tally>::open_model(prepared.config())).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::CorruptStore { .. }), "{error:?}");
        assert!(Store::<Tally>::salvage_model(prepared.directory.path()).is_err());
        assert_eq!(std::fs::read(prepared.db()).unwrap(), bytes);
    }
}

/// SQLite begins the write-ahead log behind the first page of the database, and nothing is stored before both are
/// complete.
#[actix::test]
async fn a_creation_that_was_cut_short_is_no_damage() {
    let directory = tempfile::tempdir().unwrap();
    let connection = rusqlite::Connection::open(directory.path().join("events.db")).unwrap();
    connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    connection.close().unwrap();
    let wal = directory.path().join("events.db-wal");
    for left in [vec![], vec![0; 5000], vec![7; 20]] {
        std::fs::write(&wal, left).unwrap();
        let store = soon(Store::<Tally>::open_model(StoreConfig::directory(directory.path()))).await.unwrap();
        assert_eq!(store.wal_damage(), None);
        soon(store.close()).await.unwrap();
    }
}

/// Without a blob or a stored view, which would tell as well.
#[actix::test]
async fn a_database_that_was_made_is_not_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let config = StoreConfig::directory(directory.path());
    let store = open(&config).await;
    usable(&store, "s").await;
    soon(store.close()).await.unwrap();
    let path = directory.path().join("events.db");
    let whole = std::fs::read(&path).unwrap();
    let flipped = |range: std::ops::Range<usize>| {
        let mut bytes = whole.clone();
        bytes[range].iter_mut().for_each(|byte| *byte ^= 0xff);
        Some(bytes)
    };
    for damaged in [None, Some(Vec::new()), flipped(0..20), flipped(32..112)] {
        for create in [Create::WhereEmpty, Create::Anywhere, Create::Never] {
            match &damaged {
                Some(bytes) => std::fs::write(&path, bytes).unwrap(),
                None => drop(std::fs::remove_file(&path)),
            }
            let config = StoreConfig { create, ..config.clone() };
            let refused = soon(Store::<Tally>::open_model(config)).await.expect_err("it was lost");
            assert!(matches!(refused.kind(), ErrorKind::CorruptStore { .. }), "{refused}");
            assert_eq!(std::fs::read(&path).ok(), damaged, "nothing was made");
        }
    }
    std::fs::write(&path, whole).unwrap();
    let store = open(&config).await;
    usable(&store, "s").await;
    soon(store.close()).await.unwrap();
    // An empty file where no store was ever made is nothing that `Never` would open.
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("events.db"), "").unwrap();
    let config = StoreConfig { create: Create::Never, ..StoreConfig::directory(other.path()) };
    assert_refused!(soon(Store::<Tally>::open_model(config)).await, ErrorKind::NoStore { .. });
}
