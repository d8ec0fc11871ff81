//! A cursor is where its consumer has left it, in every store and after each restart, and of two consumers one is told.

use foldlog::testkit::{Fault, Faults, Port};
use foldlog::{ErrorKind, FeedPosition, Store};

use super::{add, next, paged};
use crate::common::*;

on_both_media!(
    a_cursor_stays_where_it_was_moved_to,
    of_two_consumers_that_move_one_cursor_one_is_told,
    cursors_are_listed_and_taken_away,
    a_cursor_is_moved_to_positions_of_the_feed_and_has_a_valid_name,
);

/// Positions of a feed, in their order.
async fn positions(store: &Store<Tally>, count: u64) -> Vec<FeedPosition> {
    let session = store.open_session("s").await.unwrap();
    let mut feed = soon(store.feed(FeedPosition::NOW)).await.unwrap();
    next(&mut feed).await;
    let mut positions = Vec::new();
    for n in 1..=count {
        add(&session, n).await;
        positions.push(next(&mut feed).await.position().unwrap());
    }
    positions
}

async fn a_cursor_stays_where_it_was_moved_to(disk: TestDisk) {
    let (store, other) = (paged(&disk).await, paged(&disk).await);
    let at = positions(&store, 2).await;
    let cursor = store.cursor("billing").unwrap();
    assert_eq!(soon(cursor.position()).await.unwrap(), FeedPosition::START);
    soon(cursor.move_to(FeedPosition::START, at[0])).await.unwrap();
    soon(cursor.move_to(at[0], at[1])).await.unwrap();
    // Whoever does not know whether that was written asks again.
    soon(cursor.move_to(at[0], at[1])).await.unwrap();
    assert_eq!(soon(other.cursor("billing").unwrap().position()).await.unwrap(), at[1]);
    assert_eq!(soon(store.cursor("another").unwrap().position()).await.unwrap(), FeedPosition::START);
    soon(store.close()).await.unwrap();
    assert_refused!(cursor.position().await, ErrorKind::StoreClosed);
    assert_refused!(cursor.move_to(at[1], at[0]).await, ErrorKind::StoreClosed);
    soon(other.close()).await.unwrap();
    let store = paged(&disk).await;
    assert_eq!(soon(store.cursor("billing").unwrap().position()).await.unwrap(), at[1]);
    soon(store.close()).await.unwrap();
}

async fn of_two_consumers_that_move_one_cursor_one_is_told(disk: TestDisk) {
    let (store, other) = (paged(&disk).await, paged(&disk).await);
    let at = positions(&store, 3).await;
    let (mine, theirs) = (store.cursor("c").unwrap(), other.cursor("c").unwrap());
    let (one, two) = futures::join!(
        soon(mine.move_to(FeedPosition::START, at[0])),
        soon(theirs.move_to(FeedPosition::START, at[1]))
    );
    let (won, lost) = if one.is_ok() { (at[0], two) } else { (at[1], one) };
    let refused = lost.unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::CursorMoved { .. }), "{refused:?}");
    assert!(refused.to_string().contains(&won.to_string()), "{refused}");
    assert_eq!(soon(theirs.position()).await.unwrap(), won);
    assert_refused!(soon(mine.move_to(FeedPosition::START, at[2])).await, ErrorKind::CursorMoved { .. });
    soon(mine.move_to(won, at[2])).await.unwrap();
    soon(other.close()).await.unwrap();
    soon(store.close()).await.unwrap();
}

async fn cursors_are_listed_and_taken_away(disk: TestDisk) {
    let store = paged(&disk).await;
    let at = positions(&store, 1).await[0];
    for name in ["c", "a", "b"] {
        soon(store.cursor(name).unwrap().move_to(FeedPosition::START, at)).await.unwrap();
    }
    let names = async |after: Option<&str>, max| -> Vec<String> {
        let listed = soon(store.list_cursors(after.map(str::to_owned), max)).await.unwrap();
        assert!(listed.iter().all(|(_, position)| *position == at));
        listed.into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!(names(None, 10).await, ["a", "b", "c"]);
    assert_eq!(names(Some("a"), 1).await, ["b"]);
    for _ in 0..2 {
        soon(store.cursor("b").unwrap().delete()).await.unwrap();
    }
    assert_eq!(names(None, 10).await, ["a", "c"]);
    assert_eq!(soon(store.cursor("b").unwrap().position()).await.unwrap(), FeedPosition::START);
    soon(store.close()).await.unwrap();
}

async fn a_cursor_is_moved_to_positions_of_the_feed_and_has_a_valid_name(disk: TestDisk) {
    let store = paged(&disk).await;
    for name in ["", "a\nb", &"x".repeat(257)] {
        assert_refused!(store.cursor(name), ErrorKind::InvalidArgument { .. });
    }
    let cursor = store.cursor("x".repeat(256)).unwrap();
    for to in [FeedPosition::START, FeedPosition::NOW] {
        assert_refused!(soon(cursor.move_to(FeedPosition::START, to)).await, ErrorKind::InvalidArgument { .. });
    }
    soon(store.close()).await.unwrap();
}

#[actix::test]
async fn a_move_whose_commit_failed_may_be_asked_for_again() {
    for fault in [Fault::CommitLost, Fault::CommitKept, Fault::Io] {
        let faults = Faults::default();
        let disk = TestDisk::memory();
        let store: Store<Tally> = Store::open_model(faults.watch(disk.config())).await.unwrap();
        let at = positions(&store, 2).await;
        let cursor = store.cursor("c").unwrap();
        faults.fail_next(Port::Commit, fault);
        assert_refused!(soon(cursor.move_to(FeedPosition::START, at[0])).await, ErrorKind::Unavailable { .. });
        soon(cursor.move_to(FeedPosition::START, at[0])).await.unwrap();
        assert_eq!(soon(cursor.position()).await.unwrap(), at[0]);
        soon(store.close()).await.unwrap();
    }
}
