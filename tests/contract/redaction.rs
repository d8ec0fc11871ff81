//! Goal: what is redacted is gone for everyone who reads, everything else of the session stays as it is, and a
//! redaction that would change the session is refused. Method: secrets in messages, calls, keys and titles, redacted
//! with handles, subscribers, retries and other stores about; look, verify, reopen, look again.

use std::collections::BTreeSet;

use foldlog::agent::{Agent, AgentBody, Message, PartBody, ToolCall, Turn};
use foldlog::{
    Append, AppendKey, BlobRef, Content, Describe, Erasure, ErrorKind, Event, EventId, OwnBody, Redact, Session,
    SnapshotPolicy, Store,
};

use crate::common::*;

mod subscribers;

on_both_media!(
    a_redacted_event_is_gone_from_view_and_log_and_the_log_verifies,
    the_replacement_of_the_host_wins_and_gets_the_ids_of_the_original,
    a_redaction_that_would_change_the_session_is_refused_and_nothing_is_written,
    a_retry_under_the_key_of_a_redacted_append_gets_the_first_result,
    a_later_event_of_a_keyed_append_takes_the_key_along,
    a_replacement_names_no_blob_that_the_original_does_not_name,
    what_a_redacted_describe_took_away_is_there_again_but_for_the_title,
    title_labels_and_reasons_are_redacted_by_the_core,
    events_are_redacted_twice_and_together_with_others,
    a_redaction_is_a_message_to_the_actor,
    a_redaction_keeps_its_place_among_appends,
    another_store_learns_of_it_at_its_next_read_and_may_not_redact_what_it_does_not_own,
    a_stored_view_does_not_bring_the_secret_back,
    an_emptied_session_is_redacted_as_well,
    a_redaction_does_not_wait_for_all_that_was_deleted,
);

const SECRET: &str = "sk-4711-do-not-tell";

fn redact(events: impl IntoIterator<Item = EventId>) -> Redact<Agent> {
    Redact::new(events).reason("a key, reported by Ada")
}

async fn say(session: &Session, text: &str) -> EventId {
    append(session, user(text)).await.unwrap().head
}

/// Nothing that can be read has the secret, and everything verifies.
async fn assert_gone(store: &Store, session: &Session, redacted: u64) {
    let events = all_events(session).await;
    for seen in [
        format!("{:?}", session.view().unwrap()),
        format!("{events:?}"),
        format!("{:?}", look(store, session.id().as_str()).await),
    ] {
        assert!(!seen.contains(SECRET), "{seen}");
    }
    let listed = format!("{:?}", store.list_sessions(None, 100).await.unwrap());
    assert!(!listed.contains(SECRET), "{listed}");
    let found = soon(store.verify()).await.unwrap();
    assert!(found.problems.is_empty(), "{:?}", found.problems);
    assert_eq!(found.redacted, redacted);
}

async fn a_redacted_event_is_gone_from_view_and_log_and_the_log_verifies(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    say(&session, "hello").await;
    let said = say(&session, &format!("my key is {SECRET}")).await;
    let call = ToolCall {
        id: "c1".into(),
        name: "search".into(),
        arguments: format!("{{\"key\":\"{SECRET}\"}}").into(),
        ..ToolCall::default()
    };
    let asked = foldlog::agent::Part { body: PartBody::ToolCall(call), origin: None };
    let asked = append(&session, AgentBody::MessageAppended(Message::answer([asked]))).await.unwrap().head;
    let result = append(&session, AgentBody::MessageAppended(Message::tool_result("c1", SECRET))).await.unwrap().head;
    let before = all_events(&session).await;
    let view = session.view().unwrap();

    let redaction = soon(session.redact(redact([said, asked, result]))).await.unwrap();
    assert_eq!((redaction.event.get(), &redaction.erasure), (5, &Erasure::Complete));
    assert_gone(&store, &session, 3).await;
    let after = all_events(&session).await;
    let places = |events: &[foldlog::LogEvent<Agent>]| {
        events.iter().map(|event| (event.position(), event.at(), event.event_type())).collect::<Vec<_>>()
    };
    assert_eq!(places(&after)[..4], places(&before), "ids, chain, times and types stay");
    let OwnBody::Redacted(noted) = after[4].as_own().unwrap().body() else { panic!("{after:?}") };
    assert_eq!(noted.reason, "a key, reported by Ada");
    assert_eq!(noted.events.iter().map(|it| it.event).collect::<Vec<_>>(), [said, asked, result]);
    let now = session.view().unwrap();
    assert_eq!((now.counters, now.head().get()), (view.counters, 5));
    assert_eq!(now.open_calls.len(), 0, "the call still has its result");

    say(&session, "goes on").await;
    let live = session.view().unwrap();
    soon(store.close()).await.unwrap();
    let store = disk.open().await;
    let session = store.resume_session("s").await.unwrap();
    assert_eq!(session.view().unwrap(), live);
    assert_gone(&store, &session, 3).await;
    assert!(soon(store.erase_deleted()).await.unwrap().is_complete());
    soon(store.close()).await.unwrap();
}

async fn the_replacement_of_the_host_wins_and_gets_the_ids_of_the_original(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    say(&session, "one").await;
    let said = say(&session, SECRET).await;
    // Message 0, and no event.
    let replace = |event: &Event<Agent>| {
        let AgentBody::MessageAppended(message) = event.body() else { panic!("a message") };
        assert_eq!(message.id.get(), 2);
        user("a text that is a good deal longer than what it replaces, so that the row has to grow for it")
    };
    soon(session.redact(redact([said]).replace(replace))).await.unwrap();
    let view = session.view().unwrap();
    let message = view.messages.iter().nth(1).unwrap();
    assert_eq!((message.id.get(), message.event_id), (2, said));
    assert!(format!("{message:?}").contains("a good deal longer"));
    assert_gone(&store, &session, 1).await;
    soon(store.close()).await.unwrap();
}

async fn a_redaction_that_would_change_the_session_is_refused_and_nothing_is_written(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let said = say(&session, "one").await;
    let turn = append(&session, AgentBody::TurnStarted(Turn::default())).await.unwrap().head;
    let view = session.view().unwrap();
    let refused = async |order: Redact<Agent>| soon(session.redact(order)).await.unwrap_err();
    let other_type = refused(redact([said]).replace(|_| AgentBody::StopRequested)).await;
    assert!(matches!(other_type.kind(), ErrorKind::BodyRefused { .. }) && other_type.to_string().contains("type"));
    let panics = refused(redact([said]).replace(|_| panic!("of the host"))).await;
    assert!(matches!(panics.kind(), ErrorKind::BodyRefused { .. }), "{panics}");
    // A turn that names a message which is not there.
    let dangling = |_: &Event<Agent>| {
        AgentBody::TurnStarted(Turn { user_message: Some(foldlog::agent::MessageId::new(77)), ..Turn::default() })
    };
    assert!(matches!(refused(redact([turn]).replace(dangling)).await.kind(), ErrorKind::BodyRefused { .. }));
    for event in [at(3), EventId::ZERO] {
        let told = format!("session s has no event {event} to redact: its last is event 2");
        let unknown = refused(redact([event])).await;
        assert!(matches!(unknown.kind(), ErrorKind::InvalidArgument { what } if *what == told), "{unknown}");
    }
    // Over the limit, and over what any record can have.
    for bytes in [2 << 20, 65 << 20] {
        let large =
            refused(redact([said]).replace(move |_| AgentBody::MessageAppended(Message::user("x".repeat(bytes)))))
                .await;
        assert!(matches!(large.kind(), ErrorKind::TooLarge { what: "replacement", .. }), "{large}");
    }
    assert!(matches!(refused(redact([])).await.kind(), ErrorKind::InvalidArgument { .. }));
    let long = Redact::new([said]).reason("x".repeat(1025));
    assert!(matches!(refused(long).await.kind(), ErrorKind::TooLarge { what: "reason", .. }));
    assert!(matches!(refused(redact([said]).expect_head(said)).await.kind(), ErrorKind::HeadMoved { .. }));
    assert_eq!(session.view().unwrap(), view);
    assert_gone(&store, &session, 0).await;
    say(&session, "goes on").await;
    soon(store.close()).await.unwrap();

    // A model that has no rule of its own.
    let disk = TestDisk::memory();
    let store = disk.open_model::<Tally>().await;
    let session = store.open_session("s").await.unwrap();
    append(&session, TallyBody::Added(1)).await.unwrap();
    let no_rule = soon(session.redact(Redact::new([at(1)]))).await.unwrap_err();
    assert!(no_rule.to_string().contains("Redact::replace"), "{no_rule}");
    soon(session.redact(Redact::new([at(1)]).replace(|_| TallyBody::Added(0)))).await.unwrap();
    soon(store.close()).await.unwrap();
}

fn keyed_by(bodies: Vec<AgentBody>, text: &str) -> Append<Agent> {
    Append::batch(bodies).key(AppendKey::new(text).unwrap())
}

async fn a_retry_under_the_key_of_a_redacted_append_gets_the_first_result(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let key = format!("key-{SECRET}");
    let append_with = async |session: &Session, body: AgentBody, key: &str| {
        soon(session.append_with(keyed_by(vec![body], key)).unwrap()).await
    };
    let first = append_with(&session, user(SECRET), &key).await.unwrap().head;
    append_with(&session, user("other"), "another").await.unwrap();
    soon(session.redact(redact([first]))).await.unwrap();
    let events = format!("{:?}", all_events(&session).await);
    assert!(!events.contains(SECRET));
    for reopened in [false, true] {
        let (store, session) = if reopened {
            let store = disk.open().await;
            let session = store.resume_session("s").await.unwrap();
            (Some(store), session)
        } else {
            (None, session.clone())
        };
        for text in [SECRET, "another text"] {
            let again = append_with(&session, user(text), &key).await.unwrap();
            assert_eq!((again.repeated, again.head), (true, first));
            assert!(!format!("{again:?}").contains(SECRET));
        }
        // What was not redacted is compared as before, and new keys are new.
        assert!(append_with(&session, user("other"), "another").await.unwrap().repeated);
        let reused = append_with(&session, user("else"), "another").await.unwrap_err();
        assert!(matches!(reused.kind(), ErrorKind::KeyReused { .. }), "{reused}");
        assert!(!append_with(&session, user("new"), &format!("new-{reopened}")).await.unwrap().repeated);
        match store {
            Some(store) => {
                assert_gone(&store, &session, 1).await;
                soon(store.close()).await.unwrap();
            }
            None => soon(session.store().close()).await.unwrap(),
        }
    }
}

async fn a_later_event_of_a_keyed_append_takes_the_key_along(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let batch = || keyed_by(vec![user("one"), user(SECRET), user("three")], "k");
    soon(session.append_with(batch()).unwrap()).await.unwrap();
    soon(session.redact(redact([at(2)]))).await.unwrap();
    let events = all_events(&session).await;
    let OwnBody::Redacted(noted) = events[3].as_own().unwrap().body() else { panic!("{events:?}") };
    assert_eq!(noted.events.iter().map(|it| it.event.get()).collect::<Vec<_>>(), [1, 2]);
    assert!(format!("{:?}", events[0]).contains("one"), "it lost its fingerprint, and nothing else");
    let again = soon(session.append_with(batch()).unwrap()).await.unwrap();
    assert_eq!((again.repeated, ids_of(&again)), (true, vec![1, 2, 3]));
    assert_gone(&store, &session, 2).await;
    soon(store.close()).await.unwrap();
}

async fn a_replacement_names_no_blob_that_the_original_does_not_name(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let [named, other] = [store.put_text("named").await.unwrap(), store.put_text("other").await.unwrap()];
    let of = |blob: BlobRef| AgentBody::VarsSnapshotted(Content::Blob(blob));
    let said = append(&session, of(named)).await.unwrap().head;
    let view = session.view().unwrap();
    // One that nobody has put, one that a sweep may remove, and one that is shorter than it says.
    for blob in [dangling(), other, BlobRef { bytes: named.bytes + 1, ..named }] {
        let refused = soon(session.redact(redact([said]).replace(move |_| of(blob)))).await.unwrap_err();
        assert!(matches!(refused.kind(), ErrorKind::BodyRefused { .. }), "{refused}");
        assert!(refused.to_string().contains(&blob.digest.to_string()), "{refused}");
        assert_eq!(session.view().unwrap(), view);
    }
    soon(session.redact(redact([said]).replace(move |_| of(named)))).await.unwrap();
    assert_gone(&store, &session, 1).await;
    soon(store.close()).await.unwrap();
}

/// Names of labels may be secrets, and an event that takes a label away names it.
async fn what_a_redacted_describe_took_away_is_there_again_but_for_the_title(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let describe = async |describe: Describe<Agent>| soon(session.describe(describe).unwrap()).await.unwrap().head;
    describe(Describe::new().title("old").label("team", "a")).await;
    let taken = describe(Describe::new().title("").remove_label("team").remove_label(SECRET)).await;
    soon(session.redact(redact([taken]))).await.unwrap();
    let view = session.view().unwrap();
    let labels: Vec<_> = view.core().labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!((view.core().title.as_str(), labels), ("", vec![("team", "a")]));
    assert_gone(&store, &session, 1).await;
    soon(store.close()).await.unwrap();
}

async fn title_labels_and_reasons_are_redacted_by_the_core(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let describe = async |describe: Describe<Agent>| soon(session.describe(describe).unwrap()).await.unwrap().head;
    let first = describe(Describe::new().title("kept").label("team", "a")).await;
    let titled = describe(Describe::new().title(SECRET).label("key", SECRET).label("of", "x")).await;
    let later = describe(Describe::new().label("of", "y")).await;
    let said = say(&session, "one").await;
    let noted = soon(session.redact(Redact::new([titled, said]).reason(SECRET))).await.unwrap().event;
    let replaced = |_: &Event<Agent>| user("only of the model's events");
    soon(session.redact(redact([noted, said]).replace(replaced))).await.unwrap();
    let view = session.view().unwrap();
    let labels: Vec<_> = view.core().labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!((view.core().title.as_str(), labels), ("", vec![("of", "y"), ("team", "a")]));
    assert!(first < titled && titled < later);
    assert_gone(&store, &session, 3).await;
    soon(store.close()).await.unwrap();
}

async fn events_are_redacted_twice_and_together_with_others(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    for n in 0..20 {
        say(&session, &format!("{n} {SECRET}")).await;
    }
    soon(session.redact(redact([at(3)]).replace(|_| user(format!("still {SECRET}"))))).await.unwrap();
    assert!(format!("{:?}", session.view().unwrap()).contains("still"));
    soon(session.redact(redact((1..=20).map(at)))).await.unwrap();
    assert_gone(&store, &session, 20).await;
    let view = session.view().unwrap();
    assert_eq!(view.messages.len(), 20);
    soon(store.close()).await.unwrap();
    let store = disk.open().await;
    let session = store.resume_session("s").await.unwrap();
    assert_eq!(session.view().unwrap(), view);
    assert_gone(&store, &session, 20).await;
    soon(store.close()).await.unwrap();
}

async fn a_redaction_is_a_message_to_the_actor(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let said = say(&session, SECRET).await;
    let address = session.address().unwrap();
    let redaction = soon(address.send(redact([said]))).await.unwrap().unwrap();
    assert_eq!((redaction.event, redaction.erasure), (at(2), Erasure::Complete));
    let refused = soon(address.send(redact([]))).await.unwrap();
    assert!(matches!(refused.unwrap_err().kind(), ErrorKind::InvalidArgument { .. }));
    assert_gone(&store, &session, 1).await;
    soon(store.close()).await.unwrap();
}

async fn a_redaction_keeps_its_place_among_appends(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    say(&session, SECRET).await;
    let before: Vec<_> = (0..30).map(|n| session.append(noted(n)).unwrap()).collect();
    let redacting = session.redact(redact([at(1)]));
    futures::pin_mut!(redacting);
    assert!(futures::poll!(redacting.as_mut()).is_pending());
    let after: Vec<_> = (0..30).map(|n| session.append(noted(n)).unwrap()).collect();
    let redaction = soon(redacting).await.unwrap();
    assert_eq!(redaction.event, at(32));
    let heads: BTreeSet<_> = soon(futures::future::join_all(before.into_iter().chain(after)))
        .await
        .into_iter()
        .map(|appended| appended.unwrap().head.get())
        .collect();
    assert_eq!(heads, (2..=31).chain(33..=62).collect());
    assert_gone(&store, &session, 1).await;
    soon(store.close()).await.unwrap();
}

async fn another_store_learns_of_it_at_its_next_read_and_may_not_redact_what_it_does_not_own(disk: TestDisk) {
    let (store, other) = (disk.open().await, disk.open().await);
    let session = store.open_session("s").await.unwrap();
    let said = say(&session, SECRET).await;
    let seen = other.resume_session("s").await.unwrap();
    assert!(format!("{:?}", seen.view().unwrap()).contains(SECRET));
    let refused = soon(seen.redact(redact([said]))).await.unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::OwnedElsewhere { .. }), "{refused}");
    soon(session.redact(redact([said]))).await.unwrap();
    seen.recovery().await.unwrap();
    assert_gone(&other, &seen, 1).await;
    seen.take_over().await.unwrap();
    say(&seen, "mine").await;
    soon(other.close()).await.unwrap();
    soon(store.close()).await.unwrap();
}

async fn a_stored_view_does_not_bring_the_secret_back(disk: TestDisk) {
    let eager = SnapshotPolicy { every_events: 1, closing_events: 1, ..SnapshotPolicy::default() };
    let store = disk.open_with(|config| config.snapshots = eager).await;
    let session = store.open_session("s").await.unwrap();
    for n in 0..40 {
        say(&session, &format!("{n} {SECRET}")).await;
    }
    eventually("a view is stored", || store.stats().snapshots_written > 0).await;
    soon(session.redact(redact((1..=40).map(at)))).await.unwrap();
    assert_gone(&store, &session, 40).await;
    for n in 0..40 {
        say(&session, &format!("later {n}")).await;
    }
    soon(session.close()).await.unwrap();
    soon(store.close()).await.unwrap();
    let store = disk.open().await;
    let session = store.resume_session("s").await.unwrap();
    assert!(session.recovery().await.unwrap().events < 81, "a view of after is stored, and used");
    assert_gone(&store, &session, 40).await;
    soon(store.close()).await.unwrap();
}

async fn an_emptied_session_is_redacted_as_well(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let said = say(&session, SECRET).await;
    soon(session.recovery()).await.unwrap();
    assert_eq!(store.empty_idle_sessions(), 1);
    soon(session.redact(redact([said]))).await.unwrap();
    assert_gone(&store, &session, 1).await;
    soon(store.close()).await.unwrap();
}

#[actix::test]
async fn a_store_with_redacted_events_is_read_repaired_salvaged_and_backed_up_as_any_other() {
    let disk = TestDisk::directory();
    let directory = disk.path().unwrap();
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let key = format!("key-{SECRET}");
    soon(session.append_with(keyed_by(vec![user(SECRET), user("two")], &key)).unwrap()).await.unwrap();
    soon(session.redact(redact([at(1)]))).await.unwrap();
    say(&session, "goes on").await;
    let view = session.view().unwrap();
    let aside = tempfile::tempdir().unwrap();
    let [backup, repaired] = ["backup", "repaired"].map(|name| aside.path().join(name));
    soon(store.backup(&backup)).await.unwrap();
    soon(store.close()).await.unwrap();

    let read_only = soon(Store::<Agent>::open_read_only(disk.config())).await.unwrap();
    assert_eq!(soon(read_only.read_state("s")).await.unwrap().view, *view);
    assert!(soon(read_only.verify()).await.unwrap().is_sound());
    soon(read_only.close()).await.unwrap();

    let repair = Store::<Agent>::repair(&directory, &repaired).unwrap();
    assert!(repair.is_whole(), "{:?}", repair.not_taken);
    for copy in [backup, repaired] {
        let store = soon(Store::open(foldlog::StoreConfig::directory(&copy))).await.unwrap();
        let session = store.resume_session("s").await.unwrap();
        assert_eq!(session.view().unwrap(), view);
        assert_gone(&store, &session, 1).await;
        let again = soon(session.append_with(keyed_by(vec![user("anything")], &key)).unwrap()).await.unwrap();
        assert_eq!((again.repeated, again.head), (true, at(2)));
        soon(store.close()).await.unwrap();
        for path in files_below(&copy) {
            let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
            assert!(!text.contains(SECRET), "{}", path.display());
        }
    }
}

async fn a_redaction_does_not_wait_for_all_that_was_deleted(disk: TestDisk) {
    let store = disk.open().await;
    let (large, session) = (store.open_session("large").await.unwrap(), store.open_session("s").await.unwrap());
    for _ in 0..8 {
        large.append_batch(vec![user("hello"); 4096]).unwrap().await.unwrap();
    }
    let said = say(&session, SECRET).await;
    soon(store.delete_session("large")).await.unwrap();
    let redaction = soon(session.redact(redact([said]))).await.unwrap();
    assert_eq!(redaction.erasure, Erasure::Complete);
    // A step takes 256 events at most.
    let steps = store.stats().erasing_step_micros.count();
    assert!(steps < 64, "{steps} steps were waited for");
    assert_gone(&store, &session, 1).await;
    assert!(soon(store.erase_deleted()).await.unwrap().is_complete());
    soon(store.close()).await.unwrap();
}
