//! Goal: a cold session meets closings, other owners, damage and panics as one in memory does. Method: empty it, let
//! each of them happen, and use it again.

use foldlog::testkit::{Fault, Faults, Port};
use foldlog::{Condition, ErrorKind, Restart, StoreConfig};

use super::{empty, empty_one};
use crate::common::tally::{OldTally, Place, Switch};
use crate::common::*;

on_both_media!(
    a_cold_session_closes_and_opens_again,
    a_store_closes_with_cold_sessions_and_others_own_them_at_once,
    another_store_takes_a_cold_session_over,
    a_session_that_another_store_writes_is_emptied_and_brought_up_to_date,
    a_read_only_session_is_emptied_and_stays_read_only,
    a_log_that_cannot_be_read_just_now_is_told_and_read_later,
    a_fold_that_panics_while_a_session_wakes_is_told,
);

async fn a_cold_session_closes_and_opens_again(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    session.append(user("1")).unwrap().await.unwrap();
    empty_one(&session).await;
    session.close().await.unwrap();
    assert_refused!(session.append(user("2")), ErrorKind::SessionClosed { .. });
    // Its view can still be read, though nobody has it in memory.
    assert_eq!(session.view().unwrap().head(), at(1));
    let again = store.open_session("s").await.unwrap();
    assert_head(&again, 1).await;
    assert_eq!(store.stats().sessions_resident, 1);
    empty_one(&again).await;
    let waking = again.append(user("2")).unwrap();
    again.close().await.unwrap();
    assert_eq!(waking.await.unwrap().head, at(2));
    assert_eq!(store.stats().sessions_resident, 0);
    store.close().await.unwrap();
    assert_refused!(session.current_view().await, ErrorKind::StoreClosed);
    assert_refused!(session.view(), ErrorKind::StoreClosed);
}

async fn a_store_closes_with_cold_sessions_and_others_own_them_at_once(disk: TestDisk) {
    let store = disk.open().await;
    let other = disk.open().await;
    for n in 0..100 {
        store.open_session(n.to_string()).await.unwrap().append(noted(n)).unwrap().await.unwrap();
    }
    empty(&store, 100);
    store.close().await.unwrap();
    for n in 0..100 {
        let session = other.open_session(n.to_string()).await.unwrap();
        assert_eq!(session.append(noted(n)).unwrap().await.unwrap().head, at(2));
    }
    other.close().await.unwrap();
}

async fn another_store_takes_a_cold_session_over(disk: TestDisk) {
    let (old_owner, new_owner) = (disk.open().await, disk.open().await);
    let mine = old_owner.open_session("s").await.unwrap();
    mine.append(user("1")).unwrap().await.unwrap();
    let (recipient, mut received) = collector();
    mine.subscribe_actor(foldlog::SubscribeFrom::Now, recipient).await.unwrap();
    empty_one(&mine).await;
    let theirs = new_owner.open_session("s").await.unwrap();
    assert_refused!(theirs.append(user("2")).unwrap().await, ErrorKind::OwnedElsewhere { .. });
    theirs.take_over().await.unwrap();
    theirs.append(user("2")).unwrap().await.unwrap();
    assert_refused!(mine.append(user("3")).unwrap().await, ErrorKind::OwnedElsewhere { .. });
    mine.recovery().await.unwrap();
    assert_head(&mine, 2).await;
    assert_eq!(received.take(1).await, ["2"]);
    empty_one(&mine).await;
    assert_refused!(mine.take_turn().await, ErrorKind::OwnedElsewhere { .. });
    store_empty_then_take_back(&mine).await;
    assert_eq!(received.take(1).await, ["3"]);
    empty(&new_owner, 1);
    assert_refused!(theirs.append(user("4")).unwrap().await, ErrorKind::OwnedElsewhere { .. });
    old_owner.close().await.unwrap();
    new_owner.close().await.unwrap();
}

async fn store_empty_then_take_back(session: &foldlog::Session) {
    session.store().empty_idle_sessions();
    session.take_over().await.unwrap();
    session.append(user("3")).unwrap().await.unwrap();
    assert_head(session, 3).await;
}

async fn a_session_that_another_store_writes_is_emptied_and_brought_up_to_date(disk: TestDisk) {
    let (writer, reader) = (disk.open().await, disk.open().await);
    let writes = writer.open_session("s").await.unwrap();
    writes.append(user("1")).unwrap().await.unwrap();
    let reads = reader.open_session("s").await.unwrap();
    empty(&reader, 1);
    writes.append(user("2")).unwrap().await.unwrap();
    reader.open_session("s").await.unwrap();
    assert_head(&reads, 2).await;
    empty(&reader, 1);
    writes.append(user("3")).unwrap().await.unwrap();
    assert_head(&reads, 3).await;
    writer.close().await.unwrap();
    empty(&reader, 1);
    assert_eq!(reads.append(user("4")).unwrap().await.unwrap().head, at(4));
    reader.close().await.unwrap();
}

async fn a_read_only_session_is_emptied_and_stays_read_only(disk: TestDisk) {
    let store = disk.open_model::<Tally>().await;
    let session = store.open_session("s").await.unwrap();
    session.append(TallyBody::Added(1)).unwrap().await.unwrap();
    let poisoned = Switch::on().trap(Place::Apply);
    session.append_batch(vec![poisoned, TallyBody::Added(2)]).unwrap().await.unwrap();
    let condition = Condition::Unfoldable { event: at(2) };
    for _ in 0..3 {
        assert_eq!(session.condition(), condition);
        empty_one(&session).await;
        assert_eq!(session.condition(), condition);
        assert_eq!((session.view().unwrap().head(), session.view().unwrap().sum), (at(1), 1));
        store.empty_idle_sessions();
        assert_refused!(
            session.append(TallyBody::Added(4)).unwrap().await,
            ErrorKind::Unfoldable { event, .. } if *event == at(2)
        );
        store.empty_idle_sessions();
        assert_refused!(session.take_turn().await, ErrorKind::Unfoldable { .. });
        assert_eq!(log_ids(&session).await, [1, 2, 3]);
        soon(session.recovery()).await.unwrap();
        drop(session.view().unwrap());
    }
    let named = store.open_session("named").await.unwrap();
    named.append_batch(vec![TallyBody::Added(1), TallyBody::named("n")]).unwrap().await.unwrap();
    store.close().await.unwrap();
    let store = disk.open_model::<OldTally>().await;
    let session = store.open_session("named").await.unwrap();
    for _ in 0..3 {
        empty_one(&session).await;
        assert!(matches!(session.condition(), Condition::NewerRecord { event, .. } if event == at(2)));
        assert_eq!(session.view().unwrap().head(), at(1));
        store.empty_idle_sessions();
        assert_refused!(session.append(TallyBody::Added(1)).unwrap().await, ErrorKind::NewerRecord { .. });
    }
    store.close().await.unwrap();
}

async fn a_log_that_cannot_be_read_just_now_is_told_and_read_later(disk: TestDisk) {
    let faults = Faults::default();
    let store = disk.open_with(|config| *config = faults.watch(config.clone())).await;
    let session = store.open_session("s").await.unwrap();
    session.append(user("1")).unwrap().await.unwrap();
    for fault in [Fault::Io, Fault::Panic] {
        store.empty_idle_sessions();
        faults.fail_all(Port::Page, fault);
        // Twice: while it wakes, and after the waking has failed and the actor has heard of that.
        for _ in 0..2 {
            assert_refused!(session.view(), ErrorKind::Unavailable { .. });
            assert_refused!(session.unfinished(), ErrorKind::Unavailable { .. });
            assert_refused!(session.append(user("2")).unwrap().await, ErrorKind::Unavailable { .. });
            assert_refused!(session.current_view().await, ErrorKind::Unavailable { .. });
            assert_refused!(session.take_turn().await, ErrorKind::Unavailable { .. });
        }
        soon(session.address().unwrap().send(Restart)).await.unwrap();
        faults.clear();
        assert_eq!(session.view().unwrap().head(), at(1));
        drop(session.take_turn().await.unwrap());
        assert_head(&session, 1).await;
    }
    store.close().await.unwrap();
}

async fn a_fold_that_panics_while_a_session_wakes_is_told(disk: TestDisk) {
    let faults = Faults::default();
    let store = disk.open_with(|config| *config = faults.watch(config.clone())).await;
    let session = store.open_session("s").await.unwrap();
    session.append(user("1")).unwrap().await.unwrap();
    empty_one(&session).await;
    faults.fail_next(Port::Page, Fault::Panic);
    let refused = session.append(user("2")).unwrap();
    assert_refused!(soon(refused).await, ErrorKind::Unavailable { .. });
    assert_eq!(session.append(user("2")).unwrap().await.unwrap().head, at(2));
    assert_head(&session, 2).await;
    assert_eq!(store.stats().recoveries_running, 0);
    store.close().await.unwrap();
}

/// A store whose sessions begin on the first of two arbiters, and what can hold its reads.
async fn on_two_arbiters() -> (foldlog::Store, Faults, [Option<actix::Arbiter>; 2]) {
    let arbiters = [actix::Arbiter::new(), actix::Arbiter::new()];
    let handles = arbiters.iter().map(actix::Arbiter::handle).collect();
    let faults = Faults::default();
    let config = faults.watch(StoreConfig { arbiters: handles, ..StoreConfig::memory() });
    (foldlog::Store::open(config).await.unwrap(), faults, arbiters.map(Some))
}

fn end(arbiter: &mut Option<actix::Arbiter>) {
    let arbiter = arbiter.take().unwrap();
    arbiter.stop();
    arbiter.join().unwrap();
}

#[actix::test]
async fn a_cold_session_whose_arbiter_has_died_wakes_on_another() {
    let (store, _, mut arbiters) = on_two_arbiters().await;
    let session = store.open_session("s").await.unwrap();
    session.append(user("1")).unwrap().await.unwrap();
    empty_one(&session).await;
    end(&mut arbiters[0]);
    assert_eq!(session.view().unwrap().head(), at(1));
    assert_eq!(soon(session.append(user("2")).unwrap()).await.unwrap().head, at(2));
    assert_head(&session, 2).await;
    empty_one(&session).await;
    end(&mut arbiters[1]);
    assert_eq!(session.view().unwrap().head(), at(2), "read without an actor");
    assert_refused!(session.append(user("3")), ErrorKind::MustReopen { .. });
    store.close().await.unwrap();
}

#[actix::test]
async fn a_session_whose_arbiter_dies_while_it_wakes_goes_on_on_another() {
    let (store, faults, mut arbiters) = on_two_arbiters().await;
    let session = store.open_session("s").await.unwrap();
    session.append(user("1")).unwrap().await.unwrap();
    empty_one(&session).await;
    let mut held = faults.hold(Port::Page);
    let receipt = session.append(user("2")).unwrap();
    soon(held.reached()).await;
    let viewer = std::thread::spawn({
        let session = session.clone();
        move || session.view().unwrap()
    });
    end(&mut arbiters[0]);
    held.release();
    assert_eq!(soon(receipt).await.unwrap().head, at(2));
    assert!(viewer.join().unwrap().head() >= at(1));
    assert_head(&session, 2).await;
    store.close().await.unwrap();
}
