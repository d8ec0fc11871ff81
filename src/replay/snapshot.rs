//! Stored views: when one is due, its bytes, and where they are kept.

pub(crate) mod file;
pub(crate) mod policy;
pub(crate) mod store;
