//! Goal: an acknowledged event survives SIGKILL at every durability level (I1), and whoever lost the answers may send
//! everything again (I11). Method: a child with a few appends of each of three sessions in flight tells each
//! acknowledged id, and is killed after some of them; every append is then retried with its key.

use std::path::Path;

use foldlog::{Append, Durability, StoreConfig};
use futures::future::join_all;

use crate::common::child::{Child, tell};
use crate::common::*;

const SESSIONS: usize = 3;
/// How many appends of one session are in flight.
const IN_FLIGHT: u64 = 4;

fn numbered(n: u64) -> Append<Tally> {
    keyed(TallyBody::Added(n), &format!("key {n}"))
}

pub(crate) fn named(level: &str) -> Durability {
    match level {
        "power loss" => Durability::PowerLoss,
        "process crash" => Durability::ProcessCrash,
        other => panic!("no level {other}"),
    }
}

/// Appends to all sessions at once, and tells what was acknowledged.
pub(crate) async fn append_until_killed(directory: &Path, durability: Durability) {
    let store = open(&StoreConfig { durability, ..StoreConfig::directory(directory) }).await;
    let writers = (0..SESSIONS).map(|number| {
        let store = store.clone();
        async move {
            let session = store.open_session(format!("s{number}")).await.unwrap();
            let mut n = session.view().unwrap().head().get();
            loop {
                let receipts = (1..=IN_FLIGHT).map(|i| session.append_with(numbered(n + i)).unwrap());
                for receipt in receipts.collect::<Vec<_>>() {
                    n += 1;
                    assert_eq!(receipt.await.unwrap().head, at(n));
                    tell(format!("{number} {n}"));
                }
            }
        }
    });
    join_all(writers).await;
}

async fn survives_at(level: &str) {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = [0; SESSIONS];
    for wanted in [1, 7, 30, 61, 150] {
        let child = Child::with_task("append", level, directory.path());
        let mut told: Vec<_> = (0..wanted).map(|_| child.next().expect("it ends only when killed")).collect();
        told.extend(child.kill().lines);
        for line in told {
            let (session, id) = line.split_once(' ').unwrap();
            let last = &mut acknowledged[session.parse::<usize>().unwrap()];
            *last += 1;
            assert_eq!(id.parse::<u64>().unwrap(), *last, "acknowledged in order");
        }
        let store = open(&StoreConfig::directory(directory.path())).await;
        for (number, acknowledged) in acknowledged.iter_mut().enumerate() {
            // The first of them may have been killed before this session was made.
            let session = soon(store.open_session(format!("s{number}"))).await.unwrap();
            let head = session.view().unwrap().head().get();
            let possible = *acknowledged..=*acknowledged + IN_FLIGHT;
            assert!(possible.contains(&head), "{head} of {acknowledged} acknowledged");
            assert_head(&session, head).await;
            for (event, n) in whole_log(&session).await.iter().zip(1..) {
                assert_eq!(*event.body(), TallyBody::Added(n));
            }
            // What is there is repeated, what is not is written.
            for n in 1..=head + 2 {
                let appended = soon(session.append_with(numbered(n)).unwrap()).await.unwrap();
                assert_eq!((appended.head, appended.repeated), (at(n), n <= head));
            }
            assert_head(&session, head + 2).await;
            // The next writer goes on after these.
            *acknowledged = head + 2;
        }
        soon(store.close()).await.unwrap();
    }
    assert!(acknowledged.iter().sum::<u64>() >= 249);
}

#[actix::test]
async fn i1_an_acknowledged_event_survives_sigkill_and_i11_a_retry_with_its_key_is_safe() {
    survives_at("power loss").await;
}

#[actix::test]
async fn i1_an_acknowledged_event_survives_sigkill_at_the_weaker_durability_too() {
    survives_at("process crash").await;
}
