//! Goal: a store is read without its session model, as far as that goes. Method: a store of a model of the tests' own,
//! read beside its writer.

use foldlog::{Append, AppendKey, ErrorKind, EventId, LogPosition, StoreConfig, UntypedStore};

use crate::common::*;

on_both_media!(
    headers_of_a_store_whose_model_nobody_names_tell_types_times_sizes_and_references,
    the_headers_of_a_page_go_on_where_the_page_before_ended,
);

async fn headers_of_a_store_whose_model_nobody_names_tell_types_times_sizes_and_references(config: StoreConfig) {
    let store = open(&config).await;
    let session = soon(store.open_session("s")).await.unwrap();
    let blob = soon(store.put_bytes(b"a blob".to_vec())).await.unwrap();
    let key = AppendKey::new("a key").unwrap();
    let batch = Append::batch(vec![TallyBody::Added(1), TallyBody::Attached(blob)]).key(key.clone());
    soon(session.append_with(batch).unwrap()).await.unwrap();

    let untyped = soon(UntypedStore::open(config)).await.unwrap();
    assert_eq!(untyped.model(), "tally");
    let listed = soon(untyped.list_sessions(None, 10)).await.unwrap();
    assert_eq!((listed.len(), listed[0].id.as_str(), listed[0].head), (1, "s", at(2)));
    assert_eq!(soon(untyped.head("s")).await.unwrap(), at(2));
    let page = soon(untyped.headers_after("s", EventId::ZERO, 10)).await.unwrap();
    let events = soon(session.events_after(EventId::ZERO, 10)).await.unwrap().events;
    assert_eq!(soon(untyped.head_at("s")).await.unwrap(), Some(events[1].at()));
    let of_events = |event: &foldlog::LogEvent<Tally>| (event.id(), event.at(), event.event_type(), event.position());
    let told: Vec<_> = page.headers.iter().map(|told| (told.id, told.at, &*told.event_type, told.position)).collect();
    assert_eq!(told, events.iter().map(of_events).collect::<Vec<_>>());
    for header in &page.headers {
        assert_eq!((header.append_first, header.append_last), (at(1), at(2)));
        assert!((20..200).contains(&header.record_bytes), "{header:?}");
    }
    assert_eq!((&page.headers[0].refs[..], &page.headers[1].refs[..]), (&[][..], &[blob][..]));
    assert_eq!((&page.headers[0].append_key, &page.headers[1].append_key), (&Some(key), &None));
    assert_eq!(soon(untyped.get_bytes(blob.digest)).await.unwrap(), b"a blob");

    // What comes later is there at the next call, and what is not there is refused as in a typed store.
    append(&session, TallyBody::Added(1)).await.unwrap();
    assert_eq!(soon(untyped.headers_after("s", at(2), 10)).await.unwrap().headers.len(), 1);
    assert_refused!(soon(untyped.head("absent")).await, ErrorKind::UnknownSession { .. });
    assert_refused!(soon(untyped.headers_after("s", at(9), 1)).await, ErrorKind::BeyondHead { .. });
    let of_another_history: LogPosition = "1-0000000000000000".parse().unwrap();
    assert_refused!(soon(untyped.headers_after("s", of_another_history, 1)).await, ErrorKind::OtherHistory { .. });
    assert_refused!(soon(untyped.get_bytes(dangling().digest)).await, ErrorKind::UnknownBlob { .. });
    soon(untyped.close()).await.unwrap();
    assert_refused!(soon(untyped.head("s")).await, ErrorKind::StoreClosed);
    soon(store.close()).await.unwrap();
}

async fn the_headers_of_a_page_go_on_where_the_page_before_ended(config: StoreConfig) {
    let store = open(&config).await;
    let session = soon(store.open_session("s")).await.unwrap();
    for n in 0..20 {
        append(&session, TallyBody::Added(n)).await.unwrap();
    }
    let untyped = soon(UntypedStore::open(config)).await.unwrap();
    let mut ids = Vec::new();
    let mut after = LogPosition::from(EventId::ZERO);
    loop {
        let page = soon(untyped.headers_after("s", after, 7)).await.unwrap();
        assert!(page.headers.len() <= 7);
        ids.extend(page.headers.iter().map(|header| header.id.get()));
        let Some(last) = page.headers.last().filter(|_| page.more) else { break };
        after = last.position;
    }
    assert_eq!(ids, (1..=20).collect::<Vec<_>>());
    soon(untyped.close()).await.unwrap();
    soon(store.close()).await.unwrap();
}

#[actix::test]
async fn where_there_is_no_store_none_is_opened_without_a_model_either() {
    let directory = tempfile::tempdir().unwrap();
    for config in [StoreConfig::directory(directory.path()), StoreConfig::memory()] {
        assert_refused!(soon(UntypedStore::open(config)).await, ErrorKind::NoStore { .. });
    }
    assert_eq!(files_below(directory.path()), Vec::<std::path::PathBuf>::new());
}
