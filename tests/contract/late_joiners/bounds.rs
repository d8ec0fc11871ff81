//! What is kept is bounded, for a session and for a store, and a marker stands where the bound has cut.

use foldlog::{LagPolicy, StoreConfig, SubscribeFrom};
use futures::StreamExt;

use super::*;

on_both_media!(
    a_session_keeps_the_last_of_its_deltas_and_one_gap_stands_for_the_others,
    what_was_cut_of_a_stream_is_forgotten_with_the_stream,
    a_transient_that_is_larger_than_the_bound_takes_what_precedes_it_along,
    a_store_bounds_all_sessions_together,
    a_bound_of_nothing_keeps_nothing_and_live_subscribers_get_everything,
    a_slow_subscriber_that_the_bound_overtakes_is_told_how_many_it_misses,
    streams_that_nothing_ends_do_not_grow_without_end,
);

/// What a delta of one digit counts for.
const DELTA_BYTES: usize = 128 + 1;

fn session_max(deltas: usize) -> impl FnOnce(&mut StoreConfig) {
    move |config| config.session_kept_transients_bytes_max = deltas * DELTA_BYTES
}

async fn a_session_keeps_the_last_of_its_deltas_and_one_gap_stands_for_the_others(disk: TestDisk) {
    let store = disk.open_with(session_max(4)).await;
    let session = begun(&store, "s").await;
    let mut live = session.subscribe(SubscribeFrom::Now).await.unwrap();
    show(&session, 1, 1..=9).await;
    assert_eq!(take(&mut live, 9).await, deltas(1, 1..=9));
    assert_eq!(store.stats().kept_transients_bytes, 4 * DELTA_BYTES as u64);
    assert_eq!(late(&session).await, ["gap 0..0 (5 transients)", "1:6", "1:7", "1:8", "1:9"]);
    let stats = store.stats();
    assert_eq!((stats.subscriber_gaps, stats.subscriber_transients_left_out), (1, 5));
    let mut stream = session.subscribe(SubscribeFrom::After(at(0))).await.unwrap();
    assert_eq!(take(&mut stream, 6).await, ["1", "gap 1..1 (5 transients)", "1:6", "1:7", "1:8", "1:9"]);
    store.close().await.unwrap();
}

async fn what_was_cut_of_a_stream_is_forgotten_with_the_stream(disk: TestDisk) {
    let store = disk.open_with(session_max(4)).await;
    let session = begun(&store, "s").await;
    show(&session, 1, 1..=3).await;
    show(&session, 2, 1..=3).await;
    assert_eq!(late(&session).await, ["gap 0..0 (2 transients)", "1:3", "2:1", "2:2", "2:3"]);
    session.append(ended(1)).unwrap().await.unwrap();
    assert_eq!(late(&session).await, deltas(2, 1..=3), "nothing of the second was cut");
    store.close().await.unwrap();
}

async fn a_transient_that_is_larger_than_the_bound_takes_what_precedes_it_along(disk: TestDisk) {
    let store = disk.open_with(session_max(4)).await;
    let session = begun(&store, "s").await;
    let mut live = session.subscribe(SubscribeFrom::Now).await.unwrap();
    show(&session, 1, 1..=2).await;
    let text = "x".repeat(4 * DELTA_BYTES);
    session.notify(AgentTransient::TokenDelta { turn: TURN, step: StepId::new(1), text: text.clone() }).unwrap();
    show(&session, 1, 4..=4).await;
    assert_eq!(late(&session).await, ["gap 0..0 (3 transients)", "1:4"]);
    assert_eq!(take(&mut live, 4).await, ["1:1", "1:2", &format!("1:{text}"), "1:4"]);
    store.close().await.unwrap();
}

async fn a_store_bounds_all_sessions_together(disk: TestDisk) {
    let bounds = |config: &mut StoreConfig| {
        config.session_kept_transients_bytes_max = 6 * DELTA_BYTES;
        config.kept_transients_bytes_max = 8 * DELTA_BYTES;
    };
    let store = disk.open_with(bounds).await;
    let [one, two] = [begun(&store, "1").await, begun(&store, "2").await];
    show(&one, 1, 1..=7).await;
    show(&two, 1, 1..=4).await;
    assert_eq!(store.stats().kept_transients_bytes, 8 * DELTA_BYTES as u64);
    assert_eq!(late(&one).await, [&["gap 0..0 (1 transients)".to_owned()], &deltas(1, 2..=7)[..]].concat());
    assert_eq!(late(&two).await, ["gap 0..0 (2 transients)", "1:3", "1:4"]);
    // Whoever ends a stream makes room for the other.
    one.append(ended(1)).unwrap().await.unwrap();
    show(&two, 1, 5..=9).await;
    assert_eq!(late(&two).await, [&["gap 1..1 (3 transients)".to_owned()], &deltas(1, 4..=9)[..]].concat());
    store.close().await.unwrap();
}

async fn a_bound_of_nothing_keeps_nothing_and_live_subscribers_get_everything(disk: TestDisk) {
    for is_of_store in [false, true] {
        let bounds = |config: &mut StoreConfig| match is_of_store {
            true => config.kept_transients_bytes_max = 0,
            false => config.session_kept_transients_bytes_max = 0,
        };
        let store = disk.open_with(bounds).await;
        let session = begun(&store, if is_of_store { "store" } else { "session" }).await;
        let mut live = session.subscribe(SubscribeFrom::Now).await.unwrap();
        show(&session, 1, 1..=3).await;
        assert_eq!(store.stats().kept_transients_bytes, 0);
        assert_eq!(late(&session).await, ["gap 0..0 (3 transients)"]);
        assert_eq!(take(&mut live, 4).await, ["1:1", "1:2", "1:3", "1"]);
        store.close().await.unwrap();
    }
}

async fn a_slow_subscriber_that_the_bound_overtakes_is_told_how_many_it_misses(disk: TestDisk) {
    let bounds = |config: &mut StoreConfig| {
        queue(2, LagPolicy::Gap)(config);
        session_max(4)(config);
    };
    let store = disk.open_with(bounds).await;
    let session = begun(&store, "s").await;
    let mut stream = session.subscribe(SubscribeFrom::Now).await.unwrap();
    show(&session, 1, 1..=9).await;
    let wanted = ["1:1", "1:2", "gap 0..0 (3 transients)", "1:6", "1:7", "1:8", "1:9"];
    assert_eq!(take(&mut stream, wanted.len()).await, wanted);
    store.close().await.unwrap();
    assert!(soon(stream.next()).await.is_none());
}

async fn streams_that_nothing_ends_do_not_grow_without_end(disk: TestDisk) {
    let store = disk.open().await;
    let session = begun(&store, "s").await;
    for step in 1..=1030 {
        show(&session, step, 1..=1).await;
    }
    let wanted: Vec<_> = (7..=1030).map(|step| format!("{step}:1")).collect();
    assert_eq!(late(&session).await, wanted, "the oldest are forgotten");
    assert_eq!(store.stats().kept_transients_bytes, 1024 * DELTA_BYTES as u64);
    store.close().await.unwrap();
}
