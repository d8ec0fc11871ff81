//! What stores in memory share: sessions, logs and owners, under one lock.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::blobs::MemoryBlobMap;
use super::swept::SweptList;
use crate::codec::{self, Chain};
use crate::error::OwnerInfo;
use crate::event::SessionCore;
use crate::id::{AppendKey, EventId, HistoryId, SessionId, Timestamp};
use crate::port::{
    Claiming, CursorChange, DeletionNumber, Epoch, FeedPage, FeedPlace, Head, History, Listed, Liveness, LogError,
    LogKey, LogMeta, LogRedaction, Position, Refusal, ScannedPage, ScannedRow, SnapshotRow, StoreId, StoredEvent,
    Write, Written,
};

/// A disk in memory. Stores that are opened on clones of it share events, blobs and owners, as stores on one directory
/// do; it lasts as long as its last clone.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<DiskState>>,
    pub(super) blobs: MemoryBlobMap,
    pub(super) snapshots: MemoryBlobMap,
}

impl fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryDisk")
    }
}

#[derive(Default)]
pub(super) struct DiskState {
    pub(super) model: Option<String>,
    /// Made with the first store that is opened on the disk.
    pub(super) id: Option<StoreId>,
    pub(super) sessions: BTreeMap<SessionId, NamedLog>,
    pub(super) logs: HashMap<LogKey, Log>,
    /// How many logs were ever made: a key is never used again.
    logs_made: i64,
    /// The events of all logs, in the order of the commits.
    pub(super) order: BTreeMap<Position, (LogKey, EventId)>,
    /// How many events were ever appended: a position is never used again.
    events_made: i64,
    /// The logs that were deleted, in this order.
    pub(super) deletions: Vec<HistoryId>,
    pub(super) cursors: BTreeMap<String, String>,
    /// How many groups were committed.
    pub(super) groups: i64,
    pub(super) alive: HashMap<String, OwnerInfo>,
    pub(super) swept: SweptList,
}

/// What a session's name leads to.
pub(super) struct NamedLog {
    pub(super) log: LogKey,
    pub(super) created: Timestamp,
    pub(super) core: Arc<SessionCore>,
}

pub(super) struct Log {
    pub(super) meta: LogMeta,
    pub(super) session: SessionId,
    owner: Option<String>,
    epoch: Epoch,
    events: Vec<StoredEvent>,
    pub(super) keys: HashMap<AppendKey, EventId>,
    pub(super) snapshot: Option<SnapshotRow>,
    /// How often events were redacted.
    pub(super) redactions: u64,
}

impl Log {
    pub(super) fn head(&self) -> Head {
        match self.events.last() {
            Some(event) => Head { id: event.id, chain: event.chain, at: event.at },
            None => self.meta.base,
        }
    }

    pub(super) fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    pub(super) fn record_bytes(&self) -> u64 {
        self.events.iter().map(|event| event.record.len() as u64).sum()
    }

    pub(super) fn event(&self, id: EventId) -> Option<&StoredEvent> {
        self.events.get(self.place(id)?)
    }

    fn place(&self, id: EventId) -> Option<usize> {
        let place = id.get().checked_sub(self.meta.base.id.get())?.checked_sub(1)?;
        usize::try_from(place).ok()
    }

    /// The first event of the append with this key, which may be gone by a redaction.
    pub(super) fn event_with(&self, key: &AppendKey) -> Option<&StoredEvent> {
        let named = self.keys.get(key).and_then(|id| self.event(*id));
        named.or_else(|| self.events.iter().find(|event| codec::was_key(&event.record, key)))
    }
}

impl MemoryDisk {
    /// Makes all blobs look as if they were put long ago.
    #[cfg(test)]
    pub(crate) fn age_blobs(&self) {
        self.blobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values_mut()
            .for_each(super::blobs::MemoryBlob::make_old);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, DiskState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DiskState {
    /// The position of the last event that was appended.
    pub(super) fn end(&self) -> Position {
        if self.events_made == 0 { Position::START } else { Position(self.events_made) }
    }

    /// The number of the last deletion.
    pub(super) fn deletion(&self) -> DeletionNumber {
        DeletionNumber(i64::try_from(self.deletions.len()).unwrap_or(i64::MAX))
    }

    /// See [`LogReader::scan`](crate::port::LogReader::scan).
    pub(super) fn scan(
        &self,
        page: &mut ScannedPage,
        after: Position,
        events_max: usize,
        bytes_max: usize,
    ) -> Option<Position> {
        page.clear();
        let mut end = None;
        for (position, (log, id)) in self.order.range((Bound::Excluded(after), Bound::Unbounded)).take(events_max) {
            if let Some(event) = self.logs.get(log).and_then(|log| log.event(*id)) {
                page.push(ScannedRow { position: *position, log: *log, event: event.row() });
            }
            end = Some(*position);
            if page.record_bytes() >= bytes_max {
                break;
            }
        }
        end
    }

    /// See [`LogReader::feed`](crate::port::LogReader::feed).
    pub(super) fn feed(&self, page: &mut FeedPage, after: FeedPlace, events_max: usize, bytes_max: usize) {
        page.begin(after);
        let told = usize::try_from(after.deletion.0).unwrap_or_default();
        for (number, history) in (1..).zip(&self.deletions).skip(told).take(events_max) {
            page.deletions.push((DeletionNumber(number), *history));
            page.next.deletion = DeletionNumber(number);
        }
        if page.next.deletion < self.deletion() {
            page.more = true;
            return;
        }
        if let Some(end) = self.scan(&mut page.events, after.event, events_max, bytes_max) {
            page.next.event = end;
            page.more = end < self.end();
        }
        let Ok(()) = page.name_logs(|unknown, histories| {
            for log in unknown.iter().filter_map(|key| self.logs.get(key)) {
                histories.insert(log.meta.key, History { session: log.session.clone(), log: log.meta });
            }
            Ok::<_, Infallible>(())
        });
    }

    pub(super) fn liveness(&self, id: &str) -> Liveness {
        self.alive.get(id).map_or(Liveness::Dead, |info| Liveness::Alive(info.clone()))
    }

    /// A log that was not deleted.
    pub(super) fn log(&self, log: LogKey) -> Result<&Log, LogError> {
        self.logs.get(&log).ok_or(LogError::Deleted)
    }

    pub(super) fn chain_at(&self, log: LogKey, id: EventId) -> Option<Chain> {
        self.logs.get(&log)?.event(id).map(|event| event.chain)
    }

    /// The owner of a log, if that is another store and alive.
    fn living_owner(&self, me: &str, owner: Option<&str>) -> Option<OwnerInfo> {
        self.alive.get(owner.filter(|owner| *owner != me)?).cloned()
    }

    /// Does one write. Of the blobs only those that a write names are looked at.
    pub(super) fn write(&mut self, me: &str, blobs: &MemoryBlobMap, write: &Write) -> Result<Written, Refusal> {
        match write {
            Write::Delete { session, log, head, .. } => self.delete(me, session, *log, *head),
            Write::Sweep(step) => Ok(Written::Swept(self.swept.step(blobs, step))),
            Write::Cursor(change) => self.change_cursor(change),
            Write::Register { session, at } => self.register(me, session, *at),
            Write::Fence { log, claim } => self.fence(me, *log, *claim),
            Write::Append { log, epoch, after, events, listed } => {
                self.append(me, blobs, *log, *epoch, *after, events, listed.as_deref())
            }
            Write::Snapshot { log, epoch, row, redactions } => self.snapshot(me, *log, *epoch, row, *redactions),
            Write::Redact(redaction) => self.redact(me, blobs, redaction),
            Write::Release { log, epoch } => {
                let log = self.logs.get_mut(log).ok_or(Refusal::Deleted)?;
                if log.owner.as_deref() == Some(me) && log.epoch == *epoch {
                    log.owner = None;
                }
                Ok(Written::Released)
            }
        }
    }

    /// Takes a session away, at once and as a whole. Its log is not there any more: that is how a log tells that it was
    /// deleted.
    fn delete(
        &mut self,
        me: &str,
        session: &SessionId,
        key: LogKey,
        head: Option<EventId>,
    ) -> Result<Written, Refusal> {
        let Some(log) = self.logs.get(&key) else { return Ok(Written::Deleted) };
        if let Some(owner) = self.living_owner(me, log.owner.as_deref()) {
            return Err(Refusal::Owned(owner));
        }
        let found = log.head().id;
        if head.is_some_and(|head| head != found) {
            return Err(Refusal::HeadMoved { head: found });
        }
        let history = HistoryId::from_bytes(log.meta.log_id);
        self.deletions.push(history);
        self.logs.remove(&key);
        self.order.retain(|_, (log, _)| *log != key);
        self.sessions.remove(session);
        Ok(Written::Deleted)
    }

    fn change_cursor(&mut self, change: &CursorChange) -> Result<Written, Refusal> {
        match change.apply(self.cursors.get(&change.name).map(String::as_str))? {
            Some(position) => drop(self.cursors.insert(change.name.clone(), position.to_owned())),
            None => drop(self.cursors.remove(&change.name)),
        }
        Ok(Written::CursorChanged)
    }

    fn snapshot(
        &mut self,
        me: &str,
        log: LogKey,
        epoch: Epoch,
        row: &SnapshotRow,
        redactions: u64,
    ) -> Result<Written, Refusal> {
        let log = self.logs.get_mut(&log).ok_or(Refusal::Deleted)?;
        if log.owner.as_deref() != Some(me) || log.epoch != epoch {
            return Err(Refusal::StaleEpoch);
        }
        if log.redactions != redactions {
            return Err(Refusal::Redacted);
        }
        if log.event(row.event).is_none_or(|event| event.chain != row.chain) {
            return Err(Refusal::HeadMoved { head: log.head().id });
        }
        let replaced = log.snapshot.replace(*row).map(|row| row.digest).filter(|digest| *digest != row.digest);
        Ok(Written::SnapshotIndexed { replaced })
    }

    fn register(&mut self, me: &str, session: &SessionId, at: Timestamp) -> Result<Written, Refusal> {
        if let Some(log) = self.sessions.get(session).and_then(|named| self.logs.get(&named.log)) {
            return Ok(Written::Registered { meta: log.meta, owned: None });
        }
        let mut log_id = [0; 16];
        getrandom::fill(&mut log_id).map_err(|error| Refusal::Unavailable(error.to_string()))?;
        self.logs_made += 1;
        let meta = LogMeta::root(LogKey(self.logs_made), log_id);
        let owned = Epoch(1);
        let log = Log {
            meta,
            session: session.clone(),
            owner: Some(me.to_owned()),
            epoch: owned,
            events: Vec::new(),
            keys: HashMap::new(),
            snapshot: None,
            redactions: 0,
        };
        self.logs.insert(meta.key, log);
        let named = NamedLog { log: meta.key, created: at, core: Arc::default() };
        self.sessions.insert(session.clone(), named);
        Ok(Written::Registered { meta, owned: Some(owned) })
    }

    fn fence(&mut self, me: &str, log: LogMeta, claim: Claiming) -> Result<Written, Refusal> {
        let owner = self.logs.get(&log.key).ok_or(Refusal::Deleted)?.owner.clone();
        let mine = owner.as_deref() == Some(me);
        if claim == Claiming::Yes
            && let Some(owner) = self.living_owner(me, owner.as_deref())
        {
            return Err(Refusal::Owned(owner));
        }
        let log = self.logs.get_mut(&log.key).ok_or(Refusal::Deleted)?;
        if claim != Claiming::No && !mine {
            log.owner = Some(me.to_owned());
            log.epoch = Epoch(log.epoch.0 + 1);
        }
        Ok(Written::Fenced { head: log.head(), owned: (mine || claim != Claiming::No).then_some(log.epoch) })
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of the write, and what it is held against")]
    fn append(
        &mut self,
        me: &str,
        blobs: &MemoryBlobMap,
        log: LogKey,
        epoch: Epoch,
        after: Chain,
        events: &[StoredEvent],
        listed: Option<&Listed>,
    ) -> Result<Written, Refusal> {
        let key = log;
        let found = self.logs.get(&log).ok_or(Refusal::Deleted)?;
        if found.owner.as_deref() != Some(me) || found.epoch != epoch {
            return Err(self.living_owner(me, found.owner.as_deref()).map_or(Refusal::StaleEpoch, Refusal::Owned));
        }
        let log = self.logs.get_mut(&log).ok_or(Refusal::Deleted)?;
        let head = log.head();
        if events.first().is_some_and(|event| event.id != head.id.next()) || after != head.chain {
            return Err(Refusal::HeadMoved { head: head.id });
        }
        if events.iter().filter_map(|event| event.key.as_ref()).any(|key| log.keys.contains_key(key)) {
            return Err(Refusal::KeyTaken);
        }
        if let Some(digest) = self.swept.first_missing(blobs, events) {
            return Err(Refusal::NoBlob { digest });
        }
        if let Some(listed) = listed {
            let named = self.sessions.get_mut(&listed.session).filter(|named| named.log == log.meta.key);
            named.ok_or(Refusal::Deleted)?.core = Arc::clone(&listed.core);
        }
        for event in events {
            if let Some(key) = &event.key {
                log.keys.insert(key.clone(), event.id);
            }
            log.events.push(event.clone());
            self.events_made += 1;
            self.order.insert(Position(self.events_made), (key, event.id));
        }
        Ok(Written::Appended { raised: None })
    }

    fn redact(&mut self, me: &str, blobs: &MemoryBlobMap, redaction: &LogRedaction) -> Result<Written, Refusal> {
        let LogRedaction { log: key, epoch, after, event, records, listed } = redaction;
        let log = self.logs.get(key).ok_or(Refusal::Deleted)?;
        for record in records {
            let before = log.event(record.event);
            if !before.is_some_and(|before| codec::chains_alike(&before.record, &record.record)) {
                let reason = "the record to be redacted is not the one that was read".to_owned();
                return Err(Refusal::Damaged { event: Some(record.event), reason });
            }
        }
        let written = self.append(me, blobs, *key, *epoch, *after, std::slice::from_ref(event), listed.as_ref())?;
        let log = self.logs.get_mut(key).ok_or(Refusal::Deleted)?;
        for record in records {
            let before = log.place(record.event).and_then(|place| log.events.get_mut(place));
            if let Some(before) = before {
                before.record.clone_from(&record.record);
                before.key.take().map(|key| log.keys.remove(&key));
            }
        }
        log.redactions += 1;
        log.snapshot = None;
        Ok(written)
    }
}
