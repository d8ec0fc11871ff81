//! What a medium must do, as traits and plain data.

pub(crate) mod blob;
pub(crate) mod log;
pub(crate) mod ownership;
pub(crate) mod page;
