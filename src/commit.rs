//! Group commit: everything that waits, of all sessions, becomes one transaction.
//!
//! What comes in is a [`Persist`] with one write and the function that takes its answer. The [`PersistActor`] only
//! drives the [`GroupWriter`], which is plain and synchronous, and owns the one writing end of the log.
//!
//! Invariant: each write is answered once, after COMMIT, with what the log says.

mod actor;
mod error;
mod group;

pub use actor::PersistActor;
pub(crate) use actor::{CloseLog, Erase, Persist, persist_one, sweep_one};
pub(crate) use error::PersistError;
pub(crate) use group::{Follows, GroupLimits, GroupWriter, Reply};
