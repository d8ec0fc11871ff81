//! A feed goes on from every position that it has given, and from no position of another store.

use foldlog::{ErrorKind, FeedItem, FeedPosition, Store, StoreConfig};

use super::{add, paged, shorts, until_caught_up};
use crate::common::*;

on_both_media!(a_feed_goes_on_from_every_position_that_it_has_given, a_position_of_another_store_is_refused);

async fn a_feed_goes_on_from_every_position_that_it_has_given(disk: TestDisk) {
    let store = paged(&disk).await;
    for name in ["a", "b", "c"] {
        let session = store.open_session(name).await.unwrap();
        for n in 1..=4 {
            add(&session, n).await;
        }
    }
    let mut feed = soon(store.feed(FeedPosition::START)).await.unwrap();
    let mut told = until_caught_up(&mut feed).await;
    soon(store.delete_session("b")).await.unwrap();
    add(&store.open_session("b").await.unwrap(), 1).await;
    told.extend(super::told(&mut feed, 2).await);
    assert_eq!(shorts(&told)[12..], ["deleted", "b 1"]);
    for erased in [false, true] {
        for (n, item) in told.iter().enumerate() {
            // By its text, as a host keeps it.
            let position: FeedPosition = item.position().unwrap().to_string().parse().unwrap();
            let mut feed = soon(store.feed(position)).await.unwrap();
            assert_eq!(feed.position(), position);
            let rest = until_caught_up(&mut feed).await;
            // What was told of the deleted session before is not told again.
            let mut wanted: Vec<_> = told[n + 1..].to_vec();
            let is_gone = |item: &FeedItem<_>| matches!(item, FeedItem::Event(event) if event.history == gone(&told));
            wanted.retain(|item| !is_gone(item));
            // A deletion comes as soon as it can.
            wanted.sort_by_key(|item| !matches!(item, FeedItem::Deleted(_)));
            assert_eq!(shorts(&rest), shorts(&wanted), "from {n}, erased: {erased}");
        }
        assert!(soon(store.erase_deleted()).await.unwrap().is_complete());
    }
    soon(store.close()).await.unwrap();
}

fn gone<E>(told: &[FeedItem<E>]) -> foldlog::HistoryId {
    let deleted = told.iter().find_map(|item| match item {
        FeedItem::Deleted(deleted) => Some(deleted.history),
        _ => None,
    });
    deleted.unwrap()
}

async fn a_position_of_another_store_is_refused(disk: TestDisk) {
    let other = TestDisk::memory();
    let (store, stranger) = (paged(&disk).await, paged(&other).await);
    for store in [&store, &stranger] {
        add(&store.open_session("s").await.unwrap(), 1).await;
    }
    let position = soon(stranger.feed(FeedPosition::NOW)).await.unwrap().position();
    let refused = soon(store.feed(position)).await.unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::OtherFeed { .. }), "{refused:?}");
    let text = refused.to_string();
    assert!(text.contains(&position.to_string()) && text.contains("begin again at its start"), "{text}");
    soon(store.close()).await.unwrap();
    soon(stranger.close()).await.unwrap();
}

/// The files of a store, put aside and put back.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    drop(std::fs::remove_dir_all(to));
    for path in files_below(from) {
        let name = to.join(path.strip_prefix(from).unwrap());
        std::fs::create_dir_all(name.parent().unwrap()).unwrap();
        std::fs::copy(&path, name).unwrap();
    }
}

#[actix::test]
async fn a_position_of_before_an_older_copy_was_put_back_is_refused() {
    let disk = TestDisk::directory();
    let (path, aside) = (disk.path().unwrap(), tempfile::tempdir().unwrap());
    let store = paged(&disk).await;
    add(&store.open_session("s").await.unwrap(), 1).await;
    soon(store.close()).await.unwrap();
    copy(&path, &aside.path().join("copy"));
    let store = paged(&disk).await;
    let session = store.open_session("s").await.unwrap();
    add(&session, 2).await;
    add(&session, 3).await;
    let mut feed = soon(store.feed(FeedPosition::START)).await.unwrap();
    let positions: Vec<_> = until_caught_up(&mut feed).await.iter().map(|item| item.position().unwrap()).collect();
    soon(store.close()).await.unwrap();
    copy(&aside.path().join("copy"), &path);
    let store = paged(&disk).await;
    let same = soon(store.feed(positions[0])).await;
    assert!(same.is_ok(), "that event is still the same: {same:?}");
    for position in &positions[1..] {
        assert_refused!(soon(store.feed(*position)).await, ErrorKind::OtherFeed { .. });
    }
    let session = store.open_session("s").await.unwrap();
    for n in [20, 30, 40] {
        add(&session, n).await;
    }
    for position in &positions[1..] {
        let refused = soon(store.feed(*position)).await.unwrap_err();
        assert!(refused.to_string().contains("the event there is another one"), "{refused}");
    }
    soon(store.close()).await.unwrap();
}

#[actix::test]
async fn restored_and_repaired_stores_have_feeds_of_their_own() {
    let (disk, aside) = (TestDisk::directory(), tempfile::tempdir().unwrap());
    let [backup, restored, repaired] = ["backup", "restored", "repaired"].map(|name| aside.path().join(name));
    let store = paged(&disk).await;
    let session = store.open_session("s").await.unwrap();
    add(&session, 1).await;
    add(&store.open_session("gone").await.unwrap(), 1).await;
    soon(store.delete_session("gone")).await.unwrap();
    add(&session, 2).await;
    let position = soon(store.feed(FeedPosition::NOW)).await.unwrap().position();
    soon(store.backup(&backup)).await.unwrap();
    soon(store.close()).await.unwrap();
    soon(Store::<Tally>::restore_model(&backup, &restored)).await.unwrap();
    Store::<Tally>::repair_model(disk.path().unwrap(), &repaired).unwrap();
    for directory in [&restored, &repaired, &backup] {
        let store = open(&StoreConfig::directory(directory)).await;
        assert_refused!(soon(store.feed(position)).await, ErrorKind::OtherFeed { .. });
        let mut feed = soon(store.feed(FeedPosition::START)).await.unwrap();
        assert_eq!(shorts(&until_caught_up(&mut feed).await), ["s 1", "s 2"]);
        assert!(soon(store.verify()).await.unwrap().is_sound());
        soon(store.close()).await.unwrap();
    }
}

/// What is wrong with the event that is damaged by this change.
async fn damaged_by(change: &str) -> (Vec<String>, String) {
    let disk = TestDisk::directory();
    let store = paged(&disk).await;
    let session = store.open_session("s").await.unwrap();
    for n in 1..=5 {
        add(&session, n).await;
    }
    soon(store.close()).await.unwrap();
    let connection = rusqlite::Connection::open(disk.path().unwrap().join("events.db")).unwrap();
    assert_eq!(connection.execute(&format!("UPDATE events SET {change} WHERE position = 3"), []).unwrap(), 1);
    drop(connection);
    let store = paged(&disk).await;
    let mut feed = soon(store.feed(FeedPosition::START)).await.unwrap();
    let told = until_caught_up(&mut feed).await;
    let error = told.iter().find_map(|item| match item {
        FeedItem::Unreadable(event) => Some(event.error.to_string()),
        _ => None,
    });
    for (n, item) in told.iter().enumerate() {
        let mut rest = soon(store.feed(item.position().unwrap())).await.unwrap();
        assert_eq!(shorts(&until_caught_up(&mut rest).await), shorts(&told)[n + 1..], "{change}, behind {n}");
    }
    soon(store.close()).await.unwrap();
    (shorts(&told), error.unwrap_or_default())
}

#[actix::test]
async fn a_damaged_event_is_told_as_such_and_the_feed_goes_on_behind_it() {
    let _watchdog = watchdog();
    // One byte of the record: what follows is still under its chain.
    let (told, error) = damaged_by("record = CAST(substr(record, 1, length(record) - 1) || x'7f' AS BLOB)").await;
    assert_eq!(told, ["s 1", "s 2", "unreadable s 3", "s 4", "s 5"]);
    assert!(error.contains("event 3") && error.contains("chain"), "{error}");
    // The row itself: nothing of it can be relied on, so the next one cannot be checked.
    let (told, error) = damaged_by("chain = x'00'").await;
    assert_eq!(told, ["s 1", "s 2", "unreadable s 3", "unreadable s 4", "s 5"]);
    assert!(error.contains("event 3"), "{error}");
}
