//! What the sessions of a store share: the configuration, the other actors, the threads, and the metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use actix::prelude::*;
use futures::channel::oneshot;

use super::entry::HeldTurns;
use super::live::KeptLimits;
use super::residency::Residency;
use super::snapshots::Snapshots;
use crate::blobs::BlobActor;
use crate::commit::{Erase, Persist, PersistActor, PersistError, Reply};
use crate::config::StoreConfig;
use crate::error::{Error, ErrorKind};
use crate::id::{EventId, SessionId};
use crate::port::{BlobStore, Erasing, LogKey, OwnerId, Refusal, Write};
use crate::stats::Metrics;
use crate::threads::{Commits, Courier, Readers, Recoveries};

/// See the module.
pub(crate) struct Services {
    pub(crate) config: StoreConfig,
    pub(crate) persist: Addr<PersistActor>,
    pub(crate) blob: Addr<BlobActor>,
    pub(crate) blobs: Arc<dyn BlobStore>,
    pub(crate) snapshots: Snapshots,
    pub(crate) readers: Readers,
    pub(crate) recoveries: Recoveries,
    pub(crate) commits: Arc<Commits>,
    pub(crate) residency: Arc<Residency>,
    pub(crate) arbiters: SessionArbiters,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) kept_limits: Arc<KeptLimits>,
    pub(crate) turns: HeldTurns,
    pub(crate) open: OpenFlag,
    /// Who this store is, as the owner of its sessions.
    pub(crate) me: OwnerId,
    /// The process that opened the store.
    pub(crate) process: u32,
}

impl Services {
    /// The arbiters for the next session actor, each once, beginning with the next in turn.
    pub(super) fn arbiters_in_turn(&self) -> impl Iterator<Item = &SessionArbiter> {
        self.arbiters.in_turn()
    }

    /// Sends a write to the persist actor, which answers it once.
    #[expect(
        clippy::disallowed_methods,
        reason = "the order of the writes is the order of the log; what is in flight is counted"
    )]
    pub(super) fn persist(&self, write: Write, incarnation: u64, reply: Reply) {
        self.metrics.write_sent();
        self.persist.do_send(Persist { write, incarnation, reply });
    }

    /// Has the name of a session taken away and its log marked; if `head` is given, only if the log ends there. Then
    /// `tell` tells whoever has the session open here, also if nobody waits for the answer any more.
    pub(crate) async fn delete(
        &self,
        session: &SessionId,
        log: LogKey,
        head: Option<EventId>,
        tell: impl FnOnce() + Send + 'static,
    ) -> Result<(), Error> {
        let write = Write::Delete { session: session.clone(), log, head, at: self.config.clock.now() };
        let (sender, receiver) = oneshot::channel();
        let readers = self.readers.clone();
        let reply: Reply = Box::new(move |answer, _| {
            // On another thread, since subscribers may run the host's code. In a store that is closed nobody is to be
            // told.
            let told = readers.submit(move |_| {
                if answer.is_ok() {
                    tell();
                }
                // The caller may have lost interest.
                let _ = sender.send(answer);
            });
            if told.is_err() {
                log::debug!("a session was deleted in a store that is closed");
            }
        });
        self.persist(write, 0, reply);
        let deleted = receiver.await.unwrap_or(Err(PersistError::Closed));
        deleted.map(drop).map_err(|error| match (error, head) {
            (PersistError::Refused(Refusal::HeadMoved { head: actual }), Some(expected)) => {
                ErrorKind::HeadMoved { session: session.clone(), expected, actual }.into()
            }
            (error, _) => error.of_session(session),
        })
    }

    /// Waits for what can be erased now, and tells what is left of all that was deleted or redacted.
    pub(crate) async fn erase(&self, what: Erase) -> Result<Erasing, Error> {
        self.persist.send(what).await.map_err(|_| Error::from(ErrorKind::StoreClosed))??;
        self.readers.read_in_turn(|reader| Ok(reader.erasing()?)).await
    }

    pub(crate) fn check_open(&self) -> Result<(), Error> {
        self.check_process()?;
        if self.is_closed() { Err(ErrorKind::StoreClosed.into()) } else { Ok(()) }
    }

    /// Whether the store was closed, or is closing. For foldlog's own threads, which a forked process does not have: to
    /// ask for the process is a system call.
    pub(crate) fn is_closed(&self) -> bool {
        self.open.is_closed.load(Ordering::SeqCst)
    }

    /// Refuses in a process that was forked from the one that opened the store: it has none of the threads.
    pub(crate) fn check_process(&self) -> Result<(), Error> {
        if self.is_forked() { Err(ErrorKind::Forked.into()) } else { Ok(()) }
    }

    /// Whether this process was forked from the one that opened the store.
    pub(crate) fn is_forked(&self) -> bool {
        std::process::id() != self.process
    }

    pub(crate) fn mark_closed(&self) {
        self.open.is_closed.store(true, Ordering::SeqCst);
    }
}

/// Whether the store is open.
#[derive(Default)]
pub(crate) struct OpenFlag {
    is_closed: AtomicBool,
}

/// An arbiter that session actors run on, and the courier to it.
pub(super) struct SessionArbiter {
    pub(super) handle: ArbiterHandle,
    pub(super) courier: Courier,
}

/// The arbiters of a store, which take new session actors in turn.
pub(crate) struct SessionArbiters {
    arbiters: Vec<SessionArbiter>,
    next: AtomicUsize,
}

impl SessionArbiters {
    pub(crate) fn new(handles: Vec<ArbiterHandle>) -> Self {
        let arbiter = |handle| SessionArbiter { courier: Courier::on(&handle), handle };
        Self { arbiters: handles.into_iter().map(arbiter).collect(), next: AtomicUsize::new(0) }
    }

    fn in_turn(&self) -> impl Iterator<Item = &SessionArbiter> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let first = turn.checked_rem(self.arbiters.len()).unwrap_or_default();
        self.arbiters.iter().cycle().skip(first).take(self.arbiters.len())
    }
}
