//! Goal: a subscriber that comes late gets what is still being written from its beginning, each transient once, and is
//! told where something is missing. Method: numbered deltas in streams of the agent model; subscribers that come, wait
//! and drain at chosen moments, held by the testkit's ports; both media.

mod bounds;
mod interleavings;
mod moments;

use foldlog::agent::{Agent, AgentBody, AgentTransient, Message, OutputStream, Step, StepId, StepStatus, Turn, TurnId};
use foldlog::{EventId, EventStream, Gap, Item, LagPolicy, LiveConfig, Session, Store, StoreConfig, SubscribeFrom};
use futures::StreamExt;

use crate::common::*;

on_both_media!(
    of_500_deltas_every_late_subscriber_gets_500,
    two_streams_come_in_one_order_and_end_each_by_its_own_event,
    a_stream_that_has_ended_leaves_nothing_and_one_of_its_key_begins_anew,
    what_ends_a_stream_in_a_batch_or_by_a_message_ends_it_and_a_refused_append_does_not,
    nothing_is_kept_for_a_model_that_names_no_stream,
);

const TURN: TurnId = TurnId::new(1);

/// The events of a session that has begun: a turn and three steps. These tests count the events behind them.
const BEGUN: u64 = 4;

async fn begun(store: &Store, name: impl AsRef<str>) -> Session {
    let session = store.open_session(name).await.unwrap();
    let steps = (0..3).map(|_| AgentBody::StepStarted(Step::of_turn(TURN)));
    let bodies = std::iter::once(AgentBody::TurnStarted(Turn::default())).chain(steps);
    session.append_batch(bodies.collect()).unwrap().await.unwrap();
    session
}

/// The event that is the `n`th behind the beginning.
fn at(n: u64) -> EventId {
    EventId::new(BEGUN + n)
}

/// An item, with its events counted behind the beginning.
fn short(item: &Item<Agent>) -> String {
    match item {
        Item::Event(event) => (event.id().get() - BEGUN).to_string(),
        Item::Gap(gap) => {
            let Gap { after, through, transients, .. } = gap;
            format!("gap {}..{} ({transients} transients)", after.get() - BEGUN, through.get() - BEGUN)
        }
        item => subscribers::short(item),
    }
}

/// The `n`th delta of a step.
fn delta(step: u64, n: u64) -> AgentTransient {
    AgentTransient::TokenDelta { turn: TURN, step: StepId::new(step), text: n.to_string() }
}

/// The end of a step.
fn ended(step: u64) -> AgentBody {
    AgentBody::StepPut(Step { id: StepId::new(step), status: StepStatus::Done, ..Step::of_turn(TURN) })
}

/// Shows deltas of a step, and waits until they are shown.
async fn show(session: &Session, step: u64, numbers: std::ops::RangeInclusive<u64>) {
    for n in numbers {
        session.notify(delta(step, n)).unwrap();
    }
    settled(session).await;
}

/// Waits until everything that was asked of the session is done.
async fn settled(session: &Session) {
    session.counters().await.unwrap();
}

/// An item as these tests write it: `2` for an event, `1:7` for the seventh delta of the first step.
fn named(item: &Item<Agent>) -> String {
    match item {
        Item::Transient(AgentTransient::TokenDelta { step, text, .. }) => format!("{step}:{text}"),
        Item::Transient(AgentTransient::OutputChunk { step, text, .. }) => format!("{step} output:{text}"),
        item => short(item),
    }
}

fn deltas(step: u64, numbers: std::ops::RangeInclusive<u64>) -> Vec<String> {
    numbers.map(|n| format!("{step}:{n}")).collect()
}

/// The next items of a stream.
async fn take(stream: &mut EventStream<Agent>, count: usize) -> Vec<String> {
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.push(named(&soon(stream.next()).await.expect("the stream goes on")));
    }
    taken
}

/// What a subscriber is given that comes now, behind all events and before the event that this appends.
async fn late(session: &Session) -> Vec<String> {
    let mut stream = session.subscribe(SubscribeFrom::Now).await.unwrap();
    let mark = session.append(noted(0)).unwrap().await.unwrap().head;
    let mark = (mark.get() - BEGUN).to_string();
    let mut taken = Vec::new();
    loop {
        let item = named(&soon(stream.next()).await.unwrap());
        if item == mark {
            return taken;
        }
        taken.push(item);
    }
}

fn queue(max: usize, lag: LagPolicy) -> impl FnOnce(&mut StoreConfig) {
    move |config| config.live = LiveConfig { subscriber_queue_max: max, lag }
}

async fn of_500_deltas_every_late_subscriber_gets_500(disk: TestDisk) {
    // The limits of the queue do not cut what is kept.
    let store = disk.open_with(queue(3, LagPolicy::Gap)).await;
    let session = begun(&store, "s").await;
    session.append_batch((0..20).map(noted).collect()).unwrap().await.unwrap();
    show(&session, 1, 1..=250).await;
    let from = [SubscribeFrom::After(at(0)), SubscribeFrom::After(at(20)), SubscribeFrom::Now];
    let mut streams = Vec::new();
    for from in from {
        streams.push(session.subscribe(from).await.unwrap());
    }
    let (recipient, mut actor) = collector();
    session.subscribe_actor(SubscribeFrom::After(at(19)), recipient).await.unwrap();
    show(&session, 1, 251..=500).await;
    for (mut stream, first) in streams.into_iter().zip([1_u64, 21, 21]) {
        let wanted: Vec<_> = (first..=20).map(|id| id.to_string()).chain(deltas(1, 1..=500)).collect();
        assert_eq!(take(&mut stream, wanted.len()).await, wanted);
    }
    let mut of_actor = Vec::new();
    while of_actor.len() < 501 {
        of_actor.push(named(&actor.next().await));
    }
    assert_eq!((of_actor[0].as_str(), &of_actor[1..]), ("20", &deltas(1, 1..=500)[..]));
    assert_eq!(store.stats().subscriber_transients_left_out, 0);
    assert_head(&session, BEGUN + 20).await;
    store.close().await.unwrap();
    // Nothing of it was stored.
    let store = disk.open().await;
    let session = store.resume_session("s").await.unwrap();
    assert!(late(&session).await.is_empty());
    store.close().await.unwrap();
}

async fn two_streams_come_in_one_order_and_end_each_by_its_own_event(disk: TestDisk) {
    let store = disk.open().await;
    let session = begun(&store, "s").await;
    for n in 1..=3 {
        session.notify(delta(1, n)).unwrap();
        session.notify(delta(2, n)).unwrap();
    }
    assert_eq!(
        late(&session).await,
        ["1:1", "2:1", "1:2", "2:2", "1:3", "2:3"],
        "an event of something else ends none"
    );
    session.append(ended(1)).unwrap().await.unwrap();
    assert_eq!(late(&session).await, deltas(2, 1..=3));
    show(&session, 2, 4..=4).await;
    assert_eq!(late(&session).await, deltas(2, 1..=4));
    session.append(ended(2)).unwrap().await.unwrap();
    assert!(late(&session).await.is_empty());
    store.close().await.unwrap();
}

async fn a_stream_that_has_ended_leaves_nothing_and_one_of_its_key_begins_anew(disk: TestDisk) {
    let store = disk.open().await;
    let session = begun(&store, "s").await;
    show(&session, 1, 1..=9).await;
    assert_eq!(store.stats().kept_transients_bytes, 9 * (1 + 128));
    session.append(ended(1)).unwrap().await.unwrap();
    assert_eq!(store.stats().kept_transients_bytes, 0);
    assert!(late(&session).await.is_empty());
    show(&session, 1, 10..=11).await;
    assert_eq!(late(&session).await, deltas(1, 10..=11));
    session.close().await.unwrap();
    drop(session);
    eventually("the session's memory is given back", || store.stats().kept_transients_bytes == 0).await;
    store.close().await.unwrap();
}

async fn what_ends_a_stream_in_a_batch_or_by_a_message_ends_it_and_a_refused_append_does_not(disk: TestDisk) {
    let store = disk.open().await;
    let session = begun(&store, "s").await;
    show(&session, 1, 1..=2).await;
    let stale = foldlog::Append::new(ended(1)).expect_head(at(7));
    assert_refused!(session.append_with(stale).unwrap().await, foldlog::ErrorKind::HeadMoved { .. });
    assert_eq!(late(&session).await, deltas(1, 1..=2));
    session.append_batch(vec![noted(0), ended(1), noted(0)]).unwrap().await.unwrap();
    assert!(late(&session).await.is_empty());

    show(&session, 2, 1..=2).await;
    let (stream, text) = (OutputStream::Stdout, "out".to_owned());
    session.notify(AgentTransient::OutputChunk { turn: TURN, step: StepId::new(2), stream, text }).unwrap();
    session.append(AgentBody::MessageAppended(Message::assistant("1 and 2"))).unwrap().await.unwrap();
    assert_eq!(late(&session).await, ["2 output:out"]);
    session.append(AgentBody::EvalAdded(Default::default())).unwrap().await.unwrap();
    assert!(late(&session).await.is_empty());
    store.close().await.unwrap();
}

async fn nothing_is_kept_for_a_model_that_names_no_stream(disk: TestDisk) {
    let store = disk.open_model::<Tally>().await;
    let session = store.open_session("s").await.unwrap();
    (0..9).for_each(|_| session.notify("typing".to_owned()).unwrap());
    session.counters().await.unwrap();
    assert_eq!(store.stats().kept_transients_bytes, 0);
    let mut stream = session.subscribe(SubscribeFrom::Now).await.unwrap();
    session.append(TallyBody::Added(1)).unwrap().await.unwrap();
    assert_eq!(subscribers::short(&soon(stream.next()).await.unwrap()), "1");
    store.close().await.unwrap();
}
