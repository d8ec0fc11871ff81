//! Goal: a call with bad input is refused with its kind. Method: on both media; what is stored before and after.

use std::path::PathBuf;

use foldlog::{Append, AppendKey, BlobRef, Digest, ErrorKind, EventId, StoreConfig, SubscribeFrom};

use crate::digest_of;
use crate::support::{ProbeBody, append, assert_kind, files_below, ids, keyed, look, on_both, open, usable, within};

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
    assert_eq!(session.view().unwrap().sum, 111);
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
    if let Some(path) = config.medium.as_directory() {
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
    assert_eq!(session.view().unwrap().sum, 21);
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
    assert_eq!(session.view().unwrap().sum, 111);
    assert!(within(store.verify()).await.unwrap().is_sound());

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
    assert_kind!(within(store.verify()).await, ErrorKind::StoreClosed);
    // The mailbox of the actor may be gone, or refuses.
    if let Ok(sent) = within(address.send(Append::new(ProbeBody::Added(1)))).await {
        assert_kind!(sent, ErrorKind::StoreClosed);
    }
    assert_eq!(session.view().unwrap().sum, 1, "views already taken stay readable");

    let again = open(&config).await;
    assert_eq!(look(&again, "s").await, ((*session.view().unwrap()).clone(), EventId::new(1)));
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
