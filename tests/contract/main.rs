//! Goal: every call of a host keeps its promise, on both media. Method: one body per claim, run on a store in memory
//! and on one in a directory; nothing but the public interface and the testkit.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

#[path = "../common/mod.rs"]
mod common;

mod actors;
mod appends;
mod blobs;
mod changed_body;
mod closing;
mod compaction;
mod composed;
mod conformance;
mod conversations;
mod deletion;
mod describe;
mod dropped_calls;
mod feed;
mod given_up_turns;
mod golden;
mod interruption;
mod invariants;
mod keys;
mod late_joiners;
mod limits;
mod live;
mod old_references;
mod open_calls;
mod own_model;
mod ports;
mod positions;
mod provider_messages;
mod provider_order;
mod queued_turns;
mod reads;
mod redaction;
mod refusals;
mod residency;
mod retention;
mod running_turns;
mod second_model;
mod sessions;
mod stats;
mod stored_views;
mod sweep;
mod turns;
