//! Blobs: the actor that serves them, which hands calls to threads, and answers; and what keeps puts, appends and
//! sweeps from each other: `put`, `sweep`, and `referenced`, which knows what events name.

mod actor;
mod put;
mod put_room;
mod referenced;
mod sweep;

pub use actor::{BlobActor, GetBlob, PutBlob};
pub(crate) use actor::{BlobLimits, EnsureDurable};
pub use sweep::Swept;
pub(crate) use sweep::{SweepPlan, SweepWorld, sweep};

#[cfg(test)]
mod tests;
