//! Checks everything that is stored: [`Store::verify`].

use std::collections::HashMap;
use std::sync::Arc;

use crate::codec;
use crate::error::{Error, ErrorKind};
use crate::id::{BlobRef, Digest, EventId, SessionId};
use crate::model::SessionModel;
use crate::port::{AuditedSession, BlobStore, LogError, LogKey, LogReader, SessionRow};
use crate::replay::LogCheck;
use crate::replay::{SnapshotStore, StoredView};
use crate::store::Store;
use crate::store::verification::{Problem, Verification};
use crate::threads::Readers;

/// The most record bytes in one page.
const PAGE_BYTES_MAX: usize = 1 << 20;
/// The most sentences about the database itself.
const STRUCTURE_MAX: usize = 100;

/// The blobs that were looked at, with their lengths; `None` for a blob that is missing or damaged.
type Inspected = HashMap<Digest, Option<u64>>;

impl<M: SessionModel> Store<M> {
    /// Reads everything that is stored and tells what is wrong with it: the database's own structure, each event of
    /// each session (ids, chain, record, type, time, append key), its title and labels, each reference, each blob file,
    /// each stored view. It repairs nothing. The search goes on after a problem, and in the same session too if more of
    /// its log can be read.
    ///
    /// The search runs on reader threads, a page or a blob at a time, beside everything else that the store does: no
    /// commit waits for it. Events that are appended meanwhile may be left out. SQLite's check of its structure is one
    /// read of the whole database; until that has ended, the write-ahead log cannot be started anew, and grows.
    ///
    /// The search cannot see: the end of a log that was cut off cleanly, between two appends, or lost with a damaged
    /// write-ahead log ([`Store::wal_damage`] tells of it); a session that was renamed; an event's type, if the event
    /// is of another schema than this build's.
    ///
    /// # Errors
    /// [`ErrorKind::StoreClosed`]; [`ErrorKind::Busy`] when the queue of reads is full. Damage is no error of this
    /// call.
    ///
    /// # Cancellation
    /// Dropping the future ends the search after the page that is being read.
    ///
    /// # Examples
    /// ```
    /// # use foldlog::{Store, StoreConfig};
    /// # fn main() -> Result<(), foldlog::Error> { futures::executor::block_on(async {
    /// # let store = Store::open(StoreConfig::memory()).await?;
    /// let verification = store.verify().await?;
    /// println!("{verification}");
    /// for problem in &verification.problems {
    ///     eprintln!("{problem}");
    /// }
    /// assert!(verification.is_sound());
    /// # store.close().await }) }
    /// ```
    pub async fn verify(&self) -> Result<Verification, Error> {
        let services = &self.0.services;
        services.check_open()?;
        let verifier = Verifier {
            readers: &services.readers,
            blobs: &services.blobs,
            snapshots: &services.snapshots.store,
            page_events_max: services.config.page_events_max,
        };
        verifier.run::<M>(&mut |_| ()).await
    }
}

/// What a verification reads, and how.
pub(super) struct Verifier<'a> {
    pub(super) readers: &'a Readers,
    pub(super) blobs: &'a Arc<dyn BlobStore>,
    pub(super) snapshots: &'a SnapshotStore,
    pub(super) page_events_max: usize,
}

impl Verifier<'_> {
    /// Tells `progress` what was found until now, after each page of events and each shelf of blobs.
    pub(super) async fn run<M: SessionModel>(
        &self,
        progress: &mut (dyn FnMut(&Verification) + Send),
    ) -> Result<Verification, Error> {
        let mut found = Verification::default();
        let mut inspected = Inspected::new();
        let structure = self.readers.read(|reader| Ok(reader.audit().structure(STRUCTURE_MAX)?)).await;
        for reason in hear(&mut found, structure)?.unwrap_or_default() {
            found.report(Problem::of_store(ErrorKind::CorruptStore { reason }.into()));
        }
        let max = self.page_events_max;
        let mut after = Vec::new();
        loop {
            let page = std::mem::take(&mut after);
            let read = self.readers.read(move |reader| Ok(reader.audit().sessions(&page, max)?)).await;
            let names = hear(&mut found, read)?.unwrap_or_default();
            let Some(last) = names.last() else { break };
            after.clone_from(&last.name);
            for AuditedSession { name, row } in names {
                found.sessions += 1;
                match row {
                    Ok(row) => self.verify_session::<M>(row, &mut found, &mut inspected, progress).await?,
                    Err(error) => found.report(unreadable(&name, &error)),
                }
            }
        }
        self.verify_blobs(&mut found, &mut inspected, progress).await?;
        Ok(found)
    }

    async fn verify_session<M: SessionModel>(
        &self,
        row: SessionRow,
        found: &mut Verification,
        inspected: &mut Inspected,
        progress: &mut (dyn FnMut(&Verification) + Send),
    ) -> Result<(), Error> {
        let SessionRow { session, meta, head, core: listed, .. } = row;
        let max = self.page_events_max;
        // Looked at together with the first page: most sessions have no second one.
        let mut snapshots = Some(self.snapshots.clone());
        let mut check = LogCheck::<M>::new(session.clone(), meta, head);
        loop {
            let after = check.head();
            let snapshots = snapshots.take();
            let read = self.readers.read(move |reader| {
                let stored_view = snapshots.map(|snapshots| snapshots.verify::<M>(reader, &meta));
                let page = reader.audit().events(meta.key, after, max, PAGE_BYTES_MAX).map(|rows| {
                    let bytes =
                        rows.iter().filter_map(|found| found.row.as_ref().ok()).map(|row| row.record.len() as u64);
                    let sizes = (rows.len() as u64, bytes.sum::<u64>());
                    let page: Vec<_> = rows.into_iter().map(|row| (row.id, check.event(row))).collect();
                    (check, sizes, page)
                });
                Ok((stored_view, page))
            });
            let (stored_view, page) = match read.await {
                Ok(read) => read,
                Err(error) if is_of_the_call(&error) => return Err(error),
                Err(error) => {
                    found.report(Problem::of_session(session, Some(after.next()), error));
                    return Ok(());
                }
            };
            if let Err(LogError::Deleted) = page {
                // Just now.
                found.sessions -= 1;
                return Ok(());
            }
            if let Some(stored_view) = stored_view {
                note_stored_view(found, &session, stored_view);
            }
            let (checked, (events, bytes), page) = match page {
                Ok(page) => page,
                Err(error) => {
                    let error = error.of_session(&session);
                    found.report(Problem::of_session(session, Some(after.next()), error));
                    return Ok(());
                }
            };
            check = checked;
            found.events += events;
            found.record_bytes += bytes;
            let mut refs = Vec::new();
            for (id, checked) in page {
                for (event, error) in checked.problems {
                    found.report(Problem::of_session(session.clone(), Some(event), error));
                }
                refs.extend(checked.refs.into_iter().map(|blob| (id, blob)));
            }
            for (event, blob) in refs {
                if let Some(error) = self.verify_reference(event, &session, meta.key, blob, inspected).await? {
                    if let ErrorKind::SessionDeleted { .. } = error.kind() {
                        found.sessions -= 1;
                        return Ok(());
                    }
                    found.report(Problem {
                        session: Some(session.clone()),
                        event: Some(event),
                        digest: Some(blob.digest),
                        error,
                    });
                }
            }
            progress(found);
            // A page that has room for more says that there is no more.
            if (events as usize) < max && bytes < PAGE_BYTES_MAX as u64 {
                break;
            }
        }
        found.redacted += check.redacted();
        if let Some((event, error)) = check.end(head) {
            found.report(Problem::of_session(session, Some(event), error));
            return Ok(());
        }
        for (event, error) in check.redactions(head) {
            found.report(Problem::of_session(session.clone(), Some(event), error));
        }
        let reason = match (listed, check.core()) {
            (None, _) => format!("the title or labels of session {session} cannot be read in the list of sessions"),
            (Some(listed), Some(core)) if listed != **core => {
                format!("the title or labels of session {session} in the list of sessions are not those of its events")
            }
            _ => return Ok(()),
        };
        found.report(Problem::of_session(session, None, ErrorKind::CorruptStore { reason }.into()));
        Ok(())
    }

    async fn verify_reference(
        &self,
        event: EventId,
        session: &SessionId,
        log: LogKey,
        blob: BlobRef,
        inspected: &mut Inspected,
    ) -> Result<Option<Error>, Error> {
        let length = match inspected.get(&blob.digest) {
            Some(length) => *length,
            None => match self.inspect(blob.digest).await {
                Ok(length) => *inspected.entry(blob.digest).or_insert(Some(length)),
                Err(error) if is_of_the_call(&error) => return Err(error),
                Err(error) => {
                    if let ErrorKind::UnknownBlob { .. } = error.kind() {
                        match self.names(session, log, event, blob.digest).await {
                            Ok(true) => {}
                            Ok(false) => return Ok(None),
                            Err(error) if is_of_the_call(&error) => return Err(error),
                            Err(error) => return Ok(Some(error)),
                        }
                    }
                    inspected.insert(blob.digest, None);
                    return Ok(Some(error));
                }
            },
        };
        Ok(length.filter(|length| *length != blob.bytes).map(|length| {
            let reason = format!("it references {} bytes, and the blob has {length}", blob.bytes);
            crate::replay::corrupt(session, event, reason)
        }))
    }

    /// Reads an event again, and tells whether it names a blob: it may be redacted since it was read first, and the
    /// blob swept. An event that cannot be read now has named it.
    async fn names(&self, session: &SessionId, log: LogKey, event: EventId, digest: Digest) -> Result<bool, Error> {
        let read = move |reader: &mut dyn LogReader| Ok(reader.audit().events(log, event.prev(), 1, PAGE_BYTES_MAX));
        let rows = self.readers.read(read).await?.map_err(|error| error.of_session(session))?;
        let row = rows.first().filter(|found| found.id == event).and_then(|found| found.row.as_ref().ok());
        let Some(Ok((header, _))) = row.map(|row| codec::decode_record(&row.record)) else { return Ok(true) };
        Ok(header.refs.iter().any(|blob| blob.digest == digest))
    }

    /// Looks at the blobs that no event references. The others were looked at with the events that reference them.
    async fn verify_blobs(
        &self,
        found: &mut Verification,
        inspected: &mut Inspected,
        progress: &mut (dyn FnMut(&Verification) + Send),
    ) -> Result<(), Error> {
        let referenced = inspected.values().flatten();
        (found.blobs, found.blob_bytes) = referenced.fold((0, 0), |(blobs, bytes), length| (blobs + 1, bytes + length));
        for first in 0..=u8::MAX {
            let blobs = Arc::clone(self.blobs);
            let listed = self.readers.read(move |_| Ok(blobs.list(first)?)).await;
            progress(found);
            let Some(shelf) = hear(found, listed)? else { continue };
            found.strays += shelf.strays;
            for digest in shelf.digests {
                if inspected.contains_key(&digest) {
                    continue;
                }
                match self.inspect(digest).await {
                    Ok(length) => {
                        found.blobs += 1;
                        found.blob_bytes += length;
                        found.orphans += 1;
                    }
                    Err(error) if is_of_the_call(&error) => return Err(error),
                    // Swept since it was listed.
                    Err(error) if matches!(error.kind(), ErrorKind::UnknownBlob { .. }) => {}
                    Err(error) => {
                        found.report(Problem { session: None, event: None, digest: Some(digest), error });
                    }
                }
            }
        }
        Ok(())
    }

    async fn inspect(&self, digest: Digest) -> Result<u64, Error> {
        let blobs = Arc::clone(self.blobs);
        self.readers.read(move |_| Ok(blobs.inspect(&digest)?)).await
    }
}

fn note_stored_view(found: &mut Verification, session: &SessionId, stored_view: Result<StoredView, String>) {
    match stored_view {
        Ok(StoredView::Whole) => found.snapshots += 1,
        Ok(StoredView::Damaged) => found.damaged_snapshots += 1,
        Ok(StoredView::None) => {}
        Err(reason) => {
            let reason = format!("the stored view of session {session}: {reason}");
            found.report(Problem::of_session(session.clone(), None, ErrorKind::CorruptStore { reason }.into()));
        }
    }
}

/// Whether the error means that the call cannot go on, and not that something stored cannot be read.
fn is_of_the_call(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::StoreClosed | ErrorKind::Busy { .. })
}

/// Reports a failed read as a problem of the store and gives `None`, unless the call cannot go on.
fn hear<T>(found: &mut Verification, read: Result<T, Error>) -> Result<Option<T>, Error> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if is_of_the_call(&error) => Err(error),
        Err(error) => {
            found.report(Problem::of_store(error));
            Ok(None)
        }
    }
}

fn unreadable(name: &[u8], error: &LogError) -> Problem {
    let name = String::from_utf8_lossy(name).into_owned();
    let session = SessionId::new(&name).ok();
    let reason = format!("session {}: {error}", name.escape_debug());
    Problem { session, event: None, digest: None, error: ErrorKind::CorruptStore { reason }.into() }
}
