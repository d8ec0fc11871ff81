//! Goal: a request that comes while a turn runs is queued under its key, exactly once, and gets its turn in order.
//! Method: requests behind a turn, sent again, after reopening and interruption; many at once, each of which must be
//! answered.

use foldlog::agent::{AgentBody, Message, MessageId, Role, RunningTurn, TurnBegun, TurnEnd, TurnId, TurnStatus};
use foldlog::testkit::{Fault, Faults, Port};
use foldlog::{Error, ErrorKind, Session};

use crate::common::*;

on_both_media!(
    a_request_behind_a_turn_is_queued_once_and_gets_its_turn_in_order,
    a_queue_is_there_after_reopening_behind_the_turn_that_was_interrupted,
    a_queued_request_that_comes_again_when_no_turn_runs_begins,
    a_request_that_was_begun_and_comes_again_behind_another_turn_is_told_of_its_own,
    a_key_of_another_request_is_refused_whether_it_was_queued_or_begun,
    nothing_is_queued_where_no_turn_can_begin,
    a_queued_request_that_was_not_written_can_be_sent_again,
    without_a_message_that_waits_no_next_turn_is_taken,
    a_message_that_waited_is_sent_though_a_compaction_covers_it,
    of_many_requests_at_once_each_is_answered_once_in_their_order,
    a_request_that_comes_while_another_looks_is_not_left_behind,
);

async fn ask(session: &Session, name: &str) -> Result<TurnBegun, Error> {
    session.begin_turn_once(Message::user(name), key(name)).await
}

fn now(begun: Result<TurnBegun, Error>) -> RunningTurn {
    match begun {
        Ok(TurnBegun::Now(turn)) => turn,
        other => panic!("it does not begin: {other:?}"),
    }
}

fn queued(begun: Result<TurnBegun, Error>) -> u64 {
    match begun {
        Ok(TurnBegun::Queued(message)) => message.get(),
        other => panic!("it is not queued: {other:?}"),
    }
}

fn unanswered(session: &Session) -> Vec<u64> {
    session.view().unwrap().unanswered().map(|message| message.id.get()).collect()
}

/// What each turn answers, and how it ended.
fn turns(session: &Session) -> Vec<(u64, TurnStatus)> {
    let view = session.view().unwrap();
    view.turns.iter().map(|turn| (turn.user_message.unwrap_or_default().get(), turn.status)).collect()
}

async fn a_request_behind_a_turn_is_queued_once_and_gets_its_turn_in_order(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let mut turn = now(ask(&session, "a").await);
    for _ in 0..3 {
        assert_eq!((queued(ask(&session, "b").await), queued(ask(&session, "c").await)), (2, 3));
    }
    assert_eq!(unanswered(&session), [2, 3]);
    let types: Vec<_> = whole_log(&session).await.iter().map(|event| event.event_type()).collect();
    assert_eq!(
        types,
        ["message_appended", "turn_started", "message_appended", "turn_queued", "message_appended", "turn_queued"]
    );
    assert!(session.begin_next_turn().await.unwrap().is_none(), "somebody has the turn");
    turn.answer(Message::assistant("of a")).await.unwrap();
    for (name, message) in [("b", 2), ("c", 3)] {
        let mut turn = session.begin_next_turn().await.unwrap().expect("it waits");
        assert_eq!(turn.user_message(), MessageId::new(message));
        let running = ask(&session, name).await.unwrap();
        assert_eq!(running.message(), turn.user_message());
        assert!(matches!(running, TurnBegun::Running(found) if found.id == turn.id()));
        let asked = turn.provider_messages().await.unwrap().pop().unwrap();
        assert_eq!(asked.inline_text().as_deref(), Some(name));
        turn.answer(Message::assistant("so")).await.unwrap();
        let ended = ask(&session, name).await.unwrap();
        assert!(matches!(&ended, TurnBegun::Ended(found) if found.status == TurnStatus::Final), "{ended:?}");
    }
    assert!(session.begin_next_turn().await.unwrap().is_none());
    assert_eq!(turns(&session), [(1, TurnStatus::Final), (2, TurnStatus::Final), (3, TurnStatus::Final)]);
    drop(session.take_turn().await.expect("nobody kept it"));
    store.close().await.unwrap();
}

async fn a_queue_is_there_after_reopening_behind_the_turn_that_was_interrupted(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let turn = now(ask(&session, "a").await);
    queued(ask(&session, "b").await);
    queued(ask(&session, "c").await);
    drop(turn);
    store.close().await.unwrap();
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    session.interrupt("the host was restarted").await.unwrap();
    assert_eq!(unanswered(&session), [1, 2, 3], "what came first goes first");
    // Whether it is new or comes again, none goes ahead of the queue.
    assert_eq!((queued(ask(&session, "c").await), queued(ask(&session, "d").await)), (3, 4));
    let mut answered = Vec::new();
    while let Some(mut turn) = session.begin_next_turn().await.unwrap() {
        answered.push(turn.user_message().get());
        turn.answer(Message::assistant("so")).await.unwrap();
    }
    assert_eq!(answered, [1, 2, 3, 4]);
    let users = session.view().unwrap().messages.iter().filter(|message| message.role == Role::User).count();
    assert_eq!(users, 4, "each is there once");
    store.close().await.unwrap();
}

async fn a_queued_request_that_comes_again_when_no_turn_runs_begins(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let mut turn = now(ask(&session, "a").await);
    queued(ask(&session, "b").await);
    turn.end(TurnEnd::Cancelled).await.unwrap();
    let mut turn = now(ask(&session, "b").await);
    assert_eq!((turn.id(), turn.user_message()), (TurnId::new(2), MessageId::new(2)));
    assert!(unanswered(&session).is_empty());
    turn.answer(Message::assistant("so")).await.unwrap();
    assert_eq!(turns(&session), [(1, TurnStatus::Cancelled), (2, TurnStatus::Final)]);
    store.close().await.unwrap();
}

async fn a_request_that_was_begun_and_comes_again_behind_another_turn_is_told_of_its_own(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    now(ask(&session, "a").await).answer(Message::assistant("so")).await.unwrap();
    drop(now(ask(&session, "b").await));
    session.interrupt("the host was restarted").await.unwrap();
    assert_eq!(queued(ask(&session, "c").await), 4, "b was interrupted, and waits");
    assert!(matches!(ask(&session, "a").await, Ok(TurnBegun::Ended(turn)) if turn.id == TurnId::new(1)));
    let mut turn = now(ask(&session, "b").await);
    assert_eq!(queued(ask(&session, "c").await), 4);
    assert!(matches!(ask(&session, "b").await, Ok(TurnBegun::Running(found)) if found.id == turn.id()));
    turn.answer(Message::assistant("so")).await.unwrap();
    assert!(matches!(ask(&session, "b").await, Ok(TurnBegun::Ended(turn)) if turn.id == TurnId::new(3)));
    assert_eq!(unanswered(&session), [4]);
    store.close().await.unwrap();
}

async fn a_key_of_another_request_is_refused_whether_it_was_queued_or_begun(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let mut turn = now(ask(&session, "a").await);
    queued(ask(&session, "b").await);
    for is_free in [false, true] {
        if is_free {
            turn.end(TurnEnd::Cancelled).await.unwrap();
        }
        for name in ["a", "b"] {
            let other = session.begin_turn_once(Message::user("something else"), key(name)).await;
            assert_refused!(other, ErrorKind::KeyReused { .. });
        }
    }
    assert_head(&session, 5).await;
    drop(session.take_turn().await.expect("a refusal gives the turn back"));
    store.close().await.unwrap();
}

async fn nothing_is_queued_where_no_turn_can_begin(disk: TestDisk) {
    let store = disk.open_with(|config| config.session_turns_max = Some(1)).await;
    let session = store.open_session("s").await.unwrap();
    let mut turn = now(ask(&session, "a").await);
    assert_refused!(ask(&session, "b").await, ErrorKind::TurnLimit { .. });
    turn.end(TurnEnd::Final).await.unwrap();
    session.stop().await.unwrap();
    assert_refused!(ask(&session, "b").await, ErrorKind::SessionStopped { .. });
    assert!(session.begin_next_turn().await.unwrap().is_none());
    assert_head(&session, 5).await;
    let waits = vec![user("b"), AgentBody::TurnQueued { message: MessageId::default() }];
    session.append_batch(waits).unwrap().await.unwrap();
    assert_refused!(session.begin_next_turn().await, ErrorKind::SessionStopped { .. });
    store.close().await.unwrap();
}

async fn a_queued_request_that_was_not_written_can_be_sent_again(disk: TestDisk) {
    let faults = Faults::default();
    let store = foldlog::Store::open(faults.watch(disk.config())).await.unwrap();
    let session = store.open_session("s").await.unwrap();
    let mut turn = now(ask(&session, "a").await);
    faults.fail_next(Port::Commit, Fault::DiskFull);
    assert_refused!(ask(&session, "b").await, ErrorKind::DiskFull);
    assert!(unanswered(&session).is_empty());
    assert_eq!(queued(ask(&session, "b").await), 2);
    turn.answer(Message::assistant("so")).await.unwrap();
    faults.fail_next(Port::Commit, Fault::DiskFull);
    assert_refused!(session.begin_next_turn().await, ErrorKind::DiskFull);
    assert_eq!(unanswered(&session), [2], "it waits still");
    let mut turn = session.begin_next_turn().await.unwrap().expect("it waits");
    turn.answer(Message::assistant("so")).await.unwrap();
    store.close().await.unwrap();
}

async fn without_a_message_that_waits_no_next_turn_is_taken(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    assert!(session.begin_next_turn().await.unwrap().is_none());
    append(&session, user("no turn is asked for")).await.unwrap();
    assert!(session.begin_next_turn().await.unwrap().is_none());
    assert_head(&session, 1).await;
    store.close().await.unwrap();
}

async fn a_message_that_waited_is_sent_though_a_compaction_covers_it(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let mut turn = now(ask(&session, "a").await);
    queued(ask(&session, "b").await);
    queued(ask(&session, "c").await);
    turn.answer(Message::assistant("of a")).await.unwrap();
    let head = session.view().unwrap().head();
    session.compact(Message::user("so far"), head, None).await.unwrap();
    let mut turn = session.begin_next_turn().await.unwrap().expect("it waits");
    let texts = async |turn: &RunningTurn| -> Vec<_> {
        turn.provider_messages().await.unwrap().iter().map(|message| message.inline_text().unwrap()).collect()
    };
    assert_eq!(texts(&turn).await, ["so far", "b"]);
    turn.say(Message::assistant("thinking")).await.unwrap();
    assert_eq!(texts(&turn).await, ["so far", "b", "thinking"]);
    // From here on a summary stands for the message and for what its turn has done.
    let head = session.view().unwrap().head();
    session.compact(Message::user("so far, with b"), head, None).await.unwrap();
    assert_eq!(texts(&turn).await, ["so far, with b"]);
    turn.answer(Message::assistant("of b")).await.unwrap();
    let turn = session.begin_next_turn().await.unwrap().expect("it waits");
    assert_eq!(texts(&turn).await, ["so far, with b", "of b", "c"]);
    drop(turn);
    store.close().await.unwrap();
}

/// A host: sends a request, and runs turns while there are any.
async fn host(session: &Session, name: &str) {
    let mut next = match ask(session, name).await.unwrap() {
        TurnBegun::Now(turn) => Some(turn),
        TurnBegun::Queued(_) => session.begin_next_turn().await.unwrap(),
        _ => None,
    };
    while let Some(mut turn) = next {
        turn.answer(Message::assistant("so")).await.unwrap();
        next = session.begin_next_turn().await.unwrap();
    }
}

async fn of_many_requests_at_once_each_is_answered_once_in_their_order(disk: TestDisk) {
    let store = disk.open().await;
    for round in 0..20 {
        let session = store.open_session(format!("{round}")).await.unwrap();
        let names: Vec<_> = (0..16).map(|n| format!("{}", n / 2)).collect();
        soon(futures::future::join_all(names.iter().map(|name| host(&session, name)))).await;
        assert!(unanswered(&session).is_empty(), "round {round}: {:?}", turns(&session));
        let answered = turns(&session);
        assert!(answered.iter().all(|(_, status)| *status == TurnStatus::Final), "round {round}: {answered:?}");
        let view = session.view().unwrap();
        let asked = view.messages.iter().filter(|message| message.role == Role::User).map(|message| message.id.get());
        assert!(answered.iter().map(|(message, _)| *message).eq(asked), "in their order, round {round}: {answered:?}");
        assert_eq!(answered.len(), 8);
    }
    store.close().await.unwrap();
}

/// A request that only looks has the right to run a turn for a moment: held there, another request comes.
async fn a_request_that_comes_while_another_looks_is_not_left_behind(disk: TestDisk) {
    let store = disk.open().await;
    // How many polls it takes depends on other threads, which a loaded machine lets wait.
    for polls in 0..1000 {
        let session = store.open_session(format!("{polls}")).await.unwrap();
        host(&session, "a").await;
        let mut looks = Box::pin(ask(&session, "a"));
        for _ in 0..polls {
            if futures::FutureExt::now_or_never(looks.as_mut()).is_some() {
                return store.close().await.unwrap();
            }
            tokio::task::yield_now().await;
        }
        let (looked, ()) = soon(futures::future::join(looks, host(&session, "b"))).await;
        assert!(matches!(looked, Ok(TurnBegun::Ended(_))), "{looked:?}");
        assert!(unanswered(&session).is_empty(), "after {polls} polls nobody runs b");
    }
    panic!("it is never ready");
}
