//! Ending what a dead process left open: turns, steps, and tool calls that have no result.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::agent::calls::at_head::append_at_head;
use crate::agent::calls::batch_room::BatchRoom;
use crate::agent::calls::references::{known_step, known_turn, step_to_put, turn_to_put};
use crate::agent::{
    Agent, AgentBody, AgentView, Failure, Message, OpenCall, Step, StepStatus, ToolResult, Turn, TurnId, TurnStatus,
};
use crate::error::{Error, ErrorKind};
use crate::id::Timestamp;
use crate::model::Unfinished;
use crate::session::TurnGuard;
use crate::store::Session;

/// How much of the reason each result repeats: a backtrace, once for each of thousands of calls, would go to a
/// provider.
const REASON_CHARS_MAX: usize = 500;

/// Why a turn was ended that had no end when the next began.
const GIVEN_UP: &str = "the turn was given up without an end, by a task or process that has dropped it or died";

impl Session<Agent> {
    /// Ends what a dead process left open, in one batch, and tells what that was. Each tool call without an answer gets
    /// a result that is marked as an error and says so, in side chains too; running steps and turns are put as
    /// [`Interrupted`](TurnStatus::Interrupted), with all else that they had. From then on a provider takes
    /// [`Session::provider_messages`], and a new turn may begin.
    ///
    /// The turns and steps get the whole reason, each result its first 500 characters. What is more than a batch takes
    /// is ended in several batches, results first. A reference to a turn, step or message that the session does not
    /// have, which schema 1 accepted, is left out of what is put.
    ///
    /// If nothing is open, nothing is taken or written. Each call that begins a turn ends one that was given up by
    /// itself. So a host needs this call only for what is open outside of a turn, such as the calls of a background
    /// agent, or where it appends the bodies of its turns by itself: once for each session after its process has
    /// started.
    ///
    /// foldlog runs no tool again, since it does not know what the tool has done; the language model is told, and
    /// decides. If the real result of such a call comes afterwards, append it: it stays in the log and is not sent,
    /// since the call has a result.
    ///
    /// The call holds the turn while it runs, so it ends no turn that is alive in this process. It works on a session
    /// that has stopped, too. It may be repeated, and may die at any moment: what is still open then is found again.
    ///
    /// # Errors
    /// [`ErrorKind::TurnInFlight`] if somebody has the turn: then nothing is dead. ([`TurnGuard::interrupt`] is for the
    /// one who has it.) [`ErrorKind::OwnedElsewhere`] for a session that another store writes. [`ErrorKind::HeadMoved`]
    /// if others append to the session without a rest. Those of [`Session::append`] and of its receipt.
    ///
    /// # Cancellation
    /// Dropping the future gives the turn back. What was open may be ended all the same.
    ///
    /// # Examples
    /// ```
    /// # use foldlog::agent::{AgentBody, Message, Part};
    /// # use foldlog::{Error, Store, StoreConfig};
    /// # fn main() -> Result<(), Error> { futures::executor::block_on(async {
    /// # let store = Store::open(StoreConfig::memory()).await?;
    /// let session = store.open_session("support-4711").await?;
    /// # let call = Message::answer([Part::tool_call("call_1", "track", "{}")]);
    /// # session.append(AgentBody::MessageAppended(call))?.await?;
    /// for ended in session.interrupt("the host was restarted").await? {
    ///     println!("{ended} was left open");
    /// }
    /// # assert!(session.unfinished()?.is_empty());
    /// # store.close().await
    /// # }) }
    /// ```
    pub async fn interrupt(&self, reason: impl Into<String>) -> Result<Vec<Unfinished>, Error> {
        let entry = self.entry();
        entry.claim_to_repair().await?;
        // What was begun by a call whose future was dropped may be on its way.
        entry.settle().await?;
        // The turn is taken only where there is something to do: a turn that begins at the same time would be refused.
        if self.current_view().await?.unfinished().is_empty() {
            return Ok(Vec::new());
        }
        let in_flight = || Error::from(ErrorKind::TurnInFlight { session: entry.id.clone() });
        let turn = entry.take_turn_unchecked().ok_or_else(in_flight)?;
        interrupt(&turn, reason.into(), ToEnd::All).await
    }
}

impl TurnGuard<Agent> {
    /// Ends what a dead process left open, as [`Session::interrupt`] does, for a caller that has the turn already.
    ///
    /// # Errors
    /// [`ErrorKind::TurnNotHeld`] if the turn was taken away from this guard. Those of [`Session::interrupt`].
    pub async fn interrupt(&self, reason: impl Into<String>) -> Result<Vec<Unfinished>, Error> {
        interrupt(self, reason.into(), ToEnd::All).await
    }
}

/// Ends the turns that still run in the log, with their steps and calls, for a caller that has just taken the turn: so
/// nobody runs them any more.
pub(super) async fn end_given_up(turn: &TurnGuard<Agent>) -> Result<(), Error> {
    let entry = turn.entry();
    // What was appended by a call whose future was dropped may be on its way: the beginning of a turn, or its end.
    entry.settle().await?;
    let view = Arc::clone(entry).current_view().await?;
    if view.has_running_turn() {
        interrupt(turn, GIVEN_UP.to_owned(), ToEnd::RunningTurns).await?;
    }
    Ok(())
}

/// What of a session is ended.
#[derive(Debug, Clone, Copy)]
enum ToEnd {
    All,
    /// The turns that run, and what belongs to them. What a background agent has open stays.
    RunningTurns,
}

impl ToEnd {
    /// Whether what belongs to a turn, or to none, is ended.
    fn has(self, view: &AgentView, turn: Option<TurnId>) -> bool {
        match self {
            Self::All => true,
            Self::RunningTurns => turn.and_then(|turn| view.turns.get(turn)).is_some_and(|turn| turn.is_running()),
        }
    }
}

/// Ends what is open.
async fn interrupt(turn: &TurnGuard<Agent>, reason: String, to_end: ToEnd) -> Result<Vec<Unfinished>, Error> {
    let entry = turn.entry();
    let config = &entry.services.config;
    let mut ended = Vec::new();
    append_at_head(entry, |view, batches| {
        // Whoever took the turn away may have begun another by now, which is alive.
        turn.check_held()?;
        if batches == 0 {
            ended = view.unfinished();
        }
        // One batch, but for a session with more open calls than a batch takes: turns end with the last one.
        let mut bodies = interruption(view, &reason, config.clock.now(), to_end).peekable();
        Ok((BatchRoom::of(config).fill(&mut bodies), bodies.peek().is_none()))
    })
    .await?;
    Ok(ended)
}

/// What ends everything that is open in a view: results, then steps, then turns. Each is made when it is asked for.
fn interruption(view: &AgentView, reason: &str, now: Timestamp, to_end: ToEnd) -> impl Iterator<Item = AgentBody> {
    let failure = move || Failure::new("interrupted", reason);
    let steps =
        view.steps.unfinished(move |step| step.is_running() && to_end.has(view, step.turn)).map(move |(_, step)| {
            let error = step.error.clone().or_else(|| Some(failure()));
            let step = step_to_put(view, step);
            AgentBody::StepPut(Step { status: StepStatus::Interrupted, ended: Some(now), error, ..step })
        });
    let turns = view.turns.unfinished(Turn::is_running).map(move |(_, turn)| {
        let error = turn.error.clone().or_else(|| Some(failure()));
        let turn = turn_to_put(view, turn);
        AgentBody::TurnPut(Turn { status: TurnStatus::Interrupted, ended: Some(now), error, ..turn })
    });
    let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
    let text = format!("interrupted, it is not known whether the tool has run: {reason}");
    let turn_of = |call: &OpenCall| view.message(call.message).and_then(|message| message.turn);
    let calls = view.open_calls.iter().filter(move |call| to_end.has(view, turn_of(call)));
    unanswered(view, calls, text).chain(steps).chain(turns)
}

/// A result, marked as an error, for each of these open calls. Each is made when it is asked for.
///
/// A result answers the nearest unanswered call of its id before it. So the newest message comes first, and each result
/// meets the call that it was made for.
pub(super) fn unanswered<'a>(
    view: &'a AgentView,
    calls: impl Iterator<Item = &'a OpenCall>,
    text: String,
) -> impl Iterator<Item = AgentBody> + 'a {
    let mut calls: Vec<_> = calls.collect();
    calls.sort_by_key(|call| Reverse(call.message));
    calls.into_iter().map(move |call| {
        let message = view.message(call.message);
        let is_chained = message.is_some_and(|message| message.agent.is_some() || message.parent.is_some());
        AgentBody::MessageAppended(Message {
            turn: known_turn(view, message.and_then(|message| message.turn)),
            step: known_step(view, message.and_then(|message| message.step)),
            // Where messages name the one before them, this one is behind the message of the call.
            parent: Some(call.message).filter(|_| is_chained),
            ..error_result(call, &text)
        })
    })
}

/// The message that answers a call with an error.
pub(super) fn error_result(call: &OpenCall, text: &str) -> Message {
    let name = Some(call.name.clone()).filter(|name| !name.is_empty());
    let result = ToolResult { name, is_error: Some(true), ..ToolResult::text(call.call_id.as_str(), text) };
    Message { agent: call.agent.clone(), ..Message::tool(result) }
}
