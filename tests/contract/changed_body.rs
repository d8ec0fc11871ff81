//! Goal: a host that changed a body and forgot to raise its schema is told so, and not that its disk is broken. Method:
//! a build writes, one whose body has a field more reads, by every way that reads a body.

use foldlog::{
    Append, AppendKey, DecodeError, Error, ErrorKind, Event, EventId, NextStep, SessionModel, Store, SubscribeFrom,
    decode_body,
};
use serde::{Deserialize, Serialize};

use crate::common::*;

on_both_media!(every_way_to_read_a_changed_body_says_that_it_needs_a_new_schema);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Noted {
    text: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct NotedBy {
    text: String,
    author: String,
}

macro_rules! notes {
    ($name:ident, $body:ty) => {
        struct $name;
        impl SessionModel for $name {
            const NAME: &'static str = "notes";
            const SCHEMA: u16 = 1;
            type Body = $body;
            type View = u64;
            type Counters = ();
            type Transient = ();
            fn event_type(_: &$body) -> &'static str {
                "noted"
            }
            fn apply(count: &mut u64, _: &Event<Self>) {
                *count += 1;
            }
            fn decode(event_type: &str, schema: u16, bytes: &[u8]) -> Result<$body, DecodeError> {
                if (event_type, schema) == ("noted", 1) { decode_body(bytes) } else { Err(DecodeError::Unknown) }
            }
        }
    };
}

notes!(Before, Noted);
notes!(After, NotedBy);

#[track_caller]
fn assert_told<T: std::fmt::Debug>(answer: Result<T, Error>, event: u64) {
    let error = answer.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Undecodable { event: found, schema: 1, .. } if *found == at(event)),
        "{error:?}"
    );
    assert_eq!(error.next_step(), NextStep::MendTheSetup);
    let text = error.to_string();
    for part in [&format!("event {event} of session s"), "noted at schema 1", "new SCHEMA", "kept in decode"] {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
    assert!(!text.contains("damaged") && !text.contains("repair"), "{text}");
}

async fn every_way_to_read_a_changed_body_says_that_it_needs_a_new_schema(disk: TestDisk) {
    let store = disk.open_model::<Before>().await;
    let session = store.open_session("s").await.unwrap();
    let note = || Noted { text: "a".to_owned() };
    session.append_with(Append::new(note()).key(AppendKey::new("k").unwrap())).unwrap().await.unwrap();
    session.append(note()).unwrap().await.unwrap();
    store.open_session("empty").await.unwrap();
    store.close().await.unwrap();

    let store = disk.open_model::<After>().await;
    assert_told(store.open_session("s").await, 1);
    assert_told(store.read_state("s").await, 1);
    let found = store.verify().await.unwrap();
    assert!(!found.is_sound() && found.problems.len() == 2, "{:?}", found.problems);
    for (problem, event) in found.problems.into_iter().zip(1..) {
        assert_told::<()>(Err(problem.error), event);
    }
    // A session that is open while another store writes what this one cannot decode.
    let other = disk.open_model::<Before>().await;
    let session = store.open_session("empty").await.unwrap();
    let theirs = other.open_session("empty").await.unwrap();
    let first = Append::new(note()).key(AppendKey::new("k").unwrap());
    theirs.append_with(first).unwrap().await.unwrap();
    let page = soon(session.events_after(EventId::ZERO, 10)).await;
    let stream = soon(session.subscribe(SubscribeFrom::After(EventId::ZERO))).await;
    for error in [page.unwrap_err(), stream.unwrap_err()] {
        let told = error.to_string();
        assert!(told.contains("event 1 of session empty") && told.contains("new SCHEMA"), "{told}");
    }
    other.close().await.unwrap();
    store.close().await.unwrap();

    // The build that has the right shape finds everything as it was.
    let store = disk.open_model::<Before>().await;
    assert_eq!(*store.resume_session("s").await.unwrap().view().unwrap().state(), 2);
    store.close().await.unwrap();
    if let Some(path) = disk.path() {
        let salvaged = Store::<After>::salvage_model(&path).unwrap().session("s").unwrap();
        assert_told::<()>(Err(salvaged.stopped_by.unwrap()), 1);
        let repaired = Store::<After>::repair_model(&path, path.with_extension("repaired")).unwrap();
        assert_told::<()>(Err(repaired.not_taken.last().unwrap().error.clone()), 1);
    }
}
