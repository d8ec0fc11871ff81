//! Goal: what is durable is acknowledged, whatever panics between the commit and its answer. Method: a view and a waker that panic.

use std::sync::Arc;

use foldlog::{StoreConfig, SubscribeFrom};
use futures::StreamExt;

use crate::common::tally::{Place, Switch};
use crate::common::*;
use crate::live_ids;

on_both_media! {
    an_append_whose_view_panics_in_its_clone_is_answered_as_the_log_has_it,
    an_append_whose_subscriber_panics_when_it_is_woken_is_answered_as_the_log_has_it,
}

async fn an_append_whose_view_panics_in_its_clone_is_answered_as_the_log_has_it(config: StoreConfig) {
    let store = open(&config).await;
    let session = soon(store.open_session("s")).await.unwrap();
    let breaks = Switch::off();
    append(&session, breaks.trap(Place::CloneOnce)).await.unwrap();
    breaks.turn_on();
    let answer = append(&session, TallyBody::Added(10)).await;
    assert!(!breaks.is_on(), "it broke");
    assert_eq!(answer.unwrap().head, at(2), "it is durable");
    soon(session.recovery()).await.unwrap();
    assert_eq!(whole_log(&session).await.len(), 2);
    assert_eq!((session.view().unwrap().head(), session.view().unwrap().sum), (at(2), 10));
    assert_eq!(append(&session, TallyBody::Added(100)).await.unwrap().head, at(3));
    soon(store.close()).await.unwrap();
}

async fn an_append_whose_subscriber_panics_when_it_is_woken_is_answered_as_the_log_has_it(config: StoreConfig) {
    struct Panics;
    impl std::task::Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("on purpose: this waker panics");
        }
    }
    let store = open(&config).await;
    let session = soon(store.open_session("s")).await.unwrap();
    let mut stream = soon(session.subscribe(SubscribeFrom::Now)).await.unwrap();
    let waker = std::task::Waker::from(Arc::new(Panics));
    assert!(stream.poll_next_unpin(&mut std::task::Context::from_waker(&waker)).is_pending());
    assert_eq!(ids_of(&append(&session, TallyBody::Added(1)).await.unwrap()), [1], "it is durable");
    soon(session.recovery()).await.unwrap();
    assert_eq!(whole_log(&session).await.len(), 1);
    assert_eq!(live_ids(stream, 1).await, [1]);
    usable(&store, "s").await;
    soon(store.close()).await.unwrap();
}
