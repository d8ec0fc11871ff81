//! Goal: what was acknowledged survives the death of anything (I1), and what was in flight gets a definite answer (I11).
//! Method: this test program starts itself as a writer that prints each acknowledged id, and kills it with SIGKILL after
//! some of them; actors are restarted while the database's lock is held.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use foldlog::agent::{Agent, AgentBody};
use foldlog::testkit::{Faults, Port};
use foldlog::{Append, Durability, ErrorKind, Restart, Session, Store, StoreConfig};
use futures::FutureExt;
use futures::future::join_all;

use crate::common::*;

const DIRECTORY: &str = "FOLDLOG_TEST_WRITER_DIRECTORY";
const WEAKER: &str = "FOLDLOG_TEST_WRITER_WEAKER_DURABILITY";
const SESSIONS: u64 = 3;

fn keyed(n: u64) -> Append<Agent> {
    Append::new(noted(n)).key(key(&format!("key {n}")))
}

/// The child: appends to three sessions at once, with a few appends of each in flight, until it is killed.
#[actix::test]
#[ignore = "is the child process of the tests here"]
async fn a_writer_that_appends_until_it_is_killed() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let mut config = StoreConfig::directory(directory);
    if std::env::var(WEAKER).is_ok() {
        config.durability = Durability::ProcessCrash;
    }
    let store = Store::open(config).await.unwrap();
    let writers = (0..SESSIONS).map(|session| {
        let store = store.clone();
        async move {
            let session = store.open_session(format!("s{session}")).await.unwrap();
            let mut n = session.view().unwrap().head().get();
            loop {
                let receipts: Vec<_> = (1..=4).map(|i| session.append_with(keyed(n + i)).unwrap()).collect();
                for receipt in receipts {
                    n += 1;
                    assert_eq!(receipt.await.unwrap().head, at(n));
                    // One write a line, past the test harness: whole or not at all.
                    let line = format!("ack {} {n}\n", session.id());
                    std::io::stdout().write_all(line.as_bytes()).unwrap();
                    std::io::stdout().flush().unwrap();
                }
            }
        }
    });
    join_all(writers).await;
}

/// A child that is killed and waited for, whatever becomes of the test.
struct Writer(Child);

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Lets a writer go on from where the last was killed, kills it after `acks` more acknowledgements, and raises
/// `acknowledged` to the last id that it acknowledged in each session.
fn write_and_kill(directory: &Path, weaker: bool, acks: usize, acknowledged: &mut [u64]) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "crash::a_writer_that_appends_until_it_is_killed", "--ignored", "--nocapture"]);
    command.env(DIRECTORY, directory).stdout(Stdio::piped()).stderr(Stdio::null());
    if weaker {
        command.env(WEAKER, "yes");
    }
    let mut writer = Writer(command.spawn().unwrap());
    let lines = BufReader::new(writer.0.stdout.take().unwrap()).lines();
    let mut seen = 0;
    // To the end, since what it had acknowledged before it died is still in the pipe.
    for line in lines {
        let line = line.unwrap();
        let Some((_, ack)) = line.split_once("ack s") else { continue };
        let (session, id) = ack.split_once(' ').unwrap();
        let last = &mut acknowledged[session.parse::<usize>().unwrap()];
        *last += 1;
        assert_eq!(id.parse::<u64>().unwrap(), *last, "acknowledged in order");
        seen += 1;
        if seen == acks {
            writer.0.kill().unwrap();
        }
    }
    assert!(seen >= acks, "the writer lived until it was killed");
}

fn killed_writers(weaker: bool) {
    let disk = TestDisk::directory();
    let path = disk.path().unwrap();
    let mut acknowledged = [0; SESSIONS as usize];
    for acks in [1, 7, 30, 61, 150] {
        write_and_kill(&path, weaker, acks, &mut acknowledged);
        let check = async {
            let store = disk.open().await;
            for (n, acknowledged) in acknowledged.iter_mut().enumerate() {
                // The first of them may have been killed before this session was made.
                let session = store.open_session(format!("s{n}")).await.unwrap();
                let head = session.view().unwrap().head().get();
                assert!((*acknowledged..=*acknowledged + 4).contains(&head), "{head} of {acknowledged} acknowledged");
                assert_head(&session, head).await;
                for (event, n) in whole_log(&session).await.iter().zip(1..) {
                    assert_eq!(*event.body(), noted(n));
                }
                retry_with_the_same_keys(&session, head).await;
                // The next writer goes on after these.
                *acknowledged = session.view().unwrap().head().get();
            }
            store.close().await.unwrap();
        };
        actix::System::new().block_on(check);
    }
    assert!(acknowledged.iter().sum::<u64>() >= 249);
}

/// The client whose answers were lost sends everything again: what is there is repeated, what is not is written.
async fn retry_with_the_same_keys(session: &Session, head: u64) {
    for n in 1..=head + 2 {
        let appended = session.append_with(keyed(n)).unwrap().await.unwrap();
        assert_eq!((appended.head, appended.repeated), (at(n), n <= head));
    }
    assert_head(session, head + 2).await;
}

#[test]
fn i1_an_acknowledged_event_survives_sigkill_and_i11_a_retry_with_its_key_is_safe() {
    killed_writers(false);
}

#[test]
fn i1_an_acknowledged_event_survives_sigkill_at_the_weaker_durability_too() {
    killed_writers(true);
}

#[actix::test]
async fn i11_an_append_in_flight_is_answered_with_what_the_log_says_after_a_restart() {
    let disk = TestDisk::directory();
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    for restart_persist in [false, true] {
        let before = session.view().unwrap().head().get();
        let foreign = ForeignLock::hold(&disk.path().unwrap());
        let receipts: Vec<_> = (0..20).map(|n| session.append(noted(n)).unwrap()).collect();
        assert_eq!(session.counters().await.unwrap().0, at(before + 20), "all are stamped");
        if restart_persist {
            store.persist_address().try_send(Restart).unwrap();
        }
        session.address().unwrap().send(Restart).await.unwrap();
        assert_eq!(session.view().unwrap().head(), at(before));
        foreign.release();
        let answers = soon(join_all(receipts)).await;
        session.recovery().await.unwrap();
        let log = log_ids(&session).await;
        for (id, answer) in (before + 1..).zip(answers) {
            match answer {
                Ok(appended) => assert!(log.contains(&id) && appended.head == at(id)),
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::NotWritten { .. }), "{error:?}");
                    assert!(!log.contains(&id), "it said that it was not written");
                }
            }
        }
        assert_head(&session, log.len() as u64).await;
    }
    store.close().await.unwrap();
}

/// While the appends wait for the lock, the log changes hands: none of them is written, whoever asks.
#[actix::test]
async fn i11_an_append_in_flight_that_was_not_written_is_answered_so_after_a_restart() {
    let disk = TestDisk::directory();
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    session.append(user("first")).unwrap().await.unwrap();
    let before = session.view().unwrap();
    for restart in [true, false] {
        let foreign = ForeignLock::hold(&disk.path().unwrap());
        let receipts: Vec<_> = (0..5).map(|_| session.append(user("in flight")).unwrap()).collect();
        assert_eq!(session.counters().await.unwrap().0, at(6), "all are stamped");
        if restart {
            session.address().unwrap().send(Restart).await.unwrap();
        }
        foreign.execute("UPDATE logs SET epoch = epoch + 1");
        foreign.release();
        for answer in soon(join_all(receipts)).await {
            assert_refused!(answer, ErrorKind::NotWritten { .. });
        }
        assert_eq!(*session.view().unwrap(), *before);
        assert_eq!(session.counters().await.unwrap(), (at(1), before.counters), "the counters go back");
        assert_head(&session, 1).await;
    }
    assert_eq!(session.append(user("second")).unwrap().await.unwrap().head, at(2));
    assert_head(&session, 2).await;
    store.close().await.unwrap();
}

#[actix::test]
async fn i11_a_key_in_flight_over_a_restart_is_written_once() {
    let disk = TestDisk::directory();
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let foreign = ForeignLock::hold(&disk.path().unwrap());
    let first = session.append_with(keyed(1)).unwrap();
    session.counters().await.unwrap();
    session.address().unwrap().send(Restart).await.unwrap();
    let retry = session.append_with(keyed(1)).unwrap();
    foreign.release();
    let (first, retry) = (soon(first).await, soon(retry).await.unwrap());
    // The first is committed and the retry repeats it, or it was not written and the retry wrote it.
    assert_eq!((first.is_ok(), retry.head), (retry.repeated, at(1)));
    assert_head(&session, 1).await;
    store.close().await.unwrap();
}

/// The session's arbiter ends for good: the next call brings its actor back on another.
#[actix::test]
async fn i11_an_append_in_flight_is_answered_when_its_arbiter_dies() {
    let disk = TestDisk::directory();
    let (dying, living) = (actix::Arbiter::new(), actix::Arbiter::new());
    let store = disk.open_with(|config| config.arbiters = vec![dying.handle(), living.handle()]).await;
    let session = store.open_session("s").await.unwrap();
    let foreign = ForeignLock::hold(&disk.path().unwrap());
    let mut receipts: Vec<_> = (0..5).map(|n| session.append(noted(n)).unwrap()).collect();
    session.counters().await.unwrap();
    dying.stop();
    dying.join().unwrap();
    receipts.push(session.append(noted(5)).unwrap());
    assert!(receipts.iter_mut().all(|receipt| receipt.now_or_never().is_none()));
    foreign.release();
    let answers = soon(join_all(receipts)).await;
    let written = answers.iter().filter(|answer| answer.is_ok()).count() as u64;
    assert!(answers.iter().all(|answer| match answer {
        Ok(_) => true,
        Err(error) => matches!(error.kind(), ErrorKind::NotWritten { .. }),
    }));
    assert_head(&session, written).await;
    assert_eq!(session.append(AgentBody::StopRequested).unwrap().await.unwrap().head, at(written + 1));
    store.close().await.unwrap();
    living.stop();
}

/// What leads to a session's arbiter ends with it, and ahead of the session's actor.
#[actix::test]
async fn i11_an_append_whose_answer_is_on_its_way_is_answered_when_its_arbiter_dies() {
    use std::sync::mpsc;
    let (dying, living) = (actix::Arbiter::new(), actix::Arbiter::new());
    let faults = Faults::default();
    let arbiters = vec![dying.handle(), living.handle()];
    let store = foldlog::Store::open(faults.watch(StoreConfig { arbiters, ..StoreConfig::memory() })).await.unwrap();
    let session = store.open_session("s").await.unwrap();
    let mut held = faults.hold(Port::Commit);
    let receipt = session.append(noted(0)).unwrap();
    soon(held.reached()).await;
    // The arbiter stands still, and has more to do then than it does before it looks whether it is to stop.
    let (open, closed) = mpsc::channel::<()>();
    let (stands, stood) = mpsc::channel();
    let mut wake = Vec::new();
    for _ in 0..500 {
        let (sender, receiver) = futures::channel::oneshot::channel::<()>();
        wake.push(sender);
        dying.spawn(async move {
            let _ = receiver.await;
        });
    }
    dying.spawn(async move {
        stands.send(()).unwrap();
        assert!(closed.recv().is_err());
    });
    stood.recv().unwrap();
    drop(wake);
    dying.stop();
    held.release();
    eventually("the answer is on its way", || store.stats().writes_queued == 0).await;
    drop(open);
    dying.join().unwrap();
    let answer = soon(receipt).await;
    assert_eq!(answer.unwrap().head, at(1));
    store.close().await.unwrap();
    living.stop();
}
