//! Goal: a subscriber is given each event once and in order, or a gap. Method: subscribers that come, lag and leave.

use foldlog::{EventId, EventStream, Item, SubscribeFrom};
use futures::{FutureExt, StreamExt};

use crate::common::{Tally, TallyBody, soon};
use crate::truth::{Owner, Truth, is_now, position, shown};
use crate::world::{At, World};

pub struct Follower {
    pub at: At,
    pub stream: EventStream<Tally>,
    /// The last event that it was given, or that a gap has named. `None` until one of them comes.
    position: Option<usize>,
    /// What it was given and is not compared yet.
    got: Vec<(usize, TallyBody)>,
    last_transient: u64,
    leaves_out: bool,
    /// Whether it may have ended because the log could not be read.
    pub is_tried: bool,
    /// In a calm: an event behind this one is live, and says that it has not ended.
    settled: Option<usize>,
}

impl Follower {
    pub fn take(&mut self, item: Item<Tally>, truth: &Truth) {
        match item {
            Item::Event(event) => {
                let id = position(event.id());
                assert_eq!(self.position.map_or(id, |position| position + 1), id, "an event too few or too many");
                self.position = Some(id);
                self.got.push((id, shown(&event)));
                self.is_tried &= self.settled.is_none_or(|settled| id <= settled);
            }
            Item::Gap(gap) => {
                assert_eq!(self.position.unwrap_or(position(gap.after)), position(gap.after), "where the gap begins");
                assert!(gap.through >= gap.after);
                assert!(self.leaves_out || gap.through == gap.after, "it catches up, and was not given {gap:?}");
                assert!(gap.through > gap.after || gap.transients > 0, "a gap of nothing");
                self.position = Some(position(gap.through));
            }
            Item::Transient(text) => {
                let numbers: Vec<u64> = text.split(' ').map(|number| number.parse().unwrap()).collect();
                let [session, mark, after] = numbers[..] else { panic!("{text}") };
                assert_eq!(session as usize, self.at.session, "a transient of another session");
                assert!(mark > self.last_transient, "a transient out of its order");
                self.last_transient = mark;
                let is_early = self.position.is_some_and(|position| position < after as usize);
                assert!(!is_early || !truth.is_sure || mark <= truth.sure_from, "a transient too early");
            }
            // A fault of the log's reads, or the session was deleted: the stream ends.
            Item::Failed(_) => {}
            other => panic!("a stream gives no {other:?}"),
        }
    }

    pub fn compare(&mut self, truth: &Truth) {
        if truth.is_sure {
            for (id, body) in self.got.drain(..) {
                assert_eq!(truth.predicted.get(id - 1), Some(&body), "what a subscriber got as {id}");
            }
            assert!(self.position.is_none_or(|position| position <= truth.predicted.len()), "a gap ahead");
        }
    }
}

impl World {
    pub async fn follow(&mut self, at: At) {
        if self.followers.len() >= 4 {
            return self.leave();
        }
        let Some(session) = self.session(at).await else { return };
        let settled = self.truths[at.session].log.len() as u64;
        let after = if self.dice.one_in(2) { Some(self.dice.below(settled + 1)) } else { None };
        let from = after.map_or(SubscribeFrom::Now, |after| SubscribeFrom::After(EventId::new(after)));
        self.trace.add(format!("follow {at:?} {from:?}"));
        match soon(session.subscribe(from)).await {
            Ok(stream) => {
                self.figures.followed += 1;
                self.followers.push(Follower {
                    at,
                    stream,
                    position: after.map(|after| after as usize),
                    got: Vec::new(),
                    last_transient: 0,
                    leaves_out: self.leaves_out(),
                    is_tried: self.is_stormy,
                    settled: None,
                });
            }
            Err(error) => assert!(self.is_stormy, "{error:?}"),
        }
    }

    pub fn leave(&mut self) {
        if !self.followers.is_empty() {
            let index = self.dice.below(self.followers.len() as u64) as usize;
            self.followers.swap_remove(index);
        }
    }

    /// Some of them take what is there; the others lag.
    pub fn poll_followers(&mut self) {
        let mut index = 0;
        while index < self.followers.len() {
            let polls = if self.dice.one_in(3) { self.dice.below(6) } else { 0 };
            let mut has_ended = false;
            for _ in 0..polls {
                let follower = &mut self.followers[index];
                match follower.stream.next().now_or_never() {
                    Some(Some(item)) => {
                        self.figures.gaps += u64::from(matches!(item, Item::Gap(_)));
                        follower.take(item, &self.truths[follower.at.session]);
                    }
                    Some(None) => {
                        assert!(follower.is_tried, "a subscription has ended");
                        has_ended = true;
                        break;
                    }
                    None => break,
                }
            }
            self.compare_follower(index);
            if has_ended {
                self.followers.swap_remove(index);
            } else {
                index += 1;
            }
        }
    }

    fn compare_follower(&mut self, index: usize) {
        let follower = &mut self.followers[index];
        follower.compare(&self.truths[follower.at.session]);
    }

    /// Some events are redacted, or may be: what subscribers were given of them before counts no more.
    pub fn forget_what_was_given(&mut self, session: usize, events: &[usize]) {
        let log = &self.truths[session].log;
        for follower in self.followers.iter_mut().filter(|follower| follower.at.session == session) {
            follower.got.retain(|(id, body)| {
                let is_redacted = events.contains(id);
                assert!(!is_redacted || is_now(&log[id - 1], body), "what a subscriber got as {id}");
                !is_redacted
            });
        }
    }

    /// A session or a store was closed: its subscribers get the rest, and end.
    pub async fn ended(&mut self, session: Option<usize>, store: usize, head: Option<usize>) {
        let is_of = |at: At| at.store == store && session.is_none_or(|session| session == at.session);
        while let Some(index) = self.followers.iter().position(|follower| is_of(follower.at)) {
            while let Some(item) = soon(self.followers[index].stream.next()).await {
                self.figures.gaps += u64::from(matches!(item, Item::Gap(_)));
                let follower = &mut self.followers[index];
                follower.take(item, &self.truths[follower.at.session]);
            }
            self.compare_follower(index);
            let follower = self.followers.swap_remove(index);
            if let (Some(head), Some(position), false) = (head, follower.position, follower.is_tried) {
                assert_eq!(position, head, "a subscription ended early");
            }
        }
    }

    /// In a calm, everyone who is behind is given the rest.
    pub async fn catch_up(&mut self) {
        let mut index = 0;
        while index < self.followers.len() {
            let Follower { at, position, .. } = self.followers[index];
            let head = self.truths[at.session].log.len();
            if position.is_none_or(|position| position >= head) {
                self.compare_follower(index);
                index += 1;
                continue;
            }
            match soon(self.followers[index].stream.next()).await {
                Some(item) => {
                    self.figures.gaps += u64::from(matches!(item, Item::Gap(_)));
                    let follower = &mut self.followers[index];
                    follower.take(item, &self.truths[follower.at.session]);
                }
                None => {
                    assert!(self.followers[index].is_tried, "a subscription has ended");
                    self.compare_follower(index);
                    self.followers.swap_remove(index);
                }
            }
        }
        for follower in &mut self.followers {
            follower.settled = Some(self.truths[follower.at.session].log.len());
        }
    }

    /// From now on any of them may meet a page that cannot be read.
    pub fn try_followers(&mut self) {
        for follower in &mut self.followers {
            (follower.is_tried, follower.settled) = (true, None);
        }
    }

    pub fn transient(&mut self, at: At) -> String {
        let truth = &self.truths[at.session];
        let is_known = truth.is_sure && truth.owner == Owner::Store(at.store);
        let after = if is_known { truth.predicted.len() } else { 0 };
        let mark = self.mark();
        format!("{} {mark} {after}", at.session)
    }
}
