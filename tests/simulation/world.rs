//! Goal: one history that its seed repeats. Method: stores, sessions, and steps that dice choose.

use foldlog::testkit::{Dice, Faults, ManualClock};
use foldlog::{
    ErrorKind, LagPolicy, LiveConfig, ResidencyConfig, Restart, Session, SessionId, SnapshotPolicy, Store, StoreConfig,
    Timestamp,
};

use crate::backups::Backups;
use crate::blobs::Blobs;
use crate::common::tally::Tally;
use crate::common::{TestDisk, soon};
use crate::followers::Follower;
use crate::lifecycle::Ghost;
use crate::truth::{Owner, Truth, assert_described};

/// A limit that some histories have: about thirty of their events, and more than any append of theirs.
pub const IN_FLIGHT_BYTES_SMALL: usize = 8 << 10;

/// How many sessions a history has.
pub const SESSIONS: usize = 3;

/// Which session of which store a step is about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct At {
    pub store: usize,
    pub session: usize,
}

pub struct World {
    pub dice: Dice,
    pub faults: Faults,
    config: StoreConfig,
    pub clock: ManualClock,
    pub stores: [Option<Store<Tally>>; 2],
    /// By store, then by session.
    pub open: [Vec<Option<Session<Tally>>>; 2],
    pub truths: Vec<Truth>,
    pub blobs: Blobs,
    pub backups: Backups,
    /// Handles of deleted sessions.
    pub ghosts: Vec<Ghost>,
    pub followers: Vec<Follower>,
    /// Never used twice, so that every append can be told from every other.
    pub next_mark: u64,
    /// Whether anything may fail just now.
    pub is_stormy: bool,
    pub figures: Figures,
    /// Whether a session was restarted since the last calm.
    pub is_restarted: bool,
    /// What was done, printed when it fails.
    pub trace: Trace,
    // The last field, so that it is dropped after the stores.
    _disk: TestDisk,
}

/// How often what happened.
#[derive(Debug, Default, Clone, Copy)]
pub struct Figures {
    pub histories: u64,
    pub steps: u64,
    pub written: u64,
    pub refused: u64,
    pub unknown: u64,
    pub repeated: u64,
    pub storms: u64,
    pub injected: u64,
    pub restarts: u64,
    pub reopened: u64,
    pub held: u64,
    pub followed: u64,
    pub gaps: u64,
    pub owned_elsewhere: u64,
    pub transients: u64,
    pub emptied: u64,
    pub described: u64,
    pub deleted: u64,
    pub deletions_unsure: u64,
    pub redacted: u64,
    pub redactions_unsure: u64,
    pub swept: u64,
    pub swept_beside: u64,
    pub sweeps_failed: u64,
    pub backups: u64,
    pub backups_failed: u64,
    pub restored: u64,
}

impl Figures {
    fn all(&mut self) -> [&mut u64; 27] {
        [
            &mut self.histories,
            &mut self.steps,
            &mut self.written,
            &mut self.refused,
            &mut self.unknown,
            &mut self.repeated,
            &mut self.storms,
            &mut self.injected,
            &mut self.restarts,
            &mut self.reopened,
            &mut self.held,
            &mut self.followed,
            &mut self.gaps,
            &mut self.owned_elsewhere,
            &mut self.transients,
            &mut self.emptied,
            &mut self.described,
            &mut self.deleted,
            &mut self.deletions_unsure,
            &mut self.redacted,
            &mut self.redactions_unsure,
            &mut self.swept,
            &mut self.swept_beside,
            &mut self.sweeps_failed,
            &mut self.backups,
            &mut self.backups_failed,
            &mut self.restored,
        ]
    }

    pub fn add(&mut self, other: &Self) {
        let mut other = *other;
        for (sum, more) in self.all().into_iter().zip(other.all()) {
            *sum += *more;
        }
    }

    pub fn is_rich(mut self) -> bool {
        self.all().into_iter().all(|count| *count > 0)
    }
}

/// Prints the steps of a history that fails.
#[derive(Default)]
pub struct Trace(Vec<String>);

impl Trace {
    pub fn add(&mut self, step: String) {
        self.0.push(step);
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the steps:\n  {}", self.0.join("\n  "));
        }
    }
}

impl World {
    pub async fn run(seed: u64, steps: u64) -> Figures {
        let mut dice = Dice::new(seed);
        let disk = if dice.one_in(32) { TestDisk::directory() } else { TestDisk::memory() };
        let clock = ManualClock::new(Timestamp::from_micros(1_000_000));
        let small = |dice: &mut Dice, sizes: &[usize]| *dice.pick(sizes).unwrap();
        let config = StoreConfig {
            clock: foldlog::Clock::Manual(clock.clone()),
            live: LiveConfig {
                subscriber_queue_max: small(&mut dice, &[1, 2, 5, 1024]),
                lag: if dice.one_in(2) { LagPolicy::Gap } else { LagPolicy::CatchUp },
            },
            residency: ResidencyConfig {
                resident_sessions_max: small(&mut dice, &[0, 1, 2, 1024]),
                resident_bytes_max: small(&mut dice, &[0, 500, 1 << 20]),
                recoveries_max: small(&mut dice, &[1, 2, 4]),
                ..ResidencyConfig::default()
            },
            append_keys_max: small(&mut dice, &[0, 1, 3, 1024]),
            page_events_max: small(&mut dice, &[1, 3, 1024]),
            group_events_max: small(&mut dice, &[1, 4, 4096]),
            session_in_flight_max: small(&mut dice, &[4, 1024, 1024]),
            session_in_flight_bytes_max: small(&mut dice, &[IN_FLIGHT_BYTES_SMALL, 64 << 20, 64 << 20]),
            queued_jobs_max: 4096,
            snapshots: SnapshotPolicy {
                every_events: *dice.pick(&[1, 3, 10, u64::MAX]).unwrap(),
                closing_events: *dice.pick(&[1, 5, u64::MAX]).unwrap(),
                ..SnapshotPolicy::default()
            },
            ..disk.config()
        };
        let faults = Faults::default();
        let mut world = Self {
            faults: faults.clone(),
            config: faults.watch(config),
            clock,
            stores: [None, None],
            open: [Vec::new(), Vec::new()],
            truths: (0..3).map(|n| Truth::new(format!("s{n}"))).collect(),
            blobs: Blobs::default(),
            backups: Backups::default(),
            ghosts: Vec::new(),
            followers: Vec::new(),
            next_mark: 1,
            is_stormy: false,
            is_restarted: false,
            figures: Figures { histories: 1, ..Figures::default() },
            trace: Trace::default(),
            dice,
            _disk: disk,
        };
        for open in &mut world.open {
            open.resize_with(3, || None);
        }
        world.open_store(0).await;
        for _ in 0..steps {
            world.step().await;
            world.compare().await;
            world.figures.steps += 1;
        }
        world.calm().await;
        world.end().await;
        world.figures
    }

    async fn step(&mut self) {
        let now = 1_000_000 + self.dice.below(1_000) as i64;
        self.clock.set(Timestamp::from_micros(now));
        let store = if self.stores[1].is_some() && self.dice.one_in(3) { 1 } else { 0 };
        let at = At { store, session: self.dice.below(3) as usize };
        let choice = self.dice.below(100);
        if self.stores[store].is_none() {
            return self.open_store(store).await;
        }
        match choice {
            0..5 => self.empty(store),
            5..36 => self.append(at).await,
            36..40 => self.redact(at).await,
            40..42 => self.delete(at).await,
            42..43 => self.erase(store).await,
            43..44 => self.back_up(store).await,
            44..47 => self.sweep_step(store).await,
            47..51 => self.hear_one(at.session).await,
            51..54 => self.settle_step(at.session).await,
            54..58 => self.put_blob(store).await,
            58..65 => self.follow(at).await,
            65..69 => self.notify(at),
            69..71 => self.leave(),
            71..74 => self.restart_session(at).await,
            74..76 => self.restart_others(store).await,
            76..79 => self.close_session(at).await,
            79..81 => self.close_store(store).await,
            81..83 => self.open_store(1).await,
            83..87 => self.hold_a_commit(at).await,
            87..89 => self.take_turn(at).await,
            89..94 => self.storm(),
            94..96 => self.restart_in_a_storm(at).await,
            _ => self.calm().await,
        }
    }

    pub async fn open_store(&mut self, store: usize) {
        if self.stores[store].is_some() {
            return;
        }
        self.trace.add(format!("open store {store}"));
        match soon(Store::open_model(self.config.clone())).await {
            Ok(opened) => {
                self.stores[store] = Some(opened);
                self.figures.reopened += 1;
            }
            Err(error) => assert!(self.is_stormy, "store {store} does not open: {error:?}"),
        }
    }

    pub fn leaves_out(&self) -> bool {
        self.config.live.lag == LagPolicy::Gap
    }

    /// The session's handle in a store, opened if need be. `None` only where a fault forbids it.
    pub async fn session(&mut self, at: At) -> Option<Session<Tally>> {
        if let Some(session) = &self.open[at.store][at.session] {
            return Some(session.clone());
        }
        let name = self.truths[at.session].name.clone();
        self.trace.add(format!("open {name} in store {}", at.store));
        let store = self.stores[at.store].as_ref()?;
        match soon(store.open_session(&name)).await {
            Ok(session) => {
                let truth = &mut self.truths[at.session];
                if !truth.is_made {
                    truth.is_made = true;
                    // A first try may have failed after it had made the session.
                    truth.owner = if truth.owner == Owner::Unsure { Owner::Unsure } else { Owner::Store(at.store) };
                }
                self.open[at.store][at.session] = Some(session.clone());
                Some(session)
            }
            Err(error) => {
                assert!(self.is_stormy, "{name} does not open: {error:?}");
                if !self.truths[at.session].is_made {
                    self.truths[at.session].owner = Owner::Unsure;
                    self.truths[at.session].is_sure = false;
                }
                None
            }
        }
    }

    pub fn notify(&mut self, at: At) {
        let Some(session) = self.open[at.store][at.session].clone() else { return };
        let transient = self.transient(at);
        match session.notify(transient) {
            Ok(()) => self.figures.transients += 1,
            Err(error) => assert!(matches!(error.kind(), ErrorKind::Busy { .. }), "{error:?}"),
        }
    }

    fn empty(&mut self, store: usize) {
        self.trace.add(format!("empty store {store}"));
        self.stores[store].as_ref().unwrap().empty_idle_sessions();
    }

    async fn take_turn(&mut self, at: At) {
        let Some(session) = self.session(at).await else { return };
        self.trace.add(format!("take the turn of {at:?}"));
        let truth = &mut self.truths[at.session];
        match soon(session.take_turn()).await {
            Ok(_) if truth.is_sure => {
                assert!(truth.owner == Owner::Nobody || truth.owner == Owner::Store(at.store), "{:?}", truth.owner);
                truth.owner = Owner::Store(at.store);
            }
            Ok(_) => {}
            Err(error) if truth.is_sure => {
                let is_owned = matches!(error.kind(), ErrorKind::OwnedElsewhere { .. });
                assert!(is_owned && truth.owner == Owner::Store(1 - at.store), "{error:?} {:?}", truth.owner);
            }
            Err(_) => truth.owner = Owner::Unsure,
        }
    }

    pub async fn restart_session(&mut self, at: At) {
        let Some(session) = self.open[at.store][at.session].clone() else { return };
        self.trace.add(format!("restart {at:?}"));
        self.figures.restarts += 1;
        self.is_restarted = true;
        // An append that is stamped and not sent to be persisted is refused. One that was sent is answered by what the
        // log holds.
        if self.truths[at.session].sent.iter().any(|sent| sent.receipt.is_some() || sent.answer.is_none()) {
            self.truths[at.session].is_sure = false;
        }
        soon(session.address().unwrap().send(Restart)).await.unwrap();
    }

    async fn restart_others(&mut self, store: usize) {
        let store = self.stores[store].as_ref().unwrap();
        self.figures.restarts += 1;
        if self.dice.one_in(2) {
            self.trace.add("restart the persist actor".to_owned());
            soon(store.persist_address().send(Restart)).await.unwrap();
        } else {
            self.trace.add("restart the blob actor".to_owned());
            soon(store.blob_address().send(Restart)).await.unwrap();
        }
    }

    async fn close_session(&mut self, at: At) {
        let Some(session) = self.open[at.store][at.session].take() else { return };
        self.trace.add(format!("close {at:?}"));
        let truth = &self.truths[at.session];
        let is_sure = truth.is_sure && !self.is_stormy && truth.owner == Owner::Store(at.store);
        let head = is_sure.then_some(truth.predicted.len());
        // It is closed in any case; the log may not be given up.
        let closed = soon(session.close()).await;
        assert!(closed.is_ok() || self.is_stormy, "{closed:?}");
        self.given_up(at);
        self.ended(Some(at.session), at.store, head).await;
    }

    /// Appends of another store in the meantime are refused or written, depending on the threads.
    fn others_may_win(&mut self, at: At) {
        let truth = &mut self.truths[at.session];
        if truth.sent.iter().any(|sent| sent.answer.is_none() && sent.store != at.store) {
            truth.is_sure = false;
            truth.owner = Owner::Unsure;
        }
    }

    fn given_up(&mut self, at: At) {
        self.others_may_win(at);
        let truth = &mut self.truths[at.session];
        truth.owner = match truth.owner {
            Owner::Store(owner) if owner == at.store && truth.is_sure && !self.is_stormy => Owner::Nobody,
            Owner::Store(owner) if owner != at.store => truth.owner,
            Owner::Nobody => Owner::Nobody,
            _ => Owner::Unsure,
        };
        truth.is_sure &= truth.owner != Owner::Unsure;
    }

    pub async fn close_store(&mut self, store: usize) {
        let Some(closing) = self.stores[store].take() else { return };
        self.figures.emptied += closing.stats().sessions_emptied;
        self.trace.add(format!("close store {store}"));
        let closed = soon(closing.close()).await;
        assert!(closed.is_ok() || self.is_stormy, "{closed:?}");
        for session in 0..3 {
            self.open[store][session] = None;
            self.others_may_win(At { store, session });
            // Whatever went wrong: a store that is closed owns nothing.
            let truth = &mut self.truths[session];
            if truth.owner == Owner::Store(store) {
                truth.owner = Owner::Nobody;
            }
        }
        self.ended(None, store, None).await;
        self.ghosts.retain(|ghost| ghost.store != store);
    }

    async fn end(&mut self) {
        let before: Vec<_> = self.truths.iter().map(|truth| truth.log.clone()).collect();
        self.close_store(0).await;
        self.close_store(1).await;
        self.open_store(0).await;
        let listed = soon(self.stores[0].as_ref().unwrap().list_sessions(None, 10)).await.unwrap();
        let made: Vec<_> = self.truths.iter().filter(|truth| truth.is_made).collect();
        assert_eq!(
            listed.iter().map(|row| (row.id.clone(), row.head.get())).collect::<Vec<_>>(),
            made.iter().map(|truth| (SessionId::new(&truth.name).unwrap(), truth.log.len() as u64)).collect::<Vec<_>>()
        );
        for (row, truth) in listed.iter().zip(made) {
            assert_described(&row.title, &row.labels, &truth.log);
        }
        self.calm().await;
        for (truth, before) in self.truths.iter().zip(before) {
            assert_eq!(truth.log[..before.len()], before, "a log changed over a reopening");
        }
        self.close_store(0).await;
    }
}
