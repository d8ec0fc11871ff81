//! The actor that serves blobs: it takes calls, hands them to threads, and answers.

mod actor;
mod put_room;

pub use actor::{BlobActor, GetBlob, PutBlob};
pub(crate) use actor::{BlobLimits, EnsureDurable};
