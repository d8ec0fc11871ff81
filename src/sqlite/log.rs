//! The event log in a SQLite database: one writing connection, one transaction a group; reading connections beside it.
//!
//! `medium` opens the two ends, `writer` and `reader`; `read_only` opens reading ends where nothing may be made or
//! changed. Where events are is in `index`, which is made of `recent` (what the last commits wrote) and `segments`
//! (the rest), both packed as `runs`; `all_events` reads the events of all logs in their order. Rows are read in
//! `row`, `listing` has the titles and labels, `redaction` overwrites events, `swept` has the
//! blobs that are being swept, and `error` says what can be wrong. `identity`, `checkpoint`, `wal`
//! and `parts` keep the promise that what was acknowledged stays, whatever becomes of the files. `audit`,
//! `index_audit`, `salvage` and `scan` read what is damaged, and `rebuild` writes what is left of it into a
//! `new_database`; `copy` fills one with all that another store has, and keeps it up to date. `around_damage` says
//! how commits go on.
//!
//! Invariant: the only user of rusqlite.

mod added;
mod all_events;
mod around_damage;
mod audit;
mod checkpoint;
mod copy;
mod cursors;
mod database;
mod deleted;
mod deletions;
mod error;
mod figures;
mod identity;
mod index;
mod index_audit;
mod listing;
mod lookup;
mod medium;
mod new_database;
mod parts;
mod read_only;
mod reader;
mod rebuild;
mod recent;
mod redaction;
mod row;
mod runs;
mod salvage;
mod scan;
mod schema;
mod segments;
mod snapshots;
mod swept;
mod tombstone;
mod transaction;
mod wal;
mod writer;

#[cfg(test)]
mod tests;

pub(crate) use copy::{CopiedLog, CopyRole, OwnEvents, TakenOut};
pub(super) use medium::{LogSettings, SqliteMedium};
pub(super) use read_only::ReadOnlyDatabase;
pub(crate) use rebuild::{RebuiltLog, TakenLog};
pub(crate) use redaction::key_hash_of;
pub(crate) use runs::KeyHash;
#[cfg(feature = "testkit")]
pub(crate) use runs::decode_under_checksum;
pub(crate) use salvage::SalvageReader;
pub(super) use schema::Database;
#[cfg(feature = "testkit")]
pub(crate) use wal::scan_under_header;
pub use wal::{WalDamage, WalLoss};
