//! Stored views: when one is due (`policy`), its bytes (`file`), and where they are kept and found again (`store`).

mod file;
mod policy;
mod store;

pub(crate) use file::UnusableSnapshot;
pub use policy::SnapshotPolicy;
pub(crate) use policy::Tail;
pub(crate) use store::{NewSnapshot, SnapshotOutcome, SnapshotStore, StoredView};
