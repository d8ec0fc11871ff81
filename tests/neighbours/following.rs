//! A feed of a store that other processes write, until they are killed.

use std::collections::BTreeMap;

use foldlog::{FeedItem, FeedPosition, Store, StoreConfig};
use futures::StreamExt;

use crate::common::child::Child;
use crate::common::*;

/// What is acknowledged is told, and what is told is there after the kill: each event once, in each session's order.
#[actix::test]
async fn a_feed_tells_what_other_processes_commit_and_goes_on_when_they_are_killed() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("store");
    soon(open(&StoreConfig::directory(&root)).await.close()).await.unwrap();
    let store = open(&StoreConfig::directory(&root)).await;
    let reader = soon(Store::<Tally>::open_model_read_only(StoreConfig::directory(&root))).await.unwrap();
    let mut feeds =
        [soon(store.feed(FeedPosition::START)).await.unwrap(), soon(reader.feed(FeedPosition::START)).await.unwrap()];
    let mut told: [BTreeMap<String, u64>; 2] = Default::default();
    for life in 1..=3_u64 {
        let mut children: Vec<_> =
            (0..2).map(|n| Child::with_task("work-on", &format!("process-{n}"), &root)).collect();
        for child in &mut children {
            child.expect("ready");
            child.say("go");
        }
        // Live: both have told of each session of both while the children write.
        for (feed, told) in feeds.iter_mut().zip(&mut told) {
            let wanted = 20 * life;
            while told.len() < 4 || told.values().any(|head| *head < wanted) {
                see(soon(feed.next()).await.unwrap(), told);
            }
        }
        let mut acknowledged: BTreeMap<String, u64> = BTreeMap::new();
        for child in children {
            for line in child.kill().lines {
                if let Some((name, head)) = line.strip_prefix("acknowledged ").and_then(|told| told.split_once(' ')) {
                    acknowledged.insert(name.to_owned(), head.parse().unwrap());
                }
            }
        }
        for (feed, told) in feeds.iter_mut().zip(&mut told) {
            while acknowledged.iter().any(|(name, head)| told.get(name).is_none_or(|told| told < head)) {
                see(soon(feed.next()).await.unwrap(), told);
            }
        }
    }
    // A kill may have left events that nobody acknowledged. They are told as well, and nothing else.
    let heads = soon(store.list_sessions(None, 10)).await.unwrap();
    let heads: BTreeMap<_, _> = heads.into_iter().map(|session| (session.id.to_string(), session.head.get())).collect();
    for (feed, told) in feeds.iter_mut().zip(&mut told) {
        while *told != heads {
            see(soon(feed.next()).await.unwrap(), told);
        }
    }
    soon(reader.close()).await.unwrap();
    soon(store.close()).await.unwrap();
}

fn see(item: FeedItem<foldlog::LogEvent<Tally>>, told: &mut BTreeMap<String, u64>) {
    match item {
        FeedItem::Event(event) => {
            let head = told.entry(event.session.to_string()).or_default();
            *head += 1;
            assert_eq!(event.event.id().get(), *head, "of {}", event.session);
        }
        FeedItem::CaughtUp(_) => {}
        item => panic!("{item:?}"),
    }
}
