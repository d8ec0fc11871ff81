//! Feature `testkit`: the faults and checks that foldlog is tested with, for a host's own [`SessionModel`] too. Not for
//! production.
//!
//! - [`Faults`] records what a store asks of its log and its blobs, fails what it is told to, and holds what it is told to.
//! - [`contract::run`] checks a model of the host's own against everything that foldlog expects of one.
//! - [`ManualClock`] stands still until it is set. [`Dice`] are random numbers that one seed repeats.
//!
//! [`SessionModel`]: crate::SessionModel

pub mod contract;
mod dice;
mod faults;
mod operations;
mod ports;

#[doc(hidden)]
pub mod decode;

pub use crate::clock::ManualClock;
pub use dice::Dice;
pub use faults::{Fault, Faults, Held};
pub use operations::{Call, Group, Operation, Outcome, Port};
