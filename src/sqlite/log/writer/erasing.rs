//! Erasing what was deleted, and giving the room back: a long work in short steps, each a transaction of its own
//! between two groups.
//!
//! Where it stands is in the tables, so that after a crash it goes on where it was, also in another store:
//!
//! 1. A marked log ([`deleted`]) leaves `recent_index` as any log does, with all that is older. Then `event_index` has
//!    all of it, and no hash of its append keys is anywhere else.
//! 2. Its events become tombstones, and tombstones go ([`tombstone`]), row by row of its index. Then that row of the
//!    index goes; the last one only with the log's row of `logs`, so that nobody takes the log for one that is not
//!    indexed yet.
//! 3. Its stored view goes, the file first.
//! 4. When no marked log has a row of `logs` any more, the write-ahead log is emptied: what stood in it is in no file
//!    then. Then the marks go. The same is done when something was redacted ([`redaction`]): its rows were overwritten
//!    by the commit, and what is left are the log, and files of stored views that no log names.
//! 5. Pages that are free go back to the file system.

use std::collections::HashSet;

use rusqlite::Connection;

use super::upkeep::ROW_BYTES;
use super::{SqliteLog, before_commit};
use crate::id::Digest;
use crate::port::{CommitError, LogError, LogKey, UpkeepLeft};
use crate::sqlite::directory::StoreDirectory;
use crate::sqlite::log::around_damage::{Indexing, rolled_back};
use crate::sqlite::log::error::{SqlError, SqlResult, unless_torn};
use crate::sqlite::log::recent::Recent;
use crate::sqlite::log::segments::{Segment, first_segment};
use crate::sqlite::log::tombstone::Trimmed;
use crate::sqlite::log::transaction::Transaction;
use crate::sqlite::log::{checkpoint, deleted, index, parts, redaction, schema, snapshots, tombstone};

/// How much a step does: about two milliseconds, since the next group waits for it.
const STEP_ROWS: usize = 256;
const STEP_BYTES: usize = 128 << 10;
/// How many logs are moved out of the index of recent events in a step. Each has a row of `event_index` somewhere.
const STEP_MOVES: usize = 32;
const STEP_PAGES: usize = 32;
/// How many names of stored views are read in a step, of rows or of files.
const STEP_VIEWS: usize = 2048;
/// So many free pages stay: the next commits take them.
const FREE_PAGES_KEPT: i64 = 256;

/// How the erasing stands.
#[derive(Debug)]
pub(super) struct ErasureProgress {
    stage: Stage,
    /// The last log that was erased since the writing end was opened.
    after: LogKey,
    /// Whether damage keeps what was deleted. Redactions are finished all the same.
    is_stuck: bool,
    /// Whether something was redacted of which the files may have bytes.
    has_redactions: bool,
    /// Whether a reader has kept the write-ahead log: then a step is taken of what was deleted, before it is tried
    /// again.
    is_held_back: bool,
    /// Redactions of which no more is in the write-ahead log.
    finishing: Option<Finishing>,
}

/// What is left to do for redactions once the write-ahead log was emptied: the files of stored views that no log names
/// may be of a log that was redacted, if a store has died or was storing them meanwhile.
#[derive(Debug)]
struct Finishing {
    redacted: Vec<(LogKey, i64)>,
    erased: Vec<LogKey>,
    /// The stored views that logs name, up to this log.
    named: HashSet<Digest>,
    named_to: Option<LogKey>,
    /// The next directory of stored views, by the first byte of their names.
    shelf: Option<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Something may be marked, or free.
    Steps,
    /// Everything is erased that can be, and a reader keeps the write-ahead log.
    HeldBack,
    Done,
}

impl ErasureProgress {
    /// What an earlier store has left to do.
    pub(super) fn found(connection: &Connection) -> Result<Self, LogError> {
        let mut erasure = Self {
            stage: Stage::Done,
            after: LogKey::default(),
            is_stuck: false,
            has_redactions: false,
            is_held_back: false,
            finishing: None,
        };
        erasure.look_for_marks(connection)?;
        if free_pages(connection)? > FREE_PAGES_KEPT {
            erasure.stage = Stage::Steps;
        }
        Ok(erasure)
    }

    /// Looks whether another store has deleted or redacted something.
    fn look_for_marks(&mut self, connection: &Connection) -> SqlResult<()> {
        // Where the table cannot be read, nothing is erased.
        let has_redactions = unless_torn(redaction::pending(connection))?.is_some_and(|logs| !logs.is_empty());
        if has_redactions || unless_torn(deleted::count_marked(connection))?.unwrap_or_default() > 0 {
            self.look_again(has_redactions);
        }
        Ok(())
    }

    /// Something was deleted or redacted.
    pub(super) fn look_again(&mut self, has_redactions: bool) {
        self.stage = Stage::Steps;
        self.has_redactions |= has_redactions;
    }

    pub(super) fn redactions_left(&self) -> UpkeepLeft {
        match self.has_redactions {
            false => UpkeepLeft::Nothing,
            true if self.is_held_back => UpkeepLeft::HeldBack,
            true => UpkeepLeft::Steps,
        }
    }

    pub(super) fn left(&self) -> UpkeepLeft {
        match self.stage {
            Stage::Steps => UpkeepLeft::Steps,
            Stage::HeldBack => UpkeepLeft::HeldBack,
            Stage::Done => UpkeepLeft::Nothing,
        }
    }
}

fn free_pages(connection: &Connection) -> SqlResult<i64> {
    Ok(connection.query_row("PRAGMA freelist_count", [], |row| row.get(0))?)
}

/// What a step has left to do of its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LogErased {
    Partly,
    Whole,
}

/// How much a step may still do.
struct Budget {
    rows: usize,
    bytes: usize,
    /// What the step takes in the write-ahead log.
    written: usize,
}

impl Budget {
    fn is_spent(&self) -> bool {
        self.rows == 0 || self.bytes == 0
    }

    fn spend(&mut self, rows: usize, bytes: usize) {
        self.rows = self.rows.saturating_sub(rows);
        self.bytes = self.bytes.saturating_sub(bytes);
        self.written += rows * ROW_BYTES + bytes;
    }
}

impl SqliteLog {
    /// Does one step, if there is any to do.
    pub(super) fn erase(&mut self) -> Result<(), LogError> {
        if self.erasure.stage == Stage::Done {
            return Ok(());
        }
        if self.unchecked_bytes >= self.checkpoint_bytes {
            self.unchecked_bytes = 0;
            self.checkpoint()?;
        }
        self.connection.busy_timeout(std::time::Duration::ZERO)?;
        // The next group makes its commit durable, and this one with it. A step that is lost is done again.
        self.connection.pragma_update(None, "synchronous", "NORMAL")?;
        let done = self.step();
        schema::set_durability(&self.connection, self.durability)?;
        schema::wait_as_writer(&mut self.connection)?;
        done
    }

    fn stop_erasing(&mut self, reason: &str) {
        log::error!("what was deleted stays until Store::repair makes a new directory: {reason}");
        self.erasure.is_stuck = true;
    }

    fn step(&mut self) -> Result<(), LogError> {
        if let Some(finishing) = self.erasure.finishing.take() {
            return self.go_on_finishing(finishing);
        }
        let next = self.next_to_erase()?;
        let redacted = redaction::pending(&self.connection)?;
        self.erasure.has_redactions = !redacted.is_empty();
        // Whoever has redacted something need not wait for all that was deleted.
        let finishes_first = self.erasure.has_redactions && !self.erasure.is_held_back;
        match next {
            Some(log) if !finishes_first => {
                self.erasure.is_held_back = false;
                self.erase_from(log)
            }
            _ if !redacted.is_empty() => self.finish(redacted),
            _ if !deleted::erased(&self.connection)?.is_empty() => self.finish(redacted),
            _ if self.erasure.is_stuck => {
                self.erasure.stage = Stage::Done;
                Ok(())
            }
            _ => self.give_room_back(),
        }
    }

    /// The next deleted log, in turn.
    fn next_to_erase(&mut self) -> Result<Option<LogKey>, LogError> {
        if self.erasure.is_stuck {
            return Ok(None);
        }
        let next = match deleted::next_to_erase(&self.connection, self.erasure.after)? {
            None => deleted::next_to_erase(&self.connection, LogKey::default())?,
            next => next,
        };
        if next.is_some() && self.indexing != Indexing::Both {
            self.stop_erasing("the index of events is damaged");
            return Ok(None);
        }
        Ok(next)
    }

    /// Erases marked logs, this one first, until the step has done enough.
    fn erase_from(&mut self, first: LogKey) -> Result<(), LogError> {
        let mut erased = self.erasure.after;
        let mut budget = Budget { rows: STEP_ROWS, bytes: STEP_BYTES, written: 0 };
        let done = self.write_beside_groups(|connection, recent, directory| {
            let mut next = Some(first);
            while let Some(log) = next.filter(|_| !budget.is_spent()) {
                if erase_some(connection, recent, directory, log, &mut budget)? == LogErased::Partly {
                    break;
                }
                erased = log;
                next = deleted::next_to_erase(connection, log)?;
            }
            Ok(())
        });
        match done {
            Ok(()) => {
                self.unchecked_bytes += budget.written;
                self.erasure.after = erased;
                Ok(())
            }
            Err(LogError::Corrupt(reason) | LogError::CorruptEvent { reason, .. }) => {
                self.stop_erasing(&reason);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Empties the write-ahead log, and takes the marks off what had no row any more before that. A reader may keep it
    /// for now.
    fn finish(&mut self, redacted: Vec<(LogKey, i64)>) -> Result<(), LogError> {
        let number = parts::wal_number(&self.connection)?;
        let erased = deleted::erased(&self.connection)?;
        let is_emptied = checkpoint::truncate(&self.connection, &self.identity)?;
        self.erasure.is_held_back = !is_emptied;
        if !is_emptied {
            let has_more = self.next_to_erase()?.is_some();
            self.erasure.stage = if has_more { Stage::Steps } else { Stage::HeldBack };
            return Ok(());
        }
        self.sync_emptied()?;
        self.erasure.stage = Stage::Steps;
        self.completed(number)?;
        self.directory.clear_dead_owners().map_err(|error| LogError::Io(error.to_string()))?;
        if redacted.is_empty() {
            return self.write_beside_groups(|connection, _, _| deleted::unmark(connection, &erased));
        }
        let (named, named_to, shelf) = (HashSet::new(), Some(LogKey::default()), Some(0));
        self.erasure.finishing = Some(Finishing { redacted, erased, named, named_to, shelf });
        Ok(())
    }

    /// Removes some of the stored views that no log names. When all were looked at, takes the marks off.
    fn go_on_finishing(&mut self, mut finishing: Finishing) -> Result<(), LogError> {
        if let Some(after) = finishing.named_to {
            let page = snapshots::list(&self.connection, after, STEP_VIEWS)?;
            finishing.named_to = page.last().map(|(log, _)| *log).filter(|_| page.len() == STEP_VIEWS);
            finishing.named.extend(page.into_iter().map(|(_, digest)| digest));
        } else {
            let mut views = 0;
            while let Some(shelf) = finishing.shelf.filter(|_| views < STEP_VIEWS) {
                let found = self.directory.remove_views_but(&finishing.named, shelf);
                views += found.map_err(|error| LogError::Io(error.to_string()))?;
                finishing.shelf = shelf.checked_add(1);
            }
        }
        if finishing.named_to.is_some() || finishing.shelf.is_some() {
            self.erasure.finishing = Some(finishing);
            return Ok(());
        }
        let marked = self.write_beside_groups(|connection, _, _| {
            redaction::erased(connection, &finishing.redacted)?;
            deleted::unmark(connection, &finishing.erased)
        });
        if let Err(LogError::Busy) = marked {
            self.erasure.finishing = Some(finishing);
        }
        marked?;
        self.erasure.has_redactions = !redaction::pending(&self.connection)?.is_empty();
        Ok(())
    }

    /// Looks for what another store has deleted or redacted, if one has written.
    pub(super) fn look_for_marks(&mut self) -> Result<(), LogError> {
        if self.remembered.take_others_wrote() {
            self.erasure.look_for_marks(&self.connection)?;
        }
        Ok(())
    }

    /// Gives free pages at the end of the file back to the file system.
    fn give_room_back(&mut self) -> Result<(), LogError> {
        if free_pages(&self.connection)? <= FREE_PAGES_KEPT {
            self.erasure.stage = Stage::Done;
            return Ok(());
        }
        self.write_beside_groups(|connection, _, _| {
            let mut vacuum = connection.prepare(&format!("PRAGMA incremental_vacuum({STEP_PAGES})"))?;
            let mut pages = vacuum.query([])?;
            while pages.next()?.is_some() {}
            Ok(())
        })?;
        self.unchecked_bytes += STEP_PAGES * 2 * 4096;
        Ok(())
    }

    /// Runs one transaction that is no group's.
    fn write_beside_groups(
        &mut self,
        write: impl FnOnce(&Connection, &mut Recent, &StoreDirectory) -> SqlResult<()>,
    ) -> Result<(), LogError> {
        self.read_around_damage()?;
        let connection = &self.connection;
        let transaction = Transaction::writing(connection)?;
        let mut recent = self.remembered.catch_up(connection)?;
        let (in_file, synced) = (self.wal_number_in_file, &mut self.directory_synced);
        let written = write(connection, &mut recent, &self.directory)
            .and_then(|()| before_commit(connection, in_file, &self.directory, synced));
        if let Err(error) = written {
            return Err(match rolled_back(transaction, error) {
                CommitError::NotWritten(error) | CommitError::Unknown(error) => error,
            });
        }
        transaction.commit()?;
        self.check_committed().map_err(|error| match error {
            CommitError::NotWritten(error) | CommitError::Unknown(error) => error,
        })?;
        self.remembered.recent = Some(recent);
        Ok(())
    }
}

fn erase_some(
    connection: &Connection,
    recent: &mut Recent,
    directory: &StoreDirectory,
    log: LogKey,
    budget: &mut Budget,
) -> SqlResult<LogErased> {
    let last = index::last(connection, recent, log)?;
    if let Some(last) = last
        && !recent.leave_behind(connection, log, last.position, STEP_MOVES)?
    {
        budget.spend(budget.rows, 0);
        return Ok(LogErased::Partly);
    }
    while let Some((segment, is_last)) = first_segment(connection, log)? {
        if erase_segment(connection, log, &segment, budget)? == LogErased::Partly {
            return Ok(LogErased::Partly);
        }
        if is_last {
            break;
        }
        segment.delete(connection)?;
    }
    if let Some(view) = snapshots::find(connection, log)? {
        directory.remove_view(&view.digest).map_err(|error| SqlError::outside(&error))?;
        connection.prepare_cached("DELETE FROM snapshots WHERE log_key = ?1")?.execute([log.0])?;
    }
    connection.prepare_cached("DELETE FROM event_index WHERE log_key = ?1")?.execute([log.0])?;
    connection.prepare_cached("DELETE FROM redactions WHERE log_key = ?1")?.execute([log.0])?;
    connection.prepare_cached("DELETE FROM logs WHERE log_key = ?1")?.execute([log.0])?;
    budget.spend(1, 0);
    Ok(LogErased::Whole)
}

/// Makes tombstones of the events of one row of the index, and then takes those away that may go.
fn erase_segment(connection: &Connection, log: LogKey, segment: &Segment, budget: &mut Budget) -> SqlResult<LogErased> {
    let runs = segment.decode()?;
    for run in &runs {
        let mut left = connection.prepare_cached(
            "SELECT position FROM events WHERE position >= ?1 AND position < ?2 AND log_key = ?3 LIMIT ?4",
        )?;
        let left = left.query_map([run.position, run.end(), log.0, STEP_ROWS as i64 + 1], |row| row.get(0))?;
        for position in left.collect::<rusqlite::Result<Vec<i64>>>()? {
            if budget.is_spent() {
                return Ok(LogErased::Partly);
            }
            let bytes = tombstone::entomb(connection, log, position)?.unwrap_or_default();
            budget.spend(1, bytes);
        }
    }
    let mut trimmed_to = i64::MIN;
    for run in &runs {
        while run.position >= trimmed_to {
            if budget.is_spent() {
                return Ok(LogErased::Partly);
            }
            let Trimmed { rows, behind } = tombstone::trim(connection, run.position, budget.rows)?;
            budget.spend(rows, 0);
            trimmed_to = behind.unwrap_or(trimmed_to);
        }
    }
    Ok(LogErased::Whole)
}
