//! Beginning a turn.

use std::sync::Arc;

use super::RunningTurn;
use super::showing::HeldBack;
use crate::agent::calls::interruption::end_given_up;
use crate::agent::{Agent, AgentBody, Message, MessageId, Turn};
use crate::error::{Error, ErrorKind};
use crate::id::{AppendKey, EventId};
use crate::session::{Append, Appended, BeginningGuard, TurnGuard};
use crate::store::Session;

/// What [`Session::begin_turn_once`] found.
#[derive(Debug)]
#[must_use = "a turn that has begun is to be run"]
pub enum TurnBegun {
    /// The turn of the request has begun with this call: run it. It is the first for its message, or the one before was
    /// given up or interrupted.
    Now(RunningTurn),
    /// The message waits, behind a turn that runs or messages that came earlier: it is in the log, and one of
    /// [`AgentView::unanswered`](crate::agent::AgentView::unanswered). [`Session::begin_next_turn`] begins the first.
    Queued(MessageId),
    /// Somebody runs the turn of the request still.
    Running(Arc<Turn>),
    /// The turn of the request has ended, and its status says how. [`AgentView::answer_of`] has the answer.
    ///
    /// [`AgentView::answer_of`]: crate::agent::AgentView::answer_of
    Ended(Arc<Turn>),
}

impl TurnBegun {
    /// The message of the request, whatever has become of it.
    #[must_use]
    pub fn message(&self) -> MessageId {
        match self {
            Self::Now(turn) => turn.user_message(),
            Self::Queued(message) => *message,
            Self::Running(turn) | Self::Ended(turn) => turn.user_message.unwrap_or_default(),
        }
    }
}

impl Session<Agent> {
    /// Begins a turn: takes the right to run it, and appends the user's message and the start of the turn in one batch.
    /// The rest of the turn's life is [`RunningTurn`].
    ///
    /// A turn of this session that still runs in the log was given up, by a task that dropped it or a process that
    /// died: each call that begins a turn ends it first, as [`Session::interrupt`] does, with its steps and tool calls.
    /// A turn that a host runs by bodies alone, without the right to run it ([`Session::take_turn`]), counts as given
    /// up, too.
    ///
    /// # Errors
    /// Those of [`Session::take_turn`], of [`Session::append`] and of its receipt.
    ///
    /// # Cancellation
    /// Dropping the future gives the turn back. If the batch was appended by then, the turn is in the log and has no
    /// end: the next turn that begins ends it, and [`Session::begin_next_turn`] begins another one for its message.
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
        let guard = self.take_turn_to_begin(None).await?;
        guard.check_held()?;
        let appended = self.append_batch(beginning(message))?.await?;
        Ok(RunningTurn::new(self.clone(), guard, &appended))
    }

    /// Begins a turn for a message that is in the session already, such as one that the user sent while another turn
    /// ran. What the language model is to be sent then is [`RunningTurn::provider_messages`]. Nothing asks whether the
    /// message has been answered before: [`Session::begin_turn_once`] does.
    ///
    /// # Errors
    /// [`ErrorKind::BodyRefused`] if there is no such message. Those of [`Session::begin_turn`].
    ///
    /// # Cancellation
    /// As that of [`Session::begin_turn`].
    pub async fn begin_turn_for(&self, message: MessageId) -> Result<RunningTurn, Error> {
        let guard = self.take_turn_to_begin(None).await?;
        self.begin_for(guard, message).await
    }

    /// Begins the turn of a request, whose append key says which, or queues it where a turn runs or messages wait. The
    /// message is appended once, however often the request is sent, also after a crash; the answer says what has become
    /// of it.
    ///
    /// | answer | the request | what the caller does |
    /// |---|---|---|
    /// | [`Now`](TurnBegun::Now) | has begun, for the first time or since its last turn was given up | runs the turn, then [`begin_next_turn`](Session::begin_next_turn) |
    /// | [`Queued`](TurnBegun::Queued) | waits for a turn that runs, or behind others | [`begin_next_turn`](Session::begin_next_turn): whoever runs a turn takes it later, and if nobody does, this caller |
    /// | [`Running`](TurnBegun::Running) | is being answered | nothing |
    /// | [`Ended`](TurnBegun::Ended) | was answered, has failed, or was cancelled | shows the answer ([`AgentView::answer_of`]) |
    ///
    /// A turn that was dropped, or whose process died, is interrupted, and its request waits for another one. So a host
    /// that sends each request until it is told an end answers each exactly once, however often it dies. A turn that
    /// ended in an error or was cancelled is an end: begin another with [`Session::begin_turn_for`] if the user wants
    /// it. So end a turn whose work has failed; dropped, it would begin again and again, ahead of all others.
    ///
    /// Requests are taken in the order in which they came, so those whose turn was given up come first.
    ///
    /// The message has to be the same in each try, its time included: leave [`Message::at`] out.
    ///
    /// # Errors
    /// [`ErrorKind::KeyReused`] if the key was used for something else. If the key is new, or the request waits still:
    /// those of [`Session::begin_turn`], but for [`ErrorKind::TurnInFlight`]; nothing is queued then.
    ///
    /// # Cancellation
    /// As that of [`Session::begin_turn`]. The next call with the same key tells what has become of the request. A
    /// future that is kept and not polled any more keeps other calls of this method and of [`Session::begin_next_turn`]
    /// waiting: drop it, or [revoke](Session::revoke_turn) what it holds.
    ///
    /// [`AgentView::answer_of`]: crate::agent::AgentView::answer_of
    ///
    /// # Examples
    /// ```
    /// # use foldlog::agent::{Failure, Message, RunningTurn, TurnBegun, TurnEnd};
    /// # use foldlog::{AppendKey, Error, Session};
    /// # async fn run(turn: &mut RunningTurn) -> Result<(), Error> { turn.answer(Message::assistant("hi")).await.map(drop) }
    /// async fn request(session: Session, id: &str, text: &str) -> Result<(), Error> {
    ///     let mut next = match session.begin_turn_once(Message::user(text), AppendKey::new(id)?).await? {
    ///         TurnBegun::Now(turn) => Some(turn),
    ///         TurnBegun::Queued(_) => session.begin_next_turn().await?,
    ///         TurnBegun::Running(_) => None,
    ///         TurnBegun::Ended(turn) => return Ok(println!("it was answered before: {:?}", turn.status)),
    ///     };
    ///     while let Some(mut turn) = next {
    ///         if let Err(error) = run(&mut turn).await {
    ///             turn.end(TurnEnd::Error(Failure::new("host", error.to_string()))).await?;
    ///         }
    ///         next = session.begin_next_turn().await?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub async fn begin_turn_once(&self, message: Message, key: AppendKey) -> Result<TurnBegun, Error> {
        let beginning = self.entry().lock_beginning().await;
        let guard = self.take_turn_to_begin(Some(&beginning)).await;
        let place = match &guard {
            Ok(_) if self.current_view().await?.unanswered().next().is_none() => RequestPlace::First,
            Ok(_) => RequestPlace::Behind,
            Err(error) if matches!(error.kind(), ErrorKind::TurnInFlight { .. }) => RequestPlace::Behind,
            Err(error) => RequestPlace::None(error.clone()),
        };
        guard.as_ref().map_or(Ok(()), TurnGuard::check_held)?;
        let appended = self.append_once(message, key, place).await?;
        let message = appended.message_id().unwrap_or_default();
        let guard = match guard {
            Ok(guard) if !appended.repeated && appended.turn_id().is_some() => {
                return Ok(TurnBegun::Now(RunningTurn::new(self.clone(), guard, &appended)));
            }
            guard => guard,
        };
        // The end of a turn may be on its way from a call whose future was dropped.
        self.entry().settle().await?;
        let view = self.current_view().await?;
        // A message that waits has no turn, or an interrupted one: of all turns, none has to be looked at.
        if view.unanswered.contains(&message) {
            let is_next = view.unanswered().next().is_some_and(|next| next.id == message);
            return match guard {
                Ok(guard) if is_next => self.begin_for(guard, message).await.map(TurnBegun::Now),
                Err(error) if !matches!(error.kind(), ErrorKind::TurnInFlight { .. }) => Err(error),
                _ => Ok(TurnBegun::Queued(message)),
            };
        }
        match (view.turns.iter().rev().find(|turn| turn.user_message == Some(message)), guard) {
            (Some(turn), _) if !turn.is_running() => Ok(TurnBegun::Ended(Arc::clone(turn))),
            (Some(turn), Err(_)) if self.entry().is_turn_taken() => Ok(TurnBegun::Running(Arc::clone(turn))),
            // No turn can begin, or another store has written it since this one has read the log.
            (_, Err(error)) => Err(error),
            // A body of the host's has begun it since the turn was taken, or has taken the message away from its turn.
            (_, Ok(guard)) => self.begin_for(guard, message).await.map(TurnBegun::Now),
        }
    }

    /// Begins the turn of the first message that nobody has answered: the next that [`Session::begin_turn_once`] has
    /// queued, or one whose turn was given up or interrupted ([`AgentView::unanswered`]). `None` if no message waits,
    /// or if somebody has the turn, who makes this call in turn. A host makes it wherever a turn has ended or a request
    /// was queued, and once for each session after its process has started.
    ///
    /// A turn that is still in scope has the turn until it has [ended](RunningTurn::end) or is dropped: until then this
    /// call gives `None`.
    ///
    /// A message that is not to be answered any more is taken off by ending its turn:
    /// `session.begin_turn_for(message).await?.end(TurnEnd::Cancelled).await?`.
    ///
    /// # Errors
    /// If a message waits, or a turn has no end: those of [`Session::begin_turn`], but for [`ErrorKind::TurnInFlight`].
    /// So [`ErrorKind::OwnedElsewhere`] while another process runs a turn of the session, which then goes on by itself.
    ///
    /// # Cancellation
    /// As that of [`Session::begin_turn`].
    ///
    /// [`AgentView::unanswered`]: crate::agent::AgentView::unanswered
    ///
    /// # Examples
    /// ```
    /// # use foldlog::agent::{Failure, Message, RunningTurn, TurnEnd};
    /// # use foldlog::{Error, Session};
    /// # async fn run(turn: &mut RunningTurn) -> Result<(), Error> { turn.answer(Message::assistant("hi")).await.map(drop) }
    /// async fn go_on(session: &Session) -> Result<(), Error> {
    ///     while let Some(mut turn) = session.begin_next_turn().await? {
    ///         if let Err(error) = run(&mut turn).await {
    ///             // Without this end the turn would be begun again and again, ahead of all others.
    ///             turn.end(TurnEnd::Error(Failure::new("host", error.to_string()))).await?;
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub async fn begin_next_turn(&self) -> Result<Option<RunningTurn>, Error> {
        let beginning = self.entry().lock_beginning().await;
        // What was queued by a call whose future was dropped may be on its way.
        self.entry().settle().await?;
        let view = self.current_view().await?;
        // A turn without an end that nobody has was given up, and its message waits.
        let waits = view.unanswered().next().is_some() || view.has_running_turn();
        if !waits || self.entry().is_turn_taken() {
            return Ok(None);
        }
        let guard = match self.take_turn_to_begin(Some(&beginning)).await {
            Err(error) if matches!(error.kind(), ErrorKind::TurnInFlight { .. }) => return Ok(None),
            guard => guard?,
        };
        // Looked at again, since a turn may have begun and ended in between.
        let next = self.current_view().await?.unanswered().next().map(|message| message.id);
        match next {
            Some(message) => self.begin_for(guard, message).await.map(Some),
            None => Ok(None),
        }
    }

    /// Takes the right to run a turn, and ends a turn that was given up. A call that has lost the lock gets no turn,
    /// since others begin turns by now.
    async fn take_turn_to_begin(&self, lock: Option<&BeginningGuard>) -> Result<TurnGuard<Agent>, Error> {
        let guard = self.take_turn().await?;
        if lock.is_some_and(BeginningGuard::is_revoked) {
            return Err(ErrorKind::TurnNotHeld { session: self.id().clone() }.into());
        }
        end_given_up(&guard).await?;
        Ok(guard)
    }

    async fn begin_for(&self, guard: TurnGuard<Agent>, message: MessageId) -> Result<RunningTurn, Error> {
        guard.check_held()?;
        let appended = self.append(AgentBody::TurnStarted(Turn::for_message(message)))?.await?;
        Ok(RunningTurn::new(self.clone(), guard, &appended))
    }

    /// Appends a request under its key, or finds what the key has written: the message, and behind it the beginning of
    /// its turn, or what queues it.
    async fn append_once(
        &self,
        message: Message,
        key: AppendKey,
        place: RequestPlace,
    ) -> Result<Appended<Agent>, Error> {
        let queued =
            vec![AgentBody::MessageAppended(message.clone()), AgentBody::TurnQueued { message: MessageId::default() }];
        let [begun, queued] = [beginning(message), queued].map(|bodies| Append::batch(bodies).key(key.clone()));
        // The key is looked for before the head is compared: this finds what was written, and writes nothing.
        let found = |append: Append<Agent>| append.expect_head(EventId::MAX);
        let (append, other) = match place {
            RequestPlace::First => (begun, found(queued)),
            RequestPlace::Behind => (queued, found(begun)),
            RequestPlace::None(_) => (found(begun), found(queued)),
        };
        let appended = match self.append_with(append)?.await {
            // Its place may have been another when the request came first.
            Err(error) if matches!(error.kind(), ErrorKind::KeyReused { .. }) => self.append_with(other)?.await,
            appended => appended,
        };
        match (appended, place) {
            (Err(error), RequestPlace::None(reason)) if matches!(error.kind(), ErrorKind::HeadMoved { .. }) => {
                Err(reason)
            }
            (appended, _) => appended,
        }
    }
}

/// Where a request that comes now stands.
enum RequestPlace {
    /// No turn runs, and no message waits.
    First,
    /// A turn runs, or messages wait.
    Behind,
    /// No turn can begin, and none can be waited for.
    None(Error),
}

fn beginning(message: Message) -> Vec<AgentBody> {
    vec![AgentBody::MessageAppended(message), AgentBody::TurnStarted(Turn::for_last_message())]
}

impl RunningTurn {
    /// `appended` is what has begun the turn.
    fn new(session: Session<Agent>, guard: TurnGuard<Agent>, appended: &Appended<Agent>) -> Self {
        let begun = appended.events.iter().find_map(|event| match event.body() {
            AgentBody::TurnStarted(turn) => Some(turn),
            _ => None,
        });
        let (id, user_message) = begun.map(|turn| (turn.id, turn.user_message)).unwrap_or_default();
        Self {
            session,
            guard: Some(guard),
            id,
            user_message: user_message.unwrap_or_default(),
            step: None,
            held_back: HeldBack::default(),
        }
    }
}
