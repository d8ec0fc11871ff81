//! The right to run a session's turn, and what must hold before it is given.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures::channel::oneshot;

use super::Entry;
use crate::error::{Error, ErrorKind};
use crate::id::SessionId;
use crate::model::{SessionModel, Turns};
use crate::port::{Claiming, LogKey};
use crate::session::messages::Recovery;
use crate::session::state::{ClaimTask, Task};
use crate::threads::{guarded, lock};

/// The right to run a session's turn, from [`Session::take_turn`](crate::Session::take_turn).
///
/// Only one guard of a session exists in a store, also when the session is closed and opened again: nobody else can
/// take a turn, neither in this store nor, until the session is closed or taken over, in another.
///
/// # Dropping
/// Dropping the guard gives the right back. It appends nothing: a turn that was begun in the log stays unfinished until
/// an event ends it, and [`Session::unfinished`](crate::Session::unfinished) names it until then.
///
/// # Losing
/// A guard that is never dropped, because its task hangs or leaked it, keeps the turn for as long as the store is open.
/// [`Session::revoke_turn`](crate::Session::revoke_turn) takes the turn away from it: then the guard is good for
/// nothing, [`is_held`](Self::is_held) says so, and dropping it gives nothing back. Deleting the session does the same.
#[must_use = "dropping the guard gives the turn back at once"]
pub struct TurnGuard<M: SessionModel> {
    entry: Arc<Entry<M>>,
    turn: HeldTurn,
}

impl<M: SessionModel> TurnGuard<M> {
    /// Tells whether this guard still has the turn: it has, unless
    /// [`Session::revoke_turn`](crate::Session::revoke_turn) took the turn away. A task that was away for long asks
    /// before it goes on.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.entry.services.turns.is_held(&self.entry.id, self.turn)
    }

    /// Refuses if this guard has lost the turn.
    pub(crate) fn check_held(&self) -> Result<(), Error> {
        if self.is_held() { Ok(()) } else { Err(self.entry.turn_not_held()) }
    }

    /// The session whose turn it is.
    pub(crate) fn entry(&self) -> &Arc<Entry<M>> {
        &self.entry
    }
}

impl<M: SessionModel> std::fmt::Debug for TurnGuard<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TurnGuard").field(&self.entry.id).finish()
    }
}

impl<M: SessionModel> Drop for TurnGuard<M> {
    fn drop(&mut self) {
        if self.entry.services.is_forked() {
            return;
        }
        self.entry.services.turns.give_back(&self.entry.id, self.turn);
    }
}

/// The sessions of a store whose turn somebody has. By name, so that a session that is closed and opened again while
/// its guard is held gives no second turn.
#[derive(Debug, Default)]
pub(crate) struct HeldTurns {
    held: Mutex<HashMap<SessionId, HeldTurn>>,
    next: AtomicU64,
}

/// Which taking of a turn a guard is of, so that one whose turn was taken away gives nothing back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct HeldTurn {
    number: u64,
    log: LogKey,
}

impl HeldTurns {
    fn take(&self, session: &SessionId, log: LogKey) -> Option<HeldTurn> {
        let mut held = lock(&self.held);
        if held.contains_key(session) {
            return None;
        }
        let turn = HeldTurn { number: self.next.fetch_add(1, Ordering::Relaxed), log };
        held.insert(session.clone(), turn);
        Some(turn)
    }

    fn is_taken(&self, session: &SessionId) -> bool {
        lock(&self.held).contains_key(session)
    }

    fn is_held(&self, session: &SessionId, turn: HeldTurn) -> bool {
        lock(&self.held).get(session) == Some(&turn)
    }

    fn give_back(&self, session: &SessionId, turn: HeldTurn) {
        let mut held = lock(&self.held);
        if held.get(session) == Some(&turn) {
            held.remove(session);
        }
    }

    /// Takes the turn away from whoever has it, and tells whether somebody had.
    fn revoke(&self, session: &SessionId) -> bool {
        lock(&self.held).remove(session).is_some()
    }

    /// Takes the turn of a session away that was deleted. That of another session which has its name by now stays.
    pub(super) fn end_with(&self, session: &SessionId, log: LogKey) {
        let mut held = lock(&self.held);
        if held.get(session).is_some_and(|turn| turn.log == log) {
            held.remove(session);
        }
    }
}

impl<M: SessionModel> Entry<M> {
    /// Takes the turn and makes this store the log's owner. Refuses if the session has stopped or used its turns, is
    /// read-only, or is owned by another store that is alive.
    pub(crate) async fn take_turn(self: Arc<Self>) -> Result<TurnGuard<M>, Error> {
        self.check_turns().await?;
        let session = self.id.clone();
        let Some(guard) = self.take_turn_unchecked() else {
            return Err(ErrorKind::TurnInFlight { session }.into());
        };
        self.claim(Claiming::Yes).await?;
        // Checked again, since the session may have stopped in the turn that ended just now, or under the owner before.
        self.check_turns().await?;
        Ok(guard)
    }

    /// Makes this store the log's owner and brings the view up to date, also of a session that takes no turns any more.
    pub(crate) async fn claim_to_repair(self: &Arc<Self>) -> Result<(), Error> {
        self.check_open()?;
        match self.published().refusal(&self.id) {
            Some(error) => Err(error),
            None => Arc::clone(self).claim(Claiming::Yes).await,
        }
    }

    /// Takes the turn whatever the session model says about the session: to stop it, for example.
    pub(crate) fn take_turn_unchecked(self: &Arc<Self>) -> Option<TurnGuard<M>> {
        let turn = self.services.turns.take(&self.id, self.log.key)?;
        Some(TurnGuard { entry: Arc::clone(self), turn })
    }

    /// Whether somebody in this store has the turn.
    pub(crate) fn is_turn_taken(&self) -> bool {
        self.services.turns.is_taken(&self.id)
    }

    /// The error for a call of a guard that has no turn any more: of a session that was deleted, that says so.
    pub(crate) fn turn_not_held(&self) -> Error {
        let not_held = || ErrorKind::TurnNotHeld { session: self.id.clone() }.into();
        self.check_open().err().unwrap_or_else(not_held)
    }

    pub(crate) fn revoke_turn(&self) -> bool {
        // The lock first: a call that has it looks whether it was revoked when it has taken the turn.
        self.revoke_beginning();
        self.services.turns.revoke(&self.id)
    }

    /// Makes this store the log's owner, though another store that is alive may own it.
    pub(crate) async fn take_over(self: Arc<Self>) -> Result<(), Error> {
        self.check_open()?;
        // The recovery reads what the log holds now: a build that cannot append to the session leaves it to its owner.
        self.address()?.send(Recovery).await.unwrap_or_else(|_| Err(self.closed()))?;
        if let Some(error) = self.published().refusal(&self.id) {
            return Err(error);
        }
        self.claim(Claiming::Force).await
    }

    /// Waits until everything that was stamped before is in the view, or refused.
    pub(crate) async fn settle(self: &Arc<Self>) -> Result<(), Error> {
        self.claim(Claiming::No).await
    }

    async fn claim(self: &Arc<Self>, claim: Claiming) -> Result<(), Error> {
        let (reply, receiver) = oneshot::channel();
        self.tell(Task::Claim(ClaimTask { claim, is_asked: false, reply }))?;
        receiver.await.unwrap_or_else(|_| Err(self.closed()))
    }

    async fn check_turns(self: &Arc<Self>) -> Result<(), Error> {
        self.check_open()?;
        if let Some(error) = self.published().refusal(&self.id) {
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
}
