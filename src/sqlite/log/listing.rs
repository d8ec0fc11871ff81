//! How sessions are listed: their titles and labels, in the columns beside their names.

use rusqlite::{Connection, Row};

use super::error::{SqlError, SqlResult};
use crate::event::SessionCore;
use crate::port::{Listed, LogKey};

/// The columns that [`core_at`] reads.
pub(super) const CORE: &str = "title, labels";

/// Changes how a session is listed.
pub(super) fn put(connection: &Connection, log: LogKey, listed: &Listed) -> SqlResult<()> {
    let SessionCore { title, labels } = &*listed.core;
    let labels = serde_json::to_string(labels).map_err(|error| SqlError::outside(&error))?;
    let changed = connection
        .prepare_cached("UPDATE sessions SET title = ?3, labels = ?4 WHERE session_id = ?1 AND log_key = ?2")?
        .execute((listed.session.as_str(), log.0, title, labels))?;
    if changed == 1 { Ok(()) } else { Err(SqlError::damaged(format!("log {} has no session", log.0))) }
}

/// The title and labels in the columns [`CORE`] from `first` on. `None` for what foldlog never writes: the log has
/// them, too.
pub(super) fn core_at(row: &Row<'_>, first: usize) -> Option<SessionCore> {
    let title = row.get(first).ok()?;
    let labels = row.get_ref(first + 1).ok()?.as_str().ok()?;
    Some(SessionCore { title, labels: serde_json::from_str(labels).ok()? })
}
