//! Tells whoever follows the log that something was committed, by this store or by another one.
//!
//! The writing end of this store tells at once. What other stores commit is found by asking the log, on a thread that
//! is there only while somebody follows: every [`BUSY`] while something changes, and every [`IDLE`] when nothing has
//! changed for [`BUSY_FOR`].

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::pool::lock;
use super::readers::ReaderSlot;
use crate::error::{Error, ErrorKind};
use crate::port::{LogSource, LogVersion};

/// A busy neighbour is followed within twice this time. Asking takes some microseconds.
const BUSY: Duration = Duration::from_millis(10);
/// The first commit after a pause is seen within this time. Asking this rarely cannot be measured.
const IDLE: Duration = Duration::from_millis(100);
/// How long a pause is before it counts as one.
const BUSY_FOR: Duration = Duration::from_secs(3);

/// Somebody who reads what is committed.
pub(crate) trait Follower: Send + Sync {
    /// Something may have been committed. Called on the thread that commits, so it must not wait.
    fn committed(self: Arc<Self>);

    /// The store is being closed: nothing more can be read.
    fn closed(self: Arc<Self>);
}

/// Those who follow a store's log.
pub(crate) struct Commits {
    source: Arc<dyn LogSource>,
    following: Mutex<Following>,
    /// How many there are, so that a commit that nobody follows looks at nothing else.
    count: AtomicUsize,
    /// See [`Commits::voids`].
    voids: AtomicU64,
    /// Whether somebody has to be told again though nothing changes.
    is_asked_again: AtomicBool,
    changed: Condvar,
}

#[derive(Default)]
struct Following {
    followers: Vec<Arc<dyn Follower>>,
    /// Whether the thread runs; it ends by itself when nobody follows any more.
    is_watched: bool,
    /// The last thread, which may have ended.
    thread: Option<JoinHandle<()>>,
    is_closed: bool,
}

impl Commits {
    pub(crate) fn of(source: Arc<dyn LogSource>) -> Self {
        Self {
            source,
            following: Mutex::default(),
            count: AtomicUsize::new(0),
            voids: AtomicU64::new(0),
            is_asked_again: AtomicBool::new(false),
            changed: Condvar::new(),
        }
    }

    /// From now on the follower is told of each commit, at least once after it. Commits of before are not told of: read
    /// the log after this call.
    pub(crate) fn follow(self: &Arc<Self>, follower: Arc<dyn Follower>) -> Result<(), Error> {
        let mut following = lock(&self.following);
        if following.is_closed {
            return Err(ErrorKind::StoreClosed.into());
        }
        if !following.is_watched {
            let this = Arc::clone(self);
            let thread = std::thread::Builder::new().name("foldlog-watch".to_owned()).spawn(move || this.watch());
            let no_thread = |error| ErrorKind::Unavailable { reason: format!("no thread to follow the log: {error}") };
            following.thread = Some(thread.map_err(no_thread)?);
            following.is_watched = true;
        }
        following.followers.push(follower);
        self.count.store(following.followers.len(), Ordering::SeqCst);
        // So that the thread looks soon.
        self.changed.notify_all();
        Ok(())
    }

    /// As [`Commits::follow`], and without the thread: only what this store commits is told of.
    #[cfg(test)]
    pub(crate) fn follow_unwatched(&self, follower: Arc<dyn Follower>) {
        let mut following = lock(&self.following);
        following.followers.push(follower);
        self.count.store(following.followers.len(), Ordering::SeqCst);
    }

    /// Ends what [`Commits::follow`] began. May be called again.
    pub(crate) fn leave<F: Follower>(&self, follower: *const F) {
        let mut following = lock(&self.following);
        // Dropped without the lock: the follower may be the last that has something of the host's.
        let left = following.followers.iter().position(|known| std::ptr::addr_eq(Arc::as_ptr(known), follower));
        let left = left.map(|place| following.followers.swap_remove(place));
        self.count.store(following.followers.len(), Ordering::SeqCst);
        if following.followers.is_empty() {
            self.changed.notify_all();
        }
        drop(following);
        drop(left);
    }

    /// This store has committed something.
    pub(crate) fn committed(&self) {
        if self.count.load(Ordering::SeqCst) > 0 {
            self.tell();
        }
    }

    /// This store has redacted events, or deleted a session: what was read before may hold what is gone.
    pub(crate) fn voided(&self) {
        self.voids.fetch_add(1, Ordering::SeqCst);
    }

    /// Rises with each redaction and deletion of this store.
    pub(crate) fn voids(&self) -> u64 {
        self.voids.load(Ordering::SeqCst)
    }

    /// Has everybody told again soon: somebody could not read what was committed, and may be able to in a moment.
    pub(crate) fn tell_again(&self) {
        self.is_asked_again.store(true, Ordering::SeqCst);
    }

    /// Tells everybody that the store is being closed, and ends the thread.
    pub(crate) fn close(&self) {
        let (followers, thread) = {
            let mut following = lock(&self.following);
            following.is_closed = true;
            self.count.store(0, Ordering::SeqCst);
            self.changed.notify_all();
            (std::mem::take(&mut following.followers), following.thread.take())
        };
        followers.into_iter().for_each(Follower::closed);
        if thread.is_some_and(|thread| thread.join().is_err()) {
            log::error!("the thread that follows the log panicked");
        }
    }

    fn tell(&self) {
        let followers = lock(&self.following).followers.clone();
        followers.into_iter().for_each(Follower::committed);
    }

    /// Asks the log until nobody follows any more.
    fn watch(&self) {
        let mut slot = ReaderSlot::of(Arc::clone(&self.source))();
        let mut seen: Option<LogVersion> = None;
        let mut changed_at = Instant::now();
        loop {
            // A log that cannot be asked may have changed: whoever reads it is told why it cannot be read.
            let now = slot.read(|reader| reader.version()).ok();
            let has_changed = now.is_none() || now != seen;
            if now.is_some() && now != seen {
                changed_at = Instant::now();
            }
            seen = now;
            if self.is_asked_again.swap(false, Ordering::SeqCst) || has_changed {
                self.tell();
            }
            let pause = if changed_at.elapsed() < BUSY_FOR { BUSY } else { IDLE };
            let mut following = lock(&self.following);
            if !following.followers.is_empty() {
                let woken = self.changed.wait_timeout(following, pause);
                following = woken.unwrap_or_else(PoisonError::into_inner).0;
            }
            if following.followers.is_empty() {
                following.is_watched = false;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
