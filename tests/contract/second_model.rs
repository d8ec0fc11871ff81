//! Goal: a host's own model gets every promise that the built-in one gets. Method: the tally model of our own, in
//! builds that know more or less than one another, through the calls that matter.

use foldlog::{Append, Condition, ErrorKind, EventId, Item, SubscribeFrom, Unfinished};

use crate::common::tally::{ANCIENT, AncientTally, OLD, TallyBuild, TallyCounters};
use crate::common::*;

on_both_media!(
    its_events_fold_into_its_view_and_come_back_after_reopening,
    its_ids_are_minted_from_its_counters,
    its_check_refuses_a_body_before_anything_is_written,
    its_references_are_checked_and_verified,
    its_turns_and_unfinished_things_are_asked_for,
    its_transients_and_events_are_delivered,
    its_appends_have_keys_and_expected_heads,
    it_is_refused_in_a_directory_of_another_model,
    what_an_older_build_wrote_is_upcast,
    an_event_type_that_the_build_does_not_know_opens_read_only,
    a_schema_that_the_build_does_not_know_opens_read_only,
);

async fn its_events_fold_into_its_view_and_come_back_after_reopening(disk: TestDisk) {
    let store = disk.open_model::<Tally>().await;
    let session = store.open_session("s").await.unwrap();
    let batch = vec![TallyBody::Added(40), TallyBody::named("x"), TallyBody::Added(2)];
    let appended = session.append_batch(batch).unwrap().await.unwrap();
    let types: Vec<_> = appended.events.iter().map(|event| event.event_type()).collect();
    assert_eq!(types, ["added", "named", "added"]);
    assert_eq!((session.view().unwrap().sum, session.view().unwrap().head()), (42, at(3)));
    assert_head(&session, 3).await;
    let before = session.view().unwrap();
    store.close().await.unwrap();
    let store = disk.open_model::<Tally>().await;
    let session = store.resume_session("s").await.unwrap();
    assert_eq!(*session.view().unwrap(), *before);
    assert_eq!(session.recovery().await.unwrap().events, 3);
    store.close().await.unwrap();
}

async fn its_ids_are_minted_from_its_counters(disk: TestDisk) {
    let store = disk.open_model::<Tally>().await;
    let session = store.open_session("s").await.unwrap();
    let forged = TallyBody::Named { id: 77, name: "a".to_owned() };
    session.append(forged).unwrap().await.unwrap();
    let in_flight = session.append_batch(vec![TallyBody::named("b"), TallyBody::named("c")]).unwrap();
    assert_eq!(session.counters().await.unwrap(), (at(3), TallyCounters { event: 3, name: 3 }));
    in_flight.await.unwrap();
    let names: Vec<_> = session.view().unwrap().names.iter().map(|(id, name)| (*id, name.clone())).collect();
    assert_eq!(names, [(1, "a".to_owned()), (2, "b".to_owned()), (3, "c".to_owned())]);
    store.close().await.unwrap();
}

async fn its_check_refuses_a_body_before_anything_is_written(disk: TestDisk) {
    let store = disk.open_model::<Tally>().await;
    let session = store.open_session("s").await.unwrap();
    let refused = session.append(TallyBody::Refused);
    assert_refused!(refused, ErrorKind::BodyRefused { reason } if reason == "never to be persisted");
    let sent = session.address().unwrap().send(Append::new(TallyBody::Refused)).await.unwrap();
    assert_refused!(sent, ErrorKind::BodyRefused { .. });
    let batch = vec![TallyBody::Added(1), TallyBody::Refused];
    assert_refused!(session.append_batch(batch), ErrorKind::BodyRefused { .. });
    assert_head(&session, 0).await;
    store.close().await.unwrap();
}

async fn its_references_are_checked_and_verified(disk: TestDisk) {
    let store = disk.open_model::<Tally>().await;
    let session = store.open_session("s").await.unwrap();
    let missing = session.append(TallyBody::Attached(dangling())).unwrap().await;
    assert_refused!(missing, ErrorKind::DanglingRef { .. });
    let blob = store.put_bytes(vec![1, 2, 3]).await.unwrap();
    session.append(TallyBody::Attached(blob)).unwrap().await.unwrap();
    assert_eq!(session.view().unwrap().blobs, [blob]);
    assert!(store.verify().await.unwrap().is_sound());
    store.close().await.unwrap();
}

async fn its_turns_and_unfinished_things_are_asked_for(disk: TestDisk) {
    let limited = |config: &mut foldlog::StoreConfig| config.session_turns_max = Some(1);
    let store = disk.try_open_model::<Tally>(limited).await.unwrap();
    let session = store.open_session("s").await.unwrap();
    drop(session.take_turn().await.unwrap());
    session.append(TallyBody::named("a")).unwrap().await.unwrap();
    assert_refused!(session.take_turn().await, ErrorKind::TurnLimit { turns: 1, limit: 1, .. });
    session.append(TallyBody::Finished).unwrap().await.unwrap();
    assert_refused!(session.take_turn().await, ErrorKind::SessionStopped { .. });
    store.close().await.unwrap();
    let store = disk.open_model::<Tally>().await;
    let report = store.resume_session("s").await.unwrap().recovery().await.unwrap();
    assert_eq!(report.unfinished, [Unfinished::new("name", 1)]);
    store.close().await.unwrap();
}

async fn its_transients_and_events_are_delivered(disk: TestDisk) {
    let store = disk.open_model::<Tally>().await;
    let session = store.open_session("s").await.unwrap();
    let (recipient, mut received) = collector::<Tally>();
    session.subscribe_actor(SubscribeFrom::After(EventId::ZERO), recipient).await.unwrap();
    session.append(TallyBody::Added(1)).unwrap().await.unwrap();
    session.notify("typing".to_owned()).unwrap();
    assert_eq!(received.take(1).await, ["1"]);
    let Item::Transient(text) = received.next().await else { panic!("it is the transient") };
    assert_eq!(text, "typing");
    assert_head(&session, 1).await;
    store.close().await.unwrap();
}

async fn its_appends_have_keys_and_expected_heads(disk: TestDisk) {
    let store = disk.open_model::<Tally>().await;
    let session = store.open_session("s").await.unwrap();
    // The retry is recognised by the body handed over, before any id was minted into it.
    let append = || Append::<Tally>::new(TallyBody::named("a")).key(key("k")).expect_head(EventId::ZERO);
    assert!(!session.append_with(append()).unwrap().await.unwrap().repeated);
    assert!(session.append_with(append()).unwrap().await.unwrap().repeated);
    let other = Append::<Tally>::new(TallyBody::named("b")).key(key("k"));
    assert_refused!(session.append_with(other).unwrap().await, ErrorKind::KeyReused { .. });
    let stale = Append::<Tally>::new(TallyBody::Added(1)).expect_head(EventId::ZERO);
    assert_refused!(session.append_with(stale).unwrap().await, ErrorKind::HeadMoved { .. });
    assert_head(&session, 1).await;
    store.close().await.unwrap();
}

async fn it_is_refused_in_a_directory_of_another_model(disk: TestDisk) {
    let store = disk.open_model::<Tally>().await;
    let session = store.open_session("s").await.unwrap();
    let wrong = foldlog::Store::open(disk.config()).await;
    if let (Some(path), Err(error)) = (disk.path(), &wrong) {
        let text = error.to_string();
        assert!(text.contains("of model tally, and was opened for model agent"), "{text}");
        assert!(text.contains(path.to_str().unwrap()), "no path: {text}");
    }
    assert_refused!(wrong, ErrorKind::WrongModel { found, expected } if found == "tally" && expected == "agent");
    session.append(TallyBody::Added(1)).unwrap().await.unwrap();
    assert_head(&session, 1).await;
    store.close().await.unwrap();
    assert_refused!(foldlog::Store::open(disk.config()).await, ErrorKind::WrongModel { .. });
    let store = disk.open_model::<Tally>().await;
    assert_head(&store.resume_session("s").await.unwrap(), 1).await;
    store.close().await.unwrap();
}

async fn what_an_older_build_wrote_is_upcast(disk: TestDisk) {
    let store = disk.open_model::<AncientTally>().await;
    let session = store.open_session("s").await.unwrap();
    session.append(TallyBody::Added(2)).unwrap().await.unwrap();
    assert_eq!(session.view().unwrap().sum, 2, "it counts dozens");
    store.close().await.unwrap();
    let store = disk.open_model::<Tally>().await;
    let session = store.resume_session("s").await.unwrap();
    session.append(TallyBody::Added(2)).unwrap().await.unwrap();
    assert_eq!(session.view().unwrap().sum, 26);
    assert_eq!(*whole_log(&session).await[0].body(), TallyBody::Added(24));
    assert_head(&session, 2).await;
    store.close().await.unwrap();
    let store = disk.open_model::<Tally>().await;
    assert_eq!(store.resume_session("s").await.unwrap().view().unwrap().sum, 26);
    store.close().await.unwrap();
}

async fn an_event_type_that_the_build_does_not_know_opens_read_only(disk: TestDisk) {
    opens_read_only::<OLD>(disk, TallyBody::named("x"), "named").await;
}

async fn a_schema_that_the_build_does_not_know_opens_read_only(disk: TestDisk) {
    opens_read_only::<ANCIENT>(disk, TallyBody::Added(2), "added").await;
}

/// The log has two events that the older build knows, one that it does not, and one more.
async fn opens_read_only<const OLDER: u8>(disk: TestDisk, newer: TallyBody, newer_type: &str) {
    let store = disk.open_model::<TallyBuild<OLDER>>().await;
    let session = store.open_session("s").await.unwrap();
    session.append_batch(vec![TallyBody::Added(4), TallyBody::Added(5)]).unwrap().await.unwrap();
    let before = session.view().unwrap();
    append(&store.open_session("other").await.unwrap(), TallyBody::Added(1)).await.unwrap();
    store.close().await.unwrap();
    let store = disk.open_model::<Tally>().await;
    let session = store.resume_session("s").await.unwrap();
    append(&session, newer).await.unwrap();
    append(&session, TallyBody::Added(4)).await.unwrap();
    let whole = session.view().unwrap();
    store.close().await.unwrap();

    let store = disk.open_model::<TallyBuild<OLDER>>().await;
    let session = store.resume_session("s").await.unwrap();
    let condition = Condition::NewerRecord { event: at(3), event_type: newer_type.to_owned(), schema: 2 };
    assert_eq!(session.condition(), condition);
    assert_eq!(session.recovery().await.unwrap().condition, condition);
    assert_eq!(*session.view().unwrap(), *before, "the view stands before it");
    let stored = store.read_state("s").await.unwrap();
    assert_eq!((&stored.view, stored.report.condition), (&*before, condition));
    let append_of = || Append::new(TallyBody::Added(1));
    for refused in [append_of(), append_of().expect_head(at(2)), append_of().key(key("key"))] {
        assert_refused!(
            session.append_with(refused).unwrap().await,
            ErrorKind::NewerRecord { session, event, event_type, schema: 2 }
                if session.as_str() == "s" && *event == at(3) && event_type == newer_type
        );
    }
    assert_eq!(ids(&session.events_after(EventId::ZERO, 10).await.unwrap().events), [1, 2]);
    assert_refused!(session.events_after(at(2), 10).await, ErrorKind::NewerRecord { event, .. } if *event == at(3));
    assert_eq!(look(&store, "s").await.1, at(4), "nothing was written, and nothing lost");
    let other = store.resume_session("other").await.unwrap();
    assert_eq!(other.condition(), Condition::Ready);
    append(&other, TallyBody::Added(5)).await.unwrap();
    assert_head(&other, 2).await;
    store.close().await.unwrap();

    let store = disk.open_model::<Tally>().await;
    let session = store.resume_session("s").await.unwrap();
    assert_eq!((session.condition(), session.view().unwrap().state()), (Condition::Ready, whole.state()));
    assert_eq!(append(&session, TallyBody::Added(1)).await.unwrap().head, at(5));
    store.close().await.unwrap();
}
