//! Goal: what is deleted stays away, and what is redacted stays redacted, for every handle and subscriber. Method:
//! sessions are deleted and made anew under their names, events are redacted, also while things fail and by either
//! store.

use foldlog::{Error, ErrorKind, EventId, Item, Redact, Session};
use futures::StreamExt;

use crate::common::{Tally, TallyBody, soon};
use crate::truth::{Must, Owner, Sent, Truth, redacted, redaction};
use crate::world::{At, World};

/// How many handles of deleted sessions are kept.
const GHOSTS_MAX: usize = 4;

/// A handle of a session that was deleted.
pub struct Ghost {
    pub store: usize,
    session: Session<Tally>,
}

fn is_deleted(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::SessionDeleted { .. })
}

impl World {
    /// Hears everything that was sent, and has it decided.
    pub async fn settle_made(&mut self) {
        for session in 0..self.truths.len() {
            if self.truths[session].is_made {
                self.settle(session).await;
            }
        }
    }

    pub async fn delete(&mut self, at: At) {
        let store = self.stores[at.store].clone().unwrap();
        let truth = &self.truths[at.session];
        let (name, is_made, owner) = (truth.name.clone(), truth.is_made, truth.owner);
        let is_sure = truth.is_sure && !self.is_stormy && owner != Owner::Unsure;
        let answer = soon(store.delete_session(&name)).await;
        self.trace.add(format!("delete {at:?}: {answer:?}"));
        match answer {
            Ok(()) => assert!(!is_sure || is_made && owner != Owner::Store(1 - at.store), "{owner:?}"),
            Err(error) => match error.kind() {
                ErrorKind::OwnedElsewhere { .. } => {
                    return assert!(!is_sure || owner == Owner::Store(1 - at.store), "{owner:?}");
                }
                ErrorKind::UnknownSession { .. } if !is_made => return,
                _ => {
                    assert!(self.is_stormy, "{error:?}");
                    if !self.delete_again(at, &name).await {
                        return;
                    }
                }
            },
        }
        self.was_deleted(at).await;
    }

    /// Whether a deletion of unknown outcome is there in the end: the same call tells.
    async fn delete_again(&mut self, at: At, name: &str) -> bool {
        self.figures.deletions_unsure += 1;
        self.faults.clear();
        for _ in 0..6 {
            let store = self.stores[at.store].clone().unwrap();
            match soon(store.delete_session(name)).await {
                Ok(()) => return true,
                Err(error) => match error.kind() {
                    ErrorKind::UnknownSession { .. } => return true,
                    ErrorKind::OwnedElsewhere { .. } => return false,
                    _ => {}
                },
            }
        }
        panic!("{name} can neither be deleted nor not");
    }

    async fn was_deleted(&mut self, at: At) {
        self.figures.deleted += 1;
        for store in [at.store, 1 - at.store] {
            let Some(session) = self.open[store][at.session].take() else { continue };
            let ghost = Ghost { store, session };
            self.look_at_ghost(&ghost).await;
            self.end_followers(At { store, ..at }).await;
            self.ghosts.push(ghost);
        }
        for sent in &mut self.truths[at.session].sent {
            let Some(receipt) = sent.receipt.take() else { continue };
            if let Err(error) = soon(receipt).await {
                let is_unknown = matches!(error.kind(), ErrorKind::OutcomeUnknown { .. });
                assert!(!is_unknown || self.is_stormy, "{error:?}");
            }
        }
        self.truths[at.session].deleted(self.is_stormy);
        while self.ghosts.len() > GHOSTS_MAX {
            self.ghosts.remove(0);
        }
    }

    /// Subscribers of a deleted session end, and are told why.
    async fn end_followers(&mut self, at: At) {
        while let Some(index) = self.followers.iter().position(|follower| follower.at == at) {
            let mut follower = self.followers.swap_remove(index);
            if self.is_stormy {
                continue;
            }
            let mut last = None;
            while let Some(item) = soon(follower.stream.next()).await {
                last = if let Item::Failed(error) = &item { Some(is_deleted(error)) } else { None };
                follower.take(item, &self.truths[at.session]);
            }
            assert!(last == Some(true) || follower.is_tried, "it ended without the reason");
            follower.compare(&self.truths[at.session]);
        }
    }

    pub async fn look_at_ghosts(&mut self) {
        for ghost in std::mem::take(&mut self.ghosts) {
            if self.stores[ghost.store].is_some() {
                self.look_at_ghost(&ghost).await;
                self.ghosts.push(ghost);
            }
        }
    }

    /// A handle never gets at a later session of the name.
    async fn look_at_ghost(&self, ghost: &Ghost) {
        let appended = async { ghost.session.append(TallyBody::Added(1))?.await };
        let error = soon(appended).await.expect_err("it was deleted, and takes an append");
        assert!(is_deleted(&error) || self.is_stormy, "{error:?}");
        let error =
            soon(ghost.session.events_after(EventId::ZERO, 10)).await.expect_err("it was deleted, and has events");
        assert!(is_deleted(&error) || self.is_stormy, "{error:?}");
    }

    /// Waits until nothing of what was deleted is left.
    pub async fn erase(&mut self, store: usize) {
        let store = self.stores[store].clone().unwrap();
        let erased = soon(store.erase_deleted()).await;
        self.trace.add(format!("erase: {erased:?}"));
        let is_alone = self.stores.iter().flatten().count() == 1;
        match erased {
            // Another store may be reading.
            Ok(erased) => assert!(erased.pending == 0 || self.is_stormy || !is_alone, "{erased:?}"),
            Err(error) => assert!(self.is_stormy, "{error:?}"),
        }
    }

    pub async fn redact(&mut self, at: At) {
        let Some(session) = self.session(at).await else { return };
        let truth = &self.truths[at.session];
        let (count, owner) = (truth.log.len(), truth.owner);
        if count == 0 {
            return;
        }
        let is_sure = truth.is_sure && !self.is_stormy && owner != Owner::Unsure;
        let mut events: Vec<_> =
            (0..1 + self.dice.below(3)).map(|_| 1 + self.dice.below(count as u64) as usize).collect();
        events.sort_unstable();
        events.dedup();
        let mark = self.mark();
        let ids = events.iter().map(|event| EventId::new(*event as u64));
        let redact = Redact::new(ids).reason(mark.to_string()).replace(|event| redacted(event.body()));
        let answer = soon(session.redact(redact)).await;
        self.trace.add(format!("redact {events:?} of {at:?} by {mark}: {answer:?}"));
        self.forget_what_was_given(at.session, &events);
        let truth = &mut self.truths[at.session];
        let mut must = Must::Any;
        match &answer {
            Ok(redaction) => {
                let event = redaction.event.get();
                assert!(!is_sure || owner != Owner::Store(1 - at.store) && event == truth.predicted.len() as u64 + 1);
                truth.was_redacted(&events);
                Truth::redact(&mut truth.predicted, &events);
                must = Must::Write { first: event };
                self.figures.redacted += 1;
            }
            Err(error) => match error.kind() {
                ErrorKind::OwnedElsewhere { .. } => {
                    return assert!(!is_sure || owner == Owner::Store(1 - at.store), "{owner:?}");
                }
                ErrorKind::NotWritten { .. } => return assert!(!is_sure, "{error:?}"),
                ErrorKind::Busy { .. } => return,
                _ => {
                    assert!(self.is_stormy, "{error:?}");
                    self.figures.redactions_unsure += 1;
                }
            },
        }
        if is_sure {
            truth.owner = Owner::Store(at.store);
            truth.predicted.push(redaction(mark));
        }
        let handed = vec![redaction(mark)];
        let (key, expected, receipt, sent_answer) = (None, None, None, None);
        truth.sent.push(Sent {
            handed,
            key,
            expected,
            redacts: events,
            store: at.store,
            must,
            receipt,
            answer: sent_answer,
        });
        self.tell_of_redaction(at.session).await;
    }

    /// Other stores learn of a redaction at their next read of the log.
    async fn tell_of_redaction(&mut self, session: usize) {
        self.faults.clear();
        for store in 0..2 {
            if let Some(open) = &self.open[store][session] {
                let read = soon(open.recovery()).await;
                self.trace.add(format!("told store {store}: {read:?} {:?}", open.view().map(|view| view.head())));
                assert!(read.is_ok() || self.is_stormy, "{read:?}");
            }
        }
    }
}
