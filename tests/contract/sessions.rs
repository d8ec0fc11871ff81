//! Goal: sessions are opened, resumed, listed and closed by name. Method: many handles, calls at once, stores one after
//! the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use foldlog::agent::{AgentBody, SessionInfo, Step, StepId, Turn, TurnId, TurnStatus};
use foldlog::{Condition, ErrorKind, SessionId, Unfinished};
use futures::future::join_all;

use crate::common::*;

on_both_media!(
    an_opened_session_is_created_empty_and_opened_again_as_it_is,
    fifty_concurrent_opens_of_one_name_give_one_session,
    a_session_that_must_exist_is_unknown_until_it_is_created,
    a_name_that_is_none_is_refused_and_creates_nothing,
    sessions_are_listed_in_pages_by_name_with_their_heads,
    a_closed_session_refuses_its_handles_and_opens_again_from_the_log,
    closing_a_session_twice_is_harmless_and_closes_no_other,
    the_hosts_context_is_one_for_all_handles_while_the_session_is_open,
    a_recovery_reports_events_and_what_was_left_running,
    a_session_that_is_opened_written_and_closed_while_another_call_makes_it_is_opened_as_it_is,
    closing_a_session_lets_go_of_a_context_that_holds_it,
);

async fn an_opened_session_is_created_empty_and_opened_again_as_it_is(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    assert_head(&session, 0).await;
    session.append(user("hello")).unwrap().await.unwrap();
    let again = store.open_session("s").await.unwrap();
    assert!(Arc::ptr_eq(&session.view().unwrap(), &again.view().unwrap()));
    assert_eq!(again.id().as_str(), "s");
    assert_eq!(again.condition(), Condition::Ready);
    assert_head(&again, 1).await;
    store.close().await.unwrap();
}

async fn fifty_concurrent_opens_of_one_name_give_one_session(disk: TestDisk) {
    let store = disk.open().await;
    let made = AtomicUsize::new(0);
    let opened = join_all((0..50).map(|_| store.open_session("s"))).await;
    let sessions: Vec<_> = opened.into_iter().map(Result::unwrap).collect();
    let guard = sessions[0].take_turn().await.unwrap();
    for session in &sessions {
        session.context_or_insert_with(|| made.fetch_add(1, Ordering::SeqCst));
        assert_refused!(session.take_turn().await, ErrorKind::TurnInFlight { .. });
    }
    drop(guard);
    assert_eq!(made.load(Ordering::SeqCst), 1);
    let receipts: Vec<_> = sessions.iter().map(|session| session.append(noted(1)).unwrap()).collect();
    for (n, receipt) in receipts.into_iter().enumerate() {
        assert_eq!(receipt.await.unwrap().head, at(n as u64 + 1));
    }
    assert_eq!(store.list_sessions(None, 10).await.unwrap().len(), 1);
    assert_head(&sessions[49], 50).await;
    store.close().await.unwrap();
}

async fn a_session_that_must_exist_is_unknown_until_it_is_created(disk: TestDisk) {
    let store = disk.open().await;
    assert_refused!(store.resume_session("s").await, ErrorKind::UnknownSession { session } if session.as_str() == "s");
    assert_refused!(store.read_state("s").await, ErrorKind::UnknownSession { .. });
    assert!(store.list_sessions(None, 10).await.unwrap().is_empty());
    store.open_session("s").await.unwrap();
    assert_head(&store.resume_session("s").await.unwrap(), 0).await;
    store.close().await.unwrap();
    let store = disk.open().await;
    assert_head(&store.resume_session("s").await.unwrap(), 0).await;
    store.close().await.unwrap();
}

async fn a_name_that_is_none_is_refused_and_creates_nothing(disk: TestDisk) {
    let store = disk.open().await;
    let (longest, longer) = ("x".repeat(SessionId::BYTES_MAX), "x".repeat(SessionId::BYTES_MAX + 1));
    let bad = ["", &longer, &"é".repeat(129), "a\0b", "line\nbreak", "\u{7f}", "c1 \u{85} control", "\r", "\t"];
    for name in bad {
        assert_refused!(store.open_session(name).await, ErrorKind::InvalidSessionId { .. });
        assert_refused!(store.resume_session(name).await, ErrorKind::InvalidSessionId { .. });
        assert_refused!(store.read_state(name).await, ErrorKind::InvalidSessionId { .. });
    }
    assert!(store.list_sessions(None, 10).await.unwrap().is_empty());
    let good = [&longest, "../../etc/passwd", " ", "..", "a/b", "'; drop table events; --", "späti", "日本語", "%00"];
    for name in good {
        let session = store.open_session(name).await.unwrap();
        session.append(user("hello")).unwrap().await.unwrap();
        assert_head(&session, 1).await;
    }
    assert_eq!(store.list_sessions(None, 100).await.unwrap().len(), good.len());
    store.close().await.unwrap();
}

async fn sessions_are_listed_in_pages_by_name_with_their_heads(disk: TestDisk) {
    let store = disk.open().await;
    for (name, events) in [("b", 2), ("a", 0), ("e", 1), ("c", 3), ("d", 0)] {
        let session = store.open_session(name).await.unwrap();
        let bodies = (0..events).map(noted).collect();
        session.append_batch(bodies).unwrap().await.unwrap();
    }
    let mut listed = Vec::new();
    let mut pages = 0;
    loop {
        let after = listed.last().map(|(id, _): &(SessionId, u64)| id.clone());
        let page = store.list_sessions(after, 2).await.unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 2);
        pages += 1;
        listed.extend(page.into_iter().map(|summary| (summary.id, summary.head.get())));
    }
    let listed: Vec<_> = listed.iter().map(|(id, head)| (id.as_str(), *head)).collect();
    assert_eq!(listed, [("a", 0), ("b", 2), ("c", 3), ("d", 0), ("e", 1)]);
    assert_eq!(pages, 3);
    store.close().await.unwrap();
}

async fn a_closed_session_refuses_its_handles_and_opens_again_from_the_log(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let (recipient, mut received) = collector();
    session.subscribe_actor(foldlog::SubscribeFrom::Now, recipient).await.unwrap();
    let pending: Vec<_> = (0..20).map(|n| session.append(noted(n)).unwrap()).collect();
    session.close().await.unwrap();
    for (n, receipt) in pending.into_iter().enumerate() {
        assert_eq!(soon(receipt).await.unwrap().head, at(n as u64 + 1), "what was in flight is finished");
    }
    assert_eq!(received.until_ended().await.len(), 20);
    assert_refused!(session.append(noted(99)), ErrorKind::SessionClosed { session } if session.as_str() == "s");
    assert_refused!(session.notify(shown(1)), ErrorKind::SessionClosed { .. });
    assert_refused!(session.address(), ErrorKind::SessionClosed { .. });
    assert_refused!(session.counters().await, ErrorKind::SessionClosed { .. });
    assert_refused!(session.subscribe(foldlog::SubscribeFrom::Now).await, ErrorKind::SessionClosed { .. });
    assert_refused!(session.recovery().await, ErrorKind::SessionClosed { .. });
    assert_refused!(session.take_turn().await, ErrorKind::SessionClosed { .. });
    assert_refused!(session.stop().await, ErrorKind::SessionClosed { .. });
    assert_eq!(session.view().unwrap().head(), at(20), "a view already taken stays readable");
    let before = session.view().unwrap();

    let again = store.resume_session("s").await.unwrap();
    assert_eq!(*again.view().unwrap(), *before);
    assert_eq!(again.append(noted(20)).unwrap().await.unwrap().head, at(21));
    assert_refused!(session.append(noted(99)), ErrorKind::SessionClosed { .. });
    assert_head(&again, 21).await;
    store.close().await.unwrap();
}

async fn closing_a_session_twice_is_harmless_and_closes_no_other(disk: TestDisk) {
    let store = disk.open().await;
    let (session, other) = (store.open_session("s").await.unwrap(), store.open_session("other").await.unwrap());
    let clone = session.clone();
    let (first, second) = futures::join!(session.close(), clone.close());
    assert!(first.is_ok() && second.is_ok());
    session.close().await.unwrap();
    let again = store.open_session("s").await.unwrap();
    // The old handle is of the session that was closed, not of the one that took its name.
    session.close().await.unwrap();
    again.append(noted(1)).unwrap().await.unwrap();
    other.append(noted(1)).unwrap().await.unwrap();
    assert_head(&again, 1).await;
    assert_head(&other, 1).await;
    store.close().await.unwrap();
}

async fn the_hosts_context_is_one_for_all_handles_while_the_session_is_open(disk: TestDisk) {
    struct Sandbox(u32);
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    assert!(session.context::<Sandbox>().is_none());
    let sandbox = session.context_or_insert_with(|| Sandbox(1));
    let again = store.open_session("s").await.unwrap();
    assert!(Arc::ptr_eq(&sandbox, &again.context_or_insert_with(|| Sandbox(2))));
    assert_eq!(again.context::<Sandbox>().unwrap().0, 1);
    assert!(session.context::<String>().is_none(), "another type is another context");
    session.address().unwrap().send(foldlog::Restart).await.unwrap();
    session.recovery().await.unwrap();
    assert!(Arc::ptr_eq(&sandbox, &session.context().unwrap()), "a restart keeps it");
    assert!(store.open_session("other").await.unwrap().context::<Sandbox>().is_none());
    session.close().await.unwrap();
    assert!(store.open_session("s").await.unwrap().context::<Sandbox>().is_none(), "closing ends it");
    store.close().await.unwrap();
}

async fn a_recovery_reports_events_and_what_was_left_running(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let bodies = vec![
        AgentBody::SessionStarted(SessionInfo::default()),
        AgentBody::TurnStarted(Turn { status: TurnStatus::Final, ..Turn::default() }),
        AgentBody::TurnStarted(Turn::default()),
        AgentBody::StepStarted(Step::of_turn(TurnId::new(2))),
    ];
    session.append_batch(bodies).unwrap().await.unwrap();
    store.close().await.unwrap();
    let store = disk.open().await;
    let session = store.resume_session("s").await.unwrap();
    let report = session.recovery().await.unwrap();
    assert_eq!(report.events, 4);
    assert_eq!(report.condition, Condition::Ready);
    let left = [Unfinished::new("turn", 2), Unfinished::new("step", 1)];
    assert_eq!(report.unfinished, left);
    assert_eq!(store.read_state("s").await.unwrap().report.unfinished, left);
    let view = session.view().unwrap();
    assert!(view.steps.get(StepId::new(1)).is_some());
    let ended = Turn { status: TurnStatus::Error, ..(**view.turns.get(TurnId::new(2)).unwrap()).clone() };
    session.append(AgentBody::TurnPut(ended)).unwrap().await.unwrap();
    store.close().await.unwrap();
    let store = disk.open().await;
    let report = store.resume_session("s").await.unwrap().recovery().await.unwrap();
    assert_eq!(report.unfinished, left[1..], "a turn that was ended is left no more");
    store.close().await.unwrap();
}

async fn a_session_that_is_opened_written_and_closed_while_another_call_makes_it_is_opened_as_it_is(disk: TestDisk) {
    let store = disk.open().await;
    let mut slow = Box::pin(store.open_session("s"));
    while soon(store.list_sessions(None, 1)).await.unwrap().is_empty() {
        until_woken(slow.as_mut()).await;
    }
    // The slow call has made the session, and has not heard of that yet.
    let quick = soon(store.open_session("s")).await.unwrap();
    for n in 1..=5 {
        soon(quick.append(noted(n)).unwrap()).await.unwrap();
    }
    soon(quick.close()).await.unwrap();
    let session = soon(slow).await.unwrap();
    assert_eq!(session.view().unwrap().head(), at(5));
    assert_eq!(soon(session.append(noted(6)).unwrap()).await.unwrap().head, at(6));
    assert_head(&session, 6).await;
    soon(store.close()).await.unwrap();
}

async fn closing_a_session_lets_go_of_a_context_that_holds_it(disk: TestDisk) {
    struct Holder(#[expect(dead_code, reason = "held, as a host would")] foldlog::Session);
    let store = disk.open().await;
    let session = soon(store.open_session("s")).await.unwrap();
    soon(session.append(noted(1)).unwrap()).await.unwrap();
    let held = Arc::downgrade(&session.context_or_insert_with(|| Holder(session.clone())));
    assert!(held.upgrade().is_some());
    soon(session.close()).await.unwrap();
    eventually("the context is dropped", || held.upgrade().is_none()).await;
    assert!(session.context::<Holder>().is_none());
    soon(store.close()).await.unwrap();
}
