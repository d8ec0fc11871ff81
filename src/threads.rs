//! Threads.

pub(crate) mod courier;
pub(crate) mod guard;
pub(crate) mod host_thread;
pub(crate) mod restart;
pub(crate) mod workers;
