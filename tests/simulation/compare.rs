//! Goal: everything that can be seen agrees with the reference. Method: look after each step, and at all of it in a
//! calm.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldlog::{ErrorKind, EventId, LogEvent, Session, View};

use crate::common::{Tally, TallyBody, soon};
use crate::truth::{
    Owner, Sent, Truth, assert_core, assert_described, first_of, folded, is_now, mark, position, shown, stamped,
};
use crate::world::{At, World};

impl Truth {
    /// Where each append that is not settled stands in the log, by its mark.
    fn placed(&self, log: &[TallyBody]) -> HashMap<u64, u64> {
        let mut placed = HashMap::new();
        let mut at = self.log.len();
        while at < log.len() {
            let mark = mark(&log[at]).expect("an append begins with a mark");
            assert!(!self.refused.contains(&mark), "{mark} was refused and is in the log");
            let is_it = |handed: &Vec<TallyBody>| handed.first().and_then(crate::truth::mark) == Some(mark);
            let sent = self.sent.iter().find(|sent| is_it(&sent.handed));
            let sent = sent.unwrap_or_else(|| panic!("nobody has appended {mark}"));
            let whole = stamped(&log[..at], &sent.handed);
            assert_eq!(log.get(at..whole.len()), Some(&whole[at..]), "a batch is there in part");
            assert_eq!(placed.insert(mark, at as u64 + 1), None, "{mark} is there twice");
            at = whole.len();
        }
        placed
    }

    /// Looks at a log while appends may be in flight.
    pub fn check(&self, log: &[TallyBody]) {
        assert!(log.len() >= self.log.len(), "the log lost what was there: {} of {}", log.len(), self.log.len());
        let mut there = self.log.clone();
        for sent in self.redactions_in(log) {
            Self::redact(&mut there, &sent.redacts);
        }
        assert_eq!(log[..there.len()], there, "what was there has changed");
        if self.is_sure {
            assert!(log.len() <= self.predicted.len());
            assert_eq!(log, &self.predicted[..log.len()]);
        }
        self.placed(log);
    }

    /// The redactions whose outcome was not known, of which this log has the event: then it has all that they replaced.
    fn redactions_in(&self, log: &[TallyBody]) -> impl Iterator<Item = &Sent> {
        self.sent.iter().filter(|sent| !sent.redacts.is_empty() && log.contains(&sent.handed[0]))
    }

    /// Nothing is in flight: every answer is held against the log.
    pub fn resolve(&mut self, log: Vec<TallyBody>) {
        self.check(&log);
        let redacted: Vec<_> = self.redactions_in(&log).map(|sent| sent.redacts.clone()).collect();
        redacted.iter().for_each(|events| self.was_redacted(events));
        if self.is_sure {
            assert_eq!(log, self.predicted, "what must be there is not");
        }
        let placed = self.placed(&log);
        let settled = self.log.len() as u64;
        self.keys.retain(|_, (_, first)| *first <= settled);
        let mut written: HashSet<u64> = HashSet::new();
        let mut by_key: HashMap<u64, u64> = HashMap::new();
        for sent in &self.sent {
            let Some(mark) = sent.handed.first().and_then(mark) else { continue };
            let before = sent.key.and_then(|key| self.keys.get(&key)).filter(|(bodies, _)| {
                let is_gone = sent.key.is_some_and(|key| self.gone_keys.contains(&key));
                is_gone || *bodies == sent.handed
            });
            let first = placed.get(&mark).copied().or(before.map(|(_, first)| *first));
            if let (Some(key), Some(placed)) = (sent.key, placed.get(&mark)) {
                assert!(before.is_none() && !self.keys.contains_key(&key), "key {key} was written again");
                assert!(
                    by_key.insert(key, *placed).is_none_or(|other| other == *placed),
                    "key {key} was written twice"
                );
            }
            match &sent.answer {
                Some(Ok(appended)) => {
                    let told = first_of(appended).get();
                    assert_eq!(Some(told), first, "acknowledged and not there: {:?}", sent.handed);
                    for event in &appended.events {
                        assert!(is_now(event.body(), &log[position(event.id()) - 1]), "{event:?}");
                    }
                    written.insert(mark);
                }
                Some(Err(error)) if matches!(error.kind(), ErrorKind::OutcomeUnknown { .. }) => {
                    written.insert(mark);
                }
                Some(Err(_)) => {}
                None => {
                    written.insert(mark);
                }
            }
        }
        for sent in std::mem::take(&mut self.sent) {
            let Some(mark) = sent.handed.first().and_then(mark) else { continue };
            match placed.get(&mark) {
                Some(first) => {
                    assert!(written.contains(&mark), "answered {:?} and there all the same", sent.answer);
                    if let Some(key) = sent.key {
                        self.keys.insert(key, (sent.handed, *first));
                    }
                }
                None if !self.keys.values().any(|(bodies, _)| *bodies == sent.handed) => {
                    self.refused.insert(mark);
                }
                None => {}
            }
        }
        self.predicted.clone_from(&log);
        self.log = log;
    }
}

impl World {
    /// The log of a session as a store reads it, checked for its shape; `None` where a fault forbids it.
    async fn read_log(&self, session: &Session<Tally>) -> Option<Vec<TallyBody>> {
        let mut log: Vec<LogEvent<Tally>> = Vec::new();
        loop {
            let after = log.last().map_or(EventId::ZERO, |event| event.id());
            match soon(session.events_after(after, usize::MAX)).await {
                Ok(page) => {
                    log.extend(page.events);
                    if !page.more {
                        break;
                    }
                }
                Err(error) => {
                    assert!(self.is_stormy, "the log does not read: {error:?}");
                    return None;
                }
            }
        }
        for (event, id) in log.iter().zip(1..) {
            assert_eq!(event.id().get(), id, "ids are not dense");
        }
        assert!(log.is_sorted_by_key(|event| event.at()), "time runs backwards");
        Some(log.iter().map(shown).collect())
    }

    /// After each step: everything that is cheap of all sessions, and everything of one.
    /// The view of a session. In a storm the log of one that was emptied cannot always be read.
    pub async fn look(&self, session: &Session<Tally>) -> Option<Arc<View<Tally>>> {
        if !self.is_stormy {
            return Some(session.view().unwrap());
        }
        soon(session.current_view()).await.ok()
    }

    pub async fn compare(&mut self) {
        for store in 0..2 {
            for session in 0..3 {
                let Some(open) = &self.open[store][session] else { continue };
                let Some(view) = self.look(open).await else { continue };
                let truth = &self.truths[session];
                if truth.is_sure {
                    let shown = truth.predicted.get(..position(view.head())).expect("a view ahead of the log");
                    assert_eq!(*view.state(), folded(shown), "the view of session {session} in store {store}");
                    assert_core(view.core(), shown);
                }
            }
        }
        self.poll_followers();
        let at = At { store: self.dice.below(2) as usize, session: self.dice.below(3) as usize };
        let Some(open) = self.open[at.store][at.session].clone() else { return };
        let name = self.truths[at.session].name.clone();
        let Some(view) = self.look(&open).await else { return };
        let Some(log) = self.read_log(&open).await else { return };
        let truth = &self.truths[at.session];
        truth.check(&log);
        let shown = log.get(..position(view.head())).expect("the view shows what is not in the log");
        assert_eq!(*view.state(), folded(shown), "the view of {at:?}");
        assert_core(view.core(), shown);
        match soon(open.store().read_state(&name)).await {
            Ok(stored) => {
                // The view was taken later than the log was read.
                let head = position(stored.view.head());
                assert!(head >= log.len());
                if head == log.len() {
                    assert_eq!(*stored.view.state(), folded(&log), "the state that is read of {at:?}");
                    assert_core(stored.view.core(), &log);
                }
            }
            Err(error) => assert!(self.is_stormy, "{error:?}"),
        }
        match soon(open.store().list_sessions(None, 10)).await {
            Ok(rows) => {
                let row = rows.iter().find(|row| row.id == *open.id()).expect("a session is not listed");
                assert!(position(row.head) >= log.len());
                if position(row.head) == log.len() {
                    assert_described(&row.title, &row.labels, &log);
                }
            }
            Err(error) => assert!(self.is_stormy, "{error:?}"),
        }
        let truth = &self.truths[at.session];
        if truth.is_sure && !self.is_stormy && truth.owner == Owner::Store(at.store) {
            let (head, counters) = soon(open.counters()).await.unwrap();
            let truth = &self.truths[at.session];
            assert_eq!(position(head), truth.predicted.len(), "the last stamped event of {at:?}");
            assert_eq!(counters, folded(&truth.predicted).counters, "the counters of {at:?}");
        }
    }

    pub async fn settle_step(&mut self, session: usize) {
        if !self.truths[session].is_made || (self.stores[0].is_none() && self.stores[1].is_none()) {
            return self.hear_all(session).await;
        }
        self.settle(session).await;
    }

    /// Hears every answer; in a calm, everything is held against the log.
    pub async fn settle(&mut self, session: usize) {
        self.hear_all(session).await;
        if self.is_stormy {
            return;
        }
        let truth = &self.truths[session];
        if truth.owner == Owner::Unsure || !truth.is_sure || truth.sent.iter().any(|sent| sent.answer.is_none()) {
            self.probe(session).await;
        }
        let store = usize::from(self.stores[0].is_none());
        let open = self.session(At { store, session }).await.unwrap();
        let log = self.read_log(&open).await.unwrap();
        self.truths[session].resolve(log);
        if !self.truths[session].is_sure {
            self.truths[session].is_sure = true;
            self.truths[session].sure_from = self.next_mark;
        }
    }
}
