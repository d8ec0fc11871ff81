//! Goal: what the original store does, foldlog does, or differs on purpose. Method: the cases of docs/conformance.md
//! that the contract suite, the invariants and the unit tests do not cover as they stand; their numbers are in the
//! names.

use std::sync::Arc;

use crate::common::*;
use actix::prelude::*;
use foldlog::agent::{
    Agent, AgentBody, Counter, Eval, EvalStatus, Message, SessionInfo, SessionStatus, Step, Turn, TurnId, TurnStatus,
};
use foldlog::{Content, Delivery, ErrorKind, EventId, Item, Json, LagPolicy, LiveConfig, Session, SubscribeFrom};
use futures::future::join_all;

on_both_media!(
    case_13_eight_threads_of_fifty_appends_get_the_ids_1_to_400,
    case_33_a_session_that_was_never_created_is_not_appended_to,
    case_34_seven_events_come_back_as_the_equal_view_and_case_35_every_id_goes_on,
    case_38_a_value_of_turn_1_is_usable_in_turn_2_after_a_reopen,
    case_50_opening_again_brings_a_view_that_another_store_moved_up_to_date,
    case_55_values_come_back_equal_and_case_59_a_null_is_not_a_missing_blob,
    case_63_and_64_what_cannot_be_stored_is_a_typed_error,
    case_67_events_before_the_first_subscription_are_not_delivered_and_an_unsubscribed_session_has_no_queue,
    case_70_transients_make_room_for_events_to_the_exact_count,
    case_71_events_that_do_not_fit_are_left_to_the_log_to_the_exact_count,
    case_72_the_oldest_transient_goes_first_then_the_new_item_is_skipped,
    case_75_a_subscriber_may_take_the_turn_and_compact_its_own_session,
    case_79_the_live_options_hold_for_every_session,
    case_86_the_loser_of_a_conflict_goes_on_from_the_log,
    case_112_a_turn_opens_with_the_message_that_carries_its_id,
);

async fn case_13_eight_threads_of_fifty_appends_get_the_ids_1_to_400(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (sender, receiver) = futures::channel::oneshot::channel();
            let session = session.clone();
            std::thread::spawn(move || {
                let append = |n| futures::executor::block_on(session.append(noted(n)).unwrap()).unwrap().head.get();
                sender.send((0..50).map(append).collect::<Vec<_>>()).unwrap();
            });
            receiver
        })
        .collect();
    let ids: Vec<Vec<u64>> = soon(join_all(threads)).await.into_iter().map(Result::unwrap).collect();
    assert!(ids.iter().all(|thread| thread.is_sorted()));
    let mut all: Vec<u64> = ids.concat();
    all.sort_unstable();
    assert_eq!(all, (1..=400).collect::<Vec<_>>());
    assert_head(&session, 400).await;
    store.close().await.unwrap();
}

/// There is no way to name a session to append to but to open it; one that is not there is a typed error.
async fn case_33_a_session_that_was_never_created_is_not_appended_to(disk: TestDisk) {
    let store = disk.open().await;
    assert_refused!(store.resume_session("never").await, ErrorKind::UnknownSession { .. });
    assert!(store.list_sessions(None, 10).await.unwrap().is_empty());
    store.close().await.unwrap();
}

async fn case_34_seven_events_come_back_as_the_equal_view_and_case_35_every_id_goes_on(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let payload = Content::Blob(store.put_json(Json::parse("[1,2,3]").unwrap()).await.unwrap());
    let info = SessionInfo { id: Some("s".to_owned()), ..SessionInfo::default() };
    let done = Turn { id: TurnId::new(1), status: TurnStatus::Final, ..Turn::default() };
    for body in [
        AgentBody::SessionStarted(info),
        user("hello"),
        AgentBody::TurnStarted(Turn::default()),
        AgentBody::StepStarted(Step::of_turn(TurnId::new(1))),
        AgentBody::EvalAdded(Eval { result: Some(payload.clone()), ..Eval::default() }),
        AgentBody::VarsSnapshotted(payload),
        AgentBody::TurnPut(done),
    ] {
        session.append(body).unwrap().await.unwrap();
    }
    let before = session.view().unwrap();
    assert_eq!(entity_ids(&before), [1, 1, 1, 1]);
    store.close().await.unwrap();

    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    assert_eq!(*session.view().unwrap(), *before);
    assert!(store.verify().await.unwrap().is_sound());
    assert_eq!(session.counters().await.unwrap().0.next().get(), 8);
    for (counter, next) in [(Counter::Message, 2), (Counter::Turn, 2), (Counter::Step, 2), (Counter::Eval, 2)] {
        assert_eq!(session.next_id(counter).await.unwrap(), next);
    }
    let bodies = [
        user("again"),
        AgentBody::TurnStarted(Turn::default()),
        AgentBody::StepStarted(Step::default()),
        AgentBody::EvalAdded(Eval::default()),
    ];
    session.append_batch(bodies.into()).unwrap().await.unwrap();
    assert_eq!(entity_ids(&session.view().unwrap()), [2, 2, 2, 2]);
    assert_head(&session, 11).await;
    store.close().await.unwrap();
}

/// 36: a reopen needs nothing but the log and the blobs.
#[actix::test]
async fn case_36_a_directory_of_log_and_blobs_alone_opens() {
    let disk = TestDisk::directory();
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let blob = store.put_text("blob").await.unwrap();
    session.append(AgentBody::VarsSnapshotted(Content::Blob(blob))).unwrap().await.unwrap();
    store.close().await.unwrap();
    let path = disk.path().unwrap();
    for name in ["owners", "tmp"] {
        std::fs::remove_dir_all(path.join(name)).unwrap();
    }
    std::fs::remove_file(path.join("LOCK")).unwrap();
    for left_over in ["events.db-wal", "events.db-shm"] {
        let _ = std::fs::remove_file(path.join(left_over));
    }
    let store = disk.open().await;
    assert_head(&store.resume_session("s").await.unwrap(), 1).await;
    assert!(store.verify().await.unwrap().is_sound());
    store.close().await.unwrap();
}

async fn case_38_a_value_of_turn_1_is_usable_in_turn_2_after_a_reopen(disk: TestDisk) {
    async fn turn(session: &Session, code: &str, vars: &str) {
        let _guard = session.take_turn().await.unwrap();
        let id = TurnId::new(session.next_id(Counter::Turn).await.unwrap());
        let eval = Eval { turn: Some(id), code: Some(code.into()), status: EvalStatus::Final, ..Eval::default() };
        let done = Turn { id, status: TurnStatus::Final, ..Turn::default() };
        let turn = vec![
            AgentBody::TurnStarted(Turn::default()),
            AgentBody::EvalAdded(eval),
            AgentBody::VarsSnapshotted(vars.into()),
            AgentBody::TurnPut(done),
        ];
        session.append_batch(turn).unwrap().await.unwrap();
    }
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    session.append(AgentBody::SessionStarted(SessionInfo::default())).unwrap().await.unwrap();
    turn(&session, "let x = 7", r#"{"x":7}"#).await;
    store.close().await.unwrap();
    let store = disk.open().await;
    let session = store.resume_session("s").await.unwrap();
    assert_eq!(session.view().unwrap().turns.len(), 1);
    let vars = store.read_content(session.view().unwrap().vars.as_ref().unwrap()).await.unwrap();
    let x = Json::parse(&vars).unwrap().to_value().unwrap()["x"].as_u64().unwrap();
    turn(&session, "6 * x", &format!(r#"{{"x":7,"y":{}}}"#, 6 * x)).await;
    let view = session.view().unwrap();
    assert_eq!(view.vars.as_deref(), Some(&Content::from(r#"{"x":7,"y":42}"#)));
    assert_eq!((view.turns.len(), view.progress().status), (2, Some(SessionStatus::Running)));
    let started = whole_log(&session).await.iter().filter(|event| event.event_type() == "session_started").count();
    assert_eq!(started, 1);
    store.close().await.unwrap();
}

async fn case_50_opening_again_brings_a_view_that_another_store_moved_up_to_date(disk: TestDisk) {
    let (writer, reader) = (disk.open().await, disk.open().await);
    let session = writer.open_session("s").await.unwrap();
    session.append(noted(1)).unwrap().await.unwrap();
    assert_eq!(reader.open_session("s").await.unwrap().view().unwrap().head(), at(1));
    let read = reader.open_session("s").await.unwrap();
    session.append(noted(2)).unwrap().await.unwrap();
    assert_eq!(read.view().unwrap().head(), at(1), "nobody told the reader");
    assert_eq!(log_ids(&read).await, [1, 2], "the log is read from disk");
    let again = reader.open_session("s").await.unwrap();
    assert_eq!((again.view().unwrap().head(), read.view().unwrap().head()), (at(2), at(2)), "one session, one view");
    reader.close().await.unwrap();
    writer.close().await.unwrap();
}

async fn case_55_values_come_back_equal_and_case_59_a_null_is_not_a_missing_blob(disk: TestDisk) {
    let store = disk.open().await;
    for text in ["null", "42", "\"hello\"", "true", "3.14", "1e400", "7000000000000000000000", r#"{"a":[{"b":[]},{}]}"#]
    {
        let json = Json::parse(text).unwrap();
        let blob = store.put_json(json.clone()).await.unwrap();
        let back = store.read_content(&Content::Blob(blob)).await.unwrap();
        assert_eq!(Json::parse(&back).unwrap(), json);
    }
    let session = store.open_session("s").await.unwrap();
    let null = store.put_json(Json::parse("null").unwrap()).await.unwrap();
    session.append(AgentBody::VarsSnapshotted(Content::Blob(null))).unwrap().await.unwrap();
    assert!(store.verify().await.unwrap().is_sound());
    store.close().await.unwrap();
}

async fn case_63_and_64_what_cannot_be_stored_is_a_typed_error(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let deep = format!("{}{}", "[".repeat(600), "]".repeat(600));
    assert_refused!(Json::parse(&deep), ErrorKind::InvalidJson { .. });
    assert_refused!(Json::parse(r#"{"a":1,"a":2}"#), ErrorKind::InvalidJson { .. });
    let long = session.append(user("x".repeat(2 << 20))).unwrap().await;
    assert_refused!(long, ErrorKind::TooLarge { .. });
    assert_head(&session, 0).await;
    store.close().await.unwrap();
}

/// 67 and 78: nothing is queued for nobody, so nothing fills up.
async fn case_67_events_before_the_first_subscription_are_not_delivered_and_an_unsubscribed_session_has_no_queue(
    disk: TestDisk,
) {
    let store = disk.open_with(|config| config.session_in_flight_max = 8).await;
    let session = store.open_session("s").await.unwrap();
    for n in 0..100 {
        session.notify(shown(n)).unwrap();
        session.append(noted(n)).unwrap().await.unwrap();
    }
    let (recipient, mut received) = collector();
    session.subscribe_actor(SubscribeFrom::Now, recipient).await.unwrap();
    session.append(noted(100)).unwrap().await.unwrap();
    assert_eq!(received.take(1).await, ["101"]);
    store.close().await.unwrap();
    assert!(received.until_ended().await.is_empty());
}

async fn with_queue(disk: &TestDisk, subscriber_queue_max: usize) -> foldlog::Store {
    let live = LiveConfig { subscriber_queue_max, lag: LagPolicy::Gap };
    disk.open_with(|config| config.live = live).await
}

async fn case_70_transients_make_room_for_events_to_the_exact_count(disk: TestDisk) {
    let store = with_queue(&disk, 16).await;
    let session = store.open_session("s").await.unwrap();
    let (recipient, mut received, mut gate) = gated();
    session.subscribe_actor(SubscribeFrom::Now, recipient).await.unwrap();
    session.notify(shown(1)).unwrap();
    assert!(matches!(received.next().await, Item::Transient(transient) if transient == shown(1)));
    // The subscriber is blocked in the first of 200.
    (2..=200).for_each(|n| session.notify(shown(n)).unwrap());
    for id in 1..=5 {
        assert_eq!(session.append(noted(id)).unwrap().await.unwrap().head, at(id));
    }
    gate.open();
    let mut transients = vec![shown(1)];
    let mut rest = Vec::new();
    while rest.len() < 6 {
        match received.next().await {
            Item::Transient(transient) => transients.push(transient),
            item => rest.push(crate::common::subscribers::short(&item)),
        }
    }
    // 1 + 16 - 5: the one that was taken, and the last 11.
    assert_eq!(transients.len(), 12);
    assert_eq!(transients[1..], (190..=200).map(shown).collect::<Vec<_>>());
    assert_eq!(rest, ["1", "2", "3", "4", "5", "gap 5..5 (188 transients)"]);
    store.close().await.unwrap();
    assert!(received.until_ended().await.is_empty(), "one gap, and nothing after it");
}

async fn case_71_events_that_do_not_fit_are_left_to_the_log_to_the_exact_count(disk: TestDisk) {
    let store = with_queue(&disk, 4).await;
    let session = store.open_session("s").await.unwrap();
    session.append(noted(1)).unwrap().await.unwrap();
    let (recipient, mut received, mut gate) = gated();
    session.subscribe_actor(SubscribeFrom::Now, recipient).await.unwrap();
    session.append(noted(2)).unwrap().await.unwrap();
    assert_eq!(received.take(1).await, ["2"]);
    (1..=3).for_each(|n| session.notify(shown(n)).unwrap());
    for id in 3..=8 {
        session.append(noted(id)).unwrap().await.unwrap();
    }
    session.notify(shown(4)).unwrap();
    session.counters().await.unwrap();
    gate.open();
    assert_eq!(received.take(5).await, ["3", "4", "5", "6", "gap 6..8 (4 transients)"]);
    assert_eq!(log_ids(&session).await, (1..=8).collect::<Vec<_>>(), "7 and 8 are in the log");
    session.append(noted(9)).unwrap().await.unwrap();
    assert_eq!(received.take(1).await, ["9"]);
    store.close().await.unwrap();
    assert!(received.until_ended().await.is_empty());
}

/// 72 and 73: markers and transients have no id, and neither reaches log or view.
async fn case_72_the_oldest_transient_goes_first_then_the_new_item_is_skipped(disk: TestDisk) {
    let store = with_queue(&disk, 2).await;
    let session = store.open_session("s").await.unwrap();
    let (recipient, mut received, mut gate) = gated();
    session.subscribe_actor(SubscribeFrom::Now, recipient).await.unwrap();
    session.append(noted(1)).unwrap().await.unwrap();
    assert_eq!(received.take(1).await, ["1"]);
    (1..=3).for_each(|n| session.notify(shown(n)).unwrap());
    session.append(noted(2)).unwrap().await.unwrap();
    session.append(noted(3)).unwrap().await.unwrap();
    session.notify(shown(4)).unwrap();
    session.counters().await.unwrap();
    gate.pass();
    assert_eq!(received.take(1).await, ["2"]);
    // There is room again, and no event was left out: this one is queued before the marker.
    session.append(noted(4)).unwrap().await.unwrap();
    gate.open();
    assert_eq!(received.take(3).await, ["3", "4", "gap 4..4 (4 transients)"]);
    assert_head(&session, 4).await;
    store.close().await.unwrap();
}

async fn case_75_a_subscriber_may_take_the_turn_and_compact_its_own_session(disk: TestDisk) {
    struct Compacting(Session);
    impl Actor for Compacting {
        type Context = Context<Self>;
    }
    impl Handler<Delivery<Agent>> for Compacting {
        type Result = ResponseFuture<()>;
        fn handle(&mut self, delivery: Delivery<Agent>, _: &mut Context<Self>) -> ResponseFuture<()> {
            let session = self.0.clone();
            let first = matches!(delivery.item(), Item::Event(event) if event.id() == at(1));
            Box::pin(async move {
                if first {
                    drop(session.take_turn().await.unwrap());
                    session.compact(Message::system("so far"), at(1), None).await.unwrap();
                }
                drop(delivery);
            })
        }
    }
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let mut stream = session.subscribe(SubscribeFrom::Now).await.unwrap();
    session.subscribe_actor(SubscribeFrom::Now, Compacting(session.clone()).start().recipient()).await.unwrap();
    session.append(user("hello")).unwrap().await.unwrap();
    for id in 1..=2 {
        let item = soon(futures::StreamExt::next(&mut stream)).await.unwrap();
        assert!(matches!(item, Item::Event(event) if event.id() == at(id)));
    }
    assert_eq!(session.view().unwrap().compact_from, Some(at(2)));
    soon(store.close()).await.unwrap();
}

async fn case_79_the_live_options_hold_for_every_session(disk: TestDisk) {
    assert_eq!(LiveConfig::default(), LiveConfig { subscriber_queue_max: 1024, lag: LagPolicy::Gap });
    let store = with_queue(&disk, 1).await;
    for name in ["a", "b"] {
        let session = store.open_session(name).await.unwrap();
        let (recipient, mut received, mut gate) = gated();
        session.subscribe_actor(SubscribeFrom::Now, recipient).await.unwrap();
        session.append(noted(1)).unwrap().await.unwrap();
        assert_eq!(received.take(1).await, ["1"]);
        session.append_batch((2..=4).map(noted).collect()).unwrap().await.unwrap();
        gate.open();
        assert_eq!(received.take(2).await, ["2", "gap 2..4 (0 transients)"]);
    }
    store.close().await.unwrap();
}

/// 85 and 86: several stores open one medium and read; one writes a session at a time, and the other goes on after it.
async fn case_86_the_loser_of_a_conflict_goes_on_from_the_log(disk: TestDisk) {
    let (one, two) = (disk.open().await, disk.open().await);
    let (first, second) = (one.open_session("s").await.unwrap(), two.open_session("s").await.unwrap());
    first.append(user("first")).unwrap().await.unwrap();
    for _ in 0..2 {
        assert_refused!(second.append(user("x")).unwrap().await, ErrorKind::OwnedElsewhere { .. });
    }
    assert_eq!(second.view().unwrap().head(), EventId::ZERO);
    // Another session is free, and closing one session is enough to hand it over.
    two.open_session("other").await.unwrap().append(user("x")).unwrap().await.unwrap();
    first.close().await.unwrap();
    assert_eq!(second.append(user("second")).unwrap().await.unwrap().head, at(2));
    assert_eq!(second.view().unwrap().counters.message, 2);
    let first = one.open_session("s").await.unwrap();
    assert_refused!(first.append(user("x")).unwrap().await, ErrorKind::OwnedElsewhere { .. });
    assert_head(&second, 2).await;
    two.close().await.unwrap();
    assert_eq!(first.append(user("third")).unwrap().await.unwrap().head, at(3));
    assert_head(&first, 3).await;
    one.close().await.unwrap();
}

/// 83: what was opened before the failure is let go of.
#[actix::test]
async fn case_83_an_open_that_fails_leaks_nothing_and_succeeds_once_the_cause_is_gone() {
    let disk = TestDisk::directory();
    let path = disk.path().unwrap();
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("blobs"), "in the way").unwrap();
    for _ in 0..3 {
        assert_refused!(foldlog::Store::open(disk.config()).await, ErrorKind::Io { .. });
    }
    std::fs::remove_file(path.join("blobs")).unwrap();
    std::fs::write(path.join("events.db"), "this is no database, and long enough to look like one").unwrap();
    for _ in 0..3 {
        assert_refused!(foldlog::Store::open(disk.config()).await, ErrorKind::NotAStore { .. });
    }
    std::fs::remove_file(path.join("events.db")).unwrap();
    assert!(std::fs::read_dir(path.join("owners")).unwrap().next().is_none(), "no owner is left");
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    session.append(noted(1)).unwrap().await.unwrap();
    assert_head(&session, 1).await;
    store.close().await.unwrap();
}

async fn case_112_a_turn_opens_with_the_message_that_carries_its_id(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    for n in 1..=2 {
        let _guard = session.take_turn().await.unwrap();
        let turn = TurnId::new(session.next_id(Counter::Turn).await.unwrap());
        let message = Message { turn: Some(turn), ..Message::user("hello") };
        let appended = session.append(AgentBody::MessageAppended(message)).unwrap().await.unwrap();
        let AgentBody::MessageAppended(message) = appended.events[0].body() else { panic!("it is the message") };
        let started = AgentBody::TurnStarted(Turn::for_message(message.id));
        session.append(started).unwrap().await.unwrap();
        let view = session.view().unwrap();
        let opened: &Arc<Turn> = view.turns.last().unwrap();
        assert_eq!((opened.id.get(), opened.user_message), (n, Some(message.id)));
        assert_eq!(message.turn, Some(opened.id));
    }
    assert_head(&session, 4).await;
    store.close().await.unwrap();
}
