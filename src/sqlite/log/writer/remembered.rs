//! What the writing end remembers of the database, and how it notices that somebody else has changed it.

use std::collections::HashMap;

use rusqlite::Connection;

use super::LogState;
use crate::port::LogKey;
use crate::sqlite::log::error::SqlResult;
use crate::sqlite::log::lookup;
use crate::sqlite::log::recent::Recent;
use crate::sqlite::log::swept::SweptTable;

/// See the module. Only what was committed, as of the last transaction.
pub(in crate::sqlite::log) struct Remembered {
    data_version: i64,
    /// What the database says of each log.
    pub(super) logs: HashMap<LogKey, LogState>,
    /// `None` when a transaction that was rolled back may have made it wrong.
    pub(in crate::sqlite::log) recent: Option<Recent>,
    pub(super) swept: SweptTable,
    /// Whether somebody else has committed since it was asked, and may have deleted or redacted something.
    others_wrote: bool,
}

impl Remembered {
    pub(super) fn new(swept: SweptTable) -> Self {
        Self { data_version: 0, logs: HashMap::new(), recent: None, swept, others_wrote: false }
    }

    /// Begins a transaction: forgets whatever a commit of somebody else may have made wrong. Everybody who reads the
    /// database's version does so here, so that no commit is noticed for one of these things and missed for another.
    ///
    /// Gives the index of the recent events, up to date. It is to be put back once the transaction has ended: a failure
    /// before that leaves `None`, and all rows are read again.
    pub(super) fn catch_up(&mut self, connection: &Connection) -> SqlResult<Recent> {
        let data_version = lookup::data_version(connection)?;
        let others_wrote = data_version != self.data_version;
        self.swept.catch_up(connection, others_wrote)?;
        if others_wrote {
            self.logs.clear();
            self.others_wrote = true;
        }
        let known = self.recent.take();
        let is_current = known.is_some() && !others_wrote;
        let mut recent = known.unwrap_or_default();
        if !is_current {
            recent.catch_up(connection)?;
        }
        self.data_version = data_version;
        Ok(recent)
    }

    /// Whether somebody else has committed since this was asked for the last time.
    pub(super) fn take_others_wrote(&mut self) -> bool {
        std::mem::take(&mut self.others_wrote)
    }
}
