//! Goal: each call shows what is committed then, whoever writes, opens or closes the store meanwhile. Method: one store
//! to read, kept open, beside stores that write in this process and in others, one step after the other and all at
//! once.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use foldlog::{EventId, ReadOnlyStore, SessionId, Store, StoreConfig};

use crate::common::*;
use crate::{Writer, assert_reads_of, open_to_read, prepared, sum_and_head};

on_both_media!(
    each_commit_of_a_store_beside_it_is_seen_at_the_next_call,
    all_of_many_sessions_are_listed_and_read,
    a_closed_store_reads_nothing_more_and_others_go_on,
);

async fn each_commit_of_a_store_beside_it_is_seen_at_the_next_call(config: StoreConfig) {
    soon(open(&config).await.close()).await.unwrap();
    // Opened while nobody writes: a directory has no write-ahead log then.
    let reader = open_to_read(&config).await;
    assert_eq!(soon(reader.list_sessions(None, 10)).await.unwrap(), []);
    for round in 0..3 {
        let store = open(&config).await;
        let session = soon(store.open_session("s")).await.unwrap();
        for n in 1..=5 {
            append(&session, TallyBody::Added(1)).await.unwrap();
            assert_eq!(sum_and_head(&reader, "s").await, (5 * round + n, 5 * round + n));
        }
        let blob = soon(store.put_bytes(round.to_le_bytes().to_vec())).await.unwrap();
        assert_eq!(soon(reader.get_bytes(blob.digest)).await.unwrap(), round.to_le_bytes());
        soon(session.close()).await.unwrap();
        soon(store.close()).await.unwrap();
        assert_eq!(sum_and_head(&reader, "s").await, (5 * (round + 1), 5 * (round + 1)));
    }
    assert!(soon(reader.verify()).await.unwrap().is_sound());
    soon(reader.close()).await.unwrap();
}

async fn all_of_many_sessions_are_listed_and_read(config: StoreConfig) {
    const SESSIONS: u64 = 300;
    let store = open(&config).await;
    for n in 0..SESSIONS {
        let session = soon(store.open_session(format!("session-{n:04}"))).await.unwrap();
        append(&session, TallyBody::Added(n)).await.unwrap();
    }
    for is_open in [true, false] {
        if !is_open {
            soon(store.close()).await.unwrap();
        }
        let reader = open_to_read(&config).await;
        let mut names: Vec<SessionId> = Vec::new();
        loop {
            let page = soon(reader.list_sessions(names.last().cloned(), 64)).await.unwrap();
            if page.is_empty() {
                break;
            }
            names.extend(page.into_iter().map(|summary| summary.id));
        }
        assert_eq!(names.len() as u64, SESSIONS);
        let reads = names.iter().map(async |name| soon(reader.read_state(name)).await.unwrap().view.sum);
        assert_eq!(futures::future::join_all(reads).await, (0..SESSIONS).collect::<Vec<_>>());
        let verification = soon(reader.verify()).await.unwrap();
        assert_eq!((verification.is_sound(), verification.sessions), (true, SESSIONS));
        assert_eq!(reader.stats().reads_queued, 0);
        soon(reader.close()).await.unwrap();
    }
}

async fn a_closed_store_reads_nothing_more_and_others_go_on(config: StoreConfig) {
    use foldlog::ErrorKind::{BeyondHead, InvalidSessionId, StoreClosed, UnknownBlob, UnknownSession};
    let store = open(&config).await;
    usable(&store, "s").await;
    let (one, other) = (open_to_read(&config).await, open_to_read(&config).await);
    assert_refused!(soon(one.read_state("absent")).await, UnknownSession { .. });
    assert_refused!(soon(one.events_after("absent", EventId::ZERO, 1)).await, UnknownSession { .. });
    assert_refused!(soon(one.events_after("s", at(9), 1)).await, BeyondHead { .. });
    assert_refused!(soon(one.read_state("")).await, InvalidSessionId { .. });
    assert_refused!(soon(one.get_bytes(dangling().digest)).await, UnknownBlob { .. });
    soon(one.close()).await.unwrap();
    soon(one.close()).await.unwrap();
    assert_refused!(soon(one.read_state("s")).await, StoreClosed);
    assert_refused!(soon(one.events_after("s", EventId::ZERO, 1)).await, StoreClosed);
    assert_refused!(soon(one.list_sessions(None, 1)).await, StoreClosed);
    assert_refused!(soon(one.get_bytes(dangling().digest)).await, StoreClosed);
    assert_refused!(soon(one.verify()).await, StoreClosed);
    assert_eq!(sum_and_head(&other, "s").await, (1, 1));
    usable(&store, "s").await;
    assert_eq!(sum_and_head(&other, "s").await, (2, 2));
    soon(store.close()).await.unwrap();
}

#[actix::test]
async fn commits_of_another_process_are_seen_while_it_lives_when_it_has_closed_and_when_it_was_killed() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let blob = prepared(directory.path()).await;
    let reader = open_to_read(&StoreConfig::directory(directory.path())).await;
    let mut added = 0;
    for is_killed in [false, true, false, true] {
        let mut writer = Writer::start(directory.path());
        assert_reads_of(&reader, blob, added).await;
        for _ in 0..3 {
            writer.add();
            added += 1;
            assert_reads_of(&reader, blob, added).await;
        }
        if is_killed {
            writer.kill()
        } else {
            writer.close()
        }
        assert_reads_of(&reader, blob, added).await;
    }
    // A store that comes next writes as if nobody read.
    let store = open(&StoreConfig::directory(directory.path())).await;
    append(&soon(store.open_session("s")).await.unwrap(), TallyBody::Added(1)).await.unwrap();
    assert_reads_of(&reader, blob, added + 1).await;
    soon(store.close()).await.unwrap();
    soon(reader.close()).await.unwrap();
}

/// A store that closes copies its commits into the database and removes the write-ahead log: what was read without any
/// lock is of two times then.
#[actix::test]
async fn reads_beside_stores_that_come_and_go_are_whole_and_never_go_back() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let config = StoreConfig::directory(directory.path());
    prepared(directory.path()).await;
    let is_done = Arc::new(AtomicBool::new(false));
    let reading = {
        let (config, is_done) = (config.clone(), Arc::clone(&is_done));
        let reader: ReadOnlyStore<Tally> = open_to_read(&config).await;
        std::thread::spawn(move || {
            futures::executor::block_on(async {
                let (mut reads, mut head) = (0_u64, 3);
                while !is_done.load(Ordering::SeqCst) {
                    let view = reader.read_state("s").await.unwrap().view;
                    assert!(view.head().get() >= head, "{head} events were shown, now {:?}", view.head());
                    assert_eq!(view.sum + 1, view.head().get());
                    head = view.head().get();
                    let verification = reader.verify().await.unwrap();
                    assert!(verification.is_sound(), "{:?}", verification.problems);
                    reads += 1;
                }
                (reads, reader.read_state("s").await.unwrap().view.head().get())
            })
        })
    };
    for _ in 0..40 {
        let store: Store<Tally> = open(&config).await;
        let session = soon(store.open_session("s")).await.unwrap();
        soon(session.append_batch(vec![TallyBody::Added(1); 50]).unwrap()).await.unwrap();
        soon(store.close()).await.unwrap();
        if reading.is_finished() {
            break;
        }
    }
    is_done.store(true, Ordering::SeqCst);
    let (reads, head) = reading.join().unwrap();
    assert_eq!(head, 3 + 40 * 50);
    println!("{reads} reads");
}

/// The database is changed by another process in the same moment in which the reader looks: two changes within one tick
/// of the file system's clock leave the same times.
#[actix::test]
async fn a_change_right_after_another_one_is_seen() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let config = StoreConfig::directory(directory.path());
    prepared(directory.path()).await;
    let reader = open_to_read(&config).await;
    for n in 0..30 {
        assert_eq!(sum_and_head(&reader, "s").await, (2 + n, 3 + n));
        let store = open(&config).await;
        append(&soon(store.open_session("s")).await.unwrap(), TallyBody::Added(1)).await.unwrap();
        soon(store.close()).await.unwrap();
    }
    soon(reader.close()).await.unwrap();
}

#[actix::test]
async fn a_directory_that_was_replaced_is_read_as_it_is_now() {
    let _watchdog = watchdog();
    let outside = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { outside.path().join(name) };
    let reader_config = StoreConfig::directory(path("store"));
    let blob = prepared(&path("store")).await;
    let reader = open_to_read(&reader_config).await;
    assert_reads_of(&reader, blob, 0).await;
    prepared(&path("other")).await;
    let store = open(&StoreConfig::directory(path("other"))).await;
    append(&soon(store.open_session("s")).await.unwrap(), TallyBody::Added(1)).await.unwrap();
    soon(store.close()).await.unwrap();
    std::fs::rename(path("store"), path("away")).unwrap();
    assert!(soon(reader.read_state("s")).await.is_err(), "there is nothing");
    std::fs::rename(path("other"), path("store")).unwrap();
    assert_reads_of(&reader, blob, 1).await;
    soon(reader.close()).await.unwrap();
}
