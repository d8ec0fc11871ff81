//! Goal: stores of many processes share one directory, and what one of them does, or stops doing, costs the others no
//! event. Method: two stores in this process where that is enough, on both media; otherwise child processes, which are this
//! test binary run again, started by gates, stopped and killed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod child;
mod creation;
mod foreign_lock;
mod many;
mod ownership;
mod take_over;
