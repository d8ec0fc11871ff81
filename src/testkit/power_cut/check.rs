//! Whether a rebuilt disk keeps what was promised.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::marker::PhantomData;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::codec::{self, Chain};
use crate::id::{Digest, EventId, SessionId};
use crate::model::{SessionModel, apply_to};
use crate::port::Durability;
use crate::port::{Head, LogKey, LogMedium, LogReader, RedactedRecord, StoredEvent};
use crate::replay;
use crate::store::Store;
use crate::store::sweeping::Sweep;
use crate::testkit::disk::TestDisk;
use crate::testkit::journal::Image;
use crate::testkit::layered::layered;
use crate::testkit::power_cut::notes::Note;

const PAGE_EVENTS: usize = 1024;
const PAGE_BYTES: usize = 1 << 20;

/// What must be on a rebuilt disk, and what may be on it.
#[derive(Debug, Clone, Default)]
pub(super) struct Promised {
    logs: BTreeMap<LogKey, PromisedLog>,
    sessions: BTreeMap<SessionId, LogKey>,
    /// The last events of writes that were settled as not written.
    refused: HashSet<[u8; 32]>,
    blobs: BTreeSet<Digest>,
    /// Records that were redacted, and whether every byte of them must be gone before a store opens.
    redacted: Vec<(Arc<StoredEvent>, bool)>,
    /// The logs that may be gone, and whether they must be.
    deleted: BTreeMap<LogKey, bool>,
    /// Whether a sweep has removed blobs, or may have.
    has_swept: bool,
    /// How many events are acknowledged.
    pub(super) events: u64,
    /// A number that rises with each promise.
    pub(super) version: u64,
}

#[derive(Debug, Clone, Default)]
struct PromisedLog {
    /// The stamped events of each id. There may be several: after a refusal the same id is stamped again.
    stamped: BTreeMap<EventId, Vec<Arc<StoredEvent>>>,
    acknowledged: Option<(EventId, Chain)>,
}

impl Promised {
    pub(super) fn add(&mut self, note: &Note) {
        match note {
            Note::Stamped { log, events } => {
                let log = self.logs.entry(*log).or_default();
                for event in events {
                    log.stamped.entry(event.id).or_default().push(Arc::new(event.clone()));
                    // What was not written may be asked for again.
                    self.refused.remove(&event.chain.0);
                }
            }
            Note::Acknowledged { log, id, chain } => {
                let log = self.logs.entry(*log).or_default();
                let before = log.acknowledged.map_or(EventId::ZERO, |(id, _)| id);
                if *id > before {
                    log.acknowledged = Some((*id, *chain));
                    self.events += id.get() - before.get();
                    self.version += 1;
                }
            }
            Note::Refused { chain } => {
                self.refused.insert(chain.0);
                self.version += 1;
            }
            Note::Registered { session, log } => {
                self.sessions.insert(session.clone(), *log);
                self.version += 1;
            }
            Note::Deleting { log } => {
                self.deleted.entry(*log).or_default();
                self.version += 1;
            }
            Note::Deleted { log } => {
                self.deleted.insert(*log, true);
                self.version += 1;
            }
            Note::Redacting { log, records } => {
                let log = self.logs.entry(*log).or_default();
                for RedactedRecord { event, record } in records {
                    let stamped = log.stamped.entry(*event).or_default();
                    let redacted = stamped.first().map(|before| StoredEvent {
                        key: None,
                        record: record.clone(),
                        ..(**before).clone()
                    });
                    stamped.extend(redacted.map(Arc::new));
                }
                self.version += 1;
            }
            Note::Redacted { log, events } => {
                let log = self.logs.entry(*log).or_default();
                for event in events {
                    let stamped = log.stamped.entry(*event).or_default();
                    // What was stamped last is what is there now.
                    let now = stamped.pop();
                    self.redacted.extend(stamped.drain(..).map(|gone| (gone, false)));
                    stamped.extend(now);
                }
                self.version += 1;
            }
            Note::Erased => {
                self.redacted.iter_mut().for_each(|(_, must)| *must = true);
                self.version += 1;
            }
            Note::Done => self.version += 1,
            Note::Stored { digest } => {
                self.blobs.insert(*digest);
                self.version += 1;
            }
            Note::Swept { blobs } => {
                for digest in blobs {
                    self.blobs.remove(digest);
                }
                self.has_swept = true;
                self.version += 1;
            }
        }
    }
}

impl Promised {
    /// What must be in no file, even before a store opens.
    fn erased(&self) -> impl Iterator<Item = &Arc<StoredEvent>> {
        self.redacted.iter().filter(|(_, must)| *must).map(|(event, _)| event)
    }

    /// What must be in no file once a store has erased what was left.
    fn gone(&self) -> impl Iterator<Item = &Arc<StoredEvent>> {
        let deleted = self.deleted.iter().filter(|(_, must)| **must).filter_map(|(log, _)| self.logs.get(log));
        let redacted = self.redacted.iter().map(|(event, _)| event);
        deleted.flat_map(|log| log.stamped.values().flatten()).chain(redacted)
    }
}

pub(super) struct Check<M: SessionModel> {
    pub(super) probe: M::Body,
    pub(super) durability: Durability,
    pub(super) model: PhantomData<M>,
}

/// What was found on a rebuilt disk on which nothing is wrong.
#[derive(Default)]
pub(super) struct ImageFindings {
    /// How many acknowledged events are gone, where that is allowed.
    pub(super) given_up: u64,
    pub(super) snapshot_fallbacks: u64,
    /// The files that a person is told of, since they may hold anything.
    copies: Vec<String>,
}

impl<M: SessionModel> Check<M> {
    /// Checks a rebuilt disk. The error says what is wrong.
    pub(super) fn run(&self, image: &Image, promised: &Promised) -> Result<ImageFindings, String> {
        let disk = TestDisk::volatile().map_err(|error| error.to_string())?;
        image.write_to(disk.path()).map_err(|error| format!("the disk cannot be rebuilt: {error}"))?;
        no_byte_of(disk.path(), promised.erased(), &[]).map_err(|error| format!("before a store opens: {error}"))?;
        let found = futures::executor::block_on(self.open_and_look(&disk, promised))?;
        no_byte_of(disk.path(), promised.gone(), &found.copies)?;
        Ok(found)
    }

    async fn open_and_look(&self, disk: &TestDisk, promised: &Promised) -> Result<ImageFindings, String> {
        let medium: Arc<Mutex<Option<Arc<dyn LogMedium>>>> = Arc::default();
        let mut config = disk.config();
        let seen = Arc::clone(&medium);
        config.medium = layered(config.medium, move |opened| {
            *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&opened.log));
            opened
        });
        let store =
            Store::<M>::open_model(config).await.map_err(|error| format!("the store does not open: {error}"))?;
        let medium = medium.lock().unwrap_or_else(PoisonError::into_inner).take();
        let looked = match medium {
            Some(medium) => self.look(&store, &*medium, promised).await,
            None => Err("the store opened no log".to_owned()),
        };
        let closed = store.close().await.map_err(|error| format!("the store does not close: {error}"));
        let snapshot_fallbacks = store.stats().snapshot_fallbacks;
        let (given_up, copies) = looked?;
        closed.map(|()| ImageFindings { given_up, snapshot_fallbacks, copies })
    }

    async fn look(
        &self,
        store: &Store<M>,
        medium: &dyn LogMedium,
        promised: &Promised,
    ) -> Result<(u64, Vec<String>), String> {
        let mut reader = medium.reader().map_err(|error| error.to_string())?;
        let rows = reader.sessions(None, usize::MAX >> 1).map_err(|error| format!("no list of sessions: {error}"))?;
        let mut given_up = 0;
        let mut found = BTreeSet::new();
        for row in rows {
            let name = row.session.clone();
            let of = |what: String| format!("session {name}: {what}");
            if promised.deleted.get(&row.meta.key) == Some(&true) {
                return Err(of("it was deleted, and is back".to_owned()));
            }
            let known = promised.sessions.get(&row.session).filter(|log| !promised.deleted.contains_key(log));
            if known.is_some_and(|log| *log != row.meta.key) {
                return Err(of("it has another log".to_owned()));
            }
            let none = PromisedLog::default();
            let log = promised.logs.get(&row.meta.key).unwrap_or(&none);
            let head = row.meta.base;
            let events = all_events(&mut *reader, &row.session, row.meta.key, head).map_err(of)?;
            let stamped = |event: &StoredEvent| {
                log.stamped.get(&event.id).is_some_and(|stamped| stamped.iter().any(|stamped| is_same(stamped, event)))
            };
            if let Some(event) = events.iter().find(|event| !stamped(event)) {
                return Err(of(format!("event {} is not one that was stamped", event.id)));
            }
            if let Some(event) = events.iter().find(|event| promised.refused.contains(&event.chain.0)) {
                return Err(of(format!("event {} was settled as not written, and is there", event.id)));
            }
            if let Some((id, chain)) = log.acknowledged {
                let head = events.last().map_or(EventId::ZERO, |event| event.id);
                if head < id {
                    given_up += id.get() - head.get();
                } else if !events.iter().any(|event| event.id == id && event.chain == chain) {
                    return Err(of(format!("acknowledged event {id} is another one")));
                }
            }
            self.view_and_append(store, &row.session, &events).await.map_err(of)?;
            found.insert(row.meta.key);
        }
        for (session, log) in &promised.sessions {
            if !found.contains(log) && !promised.deleted.contains_key(log) {
                let acknowledged = promised.logs.get(log).and_then(|log| log.acknowledged);
                given_up += acknowledged.map_or(0, |(id, _)| id.get());
                if self.durability == Durability::PowerLoss {
                    return Err(format!("session {session} is gone"));
                }
            }
        }
        if given_up > 0 && self.durability == Durability::PowerLoss {
            return Err(format!("{given_up} acknowledged events are gone"));
        }
        let erased = store.erase_deleted().await.map_err(|error| format!("what was deleted stays: {error}"))?;
        if erased.pending > 0 {
            return Err(format!("of {} sessions bytes stay that were deleted or redacted", erased.pending));
        }
        for digest in &promised.blobs {
            store.get_bytes(*digest).await.map_err(|error| format!("blob {digest}: {error}"))?;
        }
        let found = store.verify().await.map_err(|error| format!("it cannot be verified: {error}"))?;
        match found.problems.first() {
            Some(problem) => return Err(problem.to_string()),
            None if promised.has_swept => self.sweep_again(store).await?,
            None => {}
        }
        Ok((given_up, erased.copies))
    }

    /// Another sweep ends what the one that was cut off has left, and takes nothing that an event names.
    async fn sweep_again(&self, store: &Store<M>) -> Result<(), String> {
        let sweep = Sweep::default().grace(Duration::ZERO);
        store.sweep(sweep).await.map_err(|error| format!("it cannot be swept: {error}"))?;
        let found = store.verify().await.map_err(|error| format!("it cannot be verified after a sweep: {error}"))?;
        match found.problems.first() {
            Some(problem) => Err(format!("after another sweep: {problem}")),
            None if found.orphans > 0 => Err(format!("another sweep leaves {} blobs", found.orphans)),
            None => Ok(()),
        }
    }

    async fn view_and_append(&self, store: &Store<M>, id: &SessionId, events: &[StoredEvent]) -> Result<(), String> {
        let (mut state, mut core) = (M::View::default(), Arc::default());
        for stored in events {
            let event = replay::decode::<M>(id, stored.row()).map_err(|error| error.to_string())?;
            apply_to(&mut state, &mut core, &event);
        }
        let text = |error: crate::Error| error.to_string();
        let session = store.resume_session(id.as_str()).await.map_err(|error| format!("it does not open: {error}"))?;
        let head = events.last().map_or(EventId::ZERO, |event| event.id);
        let view = session.view().map_err(|error| format!("its view cannot be read: {error}"))?;
        if view.head() != head || *view.state() != state || *view.core() != core {
            return Err(format!("its view is not the fold of its {head} events"));
        }
        let receipt = session.append(self.probe.clone()).map_err(text)?;
        let appended = receipt.await.map_err(|error| format!("it takes no append: {error}"))?;
        if appended.head != head.next() {
            return Err(format!("an append after event {head} became event {}", appended.head));
        }
        Ok(())
    }
}

/// Whether an event that was found is one that was stamped. A redacted record may have zeros at its end.
fn is_same(stamped: &StoredEvent, found: &StoredEvent) -> bool {
    let redacted = codec::redacted_digest(&found.record);
    let is_record =
        stamped.record == found.record || redacted.is_some() && redacted == codec::redacted_digest(&stamped.record);
    let record = Vec::new();
    is_record && StoredEvent { record: record.clone(), ..stamped.clone() } == StoredEvent { record, ..found.clone() }
}

/// Searches every file for records that are gone. Each has random bytes near its beginning.
fn no_byte_of<'a>(
    directory: &Path,
    gone: impl Iterator<Item = &'a Arc<StoredEvent>>,
    copies: &[String],
) -> Result<(), String> {
    const BYTES: usize = 24;
    // What a record begins with, to search quickly.
    const FORMATS: [u8; 2] = [1, 2];
    // A record that was redacted once more begins as the one in its place does.
    let gone = gone.filter(|event| !codec::is_redacted(&event.record));
    let records: HashSet<[u8; BYTES]> = gone.filter_map(|event| event.record.first_chunk()).copied().collect();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop().filter(|_| !records.is_empty()) {
        for entry in std::fs::read_dir(&directory).map_err(|error| error.to_string())? {
            let path = entry.map_err(|error| error.to_string())?.path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            if path.file_name().is_some_and(|name| copies.iter().any(|copy| name == copy.as_str())) {
                continue;
            }
            let bytes = std::fs::read(&path).map_err(|error| error.to_string())?;
            let is_found = bytes
                .windows(BYTES)
                .any(|window| window.first().is_some_and(|byte| FORMATS.contains(byte)) && records.contains(window));
            if is_found {
                return Err(format!("{} has bytes of what was deleted or redacted", path.display()));
            }
        }
    }
    Ok(())
}

/// All events of a log, each checked against the one before.
fn all_events(
    reader: &mut dyn LogReader,
    session: &SessionId,
    log: LogKey,
    mut head: Head,
) -> Result<Vec<StoredEvent>, String> {
    let mut events = Vec::new();
    loop {
        let page = reader.page(log, head.id, PAGE_EVENTS, PAGE_BYTES).map_err(|error| error.to_string())?;
        if page.is_empty() {
            return Ok(events);
        }
        for event in page.to_events() {
            replay::check(session, &head, event.row()).map_err(|error| error.to_string())?;
            head = Head { id: event.id, chain: event.chain, at: event.at };
            events.push(event);
        }
    }
}
