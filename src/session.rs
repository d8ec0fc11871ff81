//! One session: it takes appends in the order of the calls, has them persisted, folds and publishes what was persisted,
//! serves its subscribers, and answers.
//!
//! An append comes in by `entry`, as a [`Request`](in_flight::Request). The `actor` drives the `state`, which stamps it
//! (`stamper`) and has it persisted; the answer comes back by `reply`, and `state/commit` folds, publishes
//! (`published`), delivers (`live`) and acknowledges. Around that: `messages` (what else a host may send), `describe`
//! (a title and labels), `redact`, `context` (the host's own objects), `retry`, `snapshots`, and `residency` (which
//! sessions stay in memory).
//!
//! `entry`, `actor`, `reply` and `messages` use each other on purpose: an entry starts its actor, the actor acts on its
//! entry, an answer goes to the actor and carries the entry, and the actor handles a message for the entry.
//!
//! Invariants: nothing is folded, published or acknowledged before COMMIT has returned. A session's state is in its
//! [`Entry`], never in its actor, so that an actor that dies takes nothing with it. Every append that was stamped is
//! answered. No subscriber is waited for.

mod actor;
mod append;
mod context;
mod describe;
mod entry;
mod in_flight;
mod live;
mod messages;
mod permit;
mod published;
mod redact;
mod reply;
mod residency;
mod retry;
mod services;
mod snapshots;
mod stamper;
mod state;

pub use actor::SessionActor;
pub use append::{Append, Appended, Receipt};
pub use describe::Describe;
pub use entry::TurnGuard;
pub(crate) use entry::{BeginningGuard, Entry, HeldTurns};
pub(crate) use live::KeptLimits;
pub use live::{Delivery, EventStream, Gap, Item, SubscribeFrom, Subscription};
pub(crate) use messages::SubscribeStream;
pub use messages::{CurrentView, DeleteSession, EventsAfter, NextIds, Notify, Recovery, Subscribe, TakeOver, TakeTurn};
pub use redact::{Erasure, ErasurePending, Redact, Redaction};
pub(crate) use residency::Residency;
pub(crate) use services::{OpenFlag, Services, SessionArbiters};
pub(crate) use snapshots::Snapshots;
pub(crate) use state::Task;
