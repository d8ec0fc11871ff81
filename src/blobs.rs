//! The actor that serves blobs: it takes calls, hands them to threads, and answers.

mod actor;

pub(crate) use actor::EnsureDurable;
pub use actor::{BlobActor, GetBlob, PutBlob};
