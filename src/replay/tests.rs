//! Goal: an event of foldlog's own has its id among the others, is given like any other, and is never shown to the
//! session model. Method: a log in memory with one between two of the model, written without a session.

use super::*;
use crate::agent::{Agent, AgentBody, Message};
use crate::codec::{self, RecordHeader};
use crate::event::{Described, LogEvent, OwnBody};
use crate::id::{EventId, SessionId, Timestamp};
use crate::memory::{MemoryDisk, MemoryEnd};
use crate::model::SessionModel;
use crate::port::{LogMedium, LogMeta, LogReader, LogSource, StoredEvent, Write, Written};

/// A log of records: their type, schema and body.
fn log_of(records: &[(&'static str, u16, Vec<u8>)]) -> (Box<dyn LogReader>, SessionId, LogMeta) {
    let medium = MemoryEnd::open(MemoryDisk::default(), Agent::NAME, Timestamp::default()).unwrap();
    let mut writer = medium.writer().unwrap();
    let session = SessionId::new("s").unwrap();
    let register = Write::Register { session: session.clone(), at: Timestamp::default() };
    let Ok(Written::Registered { meta, owned: Some(epoch) }) = writer.commit(&[register]).unwrap().remove(0) else {
        panic!("a new session")
    };
    let mut chain = meta.base.chain;
    let stored = |((event_type, schema, body), id): (&(&'static str, u16, Vec<u8>), u64)| {
        let (id, at) = (EventId::new(id), Timestamp::from_micros(id as i64));
        let header = RecordHeader {
            schema: *schema,
            event_type: Some(event_type),
            salt: [0; 8],
            first: id,
            last: id,
            key: None,
            refs: Vec::new(),
        };
        let record = codec::encode_record(&header, body);
        chain = chain.next(id, at, &record);
        StoredEvent { id, event_type: (*event_type).into(), at, key: None, chain, record }
    };
    let events = records.iter().zip(1..).map(stored).collect();
    let append = Write::Append { log: meta.key, epoch, after: meta.base.chain, events, listed: None };
    writer.commit(&[append]).unwrap().remove(0).unwrap();
    (medium.reader().unwrap(), session, meta)
}

fn message(text: &str) -> (&'static str, u16, Vec<u8>) {
    let body = AgentBody::MessageAppended(Message::user(text));
    (body.event_type(), Agent::SCHEMA, codec::encode_body(&body).unwrap())
}

fn fold(reader: &mut dyn LogReader, session: &SessionId, log: LogMeta) -> Recovered<Agent> {
    Fold { session, log, head: None, until: None, watch: &[], keys_max: 1, page_events: 100 }
        .run(reader, |_| None)
        .unwrap()
}

#[test]
fn an_own_event_is_given_and_counted_and_the_session_model_never_sees_it() {
    let described = OwnBody::Described(Described { title: Some("seven".to_owned()), ..Described::default() });
    let own = (described.event_type(), OwnBody::SCHEMA, described.encode().unwrap());
    let (mut reader, session, log) = log_of(&[message("one"), own, message("two")]);
    let page = read_page::<Agent>(&mut *reader, &session, log, EventId::ZERO.into(), 10).unwrap();
    let types: Vec<_> = page.events.iter().map(LogEvent::event_type).collect();
    assert_eq!(types, ["message_appended", "foldlog.described", "message_appended"]);
    let LogEvent::Own(event) = &page.events[1] else { panic!("it is foldlog's own") };
    assert_eq!((event.id().get(), event.body()), (2, &described));
    assert!(page.events[1].body().is_none() && page.events[2].body().is_some());

    let folded = fold(&mut *reader, &session, log);
    assert_eq!((folded.view.head(), folded.view.messages.len()), (EventId::new(3), 2));
    assert_eq!(folded.view.core().title, "seven");
    assert_eq!(folded.report.condition, Condition::Ready);
    assert_eq!(folded.view.progress().last_event_id, EventId::new(3));
}

#[test]
fn an_own_event_of_a_newer_build_makes_the_session_read_only_and_the_model_is_not_asked() {
    for (event_type, schema) in [("foldlog.unheard_of", 1), ("foldlog.described", 2)] {
        let (mut reader, session, log) = log_of(&[message("one"), (event_type, schema, vec![1])]);
        let folded = fold(&mut *reader, &session, log);
        let event = EventId::new(2);
        let wanted = Condition::NewerRecord { event, event_type: event_type.to_owned(), schema };
        assert_eq!((folded.report.condition.clone(), folded.view.head()), (wanted, EventId::new(1)));
    }
}
