//! The promises that a store makes to a scenario, noted in the record between the operations that they rest on.

use std::sync::{Arc, Mutex, PoisonError};

use crate::codec::Chain;
use crate::id::{Digest, EventId, SessionId};
use crate::port::{
    BlobError, BlobListing, BlobLook, BlobStore, CommitError, EventLog, LogError, LogKey, LogMedium, LogReader,
    LogRedaction, LogSource, Put, RedactedRecord, Refusal, Settled, SettledAs, StoredEvent, SweepCount, SweepStep,
    Upkeep, UpkeepLeft, UpkeepMoment, Write, Written,
};
use crate::testkit::disk::TestDisk;
use crate::testkit::journal::JournalEntry;

#[derive(Debug, Clone)]
pub(super) enum Note {
    /// These events may be in the log from now on.
    Stamped {
        log: LogKey,
        events: Vec<StoredEvent>,
    },
    /// Everything up to the event with this chain is acknowledged from now on.
    Acknowledged {
        log: LogKey,
        id: EventId,
        chain: Chain,
    },
    /// The event with this chain is not in the log, and never comes to be there.
    Refused {
        chain: Chain,
    },
    Registered {
        session: SessionId,
        log: LogKey,
    },
    Stored {
        digest: Digest,
    },
    /// The session may be gone from now on.
    Deleting {
        log: LogKey,
    },
    /// The session is gone from now on.
    Deleted {
        log: LogKey,
    },
    /// These records may be in the places of others from now on.
    Redacting {
        log: LogKey,
        records: Vec<RedactedRecord>,
    },
    /// The records of these events are redacted from now on.
    Redacted {
        log: LogKey,
        events: Vec<EventId>,
    },
    /// No byte is left of what was redacted so far.
    Erased,
    /// These blobs may be gone from now on.
    Swept {
        blobs: Vec<Digest>,
    },
    /// A step of the scenario is done.
    Done,
}

#[derive(Debug)]
pub(super) struct Notes {
    disk: TestDisk,
    notes: Mutex<Vec<Note>>,
}

impl Notes {
    pub(super) fn new(disk: TestDisk) -> Self {
        Self { disk, notes: Mutex::default() }
    }

    pub(super) fn add(&self, note: Note) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.push(note);
        self.disk.note(JournalEntry::Note(notes.len() - 1));
    }

    fn redacted(&self, redaction: &LogRedaction) {
        let events = redaction.records.iter().map(|record| record.event).collect();
        self.add(Note::Redacted { log: redaction.log, events });
    }

    pub(super) fn with<T>(&self, number: usize, read: impl FnOnce(&Note) -> T) -> Option<T> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).get(number).map(read)
    }

    pub(super) fn blobs(self: &Arc<Self>, inner: Arc<dyn BlobStore>) -> Arc<dyn BlobStore> {
        Arc::new(NotedBlobs { inner, notes: Arc::clone(self) })
    }
}

pub(super) struct NotedLog {
    medium: Arc<dyn LogMedium>,
    notes: Arc<Notes>,
}

impl NotedLog {
    pub(super) fn new(medium: Arc<dyn LogMedium>, notes: Arc<Notes>) -> Self {
        Self { medium, notes }
    }
}

impl LogSource for NotedLog {
    fn reader(&self) -> Result<Box<dyn LogReader>, LogError> {
        self.medium.reader()
    }
}

impl LogMedium for NotedLog {
    fn writer(&self) -> Result<Box<dyn EventLog>, LogError> {
        Ok(Box::new(NotedWriter { inner: self.medium.writer()?, notes: Arc::clone(&self.notes) }))
    }

    fn upkeep(&self) -> Upkeep {
        self.medium.upkeep()
    }
}

struct NotedWriter {
    inner: Box<dyn EventLog>,
    notes: Arc<Notes>,
}

impl EventLog for NotedWriter {
    fn commit(&mut self, group: &[Write]) -> Result<Vec<Result<Written, Refusal>>, CommitError> {
        for write in group {
            match write {
                Write::Append { log, events, .. } => {
                    self.notes.add(Note::Stamped { log: *log, events: events.clone() });
                }
                Write::Redact(redaction) => {
                    self.notes.add(Note::Stamped { log: redaction.log, events: vec![redaction.event.clone()] });
                    let (log, records) = (redaction.log, redaction.records.clone());
                    self.notes.add(Note::Redacting { log, records });
                }
                Write::Delete { log, .. } => self.notes.add(Note::Deleting { log: *log }),
                Write::Sweep(SweepStep::Remove { blobs, .. }) => self.notes.add(Note::Swept { blobs: blobs.clone() }),
                _ => {}
            }
        }
        let answers = self.inner.commit(group)?;
        // The acknowledgements go out after this call returns: what counts from here on is more than the host knows of.
        for (write, answer) in group.iter().zip(&answers) {
            match (write, answer) {
                (Write::Append { log, events, .. }, Ok(Written::Appended { .. })) => {
                    if let Some(last) = events.last() {
                        self.notes.add(Note::Acknowledged { log: *log, id: last.id, chain: last.chain });
                    }
                }
                (Write::Redact(redaction), Ok(Written::Appended { .. })) => {
                    let (log, last) = (redaction.log, &redaction.event);
                    self.notes.add(Note::Acknowledged { log, id: last.id, chain: last.chain });
                    self.notes.redacted(redaction);
                }
                (Write::Register { session, .. }, Ok(Written::Registered { meta, .. })) => {
                    self.notes.add(Note::Registered { session: session.clone(), log: meta.key });
                }
                (Write::Delete { log, .. }, Ok(Written::Deleted)) => self.notes.add(Note::Deleted { log: *log }),
                _ => {}
            }
        }
        Ok(answers)
    }

    fn settle(&mut self, group: &[Write]) -> Result<Vec<Settled>, LogError> {
        let settled = self.inner.settle(group)?;
        for (write, settled) in group.iter().zip(&settled) {
            match (&settled.outcome, write.proof()) {
                (SettledAs::Written, Some((log, id, chain))) => {
                    self.notes.add(Note::Acknowledged { log, id, chain });
                    if let Write::Redact(redaction) = write {
                        self.notes.redacted(redaction);
                    }
                }
                (SettledAs::NotWritten, Some((_, _, chain))) => self.notes.add(Note::Refused { chain }),
                _ => {}
            }
        }
        Ok(settled)
    }

    fn upkeep(&mut self, moment: UpkeepMoment) -> Result<UpkeepLeft, LogError> {
        let before = self.inner.left();
        let left = self.inner.upkeep(moment)?;
        if before != UpkeepLeft::Nothing && left == UpkeepLeft::Nothing {
            self.notes.add(Note::Erased);
        }
        Ok(left)
    }

    fn left(&self) -> UpkeepLeft {
        self.inner.left()
    }

    fn redactions_left(&self) -> UpkeepLeft {
        self.inner.redactions_left()
    }

    fn close(self: Box<Self>) -> Result<(), LogError> {
        self.inner.close()
    }
}

struct NotedBlobs {
    inner: Arc<dyn BlobStore>,
    notes: Arc<Notes>,
}

impl BlobStore for NotedBlobs {
    fn put(&self, bytes: &[u8]) -> Result<Put, BlobError> {
        let put = self.inner.put(bytes)?;
        self.notes.add(Note::Stored { digest: put.digest });
        Ok(put)
    }

    fn get(&self, digest: &Digest) -> Result<Vec<u8>, BlobError> {
        self.inner.get(digest)
    }

    fn ensure_durable(&self, digest: &Digest, bytes: u64) -> Result<bool, BlobError> {
        let found = self.inner.ensure_durable(digest, bytes)?;
        if found {
            self.notes.add(Note::Stored { digest: *digest });
        }
        Ok(found)
    }

    fn is_known_durable(&self, digest: &Digest, bytes: u64) -> bool {
        self.inner.is_known_durable(digest, bytes)
    }

    fn inspect(&self, digest: &Digest) -> Result<u64, BlobError> {
        self.inner.inspect(digest)
    }

    fn remove(&self, digest: &Digest) -> Result<(), BlobError> {
        self.inner.remove(digest)
    }

    fn forget(&self, digest: &Digest) {
        self.inner.forget(digest);
    }

    fn look(&self, digest: &Digest) -> Result<Option<BlobLook>, BlobError> {
        self.inner.look(digest)
    }

    fn sweeps_seen(&self) -> Option<SweepCount> {
        self.inner.sweeps_seen()
    }

    fn see_sweeps(&self, count: SweepCount) {
        self.inner.see_sweeps(count);
    }

    fn list(&self, first: u8) -> Result<BlobListing, BlobError> {
        self.inner.list(first)
    }

    fn rescan(&self) -> Result<(), BlobError> {
        self.inner.rescan()
    }

    fn concurrency(&self) -> usize {
        self.inner.concurrency()
    }
}
