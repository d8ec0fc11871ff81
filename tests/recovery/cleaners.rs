//! Goal: what a cleaner removes of a store that is open costs nobody an event: temporaries are made again, and a store
//! whose owner file is gone acknowledges nothing more, since other stores take it for dead. Method: both are removed
//! under an open store, with another store beside it.

use std::fs;
use std::path::Path;

use crate::common::*;
use foldlog::{Error, ErrorKind, NextStep, StoreConfig, WasWritten};

fn remove_all_in(directory: &Path) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }
}

fn assert_must_reopen(error: &Error) {
    assert!(matches!(error.kind(), ErrorKind::MustReopen { .. }), "{error:?}");
    assert_eq!((error.next_step(), error.was_written()), (NextStep::OpenAgain, WasWritten::No));
    assert!(error.to_string().contains("owners/"), "{error}");
}

#[actix::test]
async fn a_directory_for_temporaries_that_is_removed_is_made_again() {
    let root = tempfile::tempdir().unwrap();
    let mut config = StoreConfig::directory(root.path());
    config.snapshots.closing_events = 1;
    let store = open(&config).await;
    let session = soon(store.open_session("s")).await.unwrap();
    for (n, remove) in (0_u8..).zip([true, false, true]) {
        if remove {
            remove_all_in(&root.path().join("tmp"));
        } else {
            fs::remove_dir_all(root.path().join("tmp")).unwrap();
        }
        let blob = soon(store.put_bytes(vec![n; 100])).await.unwrap();
        append(&session, TallyBody::Attached(blob)).await.unwrap();
    }
    remove_all_in(&root.path().join("tmp"));
    soon(session.close()).await.unwrap();
    assert_eq!(store.stats().snapshots_written, 1, "a view is stored all the same");
    assert!(soon(store.verify()).await.unwrap().is_sound());
    soon(store.close()).await.unwrap();
    assert_eq!(fs::read_dir(root.path().join("tmp")).unwrap().count(), 0, "nothing is left behind");
}

#[actix::test]
async fn an_owner_file_that_is_removed_or_replaced_is_noticed_before_the_next_acknowledgement() {
    let _watchdog = watchdog();
    for replaced in [false, true] {
        let root = tempfile::tempdir().unwrap();
        let config = StoreConfig::directory(root.path());
        let store = open(&config).await;
        let session = soon(store.open_session("s")).await.unwrap();
        append(&session, TallyBody::Added(1)).await.unwrap();
        let owners = root.path().join("owners");
        let file = fs::read_dir(&owners).unwrap().next().unwrap().unwrap().path();
        fs::remove_file(&file).unwrap();
        if replaced {
            fs::write(&file, "process 1").unwrap();
        }
        for _ in 0..2 {
            assert_must_reopen(&append(&session, TallyBody::Added(2)).await.unwrap_err());
            assert_must_reopen(&soon(store.open_session("new")).await.unwrap_err());
        }
        assert_eq!(session.view().unwrap().head(), at(1));

        // Another store may write the session, and nothing that the first one has acknowledged contradicts it.
        let other = open(&config).await;
        let taken = soon(other.open_session("s")).await.unwrap();
        append(&taken, TallyBody::Added(3)).await.unwrap();
        assert!(append(&session, TallyBody::Added(4)).await.is_err());
        assert_eq!(log_ids(&taken).await, [1, 2]);
        soon(store.close()).await.unwrap();
        append(&taken, TallyBody::Added(5)).await.unwrap();
        soon(other.close()).await.unwrap();
        let store = open(&config).await;
        usable(&store, "s").await;
        assert!(soon(store.verify()).await.unwrap().is_sound());
        soon(store.close()).await.unwrap();
    }
}
