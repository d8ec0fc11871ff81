//! Goal: limits empty idle sessions and never busy ones, and recoveries keep no append of another session waiting.
//! Method: tiny limits; commits and reads that are held.

use foldlog::testkit::{Faults, Port};
use foldlog::{Append, ResidencyConfig, Session};
use futures::future::join_all;

use super::empty;
use crate::common::*;

on_both_media!(
    more_sessions_than_the_limit_are_served_in_turn,
    more_bytes_than_the_limit_are_given_back,
    a_busy_session_is_never_emptied_and_the_excess_is_counted,
    sixty_four_recoveries_that_hang_keep_no_append_waiting,
    a_thousand_cold_sessions_wake_at_once,
);

async fn sessions(store: &foldlog::Store, count: usize) -> Vec<Session> {
    join_all((0..count).map(async |n| store.open_session(format!("s{n}")).await.unwrap())).await
}

async fn more_sessions_than_the_limit_are_served_in_turn(disk: TestDisk) {
    let residency = ResidencyConfig { resident_sessions_max: 2, ..ResidencyConfig::default() };
    let store = disk.open_with(|config| config.residency = residency).await;
    let sessions = sessions(&store, 10).await;
    for round in 1..=5 {
        for session in &sessions {
            assert_eq!(session.append(noted(round)).unwrap().await.unwrap().head, at(round));
            assert_eq!(session.view().unwrap().head(), at(round));
        }
        eventually("emptied down to the limit", || store.stats().sessions_resident <= 2).await;
    }
    for session in &sessions {
        assert_head(session, 5).await;
    }
    store.close().await.unwrap();
}

async fn more_bytes_than_the_limit_are_given_back(disk: TestDisk) {
    let residency = ResidencyConfig { resident_bytes_max: 10_000, ..ResidencyConfig::default() };
    let store = disk.open_with(|config| config.residency = residency).await;
    let sessions = sessions(&store, 5).await;
    for session in &sessions {
        session.append(user("x".repeat(4000))).unwrap().await.unwrap();
    }
    eventually("emptied down to the limit", || store.stats().resident_bytes <= 10_000).await;
    let stats = store.stats();
    assert!((1..=2).contains(&stats.sessions_resident), "{stats:?}");
    // A session that grows over the limit by itself goes too, once it is idle.
    for n in 0..4 {
        sessions[0].append(user(format!("{n}{}", "x".repeat(4000)))).unwrap().await.unwrap();
    }
    eventually("emptied all", || store.stats().resident_bytes <= 10_000).await;
    for (n, session) in sessions.iter().enumerate() {
        assert_head(session, if n == 0 { 5 } else { 1 }).await;
    }
    store.close().await.unwrap();
}

async fn a_busy_session_is_never_emptied_and_the_excess_is_counted(disk: TestDisk) {
    let faults = Faults::default();
    let residency = ResidencyConfig { resident_sessions_max: 0, ..ResidencyConfig::default() };
    let store = disk.open_with(|config| *config = faults.watch(config.clone())).await;
    let session = store.open_session("s").await.unwrap();
    let mut held = faults.hold(Port::Commit);
    let receipt = session.append(noted(1)).unwrap();
    soon(held.reached()).await;
    empty(&store, 0);
    assert_eq!(session.view().unwrap().head(), at(0));
    held.release();
    assert_eq!(receipt.await.unwrap().head, at(1));
    empty(&store, 1);
    store.close().await.unwrap();

    let store = disk.open_with(|config| *config = faults.watch(config.clone())).await;
    drop(store.open_session("s").await.unwrap());
    store.close().await.unwrap();
    let store = disk
        .open_with(|config| {
            config.residency = residency;
            *config = faults.watch(config.clone());
        })
        .await;
    let session = store.open_session("s").await.unwrap();
    let mut held = faults.hold(Port::Commit);
    let receipt = session.append(noted(2)).unwrap();
    soon(held.reached()).await;
    eventually("counted", || store.stats().residency_exceeded > 0).await;
    assert_eq!(store.stats().sessions_resident, 1);
    held.release();
    assert_eq!(receipt.await.unwrap().head, at(2));
    eventually("emptied", || store.stats().sessions_resident == 0).await;
    assert_head(&session, 2).await;
    store.close().await.unwrap();
}

async fn sixty_four_recoveries_that_hang_keep_no_append_waiting(disk: TestDisk) {
    let faults = Faults::default();
    let store = disk
        .open_with(|config| {
            config.append_keys_max = 0;
            *config = faults.watch(config.clone());
        })
        .await;
    let cold = sessions(&store, 64).await;
    for session in &cold {
        session.append(noted(1)).unwrap().await.unwrap();
    }
    empty(&store, 64);
    let busy = store.open_session("busy").await.unwrap();
    let recoveries_max = ResidencyConfig::default().recoveries_max;
    // Half of them are for long logs, which these are not.
    let held: Vec<_> = (0..recoveries_max - recoveries_max / 2).map(|_| faults.hold(Port::Page)).collect();
    let waking: Vec<_> = cold.iter().map(|session| session.append(noted(2)).unwrap()).collect();
    let mut reached = Vec::new();
    for mut hold in held {
        soon(hold.reached()).await;
        reached.push(hold);
    }
    // Each looks for its key in the log; the second finds it there and reads what it wrote.
    for n in 1..=10 {
        for repeated in [false, true] {
            let append = Append::new(noted(n)).key(key(&n.to_string()));
            let appended = soon(busy.append_with(append).unwrap()).await.unwrap();
            assert_eq!((appended.head, appended.repeated), (at(n), repeated));
        }
    }
    assert_eq!(store.stats().recoveries_running, 64);
    drop(reached);
    for receipt in waking {
        assert_eq!(soon(receipt).await.unwrap().head, at(2));
    }
    store.close().await.unwrap();
}

async fn a_thousand_cold_sessions_wake_at_once(disk: TestDisk) {
    let residency = ResidencyConfig { resident_sessions_max: 100, ..ResidencyConfig::default() };
    let store = disk.open_with(|config| config.residency = residency).await;
    let sessions = sessions(&store, 1000).await;
    for n in 1..=3 {
        let receipts: Vec<_> = sessions.iter().map(|session| session.append(noted(n)).unwrap()).collect();
        for receipt in receipts {
            assert_eq!(soon(receipt).await.unwrap().head, at(n));
        }
        eventually("emptied down to the limit", || store.stats().sessions_resident <= 100).await;
    }
    assert_eq!(store.stats().appends_acknowledged, 3000);
    store.close().await.unwrap();
}
