//! Goal: each number of `Store::stats` is exact. Method: scripted runs on both media, in which everything that is
//! counted happens a known number of times; gates hold a commit or a read while what waits is looked at.

use crate::common::*;
use foldlog::testkit::{Fault, Faults, Port};
use foldlog::{
    Append, ErrorKind, Histogram, Item, LagPolicy, LiveConfig, Restart, Stats, Store, StoreConfig, SubscribeFrom,
};
use futures::StreamExt;
use futures::future::join_all;

on_both_media!(
    a_store_that_was_just_opened_has_counted_nothing,
    appends_and_their_events_are_counted_once_each_and_a_retry_or_a_refusal_is_none,
    what_waits_behind_a_commit_is_one_group_and_is_seen_waiting,
    an_append_over_the_limit_is_counted_as_busy_and_as_nothing_else,
    a_group_that_failed_is_counted_and_what_it_wrote_all_the_same_is_acknowledged,
    an_append_that_a_recovery_answers_is_acknowledged_once,
    each_recovery_is_counted_while_it_is_on_and_when_it_has_ended,
    puts_of_bytes_that_are_there_are_counted_with_their_bytes,
    blob_calls_that_wait_for_a_thread_are_seen,
    gaps_are_counted_with_the_events_and_transients_that_they_left_out,
    two_stores_on_one_medium_count_apart,
    the_rows_of_stored_views_wait_and_are_answered_like_all_writes,
);

/// Count, sum and maximum.
fn exactly(histogram: &Histogram) -> (u64, u64, u64) {
    (histogram.count(), histogram.sum(), histogram.max())
}

async fn watched(disk: &TestDisk) -> (Faults, Store) {
    let faults = Faults::default();
    let store = disk.open_with(|config| *config = faults.watch(config.clone())).await;
    (faults, store)
}

/// Nothing waits any more. The persist actor says so a moment after its last answer.
async fn idle(store: &Store) -> Stats {
    eventually("the queue of writes is empty", || store.stats().writes_queued == 0).await;
    let stats = store.stats();
    assert_eq!((stats.in_flight, stats.reads_queued, stats.blob_calls_queued, stats.recoveries_running), (0, 0, 0, 0));
    stats
}

async fn a_store_that_was_just_opened_has_counted_nothing(disk: TestDisk) {
    let store = disk.open().await;
    // The store itself looks for stored views that nobody needs, once, when it has opened.
    eventually("nothing is read any more", || store.stats().reads_queued == 0).await;
    assert_eq!(store.stats(), Stats::default());
    store.close().await.unwrap();
}

async fn appends_and_their_events_are_counted_once_each_and_a_retry_or_a_refusal_is_none(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    for n in 1..=3 {
        session.append(noted(n)).unwrap().await.unwrap();
    }
    session.append_batch((4..=7).map(noted).collect()).unwrap().await.unwrap();
    let keyed = || Append::new(noted(8)).key(key("k"));
    session.append_with(keyed()).unwrap().await.unwrap();
    assert!(session.append_with(keyed()).unwrap().await.unwrap().repeated);
    let stale = Append::new(noted(9)).expect_head(at(1));
    assert_refused!(session.append_with(stale).unwrap().await, ErrorKind::HeadMoved { .. });
    session.append_batch(Vec::new()).unwrap().await.unwrap();

    let stats = idle(&store).await;
    assert_eq!((stats.appends_acknowledged, stats.events_acknowledged, stats.appends_busy), (5, 8, 0));
    // Each was awaited before the next was made, so each is a group.
    assert_eq!(exactly(&stats.group_appends), (5, 5, 1));
    assert_eq!(exactly(&stats.group_events), (5, 8, 4));
    assert_eq!((stats.acknowledgement_micros.count(), stats.commit_micros.count(), stats.groups_failed), (5, 5, 0));
    let (acknowledged, committed) = (&stats.acknowledgement_micros, &stats.commit_micros);
    assert!(acknowledged.sum() >= committed.sum() && acknowledged.max() >= committed.max(), "{stats:?}");
    assert_eq!(stats.sessions_open, 1);
    let file = disk.path().map_or(0, |path| path.join("events.db-wal").metadata().unwrap().len());
    assert_eq!((stats.upkeep.log_bytes, stats.upkeep.runs, stats.upkeep.runs_blocked), (file, 0, 0));
    session.close().await.unwrap();
    assert_eq!(store.stats().sessions_open, 0);
    store.close().await.unwrap();
}

async fn what_waits_behind_a_commit_is_one_group_and_is_seen_waiting(disk: TestDisk) {
    let (faults, store) = watched(&disk).await;
    let sessions = join_all((0..10).map(|n| store.open_session(format!("s{n}")))).await;
    let sessions: Vec<_> = sessions.into_iter().map(Result::unwrap).collect();
    idle(&store).await;
    let mut held = faults.hold(Port::Commit);
    let first = sessions[0].append(noted(1)).unwrap();
    soon(held.reached()).await;
    let rest: Vec<_> = sessions.iter().map(|session| session.append_batch(vec![noted(2), noted(3)]).unwrap()).collect();
    eventually("all are on their way", || store.stats().writes_queued == 11).await;
    let during = store.stats();
    assert_eq!((during.in_flight, during.appends_acknowledged, during.commit_micros.count()), (11, 0, 0));
    // A retry shares the answer of the append that it meets on its way.
    let keyed = || Append::new(noted(4)).key(key("k"));
    let joined = [keyed(), keyed()].map(|append| sessions[0].append_with(append).unwrap());
    eventually("all are on their way", || store.stats().writes_queued == 12).await;
    assert_eq!(store.stats().in_flight, 13);
    held.release();
    soon(first).await.unwrap();
    for receipt in rest.into_iter().chain(joined) {
        soon(receipt).await.unwrap();
    }
    let stats = idle(&store).await;
    assert_eq!((stats.appends_acknowledged, stats.events_acknowledged, stats.commit_micros.count()), (12, 22, 2));
    assert_eq!((exactly(&stats.group_appends), exactly(&stats.group_events)), ((2, 12, 11), (2, 22, 21)));
    assert_eq!(stats.group_appends.buckets(), [(1, 1), (11, 1)]);
    store.close().await.unwrap();
}

async fn an_append_over_the_limit_is_counted_as_busy_and_as_nothing_else(disk: TestDisk) {
    let faults = Faults::default();
    let limited = |config: &mut StoreConfig| {
        *config = faults.watch(StoreConfig { session_in_flight_max: 2, ..config.clone() });
    };
    let store = disk.open_with(limited).await;
    let session = store.open_session("s").await.unwrap();
    let mut held = faults.hold(Port::Commit);
    let accepted = [1, 2].map(|n| session.append(noted(n)).unwrap());
    soon(held.reached()).await;
    for n in 3..=5 {
        assert_refused!(session.append(noted(n)), ErrorKind::Busy { .. });
    }
    assert_eq!((store.stats().appends_busy, store.stats().in_flight), (3, 2));
    held.release();
    for receipt in accepted {
        soon(receipt).await.unwrap();
    }
    let stats = idle(&store).await;
    assert_eq!((stats.appends_busy, stats.appends_acknowledged, stats.acknowledgement_micros.count()), (3, 2, 2));
    store.close().await.unwrap();
}

async fn a_group_that_failed_is_counted_and_what_it_wrote_all_the_same_is_acknowledged(disk: TestDisk) {
    let (faults, store) = watched(&disk).await;
    let session = store.open_session("s").await.unwrap();
    for (fault, is_written) in [(Fault::DiskFull, false), (Fault::CommitLost, false), (Fault::CommitKept, true)] {
        faults.fail_next(Port::Commit, fault);
        assert_eq!(soon(session.append(noted(1)).unwrap()).await.is_ok(), is_written, "{fault:?}");
    }
    // The group is put back and committed, so it is one that has not failed.
    faults.fail_next(Port::Commit, Fault::Busy);
    soon(session.append(noted(2)).unwrap()).await.unwrap();
    eventually("the wait is over", || store.stats().lock_waiting.is_none()).await;
    let stats = idle(&store).await;
    assert_eq!((stats.groups_failed, stats.commit_micros.count(), stats.appends_acknowledged), (3, 1, 2));
    assert_eq!(stats.lock_waits, 1);
    store.close().await.unwrap();
}

async fn an_append_that_a_recovery_answers_is_acknowledged_once(disk: TestDisk) {
    let (faults, store) = watched(&disk).await;
    let session = store.open_session("s").await.unwrap();
    let mut held = faults.hold(Port::Commit);
    let receipt = session.append_batch(vec![noted(1), noted(2)]).unwrap();
    soon(held.reached()).await;
    soon(session.address().unwrap().send(Restart)).await.unwrap();
    held.release();
    soon(receipt).await.unwrap();
    soon(session.recovery()).await.unwrap();
    let stats = idle(&store).await;
    assert_eq!((stats.appends_acknowledged, stats.events_acknowledged, stats.recovery_micros.count()), (1, 2, 1));
    store.close().await.unwrap();
}

async fn each_recovery_is_counted_while_it_is_on_and_when_it_has_ended(disk: TestDisk) {
    let store = disk.open().await;
    for name in ["a", "b"] {
        store.open_session(name).await.unwrap().append(noted(1)).unwrap().await.unwrap();
    }
    assert_eq!(idle(&store).await.recovery_micros.count(), 0, "a session that is made needs none");
    store.close().await.unwrap();

    let (faults, store) = watched(&disk).await;
    let mut held = faults.hold(Port::Page);
    let opening = actix::spawn({
        let store = store.clone();
        async move { store.open_session("a").await }
    });
    soon(held.reached()).await;
    assert_eq!((store.stats().recoveries_running, store.stats().recovery_micros.count()), (1, 0));
    held.release();
    let session = soon(opening).await.unwrap().unwrap();
    soon(session.address().unwrap().send(Restart)).await.unwrap();
    soon(session.recovery()).await.unwrap();
    faults.fail_next(Port::Page, Fault::Io);
    assert_refused!(store.open_session("b").await, ErrorKind::Unavailable { .. });
    let stats = idle(&store).await;
    assert_eq!((stats.recovery_micros.count(), stats.recoveries_failed), (2, 1));
    store.close().await.unwrap();
}

async fn puts_of_bytes_that_are_there_are_counted_with_their_bytes(disk: TestDisk) {
    let store = disk.open_with(|config| config.blob_bytes_max = 100).await;
    for bytes in [vec![1; 10], vec![2; 20], vec![1; 10], vec![2; 20], vec![1; 10]] {
        store.put_bytes(bytes).await.unwrap();
    }
    assert_refused!(store.put_bytes(vec![3; 101]).await, ErrorKind::TooLarge { .. });
    let stats = idle(&store).await;
    assert_eq!((stats.blob_puts, stats.blob_bytes_put), (5, 70));
    assert_eq!((stats.blobs_deduplicated, stats.blob_bytes_deduplicated), (3, 40));
    store.close().await.unwrap();
    // It does not matter who put them.
    let store = disk.open().await;
    store.put_bytes(vec![2; 20]).await.unwrap();
    let stats = idle(&store).await;
    assert_eq!((stats.blob_puts, stats.blobs_deduplicated, stats.blob_bytes_deduplicated), (1, 1, 20));
    store.close().await.unwrap();
}

async fn blob_calls_that_wait_for_a_thread_are_seen(disk: TestDisk) {
    let (faults, store) = watched(&disk).await;
    let mut held: Vec<_> = (0..8).map(|_| faults.hold(Port::PutBlob)).collect();
    let put = |n: u8| {
        let store = store.clone();
        actix::spawn(async move { store.put_bytes(vec![n; 10]).await })
    };
    let mut puts: Vec<_> = (0..8).map(put).collect();
    for held in &mut held {
        soon(held.reached()).await;
    }
    puts.extend((8..11).map(put));
    eventually("three wait for the eight threads", || store.stats().blob_calls_queued == 3).await;
    drop(held);
    for put in puts {
        soon(put).await.unwrap().unwrap();
    }
    assert_eq!(idle(&store).await.blob_puts, 11);
    store.close().await.unwrap();
}

async fn gaps_are_counted_with_the_events_and_transients_that_they_left_out(disk: TestDisk) {
    let live = LiveConfig { subscriber_queue_max: 2, lag: LagPolicy::Gap };
    let store = disk.open_with(|config| config.live = live).await;
    let session = store.open_session("s").await.unwrap();
    let mut stream = session.subscribe(SubscribeFrom::Now).await.unwrap();
    for n in 1..=5 {
        session.append(noted(n)).unwrap().await.unwrap();
    }
    for n in 1..=4 {
        session.notify(shown(n)).unwrap();
    }
    // This call takes its place in the session's order after the transients.
    session.append(noted(6)).unwrap().await.unwrap();
    assert_eq!(store.stats().subscriber_gaps, 0, "it is counted when it is given");
    let items: Vec<_> = soon(stream.by_ref().take(3).collect()).await;
    let [Item::Event(_), Item::Event(_), Item::Gap(gap)] = &items[..] else { panic!("{items:?}") };
    assert_eq!((gap.after, gap.through, gap.transients), (at(2), at(6), 4));
    let stats = idle(&store).await;
    assert_eq!((stats.subscriber_gaps, stats.subscriber_events_left_out), (1, 4));
    assert_eq!(stats.subscriber_transients_left_out, 4);
    store.close().await.unwrap();
}

async fn two_stores_on_one_medium_count_apart(disk: TestDisk) {
    let (ours, theirs) = (disk.open().await, disk.open().await);
    let session = ours.open_session("s").await.unwrap();
    session.append(noted(1)).unwrap().await.unwrap();
    let read = theirs.open_session("s").await.unwrap();
    let (ours_seen, theirs_seen) = (idle(&ours).await, idle(&theirs).await);
    assert_eq!((ours_seen.appends_acknowledged, ours_seen.recovery_micros.count()), (1, 0));
    assert_eq!((theirs_seen.appends_acknowledged, theirs_seen.recovery_micros.count()), (0, 1));
    // One more recovery folds what another store has written.
    session.append(noted(2)).unwrap().await.unwrap();
    soon(read.recovery()).await.unwrap();
    assert_eq!(read.view().unwrap().head(), at(2));
    assert_eq!(idle(&theirs).await.recovery_micros.count(), 2);
    ours.close().await.unwrap();
    theirs.close().await.unwrap();
}

/// A write-ahead log is long enough for a checkpoint after this many of [`long`].
const CHECKPOINT_EVENTS: u64 = 6;

fn long(n: u64) -> foldlog::agent::AgentBody {
    user(format!("{n}{}", "x".repeat(1 << 20)))
}

async fn long_store(directory: &std::path::Path) -> Store {
    let config = StoreConfig { record_bytes_max: 2 << 20, ..StoreConfig::directory(directory) };
    Store::open(config).await.unwrap()
}

#[actix::test]
async fn a_checkpoint_that_a_foreign_reader_holds_up_is_counted_as_blocked() {
    let directory = tempfile::tempdir().unwrap();
    let store = long_store(directory.path()).await;
    let session = store.open_session("s").await.unwrap();
    // A checkpoint is made beside the commits, and counted at one of those after it.
    let append_until = async |what: &str, seen: &dyn Fn() -> bool| {
        for n in 0..20 * CHECKPOINT_EVENTS {
            session.append(long(n)).unwrap().await.unwrap();
            if seen() {
                return;
            }
        }
        panic!("not in time: {what}");
    };
    append_until("a checkpoint was made", &|| store.stats().upkeep.runs > 0).await;
    assert_eq!(store.stats().upkeep.runs_blocked, 0);

    // Another program, as far as SQLite can tell.
    let foreign = rusqlite::Connection::open(directory.path().join("events.db")).unwrap();
    foreign.execute_batch("BEGIN; SELECT count(*) FROM events").unwrap();
    let before = store.stats();
    append_until("a checkpoint was blocked", &|| store.stats().upkeep.runs_blocked > 0).await;
    append_until("and another one", &|| store.stats().upkeep.runs_blocked > 1).await;
    // The log was begun anew before, and first fills the room that its file has.
    append_until("it grows", &|| store.stats().upkeep.log_bytes > before.upkeep.log_bytes).await;
    let during = store.stats();
    assert!(during.upkeep.runs <= before.upkeep.runs + 1, "but for one that was on");
    // A stored view of the session may be on its way, and is a commit, too.
    let wal = directory.path().join("events.db-wal");
    eventually("its size is told", || store.stats().upkeep.log_bytes == wal.metadata().unwrap().len()).await;
    foreign.execute_batch("ROLLBACK").unwrap();
    append_until("checkpoints go on", &|| store.stats().upkeep.runs > during.upkeep.runs).await;
    store.close().await.unwrap();
}

async fn the_rows_of_stored_views_wait_and_are_answered_like_all_writes(disk: TestDisk) {
    let faults = Faults::default();
    let mut config = faults.watch(disk.config());
    config.snapshots.every_events = 1;
    let store: Store = Store::open(config).await.unwrap();
    let session = store.open_session("s").await.unwrap();
    session.append(noted(1)).unwrap().await.unwrap();
    eventually("a view is stored", || store.stats().snapshots_written == 1).await;
    idle(&store).await;
    let mut held = faults.hold(Port::Commit);
    let receipt = session.append(noted(2)).unwrap();
    soon(held.reached()).await;
    assert_eq!(store.stats().writes_queued, 1);
    held.release();
    soon(receipt).await.unwrap();
    store.close().await.unwrap();
}
