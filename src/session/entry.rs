//! A session's place in the registry: what outlives its actor, and what handles find it by.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use actix::prelude::*;
use futures::channel::oneshot;

use crate::error::{Error, ErrorKind};
use crate::id::{EventId, SessionId};
use crate::model::{SessionModel, Turns};
use crate::port::{Claim, Epoch, LogMeta};
use crate::replay::page::{EventPage, read_page};
use crate::replay::recovered::Condition;
use crate::session::actor::{Accept, SessionActor};
use crate::session::append::{Append, Counted, Flights, Receipt, Request};
use crate::session::messages::Recovery;
use crate::session::published::Published;
use crate::session::services::Services;
use crate::session::state::{ClaimTask, SessionState, Task};
use crate::threads::guard::guarded;
use crate::threads::workers::lock;

/// Types of foldlog's own events, which are the same for every model.
const RESERVED_TYPES: &str = "foldlog.";

pub(crate) struct Entry<M: SessionModel> {
    pub(crate) id: SessionId,
    pub(crate) log: LogMeta,
    pub(crate) services: Arc<Services>,
    pub(crate) state: Mutex<SessionState<M>>,
    published: Arc<Published<M>>,
    address: RwLock<Address<M>>,
    in_flight: Arc<Flights>,
    turn_taken: AtomicBool,
    /// Whether anybody has called since the residency asked last.
    pub(crate) used: AtomicBool,
    /// Whether the residency knows it.
    pub(crate) in_ring: AtomicBool,
    context: Mutex<Context>,
    /// Held while the session is being stopped, so that two who stop it do not both say so.
    pub(crate) stopping: futures::lock::Mutex<()>,
}

/// The host's own objects, one of each type.
type Context = HashMap<TypeId, Arc<dyn Any + Send + Sync>>;

/// An actor that an arbiter was asked to start. An arbiter that is just stopping takes it and never does.
struct Starting<M: SessionModel>(Option<Arc<Entry<M>>>);

impl<M: SessionModel> Drop for Starting<M> {
    fn drop(&mut self) {
        if let Some(entry) = self.0.take() {
            let services = Arc::clone(&entry.services);
            // On another thread: whoever asked may hold the lock on the address. A store that has closed its readers
            // has its sessions answered by the persist actor's last word.
            drop(services.readers.submit(move |_| entry.abandon_unless_served()));
        }
    }
}

enum Address<M: SessionModel> {
    Live(Addr<SessionActor<M>>),
    /// Not started yet.
    None,
    Closed,
}

impl<M: SessionModel> Entry<M> {
    /// `owned` is there for a session that was made this moment.
    pub(crate) fn start(
        id: SessionId,
        log: LogMeta,
        owned: Option<Epoch>,
        services: &Arc<Services>,
    ) -> Result<Arc<Self>, Error> {
        let keys_max = services.config.append_keys_max;
        let state = SessionState::new(id.clone(), log, owned, keys_max, &services.counters);
        let entry = Arc::new(Self {
            id,
            log,
            services: Arc::clone(services),
            published: Arc::clone(state.published()),
            state: Mutex::new(state),
            address: RwLock::new(Address::None),
            in_flight: Arc::new(Flights::new(Arc::clone(&services.counters))),
            turn_taken: AtomicBool::new(false),
            used: AtomicBool::new(false),
            in_ring: AtomicBool::new(false),
            context: Mutex::default(),
            stopping: futures::lock::Mutex::default(),
        });
        entry.address()?;
        if owned.is_some() {
            entry.enter_ring();
        }
        Ok(entry)
    }

    pub(crate) fn published(&self) -> &Published<M> {
        &self.published
    }

    /// Notes that somebody calls. Only the first call after the residency has looked writes.
    pub(crate) fn touch(&self) {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn condition(&self) -> Arc<Condition> {
        self.published.condition()
    }

    /// The live actor. One whose arbiter has died is started anew on another, and recovers.
    pub(crate) fn address(self: &Arc<Self>) -> Result<Addr<SessionActor<M>>, Error> {
        if let Address::Live(address) = &*self.address.read().unwrap_or_else(PoisonError::into_inner)
            && address.connected()
        {
            return Ok(address.clone());
        }
        let mut slot = self.address.write().unwrap_or_else(PoisonError::into_inner);
        match &*slot {
            Address::Closed => return Err(self.closed()),
            Address::Live(address) if address.connected() => return Ok(address.clone()),
            Address::Live(_) | Address::None => {}
        }
        for seat in self.services.seats_in_turn() {
            let courier = seat.courier.clone();
            let mut starting = Starting(Some(Arc::clone(self)));
            let address = Supervisor::start_in_arbiter(&seat.arbiter, move |_| {
                let entry = starting.0.take();
                // The closure is an `FnOnce`, and only its drop takes the entry otherwise.
                SessionActor::new(entry.unwrap_or_else(|| unreachable!("an actor starts once")), courier)
            });
            if address.connected() {
                *slot = Address::Live(address.clone());
                return Ok(address);
            }
        }
        drop(slot);
        // Nobody can answer what is in flight any more.
        lock(&self.state).abandon();
        let reason = "the arbiters for its sessions have stopped".to_owned();
        Err(ErrorKind::Unavailable { reason }.into())
    }

    /// Answers what is in flight, if no actor is there to do it.
    fn abandon_unless_served(&self) {
        let served = match &*self.address.read().unwrap_or_else(PoisonError::into_inner) {
            Address::Live(address) => address.connected(),
            Address::None => false,
            Address::Closed => true,
        };
        if !served {
            lock(&self.state).abandon();
        }
    }

    /// Whether neither the session nor the store is closed.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        match &*self.address.read().unwrap_or_else(PoisonError::into_inner) {
            Address::Closed => Err(self.closed()),
            Address::Live(_) | Address::None => self.services.check_open(),
        }
    }

    /// Reads a page of the log.
    pub(crate) async fn events_after(
        self: Arc<Self>,
        after: EventId,
        events_max: usize,
    ) -> Result<EventPage<M>, Error> {
        let services = Arc::clone(&self.services);
        let events_max = events_max.clamp(1, services.config.page_events_max);
        services.readers.read(move |reader| read_page(reader, &self.id, self.log, after, events_max)).await
    }

    fn closed(&self) -> Error {
        match self.services.check_open() {
            Err(error) => error,
            Ok(()) => ErrorKind::SessionClosed { session: self.id.clone() }.into(),
        }
    }

    /// Hands the session a task, which takes its place in the session's order now.
    #[expect(
        clippy::disallowed_methods,
        reason = "the order of the calls is the order of the log; callers are counted"
    )]
    pub(crate) fn tell(self: &Arc<Self>, task: Task<M>) -> Result<(), Error> {
        self.touch();
        if let Address::Live(address) = &*self.address.read().unwrap_or_else(PoisonError::into_inner)
            && address.connected()
        {
            address.do_send(Accept(task));
            return Ok(());
        }
        self.address()?.do_send(Accept(task));
        Ok(())
    }

    /// Lets go of the actor, which ends once nobody else holds its address, and of the host's context.
    pub(crate) fn mark_closed(&self) {
        *self.address.write().unwrap_or_else(PoisonError::into_inner) = Address::Closed;
        // Dropped without the lock: it is the host's code, and may hold a handle of this session.
        let context = std::mem::take(&mut *lock(&self.context));
        drop(context);
    }

    /// Counts one more thing in flight.
    pub(crate) fn enter(&self) -> Result<Counted, Error> {
        let limit = self.services.config.session_in_flight_max;
        Counted::enter(&self.in_flight, limit)
            .ok_or_else(|| ErrorKind::Busy { what: "queue of appends in flight", limit: limit as u64 }.into())
    }

    /// Checks an append as far as the caller's thread can.
    pub(crate) fn admit(&self, append: Append<M>) -> Result<(Task<M>, Receipt<M>), Error> {
        let asked = Instant::now();
        self.services.check_open()?;
        let limit = self.services.config.batch_events_max;
        if append.bodies.len() > limit {
            let (size, limit) = (append.bodies.len() as u64, limit as u64);
            return Err(ErrorKind::TooLarge { what: "batch", unit: "events", size, limit }.into());
        }
        for body in &append.bodies {
            let check = || {
                let event_type = M::event_type(body);
                if event_type.starts_with(RESERVED_TYPES) {
                    return Err(format!("event type {event_type} is reserved"));
                }
                M::check(body)
            };
            guarded("event_type or check", check)
                .unwrap_or_else(|panicked| Err(panicked.to_string()))
                .map_err(|reason| Error::from(ErrorKind::BodyRefused { reason }))?;
        }
        let entered = self.enter().inspect_err(|_| self.services.counters.append_busy())?;
        let (request, receipt) = Request::new(append, self.id.clone(), asked, entered);
        Ok((Task::Append(request), receipt))
    }

    /// Takes the turn, if the session still has turns to take and is this store's to write.
    pub(crate) async fn take_turn(self: Arc<Self>) -> Result<TurnGuard<M>, Error> {
        self.check_turns().await?;
        let session = self.id.clone();
        let Some(guard) = self.take_turn_unchecked() else {
            return Err(ErrorKind::TurnInFlight { session }.into());
        };
        self.claim(Claim::Yes).await?;
        // Once more: the session may have stopped while the last turn was on, or in the store that wrote it before.
        self.check_turns().await?;
        Ok(guard)
    }

    /// Makes the session this store's to write, whoever has it.
    pub(crate) async fn take_over(self: Arc<Self>) -> Result<(), Error> {
        self.check_open()?;
        // By what the log holds now: a build that cannot write the session leaves it to the one that does.
        self.address()?.send(Recovery).await.unwrap_or_else(|_| Err(self.closed()))?;
        if let Some(error) = self.published.refusal(&self.id) {
            return Err(error);
        }
        self.claim(Claim::Force).await
    }

    async fn claim(self: &Arc<Self>, claim: Claim) -> Result<(), Error> {
        let (reply, receiver) = oneshot::channel();
        self.tell(Task::Claim(ClaimTask { claim, asked: false, reply }))?;
        receiver.await.unwrap_or_else(|_| Err(self.closed()))
    }

    /// Takes the turn whatever the model says of the session: to stop it, for example.
    pub(crate) fn take_turn_unchecked(self: &Arc<Self>) -> Option<TurnGuard<M>> {
        let taken = self.turn_taken.swap(true, Ordering::AcqRel);
        (!taken).then(|| TurnGuard(Arc::clone(self)))
    }

    async fn check_turns(self: &Arc<Self>) -> Result<(), Error> {
        self.check_open()?;
        if let Some(error) = self.published.refusal(&self.id) {
            return Err(error);
        }
        let view = Arc::clone(self).current_view().await?;
        let Turns { stopped, started } = guarded("turns", || M::turns(&view))
            .map_err(|panicked| Error::from(ErrorKind::Unavailable { reason: panicked.to_string() }))?;
        let session = self.id.clone();
        match self.services.config.session_turns_max {
            _ if stopped => Err(ErrorKind::SessionStopped { session }.into()),
            Some(limit) if started >= limit => Err(ErrorKind::TurnLimit { session, turns: started, limit }.into()),
            _ => Ok(()),
        }
    }

    pub(crate) fn context<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let context = lock(&self.context).get(&TypeId::of::<T>()).cloned();
        context.and_then(|context| context.downcast().ok())
    }

    pub(crate) fn context_or_insert_with<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        if let Some(context) = self.context() {
            return context;
        }
        // Made without the lock, since it is the host's code; the first to put it there wins.
        let made: Arc<dyn Any + Send + Sync> = Arc::new(make());
        let context = Arc::clone(lock(&self.context).entry(TypeId::of::<T>()).or_insert(made));
        match context.downcast() {
            Ok(context) => context,
            // This function alone puts values into the map, each under its own type.
            Err(_) => unreachable!("the map is keyed by the type of its values"),
        }
    }
}

/// The right to run a session's turn. One at a time; given back when dropped.
///
/// It excludes other takers, in this store and, until the session is taken over, in others; and says nothing about the log:
/// dropping it appends nothing. A turn that was started stays running there until an event ends it;
/// [`Session::unfinished`](crate::Session::unfinished) finds one that was forgotten.
pub struct TurnGuard<M: SessionModel>(Arc<Entry<M>>);

impl<M: SessionModel> std::fmt::Debug for TurnGuard<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TurnGuard").field(&self.0.id).finish()
    }
}

impl<M: SessionModel> Drop for TurnGuard<M> {
    fn drop(&mut self) {
        self.0.turn_taken.store(false, Ordering::Release);
    }
}
