//! Goal: 32 processes that open one directory at once, work and close get no error; nor do they after all were killed and
//! come back together. Method: children behind a gate, each with sessions, batches, blobs and append keys of its own.

use std::collections::HashMap;
use std::path::Path;

use foldlog::{Append, AppendKey, Session, Store, StoreConfig};

use crate::support::child::{Neighbour, hear, tell};
use crate::support::{Probe, ProbeBody, all_events, append, files_below, look, open, usable, watchdog, within};

const PROCESSES: usize = 32;
const SESSIONS: usize = 2;
const ROUNDS: u64 = 3;
/// What one round appends to a session: one, a batch of three, one with a key, one with a blob of its own, one with a
/// blob that everyone puts.
const ROUND_EVENTS: u64 = 7;

/// Says that it is there, and begins when it is told to.
async fn behind_the_gate(directory: &Path) -> Store<Probe> {
    tell("ready");
    hear().unwrap();
    open(&StoreConfig::directory(directory)).await
}

async fn sessions_of(store: &Store<Probe>, name: &str) -> Vec<Session<Probe>> {
    let mut sessions = Vec::new();
    for n in 0..SESSIONS {
        sessions.push(within(store.open_session(format!("{name}-{n}"))).await.unwrap());
    }
    sessions
}

async fn round(store: &Store<Probe>, session: &Session<Probe>) {
    let before = session.view().unwrap().head();
    let batch = vec![ProbeBody::Added(1), ProbeBody::Noted("x".repeat(100)), ProbeBody::Added(1)];
    let receipts = [
        session.append(ProbeBody::Added(1)).unwrap(),
        session.append_batch(batch).unwrap(),
        session.append_with(keyed(session, before.get())).unwrap(),
    ];
    for receipt in receipts {
        within(receipt).await.unwrap();
    }
    for bytes in [format!("blob of {} at {before}", session.id()), "the same bytes from everyone".to_owned()] {
        let blob = within(store.put_bytes(bytes.into_bytes())).await.unwrap();
        append(session, ProbeBody::Referenced(blob)).await.unwrap();
    }
    assert!(within(session.append_with(keyed(session, before.get())).unwrap()).await.unwrap().repeated);
    assert_eq!(session.view().unwrap().head().get(), before.get() + ROUND_EVENTS);
}

fn keyed(session: &Session<Probe>, n: u64) -> Append<Probe> {
    Append::new(ProbeBody::Added(1)).key(AppendKey::new(format!("{} {n}", session.id())).unwrap())
}

/// Opens, appends to its own sessions, closes.
pub(crate) async fn work(directory: &Path, name: &str) {
    let store = behind_the_gate(directory).await;
    for session in sessions_of(&store, name).await {
        for _ in 0..ROUNDS {
            round(&store, &session).await;
        }
    }
    within(store.close()).await.unwrap();
    tell("done");
}

/// The same without an end.
pub(crate) async fn work_until_killed(directory: &Path, name: &str) {
    let store = behind_the_gate(directory).await;
    let sessions = sessions_of(&store, name).await;
    for session in &sessions {
        tell(format!("found {} {}", session.id(), session.view().unwrap().head()));
    }
    loop {
        for session in &sessions {
            let session_head = append(session, ProbeBody::Added(1)).await.unwrap().head;
            tell(format!("acknowledged {} {session_head}", session.id()));
            let blob = within(store.put_bytes(format!("{} {session_head}", session.id()).into_bytes())).await.unwrap();
            let head = append(session, ProbeBody::Referenced(blob)).await.unwrap().head;
            tell(format!("acknowledged {} {head}", session.id()));
        }
    }
}

fn start_all(task: &str, directory: &Path) -> Vec<Neighbour> {
    let mut children: Vec<_> =
        (0..PROCESSES).map(|n| Neighbour::start(task, &format!("process-{n}"), directory)).collect();
    for child in &children {
        child.expect("ready");
    }
    for child in &mut children {
        child.command("go");
    }
    children
}

async fn whole(directory: &Path, events_of: impl Fn(&str) -> u64) {
    let store = open(&StoreConfig::directory(directory)).await;
    let sessions = within(store.list_sessions(None, 1000)).await.unwrap();
    assert_eq!(sessions.len(), PROCESSES * SESSIONS);
    for summary in sessions {
        let name = summary.id.as_str();
        let (view, head) = look(&store, name).await;
        assert!(head.get() >= events_of(name), "{name}: {} were acknowledged, {head} are there", events_of(name));
        assert_eq!((view.head(), view.events), (head, head.get()));
    }
    assert!(within(store.verify()).await.unwrap().is_sound());
    assert_eq!(files_below(&directory.join("tmp")), Vec::<std::path::PathBuf>::new());
    assert_eq!(std::fs::read_dir(directory.join("owners")).unwrap().count(), 1, "what others left is cleared");
    usable(&store, "process-0-0").await;
    within(store.close()).await.unwrap();
}

#[actix::test]
async fn thirty_two_processes_that_make_a_directory_together_and_append_and_close_get_no_error() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    // Not there yet, nor is its parent.
    let root = directory.path().join("hosts/store");
    for again in 1..=2 {
        for (n, child) in start_all("work", &root).into_iter().enumerate() {
            let (told, status) = child.end();
            assert!(status.success() && told == ["done"], "process {n}: {told:?}, {status}");
        }
        whole(&root, |_| again * ROUNDS * ROUND_EVENTS).await;
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
            for line in child.kill() {
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
    whole(&root, |name| acknowledged.get(name).copied().unwrap_or(0)).await;
    let store = open(&StoreConfig::directory(&root)).await;
    for name in acknowledged.keys() {
        let session = within(store.open_session(name)).await.unwrap();
        assert!(all_events(&session).await.iter().zip(1..).all(|(event, id)| event.id().get() == id));
    }
    within(store.close()).await.unwrap();
}
