//! Stopping a session: no turn is taken after it.

use std::sync::Arc;

use futures::lock::Mutex;

use crate::agent::{Agent, AgentBody, SessionStatus};
use crate::error::Error;
use crate::store::Session;

/// The lock that is held while a session is being stopped, so that two concurrent stops do not both append the event.
#[derive(Default)]
struct Stopping(Arc<Mutex<()>>);

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
    /// Stops the session: no turn can be taken any more, though appends are still taken. While a turn is in flight, the
    /// session is only asked to stop. The call may be repeated: it appends no event that the session already has.
    ///
    /// # Errors
    /// Those of [`Session::append`] and its receipt.
    pub async fn stop(&self) -> Result<StopOutcome, Error> {
        // One stop at a time: the second stop finds what the first has appended.
        let stopping = self.context_or_insert_with(Stopping::default);
        let _stopping = Arc::clone(&stopping.0).lock_owned().await;
        // The turn is held until the events are committed, so that no turn begins before they are.
        let turn = self.take_turn_unchecked();
        // A stop whose future was dropped may have its events on their way still.
        self.entry().settle().await?;
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
}
