//! Checkpoints beside the commits: a thread with a connection of its own copies committed pages into the database.
//!
//! It never comes quite to the end of a log that grows meanwhile, and SQLite begins the log anew only when all of it was
//! copied. So the thread copies until little is left, and the writer copies that between two groups.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::LogError;
use super::identity::Identity;
use super::schema::{self, Database};
use crate::config::Durability;

/// A pass that copied no more than so many pages is the last one, and about as many are left to the writer.
const LEFT_MAX: i64 = 64;
/// A log that grows as fast as it is copied is left for the next time.
const PASSES_MAX: usize = 8;

/// How far a checkpoint came: pages in the log when it began, and those of them that are in the database. Both are below
/// zero when another one was on, of another store too: nothing was looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    log: i64,
    moved: i64,
}

impl Progress {
    pub(super) fn is_complete(self) -> bool {
        self.moved >= self.log && !self.is_refused()
    }

    pub(super) fn is_refused(self) -> bool {
        self.log < 0
    }
}

/// Copies what no reader holds back. Waits for nobody; another checkpoint that is on counts as no progress.
pub(super) fn passive(connection: &Connection) -> Result<Progress, LogError> {
    let moved = connection.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)").and_then(|mut checkpoint| {
        checkpoint.query_row([], |row| Ok(Progress { log: row.get(1)?, moved: row.get(2)? }))
    });
    Ok(moved?)
}

/// Copies every committed page into the database and syncs it there. Waits for readers and for the writer.
pub(super) fn full(connection: &Connection) -> Result<(), LogError> {
    let checkpoint = connection.query_row("PRAGMA wal_checkpoint(FULL)", [], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
    })?;
    match checkpoint {
        (0, pages, moved) if pages == moved => Ok(()),
        _ => Err(LogError::Busy),
    }
}

pub(super) struct Checkpointer {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

struct Desk {
    state: Mutex<State>,
    changed: Condvar,
}

enum State {
    Idle,
    Asked,
    Running,
    Done(Result<Progress, LogError>),
    Closed,
}

impl Checkpointer {
    pub(super) fn start(database: Database, durability: Durability, identity: Identity) -> Result<Self, LogError> {
        let desk = Arc::new(Desk { state: Mutex::new(State::Idle), changed: Condvar::new() });
        let thread = std::thread::Builder::new().name("foldlog-ckpt".to_owned());
        let of_thread = Arc::clone(&desk);
        let thread = thread
            .spawn(move || of_thread.work(&database, durability, &identity))
            .map_err(|error| LogError::Io(format!("a checkpoint thread cannot be started: {error}")))?;
        Ok(Self { desk, thread: Some(thread) })
    }

    /// Asks for a checkpoint, unless one is on.
    pub(super) fn ask(&self) {
        let mut state = self.desk.lock();
        if let State::Idle = *state {
            *state = State::Asked;
            self.desk.changed.notify_all();
        }
    }

    /// How the last one ended, if it has ended since this was asked.
    pub(super) fn outcome(&self) -> Option<Result<Progress, LogError>> {
        let mut state = self.desk.lock();
        match std::mem::replace(&mut *state, State::Idle) {
            State::Done(outcome) => Some(outcome),
            other => {
                *state = other;
                None
            }
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        *self.desk.lock() = State::Closed;
        self.desk.changed.notify_all();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("a checkpoint thread panicked");
        }
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, database: &Database, durability: Durability, identity: &Identity) {
        // Frames that are read from another file than the writer's, by the index that they share, would be any pages.
        let open = || schema::open_writer(database, durability).and_then(|it| identity.check().map(|_| it));
        // Opened when first asked. After a failure never used again: a sync that failed once may seem to work the next time.
        let mut connection = None;
        while self.is_asked() {
            // Whatever panics in it: a thread that had ended would never be asked again.
            let outcome = catch_unwind(AssertUnwindSafe(|| match connection.take().map_or_else(open, Ok) {
                Ok(opened) => self.copy(connection.insert(opened)),
                Err(error) => Err(error),
            }));
            let outcome = outcome.unwrap_or_else(|_| Err(LogError::Io("a checkpoint panicked".to_owned())));
            if outcome.is_err() {
                connection = None;
            }
            let mut state = self.lock();
            if let State::Running = *state {
                *state = State::Done(outcome);
            }
        }
    }

    fn is_asked(&self) -> bool {
        let mut state = self.lock();
        loop {
            match *state {
                State::Asked => {
                    *state = State::Running;
                    return true;
                }
                State::Closed => return false,
                State::Idle | State::Running | State::Done(_) => {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    fn copy(&self, connection: &Connection) -> Result<Progress, LogError> {
        let mut progress = passive(connection)?;
        let mut copied = progress.moved;
        for _ in 1..PASSES_MAX {
            // What was written meanwhile is about as much as was copied, times how much faster copying is.
            if copied <= LEFT_MAX || !progress.is_complete() || matches!(*self.lock(), State::Closed) {
                break;
            }
            let before = progress.moved;
            progress = passive(connection)?;
            copied = progress.moved - before;
        }
        Ok(progress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SQLite says -1 for both.
    #[test]
    fn a_checkpoint_that_was_refused_is_not_complete() {
        assert!(!Progress { log: -1, moved: -1 }.is_complete());
        assert!(Progress { log: 0, moved: 0 }.is_complete());
        assert!(!Progress { log: 2, moved: 1 }.is_complete());
    }
}
