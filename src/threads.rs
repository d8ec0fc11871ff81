//! Threads, and the ways between them: pools of threads for what blocks, threads with an actix system of their own, the
//! courier to an arbiter, guards against panics.

mod courier;
mod guard;
mod host_thread;
mod pool;
mod readers;
mod restart;

pub(crate) use courier::Courier;
pub(crate) use guard::{Panicked, guarded};
pub(crate) use host_thread::HostThread;
pub(crate) use pool::{WorkerPool, lock};
pub(crate) use readers::{ReaderSlot, Readers, Recoveries};
pub use restart::Restart;
