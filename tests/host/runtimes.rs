//! Goal: foldlog behaves the same wherever a host runs it. Method: the same short program in each kind of host, and a
//! model that records which threads fold its events.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::thread::ThreadId;

use actix::prelude::*;
use actix_web::{App, HttpResponse, HttpServer, web};
use foldlog::agent::{AgentBody, Eval, Message, MessageId, ToolResult, TurnEnd};
use foldlog::{AppendKey, EventId, Item, Session, Store, StoreConfig, SubscribeFrom};
use futures::StreamExt;
use futures::executor::block_on;

use crate::common::tally::threads_that_folded;
use crate::common::*;

/// What a host does, without the timer of any runtime. The watchdog ends a test that hangs.
async fn program(config: StoreConfig) {
    let store = Store::<Tally>::open_model(config.clone()).await.unwrap();
    let session = store.open_session("s").await.unwrap();
    let stream = session.subscribe(SubscribeFrom::Now).await.unwrap();
    let receipts: Vec<_> = (0..20).map(|n| session.append(TallyBody::Added(n)).unwrap()).collect();
    for (receipt, id) in receipts.into_iter().zip(1..) {
        assert_eq!(ids_of(&receipt.await.unwrap()), [id]);
    }
    assert_eq!(session.view().unwrap().sum, 190);
    let blob = store.put_text("some text").await.unwrap();
    session.append(TallyBody::Attached(blob)).unwrap().await.unwrap();
    assert_eq!(store.get_bytes(blob.digest).await.unwrap(), b"some text");
    let live: Vec<_> = stream.take(21).collect().await;
    assert!(live.iter().zip(1..).all(|(item, id)| matches!(item, Item::Event(event) if event.id().get() == id)));
    session.address().unwrap().send(foldlog::Restart).await.unwrap();
    assert_eq!(session.recovery().await.unwrap().events, 21);
    store.close().await.unwrap();

    let store = Store::<Tally>::open_model(config).await.unwrap();
    let again = store.resume_session("s").await.unwrap();
    assert_eq!(*again.view().unwrap(), *session.view().unwrap());
    assert_eq!(again.append(TallyBody::Added(1)).unwrap().await.unwrap().head, EventId::new(22));
    store.close().await.unwrap();
}

pub(crate) fn both_media(run: impl Fn(StoreConfig)) {
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
        let store = block_on(Store::<Tally>::open_model(config)).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..8_u64 {
                let store = &store;
                scope.spawn(move || {
                    block_on(async {
                        let shared = store.open_session("shared").await.unwrap();
                        let own = store.open_session(format!("own-{thread}")).await.unwrap();
                        for n in 1..=25 {
                            let (shared, own) = (shared.append(TallyBody::Added(1)), own.append(TallyBody::Added(1)));
                            let (shared, own) = futures::future::join(shared.unwrap(), own.unwrap()).await;
                            assert!(shared.is_ok());
                            assert_eq!(ids_of(&own.unwrap()), [n]);
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

#[test]
fn session_actors_run_on_the_arbiters_that_are_given() {
    let _watchdog = watchdog();
    actix::System::new().block_on(async {
        let arbiters = [Arbiter::new(), Arbiter::new()];
        let mut theirs = HashSet::new();
        for arbiter in &arbiters {
            let (sender, receiver) = futures::channel::oneshot::channel();
            assert!(arbiter.spawn_fn(move || sender.send(std::thread::current().id()).unwrap()));
            theirs.insert(receiver.await.unwrap());
        }
        let handles = arbiters.iter().map(Arbiter::handle).collect();
        let config = StoreConfig { arbiters: handles, ..StoreConfig::memory() };
        let store = Store::<Tally>::open_model(config).await.unwrap();
        for n in 0..4 {
            let session = store.open_session(format!("s{n}")).await.unwrap();
            session.append(TallyBody::FoldedFor(1)).unwrap().await.unwrap();
        }
        assert_eq!(threads_that_folded(1), theirs, "all of them, and no other thread");

        // One of them stops: its sessions go on, on the other.
        arbiters[0].stop();
        let [stopped, _left] = arbiters;
        stopped.join().unwrap();
        for n in 0..4 {
            let session = store.open_session(format!("s{n}")).await.unwrap();
            assert_eq!(session.append(TallyBody::FoldedFor(1)).unwrap().await.unwrap().head, EventId::new(2));
            assert_eq!(session.view().unwrap().counters.event, 2);
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

static WORKERS: Mutex<Vec<ThreadId>> = Mutex::new(Vec::new());

async fn append_in_handler(store: web::Data<Store<Tally>>) -> HttpResponse {
    WORKERS.lock().unwrap().push(std::thread::current().id());
    let session = store.open_session("s").await.unwrap();
    let appended = session.append(TallyBody::FoldedFor(2)).unwrap().await.unwrap();
    assert!(session.view().unwrap().head() >= appended.head, "read your writes");
    HttpResponse::Ok().content_type("text/plain").body(appended.head.to_string())
}

#[actix::test]
async fn it_works_inside_actix_web_and_session_actors_keep_off_the_workers() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let config = StoreConfig::directory(directory.path());
    let store = Store::<Tally>::open_model(config).await.unwrap();
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
    let workers: HashSet<_> = WORKERS.lock().unwrap().iter().copied().collect();
    assert!(workers.len() > 1, "several workers served");
    let own = std::thread::current().id();
    assert_eq!(threads_that_folded(2), HashSet::from([own]), "folded where the store was opened");
    assert!(!workers.contains(&own));
    assert_eq!(store.open_session("s").await.unwrap().view().unwrap().counters.event, 100);
    handle.stop(true).await;
    serving.await.unwrap().unwrap();
    // A stopped server leaves the store alone.
    store.open_session("s").await.unwrap().append(TallyBody::FoldedFor(2)).unwrap().await.unwrap();
    store.close().await.unwrap();
}

/// Of a type that may go to another thread, as a task does that is spawned on a runtime of several.
fn spawned<T: Send>(_: impl FnOnce(Session, Store) -> T) {}

#[test]
fn every_call_can_be_awaited_by_a_task_that_moves_between_threads() {
    fn message() -> Message {
        Message::user("hi")
    }
    // Some at a time, so that the compiler says which of them cannot.
    spawned(|session, store| async move {
        store.list_sessions(None, 1).await?;
        let content = store.intern_text("text").await?;
        store.read_content(&content).await?;
        store.put_bytes(b"bytes".to_vec()).await?;
        store.resume_session(store.open_session("s").await?.id()).await?.close().await?;
        store.read_state(session.id()).await?;
        store.verify().await?;
        store.close().await
    });
    spawned(|session, _| async move {
        session.append(AgentBody::MessageAppended(message()))?.await?;
        session.current_view().await?;
        session.events_after(EventId::ZERO, 1).await?;
        session.subscribe(SubscribeFrom::Now).await?.next().await;
        session.take_over().await?;
        session.counters().await?;
        session.recovery().await
    });
    spawned(|session, _| async move { session.take_turn().await?.interrupt("gone").await });
    spawned(|session, _| async move { session.interrupt("gone").await });
    spawned(|session, _| async move { session.provider_messages().await });
    spawned(|_, _| async move {
        let store = Store::open_read_only(StoreConfig::memory()).await?;
        store.verify().await?;
        store.provider_messages("s").await
    });
    spawned(|session, _| async move { session.compact(message(), EventId::ZERO, None).await });
    spawned(|session, _| async move { session.stop().await });
    spawned(|session, _| async move { session.begin_turn_for(MessageId::new(1)).await });
    spawned(|session, _| async move { session.begin_turn_once(message(), AppendKey::new("k")?).await });
    spawned(|session, _| async move { session.begin_next_turn().await });
    spawned(|session, _| async move {
        let turn = session.begin_turn(message()).await?;
        turn.say(message()).await?;
        turn.tool_result(ToolResult::text("c", "done")).await?;
        turn.tool_eval(Eval::default(), ToolResult::text("c", "done")).await?;
        turn.provider_messages().await
    });
    spawned(|session, _| async move { session.begin_turn(message()).await?.begin_step().await });
    spawned(|session, _| async move { session.begin_turn(message()).await?.end_step(None).await });
    spawned(|session, _| async move { session.begin_turn(message()).await?.update(|_| {}).await });
    spawned(|session, _| async move { session.begin_turn(message()).await?.answer(message()).await });
    spawned(|session, _| async move { session.begin_turn(message()).await?.end(TurnEnd::Final).await });
}
