//! Goal: the agent model keeps the cases of docs/conformance.md. Method: stamp and fold bodies without any store.

mod bytes;
mod conversation;
mod fold;
mod ids;
mod json;
mod packed;
mod properties;
mod schema1;

use crate::agent::{
    Agent, AgentBody, AgentView, Counters, Eval, EvalId, EvalStatus, Failure, Media, MediaSource, Message, MessageId,
    MessageOrigin, Part, PartBody, PartOrigin, ResultPart, Role, SessionInfo, SessionStatus, Step, StepId, StepStatus,
    ToolCall, ToolKind, ToolResult, Turn, TurnId, TurnStatus, Usage,
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

    /// Of any bodies, without those that stamping refuses.
    fn of_accepted(bodies: impl IntoIterator<Item = AgentBody>) -> Self {
        let mut script = Self::default();
        bodies.into_iter().for_each(|body| drop(script.try_append(body)));
        script
    }

    fn append(&mut self, body: AgentBody) {
        self.try_append(body).unwrap();
    }

    fn try_append(&mut self, mut body: AgentBody) -> Result<(), String> {
        let (before, id) = (self.counters, self.next_id());
        let stamped = Agent::stamp(&mut self.counters, id, &mut body);
        if stamped.is_err() {
            assert_eq!(self.counters, before, "what is refused leaves the counters");
            return stamped;
        }
        self.fold(body);
        Ok(())
    }

    /// Folds a body as a log holds it, stamped by whatever build.
    fn fold(&mut self, body: AgentBody) {
        let event = Event::new(self.next_id(), time(self.next_id()), [0; 8], body);
        Agent::apply(&mut self.view, &event);
        self.events.push(event);
    }

    fn next_id(&self) -> EventId {
        EventId::new(self.events.len() as u64 + 1)
    }
}

impl Script {
    fn progress(&self) -> crate::agent::Progress {
        progress(&self.view, EventId::new(self.events.len() as u64))
    }
}

/// Where a session stands whose view at an event is this.
fn progress(view: &AgentView, head: EventId) -> crate::agent::Progress {
    View::<Agent>::new(head, view.clone(), Default::default()).progress()
}

fn time(id: EventId) -> Timestamp {
    Timestamp::from_micros(1_000 * id.get() as i64)
}

fn blob(seed: u8) -> BlobRef {
    let digest = Digest::from_bytes([seed; 32]);
    BlobRef { digest, bytes: u64::from(seed) + 1, kind: BlobKind::Text, encoding: BlobEncoding::Plain }
}

/// A part with everything that a provider sends with one.
fn whole(body: PartBody, content: &mut impl FnMut() -> Content) -> Part {
    let origin = PartOrigin { id: Some("part-1".to_owned()), signature: Some(content()), verbatim: Some(content()) };
    Part { body, origin: Some(Box::new(origin)) }
}

fn media(source: MediaSource) -> Media {
    Media { source, media_type: Some("image/png".to_owned()), name: Some("chart".to_owned()) }
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
            input_tokens: Some(1000),
            output_tokens: Some(20),
            cache_read_tokens: Some(300),
            cache_write_tokens: Some(4),
            reasoning_tokens: Some(5),
            total_tokens: Some(1020),
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
        instructions: Some(content()),
        tools: Some(content()),
        parent: Some("before".to_owned()),
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
        exit_code: Some(-1),
        session: Some("sub".to_owned()),
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
            whole(PartBody::Text(content()), &mut content),
            whole(PartBody::Thought(content()), &mut content),
            whole(
                PartBody::ToolCall(ToolCall {
                    id: "call-1".to_owned(),
                    name: "bash".to_owned(),
                    arguments: content(),
                    kind: ToolKind::Other("shell".to_owned()),
                }),
                &mut content,
            ),
            whole(
                PartBody::ToolResult(ToolResult {
                    call_id: "call-1".to_owned(),
                    name: Some("bash".to_owned()),
                    parts: vec![
                        ResultPart::Text(content()),
                        ResultPart::Json(content()),
                        ResultPart::Media(media(MediaSource::Blob(*content().as_blob().unwrap()))),
                        ResultPart::Other { kind: "reference".to_owned(), json: content() },
                    ],
                    is_error: Some(true),
                }),
                &mut content,
            ),
            whole(PartBody::Media(media(MediaSource::Blob(*content().as_blob().unwrap()))), &mut content),
            whole(PartBody::Media(media(MediaSource::Url(content()))), &mut content),
            whole(PartBody::Media(media(MediaSource::FileId("file-1".to_owned()))), &mut content),
            whole(PartBody::Media(media(MediaSource::Base64(content()))), &mut content),
            whole(PartBody::Refusal(content()), &mut content),
            whole(PartBody::RedactedThought(content()), &mut content),
            whole(PartBody::Other { kind: "search".to_owned(), json: content() }, &mut content),
        ],
        parent: Some(MessageId::new(1)),
        agent: Some("side".to_owned()),
        origin: Some(Box::new(MessageOrigin {
            id: Some("msg-1".to_owned()),
            model: Some("model".to_owned()),
            stop_reason: Some("end_turn".to_owned()),
            usage: usage(),
            verbatim: Some(content()),
        })),
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
        AgentBody::TurnQueued { message: MessageId::new(1) },
    ]
}
