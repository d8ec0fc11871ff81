//! What a medium must do for a store, as traits and plain data. Each engine (`memory/`, `sqlite/`) implements all of
//! it, and nothing above this room knows which engine it talks to.
//!
//! | port | what it is |
//! |---|---|
//! | [`OpenMedium`] | opens one store's ends of a medium |
//! | [`LogMedium`] | opens the writing end and the reading ends of the event log, as often as needed; [`LogSource`], the reading ends alone |
//! | [`EventLog`] | the one writing end: commits groups, settles a commit that failed, keeps the log in order |
//! | [`LogReader`], [`LogAudit`] | a reading end; a reading end for a verification, which reports damage instead of failing |
//! | [`Ownership`] | who this store is, whether another store lives, and giving everything up |
//! | [`BlobStore`] | immutable bytes under their digest |
//!
//! All calls block, and only threads that may wait make them. Invariant: this room names no engine, no file and no
//! path.

mod blob;
mod cursor;
mod event;
mod feed;
mod log;
mod medium;
mod ownership;
mod page;
mod scan;
mod standing;
mod sweep;
mod write;

pub(crate) use blob::{BlobError, BlobListing, BlobLook, BlobStore, Put};
pub(crate) use cursor::{CursorChange, CursorTarget};
pub(crate) use event::{Epoch, Head, Listed, LogKey, LogMeta, SessionRow, SnapshotRow, StoredEvent};
pub(crate) use feed::{FeedPage, FeedPlace, HISTORIES_MAX, History, UnreadableRow};
pub use log::Upkeep;
pub(crate) use log::{
    AuditedEvent, AuditedSession, Erasing, EventLog, LogAudit, LogMedium, LogReader, LogSource, LogVersion, UpkeepLeft,
    UpkeepMoment,
};
pub use medium::{Create, Durability, Format, Medium};
pub(crate) use medium::{OpenMedium, OpenedMedium, OpenedToRead, Opening, OpeningToRead, Tidy};
pub(crate) use ownership::{Liveness, OwnerId, Ownership};
pub(crate) use page::{StoredPage, StoredRow};
pub(crate) use scan::{Position, ScannedPage, ScannedRow};
pub(crate) use standing::{DeletionNumber, Standing, StoreId};
pub(crate) use sweep::{Listing, SweepCount, SweepDone, SweepMark, SweepStep};
pub(crate) use write::{
    Claiming, CommitError, LogError, LogRedaction, RedactedRecord, Refusal, Settled, SettledAs, Write, Written,
};
