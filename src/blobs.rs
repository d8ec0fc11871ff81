//! The actor that serves blobs.

pub(crate) mod actor;
