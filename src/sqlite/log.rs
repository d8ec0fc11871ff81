//! The event log in a SQLite database.

pub(crate) mod added;
pub(crate) mod audit;
pub(crate) mod checkpoint;
pub(crate) mod identity;
pub(crate) mod index;
pub(crate) mod index_audit;
pub(crate) mod medium;
pub(crate) mod reader;
pub(crate) mod recent;
pub(crate) mod runs;
pub(crate) mod salvage;
pub(crate) mod schema;
pub(crate) mod snapshots;
pub(crate) mod transaction;
pub(crate) mod wal;
pub(crate) mod writer;

#[cfg(test)]
mod tests;
