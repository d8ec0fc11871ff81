//! Goal: whatever stops or panics, every caller is answered, other sessions go on, and the answers agree with the log.
//! Method: a model that panics where it is told to, restarts while work is in flight, foreign locks on the database,
//! and stores that are closed in the middle; afterwards the log is read again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod answers;
mod bad_input;
mod cleaners;
mod closing;
mod formats;
mod life;
mod modes;
mod older_format_2;
mod panics;
mod places;
mod replaced_files;
mod restarts;
mod safety;
mod schemas;
mod two_times;
mod wrong_directory;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::common::*;
use foldlog::{Error, Event, Item, Receipt, StoreConfig};
use futures::StreamExt;

/// The numbers that the log of session `s` holds, by a new store; ids and chain are checked on the way.
async fn numbers_in_log(config: &StoreConfig) -> BTreeSet<u64> {
    let store = open(config).await;
    let session = soon(store.open_session("s")).await.unwrap();
    let events = whole_log(&session).await;
    let numbers = numbers(&events);
    assert_eq!(session.view().unwrap().head().get(), events.len() as u64);
    soon(store.close()).await.unwrap();
    numbers
}

fn numbers(events: &[Arc<Event<Tally>>]) -> BTreeSet<u64> {
    let mut numbers = BTreeSet::new();
    for (event, id) in events.iter().zip(1..) {
        assert_eq!(event.id().get(), id, "ids are dense");
        if let TallyBody::Added(n) = event.body() {
            assert!(numbers.insert(*n), "{n} was written twice");
        }
    }
    numbers
}

/// Each number with the answer to its append.
type Answers = Vec<(u64, Result<foldlog::Appended<Tally>, Error>)>;

async fn answers(receipts: impl IntoIterator<Item = (u64, Receipt<Tally>)>) -> Answers {
    let mut answers = Vec::new();
    for (n, receipt) in receipts {
        answers.push((n, soon(receipt).await));
    }
    answers
}

/// Committed if and only if the log says so.
fn assert_answers_agree(answers: &Answers, log: &BTreeSet<u64>) {
    for (n, answer) in answers {
        match answer {
            Ok(_) => assert!(log.contains(n), "{n} was acknowledged and is lost"),
            Err(error) => {
                assert!(is_definite(answer), "{n}: {error:?}");
                assert!(!log.contains(n), "{n} was refused and is there: {error:?}");
            }
        }
    }
}

async fn live_ids(stream: foldlog::EventStream<Tally>, count: usize) -> Vec<u64> {
    let events = stream.filter_map(async |item| match item {
        Item::Event(event) => Some(event.id().get()),
        _ => None,
    });
    soon(events.take(count).collect()).await
}
