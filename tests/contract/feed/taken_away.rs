//! What is deleted or redacted while a feed is behind.

use foldlog::agent::Agent;
use foldlog::{FeedItem, FeedPosition, HistoryId, LogEvent, Redact};

use super::{add, next, paged, short, shorts, take, told, until_caught_up};
use crate::common::*;

on_both_media!(
    the_deletion_of_a_session_comes_before_the_events_of_a_new_one_of_its_name,
    nothing_of_a_deleted_session_comes_after_it_was_deleted_here,
    another_stores_deletions_are_told,
    many_deletions_are_told_by_pages,
    deletions_of_before_the_start_are_not_told,
    a_redacted_event_is_told_as_it_is_now_and_the_redaction_too,
    what_was_read_before_a_redaction_is_read_again,
);

/// The histories of the events of a session, in their order.
fn histories<M: foldlog::SessionModel>(items: &[FeedItem<LogEvent<M>>]) -> Vec<HistoryId> {
    let mut found: Vec<HistoryId> = Vec::new();
    for item in items {
        if let FeedItem::Event(event) = item
            && found.last() != Some(&event.history)
        {
            found.push(event.history);
        }
    }
    found
}

async fn the_deletion_of_a_session_comes_before_the_events_of_a_new_one_of_its_name(disk: TestDisk) {
    let store = paged(&disk).await;
    let session = store.open_session("s").await.unwrap();
    for n in 1..=5 {
        add(&session, n).await;
    }
    let mut feed = soon(store.feed(FeedPosition::START)).await.unwrap();
    let mut items = vec![next(&mut feed).await];
    for _ in 0..3 {
        soon(store.delete_session("s")).await.unwrap();
        let session = store.open_session("s").await.unwrap();
        add(&session, 1).await;
        add(&session, 2).await;
    }
    assert!(soon(store.erase_deleted()).await.unwrap().is_complete());
    items.extend(told(&mut feed, 5).await);
    // Of those in between the feed tells that they are gone, and nothing else.
    assert_eq!(shorts(&items), ["s 1", "deleted", "deleted", "deleted", "s 1", "s 2"]);
    let FeedItem::Deleted(first) = &items[1] else { panic!("{:?}", items[1]) };
    let histories = histories(&items);
    assert_eq!((histories.len(), histories[0]), (2, first.history));
    soon(store.close()).await.unwrap();
}

async fn nothing_of_a_deleted_session_comes_after_it_was_deleted_here(disk: TestDisk) {
    let store = disk.open_model::<Tally>().await;
    let (session, other) = (store.open_session("s").await.unwrap(), store.open_session("other").await.unwrap());
    for n in 1..=5 {
        add(&session, n).await;
        add(&other, n).await;
    }
    let mut feed = soon(store.feed(FeedPosition::START)).await.unwrap();
    // The page that has this has the rest, too.
    assert_eq!(take(&mut feed, 2).await, ["s 1", "other 1"]);
    soon(store.delete_session("s")).await.unwrap();
    let left = until_caught_up(&mut feed).await;
    assert_eq!(shorts(&left), ["deleted", "other 2", "other 3", "other 4", "other 5"]);
    soon(store.close()).await.unwrap();
}

async fn another_stores_deletions_are_told(disk: TestDisk) {
    let (reader, writer) = (paged(&disk).await, paged(&disk).await);
    let session = writer.open_session("s").await.unwrap();
    add(&session, 1).await;
    let mut feed = soon(reader.feed(FeedPosition::START)).await.unwrap();
    assert_eq!(shorts(&until_caught_up(&mut feed).await), ["s 1"]);
    soon(writer.delete_session("s")).await.unwrap();
    let deleted = next(&mut feed).await;
    assert_eq!(short(&deleted), "deleted");
    add(&writer.open_session("s").await.unwrap(), 1).await;
    assert_eq!(take(&mut feed, 1).await, ["s 1"]);
    // Once told, it is behind the position.
    let mut again = soon(reader.feed(deleted.position().unwrap())).await.unwrap();
    assert_eq!(shorts(&until_caught_up(&mut again).await), ["s 1"]);
    soon(writer.close()).await.unwrap();
    soon(reader.close()).await.unwrap();
}

async fn many_deletions_are_told_by_pages(disk: TestDisk) {
    let store = paged(&disk).await;
    for n in 0..10 {
        add(&store.open_session(format!("s{n}")).await.unwrap(), 1).await;
    }
    let from = soon(store.feed(FeedPosition::NOW)).await.unwrap().position();
    for n in 0..10 {
        soon(store.delete_session(format!("s{n}"))).await.unwrap();
    }
    add(&store.open_session("s0").await.unwrap(), 1).await;
    let mut feed = soon(store.feed(from)).await.unwrap();
    let told = until_caught_up(&mut feed).await;
    assert_eq!(shorts(&told)[..10], ["deleted"; 10]);
    assert_eq!(shorts(&told)[10..], ["s0 1"]);
    for (n, item) in told.iter().enumerate() {
        let mut rest = soon(store.feed(item.position().unwrap())).await.unwrap();
        assert_eq!(shorts(&until_caught_up(&mut rest).await), shorts(&told)[n + 1..]);
    }
    soon(store.close()).await.unwrap();
}

async fn deletions_of_before_the_start_are_not_told(disk: TestDisk) {
    let store = paged(&disk).await;
    add(&store.open_session("gone").await.unwrap(), 1).await;
    add(&store.open_session("s").await.unwrap(), 1).await;
    soon(store.delete_session("gone")).await.unwrap();
    for erased in [false, true] {
        let mut feed = soon(store.feed(FeedPosition::START)).await.unwrap();
        assert_eq!(shorts(&until_caught_up(&mut feed).await), ["s 1"], "{erased}");
        assert!(soon(store.erase_deleted()).await.unwrap().is_complete());
    }
    soon(store.close()).await.unwrap();
}

const SECRET: &str = "sk-4711-do-not-tell";

async fn a_redacted_event_is_told_as_it_is_now_and_the_redaction_too(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    append(&session, user(SECRET)).await.unwrap();
    soon(session.redact(Redact::<Agent>::new([at(1)]).reason("a key"))).await.unwrap();
    append(&session, user("goes on")).await.unwrap();
    let mut feed = soon(store.feed(FeedPosition::START)).await.unwrap();
    let told = until_caught_up(&mut feed).await;
    assert_eq!(shorts(&told), ["s 1", "s 2", "s 3"]);
    assert!(!format!("{told:?}").contains(SECRET));
    let FeedItem::Event(event) = &told[1] else { panic!("{:?}", told[1]) };
    assert_eq!(event.event.event_type(), "foldlog.redacted");
    soon(store.close()).await.unwrap();
}

async fn what_was_read_before_a_redaction_is_read_again(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    append(&session, user("first")).await.unwrap();
    append(&session, user(SECRET)).await.unwrap();
    let mut feed = soon(store.feed(FeedPosition::START)).await.unwrap();
    // The page that has this has the secret, too.
    assert_eq!(take(&mut feed, 1).await, ["s 1"]);
    soon(session.redact(Redact::<Agent>::new([at(2)]).reason("a key"))).await.unwrap();
    let left = until_caught_up(&mut feed).await;
    assert_eq!(shorts(&left), ["s 2", "s 3"]);
    assert!(!format!("{left:?}").contains(SECRET), "{left:?}");
    soon(store.close()).await.unwrap();
}
