//! The sessions that a store has open: how one comes in, how it goes out, and what keeps one from coming in.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::Arc;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::Shared;

use super::{Session, Store};
use crate::commit::persist_one;
use crate::error::{Error, ErrorKind};
use crate::id::SessionId;
use crate::model::SessionModel;
use crate::port::{Epoch, LogKey, LogMeta, Write, Written};
use crate::session::Entry;
use crate::threads::lock;

/// See the module.
pub(super) struct Registry<M: SessionModel> {
    pub(super) open: HashMap<SessionId, Arc<Entry<M>>>,
    /// The sessions that a retention is about to delete. None of them is opened until the log has answered.
    reserved: HashMap<SessionId, (LogKey, ReservationEnd)>,
    /// How many sessions were ever taken out of `open`.
    forgotten: u64,
}

/// Resolves, with an error, when a [`Reservation`] is over.
type ReservationEnd = Shared<oneshot::Receiver<()>>;

/// Keeps a session from being opened, until it is dropped.
pub(super) struct Reservation<M: SessionModel> {
    store: Store<M>,
    id: SessionId,
    /// Dropped after the reservation has left the registry, so that those who wait find it gone.
    _answer: oneshot::Sender<()>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Absent {
    Create,
    Refuse,
}

/// How a session comes into the registry.
enum Entering<M: SessionModel> {
    Entered(Arc<Entry<M>>),
    /// Not yet: a retention is about to delete it.
    Reserved(ReservationEnd),
}

impl<M: SessionModel> Default for Registry<M> {
    fn default() -> Self {
        Self { open: HashMap::new(), reserved: HashMap::new(), forgotten: 0 }
    }
}

impl<M: SessionModel> Registry<M> {
    /// The entry of the session whose log this is.
    pub(super) fn entry_of(&self, id: &SessionId, log: LogKey) -> Option<&Arc<Entry<M>>> {
        self.open.get(id).filter(|entry| entry.log.key == log)
    }
}

impl<M: SessionModel> Drop for Reservation<M> {
    fn drop(&mut self) {
        lock(&self.store.0.registry).reserved.remove(&self.id);
    }
}

impl<M: SessionModel> Store<M> {
    /// Keeps a session from being opened, for as long as the reservation lives; `None` if it is open. Waits until
    /// another reservation of it is over.
    pub(super) async fn reserve(&self, id: &SessionId, log: LogKey) -> Option<Reservation<M>> {
        loop {
            let other = {
                let mut registry = lock(&self.0.registry);
                if registry.entry_of(id, log).is_some() {
                    return None;
                }
                match registry.reserved.entry(id.clone()) {
                    Slot::Occupied(slot) => slot.get().1.clone(),
                    Slot::Vacant(slot) => {
                        let (answer, answered) = oneshot::channel();
                        slot.insert((log, answered.shared()));
                        return Some(Reservation { store: self.clone(), id: id.clone(), _answer: answer });
                    }
                }
            };
            // An error says that it is over.
            let _ = other.await;
        }
    }

    pub(super) async fn open_log(&self, id: SessionId, absent: Absent) -> Result<Session<M>, Error> {
        loop {
            self.0.services.check_open()?;
            let (known, forgotten) = {
                let registry = lock(&self.0.registry);
                (registry.open.get(&id).cloned(), registry.forgotten)
            };
            let entry = match known {
                Some(entry) => entry,
                None => {
                    let (log, owned) = match (self.find(&id).await, absent) {
                        (Ok(log), _) => (log, None),
                        (Err(error), Absent::Create) if matches!(error.kind(), ErrorKind::UnknownSession { .. }) => {
                            self.register(&id).await?
                        }
                        (Err(error), _) => return Err(error),
                    };
                    match self.enter(&id, log, owned, forgotten)? {
                        Entering::Entered(entry) => entry,
                        Entering::Reserved(answered) => {
                            // An error says that it is over: the session stayed, or is looked for anew.
                            let _ = answered.await;
                            continue;
                        }
                    }
                }
            };
            let session = Session::new(self.clone(), entry);
            // Checked again, since the session may have been closed after the answer was sent and before this task ran.
            match session.recovery().await.and_then(|_| session.entry().check_open()) {
                Ok(()) => return Ok(session),
                // Someone closed or deleted the session while it was being opened: open it again, unless the store is
                // closed too.
                Err(error)
                    if matches!(error.kind(), ErrorKind::SessionClosed { .. } | ErrorKind::SessionDeleted { .. }) =>
                {
                    self.forget(session.entry());
                }
                // The entry stays in the registry, for others may hold it: the next call tries to recover the session
                // again.
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) async fn find(&self, id: &SessionId) -> Result<LogMeta, Error> {
        let session = id.clone();
        let found = self
            .0
            .services
            .readers
            .read_in_turn(move |reader| reader.find(&session).map_err(|error| error.of_session(&session)))
            .await?;
        found.ok_or_else(|| ErrorKind::UnknownSession { session: id.clone() }.into())
    }

    async fn register(&self, id: &SessionId) -> Result<(LogMeta, Option<Epoch>), Error> {
        let services = &self.0.services;
        let write = Write::Register { session: id.clone(), at: services.config.clock.now() };
        match persist_one(&services.persist, write).await {
            Ok(Written::Registered { meta, owned }) => Ok((meta, owned)),
            Ok(_) => Err(ErrorKind::Unavailable { reason: "the log did not register the session".to_owned() }.into()),
            Err(error) => Err(error.of_session(id)),
        }
    }

    /// The session's entry: the one in the registry, or a new one with a new actor, unless the session may not be
    /// opened now.
    fn enter(&self, id: &SessionId, log: LogMeta, owned: Option<Epoch>, forgotten: u64) -> Result<Entering<M>, Error> {
        let mut registry = lock(&self.0.registry);
        // Somebody else may have opened, written and closed the session since this call made it: then it is not new any
        // more.
        let owned = owned.filter(|_| registry.forgotten == forgotten);
        // Checked under the lock: closing marks the store as closed first, and empties the registry once, afterwards.
        self.0.services.check_open()?;
        if let Some((_, answered)) = registry.reserved.get(id).filter(|(reserved, _)| *reserved == log.key) {
            return Ok(Entering::Reserved(answered.clone()));
        }
        let entry = match registry.open.entry(id.clone()) {
            Slot::Occupied(slot) => Arc::clone(slot.get()),
            Slot::Vacant(slot) => Arc::clone(slot.insert(Entry::start(id.clone(), log, owned, &self.0.services)?)),
        };
        Ok(Entering::Entered(entry))
    }

    pub(super) fn forget(&self, entry: &Arc<Entry<M>>) {
        let mut registry = lock(&self.0.registry);
        if registry.open.get(&entry.id).is_some_and(|known| Arc::ptr_eq(known, entry)) {
            registry.open.remove(&entry.id);
            registry.forgotten += 1;
        }
    }
}
