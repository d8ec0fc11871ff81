//! Feature `testkit`: the faults and checks that foldlog is tested with, for a host's own [`SessionModel`] too.
//!
//! [`SessionModel`]: crate::SessionModel

mod disk;
mod journal;
mod power_cut;
mod random;

pub use crate::clock::ManualClock;
pub use disk::{DiskError, Lasting, TestDisk};
pub use journal::SyncOf;
pub use power_cut::{Loss, PowerCutReport, PowerCuts};
