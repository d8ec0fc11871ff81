//! Goal: whatever a host asks for at once, a store takes what its limits allow, says so at once where they do not, and
//! is as before once that is answered. Method: small limits and ports that are held; and once, very many calls.

use foldlog::agent::{Agent, AgentBody};
use foldlog::testkit::{Fault, Faults, Port};
use foldlog::{Append, ErrorKind, EventId, Session, Store, StoreConfig};
use futures::FutureExt;
use futures::future::join_all;

use crate::common::*;

on_both_media!(
    appends_in_flight_have_a_limit_in_bytes_for_a_session_and_for_the_store,
    what_was_counted_in_bytes_is_given_back_however_the_append_ends,
    an_append_that_no_limit_would_ever_let_through_is_too_large_and_not_busy,
    puts_that_wait_have_a_limit_in_bytes_and_one_of_any_size_goes_through,
    ten_thousand_sessions_opened_at_once_wait_their_turn,
    sessions_that_are_opened_take_no_place_of_a_read,
    a_list_of_any_length_is_read_in_pages,
);

/// What [`AgentBody::Custom`] of [`sized`] counts for, at least.
const KIB: u64 = 1 << 10;

/// A body of about so many KiB.
fn sized(kib: u64) -> AgentBody {
    user("x".repeat((kib * KIB) as usize))
}

async fn watched(disk: &TestDisk, change: impl FnOnce(&mut StoreConfig)) -> (Faults, Store) {
    let faults = Faults::default();
    let store = disk
        .open_with(|config| {
            change(config);
            *config = faults.watch(config.clone());
        })
        .await;
    (faults, store)
}

async fn appends_in_flight_have_a_limit_in_bytes_for_a_session_and_for_the_store(disk: TestDisk) {
    let limits = |config: &mut StoreConfig| {
        (config.session_in_flight_bytes_max, config.in_flight_bytes_max) = (40 << 10, 100 << 10);
    };
    let (faults, store) = watched(&disk, limits).await;
    let [one, two, three, four] = ["1", "2", "3", "4"].map(|id| store.open_session(id));
    let sessions = [one.await.unwrap(), two.await.unwrap(), three.await.unwrap(), four.await.unwrap()];
    let mut held = faults.hold(Port::Commit);
    let mut receipts = vec![sessions[0].append(sized(30)).unwrap()];
    soon(held.reached()).await;
    assert_refused!(sessions[0].append(sized(10)), ErrorKind::Busy { limit, .. } if *limit == 40 * KIB);
    assert_refused!(sessions[0].append_batch(vec![sized(5), sized(5)]), ErrorKind::Busy { .. });
    // What fits goes through, and the other sessions have room of their own.
    receipts.push(sessions[0].append(sized(5)).unwrap());
    receipts.push(sessions[1].append(sized(30)).unwrap());
    receipts.push(sessions[2].append(sized(30)).unwrap());
    assert_refused!(sessions[3].append(sized(30)), ErrorKind::Busy { limit, .. } if *limit == 100 * KIB);
    receipts.push(sessions[3].append(sized(2)).unwrap());
    let stats = store.stats();
    assert!((97 * KIB..=100 * KIB).contains(&stats.in_flight_bytes), "{}", stats.in_flight_bytes);
    assert_eq!((stats.in_flight, stats.appends_busy), (5, 3));
    held.release();
    for receipt in receipts {
        soon(receipt).await.unwrap();
    }
    eventually("nothing is in flight", || store.stats().in_flight_bytes == 0).await;
    append(&sessions[0], sized(30)).await.unwrap();
    assert_head(&sessions[0], 3).await;
    store.close().await.unwrap();
}

async fn what_was_counted_in_bytes_is_given_back_however_the_append_ends(disk: TestDisk) {
    let limits = |config: &mut StoreConfig| {
        config.session_in_flight_bytes_max = 40 << 10;
        config.record_bytes_max = 32 << 10;
    };
    let (faults, store) = watched(&disk, limits).await;
    let session = store.open_session("s").await.unwrap();
    for _ in 0..10 {
        append(&session, sized(25)).await.unwrap();
        drop(session.append(sized(25)).unwrap());
        soon(session.recovery()).await.unwrap();
        eventually("the dropped one is answered", || store.stats().in_flight == 0).await;
        let stale = session.append_with(Append::new(sized(25)).expect_head(EventId::ZERO)).unwrap();
        assert_refused!(soon(stale).await, ErrorKind::HeadMoved { .. });
        assert_refused!(append(&session, sized(35)).await, ErrorKind::TooLarge { what: "encoded event", .. });
        faults.fail_next(Port::Commit, Fault::DiskFull);
        assert_refused!(append(&session, sized(25)).await, ErrorKind::DiskFull);
        faults.fail_next(Port::Commit, Fault::CommitLost);
        assert_refused!(append(&session, sized(25)).await, ErrorKind::NotWritten { .. });
        let dangling = AgentBody::MessageAppended(foldlog::agent::Message {
            parts: vec![foldlog::agent::Part::text(foldlog::Content::Blob(dangling()))],
            ..foldlog::agent::Message::user("")
        });
        assert_refused!(append(&session, dangling).await, ErrorKind::DanglingRef { .. });
        let keyed = || session.append_with(Append::new(sized(15)).key(key("k"))).unwrap();
        let (first, joined) = (keyed(), keyed());
        assert!(soon(first).await.is_ok() && soon(joined).await.is_ok());
        assert_eq!((store.stats().in_flight, store.stats().in_flight_bytes), (0, 0));
    }
    let last = session.append(sized(25)).unwrap();
    soon(session.close()).await.unwrap();
    let _ = soon(last).await;
    assert_eq!(store.stats().in_flight_bytes, 0);
    store.close().await.unwrap();
}

async fn an_append_that_no_limit_would_ever_let_through_is_too_large_and_not_busy(disk: TestDisk) {
    let mut limits = [1 << 20, 1 << 20, 1 << 20];
    for place in 0..3 {
        limits[place] = 20 << 10;
        let store = disk
            .open_with(|config| {
                [config.batch_bytes_max, config.session_in_flight_bytes_max, config.in_flight_bytes_max] = limits;
            })
            .await;
        limits[place] = 1 << 20;
        let session: Session<Agent> = store.open_session("s").await.unwrap();
        let head = session.view().unwrap().head();
        let batch = || (0..3).map(|_| sized(7)).collect::<Vec<_>>();
        assert_refused!(
            session.append_batch(batch()),
            ErrorKind::TooLarge { what: "append", unit: "bytes", size, limit } if *size > 21 * KIB && *limit == 20 * KIB
        );
        assert_refused!(session.append(sized(21)), ErrorKind::TooLarge { what: "append", .. });
        // Many small ones are large, too: each takes memory beside its bytes.
        assert_refused!(session.append_batch(vec![AgentBody::StopRequested; 100]), ErrorKind::TooLarge { .. });
        assert_eq!((store.stats().in_flight, store.stats().appends_busy), (0, 0));
        soon(session.append_batch(batch().split_off(1)).unwrap()).await.unwrap();
        assert_eq!(session.view().unwrap().head().get(), head.get() + 2);
        store.close().await.unwrap();
    }
}

async fn puts_that_wait_have_a_limit_in_bytes_and_one_of_any_size_goes_through(disk: TestDisk) {
    let limits = |config: &mut StoreConfig| {
        (config.queued_put_bytes_max, config.blob_bytes_max) = (40 << 10, 60 << 10);
    };
    let (faults, store) = watched(&disk, limits).await;
    let blob = |byte: u8, kib: usize| vec![byte; kib << 10];
    // The largest blob is over the limit of those that wait, and goes through when none waits.
    soon(store.put_bytes(blob(1, 60))).await.unwrap();
    assert_refused!(soon(store.put_bytes(blob(2, 61))).await, ErrorKind::TooLarge { what: "blob", .. });
    let mut held = faults.hold(Port::PutBlob);
    let mut first = Box::pin(store.put_bytes(blob(3, 30)));
    assert!((&mut first).now_or_never().is_none());
    soon(held.reached()).await;
    // The actor answers them in the order of the calls.
    let second = store.put_text("y".repeat(8 << 10));
    let third = store.put_bytes(blob(4, 30));
    let (second, third) = soon(async { futures::join!(second, third) }).await;
    assert!(second.is_ok());
    assert_refused!(third, ErrorKind::Busy { limit, .. } if *limit == 40 * KIB);
    assert_refused!(soon(store.put_bytes(blob(5, 60))).await, ErrorKind::Busy { .. });
    held.release();
    let first = soon(first).await.unwrap();
    assert_eq!(soon(store.get_bytes(first.digest)).await.unwrap(), blob(3, 30));
    // Given back, however a put ends.
    for fault in [Fault::DiskFull, Fault::Io, Fault::Panic] {
        faults.fail_next(Port::PutBlob, fault);
        assert!(soon(store.put_bytes(blob(6, 60))).await.is_err(), "{fault:?}");
    }
    soon(store.put_bytes(blob(6, 60))).await.unwrap();
    store.close().await.unwrap();
}

async fn ten_thousand_sessions_opened_at_once_wait_their_turn(disk: TestDisk) {
    const SESSIONS: usize = 10_000;
    // New ones, then ones that are there; twice each, since concurrent calls give the same session.
    for _ in 0..2 {
        let store = disk.open().await;
        let open = |n| store.open_session(format!("s{}", n % SESSIONS));
        for opened in join_all((0..2 * SESSIONS).map(open)).await {
            let session = opened.unwrap();
            assert_eq!(session.view().unwrap().head(), EventId::ZERO);
        }
        assert_eq!(store.stats().sessions_open, SESSIONS as u64);
        store.close().await.unwrap();
    }
}

async fn sessions_that_are_opened_take_no_place_of_a_read(disk: TestDisk) {
    let (faults, store) = watched(&disk, |config| config.queued_jobs_max = 2).await;
    let session = store.open_session("s").await.unwrap();
    append(&session, noted(1)).await.unwrap();
    // Both threads that read are held.
    let mut held = [faults.hold(Port::Find), faults.hold(Port::Find)];
    let mut opening: Vec<_> = (0..20).map(|n| Box::pin(store.open_session(format!("n{n}")))).collect();
    for open in &mut opening {
        assert!(open.now_or_never().is_none());
    }
    for held in &mut held {
        soon(held.reached()).await;
    }
    let mut pages: Vec<_> = (0..2).map(|_| Box::pin(session.events_after(EventId::ZERO, 10))).collect();
    for page in &mut pages {
        assert!(page.now_or_never().is_none(), "it waits, and is not refused");
    }
    assert_refused!(soon(session.events_after(EventId::ZERO, 10)).await, ErrorKind::Busy { limit: 2, .. });
    // Whoever has lost interest holds up nobody.
    opening.truncate(10);
    drop(held);
    for page in pages {
        assert_eq!(soon(page).await.unwrap().events.len(), 1);
    }
    for open in opening {
        soon(open).await.unwrap();
    }
    store.close().await.unwrap();
}

async fn a_list_of_any_length_is_read_in_pages(disk: TestDisk) {
    let (faults, store) = watched(&disk, |config| config.page_events_max = 3).await;
    for n in 0..7 {
        let session = store.open_session(format!("s{n}")).await.unwrap();
        for event in 0..n {
            append(&session, noted(event)).await.unwrap();
        }
    }
    let names = |max| {
        let listed = store.list_sessions(None, max);
        async {
            soon(listed).await.unwrap().into_iter().map(|it| (it.id.to_string(), it.head.get())).collect::<Vec<_>>()
        }
    };
    let all: Vec<_> = (0..7).map(|n| (format!("s{n}"), n)).collect();
    for (max, pages) in [(0, 0), (1, 1), (3, 1), (4, 2), (7, 3), (8, 3), (1_000_000, 3), (usize::MAX, 3)] {
        let before = faults.calls(Port::Sessions);
        assert_eq!(names(max).await, all[..max.min(7)], "{max}");
        assert_eq!(faults.calls(Port::Sessions) - before, pages, "{max}");
    }
    let after = foldlog::SessionId::new("s3").unwrap();
    assert_eq!(store.list_sessions(Some(after), 2).await.unwrap()[0].id.as_str(), "s4");
    faults.fail_nth(Port::Sessions, 2, Fault::Io);
    assert_refused!(soon(store.list_sessions(None, 7)).await, ErrorKind::Unavailable { .. });
    store.close().await.unwrap();
}

/// Another program that reads, and nothing but time to see that it has gone.
#[actix::test]
async fn a_write_ahead_log_that_a_reader_held_back_becomes_small_without_another_commit() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let store: Store = Store::open(StoreConfig::directory(directory.path())).await.unwrap();
    let session = store.open_session("s").await.unwrap();
    append(&session, noted(0)).await.unwrap();
    let foreign = rusqlite::Connection::open(directory.path().join("events.db")).unwrap();
    foreign.execute_batch("BEGIN; SELECT count(*) FROM events").unwrap();
    let wal = directory.path().join("events.db-wal");
    let wal_bytes = || wal.metadata().unwrap().len();
    while wal_bytes() < 20 << 20 {
        soon(session.append_batch(vec![sized(500), sized(500)]).unwrap()).await.unwrap();
    }
    let head = session.view().unwrap().head();
    foreign.execute_batch("ROLLBACK").unwrap();
    eventually("the write-ahead log is small", || wal_bytes() < 1 << 20).await;
    eventually("its size is told", || store.stats().upkeep.log_bytes == wal_bytes()).await;
    append(&session, noted(1)).await.unwrap();
    assert_head(&session, head.get() + 1).await;
    store.close().await.unwrap();
}
