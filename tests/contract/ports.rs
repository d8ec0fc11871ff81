//! Goal: the testkit's faults and gates do what they say, and nothing that fails or panics below a store's ports keeps
//! it from going on or from telling the truth. Method: each fault at each port, on both media; then the same call
//! again.

use crate::common::{
    Tally, TallyBody, TestDisk, assert_head, assert_refused, at, dangling, key, log_ids, on_both_media, soon,
};
use foldlog::testkit::{Call, Dice, Fault, Faults, Group, Operation, Outcome, Port};
use foldlog::{Append, Appended, ErrorKind, Item, Restart, Session, Store, SubscribeFrom};
use futures::StreamExt;

on_both_media!(
    every_operation_is_recorded_with_its_outcome,
    each_fault_at_a_commit_is_answered_by_what_the_log_holds,
    a_panic_while_a_failed_commit_is_settled_leaves_the_outcome_unknown_and_the_store_goes_on,
    a_panic_in_the_checkpoint_or_in_the_reopening_ends_no_actor,
    a_panic_while_a_page_is_read_ends_the_subscription_and_leaves_nobody_waiting,
    a_panic_while_a_key_is_searched_or_a_blob_is_looked_for_refuses_that_append_alone,
    a_held_commit_is_seen_by_nobody_until_it_is_released,
    a_fault_of_the_nth_call_strikes_that_call_alone,
    random_faults_are_those_of_their_seed,
);

async fn open(disk: &TestDisk) -> (Faults, Store<Tally>, Session<Tally>) {
    let faults = Faults::default();
    let store = disk.try_open_model(|config| *config = faults.watch(config.clone())).await.unwrap();
    let session = store.open_session("s").await.unwrap();
    session.append(TallyBody::Added(1)).unwrap().await.unwrap();
    (faults, store, session)
}

async fn add(session: &Session<Tally>, n: u64) -> Result<Appended<Tally>, foldlog::Error> {
    soon(session.append(TallyBody::Added(n)).unwrap()).await
}

async fn every_operation_is_recorded_with_its_outcome(disk: TestDisk) {
    let (faults, store, session) = open(&disk).await;
    faults.forget();
    let append = Append::batch(vec![TallyBody::Added(2), TallyBody::Added(3)]).key(key("k"));
    session.append_with(append).unwrap().await.unwrap();
    faults.fail_next(Port::Commit, Fault::DiskFull);
    assert_refused!(add(&session, 4).await, ErrorKind::DiskFull);
    let blob = store.put_bytes(vec![1, 2, 3]).await.unwrap();
    store.get_bytes(blob.digest).await.unwrap();
    store.read_state("s").await.unwrap();
    let operations = faults.operations();
    let commits: Vec<_> = operations.iter().filter(|operation| operation.call.port() == Port::Commit).collect();
    let [Operation { call: Call::Commit { group }, outcome: Outcome::Done }, full] = commits[..] else {
        panic!("{commits:?}")
    };
    let [Group::Append { events, key: Some(found), .. }] = &group[..] else { panic!("{group:?}") };
    assert_eq!((events.as_slice(), found), ([at(2), at(3)].as_slice(), &key("k")));
    assert_eq!(full.outcome, Outcome::Injected(Fault::DiskFull));
    for call in [
        Call::PutBlob { bytes: 3 },
        Call::GetBlob { digest: blob.digest },
        Call::Find { session: session.id().clone() },
    ] {
        assert!(operations.contains(&Operation { call: call.clone(), outcome: Outcome::Done }), "{call:?}");
    }
    assert!(faults.calls(Port::Commit) >= 3 && faults.calls(Port::Page) > 0);
    soon(store.close()).await.unwrap();
}

async fn each_fault_at_a_commit_is_answered_by_what_the_log_holds(disk: TestDisk) {
    let (faults, store, session) = open(&disk).await;
    for (head, (fault, is_written)) in (1..).zip([
        (Fault::Busy, true),
        (Fault::CommitKept, true),
        (Fault::CommitLost, false),
        (Fault::DiskFull, false),
        (Fault::Io, false),
        (Fault::Panic, false),
    ]) {
        let before = log_ids(&session).await.len() as u64;
        faults.fail_next(Port::Commit, fault);
        let answer = add(&session, head).await;
        assert_eq!(answer.is_ok(), is_written, "{fault:?}: {answer:?}");
        assert_head(&session, before + u64::from(is_written)).await;
        add(&session, 100).await.unwrap();
    }
    soon(store.close()).await.unwrap();
}

async fn a_panic_while_a_failed_commit_is_settled_leaves_the_outcome_unknown_and_the_store_goes_on(disk: TestDisk) {
    let (faults, store, session) = open(&disk).await;
    for port in [Port::OpenWriter, Port::Settle] {
        let before = log_ids(&session).await.len() as u64;
        faults.fail_next(Port::Commit, Fault::CommitKept);
        faults.fail_next(port, Fault::Panic);
        assert_refused!(add(&session, 5).await, ErrorKind::OutcomeUnknown { .. });
        soon(session.recovery()).await.unwrap();
        assert_head(&session, before + 1).await;
        add(&session, 6).await.unwrap();
    }
    soon(store.close()).await.unwrap();
}

async fn a_panic_in_the_checkpoint_or_in_the_reopening_ends_no_actor(disk: TestDisk) {
    let (faults, store, session) = open(&disk).await;
    faults.fail_next(Port::Upkeep, Fault::Panic);
    add(&session, 2).await.unwrap();
    add(&session, 3).await.unwrap();
    soon(store.persist_address().send(Restart)).await.unwrap();
    faults.fail_next(Port::OpenWriter, Fault::Panic);
    assert_refused!(add(&session, 4).await, ErrorKind::NotWritten { .. });
    add(&session, 5).await.unwrap();
    assert_head(&session, 4).await;
    soon(store.close()).await.unwrap();
}

async fn a_panic_while_a_page_is_read_ends_the_subscription_and_leaves_nobody_waiting(disk: TestDisk) {
    let (faults, store, session) = open(&disk).await;
    faults.fail_all(Port::Page, Fault::Panic);
    let mut stream = soon(session.subscribe(SubscribeFrom::After(at(0)))).await.unwrap();
    let Some(Item::Failed(error)) = soon(stream.next()).await else { panic!("it says why it ends") };
    assert!(matches!(error.kind(), ErrorKind::Unavailable { .. }), "{error}");
    assert!(soon(stream.next()).await.is_none(), "it ends");
    faults.clear();
    let mut stream = soon(session.subscribe(SubscribeFrom::After(at(0)))).await.unwrap();
    assert!(matches!(soon(stream.next()).await, Some(Item::Event(event)) if event.id() == at(1)));
    soon(store.close()).await.unwrap();
}

async fn a_panic_while_a_key_is_searched_or_a_blob_is_looked_for_refuses_that_append_alone(disk: TestDisk) {
    let faults = Faults::default();
    let change = |config: &mut foldlog::StoreConfig| {
        *config = faults.watch(foldlog::StoreConfig { append_keys_max: 0, ..config.clone() });
    };
    let store: Store<Tally> = disk.try_open_model(change).await.unwrap();
    let session = store.open_session("s").await.unwrap();
    let keyed = |n: u64| Append::new(TallyBody::Added(n)).key(key(&n.to_string()));
    soon(session.append_with(keyed(1)).unwrap()).await.unwrap();
    let blob = store.put_bytes(vec![7]).await.unwrap();
    soon(store.blob_address().send(Restart)).await.unwrap();

    faults.fail_next(Port::FindKey, Fault::Panic);
    // The key of a retry is known already, so it is not searched for.
    let searched = session.append_with(keyed(1)).unwrap();
    faults.fail_next(Port::EnsureBlob, Fault::Panic);
    let later = session.append(TallyBody::Added(3)).unwrap();
    assert_refused!(soon(searched).await, ErrorKind::Unavailable { .. });
    soon(later).await.unwrap();
    let looked_for = session.append(TallyBody::Attached(dangling())).unwrap();
    let later = session.append(TallyBody::Added(4)).unwrap();
    assert_refused!(soon(looked_for).await, ErrorKind::Unavailable { .. });
    soon(later).await.unwrap();
    soon(session.append(TallyBody::Attached(blob)).unwrap()).await.unwrap();
    assert_head(&session, 4).await;
    soon(store.close()).await.unwrap();
}

async fn a_held_commit_is_seen_by_nobody_until_it_is_released(disk: TestDisk) {
    let (faults, store, session) = open(&disk).await;
    let mut held = faults.hold(Port::Commit);
    let mut stream = soon(session.subscribe(SubscribeFrom::Now)).await.unwrap();
    let receipt = session.append(TallyBody::Added(2)).unwrap();
    soon(held.reached()).await;
    assert_head(&session, 1).await;
    let mut next = std::pin::pin!(stream.next());
    assert!(futures::poll!(next.as_mut()).is_pending());
    held.release();
    soon(receipt).await.unwrap();
    assert!(matches!(soon(next).await, Some(Item::Event(event)) if event.id() == at(2)));
    assert_head(&session, 2).await;
    soon(store.close()).await.unwrap();
}

async fn a_fault_of_the_nth_call_strikes_that_call_alone(disk: TestDisk) {
    let (faults, store, session) = open(&disk).await;
    faults.fail_nth(Port::Commit, 3, Fault::Io);
    let mut answers = Vec::new();
    for n in 1..=4 {
        answers.push(add(&session, n).await.is_ok());
    }
    assert_eq!(answers, [true, true, false, true]);
    faults.fail_all(Port::Commit, Fault::Io);
    assert!(add(&session, 5).await.is_err() && add(&session, 6).await.is_err());
    faults.clear();
    add(&session, 7).await.unwrap();
    assert_head(&session, 5).await;
    soon(store.close()).await.unwrap();
}

async fn random_faults_are_those_of_their_seed(disk: TestDisk) {
    let (faults, store, session) = open(&disk).await;
    let mut dice = Dice::new(4711);
    faults.fail_randomly(Port::Commit, Fault::DiskFull, 3, 4711);
    for n in 1..20 {
        assert_eq!(add(&session, n).await.is_err(), dice.one_in(3), "append {n}");
    }
    faults.clear();
    soon(store.close()).await.unwrap();
}

#[actix::test]
async fn a_call_that_is_held_waits_and_a_dropped_hold_lets_it_go() {
    let disk = TestDisk::memory();
    let (faults, store, session) = open(&disk).await;
    let mut held = faults.hold(Port::Sessions);
    let mut listing = std::pin::pin!(store.list_sessions(None, 9));
    assert!(futures::poll!(listing.as_mut()).is_pending());
    soon(held.reached()).await;
    assert!(futures::poll!(listing.as_mut()).is_pending());
    drop(held);
    assert_eq!(soon(listing).await.unwrap().len(), 1);
    assert_eq!(session.view().unwrap().sum, 1);
    soon(store.close()).await.unwrap();
}
