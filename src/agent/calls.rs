//! The agent model's own calls on the handles.
//!
//! This is the one file of the agent model that knows the handles. The handles name the agent model only as the default
//! of their type parameter.

use futures::lock::Mutex;

use super::{Agent, AgentBody, Counter, Message, SessionStatus};
use crate::config::StoreConfig;
use crate::content::Content;
use crate::error::Error;
use crate::session::Appended;
use crate::store::read_only::ReadOnlyStore;
use crate::store::{Session, Store};

impl Store<Agent> {
    /// Opens a store of agent sessions.
    ///
    /// # Errors
    /// Those of [`Store::open_model`].
    pub async fn open(config: StoreConfig) -> Result<Self, Error> {
        Self::open_model(config).await
    }

    /// Opens a store of agent sessions that is there already: [`StoreConfig::create`] is taken as
    /// [`Create::Never`](crate::Create::Never).
    ///
    /// # Errors
    /// [`ErrorKind::NoStore`](crate::ErrorKind::NoStore) where there is none; nothing is made then. Those of
    /// [`Store::open_model`].
    pub async fn open_existing(config: StoreConfig) -> Result<Self, Error> {
        Self::open_model(StoreConfig { create: crate::Create::Never, ..config }).await
    }

    /// Opens a store of agent sessions to read it: nothing is made or changed.
    ///
    /// # Errors
    /// Those of [`Store::open_model_read_only`].
    pub async fn open_read_only(config: StoreConfig) -> Result<ReadOnlyStore, Error> {
        Self::open_model_read_only(config).await
    }
}

/// The lock that is held while a session is being stopped, so that two concurrent stops do not both append the event.
#[derive(Default)]
struct Stopping(Mutex<()>);

/// What [`Session::stop`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopOutcome {
    /// No turn was in flight: the session has stopped.
    Stopped,
    /// A turn is in flight: the session was asked to stop. The caller that runs the turn ends it, and stops the session
    /// again.
    Requested,
}

impl Session<Agent> {
    /// The id that the next entity of this kind will get, after everything that was accepted before. The id of the next
    /// event follows the head that [`Session::counters`] gives.
    ///
    /// # Errors
    /// Those of [`Session::counters`].
    pub async fn next_id(&self, counter: Counter) -> Result<u64, Error> {
        Ok(self.counters().await?.1.next(counter))
    }

    /// Stops the session: no turn can be taken any more, though appends are still taken. While a turn is in flight, the
    /// session is only asked to stop. The call may be repeated: it appends no event that the session already has.
    ///
    /// # Errors
    /// Those of [`Session::append`] and its receipt.
    pub async fn stop(&self) -> Result<StopOutcome, Error> {
        // One stop at a time: the second stop finds what the first has appended.
        let stopping = self.context_or_insert_with(Stopping::default);
        let _stopping = stopping.0.lock().await;
        // The turn is held until the events are committed, so that no turn begins before they are.
        let turn = self.take_turn_unchecked();
        let status = self.current_view().await?.session.as_ref().map(|session| session.status);
        let mut bodies = Vec::new();
        if !matches!(status, Some(SessionStatus::StopRequested | SessionStatus::Stopped)) {
            bodies.push(AgentBody::StopRequested);
        }
        if turn.is_some() && status != Some(SessionStatus::Stopped) {
            bodies.push(AgentBody::Stopped);
        }
        self.append_batch(bodies)?.await?;
        Ok(if turn.is_some() { StopOutcome::Stopped } else { StopOutcome::Requested })
    }

    /// Compacts the session in one event: `message` stands for everything before it, and `vars` for the variables. Takes
    /// the turn while it does.
    ///
    /// # Errors
    /// Those of [`Session::take_turn`], of [`Session::append`] and of its receipt.
    pub async fn compact(&self, message: Message, vars: Option<Content>) -> Result<Appended<Agent>, Error> {
        let _turn = self.take_turn().await?;
        self.append(AgentBody::compacted(vars, message))?.await
    }
}
