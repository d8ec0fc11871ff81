//! Goal: each append is answered with what the log says, whatever happens between the commit and its answer. Method: a
//! view and a waker that panic; a disk on which the commit and the finding out fail, and a kill after that.

use std::sync::Arc;

use foldlog::testkit::{Call, Faults, Group, Lasting, Port, TestDisk as FaultyDisk};
use foldlog::{Append, ErrorKind, Store, StoreConfig, SubscribeFrom};
use futures::StreamExt;

use crate::common::tally::{Place, Switch};
use crate::common::*;
use crate::live_ids;

on_both_media! {
    a_retry_of_what_cannot_be_folded_gets_the_first_result,
    an_append_whose_view_panics_in_its_clone_is_answered_as_the_log_has_it,
    an_append_whose_subscriber_panics_when_it_is_woken_is_answered_as_the_log_has_it,
}

async fn an_append_whose_view_panics_in_its_clone_is_answered_as_the_log_has_it(config: StoreConfig) {
    let store = open(&config).await;
    let session = soon(store.open_session("s")).await.unwrap();
    let breaks = Switch::off();
    append(&session, breaks.trap(Place::CloneOnce)).await.unwrap();
    breaks.turn_on();
    let answer = append(&session, TallyBody::Added(10)).await;
    assert!(!breaks.is_on(), "it broke");
    assert_eq!(answer.unwrap().head, at(2), "it is durable");
    soon(session.recovery()).await.unwrap();
    assert_eq!(whole_log(&session).await.len(), 2);
    assert_eq!((session.view().unwrap().head(), session.view().unwrap().sum), (at(2), 10));
    assert_eq!(append(&session, TallyBody::Added(100)).await.unwrap().head, at(3));
    soon(store.close()).await.unwrap();
}

async fn an_append_whose_subscriber_panics_when_it_is_woken_is_answered_as_the_log_has_it(config: StoreConfig) {
    struct Panics;
    impl std::task::Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("on purpose: this waker panics");
        }
    }
    let store = open(&config).await;
    let session = soon(store.open_session("s")).await.unwrap();
    let mut stream = soon(session.subscribe(SubscribeFrom::Now)).await.unwrap();
    let waker = std::task::Waker::from(Arc::new(Panics));
    assert!(stream.poll_next_unpin(&mut std::task::Context::from_waker(&waker)).is_pending());
    assert_eq!(ids_of(&append(&session, TallyBody::Added(1)).await.unwrap()), [1], "it is durable");
    soon(session.recovery()).await.unwrap();
    assert_eq!(whole_log(&session).await.len(), 1);
    assert_eq!(live_ids(stream, 1).await, [1]);
    usable(&store, "s").await;
    soon(store.close()).await.unwrap();
}

async fn a_retry_of_what_cannot_be_folded_gets_the_first_result(config: StoreConfig) {
    let store = open(&config).await;
    let session = soon(store.open_session("s")).await.unwrap();
    let body = Switch::on().trap(Place::Apply);
    let keyed = |body| session.append_with(Append::new(body).key(key("k"))).unwrap();
    assert_eq!(soon(keyed(body.clone())).await.unwrap().head, at(1));
    assert_refused!(append(&session, TallyBody::Added(1)).await, ErrorKind::Unfoldable { .. });
    let again = soon(keyed(body)).await.unwrap();
    assert_eq!((again.repeated, again.head), (true, at(1)));
    soon(store.close()).await.unwrap();
}

fn appends_of(call: &Call) -> usize {
    match call {
        Call::Commit { group } => group.iter().filter(|write| matches!(write, Group::Append { .. })).count(),
        _ => 0,
    }
}

/// A group of two appends of one session, whose COMMIT fails, as does finding out. Then the disk is well again, and the
/// process is killed: its files are copied as they are.
#[actix::test]
async fn what_is_called_not_written_after_a_failed_commit_is_in_no_log_after_a_kill() {
    let _watchdog = watchdog();
    let disk = FaultyDisk::new().unwrap();
    let faults = Faults::default();
    let store = open(&faults.watch(disk.config())).await;
    let session = soon(store.open_session("s")).await.unwrap();
    let other = soon(store.open_session("other")).await.unwrap();
    append(&session, TallyBody::Added(1)).await.unwrap();
    let mut ahead = faults.hold_where(Port::Commit, |call| appends_of(call) > 0);
    let of_other = other.append(TallyBody::Added(1)).unwrap();
    ahead.reached().await;
    let mut group = faults.hold_where(Port::Commit, |call| appends_of(call) == 2);
    let receipts = [10, 100].map(|n| session.append(TallyBody::Added(n)).unwrap());
    soon(session.counters()).await.unwrap();
    ahead.release();
    soon(of_other).await.unwrap();
    group.reached().await;
    disk.fail_sync(0, Lasting::UntilCleared);
    group.release();
    let mut answers = Vec::new();
    for receipt in receipts {
        answers.push(soon(receipt).await);
    }
    disk.clear();
    let copy = tempfile::tempdir().unwrap();
    for name in ["events.db", "events.db-wal"] {
        std::fs::copy(disk.path().join(name), copy.path().join(name)).unwrap();
    }
    let after: Store<Tally> = open(&StoreConfig::directory(copy.path())).await;
    let (_, head) = look(&after, "s").await;
    for (id, answer) in [2, 3].into_iter().zip(answers) {
        let is_not_written = matches!(&answer, Err(error) if matches!(error.kind(), ErrorKind::NotWritten { .. }));
        assert!(!is_not_written || head < at(id), "event {id} is in the log: {answer:?}");
    }
    soon(after.close()).await.unwrap();
    soon(store.close()).await.unwrap();
}

/// The reader keeps the write-ahead log from being emptied, which is how the failed commit is made definite.
#[actix::test]
async fn a_failed_commit_beside_a_foreign_reader_is_answered_when_the_reader_has_gone() {
    let _watchdog = watchdog();
    let disk = FaultyDisk::new().unwrap();
    let store = open(&disk.config()).await;
    let session = soon(store.open_session("s")).await.unwrap();
    append(&session, TallyBody::Added(1)).await.unwrap();
    let foreign = rusqlite::Connection::open(disk.path().join("events.db")).unwrap();
    foreign.execute_batch("BEGIN").unwrap();
    let seen: i64 = foreign.query_row("SELECT count(*) FROM events", [], |row| row.get(0)).unwrap();
    assert_eq!(seen, 1);
    append(&session, TallyBody::Added(2)).await.unwrap();
    disk.fail_sync(0, Lasting::Once);
    let receipt = session.append(TallyBody::Added(10)).unwrap();
    let failed = async {
        while store.stats().groups_failed == 0 {
            tokio::task::yield_now().await
        }
    };
    soon(failed).await;
    foreign.execute_batch("COMMIT").unwrap();
    let answer = soon(receipt).await;
    let is_unknown = matches!(&answer, Err(error) if matches!(error.kind(), ErrorKind::OutcomeUnknown { .. }));
    assert!(!is_unknown, "the log could be read: {answer:?}");
    usable(&store, "s").await;
    soon(store.close()).await.unwrap();
}
