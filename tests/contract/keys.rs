//! Goal: an append with a key is written once, however often and however late it is retried. Method: retries in flight,
//! after the commit, in another store, beyond the cache; the same key with another body.

use foldlog::{Append, AppendKey, ErrorKind, EventId, Session, SubscribeFrom};
use futures::{FutureExt, StreamExt};

use crate::common::tally::AncientTally;
use crate::common::*;

on_both_media!(
    a_retry_in_flight_joins_the_first_answer,
    of_those_that_join_the_first_whose_receipt_is_held_is_told_that_it_was_first,
    a_retry_from_a_newer_build_returns_the_first_result_by_its_key_alone,
    a_retry_after_the_commit_returns_the_first_result_and_writes_nothing,
    a_retry_in_a_new_store_returns_the_first_result,
    a_retry_is_found_in_the_log_when_the_cache_has_forgotten_it,
    a_key_with_another_body_is_refused_and_nothing_is_written,
    a_batch_has_one_key_and_is_repeated_as_a_whole,
    a_refused_append_leaves_its_key_free,
    a_retry_comes_before_its_expected_head,
    keys_are_of_one_session,
    a_key_is_1_to_64_bytes,
);

fn keyed(session: &Session, name: &str, n: u64) -> foldlog::Receipt<foldlog::agent::Agent> {
    session.append_with(Append::new(noted(n)).key(key(name))).unwrap()
}

async fn a_retry_in_flight_joins_the_first_answer(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let receipts: Vec<_> = (0..10).map(|_| keyed(&session, "k", 1)).collect();
    let other = keyed(&session, "k", 2);
    let next = keyed(&session, "l", 1);
    for receipt in receipts {
        assert_eq!(ids(&soon(receipt).await.unwrap().events), [1]);
    }
    assert_refused!(other.await, ErrorKind::KeyReused { first, .. } if *first == at(1));
    assert_eq!(next.await.unwrap().head, at(2));
    assert_head(&session, 2).await;
    store.close().await.unwrap();
}

async fn of_those_that_join_the_first_whose_receipt_is_held_is_told_that_it_was_first(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    for (id, dropped) in [(1, 0), (2, 1), (3, 3)] {
        let name = format!("key {id}");
        let mut receipts: Vec<_> = (0..5).map(|_| keyed(&session, &name, id)).collect();
        drop(receipts.drain(..dropped));
        let mut repeated = Vec::new();
        for receipt in receipts {
            repeated.push(soon(receipt).await.unwrap().repeated);
        }
        let wanted: Vec<_> = (dropped..5).map(|place| place > dropped).collect();
        assert_eq!(repeated, wanted, "{dropped} receipts dropped");
        assert!(keyed(&session, &name, id).await.unwrap().repeated);
    }
    // Nobody was told that it was first, and nobody is told so later: the event is there.
    drop(keyed(&session, "dropped", 4));
    session.append(noted(5)).unwrap().await.unwrap();
    assert!(keyed(&session, "dropped", 4).await.unwrap().repeated);
    assert_head(&session, 5).await;
    store.close().await.unwrap();
}

async fn a_retry_from_a_newer_build_returns_the_first_result_by_its_key_alone(disk: TestDisk) {
    let older = disk.open_model::<AncientTally>().await;
    let session = older.open_session("s").await.unwrap();
    session.append_with(Append::new(TallyBody::Added(1)).key(key("k"))).unwrap().await.unwrap();
    older.close().await.unwrap();
    let newer = disk.open_model::<Tally>().await;
    let session = newer.open_session("s").await.unwrap();
    // The bytes of a body may be others in another schema, so nothing can be said of them.
    for body in [TallyBody::Added(1), TallyBody::Added(2)] {
        let again = session.append_with(Append::new(body).key(key("k"))).unwrap().await.unwrap();
        assert_eq!((again.repeated, ids_of(&again)), (true, vec![1]));
    }
    let own = |body| Append::new(body).key(key("own"));
    session.append_with(own(TallyBody::Added(1))).unwrap().await.unwrap();
    assert_refused!(session.append_with(own(TallyBody::Added(2))).unwrap().await, ErrorKind::KeyReused { .. });
    newer.close().await.unwrap();
}

async fn a_retry_after_the_commit_returns_the_first_result_and_writes_nothing(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let first = keyed(&session, "k", 1).await.unwrap();
    assert!(!first.repeated);
    session.append(noted(2)).unwrap().await.unwrap();
    let mut stream = session.subscribe(SubscribeFrom::Now).await.unwrap();
    let again = keyed(&session, "k", 1).await.unwrap();
    assert!(again.repeated);
    assert_eq!((again.head, ids(&again.events)), (first.head, ids(&first.events)));
    assert_eq!(again.events[0].at(), first.events[0].at());
    assert_eq!(again.events[0].body(), first.events[0].body());
    assert!(stream.next().now_or_never().is_none(), "no subscriber sees it again");
    assert_head(&session, 2).await;
    store.close().await.unwrap();
}

async fn a_retry_in_a_new_store_returns_the_first_result(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    keyed(&session, "k", 1).await.unwrap();
    store.close().await.unwrap();
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let again = keyed(&session, "k", 1).await.unwrap();
    assert_eq!((again.repeated, ids(&again.events)), (true, vec![1]));
    assert_refused!(keyed(&session, "k", 2).await, ErrorKind::KeyReused { .. });
    assert_head(&session, 1).await;
    store.close().await.unwrap();
}

async fn a_retry_is_found_in_the_log_when_the_cache_has_forgotten_it(disk: TestDisk) {
    for reopened in [false, true] {
        let (disk, small) = (disk.clone(), |config: &mut foldlog::StoreConfig| config.append_keys_max = 4);
        let name = if reopened { "reopened" } else { "open" };
        let mut store = disk.open_with(small).await;
        let mut session = store.open_session(name).await.unwrap();
        for n in 1..=40 {
            keyed(&session, &format!("key {n}"), n).await.unwrap();
        }
        if reopened {
            store.close().await.unwrap();
            store = disk.open_with(small).await;
            session = store.open_session(name).await.unwrap();
        }
        // All at once, with new appends between them: each takes its place in the order of the calls.
        let mut receipts = Vec::new();
        for n in 1..=40 {
            receipts.push((n, true, keyed(&session, &format!("key {n}"), n)));
            receipts.push((40 + n, false, session.append(noted(100 + n)).unwrap()));
        }
        for (id, repeated, receipt) in receipts {
            let appended = soon(receipt).await.unwrap();
            assert_eq!((appended.head, appended.repeated), (at(id), repeated));
        }
        assert_refused!(keyed(&session, "key 1", 2).await, ErrorKind::KeyReused { first, .. } if *first == at(1));
        assert_head(&session, 80).await;
        store.close().await.unwrap();
    }
}

async fn a_key_with_another_body_is_refused_and_nothing_is_written(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    keyed(&session, "k", 1).await.unwrap();
    assert_refused!(
        keyed(&session, "k", 2).await,
        ErrorKind::KeyReused { session, first, written: 1, given: 1 } if session.as_str() == "s" && *first == at(1)
    );
    let longer = Append::batch(vec![noted(1), noted(1)]).key(key("k"));
    let told = session.append_with(longer).unwrap().await.unwrap_err();
    assert_refused!(Err::<(), _>(told.clone()), ErrorKind::KeyReused { written: 1, given: 2, .. });
    assert!(told.to_string().contains("for event 1 alone, and this append has 2 bodies: "), "{told}");
    assert_head(&session, 1).await;
    // As long as its first append is on its way, and behind it.
    let batch = |last| Append::batch(vec![noted(1), noted(last)]).key(key("two"));
    let first = session.append_with(batch(2)).unwrap();
    let (other, shorter) = (session.append_with(batch(3)).unwrap(), Append::new(noted(1)).key(key("two")));
    let shorter_now = session.append_with(shorter.clone()).unwrap();
    first.await.unwrap();
    let texts = [other.await, shorter_now.await, session.append_with(shorter).unwrap().await];
    let texts = texts.map(|refused| refused.unwrap_err().to_string());
    assert!(texts[0].contains("for events 2 to 3, with other bodies: "), "{texts:?}");
    assert!(texts[1].contains("for events 2 to 3, and this append has 1 body: ") && texts[1] == texts[2], "{texts:?}");
    assert_head(&session, 3).await;
    store.close().await.unwrap();
}

async fn a_batch_has_one_key_and_is_repeated_as_a_whole(disk: TestDisk) {
    let store = disk.open_with(|config| config.page_events_max = 2).await;
    let session = store.open_session("s").await.unwrap();
    session.append(noted(0)).unwrap().await.unwrap();
    let batch = |last| Append::batch(vec![user("a"), user("b"), noted(3), noted(4), noted(last)]).key(key("k"));
    let first = session.append_with(batch(5)).unwrap();
    let joined = session.append_with(batch(5)).unwrap();
    session.append(noted(9)).unwrap().await.unwrap();
    assert_eq!(ids(&first.await.unwrap().events), [2, 3, 4, 5, 6]);
    assert_eq!(ids(&joined.await.unwrap().events), [2, 3, 4, 5, 6]);
    let again = session.append_with(batch(5)).unwrap().await.unwrap();
    assert_eq!((again.repeated, again.head, ids(&again.events)), (true, at(6), vec![2, 3, 4, 5, 6]));
    assert_refused!(session.append_with(batch(6)).unwrap().await, ErrorKind::KeyReused { first, .. } if *first == at(2));
    let shorter = Append::batch(vec![user("a"), user("b")]).key(key("k"));
    assert_refused!(session.append_with(shorter).unwrap().await, ErrorKind::KeyReused { .. });
    assert_head(&session, 7).await;
    store.close().await.unwrap();
}

async fn a_refused_append_leaves_its_key_free(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let stale = Append::new(noted(1)).key(key("k")).expect_head(at(5));
    assert_refused!(session.append_with(stale).unwrap().await, ErrorKind::HeadMoved { .. });
    let appended = keyed(&session, "k", 2).await.unwrap();
    assert_eq!((appended.head, appended.repeated), (at(1), false));
    assert_head(&session, 1).await;
    store.close().await.unwrap();
}

/// A client that lost the answer to a conditional append retries it as it was.
async fn a_retry_comes_before_its_expected_head(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let append = || Append::new(noted(1)).key(key("k")).expect_head(EventId::ZERO);
    assert_eq!(session.append_with(append()).unwrap().await.unwrap().head, at(1));
    let again = session.append_with(append()).unwrap().await.unwrap();
    assert_eq!((again.head, again.repeated), (at(1), true));
    assert_head(&session, 1).await;
    store.close().await.unwrap();
}

async fn keys_are_of_one_session(disk: TestDisk) {
    let store = disk.open().await;
    for name in ["a", "b"] {
        let session = store.open_session(name).await.unwrap();
        assert!(!keyed(&session, "k", 1).await.unwrap().repeated);
        assert_head(&session, 1).await;
    }
    store.close().await.unwrap();
}

async fn a_key_is_1_to_64_bytes(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    for (bad, text) in [(0, "limit is 1 to 64"), (AppendKey::BYTES_MAX + 1, "65")] {
        assert_refused!(AppendKey::new(vec![0; bad]), ErrorKind::InvalidArgument { what } if what.contains(text));
    }
    for good in [vec![0], vec![255; AppendKey::BYTES_MAX]] {
        let append = || Append::new(noted(1)).key(AppendKey::new(&good).unwrap());
        assert!(!session.append_with(append()).unwrap().await.unwrap().repeated);
        assert!(session.append_with(append()).unwrap().await.unwrap().repeated);
    }
    assert_head(&session, 2).await;
    store.close().await.unwrap();
}

#[actix::test]
async fn a_retry_in_flight_joins_the_first_answer_when_the_cache_has_forgotten_it() {
    let disk = TestDisk::directory();
    let store = disk.open_with(|config| config.append_keys_max = 1).await;
    let session = soon(store.open_session("s")).await.unwrap();
    // Nothing is committed before all of them were taken.
    let foreign = ForeignLock::hold(&disk.path().unwrap());
    let first = keyed(&session, "k", 1);
    let second = keyed(&session, "l", 2);
    let retry = keyed(&session, "k", 1);
    let third = session.append(noted(3)).unwrap();
    assert_eq!(soon(session.counters()).await.unwrap().0, at(3), "the retry is not stamped again");
    foreign.release();
    for (receipt, id) in [(first, 1), (second, 2), (retry, 1), (third, 3)] {
        assert_eq!(ids(&soon(receipt).await.unwrap().events), [id]);
    }
    assert_head(&session, 3).await;
    soon(store.close()).await.unwrap();
}
