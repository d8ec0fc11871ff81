//! Feature `testkit`: the faults and checks that foldlog is tested with, for a host's own [`SessionModel`] too.
//!
//! [`SessionModel`]: crate::SessionModel

pub use crate::clock::ManualClock;
