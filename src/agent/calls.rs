//! The agent model's own calls on the handles, a file for each idea.
//!
//! This folder is the one place of the agent model that knows the handles. The handles name the agent model only as the
//! default of their type parameter.

mod appended;
mod at_head;
mod base64;
mod batch_room;
mod compaction;
mod interruption;
mod opening;
mod provider;
mod references;
mod stopping;
mod turn;

pub use compaction::Compacted;
pub use stopping::StopOutcome;
pub use turn::{RunningTurn, TurnBegun, TurnEnd};
