//! Which result answers which tool call, and the order in which a provider takes the messages.
//!
//! **A result belongs to the nearest unanswered call of its id before it.** Providers give ids that are not unique
//! (`call_0` in each turn), or none at all. Within one message, the first unanswered call is nearest. A side chain has
//! calls and results of its own. What the provider ran itself ([`ToolKind::Provider`], and results in an assistant's
//! message) is not matched: it goes back where it stood.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use imbl::OrdSet;

use crate::agent::entity::Turn;
use crate::agent::id::{MessageId, TurnId};
use crate::agent::message::{Message, Role};
use crate::agent::open_calls::{OpenCall, OpenCalls};
use crate::agent::part::{Part, PartBody, ToolCall, ToolKind, ToolResult};
use crate::agent::view::AgentView;
use crate::content::Content;
use crate::id::EventId;

/// The tool calls of a message that the host owes a result. Instructions call nothing, nor does a tool.
fn owed(message: &Message) -> impl Iterator<Item = OpenCall> {
    let may_call = !message.role.is_instruction() && message.role != Role::Tool;
    message.parts.iter().zip(0..).filter_map(move |(part, place)| match &part.body {
        PartBody::ToolCall(ToolCall { id, name, arguments: _, kind }) if may_call && *kind != ToolKind::Provider => {
            Some(OpenCall {
                message: message.id,
                event_id: message.event_id,
                part: place,
                call_id: id.clone(),
                name: name.clone(),
                agent: message.agent.clone(),
            })
        }
        _ => None,
    })
}

/// Whether the results of a message answer calls: not those that the provider gave itself, nor those of an instruction.
fn may_answer(message: &Message) -> bool {
    message.role != Role::Assistant && !message.role.is_instruction()
}

/// The results of a message that answer calls.
fn results(message: &Message) -> impl Iterator<Item = &ToolResult> {
    message.parts.iter().filter_map(Part::as_tool_result).filter(|_| may_answer(message))
}

/// Folds one message into the calls that have no result.
pub(super) fn follow(open: &mut OpenCalls, message: &Message) {
    for result in results(message) {
        // A result of no call stays in the log, and answers nothing.
        let _ = open.take(message.agent.as_deref(), result);
    }
    owed(message).for_each(|call| open.add(call));
}

impl AgentView {
    /// The messages to send to the language model, in an order that providers accept: system and developer messages,
    /// the message of the last compaction, then the kept messages, each result right behind the message of its call.
    ///
    /// The kept messages are in the order of the log, but for what other turns have said in between: behind a message
    /// that was asked stands all that its turns have said. What waits for its first turn comes last. So a question is
    /// followed by its answer, whatever was sent meanwhile.
    ///
    /// Left out are: what a compaction covers, earlier summaries included; results of no kept call, and further results
    /// of a call that has one; side chains; texts that are empty and have no origin, nor has their message; messages
    /// without a part. A message that waited for its turn is given although a compaction covers it. A message whose
    /// results move leaves its other parts where it was, as a message of the same id. Those of a message of role
    /// [`Role::Tool`] move with its results, and stand behind all results of that answer.
    ///
    /// A call without a result has none here, which providers refuse:
    /// [`Session::interrupt`](crate::Session::interrupt) gives each one. Contents may be blobs:
    /// [`Session::provider_messages`](crate::Session::provider_messages) reads them, too.
    ///
    /// Takes time in the number of kept messages, and while a message waits, in that of turns.
    /// [`AgentView::kept_messages`] gives the same messages in the order of the log.
    #[must_use]
    pub fn provider_messages(&self) -> Vec<Arc<Message>> {
        let waiting = self.waiting();
        let messages = self.by_questions(waiting.iter().copied()).into_iter();
        let (waiting, before): (Vec<_>, Vec<_>) = messages.partition(|said| waiting.contains(&said.message.id));
        self.to_send(before.into_iter().chain(waiting))
    }

    /// The same for a turn that runs: the message that it answers comes last, and behind that what this turn has added,
    /// and turns for the same message before it, which were given up. What users have said since, and no turn has
    /// answered yet, is left out, and so is whatever waits: it is for turns to come.
    #[must_use]
    pub fn provider_messages_of(&self, turn: TurnId) -> Vec<Arc<Message>> {
        let Some(asked) = self.turns.get(turn).and_then(|turn| turn.user_message) else {
            return self.provider_messages();
        };
        // Turns begin in the order of the messages that they answer, but for those that are begun anew.
        let later = self.turns.iter().rev().filter_map(|turn| turn.user_message);
        let begun: HashSet<MessageId> = later.take_while(|message| *message >= asked).collect();
        let waiting = self.waiting();
        let is_new = |message: &Message| message.turn.is_none() && message.id > asked;
        let is_for_later = |message: &Message| {
            waiting.contains(&message.id)
                || (is_new(message) && message.role == Role::User && !begun.contains(&message.id))
        };
        let is_of_turn = |said: &Said| {
            let message = &said.message;
            message.id == asked
                || self.question_of(message) == Some(asked)
                || (is_new(message) && said.is_beside_results)
        };
        let messages = self.by_questions([asked]).into_iter();
        let (of_turn, mut before): (Vec<_>, Vec<_>) = messages.partition(is_of_turn);
        before.retain(|said| !is_for_later(&said.message));
        self.to_send(before.into_iter().chain(of_turn))
    }

    /// The messages that wait for their first turn.
    fn waiting(&self) -> OrdSet<MessageId> {
        let mut waiting = self.unanswered.clone();
        let mut begun = self.turns.iter().rev().filter_map(|turn| turn.user_message);
        while let Some(message) = begun.next().filter(|_| !waiting.is_empty()) {
            waiting.remove(&message);
        }
        waiting
    }

    /// The message that the turn of a message answers.
    fn question_of(&self, message: &Message) -> Option<MessageId> {
        self.turns.get(message.turn?)?.user_message
    }

    /// The kept messages with the results of their calls, behind each question what its turns have said. Of these
    /// questions and those of the kept messages, one that a compaction has covered while it waited is there, too.
    fn by_questions(&self, asked: impl IntoIterator<Item = MessageId>) -> Vec<Said> {
        let kept: Vec<_> = self.conversation().collect();
        let questions = kept.iter().filter_map(|message| self.question_of(message));
        let running = self.turns.unfinished(Turn::is_running).filter_map(|(_, turn)| turn.user_message);
        let questions: BTreeSet<_> = questions.chain(running).chain(asked).collect();
        let covered = questions.into_iter().filter_map(|question| self.covered_while_waiting(question));
        // Results meet their calls in the order of the log, since ids are not unique.
        let mut ordered = Ordered::default();
        covered.chain(kept).for_each(|message| ordered.push(message));
        let mut messages = ordered.said;
        messages.sort_by_cached_key(|Said { message, .. }| {
            self.question_of(message).map_or(message.id, |question| question.min(message.id))
        });
        messages
    }

    /// A message that a compaction has covered before any of its turns did something. The summary knows no answer to
    /// it. Where a turn had done something, the summary stands for the message and for that.
    fn covered_while_waiting(&self, asked: MessageId) -> Option<&Arc<Message>> {
        let message = self.message(asked).filter(|message| Some(message.event_id) < self.compact_from)?;
        let place = self.messages.binary_search_by_key(&asked, |message| message.id).ok()?;
        let mut since = self.messages.iter_from(place).take_while(|message| Some(message.id) < self.summary);
        let is_own = message.agent.is_none() && !message.role.is_instruction();
        (is_own && !since.any(|message| self.question_of(message) == Some(asked))).then_some(message)
    }

    /// The instructions, the summary, and these messages, without what providers refuse.
    fn to_send(&self, messages: impl Iterator<Item = Said>) -> Vec<Arc<Message>> {
        let first = self.instructions.iter().chain(self.summary.as_ref()).filter_map(|id| self.message(*id)).cloned();
        first.chain(messages.flat_map(Said::into_messages)).filter_map(without_empty_texts).collect()
    }

    /// The first event whose messages a compaction has to keep if it is to cover those up to `through`: the event
    /// behind that one, or the earliest call whose result would be kept or is still to come.
    pub(super) fn boundary_after(&self, through: EventId) -> EventId {
        let wanted = through.next();
        let mut open = OpenCalls::default();
        let mut spans = Vec::new();
        for message in self.conversation() {
            for result in results(message) {
                if let Some(call) = open.take(None, result) {
                    spans.push((call.event_id, message.event_id));
                }
            }
            owed(message).for_each(|call| open.add(call));
        }
        spans.extend(open.iter().map(|call| (call.event_id, EventId::MAX)));
        // From the last result to the first, since a boundary that moves back keeps more results.
        spans.iter().rev().fold(wanted, |boundary, (call, result)| match *result >= boundary {
            true => boundary.min(*call),
            false => boundary,
        })
    }

    /// The kept messages of the session's own conversation that are neither instructions nor summaries.
    fn conversation(&self) -> impl Iterator<Item = &Arc<Message>> {
        self.kept_messages()
            .filter(|message| message.agent.is_none() && !message.role.is_instruction())
            .filter(|message| self.summaries.binary_search(&message.id).is_err())
    }
}

/// Messages, each with the results of its calls.
#[derive(Default)]
struct Ordered {
    said: Vec<Said>,
    /// The place in `said` of each message that has calls.
    places: HashMap<MessageId, usize>,
    open: OpenCalls,
}

struct Said {
    message: Arc<Message>,
    results: Vec<Arc<Message>>,
    /// Whether the message had results, too, which stand behind their calls.
    is_beside_results: bool,
}

impl Said {
    fn into_messages(self) -> impl Iterator<Item = Arc<Message>> {
        std::iter::once(self.message).chain(results_first(self.results))
    }
}

impl Ordered {
    fn push(&mut self, message: &Arc<Message>) {
        let mut rest = Vec::new();
        // The parts that go behind each message, by the place of that message in `said`.
        let mut moved: Vec<(usize, Vec<Part>)> = Vec::new();
        let mut is_split = false;
        // Where the last result has gone; `None` if its call is not there. What a tool says ahead of its first result
        // goes where that goes.
        let mut last = None;
        let mut ahead = Vec::new();
        let is_of_tool = message.role == Role::Tool && results(message).next().is_some();
        for part in &message.parts {
            let place = match part.as_tool_result().filter(|_| may_answer(message)) {
                Some(result) => {
                    is_split = true;
                    last = self.place_of_call(result);
                    if let Some(place) = last.filter(|_| !ahead.is_empty()) {
                        moved.push((place, std::mem::take(&mut ahead)));
                    }
                    last
                }
                None if is_of_tool && !is_split => {
                    ahead.push(part.clone());
                    continue;
                }
                // What a tool's message says beside its results belongs to the result before it.
                None if message.role == Role::Tool && is_split => last,
                None => {
                    rest.push(part.clone());
                    continue;
                }
            };
            match (place, moved.last_mut()) {
                (Some(place), Some((last, parts))) if *last == place => parts.push(part.clone()),
                (Some(place), _) => moved.push((place, vec![part.clone()])),
                (None, _) => {}
            }
        }
        for (place, parts) in moved {
            if let Some(said) = self.said.get_mut(place) {
                said.results.push(Arc::new(Message { parts, ..(**message).clone() }));
            }
        }
        if !is_split {
            self.said.push(Said { message: Arc::clone(message), results: Vec::new(), is_beside_results: false });
        } else if !rest.is_empty() {
            let message = Arc::new(Message { parts: rest, ..(**message).clone() });
            self.said.push(Said { message, results: Vec::new(), is_beside_results: true });
        }
        for call in owed(message) {
            self.places.insert(call.message, self.said.len().saturating_sub(1));
            self.open.add(call);
        }
    }

    /// Takes the call that a result answers, and gives the place of its message.
    fn place_of_call(&mut self, result: &ToolResult) -> Option<usize> {
        let call = self.open.take(None, result)?;
        self.places.get(&call.message).copied()
    }
}

/// The messages that answer the calls of one message, so that no result stands behind anything else.
fn results_first(messages: Vec<Arc<Message>>) -> Vec<Arc<Message>> {
    let parts = messages.iter().flat_map(|message| &message.parts);
    if parts.is_sorted_by_key(|part| part.as_tool_result().is_none()) {
        return messages;
    }
    let mut results = Vec::new();
    let mut beside = Vec::new();
    for message in messages {
        let (own, other): (Vec<_>, Vec<_>) =
            message.parts.iter().cloned().partition(|part| part.as_tool_result().is_some());
        results.push(Arc::new(Message { parts: own, ..(*message).clone() }));
        beside.push(Arc::new(Message { parts: other, ..(*message).clone() }));
    }
    results.into_iter().chain(beside).filter(|message| !message.parts.is_empty()).collect()
}

/// The message without what providers refuse: empty texts. What has an origin stays as the provider sent it. `None` if
/// nothing is left.
fn without_empty_texts(mut message: Arc<Message>) -> Option<Arc<Message>> {
    let is_empty = |part: &Part| part.origin.is_none() && part.as_text().and_then(Content::as_inline) == Some("");
    if message.origin.is_none() && message.parts.iter().any(is_empty) {
        Arc::make_mut(&mut message).parts.retain(|part| !is_empty(part));
    }
    Some(message).filter(|message| !message.parts.is_empty())
}
