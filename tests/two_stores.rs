//! Goal: one store writes a session at a time, every other one reads it, and it changes hands without a gap. Method: two
//! stores on one medium in one process, on both media; then other processes, which are this test binary run again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use foldlog::{ErrorKind, EventId, Item, Store, StoreConfig, SubscribeFrom};
use futures::StreamExt;
use support::{Probe, ProbeBody, all_events, append, assert_kind, ids, look, on_both, open, usable, watchdog, within};

on_both! {
    a_session_that_another_store_writes_is_read_only_and_names_its_owner,
    a_session_goes_on_once_its_owner_has_closed_the_store,
    a_session_goes_on_once_its_owner_has_closed_the_session,
    a_store_that_is_dropped_lets_go_of_its_sessions,
    another_session_is_free,
    two_stores_that_create_a_session_at_once_have_one,
    ids_stay_dense_through_many_changes_of_hands,
    subscribers_of_a_reader_get_what_the_owner_wrote_once_it_takes_over,
    appends_that_wait_behind_a_refused_claim_are_all_refused,
    an_append_key_holds_across_stores,
    a_turn_is_taken_in_one_store_only,
    a_reader_that_subscribes_gets_what_is_in_the_log,
}

async fn a_session_that_another_store_writes_is_read_only_and_names_its_owner(config: StoreConfig) {
    let owner = open(&config).await;
    let owned = within(owner.open_session("s")).await.unwrap();
    append(&owned, ProbeBody::Added(1)).await.unwrap();

    let reader = open(&config).await;
    let read = within(reader.open_session("s")).await.unwrap();
    assert_eq!(*read.view().unwrap(), *owned.view().unwrap());
    for n in 2..5 {
        assert_kind!(
            append(&read, ProbeBody::Added(100)).await,
            ErrorKind::OwnedElsewhere { session, owner }
                if session.as_str() == "s" && owner.process == std::process::id() && !owner.host.is_empty()
                    && owner.since.as_micros() > 0 && !owner.id.is_empty()
        );
        // The owner goes on, and what it writes can be read elsewhere.
        append(&owned, ProbeBody::Added(1)).await.unwrap();
        assert_eq!(all_events(&read).await.len(), n);
        assert_eq!(look(&reader, "s").await, ((*owned.view().unwrap()).clone(), EventId::new(n as u64)));
    }
    assert_eq!(read.view().unwrap().head(), EventId::new(1), "a view moves when its own store recovers");
    assert_eq!(owned.view().unwrap().sum, 4);
    let text = append(&read, ProbeBody::Added(100)).await.unwrap_err().to_string();
    assert!(text.contains(&std::process::id().to_string()) && text.contains('s'), "{text}");
    within(reader.close()).await.unwrap();
    append(&owned, ProbeBody::Added(1)).await.unwrap();
    within(owner.close()).await.unwrap();
}

async fn a_turn_is_taken_in_one_store_only(config: StoreConfig) {
    let (owner, reader) = (open(&config).await, open(&config).await);
    let owned = within(owner.open_session("s")).await.unwrap();
    let read = within(reader.open_session("s")).await.unwrap();
    append(&owned, ProbeBody::Added(1)).await.unwrap();
    let turn = within(owned.take_turn()).await.unwrap();
    for _ in 0..2 {
        assert_kind!(within(read.take_turn()).await, ErrorKind::OwnedElsewhere { .. });
    }
    drop(turn);
    assert_kind!(within(read.take_turn()).await, ErrorKind::OwnedElsewhere { .. });
    within(owner.close()).await.unwrap();
    let _turn = within(read.take_turn()).await.unwrap();
    assert_eq!(read.view().unwrap().sum, 1, "whoever has the turn has the view");
    assert_kind!(within(read.take_turn()).await, ErrorKind::TurnInFlight { .. });
    within(reader.close()).await.unwrap();
}

async fn a_reader_that_subscribes_gets_what_is_in_the_log(config: StoreConfig) {
    let (owner, reader) = (open(&config).await, open(&config).await);
    let owned = within(owner.open_session("s")).await.unwrap();
    let read = within(reader.open_session("s")).await.unwrap();
    for n in 1..=3 {
        append(&owned, ProbeBody::Added(n)).await.unwrap();
    }
    let mut stream = within(read.subscribe(SubscribeFrom::After(EventId::ZERO))).await.unwrap();
    for n in 1..=3 {
        let item = within(stream.next()).await;
        assert!(matches!(&item, Some(Item::Event(event)) if event.id() == EventId::new(n)), "{item:?}");
    }
    assert_eq!(read.view().unwrap().sum, 6);
    within(owner.close()).await.unwrap();
    within(reader.close()).await.unwrap();
}

async fn a_session_goes_on_once_its_owner_has_closed_the_store(config: StoreConfig) {
    goes_on_after(config, async |store, _| within(store.close()).await.unwrap()).await;
}

async fn a_session_goes_on_once_its_owner_has_closed_the_session(config: StoreConfig) {
    goes_on_after(config, async |_, session| within(session.close()).await.unwrap()).await;
}

async fn goes_on_after(config: StoreConfig, leave: impl AsyncFn(&Store<Probe>, &foldlog::Session<Probe>)) {
    let first = open(&config).await;
    let theirs = within(first.open_session("s")).await.unwrap();
    append(&theirs, ProbeBody::Added(1)).await.unwrap();
    let second = open(&config).await;
    let ours = within(second.open_session("s")).await.unwrap();
    append(&theirs, ProbeBody::Added(10)).await.unwrap();
    assert_kind!(append(&ours, ProbeBody::Added(100)).await, ErrorKind::OwnedElsewhere { .. });
    leave(&first, &theirs).await;
    assert_eq!(ids(&append(&ours, ProbeBody::Added(100)).await.unwrap()), [3]);
    assert_eq!((ours.view().unwrap().sum, ours.view().unwrap().head()), (111, EventId::new(3)));
    assert_eq!(look(&second, "s").await.0, *ours.view().unwrap());
    within(first.close()).await.unwrap();
    usable(&second, "s").await;
    within(second.close()).await.unwrap();
}

async fn a_store_that_is_dropped_lets_go_of_its_sessions(config: StoreConfig) {
    let first = open(&config).await;
    let theirs = within(first.open_session("s")).await.unwrap();
    append(&theirs, ProbeBody::Added(1)).await.unwrap();
    drop(theirs);
    drop(first);
    let second = open(&config).await;
    let ours = within(second.open_session("s")).await.unwrap();
    // Nobody waits for the closing of a store that is dropped: until it has closed, it is alive.
    let appended = within(async {
        loop {
            match append(&ours, ProbeBody::Added(10)).await {
                Ok(appended) => return appended,
                Err(error) => assert!(matches!(error.kind(), ErrorKind::OwnedElsewhere { .. }), "{error}"),
            }
        }
    });
    assert_eq!(ids(&appended.await), [2]);
    assert_eq!(ours.view().unwrap().sum, 11);
    within(second.close()).await.unwrap();
}

async fn another_session_is_free(config: StoreConfig) {
    let (first, second) = (open(&config).await, open(&config).await);
    usable(&first, "one").await;
    usable(&second, "two").await;
    usable(&first, "one").await;
    assert_kind!(
        append(&within(second.open_session("one")).await.unwrap(), ProbeBody::Added(1)).await,
        ErrorKind::OwnedElsewhere { .. }
    );
    usable(&second, "two").await;
    assert_eq!(within(first.list_sessions(None, 10)).await.unwrap().len(), 2);
    within(first.close()).await.unwrap();
    within(second.close()).await.unwrap();
}

async fn two_stores_that_create_a_session_at_once_have_one(config: StoreConfig) {
    let (first, second) = (open(&config).await, open(&config).await);
    for round in 0..20 {
        let id = format!("s{round}");
        let (one, two) = within(futures::future::join(first.open_session(&id), second.open_session(&id))).await;
        let (one, two) = (one.unwrap(), two.unwrap());
        let (one, two) =
            futures::future::join(append(&one, ProbeBody::Added(1)), append(&two, ProbeBody::Added(1))).await;
        assert_eq!([&one, &two].iter().filter(|answer| answer.is_ok()).count(), 1, "{one:?} {two:?}");
        let refused = one.err().or(two.err()).unwrap();
        assert!(matches!(refused.kind(), ErrorKind::OwnedElsewhere { .. }), "{refused}");
        assert_eq!(look(&first, &id).await.1, EventId::new(1));
    }
    assert_eq!(within(second.list_sessions(None, 100)).await.unwrap().len(), 20);
    within(first.close()).await.unwrap();
    within(second.close()).await.unwrap();
}

async fn ids_stay_dense_through_many_changes_of_hands(config: StoreConfig) {
    let stores = [open(&config).await, open(&config).await, open(&config).await];
    let mut expected = 0;
    for round in 0..12 {
        let session = within(stores[round % 3].open_session("s")).await.unwrap();
        let receipts: Vec<_> = (0..5).map(|_| session.append(ProbeBody::Added(1)).unwrap()).collect();
        for receipt in receipts {
            expected += 1;
            assert_eq!(ids(&within(receipt).await.unwrap()), [expected]);
        }
        assert_eq!(session.view().unwrap().sum, expected);
        within(session.close()).await.unwrap();
    }
    // Handles that are kept, and no close in between: only the owner's own word changes.
    let kept = [within(stores[0].open_session("s")).await.unwrap(), within(stores[1].open_session("s")).await.unwrap()];
    append(&kept[0], ProbeBody::Added(1)).await.unwrap();
    assert_kind!(append(&kept[1], ProbeBody::Added(1)).await, ErrorKind::OwnedElsewhere { .. });
    within(kept[0].close()).await.unwrap();
    append(&kept[1], ProbeBody::Added(1)).await.unwrap();
    let events = all_events(&kept[1]).await;
    assert!(events.iter().zip(1..).all(|(event, id)| event.id().get() == id));
    assert!(events.windows(2).all(|pair| pair[0].at() <= pair[1].at()));
    for store in &stores {
        within(store.close()).await.unwrap();
    }
    // Opening again checks every id and the whole chain.
    let store = open(&config).await;
    assert_eq!(look(&store, "s").await.0.sum, expected + 2);
    usable(&store, "s").await;
    within(store.close()).await.unwrap();
}

async fn subscribers_of_a_reader_get_what_the_owner_wrote_once_it_takes_over(config: StoreConfig) {
    let (first, second) = (open(&config).await, open(&config).await);
    let theirs = within(first.open_session("s")).await.unwrap();
    append(&theirs, ProbeBody::Added(1)).await.unwrap();
    let ours = within(second.open_session("s")).await.unwrap();
    let stream = within(ours.subscribe(SubscribeFrom::Now)).await.unwrap();
    for n in 2..=10 {
        append(&theirs, ProbeBody::Added(n)).await.unwrap();
    }
    assert_kind!(append(&ours, ProbeBody::Added(0)).await, ErrorKind::OwnedElsewhere { .. });
    within(theirs.close()).await.unwrap();
    append(&ours, ProbeBody::Added(11)).await.unwrap();
    append(&ours, ProbeBody::Added(12)).await.unwrap();
    let events = within(stream.take(11).collect::<Vec<_>>()).await;
    let seen: Vec<_> = events
        .iter()
        .map(|item| match item {
            Item::Event(event) => event.id().get(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(seen, (2..=12).collect::<Vec<_>>());
    within(first.close()).await.unwrap();
    within(second.close()).await.unwrap();
}

async fn appends_that_wait_behind_a_refused_claim_are_all_refused(config: StoreConfig) {
    let (first, second) = (open(&config).await, open(&config).await);
    usable(&first, "s").await;
    let ours = within(second.open_session("s")).await.unwrap();
    let before = look(&first, "s").await;
    let receipts: Vec<_> = (0..50).map(|_| ours.append(ProbeBody::Added(1)).unwrap()).collect();
    ours.notify(1).unwrap();
    for receipt in receipts {
        assert_kind!(within(receipt).await, ErrorKind::OwnedElsewhere { .. });
    }
    assert_eq!(within(ours.counters()).await.unwrap().0, EventId::new(1));
    assert_eq!(look(&second, "s").await, before);
    usable(&first, "s").await;
    within(first.close()).await.unwrap();
    within(second.close()).await.unwrap();
}

async fn an_append_key_holds_across_stores(config: StoreConfig) {
    let (first, second) = (open(&config).await, open(&config).await);
    let theirs = within(first.open_session("s")).await.unwrap();
    let ours = within(second.open_session("s")).await.unwrap();
    let keyed = || support::keyed(ProbeBody::Added(1), "key");
    within(theirs.append_with(keyed()).unwrap()).await.unwrap();
    within(theirs.close()).await.unwrap();
    // What the second store folded when it opened did not hold the key.
    let repeated = within(ours.append_with(keyed()).unwrap()).await.unwrap();
    assert!(repeated.repeated);
    assert_eq!(ids(&repeated), [1]);
    assert_eq!(look(&second, "s").await.1, EventId::new(1));
    within(first.close()).await.unwrap();
    within(second.close()).await.unwrap();
}

// --- other processes ---

/// What a process of its own does: this binary again, told by its environment.
const CHILD_DIRECTORY: &str = "FOLDLOG_TEST_DIRECTORY";
const CHILD_TASK: &str = "FOLDLOG_TEST_TASK";

/// Not a test of its own: does nothing unless another test runs it as a child.
#[actix::test]
async fn as_a_child() {
    let (Ok(directory), Ok(task)) = (std::env::var(CHILD_DIRECTORY), std::env::var(CHILD_TASK)) else { return };
    let _watchdog = watchdog();
    let store = open(&StoreConfig::directory(directory)).await;
    match task.as_str() {
        // Acknowledges on its output, until it is killed.
        "own" => {
            let session = within(store.open_session("s")).await.unwrap();
            for n in 1.. {
                let appended = append(&session, ProbeBody::Added(n)).await.unwrap();
                println!("\nacknowledged {}", appended.head);
            }
        }
        name => {
            for round in 0..5 {
                let session = within(store.open_session(name)).await.unwrap();
                for n in 0..5 {
                    let appended = append(&session, ProbeBody::Added(1)).await.unwrap();
                    assert_eq!(ids(&appended), [round * 5 + n + 1]);
                }
                within(session.close()).await.unwrap();
            }
            within(store.put_bytes(b"the same bytes from everyone".to_vec())).await.unwrap();
            within(store.close()).await.unwrap();
        }
    }
}

/// Killed and waited for at the end of its test, whatever becomes of it.
struct ChildProcess(Child);

impl ChildProcess {
    fn start(directory: &Path, task: &str) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["as_a_child", "--exact", "--nocapture", "--test-threads=1"])
            .env(CHILD_DIRECTORY, directory)
            .env(CHILD_TASK, task)
            .stdout(Stdio::piped())
            .spawn();
        Self(child.unwrap())
    }

    /// SIGKILL.
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[actix::test]
async fn a_session_goes_on_once_the_process_of_its_owner_was_killed() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let config = StoreConfig::directory(directory.path());
    let store = open(&config).await;
    let mut last = 0;
    for _ in 0..3 {
        let mut child = ChildProcess::start(directory.path(), "own");
        let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        let mut acknowledged = || {
            let line = lines.find_map(|line| line.unwrap().strip_prefix("acknowledged ").map(str::to_owned));
            line.unwrap().parse::<u64>().unwrap()
        };
        assert_eq!(acknowledged(), last + 1);
        while acknowledged() < last + 10 {}

        // Read and refused here, as long as it lives.
        let session = within(store.open_session("s")).await.unwrap();
        assert_kind!(
            append(&session, ProbeBody::Added(1)).await,
            ErrorKind::OwnedElsewhere { owner, .. } if owner.process == child.0.id()
        );
        assert!(look(&store, "s").await.1.get() >= last + 10);
        child.kill();
        let mut durable = last + 10;
        for line in lines {
            if let Some(id) = line.unwrap().strip_prefix("acknowledged ") {
                durable = id.parse().unwrap();
            }
        }

        let appended = append(&session, ProbeBody::Added(0)).await.unwrap();
        let events = all_events(&session).await;
        assert!(events.iter().zip(1..).all(|(event, id)| event.id().get() == id));
        assert!(appended.head.get() > durable, "acknowledged up to {durable}, found up to {}", appended.head);
        assert_eq!(events.len() as u64, appended.head.get());
        last = appended.head.get();
        within(session.close()).await.unwrap();
    }
    within(store.close()).await.unwrap();
    // What the killed processes left is cleared.
    let store = open(&config).await;
    assert_eq!(std::fs::read_dir(directory.path().join("owners")).unwrap().count(), 1);
    assert_eq!(std::fs::read_dir(directory.path().join("tmp")).unwrap().count(), 1);
    usable(&store, "s").await;
    within(store.close()).await.unwrap();
}

#[actix::test]
async fn eight_processes_that_open_append_and_close_at_once_disturb_nobody() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    // The directory is not there yet: one of them makes it.
    let root = directory.path().join("store");
    let children: Vec<_> = (0..8).map(|n| (n, ChildProcess::start(&root, &format!("session-{n}")))).collect();
    for (n, mut child) in children {
        assert!(child.0.wait().unwrap().success(), "process {n} failed");
    }
    let config = StoreConfig::directory(&root);
    assert!(config.medium.as_directory().is_some_and(|path| path.is_dir()));
    let store = open(&config).await;
    let sessions = within(store.list_sessions(None, 100)).await.unwrap();
    assert_eq!(sessions.len(), 8);
    for summary in sessions {
        assert_eq!(look(&store, summary.id.as_str()).await.0.sum, 25);
    }
    assert_eq!(support::files_below(&root.join("blobs")).len(), 1);
    within(store.close()).await.unwrap();
}
