//! A session's entry in the registry of its store. The entry outlives the session's actor, and handles find the actor
//! through it. Its folder has more of it: `turn` (the right to run a turn), `beginning` (one request at a time gets
//! it), `emptying` (out of memory), `waking` (back into memory), `reading` (pages, and what they tell) and `deleting`.

mod beginning;
mod deleting;
mod emptying;
mod reading;
mod turn;
mod waking;

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use actix::prelude::*;

use super::actor::{Accept, SessionActor};
use super::append::{Append, Bodies, Receipt};
use super::context::HostContext;
use super::in_flight::Request;
use super::permit::{EVENT_BYTES, InFlightCount, InFlightLimits, Permit};
use super::published::Published;
use super::services::Services;
use super::state::{Ended, SessionState, Task};
use crate::codec;
use crate::error::{Error, ErrorKind};
use crate::event::OwnBody;
use crate::id::SessionId;
use crate::model::SessionModel;
use crate::port::{Epoch, LogMeta};
use crate::replay::Condition;
use crate::threads::{guarded, lock};
pub(crate) use beginning::BeginningGuard;
use emptying::Residence;
pub(crate) use turn::HeldTurns;
pub use turn::TurnGuard;
pub(super) use waking::{fold_log, prepare_redaction};

/// See the module.
pub(crate) struct Entry<M: SessionModel> {
    pub(crate) id: SessionId,
    pub(crate) log: LogMeta,
    pub(crate) services: Arc<Services>,
    pub(super) state: Mutex<SessionState<M>>,
    published: Arc<Published<M>>,
    address: RwLock<Address<M>>,
    in_flight: Arc<InFlightCount>,
    residence: Residence,
    pub(crate) context: HostContext,
}

/// Where the session's actor is.
enum Address<M: SessionModel> {
    Live(Addr<SessionActor<M>>),
    /// No actor was started yet.
    None,
    Closed(Ended),
}

impl<M: SessionModel> Entry<M> {
    /// Makes the entry and starts the session's actor. `owned` is `Some` for a session that was created just now, whose
    /// log this store owns.
    pub(crate) fn start(
        id: SessionId,
        log: LogMeta,
        owned: Option<Epoch>,
        services: &Arc<Services>,
    ) -> Result<Arc<Self>, Error> {
        let keys_max = services.config.append_keys_max;
        let state = SessionState::new(id.clone(), log, owned, keys_max, &services.metrics, &services.kept_limits);
        let entry = Arc::new(Self {
            id,
            log,
            services: Arc::clone(services),
            published: Arc::clone(state.published()),
            state: Mutex::new(state),
            address: RwLock::new(Address::None),
            in_flight: Arc::new(InFlightCount::new(Arc::clone(&services.metrics))),
            residence: Residence::default(),
            context: HostContext::default(),
        });
        entry.address()?;
        if owned.is_some() {
            entry.enter_ring();
        }
        Ok(entry)
    }

    pub(super) fn published(&self) -> &Published<M> {
        &self.published
    }

    pub(crate) fn condition(&self) -> Arc<Condition> {
        self.published.condition()
    }

    /// Makes those checks of an append that need nothing of the session's state, and counts the append as in flight.
    /// Runs on the caller's thread.
    pub(crate) fn admit(&self, append: Append<M>) -> Result<(Task<M>, Receipt<M>), Error> {
        let asked = Instant::now();
        self.services.check_open()?;
        let config = &self.services.config;
        let limit = config.batch_events_max;
        if append.bodies.len() > limit {
            let (size, limit) = (append.bodies.len() as u64, limit as u64);
            return Err(ErrorKind::TooLarge { what: "batch", unit: "events", size, limit }.into());
        }
        match &append.bodies {
            Bodies::Model(_) => {}
            Bodies::Own(body) => body.check()?,
        }
        let redacted = match &append.redact {
            Some(redact) => redact.check(limit)?,
            None => 0,
        };
        let size = match &append.bodies {
            Bodies::Model(bodies) => bodies.iter().map(checked_bytes::<M>).sum::<Result<u64, _>>(),
            Bodies::Own(body) => body.encode().map(|bytes| bytes.len() as u64).map_err(|error| error.to_string()),
        };
        let refused = |reason| Error::from(ErrorKind::BodyRefused { reason });
        let size = size.map_err(refused)? + redacted + append.bodies.len() as u64 * EVENT_BYTES;
        let limits = InFlightLimits::of(config);
        let limit = limits.append_bytes_max().min(config.batch_bytes_max as u64);
        if size > limit {
            return Err(ErrorKind::TooLarge { what: "append", unit: "bytes", size, limit }.into());
        }
        let permit = Permit::take(&self.in_flight, size, limits);
        let permit = permit.inspect_err(|_| self.services.metrics.append_busy())?;
        let (request, receipt) = Request::new(append, self.id.clone(), self.services.process, asked, permit);
        Ok((Task::Append(request), receipt))
    }

    /// Hands over an append, which takes its place in the session's order at this call.
    pub(crate) fn append(self: &Arc<Self>, append: Append<M>) -> Result<Receipt<M>, Error> {
        let (task, receipt) = self.admit(append)?;
        self.tell(task)?;
        Ok(receipt)
    }

    /// Counts one more transient as in flight, unless the session is at its limit. Its size is not known.
    pub(crate) fn transient_permit(&self) -> Result<Permit, Error> {
        Permit::take(&self.in_flight, 0, InFlightLimits::of(&self.services.config))
    }

    /// Hands the session a task, which takes its place in the session's order at this call.
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

    /// Gives the address of the session's live actor. An actor whose arbiter has ended is started again on another
    /// arbiter, and the session recovers.
    pub(crate) fn address(self: &Arc<Self>) -> Result<Addr<SessionActor<M>>, Error> {
        if let Address::Live(address) = &*self.address.read().unwrap_or_else(PoisonError::into_inner)
            && address.connected()
        {
            return Ok(address.clone());
        }
        let mut slot = self.address.write().unwrap_or_else(PoisonError::into_inner);
        match &*slot {
            Address::Closed(ended) => return Err(self.ended(*ended)),
            Address::Live(address) if address.connected() => return Ok(address.clone()),
            Address::Live(_) | Address::None => {}
        }
        for arbiter in self.services.arbiters_in_turn() {
            let courier = arbiter.courier.clone();
            let mut starting = Starting(Some(Arc::clone(self)));
            let address = Supervisor::start_in_arbiter(&arbiter.handle, move |_| {
                let entry = starting.0.take();
                // The closure is an `FnOnce`, and apart from this call only the drop of `starting` takes the entry.
                SessionActor::new(entry.unwrap_or_else(|| unreachable!("an actor starts once")), courier)
            });
            if address.connected() {
                *slot = Address::Live(address.clone());
                return Ok(address);
            }
        }
        drop(slot);
        // No actor is left to answer what is in flight.
        lock(&self.state).abandon();
        let reason = "the arbiters for its sessions have stopped".to_owned();
        Err(ErrorKind::MustReopen { reason }.into())
    }

    /// Answers what is in flight if the session has no live actor that would. A closed session has nothing in flight.
    fn abandon_unless_served(&self) {
        let is_served = match &*self.address.read().unwrap_or_else(PoisonError::into_inner) {
            Address::Live(address) => address.connected(),
            Address::None => false,
            Address::Closed(_) => true,
        };
        if !is_served {
            lock(&self.state).abandon();
        }
    }

    /// Refuses if the session or the store is closed.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        match &*self.address.read().unwrap_or_else(PoisonError::into_inner) {
            Address::Closed(ended) => Err(self.ended(*ended)),
            Address::Live(_) | Address::None => self.services.check_open(),
        }
    }

    /// The error for a call that finds the session closed: `StoreClosed` if the whole store is.
    pub(crate) fn closed(&self) -> Error {
        let ended = match &*self.address.read().unwrap_or_else(PoisonError::into_inner) {
            Address::Closed(ended) => *ended,
            Address::Live(_) | Address::None => Ended::Closed,
        };
        self.ended(ended)
    }

    fn ended(&self, ended: Ended) -> Error {
        let session = self.id.clone();
        match (self.services.check_open(), ended) {
            (Err(error), _) => error,
            (Ok(()), Ended::Closed) => ErrorKind::SessionClosed { session }.into(),
            (Ok(()), Ended::Deleted) => ErrorKind::SessionDeleted { session }.into(),
        }
    }

    /// Drops the actor's address and the host's own objects. The actor ends once nobody else holds its address.
    pub(super) fn mark_closed(&self, ended: Ended) {
        *self.address.write().unwrap_or_else(PoisonError::into_inner) = Address::Closed(ended);
        self.context.clear();
    }
}

/// Checks a body of the session model, and tells its bytes.
fn checked_bytes<M: SessionModel>(body: &M::Body) -> Result<u64, String> {
    let check = || {
        let event_type = M::event_type(body);
        if OwnBody::is_type(event_type) {
            return Err(format!("event type {event_type} is reserved"));
        }
        M::check(body)?;
        // Measured, and encoded only when it is stamped: stamping may change it.
        codec::body_bytes(body).map_err(|error| error.to_string())
    };
    guarded("event_type, check or encoding", check).unwrap_or_else(|panicked| Err(panicked.to_string()))
}

/// The entry of an actor that an arbiter was asked to start. An arbiter that is stopping may take the request and never
/// start the actor: then the drop of this answers what is in flight.
struct Starting<M: SessionModel>(Option<Arc<Entry<M>>>);

impl<M: SessionModel> Drop for Starting<M> {
    fn drop(&mut self) {
        if let Some(entry) = self.0.take() {
            let services = Arc::clone(&entry.services);
            // On another thread, since the thread that drops this may hold the lock on the address. If the store has
            // closed its readers, its persist actor is closing too: the last answers find no actor, and abandon the
            // session.
            drop(services.readers.submit(move |_| entry.abandon_unless_served()));
        }
    }
}
