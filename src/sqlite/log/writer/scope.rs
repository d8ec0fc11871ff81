//! One group's work inside its transaction: each kind of write, and what it is refused for.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

use super::LogState;
use crate::codec::Chain;
use crate::error::OwnerInfo;
use crate::id::{EventId, SessionId, Timestamp};
use crate::port::{
    Claiming, Epoch, Head, Listed, Liveness, LogKey, LogMeta, LogRedaction, Ownership, Refusal, SnapshotRow,
    StoredEvent, Write, Written,
};
use crate::sqlite::directory::StoreDirectory;
use crate::sqlite::log::added::Added;
use crate::sqlite::log::error::{SqlError, SqlResult};
use crate::sqlite::log::recent::Recent;
use crate::sqlite::log::redaction::ToRedact;
use crate::sqlite::log::row::{INSERT_EVENT, META, SqlEventId, log_meta};
use crate::sqlite::log::runs::KeyHash;
use crate::sqlite::log::swept::SweptTable;
use crate::sqlite::log::{cursors, deleted, listing, lookup, redaction, snapshots};

/// One group's work inside its transaction.
pub(super) struct Scope<'a> {
    pub(super) connection: &'a Connection,
    pub(super) directory: &'a StoreDirectory,
    pub(super) recent: &'a Recent,
    pub(super) known: &'a HashMap<LogKey, LogState>,
    pub(super) swept: &'a mut SweptTable,
    /// The states of logs that this group has changed, kept apart until COMMIT has returned.
    pub(super) changed: HashMap<LogKey, LogState>,
    /// The logs that this group has deleted.
    pub(super) deleted: HashSet<LogKey>,
    /// The events that this group has redacted.
    pub(super) redacted: Vec<(LogKey, EventId)>,
    pub(super) added: Added,
}

impl Scope<'_> {
    pub(super) fn write(&mut self, write: &Write) -> SqlResult<Result<Written, Refusal>> {
        match write {
            Write::Register { session, at } => self.register(session, *at).map(Ok),
            Write::Fence { log, claim } => self.fence(*log, *claim),
            Write::Append { log, epoch, after, events, listed } => {
                self.append(*log, *epoch, *after, events, listed.as_deref())
            }
            Write::Snapshot { log, epoch, row, redactions } => self.snapshot(*log, *epoch, row, *redactions),
            Write::Redact(redaction) => self.redact(redaction),
            Write::Release { log, epoch } => self.release(*log, *epoch),
            Write::Delete { session, log, head, at } => self.delete(session, *log, *head, *at),
            Write::Sweep(step) => Ok(Ok(Written::Swept(self.swept.step(self.connection, step)?))),
            Write::Cursor(change) => cursors::change(self.connection, change),
        }
    }

    fn me(&self) -> &str {
        self.directory.me().as_str()
    }

    fn state(&self, log: LogKey) -> SqlResult<Result<LogState, Refusal>> {
        if self.deleted.contains(&log) {
            return Ok(Err(Refusal::Deleted));
        }
        if let Some(state) = self.changed.get(&log).or_else(|| self.known.get(&log)) {
            return Ok(Ok(state.clone()));
        }
        self.read_state(log).map_err(|error| self.of_one_log(error))
    }

    /// Damage that the whole group needs to be read around is no damage of one log.
    fn of_one_log(&self, error: SqlError) -> SqlError {
        if self.recent.is_missing() { error } else { error.of_one_log() }
    }

    fn read_state(&self, log: LogKey) -> SqlResult<Result<LogState, Refusal>> {
        let mut statement =
            self.connection.prepare_cached(&format!("SELECT owner, epoch, {META} FROM logs WHERE log_key = ?1"))?;
        let row = statement.query_row([log.0], |row| Ok((row.get(0)?, Epoch(row.get(1)?), log_meta(row, 2)?)));
        let Some((owner, epoch, meta)) = row.optional()? else {
            let is_deleted = deleted::is_deleted(self.connection, log)?;
            return Ok(Err(if is_deleted { Refusal::Deleted } else { Refusal::UnknownLog }));
        };
        if deleted::is_void(self.connection, log)? {
            return Ok(Err(Refusal::Deleted));
        }
        let head = lookup::head(self.connection, self.recent, meta)?;
        Ok(Ok(LogState { owner, epoch, head }))
    }

    fn owns(&self, state: &LogState, epoch: Epoch) -> bool {
        state.owner.as_deref() == Some(self.me()) && state.epoch == epoch
    }

    /// The owner of the log, if that is another store and alive.
    fn living_owner(&self, owner: Option<&str>) -> SqlResult<Option<OwnerInfo>> {
        let Some(owner) = owner.filter(|owner| *owner != self.me()) else { return Ok(None) };
        match self.directory.liveness(owner).map_err(|error| SqlError::outside(&error))? {
            Liveness::Alive(owner) => Ok(Some(owner)),
            Liveness::Dead => Ok(None),
        }
    }

    fn register(&mut self, session: &SessionId, at: Timestamp) -> SqlResult<Written> {
        if let Some(meta) = lookup::find(self.connection, session).map_err(SqlError::of_one_log)? {
            return Ok(Written::Registered { meta, owned: None });
        }
        let log_id = lookup::random_log_id()?;
        let epoch = Epoch(1);
        self.connection.prepare_cached("INSERT INTO logs(log_id, owner, epoch) VALUES (?1, ?2, ?3)")?.execute((
            log_id,
            self.me(),
            epoch.0,
        ))?;
        let key = LogKey(self.connection.last_insert_rowid());
        self.connection
            .prepare_cached("INSERT INTO sessions(session_id, log_key, created) VALUES (?1, ?2, ?3)")?
            .execute((session.as_str(), key.0, at.as_micros()))?;
        let (meta, owner) = (LogMeta::root(key, log_id), Some(Arc::from(self.me())));
        self.changed.insert(key, LogState { head: meta.base, owner, epoch });
        Ok(Written::Registered { meta, owned: Some(epoch) })
    }

    fn fence(&mut self, log: LogMeta, claim: Claiming) -> SqlResult<Result<Written, Refusal>> {
        let mut state = match self.state(log.key)? {
            Ok(state) => state,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let mine = state.owner.as_deref() == Some(self.me());
        if claim != Claiming::No && !mine {
            if claim == Claiming::Yes
                && let Some(owner) = self.living_owner(state.owner.as_deref())?
            {
                return Ok(Err(Refusal::Owned(owner)));
            }
            state.owner = Some(Arc::from(self.me()));
            state.epoch = Epoch(state.epoch.0 + 1);
            self.connection.prepare_cached("UPDATE logs SET owner = ?2, epoch = ?3 WHERE log_key = ?1")?.execute((
                log.key.0,
                self.me(),
                state.epoch.0,
            ))?;
            self.changed.insert(log.key, state.clone());
        }
        let owned = (mine || claim != Claiming::No).then_some(state.epoch);
        Ok(Ok(Written::Fenced { head: state.head, owned }))
    }

    fn append(
        &mut self,
        log: LogKey,
        epoch: Epoch,
        after: Chain,
        events: &[StoredEvent],
        listed: Option<&Listed>,
    ) -> SqlResult<Result<Written, Refusal>> {
        let mut state = match self.state(log)? {
            Ok(state) => state,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if !self.owns(&state, epoch) {
            // An owner that cannot be looked at is no reason to refuse the whole group.
            let owner = self.living_owner(state.owner.as_deref()).unwrap_or_default();
            return Ok(Err(owner.map_or(Refusal::StaleEpoch, Refusal::Owned)));
        }
        // By the chain too: a foreign row may have taken the very id that was refused to the append ahead.
        if events.first().is_some_and(|event| event.id != state.head.id.next()) || after != state.head.chain {
            return Ok(Err(Refusal::HeadMoved { head: state.head.id }));
        }
        if self.recent.is_cut() {
            let reason = "the table of events ends before events that its index tells of, and takes no more";
            return Err(SqlError::damaged(format!("{reason}: make a new directory with Store::repair")));
        }
        let key = events.iter().find_map(|event| event.key.as_ref()).map(KeyHash::of);
        if let Some(key) = key
            && (self.recent.has_key(log, key) || self.added.has_key(log, key))
        {
            return Ok(Err(Refusal::KeyTaken));
        }
        if let Some(refusal) = self.swept.refusal(self.connection, events)? {
            return Ok(Err(refusal));
        }
        if let Some(listed) = listed {
            listing::put(self.connection, log, listed)?;
        }
        let mut insert = self.connection.prepare_cached(INSERT_EVENT)?;
        for event in events {
            let position = self.added.given_position(self.connection)?;
            insert.execute((
                position,
                log.0,
                SqlEventId(event.id),
                &event.event_type,
                event.at.as_micros(),
                event.key.as_ref().map(|key| key.as_bytes()),
                event.chain.0,
                &event.record,
            ))?;
            self.added.push(log, event.id, key.filter(|_| event.key.is_some()), self.connection.last_insert_rowid())?;
            state.head = Head { id: event.id, chain: event.chain, at: event.at };
        }
        self.changed.insert(log, state);
        Ok(Ok(Written::Appended { raised: None }))
    }

    fn snapshot(
        &mut self,
        log: LogKey,
        epoch: Epoch,
        row: &SnapshotRow,
        redactions: u64,
    ) -> SqlResult<Result<Written, Refusal>> {
        let state = match self.state(log)? {
            Ok(state) => state,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if !self.owns(&state, epoch) {
            return Ok(Err(Refusal::StaleEpoch));
        }
        // The chain does not tell what was redacted from what was there before.
        if redaction::count(self.connection, log)? != redactions {
            return Ok(Err(Refusal::Redacted));
        }
        // Only of what is in the log.
        let chain =
            lookup::chain_at(self.connection, self.recent, log, row.event).map_err(|error| self.of_one_log(error))?;
        if chain != Some(row.chain) {
            return Ok(Err(Refusal::HeadMoved { head: state.head.id }));
        }
        snapshots::put(self.connection, log, row)
    }

    fn redact(&mut self, redaction: &LogRedaction) -> SqlResult<Result<Written, Refusal>> {
        let LogRedaction { log, epoch, after, event, records, listed } = redaction;
        // Everything is found before anything is changed: damage of one log refuses this write alone.
        let found = records.iter().map(|record| ToRedact::of(self.connection, self.recent, *log, record));
        let found = match found.collect::<SqlResult<Vec<_>>>() {
            Ok(found) => found,
            Err(error) => return Err(self.of_one_log(error)),
        };
        if let Err(refusal) = self.append(*log, *epoch, *after, std::slice::from_ref(event), listed.as_ref())? {
            return Ok(Err(refusal));
        }
        // The file goes before the commit: without it, whoever needs the view folds the log.
        if let Some(view) = snapshots::find(self.connection, *log)? {
            self.directory.remove_view(&view.digest).map_err(|error| SqlError::outside(&error))?;
        }
        self.connection.prepare_cached("DELETE FROM snapshots WHERE log_key = ?1")?.execute([log.0])?;
        for found in &found {
            found.overwrite(self.connection, *log)?;
        }
        redaction::count_up(self.connection, *log)?;
        self.redacted.extend(records.iter().map(|record| (*log, record.event)));
        Ok(Ok(Written::Appended { raised: None }))
    }

    fn release(&mut self, log: LogKey, epoch: Epoch) -> SqlResult<Result<Written, Refusal>> {
        let mut state = match self.state(log)? {
            Ok(state) => state,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if self.owns(&state, epoch) {
            self.connection.prepare_cached("UPDATE logs SET owner = NULL WHERE log_key = ?1")?.execute([log.0])?;
            state.owner = None;
            self.changed.insert(log, state);
        }
        Ok(Ok(Written::Released))
    }

    /// Takes the name away and marks the log. Needs nothing of the log's events, which may be damaged.
    fn delete(
        &mut self,
        session: &SessionId,
        log: LogKey,
        head: Option<EventId>,
        at: Timestamp,
    ) -> SqlResult<Result<Written, Refusal>> {
        if self.deleted.contains(&log) || deleted::is_deleted(self.connection, log)? {
            return Ok(Ok(Written::Deleted));
        }
        let owner: Option<Option<String>> = self
            .connection
            .prepare_cached("SELECT owner FROM logs WHERE log_key = ?1")?
            .query_row([log.0], |row| row.get(0))
            .optional()?;
        let Some(owner) = owner else { return Ok(Err(Refusal::UnknownLog)) };
        if let Some(owner) = self.living_owner(owner.as_deref())? {
            return Ok(Err(Refusal::Owned(owner)));
        }
        if let Some(expected) = head {
            match self.state(log)? {
                Ok(state) if state.head.id == expected => {}
                Ok(state) => return Ok(Err(Refusal::HeadMoved { head: state.head.id })),
                Err(refusal) => return Ok(Err(refusal)),
            }
        }
        deleted::mark(self.connection, session, log, at)?;
        self.changed.remove(&log);
        self.deleted.insert(log);
        Ok(Ok(Written::Deleted))
    }
}
