//! Goal: a stored view and the events after it give the view, the keys and the digest that all events give. Method:
//! sessions that are closed and opened again after random numbers of events, and folded by hand.

use foldlog::agent::Agent;
use foldlog::testkit::Dice;
use foldlog::{Condition, EventId, SessionModel};

use super::{agent_body, append_one, files_in, folded, open};
use crate::common::tally::{Place, Switch};
use crate::common::*;

fn tally_body(dice: &mut Dice) -> TallyBody {
    match dice.below(3) {
        0 => TallyBody::named(&format!("n{}", dice.below(100))),
        _ => TallyBody::Added(1 + dice.below(9)),
    }
}

/// Appends, closes and opens again, at random moments.
async fn agrees_with_its_events<M: SessionModel>(disk: &TestDisk, seed: u64, body: fn(&mut Dice) -> M::Body) {
    let mut dice = Dice::new(seed);
    let mut hits = 0;
    for _ in 0..12 {
        let store = open::<M>(disk, |config| config.snapshots.every_events = 1 + seed % 5).await;
        let session = store.open_session("s").await.unwrap();
        assert_eq!(*session.view().unwrap().state(), folded(&session).await, "seed {seed}, opened");
        let state = store.read_state("s").await.unwrap();
        assert_eq!(state.view, *session.view().unwrap(), "seed {seed}, read");
        for _ in 0..dice.below(30) {
            append_one(&session, &mut dice, body).await;
        }
        assert_eq!(*session.view().unwrap().state(), folded(&session).await, "seed {seed}, appended");
        store.close().await.unwrap();
        let stats = store.stats();
        assert_eq!(stats.snapshot_fallbacks, 0, "seed {seed}");
        hits += stats.snapshot_hits;
        if let Some(path) = disk.path() {
            assert!(files_in(&path).len() <= 1, "seed {seed}: one file a log");
        }
    }
    assert!(hits > 10, "seed {seed}: {hits}");
}

#[actix::test]
async fn a_stored_view_and_its_tail_are_the_fold_of_all_events() {
    let first = seed();
    for seed in first..first + 3 {
        for disk in [TestDisk::directory(), TestDisk::memory()] {
            agrees_with_its_events::<Agent>(&disk, seed, agent_body).await;
        }
        for disk in [TestDisk::directory(), TestDisk::memory()] {
            agrees_with_its_events::<Tally>(&disk, seed, tally_body).await;
        }
    }
}

#[actix::test]
async fn two_stores_use_each_others_views() {
    for disk in [TestDisk::directory(), TestDisk::memory()] {
        let one = open::<Tally>(&disk, |_| ()).await;
        let other = open::<Tally>(&disk, |_| ()).await;
        let session = one.open_session("s").await.unwrap();
        for n in 1..=20 {
            session.append(TallyBody::Added(n)).unwrap().await.unwrap();
        }
        eventually("a view is stored", || one.stats().snapshots_written > 0).await;
        assert_eq!(other.read_state("s").await.unwrap().view, *session.view().unwrap());
        let taken = other.open_session("s").await.unwrap();
        taken.take_over().await.unwrap();
        taken.append(TallyBody::Added(100)).unwrap().await.unwrap();
        assert_eq!(*taken.view().unwrap().state(), folded(&taken).await);
        assert!(other.stats().snapshot_hits > 0);
        // The store that lost the session reads what the other wrote.
        assert_eq!(one.read_state("s").await.unwrap().view, *taken.view().unwrap());
        one.close().await.unwrap();
        other.close().await.unwrap();
    }
}

#[actix::test]
async fn an_append_key_from_before_a_stored_view_is_still_known() {
    for disk in [TestDisk::directory(), TestDisk::memory()] {
        let append = || foldlog::Append::new(TallyBody::Added(4)).key(foldlog::AppendKey::new("k").unwrap());
        let store = open::<Tally>(&disk, |_| ()).await;
        let session = store.open_session("s").await.unwrap();
        let first = session.append_with(append()).unwrap().await.unwrap();
        store.close().await.unwrap();
        let store = open::<Tally>(&disk, |_| ()).await;
        let session = store.open_session("s").await.unwrap();
        assert_eq!(store.stats().snapshot_hits, 1);
        let again = session.append_with(append()).unwrap().await.unwrap();
        assert!(again.repeated);
        assert_eq!((again.head, session.view().unwrap().head()), (first.head, first.head));
        store.close().await.unwrap();
    }
}

#[actix::test]
async fn equal_views_have_equal_digests_whatever_they_came_from() {
    let disk = TestDisk::directory();
    let mut dice = Dice::new(11);
    let store = open::<Agent>(&disk, |_| ()).await;
    let session = store.open_session("s").await.unwrap();
    for _ in 0..60 {
        append_one(&session, &mut dice, agent_body).await;
    }
    let live = session.view().unwrap().digest();
    assert!(live.is_some());
    store.close().await.unwrap();
    let store = open::<Agent>(&disk, |_| ()).await;
    assert_eq!(store.open_session("s").await.unwrap().view().unwrap().digest(), live);
    assert_eq!(store.stats().snapshot_hits, 1);
    store.close().await.unwrap();
}

/// Such a view stands before the last event of its log, and must not be stored as the view of the last event.
#[actix::test]
async fn a_session_that_cannot_be_folded_to_its_end_stores_no_view() {
    for disk in [TestDisk::directory(), TestDisk::memory()] {
        for _ in 0..2 {
            let store = open::<Tally>(&disk, |_| ()).await;
            let session = store.open_session("s").await.unwrap();
            if session.view().unwrap().head() == EventId::ZERO {
                session.append(TallyBody::Added(1)).unwrap().await.unwrap();
                session.append(Switch::on().trap(Place::Apply)).unwrap().await.unwrap();
            }
            assert_eq!((session.view().unwrap().sum, session.view().unwrap().head()), (1, EventId::new(1)));
            assert_eq!(session.condition(), Condition::Unfoldable { event: EventId::new(2) });
            store.close().await.unwrap();
        }
    }
}
