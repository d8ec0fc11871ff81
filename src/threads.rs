//! Threads, and what carries work between them: pools of threads for calls that block, threads with an actix system of
//! their own, the courier that brings answers to an arbiter, guards against panics.

mod commits;
mod courier;
mod guard;
mod host_thread;
mod pool;
mod readers;
mod restart;

pub(crate) use commits::{Commits, Follower};
pub(crate) use courier::Courier;
pub(crate) use guard::{Panicked, guarded};
pub(crate) use host_thread::HostThread;
pub(crate) use pool::{WorkerPool, lock};
pub(crate) use readers::{ReaderSlot, Readers, Recoveries};
pub use restart::Restart;
