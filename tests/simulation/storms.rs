//! Goal: what was acknowledged is there after any faults. Method: plan faults, end them, and hold commits between.

use foldlog::testkit::{Call, Fault, Group, Outcome, Port};
use foldlog::{EventId, Restart};
use futures::FutureExt;

use crate::common::{TallyBody, key, soon};
use crate::truth::{Owner, assert_core, folded, position};
use crate::world::{At, World};

impl World {
    /// A session's actor dies while what it has sent is not committed: the log answers, and not the actor.
    pub async fn restart_in_a_storm(&mut self, at: At) {
        let Some(open) = self.session(at).await else { return };
        let fault = *self.dice.pick(&[Fault::CommitLost, Fault::Io, Fault::CommitKept, Fault::Busy]).unwrap();
        self.trace.add(format!("restart {at:?} after {fault:?}"));
        self.faults.fail_next(Port::Commit, fault);
        self.stormy();
        for _ in 0..2 {
            let body = vec![TallyBody::Added(self.mark())];
            self.send(at, &open, body, None, None);
        }
        self.restart_session(at).await;
    }

    /// Plans a fault. From now on nothing is sure.
    pub fn storm(&mut self) {
        let port = match self.dice.below(3) {
            0 => *self.dice.pick(Port::ALL).unwrap(),
            _ => Port::Commit,
        };
        let can_wait = matches!(port, Port::Commit | Port::OpenWriter);
        let fault = loop {
            let faults = [Fault::DiskFull, Fault::Io, Fault::Busy, Fault::CommitLost, Fault::CommitKept, Fault::Panic];
            let fault = *self.dice.pick(&faults).unwrap();
            if can_wait || fault != Fault::Busy {
                break fault;
            }
        };
        // An append that waits for a lock which is never let go would wait for ever.
        let how = if fault == Fault::Busy { self.dice.below(7) } else { self.dice.below(10) };
        self.trace.add(format!("storm: {fault:?} at {port:?}, {how}"));
        match how {
            0..5 => self.faults.fail_next(port, fault),
            5 => self.faults.fail_nth(port, 2 + self.dice.below(4), fault),
            6 => {
                let (one_in, seed) = (2 + self.dice.below(3), self.dice.next_u64());
                self.faults.fail_randomly(port, fault, one_in, seed);
            }
            _ => self.faults.fail_all(port, fault),
        }
        self.stormy();
    }

    fn stormy(&mut self) {
        self.is_stormy = true;
        self.figures.storms += 1;
        for truth in &mut self.truths {
            truth.is_sure = false;
            truth.owner = Owner::Unsure;
        }
        self.try_followers();
    }

    /// The faults end: everything goes on, and is compared in full.
    pub async fn calm(&mut self) {
        self.trace.add("calm".to_owned());
        self.faults.clear();
        if self.stores[0].is_none() {
            self.open_store(0).await;
        }
        if self.stores[0].is_none() {
            // The last fault struck the opening.
            self.open_store(0).await;
        }
        for session in 0..3 {
            self.hear_all(session).await;
            for store in 0..2 {
                // What was asked while things failed may be answered now.
                if self.stores[store].is_some()
                    && let Some(open) = self.session(At { store, session }).await
                {
                    let _ = soon(open.recovery()).await;
                }
            }
        }
        for operation in self.faults.operations() {
            self.figures.injected += u64::from(matches!(operation.outcome, Outcome::Injected(_)));
        }
        self.faults.forget();
        self.is_stormy = false;
        self.is_restarted = false;
        for session in 0..3 {
            self.settle(session).await;
            for store in 0..2 {
                if self.stores[store].is_none() {
                    continue;
                }
                let open = self.session(At { store, session }).await.expect("a session opens in a calm");
                let report = soon(open.recovery()).await.expect("a session recovers in a calm");
                let (truth, view) = (&self.truths[session], open.view().unwrap());
                assert_eq!(position(view.head()), truth.log.len(), "the view of session {session} in store {store}");
                assert_eq!(*view.state(), folded(&truth.log));
                assert_core(view.core(), &truth.log);
                assert_eq!(report.condition, foldlog::Condition::Ready);
            }
        }
        self.settle_blobs().await;
        self.look_at_ghosts().await;
        self.catch_up().await;
    }

    /// Until COMMIT has returned, nobody sees an event and nobody is told of it.
    pub async fn hold_a_commit(&mut self, at: At) {
        if self.is_stormy {
            return;
        }
        for session in 0..3 {
            if self.truths[session].is_made {
                self.settle(session).await;
            }
        }
        let Some(open) = self.session(at).await else { return };
        let truth = &self.truths[at.session];
        if !truth.is_sure || truth.owner != Owner::Store(at.store) {
            return;
        }
        self.trace.add(format!("hold a commit of {at:?}"));
        self.figures.held += 1;
        let log = truth.log.clone();
        let (body, mark) = (vec![TallyBody::Added(self.mark())], self.mark());
        let number = Some(mark);
        // This commit and no other: a store also commits the rows of stored views, and nobody asked for those.
        let wanted = key(&mark.to_string());
        let mut held = self.faults.hold_where(Port::Commit, move |call| {
            let is_wanted = |write: &Group| matches!(write, Group::Append { key, .. } if *key == Some(wanted.clone()));
            matches!(call, Call::Commit { group } if group.iter().any(is_wanted))
        });
        assert!(self.send(at, &open, body.clone(), number, None));
        soon(held.reached()).await;
        // It must not overtake the append.
        self.notify(at);
        let first = self.truths[at.session].sent.len() - 1;
        let receipt = self.truths[at.session].sent[first].receipt.as_mut().unwrap();
        assert!(receipt.now_or_never().is_none(), "answered before the commit");
        let page = soon(open.events_after(EventId::new(log.len() as u64), 10)).await.unwrap();
        assert_eq!(page.events.len(), 0, "read before the commit");
        assert_eq!(*open.view().unwrap().state(), folded(&log), "shown before the commit");
        let stored = soon(open.store().read_state(open.id().as_str())).await.unwrap();
        assert_eq!(position(stored.view.head()), log.len(), "read before the commit");
        for _ in 0..3 {
            let predicted = std::mem::replace(&mut self.truths[at.session].predicted, log.clone());
            self.poll_followers();
            self.truths[at.session].predicted = predicted;
        }
        match self.dice.below(4) {
            0 => drop(self.send(at, &open, body, number, None)),
            1 => soon(open.address().unwrap().send(Restart)).await.unwrap(),
            _ => {}
        }
        held.release();
        self.settle(at.session).await;
    }
}
