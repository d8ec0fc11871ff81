//! The life of a turn, a line for each thing that happens in it: begun (`turn/beginning.rs`), run (here), shown to
//! subscribers (`turn/showing.rs`), and ended (`turn/ending.rs` says what is put).

mod beginning;
mod ending;
mod showing;

use crate::agent::calls::at_head::append_at_head;
use crate::agent::calls::batch_room::BatchRoom;
use crate::agent::calls::references::turn_to_put;
use crate::agent::{
    Agent, AgentBody, AgentView, Eval, Failure, Message, MessageId, Role, Step, StepId, ToolResult, Turn, TurnId,
};
use crate::error::{Error, ErrorKind};
use crate::session::{Appended, TurnGuard};
use crate::store::Session;
pub use beginning::TurnBegun;
use ending::Ending;
pub use ending::TurnEnd;
use showing::HeldBack;

/// A turn that runs, from [`Session::begin_turn`] to its [`end`](Self::end). It holds the right to run a turn, as
/// [`TurnGuard`] does, and knows the ids: it writes them into everything that is appended through it.
///
/// Each call that is awaited appends one batch, and answers when the batch is durable and in the view. A host that
/// wants more than these calls appends bodies to the [`session`](Self::session), as without them: both go together.
///
/// # Ending
/// [`answer`](Self::answer) and [`end`](Self::end) end the turn, and give the right to run a turn back. A call that
/// fails has not ended the turn, so ending can be tried again. After the end, each call fails with
/// [`ErrorKind::TurnNotHeld`]. So it does when [`Session::revoke_turn`] took the turn away; of a session that was
/// deleted, with [`ErrorKind::SessionDeleted`]. What waits then begins with [`Session::begin_next_turn`].
///
/// # Cancellation
/// Dropping the future of a call does not take back what it has appended. Ending the turn goes by the view, so a step
/// that such a call has begun is ended, too.
///
/// # Dropping
/// A turn that is dropped without an end is given up, as if its process had died: one warning is logged, the right to
/// run a turn is given back, the next turn that begins ends this one as interrupted, and [`Session::begin_next_turn`]
/// begins another for its message. So [`end`](Self::end) a turn whose work has failed: dropped, it would begin again
/// and again.
#[must_use = "a turn that is dropped without an end is begun again"]
pub struct RunningTurn {
    session: Session<Agent>,
    /// `None` once the turn has ended.
    guard: Option<TurnGuard<Agent>>,
    id: TurnId,
    user_message: MessageId,
    /// The step that runs.
    step: Option<StepId>,
    held_back: HeldBack,
}

impl RunningTurn {
    /// The id of the turn.
    #[must_use]
    pub fn id(&self) -> TurnId {
        self.id
    }

    /// The message that the turn answers.
    #[must_use]
    pub fn user_message(&self) -> MessageId {
        self.user_message
    }

    /// The step that runs, if one was begun and has not ended.
    #[must_use]
    pub fn step_id(&self) -> Option<StepId> {
        self.step
    }

    /// The session of the turn.
    #[must_use]
    pub fn session(&self) -> &Session<Agent> {
        &self.session
    }

    /// Begins a step: one call of the language model, and what follows from it. A step that runs is done with this: its
    /// end is in the same batch.
    ///
    /// # Errors
    /// [`ErrorKind::TurnNotHeld`]. Those of [`Session::append`] and of its receipt.
    pub async fn begin_step(&mut self) -> Result<Appended<Agent>, Error> {
        self.begin_step_with(Step::default()).await
    }

    /// Begins a step of which more is known, such as its [`request`](Step::request).
    ///
    /// # Errors
    /// Those of [`begin_step`](Self::begin_step).
    pub async fn begin_step_with(&mut self, step: Step) -> Result<Appended<Agent>, Error> {
        let appended = self
            .append_at_head(|turn, view| {
                let mut bodies = Vec::from_iter(turn.ending(view).step(None, None).map(AgentBody::StepPut));
                bodies.push(AgentBody::StepStarted(Step { turn: Some(turn.id), ..step.clone() }));
                Some(bodies)
            })
            .await?;
        self.step = appended.step_id();
        Ok(appended)
    }

    /// Ends the step that runs, before another begins or the turn ends: as failed, if there is a failure. Without a
    /// step, it does nothing.
    ///
    /// The put keeps what the step had. The last message of the assistant becomes its
    /// [`assistant_message`](Step::assistant_message), and the usage of its messages ([`MessageOrigin`]) its
    /// [`usage`](Step::usage), unless the step has these already.
    ///
    /// # Errors
    /// Those of [`begin_step`](Self::begin_step).
    ///
    /// [`MessageOrigin`]: crate::agent::MessageOrigin
    pub async fn end_step(&mut self, failure: Option<Failure>) -> Result<Appended<Agent>, Error> {
        let put = |turn: &Self, view: &AgentView| {
            Some(Vec::from_iter(turn.ending(view).step(failure.clone(), None).map(AgentBody::StepPut)))
        };
        let appended = self.append_at_head(put).await?;
        self.step = None;
        Ok(appended)
    }

    /// Appends a message of this turn and step: usually what the language model answered, with its tool calls.
    ///
    /// # Errors
    /// [`ErrorKind::TurnNotHeld`]. Those of [`Session::append`] and of its receipt.
    pub async fn say(&self, message: Message) -> Result<Appended<Agent>, Error> {
        self.check_held()?;
        self.session.append(AgentBody::MessageAppended(self.own(message)))?.await
    }

    /// Appends what a tool answered. Several tools may run at once, and answer in any order.
    ///
    /// # Errors
    /// Those of [`say`](Self::say).
    pub async fn tool_result(&self, result: ToolResult) -> Result<Appended<Agent>, Error> {
        self.say(Message::tool(result)).await
    }

    /// Appends what a tool did, as an eval, and what it answered, in one batch. The eval gets the id of the call, and
    /// the tool's name if the result has it.
    ///
    /// # Errors
    /// Those of [`say`](Self::say).
    pub async fn tool_eval(&self, eval: Eval, result: ToolResult) -> Result<Appended<Agent>, Error> {
        self.check_held()?;
        let eval = Eval {
            turn: eval.turn.or(Some(self.id)),
            step: eval.step.or(self.step),
            call_id: eval.call_id.or_else(|| Some(result.call_id.clone())),
            tool_name: eval.tool_name.or_else(|| result.name.clone()),
            ..eval
        };
        let message = self.own(Message::tool(result));
        self.session.append_batch(vec![AgentBody::EvalAdded(eval), AgentBody::MessageAppended(message)])?.await
    }

    /// Changes what the turn's entity says, such as its cost or preview, by a put that keeps all else.
    ///
    /// # Errors
    /// Those of [`begin_step`](Self::begin_step).
    pub async fn update(&mut self, change: impl Fn(&mut Turn)) -> Result<Appended<Agent>, Error> {
        let put = |this: &Self, view: &AgentView| {
            let mut turn = turn_to_put(view, view.turns.get(this.id).filter(|turn| turn.is_running())?);
            change(&mut turn);
            Some(vec![AgentBody::TurnPut(Turn { id: this.id, ..turn })])
        };
        self.append_at_head(put).await
    }

    /// Appends the answer of the language model and ends the turn as final, and the step that runs as done: one batch.
    /// Calls of tools in it get error results, since nobody will answer them.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] also if the message calls more tools than a batch takes results, some thousands:
    /// [`say`](Self::say) it, and [`end`](Self::end) the turn. Those of [`end`](Self::end).
    pub async fn answer(&mut self, message: Message) -> Result<Appended<Agent>, Error> {
        let message = self.own(Message { role: Role::Assistant, ..message });
        self.finish(TurnEnd::Final, Some(message)).await
    }

    /// Ends the turn, and the step that runs, in one batch. Tool calls of the turn that have no answer get a result
    /// that is marked as an error: a provider takes no messages with a call that nobody answers. If there are more than
    /// a batch takes, batches of such results go ahead of the one that ends the turn.
    ///
    /// The put keeps what the turn had. The usage of its steps together becomes its [`usage`](Turn::usage), unless it
    /// has one already; a number that no step tells stays unknown. Takes time in the number of steps of the turn.
    ///
    /// # Errors
    /// [`ErrorKind::TurnNotHeld`]. Those of [`Session::append`] and of its receipt. The turn has not ended then, and
    /// the call can be made again.
    pub async fn end(&mut self, end: TurnEnd) -> Result<Appended<Agent>, Error> {
        self.finish(end, None).await
    }

    async fn finish(&mut self, end: TurnEnd, last: Option<Message>) -> Result<Appended<Agent>, Error> {
        let bodies = |turn: &Self, view: &AgentView| turn.ending(view).turn(end.clone(), last.clone());
        let appended = self.append_at_head(bodies).await?;
        self.guard = None;
        Ok(appended)
    }

    /// Appends what is made of the view at the last event. `None` is for a turn that has ended: by a call whose future
    /// was dropped, or by a body of the host's. Results of more calls than a batch takes go ahead; those that are there
    /// are not made again.
    async fn append_at_head(
        &mut self,
        bodies: impl Fn(&Self, &AgentView) -> Option<Vec<AgentBody>>,
    ) -> Result<Appended<Agent>, Error> {
        self.check_held()?;
        let entry = self.session.entry();
        let room = BatchRoom::of(&entry.services.config);
        let appended = append_at_head(entry, |view, _| {
            self.check_held()?;
            bodies(self, view).map(|bodies| room.first(bodies)).ok_or_else(|| self.not_held())
        });
        let appended = appended.await;
        if let Err(error) = &appended
            && matches!(error.kind(), ErrorKind::TurnNotHeld { .. } | ErrorKind::SessionDeleted { .. })
        {
            self.guard = None;
        }
        appended
    }

    fn ending<'a>(&self, view: &'a AgentView) -> Ending<'a> {
        Ending { view, turn: self.id, now: self.session.store().now() }
    }

    /// The message with the ids of this turn and step.
    fn own(&self, message: Message) -> Message {
        Message { turn: message.turn.or(Some(self.id)), step: message.step.or(self.step), ..message }
    }

    fn check_held(&self) -> Result<(), Error> {
        if self.guard.as_ref().is_some_and(TurnGuard::is_held) {
            return Ok(());
        }
        Err(self.not_held())
    }

    fn not_held(&self) -> Error {
        self.session.entry().turn_not_held()
    }
}

impl std::fmt::Debug for RunningTurn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunningTurn").field("session", self.session.id()).field("id", &self.id).finish_non_exhaustive()
    }
}

impl Drop for RunningTurn {
    fn drop(&mut self) {
        // Whoever took the turn away knows about it.
        if self.check_held().is_ok() {
            log::warn!("turn {} was dropped without an end; the next turn that begins ends it", self.id);
        }
    }
}
