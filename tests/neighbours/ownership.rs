//! Goal: a session belongs to one process at a time: a second one is refused at once and told who has it, a dead owner
//! is replaced at once, an idle one keeps what it has and writes nothing for it, and readers own nothing. Method:
//! owners and readers in processes of their own.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use foldlog::{ErrorKind, EventId, StoreConfig, Timestamp};

use crate::common::child::{Child, hear, tell};
use crate::common::*;

/// Owns the session `s`: appends once, and again at each command.
pub(crate) async fn own(directory: &Path) {
    let store = open(&StoreConfig::directory(directory)).await;
    let session = soon(store.open_session("s")).await.unwrap();
    loop {
        let appended = append(&session, TallyBody::Added(1)).await.unwrap();
        tell(format!("appended {}", appended.head));
        if hear().is_none() {
            break;
        }
    }
    soon(store.close()).await.unwrap();
}

/// Reads the session `s` in every way there is, at each command.
pub(crate) async fn read(directory: &Path) {
    let store = open(&StoreConfig::directory(directory)).await;
    let session = soon(store.open_session("s")).await.unwrap();
    while hear().is_some() {
        let session = soon(store.open_session("s")).await.unwrap();
        let state = soon(store.read_state("s")).await.unwrap();
        // Its owner may write between one look and the next.
        let events = whole_log(&session).await.len() as u64;
        assert!(session.view().unwrap().head() <= state.view.head() && state.view.head().get() <= events);
        assert_eq!(state.view.counters.event, state.view.head().get());
        drop(soon(session.subscribe(foldlog::SubscribeFrom::Now)).await.unwrap());
        soon(store.list_sessions(None, 10)).await.unwrap();
        assert!(soon(store.verify()).await.unwrap().is_sound());
        tell(format!("read {}", state.view.head()));
    }
    soon(session.close()).await.unwrap();
    soon(store.close()).await.unwrap();
}

/// What the log's row says of the owner and the epoch of the only session; asked of a process that has no store open.
fn owner_and_epoch(directory: &Path) -> (Option<String>, i64) {
    let database = rusqlite::Connection::open(directory.join("events.db")).unwrap();
    database.query_row("SELECT owner, epoch FROM logs", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
}

#[actix::test]
async fn a_second_process_is_refused_at_once_with_the_name_of_the_owner() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let config = StoreConfig::directory(directory.path());
    let before = Timestamp::from_micros(jiff::Timestamp::now().as_microsecond());
    let mut owner = Child::with_task("own", "", directory.path());
    owner.expect("appended 1");
    let store = open(&config).await;
    let session = soon(store.open_session("s")).await.unwrap();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned());
    for round in 2..6 {
        let refused = append(&session, TallyBody::Added(100)).await;
        assert_refused!(
            refused.as_ref(),
            ErrorKind::OwnedElsewhere { session, owner: named }
                if session.as_str() == "s" && named.process == owner.id() && named.since >= before
                    && host.as_ref().map_or(!named.host.is_empty(), |host| *host == named.host)
        );
        let text = refused.unwrap_err().to_string();
        assert!(text.contains(&format!("process {}", owner.id())) && text.contains(" since 2"), "{text}");
        assert_refused!(soon(session.take_turn()).await, ErrorKind::OwnedElsewhere { .. });
        owner.say("again");
        owner.expect(&format!("appended {round}"));
    }
    assert_eq!(store.stats().lock_waits, 0, "nobody waits for an owner");
    assert!(owner.end().status.success());
    usable(&store, "s").await;
    soon(store.close()).await.unwrap();
}

#[actix::test]
async fn a_killed_owner_is_replaced_by_the_very_next_append_whatever_it_was_doing() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let store = open(&StoreConfig::directory(directory.path())).await;
    let mut head = 0;
    for round in 0..8 {
        // Every second one is idle when it is killed, the others have appends in flight.
        let is_idle = round % 2 == 0;
        let task = if is_idle { "own" } else { "append-until-taken-over" };
        let mut owner = Child::with_task(task, "", directory.path());
        let mut told = head;
        let mut heard = |line: &str| {
            told += 1;
            assert_eq!(line, format!("appended {told}"), "in order, and after what was acknowledged before");
        };
        (0..if is_idle { 1 } else { 10 }).for_each(|_| heard(&owner.next().unwrap()));
        // As long as the owner lives, the session can be read here, and appends are refused.
        let session = soon(store.open_session("s")).await.unwrap();
        assert_refused!(
            append(&session, TallyBody::Added(1)).await,
            ErrorKind::OwnedElsewhere { owner: named, .. } if named.process == owner.id()
        );
        owner.strike();
        // Its output ends when the process has ended. The append that follows at once must find that the owner is dead.
        while let Some(line) = owner.next() {
            heard(&line);
        }
        head = append(&session, TallyBody::Added(1)).await.unwrap().head.get();
        assert!(if is_idle { head == told + 1 } else { head > told }, "acknowledged up to {told}, appended as {head}");
        assert_head(&session, head).await;
        soon(session.close()).await.unwrap();
    }
    soon(store.close()).await.unwrap();
    // What the killed processes left is cleared.
    let store = open(&StoreConfig::directory(directory.path())).await;
    assert_eq!(std::fs::read_dir(directory.path().join("owners")).unwrap().count(), 1);
    assert_eq!(std::fs::read_dir(directory.path().join("tmp")).unwrap().count(), 1);
    usable(&store, "s").await;
    soon(store.close()).await.unwrap();
}

#[actix::test]
async fn temporaries_of_a_killed_process_are_cleared_at_open_and_those_of_a_living_one_are_not() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let config = StoreConfig::directory(directory.path());
    let owner = Child::with_task("own", "", directory.path());
    owner.expect("appended 1");
    let tmp = directory.path().join("tmp");
    let theirs = std::fs::read_dir(&tmp).unwrap().next().unwrap().unwrap().path();
    let temporary = theirs.join("half-written");
    std::fs::write(&temporary, "half of a secret").unwrap();
    let foreign = tmp.join("not foldlog's");
    std::fs::write(&foreign, "theirs").unwrap();

    let store = open(&config).await;
    usable(&store, "here").await;
    soon(store.close()).await.unwrap();
    assert!(temporary.exists(), "the temporary of a living process was removed");
    owner.kill();
    let store = open(&config).await;
    assert!(!theirs.exists());
    assert!(foreign.exists(), "a file of another form is not ours to remove");
    usable(&store, "s").await;
    soon(store.close()).await.unwrap();
}

/// The files of the database and of the owners, byte by byte: read by another process, since closing a handle here
/// would drop the locks of a store that is open here.
fn bytes_of(directory: &Path) -> Vec<u8> {
    let mut files = vec![directory.join("events.db"), directory.join("events.db-wal")];
    let mut owners: Vec<_> = std::fs::read_dir(directory.join("owners")).unwrap().map(|e| e.unwrap().path()).collect();
    owners.sort();
    files.extend(owners);
    let read = Command::new("cat").args(&files).output().unwrap();
    assert!(read.status.success(), "{read:?}");
    read.stdout
}

#[actix::test]
async fn an_idle_session_stays_owned_and_nobody_writes_anything_for_that() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let mut owner = Child::with_task("own", "", directory.path());
    owner.expect("appended 1");
    let store = open(&StoreConfig::directory(directory.path())).await;
    let session = soon(store.open_session("s")).await.unwrap();
    let before = bytes_of(directory.path());
    assert!(before.len() > 4096);
    // By the clock, since a heartbeat or a renewal would show in nothing but the bytes of the files.
    let until = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < until {
        for _ in 0..10 {
            assert_refused!(append(&session, TallyBody::Added(1)).await, ErrorKind::OwnedElsewhere { .. });
        }
        assert_eq!(look(&store, "s").await.1, EventId::new(1));
        assert_eq!(bytes_of(directory.path()), before);
        actix::clock::sleep(Duration::from_millis(50)).await;
    }
    owner.say("again");
    owner.expect("appended 2");
    assert_ne!(bytes_of(directory.path()), before);
    soon(store.close()).await.unwrap();
    assert!(owner.end().status.success());
}

#[actix::test]
async fn readers_never_become_owners_and_keep_nobody_from_writing() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let mut owner = Child::with_task("own", "", directory.path());
    owner.expect("appended 1");
    let mut readers: Vec<_> = (0..3).map(|_| Child::with_task("read", "", directory.path())).collect();
    let owned = owner_and_epoch(directory.path());
    assert!(owned.0.is_some());
    for head in 2..12 {
        for reader in &mut readers {
            reader.say("read");
        }
        owner.say("again");
        owner.expect(&format!("appended {head}"));
        for reader in &readers {
            let read = reader.next();
            let found = [head - 1, head].map(|head| Some(format!("read {head}")));
            assert!(found.contains(&read), "{read:?} at {head}");
        }
        assert_eq!(owner_and_epoch(directory.path()), owned);
    }
    // Readers do not become owners of a session whose owner is gone either.
    assert!(owner.end().status.success());
    for reader in &mut readers {
        reader.say("read");
        reader.expect("read 11");
    }
    let (left, epoch) = owner_and_epoch(directory.path());
    assert_eq!(epoch, owned.1, "whoever owns a log raises its epoch");
    assert!(left.is_none() || left == owned.0, "{left:?}");
    for reader in readers {
        assert!(reader.end().status.success());
    }
    let store = open(&StoreConfig::directory(directory.path())).await;
    usable(&store, "s").await;
    soon(store.close()).await.unwrap();
}
