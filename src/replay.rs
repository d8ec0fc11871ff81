//! Decoding, checking and folding what a log holds.

pub(crate) mod fold;
pub(crate) mod key_index;
pub(crate) mod page;
pub(crate) mod read_ahead;
pub(crate) mod record;
pub(crate) mod recovered;
pub(crate) mod snapshot;
pub(crate) mod verify;
