//! The actors, and the message diagram.
//!
//! ```text
//! host ── Append ──▶ SessionActor ── Persist ──▶ PersistActor   own thread, one connection, one transaction a group
//!                      ▲   │  ▲ └─ checks, recovery ─▶ reader threads, blob threads
//!                      │   │  └──── Persisted ◀─────────┘       after COMMIT
//!                      │   └ fold, publish the view, serve subscribers, reply
//! host ── PutBlob ──▶ BlobActor                                 own thread, blob threads
//! ```
//!
//! Actors are thin: what they do lives in plain types ([`session_state`], [`group`], [`subscription`]) that are tested
//! without actix.
//!
//! What actix does not promise, and what is done about it:
//! - A panic in a handler ends a supervised actor for good: handlers of foldlog guard what may panic.
//! - A restart keeps the object and cancels its futures: every reply comes as a message or over a channel of our own, and
//!   recovery resets each field.
//! - A mailbox is no memory bound, and a full one reorders `send`: work in flight is counted, and sent with `do_send`.
//! - A dropped `send` future cancels silently: appends do not use it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use actix::prelude::*;

use crate::commit::actor::{Persist, PersistActor};
use crate::commit::group::Reply;
use crate::config::StoreConfig;
use crate::error::{Error, ErrorKind};
use crate::port::BlobStore;
use crate::port::Write;
use crate::session::residency::Residency;
use crate::stats::Counters;
use crate::threads::courier::Courier;
use crate::threads::workers::{Readers, Recoveries};

/// Where session actors run, and the way there.
pub(crate) struct Seat {
    pub(crate) arbiter: ArbiterHandle,
    pub(crate) courier: Courier,
}

impl Seat {
    fn new(arbiter: ArbiterHandle) -> Self {
        Self { courier: Courier::on(&arbiter), arbiter }
    }
}

/// What every session of a store shares.
pub(crate) struct Services {
    pub(crate) config: StoreConfig,
    pub(crate) persist: Addr<PersistActor>,
    pub(crate) blob: Addr<crate::blobs::actor::BlobActor>,
    pub(crate) blobs: Arc<dyn BlobStore>,
    pub(crate) snapshots: crate::replay::snapshot::store::Snapshots,
    pub(crate) readers: Readers,
    pub(crate) recoveries: Recoveries,
    pub(crate) residency: Arc<Residency>,
    seats: Vec<Seat>,
    pub(crate) counters: Arc<Counters>,
    next_arbiter: AtomicUsize,
    closed: AtomicBool,
}

impl Services {
    #[expect(clippy::too_many_arguments, reason = "each is a part of its own, and this is called once")]
    pub(crate) fn new(
        config: StoreConfig,
        persist: Addr<PersistActor>,
        blob: Addr<crate::blobs::actor::BlobActor>,
        (blobs, snapshots): (Arc<dyn BlobStore>, crate::replay::snapshot::store::Snapshots),
        readers: Readers,
        recoveries: Recoveries,
        residency: Arc<Residency>,
        arbiters: Vec<ArbiterHandle>,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            config,
            persist,
            blob,
            blobs,
            snapshots,
            readers,
            recoveries,
            residency,
            seats: arbiters.into_iter().map(Seat::new).collect(),
            counters,
            next_arbiter: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        }
    }

    /// The seats for the next session actor, each once, beginning with the next in turn.
    pub(crate) fn seats_in_turn(&self) -> impl Iterator<Item = &Seat> {
        let turn = self.next_arbiter.fetch_add(1, Ordering::Relaxed);
        let first = turn.checked_rem(self.seats.len()).unwrap_or_default();
        self.seats.iter().cycle().skip(first).take(self.seats.len())
    }

    /// Sends a write on its way to the log. It is answered once.
    #[expect(
        clippy::disallowed_methods,
        reason = "the order of the writes is the order of the log; what is in flight is counted"
    )]
    pub(crate) fn persist(&self, write: Write, incarnation: u64, reply: Reply) {
        self.counters.write_sent();
        self.persist.do_send(Persist { write, incarnation, reply });
    }

    pub(crate) fn check_open(&self) -> Result<(), Error> {
        if self.closed.load(Ordering::SeqCst) { Err(ErrorKind::StoreClosed.into()) } else { Ok(()) }
    }

    pub(crate) fn mark_closed(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }
}
