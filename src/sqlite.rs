//! Every port in a directory: the event log in a SQLite database, blobs and stored views in files, owners by locks that
//! the operating system gives up when a process dies.
//!
//! Invariant: nothing outside of this room depends on SQLite, on its write-ahead log or on paths. Every file operation
//! whose loss or order a power cut could show goes through [`Files`], except for those that SQLite does itself.

mod blobs;
mod copy;
mod directory;
mod files;
mod log;
mod medium;
mod open_here;
mod owner_file;
mod place;
mod rebuild;

pub(crate) use copy::{CopyDirectory, Copying, FinishedCopy};
#[cfg(feature = "testkit")]
pub(crate) use files::{Files, OsFiles};
pub(crate) use log::{CopyRole, KeyHash, OwnEvents, SalvageReader, TakenLog, TakenOut, key_hash_of};
pub use log::{WalDamage, WalLoss};
#[cfg(feature = "testkit")]
pub(crate) use log::{decode_under_checksum, scan_under_header};
#[cfg(feature = "testkit")]
pub(crate) use medium::Directory;
pub(crate) use owner_file::is_forked;
#[cfg(feature = "testkit")]
pub(crate) use owner_file::parse_owner_file;
pub(crate) use rebuild::{BlobFailure, RebuiltDirectory};
