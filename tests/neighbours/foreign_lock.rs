//! Goal: a process that holds the database's write lock for a minute delays what is written and loses nothing; what
//! need not be written goes on; and the store says so. Method: a child holds the lock until it is told to let go, for
//! longer than SQLite's usual five seconds; `FOLDLOG_LOCK_SECONDS=60` is the long form.

use std::path::Path;
use std::sync::Mutex;
use std::task::Poll;
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use foldlog::{BlobKind, ErrorKind, EventId, Item, StoreConfig, SubscribeFrom};
use futures::StreamExt;

use crate::common::child::{Child, hear, tell};
use crate::common::*;

/// Holds the write lock until it is told to let go.
pub(crate) fn hold(directory: &Path) {
    let connection = rusqlite::Connection::open(directory.join("events.db")).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    tell("held");
    hear();
    connection.execute_batch("ROLLBACK").unwrap();
    tell("released");
}

/// What was logged about locks, and by which thread: each store has a persist thread of its own, and other tests of
/// this binary wait for locks too.
struct Collector(Mutex<Vec<(ThreadId, String)>>);

static COLLECTOR: Collector = Collector(Mutex::new(Vec::new()));

impl log::Log for Collector {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        let text = record.args().to_string();
        if text.contains("lock") {
            self.0.lock().unwrap().push((std::thread::current().id(), text));
        }
    }

    fn flush(&self) {}
}

const IN_FLIGHT_MAX: usize = 100;

#[actix::test]
async fn a_process_that_holds_the_write_lock_delays_acknowledgements_and_loses_nothing() {
    log::set_logger(&COLLECTOR).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    let seconds = std::env::var("FOLDLOG_LOCK_SECONDS").map_or(6, |seconds| seconds.parse().unwrap());
    // The long form waits for longer than the watchdog would allow.
    let _watchdog = (seconds <= 20).then(watchdog);
    let directory = tempfile::tempdir().unwrap();
    let config = StoreConfig { session_in_flight_max: IN_FLIGHT_MAX, ..StoreConfig::directory(directory.path()) };
    let store = open(&config).await;
    let session = soon(store.open_session("s")).await.unwrap();
    append(&session, TallyBody::Added(0)).await.unwrap();
    usable(&store, "other").await;
    let theirs = open(&config).await;
    usable(&theirs, "theirs").await;
    let mut live = soon(session.subscribe(SubscribeFrom::Now)).await.unwrap();
    assert_eq!(store.stats().lock_waits, 0);
    let acknowledged = store.stats().appends_acknowledged;

    let mut holder = Child::with_task("hold-lock", "", directory.path());
    holder.expect("held");
    let begun = Instant::now();
    let mut receipts: Vec<_> =
        (1..=IN_FLIGHT_MAX as u64).map(|n| session.append(TallyBody::Added(n)).unwrap()).collect();
    for _ in 0..3 {
        assert_refused!(
            session.append(TallyBody::Added(0)),
            ErrorKind::Busy { what, limit } if what.contains("session_in_flight_max") && *limit == IN_FLIGHT_MAX as u64
        );
    }
    let other = soon(store.open_session("other")).await.unwrap();
    let mut others = other.append(TallyBody::Added(7)).unwrap();

    let mut looks = 0;
    while begun.elapsed() < Duration::from_secs(seconds) {
        // All that need not be written goes on, as often as it is asked for.
        assert_eq!(session.view().unwrap().head(), EventId::new(1));
        assert_eq!(look(&store, "s").await.1, EventId::new(1));
        assert_eq!(whole_log(&session).await.len(), 1);
        let read = soon(store.open_session("theirs")).await.unwrap();
        assert_eq!((read.view().unwrap().head(), read.view().unwrap().sum), (EventId::new(1), 1));
        soon(read.close()).await.unwrap();
        let blob = soon(store.put_bytes(format!("blob {looks}").into_bytes())).await.unwrap();
        assert_eq!((soon(store.get_bytes(blob.digest)).await.unwrap().is_empty(), blob.kind), (false, BlobKind::Bytes));
        for receipt in receipts.iter_mut().chain([&mut others]) {
            let answer = futures::poll!(&mut *receipt);
            assert!(matches!(answer, Poll::Pending), "answered without a commit: {answer:?}");
        }
        assert!(matches!(futures::poll!(live.next()), Poll::Pending), "shown without a commit");
        looks += 1;
        actix::clock::sleep(Duration::from_millis(20)).await;
    }
    let during = store.stats();
    assert_eq!((during.lock_waits, during.appends_busy, during.appends_acknowledged), (1, 3, acknowledged));
    assert_eq!(during.lock_waiting, Some(during.lock_waited));
    assert_eq!(theirs.stats().lock_waits, 0, "it had nothing to write");

    holder.say("let go");
    holder.expect("released");
    let mut heads = Vec::new();
    for receipt in receipts {
        heads.push(soon(receipt).await.unwrap().head.get());
    }
    assert_eq!(heads, (2..=IN_FLIGHT_MAX as u64 + 1).collect::<Vec<_>>(), "in the order of the calls");
    soon(others).await.unwrap();
    let items: Vec<_> = soon(live.take(IN_FLIGHT_MAX).collect()).await;
    let shown: Vec<_> =
        items.iter().map(|item| if let Item::Event(event) = item { event.id().get() } else { 0 }).collect();
    assert_eq!(shown, heads);
    let numbers: Vec<_> = whole_log(&session).await.iter().map(|event| event.body().clone()).collect();
    assert_eq!(numbers, (0..=IN_FLIGHT_MAX as u64).map(TallyBody::Added).collect::<Vec<_>>());
    let after = store.stats();
    assert_eq!((after.lock_waits, after.lock_waiting), (1, None));
    assert!(after.lock_waited >= during.lock_waited);
    assert_eq!(after.appends_acknowledged, acknowledged + IN_FLIGHT_MAX as u64 + 1);
    // The counter is in whole microseconds, the logged line has the fractions, too.
    let waited = format!("held the event log's lock for {:?}", after.lock_waited);
    let logged = COLLECTOR.0.lock().unwrap().clone();
    let ours =
        logged.iter().find(|(_, line)| line.contains(waited.trim_end_matches('s'))).expect("a line at the end").0;
    let ours: Vec<_> = logged.iter().filter(|(thread, _)| *thread == ours).collect();
    assert_eq!(ours.len(), 2, "one line when it begins to wait, one when it ends: {logged:?}");
    assert!(ours[0].1.contains("appends wait"), "{ours:?}");
    println!("lock held for {:?}: waited {:?}, {looks} looks meanwhile, 0 lost", begun.elapsed(), after.lock_waited);

    usable(&store, "s").await;
    usable(&theirs, "theirs").await;
    soon(theirs.close()).await.unwrap();
    soon(store.close()).await.unwrap();
    assert!(holder.end().status.success());
}
