//! Goal: stores of many processes share one directory, and what one of them does, or stops doing, costs the others no
//! event. Method: two stores in this process where that is enough, on both media; otherwise child processes, which are
//! this test binary run again, started by gates, stopped and killed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod creation;
mod following;
mod foreign_lock;
mod many;
mod ownership;
mod take_over;
mod two_stores;

use common::child;

/// Not a test of its own: does nothing unless another test runs it as a child.
#[actix::test]
async fn as_a_child() {
    let Some(child::Task { task, name, directory }) = child::task() else { return };
    match task.as_str() {
        "hold-lock" => foreign_lock::hold(&directory),
        "work" => many::work(&directory, &name).await,
        "work-on" => many::work_until_killed(&directory, &name).await,
        "create" => creation::create(&directory, &name).await,
        "own" => ownership::own(&directory).await,
        "append-on-command" => take_over::append_on_command(&directory).await,
        "append-until-taken-over" => take_over::append_until_taken_over(&directory).await,
        "read" => ownership::read(&directory).await,
        other => panic!("no task {other}"),
    }
}
