//! Every port in memory.

pub(crate) mod blobs;
pub(crate) mod log;
