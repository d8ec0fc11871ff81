//! What the events of an agent's session fold into.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet, Vector};
use serde::{Deserialize, Serialize};

use crate::agent::Agent;
use crate::agent::append_list::AppendList;
use crate::agent::body::AgentBody;
use crate::agent::conversation;
use crate::agent::counters::Counters;
use crate::agent::entities::Entities;
use crate::agent::entity::{Eval, Failure, SessionInfo, SessionStatus, Step, Turn, TurnStatus, Usage};
use crate::agent::id::{EvalId, MessageId, StepId, TurnId};
use crate::agent::message::{Message, Role};
use crate::agent::open_calls::OpenCalls;
use crate::content::Content;
use crate::id::{EventId, Timestamp};
use crate::model::{Turns, Unfinished, View};

/// The folded state of an agent's session. A clone shares structure, so it costs the same at any length.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct AgentView {
    /// The session as last described. After a stop or an error of a session that was never described, it holds only the
    /// status.
    pub session: Option<Arc<SessionInfo>>,
    /// All messages, by ascending id and event id.
    pub messages: AppendList<Message>,
    /// All turns, in the order in which they were added.
    pub turns: Entities<TurnId, Turn>,
    /// All steps, in the order in which they were added.
    pub steps: Entities<StepId, Step>,
    /// All evals, by ascending id.
    pub evals: AppendList<Eval>,
    /// The largest ids so far.
    pub counters: Counters,
    /// The variables, as last written.
    pub vars: Option<Arc<Content>>,
    /// The boundary of the last compaction.
    pub compact_from: Option<EventId>,
    /// What ended the session in an error.
    pub error: Option<Arc<Failure>>,
    /// The tool calls that have no result yet; those that a compaction covers are left out.
    pub open_calls: OpenCalls,
    /// The system and developer messages of the session's own conversation, in order.
    pub(super) instructions: Vector<MessageId>,
    /// The message that stands for what comes before the boundary.
    pub(super) summary: Option<MessageId>,
    /// The messages of compactions that come after the boundary, in order; the one above is among them.
    pub(super) summaries: Vector<MessageId>,
    /// The messages that wait for a turn: one is queued for them, or their last turn was interrupted.
    pub(super) unanswered: OrdSet<MessageId>,
    /// The steps that run, and what is known of each.
    pub(super) running_steps: OrdMap<StepId, StepSoFar>,
}

/// What the messages of a step that runs have told so far, so that ending it looks at none of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct StepSoFar {
    /// The assistant's last message.
    pub(super) answer: Option<MessageId>,
    /// The tokens of the assistant's messages together.
    pub(super) usage: Option<Usage>,
}

/// A short summary of how far a session has come.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// The host's own id of the session.
    pub id: Option<String>,
    /// The session's status; `None` before it was described, stopped or ended in an error.
    pub status: Option<SessionStatus>,
    /// Whether the status is running.
    pub running: bool,
    /// How many turns there are.
    pub turn_count: usize,
    /// The last turn.
    pub current_turn: Option<TurnId>,
    /// How many steps there are, over all turns.
    pub step_count: usize,
    /// Whether the last turn has no end yet.
    pub in_flight: bool,
    /// The last event that is folded in.
    pub last_event_id: EventId,
}

impl AgentView {
    /// The message with an id.
    #[must_use]
    pub fn message(&self, id: MessageId) -> Option<&Arc<Message>> {
        message_of(&self.messages, id)
    }

    /// The eval with an id.
    #[must_use]
    pub fn eval(&self, id: EvalId) -> Option<&Arc<Eval>> {
        let place = self.evals.binary_search_by_key(&id, |eval| eval.id).ok()?;
        self.evals.get(place)
    }

    /// The messages to send to the language model: those at or after the boundary of the last compaction, the
    /// compaction's own message included; all messages if there was no compaction. In the order of the log: a provider
    /// wants [`AgentView::provider_messages`].
    pub fn kept_messages(&self) -> impl DoubleEndedIterator<Item = &Arc<Message>> + ExactSizeIterator {
        let boundary = self.compact_from.unwrap_or_default();
        let (Ok(start) | Err(start)) = self.messages.binary_search_by_key(&boundary, |message| message.event_id);
        self.messages.iter_from(start)
    }

    /// What a turn has answered: the assistant's last message in it, those of side chains left out. `None` if the
    /// assistant said nothing. Its text may be in a blob: [`Store::read_content`](crate::Store::read_content).
    ///
    /// Takes time in the number of messages since the one that the turn answers.
    #[must_use]
    pub fn answer_of(&self, turn: TurnId) -> Option<&Arc<Message>> {
        let asked = self.turns.get(turn)?.user_message;
        let mut since = self.messages.iter().rev().take_while(|message| Some(message.id) >= asked);
        since.find(|message| message.turn == Some(turn) && message.role == Role::Assistant && message.agent.is_none())
    }

    /// The messages that nobody has answered yet, in the order in which they were sent: those that wait for their turn
    /// ([`AgentBody::TurnQueued`]), and those whose last turn was
    /// [`Interrupted`](crate::agent::TurnStatus::Interrupted). [`Session::begin_next_turn`] begins the turn of the
    /// first.
    ///
    /// A message that nobody has asked a turn for, such as one of a chat without turns, is not among them.
    ///
    /// [`Session::begin_next_turn`]: crate::Session::begin_next_turn
    pub fn unanswered(&self) -> impl Iterator<Item = &Arc<Message>> {
        self.unanswered.iter().filter_map(|id| self.message(*id))
    }

    /// Whether the log has a turn without an end.
    pub(super) fn has_running_turn(&self) -> bool {
        self.turns.unfinished(Turn::is_running).next().is_some()
    }

    pub(super) fn turns_taken(&self) -> Turns {
        let stopped = self.session.as_ref().is_some_and(|session| !session.status.is_running());
        Turns { stopped, started: self.turns.len() as u64 }
    }

    pub(super) fn unfinished(&self) -> Vec<Unfinished> {
        let turns = self.turns.unfinished(Turn::is_running);
        let steps = self.steps.unfinished(Step::is_running);
        turns
            .map(|(_, turn)| Unfinished::new("turn", turn.id.get()))
            .chain(steps.map(|(_, step)| Unfinished::new("step", step.id.get())))
            .chain(self.open_calls.iter().map(|call| Unfinished::new("tool_call", call.call_id.as_str())))
            .collect()
    }

    #[inline]
    pub(super) fn apply(&mut self, at: Timestamp, body: AgentBody) {
        self.counters.see(&body);
        match body {
            AgentBody::SessionStarted(session) => {
                let created = session.created.or(Some(at));
                // A description tells what the session is. It gives no turns back to a session that has stopped.
                let ended = self.session.as_ref().map(|before| before.status).filter(|status| !status.is_running());
                let status = ended.unwrap_or(session.status);
                self.session = Some(Arc::new(SessionInfo { created, status, ..session }));
            }
            AgentBody::TurnStarted(turn) => {
                if let Some(message) = turn.user_message {
                    self.unanswered.remove(&message);
                }
                let started = turn.started.or(Some(at));
                self.turns.put(turn.id, Turn { started, ..turn });
            }
            // A put replaces the whole entity, so the view fills nothing in.
            AgentBody::TurnPut(turn) => {
                self.follow_put(&turn);
                self.turns.put(turn.id, turn);
            }
            AgentBody::StepStarted(step) => {
                let started = step.started.or(Some(at));
                self.put_step(Step { started, ..step });
            }
            AgentBody::StepPut(step) => self.put_step(step),
            AgentBody::MessageAppended(message) => self.push_message(message, at),
            AgentBody::EvalAdded(eval) => {
                let at = eval.at.or(Some(at));
                self.evals.push(Arc::new(Eval { at, ..eval }));
            }
            AgentBody::VarsSnapshotted(vars) => self.vars = Some(Arc::new(vars)),
            AgentBody::SessionCompacted { vars, boundary, message } => {
                // One that covers less than an earlier one came too late: what it sums up is summed up already.
                if self.compact_from.is_some_and(|before| boundary < before) {
                    self.summaries.push_back(message.id);
                    return self.keep_message(message, at);
                }
                if let Some(vars) = vars {
                    self.vars = Some(Arc::new(vars));
                }
                self.compact_from = Some(boundary);
                self.open_calls.drop_before(boundary);
                let messages = &self.messages;
                self.summaries.retain(|id| is_at_or_after(messages, *id, boundary));
                self.summaries.push_back(message.id);
                self.summary = Some(message.id);
                self.keep_message(message, at);
            }
            AgentBody::StopRequested => self.set_status(SessionStatus::StopRequested),
            AgentBody::Stopped => self.set_status(SessionStatus::Stopped),
            AgentBody::SessionErrored(failure) => {
                self.error = Some(Arc::new(failure));
                self.set_status(SessionStatus::Error);
            }
            AgentBody::Custom { .. } => {}
            AgentBody::TurnQueued { message } => {
                self.unanswered.insert(message);
            }
        }
    }

    fn push_message(&mut self, message: Message, at: Timestamp) {
        if message.role.is_instruction() && message.agent.is_none() {
            self.instructions.push_back(message.id);
        }
        conversation::follow(&mut self.open_calls, &message);
        self.keep_message(message, at);
    }

    /// A turn that is interrupted leaves its message without an answer, and any other end is one. An interrupted turn
    /// that is put once more, such as with its cost, says nothing new: its message may have been answered since.
    fn follow_put(&mut self, put: &Turn) {
        let Some(message) = put.user_message else { return };
        let is_interrupted = |turn: &Turn| turn.status == TurnStatus::Interrupted;
        if !is_interrupted(put) {
            self.unanswered.remove(&message);
        } else if !self.turns.get(put.id).is_some_and(|before| is_interrupted(before)) {
            self.unanswered.insert(message);
        }
    }

    fn put_step(&mut self, step: Step) {
        if step.is_running() {
            self.running_steps.entry(step.id).or_default();
        } else {
            self.running_steps.remove(&step.id);
        }
        self.steps.put(step.id, step);
    }

    fn keep_message(&mut self, message: Message, at: Timestamp) {
        if message.role == Role::Assistant
            && let Some(so_far) = message.step.and_then(|step| self.running_steps.get_mut(&step))
        {
            so_far.answer = Some(message.id);
            Usage::add(&mut so_far.usage, message.origin.as_ref().and_then(|origin| origin.usage));
        }
        let at = message.at.or(Some(at));
        self.messages.push(Arc::new(Message { at, ..message }));
    }

    fn set_status(&mut self, status: SessionStatus) {
        Arc::make_mut(self.session.get_or_insert_default()).status = status;
    }
}

fn is_at_or_after(messages: &AppendList<Message>, id: MessageId, boundary: EventId) -> bool {
    message_of(messages, id).is_some_and(|message| message.event_id >= boundary)
}

fn message_of(messages: &AppendList<Message>, id: MessageId) -> Option<&Arc<Message>> {
    let place = messages.binary_search_by_key(&id, |message| message.id).ok()?;
    messages.get(place)
}

impl View<Agent> {
    /// A short summary of how far the session has come.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let status = self.session.as_ref().map(|session| session.status);
        let turn = self.turns.last();
        Progress {
            id: self.session.as_ref().and_then(|session| session.id.clone()),
            status,
            running: status == Some(SessionStatus::Running),
            turn_count: self.turns.len(),
            current_turn: turn.map(|turn| turn.id),
            step_count: self.steps.len(),
            in_flight: turn.is_some_and(|turn| turn.is_running()),
            last_event_id: self.head(),
        }
    }
}
