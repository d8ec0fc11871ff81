//! Goal: SIGKILL loses nothing that a process acknowledged or showed. Method: child processes, which are this test
//! binary run again, tell what they were answered, and are killed; their directories are looked at from here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod deletions;
mod levels;
mod lives;
mod readme;
mod redactions;
mod sweeps;

use common::child;

/// Not a test of its own: does nothing unless another test runs it as a child.
#[actix::test]
async fn as_a_child() {
    let Some(child::Task { task, name, directory }) = child::task() else { return };
    match task.as_str() {
        "delete" => deletions::delete_until_killed(&directory, &name).await,
        "retain" => deletions::retain_until_killed(&directory, &name).await,
        "redact" => redactions::redact_until_killed(&directory, &name).await,
        "live" => lives::live_until_killed(&directory, &name).await,
        "append" => levels::append_until_killed(&directory, levels::named(&name)).await,
        "readme" => readme::host(&directory).await.unwrap(),
        "sweep" => sweeps::sweep_until_killed(&directory, &name).await,
        other => panic!("no task {other}"),
    }
}
