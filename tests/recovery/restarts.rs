//! Goal: restarts lose nothing and leave nobody without an answer. Method: restarts of every actor while work is in
//! flight.

use foldlog::{CurrentView, ErrorKind, Restart, StoreConfig, SubscribeFrom};

use crate::common::*;
use crate::{answers, assert_answers_agree, live_ids, numbers};

on_both_media! {
    restarts_during_recovery_and_in_a_row_answer_everyone_by_the_log,
    restarts_of_every_actor_with_work_in_flight_lose_nothing,
}

async fn restarts_during_recovery_and_in_a_row_answer_everyone_by_the_log(config: StoreConfig) {
    let store = open(&config).await;
    let session = soon(store.open_session("s")).await.unwrap();
    let address = session.address().unwrap();
    let mut receipts = Vec::new();
    for n in 0..200 {
        receipts.push((n, session.append(TallyBody::Added(n)).unwrap()));
        if n % 10 == 9 {
            // The second and third find the recovery from the first under way.
            let restarts = (0..3).map(|_| address.send(Restart));
            for sent in soon(futures::future::join_all(restarts)).await {
                sent.unwrap();
            }
        }
    }
    let answers = answers(receipts).await;
    soon(session.recovery()).await.unwrap();
    let events = whole_log(&session).await;
    assert_answers_agree(&answers, &numbers(&events));
    assert_eq!(session.view().unwrap().head().get(), events.len() as u64);
    assert_eq!(look(&store, "s").await.0, *session.view().unwrap());
    // Restarts of a session that has nothing to do.
    for _ in 0..50 {
        soon(address.send(Restart)).await.unwrap();
    }
    usable(&store, "s").await;
    soon(store.close()).await.unwrap();
}

async fn restarts_of_every_actor_with_work_in_flight_lose_nothing(config: StoreConfig) {
    let store = open(&config).await;
    let session = soon(store.open_session("s")).await.unwrap();
    let stream = soon(session.subscribe(SubscribeFrom::Now)).await.unwrap();
    let mut receipts = Vec::new();
    let mut puts = Vec::new();
    for n in 0..100_u64 {
        receipts.push((n, session.append(TallyBody::Added(n)).unwrap()));
        let store_of_put = store.clone();
        puts.push(actix::spawn(async move { store_of_put.put_bytes(n.to_le_bytes().to_vec()).await }));
        match n % 9 {
            2 => soon(store.persist_address().send(Restart)).await.unwrap(),
            5 => soon(store.blob_address().send(Restart)).await.unwrap(),
            8 => soon(session.address().unwrap().send(Restart)).await.unwrap(),
            _ => {}
        }
    }
    let answers = answers(receipts).await;
    for put in puts {
        let blob = soon(put).await.unwrap().unwrap();
        assert_eq!(soon(store.get_bytes(blob.digest)).await.unwrap().len(), 8);
    }
    soon(session.recovery()).await.unwrap();
    let events = whole_log(&session).await;
    assert_answers_agree(&answers, &numbers(&events));
    let live = live_ids(stream, events.len()).await;
    assert_eq!(live, (1..=events.len() as u64).collect::<Vec<_>>(), "subscribers saw each event once");
    usable(&store, "s").await;
    soon(store.close()).await.unwrap();
}

/// When SQLite has waited long enough, the persist actor waits by itself. It is restarted while it does.
#[actix::test]
async fn restarts_while_another_program_holds_the_write_lock_lose_nothing() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let store = open(&StoreConfig::directory(directory.path())).await;
    let session = soon(store.open_session("s")).await.unwrap();
    append(&session, TallyBody::Added(0)).await.unwrap();

    let lock = ForeignLock::hold(directory.path());
    let mut receipts: Vec<_> = (1..100).map(|n| (n, session.append(TallyBody::Added(n)).unwrap())).collect();
    eventually("the store waits for the lock", || store.stats().lock_waiting.is_some()).await;
    assert!(futures::poll!(&mut receipts[0].1).is_pending(), "acknowledged without a commit");
    // Reads do not wait for it.
    assert_eq!(session.view().unwrap().head(), at(1));
    assert_eq!(look(&store, "s").await.1, at(1));
    let restarted = actix::spawn(store.persist_address().send(Restart));
    let session_restarted = actix::spawn(session.address().unwrap().send(Restart));
    soon(session_restarted).await.unwrap().unwrap();
    lock.release();
    soon(restarted).await.unwrap().unwrap();

    let answers = answers(receipts).await;
    assert_answers_agree(&answers, &numbers(&whole_log(&session).await));
    assert!(answers.iter().all(|(_, answer)| answer.is_ok()), "{answers:?}");
    usable(&store, "s").await;
    soon(store.close()).await.unwrap();
}

/// The persist actor answers the session's actor from before the restart. The one after it learns the outcome from the
/// log.
#[actix::test]
async fn appends_that_were_refused_during_a_restart_are_answered_as_not_written() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let config = StoreConfig::directory(directory.path());
    let store = open(&config).await;
    let session = soon(store.open_session("s")).await.unwrap();
    append(&session, TallyBody::Added(0)).await.unwrap();

    let lock = ForeignLock::hold(directory.path());
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'refused'); END";
    lock.execute(refuse);
    let receipts: Vec<_> = (1..20).map(|n| (n, session.append(TallyBody::Added(n)).unwrap())).collect();
    let address = session.address().unwrap();
    soon(address.send(Restart)).await.unwrap();
    // The actor that has begun again answers this.
    soon(address.send(CurrentView::default())).await.unwrap().unwrap();
    lock.release();
    let answers = answers(receipts).await;
    for (_, answer) in &answers {
        assert_refused!(answer.as_ref(), ErrorKind::NotWritten { .. });
    }
    assert_eq!(look(&store, "s").await.1, at(1));
    assert_eq!(session.view().unwrap().head(), at(1));

    ForeignLock::hold(directory.path()).execute("DROP TRIGGER refuse; COMMIT");
    usable(&store, "s").await;
    soon(store.close()).await.unwrap();
}
