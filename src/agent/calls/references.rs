//! Puts of what an old log holds: a body of schema 1 may name an entity that never was, and no append may.

use crate::agent::{AgentView, MessageId, Step, StepId, Turn, TurnId};

/// The turn of a view as it may be put: a reference to what the view does not have is dropped. Message 0 is such a one,
/// since in a put it would stand for the last message.
pub(super) fn turn_to_put(view: &AgentView, turn: &Turn) -> Turn {
    Turn { user_message: known_message(view, turn.user_message), ..turn.clone() }
}

/// The step of a view as it may be put, as [`turn_to_put`] does it.
pub(super) fn step_to_put(view: &AgentView, step: &Step) -> Step {
    let assistant_message = known_message(view, step.assistant_message);
    Step { turn: known_turn(view, step.turn), assistant_message, ..step.clone() }
}

pub(super) fn known_turn(view: &AgentView, turn: Option<TurnId>) -> Option<TurnId> {
    turn.filter(|id| view.turns.get(*id).is_some())
}

pub(super) fn known_step(view: &AgentView, step: Option<StepId>) -> Option<StepId> {
    step.filter(|id| view.steps.get(*id).is_some())
}

fn known_message(view: &AgentView, message: Option<MessageId>) -> Option<MessageId> {
    message.filter(|id| view.message(*id).is_some())
}
