//! Reading a store whatever its session model is: [`UntypedStore`].

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::blobs::Swept;
use crate::config::StoreConfig;
use crate::error::{Error, OwnerInfo};
use crate::id::{AppendKey, BlobRef, Digest, EventId, SessionId, Timestamp};
use crate::log_position::LogPosition;
use crate::port::{Format, Head, LogReader, StoredRow};
use crate::replay::{open_record, read_page_by};
use crate::store::SessionSummary;
use crate::store::read_only::{ReadOnlyInner, on_a_thread, read_found};
use crate::store::sweeping::Sweep;

/// A store that is only read, of whichever session model it is: for tools that do not know the model, and show what can
/// be read without it. It gives sessions, the headers of their events, and blobs. Bodies and views need the model:
/// [`ReadOnlyStore`](crate::ReadOnlyStore).
///
/// It opens where a [`ReadOnlyStore`](crate::ReadOnlyStore) does, and each call sees what is committed at that moment,
/// as there. Clones share it.
///
/// # Examples
/// ```
/// # use foldlog::agent::{AgentBody, Message};
/// # use foldlog::{EventId, Store, StoreConfig, UntypedStore};
/// # fn main() -> Result<(), foldlog::Error> { futures::executor::block_on(async {
/// # let directory = tempfile::tempdir().expect("a temporary directory");
/// # let path = directory.path();
/// # let host = Store::open(StoreConfig::directory(path)).await?;
/// # let session = host.open_session("support-4711").await?;
/// # session.append(AgentBody::MessageAppended(Message::user("hello")))?.await?;
/// let store = UntypedStore::open(StoreConfig::directory(path)).await?;
/// println!("a store of the model {}", store.model());
/// # assert_eq!(store.model(), "agent");
/// for session in store.list_sessions(None, 100).await? {
///     for header in store.headers_after(&session.id, EventId::ZERO, 100).await?.headers {
///         println!("{} {}: {}, {} bytes", session.id, header.id, header.event_type, header.record_bytes);
///         # assert_eq!(header.event_type, "message_appended");
///     }
/// }
/// # host.close().await?;
/// store.close().await
/// # }) }
/// ```
#[derive(Clone)]
pub struct UntypedStore {
    pub(super) inner: Arc<ReadOnlyInner>,
}

impl fmt::Debug for UntypedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UntypedStore").field("model", &self.model()).finish_non_exhaustive()
    }
}

/// What can be read of an event without its session model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct EventHeader {
    /// Its number in the session's log.
    pub id: EventId,
    /// When it was stamped.
    pub at: Timestamp,
    /// The type that is stored with it.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Where it is, for a reader that goes on from here later.
    pub position: LogPosition,
    /// The schema version of its body.
    pub schema: u16,
    /// The bytes of its record, in which the body is.
    pub record_bytes: u64,
    /// The first event of the append that it belongs to.
    pub append_first: EventId,
    /// The last event of that append.
    pub append_last: EventId,
    /// The append's key, on the first event of the append.
    #[serde(skip)]
    pub append_key: Option<AppendKey>,
    /// The blobs that its body references.
    pub refs: Vec<BlobRef>,
}

/// The headers of some events of a log, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HeaderPage {
    /// Those of the events after the one that was asked for.
    pub headers: Vec<EventHeader>,
    /// Whether more events may follow. If so, ask for the headers after the last of this page.
    pub more: bool,
}

impl UntypedStore {
    /// Opens a store to read it, whatever its session model is: nothing is made or changed.
    ///
    /// # Errors
    /// Those of [`Store::open_model_read_only`](crate::Store::open_model_read_only), but for
    /// [`ErrorKind::WrongModel`](crate::ErrorKind::WrongModel).
    pub async fn open(config: StoreConfig) -> Result<Self, Error> {
        config.check()?;
        let inner = on_a_thread("foldlog-open", move || ReadOnlyInner::open(&config, None)).await??;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The name of the store's session model: that of [`SessionModel::NAME`](crate::SessionModel::NAME).
    #[must_use]
    pub fn model(&self) -> &str {
        &self.inner.model
    }

    /// The format of the directory, as it was opened; `None` in memory. An older one becomes the newest when a store
    /// opens the directory to write, and builds of older releases cannot open it any more.
    #[must_use]
    pub fn format(&self) -> Option<Format> {
        self.inner.format
    }

    /// The store that writes a session, in this process or another one, if one does.
    ///
    /// # Errors
    /// Those of [`head`](Self::head), and [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if nobody can tell
    /// whether the owner is alive.
    pub async fn living_owner(&self, id: impl AsRef<str>) -> Result<Option<OwnerInfo>, Error> {
        let session = SessionId::new(id)?;
        let read = move |reader: &mut dyn LogReader| {
            read_found(reader, &session, |reader, log| {
                reader.living_owner(log.key).map_err(|error| error.of_session(&session))
            })
        };
        self.inner.open_here()?.readers.read(read).await
    }

    /// How many sessions that were deleted, or of which events were redacted, may still have bytes of that in the
    /// store: see [`Store::erase_deleted`](crate::Store::erase_deleted).
    ///
    /// # Errors
    /// Those of [`list_sessions`](Self::list_sessions).
    pub async fn pending_erasures(&self) -> Result<u64, Error> {
        let read = |reader: &mut dyn LogReader| Ok(reader.erasing()?);
        let left = self.inner.open_here()?.readers.read(read).await?;
        Ok(left.logs + left.redacted)
    }

    /// Tells what [`Store::sweep`](crate::Store::sweep) would remove now, as its dry run does, and needs no store that
    /// can write.
    ///
    /// # Errors
    /// Those of [`Store::sweep`](crate::Store::sweep) that come of reading.
    ///
    /// # Cancellation
    /// Dropping the future does not end the search.
    pub async fn sweep_dry_run(&self, sweep: Sweep) -> Result<Swept, Error> {
        self.inner.sweep_dry_run(sweep).await
    }

    /// Lists sessions in the order of their ids, up to `max` after `after`.
    ///
    /// # Errors
    /// Those of [`ReadOnlyStore::list_sessions`](crate::ReadOnlyStore::list_sessions).
    pub async fn list_sessions(&self, after: Option<SessionId>, max: usize) -> Result<Vec<SessionSummary>, Error> {
        self.inner.list_sessions(after, max).await
    }

    /// The last event of a session; [`EventId::ZERO`] if it has none.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidSessionId`](crate::ErrorKind::InvalidSessionId),
    /// [`ErrorKind::UnknownSession`](crate::ErrorKind::UnknownSession). Those of
    /// [`list_sessions`](Self::list_sessions).
    pub async fn head(&self, id: impl AsRef<str>) -> Result<EventId, Error> {
        Ok(self.read_head(id.as_ref()).await?.id)
    }

    /// When the last event of a session was stamped; `None` if the session has none. The time is stored beside the
    /// event's record: the record is neither read nor checked.
    ///
    /// # Errors
    /// Those of [`head`](Self::head).
    pub async fn head_at(&self, id: impl AsRef<str>) -> Result<Option<Timestamp>, Error> {
        let head = self.read_head(id.as_ref()).await?;
        Ok((head.id != EventId::ZERO).then_some(head.at))
    }

    async fn read_head(&self, id: &str) -> Result<Head, Error> {
        let session = SessionId::new(id)?;
        let read = move |reader: &mut dyn LogReader| {
            read_found(reader, &session, |reader, log| reader.head(log).map_err(|error| error.of_session(&session)))
        };
        self.inner.open_here()?.readers.read(read).await
    }

    /// Reads the headers of a session's committed events after `after`, in order: up to `events_max` (at least one),
    /// and no more than [`StoreConfig::page_events_max`]. Each event is checked against the chain hash of the one
    /// before it.
    ///
    /// # Errors
    /// Those of [`ReadOnlyStore::events_after`](crate::ReadOnlyStore::events_after), but for those of a body that this
    /// build does not decode.
    pub async fn headers_after(
        &self,
        id: impl AsRef<str>,
        after: impl Into<LogPosition>,
        events_max: usize,
    ) -> Result<HeaderPage, Error> {
        let (session, after) = (SessionId::new(id)?, after.into());
        let inner = self.inner.open_here()?;
        let events_max = events_max.clamp(1, inner.page_events_max);
        let read = move |reader: &mut dyn LogReader| {
            let header = |stored: StoredRow<'_>| EventHeader::of(&session, stored);
            let (headers, more) = read_found(reader, &session, |reader, log| {
                read_page_by(reader, &session, log, after, events_max, header)
            })?;
            Ok(HeaderPage { headers, more })
        };
        inner.readers.read(read).await
    }

    /// Reads a blob's bytes and checks them against its digest.
    ///
    /// # Errors
    /// Those of [`ReadOnlyStore::get_bytes`](crate::ReadOnlyStore::get_bytes).
    pub async fn get_bytes(&self, digest: Digest) -> Result<Vec<u8>, Error> {
        self.inner.get_bytes(digest).await
    }

    /// Closes the store, as [`ReadOnlyStore::close`](crate::ReadOnlyStore::close) does.
    ///
    /// # Errors
    /// Those of that call.
    ///
    /// # Cancellation
    /// Closing goes on when the future is dropped.
    pub async fn close(&self) -> Result<(), Error> {
        on_a_thread("foldlog-close", self.inner.open_here()?.closing()).await
    }
}

impl EventHeader {
    pub(super) fn of(session: &SessionId, stored: StoredRow<'_>) -> Result<Self, Error> {
        let (record, _) = open_record(session, stored)?;
        Ok(Self {
            id: stored.id,
            at: stored.at,
            event_type: stored.event_type.to_owned(),
            position: LogPosition::new(stored.id, stored.chain.start_bytes()),
            schema: record.schema,
            record_bytes: stored.record.len() as u64,
            append_first: record.first,
            append_last: record.last,
            append_key: stored.key.cloned(),
            refs: record.refs,
        })
    }
}
