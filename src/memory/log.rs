//! The ends of a log in memory.

use std::collections::HashMap;
use std::ops::Bound;
use std::sync::PoisonError;

use super::disk::{MemoryDisk, NamedLog};
use crate::codec::Chain;
use crate::error::OwnerInfo;
use crate::id::{AppendKey, Digest, EventId, SessionId};
use crate::port::{
    AuditedEvent, AuditedSession, CommitError, Erasing, EventLog, FeedPage, FeedPlace, Head, Listing, LogAudit,
    LogError, LogKey, LogMeta, LogReader, LogVersion, Position, Refusal, ScannedPage, SessionRow, Settled, SnapshotRow,
    Standing, StoredEvent, StoredPage, SweepMark, UpkeepLeft, UpkeepMoment, Write, Written,
};

pub(super) struct MemoryLog {
    pub(super) disk: MemoryDisk,
    pub(super) me: String,
}

impl EventLog for MemoryLog {
    fn commit(&mut self, group: &[Write]) -> Result<Vec<Result<Written, Refusal>>, CommitError> {
        let mut disk = self.disk.lock();
        let write = |write: &Write| {
            let voids_view = match write {
                Write::Delete { log, .. } => Some(*log),
                Write::Redact(redaction) => Some(redaction.log),
                _ => None,
            };
            let view = voids_view.and_then(|log| disk.logs.get(&log)?.snapshot);
            let answer = disk.write(&self.me, &self.disk.blobs, write);
            if let (Some(view), Ok(_)) = (view, &answer) {
                self.disk.snapshots.lock().unwrap_or_else(PoisonError::into_inner).remove(&view.digest);
            }
            answer
        };
        let answers = group.iter().map(write).collect();
        disk.groups += 1;
        Ok(answers)
    }

    fn settle(&mut self, group: &[Write]) -> Result<Vec<Settled>, LogError> {
        let disk = self.disk.lock();
        let settled = |write| Settled::by_proof(write, |log, id| Ok(disk.chain_at(log, id)));
        Ok(group.iter().map(settled).collect())
    }

    fn upkeep(&mut self, _: UpkeepMoment) -> Result<UpkeepLeft, LogError> {
        Ok(UpkeepLeft::Nothing)
    }

    fn left(&self) -> UpkeepLeft {
        UpkeepLeft::Nothing
    }

    fn redactions_left(&self) -> UpkeepLeft {
        UpkeepLeft::Nothing
    }

    fn close(self: Box<Self>) -> Result<(), LogError> {
        Ok(())
    }
}

pub(super) struct MemoryReader {
    pub(super) disk: MemoryDisk,
}

impl LogReader for MemoryReader {
    fn find(&mut self, session: &SessionId) -> Result<Option<LogMeta>, LogError> {
        let disk = self.disk.lock();
        Ok(disk.sessions.get(session).and_then(|named| disk.logs.get(&named.log)).map(|log| log.meta))
    }

    fn sessions(&mut self, after: Option<&SessionId>, max: usize) -> Result<Vec<SessionRow>, LogError> {
        let disk = self.disk.lock();
        let row = |(session, named): (&SessionId, &NamedLog)| {
            let log = disk.logs.get(&named.log)?;
            Some(SessionRow {
                session: session.clone(),
                meta: log.meta,
                created: named.created,
                head: log.head().id,
                core: Some((*named.core).clone()),
            })
        };
        let later = disk.sessions.range((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded));
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
        let disk = self.disk.lock();
        page.clear();
        let log = disk.log(log)?;
        let mut id = after.next();
        while page.len() < events_max
            && let Some(event) = log.event(id)
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
        let disk = self.disk.lock();
        let log = disk.log(log)?;
        Ok(log.event_with(key).cloned())
    }

    fn head(&mut self, log: LogMeta) -> Result<Head, LogError> {
        Ok(self.disk.lock().log(log.key)?.head())
    }

    fn record_bytes(&mut self, log: LogKey, after: EventId, events_max: usize) -> Result<(EventId, u64), LogError> {
        let page = self.page(log, after, events_max, usize::MAX)?;
        Ok((page.last_id().unwrap_or(after), page.record_bytes() as u64))
    }

    fn living_owner(&mut self, log: LogKey) -> Result<Option<OwnerInfo>, LogError> {
        let disk = self.disk.lock();
        let owner = disk.log(log)?.owner();
        Ok(owner.and_then(|owner| disk.alive.get(owner).cloned()))
    }

    fn chain_at(&mut self, log: LogKey, id: EventId) -> Result<Option<Chain>, LogError> {
        Ok(self.disk.lock().log(log)?.event(id).map(|event| event.chain))
    }

    fn redactions(&mut self, log: LogKey) -> Result<u64, LogError> {
        Ok(self.disk.lock().log(log)?.redactions)
    }

    fn redacted_logs(&mut self) -> Result<HashMap<LogKey, u64>, LogError> {
        let disk = self.disk.lock();
        let redacted = disk.logs.iter().filter(|(_, log)| log.redactions > 0);
        Ok(redacted.map(|(key, log)| (*key, log.redactions)).collect())
    }

    fn snapshot(&mut self, log: LogKey) -> Result<Option<SnapshotRow>, LogError> {
        Ok(self.disk.lock().logs.get(&log).and_then(|log| log.snapshot))
    }

    fn snapshots(&mut self, after: LogKey, max: usize) -> Result<Vec<(LogKey, Digest)>, LogError> {
        let disk = self.disk.lock();
        let named = disk.logs.iter().filter_map(|(key, log)| Some((*key, log.snapshot?.digest)));
        let mut found: Vec<_> = named.filter(|(key, _)| *key > after).collect();
        found.sort_unstable_by_key(|(key, _)| *key);
        found.truncate(max);
        Ok(found)
    }

    fn scan(
        &mut self,
        page: &mut ScannedPage,
        after: Position,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<Option<Position>, LogError> {
        Ok(self.disk.lock().scan(page, after, events_max, bytes_max))
    }

    fn feed(
        &mut self,
        page: &mut FeedPage,
        after: FeedPlace,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<(), LogError> {
        self.disk.lock().feed(page, after, events_max, bytes_max);
        Ok(())
    }

    fn version(&mut self) -> Result<LogVersion, LogError> {
        Ok(LogVersion { opened: 0, version: self.disk.lock().groups })
    }

    fn cursor(&mut self, name: &str) -> Result<Option<String>, LogError> {
        Ok(self.disk.lock().cursors.get(name).cloned())
    }

    fn cursors(&mut self, after: &str, max: usize) -> Result<Vec<(String, String)>, LogError> {
        let disk = self.disk.lock();
        let later = disk.cursors.range::<str, _>((Bound::Excluded(after), Bound::Unbounded));
        Ok(later.take(max).map(|(name, position)| (name.clone(), position.clone())).collect())
    }

    fn sweep_mark(&mut self, digest: &Digest) -> Result<SweepMark, LogError> {
        Ok(self.disk.lock().swept.mark(digest))
    }

    fn listed_blobs(&mut self, after: Option<&Digest>, max: usize) -> Result<Vec<(Digest, Listing)>, LogError> {
        Ok(self.disk.lock().swept.listed(after, max))
    }

    fn standing(&mut self) -> Result<Standing, LogError> {
        let disk = self.disk.lock();
        Ok(Standing { store: disk.id, end: disk.end(), deletions: disk.deletion() })
    }

    fn erasing(&mut self) -> Result<Erasing, LogError> {
        let disk = self.disk.lock();
        Ok(Erasing { bytes: disk.logs.values().map(|log| log.record_bytes()).sum(), ..Erasing::default() })
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
        // `after` is a name that this function has given before, so it is a session id.
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
