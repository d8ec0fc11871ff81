//! The counters that mint ids, and the stamping that depends on them alone.

use serde::Serialize;

use crate::agent::body::AgentBody;
use crate::agent::entity::{Step, Turn};
use crate::agent::id::{EvalId, MessageId, StepId, TurnId};
use crate::agent::message::Message;
use crate::id::EventId;

/// The largest id so far of each kind of entity. The id of the last event is not among them: it is the head of the
/// [`View`](crate::View).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Counters {
    /// The largest message id.
    pub message: u64,
    /// The largest turn id.
    pub turn: u64,
    /// The largest step id.
    pub step: u64,
    /// The largest eval id.
    pub eval: u64,
}

/// Names one of the [`Counters`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Counter {
    /// The counter of messages.
    Message,
    /// The counter of turns.
    Turn,
    /// The counter of steps.
    Step,
    /// The counter of evals.
    Eval,
}

impl Counters {
    /// The id that the next creating event of this kind gets.
    #[must_use]
    pub fn next(&self, counter: Counter) -> u64 {
        let seen = match counter {
            Counter::Message => self.message,
            Counter::Turn => self.turn,
            Counter::Step => self.step,
            Counter::Eval => self.eval,
        };
        seen.saturating_add(1)
    }

    /// Writes the ids that the body creates into the body, and raises the counters as the fold will. A body that names
    /// an entity which must be there is refused here, as far as the counters tell: they are all that stamping may
    /// depend on.
    pub(super) fn stamp(&mut self, id: EventId, body: &mut AgentBody) -> Result<(), String> {
        self.name_last_message(body);
        self.check_references(id, body)?;
        match body {
            AgentBody::TurnStarted(turn) => turn.id = TurnId::new(self.mint(Counter::Turn)?),
            AgentBody::StepStarted(step) => step.id = StepId::new(self.mint(Counter::Step)?),
            AgentBody::EvalAdded(eval) => eval.id = EvalId::new(self.mint(Counter::Eval)?),
            AgentBody::MessageAppended(message) => self.stamp_message(id, message)?,
            AgentBody::SessionCompacted { vars: _, boundary, message } => {
                self.stamp_message(id, message)?;
                if *boundary == EventId::ZERO {
                    *boundary = id;
                }
            }
            AgentBody::SessionStarted(_)
            | AgentBody::TurnPut(_)
            | AgentBody::StepPut(_)
            | AgentBody::VarsSnapshotted(_)
            | AgentBody::StopRequested
            | AgentBody::Stopped
            | AgentBody::SessionErrored(_)
            | AgentBody::Custom { .. }
            | AgentBody::TurnQueued { .. } => {}
        }
        self.see(body);
        Ok(())
    }

    /// Writes the id of the last message where a turn, a step or a queued turn names message 0. So a batch may append a
    /// message and what refers to it, before anybody knows the id, and a retry under the same append key hands over the
    /// same bodies.
    fn name_last_message(&self, body: &mut AgentBody) {
        let named = match body {
            AgentBody::TurnStarted(turn) | AgentBody::TurnPut(turn) => &mut turn.user_message,
            AgentBody::StepStarted(step) | AgentBody::StepPut(step) => &mut step.assistant_message,
            AgentBody::TurnQueued { message } => {
                if *message == MessageId::default() {
                    *message = MessageId::new(self.message);
                }
                return;
            }
            _ => return,
        };
        if *named == Some(MessageId::default()) {
            *named = Some(MessageId::new(self.message));
        }
    }

    /// Refuses a body that names an entity which no event has created. (A put whose entity is missing from the log is
    /// still folded: earlier builds wrote such.)
    fn check_references(&self, id: EventId, body: &AgentBody) -> Result<(), String> {
        let message = |named: Option<MessageId>| there("message", named.map(MessageId::get), self.message);
        let turn = |named: Option<TurnId>| there("turn", named.map(TurnId::get), self.turn);
        let step = |named: Option<StepId>| there("step", named.map(StepId::get), self.step);
        let of_turn = |turn: &Turn| message(turn.user_message);
        let of_step = |step: &Step| turn(step.turn).and_then(|()| message(step.assistant_message));
        // A message may open the next turn, and name it.
        let next_turn = Some(TurnId::new(self.next(Counter::Turn)));
        let of_message = |said: &Message| {
            turn(said.turn.filter(|_| said.turn != next_turn))?;
            step(said.step).and_then(|()| message(said.parent))
        };
        match body {
            AgentBody::TurnStarted(started) => of_turn(started),
            AgentBody::TurnPut(put) => turn(Some(put.id)).and_then(|()| of_turn(put)),
            AgentBody::StepStarted(started) => of_step(started),
            AgentBody::StepPut(put) => step(Some(put.id)).and_then(|()| of_step(put)),
            AgentBody::EvalAdded(eval) => turn(eval.turn).and_then(|()| step(eval.step)),
            AgentBody::MessageAppended(said) => of_message(said),
            AgentBody::TurnQueued { message: queued } => message(Some(*queued)),
            AgentBody::SessionCompacted { vars: _, boundary, message } => {
                if *boundary > id {
                    return Err(format!(
                        "the boundary {boundary} of a compaction is behind the compaction, event {id}"
                    ));
                }
                of_message(message)
            }
            AgentBody::SessionStarted(_)
            | AgentBody::VarsSnapshotted(_)
            | AgentBody::StopRequested
            | AgentBody::Stopped
            | AgentBody::SessionErrored(_)
            | AgentBody::Custom { .. } => Ok(()),
        }
    }

    fn stamp_message(&self, id: EventId, message: &mut Message) -> Result<(), String> {
        message.id = MessageId::new(self.mint(Counter::Message)?);
        message.event_id = id;
        Ok(())
    }

    /// The next id. Fails when there is none left: a put may have named the largest id.
    fn mint(&self, counter: Counter) -> Result<u64, String> {
        let next = self.next(counter);
        if next > EventId::MAX.get() { Err(format!("there is no {counter:?} id after {}", next - 1)) } else { Ok(next) }
    }

    /// Raises the counters to the ids of an event. Both stamping and folding call this function, and nothing else
    /// changes the counters, so that the two cannot differ.
    pub(super) fn see(&mut self, body: &AgentBody) {
        let raise = |counter: &mut u64, seen: u64| *counter = (*counter).max(seen);
        match body {
            AgentBody::TurnStarted(turn) | AgentBody::TurnPut(turn) => raise(&mut self.turn, turn.id.get()),
            AgentBody::StepStarted(step) | AgentBody::StepPut(step) => raise(&mut self.step, step.id.get()),
            AgentBody::EvalAdded(eval) => raise(&mut self.eval, eval.id.get()),
            AgentBody::MessageAppended(message) | AgentBody::SessionCompacted { message, .. } => {
                raise(&mut self.message, message.id.get());
            }
            AgentBody::SessionStarted(_)
            | AgentBody::VarsSnapshotted(_)
            | AgentBody::StopRequested
            | AgentBody::Stopped
            | AgentBody::SessionErrored(_)
            | AgentBody::Custom { .. }
            | AgentBody::TurnQueued { .. } => {}
        }
    }
}

/// Whether an entity that a body names has been created.
fn there(what: &str, named: Option<u64>, last: u64) -> Result<(), String> {
    match named {
        Some(id) if !(1..=last).contains(&id) => Err(match last {
            0 => format!("it names {what} {id}, and the session has none"),
            _ => format!("it names {what} {id}, and the last of this session is {last}"),
        }),
        _ => Ok(()),
    }
}
