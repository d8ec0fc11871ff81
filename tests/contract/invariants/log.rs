//! Goal: one dense order (I3, I5), one fold (I4), blobs before references and by content (I7, I8), one session however
//! often it is opened (I10), and trouble that is named and stays where it is (I12). Method: many threads, random
//! bodies, damage by hand.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};

use foldlog::agent::{
    Agent, AgentBody, Eval, EvalId, Failure, Message, MessageId, SessionInfo, Step, StepId, Turn, TurnId,
};
use foldlog::{BlobRef, Content, Describe, ErrorKind, EventId, Json, Receipt, Restart, Session, SubscribeFrom};
use futures::executor::block_on;
use futures::future::join_all;
use proptest::prelude::*;

use crate::common::*;

/// Runs blocking work on threads of its own, and waits without blocking the sessions' arbiter.
async fn on_threads<T: Send + 'static>(count: u64, work: impl Fn(u64) -> T + Send + Sync + 'static) -> Vec<T> {
    let (work, start) = (Arc::new(work), Arc::new(Barrier::new(count as usize)));
    let results = (0..count).map(|thread| {
        let (sender, receiver) = futures::channel::oneshot::channel();
        let (work, start) = (Arc::clone(&work), Arc::clone(&start));
        std::thread::spawn(move || {
            start.wait();
            let _ = sender.send(work(thread));
        });
        receiver
    });
    let results: Vec<_> = results.collect();
    soon(join_all(results)).await.into_iter().map(|result| result.expect("the thread did not panic")).collect()
}

fn json_of(body: &AgentBody) -> u64 {
    let AgentBody::Custom { json, .. } = body else { panic!("it is a note") };
    json.as_str().parse().unwrap()
}

#[actix::test]
async fn i3_ids_are_dense_whatever_is_refused_or_restarted() {
    let disk = TestDisk::directory();
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let mut receipts: Vec<Receipt<Agent>> = Vec::new();
    for n in 0..120 {
        receipts.push(match n % 6 {
            0 => session.append_batch((0..3).map(noted).collect()).unwrap(),
            1 => session.append(AgentBody::VarsSnapshotted(Content::Blob(dangling()))).unwrap(),
            2 => session.append_with(foldlog::Append::new(noted(n)).expect_head(at(1 << 40))).unwrap(),
            // The ids in the body and the event id do not come from the caller.
            3 => {
                let (id, event_id) = (MessageId::new(99), at(99));
                session.append(AgentBody::MessageAppended(Message { id, event_id, ..Message::user("x") })).unwrap()
            }
            _ => session.append(user("x")).unwrap(),
        });
        if n == 60 {
            session.address().unwrap().send(Restart).await.unwrap();
        }
    }
    let answers = soon(join_all(receipts)).await;
    let written: Vec<u64> = answers.iter().flatten().flat_map(|appended| ids(&appended.events)).collect();
    assert_eq!(written, (1..=written.len() as u64).collect::<Vec<_>>());
    let view = session.view().unwrap();
    let messages: Vec<u64> = view.messages.iter().map(|message| message.id.get()).collect();
    assert_eq!(messages, (1..=messages.len() as u64).collect::<Vec<_>>());
    assert_head(&session, written.len() as u64).await;
    store.close().await.unwrap();
}

fn body() -> impl Strategy<Value = AgentBody> {
    // What a caller may put into a creating body; a put names one of a few ids, so that some are there already.
    let any_id = || any::<u64>();
    let put_id = || 1_u64..9;
    let text = || "[a-zé]{0,12}";
    let turn = |id| Turn { id: TurnId::new(id), ..Turn::default() };
    let step = |(id, turn)| Step { id: StepId::new(id), ..Step::of_turn(TurnId::new(turn)) };
    prop_oneof![
        2 => text().prop_map(|id| AgentBody::SessionStarted(SessionInfo { id: Some(id), ..SessionInfo::default() })),
        6 => text().prop_map(user),
        3 => any_id().prop_map(move |id| AgentBody::TurnStarted(turn(id))),
        3 => put_id().prop_map(move |id| AgentBody::TurnPut(turn(id))),
        3 => (any_id(), put_id()).prop_map(move |ids| AgentBody::StepStarted(step(ids))),
        3 => (put_id(), put_id()).prop_map(move |ids| AgentBody::StepPut(step(ids))),
        3 => any_id().prop_map(|id| AgentBody::EvalAdded(Eval { id: EvalId::new(id), ..Eval::default() })),
        2 => text().prop_map(|vars| AgentBody::VarsSnapshotted(vars.into())),
        2 => (text(), any::<bool>()).prop_map(|(vars, has_vars)| {
            AgentBody::compacted(has_vars.then(|| vars.clone().into()), Message::system(vars))
        }),
        1 => Just(AgentBody::StopRequested),
        1 => Just(AgentBody::Stopped),
        1 => text().prop_map(|text| AgentBody::SessionErrored(Failure::new("kind", text))),
        2 => any::<u32>().prop_map(|n| noted(u64::from(n))),
        2 => (0_u64..9).prop_map(|id| AgentBody::TurnQueued { message: MessageId::new(id) }),
    ]
}

/// What changes of a session's title and labels.
fn describe() -> impl Strategy<Value = Describe<Agent>> {
    let name = || "[ab]";
    let change = prop_oneof![
        name().prop_map(|title| Describe::new().title(title)),
        (name(), name()).prop_map(|(label, value)| Describe::new().label(label, value)),
        name().prop_map(|label| Describe::new().remove_label(label)),
    ];
    prop_oneof![3 => Just(Describe::new()), 2 => change]
}

/// Batches of bodies, each with a describe ahead of it while it is in flight; after some of them the session's actor is
/// restarted.
async fn i4(disk: TestDisk, batches: Vec<(Describe<Agent>, Vec<AgentBody>, bool)>) {
    let store = disk.open_with(|config| config.page_events_max = 7).await;
    let session = store.open_session("s").await.unwrap();
    for (describe, batch, restart) in batches {
        let described = session.describe(describe).unwrap();
        match session.append_batch(batch).unwrap().await {
            // It names what is not there.
            Err(error) if matches!(error.kind(), ErrorKind::BodyRefused { .. }) => {}
            appended => drop(appended.unwrap()),
        }
        described.await.unwrap();
        let live = session.view().unwrap();
        assert_eq!(store.read_state("s").await.unwrap().view, *live);
        if restart {
            session.address().unwrap().send(Restart).await.unwrap();
            session.recovery().await.unwrap();
            assert_eq!(*session.view().unwrap(), *live);
        }
    }
    let live = session.view().unwrap();
    store.close().await.unwrap();
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    assert_eq!(*session.view().unwrap(), *live);
    assert_head(&session, live.head().get()).await;
    let listed = store.list_sessions(None, 1).await.unwrap().remove(0);
    assert_eq!((&listed.title, &listed.labels), (&live.core().title, &live.core().labels));
    assert!(store.verify().await.unwrap().problems.is_empty());
    store.close().await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn i4_the_live_view_is_the_fold_of_the_log_whenever_it_is_made(
        batches in prop::collection::vec((describe(), prop::collection::vec(body(), 0..8), any::<bool>()), 0..10),
        durable in any::<bool>(),
    ) {
        let disk = if durable { TestDisk::directory() } else { TestDisk::memory() };
        actix::System::new().block_on(i4(disk, batches));
    }
}

#[actix::test]
async fn i5_a_session_has_one_order_and_each_batch_is_contiguous() {
    const SESSIONS: u64 = 64;
    const THREADS: u64 = 4;
    const ROUNDS: u64 = 6;
    let disk = TestDisk::directory();
    let store = disk.open().await;
    let opened = join_all((0..SESSIONS).map(|n| store.open_session(format!("s{n}")))).await;
    let sessions: Vec<Session> = opened.into_iter().map(Result::unwrap).collect();
    let all = sessions.clone();
    // Each thread appends to every session, a batch and a single in turn, and waits for nothing until the end.
    let acknowledged = on_threads(THREADS, move |thread| {
        let mut receipts = Vec::new();
        for round in 0..ROUNDS {
            for session in &all {
                let n = 1000 * thread + 10 * round;
                receipts.push((session.clone(), session.append_batch((n..n + 3).map(noted).collect()).unwrap()));
                receipts.push((session.clone(), session.append(noted(n + 3)).unwrap()));
            }
        }
        let mut of_sessions: HashMap<_, Vec<u64>> = HashMap::new();
        for (session, receipt) in receipts {
            let appended = block_on(receipt).unwrap();
            of_sessions.entry(session.id().clone()).or_default().extend(ids(&appended.events));
        }
        of_sessions
    })
    .await;
    for session in sessions {
        let log = whole_log(&session).await;
        assert_eq!(ids(&log), (1..=THREADS * ROUNDS * 4).collect::<Vec<_>>());
        for thread in 0..THREADS {
            let mine: Vec<_> = log.iter().filter(|event| json_of(event.body()) / 1000 == thread).collect();
            let numbers: Vec<_> = mine.iter().map(|event| json_of(event.body()) % 1000).collect();
            let wanted: Vec<_> = (0..ROUNDS).flat_map(|round| 10 * round..10 * round + 4).collect();
            assert_eq!(numbers, wanted, "in the order of this thread's calls");
            let positions: Vec<_> = mine.iter().map(|event| event.id().get()).collect();
            for batch in positions.chunks(4) {
                assert_eq!((batch[1], batch[2]), (batch[0] + 1, batch[0] + 2), "a batch is contiguous");
            }
            assert_eq!(acknowledged[thread as usize][session.id()], positions);
        }
        assert_head(&session, THREADS * ROUNDS * 4).await;
    }
    store.close().await.unwrap();
}

fn blob_file(disk: &TestDisk, blob: &BlobRef) -> std::path::PathBuf {
    let name = blob.digest.to_string();
    disk.path().unwrap().join("blobs").join(&name[..2]).join(&name)
}

#[actix::test]
async fn i7_an_event_is_refused_unless_its_blobs_are_there_and_an_orphan_blob_is_legal() {
    let disk = TestDisk::directory();
    let store = disk.open().await;
    let there = store.put_text("there").await.unwrap();
    let orphan = store.put_text("orphan").await.unwrap();
    let lost = store.put_text("lost").await.unwrap();
    store.close().await.unwrap();
    std::fs::remove_file(blob_file(&disk, &lost)).unwrap();
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let vars = |blob| AgentBody::VarsSnapshotted(Content::Blob(blob));
    for missing in [lost, dangling()] {
        let batch = session.append_batch(vec![vars(there), vars(missing)]).unwrap();
        assert_refused!(soon(batch).await, ErrorKind::DanglingRef { digest } if *digest == missing.digest);
    }
    assert_head(&session, 0).await;
    session.append(vars(there)).unwrap().await.unwrap();
    assert!(store.verify().await.unwrap().is_sound());
    assert_eq!(store.get_bytes(orphan.digest).await.unwrap(), b"orphan");
    store.close().await.unwrap();
}

#[actix::test]
async fn i8_a_blob_is_named_by_its_content_and_damage_is_reported_and_healed() {
    let disk = TestDisk::directory();
    let store = disk.open().await;
    let texts: Vec<_> = (0..20).map(|n| format!("blob {}", n % 5)).collect();
    let puts = join_all(texts.iter().map(|text| store.put_text(text))).await;
    let blobs: Vec<_> = puts.into_iter().map(Result::unwrap).collect();
    let mut files = 0;
    for shard in std::fs::read_dir(disk.path().unwrap().join("blobs")).unwrap() {
        for file in std::fs::read_dir(shard.unwrap().path()).unwrap() {
            let file = file.unwrap();
            let hash = blake3::hash(&std::fs::read(file.path()).unwrap()).to_hex();
            assert_eq!(file.file_name().to_str().unwrap(), hash.as_str());
            files += 1;
        }
    }
    assert_eq!(files, 5, "one file for equal bytes");
    std::fs::write(blob_file(&disk, &blobs[0]), b"blob X").unwrap();
    let damaged = store.get_bytes(blobs[0].digest).await;
    assert_refused!(damaged, ErrorKind::CorruptBlob { digest } if *digest == blobs[0].digest);
    assert_eq!(store.get_bytes(blobs[1].digest).await.unwrap(), b"blob 1", "the others are untouched");
    assert_eq!(store.put_text("blob 0").await.unwrap(), blobs[0]);
    assert_eq!(store.get_bytes(blobs[0].digest).await.unwrap(), b"blob 0");
    store.close().await.unwrap();
}

#[actix::test]
async fn i10_any_number_of_opens_at_once_give_one_session_with_its_turn_and_context() {
    for disk in [TestDisk::memory(), TestDisk::directory()] {
        let store = disk.open().await;
        let opener = store.clone();
        let contexts = on_threads(8, move |thread| {
            let mut contexts = Vec::new();
            for round in 0..10 {
                let session = block_on(opener.open_session(format!("s{round}"))).unwrap();
                let in_turn: Arc<AtomicBool> = session.context_or_insert_with(|| AtomicBool::new(false));
                match block_on(session.take_turn()) {
                    Ok(_guard) => {
                        assert!(!in_turn.swap(true, Ordering::SeqCst), "one turn at a time");
                        block_on(session.append(noted(thread)).unwrap()).unwrap();
                        in_turn.store(false, Ordering::SeqCst);
                    }
                    Err(error) => {
                        assert!(matches!(error.kind(), ErrorKind::TurnInFlight { .. }), "{error:?}");
                        block_on(session.append(noted(thread)).unwrap()).unwrap();
                    }
                }
                contexts.push(in_turn);
            }
            contexts
        })
        .await;
        for round in 0..10 {
            assert!(contexts.iter().all(|thread| Arc::ptr_eq(&thread[round], &contexts[0][round])));
            assert_head(&store.resume_session(format!("s{round}")).await.unwrap(), 8).await;
        }
        assert_eq!(store.list_sessions(None, 100).await.unwrap().len(), 10);
        store.close().await.unwrap();
    }
}

#[actix::test]
async fn i12_a_damaged_event_is_named_and_other_sessions_go_on() {
    let disk = TestDisk::directory();
    let store = disk.open().await;
    for name in ["damaged", "other"] {
        let session = store.open_session(name).await.unwrap();
        session.append_batch((0..5).map(noted).collect()).unwrap().await.unwrap();
    }
    store.close().await.unwrap();
    let by_hand = rusqlite::Connection::open(disk.path().unwrap().join("events.db")).unwrap();
    let damage = "UPDATE events SET record = CAST(record || x'00' AS BLOB) WHERE event_id = 3 AND log_key =
                  (SELECT log_key FROM sessions WHERE session_id = 'damaged')";
    assert_eq!(by_hand.execute(damage, []).unwrap(), 1);
    drop(by_hand);
    let store = disk.open().await;
    let other = store.resume_session("other").await.unwrap();
    assert_refused!(
        store.open_session("damaged").await,
        ErrorKind::CorruptEvent { session, event, .. } if session.as_str() == "damaged" && *event == at(3)
    );
    assert_refused!(store.read_state("damaged").await, ErrorKind::CorruptEvent { event, .. } if *event == at(3));
    let problems = store.verify().await.unwrap().problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(matches!(problems[0].error.kind(), ErrorKind::CorruptEvent { event, .. } if *event == at(3)));
    assert_eq!(other.append(noted(5)).unwrap().await.unwrap().head, at(6));
    assert_head(&other, 6).await;
    assert_eq!(store.list_sessions(None, 10).await.unwrap().len(), 2);
    store.close().await.unwrap();
}

#[actix::test]
async fn i12_a_bad_argument_is_a_typed_error_and_the_store_goes_on() {
    let disk = TestDisk::directory();
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    assert_refused!(store.open_session("").await, ErrorKind::InvalidSessionId { .. });
    assert_refused!(Json::parse("{"), ErrorKind::InvalidJson { .. });
    assert_refused!("..".parse::<foldlog::Digest>(), ErrorKind::InvalidDigest { .. });
    assert_refused!(session.append(AgentBody::TurnPut(Turn::default())), ErrorKind::BodyRefused { .. });
    assert_refused!(session.events_after(EventId::MAX, 0).await, ErrorKind::BeyondHead { .. });
    assert_refused!(session.subscribe(SubscribeFrom::After(EventId::MAX)).await, ErrorKind::BeyondHead { .. });
    let large = session.append(user("x".repeat(2 << 20))).unwrap().await;
    assert_refused!(large, ErrorKind::TooLarge { .. });
    assert_eq!(session.append(noted(1)).unwrap().await.unwrap().head, at(1));
    assert_head(&session, 1).await;
    store.close().await.unwrap();
}
