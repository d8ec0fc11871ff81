//! Goal: a position is an event that the log has, or an error; never silence. Method: positions at the end, beyond it,
//! and ahead of what a store has read of another one's session.

use foldlog::agent::Agent;
use foldlog::{ErrorKind, EventId, LogEvent, LogPosition, Subscribe, SubscribeFrom};

use crate::common::*;
use crate::live;

on_both_media!(
    a_position_beyond_the_end_of_the_log_is_an_error_and_the_end_itself_is_none,
    a_position_that_another_store_has_written_is_none_beyond_the_end,
    a_position_of_another_history_is_an_error_and_one_of_this_history_goes_on,
);

async fn a_position_of_another_history_is_an_error_and_one_of_this_history_goes_on(disk: TestDisk) {
    let store = disk.open().await;
    let (session, other) = (store.open_session("s").await.unwrap(), store.open_session("other").await.unwrap());
    live::append(&session, 1..=5).await;
    live::append(&other, 1..=5).await;
    let positions = |events: &[LogEvent<Agent>]| events.iter().map(LogEvent::position).collect::<Vec<_>>();
    let of_session = positions(&session.events_after(EventId::ZERO, 10).await.unwrap().events);
    // Equal bodies, and equal ids: only the chain tells the one history from the other.
    let of_other = positions(&other.events_after(EventId::ZERO, 10).await.unwrap().events);
    let mut stream = session.subscribe(SubscribeFrom::AfterPosition(of_session[1])).await.unwrap();
    assert_eq!(live::take(&mut stream, 3).await, ["3", "4", "5"]);
    // What was appended, what is read and what is delivered tell the same position, also by its text.
    let appended = append(&session, noted(6)).await.unwrap();
    let Some(foldlog::Item::Event(delivered)) = soon(futures::StreamExt::next(&mut stream)).await else {
        panic!("one more")
    };
    let read = session.events_after(of_session[4], 10).await.unwrap();
    assert_eq!(positions(&read.events), [appended.events[0].position()]);
    assert_eq!(delivered.position(), appended.events[0].position());
    let again: LogPosition = delivered.position().to_string().parse().unwrap();
    assert!(session.events_after(again, 10).await.unwrap().events.is_empty());
    assert!(soon(session.subscribe(SubscribeFrom::AfterPosition(again))).await.is_ok());

    for (position, event) in of_other.iter().zip(1..) {
        let is_other = |error: &foldlog::Error| {
            assert!(
                matches!(error.kind(), ErrorKind::OtherHistory { event: found, .. } if *found == at(event)),
                "{error}"
            );
        };
        is_other(&session.events_after(*position, 10).await.unwrap_err());
        is_other(&session.subscribe(SubscribeFrom::AfterPosition(*position)).await.unwrap_err());
        // Without the chain nobody can tell.
        assert!(session.events_after(position.event(), 10).await.is_ok());
    }
    let beyond: LogPosition = format!("9-{}", &again.to_string()[2..]).parse().unwrap();
    assert_refused!(session.events_after(beyond, 10).await, ErrorKind::BeyondHead { .. });
    store.close().await.unwrap();
}

async fn a_position_beyond_the_end_of_the_log_is_an_error_and_the_end_itself_is_none(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    for head in [0, 3] {
        live::append(&session, session.view().unwrap().head().get() + 1..=head).await;
        for beyond in [head + 1, head + 7, EventId::MAX.get()] {
            let from = SubscribeFrom::After(at(beyond));
            let is_beyond = |error: &foldlog::Error| {
                assert!(
                    matches!(error.kind(), ErrorKind::BeyondHead { session, event, head: found }
                        if session.as_str() == "s" && *event == at(beyond) && *found == at(head)),
                    "{error:?}"
                );
            };
            is_beyond(&session.subscribe(from).await.unwrap_err());
            is_beyond(&session.subscribe_actor(from, collector().0).await.unwrap_err());
            let subscribe = Subscribe { from, recipient: collector().0 };
            is_beyond(&session.address().unwrap().send(subscribe).await.unwrap().unwrap_err());
            is_beyond(&session.events_after(at(beyond), 10).await.unwrap_err());
        }
        assert!(session.events_after(at(head), 10).await.unwrap().events.is_empty());
    }
    let mut stream = session.subscribe(SubscribeFrom::After(at(3))).await.unwrap();
    live::append(&session, 4..=5).await;
    assert_eq!(live::take(&mut stream, 2).await, ["4", "5"]);
    store.close().await.unwrap();
}

async fn a_position_that_another_store_has_written_is_none_beyond_the_end(disk: TestDisk) {
    let (owner, reader) = (disk.open().await, disk.open().await);
    let owned = owner.open_session("s").await.unwrap();
    let read = reader.open_session("s").await.unwrap();
    live::append(&owned, 1..=5).await;
    // Sent to the actor, it is not preceded by a look at the log.
    let (recipient, mut received) = collector();
    let subscribe = Subscribe { from: SubscribeFrom::After(at(5)), recipient };
    drop(read.address().unwrap().send(subscribe).await.unwrap().unwrap());
    live::append(&owned, 6..=6).await;
    let mut stream = read.subscribe(SubscribeFrom::After(at(5))).await.unwrap();
    assert_eq!(live::take(&mut stream, 1).await, ["6"]);
    assert_eq!(received.take(1).await, ["6"]);
    assert_refused!(read.subscribe(SubscribeFrom::After(at(7))).await, ErrorKind::BeyondHead { .. });
    reader.close().await.unwrap();
    owner.close().await.unwrap();
}
