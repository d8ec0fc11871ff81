//! Goal: a sweep that is killed at any moment leaves no event that names a blob which is not there, and the next sweep
//! ends it. Method: a child puts, names and sweeps blobs at the same time, by two stores, and is killed over and over;
//! its directory is verified, swept and verified again from here.

use std::path::Path;
use std::time::Duration;

use foldlog::testkit::Dice;
use foldlog::{ErrorKind, Store, StoreConfig, Sweep};
use futures::future::join;

use crate::common::child::{Child, tell};
use crate::common::*;

/// How many different blobs there are: few, so that most are swept and put again.
const BLOBS: u64 = 24;
/// After so many blobs were named, and sweeps have ended, a child may be killed.
const WORDS: u64 = 40;

fn now() -> Sweep {
    Sweep::default().grace(Duration::ZERO)
}

/// Puts and names blobs, and sweeps beside.
pub(crate) async fn sweep_until_killed(directory: &Path, life: &str) {
    let (store, beside) =
        (open(&StoreConfig::directory(directory)).await, open(&StoreConfig::directory(directory)).await);
    let named = async {
        let mut dice = Dice::new(life.parse().unwrap());
        for number in 0_u64.. {
            // A session of its own every now and then, whose blobs stay named.
            let session = store.open_session(format!("{life}-{}", number / 50)).await.unwrap();
            let blob = store.put_bytes(format!("blob {}", dice.below(BLOBS)).into_bytes()).await.unwrap();
            match append(&session, TallyBody::Attached(blob)).await {
                Ok(_) => tell("named"),
                // Without a grace time a sweep may have come between.
                Err(error) if matches!(error.kind(), ErrorKind::DanglingRef { .. }) => {}
                Err(error) => panic!("{error}"),
            }
            store.put_bytes(format!("unnamed {life} {number}").into_bytes()).await.unwrap();
        }
    };
    let swept = async {
        loop {
            beside.sweep(now()).await.unwrap();
            tell("swept");
        }
    };
    join(named, swept).await;
}

#[actix::test]
async fn a_sweep_that_is_killed_loses_no_blob_that_an_event_names() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let mut dice = seeded_dice();
    let mut swept = 0;
    for life in 0..number_of("FOLDLOG_KILLS").unwrap_or(6) {
        let child = Child::with_task("sweep", &life.to_string(), directory.path());
        let wanted = 1 + dice.below(WORDS);
        let mut told: Vec<_> = (0..wanted).map(|_| child.next().expect("it ends only when killed")).collect();
        told.extend(child.kill().lines);
        swept += told.iter().filter(|line| *line == "swept").count();
        let store: Store<Tally> = open(&StoreConfig::directory(directory.path())).await;
        let found = soon(store.verify()).await.unwrap();
        assert!(found.is_sound(), "{found}: {:?}", found.problems);
        soon(store.sweep(now())).await.unwrap();
        let found = soon(store.verify()).await.unwrap();
        assert!(found.is_sound() && found.orphans == 0, "{found}: {:?}", found.problems);
        soon(store.close()).await.unwrap();
    }
    println!("{swept} sweeps had ended");
}
