//! Goal: the agent model keeps the cases of docs/conformance.md. Method: stamp and fold bodies without any store.

mod bytes;
mod fold;
mod ids;
mod packed;
mod properties;

use crate::agent::{
    Agent, AgentBody, AgentView, Counters, Eval, EvalId, EvalStatus, Failure, Message, MessageId, Part, Role,
    SessionInfo, SessionStatus, Step, StepId, StepStatus, Turn, TurnId, TurnStatus, Usage,
};
use crate::content::{Content, Json};
use crate::event::Event;
use crate::id::{BlobEncoding, BlobKind, BlobRef, Digest, EventId, Timestamp};
use crate::model::{SessionModel, View};

/// A session without a store: stamps, folds, and keeps its events.
#[derive(Default)]
struct Script {
    counters: Counters,
    view: AgentView,
    events: Vec<Event<Agent>>,
}

impl Script {
    fn of(bodies: impl IntoIterator<Item = AgentBody>) -> Self {
        let mut script = Self::default();
        bodies.into_iter().for_each(|body| script.append(body));
        script
    }

    fn append(&mut self, mut body: AgentBody) {
        let id = EventId::new(self.events.len() as u64 + 1);
        Agent::stamp(&mut self.counters, id, &mut body).unwrap();
        let event = Event::new(id, time(id), [0; 8], body);
        Agent::apply(&mut self.view, &event);
        self.events.push(event);
    }
}

impl Script {
    fn progress(&self) -> crate::agent::Progress {
        progress(&self.view, EventId::new(self.events.len() as u64))
    }
}

/// Where a session stands whose view at an event is this.
fn progress(view: &AgentView, head: EventId) -> crate::agent::Progress {
    View::<Agent>::new(head, view.clone()).progress()
}

fn time(id: EventId) -> Timestamp {
    Timestamp::from_micros(1_000 * id.get() as i64)
}

fn blob(seed: u8) -> BlobRef {
    let digest = Digest::from_bytes([seed; 32]);
    BlobRef { digest, bytes: u64::from(seed) + 1, kind: BlobKind::Text, encoding: BlobEncoding::Plain }
}

/// One body of every variant, every field set, every content a blob of its own. No `..` here, so that a new field must
/// be set.
fn full_bodies() -> Vec<AgentBody> {
    let mut seed = 0;
    let mut next = move || {
        seed += 1;
        blob(seed)
    };
    let mut content = || Content::Blob(next());
    let at = |seconds: i64| Some(Timestamp::from_micros(seconds * 1_000_000));
    let extra = || Json::parse(r#"{"source":"fixture"}"#).unwrap();
    let usage = || {
        Some(Usage {
            input_tokens: 1000,
            output_tokens: 20,
            cache_read_tokens: 300,
            cache_write_tokens: 4,
            reasoning_tokens: 5,
        })
    };
    let failure = |message| Failure { kind: "timeout".to_owned(), message, extra: extra() };
    let session = SessionInfo {
        id: Some("s".to_owned()),
        status: SessionStatus::Running,
        created: at(1),
        labels: [("team".to_owned(), "a".to_owned())].into(),
        provider: Some("provider".to_owned()),
        model: Some("model".to_owned()),
        extra: extra(),
    };
    let mut turn = |id| Turn {
        id: TurnId::new(id),
        status: TurnStatus::Final,
        started: at(2),
        ended: at(3),
        user_message: Some(MessageId::new(1)),
        final_value: Some(content()),
        preview: Some(content()),
        usage: usage(),
        cost_millionths: Some(1234),
        error: Some(failure(content())),
        extra: extra(),
    };
    let (started_turn, put_turn) = (turn(1), turn(2));
    let mut step = |id| Step {
        id: StepId::new(id),
        turn: Some(TurnId::new(1)),
        status: StepStatus::Done,
        started: at(4),
        ended: at(5),
        request: Some(content()),
        response_summary: Some(content()),
        assistant_message: Some(MessageId::new(2)),
        usage: usage(),
        error: Some(failure(content())),
        extra: extra(),
    };
    let (started_step, put_step) = (step(1), step(2));
    let eval = Eval {
        id: EvalId::new(1),
        turn: Some(TurnId::new(1)),
        step: Some(StepId::new(1)),
        index: 7,
        tool_name: Some("bash".to_owned()),
        call_id: Some("call-1".to_owned()),
        code: Some(content()),
        status: EvalStatus::Final,
        result: Some(content()),
        preview: Some(content()),
        stdout: Some(content()),
        stderr: Some(content()),
        error: Some(failure(content())),
        at: at(6),
        elapsed_micros: Some(250_000),
        usage: usage(),
        extra: extra(),
    };
    let mut message = |id, event| Message {
        id: MessageId::new(id),
        event_id: EventId::new(event),
        role: Role::Other("critic".to_owned()),
        name: Some("name".to_owned()),
        turn: Some(TurnId::new(1)),
        step: Some(StepId::new(1)),
        at: at(7),
        parts: vec![
            Part::Text(content()),
            Part::Thought(content()),
            Part::ToolCall { id: "call-1".to_owned(), name: "bash".to_owned(), arguments: content() },
            Part::ToolResult { call_id: "call-1".to_owned(), content: content() },
            Part::Media { media_type: "image/png".to_owned(), blob: *content().as_blob().unwrap() },
        ],
        extra: extra(),
    };
    let (appended, summary) = (message(1, 6), message(2, 9));
    vec![
        AgentBody::SessionStarted(session),
        AgentBody::TurnStarted(started_turn),
        AgentBody::TurnPut(put_turn),
        AgentBody::StepStarted(started_step),
        AgentBody::StepPut(put_step),
        AgentBody::MessageAppended(appended),
        AgentBody::EvalAdded(eval),
        AgentBody::VarsSnapshotted(content()),
        AgentBody::SessionCompacted { vars: Some(content()), boundary: EventId::new(9), message: summary },
        AgentBody::StopRequested,
        AgentBody::Stopped,
        AgentBody::SessionErrored(failure(content())),
        AgentBody::Custom { kind: "note".to_owned(), json: Json::parse("[1,2.50]").unwrap() },
    ]
}
