//! Goal: each thing that a host does keeps its promises while the disk fails. Method: [`sweep`] each of them.

use super::common::{Tally, TallyBody, number_of, soon};
use super::{ERRORS, Fixture, Ledger, MISSED_MAX, assert_typed, bodies, each_fault, sweep};
use foldlog::testkit::{Lasting, TestDisk};
use foldlog::{Append, AppendKey, Describe, EventId, Restart, Store};

async fn goes_on(fixture: Fixture, what: &str) {
    fixture.goes_on(what).await;
}

/// Asserts that the view has moved by what was acknowledged, and by nothing else.
fn assert_moved(before: EventId, after: EventId, acknowledged: bool, events: u64) {
    let moved = if acknowledged { events } else { 0 };
    assert_eq!(after.get(), before.get() + moved, "the view moved without an acknowledgement, or the other way");
}

#[actix::test]
async fn a_fault_in_an_append_loses_nothing_and_is_named() {
    let act = async |fixture: &mut Fixture| {
        let before = fixture.session.view().unwrap().head();
        let body = TallyBody::Added(10);
        let answer = async { fixture.session.append(body.clone())?.await }.await;
        assert_moved(before, fixture.session.view().unwrap().head(), answer.is_ok(), 1);
        fixture.ledger.answered(&[body], &answer);
    };
    sweep("append", act, goes_on).await;
}

#[actix::test]
async fn a_fault_in_a_batch_loses_nothing_and_is_named() {
    let act = async |fixture: &mut Fixture| {
        let before = fixture.session.view().unwrap().head();
        let bodies: Vec<_> = (1..=30).map(TallyBody::Added).collect();
        let answer = async { fixture.session.append_batch(bodies.clone())?.await }.await;
        assert_moved(before, fixture.session.view().unwrap().head(), answer.is_ok(), 30);
        fixture.ledger.answered(&bodies, &answer);
    };
    sweep("batch", act, goes_on).await;
}

#[actix::test]
async fn a_fault_among_appends_in_flight_of_two_sessions_loses_nothing_and_is_named() {
    let act = async |fixture: &mut Fixture| {
        let Ok(other) = fixture.store.open_session("two").await else { return };
        let mine: Vec<_> =
            (1..=3).map(|n| (TallyBody::Added(n), fixture.session.append(TallyBody::Added(n)))).collect();
        let others: Vec<_> = (1..=3).map(|n| other.append(TallyBody::Added(n))).collect();
        for (body, receipt) in mine {
            let answer = async { receipt?.await }.await;
            fixture.ledger.answered(&[body], &answer);
        }
        for receipt in others {
            if let Err(error) = async { receipt?.await }.await {
                assert_typed(&error);
            }
        }
    };
    sweep("appends in flight", act, goes_on).await;
}

#[actix::test]
async fn a_fault_in_a_describe_loses_nothing_and_is_named() {
    let act = async |fixture: &mut Fixture| {
        let before = fixture.session.view().unwrap();
        let describe = Describe::new().title("described").label("a", "1");
        let answer = async { fixture.session.describe(describe)?.await }.await;
        let after = fixture.session.view().unwrap();
        assert_moved(before.head(), after.head(), answer.is_ok(), 1);
        let described = [after.core().title == "described", after.core().labels.contains_key("a")];
        assert_eq!(described, [answer.is_ok(); 2]);
        if let Err(error) = answer {
            assert_typed(&error);
        }
    };
    let after = async |fixture: Fixture, what: &str| {
        let title = fixture.session.view().unwrap().core().title.clone();
        let describe = Describe::new().label("b", "2");
        let mut answer = async { fixture.session.describe(describe.clone())?.await }.await;
        if answer.is_err() {
            // A recovery that met the fault may still be on its way.
            answer = async { fixture.session.describe(describe)?.await }.await;
        }
        assert!(answer.is_ok(), "{what}: {answer:?}");
        // What was not known to be written may turn out to be.
        let core = fixture.session.view().unwrap().core().clone();
        assert!(core.title == title || title.is_empty(), "{what}: {core:?} after {title}");
        assert_eq!(core.labels.contains_key("a"), core.title == "described", "{what}: all of it or nothing");
        fixture.goes_on(what).await;
    };
    sweep("describe", act, after).await;
}

/// A retry with the key finds out what became of the first try, and there is one copy.
#[actix::test]
async fn a_fault_in_an_append_with_a_key_or_in_its_retry_loses_nothing_and_is_named() {
    let keyed = || Append::<Tally>::new(TallyBody::Added(10)).key(AppendKey::new("turn-1").unwrap());
    let act = async |fixture: &mut Fixture| {
        if let Err(error) = async { fixture.session.append_with(keyed())?.await }.await {
            assert_typed(&error);
        }
    };
    let after = async |mut fixture: Fixture, what: &str| {
        let answer = async { fixture.session.append_with(keyed())?.await }.await;
        assert!(answer.is_ok(), "{what}: {answer:?}");
        fixture.ledger.told(&[TallyBody::Added(10)]);
        fixture.goes_on(what).await;
    };
    sweep("append with a key", act, after).await;
}

#[actix::test]
async fn a_fault_in_a_blob_or_in_a_reference_to_it_loses_nothing_and_is_named() {
    let act = async |fixture: &mut Fixture| {
        let blob = match fixture.store.put_bytes(vec![2; 5000]).await {
            Ok(blob) => blob,
            Err(error) => return assert_typed(&error),
        };
        let body = TallyBody::Attached(blob);
        let answer = async { fixture.session.append(body.clone())?.await }.await;
        fixture.ledger.answered(&[body], &answer);
    };
    let after = async |mut fixture: Fixture, what: &str| {
        // The same bytes can be put again, whatever the fault left of the first put.
        let blob = fixture.store.put_bytes(vec![2; 5000]).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(fixture.store.get_bytes(blob.digest).await.unwrap(), vec![2; 5000], "{what}");
        // The number stands between this reference and an earlier one whose outcome is not known.
        for body in [TallyBody::Added(3), TallyBody::Attached(blob)] {
            fixture.session.append(body.clone()).unwrap().await.unwrap();
            fixture.ledger.told(&[body]);
        }
        fixture.goes_on(what).await;
    };
    sweep("blob", act, after).await;
}

/// It has thousands of operations: a few of them, spread over all, unless `FOLDLOG_FAULTS=1` asks for each.
#[actix::test]
async fn a_fault_in_a_checkpoint_loses_nothing_and_is_named() {
    let apart = number_of("FOLDLOG_FAULTS").unwrap_or(29) as usize;
    let act = async |fixture: &mut Fixture| {
        let ended = |fixture: &Fixture| {
            let stats = fixture.store.stats();
            fixture.disk.has_failed() || stats.upkeep.runs + stats.upkeep.runs_blocked > 0
        };
        // Larger than what a checkpoint waits for: it follows the acknowledgement.
        let long: Vec<_> = (2..=6).map(|id| TallyBody::Named { id, name: "x".repeat(250_000) }).collect();
        let answer = async { fixture.session.append_batch(long.clone())?.await }.await;
        fixture.ledger.answered(&long, &answer);
        // The checkpoint has a thread of its own, and the next commits do the rest.
        while !ended(fixture) {
            let body = TallyBody::Added(5);
            let answer = async { fixture.session.append(body.clone())?.await }.await;
            fixture.ledger.answered(&[body], &answer);
        }
    };
    let (mut injected, mut in_database) = (0, 0);
    for error in ERRORS {
        let mut missed = 0;
        for skipped in (0..).step_by(apart) {
            let mut fixture = Fixture::new().await;
            fixture.disk.fail(skipped, error, Lasting::Once);
            soon(act(&mut fixture)).await;
            let met = fixture.disk.clear();
            fixture.goes_on(&format!("checkpoint, {error:?} after {skipped}, met by {met:?}")).await;
            missed = if met.is_empty() { missed + 1 } else { 0 };
            if missed == MISSED_MAX {
                break;
            }
            injected += met.len();
            in_database += met.iter().filter(|operation| operation.ends_with("events.db")).count();
        }
    }
    println!("checkpoint: {injected} faults, {in_database} of them in the database itself");
    assert!(in_database > 0, "no checkpoint met any");
}

#[actix::test]
async fn a_fault_in_a_recovery_loses_nothing_and_is_named() {
    let act = async |fixture: &mut Fixture| {
        fixture.session.address().unwrap().send(Restart).await.unwrap();
        fixture.store.persist_address().send(Restart).await.unwrap();
        fixture.store.blob_address().send(Restart).await.unwrap();
        if let Err(error) = fixture.session.recovery().await {
            assert_typed(&error);
        }
        let body = TallyBody::Added(10);
        let answer = async { fixture.session.append(body.clone())?.await }.await;
        fixture.ledger.answered(&[body], &answer);
    };
    sweep("recovery", act, goes_on).await;
}

#[actix::test]
async fn a_fault_in_reads_loses_nothing_and_is_named() {
    let act = async |fixture: &mut Fixture| {
        let view = fixture.session.view().unwrap();
        match fixture.session.events_after(EventId::ZERO, 100).await {
            Ok(page) => assert_eq!(page.events.len(), 3),
            Err(error) => assert_typed(&error),
        }
        match fixture.store.read_state("one").await {
            Ok(read) => assert_eq!(read.view, *view),
            Err(error) => assert_typed(&error),
        }
        match fixture.store.list_sessions(None, 10).await {
            Ok(list) => assert_eq!(list.len(), 1),
            Err(error) => assert_typed(&error),
        }
        match fixture.store.get_bytes(view.blobs[0].digest).await {
            Ok(bytes) => assert_eq!(bytes, vec![1; 100]),
            Err(error) => assert_typed(&error),
        }
    };
    sweep("reads", act, goes_on).await;
}

#[actix::test]
async fn a_fault_while_closing_loses_nothing_and_is_named() {
    let act = async |fixture: &mut Fixture| {
        let body = TallyBody::Added(10);
        let receipt = fixture.session.append(body.clone());
        let closed = fixture.store.close().await;
        let answer = async { receipt?.await }.await;
        fixture.ledger.answered(&[body], &answer);
        if let Err(error) = closed {
            assert_typed(&error);
        }
    };
    sweep("closing", act, async |fixture: Fixture, what: &str| fixture.reopens(what).await).await;
}

/// On a directory that is there.
#[actix::test]
async fn a_fault_while_opening_loses_nothing_and_is_named() {
    let act = async |fixture: &mut Fixture| match Store::<Tally>::open_model(fixture.config.clone()).await {
        Ok(store) => {
            match store.resume_session("one").await {
                Ok(session) => assert_eq!(session.view().unwrap().head().get(), 3),
                Err(error) => assert_typed(&error),
            }
            if let Err(error) = store.close().await {
                assert_typed(&error);
            }
        }
        Err(error) => assert_typed(&error),
    };
    sweep("opening", act, goes_on).await;
}

/// On an empty directory: the next store opens whatever a creation that failed has left.
#[actix::test]
async fn a_fault_while_creating_loses_nothing_and_is_named() {
    each_fault("creating", async |at| {
        let disk = TestDisk::volatile().unwrap();
        disk.fail(at.0, at.1, at.2);
        let mut ledger = Ledger::default();
        match Store::<Tally>::open_model(disk.config()).await {
            Ok(store) => {
                if let Ok(session) = store.open_session("one").await {
                    let answer = async { session.append(TallyBody::Added(1))?.await }.await;
                    ledger.answered(&[TallyBody::Added(1)], &answer);
                }
                if let Err(error) = store.close().await {
                    assert_typed(&error);
                }
            }
            Err(error) => assert_typed(&error),
        }
        let met = disk.clear();
        let what = format!("creating, {at:?}, met by {met:?}");
        let store = Store::<Tally>::open_model(disk.config()).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        let session = store.open_session("one").await.unwrap_or_else(|error| panic!("{what}: {error}"));
        ledger.must_be(&bodies(&session).await);
        session.append(TallyBody::Added(2)).unwrap().await.unwrap_or_else(|error| panic!("{what}: {error}"));
        store.close().await.unwrap();
        met
    })
    .await;
}
