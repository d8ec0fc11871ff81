//! Goal: the hand empties what is idle, spares what was used or is busy, and does little in vain. Method: made sessions
//! and made times.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;
use crate::stats::ResidentCount as Footprint;

/// A session that says what it was asked.
struct Made {
    used: AtomicBool,
    busy: AtomicBool,
    closed: AtomicBool,
    asked: AtomicU64,
    footprint: Mutex<Footprint>,
}

impl Made {
    fn is_resident(&self) -> bool {
        lock(&self.footprint).is_resident()
    }
}

impl Resident for Made {
    fn take_used(&self) -> bool {
        self.used.swap(false, Ordering::SeqCst)
    }

    fn is_gone(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    fn try_empty(&self) -> EmptyOutcome {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.is_gone() {
            return EmptyOutcome::Gone;
        }
        if self.busy.load(Ordering::SeqCst) {
            return EmptyOutcome::Busy;
        }
        lock(&self.footprint).leave();
        EmptyOutcome::Emptied
    }
}

struct Bench {
    residency: Residency,
    metrics: Arc<Metrics>,
    sessions: Vec<Arc<Made>>,
    begun: Instant,
}

impl Bench {
    fn new(sessions_max: usize, bytes_max: usize, idle_max: Option<Duration>) -> Self {
        let limits = ResidencyConfig {
            resident_sessions_max: sessions_max,
            resident_bytes_max: bytes_max,
            session_idle_max: idle_max,
            ..ResidencyConfig::default()
        };
        let metrics = Arc::new(Metrics::new());
        let residency = Residency::new(limits, Arc::clone(&metrics));
        Self { residency, metrics, sessions: Vec::new(), begun: Instant::now() }
    }

    /// A session of ten bytes.
    fn enter(&mut self) -> Arc<Made> {
        let mut footprint = Footprint::new(&self.metrics, false);
        footprint.enter(10);
        let made = Arc::new(Made {
            used: AtomicBool::new(false),
            busy: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            footprint: Mutex::new(footprint),
        });
        self.sessions.push(Arc::clone(&made));
        let session: Arc<dyn Resident> = Arc::clone(&made) as _;
        self.residency.enter(Arc::downgrade(&session), self.begun);
        made
    }

    /// The numbers of those that are resident.
    fn resident(&self) -> Vec<usize> {
        self.sessions.iter().enumerate().filter(|(_, made)| made.is_resident()).map(|(n, _)| n).collect()
    }

    fn after(&self, seconds: u64) -> Instant {
        self.begun + Duration::from_secs(seconds)
    }
}

#[test]
fn the_hand_spares_what_was_used_once_and_keeps_the_limits() {
    let mut bench = Bench::new(2, usize::MAX, None);
    for _ in 0..4 {
        bench.enter();
    }
    bench.sessions[0].used.store(true, Ordering::SeqCst);
    assert!(bench.residency.make_room(bench.begun));
    assert_eq!(bench.resident(), [0, 3]);
    // Its second chance is used up.
    bench.enter();
    assert!(bench.residency.make_room(bench.begun));
    assert_eq!(bench.resident(), [0, 4], "the hand had come to 3");
    bench.enter();
    assert!(bench.residency.make_room(bench.begun));
    assert_eq!(bench.resident(), [4, 5]);
}

#[test]
fn bytes_are_a_limit_of_their_own() {
    let mut bench = Bench::new(usize::MAX, 25, None);
    for _ in 0..5 {
        bench.enter();
    }
    assert!(bench.residency.make_room(bench.begun));
    assert_eq!(bench.resident(), [3, 4]);
    assert_eq!(bench.metrics.resident(), (2, 20));
}

#[test]
fn busy_sessions_stay_and_the_hand_rests_after_a_few() {
    let mut bench = Bench::new(0, usize::MAX, None);
    for _ in 0..1000 {
        bench.enter().busy.store(true, Ordering::SeqCst);
    }
    assert!(!bench.residency.make_room(bench.begun));
    assert_eq!(bench.resident().len(), 1000);
    let asked: u64 = bench.sessions.iter().map(|made| made.asked.load(Ordering::SeqCst)).sum();
    assert_eq!(asked, BUSY_MAX as u64);
    for made in &bench.sessions {
        made.busy.store(false, Ordering::SeqCst);
    }
    assert!(bench.residency.make_room(bench.begun), "as many as need be, once they are not");
    assert_eq!(bench.resident(), Vec::<usize>::new());
}

#[test]
fn a_storm_of_used_sessions_is_emptied_down_to_the_limit_at_once() {
    let mut bench = Bench::new(10, usize::MAX, None);
    for _ in 0..1000 {
        bench.enter().used.store(true, Ordering::SeqCst);
    }
    assert!(bench.residency.make_room(bench.begun));
    assert_eq!(bench.resident().len(), 10);
}

#[test]
fn a_sweep_empties_what_was_not_used_for_too_long() {
    let mut bench = Bench::new(usize::MAX, usize::MAX, Some(Duration::from_secs(60)));
    for _ in 0..3 {
        bench.enter();
    }
    bench.sessions[1].busy.store(true, Ordering::SeqCst);
    bench.residency.sweep(bench.after(59));
    assert_eq!(bench.resident(), [0, 1, 2]);
    bench.sessions[2].used.store(true, Ordering::SeqCst);
    bench.residency.sweep(bench.after(60));
    assert_eq!(bench.resident(), [1, 2]);
    bench.sessions[1].busy.store(false, Ordering::SeqCst);
    bench.residency.sweep(bench.after(61));
    assert_eq!(bench.resident(), [2]);
    bench.residency.sweep(bench.after(119));
    assert_eq!(bench.resident(), [2]);
    bench.residency.sweep(bench.after(120));
    assert_eq!(bench.resident(), Vec::<usize>::new());
}

#[test]
fn without_a_limit_of_time_a_sweep_does_nothing_and_an_order_empties_all() {
    let mut bench = Bench::new(usize::MAX, usize::MAX, None);
    bench.enter();
    bench.enter().used.store(true, Ordering::SeqCst);
    bench.residency.sweep(bench.after(1_000_000));
    assert_eq!(bench.resident(), [0, 1]);
    assert_eq!(bench.residency.empty_all(), 2);
    assert_eq!(bench.residency.empty_all(), 0);
}

#[test]
fn closed_and_forgotten_sessions_leave_no_slots() {
    let mut bench = Bench::new(usize::MAX, usize::MAX, None);
    for n in 0..10_000 {
        let made = bench.enter();
        lock(&made.footprint).leave();
        made.closed.store(true, Ordering::SeqCst);
        if n % 2 == 0 {
            bench.sessions.clear();
        }
        bench.residency.prune();
        assert!(lock(&bench.residency.ring).len() as u64 <= SLOTS_SPARE + 1);
    }
}

#[test]
fn the_thread_empties_what_is_over_the_limit_and_ends() {
    let limits = ResidencyConfig { resident_sessions_max: 0, ..ResidencyConfig::default() };
    let metrics = Arc::new(Metrics::new());
    let residency = Residency::start(limits, Arc::clone(&metrics)).unwrap();
    let mut footprint = Footprint::new(&metrics, false);
    footprint.enter(1);
    let (emptied, told) = std::sync::mpsc::channel();
    let session: Arc<dyn Resident> = Arc::new(Telling(Mutex::new(footprint), emptied));
    residency.enter(Arc::downgrade(&session), Instant::now());
    told.recv_timeout(Duration::from_secs(60)).unwrap();
    residency.close();
}

struct Telling(Mutex<Footprint>, std::sync::mpsc::Sender<()>);

impl Resident for Telling {
    fn take_used(&self) -> bool {
        false
    }

    fn is_gone(&self) -> bool {
        false
    }

    fn try_empty(&self) -> EmptyOutcome {
        lock(&self.0).leave();
        self.1.send(()).unwrap();
        EmptyOutcome::Emptied
    }
}
