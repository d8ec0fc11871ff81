//! The handle of one session.

use std::any::Any;
use std::sync::Arc;

use actix::{Addr, Recipient};
use futures::channel::oneshot;

use crate::agent::Agent;
use crate::error::{Error, ErrorKind};
use crate::id::{EventId, SessionId};
use crate::model::{SessionModel, Unfinished, View};
use crate::replay::EventPage;
use crate::replay::{Condition, RecoveryReport};
use crate::session::SessionActor;
use crate::session::Task;
use crate::session::{Append, Receipt};
use crate::session::{Delivery, EventStream, SubscribeFrom, Subscription};
use crate::session::{Entry, TurnGuard};
use crate::session::{Recovery, Subscribe, SubscribeStream};
use crate::store::Store;

/// The handle of an open session. Clones, and handles from other calls, are the same session.
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

    pub(super) fn entry(&self) -> &Arc<Entry<M>> {
        &self.entry
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &SessionId {
        &self.entry.id
    }

    /// The store it is of.
    #[must_use]
    pub fn store(&self) -> &Store<M> {
        &self.store
    }

    /// The current view. It shows every append whose receipt has answered, and of a session in memory it never waits: not
    /// for a write, not for the actor.
    ///
    /// A session that was idle may have been emptied, by the limits of [`ResidencyConfig`](crate::ResidencyConfig). Then
    /// this reads its log on another thread and waits for that, and the session is in memory again. It may be called
    /// anywhere, on the session's own arbiter too; [`Session::current_view`] keeps no thread waiting.
    ///
    /// Of a session that another store writes, it stands where this store last read the log: [`Session::recovery`]
    /// brings it up to date, and [`Store::read_state`] reads the log without it. Of a session whose
    /// [`condition`](Session::condition) is `Unfoldable` it stands before that event. Of a session that was in memory when
    /// it or its store was closed, the last view stays readable.
    ///
    /// # Errors
    /// Only of an emptied session, whose log cannot be read: [`ErrorKind::CorruptEvent`], [`ErrorKind::CorruptStore`],
    /// [`ErrorKind::Unavailable`]; [`ErrorKind::StoreClosed`] when it was emptied before the store was closed.
    pub fn view(&self) -> Result<Arc<View<M>>, Error> {
        self.entry.view()
    }

    /// The same as [`Session::view`], without keeping a thread waiting while an emptied session is read.
    ///
    /// # Errors
    /// Those of [`Session::view`].
    pub async fn current_view(&self) -> Result<Arc<View<M>>, Error> {
        Arc::clone(&self.entry).current_view().await
    }

    /// Whether it can be appended to.
    #[must_use]
    pub fn condition(&self) -> Condition {
        (*self.entry.condition()).clone()
    }

    /// Appends one body. It takes its place in the session's order now; the receipt answers when it is durable and
    /// folded.
    ///
    /// # Errors
    /// At once: [`ErrorKind::Busy`], [`ErrorKind::BodyRefused`], [`ErrorKind::SessionClosed`],
    /// [`ErrorKind::StoreClosed`]. By the receipt: see [`Receipt`].
    pub fn append(&self, body: M::Body) -> Result<Receipt<M>, Error> {
        self.append_with(Append::new(body))
    }

    /// Appends bodies with consecutive ids, all or nothing. An empty batch writes nothing and succeeds.
    ///
    /// # Errors
    /// Those of [`Session::append`], and [`ErrorKind::TooLarge`].
    pub fn append_batch(&self, bodies: Vec<M::Body>) -> Result<Receipt<M>, Error> {
        self.append_with(Append::batch(bodies))
    }

    /// Appends under conditions: an expected head, an append key.
    ///
    /// # Errors
    /// Those of [`Session::append_batch`]. By the receipt: [`ErrorKind::HeadMoved`], [`ErrorKind::KeyReused`] too.
    pub fn append_with(&self, append: Append<M>) -> Result<Receipt<M>, Error> {
        let (task, receipt) = self.entry.admit(append)?;
        self.entry.tell(task)?;
        Ok(receipt)
    }

    /// The last stamped event, and the counters that the next append goes on from.
    ///
    /// # Errors
    /// [`ErrorKind::SessionClosed`], [`ErrorKind::StoreClosed`].
    pub async fn counters(&self) -> Result<(EventId, M::Counters), Error> {
        self.entry.services.check_open()?;
        let (sender, receiver) = oneshot::channel();
        self.entry.tell(Task::NextIds(sender))?;
        receiver.await.unwrap_or_else(|_| Err(self.entry.closed()))
    }

    /// The committed events after one, up to `events_max` (at least one) and the configuration's page limit.
    ///
    /// # Errors
    /// [`ErrorKind::CorruptEvent`] or [`ErrorKind::NewerRecord`] when the page begins with such an event.
    pub async fn events_after(&self, after: EventId, events_max: usize) -> Result<EventPage<M>, Error> {
        self.entry.services.check_open()?;
        Arc::clone(&self.entry).events_after(after, events_max).await
    }

    /// Shows a live item to the subscribers, after every append that was accepted before it. It is never persisted.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`], [`ErrorKind::SessionClosed`], [`ErrorKind::StoreClosed`].
    pub fn notify(&self, transient: M::Transient) -> Result<(), Error> {
        self.entry.services.check_open()?;
        let task = Task::Transient(transient, self.entry.permit()?);
        self.entry.tell(task)
    }

    /// Follows the session as a stream, which ends when the session or the store is closed. What another store writes is
    /// followed up to now; the rest comes when this store takes over.
    ///
    /// # Errors
    /// Those of [`Session::recovery`].
    pub async fn subscribe(&self, from: SubscribeFrom) -> Result<EventStream<M>, Error> {
        self.recovery().await?;
        let request = SubscribeStream { from, model: std::marker::PhantomData };
        let sent = self.address()?.send(request).await;
        sent.unwrap_or_else(|_| Err(self.entry.closed())).map(EventStream)
    }

    /// Follows the session with an actor, which gets one [`Delivery`] at a time. An actor that dies is unsubscribed; one
    /// that is slow delays nobody.
    ///
    /// # Errors
    /// Those of [`Session::recovery`].
    pub async fn subscribe_actor(
        &self,
        from: SubscribeFrom,
        recipient: Recipient<Delivery<M>>,
    ) -> Result<Subscription<M>, Error> {
        self.recovery().await?;
        let sent = self.address()?.send(Subscribe { from, recipient }).await;
        sent.unwrap_or_else(|_| Err(self.entry.closed()))
    }

    /// Takes the session's turn: the right to run one, until the guard is dropped. The session becomes this store's to
    /// write, and its view current.
    ///
    /// # Errors
    /// [`ErrorKind::TurnInFlight`], [`ErrorKind::SessionStopped`], [`ErrorKind::TurnLimit`];
    /// [`ErrorKind::OwnedElsewhere`] for a session that another store writes; [`ErrorKind::NewerRecord`] or
    /// [`ErrorKind::Unfoldable`] for one that is read-only; [`ErrorKind::SessionClosed`], [`ErrorKind::StoreClosed`].
    pub async fn take_turn(&self) -> Result<TurnGuard<M>, Error> {
        Arc::clone(&self.entry).take_turn().await
    }

    /// Takes the session over from a store that hangs: makes it this store's to write though its owner is alive, and the
    /// view current. An owner that is dead needs none of this, for the next append claims its session at once.
    ///
    /// From then on nothing that the old owner stamped is written. It learns so from its next append, or when it takes
    /// the turn next: [`ErrorKind::OwnedElsewhere`] names this store. It reads on, and may take the session over in turn.
    /// What it does outside the log, in a turn that it is in the middle of, is not stopped: make sure first that the owner
    /// hangs, and is not merely slow. Taking over what this store owns changes nothing.
    ///
    /// A process that was stopped in the middle of a commit holds the write lock of the whole directory. Then this waits,
    /// as every append of every store does, until that process goes on or is killed.
    ///
    /// # Errors
    /// [`ErrorKind::NewerRecord`] or [`ErrorKind::Unfoldable`] for a session that this build cannot write: it stays its
    /// owner's. Those of [`Session::recovery`]; [`ErrorKind::SessionClosed`], [`ErrorKind::StoreClosed`].
    ///
    /// # Cancellation
    /// Dropping the future cancels nothing that it has begun: the session may be taken over all the same.
    pub async fn take_over(&self) -> Result<(), Error> {
        Arc::clone(&self.entry).take_over().await
    }

    /// What was begun and has no end, by the current [`view`](Session::view), which this waits for if need be. While a
    /// turn is on, that turn is among it.
    ///
    /// # Errors
    /// Those of [`Session::view`].
    pub fn unfinished(&self) -> Result<Vec<Unfinished>, Error> {
        Ok(M::unfinished(self.view()?.state()))
    }

    /// The host's own live context of type `T`, made by the first caller and kept while the session stays open: every
    /// handle gets the same.
    pub fn context_or_insert_with<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        self.entry.context.get_or_insert_with(make)
    }

    /// The host's own live context of type `T`, if there is one.
    #[must_use]
    pub fn context<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.entry.context.get()
    }

    /// Waits until the session is recovered, and tells what its last recovery found. A session that this store does not
    /// write is brought up to date with what another one has written.
    ///
    /// # Errors
    /// [`ErrorKind::CorruptEvent`], [`ErrorKind::Unavailable`]: why it cannot be recovered.
    pub async fn recovery(&self) -> Result<RecoveryReport, Error> {
        self.entry.services.check_open()?;
        self.address()?.send(Recovery).await.unwrap_or_else(|_| Err(self.entry.closed()))
    }

    /// The address of the session's actor. It stays valid when the actor restarts.
    ///
    /// # Errors
    /// [`ErrorKind::SessionClosed`], [`ErrorKind::StoreClosed`].
    pub fn address(&self) -> Result<Addr<SessionActor<M>>, Error> {
        self.entry.services.check_open()?;
        self.entry.address()
    }

    /// Closes this session, for all of its handles: finishes what is in flight, ends its subscriptions, lets another
    /// store write it. It can be opened again. Giving the log up is a write: while another process holds the database's
    /// write lock, this waits.
    ///
    /// # Errors
    /// [`ErrorKind::StoreClosed`]. Closing a closed session is not an error.
    pub async fn close(&self) -> Result<(), Error> {
        let (sender, receiver) = oneshot::channel();
        let done = Box::new(move |_| {
            // The caller may have lost interest.
            let _ = sender.send(());
        });
        match self.entry.tell(Task::Close(done)) {
            // The sender is dropped when the session was closed by someone else.
            Ok(()) => receiver.await.unwrap_or_default(),
            Err(error) if matches!(error.kind(), ErrorKind::SessionClosed { .. }) => {}
            Err(error) => return Err(error),
        }
        self.store.forget(self);
        Ok(())
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
