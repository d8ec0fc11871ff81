//! Every port in a directory.

pub(crate) mod blobs;
pub(crate) mod directory;
pub(crate) mod files;
pub(crate) mod log;
