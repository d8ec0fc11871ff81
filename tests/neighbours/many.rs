//! Goal: 32 processes that open one directory at once, work and close get no error; nor do they after all were killed
//! and come back together. Method: children behind a gate, each with sessions, batches, blobs and append keys of its
//! own.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::path::Path;

use foldlog::{Append, Session, Store, StoreConfig};

use crate::common::child::{Child, hear, tell};
use crate::common::*;

const PROCESSES: usize = 32;
const SESSIONS: usize = 2;
const ROUNDS: u64 = 3;
/// What one round appends to a session: one, a batch of three, one with a key, one with a blob of its own, one with a
/// blob that everyone puts.
const ROUND_EVENTS: u64 = 7;

/// Says that it is there, and begins when it is told to.
async fn behind_the_gate(directory: &Path) -> Store<Tally> {
    tell("ready");
    hear().unwrap();
    open(&StoreConfig::directory(directory)).await
}

async fn sessions_of(store: &Store<Tally>, name: &str) -> Vec<Session<Tally>> {
    let mut sessions = Vec::new();
    for n in 0..SESSIONS {
        sessions.push(soon(store.open_session(format!("{name}-{n}"))).await.unwrap());
    }
    sessions
}

async fn round(store: &Store<Tally>, session: &Session<Tally>) {
    let before = session.view().unwrap().head();
    let batch = vec![TallyBody::Added(1), TallyBody::Noted("x".repeat(100)), TallyBody::Added(1)];
    let receipts = [
        session.append(TallyBody::Added(1)).unwrap(),
        session.append_batch(batch).unwrap(),
        session.append_with(keyed_once(session, before.get())).unwrap(),
    ];
    for receipt in receipts {
        soon(receipt).await.unwrap();
    }
    for bytes in [format!("blob of {} at {before}", session.id()), "the same bytes from everyone".to_owned()] {
        let blob = soon(store.put_bytes(bytes.into_bytes())).await.unwrap();
        append(session, TallyBody::Attached(blob)).await.unwrap();
    }
    assert!(soon(session.append_with(keyed_once(session, before.get())).unwrap()).await.unwrap().repeated);
    assert_eq!(session.view().unwrap().head().get(), before.get() + ROUND_EVENTS);
}

fn keyed_once(session: &Session<Tally>, n: u64) -> Append<Tally> {
    keyed(TallyBody::Added(1), &format!("{} {n}", session.id()))
}

/// Opens, appends to its own sessions, which it closes and opens again after each round, and closes.
pub(crate) async fn work(directory: &Path, name: &str) {
    let store = behind_the_gate(directory).await;
    for _ in 0..ROUNDS {
        for session in sessions_of(&store, name).await {
            round(&store, &session).await;
            soon(session.close()).await.unwrap();
        }
    }
    soon(store.close()).await.unwrap();
    tell("done");
}

/// Appends to its own sessions until it is killed.
pub(crate) async fn work_until_killed(directory: &Path, name: &str) {
    let store = behind_the_gate(directory).await;
    let sessions = sessions_of(&store, name).await;
    for session in &sessions {
        tell(format!("found {} {}", session.id(), session.view().unwrap().head()));
    }
    loop {
        for session in &sessions {
            let session_head = append(session, TallyBody::Added(1)).await.unwrap().head;
            tell(format!("acknowledged {} {session_head}", session.id()));
            let blob = soon(store.put_bytes(format!("{} {session_head}", session.id()).into_bytes())).await.unwrap();
            let head = append(session, TallyBody::Attached(blob)).await.unwrap().head;
            tell(format!("acknowledged {} {head}", session.id()));
        }
    }
}

fn start_all(task: &str, directory: &Path) -> Vec<Child> {
    let mut children: Vec<_> =
        (0..PROCESSES).map(|n| Child::with_task(task, &format!("process-{n}"), directory)).collect();
    for child in &children {
        child.expect("ready");
    }
    for child in &mut children {
        child.say("go");
    }
    children
}

/// Checks the store from here, with what its sessions must hold.
async fn whole(directory: &Path, events_of: impl Fn(&str) -> RangeInclusive<u64>) {
    let store = open(&StoreConfig::directory(directory)).await;
    let sessions = soon(store.list_sessions(None, 1000)).await.unwrap();
    assert_eq!(sessions.len(), PROCESSES * SESSIONS);
    for summary in sessions {
        let name = summary.id.as_str();
        let (view, head) = look(&store, name).await;
        assert!(events_of(name).contains(&head.get()), "{name}: {head} are there, wanted {:?}", events_of(name));
        assert_eq!((view.head(), view.counters.event), (head, head.get()));
    }
    assert!(soon(store.verify()).await.unwrap().is_sound());
    assert_eq!(files_below(&directory.join("tmp")), Vec::<std::path::PathBuf>::new());
    assert_eq!(std::fs::read_dir(directory.join("owners")).unwrap().count(), 1, "what others left is cleared");
    usable(&store, "process-0-0").await;
    soon(store.close()).await.unwrap();
}

#[actix::test]
async fn thirty_two_processes_that_make_a_directory_together_and_append_and_close_get_no_error() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    // Neither the directory nor its parent is there yet.
    let root = directory.path().join("hosts/store");
    for again in 1..=2 {
        for (n, child) in start_all("work", &root).into_iter().enumerate() {
            let ended = child.end();
            assert!(ended.status.success() && ended.lines == ["done"], "process {n}: {ended:?}");
        }
        let events = again * ROUNDS * ROUND_EVENTS;
        whole(&root, |name| {
            // The look at the end of the round before appended one to the first session.
            let events = events + if name == "process-0-0" { again - 1 } else { 0 };
            events..=events
        })
        .await;
    }
    let blobs = files_below(&root.join("blobs")).len() as u64;
    assert_eq!(blobs, 2 * ROUNDS * (PROCESSES * SESSIONS) as u64 + 1, "one blob of everyone, the others their own");
}

#[actix::test]
async fn after_a_reboot_all_thirty_two_resume_their_sessions_at_once() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("store");
    let mut acknowledged: HashMap<String, u64> = HashMap::new();
    let mut total = 0;
    for boot in 0..4 {
        let mut children = start_all("work-on", &root);
        for child in &children {
            for _ in 0..SESSIONS {
                let found = child.next().unwrap();
                let (name, head) = found.strip_prefix("found ").unwrap().split_once(' ').unwrap();
                let known = acknowledged.get(name).copied().unwrap_or(0);
                let head: u64 = head.parse().unwrap();
                assert!(head >= known, "boot {boot}: {name} had {known} acknowledged, found {head}");
            }
            // Every one of them has written before any is killed.
            assert!(child.next().unwrap().starts_with("acknowledged "));
        }
        for child in &mut children {
            child.strike();
        }
        for child in children {
            for line in child.kill().lines {
                let Some((name, head)) = line.strip_prefix("acknowledged ").and_then(|told| told.split_once(' '))
                else {
                    panic!("{line}")
                };
                acknowledged.insert(name.to_owned(), head.parse().unwrap());
                total += 1;
            }
        }
    }
    println!("{total} appends were acknowledged to {PROCESSES} processes in 4 lives, 0 lost");
    whole(&root, |name| acknowledged.get(name).copied().unwrap_or(0)..=u64::MAX).await;
    let store = open(&StoreConfig::directory(&root)).await;
    for name in acknowledged.keys() {
        let session = soon(store.open_session(name)).await.unwrap();
        assert!(whole_log(&session).await.iter().zip(1..).all(|(event, id)| event.id().get() == id));
    }
    soon(store.close()).await.unwrap();
}
