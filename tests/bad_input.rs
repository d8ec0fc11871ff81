//! Goal: bad input gives a typed error, and nothing else. Method: hand it in on both media, or damage the files of a
//! closed store, match the kind, look at what is stored before and after, and use the store again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::path::{Path, PathBuf};

use foldlog::{
    Append, AppendKey, BlobRef, Condition, DecodeError, Digest, ErrorKind, Event, EventId, Medium, SessionId,
    SessionModel, Store, StoreConfig, SubscribeFrom, decode_body,
};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use support::{
    Probe, ProbeBody, all_events, append, assert_kind, files_below, ids, keyed, look, on_both, open, usable, within,
};

on_both! {
    a_session_id_that_is_none_is_refused_and_creates_nothing,
    a_body_over_the_size_limit_is_refused_and_its_neighbours_are_not,
    a_body_that_the_model_refuses_is_not_written,
    a_batch_over_the_limit_is_refused_at_once,
    a_blob_over_the_limit_is_refused_and_not_stored,
    an_append_key_of_a_wrong_length_is_refused,
    a_stale_expected_head_is_refused_and_its_neighbours_are_not,
    a_dangling_reference_is_refused_and_its_neighbours_are_not,
    an_append_key_is_not_reused_for_another_body,
    a_closed_store_refuses_every_call,
    a_closed_session_refuses_every_call_and_can_be_opened_again,
    the_append_over_the_limit_in_flight_is_refused_at_once,
    a_session_that_is_not_there_is_named,
    another_model_is_refused_and_named,
    an_event_type_of_a_newer_build_makes_its_session_read_only,
    a_schema_of_a_newer_build_makes_its_session_read_only,
}

async fn a_session_id_that_is_none_is_refused_and_creates_nothing(config: StoreConfig) {
    let store = open(&config).await;
    let over_long = "x".repeat(257);
    for id in ["", &over_long, &"é".repeat(129), "a\0b", "line\nbreak", "\u{7f}", "c1 \u{85} control", "\r", "\t"] {
        assert_kind!(within(store.open_session(id)).await, ErrorKind::InvalidSessionId { .. });
        assert_kind!(within(store.resume_session(id)).await, ErrorKind::InvalidSessionId { .. });
        assert_kind!(within(store.read_state(id)).await, ErrorKind::InvalidSessionId { .. });
    }
    assert_eq!(within(store.list_sessions(None, 10)).await.unwrap(), []);
    for id in [&over_long[1..], " ", "..", "a/b", "'; drop table events; --", "日本語", "%00"] {
        usable(&store, id).await;
    }
    assert_eq!(within(store.list_sessions(None, 10)).await.unwrap().len(), 7);
    within(store.close()).await.unwrap();
}

async fn a_body_over_the_size_limit_is_refused_and_its_neighbours_are_not(config: StoreConfig) {
    let config = StoreConfig { record_bytes_max: 1000, ..config };
    let store = open(&config).await;
    let session = within(store.open_session("s")).await.unwrap();
    append(&session, ProbeBody::Added(1)).await.unwrap();
    let before = look(&store, "s").await;

    let large = || ProbeBody::Noted("x".repeat(1000));
    assert_kind!(append(&session, large()).await, ErrorKind::TooLarge { size, limit: 1000, .. } if *size > 1000);
    let batch = vec![ProbeBody::Added(1), large(), ProbeBody::Added(1)];
    assert_kind!(within(session.append_batch(batch).unwrap()).await, ErrorKind::TooLarge { limit: 1000, .. });
    assert_eq!(look(&store, "s").await, before);
    assert_eq!(within(session.counters()).await.unwrap(), (EventId::new(1), 1));

    let (ahead, refused, behind) = (
        session.append(ProbeBody::Added(10)).unwrap(),
        session.append(large()).unwrap(),
        session.append(ProbeBody::Added(100)).unwrap(),
    );
    assert_eq!(ids(&within(ahead).await.unwrap()), [2]);
    assert_kind!(within(refused).await, ErrorKind::TooLarge { .. });
    assert_eq!(ids(&within(behind).await.unwrap()), [3]);
    assert_eq!(session.view().sum, 111);
    usable(&store, "s").await;
    within(store.close()).await.unwrap();
}

async fn a_body_that_the_model_refuses_is_not_written(config: StoreConfig) {
    let store = open(&config).await;
    let session = within(store.open_session("s")).await.unwrap();
    append(&session, ProbeBody::Added(1)).await.unwrap();
    let before = look(&store, "s").await;
    let refused = "never to be persisted";
    assert_kind!(session.append(ProbeBody::Refused), ErrorKind::BodyRefused { reason } if reason == refused);
    let batch = vec![ProbeBody::Added(1), ProbeBody::Refused];
    assert_kind!(session.append_batch(batch), ErrorKind::BodyRefused { .. });
    let sent = within(session.address().unwrap().send(Append::new(ProbeBody::Refused))).await.unwrap();
    assert_kind!(sent, ErrorKind::BodyRefused { .. });
    assert_eq!(look(&store, "s").await, before);
    usable(&store, "s").await;
    within(store.close()).await.unwrap();
}

async fn a_batch_over_the_limit_is_refused_at_once(config: StoreConfig) {
    let config = StoreConfig { batch_events_max: 3, ..config };
    let store = open(&config).await;
    let session = within(store.open_session("s")).await.unwrap();
    let batch = |len| vec![ProbeBody::Added(1); len];
    assert_kind!(session.append_batch(batch(4)), ErrorKind::TooLarge { size: 4, limit: 3, .. });
    assert_eq!(look(&store, "s").await.1, EventId::ZERO);
    assert_eq!(ids(&within(session.append_batch(batch(3)).unwrap()).await.unwrap()), [1, 2, 3]);
    usable(&store, "s").await;
    within(store.close()).await.unwrap();
}

async fn a_blob_over_the_limit_is_refused_and_not_stored(config: StoreConfig) {
    let config = StoreConfig { blob_bytes_max: 100, inline_bytes_max: 10, ..config };
    let store = open(&config).await;
    let digest = digest_of(&[b'x'; 101]);
    assert_kind!(within(store.put_bytes(vec![b'x'; 101])).await, ErrorKind::TooLarge { size: 101, limit: 100, .. });
    assert_kind!(within(store.put_text("x".repeat(101))).await, ErrorKind::TooLarge { .. });
    assert_kind!(within(store.intern_text("x".repeat(101))).await, ErrorKind::TooLarge { .. });
    assert_kind!(within(store.get_bytes(digest)).await, ErrorKind::UnknownBlob { digest: named } if *named == digest);
    if let Medium::Directory(path) = &config.medium {
        assert_eq!(files_below(&path.join("blobs")), [] as [PathBuf; 0]);
        assert_eq!(files_below(&path.join("tmp")), [] as [PathBuf; 0]);
    }
    let blob = within(store.put_bytes(vec![b'x'; 100])).await.unwrap();
    assert_eq!(within(store.get_bytes(blob.digest)).await.unwrap(), [b'x'; 100]);
    within(store.close()).await.unwrap();
}

async fn an_append_key_of_a_wrong_length_is_refused(config: StoreConfig) {
    assert_kind!(AppendKey::new(""), ErrorKind::InvalidArgument { what } if what.contains("limit is 1 to 64"));
    assert_kind!(AppendKey::new([0; 65]), ErrorKind::InvalidArgument { what } if what.contains("65"));
    let store = open(&config).await;
    let session = within(store.open_session("s")).await.unwrap();
    for (key, id) in [(vec![0], 1), (vec![255; 64], 2)] {
        let keyed = || Append::new(ProbeBody::Added(1)).key(AppendKey::new(&key).unwrap());
        assert_eq!(ids(&within(session.append_with(keyed()).unwrap()).await.unwrap()), [id]);
        assert!(within(session.append_with(keyed()).unwrap()).await.unwrap().repeated);
    }
    within(store.close()).await.unwrap();
}

async fn a_stale_expected_head_is_refused_and_its_neighbours_are_not(config: StoreConfig) {
    let store = open(&config).await;
    let session = within(store.open_session("s")).await.unwrap();
    append(&session, ProbeBody::Added(1)).await.unwrap();
    let before = look(&store, "s").await;
    for stale in [EventId::ZERO, EventId::new(2), EventId::MAX] {
        let stale_append = Append::new(ProbeBody::Added(1)).expect_head(stale);
        assert_kind!(
            within(session.append_with(stale_append).unwrap()).await,
            ErrorKind::HeadMoved { expected, actual, .. } if *expected == stale && *actual == EventId::new(1)
        );
    }
    assert_eq!(look(&store, "s").await, before);
    // Expected heads see what is stamped, not only what is committed.
    let expecting = |head| Append::new(ProbeBody::Added(10)).expect_head(EventId::new(head));
    let ahead = session.append_with(expecting(1)).unwrap();
    let stale = session.append_with(expecting(1)).unwrap();
    let behind = session.append_with(expecting(2)).unwrap();
    assert_eq!(ids(&within(ahead).await.unwrap()), [2]);
    assert_kind!(within(stale).await, ErrorKind::HeadMoved { .. });
    assert_eq!(ids(&within(behind).await.unwrap()), [3]);
    assert_eq!(session.view().sum, 21);
    usable(&store, "s").await;
    within(store.close()).await.unwrap();
}

async fn a_dangling_reference_is_refused_and_its_neighbours_are_not(config: StoreConfig) {
    let store = open(&config).await;
    let session = within(store.open_session("s")).await.unwrap();
    let blob = within(store.put_bytes(b"stored".to_vec())).await.unwrap();
    append(&session, ProbeBody::Referenced(blob)).await.unwrap();
    let before = look(&store, "s").await;

    let digest = digest_of(b"never stored");
    let dangling = || ProbeBody::Referenced(BlobRef { digest, ..blob });
    assert_kind!(append(&session, dangling()).await, ErrorKind::DanglingRef { digest: named } if *named == digest);
    let batch = vec![ProbeBody::Added(1), ProbeBody::Referenced(blob), dangling(), ProbeBody::Added(1)];
    assert_kind!(within(session.append_batch(batch).unwrap()).await, ErrorKind::DanglingRef { .. });
    assert_eq!(look(&store, "s").await, before);

    let receipts = [
        session.append(ProbeBody::Added(1)).unwrap(),
        session.append(dangling()).unwrap(),
        session.append(ProbeBody::Added(10)).unwrap(),
        session.append_batch(vec![ProbeBody::Added(1), dangling()]).unwrap(),
        session.append_batch(vec![ProbeBody::Added(100), ProbeBody::Referenced(blob)]).unwrap(),
    ];
    let answers = within(futures::future::join_all(receipts)).await;
    let written: Vec<_> = answers.iter().map(|answer| answer.as_ref().map(ids).unwrap_or_default()).collect();
    assert_eq!(written, [vec![2], vec![], vec![3], vec![], vec![4, 5]]);
    for refused in [&answers[1], &answers[3]] {
        assert_kind!(refused.as_ref(), ErrorKind::DanglingRef { .. });
    }
    assert_eq!(session.view().sum, 111);
    assert!(within(store.verify_references()).await.unwrap().is_empty());

    // Put first, then it may be named.
    assert_eq!(within(store.put_bytes(b"never stored".to_vec())).await.unwrap().digest, digest);
    append(&session, dangling()).await.unwrap();
    usable(&store, "s").await;
    within(store.close()).await.unwrap();
}

async fn an_append_key_is_not_reused_for_another_body(config: StoreConfig) {
    let store = open(&config).await;
    let session = within(store.open_session("s")).await.unwrap();
    within(session.append_with(keyed(ProbeBody::Added(1), "key")).unwrap()).await.unwrap();
    let before = look(&store, "s").await;
    let first = EventId::new(1);
    assert_kind!(
        within(session.append_with(keyed(ProbeBody::Added(2), "key")).unwrap()).await,
        ErrorKind::KeyReused { first: named, .. } if *named == first
    );
    // In flight as well.
    let one = session.append_with(keyed(ProbeBody::Added(1), "other")).unwrap();
    let other = session.append_with(keyed(ProbeBody::Added(2), "other")).unwrap();
    assert_eq!(ids(&within(one).await.unwrap()), [2]);
    assert_kind!(within(other).await, ErrorKind::KeyReused { .. });
    assert_eq!(look(&store, "s").await.0.events, before.0.events + 1);
    usable(&store, "s").await;
    within(store.close()).await.unwrap();
}

async fn a_closed_store_refuses_every_call(config: StoreConfig) {
    let store = open(&config).await;
    let session = within(store.open_session("s")).await.unwrap();
    append(&session, ProbeBody::Added(1)).await.unwrap();
    let address = session.address().unwrap();
    within(store.close()).await.unwrap();
    within(store.close()).await.unwrap();

    assert_kind!(session.append(ProbeBody::Added(1)), ErrorKind::StoreClosed);
    assert_kind!(session.append_batch(Vec::new()), ErrorKind::StoreClosed);
    assert_kind!(session.notify(1), ErrorKind::StoreClosed);
    assert_kind!(session.take_turn().await, ErrorKind::StoreClosed);
    assert_kind!(session.address(), ErrorKind::StoreClosed);
    assert_kind!(within(session.counters()).await, ErrorKind::StoreClosed);
    assert_kind!(within(session.events_after(EventId::ZERO, 1)).await, ErrorKind::StoreClosed);
    assert_kind!(within(session.subscribe(SubscribeFrom::Now)).await, ErrorKind::StoreClosed);
    assert_kind!(within(session.recovery()).await, ErrorKind::StoreClosed);
    assert_kind!(within(store.open_session("s")).await, ErrorKind::StoreClosed);
    assert_kind!(within(store.resume_session("s")).await, ErrorKind::StoreClosed);
    assert_kind!(within(store.read_state("s")).await, ErrorKind::StoreClosed);
    assert_kind!(within(store.list_sessions(None, 1)).await, ErrorKind::StoreClosed);
    assert_kind!(within(store.put_bytes(vec![1])).await, ErrorKind::StoreClosed);
    assert_kind!(within(store.put_text("x")).await, ErrorKind::StoreClosed);
    assert_kind!(within(store.intern_text("x")).await, ErrorKind::StoreClosed);
    assert_kind!(within(store.get_bytes(digest_of(&[1]))).await, ErrorKind::StoreClosed);
    assert_kind!(within(store.verify_references()).await, ErrorKind::StoreClosed);
    // The mailbox of the actor may be gone, or refuses.
    if let Ok(sent) = within(address.send(Append::new(ProbeBody::Added(1)))).await {
        assert_kind!(sent, ErrorKind::StoreClosed);
    }
    assert_eq!(session.view().sum, 1, "views already taken stay readable");

    let again = open(&config).await;
    assert_eq!(look(&again, "s").await, ((*session.view()).clone(), EventId::new(1)));
    usable(&again, "s").await;
    within(again.close()).await.unwrap();
}

async fn a_closed_session_refuses_every_call_and_can_be_opened_again(config: StoreConfig) {
    let store = open(&config).await;
    let session = within(store.open_session("s")).await.unwrap();
    append(&session, ProbeBody::Added(1)).await.unwrap();
    let before = look(&store, "s").await;
    within(session.close()).await.unwrap();
    within(session.close()).await.unwrap();
    assert_kind!(session.append(ProbeBody::Added(1)), ErrorKind::SessionClosed { session } if session.as_str() == "s");
    assert_kind!(session.notify(1), ErrorKind::SessionClosed { .. });
    assert_kind!(session.address(), ErrorKind::SessionClosed { .. });
    assert_kind!(within(session.counters()).await, ErrorKind::SessionClosed { .. });
    assert_kind!(within(session.subscribe(SubscribeFrom::Now)).await, ErrorKind::SessionClosed { .. });
    assert_kind!(within(session.recovery()).await, ErrorKind::SessionClosed { .. });
    assert_eq!(look(&store, "s").await, before);
    usable(&store, "s").await;
    usable(&store, "another").await;
    within(store.close()).await.unwrap();
}

async fn the_append_over_the_limit_in_flight_is_refused_at_once(config: StoreConfig) {
    let config = StoreConfig { session_in_flight_max: 3, ..config };
    let store = open(&config).await;
    let session = within(store.open_session("s")).await.unwrap();
    let other = within(store.open_session("other")).await.unwrap();
    // The session's actor runs on this thread, which does not let it run before the first await.
    let receipts: Vec<_> = (0..3).map(|_| session.append(ProbeBody::Added(1)).unwrap()).collect();
    assert_kind!(session.append(ProbeBody::Added(1)), ErrorKind::Busy { limit: 3, .. });
    assert_kind!(session.notify(1), ErrorKind::Busy { limit: 3, .. });
    let another = other.append(ProbeBody::Added(1)).unwrap();
    for (receipt, id) in receipts.into_iter().zip(1..) {
        assert_eq!(ids(&within(receipt).await.unwrap()), [id]);
    }
    within(another).await.unwrap();
    assert_eq!(look(&store, "s").await.1, EventId::new(3));
    // Dropped and refused receipts count no longer.
    for _ in 0..10 {
        drop(session.append(ProbeBody::Added(1)).unwrap());
        append(&session, ProbeBody::Added(1)).await.unwrap();
        let stale = Append::new(ProbeBody::Added(1)).expect_head(EventId::ZERO);
        assert_kind!(within(session.append_with(stale).unwrap()).await, ErrorKind::HeadMoved { .. });
    }
    assert_eq!(look(&store, "s").await.1, EventId::new(23));
    within(store.close()).await.unwrap();
}

async fn a_session_that_is_not_there_is_named(config: StoreConfig) {
    let store = open(&config).await;
    for _ in 0..2 {
        assert_kind!(
            within(store.resume_session("s")).await,
            ErrorKind::UnknownSession { session } if session.as_str() == "s"
        );
        assert_kind!(within(store.read_state("s")).await, ErrorKind::UnknownSession { .. });
    }
    assert_eq!(within(store.list_sessions(None, 10)).await.unwrap(), []);
    usable(&store, "s").await;
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
    assert_eq!((session.view().head(), *session.view().state()), (EventId::new(2), 9));
    let stored = within(store.read_state("s")).await.unwrap();
    assert_eq!((stored.view.clone(), stored.report.condition), ((*session.view()).clone(), expected));

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
    assert_eq!((session.condition(), *session.view().state()), (Condition::Ready, sum));
    assert_eq!(append(&session, LedgerBody::Added(0)).await.unwrap().head, EventId::new(5));
    within(store.close()).await.unwrap();
}

#[test]
fn a_digest_that_is_none_never_becomes_a_path() {
    let good = digest_of(b"x").to_string();
    for text in [
        "".to_owned(),
        "..".to_owned(),
        format!("../{}", &good[3..]),
        format!("{}/../x", &good[..59]),
        good.to_uppercase(),
        good[1..].to_owned(),
        format!("{good}0"),
        format!(" {}", &good[1..]),
        format!("{}\0", &good[1..]),
        good.replacen(|_| true, "é", 1),
        "g".repeat(64),
    ] {
        assert_kind!(text.parse::<Digest>(), ErrorKind::InvalidDigest { .. });
    }
    assert_eq!(good.parse::<Digest>().unwrap().to_string(), good);
}

// --- damaged or foreign files ---

fn digest_of(bytes: &[u8]) -> Digest {
    Digest::from_bytes(*blake3::hash(bytes).as_bytes())
}

fn db(directory: &Path) -> PathBuf {
    directory.join("events.db")
}

fn sql(directory: &Path, statement: &str) {
    let connection = Connection::open(db(directory)).unwrap();
    connection.execute_batch(statement).unwrap();
    // So that what was changed is in the file itself.
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    connection.close().unwrap();
}

/// A closed store with sessions of five events each.
async fn with_sessions(directory: &Path, sessions: &[&str]) -> StoreConfig {
    let config = StoreConfig::directory(directory);
    let store = open(&config).await;
    for id in sessions {
        let session = within(store.open_session(id)).await.unwrap();
        let note = ProbeBody::Noted(format!("note of {id}"));
        within(session.append_batch(vec![ProbeBody::Added(1), note.clone()]).unwrap()).await.unwrap();
        let append = keyed(note.clone(), "key");
        within(session.append_with(append).unwrap()).await.unwrap();
        within(session.append_batch(vec![note, ProbeBody::Added(1)]).unwrap()).await.unwrap();
    }
    within(store.close()).await.unwrap();
    config
}

#[actix::test]
async fn a_newer_format_is_refused_and_left_untouched() {
    let directory = tempfile::tempdir().unwrap();
    let config = with_sessions(directory.path(), &["s"]).await;
    sql(directory.path(), "PRAGMA user_version = 2");
    let before = std::fs::read(db(directory.path())).unwrap();
    for _ in 0..2 {
        assert_kind!(
            within(Store::<Probe>::open_model(config.clone())).await,
            ErrorKind::NewerFormat { found: 2, supported: 1 }
        );
    }
    assert!(std::fs::read(db(directory.path())).unwrap() == before, "the database was changed");
    assert_eq!(files_below(&directory.path().join("owners")), [] as [PathBuf; 0]);

    sql(directory.path(), "PRAGMA user_version = 1");
    let store = open(&config).await;
    assert_eq!(look(&store, "s").await.1, EventId::new(5));
    usable(&store, "s").await;
    within(store.close()).await.unwrap();
}

#[actix::test]
async fn a_database_of_another_application_is_refused_and_left_untouched() {
    for setup in [
        "PRAGMA application_id = 1; CREATE TABLE theirs(x)",
        "CREATE TABLE theirs(x)",
        "PRAGMA user_version = 7",
        "PRAGMA journal_mode = WAL; CREATE TABLE theirs(x)",
    ] {
        let directory = tempfile::tempdir().unwrap();
        sql(directory.path(), setup);
        let before = std::fs::read(db(directory.path())).unwrap();
        let path = db(directory.path());
        assert_kind!(
            within(Store::<Probe>::open_model(StoreConfig::directory(directory.path()))).await,
            ErrorKind::NotAStore { path: named } if *named == path
        );
        assert!(std::fs::read(&path).unwrap() == before, "the database was changed: {setup}");
    }
}

#[actix::test]
async fn a_file_that_is_no_database_is_refused_and_left_untouched() {
    let long = "not a database ".repeat(1000);
    for content in [long.as_bytes(), &long.as_bytes()[..600], b"precious", b"xy", &[0; 4096]] {
        let directory = tempfile::tempdir().unwrap();
        let path = db(directory.path());
        std::fs::write(&path, content).unwrap();
        assert_kind!(
            within(Store::<Probe>::open_model(StoreConfig::directory(directory.path()))).await,
            ErrorKind::NotAStore { path: named } if *named == path
        );
        assert!(std::fs::read(&path).unwrap() == content, "{} bytes were changed", content.len());
    }
}

#[actix::test]
async fn a_directory_that_cannot_be_written_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "theirs").unwrap();
    for path in [file.clone(), file.join("below"), file.join("far/below"), PathBuf::from("/proc/foldlog-test/x")] {
        assert_kind!(
            within(Store::<Probe>::open_model(StoreConfig::directory(&path))).await,
            ErrorKind::Io { path: named, .. } if path.starts_with(named)
        );
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"theirs");
    assert_eq!(files_below(directory.path()), [file]);

    // What foldlog needs is there, and is something else.
    for name in ["blobs", "tmp", "owners"] {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(name), "theirs").unwrap();
        assert_kind!(
            within(Store::<Probe>::open_model(StoreConfig::directory(directory.path()))).await,
            ErrorKind::Io { path, .. } if path.starts_with(directory.path())
        );
        assert_eq!(std::fs::read(directory.path().join(name)).unwrap(), b"theirs");
    }
    for name in ["LOCK", "events.db"] {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join(name)).unwrap();
        let opened = within(Store::<Probe>::open_model(StoreConfig::directory(directory.path()))).await;
        assert_kind!(opened, ErrorKind::Io { .. } | ErrorKind::NotAStore { .. } | ErrorKind::Unavailable { .. });
    }
}

/// Damages event 3 of each session, and tells which event must be named.
const DAMAGES: &[(&str, &str, u64)] = &[
    ("record-empty", "UPDATE events SET record = x''", 3),
    ("record-cut", "UPDATE events SET record = substr(record, 1, length(record) - 1)", 3),
    ("record-longer", "UPDATE events SET record = CAST(record || x'00' AS BLOB)", 3),
    ("record-first-byte", "UPDATE events SET record = CAST(x'ff' || substr(record, 2) AS BLOB)", 3),
    (
        "record-last-byte",
        "UPDATE events SET record = CAST(substr(record, 1, length(record) - 1)
                                    || CASE substr(record, -1) WHEN x'00' THEN x'01' ELSE x'00' END AS BLOB)",
        3,
    ),
    ("record-garbage", "UPDATE events SET record = randomblob(100)", 3),
    (
        "record-swapped",
        "UPDATE events SET record = (SELECT record FROM events AS other
                                     WHERE other.log_key = events.log_key AND event_id = 2)",
        3,
    ),
    ("time", "UPDATE events SET event_at = event_at + 1", 3),
    ("time-negative", "UPDATE events SET event_at = -1", 3),
    ("chain", "UPDATE events SET chain = zeroblob(32)", 3),
    ("hole", "DELETE FROM events", 3),
    ("type-of-another", "UPDATE events SET event_type = 'added'", 3),
];

#[actix::test]
async fn a_damaged_event_is_named_and_other_sessions_open() {
    let directory = tempfile::tempdir().unwrap();
    let mut names: Vec<_> = DAMAGES.iter().map(|(name, ..)| *name).collect();
    names.push("whole");
    let config = with_sessions(directory.path(), &names).await;
    for (name, damage, _) in DAMAGES {
        let log = format!("SELECT log_key FROM sessions WHERE session_id = '{name}'");
        sql(directory.path(), &format!("{damage} WHERE event_id = 3 AND log_key = ({log})"));
    }
    let rows = rows_of(directory.path());

    let store = open(&config).await;
    for (name, _, wanted) in DAMAGES {
        for _ in 0..2 {
            if *name == "type-of-another" {
                // What the model makes of a type is its own: this one does not look at it twice.
                continue;
            }
            let named = |session: &SessionId, event: &EventId| session.as_str() == *name && event.get() == *wanted;
            assert_kind!(
                within(store.open_session(name)).await,
                ErrorKind::CorruptEvent { session, event, .. } if named(session, event)
            );
            assert_kind!(
                within(store.resume_session(name)).await,
                ErrorKind::CorruptEvent { session, event, .. } if named(session, event)
            );
            assert_kind!(
                within(store.read_state(name)).await,
                ErrorKind::CorruptEvent { session, event, .. } if named(session, event)
            );
        }
    }
    assert_kind!(within(store.verify_references()).await, ErrorKind::CorruptEvent { .. });
    assert_eq!(within(store.list_sessions(None, 100)).await.unwrap().len(), names.len());
    assert_eq!(rows_of(directory.path()), rows, "nothing was skipped, repaired or written");
    usable(&store, "whole").await;
    usable(&store, "new").await;
    within(store.close()).await.unwrap();
}

fn rows_of(directory: &Path) -> Vec<(i64, i64, Vec<u8>, Vec<u8>)> {
    let connection = Connection::open(db(directory)).unwrap();
    let mut statement =
        connection.prepare("SELECT log_key, event_id, chain, record FROM events ORDER BY position").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

#[actix::test]
async fn a_row_that_foldlog_never_wrote_is_an_error_and_no_panic() {
    for damage in [
        "UPDATE events SET chain = x'00' WHERE event_id = 3",
        "UPDATE events SET event_id = -3 WHERE event_id = 3",
        "UPDATE events SET event_id = 9223372036854775807 WHERE event_id = 5",
        "UPDATE events SET append_key = zeroblob(65) WHERE event_id = 3",
        "UPDATE logs SET log_id = x'00'",
        "DELETE FROM events WHERE event_id = 1",
        "UPDATE logs SET log_id = randomblob(16)",
    ] {
        let directory = tempfile::tempdir().unwrap();
        let config = with_sessions(directory.path(), &["s"]).await;
        sql(directory.path(), damage);
        let store = open(&config).await;
        let opened = within(store.open_session("s")).await;
        assert_kind!(opened, ErrorKind::CorruptEvent { .. } | ErrorKind::CorruptStore { .. });
        // A list that would have to show such a row cannot be had; the session next to it can.
        let new = within(store.open_session("new")).await.unwrap();
        append(&new, ProbeBody::Added(1)).await.unwrap();
        assert_eq!(within(store.read_state("new")).await.unwrap().view, *new.view());
        within(store.close()).await.unwrap();
    }
}

/// A tail that was cut off at a commit cannot be told from a shorter log: nothing else says how long it was.
#[actix::test]
async fn a_log_that_lost_its_last_events_is_a_shorter_log() {
    let directory = tempfile::tempdir().unwrap();
    let config = with_sessions(directory.path(), &["s"]).await;
    sql(directory.path(), "DELETE FROM events WHERE event_id > 3");
    let store = open(&config).await;
    let session = within(store.open_session("s")).await.unwrap();
    assert_eq!(session.view().head(), EventId::new(3));
    assert_eq!(ids(&append(&session, ProbeBody::Added(1)).await.unwrap()), [4]);
    assert_eq!(all_events(&session).await.len(), 4);
    within(store.close()).await.unwrap();
}

/// The key stands in the record too, where the chain covers it.
#[actix::test]
async fn a_changed_append_key_column_lets_nothing_be_written_twice() {
    let directory = tempfile::tempdir().unwrap();
    let config = with_sessions(directory.path(), &["moved", "removed"]).await;
    for (name, key) in [("moved", "CAST('else' AS BLOB)"), ("removed", "NULL")] {
        let log = format!("SELECT log_key FROM sessions WHERE session_id = '{name}'");
        sql(
            directory.path(),
            &format!("UPDATE events SET append_key = {key} WHERE event_id = 3 AND log_key = ({log})"),
        );
    }
    let store = open(&config).await;
    for name in ["moved", "removed"] {
        let session = within(store.open_session(name)).await.unwrap();
        let before = look(&store, name).await;
        let retry = keyed(ProbeBody::Noted(format!("note of {name}")), "key");
        let repeated = within(session.append_with(retry).unwrap()).await.unwrap();
        assert!(repeated.repeated);
        assert_eq!(ids(&repeated), [3]);
        assert_eq!(look(&store, name).await, before);
    }
    // The unique index refuses what the records do not know of; the next try finds the reason.
    let session = within(store.open_session("moved")).await.unwrap();
    let again = || session.append_with(keyed(ProbeBody::Added(1), "else")).unwrap();
    assert_kind!(within(again()).await, ErrorKind::NotWritten { .. });
    assert_kind!(within(again()).await, ErrorKind::KeyReused { .. });
    usable(&store, "moved").await;
    within(store.close()).await.unwrap();
}

#[actix::test]
async fn a_damaged_blob_is_named_not_served_and_healed_by_the_next_put() {
    for damage in [
        (|bytes: &mut Vec<u8>| bytes[5] ^= 1) as fn(&mut Vec<u8>),
        |bytes| bytes.truncate(10),
        |bytes| bytes.clear(),
        |bytes| bytes.push(0),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let config = StoreConfig::directory(directory.path());
        let content = b"some bytes that matter".to_vec();
        let store = open(&config).await;
        let session = within(store.open_session("s")).await.unwrap();
        let blob = within(store.put_bytes(content.clone())).await.unwrap();
        append(&session, ProbeBody::Referenced(blob)).await.unwrap();
        let file = files_below(&directory.path().join("blobs")).pop().unwrap();
        let mut damaged = content.clone();
        damage(&mut damaged);
        within(store.close()).await.unwrap();
        std::fs::write(&file, &damaged).unwrap();

        let store = open(&config).await;
        let session = within(store.open_session("s")).await.unwrap();
        let is_it = |digest: &Digest| *digest == blob.digest;
        assert_kind!(within(store.get_bytes(blob.digest)).await, ErrorKind::CorruptBlob { digest } if is_it(digest));
        let broken = within(store.verify_references()).await.unwrap();
        assert_eq!(broken.len(), 1);
        assert_eq!((broken[0].session.as_str(), broken[0].event, broken[0].blob), ("s", EventId::new(1), blob));
        assert!(matches!(broken[0].error.kind(), ErrorKind::CorruptBlob { .. }));
        let before = look(&store, "s").await;
        assert_kind!(
            append(&session, ProbeBody::Referenced(blob)).await,
            ErrorKind::CorruptBlob { digest } if is_it(digest)
        );
        assert_eq!(look(&store, "s").await, before);

        assert_eq!(within(store.put_bytes(content.clone())).await.unwrap(), blob);
        assert_eq!(within(store.get_bytes(blob.digest)).await.unwrap(), content);
        append(&session, ProbeBody::Referenced(blob)).await.unwrap();
        assert!(within(store.verify_references()).await.unwrap().is_empty());
        within(store.close()).await.unwrap();
    }
}

#[actix::test]
async fn a_blob_that_is_gone_is_reported_where_it_is_referenced() {
    let directory = tempfile::tempdir().unwrap();
    let config = StoreConfig::directory(directory.path());
    let store = open(&config).await;
    let session = within(store.open_session("s")).await.unwrap();
    let blob = within(store.put_bytes(b"gone".to_vec())).await.unwrap();
    append(&session, ProbeBody::Referenced(blob)).await.unwrap();
    within(store.close()).await.unwrap();
    std::fs::remove_file(files_below(&directory.path().join("blobs")).pop().unwrap()).unwrap();

    let store = open(&config).await;
    let session = within(store.open_session("s")).await.unwrap();
    assert_kind!(within(store.get_bytes(blob.digest)).await, ErrorKind::UnknownBlob { .. });
    assert_kind!(append(&session, ProbeBody::Referenced(blob)).await, ErrorKind::DanglingRef { .. });
    let broken = within(store.verify_references()).await.unwrap();
    assert!(matches!(broken[0].error.kind(), ErrorKind::UnknownBlob { .. }));
    assert_eq!(look(&store, "s").await.1, EventId::new(1));
    usable(&store, "s").await;
    within(store.close()).await.unwrap();
}
