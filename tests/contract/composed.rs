//! Goal: a model may hold the agent model, and keep its promises. Method: a help desk whose sessions are those of an
//! agent, with ratings of its own, through the testkit's contract and a store that is opened again.

use foldlog::agent::{
    Agent, AgentBody, AgentTransient, AgentView, Counters, Message, MessageId, Turn, TurnId, TurnStatus,
};
use foldlog::testkit::{self, contract};
use foldlog::{
    BlobRef, Content, DecodeError, Event, EventId, SessionModel, Timestamp, Turns, Unfinished, UnfinishedId,
    decode_body, split_variant,
};
use serde::{Deserialize, Serialize};

use crate::common::*;

on_both_media!(a_model_that_holds_the_agent_model_comes_back_after_reopening);

struct Desk;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "most bodies are the agent's")]
enum DeskBody {
    Agent(AgentBody),
    Rated { stars: u8 },
}

#[derive(Debug, Clone, Default, PartialEq)]
struct DeskView {
    agent: AgentView,
    ratings: Vec<u8>,
}

/// The schema of the desk's own bodies.
const OWN_SCHEMA: u16 = 1;

impl SessionModel for Desk {
    const NAME: &'static str = "desk";
    const SCHEMA: u16 = Agent::SCHEMA << 8 | OWN_SCHEMA;
    const VIEW_SCHEMA: u16 = Agent::VIEW_SCHEMA << 8 | 1;
    type Body = DeskBody;
    type View = DeskView;
    type Counters = Counters;
    type Transient = AgentTransient;

    fn event_type(body: &DeskBody) -> &'static str {
        match body {
            DeskBody::Agent(body) => Agent::event_type(body),
            DeskBody::Rated { .. } => "rated",
        }
    }

    fn check(body: &DeskBody) -> Result<(), String> {
        match body {
            DeskBody::Agent(body) => Agent::check(body),
            DeskBody::Rated { stars: 1..=5 } => Ok(()),
            DeskBody::Rated { stars } => Err(format!("{stars} stars, of 1 to 5")),
        }
    }

    fn stamp(counters: &mut Counters, id: EventId, body: &mut DeskBody) -> Result<(), String> {
        match body {
            DeskBody::Agent(body) => Agent::stamp(counters, id, body),
            DeskBody::Rated { .. } => Ok(()),
        }
    }

    fn apply(view: &mut DeskView, event: &Event<Self>) {
        match event.body() {
            DeskBody::Agent(body) => Agent::apply_owned(&mut view.agent, event.with_body(body.clone())),
            DeskBody::Rated { stars } => view.ratings.push(*stars),
        }
    }

    fn counters(view: &DeskView) -> Counters {
        Agent::counters(&view.agent)
    }

    fn blob_refs(body: &DeskBody, each: &mut dyn FnMut(&BlobRef)) {
        if let DeskBody::Agent(body) = body {
            Agent::blob_refs(body, each);
        }
    }

    fn turns(view: &DeskView) -> Turns {
        Agent::turns(&view.agent)
    }

    fn unfinished(view: &DeskView) -> Vec<Unfinished> {
        Agent::unfinished(&view.agent)
    }

    fn encode_view(view: &DeskView) -> Option<Vec<u8>> {
        foldlog::encode_view(&(Agent::encode_view(&view.agent)?, &view.ratings))
    }

    fn decode_view(bytes: foldlog::Bytes) -> Result<DeskView, DecodeError> {
        let (agent, ratings): (Vec<u8>, Vec<u8>) = foldlog::decode_view(&bytes)?;
        Ok(DeskView { agent: Agent::decode_view(agent.into())?, ratings })
    }

    fn decode(event_type: &str, schema: u16, bytes: &[u8]) -> Result<DeskBody, DecodeError> {
        let (agent_schema, own_schema) = (schema >> 8, schema & 0xff);
        match (event_type, own_schema) {
            ("rated", 1) => decode_body(bytes),
            (_, 1) => match split_variant(bytes)? {
                (0, agent) => Agent::decode(event_type, agent_schema, agent).map(DeskBody::Agent),
                _ => Err(DecodeError::Unknown),
            },
            _ => Err(DecodeError::Unknown),
        }
    }
}

fn said(text: &str) -> DeskBody {
    DeskBody::Agent(AgentBody::MessageAppended(Message::user(text.to_owned())))
}

async fn a_model_that_holds_the_agent_model_comes_back_after_reopening(disk: TestDisk) {
    let store = disk.open_model::<Desk>().await;
    let session = store.open_session("s").await.unwrap();
    let turn = Turn::for_message(MessageId::new(1));
    session.append_batch(vec![said("hello"), DeskBody::Rated { stars: 4 }]).unwrap().await.unwrap();
    append(&session, DeskBody::Agent(AgentBody::TurnStarted(turn))).await.unwrap();
    assert!(session.append(DeskBody::Rated { stars: 6 }).is_err());
    let dangling = DeskBody::Agent(AgentBody::MessageAppended(Message::user(Content::Blob(dangling()))));
    assert_refused!(append(&session, dangling).await, foldlog::ErrorKind::DanglingRef { .. });
    assert_head(&session, 3).await;
    let before = session.view().unwrap();
    store.close().await.unwrap();

    let store = disk.open_model::<Desk>().await;
    let session = store.resume_session("s").await.unwrap();
    assert_eq!(*session.view().unwrap(), *before);
    let view = session.view().unwrap();
    assert_eq!((view.agent.messages.len(), &view.ratings[..]), (1, &[4][..]));
    let [message] = &view.agent.messages.iter().collect::<Vec<_>>()[..] else { panic!("{view:?}") };
    assert_eq!((message.id.get(), message.event_id), (1, at(1)), "its ids are those of the desk's own log");
    let unfinished = session.unfinished().unwrap();
    assert_eq!((unfinished[0].kind, &unfinished[0].id), ("turn", &UnfinishedId::Number(1)));
    let ended = Turn { id: TurnId::new(1), status: TurnStatus::Final, ..Turn::for_message(MessageId::new(1)) };
    append(&session, DeskBody::Agent(AgentBody::TurnPut(ended))).await.unwrap();
    append(&session, said("again")).await.unwrap();
    assert_eq!(session.unfinished().unwrap(), []);
    assert_eq!(whole_log(&session).await[4].event_type(), "message_appended");
    assert_head(&session, 5).await;
    store.close().await.unwrap();
}

#[test]
fn a_model_that_holds_the_agent_model_keeps_the_contract() {
    let report = contract::run::<Desk>(4711, |dice| match dice.below(5) {
        0 => DeskBody::Rated { stars: 1 + dice.below(5) as u8 },
        1 => DeskBody::Agent(AgentBody::TurnStarted(Turn::default())),
        2 => DeskBody::Agent(AgentBody::MessageAppended(Message::user(Content::Blob(contract::blob(dice))))),
        _ => said("hello"),
    });
    assert_eq!(report.unwrap().event_types.len(), 3);
}

#[test]
fn an_event_for_a_test_folds_without_a_store_and_keeps_its_id_and_time_with_another_body() {
    let (id, time) = (EventId::new(7), Timestamp::from_micros(5));
    let event = testkit::event::<Desk>(id, time, said("hello"));
    let mut view = DeskView::default();
    Desk::apply(&mut view, &event);
    assert_eq!(view.agent.messages.len(), 1);
    let DeskBody::Agent(body) = event.body().clone() else { panic!("{event:?}") };
    let inner = event.with_body::<Agent>(body);
    assert_eq!((inner.id(), inner.at(), inner.position()), (id, time, event.position()));
    assert_eq!(inner.event_type(), "message_appended");
}
