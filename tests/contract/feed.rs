//! Goal: a feed tells each event of all sessions once, in order, whoever writes and whatever is deleted, redacted or
//! damaged meanwhile; it goes on from every position; and it ends with the reason. Method: small pages beside writers,
//! two stores on one medium, and what the feed tells held against what was appended.

mod cursors;
mod positions;
mod taken_away;

use std::collections::BTreeMap;
use std::fmt::Debug;

use actix::prelude::*;
use foldlog::{
    Error, ErrorKind, Feed, FeedDelivery, FeedItem, FeedPosition, LogEvent, NextStep, Restart, Session, Store,
    StoreConfig, UntypedStore,
};
use futures::StreamExt;
use futures::channel::mpsc::{UnboundedSender, unbounded};

use crate::common::tally::OldTally;
use crate::common::*;

on_both_media!(
    a_feed_tells_each_event_once_in_the_order_of_the_commits_and_goes_on_live,
    each_event_comes_once_while_sessions_write_and_pages_are_read,
    what_another_store_commits_comes_live,
    a_feed_that_begins_now_tells_what_comes_later,
    a_feed_tells_how_far_it_is_behind,
    a_closed_store_ends_its_feeds_with_the_reason,
    a_feed_survives_a_restart_of_the_persist_actor,
    an_event_that_this_build_does_not_know_is_told_as_such_and_the_feed_goes_on,
    a_read_only_store_and_one_of_no_model_follow_those_that_write,
    an_actor_gets_the_feed_one_item_at_a_time,
    an_actor_that_is_cancelled_gets_no_more,
);

/// Pages so small that everything takes several.
pub(super) async fn paged(disk: &TestDisk) -> Store<Tally> {
    disk.try_open_model(|config| config.page_events_max = 3).await.unwrap()
}

pub(super) async fn add(session: &Session<Tally>, n: u64) {
    append(session, TallyBody::Added(n)).await.unwrap();
}

/// An item as a test writes it: `s 3`, `deleted`, `caught up`, `unreadable s 3`.
pub(super) fn short<E: HasId>(item: &FeedItem<E>) -> String {
    match item {
        FeedItem::Event(event) => format!("{} {}", event.session, event.event.event_id()),
        FeedItem::Unreadable(event) => {
            let session = event.session.as_ref().map_or("nobody".to_owned(), ToString::to_string);
            format!("unreadable {session} {}", event.event.map_or(0, |event| event.get()))
        }
        FeedItem::Deleted(_) => "deleted".to_owned(),
        FeedItem::CaughtUp(_) => "caught up".to_owned(),
        FeedItem::Ended => "ended".to_owned(),
        FeedItem::Failed(error) => format!("failed: {error}"),
        _ => panic!("an item of an unknown kind"),
    }
}

impl HasId for foldlog::EventHeader {
    fn event_id(&self) -> foldlog::EventId {
        self.id
    }
}

pub(super) async fn next<E: Send + Debug + 'static>(feed: &mut Feed<E>) -> FeedItem<E> {
    soon(feed.next()).await.expect("the feed goes on")
}

/// So many items, in short.
pub(super) async fn take<E: Send + Debug + HasId + 'static>(feed: &mut Feed<E>, count: usize) -> Vec<String> {
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.push(short(&next(feed).await));
    }
    taken
}

/// So many items but for those that say that everything is told.
pub(super) async fn told<E: Send + Debug + 'static>(feed: &mut Feed<E>, count: usize) -> Vec<FeedItem<E>> {
    let mut items = Vec::new();
    while items.len() < count {
        items.extend(Some(next(feed).await).filter(|item| !matches!(item, FeedItem::CaughtUp(_))));
    }
    items
}

/// All items until everything is told.
pub(super) async fn until_caught_up<E: Send + Debug + 'static>(feed: &mut Feed<E>) -> Vec<FeedItem<E>> {
    let mut items = Vec::new();
    loop {
        match next(feed).await {
            FeedItem::CaughtUp(_) => return items,
            item => items.push(item),
        }
    }
}

pub(super) fn shorts<E: HasId>(items: &[FeedItem<E>]) -> Vec<String> {
    items.iter().map(short).collect()
}

async fn a_feed_tells_each_event_once_in_the_order_of_the_commits_and_goes_on_live(disk: TestDisk) {
    let store = paged(&disk).await;
    let (one, two) = (store.open_session("one").await.unwrap(), store.open_session("two").await.unwrap());
    for n in 1..=4 {
        add(&one, n).await;
        add(&two, n).await;
    }
    let mut feed = soon(store.feed(FeedPosition::START)).await.unwrap();
    let told = until_caught_up(&mut feed).await;
    let wanted: Vec<_> = (1..=4).flat_map(|n| [format!("one {n}"), format!("two {n}")]).collect();
    assert_eq!(shorts(&told), wanted);
    let mut histories = BTreeMap::new();
    for item in &told {
        let FeedItem::Event(event) = item else { panic!("{item:?}") };
        assert_eq!(histories.entry(event.session.clone()).or_insert(event.history), &event.history);
        let TallyBody::Added(n) = event.event.body().unwrap() else { panic!("{event:?}") };
        assert_eq!(*n, event.event.id().get());
    }
    assert_ne!(histories[one.id()], histories[two.id()]);
    assert!(futures::poll!(feed.next()).is_pending(), "it is told once that everything is told");
    add(&two, 5).await;
    assert_eq!(take(&mut feed, 1).await, ["two 5"]);
    one.describe(foldlog::Describe::new().title("a title")).unwrap().await.unwrap();
    let FeedItem::Event(event) = next(&mut feed).await else { panic!("an event") };
    assert_eq!((event.session.as_str(), event.event.event_type()), ("one", "foldlog.described"));
    assert_eq!(feed.position(), event.position);
    soon(store.close()).await.unwrap();
}

async fn each_event_comes_once_while_sessions_write_and_pages_are_read(disk: TestDisk) {
    const SESSIONS: u64 = 8;
    const EVENTS: u64 = 150;
    let store = disk.try_open_model::<Tally>(|config| config.page_events_max = 16).await.unwrap();
    let write = async |n: u64| {
        let session = store.open_session(format!("s{n}")).await.unwrap();
        for round in 0..EVENTS / 5 {
            let receipts: Vec<_> = (1..=5).map(|n| session.append(TallyBody::Added(5 * round + n)).unwrap()).collect();
            for receipt in receipts {
                soon(receipt).await.unwrap();
            }
        }
    };
    let read = async |mut feed: Feed<LogEvent<Tally>>| {
        let mut heads: BTreeMap<String, u64> = BTreeMap::new();
        let mut count = 0;
        while count < SESSIONS * EVENTS {
            match next(&mut feed).await {
                FeedItem::Event(event) => {
                    let head = heads.entry(event.session.to_string()).or_default();
                    *head += 1;
                    assert_eq!(event.event.id().get(), *head, "of {}", event.session);
                    count += 1;
                }
                FeedItem::CaughtUp(_) => {}
                item => panic!("{item:?}"),
            }
        }
        assert_eq!(heads.len() as u64, SESSIONS);
    };
    let writers = futures::future::join_all((0..SESSIONS).map(write));
    let open = async |from: FeedPosition| soon(store.feed(from)).await.unwrap();
    let (from_start, from_now) = (open(FeedPosition::START).await, open(FeedPosition::NOW).await);
    futures::join!(writers, read(from_start), read(from_now));
    read(open(FeedPosition::START).await).await;
    soon(store.close()).await.unwrap();
}

async fn what_another_store_commits_comes_live(disk: TestDisk) {
    let (reader, writer) = (paged(&disk).await, paged(&disk).await);
    let mut feed = soon(reader.feed(FeedPosition::START)).await.unwrap();
    assert_eq!(take(&mut feed, 1).await, ["caught up"]);
    let session = writer.open_session("s").await.unwrap();
    for n in 1..=5 {
        add(&session, n).await;
        assert_eq!(take(&mut feed, 1).await, [format!("s {n}")]);
    }
    let mine = reader.open_session("mine").await.unwrap();
    add(&mine, 1).await;
    assert_eq!(take(&mut feed, 1).await, ["mine 1"]);
    soon(writer.close()).await.unwrap();
    add(&mine, 2).await;
    assert_eq!(take(&mut feed, 1).await, ["mine 2"]);
    soon(reader.close()).await.unwrap();
}

async fn a_feed_that_begins_now_tells_what_comes_later(disk: TestDisk) {
    let store = paged(&disk).await;
    for is_empty in [true, false] {
        let mut feed = soon(store.feed(FeedPosition::NOW)).await.unwrap();
        let begun = feed.position();
        assert_eq!(take(&mut feed, 1).await, ["caught up"]);
        let session = store.open_session("s").await.unwrap();
        let first = session.view().unwrap().head().next();
        assert_eq!(first.get() == 1, is_empty);
        add(&session, 1).await;
        assert_eq!(take(&mut feed, 1).await, [format!("s {first}")]);
        let mut again = soon(store.feed(begun)).await.unwrap();
        assert_eq!(take(&mut again, 2).await, [format!("s {first}"), "caught up".to_owned()]);
    }
    soon(store.close()).await.unwrap();
}

async fn a_feed_tells_how_far_it_is_behind(disk: TestDisk) {
    let store = paged(&disk).await;
    let mut feed = soon(store.feed(FeedPosition::START)).await.unwrap();
    assert_eq!(take(&mut feed, 1).await, ["caught up"]);
    let session = store.open_session("s").await.unwrap();
    for n in 1..=10 {
        add(&session, n).await;
    }
    assert_eq!(soon(feed.behind()).await.unwrap(), 10);
    take(&mut feed, 4).await;
    assert_eq!(soon(feed.behind()).await.unwrap(), 6);
    assert_eq!(take(&mut feed, 7).await.last().unwrap(), "caught up", "again, since it was behind by more than a page");
    assert_eq!(soon(feed.behind()).await.unwrap(), 0);
    soon(store.close()).await.unwrap();
}

async fn a_closed_store_ends_its_feeds_with_the_reason(disk: TestDisk) {
    let store = paged(&disk).await;
    let session = store.open_session("s").await.unwrap();
    for n in 1..=2 {
        add(&session, n).await;
    }
    let mut idle = soon(store.feed(FeedPosition::NOW)).await.unwrap();
    assert_eq!(take(&mut idle, 1).await, ["caught up"]);
    let mut waiting = soon(store.feed(FeedPosition::START)).await.unwrap();
    assert_eq!(take(&mut waiting, 1).await, ["s 1"]);
    let is_closed = |error: &Error| matches!(error.kind(), ErrorKind::StoreClosed);
    let ((), closed) = futures::join!(
        async {
            let FeedItem::Failed(error) = next(&mut idle).await else { panic!("it fails") };
            assert!(is_closed(&error) && error.next_step() == NextStep::OpenAgain, "{error:?}");
            assert!(soon(idle.next()).await.is_none());
        },
        soon(store.close()),
    );
    closed.unwrap();
    let mut left = Vec::new();
    while let Some(item) = soon(waiting.next()).await {
        left.push(short(&item));
    }
    assert!(left.last().unwrap().starts_with("failed: "), "{left:?}");
    assert_refused!(store.feed(FeedPosition::START).await, ErrorKind::StoreClosed);
    // Nor does a feed keep a store open that nobody else has.
    let store = paged(&disk).await;
    let mut feed = soon(store.feed(waiting.position())).await.unwrap();
    let rest = until_caught_up(&mut feed).await;
    let told = left.iter().filter(|item| item.starts_with("s ")).count();
    assert_eq!(told + rest.len(), 1, "{left:?}, then {rest:?}");
    drop(store);
    assert!(matches!(next(&mut feed).await, FeedItem::Failed(error) if is_closed(&error)));
}

async fn a_feed_survives_a_restart_of_the_persist_actor(disk: TestDisk) {
    let store = paged(&disk).await;
    let session = store.open_session("s").await.unwrap();
    let mut feed = soon(store.feed(FeedPosition::START)).await.unwrap();
    for n in 1..=5 {
        soon(store.persist_address().send(Restart)).await.unwrap();
        add(&session, n).await;
    }
    assert_eq!(shorts(&told(&mut feed, 5).await), (1..=5).map(|n| format!("s {n}")).collect::<Vec<_>>());
    soon(store.close()).await.unwrap();
}

async fn an_event_that_this_build_does_not_know_is_told_as_such_and_the_feed_goes_on(disk: TestDisk) {
    let store = paged(&disk).await;
    let session = store.open_session("s").await.unwrap();
    add(&session, 1).await;
    append(&session, TallyBody::named("later")).await.unwrap();
    add(&session, 3).await;
    soon(store.close()).await.unwrap();
    let store = disk.open_model::<OldTally>().await;
    let mut feed = soon(store.feed(FeedPosition::START)).await.unwrap();
    let told = until_caught_up(&mut feed).await;
    assert_eq!(shorts(&told), ["s 1", "unreadable s 2", "s 3"]);
    let FeedItem::Unreadable(event) = &told[1] else { panic!("{:?}", told[1]) };
    assert!(matches!(event.error.kind(), ErrorKind::NewerRecord { .. }), "{:?}", event.error);
    let mut behind = soon(store.feed(event.position)).await.unwrap();
    assert_eq!(shorts(&until_caught_up(&mut behind).await), ["s 3"]);
    soon(store.close()).await.unwrap();
}

async fn a_read_only_store_and_one_of_no_model_follow_those_that_write(config: StoreConfig) {
    let store = open(&config).await;
    let session = store.open_session("s").await.unwrap();
    add(&session, 1).await;
    let reader = soon(Store::<Tally>::open_model_read_only(config.clone())).await.unwrap();
    let untyped = soon(UntypedStore::open(config.clone())).await.unwrap();
    let mut typed = soon(reader.feed(FeedPosition::START)).await.unwrap();
    let mut headers = soon(untyped.feed(FeedPosition::START)).await.unwrap();
    assert_eq!(take(&mut typed, 2).await, ["s 1", "caught up"]);
    let FeedItem::Event(event) = next(&mut headers).await else { panic!("an event") };
    assert_eq!((event.session.as_str(), event.event.event_type.as_str()), ("s", "added"));
    assert_eq!(take(&mut headers, 1).await, ["caught up"]);
    for n in 2..=4 {
        add(&session, n).await;
        assert_eq!(take(&mut typed, 1).await, [format!("s {n}")]);
        assert_eq!(take(&mut headers, 1).await, [format!("s {n}")]);
    }
    // Stores come and go, and the readers stay.
    soon(store.close()).await.unwrap();
    let store = open(&config).await;
    add(&store.resume_session("s").await.unwrap(), 5).await;
    assert_eq!(take(&mut typed, 1).await, ["s 5"]);
    assert_eq!(take(&mut headers, 1).await, ["s 5"]);
    soon(store.delete_session("s")).await.unwrap();
    assert_eq!(take(&mut typed, 1).await, ["deleted"]);
    assert_eq!(take(&mut headers, 1).await, ["deleted"]);
    soon(reader.close()).await.unwrap();
    assert!(take(&mut typed, 1).await[0].starts_with("failed: "));
    assert!(soon(typed.next()).await.is_none());
    soon(untyped.close()).await.unwrap();
    soon(store.close()).await.unwrap();
}

/// An actor that reports each item, and is given a new one only after the test has taken that report.
struct Reporting(UnboundedSender<String>);

impl Actor for Reporting {
    type Context = Context<Self>;
}

impl Handler<FeedDelivery<LogEvent<Tally>>> for Reporting {
    type Result = ();

    fn handle(&mut self, delivery: FeedDelivery<LogEvent<Tally>>, _: &mut Context<Self>) {
        // The test may have seen enough.
        let _ = self.0.unbounded_send(short(delivery.item()));
    }
}

async fn an_actor_gets_the_feed_one_item_at_a_time(disk: TestDisk) {
    let store = paged(&disk).await;
    let session = store.open_session("s").await.unwrap();
    for n in 1..=10 {
        add(&session, n).await;
    }
    let (sender, mut told) = unbounded();
    let recipient = Reporting(sender).start().recipient();
    soon(store.feed_actor(FeedPosition::START, recipient)).await.unwrap();
    for n in 1..=10 {
        assert_eq!(soon(told.next()).await.unwrap(), format!("s {n}"));
    }
    assert_eq!(soon(told.next()).await.unwrap(), "caught up");
    add(&session, 11).await;
    assert_eq!(soon(told.next()).await.unwrap(), "s 11");
    soon(store.close()).await.unwrap();
    assert!(soon(told.next()).await.unwrap().starts_with("failed: "));
    assert_eq!(soon(told.next()).await.unwrap(), "ended");
    assert_eq!(soon(told.next()).await, None, "nobody holds the actor any more");
}

async fn an_actor_that_is_cancelled_gets_no_more(disk: TestDisk) {
    let store = paged(&disk).await;
    let session = store.open_session("s").await.unwrap();
    let (sender, mut told) = unbounded();
    let recipient = Reporting(sender).start().recipient();
    let feed = soon(store.feed_actor(FeedPosition::START, recipient)).await.unwrap();
    assert_eq!(soon(told.next()).await.unwrap(), "caught up");
    feed.cancel();
    add(&session, 1).await;
    assert_eq!(soon(told.next()).await, None, "the actor has ended, since nobody holds its address");
    feed.cancel();
    soon(store.close()).await.unwrap();
}
