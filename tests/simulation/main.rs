//! Goal: whatever happens in whatever order, the log, the views, the lists and the subscribers say the same, and what
//! was acknowledged stays. Method: random histories of appends, batches, retries, stale heads, restarts, reopenings,
//! two stores, subscribers and faults run beside a plain list of events, and everything is compared after each step.
//!
//! A failure prints its seed: `FOLDLOG_SEED=<seed>` replays that history, `FOLDLOG_HISTORIES=<n>` runs another number.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails may panic")]
#![allow(unreachable_pub, reason = "the parts of one test")]

#[path = "../common/mod.rs"]
mod common;

mod appends;
mod backups;
mod blobs;
mod compare;
mod followers;
mod lifecycle;
mod storms;
mod truth;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::{number_of, seed};
use world::{Figures, World};

const HISTORIES: u64 = 800;
const STEPS: u64 = 40;
const THREADS: u64 = 3;

/// Panics, on any thread, that the testkit did not cause. foldlog goes on after a panic, and this test does not.
static OTHER_PANICS: AtomicU64 = AtomicU64::new(0);

/// The panics that the testkit is told to cause are not worth a line each.
fn quiet_made_panics() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let is_made = info.payload().downcast_ref::<String>().is_some_and(|text| text == "a fault of the testkit");
        if !is_made {
            OTHER_PANICS.fetch_add(1, Ordering::SeqCst);
            report(info);
        }
    }));
}

#[test]
fn random_histories_agree_with_a_plain_list_of_events_after_every_step() {
    quiet_made_panics();
    let replayed = number_of("FOLDLOG_SEED");
    let first = seed();
    let histories = number_of("FOLDLOG_HISTORIES").unwrap_or(if replayed.is_some() { 1 } else { HISTORIES });
    println!("FOLDLOG_HISTORIES={histories}");
    let (taken, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let work = move || {
        let mut figures = Figures::default();
        actix::System::new().block_on(async {
            while !failed.load(Ordering::SeqCst) {
                let number = taken.fetch_add(1, Ordering::SeqCst);
                if number >= histories {
                    break;
                }
                let reporting = Reporting { seed: first.wrapping_add(number), failed: Arc::clone(&failed) };
                figures.add(&World::run(reporting.seed, STEPS).await);
                assert_eq!(OTHER_PANICS.load(Ordering::SeqCst), 0, "something panicked in this history, or beside it");
                drop(reporting);
            }
        });
        figures
    };
    let threads: Vec<_> = (0..THREADS.min(histories)).map(|_| std::thread::spawn(work.clone())).collect();
    let mut figures = Figures::default();
    let mut is_failed = false;
    for thread in threads {
        match thread.join() {
            Ok(more) => figures.add(&more),
            Err(_) => is_failed = true,
        }
    }
    assert!(!is_failed, "a history failed; its seed is above");
    println!("{figures:?}");
    // Each kind of thing happened, or the run would prove little.
    if histories >= HISTORIES {
        assert!(figures.is_rich(), "{figures:?}");
    }
}

/// Says how to replay a history that fails.
struct Reporting {
    seed: u64,
    failed: Arc<AtomicBool>,
}

impl Drop for Reporting {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.failed.store(true, Ordering::SeqCst);
            eprintln!("replay it with FOLDLOG_SEED={} cargo test --test simulation", self.seed);
        }
    }
}
