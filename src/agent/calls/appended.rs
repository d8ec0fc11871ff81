//! The ids that an append has minted.

use crate::agent::{Agent, AgentBody, Counter, EvalId, MessageId, StepId, TurnId};
use crate::error::Error;
use crate::session::Appended;
use crate::store::Session;

impl Session<Agent> {
    /// The id that the next entity of this kind will get, after everything that was accepted before. The id of the next
    /// event follows the head that [`Session::counters`] gives. What an append has minted, its answer tells:
    /// [`Appended::message_id`].
    ///
    /// # Errors
    /// Those of [`Session::counters`].
    pub async fn next_id(&self, counter: Counter) -> Result<u64, Error> {
        Ok(self.counters().await?.1.next(counter))
    }
}

/// The ids that the append has minted, in the order of its bodies. A put mints none.
///
/// ```
/// # use foldlog::agent::{AgentBody, Message, MessageId, Turn, TurnId};
/// # use foldlog::{Error, Store, StoreConfig};
/// # fn main() -> Result<(), Error> { futures::executor::block_on(async {
/// # let store = Store::open(StoreConfig::memory()).await?;
/// # let session = store.open_session("s").await?;
/// let bodies = [
///     AgentBody::MessageAppended(Message::user("hello")),
///     AgentBody::TurnStarted(Turn::for_last_message()),
///     AgentBody::MessageAppended(Message::assistant("hi")),
/// ];
/// let appended = session.append_batch(bodies.into())?.await?;
/// assert_eq!(appended.turn_id(), Some(TurnId::new(1)));
/// assert_eq!(appended.message_ids().collect::<Vec<_>>(), [MessageId::new(1), MessageId::new(2)]);
/// # store.close().await
/// # }) }
/// ```
impl Appended<Agent> {
    /// The ids of the messages, that of a compaction included.
    pub fn message_ids(&self) -> impl Iterator<Item = MessageId> {
        self.bodies().filter_map(|body| match body {
            AgentBody::MessageAppended(message) | AgentBody::SessionCompacted { message, .. } => Some(message.id),
            _ => None,
        })
    }

    /// The ids of the turns that were started.
    pub fn turn_ids(&self) -> impl Iterator<Item = TurnId> {
        self.bodies().filter_map(|body| match body {
            AgentBody::TurnStarted(turn) => Some(turn.id),
            _ => None,
        })
    }

    /// The ids of the steps that were started.
    pub fn step_ids(&self) -> impl Iterator<Item = StepId> {
        self.bodies().filter_map(|body| match body {
            AgentBody::StepStarted(step) => Some(step.id),
            _ => None,
        })
    }

    /// The ids of the evals.
    pub fn eval_ids(&self) -> impl Iterator<Item = EvalId> {
        self.bodies().filter_map(|body| match body {
            AgentBody::EvalAdded(eval) => Some(eval.id),
            _ => None,
        })
    }

    /// The id of the first message of the append.
    #[must_use]
    pub fn message_id(&self) -> Option<MessageId> {
        self.message_ids().next()
    }

    /// The id of the first turn that the append has started.
    #[must_use]
    pub fn turn_id(&self) -> Option<TurnId> {
        self.turn_ids().next()
    }

    /// The id of the first step that the append has started.
    #[must_use]
    pub fn step_id(&self) -> Option<StepId> {
        self.step_ids().next()
    }

    /// The id of the first eval of the append.
    #[must_use]
    pub fn eval_id(&self) -> Option<EvalId> {
        self.eval_ids().next()
    }

    fn bodies(&self) -> impl Iterator<Item = &AgentBody> {
        self.events.iter().map(|event| event.body())
    }
}
