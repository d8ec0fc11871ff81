//! Goal: a compaction covers what its message sums up and nothing else, whoever appends meanwhile. Method: boundaries
//! at every place of a conversation; appends in flight while the compaction runs.

use foldlog::agent::{AgentBody, Message, Part};
use foldlog::{Content, ErrorKind, Session};

use crate::common::*;

on_both_media!(
    compacting_is_one_event_that_covers_what_it_sums_up_and_keeps_what_follows,
    what_is_appended_between_the_view_and_the_compaction_is_kept,
    a_result_that_is_in_flight_keeps_its_call,
    compactions_that_race_appends_cover_nothing_that_they_do_not_sum_up,
    the_boundary_goes_back_to_the_call_of_a_kept_result_and_the_answer_says_so,
    a_summary_that_comes_behind_a_wider_one_takes_nothing_away,
    a_position_beyond_the_head_is_refused_and_nothing_is_written,
    a_session_is_compacted_in_the_middle_of_a_turn_and_after_its_end,
);

fn texts(session: &Session) -> Vec<String> {
    let view = session.view().unwrap();
    view.provider_messages().iter().map(|message| message.inline_text().unwrap()).collect()
}

fn called(id: &str) -> AgentBody {
    AgentBody::MessageAppended(Message::answer([Part::text(format!("call {id}")), Part::tool_call(id, "run", "{}")]))
}

fn result(id: &str) -> AgentBody {
    AgentBody::MessageAppended(Message::tool_result(id, "done"))
}

async fn compacting_is_one_event_that_covers_what_it_sums_up_and_keeps_what_follows(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    session.append_batch(vec![user("one"), noted(2), user("three")]).unwrap().await.unwrap();
    let vars = store.put_text("vars").await.unwrap();
    let compacted = session.compact(Message::user("so far"), at(3), Some(Content::Blob(vars))).await.unwrap();
    assert_eq!(ids(&compacted.appended.events), [4]);
    assert_eq!(compacted.boundary, at(4));
    let view = session.view().unwrap();
    assert_eq!((view.compact_from, view.vars.as_deref()), (Some(at(4)), Some(&Content::Blob(vars))));
    session.append(user("five")).unwrap().await.unwrap();
    assert_eq!(texts(&session), ["so far", "five"]);
    assert_eq!(session.view().unwrap().messages.len(), 4, "the others are still there to read");
    let kept = session.compact(Message::user("so far, too"), at(4), None).await.unwrap();
    assert_eq!(kept.boundary, at(5));
    assert_eq!(texts(&session), ["so far, too", "five"]);
    assert_eq!(session.view().unwrap().vars.as_deref(), Some(&Content::Blob(vars)), "none leaves them as they are");
    let missing = session.compact(Message::user("y"), at(6), Some(Content::Blob(dangling()))).await;
    assert_refused!(missing, ErrorKind::DanglingRef { .. });
    assert_head(&session, 6).await;
    store.close().await.unwrap();
}

async fn what_is_appended_between_the_view_and_the_compaction_is_kept(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    session.append(user("one")).unwrap().await.unwrap();
    let through = session.view().unwrap().head();
    session.append(user("while the summary was made")).unwrap().await.unwrap();
    let receipt = session.append(user("in flight")).unwrap();
    let compacted = session.compact(Message::user("one was said"), through, None).await.unwrap();
    receipt.await.unwrap();
    assert_eq!(compacted.boundary, at(2));
    assert_eq!(texts(&session), ["one was said", "while the summary was made", "in flight"]);
    store.close().await.unwrap();
}

async fn a_result_that_is_in_flight_keeps_its_call(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    session.append_batch(vec![user("one"), called("1"), user("three")]).unwrap().await.unwrap();
    let receipt = session.append(result("1")).unwrap();
    let compacted = session.compact(Message::user("sum"), at(3), None).await.unwrap();
    receipt.await.unwrap();
    assert_eq!(compacted.boundary, at(2));
    providers::assert_accepted(&session.provider_messages().await.unwrap());
    assert_eq!(texts(&session), ["sum", "call 1", "", "three"]);
    store.close().await.unwrap();
}

/// A thread appends a burst of calls and results at the moment when a compaction begins, again and again.
async fn compactions_that_race_appends_cover_nothing_that_they_do_not_sum_up(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    session.append(user("0")).unwrap().await.unwrap();
    let appending = session.clone();
    let (go, gone) = std::sync::mpsc::channel::<usize>();
    let (end, ended) = futures::channel::oneshot::channel();
    std::thread::spawn(move || {
        // A call of one burst is answered in the next.
        for number in gone {
            let answered = format!("call {}", number.saturating_sub(1));
            let bodies =
                [user(number.to_string()), result(&answered), called(&format!("call {number}")), user("between")];
            let receipts = bodies.map(|body| appending.append(body).unwrap());
            for done in futures::executor::block_on(futures::future::join_all(receipts)) {
                done.unwrap();
            }
        }
        end.send(()).unwrap();
    });
    for number in 0..30 {
        let view = session.view().unwrap();
        let through = view.head();
        go.send(number).unwrap();
        let compacted = soon(session.compact(Message::user(format!("sum {number}")), through, None)).await.unwrap();
        assert!(compacted.boundary <= through.next());
        let now = session.current_view().await.unwrap();
        let behind = now.messages.iter().filter(|message| message.event_id > through);
        let kept: Vec<_> = now.kept_messages().map(|message| message.id).collect();
        assert!(behind.into_iter().all(|message| kept.contains(&message.id)));
        let open: Vec<_> = now.open_calls.iter().map(|call| call.message).collect();
        assert!(open.iter().all(|call| kept.contains(call)), "what is still unanswered is kept");
        assert_eq!(now.provider_messages().first().unwrap().inline_text().unwrap(), format!("sum {number}"));
    }
    // Joining would block the thread that the session runs on.
    drop(go);
    soon(ended).await.unwrap();
    session.interrupt("the end of the test").await.unwrap();
    providers::assert_accepted(&session.provider_messages().await.unwrap());
    let head = session.view().unwrap().head().get();
    assert_head(&session, head).await;
    store.close().await.unwrap();
}

async fn the_boundary_goes_back_to_the_call_of_a_kept_result_and_the_answer_says_so(disk: TestDisk) {
    let store = disk.open().await;
    for (through, boundary) in [(0, 1), (1, 2), (2, 2), (3, 2), (4, 5), (5, 6), (6, 6)] {
        let session = store.open_session(format!("through {through}")).await.unwrap();
        let bodies = vec![user("1"), called("2"), user("3"), result("2"), user("5"), called("6")];
        session.append_batch(bodies).unwrap().await.unwrap();
        let compacted = session.compact(Message::user("sum"), at(through), None).await.unwrap();
        assert_eq!(compacted.boundary, at(boundary), "through {through}");
        assert_eq!(session.view().unwrap().compact_from, Some(at(boundary)));
        assert_eq!(session.view().unwrap().open_calls.len(), 1, "the last call is still to be answered");
    }
    store.close().await.unwrap();
}

async fn a_summary_that_comes_behind_a_wider_one_takes_nothing_away(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    session.append_batch((1..=5).map(|n| user(n.to_string())).collect()).unwrap().await.unwrap();
    session.compact(Message::user("of four"), at(4), Some("vars of four".into())).await.unwrap();
    let refused = session.compact(Message::user("of two"), at(2), None).await;
    assert_refused!(refused, ErrorKind::RefusedByView { .. });
    // One that was on its way is in the log, and stands for nothing.
    let late =
        AgentBody::SessionCompacted { vars: Some("old".into()), boundary: at(3), message: Message::user("of two") };
    session.append(late).unwrap().await.unwrap();
    assert_eq!(texts(&session), ["of four", "5"]);
    assert_eq!(session.view().unwrap().vars.as_deref(), Some(&"vars of four".into()));
    let again = session.compact(Message::user("of four, in other words"), at(4), None).await.unwrap();
    assert_eq!(again.boundary, at(5));
    assert_eq!(texts(&session), ["of four, in other words", "5"]);
    store.close().await.unwrap();
}

async fn a_position_beyond_the_head_is_refused_and_nothing_is_written(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    session.append(user("one")).unwrap().await.unwrap();
    let refused = session.compact(Message::user("sum"), at(2), None).await;
    assert_refused!(refused, ErrorKind::BeyondHead { event, head, .. } if (*event, *head) == (at(2), at(1)));
    assert_head(&session, 1).await;
    store.close().await.unwrap();
}

async fn a_session_is_compacted_in_the_middle_of_a_turn_and_after_its_end(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let mut turn = session.begin_turn(Message::user("one")).await.unwrap();
    session.compact(Message::user("sum"), at(2), None).await.unwrap();
    turn.answer(Message::assistant("two")).await.unwrap();
    assert_eq!(texts(&session), ["sum", "one", "two"], "the question was covered before its turn had said anything");
    session.stop().await.unwrap();
    session.compact(Message::user("all"), session.view().unwrap().head(), None).await.unwrap();
    assert_eq!(texts(&session), ["all"]);
    let before = session.view().unwrap();
    store.close().await.unwrap();
    let store = disk.open().await;
    assert_eq!(*store.resume_session("s").await.unwrap().view().unwrap(), *before);
    store.close().await.unwrap();
}
