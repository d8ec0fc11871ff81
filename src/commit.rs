//! Group commit.

pub(crate) mod actor;
pub(crate) mod group;
