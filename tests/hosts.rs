//! Goal: foldlog behaves the same wherever a host runs it, and a host that ends without a word is a crash like any other.
//! Method: the same short program in each kind of host; systems that are stopped under an open store.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread::ThreadId;

use actix::prelude::*;
use actix_web::{App, HttpResponse, HttpServer, web};
use foldlog::{DecodeError, ErrorKind, Event, EventId, Item, Session, SessionModel, Store, StoreConfig, SubscribeFrom};
use futures::StreamExt;
use futures::executor::block_on;
use serde::{Deserialize, Serialize};
use support::{Probe, ProbeBody, all_events, assert_kind, files_below, ids, watchdog};

/// What a host does, without a timer of any runtime. The watchdog sees to hangs.
async fn program(config: StoreConfig) {
    let store = Store::<Probe>::open_model(config.clone()).await.unwrap();
    let session = store.open_session("s").await.unwrap();
    let stream = session.subscribe(SubscribeFrom::Now).await.unwrap();
    let receipts: Vec<_> = (0..20).map(|n| session.append(ProbeBody::Added(n)).unwrap()).collect();
    for (receipt, id) in receipts.into_iter().zip(1..) {
        assert_eq!(ids(&receipt.await.unwrap()), [id]);
    }
    assert_eq!(session.view().unwrap().sum, 190);
    let blob = store.put_text("some text").await.unwrap();
    session.append(ProbeBody::Referenced(blob)).unwrap().await.unwrap();
    assert_eq!(store.get_bytes(blob.digest).await.unwrap(), b"some text");
    let live: Vec<_> = stream.take(21).collect().await;
    assert!(live.iter().zip(1..).all(|(item, id)| matches!(item, Item::Event(event) if event.id().get() == id)));
    session.address().unwrap().send(foldlog::Restart).await.unwrap();
    assert_eq!(session.recovery().await.unwrap().events, 21);
    store.close().await.unwrap();

    let store = Store::<Probe>::open_model(config).await.unwrap();
    let again = store.resume_session("s").await.unwrap();
    assert_eq!(*again.view().unwrap(), *session.view().unwrap());
    assert_eq!(again.append(ProbeBody::Added(1)).unwrap().await.unwrap().head, EventId::new(22));
    store.close().await.unwrap();
}

fn both_media(run: impl Fn(StoreConfig)) {
    let _watchdog = watchdog();
    run(StoreConfig::memory());
    let directory = tempfile::tempdir().unwrap();
    run(StoreConfig::directory(directory.path()));
}

#[test]
fn it_works_inside_an_actix_system() {
    both_media(|config| actix::System::new().block_on(program(config)));
}

#[test]
fn it_works_from_a_plain_multi_thread_tokio_runtime() {
    both_media(|config| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        runtime.block_on(async { tokio::spawn(program(config)).await.unwrap() });
    });
}

#[test]
fn it_works_on_a_plain_thread_without_any_runtime() {
    both_media(|config| block_on(program(config)));
}

#[test]
fn it_works_from_many_threads_at_once() {
    both_media(|config| {
        let store = block_on(Store::<Probe>::open_model(config)).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..8_u64 {
                let store = &store;
                scope.spawn(move || {
                    block_on(async {
                        let shared = store.open_session("shared").await.unwrap();
                        let own = store.open_session(format!("own-{thread}")).await.unwrap();
                        for n in 1..=25 {
                            let (shared, own) = (shared.append(ProbeBody::Added(1)), own.append(ProbeBody::Added(1)));
                            let (shared, own) = futures::future::join(shared.unwrap(), own.unwrap()).await;
                            assert!(shared.is_ok());
                            assert_eq!(ids(&own.unwrap()), [n]);
                        }
                    });
                });
            }
        });
        let shared = block_on(store.open_session("shared")).unwrap();
        assert_eq!((shared.view().unwrap().sum, shared.view().unwrap().head()), (200, EventId::new(200)));
        assert_eq!(block_on(store.list_sessions(None, 100)).unwrap().len(), 9);
        block_on(store.close()).unwrap();
    });
}

// --- where session actors run ---

/// Records the threads that fold live events, by the group that a body names: tests run at once.
#[derive(Debug)]
struct WhereFolded;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct FoldedFor(u64);

static THREADS: Mutex<BTreeSet<(u64, String)>> = Mutex::new(BTreeSet::new());

impl SessionModel for WhereFolded {
    const NAME: &'static str = "where folded";
    const SCHEMA: u16 = 1;
    type Body = FoldedFor;
    type View = u64;
    type Counters = ();
    type Transient = ();

    fn event_type(_: &FoldedFor) -> &'static str {
        "folded"
    }

    fn apply(events: &mut u64, event: &Event<Self>) {
        *events += 1;
        let thread = format!("{:?}", std::thread::current().id());
        THREADS.lock().unwrap_or_else(PoisonError::into_inner).insert((event.body().0, thread));
    }

    fn decode(_: &str, _: u16, bytes: &[u8]) -> Result<FoldedFor, DecodeError> {
        foldlog::decode_body(bytes)
    }
}

fn threads_of(group: u64) -> BTreeSet<String> {
    let threads = THREADS.lock().unwrap_or_else(PoisonError::into_inner);
    threads.iter().filter(|(of, _)| *of == group).map(|(_, thread)| thread.clone()).collect()
}

fn name_of(thread: ThreadId) -> String {
    format!("{thread:?}")
}

#[test]
fn session_actors_run_on_the_arbiters_that_are_given() {
    let _watchdog = watchdog();
    actix::System::new().block_on(async {
        let arbiters = [Arbiter::new(), Arbiter::new()];
        let mut theirs = BTreeSet::new();
        for arbiter in &arbiters {
            let (sender, receiver) = futures::channel::oneshot::channel();
            assert!(arbiter.spawn_fn(move || sender.send(std::thread::current().id()).unwrap()));
            theirs.insert(name_of(receiver.await.unwrap()));
        }
        let handles = arbiters.iter().map(Arbiter::handle).collect();
        let config = StoreConfig { arbiters: handles, ..StoreConfig::memory() };
        let store = Store::<WhereFolded>::open_model(config).await.unwrap();
        for n in 0..4 {
            let session = store.open_session(format!("s{n}")).await.unwrap();
            session.append(FoldedFor(1)).unwrap().await.unwrap();
        }
        assert_eq!(threads_of(1), theirs, "all of them, and no other thread");

        // One of them stops: its sessions go on, on the other.
        arbiters[0].stop();
        let [stopped, _left] = arbiters;
        stopped.join().unwrap();
        for n in 0..4 {
            let session = store.open_session(format!("s{n}")).await.unwrap();
            assert_eq!(session.append(FoldedFor(1)).unwrap().await.unwrap().head, EventId::new(2));
            assert_eq!(*session.view().unwrap().state(), 2);
        }
        store.close().await.unwrap();
    });
}

/// Sends one request and gives back the body of the answer.
fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer.split_once("\r\n\r\n").unwrap().1.trim().to_owned()
}

static WORKERS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

async fn append_in_handler(store: web::Data<Store<WhereFolded>>) -> HttpResponse {
    WORKERS.lock().unwrap().insert(name_of(std::thread::current().id()));
    let session = store.open_session("s").await.unwrap();
    let appended = session.append(FoldedFor(2)).unwrap().await.unwrap();
    assert!(session.view().unwrap().head() >= appended.head, "read your writes");
    HttpResponse::Ok().content_type("text/plain").body(appended.head.to_string())
}

#[actix::test]
async fn it_works_inside_actix_web_and_session_actors_keep_off_the_workers() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let config = StoreConfig::directory(directory.path());
    let store = Store::<WhereFolded>::open_model(config).await.unwrap();
    let shared = web::Data::new(store.clone());
    let server =
        HttpServer::new(move || App::new().app_data(shared.clone()).route("/append", web::get().to(append_in_handler)))
            .workers(3)
            .disable_signals()
            .bind(("127.0.0.1", 0))
            .unwrap();
    let address = server.addrs()[0];
    let server = server.run();
    let handle = server.handle();
    let serving = actix::spawn(server);

    let clients: Vec<_> = (0..4)
        .map(|_| {
            tokio::task::spawn_blocking(move || {
                (0..25).map(|_| get(address, "/append").parse::<u64>().unwrap()).collect::<Vec<_>>()
            })
        })
        .collect();
    let mut seen = Vec::new();
    for client in clients {
        let heads = client.await.unwrap();
        assert!(heads.is_sorted());
        seen.extend(heads);
    }
    seen.sort_unstable();
    assert_eq!(seen, (1..=100).collect::<Vec<_>>(), "dense, each once");
    assert!(WORKERS.lock().unwrap().len() > 1, "several workers served");
    let own = name_of(std::thread::current().id());
    assert_eq!(threads_of(2), BTreeSet::from([own]), "folded where the store was opened");
    assert!(!WORKERS.lock().unwrap().contains(&name_of(std::thread::current().id())));
    assert_eq!(*store.open_session("s").await.unwrap().view().unwrap().state(), 100);
    handle.stop(true).await;
    serving.await.unwrap().unwrap();
    // A stopped server leaves the store alone.
    store.open_session("s").await.unwrap().append(FoldedFor(2)).unwrap().await.unwrap();
    store.close().await.unwrap();
}

// --- hosts that end without closing ---

/// Opens a store in a system on a thread of its own, lets `work` run there, and stops the system with the store open.
fn in_a_system_that_stops<T: Send + 'static>(
    config: StoreConfig,
    work: impl AsyncFnOnce(&Store<Probe>, &Session<Probe>) -> T + Send + 'static,
) -> (Store<Probe>, Session<Probe>, T) {
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let system = actix::System::new();
        system.block_on(async {
            let store = Store::<Probe>::open_model(config).await.unwrap();
            let session = store.open_session("s").await.unwrap();
            let worked = work(&store, &session).await;
            sender.send((store, session, worked)).unwrap();
            actix::System::current().stop();
        });
        system.run().unwrap();
    });
    let left = receiver.recv().unwrap();
    thread.join().unwrap();
    left
}

fn both_media_to_reopen(run: impl Fn(StoreConfig)) {
    for _ in 0..5 {
        both_media(&run);
    }
}

#[test]
fn a_system_that_stops_with_the_store_open_is_a_crash_and_loses_nothing_acknowledged() {
    both_media_to_reopen(|config| {
        let (store, session, acknowledged) = in_a_system_that_stops(config.clone(), async |_, session| {
            let mut acknowledged = 0;
            for n in 0..20 {
                acknowledged = session.append(ProbeBody::Added(n)).unwrap().await.unwrap().head.get();
            }
            acknowledged
        });
        // The actor's thread is gone: a typed answer, at once or by the receipt, and the last view.
        let refused = match session.append(ProbeBody::Added(1)) {
            Ok(receipt) => block_on(receipt),
            Err(error) => Err(error),
        };
        assert_kind!(refused, ErrorKind::Unavailable { .. } | ErrorKind::NotWritten { .. });
        assert_eq!(session.view().unwrap().head().get(), acknowledged);
        assert!(block_on(session.counters()).is_err());
        assert!(block_on(session.subscribe(SubscribeFrom::Now)).is_err());
        assert_eq!(block_on(session.events_after(EventId::ZERO, 100)).unwrap().events.len(), 20);
        // Sessions that are not open yet cannot be opened either, and say so.
        assert!(block_on(store.open_session("new")).is_err());
        block_on(store.close()).unwrap();
        assert_reopens(&config, 20);
    });
}

#[test]
fn receipts_in_flight_answer_when_their_system_stops() {
    both_media_to_reopen(|config| {
        let (store, session, receipts) = in_a_system_that_stops(config.clone(), async |_, session| {
            (0..200).map(|n| session.append(ProbeBody::Added(n)).unwrap()).collect::<Vec<_>>()
        });
        let answers: Vec<_> = receipts.into_iter().map(block_on).collect();
        block_on(store.close()).unwrap();
        let acknowledged = answers.iter().filter(|answer| answer.is_ok()).count();
        let refused: Vec<_> = answers.into_iter().filter_map(Result::err).collect();
        for error in &refused {
            let kind = error.kind();
            assert!(
                matches!(
                    kind,
                    ErrorKind::NotWritten { .. } | ErrorKind::OutcomeUnknown { .. } | ErrorKind::Unavailable { .. }
                ),
                "{error:?}"
            );
        }
        let unknown = refused.iter().filter(|error| matches!(error.kind(), ErrorKind::OutcomeUnknown { .. })).count();
        drop(session);
        let store = block_on(Store::<Probe>::open_model(config.clone())).unwrap();
        let events = block_on(store.open_session("s")).unwrap().view().unwrap().head().get() as usize;
        block_on(store.close()).unwrap();
        assert!((acknowledged..=acknowledged + unknown).contains(&events), "{acknowledged} {unknown} {events}");
    });
}

#[test]
fn a_store_that_is_dropped_with_its_system_stopped_lets_go_of_the_directory() {
    both_media_to_reopen(|config| {
        let (store, session, ()) = in_a_system_that_stops(config.clone(), async |_, session| {
            for n in 0..20 {
                session.append(ProbeBody::Added(n)).unwrap().await.unwrap();
            }
        });
        drop((store, session));
        assert_reopens(&config, 20);
    });
}

/// A new store sees the events and can write, once the old one has let go.
fn assert_reopens(config: &StoreConfig, events: u64) {
    block_on(async {
        let store = Store::<Probe>::open_model(config.clone()).await.unwrap();
        let session = store.open_session("s").await.unwrap();
        assert_eq!(all_events_plain(&session).await, events);
        loop {
            match session.append(ProbeBody::Added(1)).unwrap().await {
                Ok(appended) => break assert_eq!(appended.head, EventId::new(events + 1)),
                Err(error) => assert!(matches!(error.kind(), ErrorKind::OwnedElsewhere { .. }), "{error:?}"),
            }
        }
        store.close().await.unwrap();
    });
}

async fn all_events_plain(session: &Session<Probe>) -> u64 {
    session.events_after(EventId::ZERO, 1000).await.unwrap().events.len() as u64
}

#[actix::test]
async fn opening_and_closing_many_times_leaves_no_file_and_no_thread_behind() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let threads = || std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    let mut most = 0;
    for round in 0..20 {
        let store = Store::<Probe>::open_model(StoreConfig::directory(directory.path())).await.unwrap();
        let session = store.open_session("s").await.unwrap();
        session.append(ProbeBody::Added(1)).unwrap().await.unwrap();
        assert_eq!(all_events(&session).await.len(), round + 1);
        store.close().await.unwrap();
        if round == 0 {
            // Other tests run in this process at the same time.
            most = threads() + 100;
        }
    }
    assert!(threads() < most, "{} threads", threads());
    let left: Vec<_> = files_below(directory.path())
        .into_iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(left, ["LOCK", "events.db"], "nothing of the write-ahead log, no owner, no temporary");
}
