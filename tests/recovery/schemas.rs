//! Goal: sessions that a build of schema 1 of the agent model wrote read as what they meant, and go on in schema 2.
//! Method: directories that such a build has made, in `tests/data`, are copied and opened.

use foldlog::agent::{Agent, AgentBody, Message, MessageId, OpenCall, Part, SessionStatus, TurnId, TurnStatus, Usage};
use foldlog::{Append, AppendKey, SessionModel, Store, StoreConfig};

use super::formats::copy_of;
use crate::common::*;

/// Closed in order, and killed with all of its events in the write-ahead log.
const OF_SCHEMA_1: [&str; 2] = ["schema-1/closed", "schema-1/killed"];

#[actix::test]
async fn every_body_of_schema_1_is_folded_as_what_it_meant() {
    for name in OF_SCHEMA_1 {
        let directory = copy_of(name);
        let store = soon(Store::open(StoreConfig::directory(directory.path()))).await.unwrap();
        let session = soon(store.resume_session("all")).await.unwrap();
        let view = session.view().unwrap();
        assert_eq!(view.head(), at(19), "{name}");

        let said = view.message(MessageId::new(3)).unwrap();
        let [thought, text, call, media] = &said.parts[..] else { panic!("{said:?}") };
        assert_eq!(*thought, Part::thought("hm"));
        let long = text.as_text().unwrap();
        assert_eq!(soon(store.read_content(long)).await.unwrap(), "a long text ".repeat(20));
        assert_eq!(*call, Part::tool_call("call_0", "bash", r#"{"cmd": "ls"}"#));
        assert_eq!(*media, Part::media("image/png", *long.as_blob().unwrap()));
        assert_eq!(*view.message(MessageId::new(4)).unwrap().parts, [Part::tool_result("call_0", "two files")]);

        let usage = Usage { input_tokens: Some(10), output_tokens: Some(5), ..Usage::default() };
        assert_eq!(view.turns.get(TurnId::new(1)).unwrap().usage, Some(usage), "0 was not known");
        assert_eq!(
            view.turns.get(TurnId::new(9)).unwrap().status,
            TurnStatus::Running,
            "a put of what was never started"
        );
        assert_eq!(view.counters.turn, 9);
        // The description behind the stop changes the name, and gives no turns back.
        let described = view.session.as_ref().unwrap();
        assert_eq!((described.id.as_deref(), described.status), (Some("again"), SessionStatus::Stopped));

        let open: Vec<&OpenCall> = view.open_calls.iter().collect();
        assert_eq!(open.iter().map(|call| call.message.get()).collect::<Vec<_>>(), [6]);
        let unfinished: Vec<_> = session.unfinished().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(unfinished, ["turn 9", "tool_call call_0"]);
        let order: Vec<_> = view.provider_messages().iter().map(|message| message.id.get()).collect();
        assert_eq!(order, [1, 5, 6], "instructions, summary, kept messages");
        soon(store.close()).await.unwrap();
    }
}

#[actix::test]
async fn a_session_of_schema_1_goes_on_in_schema_2_and_reads_the_same_after_each_opening() {
    for name in OF_SCHEMA_1 {
        let directory = copy_of(name);
        let mut texts: Vec<_> = (0..150).map(|n| format!("message {n} of schema 1")).collect();
        for opening in 0..3 {
            let store = soon(Store::open(StoreConfig::directory(directory.path()))).await.unwrap();
            assert!(soon(store.verify()).await.unwrap().is_sound(), "{name}");
            let session = soon(store.resume_session("viewed")).await.unwrap();
            let folded = soon(session.recovery()).await.unwrap().events;
            assert_eq!(folded == 150, opening == 0, "the stored view of schema 1 is not used: {folded}");
            let found: Vec<_> = session.view().unwrap().messages.iter().filter_map(|said| said.inline_text()).collect();
            assert_eq!(found, texts, "{name}");

            // A signature has no place in schema 1.
            let part = Part::thought(format!("thought {opening}")).with_signature("c2lnbmVk");
            let next = AgentBody::MessageAppended(Message::answer([part, Part::text(format!("answer {opening}"))]));
            soon(session.append(next).unwrap()).await.unwrap();
            texts.push(format!("answer {opening}"));
            soon(session.close()).await.unwrap();

            let keys = soon(store.resume_session("keys")).await.unwrap();
            let batch = (0..3).map(|n| AgentBody::MessageAppended(Message::user(format!("message {n} of schema 1"))));
            let append = || Append::<Agent>::batch(batch.clone().collect()).key(AppendKey::new("key-1").unwrap());
            let repeated = soon(keys.append_with(append()).unwrap()).await.unwrap();
            assert!(repeated.repeated && repeated.head == at(3), "a retry from this build gets the first result");
            soon(store.close()).await.unwrap();
        }
        assert_eq!(Agent::SCHEMA, 2);
    }
}

#[actix::test]
async fn what_schema_1_left_open_is_interrupted_though_it_names_what_never_was() {
    for name in OF_SCHEMA_1 {
        let directory = copy_of(name);
        let store = soon(Store::open(StoreConfig::directory(directory.path()))).await.unwrap();
        let session = soon(store.resume_session("all")).await.unwrap();
        assert_eq!(session.view().unwrap().turns.get(TurnId::new(9)).unwrap().user_message, Some(MessageId::new(777)));
        let ended: Vec<_> = soon(session.interrupt("restart")).await.unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(ended, ["turn 9", "tool_call call_0"], "{name}");
        assert!(session.unfinished().unwrap().is_empty());
        let turn = session.view().unwrap().turns.get(TurnId::new(9)).unwrap().clone();
        assert_eq!((turn.status, turn.user_message), (TurnStatus::Interrupted, None));
        soon(store.close()).await.unwrap();
    }
}
