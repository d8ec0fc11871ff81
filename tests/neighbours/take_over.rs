//! Goal: a session is taken from an owner that hangs, at once and whatever that one holds in flight; the old owner
//! writes nothing more, learns who has the session, and reads on. Method: two stores on both media; then a process that
//! is stopped.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use foldlog::{ErrorKind, EventId, Item, OwnerInfo, Store, StoreConfig, SubscribeFrom, TakeOver};
use futures::StreamExt;
use futures::future::{Either, select};

use crate::common::child::{Child, Ended, hear, tell};
use crate::common::tally::{Place, Switch, TallyCounters};
use crate::common::*;

on_both_media! {
    whoever_takes_a_session_over_owns_it_with_all_that_was_written,
    the_old_owner_writes_nothing_more_and_is_told_by_whom,
    appends_in_flight_when_the_session_is_taken_are_committed_before_it_or_not_at_all,
    the_old_owner_reads_on_and_its_subscribers_go_on_from_where_they_were,
    a_turn_is_not_given_by_a_store_that_is_owner_no_more_and_does_not_know_it_yet,
    a_session_is_taken_over_and_back_without_a_gap,
    a_take_over_of_what_is_owned_or_nobodys_or_closed_is_what_it_should_be,
    a_session_that_this_build_cannot_write_stays_with_its_owner,
    the_old_owner_goes_on_when_the_new_one_is_gone,
    a_take_over_is_of_one_session_and_leaves_the_others_with_their_owner,
}

/// Two stores, and the session of the first as both have it.
struct Pair {
    stores: [Store<Tally>; 2],
    owned: foldlog::Session<Tally>,
    ours: foldlog::Session<Tally>,
}

impl Pair {
    async fn new(config: &StoreConfig) -> Self {
        let stores = [open(config).await, open(config).await];
        let owned = soon(stores[0].open_session("s")).await.unwrap();
        append(&owned, TallyBody::Added(1)).await.unwrap();
        let ours = soon(stores[1].open_session("s")).await.unwrap();
        assert_refused!(append(&ours, TallyBody::Added(0)).await, ErrorKind::OwnedElsewhere { .. });
        Self { stores, owned, ours }
    }

    async fn close(self) {
        for store in &self.stores {
            soon(store.close()).await.unwrap();
        }
    }
}

fn owner_of<T: std::fmt::Debug>(answer: Result<T, foldlog::Error>) -> OwnerInfo {
    match answer.expect_err("owned elsewhere").kind() {
        ErrorKind::OwnedElsewhere { session, owner } if session.as_str() == "s" => owner.clone(),
        other => panic!("{other:?}"),
    }
}

async fn whoever_takes_a_session_over_owns_it_with_all_that_was_written(config: StoreConfig) {
    let pair = Pair::new(&config).await;
    append(&pair.owned, TallyBody::Added(10)).await.unwrap();
    assert_eq!(pair.ours.view().unwrap().sum, 1);
    soon(pair.ours.take_over()).await.unwrap();
    assert_eq!((pair.ours.view().unwrap().sum, pair.ours.view().unwrap().head()), (11, EventId::new(2)));
    assert_eq!(soon(pair.ours.counters()).await.unwrap(), (EventId::new(2), TallyCounters { event: 2, name: 0 }));
    assert_eq!(ids_of(&append(&pair.ours, TallyBody::Added(100)).await.unwrap()), [3]);
    drop(soon(pair.ours.take_turn()).await.unwrap());
    usable(&pair.stores[1], "s").await;
    pair.close().await;
}

async fn the_old_owner_writes_nothing_more_and_is_told_by_whom(config: StoreConfig) {
    let pair = Pair::new(&config).await;
    let before = owner_of(append(&pair.ours, TallyBody::Added(0)).await);
    soon(pair.ours.take_over()).await.unwrap();
    let taken = look(&pair.stores[1], "s").await;
    // Several at once: each is stamped as if the store still owned the session.
    let receipts: Vec<_> = (0..20).map(|_| pair.owned.append(TallyBody::Added(100)).unwrap()).collect();
    let mut new_owners = Vec::new();
    for receipt in receipts {
        new_owners.push(owner_of(soon(receipt).await));
    }
    new_owners.push(owner_of(append(&pair.owned, TallyBody::Added(100)).await));
    assert!(
        new_owners.iter().all(|new_owner| *new_owner == new_owners[0] && new_owner.id != before.id),
        "{before:?}: {new_owners:?}"
    );
    assert_eq!(new_owners[0].process, std::process::id());
    assert_eq!(look(&pair.stores[0], "s").await, taken);
    assert_eq!(*pair.owned.view().unwrap(), taken.0);
    usable(&pair.stores[1], "s").await;
    pair.close().await;
}

async fn appends_in_flight_when_the_session_is_taken_are_committed_before_it_or_not_at_all(config: StoreConfig) {
    let pair = Pair::new(&config).await;
    let mut acknowledged = 1;
    for round in 0..20 {
        let (old_owner, new_owner) = if round % 2 == 0 { (&pair.owned, &pair.ours) } else { (&pair.ours, &pair.owned) };
        let receipts: Vec<_> = (0..50).map(|_| old_owner.append(TallyBody::Added(1)).unwrap()).collect();
        soon(new_owner.take_over()).await.unwrap();
        let found = new_owner.view().unwrap().head();
        let mut written = acknowledged;
        let mut refused = 0;
        for receipt in receipts {
            match soon(receipt).await {
                Ok(appended) => {
                    written += 1;
                    assert_eq!(
                        (ids_of(&appended), refused),
                        (vec![written], 0),
                        "in order, and none after a refused one"
                    );
                }
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::OwnedElsewhere { .. }), "{error:?}");
                    refused += 1;
                }
            }
        }
        assert_eq!(
            found,
            EventId::new(written),
            "round {round}: the new owner found what was acknowledged, and no more"
        );
        acknowledged = written + 1;
        assert_eq!(ids_of(&append(new_owner, TallyBody::Added(1)).await.unwrap()), [acknowledged]);
        assert_eq!(new_owner.view().unwrap().sum, acknowledged);
    }
    let events = whole_log(&pair.owned).await;
    assert!(events.iter().zip(1..).all(|(event, id)| event.id().get() == id));
    assert_eq!(look(&pair.stores[0], "s").await.0.sum, acknowledged);
    pair.close().await;
}

async fn the_old_owner_reads_on_and_its_subscribers_go_on_from_where_they_were(config: StoreConfig) {
    let pair = Pair::new(&config).await;
    let stream = soon(pair.owned.subscribe(SubscribeFrom::Now)).await.unwrap();
    append(&pair.owned, TallyBody::Added(2)).await.unwrap();
    soon(pair.ours.take_over()).await.unwrap();
    append(&pair.ours, TallyBody::Added(3)).await.unwrap();
    assert_refused!(append(&pair.owned, TallyBody::Added(0)).await, ErrorKind::OwnedElsewhere { .. });
    append(&pair.ours, TallyBody::Added(4)).await.unwrap();

    assert_eq!(whole_log(&pair.owned).await.len(), 4);
    assert_eq!(pair.owned.view().unwrap().sum, 3);
    let again = soon(pair.stores[0].open_session("s")).await.unwrap();
    assert_eq!((again.view().unwrap().sum, *pair.owned.view().unwrap() == *pair.ours.view().unwrap()), (10, true));
    let items: Vec<_> = soon(stream.take(3).collect()).await;
    let seen: Vec<_> =
        items.iter().map(|item| if let Item::Event(event) = item { event.id().get() } else { 0 }).collect();
    assert_eq!(seen, [2, 3, 4], "{items:?}");
    pair.close().await;
}

async fn a_turn_is_not_given_by_a_store_that_is_owner_no_more_and_does_not_know_it_yet(config: StoreConfig) {
    let pair = Pair::new(&config).await;
    drop(soon(pair.owned.take_turn()).await.unwrap());
    soon(pair.ours.take_over()).await.unwrap();
    let new_owner = owner_of(soon(pair.owned.take_turn()).await);
    assert_eq!(new_owner.process, std::process::id());
    let turn = soon(pair.ours.take_turn()).await.unwrap();
    drop(turn);
    soon(pair.owned.take_over()).await.unwrap();
    drop(soon(pair.owned.take_turn()).await.unwrap());
    pair.close().await;
}

async fn a_session_is_taken_over_and_back_without_a_gap(config: StoreConfig) {
    let pair = Pair::new(&config).await;
    for round in 0..10 {
        let (new_owner, old_owner) = if round % 2 == 0 { (&pair.ours, &pair.owned) } else { (&pair.owned, &pair.ours) };
        // The message, and the handle.
        if round < 5 {
            soon(new_owner.address().unwrap().send(TakeOver)).await.unwrap().unwrap();
        } else {
            soon(new_owner.take_over()).await.unwrap();
        }
        assert_eq!(new_owner.view().unwrap().head(), EventId::new(round + 1), "its view is current");
        assert_eq!(ids_of(&append(new_owner, TallyBody::Added(1)).await.unwrap()), [round + 2]);
        if round % 3 == 0 {
            assert_refused!(append(old_owner, TallyBody::Added(1)).await, ErrorKind::OwnedElsewhere { .. });
        }
    }
    assert_eq!(look(&pair.stores[0], "s").await.0.sum, 11);
    pair.close().await;
}

async fn a_take_over_of_what_is_owned_or_nobodys_or_closed_is_what_it_should_be(config: StoreConfig) {
    let pair = Pair::new(&config).await;
    let stream = soon(pair.owned.subscribe(SubscribeFrom::Now)).await.unwrap();
    soon(pair.owned.take_over()).await.unwrap();
    assert_eq!(ids_of(&append(&pair.owned, TallyBody::Added(1)).await.unwrap()), [2]);
    assert!(matches!(soon(stream.take(1).collect::<Vec<_>>()).await[0], Item::Event(_)));
    soon(pair.owned.close()).await.unwrap();
    assert_refused!(soon(pair.owned.take_over()).await, ErrorKind::SessionClosed { .. });
    soon(pair.ours.take_over()).await.unwrap();
    assert_eq!(ids_of(&append(&pair.ours, TallyBody::Added(1)).await.unwrap()), [3]);
    let ours = pair.ours.clone();
    pair.close().await;
    assert_refused!(soon(ours.take_over()).await, ErrorKind::StoreClosed);
}

async fn a_session_that_this_build_cannot_write_stays_with_its_owner(config: StoreConfig) {
    let pair = Pair::new(&config).await;
    let switch = Switch::off();
    append(&pair.owned, switch.trap(Place::Apply)).await.unwrap();
    switch.turn_on();
    assert_refused!(soon(pair.ours.take_over()).await, ErrorKind::Unfoldable { event, .. } if *event == EventId::new(2));
    append(&pair.owned, TallyBody::Added(1)).await.unwrap();
    switch.turn_off();
    pair.close().await;
}

async fn the_old_owner_goes_on_when_the_new_one_is_gone(config: StoreConfig) {
    let pair = Pair::new(&config).await;
    soon(pair.ours.take_over()).await.unwrap();
    append(&pair.ours, TallyBody::Added(1)).await.unwrap();
    soon(pair.stores[1].close()).await.unwrap();
    // It was stamped after the first event, which is not the last any more, and no living store owns the log.
    assert_refused!(
        append(&pair.owned, TallyBody::Added(100)).await,
        ErrorKind::NotWritten { reason, .. } if reason.contains("took the session over")
    );
    assert_eq!(ids_of(&append(&pair.owned, TallyBody::Added(1)).await.unwrap()), [3]);
    assert_eq!(pair.owned.view().unwrap().sum, 3);
    pair.close().await;
}

async fn a_take_over_is_of_one_session_and_leaves_the_others_with_their_owner(config: StoreConfig) {
    let pair = Pair::new(&config).await;
    usable(&pair.stores[0], "other").await;
    soon(pair.ours.take_over()).await.unwrap();
    usable(&pair.stores[0], "other").await;
    let other = soon(pair.stores[1].open_session("other")).await.unwrap();
    assert_refused!(append(&other, TallyBody::Added(1)).await, ErrorKind::OwnedElsewhere { .. });
    pair.close().await;
}

// --- a process that hangs ---

/// Appends one at each command, and tells the answer.
pub(crate) async fn append_on_command(directory: &Path) {
    let store = open(&StoreConfig::directory(directory)).await;
    let session = soon(store.open_session("s")).await.unwrap();
    while let Some(word) = hear() {
        match word.as_str() {
            // Both stamped before either is answered.
            "append-two" => {
                let receipts = [(); 2].map(|()| session.append(TallyBody::Added(1000)).unwrap());
                for receipt in receipts {
                    match soon(receipt).await.map_err(|error| error.kind().clone()) {
                        Ok(appended) => tell(format!("appended {}", appended.head)),
                        Err(ErrorKind::OwnedElsewhere { owner, .. }) => {
                            tell(format!("taken over by {}", owner.process))
                        }
                        Err(other) => tell(format!("{other:?}")),
                    }
                }
            }
            "read" => {
                soon(session.recovery()).await.unwrap();
                tell(format!("head {} sum {}", session.view().unwrap().head(), session.view().unwrap().sum));
            }
            "take-over" => {
                soon(session.take_over()).await.unwrap();
                tell("taken over");
            }
            other => panic!("no command {other}"),
        }
    }
    soon(store.close()).await.unwrap();
}

#[actix::test]
async fn a_session_of_a_stopped_process_is_taken_over_at_once_and_the_process_reads_on_when_it_wakes() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let mut hung = Child::with_task("append-on-command", "", directory.path());
    hung.say("append-two");
    hung.expect("appended 1");
    hung.expect("appended 2");
    let store = open(&StoreConfig::directory(directory.path())).await;
    let session = soon(store.open_session("s")).await.unwrap();

    hung.signal("-STOP");
    assert_refused!(
        append(&session, TallyBody::Added(1)).await,
        ErrorKind::OwnedElsewhere { owner, .. } if owner.process == hung.id()
    );
    soon(session.take_over()).await.unwrap();
    assert_eq!(session.view().unwrap().sum, 2000);
    assert_eq!(ids_of(&append(&session, TallyBody::Added(1)).await.unwrap()), [3]);
    // The stopped process finds this command as soon as it wakes.
    hung.say("append-two");
    hung.signal("-CONT");
    let told = format!("taken over by {}", std::process::id());
    hung.expect(&told);
    hung.expect(&told);
    hung.say("read");
    hung.expect("head 3 sum 2001");
    assert_eq!(look(&store, "s").await.0.sum, 2001, "nothing of the old owner is there");
    append(&session, TallyBody::Added(1)).await.unwrap();
    hung.say("read");
    hung.expect("head 4 sum 2002");

    hung.say("take-over");
    hung.expect("taken over");
    hung.say("append-two");
    hung.expect("appended 5");
    hung.expect("appended 6");
    assert_refused!(
        append(&session, TallyBody::Added(1)).await,
        ErrorKind::OwnedElsewhere { owner, .. } if owner.process == hung.id()
    );
    assert!(hung.end().status.success());
    usable(&store, "s").await;
    soon(store.close()).await.unwrap();
}

/// Appends, always several at once, until it is taken over.
pub(crate) async fn append_until_taken_over(directory: &Path) {
    let store = open(&StoreConfig::directory(directory)).await;
    let session = soon(store.open_session("s")).await.unwrap();
    let mut receipts = VecDeque::new();
    loop {
        while receipts.len() < 8 {
            receipts.push_back(session.append(TallyBody::Added(1000)).unwrap());
        }
        match soon(receipts.pop_front().unwrap()).await.map_err(|error| error.kind().clone()) {
            Ok(appended) => tell(format!("appended {}", appended.head)),
            Err(ErrorKind::OwnedElsewhere { owner, .. }) => break tell(format!("taken over by {}", owner.process)),
            Err(other) => panic!("{other:?}"),
        }
    }
    for receipt in receipts {
        assert_refused!(soon(receipt).await, ErrorKind::OwnedElsewhere { .. });
    }
    hear();
    soon(store.close()).await.unwrap();
}

/// Comes back when the store waits for a lock, which nothing announces.
async fn locked_out(store: &Store<Tally>) {
    while store.stats().lock_waiting.is_none() {
        actix::clock::sleep(Duration::from_millis(5)).await;
    }
}

#[actix::test]
async fn whatever_a_process_was_doing_when_it_was_stopped_it_writes_nothing_after_a_take_over() {
    let _watchdog = watchdog();
    let mut dice = seeded_dice();
    let directory = tempfile::tempdir().unwrap();
    let store = open(&StoreConfig::directory(directory.path())).await;
    let (mut held, mut killed) = (0, 0);
    for round in 0..12 {
        let mut hung = Child::with_task("append-until-taken-over", "", directory.path());
        for _ in 0..10 + dice.below(20) {
            assert!(hung.next().unwrap().starts_with("appended "));
        }
        // The moment is random: there is nothing to wait for.
        std::thread::sleep(Duration::from_micros(dice.below(3000)));
        hung.signal("-STOP");
        let session = soon(store.open_session("s")).await.unwrap();
        let locked_out = std::pin::pin!(locked_out(&store));
        match soon(select(std::pin::pin!(session.take_over()), locked_out)).await {
            Either::Left((taken, _)) => taken.unwrap(),
            Either::Right(((), taken)) => {
                // Stopped inside a commit, it holds the lock that everyone needs: then it has to go on, or be killed.
                held += 1;
                if dice.one_in(3) {
                    killed += 1;
                    hung.strike();
                } else {
                    hung.signal("-CONT");
                }
                soon(taken).await.unwrap();
            }
        }
        let ours = append(&session, TallyBody::Noted(format!("taken over in round {round}"))).await.unwrap().head;
        let was_killed = !hung.is_alive();
        if !was_killed {
            hung.signal("-CONT");
        }
        let Ended { lines, status, .. } = hung.end();
        let (told, old_owner): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line.starts_with("appended "));
        let told: Vec<u64> = told.iter().map(|line| line.strip_prefix("appended ").unwrap().parse().unwrap()).collect();
        let by_us = format!("taken over by {}", std::process::id());
        if was_killed {
            assert!(old_owner.is_empty(), "{old_owner:?}");
        } else {
            assert!(old_owner == [&by_us] && status.success(), "{old_owner:?}");
        }
        assert!(told.iter().all(|id| *id < ours.get()), "acknowledged after the take-over at {ours}: {told:?}");
        let events = whole_log(&session).await;
        assert_eq!(events.last().unwrap().id(), ours, "nothing came after it");
        assert!(events.iter().zip(1..).all(|(event, id)| event.id().get() == id));
        assert_eq!(look(&store, "s").await.0, *session.view().unwrap());
        soon(session.close()).await.unwrap();
    }
    println!("{held} of 12 were stopped inside a commit, {killed} of them killed for it");
    soon(store.close()).await.unwrap();
}
