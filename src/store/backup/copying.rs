//! How a copy is made: rows first, in the order of the commits; then names; then everything new is read back from the
//! copy and checked, and its blobs are copied.
//!
//! Nothing holds the source still meanwhile. What is deleted there is noticed, not prevented: the names are listed
//! after the rows were read, so a log that is listed was there all the time, with all of its events; a log that is not
//! is taken out again. A blob that is gone although its event was listed belongs to a log that was deleted since: then
//! the names are listed once more, and only a blob of a log that is still listed is missing. So a backup needs no lock
//! that a process could die with, and none that a store opened to be read could not take. Redactions are noticed as
//! well: [`redactions`].

mod redactions;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::executor::block_on;

use super::{Backup, BackupOptions, Verifying};
use crate::codec;
use crate::error::{Error, ErrorKind};
use crate::event::OwnBody;
use crate::id::{BlobRef, EventId, SessionId, Timestamp};
use crate::model::SessionModel;
use crate::port::{
    BlobStore, Head, LogKey, LogReader, Medium, OpenedToRead, Position, ScannedPage, ScannedRow, SessionRow,
};
use crate::replay::{SnapshotStore, check, corrupt, open_record};
use crate::sqlite::{BlobFailure, CopyDirectory, CopyRole, Copying, FinishedCopy, OwnEvents};
use crate::stats::Gauge;
use crate::store::verifying::Verifier;
use crate::threads::Readers;
use redactions::ReadAgain;

/// The most events and record bytes in one page.
const PAGE_EVENTS_MAX: usize = 1024;
const PAGE_BYTES_MAX: usize = 1 << 20;
/// The most sessions in one page.
const PAGE_SESSIONS_MAX: usize = 1024;

/// What a copy is made of.
pub(in crate::store) struct Source {
    pub(in crate::store) readers: Readers,
    pub(in crate::store) blobs: Arc<dyn BlobStore>,
    pub(in crate::store) medium: Medium,
    pub(in crate::store) now: Timestamp,
}

impl Source {
    /// Runs one read of the source on one of its reader threads, and waits for it.
    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut dyn LogReader) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        block_on(self.readers.read_in_turn(read))
    }
}

/// Makes a copy, or brings one up to date. Blocks.
pub(super) fn copy<M: SessionModel>(
    source: &Source,
    to: &Path,
    role: CopyRole,
    options: &BackupOptions,
    stop: &AtomicBool,
) -> Result<Backup, Error> {
    copy_into::<M>(source, to, role, options, stop).map_err(|error| match error.kind() {
        // SQLite does not say where.
        ErrorKind::DiskFull if !error.has_source() => {
            Error::with_source(ErrorKind::DiskFull, format!("there is no room for the copy in {}", to.display()))
        }
        _ => error,
    })
}

fn copy_into<M: SessionModel>(
    source: &Source,
    to: &Path,
    role: CopyRole,
    options: &BackupOptions,
    stop: &AtomicBool,
) -> Result<Backup, Error> {
    let standing = source.read(|reader| Ok(reader.standing()?))?;
    let copying = Copying { role, medium: &source.medium, source: standing.store, model: M::NAME, now: source.now };
    let copy = CopyDirectory::open(to, &copying)?;
    let begun_at = copy.log.begun_at();
    let redactions = copy.log.redacted_logs()?;
    let mut copier = Copier {
        source,
        copy,
        options,
        stop,
        copied_to: begun_at,
        checked_to: begun_at,
        redactions,
        read_again: ReadAgain::default(),
        own: HashMap::new(),
        heads: HashMap::new(),
        unnamed: SessionId::new("unnamed")?,
        made: Backup::default(),
    };
    copier.check_history()?;
    let end = copier.take_all()?;
    let Copier { copy, mut made, .. } = copier;
    made.sessions = copy.log.sessions()?;
    let finished = copy.finish(end)?;
    if options.verification == Verifying::Everything {
        verify::<M>(&finished)?;
    }
    finished.put_in_place()?;
    Ok(made)
}

/// A copy that is being made.
struct Copier<'a> {
    source: &'a Source,
    copy: CopyDirectory,
    options: &'a BackupOptions,
    stop: &'a AtomicBool,
    /// How far rows were copied, and how far they were read back.
    copied_to: Position,
    checked_to: Position,
    /// How often logs were redacted when their rows were read.
    redactions: HashMap<LogKey, u64>,
    read_again: ReadAgain,
    /// Foldlog's own events that were copied and are not in the list yet.
    own: HashMap<LogKey, OwnEvents>,
    /// Stands for the session of an event until something is wrong with it.
    unnamed: SessionId,
    /// Where logs end in the copy, of those that have events that are new there.
    heads: HashMap<LogKey, Head>,
    made: Backup,
}

/// A blob that the source does not have as an event references it.
struct Missing {
    log: LogKey,
    event: EventId,
    blob: BlobRef,
    error: Error,
}

impl Copier<'_> {
    fn check_stop(&self) -> Result<(), Error> {
        if self.stop.load(Ordering::SeqCst) {
            return Err(ErrorKind::Unavailable { reason: "nobody waits for the copy any more".to_owned() }.into());
        }
        Ok(())
    }

    fn progressed(&self) {
        if let Some(progress) = &self.options.progress {
            progress(self.made.copied);
        }
    }

    /// Refuses a store that was put back to an earlier state: the copy may have what is gone there.
    fn check_history(&self) -> Result<(), Error> {
        let other = |what: &str| {
            let reason =
                format!("{what}: the store was put back to an earlier state, so back up into another directory");
            Err(ErrorKind::InvalidArgument { what: reason }.into())
        };
        if self.copied_to > self.source.read(|reader| Ok(reader.standing()?.end))? {
            return other("the backup has later events than the store");
        }
        let Some((position, log, chain)) = self.copy.log.last_event()? else { return Ok(()) };
        let there = self.source.read(move |reader| {
            let mut page = ScannedPage::default();
            reader.scan(&mut page, position.before(), 1, PAGE_BYTES_MAX)?;
            let first = page.rows().next();
            Ok(first.filter(|row| row.position == position).map(|row| (row.log, row.event.chain)))
        })?;
        match there {
            Some(there) if there != (log, chain) => other("the last event of the backup is another one in the store"),
            // Or it was deleted there.
            _ => Ok(()),
        }
    }

    /// Copies until the copy is what the source was at one position, and tells which.
    fn take_all(&mut self) -> Result<Position, Error> {
        let mut missing: Vec<Missing> = Vec::new();
        loop {
            self.read_redacted_again()?;
            let end = self.source.read(|reader| Ok(reader.standing()?.end))?;
            self.copy_rows(end)?;
            self.list()?;
            if self.was_redacted_meanwhile()? {
                continue;
            }
            for lacking in std::mem::take(&mut missing) {
                self.copy_again(lacking)?;
            }
            missing = self.check_rows()?;
            if missing.is_empty() {
                self.copy.log.note_redactions(&self.redactions)?;
                return Ok(end);
            }
        }
    }

    /// Copies the rows up to a position.
    fn copy_rows(&mut self, end: Position) -> Result<(), Error> {
        let mut page = ScannedPage::default();
        while self.copied_to < end {
            self.check_stop()?;
            let (mut filled, after) = (std::mem::take(&mut page), self.copied_to);
            let (filled, next) = self.source.read(move |reader| {
                let next = reader.scan(&mut filled, after, PAGE_EVENTS_MAX, PAGE_BYTES_MAX)?;
                Ok((filled, next))
            })?;
            for row in filled.rows().take_while(|row| row.position <= end) {
                self.note_own(row);
                self.copy.log.add(row)?;
                self.made.copied.events += 1;
                self.made.copied.record_bytes += row.event.record.len() as u64;
            }
            self.copied_to = next.map_or(end, |next| next.min(end));
            page = filled;
            self.progressed();
        }
        Ok(())
    }

    fn note_own(&mut self, row: ScannedRow<'_>) {
        if !OwnBody::is_type(row.event.event_type) {
            return;
        }
        let own = self.own.entry(row.log).or_default();
        let decoded = codec::decode_record(row.event.record).ok();
        match decoded.and_then(|(header, body)| OwnBody::decode(row.event.event_type, header.schema, body).ok()) {
            Some(body) => own.bodies.push(body),
            None => own.is_unknown = true,
        }
    }

    /// Brings the sessions of the copy up to date.
    fn list(&mut self) -> Result<(), Error> {
        let mut after: Option<SessionId> = None;
        loop {
            self.check_stop()?;
            let from = after.clone();
            let page: Vec<SessionRow> =
                self.source.read(move |reader| Ok(reader.sessions(from.as_ref(), PAGE_SESSIONS_MAX)?))?;
            let is_last = page.len() < PAGE_SESSIONS_MAX;
            self.made.sessions_removed += self.copy.log.list(after.as_ref(), &page, is_last, &self.own)?;
            if is_last {
                break;
            }
            after = page.last().map(|row| row.session.clone());
        }
        self.own.clear();
        Ok(self.copy.log.end_list()?)
    }

    /// Reads back what is new, checks it, and copies its blobs. Gives those that the source does not have.
    fn check_rows(&mut self) -> Result<Vec<Missing>, Error> {
        let (mut page, mut missing) = (ScannedPage::default(), Vec::new());
        self.copy.log.complete_index()?;
        let mut after = self.read_again.from(self.checked_to);
        while let Some(next) = self.copy.log.read_back(&mut page, after, PAGE_EVENTS_MAX, PAGE_BYTES_MAX)? {
            self.check_stop()?;
            for row in page.rows() {
                if row.position <= self.checked_to && !self.read_again.has(row.log) {
                    continue;
                }
                for blob in self.check_row(row)? {
                    missing.extend(self.copy_blob(row.log, row.event.id, blob)?);
                }
            }
            after = next;
        }
        self.checked_to = self.checked_to.max(after);
        self.check_read_again()?;
        for (log, head) in std::mem::take(&mut self.heads) {
            if self.copy.log.last(log)?.is_some_and(|last| last != head.id) {
                let reason = "the index of the copy does not end with it".to_owned();
                return Err(corrupt(&self.session_of(log)?, head.id, reason));
            }
        }
        Ok(missing)
    }

    /// Checks that an event follows the one before it in the copy, and gives its references.
    fn check_row(&mut self, row: ScannedRow<'_>) -> Result<Vec<BlobRef>, Error> {
        let ScannedRow { log, event, .. } = row;
        let before = match self.heads.get(&log) {
            Some(head) => Some(*head),
            None => self.copy.log.before(log, event.id)?,
        };
        let checked = |session: &SessionId| {
            let before =
                before.ok_or_else(|| corrupt(session, event.id, "the event before it is not in the log".to_owned()))?;
            check(session, &before, event)?;
            open_record(session, event)
        };
        // The name is only looked up where it is needed.
        let header = match checked(&self.unnamed) {
            Ok((header, _)) => header,
            Err(_) => checked(&self.session_of(log)?)?.0,
        };
        self.heads.insert(log, Head { id: event.id, chain: event.chain, at: event.at });
        Ok(header.refs)
    }

    fn session_of(&self, log: LogKey) -> Result<SessionId, Error> {
        let no_name = || ErrorKind::CorruptStore { reason: format!("log {} has no session", log.0) };
        Ok(self.copy.log.session_of(log)?.ok_or_else(no_name)?)
    }

    fn copy_blob(&mut self, log: LogKey, event: EventId, blob: BlobRef) -> Result<Option<Missing>, Error> {
        self.check_stop()?;
        match self.copy.copy_blob(&*self.source.blobs, &blob) {
            Ok(true) => {
                self.made.copied.blobs += 1;
                self.made.copied.blob_bytes += blob.bytes;
                self.progressed();
                Ok(None)
            }
            Ok(false) => Ok(None),
            Err(BlobFailure::Old(error)) if is_of_the_blob(&error) => Ok(Some(Missing { log, event, blob, error })),
            Err(BlobFailure::Old(error) | BlobFailure::New(error)) => Err(error),
        }
    }

    /// Tries again to copy a blob, unless its session is gone.
    fn copy_again(&mut self, missing: Missing) -> Result<(), Error> {
        let Missing { log, event, blob, .. } = missing;
        if self.read_again.has(log) {
            // The event may be redacted, and not name it any more. If it does, the check finds it missing once more.
            return Ok(());
        }
        let Some(session) = self.copy.log.session_of(log)? else { return Ok(()) };
        match self.copy_blob(log, event, blob)? {
            None => Ok(()),
            Some(Missing { error, .. }) => Err(corrupt(&session, event, format!("it references a blob: {error}"))),
        }
    }
}

/// Whether an error says what is wrong with a blob, and not that it cannot be read just now.
fn is_of_the_blob(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UnknownBlob { .. } | ErrorKind::CorruptBlob { .. } | ErrorKind::WrongBlobLength { .. }
    )
}

/// Reads the whole copy.
fn verify<M: SessionModel>(finished: &FinishedCopy) -> Result<(), Error> {
    let io = |error: std::io::Error| {
        Error::from(ErrorKind::Unavailable { reason: format!("no thread to verify the copy with: {error}") })
    };
    let OpenedToRead { log, blobs, snapshots, .. } = finished.open_to_read()?;
    let readers = Readers::start("foldlog-verify", log, 1, usize::MAX, &Gauge::default()).map_err(io)?;
    let snapshots = SnapshotStore::new(snapshots);
    let verifier =
        Verifier { readers: &readers, blobs: &blobs, snapshots: &snapshots, page_events_max: PAGE_EVENTS_MAX };
    let found = block_on(verifier.run::<M>(&mut |_| ()));
    readers.close();
    let found = found?;
    match found.problems.iter().find(|problem| problem.is_damage()) {
        Some(problem) => {
            let reason =
                format!("the copy does not verify: {problem}; verify the store, and copy it into a new directory");
            Err(ErrorKind::CorruptStore { reason }.into())
        }
        None => Ok(()),
    }
}
