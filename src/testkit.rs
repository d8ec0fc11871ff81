//! Feature `testkit`: the faults and checks that foldlog is tested with, for a host's own [`SessionModel`] too. Not for
//! production.
//!
//! - [`contract::run`] checks a model of the host's own against everything that foldlog expects of one.
//! - [`PowerCuts`] cuts the power at each operation of a scenario, and looks for everything that was acknowledged.
//! - [`TestDisk`] is a directory on which each file operation can be made to fail, the database's included.
//! - [`Faults`] records what a store asks of its log and its blobs, on any medium, and fails or holds the calls that a
//!   test chooses.
//! - [`ManualClock`] stands still until it is set. [`Dice`] gives random numbers that one seed repeats.
//!
//! [`SessionModel`]: crate::SessionModel

pub mod contract;
mod dice;
mod disk;
mod faults;
mod journal;
mod layered;
mod operations;
mod ports;
mod power_cut;

#[doc(hidden)]
pub mod decode;

pub use crate::clock::ManualClock;
pub use dice::Dice;
pub use disk::{DiskError, Lasting, TestDisk};
pub use faults::{Fault, Faults, Held};
pub use journal::SyncOf;
pub use operations::{Call, Group, Operation, Outcome, Port};
pub use power_cut::{Loss, PowerCutReport, PowerCuts};
