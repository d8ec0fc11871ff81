//! Goal: another model is refused; a session with what only a newer build knows is read-only. Neither loses anything.
//! Method: two models, and one model in three builds.

use foldlog::{
    Append, AppendKey, Condition, DecodeError, ErrorKind, Event, EventId, SessionModel, Store, StoreConfig, decode_body,
};
use serde::{Deserialize, Serialize};

use crate::support::{append, assert_kind, look, on_both, open, usable, within};

on_both! {
    another_model_is_refused_and_named,
    an_event_type_of_a_newer_build_makes_its_session_read_only,
    a_schema_of_a_newer_build_makes_its_session_read_only,
}

/// A model in two builds: the newer one knows one event type more, and writes one of them with a newer schema.
#[derive(Debug)]
struct Older;
#[derive(Debug)]
struct Newer;

#[derive(Debug, Clone, Serialize, Deserialize)]
enum LedgerBody {
    Added(u64),
    Taken(u64),
}

const LEDGER: &str = "ledger";

impl SessionModel for Older {
    const NAME: &'static str = LEDGER;
    const SCHEMA: u16 = 1;
    type Body = LedgerBody;
    type View = u64;
    type Counters = ();
    type Transient = ();

    fn event_type(_: &LedgerBody) -> &'static str {
        "added"
    }

    fn apply(sum: &mut u64, event: &Event<Self>) {
        if let LedgerBody::Added(n) = event.body() {
            *sum += n;
        }
    }

    fn decode(event_type: &str, schema: u16, bytes: &[u8]) -> Result<LedgerBody, DecodeError> {
        if (event_type, schema) == ("added", 1) { decode_body(bytes) } else { Err(DecodeError::Unknown) }
    }
}

impl SessionModel for Newer {
    const NAME: &'static str = LEDGER;
    const SCHEMA: u16 = 1;
    type Body = LedgerBody;
    type View = u64;
    type Counters = ();
    type Transient = ();

    fn event_type(body: &LedgerBody) -> &'static str {
        match body {
            LedgerBody::Added(_) => "added",
            LedgerBody::Taken(_) => "taken",
        }
    }

    fn apply(sum: &mut u64, event: &Event<Self>) {
        match event.body() {
            LedgerBody::Added(n) => *sum += n,
            LedgerBody::Taken(n) => *sum -= n,
        }
    }

    fn decode(_: &str, _: u16, bytes: &[u8]) -> Result<LedgerBody, DecodeError> {
        decode_body(bytes)
    }
}

/// The same event types with a newer schema.
#[derive(Debug)]
struct NewerSchema;

impl SessionModel for NewerSchema {
    const NAME: &'static str = LEDGER;
    const SCHEMA: u16 = 2;
    type Body = LedgerBody;
    type View = u64;
    type Counters = ();
    type Transient = ();

    fn event_type(_: &LedgerBody) -> &'static str {
        "added"
    }

    fn apply(sum: &mut u64, event: &Event<Self>) {
        if let LedgerBody::Added(n) = event.body() {
            *sum += n;
        }
    }

    fn decode(_: &str, _: u16, bytes: &[u8]) -> Result<LedgerBody, DecodeError> {
        decode_body(bytes)
    }
}

async fn an_event_type_of_a_newer_build_makes_its_session_read_only(config: StoreConfig) {
    write_with_a_newer_build::<Newer>(&config, LedgerBody::Taken(2)).await;
    opens_read_only_with_the_older_build(&config, "taken", 1).await;
    newer_build_sees_everything::<Newer>(&config, 9 - 2 + 4).await;
}

async fn a_schema_of_a_newer_build_makes_its_session_read_only(config: StoreConfig) {
    write_with_a_newer_build::<NewerSchema>(&config, LedgerBody::Added(2)).await;
    opens_read_only_with_the_older_build(&config, "added", 2).await;
    newer_build_sees_everything::<NewerSchema>(&config, 9 + 2 + 4).await;
}

/// Two events of the older build, one of the newer, one more that the older build would know by itself.
async fn write_with_a_newer_build<M: SessionModel<Body = LedgerBody>>(config: &StoreConfig, newer: LedgerBody) {
    let store = within(Store::<Older>::open_model(config.clone())).await.unwrap();
    let session = within(store.open_session("s")).await.unwrap();
    within(session.append_batch(vec![LedgerBody::Added(4), LedgerBody::Added(5)]).unwrap()).await.unwrap();
    let other = within(store.open_session("other")).await.unwrap();
    append(&other, LedgerBody::Added(1)).await.unwrap();
    within(store.close()).await.unwrap();

    let store = within(Store::<M>::open_model(config.clone())).await.unwrap();
    let session = within(store.open_session("s")).await.unwrap();
    append(&session, newer).await.unwrap();
    append(&session, LedgerBody::Added(4)).await.unwrap();
    within(store.close()).await.unwrap();
}

async fn opens_read_only_with_the_older_build(config: &StoreConfig, newer_type: &str, newer_schema: u16) {
    let store = within(Store::<Older>::open_model(config.clone())).await.unwrap();
    let session = within(store.open_session("s")).await.unwrap();
    let third = EventId::new(3);
    let expected = Condition::NewerRecord { event: third, event_type: newer_type.to_owned(), schema: newer_schema };
    assert_eq!(session.condition(), expected);
    assert_eq!(within(session.recovery()).await.unwrap().condition, expected);
    assert_eq!((session.view().unwrap().head(), *session.view().unwrap().state()), (EventId::new(2), 9));
    let stored = within(store.read_state("s")).await.unwrap();
    assert_eq!((stored.view.clone(), stored.report.condition), ((*session.view().unwrap()).clone(), expected));

    for refused in [
        session.append(LedgerBody::Added(1)).unwrap(),
        session.append_with(Append::new(LedgerBody::Added(1)).expect_head(EventId::new(2))).unwrap(),
        session.append_with(Append::new(LedgerBody::Added(1)).key(AppendKey::new("key").unwrap())).unwrap(),
    ] {
        assert_kind!(
            within(refused).await,
            ErrorKind::NewerRecord { session, event, event_type, schema }
                if session.as_str() == "s" && *event == third && event_type == newer_type && *schema == newer_schema
        );
    }
    let page = within(session.events_after(EventId::ZERO, 100)).await.unwrap();
    assert_eq!(page.events.iter().map(|event| event.id().get()).collect::<Vec<_>>(), [1, 2]);
    assert_kind!(
        within(session.events_after(EventId::new(2), 100)).await,
        ErrorKind::NewerRecord { event, .. } if *event == third
    );
    assert_eq!(look(&store, "s").await.1, EventId::new(4), "nothing was written, nothing lost");

    let other = within(store.open_session("other")).await.unwrap();
    assert_eq!(other.condition(), Condition::Ready);
    append(&other, LedgerBody::Added(1)).await.unwrap();
    within(store.close()).await.unwrap();
}

async fn newer_build_sees_everything<M: SessionModel<Body = LedgerBody, View = u64>>(config: &StoreConfig, sum: u64) {
    let store = within(Store::<M>::open_model(config.clone())).await.unwrap();
    let session = within(store.open_session("s")).await.unwrap();
    assert_eq!((session.condition(), *session.view().unwrap().state()), (Condition::Ready, sum));
    assert_eq!(append(&session, LedgerBody::Added(0)).await.unwrap().head, EventId::new(5));
    within(store.close()).await.unwrap();
}

async fn another_model_is_refused_and_named(config: StoreConfig) {
    let store = open(&config).await;
    usable(&store, "s").await;
    for _ in 0..2 {
        assert_kind!(
            within(Store::<Newer>::open_model(config.clone())).await,
            ErrorKind::WrongModel { found, expected } if found == "probe" && expected == "ledger"
        );
    }
    // The one that is open goes on.
    usable(&store, "s").await;
    within(store.close()).await.unwrap();
    assert_kind!(within(Store::open(config.clone())).await, ErrorKind::WrongModel { .. });
    let again = open(&config).await;
    assert_eq!(look(&again, "s").await.1, EventId::new(2));
    within(again.close()).await.unwrap();
}
