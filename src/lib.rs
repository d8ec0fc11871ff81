//! foldlog is a durable session store for AI agent hosts built on actix: every acknowledged event survives a crash and
//! a power cut, and a session goes on exactly where it stopped.
//!
//! A host opens a [`Store`], opens [`Session`]s in it, and appends to them. Each append is stamped, persisted, folded
//! into the session's view and published to subscribers, in this order and never in another.
//!
//! ```
//! use foldlog::agent::{AgentBody, Message};
//! use foldlog::{Store, StoreConfig};
//!
//! # fn main() -> Result<(), foldlog::Error> { futures::executor::block_on(async {
//! # let directory = tempfile::tempdir().expect("a temporary directory");
//! let store = Store::open(StoreConfig::directory(directory.path())).await?;
//! let session = store.open_session("support-4711").await?;
//! let receipt = session.append(AgentBody::MessageAppended(Message::user("hello")))?;
//! let appended = receipt.await?; // durable, folded, published
//! assert_eq!(session.view()?.head(), appended.head);
//! store.close().await?;
//!
//! let again = Store::open(StoreConfig::directory(directory.path())).await?;
//! assert_eq!(again.resume_session("support-4711").await?.view()?.messages.len(), 1);
//! # again.close().await }) }
//! ```
//!
//! - Open: [`Store`], [`StoreConfig`]; to read only: [`ReadOnlyStore`]. Append: [`Session`], [`Append`], [`Receipt`].
//!   Read: [`View`], [`EventPage`], [`StoredState`]. Follow a session: [`EventStream`], [`Delivery`], [`Gap`]; the
//!   whole store: [`Feed`].
//! - Messages to a [`SessionActor`]: [`Append`], [`CurrentView`], [`DeleteSession`], [`Describe`], [`EventsAfter`],
//!   [`NextIds`],
//!   [`Notify`], [`Subscribe`], [`TakeTurn`], [`TakeOver`], [`Recovery`], [`Restart`]. To a [`BlobActor`]: [`PutBlob`], [`GetBlob`], [`Restart`]. To a
//!   [`PersistActor`]: [`Restart`].
//! - The built-in session model: [`agent`]. One of your own: [`SessionModel`], and [`Store::open_model`].
//!
//! ARCHITECTURE.md tells how it works.

// In reading order: the data in the order it travels.

mod id;

mod error;

mod clock;
mod content;
mod json;
mod log_position;
mod model;

mod event;

pub mod agent;

mod codec;
mod config;

mod port;

mod memory;
mod sqlite;

mod stats;

mod threads;

mod replay;

mod commit;

mod blobs;

mod feed;

mod session;

mod store;

#[cfg(feature = "testkit")]
pub mod testkit;

pub use agent::StopOutcome;
pub use blobs::{BlobActor, GetBlob, PutBlob, Swept};
/// What [`SessionModel::decode_view`] takes.
pub use bytes::Bytes;
pub use clock::{Clock, ManualClock};
pub use commit::PersistActor;
pub use config::{DEFAULT_INLINE_BYTES_MAX, LagPolicy, LiveConfig, ResidencyConfig, StoreConfig};
pub use content::{Content, Json};
pub use error::{Error, ErrorKind, NextStep, OwnerInfo, WasWritten};
pub use event::{Described, Event, LogEvent, OwnBody, OwnEvent, Redacted, RedactedEvent, SessionCore};
pub use feed::{
    DeletedHistory, Feed, FeedDelivery, FeedEvent, FeedItem, FeedPosition, FeedSubscription, UnreadableEvent,
};
pub use id::{AppendKey, BlobEncoding, BlobKind, BlobRef, Digest, EventId, HistoryId, SessionId, Timestamp};
pub use log_position::LogPosition;
pub use memory::MemoryDisk;
pub use model::{
    DecodeError, RefuseByView, SessionModel, Turns, Unfinished, UnfinishedId, View, decode_body, decode_view,
    encode_view, split_variant,
};
pub use port::{Create, Durability, Format, Medium, Upkeep};
pub use replay::{Condition, EventPage, RecoveryReport, SnapshotPolicy};
pub use session::{
    Append, Appended, CurrentView, DeleteSession, Delivery, Describe, Erasure, ErasurePending, EventStream,
    EventsAfter, Gap, Item, NextIds, Notify, Receipt, Recovery, Redact, Redaction, SessionActor, Subscribe,
    SubscribeFrom, Subscription, TakeOver, TakeTurn, TurnGuard,
};
pub use sqlite::{WalDamage, WalLoss};
pub use stats::{Histogram, Stats};
pub use store::backup::{Backup, BackupOptions, BackupProgress};
pub use store::cursor::Cursor;
pub use store::deleting::Erased;
pub use store::preflight::{Preflight, PreflightedSession, ViewComparison};
pub use store::read_only::ReadOnlyStore;
pub use store::repair::Repair;
pub use store::retaining::{RetainMode, Retained, RetainedSession, Retention, Verdict, WhyKept};
pub use store::salvage::{Salvage, Salvaged};
pub use store::sweeping::Sweep;
pub use store::untyped::{EventHeader, HeaderPage, UntypedStore};
pub use store::verification::{Problem, Verification};
pub use store::{Session, SessionSummary, Store, StoredState};
pub use threads::Restart;

/// The programs of README and guide compile.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/json.md")]
    struct JsonForm;
    #[doc = include_str!("../docs/lifecycle.md")]
    struct Lifecycle;
    #[doc = include_str!("../docs/guide/errors.md")]
    struct Errors;
    #[doc = include_str!("../docs/guide/damage.md")]
    struct Damage;
    #[doc = include_str!("../docs/guide/first-host.md")]
    struct FirstHost;
    #[doc = include_str!("../docs/guide/following.md")]
    struct Following;
    #[doc = include_str!("../docs/guide/memory.md")]
    struct Memory;
    #[doc = include_str!("../docs/guide/own-model.md")]
    struct OwnModel;
    #[doc = include_str!("../docs/guide/processes.md")]
    struct Processes;
    #[doc = include_str!("../docs/guide/turns-and-tools.md")]
    struct TurnsAndTools;
}
