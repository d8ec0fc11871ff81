//! The handles that hosts hold: [`Store`] and [`Session`].

pub(crate) mod backup;
mod closing;
pub(crate) mod cursor;
pub(crate) mod deleting;
mod feeding;
mod opening;
pub(crate) mod preflight;
pub(crate) mod read_only;
mod registry;
pub(crate) mod repair;
pub(crate) mod retaining;
pub(crate) mod salvage;
mod session;
pub(crate) mod sweeping;
pub(crate) mod untyped;
pub(crate) mod verification;
mod verifying;

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use actix::Addr;

use crate::agent::Agent;
use crate::blobs::{BlobActor, GetBlob, PutBlob};
use crate::commit::PersistActor;
use crate::config::StoreConfig;
use crate::content::{Content, Json};
use crate::error::{Error, ErrorKind};
use crate::event::SessionCore;
use crate::id::{BlobKind, BlobRef, Digest, EventId, SessionId, Timestamp};
use crate::model::{SessionModel, View};
use crate::port::{LogMedium, LogMeta, LogReader, SessionRow};
use crate::replay::Fold;
use crate::replay::{Recovered, RecoveryReport, SnapshotStore};
use crate::session::Services;
use crate::sqlite::WalDamage;
use crate::stats::{Metrics, Stats};
use crate::store::read_only::read_found;
use crate::store::salvage::Salvage;
use crate::threads::lock;

use closing::Closing;
use registry::{Absent, Registry};
pub use session::Session;

/// A store of sessions: the handle that a host opens once and clones freely.
///
/// It works on any executor. If actix runs on the thread that opens the store, the session actors run on that thread;
/// otherwise foldlog starts a thread for them. On the thread that the session actors run on, await what a session gives
/// and never [block on it](crate::Receipt#blocking). A process that is forked from this one cannot use the store, nor
/// open one: [`ErrorKind::Forked`]. Close the store before the program ends: dropping the last handle closes it, too,
/// but nobody waits until it is closed.
///
/// # Examples
/// ```
/// use foldlog::agent::{AgentBody, Message};
/// use foldlog::{Store, StoreConfig};
///
/// # fn main() -> Result<(), foldlog::Error> { futures::executor::block_on(async {
/// let store = Store::open(StoreConfig::memory()).await?;
/// let session = store.open_session("greeting").await?;
/// session.append(AgentBody::MessageAppended(Message::user("hello")))?.await?;
/// assert_eq!(session.view()?.messages.len(), 1);
/// store.close().await
/// # }) }
/// ```
pub struct Store<M: SessionModel = Agent>(Arc<StoreInner<M>>);

impl<M: SessionModel> Clone for Store<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M: SessionModel> std::fmt::Debug for Store<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("medium", &self.0.services.config.medium).finish_non_exhaustive()
    }
}

pub(crate) struct StoreInner<M: SessionModel> {
    services: Arc<Services>,
    registry: Mutex<Registry<M>>,
    closing: Mutex<Closing>,
    /// What the medium found when it was opened. Its type depends on the medium.
    found: Option<Arc<dyn Any + Send + Sync>>,
    log: Arc<dyn LogMedium>,
}

impl<M: SessionModel> Store<M> {
    fn new(opened: opening::Opened) -> Self {
        let opening::Opened { services, found, log, parts } = opened;
        let closing = Mutex::new(Closing::Open(parts));
        Self(Arc::new(StoreInner { services: Arc::new(services), registry: Mutex::default(), closing, found, log }))
    }

    /// Tells whether the write-ahead log was damaged when this store was opened. If it was, acknowledged events may be
    /// lost. `None` if nothing was wrong, and if another store had the directory open, since that store has looked
    /// already.
    ///
    /// Keep the answer: the store goes on with the valid beginning and writes over the rest, so a later opening finds
    /// nothing wrong. The program's log has the same, as an error. The copies, `events.db-wal.damaged-<n>`, are never
    /// removed.
    ///
    /// A write-ahead log that was cut short does not count as damaged: a crash leaves it like that.
    #[must_use]
    pub fn wal_damage(&self) -> Option<&WalDamage> {
        self.0.found.as_ref()?.downcast_ref()
    }

    /// Opens a store of sessions of the host's own session model: `Store::<MyModel>::open_model(config)`.
    ///
    /// # Errors
    /// [`ErrorKind::WrongModel`], [`ErrorKind::NewerFormat`] or [`ErrorKind::NotAStore`] for a directory that is not
    /// for this build; [`ErrorKind::NoStore`] where there is none and [`StoreConfig::create`] makes none;
    /// [`ErrorKind::UnsuitablePlace`] for a directory that cannot hold a store as it is; [`ErrorKind::Io`] for a
    /// directory that cannot be created or written; [`ErrorKind::CorruptStore`] for a database that SQLite cannot read,
    /// or that is gone while its blobs are there: see [`Store::repair`]; [`ErrorKind::InvalidArgument`] for a limit
    /// that is 0; [`ErrorKind::Unavailable`] when a thread cannot be started or the opening thread fails.
    pub async fn open_model(config: StoreConfig) -> Result<Self, Error> {
        opening::open::<M>(config).await
    }

    /// Opens a directory to read what is left of its sessions, whether or not a store can open it. Blocks.
    ///
    /// # Errors
    /// Those of [`Salvage::open`].
    pub fn salvage_model(path: impl AsRef<std::path::Path>) -> Result<Salvage<M>, Error> {
        Salvage::open(path)
    }

    /// Opens a session, creating it when there is none of that name. Any number of concurrent calls give the same
    /// session. Resolves when the session is recovered from its log.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidSessionId`]; [`ErrorKind::CorruptEvent`] when its log is damaged; [`ErrorKind::Undecodable`]
    /// when the session model does not decode one of its events; [`ErrorKind::StoreClosed`]; [`ErrorKind::Unavailable`]
    /// when the log cannot be read or written. A session of a newer build opens, read-only: see [`Session::condition`].
    /// Never
    /// [`ErrorKind::Busy`]: any number of sessions may be opened at once, and they wait their turn.
    pub async fn open_session(&self, id: impl AsRef<str>) -> Result<Session<M>, Error> {
        self.open_log(SessionId::new(id)?, Absent::Create).await
    }

    /// Opens a session that must exist.
    ///
    /// # Errors
    /// Those of [`Store::open_session`], and [`ErrorKind::UnknownSession`].
    pub async fn resume_session(&self, id: impl AsRef<str>) -> Result<Session<M>, Error> {
        self.open_log(SessionId::new(id)?, Absent::Refuse).await
    }

    /// Reads the state of a session from the log, without opening the session. It works while another process owns the
    /// session.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidSessionId`], [`ErrorKind::UnknownSession`], [`ErrorKind::CorruptEvent`],
    /// [`ErrorKind::Undecodable`]; [`ErrorKind::Busy`] when the queue of reads is full; [`ErrorKind::StoreClosed`];
    /// [`ErrorKind::Unavailable`] when the log cannot be read.
    pub async fn read_state(&self, id: impl AsRef<str>) -> Result<StoredState<M>, Error> {
        self.0.services.check_open()?;
        let session = SessionId::new(id)?;
        let page_events = self.0.services.config.page_events_max;
        let services = Arc::clone(&self.0.services);
        let read = move |reader: &mut dyn LogReader| {
            read_found(reader, &session, |reader, log| {
                StoredState::read(reader, &session, log, &services.snapshots.store, &services.metrics, page_events)
            })
        };
        self.0.services.recoveries.read(read).await
    }

    /// Lists sessions in the order of their ids, up to `max` after `after`: any number. The list is read in pages of
    /// [`StoreConfig::page_events_max`], so that no transaction stays open for long; each page is as of when it was
    /// read.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] or [`ErrorKind::CorruptStore`] when the log cannot be read; [`ErrorKind::Busy`] when
    /// the queue of reads is full; [`ErrorKind::StoreClosed`].
    pub async fn list_sessions(&self, after: Option<SessionId>, max: usize) -> Result<Vec<SessionSummary>, Error> {
        self.0.services.check_open()?;
        let (readers, page_max) = (&self.0.services.readers, self.0.services.config.page_events_max);
        let mut listed: Vec<SessionSummary> = Vec::new();
        while listed.len() < max {
            let wanted = page_max.min(max - listed.len());
            let from = listed.last().map(|last| last.id.clone()).or_else(|| after.clone());
            let read = move |reader: &mut dyn LogReader| Ok(reader.sessions(from.as_ref(), wanted)?);
            // A call that was let in once is not refused in the midst of the list.
            let rows = if listed.is_empty() { readers.read(read).await? } else { readers.read_in_turn(read).await? };
            let is_last = rows.len() < wanted;
            listed.extend(rows.into_iter().map(SessionSummary::from));
            if is_last {
                break;
            }
        }
        Ok(listed)
    }

    /// Stores bytes as a blob. Equal bytes are stored once.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`], [`ErrorKind::DiskFull`]; [`ErrorKind::Busy`] when the queue of blob calls is full, or
    /// has no room for so many bytes ([`StoreConfig::queued_put_bytes_max`]); [`ErrorKind::Io`] when a file cannot be
    /// written; [`ErrorKind::Unavailable`] when the blob thread failed; [`ErrorKind::StoreClosed`].
    pub async fn put_bytes(&self, bytes: Vec<u8>) -> Result<BlobRef, Error> {
        self.put(bytes, BlobKind::Bytes).await
    }

    /// Stores text as a blob, whatever its length. [`Store::intern_text`] keeps short text inline.
    ///
    /// # Errors
    /// Those of [`Store::put_bytes`].
    pub async fn put_text(&self, text: impl Into<String>) -> Result<BlobRef, Error> {
        self.put(text.into().into_bytes(), BlobKind::Text).await
    }

    /// Stores a JSON value as a blob of canonical text, whatever its length.
    ///
    /// # Errors
    /// Those of [`Store::put_bytes`].
    pub async fn put_json(&self, json: Json) -> Result<BlobRef, Error> {
        self.put(json.into_string().into_bytes(), BlobKind::Json).await
    }

    async fn put(&self, bytes: Vec<u8>, kind: BlobKind) -> Result<BlobRef, Error> {
        self.0.services.check_open()?;
        let sent = self.0.services.blob.send(PutBlob { bytes, kind }).await;
        sent.unwrap_or_else(|_| Err(ErrorKind::StoreClosed.into()))
    }

    /// Reads a blob's bytes and checks them against its digest.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownBlob`], [`ErrorKind::CorruptBlob`]; [`ErrorKind::TooLarge`] for a blob over
    /// `blob_bytes_max`; [`ErrorKind::Busy`] when the queue of blob calls is full; [`ErrorKind::Io`] when the file
    /// cannot be read; [`ErrorKind::Unavailable`] when the blob thread failed; [`ErrorKind::StoreClosed`].
    pub async fn get_bytes(&self, digest: Digest) -> Result<Vec<u8>, Error> {
        self.0.services.check_open()?;
        let sent = self.0.services.blob.send(GetBlob { digest }).await;
        sent.unwrap_or_else(|_| Err(ErrorKind::StoreClosed.into()))
    }

    /// Keeps text of up to `inline_bytes_max` bytes inline, and stores longer text as a blob.
    ///
    /// # Errors
    /// Those of [`Store::put_bytes`].
    pub async fn intern_text(&self, text: impl Into<String>) -> Result<Content, Error> {
        let text = text.into();
        self.0.services.check_open()?;
        if text.len() <= self.0.services.config.inline_bytes_max {
            return Ok(Content::Inline(text));
        }
        Ok(Content::Blob(self.put_text(text).await?))
    }

    /// Keeps a JSON value inline if its canonical text has up to `inline_bytes_max` bytes, and stores a longer one as a
    /// blob.
    ///
    /// # Errors
    /// Those of [`Store::put_bytes`].
    pub async fn intern_json(&self, json: Json) -> Result<Content, Error> {
        self.0.services.check_open()?;
        if json.as_str().len() <= self.0.services.config.inline_bytes_max {
            return Ok(Content::Inline(json.into_string()));
        }
        Ok(Content::Blob(self.put_json(json).await?))
    }

    /// Gives the text of a content, inline or read from its blob.
    ///
    /// # Errors
    /// Those of [`Store::get_bytes`], and [`ErrorKind::InvalidArgument`] for a blob that is not text.
    pub async fn read_content(&self, content: &Content) -> Result<String, Error> {
        match content {
            Content::Inline(text) => Ok(text.clone()),
            Content::Blob(blob) => text_of(blob, self.get_bytes(blob.digest).await?),
        }
    }

    /// The time by the store's clock, for the times that a host puts into its bodies.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.services.config.clock.now()
    }

    /// What this store has done since it was opened, what went wrong, and what waits. The call takes some microseconds,
    /// most of them for the histograms, and waits for no append, read or commit: a host may ask every second.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let sessions_open = lock(&self.0.registry).open.len() as u64;
        Stats { sessions_open, upkeep: self.0.log.upkeep(), ..self.0.services.metrics.snapshot() }
    }

    /// Empties every session that is idle, and tells how many sessions it has emptied: for a host that is short of
    /// memory. Without this call a store empties sessions by the limits of [`ResidencyConfig`](crate::ResidencyConfig).
    ///
    /// An emptied session keeps its handles, addresses, subscribers, turn and context, and is recovered from its log on
    /// the next call that needs its view. The call waits only until the views that nobody else holds are freed.
    pub fn empty_idle_sessions(&self) -> u64 {
        self.0.services.residency.empty_all()
    }

    /// The address of the actor that writes the log: for [`Restart`](crate::Restart).
    #[must_use]
    pub fn persist_address(&self) -> Addr<PersistActor> {
        self.0.services.persist.clone()
    }

    /// The address of the actor that serves blobs.
    #[must_use]
    pub fn blob_address(&self) -> Addr<BlobActor> {
        self.0.services.blob.clone()
    }

    /// Closes the store: finishes the appends in flight, ends the subscriptions, empties the write-ahead log. It may be
    /// called again; a later call waits for the same closing. Views already taken stay readable.
    ///
    /// A host that serves subscriptions, over HTTP for example, closes the store when it is told to end, and then waits
    /// for its server: closing the store ends the streams.
    ///
    /// # Cancellation
    /// Closing goes on when the future is dropped.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when sessions did not finish within the configuration's `close_timeout`, or the log
    /// could not be closed in order. The store is closed all the same, and what was acknowledged is durable.
    pub async fn close(&self) -> Result<(), Error> {
        self.0.services.check_process()?;
        let closed = self.0.start_closing();
        closed.await
    }
}

/// The state of a session as its log has it.
#[non_exhaustive]
pub struct StoredState<M: SessionModel> {
    /// The folded view.
    pub view: View<M>,
    /// What folding the log found.
    pub report: RecoveryReport,
}

impl<M: SessionModel> StoredState<M> {
    /// Folds a log: from its stored view, if it has one that can be used.
    fn read(
        reader: &mut dyn LogReader,
        session: &SessionId,
        log: LogMeta,
        snapshots: &SnapshotStore,
        metrics: &Metrics,
        page_events: usize,
    ) -> Result<Self, Error> {
        let fold = Fold { session, log, head: None, until: None, watch: &[], keys_max: 0, page_events };
        let Recovered { view, report, .. } = fold.run::<M>(reader, |reader| snapshots.load(reader, &log, metrics))?;
        Ok(Self { view: Arc::unwrap_or_clone(view), report })
    }
}

impl<M: SessionModel> Clone for StoredState<M> {
    fn clone(&self) -> Self {
        Self { view: self.view.clone(), report: self.report.clone() }
    }
}

impl<M: SessionModel> std::fmt::Debug for StoredState<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredState").field("view", &self.view).field("report", &self.report).finish()
    }
}

/// One session of [`Store::list_sessions`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionSummary {
    /// The session's id.
    pub id: SessionId,
    /// When the session was created.
    pub created: Timestamp,
    /// The session's last committed event.
    pub head: EventId,
    /// The session's title, as of `head`; empty if it has none. [`Session::describe`] gives it.
    pub title: String,
    /// The session's labels, each with its value.
    pub labels: BTreeMap<String, String>,
}

impl From<SessionRow> for SessionSummary {
    fn from(row: SessionRow) -> Self {
        let core = row.core.unwrap_or_else(|| {
            log::error!("a session is listed without its title and labels, which cannot be read: verify names it");
            SessionCore::default()
        });
        Self { id: row.session, created: row.created, head: row.head, title: core.title, labels: core.labels }
    }
}

/// The text that a blob holds.
pub(crate) fn text_of(blob: &BlobRef, bytes: Vec<u8>) -> Result<String, Error> {
    let no_text = |_| ErrorKind::InvalidArgument { what: format!("blob {} is not UTF-8 text", blob.digest) }.into();
    String::from_utf8(bytes).map_err(no_text)
}
