//! Random histories of deltas, appends and subscribers, against a plain model: a list of what was shown, with the event
//! that it follows and the event that ends its stream. The session runs on a thread of its own, so that a subscriber's
//! catch-up ends anywhere between two steps of the session.

use foldlog::agent::{Agent, AgentTransient};
use foldlog::{EventId, EventStream, Item, LagPolicy, LiveConfig, Restart, Session, SubscribeFrom};
use futures::{FutureExt, StreamExt};
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Act {
    /// A delta of one of the streams.
    Show(u64),
    /// A transient of no stream.
    ShowOther,
    /// An event that ends no stream.
    Note,
    /// An event that ends a stream.
    End(u64),
    /// A subscriber comes, from so many events before the last, or from now on.
    Subscribe(Option<u64>),
    /// A subscriber takes so much of what is there.
    Take {
        subscriber: prop::sample::Index,
        items: usize,
    },
    /// Waits until the session has done all that was asked.
    Settle,
    Empty,
    Restart,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        8 => (1_u64..4).prop_map(Act::Show),
        1 => Just(Act::ShowOther),
        2 => Just(Act::Note),
        2 => (1_u64..4).prop_map(Act::End),
        2 => prop::option::of(0_u64..6).prop_map(Act::Subscribe),
        4 => (any::<prop::sample::Index>(), 1_usize..9).prop_map(|(subscriber, items)| Act::Take { subscriber, items }),
        2 => Just(Act::Settle),
    ];
    prop::collection::vec(act, 1..80)
}

/// The same with what drops what is kept.
fn rough_acts() -> impl Strategy<Value = Vec<Act>> {
    let rough = prop_oneof![Just(Act::Empty), Just(Act::Restart)];
    (acts(), prop::collection::vec((any::<prop::sample::Index>(), rough), 0..4)).prop_map(|(mut acts, rough)| {
        for (place, act) in rough {
            acts.insert(place.index(acts.len()), act);
        }
        acts
    })
}

/// One delta of the plain model.
struct Shown {
    /// The last event before it.
    follows: u64,
    stream: u64,
    /// The event that ends its stream.
    ended_by: Option<u64>,
}

#[derive(Default)]
struct Plain {
    head: u64,
    /// By the number that is the delta's text, from 1.
    shown: Vec<Shown>,
    others: u64,
}

/// A subscriber, and what it has been given.
struct Follower {
    stream: EventStream<Agent>,
    /// The last event that it has, or that a gap has named.
    seen: u64,
    /// The deltas that it was given, by their numbers.
    given: Vec<usize>,
    left_out: u64,
}

impl Follower {
    fn take(&mut self, item: &Item<Agent>, plain: &Plain) {
        match item {
            Item::Event(event) => {
                assert_eq!(event.id().get(), self.seen + 1);
                self.seen += 1;
            }
            Item::Gap(gap) => {
                assert_eq!(gap.after.get(), self.seen);
                assert!(gap.through > gap.after || gap.transients > 0, "a gap of nothing");
                self.seen = gap.through.get();
                self.left_out += gap.transients;
            }
            Item::Transient(AgentTransient::TokenDelta { text, .. }) => {
                let number: usize = text.parse().unwrap();
                let shown = &plain.shown[number - 1];
                assert!(self.given.last().is_none_or(|last| *last < number), "twice, or out of its order: {number}");
                assert!(shown.follows <= self.seen, "ahead of an event that precedes it: {number}");
                assert!(shown.ended_by.is_none_or(|end| self.seen < end), "after the event that ends it: {number}");
                self.given.push(number);
            }
            Item::Transient(_) => {}
            other => panic!("neither an end nor an item of an unknown kind: {other:?}"),
        }
    }
}

async fn history(live: LiveConfig, kept_max: usize, acts: Vec<Act>) {
    let disk = TestDisk::memory();
    let arbiter = actix::Arbiter::new();
    let change = |config: &mut StoreConfig| {
        config.live = live;
        config.arbiters = vec![arbiter.handle()];
        config.session_kept_transients_bytes_max = kept_max;
        config.page_events_max = 3;
    };
    let is_whole = kept_max == usize::MAX && !acts.iter().any(|act| matches!(act, Act::Empty | Act::Restart));
    let store = disk.open_with(change).await;
    let session = begun(&store, "s").await;
    let mut plain = Plain { head: BEGUN, ..Plain::default() };
    let mut followers: Vec<Follower> = Vec::new();
    for act in acts {
        act_on(act, &session, &mut plain, &mut followers).await;
    }
    soon(session.append(noted(0)).unwrap()).await.unwrap();
    plain.head += 1;
    for follower in &mut followers {
        // A stream reads nothing any more from a store that is closed.
        while follower.seen < plain.head {
            let item = soon(follower.stream.next()).await.unwrap();
            follower.take(&item, &plain);
        }
    }
    let open: Vec<_> = (1..=plain.shown.len()).filter(|number| plain.shown[number - 1].ended_by.is_none()).collect();
    store.close().await.unwrap();
    arbiter.stop();
    for mut follower in followers {
        while let Some(item) = soon(follower.stream.next()).await {
            follower.take(&item, &plain);
        }
        assert_eq!(follower.seen, plain.head);
        let missing = open.iter().filter(|number| !follower.given.contains(number)).count() as u64;
        assert!(missing <= follower.left_out, "{missing} are missing, and {} were told", follower.left_out);
        if is_whole {
            assert_eq!(missing, 0, "nothing was cut");
            assert!(follower.left_out <= plain.others, "and a delta that is not given is not counted as left out");
        }
    }
}

async fn act_on(act: Act, session: &Session, plain: &mut Plain, followers: &mut Vec<Follower>) {
    match act {
        Act::Show(stream) => {
            plain.shown.push(Shown { follows: plain.head, stream, ended_by: None });
            session.notify(delta(stream, plain.shown.len() as u64)).unwrap();
        }
        Act::ShowOther => {
            plain.others += 1;
            session.notify(shown(0)).unwrap();
        }
        Act::Note | Act::End(_) => {
            plain.head += 1;
            let body = match act {
                Act::End(stream) => {
                    let open = plain.shown.iter_mut().filter(|shown| shown.stream == stream);
                    open.for_each(|shown| shown.ended_by = shown.ended_by.or(Some(plain.head)));
                    ended(stream)
                }
                _ => noted(0),
            };
            // Its receipt is dropped: the append is on its way all the same.
            drop(session.append(body).unwrap());
        }
        Act::Subscribe(before) => {
            // The session's head, as far as it is known here.
            let known = session.view().unwrap().head().get();
            let from = before
                .map_or(SubscribeFrom::Now, |before| SubscribeFrom::After(EventId::new(known.saturating_sub(before))));
            if before.is_none() {
                settled(session).await;
                soon(session.append(noted(0)).unwrap()).await.unwrap();
                plain.head += 1;
            }
            let seen = before.map_or(plain.head, |before| known.saturating_sub(before));
            let stream = session.subscribe(from).await.unwrap();
            followers.push(Follower { stream, seen, given: Vec::new(), left_out: 0 });
        }
        Act::Take { subscriber, items } if !followers.is_empty() => {
            let follower = subscriber.get_mut(followers);
            for _ in 0..items {
                let Some(item) = follower.stream.next().now_or_never() else { break };
                follower.take(&item.unwrap(), plain);
            }
        }
        Act::Take { .. } => {}
        Act::Settle => settled(session).await,
        Act::Empty => {
            session.recovery().await.unwrap();
            // It may be busy, and stays then.
            session.store().empty_idle_sessions();
        }
        Act::Restart => {
            settled(session).await;
            session.append(noted(0)).unwrap().await.unwrap();
            plain.head += 1;
            session.address().unwrap().send(Restart).await.unwrap();
            // What is appended meanwhile may be refused.
            session.recovery().await.unwrap();
        }
    }
}

fn lag_of(catch_up: bool) -> LagPolicy {
    if catch_up { LagPolicy::CatchUp } else { LagPolicy::Gap }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_subscriber_gets_each_delta_of_an_open_stream_once_in_its_place(
        acts in acts(), queue in 1_usize..8, catch_up in any::<bool>()
    ) {
        let live = LiveConfig { subscriber_queue_max: queue, lag: lag_of(catch_up) };
        actix::System::new().block_on(history(live, usize::MAX, acts));
    }

    #[test]
    fn whatever_is_cut_dropped_or_too_slow_is_told(
        acts in rough_acts(), queue in 1_usize..8, deltas in 0_usize..12, catch_up in any::<bool>()
    ) {
        let live = LiveConfig { subscriber_queue_max: queue, lag: lag_of(catch_up) };
        actix::System::new().block_on(history(live, deltas * 130, acts));
    }
}
