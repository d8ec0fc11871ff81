//! Goal: a retention deletes what its rules say and nothing else, and a dry run says the same before. Method: sessions
//! of known ages, sizes and labels, some of them open, owned elsewhere or unfinished; a clock that stands still.

use std::collections::BTreeMap;
use std::time::Duration;

use foldlog::agent::{AgentBody, Turn};
use foldlog::testkit::{Call, Faults, Group, ManualClock, Port};
use foldlog::{
    Clock, Describe, ErrorKind, RetainMode, Retained, Retention, Session, SessionModel, Store, Timestamp, UntypedStore,
    Verdict, WhyKept,
};

use crate::common::*;

on_both_media!(
    sessions_go_by_age,
    sessions_go_by_number_and_by_bytes,
    only_sessions_with_the_label_are_looked_at,
    what_is_open_owned_or_unfinished_stays,
    a_store_that_only_reads_says_what_would_go,
    a_session_that_gets_an_event_meanwhile_stays,
    a_session_that_is_opened_meanwhile_stays_with_its_turn,
    an_open_that_meets_a_deletion_waits_and_makes_a_new_session,
    an_open_that_meets_a_refused_deletion_waits_and_gets_the_session,
    without_a_rule_nothing_goes,
    room_comes_back,
);

const HOUR: Duration = Duration::from_secs(3600);

/// A clock that a test moves, and a store on it.
struct Hours {
    clock: ManualClock,
    now: Timestamp,
}

impl Hours {
    async fn store(disk: &TestDisk) -> (Self, Store<Tally>) {
        let now = Timestamp::from_micros(1_000_000_000_000_000);
        let clock = ManualClock::new(now);
        let of_store = Clock::Manual(clock.clone());
        (Self { clock, now }, disk.try_open_model(|config| config.clock = of_store).await.unwrap())
    }

    fn pass(&mut self, hours: i64) {
        self.now = Timestamp::from_micros(self.now.as_micros() + hours * HOUR.as_micros() as i64);
        self.clock.set(self.now);
    }
}

/// A closed session with one event.
async fn made(store: &Store<Tally>, name: &str) {
    let session = store.open_session(name).await.unwrap();
    append(&session, TallyBody::Added(1)).await.unwrap();
    soon(session.close()).await.unwrap();
}

fn verdicts(retained: &Retained) -> BTreeMap<String, String> {
    retained.sessions.iter().map(|session| (session.id.to_string(), session.verdict.to_string())).collect()
}

fn gone(retained: &Retained) -> Vec<String> {
    let gone = retained.sessions.iter().filter(|session| matches!(session.verdict, Verdict::Gone));
    gone.map(|session| session.id.to_string()).collect()
}

/// The dry run, and then what it has said.
async fn retained<M: SessionModel>(store: &Store<M>, retention: &Retention) -> Retained {
    let said = soon(store.retain(retention, RetainMode::DryRun)).await.unwrap();
    let before: Vec<_> = names(store).await;
    let done = soon(store.retain(retention, RetainMode::Apply)).await.unwrap();
    assert_eq!(verdicts(&said), verdicts(&done));
    assert_eq!((said.gone(), said.record_bytes), (done.gone(), done.record_bytes));
    assert_eq!((said.freed_bytes, said.freeable_bytes), (0, said.record_bytes));
    let gone = gone(&done);
    let left: Vec<_> = before.into_iter().filter(|name| !gone.contains(name)).collect();
    assert_eq!(names(store).await, left);
    assert!(soon(store.verify()).await.unwrap().is_sound());
    done
}

async fn names<M: SessionModel>(store: &Store<M>) -> Vec<String> {
    store.list_sessions(None, 1000).await.unwrap().into_iter().map(|summary| summary.id.to_string()).collect()
}

async fn sessions_go_by_age(disk: TestDisk) {
    let (mut hours, store) = Hours::store(&disk).await;
    for name in ["first", "second", "third"] {
        made(&store, name).await;
        hours.pass(1);
    }
    // Without an event its age is that of its creation.
    soon(store.open_session("empty").await.unwrap().close()).await.unwrap();
    let retention = Retention::new().unchanged_for(HOUR + HOUR / 2);
    let done = retained(&store, &retention).await;
    assert_eq!(gone(&done), ["second", "first"], "the latest first");
    assert_eq!(done.sessions[0].id.as_str(), "empty");
    hours.pass(2);
    made(&store, "new").await;
    assert_eq!(gone(&retained(&store, &retention).await), ["empty", "third"]);
    assert_eq!(names(&store).await, ["new"]);
    soon(store.close()).await.unwrap();
}

async fn sessions_go_by_number_and_by_bytes(disk: TestDisk) {
    let (mut hours, store) = Hours::store(&disk).await;
    for name in ["a", "b", "c", "d", "e"] {
        let session = store.open_session(name).await.unwrap();
        append(&session, TallyBody::Noted(name.repeat(1000))).await.unwrap();
        soon(session.close()).await.unwrap();
        hours.pass(1);
    }
    assert_eq!(gone(&retained(&store, &Retention::new().sessions_max(4)).await), ["a"]);
    let bytes = soon(store.retain(&Retention::new(), RetainMode::DryRun)).await.unwrap();
    assert!(bytes.sessions.iter().all(|session| (1000..1200).contains(&session.record_bytes)), "{bytes:?}");
    assert!(bytes.sessions.iter().all(|session| session.events == 1));
    let done = retained(&store, &Retention::new().record_bytes_max(2500)).await;
    assert_eq!(gone(&done), ["c", "b"]);
    assert_eq!(done.record_bytes, done.freed_bytes + done.freeable_bytes);
    soon(store.close()).await.unwrap();
}

async fn only_sessions_with_the_label_are_looked_at(disk: TestDisk) {
    let store = disk.open_model::<Tally>().await;
    for (name, kind) in [("a", "scratch"), ("b", "scratch"), ("c", "kept")] {
        let session: Session<Tally> = store.open_session(name).await.unwrap();
        session.describe(Describe::new().label("kind", kind)).unwrap().await.unwrap();
        soon(session.close()).await.unwrap();
    }
    made(&store, "none").await;
    let done = retained(&store, &Retention::new().sessions_max(0).labeled("kind", "scratch")).await;
    assert_eq!(done.sessions.len(), 2);
    assert_eq!(names(&store).await, ["c", "none"]);
    soon(store.close()).await.unwrap();
}

async fn what_is_open_owned_or_unfinished_stays(disk: TestDisk) {
    let (store, other) = (disk.open().await, disk.open().await);
    for (name, body) in [("plain", noted(1)), ("begun", AgentBody::TurnStarted(Turn::default()))] {
        let session = store.open_session(name).await.unwrap();
        append(&session, body).await.unwrap();
        soon(session.close()).await.unwrap();
    }
    let owned = other.open_session("owned").await.unwrap();
    append(&owned, noted(1)).await.unwrap();
    let emptied = store.open_session("emptied").await.unwrap();
    append(&emptied, noted(1)).await.unwrap();
    eventually("empty", || store.empty_idle_sessions() > 0).await;
    let retention = Retention::new().sessions_max(0);
    let done = retained(&store, &retention).await;
    assert_eq!(gone(&done), ["plain"]);
    let why = |name: &str| done.sessions.iter().find(|session| session.id.as_str() == name).unwrap().verdict.clone();
    assert!(matches!(why("emptied"), Verdict::Kept(WhyKept::Open)));
    assert!(matches!(why("owned"), Verdict::Kept(WhyKept::Owned(_))));
    assert!(matches!(why("begun"), Verdict::Kept(WhyKept::Unfinished(1))));
    assert_eq!(gone(&retained(&store, &retention.unfinished_too()).await), ["begun"]);
    soon(other.close()).await.unwrap();
    soon(store.close()).await.unwrap();
}

async fn a_store_that_only_reads_says_what_would_go(disk: TestDisk) {
    let store = disk.open().await;
    for (name, body) in [("plain", noted(1)), ("begun", AgentBody::TurnStarted(Turn::default()))] {
        let session = store.open_session(name).await.unwrap();
        append(&session, body).await.unwrap();
        soon(session.close()).await.unwrap();
    }
    let owned = store.open_session("owned").await.unwrap();
    append(&owned, noted(1)).await.unwrap();
    let reading = soon(Store::open_read_only(disk.config())).await.unwrap();
    let untyped = soon(UntypedStore::open(disk.config())).await.unwrap();
    let retention = Retention::new().sessions_max(0);
    let would = soon(reading.retain_dry_run(&retention)).await.unwrap();
    assert_eq!(gone(&would), ["plain"]);
    assert_eq!(would.freeable_bytes, would.record_bytes);
    let why = |name: &str| would.sessions.iter().find(|session| session.id.as_str() == name).unwrap().verdict.clone();
    let owner = soon(untyped.living_owner("owned")).await.unwrap().unwrap();
    assert!(matches!(why("owned"), Verdict::Kept(WhyKept::Owned(found)) if found == owner && owner.in_this_process));
    assert_eq!(soon(untyped.living_owner("plain")).await.unwrap(), None);
    assert_refused!(soon(untyped.living_owner("absent")).await, ErrorKind::UnknownSession { .. });
    assert!(matches!(why("begun"), Verdict::Kept(WhyKept::Unfinished(1))));
    let all = retention.clone().unfinished_too();
    assert_eq!(soon(reading.retain_dry_run(&all)).await.unwrap().gone(), 2);
    let none = Retention::new().unchanged_for(HOUR);
    assert_eq!(soon(reading.retain_dry_run(&none)).await.unwrap().gone(), 0);
    assert_eq!(names(&store).await.len(), 3);
    assert_eq!(soon(untyped.pending_erasures()).await.unwrap(), 0);
    // Nobody owns it any more when its store is closed.
    soon(store.close()).await.unwrap();
    assert_eq!(soon(untyped.living_owner("owned")).await.unwrap(), None);
    assert_eq!(soon(reading.retain_dry_run(&all)).await.unwrap().gone(), 3);
    soon(reading.close()).await.unwrap();
    soon(untyped.close()).await.unwrap();
}

async fn a_session_that_gets_an_event_meanwhile_stays(disk: TestDisk) {
    let faults = Faults::default();
    let store: Store<Tally> = disk.try_open_model(|config| *config = faults.watch(config.clone())).await.unwrap();
    made(&store, "s").await;
    // Held where it is about to delete, with all of its reads done.
    let mut held = faults.hold(Port::Commit);
    let retention = Retention::new().sessions_max(0);
    let retain = actix::spawn({
        let store = store.clone();
        async move { soon(store.retain(&retention, RetainMode::Apply)).await.unwrap() }
    });
    let writer = disk.open_model::<Tally>().await;
    soon(held.reached()).await;
    usable(&writer, "s").await;
    soon(writer.close()).await.unwrap();
    held.release();
    let done = soon(retain).await.unwrap();
    assert!(matches!(done.sessions[0].verdict, Verdict::Kept(WhyKept::Changed)), "{done:?}");
    assert_head(&store.resume_session("s").await.unwrap(), 2).await;
    soon(store.close()).await.unwrap();
}

/// A store with the closed session `s`, and the call that deletes it.
async fn watched(disk: &TestDisk) -> (Faults, Store<Tally>) {
    let faults = Faults::default();
    let store: Store<Tally> = disk.try_open_model(|config| *config = faults.watch(config.clone())).await.unwrap();
    made(&store, "s").await;
    (faults, store)
}

/// Deletes every session that nothing keeps.
async fn retain_none(store: Store<Tally>) -> Retained {
    soon(store.retain(&Retention::new().sessions_max(0), RetainMode::Apply)).await.unwrap()
}

fn is_deletion(call: &Call) -> bool {
    matches!(call, Call::Commit { group } if group.iter().any(|write| matches!(write, Group::Delete { .. })))
}

async fn a_session_that_is_opened_meanwhile_stays_with_its_turn(disk: TestDisk) {
    let (faults, store) = watched(&disk).await;
    // Held where it folds the session, after it has found that nobody has it open.
    let mut held = faults.hold(Port::Page);
    let retain = actix::spawn(retain_none(store.clone()));
    soon(held.reached()).await;
    let session = soon(store.open_session("s")).await.unwrap();
    let turn = soon(session.take_turn()).await.unwrap();
    held.release();
    let done = soon(retain).await.unwrap();
    assert!(matches!(done.sessions[0].verdict, Verdict::Kept(WhyKept::Open)), "{done:?}");
    assert!(turn.is_held());
    append(&session, TallyBody::Added(2)).await.unwrap();
    assert_head(&session, 2).await;
    drop(turn);
    soon(session.close()).await.unwrap();
    assert_eq!(retain_none(store.clone()).await.gone(), 1);
    soon(store.close()).await.unwrap();
}

async fn an_open_that_meets_a_deletion_waits_and_makes_a_new_session(disk: TestDisk) {
    let (faults, store) = watched(&disk).await;
    let mut held = faults.hold_where(Port::Commit, is_deletion);
    let retain = actix::spawn(retain_none(store.clone()));
    soon(held.reached()).await;
    let found = faults.calls(Port::Find);
    let (one, other) = (store.clone(), store.clone());
    let opening = actix::spawn(async move { soon(one.open_session("s")).await.unwrap() });
    let resuming = actix::spawn(async move { soon(other.resume_session("s")).await });
    eventually("both look for it", || faults.calls(Port::Find) == found + 2).await;
    held.release();
    assert_eq!(soon(retain).await.unwrap().gone(), 1);
    let session = soon(opening).await.unwrap();
    append(&session, TallyBody::Added(7)).await.unwrap();
    assert_head(&session, 1).await;
    // It meets the new session, or none if it was first.
    match soon(resuming).await.unwrap() {
        Ok(resumed) => assert_head(&resumed, 1).await,
        Err(error) => assert!(matches!(error.kind(), ErrorKind::UnknownSession { .. }), "{error}"),
    }
    soon(store.close()).await.unwrap();
}

async fn an_open_that_meets_a_refused_deletion_waits_and_gets_the_session(disk: TestDisk) {
    let (faults, store) = watched(&disk).await;
    let mut held = faults.hold_where(Port::Commit, is_deletion);
    let retain = actix::spawn(retain_none(store.clone()));
    let writer = disk.open_model::<Tally>().await;
    soon(held.reached()).await;
    usable(&writer, "s").await;
    soon(writer.close()).await.unwrap();
    let found = faults.calls(Port::Find);
    let opener = store.clone();
    let opening = actix::spawn(async move { soon(opener.open_session("s")).await.unwrap() });
    eventually("it looks for it", || faults.calls(Port::Find) == found + 1).await;
    // Nobody waits for the answer any more; the open gets it all the same.
    retain.abort();
    held.release();
    let session = soon(opening).await.unwrap();
    assert_head(&session, 2).await;
    append(&session, TallyBody::Added(3)).await.unwrap();
    soon(store.close()).await.unwrap();
}

async fn without_a_rule_nothing_goes(disk: TestDisk) {
    let store = disk.open_model::<Tally>().await;
    made(&store, "s").await;
    assert_eq!(retained(&store, &Retention::new()).await.gone(), 0);
    soon(store.close()).await.unwrap();
}

async fn room_comes_back(disk: TestDisk) {
    let store = disk.open_model::<Tally>().await;
    made(&store, "kept").await;
    let session = store.open_session("large").await.unwrap();
    for _ in 0..40 {
        let bodies = (0..50).map(|_| TallyBody::Noted("x".repeat(2000))).collect();
        soon(session.append_batch(bodies).unwrap()).await.unwrap();
    }
    soon(session.close()).await.unwrap();
    made(&store, "later").await;
    let before = disk.path().map(|path| std::fs::metadata(path.join("events.db")).unwrap().len());
    let done = retained(&store, &Retention::new().record_bytes_max(100_000)).await;
    assert_eq!(gone(&done), ["large", "kept"]);
    assert!(done.erased.as_ref().unwrap().is_complete());
    assert!(done.record_bytes > 4_000_000 && done.freed_bytes > 2_500_000, "{done:?}");
    soon(store.close()).await.unwrap();
    if let Some(before) = before {
        let after = std::fs::metadata(disk.path().unwrap().join("events.db")).unwrap().len();
        assert!(after * 2 < before.max(4_000_000), "{before} bytes became {after}");
    }
}
