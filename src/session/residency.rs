//! Decides which sessions stay in memory. Idle sessions are emptied if there are too many resident sessions, if these
//! are too large together, or if nobody has used them for too long.
//!
//! The resident sessions stand in a ring with a second chance (CLOCK). A call only sets a flag of its session. When
//! room is needed, the hand goes from session to session: it clears a flag that is set, and empties a session whose
//! flag is not. So using a session costs nothing, and making room costs a few steps. The hand moves on a thread of its
//! own, where large views are dropped too.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::config::ResidencyConfig;
use crate::stats::Metrics;
use crate::threads::lock;

/// How many busy sessions the hand meets before it rests, so that a store whose sessions are all busy does not look at
/// them without an end. A session that was only used does not count: the call that used it has paid for the look.
const BUSY_MAX: usize = 64;

/// How long the hand rests when it could not make room. Each rest after it is twice as long as the one before, up to
/// [`REST_MAX`].
const REST: Duration = Duration::from_millis(10);
const REST_MAX: Duration = Duration::from_millis(160);

/// How many slots the ring may have beside two for each resident session, before those of closed sessions are removed.
const SLOTS_SPARE: u64 = 64;

/// How many times within `session_idle_max` idle sessions are looked for. They are emptied a fourth of it late at most.
const SWEEPS: u32 = 4;

/// A session, as the ring knows it.
pub(crate) trait Resident: Send + Sync {
    /// Whether the session was used since this was asked last.
    fn take_used(&self) -> bool;
    /// Whether there is nothing to empty: the session is cold or closed.
    fn is_gone(&self) -> bool;
    /// Empties the session, unless something is being done with it.
    fn try_empty(&self) -> EmptyOutcome;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EmptyOutcome {
    Emptied,
    Busy,
    /// The session was not resident.
    Gone,
}

struct Slot {
    session: Weak<dyn Resident>,
    used: Instant,
}

impl Slot {
    /// Looks at the session, empties it if it is idle, and tells whether it stays in the ring: it is not idle, or busy.
    fn stays(&mut self, now: Instant, is_idle: impl Fn(Duration) -> bool, emptied: &mut u64) -> bool {
        let Some(session) = self.session.upgrade() else { return false };
        if session.take_used() {
            self.used = now;
        }
        if !is_idle(now.saturating_duration_since(self.used)) {
            return !session.is_gone();
        }
        let outcome = session.try_empty();
        *emptied += u64::from(outcome == EmptyOutcome::Emptied);
        outcome == EmptyOutcome::Busy
    }

    /// Looks at the session for the hand: empties it unless it is busy, or was used since the hand came by last.
    fn under_the_hand(&mut self, now: Instant) -> Look {
        let Some(session) = self.session.upgrade() else { return Look::Gone };
        if session.take_used() {
            self.used = now;
            return Look::Used;
        }
        match session.try_empty() {
            EmptyOutcome::Busy => Look::Busy,
            EmptyOutcome::Emptied | EmptyOutcome::Gone => Look::Gone,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Used,
    Busy,
    Gone,
}

/// The ring and what moves its hand.
pub(crate) struct Residency {
    limits: ResidencyConfig,
    metrics: Arc<Metrics>,
    ring: Mutex<VecDeque<Slot>>,
    signal: Mutex<Signal>,
    changed: Condvar,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Signal {
    wants_room: bool,
    closed: bool,
}

impl Residency {
    pub(crate) fn new(limits: ResidencyConfig, metrics: Arc<Metrics>) -> Self {
        Self {
            limits,
            metrics,
            ring: Mutex::default(),
            signal: Mutex::default(),
            changed: Condvar::new(),
            thread: Mutex::default(),
        }
    }

    /// Starts the thread that empties sessions.
    pub(crate) fn start(limits: ResidencyConfig, metrics: Arc<Metrics>) -> std::io::Result<Arc<Self>> {
        let residency = Arc::new(Self::new(limits, metrics));
        let works = Arc::clone(&residency);
        let thread = std::thread::Builder::new().name("foldlog-idle".to_owned()).spawn(move || works.work())?;
        *lock(&residency.thread) = Some(thread);
        Ok(residency)
    }

    /// Ends the thread that empties sessions, and waits for it.
    pub(crate) fn close(&self) {
        lock(&self.signal).closed = true;
        self.changed.notify_all();
        let thread = lock(&self.thread).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            log::error!("the thread that empties sessions panicked");
        }
    }

    /// Adds a session that has become resident to the ring, where it is not yet.
    pub(crate) fn enter(&self, session: Weak<dyn Resident>, now: Instant) {
        let slots = {
            let mut ring = lock(&self.ring);
            ring.push_back(Slot { session, used: now });
            ring.len()
        };
        if self.has_stale(slots) || self.is_over() {
            self.nudge();
        }
    }

    /// Asks for room if the limits are exceeded. Costs two loads if they are not.
    pub(crate) fn look(&self) {
        if self.is_over() {
            self.nudge();
        }
    }

    fn nudge(&self) {
        let mut signal = lock(&self.signal);
        if !signal.wants_room {
            signal.wants_room = true;
            self.changed.notify_all();
        }
    }

    /// Whether sessions that were closed have left many slots behind.
    fn has_stale(&self, slots: usize) -> bool {
        slots as u64 > 2 * self.metrics.resident().0 + SLOTS_SPARE
    }

    fn prune(&self) {
        let slots = lock(&self.ring).len();
        if self.has_stale(slots) {
            self.empty_where(Instant::now(), |_| false);
        }
    }

    fn is_over(&self) -> bool {
        let (sessions, bytes) = self.metrics.resident();
        sessions > self.limits.resident_sessions_max as u64 || bytes > self.limits.resident_bytes_max as u64
    }

    fn work(&self) {
        // At least a second, so that a limit of almost nothing does not keep the thread busy all the time.
        let pause = self.limits.session_idle_max.map(|idle| (idle / SWEEPS).max(Duration::from_secs(1)));
        let after = |now: Instant| pause.and_then(|pause| now.checked_add(pause));
        let mut sweep = after(Instant::now());
        // While the limits cannot be kept: how long the hand rests, and until when.
        let mut rest: Option<(Duration, Instant)> = None;
        while self.wait(sweep, rest.map(|(_, until)| until)) {
            let now = Instant::now();
            self.prune();
            if self.make_room(now) {
                rest = None;
            } else {
                let length = rest.map_or(REST, |(length, _)| (2 * length).min(REST_MAX));
                if rest.is_none() {
                    self.metrics.residency_exceeded();
                }
                rest = Some((length, now + length));
            }
            if sweep.is_some_and(|sweep| now >= sweep) {
                self.sweep(now);
                sweep = after(now);
            }
        }
    }

    /// Waits until it is time to look for idle sessions, the hand has rested, or, unless it rests, room is wanted.
    /// `false` once the store closes.
    fn wait(&self, sweep: Option<Instant>, rest: Option<Instant>) -> bool {
        let until = [sweep, rest].into_iter().flatten().min();
        let mut signal = lock(&self.signal);
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let wanted = signal.wants_room && rest.is_none();
            if signal.closed || wanted || left == Some(Duration::ZERO) {
                signal.wants_room = false;
                return !signal.closed;
            }
            signal = match left {
                Some(left) => self.changed.wait_timeout(signal, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.changed.wait(signal).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Moves the hand until the limits are kept, and tells whether they are.
    pub(crate) fn make_room(&self, now: Instant) -> bool {
        let mut busy = 0;
        // Twice round the ring: once to clear the flags of sessions that were used, and once more to empty these.
        let steps = 2 * lock(&self.ring).len();
        for _ in 0..=steps {
            if !self.is_over() {
                return true;
            }
            // The session is emptied without the lock of the ring, so that others can enter meanwhile.
            let Some(mut slot) = lock(&self.ring).pop_front() else { return false };
            let look = slot.under_the_hand(now);
            if look != Look::Gone {
                lock(&self.ring).push_back(slot);
            }
            busy += usize::from(look == Look::Busy);
            if busy == BUSY_MAX {
                break;
            }
        }
        !self.is_over()
    }

    /// Looks at every session once, and empties those that nobody has used for too long.
    pub(crate) fn sweep(&self, now: Instant) {
        if let Some(idle_max) = self.limits.session_idle_max {
            self.empty_where(now, |unused| unused >= idle_max);
        }
    }

    /// Empties every session that nothing is being done with, however long ago it was used, and tells how many.
    pub(crate) fn empty_all(&self) -> u64 {
        self.empty_where(Instant::now(), |_| true)
    }

    fn empty_where(&self, now: Instant, is_idle: impl Fn(Duration) -> bool) -> u64 {
        let mut emptied = 0;
        let mut slots = std::mem::take(&mut *lock(&self.ring));
        slots.retain_mut(|slot| slot.stays(now, &is_idle, &mut emptied));
        let mut ring = lock(&self.ring);
        // The sessions that entered meanwhile are the youngest, so they come last.
        slots.append(&mut ring);
        *ring = slots;
        emptied
    }
}

#[cfg(test)]
mod tests;
