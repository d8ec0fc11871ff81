//! Deleting sessions, and waiting until nothing is left of them.

use super::Store;
use super::registry::Reservation;
use crate::commit::Erase;
use crate::error::Error;
#[expect(unused_imports, reason = "for links of the rustdoc")]
use crate::error::ErrorKind;
use crate::id::{EventId, SessionId};
use crate::model::SessionModel;
use crate::port::LogKey;
use crate::threads::lock;

/// What [`Store::erase_deleted`] leaves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Erased {
    /// How many sessions that were deleted, or of which events were redacted, may still have bytes of that in the
    /// store, since something keeps them: a program that reads the log or another store that writes it, and then this
    /// store goes on by itself; or damage, and then [`Store::repair`] makes a directory without them. The log of the
    /// program says which.
    pub pending: u64,
    /// Files that foldlog has kept for people and does not remove: copies of damaged write-ahead logs. They may hold
    /// anything that the log ever held.
    pub copies: Vec<String>,
}

impl Erased {
    /// Tells whether no byte is left of what was deleted or redacted.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.pending == 0 && self.copies.is_empty()
    }
}

impl<M: SessionModel> Store<M> {
    /// Deletes a session with all of its events, for good. When this call has answered, the name is gone, also after a
    /// power cut: the list of sessions does not have it, and [`Store::open_session`] makes a new, empty session of that
    /// name. Every handle of the deleted session, here and in other stores, gets [`ErrorKind::SessionDeleted`] from
    /// then on, never the new session. What was in flight is answered, with its result or with that error; subscribers
    /// end with an [`Item::Failed`](crate::Item::Failed) that has it; a turn that somebody holds has ended.
    ///
    /// The events go after that, a few at a time between the commits, also in a store that opens the directory later;
    /// the room goes back to the file system as pages become free. [`Store::erase_deleted`] waits until nothing is left
    /// in any file. Blobs stay.
    ///
    /// An append key of the deleted session is unknown to a new session of that name: a retry that comes late is
    /// written there as a first append, if it goes through a handle of the new session.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownSession`]; [`ErrorKind::OwnedElsewhere`] if another store that is alive writes the session;
    /// [`ErrorKind::InvalidSessionId`], [`ErrorKind::DiskFull`], [`ErrorKind::CorruptStore`],
    /// [`ErrorKind::StoreClosed`]. [`ErrorKind::Unavailable`] and [`ErrorKind::MustReopen`] may come after the session
    /// was deleted: the same call again gives [`ErrorKind::UnknownSession`] then.
    ///
    /// # Cancellation
    /// Dropping the future cancels nothing that it has begun: the session may be deleted all the same.
    ///
    /// # Examples
    /// ```
    /// use foldlog::agent::{AgentBody, Message};
    /// use foldlog::{ErrorKind, Store, StoreConfig};
    ///
    /// # fn main() -> Result<(), foldlog::Error> { futures::executor::block_on(async {
    /// let store = Store::open(StoreConfig::memory()).await?;
    /// let session = store.open_session("support-4711").await?;
    /// session.append(AgentBody::MessageAppended(Message::user("hello")))?.await?;
    ///
    /// store.delete_session("support-4711").await?;
    /// assert!(store.list_sessions(None, 10).await?.is_empty());
    /// let refused = session.append(AgentBody::MessageAppended(Message::user("again")));
    /// assert!(matches!(refused.expect_err("it is gone").kind(), ErrorKind::SessionDeleted { .. }));
    /// assert!(store.erase_deleted().await?.is_complete());
    /// # store.close().await }) }
    /// ```
    pub async fn delete_session(&self, id: impl AsRef<str>) -> Result<(), Error> {
        self.0.services.check_open()?;
        let id = SessionId::new(id)?;
        let log = self.find(&id).await?;
        self.delete(&id, log.key, None, None).await
    }

    /// Deletes the session of a log; if `head` is given, only if the log ends there. What was reserved of it stays so
    /// until the log has answered, also if nobody waits for the answer any more.
    pub(super) async fn delete(
        &self,
        id: &SessionId,
        log: LogKey,
        head: Option<EventId>,
        reserved: Option<Reservation<M>>,
    ) -> Result<(), Error> {
        let services = &self.0.services;
        services.check_open()?;
        let (store, session) = (self.clone(), id.clone());
        let tell = move || {
            let opened = lock(&store.0.registry).entry_of(&session, log).cloned();
            if let Some(entry) = opened {
                entry.end_deleted();
                store.forget(&entry);
            }
            drop(reserved);
        };
        services.delete(id, log, head, tell).await
    }

    /// Waits until nothing of the sessions that were deleted, and of the events that were redacted, is left in any file
    /// of the store, and does that work without a pause. What keeps it from being complete is in the answer: then the
    /// store goes on by itself, as it does without this call.
    ///
    /// # Errors
    /// [`ErrorKind::StoreClosed`]; [`ErrorKind::Unavailable`], [`ErrorKind::DiskFull`] or [`ErrorKind::CorruptStore`]
    /// if the log cannot be read or written.
    ///
    /// # Cancellation
    /// Dropping the future cancels nothing: the work goes on, as it does without this call.
    pub async fn erase_deleted(&self) -> Result<Erased, Error> {
        let services = &self.0.services;
        services.check_open()?;
        let left = services.erase(Erase::All).await?;
        Ok(Erased { pending: left.logs + left.redacted, copies: left.copies })
    }
}
