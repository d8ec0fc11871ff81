//! What ends a step, and a turn: puts of whole entities, which begin with what the view has of them.

use crate::agent::calls::interruption::{error_result, unanswered};
use crate::agent::calls::references::{step_to_put, turn_to_put};
use crate::agent::conversation;
use crate::agent::view::StepSoFar;
use crate::agent::{
    AgentBody, AgentView, Failure, Message, MessageId, OpenCalls, Role, Step, StepStatus, Turn, TurnId, TurnStatus,
    Usage,
};
use crate::content::Content;
use crate::id::Timestamp;

/// What the language model is told of a call that nobody answers any more.
const NOT_ANSWERED: &str = "the turn ended before the tool answered";

/// How a turn ends: see [`RunningTurn::end`](super::RunningTurn::end).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TurnEnd {
    /// The turn is done; its last message is the answer.
    Final,
    /// The turn is done, and this is its result.
    Value(Content),
    /// The turn failed.
    Error(Failure),
    /// The turn ran out of time.
    Timeout,
    /// The turn ran out of tokens, steps or money.
    BudgetExceeded,
    /// The user or the host ended the turn before it was done.
    Cancelled,
}

impl TurnEnd {
    fn status(&self) -> TurnStatus {
        match self {
            Self::Final | Self::Value(_) => TurnStatus::Final,
            Self::Error(_) => TurnStatus::Error,
            Self::Timeout => TurnStatus::Timeout,
            Self::BudgetExceeded => TurnStatus::BudgetExceeded,
            Self::Cancelled => TurnStatus::Cancelled,
        }
    }

    /// Why the step that runs has failed, if the turn ends like this.
    fn step_failure(&self) -> Option<Failure> {
        match self {
            Self::Final | Self::Value(_) | Self::BudgetExceeded => None,
            Self::Error(failure) => Some(failure.clone()),
            Self::Timeout => Some(Failure::new("timeout", "the turn ran out of time")),
            Self::Cancelled => Some(Failure::new("cancelled", "the turn was ended before it was done")),
        }
    }
}

/// What a turn needs to be ended.
pub(super) struct Ending<'a> {
    pub(super) view: &'a AgentView,
    pub(super) turn: TurnId,
    pub(super) now: Timestamp,
}

impl Ending<'_> {
    /// The step of the turn that runs. By the view, since the future of a call may have been dropped when its step had
    /// begun.
    fn running_step(&self) -> Option<(&Step, &StepSoFar)> {
        let running = self.view.running_steps.iter().rev();
        let mut steps = running.filter_map(|(id, so_far)| Some((&**self.view.steps.get(*id)?, so_far)));
        steps.find(|(step, _)| step.turn == Some(self.turn))
    }

    /// Ends the step that runs, if there is one. `last` is a message that the same batch appends before this put.
    pub(super) fn step(&self, failure: Option<Failure>, last: Option<&Message>) -> Option<Step> {
        let (step, so_far) = self.running_step()?;
        let last = last.filter(|message| message.role == Role::Assistant);
        let mut usage = so_far.usage;
        Usage::add(&mut usage, last.and_then(|message| message.origin.as_ref()?.usage));
        let newest = last.map(|_| MessageId::default()).or(so_far.answer);
        let step = step_to_put(self.view, step);
        Some(Step {
            status: if failure.is_some() { StepStatus::Error } else { StepStatus::Done },
            ended: Some(self.now),
            assistant_message: step.assistant_message.or(newest),
            usage: step.usage.or(usage),
            error: failure.or_else(|| step.error.clone()),
            ..step
        })
    }

    /// Ends the turn. `None` if the view says that it has ended already. The results of open calls lead, so that they
    /// can go ahead of a batch that would be too large:
    /// [`BatchRoom::first`](crate::agent::calls::batch_room::BatchRoom::first).
    pub(super) fn turn(&self, end: TurnEnd, last: Option<Message>) -> Option<Vec<AgentBody>> {
        let turn = self.view.turns.get(self.turn).filter(|turn| turn.is_running())?;
        let step = self.step(end.step_failure(), last.as_ref());
        let mut usage = None;
        let steps = self.view.steps.iter().rev().take_while(|step| step.turn.is_none_or(|turn| turn >= self.turn));
        let ended = step.as_ref().map(|step| step.id);
        let steps = steps.filter(|step| step.turn == Some(self.turn) && Some(step.id) != ended);
        steps.for_each(|step| Usage::add(&mut usage, step.usage));
        Usage::add(&mut usage, step.as_ref().and_then(|step| step.usage));
        let status = end.status();
        let (final_value, error) = match end {
            TurnEnd::Value(value) => (Some(value), None),
            TurnEnd::Error(failure) => (None, Some(failure)),
            _ => (None, None),
        };
        let turn = turn_to_put(self.view, turn);
        let put = Turn {
            status,
            ended: Some(self.now),
            final_value: final_value.or_else(|| turn.final_value.clone()),
            usage: turn.usage.or(usage),
            error: error.or_else(|| turn.error.clone()),
            ..turn
        };
        // A provider takes no messages with a call that nobody will answer any more.
        let calls = self
            .view
            .open_calls
            .iter()
            .filter(|call| self.view.message(call.message).is_some_and(|message| message.turn == Some(self.turn)));
        let mut bodies: Vec<_> = unanswered(self.view, calls, NOT_ANSWERED.to_owned()).collect();
        let of_last = last.as_ref().map(unanswered_by_last).unwrap_or_default();
        bodies.extend(last.map(AgentBody::MessageAppended));
        // Right behind the last message: the put may name it as message 0, which is the one before the put.
        bodies.extend(step.map(AgentBody::StepPut));
        bodies.extend(of_last.into_iter().map(AgentBody::MessageAppended));
        bodies.push(AgentBody::TurnPut(put));
        Some(bodies)
    }
}

/// The results of the calls of a message that has no id yet, so none of them has a parent.
fn unanswered_by_last(last: &Message) -> Vec<Message> {
    let mut open = OpenCalls::default();
    conversation::follow(&mut open, last);
    let results =
        open.iter().map(|call| Message { turn: last.turn, step: last.step, ..error_result(call, NOT_ANSWERED) });
    results.collect()
}
