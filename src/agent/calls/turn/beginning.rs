//! Beginning a turn.

use std::sync::Arc;

use super::RunningTurn;
use crate::agent::{Agent, AgentBody, Message, MessageId, Turn, TurnStatus};
use crate::error::{Error, ErrorKind};
use crate::id::{AppendKey, EventId};
use crate::session::{Append, Appended, TurnGuard};
use crate::store::Session;

/// What [`Session::begin_turn_once`] found.
#[derive(Debug)]
#[must_use = "a turn that has begun is to be run"]
pub enum TurnBegun {
    /// A turn has begun with this call: run it. It is the first for its message, or the one before was interrupted.
    Now(RunningTurn),
    /// The request has a turn already, and this call wrote nothing: the last turn for its message, as the view has it now.
    /// If its status is [`Running`](TurnStatus::Running), somebody runs it still; any other end is what became of it.
    Earlier(Arc<Turn>),
}

impl Session<Agent> {
    /// Begins a turn: takes the right to run it, and appends the user's message and the start of the turn in one batch.
    /// The rest of the turn's life is [`RunningTurn`].
    ///
    /// # Errors
    /// Those of [`Session::take_turn`], of [`Session::append`] and of its receipt.
    ///
    /// # Cancellation
    /// Dropping the future gives the turn back. If the batch was appended by then, the turn is in the log and has no end:
    /// [`Session::interrupt`] ends it.
    ///
    /// # Examples
    /// ```
    /// # use foldlog::agent::{Message, Part, ToolResult};
    /// # use foldlog::{Error, Store, StoreConfig};
    /// # fn main() -> Result<(), Error> { futures::executor::block_on(async {
    /// # let store = Store::open(StoreConfig::memory()).await?;
    /// # let session = store.open_session("s").await?;
    /// let mut turn = session.begin_turn(Message::user("where is order 4711?")).await?;
    /// turn.begin_step().await?;
    /// turn.say(Message::answer([Part::tool_call("call_1", "track", r#"{"order":4711}"#)])).await?;
    /// turn.tool_result(ToolResult::text("call_1", "in transit, due Friday")).await?;
    /// turn.begin_step().await?;
    /// turn.answer(Message::assistant("It comes on Friday.")).await?;
    /// # assert!(session.unfinished()?.is_empty());
    /// # store.close().await
    /// # }) }
    /// ```
    pub async fn begin_turn(&self, message: Message) -> Result<RunningTurn, Error> {
        let guard = self.take_turn().await?;
        let appended = self.append_batch(beginning(message))?.await?;
        Ok(RunningTurn::new(self.clone(), guard, &appended))
    }

    /// Begins a turn for a message that is in the session already, such as one that the user sent while another turn ran.
    /// What the language model is to be sent then is [`RunningTurn::provider_messages`]. Nothing asks whether the message
    /// has been answered before: [`Session::begin_turn_once`] does.
    ///
    /// # Errors
    /// [`ErrorKind::BodyRefused`] if there is no such message. Those of [`Session::begin_turn`].
    ///
    /// # Cancellation
    /// As that of [`Session::begin_turn`].
    pub async fn begin_turn_for(&self, message: MessageId) -> Result<RunningTurn, Error> {
        let guard = self.take_turn().await?;
        let appended = self.append(AgentBody::TurnStarted(Turn::for_message(message)))?.await?;
        Ok(RunningTurn::new(self.clone(), guard, &appended))
    }

    /// Begins the turn of a request, whose append key says which: a request that is sent again begins no second turn, also
    /// after a crash, and while the first turn runs. If the last turn for it was interrupted, or has no end and is not run
    /// by anybody in this process, the message is not answered: it is not appended again, and gets another turn. So a host
    /// that sends each request until it is told an end answers each exactly once, however often it dies.
    ///
    /// The message has to be the same, its time included: leave [`Message::at`] out. A turn that ended in an error, or was
    /// cancelled, is an end: begin another with [`Session::begin_turn_for`] if the user wants it.
    ///
    /// # Errors
    /// [`ErrorKind::KeyReused`] if the key was used for something else. If the key is new: those of
    /// [`Session::begin_turn`].
    ///
    /// # Cancellation
    /// As that of [`Session::begin_turn`]. The next call with the same key tells whether the turn was begun.
    ///
    /// # Examples
    /// ```
    /// # use foldlog::agent::{Message, TurnBegun, TurnStatus};
    /// # use foldlog::{AppendKey, Error, Session};
    /// # async fn post(session: Session, request_id: &str, text: &str) -> Result<(), Error> {
    /// match session.begin_turn_once(Message::user(text), AppendKey::new(request_id)?).await? {
    ///     TurnBegun::Now(mut turn) => drop(turn.answer(Message::assistant("hi")).await?),
    ///     TurnBegun::Earlier(turn) if turn.status == TurnStatus::Running => println!("it is being answered"),
    ///     TurnBegun::Earlier(turn) => println!("it was answered before: {:?}", turn.status),
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn begin_turn_once(&self, message: Message, key: AppendKey) -> Result<TurnBegun, Error> {
        let append = Append::batch(beginning(message)).key(key);
        let (guard, appended) = match self.take_turn().await {
            Ok(guard) => (guard, self.append_with(append)?.await?),
            // No turn can begin now. It may have begun already, and then the key says so before the head is compared.
            Err(error) => match self.append_with(append.expect_head(EventId::MAX))?.await {
                // The call that began it was dropped before it was answered, and nobody else is told to run it.
                Ok(appended) if !appended.repeated => {
                    return match self.take_turn().await {
                        Ok(guard) => Ok(TurnBegun::Now(RunningTurn::new(self.clone(), guard, &appended))),
                        Err(_) => self.last_turn_of(&appended).await.map(TurnBegun::Earlier),
                    };
                }
                Ok(appended) => return self.last_turn_of(&appended).await.map(TurnBegun::Earlier),
                Err(other) if matches!(other.kind(), ErrorKind::HeadMoved { .. }) => return Err(error),
                Err(other) => return Err(other),
            },
        };
        if !appended.repeated {
            return Ok(TurnBegun::Now(RunningTurn::new(self.clone(), guard, &appended)));
        }
        // While this call has the guard, nobody runs a turn: one without an end is dead, unless its end is on its way
        // from a call whose future was dropped.
        self.entry().settle().await?;
        let last = self.last_turn_of(&appended).await?;
        match last.status {
            TurnStatus::Running => drop(guard.interrupt("the turn had no end, and its request came again").await?),
            TurnStatus::Interrupted => {}
            _ => return Ok(TurnBegun::Earlier(last)),
        }
        let again = AgentBody::TurnStarted(Turn { user_message: last.user_message, ..Turn::default() });
        let appended = self.append(again)?.await?;
        Ok(TurnBegun::Now(RunningTurn::new(self.clone(), guard, &appended)))
    }

    /// The last turn for the message that an append began a turn with.
    async fn last_turn_of(&self, appended: &Appended<Agent>) -> Result<Arc<Turn>, Error> {
        let view = self.current_view().await?;
        let message = appended.message_id();
        let turn = view.turns.iter().rev().find(|turn| turn.user_message == message).cloned();
        // The answer of an append comes after the view has it; a view that cannot be folded so far is an error of its own.
        turn.ok_or_else(|| {
            ErrorKind::Unavailable { reason: "the view does not have the turn of this key".to_owned() }.into()
        })
    }
}

fn beginning(message: Message) -> Vec<AgentBody> {
    vec![AgentBody::MessageAppended(message), AgentBody::TurnStarted(Turn::for_last_message())]
}

impl RunningTurn {
    fn new(session: Session<Agent>, guard: TurnGuard<Agent>, appended: &Appended<Agent>) -> Self {
        let begun = appended.events.iter().find_map(|event| match event.body() {
            AgentBody::TurnStarted(turn) => Some(turn),
            _ => None,
        });
        let (id, user_message) = begun.map(|turn| (turn.id, turn.user_message)).unwrap_or_default();
        let began = appended.events.first().map_or(appended.head, |event| event.id());
        Self { session, guard: Some(guard), id, user_message: user_message.unwrap_or_default(), began, step: None }
    }
}
