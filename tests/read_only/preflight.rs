//! Goal: a preflight finds what a build cannot read, or reads otherwise than the build that stored it. Method: sessions
//! that one build of a model has written, looked at by others, and by one whose mistakes are switched on.

use foldlog::{
    Error, ErrorKind, Preflight, ReadOnlyStore, Session, SessionModel, SnapshotPolicy, Store, StoreConfig,
    ViewComparison,
};

use crate::common::tally::{OldTally, Place, Switch};
use crate::common::*;
use crate::{assert_untouched, listing};

on_both_media!(
    sessions_that_read_as_they_were_stored_are_clean,
    what_a_build_cannot_read_is_named_by_session_and_event,
    a_view_that_comes_out_differently_at_the_same_schema_is_a_finding,
    a_preflight_beside_a_host_that_appends_compares_what_both_have,
);

/// Each session that closes with events stores its view.
fn storing(config: &StoreConfig) -> StoreConfig {
    StoreConfig { snapshots: SnapshotPolicy { closing_events: 1, ..SnapshotPolicy::default() }, ..config.clone() }
}

async fn write(store: &Store<Tally>, name: &str, bodies: Vec<TallyBody>) -> Session<Tally> {
    let session = soon(store.open_session(name)).await.unwrap();
    for body in bodies {
        append(&session, body).await.unwrap();
    }
    session
}

async fn preflight<M: SessionModel>(config: &StoreConfig) -> Preflight {
    let store: ReadOnlyStore<M> = soon(Store::open_model_read_only(config.clone())).await.unwrap();
    let mut told = Vec::new();
    let found =
        soon(store.preflight(|session| told.push((session.session.clone(), session.is_clean())))).await.unwrap();
    assert_eq!(told.len() as u64, found.sessions);
    let findings: Vec<_> = told.into_iter().filter(|(_, is_clean)| !is_clean).map(|(session, _)| session).collect();
    assert_eq!(found.findings.iter().map(|finding| finding.session.clone()).collect::<Vec<_>>(), findings);
    soon(store.close()).await.unwrap();
    found
}

fn problem<'a>(found: &'a Preflight, session: &str) -> &'a Error {
    let finding = found.findings.iter().find(|finding| finding.session.as_str() == session);
    finding.unwrap_or_else(|| panic!("{session} is no finding: {found:?}")).problem.as_ref().unwrap()
}

async fn sessions_that_read_as_they_were_stored_are_clean(config: StoreConfig) {
    let store = open(&storing(&config)).await;
    let added = |n: u64| (0..n).map(TallyBody::Added).collect::<Vec<_>>();
    for (name, events) in [("a", 3), ("b", 300), ("empty", 0)] {
        let session = write(&store, name, added(events)).await;
        soon(session.close()).await.unwrap();
    }
    // Behind its stored view there are more.
    write(&store, "b", added(5)).await;
    let found = preflight::<Tally>(&config).await;
    assert!(found.is_clean(), "{found:?}");
    assert_eq!((found.sessions, found.events, found.more_findings), (3, 308, 0));
    let slowest = found.slowest.unwrap();
    assert!(slowest.elapsed <= found.elapsed && slowest.problem.is_none());
    soon(store.close()).await.unwrap();
}

async fn what_a_build_cannot_read_is_named_by_session_and_event(config: StoreConfig) {
    let store = open(&config).await;
    let (fails, panics) = (Switch::off(), Switch::off());
    write(&store, "sound", vec![TallyBody::Added(1)]).await;
    write(&store, "newer", vec![TallyBody::Added(1), TallyBody::named("n")]).await;
    write(&store, "undecodable", vec![TallyBody::Added(1), TallyBody::Added(1), fails.trap(Place::DecodeFails)]).await;
    write(&store, "panics", vec![TallyBody::Added(1), panics.trap(Place::Apply), TallyBody::Added(1)]).await;
    soon(store.close()).await.unwrap();

    assert!(preflight::<Tally>(&config).await.is_clean());
    fails.turn_on();
    panics.turn_on();
    let found = preflight::<Tally>(&config).await;
    assert_eq!((found.sessions, found.findings.len()), (4, 2), "{found:?}");
    let is_at = |event: u64| move |found: foldlog::EventId| found == at(event);
    assert!(matches!(problem(&found, "undecodable").kind(), ErrorKind::Undecodable { event, .. } if is_at(3)(*event)));
    assert!(matches!(problem(&found, "panics").kind(), ErrorKind::Unfoldable { event, .. } if is_at(2)(*event)));
    let panicked = found.findings.iter().find(|finding| finding.session.as_str() == "panics").unwrap();
    assert_eq!(panicked.head, at(1), "the view ends before the event");
    fails.turn_off();
    panics.turn_off();

    // A build that does not know a type says so, and reads the rest.
    let found = preflight::<OldTally>(&config).await;
    assert_eq!((found.sessions, found.findings.len()), (4, 1), "{found:?}");
    assert!(matches!(problem(&found, "newer").kind(), ErrorKind::NewerRecord { event, .. } if is_at(2)(*event)));
    assert!(found.findings[0].to_string().contains("event 2 of session newer"), "{}", found.findings[0]);
}

async fn a_view_that_comes_out_differently_at_the_same_schema_is_a_finding(config: StoreConfig) {
    let store = open(&storing(&config)).await;
    let switch = Switch::off();
    for (name, bodies) in [
        ("changed", vec![TallyBody::Added(1), switch.trap(Place::DecodeViewChanges)]),
        ("panics", vec![TallyBody::Added(1), switch.trap(Place::DecodeView)]),
        ("same", vec![TallyBody::Added(1)]),
    ] {
        soon(write(&store, name, bodies).await.close()).await.unwrap();
    }
    write(&store, "changed", vec![TallyBody::Added(1)]).await;
    soon(store.close()).await.unwrap();

    let compared = async || {
        let store: ReadOnlyStore<Tally> = soon(Store::open_model_read_only(config.clone())).await.unwrap();
        let mut found = Vec::new();
        soon(store.preflight(|session| found.push(session.stored_view.clone()))).await.unwrap();
        soon(store.close()).await.unwrap();
        found
    };
    assert_eq!(compared().await, [const { ViewComparison::Same }; 3]);
    switch.turn_on();
    let views = compared().await;
    assert!(
        matches!(&views[..], [ViewComparison::Changed, ViewComparison::Unusable { .. }, ViewComparison::Same]),
        "{views:?}"
    );
    let found = preflight::<Tally>(&config).await;
    let [finding] = &found.findings[..] else { panic!("{found:?}") };
    assert_eq!((finding.session.as_str(), finding.problem.is_none()), ("changed", true));
    assert!(finding.to_string().contains("VIEW_SCHEMA"), "{finding}");
    switch.turn_off();

    // Another VIEW_SCHEMA says that views differ: those that are stored are not used.
    let store: ReadOnlyStore<OldTally> = soon(Store::open_model_read_only(config.clone())).await.unwrap();
    let found = soon(store.preflight(|session| assert_eq!(session.stored_view, ViewComparison::OtherSchema))).await;
    assert!(found.unwrap().is_clean());
    soon(store.close()).await.unwrap();
}

async fn a_preflight_beside_a_host_that_appends_compares_what_both_have(config: StoreConfig) {
    let store = open(&storing(&config)).await;
    let session = write(&store, "s", (0..50).map(TallyBody::Added).collect()).await;
    soon(session.close()).await.unwrap();
    let session = soon(store.open_session("s")).await.unwrap();
    let reader: ReadOnlyStore<Tally> = soon(Store::open_model_read_only(config.clone())).await.unwrap();
    for _ in 0..20 {
        let receipts: Vec<_> = (0..50).map(|n| session.append(TallyBody::Added(n)).unwrap()).collect();
        let found =
            soon(reader.preflight(|session| assert_eq!(session.stored_view, ViewComparison::Same))).await.unwrap();
        assert!(found.is_clean() && found.events >= 50, "{found:?}");
        for receipt in receipts {
            soon(receipt).await.unwrap();
        }
    }
    soon(reader.close()).await.unwrap();
    soon(store.close()).await.unwrap();
}

#[actix::test]
async fn a_preflight_changes_no_file() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    crate::prepared(directory.path()).await;
    let before = listing(directory.path());
    assert!(preflight::<Tally>(&StoreConfig::directory(directory.path())).await.is_clean());
    assert_untouched(directory.path(), &before);
}
