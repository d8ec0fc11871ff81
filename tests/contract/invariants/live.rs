//! Goal: nothing shows before its commit (I2), reads wait for nothing (I6), a subscriber gets everything once or is
//! told what it missed (I9). Method: hold the database's lock as another process would, and look from every side
//! meanwhile; random bursts into small queues.

use foldlog::agent::Agent;
use foldlog::{
    Append, CurrentView, ErrorKind, EventId, EventsAfter, Item, LagPolicy, LiveConfig, Receipt, Session, Store,
    SubscribeFrom,
};
use futures::future::join_all;
use futures::{FutureExt, StreamExt};
use proptest::prelude::*;

use crate::common::*;

/// A session with one event, and appends that are stamped and wait for the lock.
async fn pending(disk: &TestDisk, store: &Store) -> (Session, ForeignLock, Vec<Receipt<Agent>>) {
    let session = store.open_session("s").await.unwrap();
    session.append(user("committed")).unwrap().await.unwrap();
    let foreign = ForeignLock::hold(&disk.path().unwrap());
    let receipts = (0..10).map(|_| session.append(user("pending")).unwrap()).collect();
    assert_eq!(session.counters().await.unwrap().0, at(11), "all are stamped and sent");
    (session, foreign, receipts)
}

#[actix::test]
async fn i2_nothing_is_visible_before_its_commit() {
    let disk = TestDisk::directory();
    let (store, reader) = (disk.open().await, disk.open().await);
    let session = store.open_session("s").await.unwrap();
    let mut stream = session.subscribe(SubscribeFrom::Now).await.unwrap();
    let (recipient, mut received) = collector();
    session.subscribe_actor(SubscribeFrom::Now, recipient).await.unwrap();
    let (session, foreign, mut receipts) = pending(&disk, &store).await;
    session.notify(shown(1)).unwrap();
    for _ in 0..5 {
        assert_eq!(session.view().unwrap().head(), at(1));
        assert_eq!(
            session.address().unwrap().send(CurrentView::<Agent>::default()).await.unwrap().unwrap().messages.len(),
            1
        );
        assert_eq!(store.read_state("s").await.unwrap().view.head(), at(1));
        assert_eq!(reader.read_state("s").await.unwrap().view.head(), at(1));
        assert_eq!(log_ids(&session).await, [1]);
        assert_eq!(store.list_sessions(None, 1).await.unwrap()[0].head, at(1));
        assert!(receipts.iter_mut().all(|receipt| receipt.now_or_never().is_none()));
    }
    assert!(matches!(soon(stream.next()).await, Some(Item::Event(event)) if event.id() == at(1)));
    assert!(stream.next().now_or_never().is_none());
    assert_eq!(received.so_far(), ["1"], "not even the transient that was accepted after them");
    foreign.release();
    for (receipt, id) in receipts.into_iter().zip(2..) {
        assert_eq!(soon(receipt).await.unwrap().head, at(id));
        assert!(session.view().unwrap().head() >= at(id));
    }
    let mut wanted: Vec<_> = (2..=11).map(|id: u64| id.to_string()).collect();
    wanted.push("transient".to_owned());
    assert_eq!(received.take(11).await, wanted);
    assert_head(&session, 11).await;
    reader.close().await.unwrap();
    store.close().await.unwrap();
}

/// Gives an event id to a row that is not foldlog's.
fn occupy(id: u64) -> String {
    format!(
        "INSERT INTO events(log_key, event_id, event_type, event_at, chain, record)
             SELECT log_key, {id}, event_type, event_at, chain, record FROM events WHERE event_id = 1"
    )
}

/// Rows that are put behind the head by hand make the commit fail. Then they are removed again.
#[actix::test]
async fn i2_a_failed_persist_changes_nothing_that_anyone_can_see() {
    let disk = TestDisk::directory();
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    session.append(user("first")).unwrap().await.unwrap();
    let (recipient, mut received) = collector();
    session.subscribe_actor(SubscribeFrom::Now, recipient).await.unwrap();
    let before = session.view().unwrap();
    let by_hand = rusqlite::Connection::open(disk.path().unwrap().join("events.db")).unwrap();
    by_hand.busy_timeout(PATIENCE).unwrap();
    for (occupied, count) in [(2, 1), (3, 3), (2, 5)] {
        by_hand.execute_batch(&occupy(occupied)).unwrap();
        let refused = session.append_batch((0..count).map(|_| user("refused")).collect()).unwrap();
        // The first finds out that the log has moved; those after it look into the log first.
        assert_refused!(soon(refused).await, ErrorKind::NotWritten { .. } | ErrorKind::CorruptEvent { .. });
        assert_eq!(*session.view().unwrap(), *before);
        let rows: i64 = by_hand.query_row("SELECT count(*) FROM events", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 2, "no row of a refused batch is left");
        by_hand.execute_batch("DELETE FROM events WHERE event_id > 1").unwrap();
        soon(session.recovery()).await.unwrap();
        assert_eq!(session.counters().await.unwrap(), (at(1), before.counters));
        assert_head(&session, 1).await;
        assert!(received.so_far().is_empty());
    }
    assert_eq!(session.append(user("second")).unwrap().await.unwrap().head, at(2));
    assert_eq!(received.take(1).await, ["2"]);
    assert_head(&session, 2).await;
    store.close().await.unwrap();
}

/// A foreign row takes exactly the id of the refused one, so that the next one would follow it by its id. Only a writer
/// that ignores owners can do this.
#[actix::test]
async fn i2_an_append_behind_a_refused_one_is_refused_whatever_took_its_place() {
    let disk = TestDisk::directory();
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    session.append(user("first")).unwrap().await.unwrap();
    let foreign = ForeignLock::hold(&disk.path().unwrap());
    let receipts: Vec<_> = (0..3).map(|_| session.append(user("in flight")).unwrap()).collect();
    assert_eq!(session.counters().await.unwrap().0, at(4), "all are stamped");
    foreign.execute(&occupy(2));
    foreign.release();
    let answers = soon(join_all(receipts)).await;
    assert!(answers.iter().all(Result::is_err), "nothing of them is in the log: {answers:?}");
    store.close().await.unwrap();
}

#[actix::test]
async fn i6_reads_are_answered_while_a_commit_is_held() {
    let disk = TestDisk::directory();
    let store = disk.open().await;
    let blob = store.put_text("blob").await.unwrap();
    let (session, foreign, mut receipts) = pending(&disk, &store).await;
    let address = session.address().unwrap();
    assert_eq!(session.view().unwrap().messages.len(), 1);
    assert_eq!(soon(address.send(CurrentView::<Agent>::default())).await.unwrap().unwrap().head(), at(1));
    assert_eq!(soon(store.read_state("s")).await.unwrap().view, *session.view().unwrap());
    assert_eq!(soon(session.events_after(EventId::ZERO, 10)).await.unwrap().events.len(), 1);
    let page = soon(address.send(EventsAfter::<Agent>::new(EventId::ZERO, 10))).await.unwrap().unwrap();
    assert_eq!(page.events.len(), 1);
    assert_eq!(soon(store.list_sessions(None, 10)).await.unwrap().len(), 1);
    assert_eq!(soon(store.get_bytes(blob.digest)).await.unwrap(), b"blob");
    soon(store.put_text("another")).await.unwrap();
    assert!(soon(store.verify()).await.unwrap().is_sound());
    assert_eq!(soon(store.resume_session("s")).await.unwrap().view().unwrap().head(), at(1));
    drop(session.take_turn().await.unwrap());
    let mut stream = soon(session.subscribe(SubscribeFrom::After(EventId::ZERO))).await.unwrap();
    assert!(matches!(soon(stream.next()).await, Some(Item::Event(event)) if event.id() == at(1)));
    assert!(receipts.iter_mut().all(|receipt| receipt.now_or_never().is_none()), "nothing was committed meanwhile");
    foreign.release();
    assert!(soon(join_all(receipts)).await.iter().all(Result::is_ok));
    store.close().await.unwrap();
}

#[actix::test]
async fn i6_a_long_read_delays_no_commit() {
    let disk = TestDisk::directory();
    let store = disk.open_with(|config| config.page_events_max = 1).await;
    let session = store.open_session("s").await.unwrap();
    session.append_batch((0..2000).map(noted).collect()).unwrap().await.unwrap();
    // Another process reads all the while, in one transaction.
    let foreign = rusqlite::Connection::open(disk.path().unwrap().join("events.db")).unwrap();
    foreign.execute_batch("BEGIN; SELECT count(*) FROM events").unwrap();
    let long = actix::spawn({
        let store = store.clone();
        async move { join_all((0..8).map(|_| store.read_state("s"))).await }
    });
    for n in 0..50 {
        soon(session.append(noted(n)).unwrap()).await.unwrap();
        assert!(n > 0 || !long.is_finished(), "the read takes longer than one append");
    }
    assert!(soon(long).await.unwrap().iter().all(Result::is_ok));
    drop(foreign);
    assert_head(&session, 2050).await;
    store.close().await.unwrap();
}

/// What a subscriber does, and what happens meanwhile.
#[derive(Debug, Clone)]
enum Step {
    Append(usize),
    Transients(usize),
    Take(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (1_usize..9).prop_map(Step::Append),
        (1_usize..6).prop_map(Step::Transients),
        (1_usize..9).prop_map(Step::Take),
    ];
    prop::collection::vec(step, 1..25)
}

/// Checks one item after another: every event once, in order, or named by a gap.
#[derive(Default)]
struct Ledger {
    seen: u64,
    transients: u64,
}

impl Ledger {
    fn take(&mut self, item: &Item<Agent>, lag: LagPolicy) {
        match item {
            Item::Event(event) => {
                assert_eq!(event.id().get(), self.seen + 1);
                self.seen += 1;
            }
            Item::Transient(_) => self.transients += 1,
            Item::Gap(gap) => {
                assert_eq!(gap.after.get(), self.seen);
                assert!(gap.through >= gap.after && (gap.through > gap.after || gap.transients > 0));
                assert!(lag == LagPolicy::Gap || gap.through == gap.after, "catching up leaves out no event");
                self.seen = gap.through.get();
                self.transients += gap.transients;
            }
            other => panic!("neither an end nor an item of an unknown kind: {other:?}"),
        }
    }
}

async fn i9(queue: usize, lag: LagPolicy, from: u64, steps: Vec<Step>) {
    let disk = TestDisk::memory();
    let store = disk.open_with(|config| config.live = LiveConfig { subscriber_queue_max: queue, lag }).await;
    let session = store.open_session("s").await.unwrap();
    session.append_batch((0..20).map(noted).collect()).unwrap().await.unwrap();
    let (recipient, mut received, mut gate) = gated();
    session.subscribe_actor(SubscribeFrom::After(at(from)), recipient).await.unwrap();
    let mut stream = session.subscribe(SubscribeFrom::After(at(from))).await.unwrap();
    let (mut of_actor, mut of_stream) = (Ledger { seen: from, transients: 0 }, Ledger { seen: from, transients: 0 });
    let mut shown_count = 0;
    for step in steps {
        match step {
            Step::Append(count) => drop(join_all((0..count).map(|_| session.append(noted(0)).unwrap())).await),
            Step::Transients(count) => {
                (0..count).for_each(|_| session.notify(shown(0)).unwrap());
                shown_count += count as u64;
            }
            Step::Take(count) => {
                for _ in 0..count {
                    gate.pass();
                    if let Some(Some(item)) = stream.next().now_or_never() {
                        of_stream.take(&item, lag);
                    }
                }
            }
        }
    }
    gate.open();
    session.append(noted(0)).unwrap().await.unwrap();
    let head = session.view().unwrap().head().get();
    while of_actor.seen < head || of_actor.transients < shown_count {
        of_actor.take(&received.next().await, lag);
    }
    while of_stream.seen < head || of_stream.transients < shown_count {
        of_stream.take(&soon(stream.next()).await.unwrap(), lag);
    }
    session.append_with(Append::new(noted(0)).expect_head(at(head))).unwrap().await.unwrap();
    of_actor.take(&received.next().await, lag);
    of_stream.take(&soon(stream.next()).await.unwrap(), lag);
    assert_eq!((of_actor.seen, of_stream.seen), (head + 1, head + 1));
    assert_eq!((of_actor.transients, of_stream.transients), (shown_count, shown_count), "each is given or counted");
    soon(store.close()).await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn i9_a_subscriber_gets_every_event_once_and_in_order_or_a_gap_that_names_it(
        queue in 1_usize..6, catch_up in any::<bool>(), from in 0_u64..=20, steps in steps()
    ) {
        let lag = if catch_up { LagPolicy::CatchUp } else { LagPolicy::Gap };
        actix::System::new().block_on(i9(queue, lag, from, steps));
    }
}

#[actix::test]
async fn i9_no_subscriber_blocks_or_fails_a_write() {
    let disk = TestDisk::directory();
    let store = disk.open_with(|config| config.live.subscriber_queue_max = 1).await;
    let session = store.open_session("s").await.unwrap();
    let mut gates = Vec::new();
    for _ in 0..3 {
        let (recipient, received, gate) = gated();
        session.subscribe_actor(SubscribeFrom::After(EventId::ZERO), recipient).await.unwrap();
        gates.push((received, gate));
    }
    let unpolled = session.subscribe(SubscribeFrom::Now).await.unwrap();
    for id in 1..=100 {
        assert_eq!(soon(session.append(noted(id)).unwrap()).await.unwrap().head, at(id));
        session.notify(shown(id)).unwrap();
    }
    assert_head(&session, 100).await;
    drop((unpolled, gates));
    soon(store.close()).await.unwrap();
}
