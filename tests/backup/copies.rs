//! Goal: the copy is the store, at one moment. Method: compare all that both have.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::*;
use foldlog::testkit::{Faults, Port};
use foldlog::{BackupOptions, ErrorKind, Medium, MemoryDisk};

on_both_media!(
    a_backup_has_every_session_with_its_events_titles_blobs_and_chains,
    a_repeated_backup_copies_what_is_new_and_nothing_else,
    a_backup_beside_appends_has_all_that_was_acknowledged_before_it,
    a_backup_is_a_store_that_goes_on,
    a_restored_store_is_the_backup_and_tells_a_client_that_is_ahead,
    progress_is_told_and_a_backup_that_nobody_waits_for_ends,
    a_backup_of_an_empty_store_is_an_empty_store,
    two_backups_into_one_directory_at_once_do_not_mix,
    a_store_that_closes_ends_a_backup,
);

async fn store_and_beside(config: &StoreConfig) -> (Store<Tally>, ReadOnlyStore<Tally>) {
    let store = open(config).await;
    let beside = soon(Store::<Tally>::open_model_read_only(config.clone())).await.unwrap();
    (store, beside)
}

async fn a_backup_has_every_session_with_its_events_titles_blobs_and_chains(config: StoreConfig) {
    let (store, beside) = store_and_beside(&config).await;
    fill(&store, 1).await;
    let orphan = store.put_bytes(b"nobody names it".to_vec()).await.unwrap();
    let places = Places::new();
    let made = soon(store.backup(places.path("b"))).await.unwrap();
    assert_eq!((made.sessions, made.copied.events, made.copied.blobs), (5, 4 * 8 + 1, 4));
    let found = whole_of(&places.path("b")).await;
    assert_eq!(found, whole(&beside).await);
    assert_eq!(found["s1"].summary.title, "title 1");
    assert!(!blobs_in(&places.path("b")).contains(&orphan.digest));
    // One file, no owners, nothing left over.
    let names: Vec<_> =
        std::fs::read_dir(places.path("b")).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    for name in &names {
        assert!(["LOCK", "blobs", "events.db", "owners", "snapshots", "tmp"].contains(&&**name), "{names:?}");
    }
    assert_eq!(files_below(&places.path("b").join("tmp")), Vec::<PathBuf>::new());
    // From a store that only reads, and verified as a whole.
    let options = BackupOptions::default().verify_everything();
    soon(beside.backup_with(places.path("c"), options)).await.unwrap();
    assert_eq!(whole_of(&places.path("c")).await, found);
    soon(store.close()).await.unwrap();
}

async fn a_repeated_backup_copies_what_is_new_and_nothing_else(config: StoreConfig) {
    let (store, beside) = store_and_beside(&config).await;
    let places = Places::new();
    for round in 1..=4 {
        fill(&store, round).await;
        let made = soon(store.backup(places.path("b"))).await.unwrap();
        assert_eq!((made.sessions, made.copied.events, made.copied.blobs), (4 + round, 4 * 8 + 1, 4));
        assert_eq!(whole_of(&places.path("b")).await, whole(&beside).await);
    }
    let before = std::fs::metadata(places.path("b").join("events.db")).unwrap().len();
    let options = BackupOptions::default().verify_everything();
    let made = soon(store.backup_with(places.path("b"), options)).await.unwrap();
    assert_eq!((made.sessions, made.copied), (8, Default::default()));
    assert_eq!(std::fs::metadata(places.path("b").join("events.db")).unwrap().len(), before);
    assert_eq!(whole_of(&places.path("b")).await, whole(&beside).await);
    soon(store.close()).await.unwrap();
}

async fn a_backup_beside_appends_has_all_that_was_acknowledged_before_it(config: StoreConfig) {
    let (store, beside) = store_and_beside(&config).await;
    let places = Places::new();
    let acknowledged: Arc<Vec<AtomicU64>> = Arc::new((0..4).map(|_| AtomicU64::new(0)).collect());
    let writers = (0..4_usize).map(|n| {
        let (store, acknowledged) = (store.clone(), Arc::clone(&acknowledged));
        actix::spawn(async move {
            let session = store.open_session(format!("w{n}")).await.unwrap();
            for round in 0..50 {
                let batch = (0..3).map(|it| TallyBody::Added(it + round)).collect();
                let head = session.append_batch(batch).unwrap().await.unwrap().head;
                acknowledged[n].store(head.get(), Ordering::SeqCst);
                let blob = store.put_bytes(format!("{n} {round}").repeat(50).into_bytes()).await.unwrap();
                append(&session, TallyBody::Attached(blob)).await.unwrap();
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let mut backups = 0;
    while backups < 3 || !writers.iter().all(|writer| writer.is_finished()) {
        let before: Vec<_> = acknowledged.iter().map(|head| head.load(Ordering::SeqCst)).collect();
        soon(store.backup(places.path("b"))).await.unwrap();
        backups += 1;
        let (copy, now) = (whole_of(&places.path("b")).await, whole(&beside).await);
        for (n, before) in before.iter().enumerate().filter(|(_, before)| **before > 0) {
            let (copied, there) = (&copy[&format!("w{n}")].events, &now[&format!("w{n}")].events);
            assert!(copied.len() as u64 >= *before, "{} of {before}", copied.len());
            assert_eq!(copied[..], there[..copied.len()], "a beginning of the session");
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    soon(store.backup(places.path("b"))).await.unwrap();
    assert_eq!(whole_of(&places.path("b")).await, whole(&beside).await);
    soon(store.close()).await.unwrap();
}

async fn a_backup_is_a_store_that_goes_on(config: StoreConfig) {
    let store = open(&config).await;
    fill(&store, 1).await;
    let places = Places::new();
    soon(store.backup(places.path("b"))).await.unwrap();
    let copy = open(&StoreConfig::directory(places.path("b"))).await;
    for session in ["s0", "s1", "empty 1", "new"] {
        usable(&copy, session).await;
    }
    // A retry of what was copied finds the first result.
    let retried = copy.open_session("s0").await.unwrap().append_with(keyed(TallyBody::named("key"), "k1")).unwrap();
    assert!(soon(retried).await.unwrap().repeated);
    soon(copy.close()).await.unwrap();
    let error = soon(store.backup(places.path("b"))).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::InvalidArgument { .. }), "{error}");
    assert!(error.to_string().contains("was opened as a store since"), "{error}");
    soon(store.close()).await.unwrap();
}

async fn a_restored_store_is_the_backup_and_tells_a_client_that_is_ahead(config: StoreConfig) {
    let store = open(&config).await;
    fill(&store, 1).await;
    let places = Places::new();
    soon(store.backup(places.path("b"))).await.unwrap();
    let session = store.open_session("s0").await.unwrap();
    let ahead = append(&session, TallyBody::Added(99)).await.unwrap().events[0].position();
    let made = soon(Store::<Tally>::restore_model(places.path("b"), places.path("r"))).await.unwrap();
    assert_eq!((made.sessions, made.copied.events), (5, 33));
    assert_eq!(whole_of(&places.path("r")).await, whole_of(&places.path("b")).await);
    let error = soon(Store::<Tally>::restore_model(places.path("b"), places.path("r"))).await.unwrap_err();
    assert!(error.to_string().contains("holds events.db"), "{error}");

    let restored = open(&StoreConfig::directory(places.path("r"))).await;
    let session = restored.resume_session("s0").await.unwrap();
    assert_refused!(soon(session.events_after(ahead, 10)).await, ErrorKind::BeyondHead { .. });
    append(&session, TallyBody::Added(1)).await.unwrap();
    assert_refused!(soon(session.events_after(ahead, 10)).await, ErrorKind::OtherHistory { .. });
    // Its backups are its own.
    let error = soon(restored.backup(places.path("b"))).await.unwrap_err();
    assert!(error.to_string().contains("is the backup of another store"), "{error}");
    soon(restored.backup(places.path("of the restored"))).await.unwrap();
    soon(store.backup(places.path("b"))).await.unwrap();
    soon(restored.close()).await.unwrap();
    soon(store.close()).await.unwrap();
}

async fn progress_is_told_and_a_backup_that_nobody_waits_for_ends(config: StoreConfig) {
    let store = open(&config).await;
    fill(&store, 1).await;
    let places = Places::new();
    let told = Arc::new(Mutex::new(Vec::new()));
    let (reached, gate) = std::sync::mpsc::channel();
    let (open_gate, opened) = std::sync::mpsc::channel::<()>();
    let (note, opened) = (Arc::clone(&told), Mutex::new(opened));
    let options = BackupOptions::default().on_progress(move |copied| {
        note.lock().unwrap().push(copied);
        if copied.blobs == 1 {
            reached.send(()).unwrap();
            // Until the test has dropped the future.
            assert!(opened.lock().unwrap().recv().is_err());
        }
    });
    {
        let mut backup = Box::pin(store.backup_with(places.path("b"), options));
        until_woken_or_waiting(backup.as_mut()).await;
        gate.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
    }
    drop(open_gate);
    // The next one waits until that one has let go, and goes on.
    let made = soon(store.backup(places.path("b"))).await.unwrap();
    assert_eq!((made.copied.events, made.copied.blobs), (33, 3), "one blob was there already");
    let told = told.lock().unwrap().clone();
    assert_eq!((told[0].events, told[0].blobs), (33, 0));
    assert_eq!(told.len(), 2, "it went on after nobody waited for it: {told:?}");
    soon(store.close()).await.unwrap();
}

/// Polls a future once.
async fn until_woken_or_waiting<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) {
    assert!(futures::poll!(future).is_pending());
}

async fn a_backup_of_an_empty_store_is_an_empty_store(config: StoreConfig) {
    let store = open(&config).await;
    let places = Places::new();
    let made = soon(store.backup(places.path("b"))).await.unwrap();
    assert_eq!(made, Default::default());
    assert!(whole_of(&places.path("b")).await.is_empty());
    fill(&store, 1).await;
    assert_eq!(soon(store.backup(places.path("b"))).await.unwrap().copied.events, 33);
    soon(store.close()).await.unwrap();
}

async fn two_backups_into_one_directory_at_once_do_not_mix(config: StoreConfig) {
    let (store, beside) = store_and_beside(&config).await;
    fill(&store, 1).await;
    let places = Places::new();
    for _ in 0..3 {
        let (one, two) = (store.backup(places.path("b")), beside.backup(places.path("b")));
        let (one, two) = soon(futures::future::join(one, two)).await;
        for outcome in [&one, &two] {
            if let Err(error) = outcome {
                assert!(matches!(error.kind(), ErrorKind::Unavailable { .. }), "{error}");
            }
        }
        assert!(one.is_ok() || two.is_ok());
        assert_eq!(whole_of(&places.path("b")).await, whole(&beside).await);
        fill(&store, 2).await;
    }
    soon(store.close()).await.unwrap();
}

async fn a_store_that_closes_ends_a_backup(config: StoreConfig) {
    let faults = Faults::default();
    let store = open(&faults.watch(config.clone())).await;
    fill(&store, 1).await;
    let places = Places::new();
    let mut held = faults.hold(Port::Scan);
    let mut backup = Box::pin(store.backup(places.path("b")));
    until_woken_or_waiting(backup.as_mut()).await;
    soon(held.reached()).await;
    let closing = store.close();
    let mut closing = Box::pin(closing);
    assert!(futures::poll!(closing.as_mut()).is_pending());
    held.release();
    let (backup, closed) = soon(futures::future::join(backup, closing)).await;
    closed.unwrap();
    let error = backup.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::StoreClosed), "{error}");
    let error = Store::<Tally>::open_model(StoreConfig::directory(places.path("b"))).await.unwrap_err();
    assert!(error.to_string().contains("was not finished"), "{error}");
    // The next store goes on.
    let store = open(&config).await;
    soon(store.backup(places.path("b"))).await.unwrap();
    assert_eq!(whole_of(&places.path("b")).await.len(), 5);
    soon(store.close()).await.unwrap();
}

#[actix::test]
async fn a_store_in_memory_is_restored_from_its_backup() {
    let store = open(&StoreConfig::on(Medium::memory(MemoryDisk::default()))).await;
    fill(&store, 1).await;
    let places = Places::new();
    soon(store.backup(places.path("b"))).await.unwrap();
    soon(store.close()).await.unwrap();
    soon(Store::<Tally>::restore_model(places.path("b"), places.path("r"))).await.unwrap();
    let restored = open(&StoreConfig::directory(places.path("r"))).await;
    usable(&restored, "s2").await;
    soon(restored.close()).await.unwrap();
}

/// A restore knows nothing of the limits of the store that was backed up.
#[actix::test]
async fn a_blob_over_the_default_limit_is_restored() {
    let places = Places::new();
    let mut config = StoreConfig::directory(places.path("store"));
    config.blob_bytes_max *= 2;
    let over = config.blob_bytes_max / 2 + 1;
    config.queued_put_bytes_max *= 2;
    let store = open(&config).await;
    let session = store.open_session("s").await.unwrap();
    let blob = soon(store.put_bytes(vec![7; over])).await.unwrap();
    append(&session, TallyBody::Attached(blob)).await.unwrap();
    soon(store.backup(places.path("b"))).await.unwrap();
    soon(store.close()).await.unwrap();
    let made = soon(Store::<Tally>::restore_model(places.path("b"), places.path("r"))).await.unwrap();
    assert_eq!((made.copied.blobs, made.copied.blob_bytes), (1, over as u64));
    // A store with the default limit says of what it cannot read that it cannot.
    let store = open(&StoreConfig::directory(places.path("r"))).await;
    assert_refused!(soon(store.backup(places.path("of the restored"))).await, ErrorKind::TooLarge { .. });
    soon(store.close()).await.unwrap();
}
