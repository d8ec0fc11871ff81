//! Goal: programs that a host would write work, wherever they run and however they end. Method: the compiled examples
//! as child processes; the same short program inside each kind of runtime.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

#[path = "../common/mod.rs"]
mod common;

mod agent_host;
mod chat_host;
mod endings;
mod examples;
mod housekeeping;
mod replay_transcript;
mod runtimes;
mod sse_server;

// The modules of the example that `replay_transcript` tests. They name each other from the root of their crate.
#[allow(dead_code, reason = "the example uses all of it")]
#[path = "../../examples/replay_transcript/entry.rs"]
mod entry;
#[allow(dead_code, reason = "the example uses all of it")]
#[path = "../../examples/replay_transcript/replay.rs"]
mod replay;
#[path = "../../examples/replay_transcript/run.rs"]
mod run;
