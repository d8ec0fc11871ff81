//! Goal: each invariant of the contract, I1 to I12, holds from outside; the names of the tests say which. Method: kill a
//! writing process, hold the database's lock as another process would, restart actors, fold random sessions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

#[path = "../common/mod.rs"]
mod common;

mod crash;
mod live;
mod log;
