//! Goal: the messages for a provider are in one order, in a turn and outside of one: behind a question its answer, and
//! last what waits. Method: requests that were queued, overtaken, given up, and covered by a compaction.

use foldlog::Session;
use foldlog::agent::{Message, MessageId, Part, RunningTurn, ToolResult, TurnBegun};

use crate::common::*;

on_both_media!(
    behind_each_question_stands_its_answer_and_last_what_waits,
    what_was_overtaken_waits_at_the_end,
    a_turn_that_was_given_up_stands_where_its_question_does,
    messages_without_a_turn_stand_where_they_are_in_the_log,
    a_compaction_covers_no_question_that_waits,
    a_result_stays_with_the_call_that_it_has_answered,
    the_answer_of_a_turn_is_its_last_message,
);

async fn ask(session: &Session, name: &str) -> Option<RunningTurn> {
    match session.begin_turn_once(Message::user(name), key(name)).await.unwrap() {
        TurnBegun::Now(turn) => Some(turn),
        TurnBegun::Queued(_) => None,
        other => panic!("{other:?}"),
    }
}

async fn next(session: &Session) -> RunningTurn {
    session.begin_next_turn().await.unwrap().expect("a message waits")
}

async fn answer(mut turn: RunningTurn, text: &str) {
    turn.answer(Message::assistant(text)).await.unwrap();
}

/// What is sent outside of a turn, with and without blobs being read.
async fn sent(session: &Session) -> Vec<String> {
    let messages = session.provider_messages().await.unwrap();
    assert_eq!(messages, session.view().unwrap().provider_messages());
    providers::assert_accepted(&messages);
    messages.iter().map(|message| message.inline_text().unwrap()).collect()
}

async fn sent_in(turn: &RunningTurn) -> Vec<String> {
    let messages = turn.provider_messages().await.unwrap();
    providers::assert_accepted(&messages);
    messages.iter().map(|message| message.inline_text().unwrap()).collect()
}

async fn behind_each_question_stands_its_answer_and_last_what_waits(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let first = ask(&session, "a").await.unwrap();
    for name in ["b", "c"] {
        assert!(ask(&session, name).await.is_none());
    }
    answer(first, "of a").await;
    assert_eq!(sent(&session).await, ["a", "of a", "b", "c"]);
    let second = next(&session).await;
    second.say(Message::assistant("on b")).await.unwrap();
    assert_eq!(sent(&session).await, ["a", "of a", "b", "on b", "c"]);
    assert_eq!(sent_in(&second).await, ["a", "of a", "b", "on b"]);
    answer(second, "of b").await;
    answer(next(&session).await, "of c").await;
    assert_eq!(sent(&session).await, ["a", "of a", "b", "on b", "of b", "c", "of c"]);
    store.close().await.unwrap();
}

async fn what_was_overtaken_waits_at_the_end(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let first = ask(&session, "a").await.unwrap();
    for name in ["b", "c"] {
        assert!(ask(&session, name).await.is_none());
    }
    answer(first, "of a").await;
    let overtakes = session.begin_turn_for(MessageId::new(3)).await.unwrap();
    assert_eq!(sent_in(&overtakes).await, ["a", "of a", "c"]);
    answer(overtakes, "of c").await;
    assert_eq!(sent(&session).await, ["a", "of a", "c", "of c", "b"]);
    let overtaken = next(&session).await;
    assert_eq!(sent_in(&overtaken).await, ["a", "of a", "c", "of c", "b"]);
    drop(overtaken);
    store.close().await.unwrap();
}

/// A host that queues nothing may never answer it: it must not stand ahead of each new question for ever.
async fn a_turn_that_was_given_up_stands_where_its_question_does(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let given_up = session.begin_turn(Message::user("a")).await.unwrap();
    given_up.say(Message::assistant("on a")).await.unwrap();
    drop(given_up);
    answer(session.begin_turn(Message::user("b")).await.unwrap(), "of b").await;
    let third = session.begin_turn(Message::user("c")).await.unwrap();
    for sent in [sent_in(&third).await, sent(&session).await] {
        assert_eq!(sent, ["a", "on a", "b", "of b", "c"]);
    }
    answer(third, "of c").await;
    let again = next(&session).await;
    assert_eq!(sent_in(&again).await, ["b", "of b", "c", "of c", "a", "on a"], "it is the one to be answered now");
    drop(again);
    store.close().await.unwrap();
}

async fn messages_without_a_turn_stand_where_they_are_in_the_log(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    append(&session, user("before")).await.unwrap();
    let turn = session.begin_turn(Message::user("a")).await.unwrap();
    append(&session, user("beside")).await.unwrap();
    answer(turn, "of a").await;
    append(&session, user("behind")).await.unwrap();
    assert_eq!(sent(&session).await, ["before", "a", "of a", "beside", "behind"]);
    store.close().await.unwrap();
}

async fn a_compaction_covers_no_question_that_waits(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let first = ask(&session, "a").await.unwrap();
    for name in ["b", "c"] {
        assert!(ask(&session, name).await.is_none());
    }
    answer(first, "of a").await;
    let head = session.view().unwrap().head();
    session.compact(Message::user("so far"), head, None).await.unwrap();
    assert_eq!(sent(&session).await, ["so far", "b", "c"]);
    let second = next(&session).await;
    assert_eq!(sent_in(&second).await, ["so far", "b"]);
    assert_eq!(sent(&session).await, ["so far", "b", "c"]);
    answer(second, "of b").await;
    assert_eq!(sent(&session).await, ["so far", "b", "of b", "c"]);
    let third = next(&session).await;
    assert_eq!(sent_in(&third).await, ["so far", "b", "of b", "c"]);
    answer(third, "of c").await;
    assert_eq!(sent(&session).await, ["so far", "b", "of b", "c", "of c"]);
    store.close().await.unwrap();
}

/// Ids of calls are not unique: the call without a turn stands behind that of the turn, and has the id, too.
async fn a_result_stays_with_the_call_that_it_has_answered(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let call = |text: &str| Message::answer([Part::text(text), Part::tool_call("call_0", "track", "{}")]);
    let mut turn = session.begin_turn(Message::user("a")).await.unwrap();
    append(&session, foldlog::agent::AgentBody::MessageAppended(call("of nobody"))).await.unwrap();
    turn.say(call("of the turn")).await.unwrap();
    turn.tool_result(ToolResult::text("call_0", "for the turn")).await.unwrap();
    turn.end(foldlog::agent::TurnEnd::Final).await.unwrap();
    session.interrupt("nobody answers it").await.unwrap();
    let messages = session.provider_messages().await.unwrap();
    providers::assert_accepted(&messages);
    let results: Vec<_> = messages.iter().flat_map(|message| &message.parts).filter_map(Part::as_tool_result).collect();
    assert_eq!(results.iter().map(|result| result.is_error == Some(true)).collect::<Vec<_>>(), [false, true]);
    store.close().await.unwrap();
}

async fn the_answer_of_a_turn_is_its_last_message(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let turn = session.begin_turn(Message::user("a")).await.unwrap();
    let id = turn.id();
    assert!(session.view().unwrap().answer_of(id).is_none());
    turn.say(Message::assistant("on a")).await.unwrap();
    answer(turn, "of a").await;
    let side = Message { turn: Some(id), agent: Some("other".to_owned()), ..Message::assistant("aside") };
    append(&session, foldlog::agent::AgentBody::MessageAppended(side)).await.unwrap();
    let silent = session.begin_turn(Message::user("b")).await.unwrap();
    let view = session.view().unwrap();
    assert_eq!(view.answer_of(id).unwrap().inline_text().as_deref(), Some("of a"));
    assert!(view.answer_of(silent.id()).is_none());
    drop(silent);
    store.close().await.unwrap();
}
