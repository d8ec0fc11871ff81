//! A log in memory, with the same behaviour as the durable one: for tests, and for hosts that need no durability.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::codec::Chain;
use crate::error::OwnerInfo;
use crate::id::{AppendKey, Digest, EventId, SessionId, Timestamp};
use crate::memory::blobs::MemoryBlobMap;
use crate::port::log::SnapshotRow;
use crate::port::log::{
    AuditedEvent, AuditedSession, Claim, CommitError, Epoch, EventLog, Head, LogAudit, LogError, LogKey, LogMedium,
    LogMeta, LogReader, Refusal, SessionRow, StoredEvent, Write, Written,
};
use crate::port::ownership::{Liveness, OwnerId, Owners};
use crate::port::page::StoredPage;
use crate::sqlite::log::schema::OpenError;

/// A disk in memory. Stores that are opened on clones of it share events, blobs and owners, as stores on one directory
/// do; it lasts as long as its last clone.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    log: Arc<Mutex<Disk>>,
    pub(crate) blobs: MemoryBlobMap,
    pub(crate) snapshots: MemoryBlobMap,
}

impl fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryDisk")
    }
}

#[derive(Default)]
struct Disk {
    model: Option<String>,
    sessions: BTreeMap<SessionId, (LogKey, Timestamp)>,
    logs: HashMap<LogKey, Log>,
    alive: HashMap<String, OwnerInfo>,
}

struct Log {
    meta: LogMeta,
    owner: Option<String>,
    epoch: Epoch,
    events: Vec<StoredEvent>,
    keys: HashMap<AppendKey, EventId>,
    snapshot: Option<SnapshotRow>,
}

impl Log {
    fn head(&self) -> Head {
        match self.events.last() {
            Some(event) => Head { id: event.id, chain: event.chain, at: event.at },
            None => Head::before_first(self.meta),
        }
    }

    fn event(&self, id: EventId) -> Option<&StoredEvent> {
        self.events.get(usize::try_from(id.get()).ok()?.checked_sub(1)?)
    }
}

/// One store's end of a [`MemoryDisk`]: alive until dropped.
pub(crate) struct MemoryMedium {
    disk: MemoryDisk,
    me: OwnerId,
}

impl MemoryMedium {
    pub(crate) fn open(disk: MemoryDisk, model: &str, since: Timestamp) -> Result<Self, OpenError> {
        let me = OwnerId::random().map_err(|error| LogError::Io(error.to_string()))?;
        {
            let mut state = lock(&disk);
            let found = state.model.get_or_insert_with(|| model.to_owned());
            if found != model {
                return Err(OpenError::WrongModel { found: found.clone(), expected: model.to_owned() });
            }
            let info =
                OwnerInfo { id: me.as_str().to_owned(), process: std::process::id(), host: "memory".to_owned(), since };
            state.alive.insert(info.id.clone(), info);
        }
        Ok(Self { disk, me })
    }
}

impl MemoryMedium {
    /// Gives everything up. Others take this owner for dead from then on.
    pub(crate) fn release(&self) {
        lock(&self.disk).alive.remove(self.me.as_str());
    }
}

impl Drop for MemoryMedium {
    fn drop(&mut self) {
        self.release();
    }
}

impl Owners for MemoryMedium {
    fn me(&self) -> &OwnerId {
        &self.me
    }

    fn liveness(&self, id: &str) -> io::Result<Liveness> {
        Ok(lock(&self.disk).liveness(id))
    }
}

impl LogMedium for MemoryMedium {
    fn writer(&self) -> Result<Box<dyn EventLog>, LogError> {
        Ok(Box::new(MemoryLog { disk: self.disk.clone(), me: self.me.as_str().to_owned() }))
    }

    fn reader(&self) -> Result<Box<dyn LogReader>, LogError> {
        Ok(Box::new(MemoryReader { disk: self.disk.clone() }))
    }
}

struct MemoryLog {
    disk: MemoryDisk,
    me: String,
}

impl EventLog for MemoryLog {
    fn commit(&mut self, group: &[Write]) -> Result<Vec<Result<Written, Refusal>>, CommitError> {
        let mut disk = lock(&self.disk);
        group.iter().map(|write| disk.write(&self.me, write).map_err(CommitError::NotWritten)).collect()
    }

    fn chain_at(&mut self, log: LogKey, id: EventId) -> Result<Option<Chain>, LogError> {
        Ok(lock(&self.disk).logs.get(&log).and_then(|log| log.event(id)).map(|event| event.chain))
    }

    fn secure(&mut self) -> Result<(), LogError> {
        Ok(())
    }

    fn maintain(&mut self) -> Result<(), LogError> {
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<(), LogError> {
        Ok(())
    }
}

impl Disk {
    fn liveness(&self, id: &str) -> Liveness {
        self.alive.get(id).map_or(Liveness::Dead, |info| Liveness::Alive(info.clone()))
    }

    /// Who else owns a log, if it lives.
    fn living_owner(&self, me: &str, owner: Option<&str>) -> Option<OwnerInfo> {
        self.alive.get(owner.filter(|owner| *owner != me)?).cloned()
    }

    fn write(&mut self, me: &str, write: &Write) -> Result<Result<Written, Refusal>, LogError> {
        match write {
            Write::Register { session, at } => self.register(me, session, *at).map(Ok),
            Write::Fence { log, claim } => Ok(self.fence(me, *log, *claim)),
            Write::Append { log, epoch, after, events } => Ok(self.append(me, *log, *epoch, *after, events)),
            Write::Snapshot { log, epoch, row } => Ok(self.snapshot(me, *log, *epoch, row)),
            Write::Release { log, epoch } => {
                if let Some(log) = self.logs.get_mut(log)
                    && log.owner.as_deref() == Some(me)
                    && log.epoch == *epoch
                {
                    log.owner = None;
                }
                Ok(Ok(Written::Released))
            }
        }
    }

    fn snapshot(&mut self, me: &str, log: LogKey, epoch: Epoch, row: &SnapshotRow) -> Result<Written, Refusal> {
        let log = self.logs.get_mut(&log).ok_or(Refusal::UnknownLog)?;
        if log.owner.as_deref() != Some(me) || log.epoch != epoch {
            return Err(Refusal::Robbed);
        }
        if log.event(row.event).is_none_or(|event| event.chain != row.chain) {
            return Err(Refusal::HeadMoved { head: log.head().id });
        }
        let replaced = log.snapshot.replace(*row).map(|row| row.digest).filter(|digest| *digest != row.digest);
        Ok(Written::SnapshotIndexed { replaced })
    }

    fn register(&mut self, me: &str, session: &SessionId, at: Timestamp) -> Result<Written, LogError> {
        if let Some(log) = self.sessions.get(session).and_then(|(key, _)| self.logs.get(key)) {
            return Ok(Written::Registered { meta: log.meta, owned: None });
        }
        let mut log_id = [0; 16];
        getrandom::fill(&mut log_id).map_err(|error| LogError::Io(error.to_string()))?;
        let meta = LogMeta { key: LogKey(self.logs.len() as i64 + 1), log_id };
        let owned = Epoch(1);
        let log = Log {
            meta,
            owner: Some(me.to_owned()),
            epoch: owned,
            events: Vec::new(),
            keys: HashMap::new(),
            snapshot: None,
        };
        self.logs.insert(meta.key, log);
        self.sessions.insert(session.clone(), (meta.key, at));
        Ok(Written::Registered { meta, owned: Some(owned) })
    }

    fn fence(&mut self, me: &str, log: LogMeta, claim: Claim) -> Result<Written, Refusal> {
        let owner = self.logs.get(&log.key).ok_or(Refusal::UnknownLog)?.owner.clone();
        let mine = owner.as_deref() == Some(me);
        if claim == Claim::Yes
            && let Some(owner) = self.living_owner(me, owner.as_deref())
        {
            return Err(Refusal::Owned(owner));
        }
        let log = self.logs.get_mut(&log.key).ok_or(Refusal::UnknownLog)?;
        if claim != Claim::No && !mine {
            log.owner = Some(me.to_owned());
            log.epoch = Epoch(log.epoch.0 + 1);
        }
        Ok(Written::Fenced { head: log.head(), owned: (mine || claim != Claim::No).then_some(log.epoch) })
    }

    fn append(
        &mut self,
        me: &str,
        log: LogKey,
        epoch: Epoch,
        after: Chain,
        events: &[StoredEvent],
    ) -> Result<Written, Refusal> {
        let found = self.logs.get(&log).ok_or(Refusal::UnknownLog)?;
        if found.owner.as_deref() != Some(me) || found.epoch != epoch {
            return Err(self.living_owner(me, found.owner.as_deref()).map_or(Refusal::Robbed, Refusal::Owned));
        }
        let log = self.logs.get_mut(&log).ok_or(Refusal::UnknownLog)?;
        let head = log.head();
        if events.first().is_some_and(|event| event.id != head.id.next()) || after != head.chain {
            return Err(Refusal::HeadMoved { head: head.id });
        }
        if events.iter().filter_map(|event| event.key.as_ref()).any(|key| log.keys.contains_key(key)) {
            return Err(Refusal::KeyTaken);
        }
        for event in events {
            if let Some(key) = &event.key {
                log.keys.insert(key.clone(), event.id);
            }
            log.events.push(event.clone());
        }
        Ok(Written::Appended)
    }
}

struct MemoryReader {
    disk: MemoryDisk,
}

impl LogReader for MemoryReader {
    fn find(&mut self, session: &SessionId) -> Result<Option<LogMeta>, LogError> {
        let disk = lock(&self.disk);
        Ok(disk.sessions.get(session).and_then(|(key, _)| disk.logs.get(key)).map(|log| log.meta))
    }

    fn sessions(&mut self, after: Option<&SessionId>, max: usize) -> Result<Vec<SessionRow>, LogError> {
        let disk = lock(&self.disk);
        let row = |(session, (key, created)): (&SessionId, &(LogKey, Timestamp))| {
            let log = disk.logs.get(key)?;
            Some(SessionRow { session: session.clone(), meta: log.meta, created: *created, head: log.head().id })
        };
        let later = disk.sessions.iter().filter(|(session, _)| after.is_none_or(|after| *session > after));
        Ok(later.filter_map(row).take(max).collect())
    }

    fn page_into(
        &mut self,
        page: &mut StoredPage,
        log: LogKey,
        after: EventId,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<(), LogError> {
        let disk = lock(&self.disk);
        page.clear();
        let mut id = after.next();
        while page.len() < events_max
            && let Some(event) = disk.logs.get(&log).and_then(|log| log.event(id))
        {
            page.push(event.row());
            if page.record_bytes() >= bytes_max {
                break;
            }
            id = id.next();
        }
        Ok(())
    }

    fn find_key(&mut self, log: LogKey, key: &AppendKey) -> Result<Option<StoredEvent>, LogError> {
        let disk = lock(&self.disk);
        Ok(disk.logs.get(&log).and_then(|log| log.event(*log.keys.get(key)?)).cloned())
    }

    fn chain_at(&mut self, log: LogKey, id: EventId) -> Result<Option<Chain>, LogError> {
        Ok(lock(&self.disk).logs.get(&log).and_then(|log| log.event(id)).map(|event| event.chain))
    }

    fn snapshot(&mut self, log: LogKey) -> Result<Option<SnapshotRow>, LogError> {
        Ok(lock(&self.disk).logs.get(&log).and_then(|log| log.snapshot))
    }

    fn snapshots(&mut self, after: LogKey, max: usize) -> Result<Vec<(LogKey, Digest)>, LogError> {
        let disk = lock(&self.disk);
        let named = disk.logs.iter().filter_map(|(key, log)| Some((*key, log.snapshot?.digest)));
        let mut found: Vec<_> = named.filter(|(key, _)| *key > after).collect();
        found.sort_unstable_by_key(|(key, _)| *key);
        found.truncate(max);
        Ok(found)
    }

    fn audit(&mut self) -> &mut dyn LogAudit {
        self
    }
}

impl LogAudit for MemoryReader {
    fn structure(&mut self, _max: usize) -> Result<Vec<String>, LogError> {
        Ok(Vec::new())
    }

    fn sessions(&mut self, after: &[u8], max: usize) -> Result<Vec<AuditedSession>, LogError> {
        // It was one of the names.
        let after = std::str::from_utf8(after).ok().and_then(|name| SessionId::new(name).ok());
        let rows = LogReader::sessions(self, after.as_ref(), max)?;
        let audited = |row: SessionRow| AuditedSession { name: row.session.as_str().into(), row: Ok(row) };
        Ok(rows.into_iter().map(audited).collect())
    }

    fn events(
        &mut self,
        log: LogKey,
        after: EventId,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<AuditedEvent>, LogError> {
        let page = self.page(log, after, events_max, bytes_max)?;
        Ok(page.rows().map(|row| AuditedEvent { id: row.id, row: Ok(row.to_event()) }).collect())
    }
}

fn lock(disk: &MemoryDisk) -> MutexGuard<'_, Disk> {
    disk.log.lock().unwrap_or_else(PoisonError::into_inner)
}
