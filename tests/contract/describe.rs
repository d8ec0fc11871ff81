//! Goal: a title and labels are events of foldlog's own, which keep every promise of an event, and are seen in the view
//! and in the list of sessions alike. Method: describes among appends of a model that would panic on what is not its
//! own.

use std::collections::BTreeMap;

use foldlog::agent::{Message, Part, ToolResult, TurnStatus};
use foldlog::testkit::{Fault, Faults, Port};
use foldlog::{
    Append, Describe, ErrorKind, EventId, Item, LogEvent, OwnBody, Session, SessionModel, SnapshotPolicy, Store,
    SubscribeFrom, View,
};
use futures::StreamExt;

use crate::common::tally::{Place, Switch};
use crate::common::*;

on_both_media!(
    a_title_and_labels_are_in_the_view_and_in_the_list_and_come_back_after_reopening,
    a_describe_is_an_event_among_the_others_and_the_model_is_not_asked,
    of_two_callers_that_describe_at_once_neither_undoes_the_other,
    a_describe_has_an_expected_head_and_a_key_as_an_append_has,
    a_title_or_label_over_its_limit_is_refused_and_nothing_is_written,
    a_describe_that_names_nothing_writes_nothing_and_succeeds,
    a_describe_is_a_message_to_the_actor,
    a_describe_that_is_not_written_changes_nothing_that_anyone_can_see,
    an_emptied_session_comes_back_with_its_title_with_a_stored_view_and_without,
    a_describe_behind_an_event_that_cannot_be_folded_is_refused_with_the_session,
    another_store_sees_the_title_and_may_not_give_one_until_it_owns_the_session,
);

type Labels<'a> = &'a [(&'a str, &'a str)];

fn labels(labels: Labels<'_>) -> BTreeMap<String, String> {
    labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect()
}

#[track_caller]
fn assert_core<M: SessionModel>(view: &View<M>, title: &str, wanted: Labels<'_>) {
    assert_eq!((view.core().title.as_str(), &view.core().labels), (title, &labels(wanted)));
}

/// Asserts that the view, the list and a fold of the log say the same.
async fn assert_described<M: SessionModel>(session: &Session<M>, head: u64, title: &str, wanted: Labels<'_>) {
    assert_head(session, head).await;
    assert_core(&session.view().unwrap(), title, wanted);
    let listed = soon(session.store().list_sessions(None, 100)).await.unwrap();
    let listed = listed.iter().find(|listed| listed.id == *session.id()).unwrap();
    assert_eq!((listed.head, listed.title.as_str(), &listed.labels), (at(head), title, &labels(wanted)));
    let verification = soon(session.store().verify()).await.unwrap();
    assert!(verification.problems.is_empty(), "{:?}", verification.problems);
}

async fn describe<M: SessionModel>(session: &Session<M>, describe: Describe<M>) -> EventId {
    soon(session.describe(describe).unwrap()).await.unwrap().head
}

async fn a_title_and_labels_are_in_the_view_and_in_the_list_and_come_back_after_reopening(disk: TestDisk) {
    let store = disk.open_model::<Tally>().await;
    let session = store.open_session("s").await.unwrap();
    store.open_session("t").await.unwrap();
    assert_described(&session, 0, "", &[]).await;
    describe(&session, Describe::new().title("one").label("a", "1").label("b", "2")).await;
    assert_described(&session, 1, "one", &[("a", "1"), ("b", "2")]).await;
    append(&session, TallyBody::Added(1)).await.unwrap();
    describe(&session, Describe::new().label("b", "\"\u{1}ü").remove_label("a").remove_label("absent")).await;
    assert_described(&session, 3, "one", &[("b", "\"\u{1}ü")]).await;
    store.close().await.unwrap();
    let store = disk.open_model::<Tally>().await;
    let session = store.resume_session("s").await.unwrap();
    assert_described(&session, 3, "one", &[("b", "\"\u{1}ü")]).await;
    // What comes next goes on from what was read.
    describe(&session, Describe::new().title("").label("c", "")).await;
    assert_described(&session, 4, "", &[("b", "\"\u{1}ü"), ("c", "")]).await;
    assert_core(&soon(store.read_state("s")).await.unwrap().view, "", &[("b", "\"\u{1}ü"), ("c", "")]);
    assert_described(&store.resume_session("t").await.unwrap(), 0, "", &[]).await;
    store.close().await.unwrap();
}

async fn a_describe_is_an_event_among_the_others_and_the_model_is_not_asked(disk: TestDisk) {
    let store = disk.open_model::<Tally>().await;
    let session = store.open_session("s").await.unwrap();
    let mut stream = session.subscribe(SubscribeFrom::After(EventId::ZERO)).await.unwrap();
    append(&session, TallyBody::named("a")).await.unwrap();
    let appended = soon(session.describe(Describe::new().title("t")).unwrap()).await.unwrap();
    assert_eq!((appended.head, appended.events.len(), appended.repeated), (at(2), 0, false));
    append(&session, TallyBody::named("b")).await.unwrap();
    let view = session.view().unwrap();
    assert_eq!((view.head(), view.names.len()), (at(3), 2));
    // The model's ids go on as if nothing had come in between.
    assert_eq!(session.counters().await.unwrap().1.name, 2);
    let events = all_events(&session).await;
    let LogEvent::Own(own) = &events[1] else { panic!("{:?}", events[1]) };
    assert_eq!((own.id(), events[1].event_type()), (at(2), "foldlog.described"));
    let OwnBody::Described(described) = own.body() else { panic!("{own:?}") };
    assert_eq!((described.title.as_deref(), described.labels.len()), (Some("t"), 0));
    assert!(events[0].at() <= own.at() && own.at() <= events[2].at());
    for event in &events {
        let Some(Item::Event(delivered)) = soon(stream.next()).await else { panic!("{event:?} was to come") };
        assert_eq!(serde_json::to_string(&delivered).unwrap(), serde_json::to_string(event).unwrap());
    }
    // A position in the middle of them, of either kind.
    let after = soon(session.events_after(own.position(), 10)).await.unwrap();
    assert_eq!(ids(&after.events), [3]);
    store.close().await.unwrap();
}

async fn of_two_callers_that_describe_at_once_neither_undoes_the_other(disk: TestDisk) {
    let faults = Faults::default();
    let store = disk.try_open_model::<Tally>(|config| *config = faults.watch(config.clone())).await.unwrap();
    let session = store.open_session("s").await.unwrap();
    let mut held = faults.hold(Port::Commit);
    let first = session.append(TallyBody::Added(1)).unwrap();
    soon(held.reached()).await;
    let one = session.describe(Describe::new().label("one", "1").label("both", "1")).unwrap();
    let between = session.append(TallyBody::Added(2)).unwrap();
    let two = session.describe(Describe::new().label("two", "2").label("both", "2")).unwrap();
    // Stamped, and not shown before it is durable.
    assert_eq!(session.counters().await.unwrap().0, at(4));
    assert_core(&session.view().unwrap(), "", &[]);
    assert!(soon(store.list_sessions(None, 1)).await.unwrap()[0].labels.is_empty());
    held.release();
    for receipt in [first, one, between, two] {
        soon(receipt).await.unwrap();
    }
    assert_described(&session, 4, "", &[("both", "2"), ("one", "1"), ("two", "2")]).await;
    store.close().await.unwrap();
}

async fn a_describe_has_an_expected_head_and_a_key_as_an_append_has(disk: TestDisk) {
    let faults = Faults::default();
    let store = disk.try_open_model::<Tally>(|config| *config = faults.watch(config.clone())).await.unwrap();
    let session = store.open_session("s").await.unwrap();
    append(&session, TallyBody::Added(1)).await.unwrap();
    let stale = Describe::new().title("stale").expect_head(at(0));
    assert_refused!(soon(session.describe(stale).unwrap()).await, ErrorKind::HeadMoved { actual, .. } if *actual == at(1));
    describe(&session, Describe::new().title("one").expect_head(at(1))).await;
    let keyed_as = |title: &str| Describe::new().title(title).key(key("k"));
    // The first retry joins what is in flight.
    let mut held = faults.hold(Port::Commit);
    let first = session.describe(keyed_as("two")).unwrap();
    soon(held.reached()).await;
    let joined = session.describe(keyed_as("two")).unwrap();
    let other = session.describe(keyed_as("three")).unwrap();
    let of_model = session.append_with(keyed(TallyBody::Added(1), "k")).unwrap();
    assert_refused!(soon(other).await, ErrorKind::KeyReused { first, .. } if *first == at(3));
    assert_refused!(soon(of_model).await, ErrorKind::KeyReused { .. });
    held.release();
    let (first, joined) = (soon(first).await.unwrap(), soon(joined).await.unwrap());
    assert_eq!((first.head, first.repeated, joined.head, joined.repeated), (at(3), false, at(3), true));
    describe(&session, Describe::new().title("four")).await;
    append(&session, TallyBody::Added(1)).await.unwrap();
    soon(session.append_with(keyed(TallyBody::Added(7), "model")).unwrap()).await.unwrap();
    store.close().await.unwrap();
    // The others read the log.
    let store = disk.open_model::<Tally>().await;
    let session = store.open_session("s").await.unwrap();
    for _ in 0..2 {
        let again = soon(session.describe(keyed_as("two")).unwrap()).await.unwrap();
        assert_eq!((again.head, again.repeated, again.events.len()), (at(3), true, 0));
        assert_refused!(soon(session.describe(keyed_as("three")).unwrap()).await, ErrorKind::KeyReused { .. });
        let of_model = session.append_with(keyed(TallyBody::Added(1), "k")).unwrap();
        assert_refused!(soon(of_model).await, ErrorKind::KeyReused { .. });
        let of_own = Describe::new().title("two").key(key("model"));
        assert_refused!(soon(session.describe(of_own).unwrap()).await, ErrorKind::KeyReused { .. });
    }
    assert_described(&session, 6, "four", &[]).await;
    store.close().await.unwrap();
}

async fn a_title_or_label_over_its_limit_is_refused_and_nothing_is_written(disk: TestDisk) {
    let store = disk.open_model::<Tally>().await;
    let session = store.open_session("s").await.unwrap();
    let long = |bytes: usize| "x".repeat(bytes);
    describe(&session, Describe::new().title(long(1024)).label(long(64), long(256))).await;
    for (over, what) in [
        (Describe::new().title(long(1025)), "title"),
        (Describe::new().label(long(65), ""), "name of a label"),
        (Describe::new().remove_label(long(65)), "name of a label"),
        (Describe::new().label("a", long(257)), "value of a label"),
        ((0..65).fold(Describe::new(), |describe, n| describe.remove_label(n.to_string())), "describe"),
    ] {
        let refused = session.describe(over);
        assert_refused!(refused, ErrorKind::TooLarge { what: found, .. } if *found == what);
    }
    assert_refused!(session.describe(Describe::new().label("", "a")), ErrorKind::InvalidArgument { .. });
    let number = |n: u64| Describe::new().label(n.to_string(), "");
    // Those in flight count.
    let filling: Vec<_> = (1..32).map(|n| session.describe(number(n)).unwrap()).collect();
    let one_more = session.describe(number(32)).unwrap();
    let exchanged = session.describe(number(32).remove_label("1")).unwrap();
    for receipt in filling {
        soon(receipt).await.unwrap();
    }
    assert_refused!(soon(one_more).await, ErrorKind::TooLarge { what: "labels of a session", size: 33, limit: 32, .. });
    assert_eq!(soon(exchanged).await.unwrap().head, at(33));
    assert_eq!(session.view().unwrap().core().labels.len(), 32);
    assert_head(&session, 33).await;
    store.close().await.unwrap();
}

async fn a_describe_that_names_nothing_writes_nothing_and_succeeds(disk: TestDisk) {
    let store = disk.open_model::<Tally>().await;
    let session = store.open_session("s").await.unwrap();
    append(&session, TallyBody::Added(1)).await.unwrap();
    assert_eq!(describe(&session, Describe::new()).await, at(1));
    let stale = Describe::new().expect_head(at(0));
    assert_refused!(soon(session.describe(stale).unwrap()).await, ErrorKind::HeadMoved { .. });
    assert_described(&session, 1, "", &[]).await;
    store.close().await.unwrap();
}

async fn a_describe_is_a_message_to_the_actor(disk: TestDisk) {
    let store = disk.open_model::<Tally>().await;
    let session = store.open_session("s").await.unwrap();
    let address = session.address().unwrap();
    let described = soon(address.send(Describe::new().title("t"))).await.unwrap().unwrap();
    assert_eq!(described.head, at(1));
    assert_refused!(
        soon(address.send(Describe::new().label("", ""))).await.unwrap(),
        ErrorKind::InvalidArgument { .. }
    );
    assert_described(&session, 1, "t", &[]).await;
    store.close().await.unwrap();
}

async fn a_describe_that_is_not_written_changes_nothing_that_anyone_can_see(disk: TestDisk) {
    let faults = Faults::default();
    let store = disk.try_open_model::<Tally>(|config| *config = faults.watch(config.clone())).await.unwrap();
    let session = store.open_session("s").await.unwrap();
    describe(&session, Describe::new().title("kept").label("a", "1")).await;
    for fault in [Fault::DiskFull, Fault::CommitLost, Fault::Panic] {
        let mut held = faults.hold(Port::Commit);
        faults.fail_next(Port::Commit, fault);
        let lost = session.describe(Describe::new().title("lost").label("b", "2")).unwrap();
        soon(held.reached()).await;
        let behind = session.describe(Describe::new().label("c", "3")).unwrap();
        session.counters().await.unwrap();
        held.release();
        assert!(soon(lost).await.is_err(), "{fault:?}");
        assert_refused!(soon(behind).await, ErrorKind::NotWritten { .. } | ErrorKind::DiskFull);
        soon(session.recovery()).await.unwrap();
        assert_described(&session, 1, "kept", &[("a", "1")]).await;
    }
    // And one that is written though COMMIT says that it is not.
    faults.fail_next(Port::Commit, Fault::CommitKept);
    describe(&session, Describe::new().label("b", "2")).await;
    assert_described(&session, 2, "kept", &[("a", "1"), ("b", "2")]).await;
    store.close().await.unwrap();
}

async fn an_emptied_session_comes_back_with_its_title_with_a_stored_view_and_without(disk: TestDisk) {
    let eager = SnapshotPolicy { every_events: 1, every_bytes: 1, closing_events: 1, bytes_max: 1 << 20 };
    for snapshots in [SnapshotPolicy::OFF, eager] {
        let store = disk.open_with(|config| config.snapshots = snapshots).await;
        let session = store.open_session(if snapshots == eager { "eager" } else { "off" }).await.unwrap();
        session.append(user("hello")).unwrap().await.unwrap();
        describe(&session, Describe::new().title("t").label("a", "1")).await;
        if snapshots == eager {
            eventually("a stored view", || store.stats().snapshots_written > 0).await;
            session.close().await.unwrap();
        } else {
            soon(session.recovery()).await.unwrap();
            assert_eq!(store.empty_idle_sessions(), 1);
        }
        let session = store.open_session(session.id().as_str()).await.unwrap();
        assert_core(&session.view().unwrap(), "t", &[("a", "1")]);
        assert_eq!(store.stats().snapshot_hits > 0, snapshots == eager);
        // Stamped behind what was read.
        describe(&session, Describe::new().label("b", "2")).await;
        assert_described(&session, 3, "t", &[("a", "1"), ("b", "2")]).await;
        store.close().await.unwrap();
    }
}

async fn a_describe_behind_an_event_that_cannot_be_folded_is_refused_with_the_session(disk: TestDisk) {
    let store = disk.open_model::<Tally>().await;
    let session = store.open_session("s").await.unwrap();
    let bad = Switch::off();
    let faults_in_apply = bad.trap(Place::Apply);
    bad.turn_on();
    let (trapped, described) =
        (session.append(faults_in_apply).unwrap(), session.describe(Describe::new().title("t")).unwrap());
    soon(trapped).await.unwrap();
    // In the same group it is written, and otherwise refused: the view ends before both.
    let is_written = soon(described).await.is_ok();
    assert_refused!(
        soon(session.describe(Describe::new().title("later")).unwrap()).await,
        ErrorKind::Unfoldable { event, .. } if *event == at(1)
    );
    assert_core(&session.view().unwrap(), "", &[]);
    // The title is of the log as a whole.
    let verification = soon(store.verify()).await.unwrap();
    assert!(verification.problems.is_empty(), "{:?}", verification.problems);
    bad.turn_off();
    store.close().await.unwrap();
    let store = disk.open_model::<Tally>().await;
    let session = store.open_session("s").await.unwrap();
    assert_described(&session, 1 + u64::from(is_written), if is_written { "t" } else { "" }, &[]).await;
    store.close().await.unwrap();
}

async fn another_store_sees_the_title_and_may_not_give_one_until_it_owns_the_session(disk: TestDisk) {
    let (one, two) = (disk.open_model::<Tally>().await, disk.open_model::<Tally>().await);
    let first = one.open_session("s").await.unwrap();
    let second = two.open_session("s").await.unwrap();
    describe(&first, Describe::new().title("first").label("a", "1")).await;
    assert_eq!(soon(two.list_sessions(None, 1)).await.unwrap()[0].title, "first");
    soon(second.recovery()).await.unwrap();
    assert_described(&second, 1, "first", &[("a", "1")]).await;
    let refused = soon(second.describe(Describe::new().title("second")).unwrap()).await;
    assert_refused!(refused, ErrorKind::OwnedElsewhere { .. });
    soon(second.take_over()).await.unwrap();
    // Its labels go on from those that the other store has given.
    describe(&second, Describe::new().title("second").label("b", "2")).await;
    assert_described(&second, 2, "second", &[("a", "1"), ("b", "2")]).await;
    let late = soon(first.describe(Describe::new().title("late")).unwrap()).await;
    assert!(late.is_err(), "{late:?}");
    soon(first.recovery()).await.unwrap();
    assert_described(&first, 2, "second", &[("a", "1"), ("b", "2")]).await;
    one.close().await.unwrap();
    two.close().await.unwrap();
}

#[actix::test]
async fn a_read_only_store_and_a_salvage_give_the_title() {
    let disk = TestDisk::directory();
    let store = disk.open_model::<Tally>().await;
    let session = store.open_session("s").await.unwrap();
    describe(&session, Describe::new().title("t").label("a", "1")).await;
    append(&session, TallyBody::Added(1)).await.unwrap();
    store.close().await.unwrap();
    let reader = Store::<Tally>::open_model_read_only(disk.config()).await.unwrap();
    let listed = soon(reader.list_sessions(None, 10)).await.unwrap();
    assert_eq!((listed[0].title.as_str(), &listed[0].labels), ("t", &labels(&[("a", "1")])));
    assert_core(&soon(reader.read_state("s")).await.unwrap().view, "t", &[("a", "1")]);
    let page = soon(reader.events_after("s", EventId::ZERO, 10)).await.unwrap();
    assert!(page.events[0].as_own().is_some() && page.events[1].as_model().is_some());
    assert!(soon(reader.verify()).await.unwrap().problems.is_empty());
    reader.close().await.unwrap();
    let mut salvage = Store::<Tally>::salvage_model(disk.path().unwrap()).unwrap();
    let salvaged = salvage.session("s").unwrap();
    assert_eq!((ids(&salvaged.events), salvaged.view.sum, salvaged.stopped_by.is_none()), (vec![1, 2], 1, true));
    assert_core(&salvaged.view, "t", &[("a", "1")]);
}

/// A host titles a session while an agent runs its turn.
#[actix::test]
async fn a_turn_a_compaction_and_an_interruption_go_on_whatever_is_described_between_their_lines() {
    let store = TestDisk::memory().open().await;
    let session = store.open_session("s").await.unwrap();
    // Not waited for, so that it is in flight when the next line looks at the head.
    let titled = |n: u64| session.describe(Describe::new().label("line", n.to_string())).unwrap();
    let mut receipts = vec![titled(0)];
    let mut turn = session.begin_turn(Message::user("where is it?")).await.unwrap();
    receipts.push(titled(1));
    turn.begin_step().await.unwrap();
    receipts.push(titled(2));
    turn.say(Message::answer([Part::tool_call("a", "track", "{}")])).await.unwrap();
    receipts.push(titled(3));
    turn.tool_result(ToolResult::text("a", "in transit")).await.unwrap();
    receipts.push(titled(4));
    turn.answer(Message::assistant("on Friday")).await.unwrap();
    receipts.push(titled(5));
    let through = session.view().unwrap().messages.last().unwrap().event_id;
    let guard = session.take_turn().await.unwrap();
    session.compact(Message::system("they asked where it is"), through, None).await.unwrap();
    drop(guard);
    receipts.push(titled(6));
    let mut unfinished = session.begin_turn(Message::user("and now?")).await.unwrap();
    unfinished.begin_step().await.unwrap();
    drop(unfinished);
    receipts.push(titled(7));
    session.interrupt("it died").await.unwrap();
    for receipt in receipts {
        soon(receipt).await.unwrap();
    }
    let view = session.view().unwrap();
    assert_eq!(
        view.turns.iter().map(|turn| turn.status).collect::<Vec<_>>(),
        [TurnStatus::Final, TurnStatus::Interrupted]
    );
    assert!(session.unfinished().unwrap().is_empty());
    providers::assert_accepted(&session.provider_messages().await.unwrap());
    assert_described(&session, view.head().get(), "", &[("line", "7")]).await;
    store.close().await.unwrap();
}

/// The columns have no checksum: verify holds them against the events.
#[actix::test]
async fn a_list_that_says_something_else_than_the_events_is_found() {
    let disk = TestDisk::directory();
    let store = disk.open_model::<Tally>().await;
    for name in ["described", "plain"] {
        store.open_session(name).await.unwrap();
    }
    let session = store.open_session("described").await.unwrap();
    describe(&session, Describe::new().title("t").label("a", "1")).await;
    let by_hand = rusqlite::Connection::open(disk.path().unwrap().join("events.db")).unwrap();
    for (change, session) in [
        ("title = 'other'", "described"),
        ("labels = '{}'", "described"),
        ("labels = '{\"a\":\"1\"}'", "plain"),
        ("labels = '{\"a\":1}'", "plain"),
        ("labels = 'none'", "plain"),
    ] {
        let sql = |set: &str| format!("UPDATE sessions SET {set} WHERE session_id = '{session}'");
        by_hand.execute_batch(&sql(change)).unwrap();
        let found = soon(store.verify()).await.unwrap();
        let [problem] = &found.problems[..] else { panic!("{change}: {:?}", found.problems) };
        assert_eq!(problem.session.as_ref().map(|session| session.as_str()), Some(session));
        assert!(problem.is_damage() && problem.to_string().contains("the title or labels of session"), "{problem}");
        // It is a copy: the list goes on, and the log has what is true.
        assert_eq!(soon(store.list_sessions(None, 10)).await.unwrap().len(), 2);
        let right =
            if session == "plain" { "title = '', labels = '{}'" } else { "title = 't', labels = '{\"a\":\"1\"}'" };
        by_hand.execute_batch(&sql(right)).unwrap();
    }
    assert!(soon(store.verify()).await.unwrap().problems.is_empty());
    store.close().await.unwrap();
}

#[actix::test]
async fn an_append_with_a_key_that_a_describe_has_used_is_told_so_also_when_the_key_is_only_in_the_log() {
    let disk = TestDisk::directory();
    let store = disk.try_open_model::<Tally>(|config| config.append_keys_max = 1).await.unwrap();
    let session = store.open_session("s").await.unwrap();
    describe(&session, Describe::new().title("t").key(key("k"))).await;
    // Pushes the key out of memory.
    soon(session.append_with(keyed(TallyBody::Added(1), "other")).unwrap()).await.unwrap();
    let again = soon(session.describe(Describe::new().title("t").key(key("k"))).unwrap()).await.unwrap();
    assert_eq!((again.head, again.repeated), (at(1), true));
    let of_model = soon(session.append_with(Append::new(TallyBody::Added(1)).key(key("k"))).unwrap()).await;
    assert_refused!(of_model, ErrorKind::KeyReused { .. });
    assert_described(&session, 2, "t", &[]).await;
    store.close().await.unwrap();
}
