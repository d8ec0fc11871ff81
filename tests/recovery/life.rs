//! Goal: what can become of a process with a store open is told by name, and has a way out: a fork, a handle that
//! leaked, a turn that is held for ever, a clock that was wrong, a thread that waits for itself. Method: each is done
//! on purpose.

use std::cell::Cell;
use std::time::Duration;

use futures::executor::block_on;

use crate::common::*;
use foldlog::{
    Append, Clock, ErrorKind, ManualClock, Medium, MemoryDisk, NextStep, Store, StoreConfig, SubscribeFrom, Timestamp,
    WasWritten,
};
use foldlog_vfs::ends_well_in_a_forked_child;

/// The parent only reads: SQLite would take its locks for the child's all the same.
#[test]
fn a_child_of_a_process_that_only_reads_opens_nothing_and_reads_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let root = tempfile::tempdir().unwrap();
    let config = StoreConfig::directory(root.path());
    let store = runtime.block_on(open(&config));
    runtime.block_on(usable(&store, "s"));
    runtime.block_on(store.close()).unwrap();
    let reader = runtime.block_on(Store::<Tally>::open_model_read_only(config.clone())).unwrap();
    let handles = Cell::new(Some(reader.clone()));
    let ended = ends_well_in_a_forked_child(|| {
        let reader = handles.take().unwrap();
        for error in [
            block_on(reader.list_sessions(None, 1)).map(drop).unwrap_err(),
            block_on(reader.read_state("s")).map(drop).unwrap_err(),
            block_on(reader.events_after("s", at(0), 1)).map(drop).unwrap_err(),
            block_on(reader.verify()).map(drop).unwrap_err(),
            block_on(reader.close()).unwrap_err(),
            block_on(Store::<Tally>::open_model(config.clone())).map(drop).unwrap_err(),
            block_on(Store::<Tally>::open_model_read_only(config.clone())).map(drop).unwrap_err(),
            Store::<Tally>::salvage_model(root.path()).map(drop).unwrap_err(),
            Store::<Tally>::repair_model(root.path(), root.path().join("new")).map(drop).unwrap_err(),
        ] {
            assert!(matches!(error.kind(), ErrorKind::Forked), "{error:?}");
        }
        drop(reader);
    });
    assert!(ended.unwrap());
    assert_eq!(runtime.block_on(reader.list_sessions(None, 9)).unwrap().len(), 1);
    runtime.block_on(reader.close()).unwrap();
}

#[test]
fn a_handle_in_a_forked_child_is_refused_by_name_and_costs_the_parent_nothing() {
    // The store is opened outside of any system, so that its sessions have a thread of their own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let root = tempfile::tempdir().unwrap();
    let config = StoreConfig::directory(root.path());
    let store = runtime.block_on(open(&config));
    let session = runtime.block_on(store.open_session("s")).unwrap();
    runtime.block_on(append(&session, TallyBody::Added(1))).unwrap();
    let turn = runtime.block_on(session.take_turn()).unwrap();
    let lock = ForeignLock::hold(root.path());
    let receipt = session.append_with(Append::new(TallyBody::Added(2))).unwrap();
    let handles = Cell::new(Some((store, session, turn, receipt)));
    let ended = ends_well_in_a_forked_child(|| {
        let (store, session, turn, receipt) = handles.take().unwrap();
        assert_eq!(block_on(receipt).unwrap_err().was_written(), WasWritten::Unknown);
        for error in [
            session.append(TallyBody::Added(3)).map(drop).unwrap_err(),
            session.notify("live".to_owned()).unwrap_err(),
            block_on(session.take_turn()).map(drop).unwrap_err(),
            block_on(session.take_over()).unwrap_err(),
            block_on(session.recovery()).map(drop).unwrap_err(),
            block_on(session.subscribe(SubscribeFrom::Now)).map(drop).unwrap_err(),
            block_on(session.events_after(at(0), 1)).map(drop).unwrap_err(),
            block_on(session.close()).unwrap_err(),
            block_on(store.open_session("t")).map(drop).unwrap_err(),
            block_on(store.read_state("s")).map(drop).unwrap_err(),
            block_on(store.list_sessions(None, 1)).map(drop).unwrap_err(),
            block_on(store.put_bytes(vec![1])).map(drop).unwrap_err(),
            block_on(store.verify()).map(drop).unwrap_err(),
            block_on(store.close()).unwrap_err(),
            // SQLite would take the locks of the parent for its own.
            block_on(Store::<Tally>::open_model(config.clone())).map(drop).unwrap_err(),
        ] {
            assert!(matches!(error.kind(), ErrorKind::Forked), "{error:?}");
            assert_eq!(error.next_step(), NextStep::MendTheSetup);
        }
        // The view is in memory, here as there.
        assert_eq!(session.view().unwrap().head(), at(1));
        let threads = || std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
        // The one that was to open a store may be ending still.
        let deadline = std::time::Instant::now() + PATIENCE;
        while threads() > 1 && std::time::Instant::now() < deadline {
            std::thread::yield_now();
        }
        // The last handles there.
        drop((turn, session, store));
        assert_eq!(threads(), 1, "no thread was started, to close the store with");
    });
    assert!(ended.unwrap(), "the child failed: see above");

    // The parent has its locks, its file, its turn and its append.
    let (store, session, turn, receipt) = handles.take().unwrap();
    lock.release();
    runtime.block_on(receipt).unwrap();
    assert!(turn.is_held());
    runtime.block_on(append(&session, TallyBody::Added(3))).unwrap();
    let other = runtime.block_on(open(&config));
    let theirs = runtime.block_on(other.open_session("s")).unwrap();
    assert_refused!(runtime.block_on(append(&theirs, TallyBody::Added(9))), ErrorKind::OwnedElsewhere { .. });
    runtime.block_on(other.close()).unwrap();
    assert_eq!(runtime.block_on(log_ids(&session)), [1, 2, 3]);
    runtime.block_on(store.close()).unwrap();
    let store = runtime.block_on(open(&config));
    runtime.block_on(usable(&store, "s"));
    runtime.block_on(store.close()).unwrap();
}

#[actix::test]
async fn a_store_that_this_process_did_not_close_is_called_so() {
    let root = tempfile::tempdir().unwrap();
    for config in [StoreConfig::directory(root.path()), StoreConfig::on(Medium::memory(MemoryDisk::default()))] {
        let leaked = open(&config).await;
        append(&soon(leaked.open_session("s")).await.unwrap(), TallyBody::Added(1)).await.unwrap();
        let store = open(&config).await;
        let session = soon(store.open_session("s")).await.unwrap();
        let error = append(&session, TallyBody::Added(2)).await.unwrap_err();
        assert_eq!(error.next_step(), NextStep::AskTheOwner);
        let ErrorKind::OwnedElsewhere { owner, .. } = error.kind() else { panic!("{error:?}") };
        assert!(owner.in_this_process && owner.process == std::process::id());
        assert!(
            error.to_string().contains("another store that this process opened and that has not closed yet"),
            "{error}"
        );
        // The way out that the text names.
        soon(leaked.close()).await.unwrap();
        append(&session, TallyBody::Added(2)).await.unwrap();
        soon(store.close()).await.unwrap();
    }
}

#[actix::test]
async fn a_turn_whose_guard_leaked_can_be_taken_away() {
    let store = open(&StoreConfig::memory()).await;
    let session = soon(store.open_session("s")).await.unwrap();
    assert!(!session.revoke_turn(), "nobody has it");
    std::mem::forget(soon(session.take_turn()).await.unwrap());
    assert_refused!(soon(session.take_turn()).await, ErrorKind::TurnInFlight { .. });
    assert!(session.revoke_turn());
    let hung = soon(session.take_turn()).await.unwrap();
    assert!(hung.is_held() && session.revoke_turn() && !hung.is_held());
    let next = soon(session.take_turn()).await.unwrap();
    // The old guard gives back nothing that is the new one's.
    drop(hung);
    assert!(next.is_held());
    assert_refused!(soon(session.take_turn()).await, ErrorKind::TurnInFlight { .. });
    drop(next);
    drop(soon(session.take_turn()).await.unwrap());
    soon(store.close()).await.unwrap();
}

#[actix::test]
async fn a_clock_that_was_wrong_once_is_seen_in_the_stats() {
    const HOUR: i64 = 3600 * 1_000_000;
    let now = 1_700_000_000_000_000;
    let clock = ManualClock::new(Timestamp::from_micros(now));
    let store = open(&StoreConfig { clock: Clock::Manual(clock.clone()), ..StoreConfig::memory() }).await;
    let session = soon(store.open_session("s")).await.unwrap();
    append(&session, TallyBody::Added(1)).await.unwrap();
    assert_eq!(store.stats().clock_ahead, Duration::ZERO);
    clock.set(Timestamp::from_micros(now + 100 * 24 * HOUR));
    append(&session, TallyBody::Added(2)).await.unwrap();
    clock.set(Timestamp::from_micros(now + HOUR));
    let stamped = append(&session, TallyBody::Added(3)).await.unwrap();
    assert_eq!(stamped.events[0].at(), Timestamp::from_micros(now + 100 * 24 * HOUR), "times never go back");
    assert_eq!(store.stats().clock_ahead, Duration::from_secs((100 * 24 - 1) * 3600));
    let other = soon(store.open_session("other")).await.unwrap();
    let stamped = append(&other, TallyBody::Added(1)).await.unwrap();
    assert_eq!(stamped.events[0].at(), Timestamp::from_micros(now + HOUR), "other sessions have the right time");
    soon(store.close()).await.unwrap();
}

/// A thread that waits for a receipt lets no actor run. The store's sessions are on a thread of their own here.
#[actix::test]
async fn a_receipt_can_be_blocked_on_where_the_sessions_have_an_arbiter_of_their_own() {
    let _watchdog = watchdog();
    let arbiters = vec![actix::Arbiter::new().handle()];
    let store = open(&StoreConfig { arbiters, ..StoreConfig::memory() }).await;
    let session = soon(store.open_session("s")).await.unwrap();
    let appended = block_on(session.append(TallyBody::Added(1)).unwrap()).unwrap();
    assert_eq!(appended.head, at(1));
    soon(store.close()).await.unwrap();
}
