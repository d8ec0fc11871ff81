//! The handle of one session.

use std::any::Any;
use std::sync::Arc;

use actix::{Addr, Recipient};
use futures::channel::oneshot;

use crate::agent::Agent;
use crate::error::{Error, ErrorKind};
use crate::id::{EventId, SessionId};
use crate::log_position::LogPosition;
use crate::model::{SessionModel, Unfinished, View};
use crate::replay::EventPage;
use crate::replay::{Condition, RecoveryReport};
use crate::session::SessionActor;
use crate::session::Task;
use crate::session::{Append, Describe, Receipt, Redact, Redaction};
use crate::session::{Delivery, EventStream, SubscribeFrom, Subscription};
use crate::session::{Entry, TurnGuard};
use crate::session::{Recovery, Subscribe, SubscribeStream};
use crate::store::Store;
use crate::threads::guarded;

/// The handle of an open session. Its clones, and the handles that other calls of [`Store::open_session`] give for the
/// same id, are handles of the same session.
pub struct Session<M: SessionModel = Agent> {
    store: Store<M>,
    entry: Arc<Entry<M>>,
}

impl<M: SessionModel> Clone for Session<M> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), entry: Arc::clone(&self.entry) }
    }
}

impl<M: SessionModel> std::fmt::Debug for Session<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Session").field(self.id()).finish()
    }
}

impl<M: SessionModel> Session<M> {
    pub(super) fn new(store: Store<M>, entry: Arc<Entry<M>>) -> Self {
        Self { store, entry }
    }

    pub(crate) fn entry(&self) -> &Arc<Entry<M>> {
        &self.entry
    }

    /// The session's id.
    #[must_use]
    pub fn id(&self) -> &SessionId {
        &self.entry.id
    }

    /// The store that opened the session.
    #[must_use]
    pub fn store(&self) -> &Store<M> {
        &self.store
    }

    /// Gives the current view. Every append whose receipt has answered is in it. While the session is in memory, this
    /// call never waits: neither for a write nor for the actor.
    ///
    /// An idle session may have been emptied, by the limits of [`ResidencyConfig`](crate::ResidencyConfig). Then this
    /// call blocks while another thread reads the log, and the session is in memory again. It may be called on any
    /// thread, also on the one that the session's actor runs on. [`Session::current_view`] does the same without
    /// blocking.
    ///
    /// - If another store writes the session, the view is as old as this store's last read of the log.
    ///   [`Session::recovery`] brings it up to date; [`Store::read_state`] reads the log and leaves the session alone.
    /// - If the [`condition`](Session::condition) is `Unfoldable`, the view ends before that event.
    /// - After the session or the store was closed, the last view stays readable if the session was in memory then. So
    ///   it does in a process that was forked from this one: it is the view of the moment of the fork.
    ///
    /// # Errors
    /// Only if the session was emptied: [`ErrorKind::CorruptEvent`], [`ErrorKind::Undecodable`],
    /// [`ErrorKind::CorruptStore`] or [`ErrorKind::Unavailable`] if its log cannot be read; [`ErrorKind::StoreClosed`]
    /// if the store was closed since.
    pub fn view(&self) -> Result<Arc<View<M>>, Error> {
        self.entry.view()
    }

    /// Gives the same as [`Session::view`], without blocking the thread while the log of an emptied session is read. If
    /// this store does not own the session, the log is asked first whether another store has deleted it, or redacted
    /// events of it since the view was folded: then the log is read anew. Other events of that store do not bring the
    /// view up to date.
    ///
    /// # Errors
    /// Those of [`Session::view`], also if the log is read anew; [`ErrorKind::SessionDeleted`].
    pub async fn current_view(&self) -> Result<Arc<View<M>>, Error> {
        self.noticed(Arc::clone(&self.entry).current_view().await)
    }

    /// Tells whether the session can be appended to as far as its log goes, and if not, why. It is `Ready` also while
    /// another store writes the session.
    #[must_use]
    pub fn condition(&self) -> Condition {
        (*self.entry.condition()).clone()
    }

    /// Appends one body. The append takes its place in the session's order at this call; the receipt only reports the
    /// outcome, when the event is durable and in the view. Await the receipt: [to block on it](Receipt#blocking) on the
    /// thread that the session runs on waits for ever.
    ///
    /// # Errors
    /// From this call: [`ErrorKind::Busy`] if the session or the store has as much in flight as
    /// [`StoreConfig`](crate::StoreConfig) allows; [`ErrorKind::TooLarge`] if the append has more bytes than
    /// [`StoreConfig::batch_bytes_max`](crate::StoreConfig::batch_bytes_max) or than may ever be in flight;
    /// [`ErrorKind::BodyRefused`], [`ErrorKind::SessionClosed`], [`ErrorKind::StoreClosed`], and
    /// [`ErrorKind::MustReopen`] if the arbiters for session actors have ended. From the receipt: see [`Receipt`].
    pub fn append(&self, body: M::Body) -> Result<Receipt<M>, Error> {
        self.append_with(Append::new(body))
    }

    /// Appends bodies with consecutive ids, all or nothing. An empty batch writes nothing and succeeds.
    ///
    /// # Errors
    /// Those of [`Session::append`], and [`ErrorKind::TooLarge`] also if there are more bodies than
    /// [`StoreConfig::batch_events_max`](crate::StoreConfig::batch_events_max).
    pub fn append_batch(&self, bodies: Vec<M::Body>) -> Result<Receipt<M>, Error> {
        self.append_with(Append::batch(bodies))
    }

    /// Appends under conditions: an expected head, an append key.
    ///
    /// # Errors
    /// Those of [`Session::append_batch`]; from the receipt also [`ErrorKind::HeadMoved`] and [`ErrorKind::KeyReused`].
    pub fn append_with(&self, append: Append<M>) -> Result<Receipt<M>, Error> {
        self.entry.append(append)
    }

    /// Gives the session a title and labels, by an event of foldlog's own: [`LogEvent::Own`](crate::LogEvent::Own). It
    /// takes its place among the appends at this call, and is answered as they are: `head` is its event. From then on
    /// [`View::core`] and [`Store::list_sessions`] have it.
    ///
    /// # Errors
    /// From this call: [`ErrorKind::TooLarge`] or [`ErrorKind::InvalidArgument`] for a title or label beyond the
    /// [limits](Describe#limits), and those of [`Session::append`]. From the receipt: see [`Receipt`]; and
    /// [`ErrorKind::TooLarge`] if the session would have too many labels.
    ///
    /// # Examples
    /// ```
    /// # use foldlog::{Describe, Error, Store, StoreConfig};
    /// # fn main() -> Result<(), Error> { futures::executor::block_on(async {
    /// # let store = Store::open(StoreConfig::memory()).await?;
    /// let session = store.open_session("support-4711").await?;
    /// session.describe(Describe::new().title("Broken printer").label("team", "support"))?.await?;
    /// session.describe(Describe::new().label("priority", "2"))?.await?;
    /// assert_eq!(session.view()?.core().title, "Broken printer");
    /// let listed = store.list_sessions(None, 10).await?;
    /// assert_eq!((listed[0].title.as_str(), listed[0].labels.len()), ("Broken printer", 2));
    /// # store.close().await
    /// # }) }
    /// ```
    pub fn describe(&self, describe: Describe<M>) -> Result<Receipt<M>, Error> {
        self.entry.append(describe.into_append())
    }

    /// Redacts events: takes what they say out of the session, for good. Each event keeps its id, its time and its
    /// place in the log's chain, and what is left of its body is what [`Redact`] says. An event of foldlog's own,
    /// `foldlog.redacted`, says which events were redacted, and why.
    ///
    /// The redaction takes its place among the appends when the future is first polled. When it answers, it is durable;
    /// [`Session::view`] has only what is left, and so have all pages and subscribers, also in other processes from
    /// their next page or [`Session::current_view`] on. Subscribers learn of it by the event. What they were given
    /// before, what the host itself has kept, and backups made before hold the old events still: see docs/lifecycle.md.
    ///
    /// The answer says whether bytes of the old events are left in a file of the store: in a row, a free page, the
    /// write-ahead log, a stored view, a temporary file. If a program keeps something, such as one that reads the log
    /// in a long transaction, the store goes on by itself; [`Store::erase_deleted`] waits for it.
    ///
    /// The append keys of the events go, too. A retry under such a key still gets what the first append wrote, as it is
    /// now; its bodies are not compared any more.
    ///
    /// # Errors
    /// [`ErrorKind::BodyRefused`] if a replacement is refused: it is of another type, would change the counters or
    /// another id, does not pass the model's `check`, or cannot be folded. [`ErrorKind::InvalidArgument`] for an event
    /// that the session does not have, or if none is named; [`ErrorKind::TooLarge`] for more events than
    /// [`StoreConfig::batch_events_max`](crate::StoreConfig::batch_events_max), for a replacement of more bytes than
    /// [`StoreConfig::record_bytes_max`](crate::StoreConfig::record_bytes_max), for replacements that together have
    /// more than [`StoreConfig::batch_bytes_max`](crate::StoreConfig::batch_bytes_max), or for a reason of more than
    /// 1,024 bytes. Those of
    /// [`Session::append_with`] and of its [`Receipt`]: then nothing was redacted, unless the error is
    /// [`ErrorKind::OutcomeUnknown`]. After the redaction was written, [`ErrorKind::StoreClosed`],
    /// [`ErrorKind::Unavailable`], [`ErrorKind::DiskFull`] or [`ErrorKind::CorruptStore`] may come of the erasure: the
    /// next store that opens goes on with it.
    ///
    /// # Cancellation
    /// Once it was polled, dropping the future cancels nothing.
    ///
    /// # Examples
    /// ```
    /// use foldlog::agent::{AgentBody, Message};
    /// use foldlog::{Erasure, Redact, Store, StoreConfig};
    ///
    /// # fn main() -> Result<(), foldlog::Error> { futures::executor::block_on(async {
    /// # let store = Store::open(StoreConfig::memory()).await?;
    /// let session = store.open_session("support-4711").await?;
    /// let said = session.append(AgentBody::MessageAppended(Message::user("my key is sk-4711")))?.await?.head;
    ///
    /// let redaction = session.redact(Redact::new([said]).reason("a key, reported by Ada")).await?;
    /// assert_eq!(redaction.erasure, Erasure::Complete);
    /// assert!(!format!("{:?}", session.view()?).contains("sk-4711"));
    /// assert!(store.verify().await?.is_sound());
    /// # store.close().await
    /// # }) }
    /// ```
    pub async fn redact(&self, redact: Redact<M>) -> Result<Redaction, Error> {
        Arc::clone(&self.entry).redact(redact).await
    }

    /// Gives the last stamped event and the counters, from which the next append goes on. Waits until the appends that
    /// were made before are stamped.
    ///
    /// # Errors
    /// Those of [`Session::recovery`].
    pub async fn counters(&self) -> Result<(EventId, M::Counters), Error> {
        self.entry.services.check_open()?;
        let (sender, receiver) = oneshot::channel();
        self.entry.tell(Task::NextIds(sender))?;
        receiver.await.unwrap_or_else(|_| Err(self.entry.closed()))
    }

    /// Reads a page of the committed events after `after`, an [`EventId`] or a [`LogPosition`], in order: up to
    /// `events_max` (at least one), and no more than
    /// [`StoreConfig::page_events_max`](crate::StoreConfig::page_events_max).
    ///
    /// # Errors
    /// [`ErrorKind::CorruptEvent`], [`ErrorKind::Undecodable`] or [`ErrorKind::NewerRecord`] if the page begins with
    /// such an event; [`ErrorKind::BeyondHead`] if the log has not reached `after`; [`ErrorKind::OtherHistory`] if the
    /// event there is not the one of the position; [`ErrorKind::CorruptStore`] or [`ErrorKind::Unavailable`] if the log
    /// cannot be read; [`ErrorKind::Busy`] if the queue of reads is full; [`ErrorKind::StoreClosed`].
    pub async fn events_after(&self, after: impl Into<LogPosition>, events_max: usize) -> Result<EventPage<M>, Error> {
        self.entry.services.check_open()?;
        self.noticed(Arc::clone(&self.entry).events_after(after.into(), events_max).await)
    }

    /// Delivers a transient, which is never persisted, to the subscribers, after all appends that were made before. A
    /// transient of a stream is kept in memory for subscribers who come late, until an event ends the stream: see
    /// [`SessionModel::transient_key`].
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] if the session has
    /// [`session_in_flight_max`](crate::StoreConfig::session_in_flight_max) appends and transients in flight;
    /// [`ErrorKind::SessionClosed`], [`ErrorKind::StoreClosed`], [`ErrorKind::Unavailable`].
    pub fn notify(&self, transient: M::Transient) -> Result<(), Error> {
        self.entry.services.check_open()?;
        let task = Task::Transient(transient, self.entry.transient_permit()?);
        self.entry.tell(task)
    }

    /// Follows the session as a stream, which ends when the session or the store is closed. If another store writes the
    /// session, the stream gives the events until now, and later ones once this store owns the session.
    ///
    /// # Errors
    /// [`ErrorKind::BeyondHead`] for a position that the log has not reached; [`ErrorKind::OtherHistory`] for one of
    /// another history; [`ErrorKind::Busy`] if the position has to be looked for in the log, and the queue of reads is
    /// full. Those of [`Session::recovery`].
    pub async fn subscribe(&self, from: SubscribeFrom) -> Result<EventStream<M>, Error> {
        self.recovery().await?;
        let request = SubscribeStream { from, model: std::marker::PhantomData };
        let sent = self.address()?.send(request).await;
        sent.unwrap_or_else(|_| Err(self.entry.closed()))
    }

    /// Follows the session with an actor, which gets one [`Delivery`] at a time. An actor that dies is unsubscribed; a
    /// slow actor delays nobody else.
    ///
    /// # Errors
    /// Those of [`Session::subscribe`].
    ///
    /// # Cancellation
    /// If the future is dropped, the actor may be subscribed all the same.
    pub async fn subscribe_actor(
        &self,
        from: SubscribeFrom,
        recipient: Recipient<Delivery<M>>,
    ) -> Result<Subscription<M>, Error> {
        self.recovery().await?;
        let sent = self.address()?.send(Subscribe { from, recipient }).await;
        sent.unwrap_or_else(|_| Err(self.entry.closed()))
    }

    /// Takes the right to run the session's turn, until the guard is dropped. This store becomes the session's owner,
    /// and the view is brought up to date.
    ///
    /// # Errors
    /// [`ErrorKind::TurnInFlight`], [`ErrorKind::SessionStopped`], [`ErrorKind::TurnLimit`];
    /// [`ErrorKind::OwnedElsewhere`] for a session that another store writes; [`ErrorKind::NewerRecord`] or
    /// [`ErrorKind::Unfoldable`] for one that is read-only; [`ErrorKind::DiskFull`] if the ownership cannot be written.
    /// Those of [`Session::recovery`].
    ///
    /// A turn that is held for ever, by a task that hangs or a guard that was leaked, is taken away with
    /// [`Session::revoke_turn`].
    ///
    /// # Cancellation
    /// Dropping the future gives the turn back. This store may become the session's owner all the same.
    pub async fn take_turn(&self) -> Result<TurnGuard<M>, Error> {
        Arc::clone(&self.entry).take_turn().await
    }

    /// Takes the turn away from the guard that has it, whoever holds the guard, so that the next
    /// [`take_turn`](Session::take_turn) gets it; tells whether there was such a guard. For a guard that was leaked, or
    /// whose task hangs. A future that was about to begin a turn, and is kept without being polled, stops nobody any
    /// more, either.
    ///
    /// Nothing is appended: the turn stays unfinished in the log until the next one begins, or an event ends it. The
    /// task that had the guard is not stopped, and can go on appending: end it first, or let it ask
    /// [`TurnGuard::is_held`] when it comes back. A guard in another store is not reached: see [`Session::take_over`].
    pub fn revoke_turn(&self) -> bool {
        self.entry.revoke_turn()
    }

    /// Makes this store the session's owner though the present owner is alive, and brings the view up to date: for a
    /// present owner that hangs. A dead owner needs no take-over: the next append claims the session at once.
    ///
    /// From then on nothing that the old owner stamped is written. Its next append, or the next turn that it takes,
    /// fails with [`ErrorKind::OwnedElsewhere`], which names this store. (A turn that it takes while an append of its
    /// own is in flight it still gets: it learns by that append, which is refused, that it has lost the session.) It
    /// can still read, and it can take the session over in its turn. What it does outside of the log (a turn that it
    /// runs, a tool that it called) is not stopped: make sure first that the owner hangs, and is not only slow. If this
    /// store owns the session already, nothing changes.
    ///
    /// A process that was stopped in the middle of a commit holds the write lock of the whole directory. Then this
    /// waits, as every append of every store does, until that process goes on or is killed.
    ///
    /// # Errors
    /// [`ErrorKind::NewerRecord`] or [`ErrorKind::Unfoldable`] for a session that this build cannot write, which then
    /// keeps its owner; [`ErrorKind::DiskFull`] if the ownership cannot be written. Those of [`Session::recovery`].
    ///
    /// # Cancellation
    /// Dropping the future cancels nothing that it has begun: the session may be taken over all the same.
    pub async fn take_over(&self) -> Result<(), Error> {
        Arc::clone(&self.entry).take_over().await
    }

    /// Names what was begun and has no end, by the current view. A turn that runs now is among it. If the session was
    /// emptied, this call blocks, as [`Session::view`] does.
    ///
    /// # Errors
    /// Those of [`Session::view`]; [`ErrorKind::Unavailable`] if the session model panics.
    pub fn unfinished(&self) -> Result<Vec<Unfinished>, Error> {
        let view = self.view()?;
        guarded("unfinished", || M::unfinished(view.state()))
            .map_err(|panicked| ErrorKind::Unavailable { reason: panicked.to_string() }.into())
    }

    /// Gives the host's own object of type `T` for this session, such as an interpreter. The first caller makes the
    /// object; it is kept while the session stays open, and every handle gets the same one. If several callers make one
    /// at once, one of these objects is kept, and all get that one.
    pub fn context_or_insert_with<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        self.entry.context.get_or_insert_with(make)
    }

    /// Gives the host's own object of type `T`, if there is one.
    #[must_use]
    pub fn context<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.entry.context.get()
    }

    /// Waits until the session is recovered, and reports what its last recovery found. If another store writes the
    /// session, the view is brought up to date with what that store has written.
    ///
    /// # Errors
    /// [`ErrorKind::CorruptEvent`], [`ErrorKind::Undecodable`], [`ErrorKind::CorruptStore`] or
    /// [`ErrorKind::Unavailable`] if the session cannot be recovered; [`ErrorKind::SessionClosed`],
    /// [`ErrorKind::StoreClosed`].
    pub async fn recovery(&self) -> Result<RecoveryReport, Error> {
        self.entry.services.check_open()?;
        self.noticed(self.address()?.send(Recovery).await.unwrap_or_else(|_| Err(self.entry.closed())))
    }

    /// Gives the address of the session's actor. The address stays valid when the actor restarts.
    ///
    /// # Errors
    /// [`ErrorKind::SessionClosed`], [`ErrorKind::StoreClosed`], and [`ErrorKind::MustReopen`] if the arbiters for
    /// session actors have ended.
    pub fn address(&self) -> Result<Addr<SessionActor<M>>, Error> {
        self.entry.services.check_open()?;
        self.entry.address()
    }

    /// Closes this session for all of its handles: finishes what is in flight, ends its subscriptions, and gives up its
    /// log, so that another store may own it. The session can be opened again. Giving up the log is a write, so this
    /// call waits while another process holds the write lock. If that write fails, the session is closed all the same,
    /// but its log stays this store's until the store closes or the session is opened and closed again.
    ///
    /// # Errors
    /// [`ErrorKind::StoreClosed`], [`ErrorKind::Unavailable`]; [`ErrorKind::DiskFull`] or [`ErrorKind::CorruptStore`]
    /// if the log could not be given up. Closing a session that is closed or deleted is not an error; such a call may
    /// return before the call that has closed it.
    ///
    /// # Cancellation
    /// Dropping the future cancels nothing that it has begun: the session is closed all the same.
    pub async fn close(&self) -> Result<(), Error> {
        self.entry.services.check_process()?;
        let (sender, receiver) = oneshot::channel();
        let done = Box::new(move |_, released| {
            // The caller may have lost interest.
            let _ = sender.send(released);
        });
        let released = match self.entry.tell(Task::Close(done)) {
            // The sender is dropped when the session was closed by someone else.
            Ok(()) => receiver.await.unwrap_or(Ok(())),
            Err(error)
                if matches!(error.kind(), ErrorKind::SessionClosed { .. } | ErrorKind::SessionDeleted { .. }) =>
            {
                Ok(())
            }
            Err(error) => return Err(error),
        };
        self.store.forget(&self.entry);
        released
    }

    /// Takes a session that was found deleted out of the registry.
    fn noticed<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        result.inspect_err(|error| {
            if matches!(error.kind(), ErrorKind::SessionDeleted { .. }) {
                self.store.forget(&self.entry);
            }
        })
    }

    /// Takes the turn whatever the session model says of the session; `None` while somebody has it.
    pub(crate) fn take_turn_unchecked(&self) -> Option<TurnGuard<M>> {
        self.entry.take_turn_unchecked()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::AgentBody;
    use crate::config::StoreConfig;

    /// A session that recovers says that it is resident after its state is open to all: it may be emptied in between.
    #[test]
    fn a_session_that_enters_the_ring_when_it_is_cold_already_enters_it_again_when_it_wakes() {
        futures::executor::block_on(async {
            let store = Store::<Agent>::open_model(StoreConfig::memory()).await.unwrap();
            let session = store.open_session("s").await.unwrap();
            session.append(AgentBody::StopRequested).unwrap().await.unwrap();
            let emptied = || (0..10_000).find(|_| store.empty_idle_sessions() == 1).is_some();
            assert!(emptied());
            session.entry.enter_ring();
            assert_eq!(store.empty_idle_sessions(), 0);
            session.append(AgentBody::StopRequested).unwrap().await.unwrap();
            assert!(emptied(), "it stays in memory for ever");
            store.close().await.unwrap();
        });
    }
}
