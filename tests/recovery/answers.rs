//! Goal: what is durable is acknowledged, whatever panics between the commit and its answer. Method: a view and a waker that panic.

use std::sync::Arc;

use foldlog::{Event, EventId, SessionModel, Store, StoreConfig, SubscribeFrom};
use futures::StreamExt;

use crate::live_ids;
use crate::support::{ProbeBody, all_events, append, ids, on_both, open, usable, within};

on_both! {
    an_append_whose_subscriber_panics_when_it_is_woken_is_answered_as_the_log_has_it,
}

/// A model whose view panics once when it is cloned after a body that says so.
#[derive(Debug)]
struct Brittle;

#[derive(Debug, Default, PartialEq)]
struct BrittleView(u64);

static BREAKS: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

impl Clone for BrittleView {
    fn clone(&self) -> Self {
        assert!(!BREAKS.swap(false, std::sync::atomic::Ordering::SeqCst), "on purpose: this view breaks");
        Self(self.0)
    }
}

impl SessionModel for Brittle {
    const NAME: &'static str = "brittle";
    const SCHEMA: u16 = 1;
    type Body = u64;
    type View = BrittleView;
    type Counters = ();
    type Transient = ();

    fn event_type(_: &u64) -> &'static str {
        "number"
    }

    fn apply(view: &mut BrittleView, event: &Event<Self>) {
        view.0 += event.body();
    }

    fn decode(_: &str, _: u16, bytes: &[u8]) -> Result<u64, foldlog::DecodeError> {
        foldlog::decode_body(bytes)
    }
}

#[actix::test]
async fn an_append_whose_view_panics_in_its_clone_is_answered_as_the_log_has_it() {
    let directory = tempfile::tempdir().unwrap();
    for config in [StoreConfig::memory(), StoreConfig::directory(directory.path())] {
        let store = within(Store::<Brittle>::open_model(config)).await.unwrap();
        let session = within(store.open_session("s")).await.unwrap();
        append(&session, 1).await.unwrap();
        BREAKS.store(true, std::sync::atomic::Ordering::SeqCst);
        let answer = append(&session, 10).await;
        assert!(!BREAKS.load(std::sync::atomic::Ordering::SeqCst), "it broke");
        assert_eq!(answer.unwrap().head, EventId::new(2), "it is durable");
        within(session.recovery()).await.unwrap();
        assert_eq!(all_events(&session).await.len(), 2);
        assert_eq!((session.view().unwrap().head(), session.view().unwrap().0), (EventId::new(2), 11));
        assert_eq!(append(&session, 100).await.unwrap().head, EventId::new(3));
        within(store.close()).await.unwrap();
    }
}

async fn an_append_whose_subscriber_panics_when_it_is_woken_is_answered_as_the_log_has_it(config: StoreConfig) {
    struct Panics;
    impl std::task::Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("on purpose: this waker panics");
        }
    }
    let store = open(&config).await;
    let session = within(store.open_session("s")).await.unwrap();
    let mut stream = within(session.subscribe(SubscribeFrom::Now)).await.unwrap();
    let waker = std::task::Waker::from(Arc::new(Panics));
    assert!(stream.poll_next_unpin(&mut std::task::Context::from_waker(&waker)).is_pending());
    assert_eq!(ids(&append(&session, ProbeBody::Added(1)).await.unwrap()), [1], "it is durable");
    within(session.recovery()).await.unwrap();
    assert_eq!(all_events(&session).await.len(), 1);
    assert_eq!(live_ids(stream, 1).await, [1]);
    usable(&store, "s").await;
    within(store.close()).await.unwrap();
}
