//! Goal: views are stored when they are due and no larger than the limit, and a view that cannot be stored harms no
//! append. Method: closings after few and many events, views of both sizes, a file in the way of the directory.

use foldlog::SnapshotPolicy;
use foldlog::agent::{Agent, AgentBody, Message};
use foldlog::testkit::Dice;

use super::{EAGER, agent_body, append_one, files_in, open};
use crate::common::*;

/// A store with many sessions could not store all of their views within its time to close.
#[actix::test]
async fn a_session_that_is_closed_stores_its_view_and_a_store_that_closes_stores_none() {
    for disk in [TestDisk::directory(), TestDisk::memory()] {
        let store = open::<Agent>(&disk, |config| {
            config.snapshots = SnapshotPolicy { closing_events: 3, ..SnapshotPolicy::OFF };
        })
        .await;
        let mut dice = Dice::new(1);
        for (name, events, written) in [("short", 2, 0), ("long", 3, 1)] {
            let session = store.open_session(name).await.unwrap();
            for _ in 0..events {
                append_one(&session, &mut dice, agent_body).await;
            }
            session.close().await.unwrap();
            assert_eq!(store.stats().snapshots_written, written, "{name}");
        }
        let session = store.open_session("open").await.unwrap();
        for _ in 0..10 {
            append_one(&session, &mut dice, agent_body).await;
        }
        store.close().await.unwrap();
        assert_eq!(store.stats().snapshots_written, 1);
    }
}

#[actix::test]
async fn a_view_over_the_limit_is_not_stored_and_one_below_it_is() {
    for (bytes_max, expected) in [(2000, 0), (20_000, 1)] {
        let disk = TestDisk::directory();
        let store = open::<Agent>(&disk, |config| {
            config.snapshots = SnapshotPolicy { every_events: u64::MAX, bytes_max, ..EAGER };
            config.snapshots.every_bytes = u64::MAX;
        })
        .await;
        let session = store.open_session("s").await.unwrap();
        for _ in 0..5 {
            session.append(AgentBody::MessageAppended(Message::user("x".repeat(1000)))).unwrap().await.unwrap();
        }
        session.close().await.unwrap();
        store.close().await.unwrap();
        assert_eq!(store.stats().snapshots_written, expected);
        assert_eq!(files_in(&disk.path().unwrap()).len() as u64, expected);
    }
}

#[actix::test]
async fn a_view_that_cannot_be_stored_harms_no_append() {
    let disk = TestDisk::directory();
    let path = disk.path().unwrap();
    let store = open::<Agent>(&disk, |_| ()).await;
    std::fs::remove_dir(path.join("snapshots")).unwrap();
    std::fs::write(path.join("snapshots"), "in the way").unwrap();
    let session = store.open_session("s").await.unwrap();
    let mut dice = Dice::new(3);
    for _ in 0..50 {
        append_one(&session, &mut dice, agent_body).await;
    }
    store.close().await.unwrap();
    assert_eq!(store.stats().snapshots_written, 0);
}
