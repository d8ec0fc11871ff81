//! Writing the valid rows of a damaged database into a new one, as they are, with an index that is made anew.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row};

use super::error::{SqlError, SqlResult};
use super::listing;
use super::new_database::{NewDatabase, enter_end, enter_runs};
use super::row::{HIGHEST_POSITION, INSERT_EVENT, SqlEventId, end_of_events, meta_number, put_setting};
use super::runs::{KeyHash, Run};
use super::salvage::{SalvageReader, type_in};
use super::schema::Database;
use crate::event::SessionCore;
use crate::id::{EventId, SessionId};
use crate::port::{Listed, LogError, LogKey, LogMeta};

/// Which events of a log are taken: its beginning, and where they are in the damaged table.
#[derive(Default)]
pub(crate) struct TakenLog {
    pub(super) runs: Vec<Run>,
}

impl TakenLog {
    /// Takes the next event.
    pub(crate) fn push(&mut self, id: EventId, position: i64, key: Option<KeyHash>) {
        match self.runs.last_mut() {
            Some(run) if key.is_none() && run.end() == position => run.count += 1,
            _ => self.runs.push(Run { first: id, count: 1, position, key }),
        }
    }

    /// Gives up the events behind one.
    pub(crate) fn end_at(&mut self, last: EventId) {
        self.runs.retain_mut(|run| {
            run.count = run.count.min((last.get() + 1).saturating_sub(run.first.get()));
            run.count > 0
        });
    }

    pub(crate) fn events(&self) -> u64 {
        self.runs.iter().map(|run| run.count).sum()
    }
}

/// A new database that is being filled. It is nobody's yet: a crash leaves a file that no store opens.
pub(crate) struct RebuiltLog {
    new: NewDatabase,
    /// What was taken, by the first position of each run.
    taken: Vec<(LogKey, Run)>,
}

impl RebuiltLog {
    /// Makes the tables in an empty file.
    pub(crate) fn create(path: PathBuf, model: &str) -> Result<Self, LogError> {
        let new = NewDatabase::create(Database { path, vfs: None }, model)?;
        // The log that another one goes on from may not have been taken.
        new.connection.pragma_update(None, "foreign_keys", false)?;
        new.begin()?;
        Ok(Self { new, taken: Vec::new() })
    }

    /// Adds a session, its log, which nobody owns, and where the log's events will be. Tells what beside the events
    /// could not be read, and is as it is in a new session.
    pub(crate) fn add(
        &mut self,
        old: &SalvageReader,
        session: &SessionId,
        log: LogMeta,
        taken: &TakenLog,
        core: &Arc<SessionCore>,
    ) -> Result<Vec<&'static str>, LogError> {
        let mut lost = self.copy_log(&old.connection, log)?;
        lost.extend(self.add_session(&old.connection, session, log.key, core)?);
        enter_runs(&self.new.connection, log.key, &taken.runs)?;
        self.taken.extend(taken.runs.iter().map(|run| (log.key, *run)));
        self.new.written(256 + 16 * taken.runs.len())?;
        Ok(lost)
    }

    fn copy_log(&self, old: &Connection, log: LogMeta) -> SqlResult<Vec<&'static str>> {
        let (parent, epoch) = old
            .prepare_cached("SELECT parent_log, epoch FROM logs WHERE log_key = ?1")?
            .query_row([log.key.0], |row| Ok((row.get::<_, Option<i64>>(0), row.get::<_, i64>(1))))?;
        let lost = epoch.is_err().then_some("epoch");
        let fork = (log.base.id > EventId::ZERO).then_some((SqlEventId(log.base.id), log.base.chain.0));
        let (fork_id, fork_chain) = fork.unzip();
        self.new
            .connection
            .prepare_cached(
                "INSERT INTO logs(log_key, log_id, parent_log, fork_event_id, fork_chain, owner, epoch)
                 VALUES (?1, ?2, ?3, ?4, ?5, NULL, ?6)",
            )?
            .execute((log.key.0, log.log_id, parent.unwrap_or_default(), fork_id, fork_chain, epoch.unwrap_or(1)))?;
        Ok(lost.into_iter().collect())
    }

    fn add_session(
        &self,
        old: &Connection,
        session: &SessionId,
        log: LogKey,
        core: &Arc<SessionCore>,
    ) -> SqlResult<Option<&'static str>> {
        let created = old
            .prepare_cached("SELECT created FROM sessions WHERE session_id = ?1")?
            .query_row([session.as_str()], |row| Ok(row.get::<_, i64>(0)))?;
        let lost = created.is_err().then_some("created");
        self.new
            .connection
            .prepare_cached("INSERT INTO sessions(session_id, log_key, created) VALUES (?1, ?2, ?3)")?
            .execute((session.as_str(), log.0, created.unwrap_or_default()))?;
        listing::put(&self.new.connection, log, &Listed { session: session.clone(), core: Arc::clone(core) })?;
        Ok(lost)
    }

    /// Copies the events of all logs that were added, at their old positions, in order.
    pub(crate) fn copy_events(&mut self, old: &SalvageReader) -> Result<(), LogError> {
        let mut taken = std::mem::take(&mut self.taken);
        taken.sort_unstable_by_key(|(_, run)| run.position);
        for position in taken.iter().flat_map(|(_, run)| run.position..run.end()) {
            let bytes = self.copy_event(&old.connection, position)?;
            self.new.written(bytes)?;
        }
        self.keep_highest_position(old, taken.last().map_or(0, |(_, run)| run.end() - 1))?;
        if let Some((log, run)) = taken.last() {
            enter_end(&self.new.connection, *log, run)?;
        }
        Ok(())
    }

    /// Notes the last position of the damaged table, so that none is given twice: the rows at its end may not be taken.
    fn keep_highest_position(&self, old: &SalvageReader, taken: i64) -> SqlResult<()> {
        // What cannot be read is not known.
        let noted = meta_number(&old.connection, HIGHEST_POSITION).unwrap_or_default();
        let end = end_of_events(&old.connection).ok().flatten().map_or(0, |end| end - 1);
        let highest = noted.max(end);
        if highest > taken {
            put_setting(&self.new.connection, HIGHEST_POSITION, Some(&highest.to_string()))?;
        }
        Ok(())
    }

    /// Copies one row, column by column, with the type that its record has, and tells about how many bytes it has.
    fn copy_event(&self, old: &Connection, position: i64) -> SqlResult<usize> {
        let mut select = old.prepare_cached(
            "SELECT position, log_key, event_id, event_type, event_at, append_key, chain, record FROM events
             WHERE position = ?1",
        )?;
        let mut columns: [Value; 8] = select
            .query_row([position], columns)
            .optional()?
            .ok_or_else(|| SqlError::damaged(format!("the event at position {position} is gone")))?;
        if let [_, _, _, column, .., Value::Blob(record)] = &mut columns
            && let Some(event_type) = type_in(record)
        {
            *column = Value::Text(event_type);
        }
        let bytes = columns.iter().map(bytes_of).sum();
        self.new.connection.prepare_cached(INSERT_EVENT)?.execute(columns)?;
        Ok(bytes)
    }

    /// Commits the rest, and leaves everything in one file, which it names. The file is not synced yet.
    pub(crate) fn finish(self) -> Result<PathBuf, LogError> {
        self.new.finish()
    }
}

fn columns<const N: usize>(row: &Row<'_>) -> rusqlite::Result<[Value; N]> {
    let mut columns = [const { Value::Null }; N];
    for (at, column) in columns.iter_mut().enumerate() {
        *column = row.get(at)?;
    }
    Ok(columns)
}

fn bytes_of(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::Blob(bytes) => bytes.len(),
        Value::Null | Value::Integer(_) | Value::Real(_) => size_of::<i64>(),
    }
}
