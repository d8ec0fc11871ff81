//! One run of an agent, as the events of a session: one turn, and a step for each message of the assistant with what it
//! ran and what came of it.

use foldlog::Json;
use foldlog::agent::{
    AgentBody, Counters, Eval, EvalStatus, Message, MessageId, Role, SessionInfo, Step, StepId, StepStatus, Turn,
    TurnId, TurnStatus, Usage,
};
use foldlog::{Content, Error, Store};
use serde_json::{Value, json};

use crate::entry::{Call, Contents, Mapped, to_message};

/// Turns entries into batches. It knows the ids that the events will get, since nobody else appends to the session: so
/// it need not wait for one batch before it makes the next.
pub(crate) struct Run {
    store: Store,
    ids: Counters,
    user_message: Option<MessageId>,
    turn: Option<Turn>,
    step: Option<Step>,
    calls: Vec<Call>,
    call_index: u32,
    acted: bool,
}

impl Run {
    pub(crate) fn new(store: Store, ids: Counters) -> Self {
        Self { store, ids, user_message: None, turn: None, step: None, calls: Vec::new(), call_index: 0, acted: false }
    }

    pub(crate) fn begin(id: &str, transcript: &Value) -> Result<Vec<AgentBody>, Error> {
        let environment = transcript.get("environment").cloned().unwrap_or_default();
        let extra = Json::from_value(&json!({ "environment": environment }))?;
        Ok(vec![AgentBody::SessionStarted(SessionInfo { id: Some(id.to_owned()), extra, ..SessionInfo::default() })])
    }

    /// The events of one entry.
    pub(crate) async fn entry(&mut self, contents: &mut Contents, entry: &Value) -> Result<Vec<AgentBody>, Error> {
        let Mapped { message, calls, results } = to_message(contents, entry, self.acted).await?;
        let mut bodies = Vec::new();
        self.acted = false;
        if message.role == Role::Assistant {
            self.end_step(&mut bodies);
            self.start_step(&mut bodies);
            self.acted = calls.iter().any(|call| call.id.is_empty());
            self.calls = calls;
            self.call_index = 0;
        } else if message.role == Role::User {
            self.user_message = Some(MessageId::new(self.ids.message + 1));
        }
        self.say(message, &mut bodies);
        for (call_id, result) in results {
            if let Some(place) = self.calls.iter().position(|call| call.id == call_id) {
                let call = self.calls.remove(place);
                self.ran(call, Some(result), &mut bodies);
            }
        }
        Ok(bodies)
    }

    /// The events that end the run.
    pub(crate) async fn end(&mut self, contents: &mut Contents, transcript: &Value) -> Result<Vec<AgentBody>, Error> {
        let mut bodies = Vec::new();
        self.end_step(&mut bodies);
        let info = transcript.get("info").cloned().unwrap_or_default();
        let stats = info.get("model_stats").cloned().unwrap_or_default();
        if let Some(turn) = self.turn.take() {
            let submission = info.get("submission").and_then(Value::as_str);
            let final_value = match submission {
                Some(text) => Some(contents.text(text.to_owned()).await?),
                None => None,
            };
            let tokens = |name: &str| stats.get(name).and_then(Value::as_u64);
            let usage = tokens("tokens_sent").map(|input_tokens| Usage {
                input_tokens: Some(input_tokens),
                output_tokens: tokens("tokens_received"),
                ..Usage::default()
            });
            let cost = stats.get("instance_cost").and_then(Value::as_f64);
            bodies.push(AgentBody::TurnPut(Turn {
                status: TurnStatus::Final,
                ended: Some(self.store.now()),
                final_value,
                usage,
                cost_millionths: cost.map(|cost| (cost * 1e6).round() as u64),
                ..turn
            }));
        }
        let steps = transcript.get("trajectory").and_then(Value::as_array);
        let seconds = steps.map(|steps| {
            steps.iter().filter_map(|step| step.get("execution_time").and_then(Value::as_f64)).sum::<f64>()
        });
        if steps.is_some() || !info.is_null() {
            let totals = json!({
                "exit_status": info.get("exit_status"),
                "model_stats": stats,
                "steps": steps.map(Vec::len),
                "execution_seconds": seconds,
            });
            bodies.push(AgentBody::Custom { kind: "swe-agent.totals".to_owned(), json: Json::from_value(&totals)? });
        }
        Ok(bodies)
    }

    fn say(&mut self, message: Message, bodies: &mut Vec<AgentBody>) {
        self.ids.message += 1;
        let message = Message {
            turn: self.turn.as_ref().map(|turn| turn.id),
            step: self.step.as_ref().map(|step| step.id),
            ..message
        };
        if let Some(step) = self.step.as_mut().filter(|_| message.role == Role::Assistant) {
            step.assistant_message = Some(MessageId::new(self.ids.message));
        }
        bodies.push(AgentBody::MessageAppended(message));
    }

    fn start_step(&mut self, bodies: &mut Vec<AgentBody>) {
        if self.turn.is_none() {
            self.ids.turn += 1;
            let turn = Turn {
                id: TurnId::new(self.ids.turn),
                user_message: self.user_message,
                started: Some(self.store.now()),
                ..Turn::default()
            };
            bodies.push(AgentBody::TurnStarted(turn.clone()));
            self.turn = Some(turn);
        }
        self.ids.step += 1;
        let step = Step {
            id: StepId::new(self.ids.step),
            turn: self.turn.as_ref().map(|turn| turn.id),
            started: Some(self.store.now()),
            ..Step::default()
        };
        bodies.push(AgentBody::StepStarted(step.clone()));
        self.step = Some(step);
    }

    fn ran(&mut self, call: Call, result: Option<Content>, bodies: &mut Vec<AgentBody>) {
        bodies.push(AgentBody::EvalAdded(Eval {
            turn: self.turn.as_ref().map(|turn| turn.id),
            step: self.step.as_ref().map(|step| step.id),
            index: self.call_index,
            tool_name: Some(call.tool),
            call_id: Some(call.id).filter(|id| !id.is_empty()),
            code: Some(call.code),
            status: EvalStatus::Ok,
            result,
            ..Eval::default()
        }));
        self.call_index += 1;
    }

    fn end_step(&mut self, bodies: &mut Vec<AgentBody>) {
        // The calls that were never answered.
        for call in std::mem::take(&mut self.calls) {
            self.ran(call, None, bodies);
        }
        if let Some(step) = self.step.take() {
            bodies.push(AgentBody::StepPut(Step { status: StepStatus::Done, ended: Some(self.store.now()), ..step }));
        }
    }
}
