//! A store that is only read: [`ReadOnlyStore`]. It has no actor, owns nothing, and has no call that writes.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use futures::channel::oneshot;

use crate::agent::Agent;
use crate::clock::Clock;
use crate::config::StoreConfig;
use crate::content::Content;
use crate::error::{Error, ErrorKind};
use crate::id::{Digest, SessionId};
use crate::log_position::LogPosition;
use crate::model::SessionModel;
use crate::port::{BlobStore, Format, LogMeta, LogReader, Medium, OpenedToRead, OpeningToRead};
use crate::replay::{EventPage, SnapshotStore, read_page};
use crate::stats::{Metrics, Stats};
use crate::store::backup::Source;
use crate::store::verification::Verification;
use crate::store::verifying::Verifier;
use crate::store::{SessionSummary, Store, StoredState, text_of};
use crate::threads::{Commits, Readers, Recoveries};

/// The threads for pages, lists and blobs. Folds have threads of their own: `recoveries_max`.
const READER_THREADS: usize = 2;

/// A store that is only read: [`Store::open_read_only`] opens it.
///
/// It makes and changes no file, takes no lock that another store would wait for, and owns no session. So it opens
/// where [`Store::open`] cannot: on a full disk, on a read-only mount, where there is no free inode, and beside the
/// host that writes, in the same process or in another one. Clones share it.
///
/// One file is an exception. While a host has the store open, or has died with it, SQLite may bring `events.db-shm` up
/// to date, or make it: it is no more than an index of the write-ahead log, and everybody can make it anew.
///
/// # What it sees
/// Each call reads what is committed at that moment: there is no view that is kept, and nothing to bring up to date.
/// Hosts may open, write and close the store at any time. To follow what they commit, take the [`feed`](Self::feed) of
/// all sessions.
///
/// # What is refused
/// Whatever writes, by its type: these calls are not there.
/// ```compile_fail
/// # use foldlog::{Store, StoreConfig};
/// # async fn read() -> Result<(), foldlog::Error> {
/// let store = Store::open_read_only(StoreConfig::directory("agent-sessions")).await?;
/// store.open_session("support-4711").await?;
/// # Ok(()) }
/// ```
///
/// # `ReadOnlyStore` versus `Salvage`
/// A [`Salvage`](crate::Salvage) reads what is left of a store that is damaged. This store reads one that is whole,
/// calls damage an error where it meets it, and can [`verify`](Self::verify) what is stored.
///
/// # Examples
/// ```
/// # use foldlog::agent::{AgentBody, Message};
/// # use foldlog::{EventId, Store, StoreConfig};
/// # fn main() -> Result<(), foldlog::Error> { futures::executor::block_on(async {
/// # let directory = tempfile::tempdir().expect("a temporary directory");
/// # let path = directory.path();
/// # let host = Store::open(StoreConfig::directory(path)).await?;
/// # let session = host.open_session("support-4711").await?;
/// # session.append(AgentBody::MessageAppended(Message::user("hello")))?.await?;
/// let store = Store::open_read_only(StoreConfig::directory(path)).await?;
/// for session in store.list_sessions(None, 100).await? {
///     let view = store.read_state(&session.id).await?.view;
///     let page = store.events_after(&session.id, EventId::ZERO, 100).await?;
///     println!("{}: {} messages, {} events", session.id, view.messages.len(), page.events.len());
///     # assert_eq!((view.messages.len(), page.events.len()), (1, 1));
/// }
/// # host.close().await?;
/// store.close().await
/// # }) }
/// ```
pub struct ReadOnlyStore<M: SessionModel = Agent> {
    pub(super) inner: Arc<ReadOnlyInner>,
    model: PhantomData<fn() -> M>,
}

/// What every store that is only read has, whether or not it knows the session model.
pub(super) struct ReadOnlyInner {
    /// The process that opened the store.
    process: u32,
    pub(super) page_events_max: usize,
    pub(super) clock: Clock,
    medium: Medium,
    /// The name of the session model.
    pub(super) model: String,
    /// The format of the medium, if it has one.
    pub(super) format: Option<Format>,
    pub(super) readers: Readers,
    pub(super) recoveries: Arc<Recoveries>,
    pub(super) commits: Arc<Commits>,
    pub(super) blobs: Arc<dyn BlobStore>,
    pub(super) snapshots: SnapshotStore,
    metrics: Arc<Metrics>,
}

impl<M: SessionModel> Clone for ReadOnlyStore<M> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), model: PhantomData }
    }
}

impl<M: SessionModel> fmt::Debug for ReadOnlyStore<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadOnlyStore").field("medium", &self.inner.medium).finish_non_exhaustive()
    }
}

impl<M: SessionModel> Store<M> {
    /// Opens a store to read it: nothing is made or changed. [`StoreConfig::create`] is taken as
    /// [`Create::Never`](crate::Create::Never); of the limits only those for reads count.
    ///
    /// # Errors
    /// [`ErrorKind::NoStore`] where there is none; [`ErrorKind::WrongModel`], [`ErrorKind::NewerFormat`],
    /// [`ErrorKind::OlderFormat`] or [`ErrorKind::NotAStore`] for a directory that is not for this build;
    /// [`ErrorKind::CorruptStore`] for a database that SQLite cannot read, or that is gone while its blobs are there;
    /// [`ErrorKind::InvalidArgument`] for a limit that is 0; [`ErrorKind::Io`] or [`ErrorKind::Unavailable`] when the
    /// files cannot be read. One case of these on a directory: if a crash has left a write-ahead log that is not empty,
    /// and `events.db-shm` is not there, as in a copy of the files, it must be possible to make that file, or the mount
    /// must be read-only.
    pub async fn open_model_read_only(config: StoreConfig) -> Result<ReadOnlyStore<M>, Error> {
        config.check()?;
        on_a_thread("foldlog-open", move || ReadOnlyInner::open(&config, Some(M::NAME)))
            .await?
            .map(|inner| ReadOnlyStore { inner: Arc::new(inner), model: PhantomData })
    }
}

impl ReadOnlyInner {
    /// Opens a store of this session model, or of any if none is given.
    pub(super) fn open(config: &StoreConfig, model: Option<&'static str>) -> Result<Self, Error> {
        let io = |error: std::io::Error| Error::from(ErrorKind::Unavailable { reason: error.to_string() });
        let opening = OpeningToRead {
            model,
            blob_bytes_max: config.blob_bytes_max as u64,
            snapshot_bytes_max: config.snapshots.bytes_max,
        };
        let OpenedToRead { model, format, log, blobs, snapshots } = config.medium.open_to_read(&opening)?;
        let metrics = Arc::new(Metrics::new());
        let (jobs_max, queued) = (config.queued_jobs_max, &metrics.reads_queued);
        let commits = Arc::new(Commits::of(Arc::clone(&log)));
        let recoveries = Recoveries::start(&log, config.residency.recoveries_max, jobs_max, queued).map_err(io)?;
        let readers = Readers::start("foldlog-read", log, READER_THREADS, jobs_max, queued)
            .inspect_err(|_| recoveries.close())
            .map_err(io)?;
        Ok(Self {
            process: std::process::id(),
            page_events_max: config.page_events_max,
            clock: config.clock.clone(),
            medium: config.medium.clone(),
            model,
            format,
            readers,
            recoveries: Arc::new(recoveries),
            commits,
            blobs,
            snapshots: SnapshotStore::new(snapshots),
            metrics,
        })
    }

    /// Refuses in a process that was forked from the one that opened the store: it has none of the threads.
    pub(super) fn open_here(&self) -> Result<&Self, Error> {
        if self.process == std::process::id() { Ok(self) } else { Err(ErrorKind::Forked.into()) }
    }

    pub(super) async fn list_sessions(
        &self,
        after: Option<SessionId>,
        max: usize,
    ) -> Result<Vec<SessionSummary>, Error> {
        let rows = self.open_here()?.readers.read(move |reader| Ok(reader.sessions(after.as_ref(), max)?)).await?;
        Ok(rows.into_iter().map(SessionSummary::from).collect())
    }

    pub(super) async fn get_bytes(&self, digest: Digest) -> Result<Vec<u8>, Error> {
        let blobs = Arc::clone(&self.open_here()?.blobs);
        self.readers.run(move |_| Ok(blobs.get(&digest)?)).await
    }

    /// What ends the threads, and with them the connections: it waits for the reads that are queued.
    pub(super) fn closing(&self) -> impl FnOnce() + Send + 'static {
        let (readers, recoveries) = (self.readers.clone(), Arc::clone(&self.recoveries));
        let commits = Arc::clone(&self.commits);
        move || {
            commits.close();
            readers.close();
            recoveries.close();
        }
    }
}

impl Drop for ReadOnlyInner {
    fn drop(&mut self) {
        // A process that was forked has none of the threads.
        if self.process != std::process::id() {
            return;
        }
        let closing = self.closing();
        if let Err(error) = std::thread::Builder::new().name("foldlog-close".to_owned()).spawn(closing) {
            log::error!("no thread to close a read-only store with: {error}");
        }
    }
}

impl<M: SessionModel> ReadOnlyStore<M> {
    pub(super) fn open(&self) -> Result<&ReadOnlyInner, Error> {
        self.inner.open_here()
    }

    /// What a copy of the store is made of.
    pub(super) fn source(&self) -> Result<Source, Error> {
        let ReadOnlyInner { readers, blobs, medium, clock, .. } = self.open()?;
        Ok(Source { readers: readers.clone(), blobs: Arc::clone(blobs), medium: medium.clone(), now: clock.now() })
    }

    /// Lists sessions in the order of their ids, up to `max` after `after`.
    ///
    /// # Errors
    /// [`ErrorKind::CorruptStore`] or [`ErrorKind::Unavailable`] when the log cannot be read; [`ErrorKind::Busy`] when
    /// the queue of reads is full; [`ErrorKind::StoreClosed`].
    pub async fn list_sessions(&self, after: Option<SessionId>, max: usize) -> Result<Vec<SessionSummary>, Error> {
        self.inner.list_sessions(after, max).await
    }

    /// Folds a session's log, from its stored view if there is one, and gives its view and what the fold found.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidSessionId`], [`ErrorKind::UnknownSession`], [`ErrorKind::CorruptEvent`],
    /// [`ErrorKind::Undecodable`]. Those of [`list_sessions`](Self::list_sessions).
    pub async fn read_state(&self, id: impl AsRef<str>) -> Result<StoredState<M>, Error> {
        let session = SessionId::new(id)?;
        let (snapshots, metrics) = (self.inner.snapshots.clone(), Arc::clone(&self.inner.metrics));
        let page_events = self.inner.page_events_max;
        let read = move |reader: &mut dyn LogReader| {
            read_found(reader, &session, |reader, log| {
                StoredState::read(reader, &session, log, &snapshots, &metrics, page_events)
            })
        };
        self.open()?.recoveries.read(read).await
    }

    /// Reads a page of a session's committed events after `after`, in order: up to `events_max` (at least one), and no
    /// more than [`StoreConfig::page_events_max`].
    ///
    /// # Errors
    /// [`ErrorKind::InvalidSessionId`], [`ErrorKind::UnknownSession`]; [`ErrorKind::CorruptEvent`],
    /// [`ErrorKind::Undecodable`] or [`ErrorKind::NewerRecord`] if the page begins with such an event;
    /// [`ErrorKind::BeyondHead`] if the log has not reached `after`; [`ErrorKind::OtherHistory`] if the event there is
    /// not the one of the position. Those of [`list_sessions`](Self::list_sessions).
    pub async fn events_after(
        &self,
        id: impl AsRef<str>,
        after: impl Into<LogPosition>,
        events_max: usize,
    ) -> Result<EventPage<M>, Error> {
        let (session, after) = (SessionId::new(id)?, after.into());
        let events_max = events_max.clamp(1, self.inner.page_events_max);
        let read = move |reader: &mut dyn LogReader| {
            read_found(reader, &session, |reader, log| read_page(reader, &session, log, after, events_max))
        };
        self.open()?.readers.read(read).await
    }

    /// Reads a blob's bytes and checks them against its digest.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownBlob`], [`ErrorKind::CorruptBlob`]; [`ErrorKind::TooLarge`] for a blob over
    /// `blob_bytes_max`; [`ErrorKind::Io`] when the file cannot be read; [`ErrorKind::Busy`] when the queue of reads is
    /// full; [`ErrorKind::StoreClosed`].
    pub async fn get_bytes(&self, digest: Digest) -> Result<Vec<u8>, Error> {
        self.inner.get_bytes(digest).await
    }

    /// Gives the text of a content, inline or read from its blob.
    ///
    /// # Errors
    /// Those of [`get_bytes`](Self::get_bytes), and [`ErrorKind::InvalidArgument`] for a blob that is not text.
    pub async fn read_content(&self, content: &Content) -> Result<String, Error> {
        match content {
            Content::Inline(text) => Ok(text.clone()),
            Content::Blob(blob) => text_of(blob, self.get_bytes(blob.digest).await?),
        }
    }

    /// Reads everything that is stored and tells what is wrong with it, as [`Store::verify`] does. It inspects no
    /// write-ahead log: one that is damaged before its end reads as a shorter one, and the next store that opens the
    /// directory to write tells of it ([`Store::wal_damage`]).
    ///
    /// # Errors
    /// [`ErrorKind::StoreClosed`], [`ErrorKind::Busy`]. Damage is no error of this call.
    ///
    /// # Cancellation
    /// Dropping the future ends the search after the page that is being read.
    pub async fn verify(&self) -> Result<Verification, Error> {
        self.verify_with(|_| ()).await
    }

    /// As [`verify`](Self::verify), and calls `progress` with what was found until now, after each page of events and
    /// each of the 256 directories of blobs: for a program that shows how far it is. The sum of the heads of
    /// [`list_sessions`](Self::list_sessions) is how many events there are.
    ///
    /// # Errors
    /// Those of [`verify`](Self::verify).
    ///
    /// # Cancellation
    /// As that of [`verify`](Self::verify).
    pub async fn verify_with(&self, mut progress: impl FnMut(&Verification) + Send) -> Result<Verification, Error> {
        let ReadOnlyInner { readers, blobs, snapshots, page_events_max, .. } = self.open()?;
        let verifier = Verifier { readers, blobs, snapshots, page_events_max: *page_events_max };
        verifier.run::<M>(&mut progress).await
    }

    /// What this store has done since it was opened. Only the numbers of reads can be other than 0: `reads_queued`,
    /// `snapshot_hits`, `snapshot_fallbacks`. A host that writes beside it counts for itself.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.inner.metrics.snapshot()
    }

    /// Closes the store: finishes the reads that are queued, ends its threads and closes its files. Later calls fail. A
    /// store whose last handle is dropped closes too, but nobody waits for it.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when no thread can be started to close it with.
    ///
    /// # Cancellation
    /// Closing goes on when the future is dropped.
    pub async fn close(&self) -> Result<(), Error> {
        on_a_thread("foldlog-close", self.open()?.closing()).await
    }
}

fn find(reader: &mut dyn LogReader, session: &SessionId) -> Result<LogMeta, Error> {
    let found = reader.find(session).map_err(|error| error.of_session(session))?;
    found.ok_or_else(|| ErrorKind::UnknownSession { session: session.clone() }.into())
}

/// Finds a session's log and reads from it. A session that is deleted between the two was there for nobody: a store
/// that only reads has no handles of sessions.
pub(super) fn read_found<T>(
    reader: &mut dyn LogReader,
    session: &SessionId,
    read: impl FnOnce(&mut dyn LogReader, LogMeta) -> Result<T, Error>,
) -> Result<T, Error> {
    let log = find(reader, session)?;
    read(reader, log).map_err(|error| match error.kind() {
        ErrorKind::SessionDeleted { .. } => ErrorKind::UnknownSession { session: session.clone() }.into(),
        _ => error,
    })
}

/// Runs something that blocks on a thread of its own, and waits for it.
pub(super) async fn on_a_thread<T: Send + 'static>(
    name: &'static str,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let failed = |reason: String| Error::from(ErrorKind::Unavailable { reason });
    let (sender, receiver) = oneshot::channel();
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        // The caller may have lost interest.
        let _ = sender.send(run());
    });
    spawned.map_err(|error| failed(format!("no thread {name}: {error}")))?;
    receiver.await.map_err(|_| failed(format!("the thread {name} failed")))
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;

    #[test]
    fn a_session_that_is_deleted_between_its_finding_and_its_read_is_unknown() {
        let store = block_on(Store::open(StoreConfig::memory())).unwrap();
        block_on(store.open_session("s")).unwrap();
        let (session, mut reader) = (SessionId::new("s").unwrap(), store.0.log.reader().unwrap());
        let read = read_found(&mut *reader, &session, |reader, log| {
            block_on(store.delete_session("s")).unwrap();
            reader.head(log).map_err(|error| error.of_session(&session))
        });
        let refused = read.unwrap_err();
        assert!(
            matches!(refused.kind(), ErrorKind::UnknownSession { session: named } if *named == session),
            "{refused}"
        );
        block_on(store.close()).unwrap();
    }
}
