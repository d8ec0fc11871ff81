//! Goal: each append gets an answer that it may get. Method: appends of random shapes, and what is known about each of
//! them.

use foldlog::testkit::{Call, Fault, Group, Outcome, Port};
use foldlog::{Append, Appended, BlobRef, Describe, Digest, Error, ErrorKind, EventId, Session};

use crate::common::{Tally, TallyBody, all_events, dangling, eventually, key, soon};
use crate::truth::{Known, Must, Owner, Sent, described, first_of, is_now, is_own, label_of, mark, position, shown};
use crate::world::{At, IN_FLIGHT_BYTES_SMALL, World};

impl World {
    pub fn mark(&mut self) -> u64 {
        self.next_mark += 1;
        self.next_mark
    }

    fn marked(&mut self) -> TallyBody {
        let mark = self.mark();
        if self.dice.one_in(2) { TallyBody::Added(mark) } else { TallyBody::named(&mark.to_string()) }
    }

    /// An append of a random shape, often one that was made before.
    fn make(&mut self, session: usize) -> (Vec<TallyBody>, Option<u64>, Option<u64>) {
        let truth = &self.truths[session];
        let mut used: Vec<_> = truth.keys.iter().map(|(key, (bodies, _))| (*key, bodies.clone())).collect();
        used.extend(truth.sent.iter().filter_map(|sent| Some((sent.key?, sent.handed.clone()))));
        used.sort_by_key(|(key, _)| *key);
        let head = truth.predicted.len() as u64;
        let retry = if self.dice.one_in(5) { self.dice.pick(&used).cloned() } else { None };
        let expected = match self.dice.below(10) {
            0 => Some(head),
            1 => Some(self.dice.below(head + 3)),
            _ => None,
        };
        if let Some(key) = self.dice.pick(&truth.old_keys).copied()
            && self.dice.one_in(20)
        {
            // Of a deleted session: to the new one it is new.
            let is_known = used.iter().any(|(used, _)| *used == key);
            let bodies = vec![self.marked()];
            return (bodies, Some(key).filter(|_| !is_known), expected);
        }
        if let Some((key, bodies)) = retry {
            let bodies = if self.dice.one_in(4) { vec![self.marked()] } else { bodies };
            return (bodies, Some(key), expected);
        }
        if self.dice.one_in(30) {
            return (Vec::new(), None, expected);
        }
        if self.dice.one_in(6) {
            let key = if self.dice.one_in(3) { Some(self.mark()) } else { None };
            return (vec![described(self.mark())], key, expected);
        }
        let mut bodies = vec![self.marked()];
        let more = if self.dice.one_in(3) { self.dice.below(4) } else { 0 };
        for _ in 0..more {
            let body = match self.dice.below(12) {
                0..5 => match self.blobs.pick(&mut self.dice) {
                    Some(blob) => TallyBody::Attached(blob),
                    None => self.marked(),
                },
                5 => TallyBody::Attached(self.dangling()),
                6 => TallyBody::Refused,
                _ => self.marked(),
            };
            bodies.push(body);
        }
        let key = if self.dice.one_in(3) { Some(self.mark()) } else { None };
        (bodies, key, expected)
    }

    fn dangling(&mut self) -> BlobRef {
        BlobRef { digest: Digest::from_bytes([self.dice.below(200) as u8; 32]), ..dangling() }
    }

    pub async fn append(&mut self, at: At) {
        let Some(session) = self.session(at).await else { return };
        let (handed, key, expected) = self.make(at.session);
        let claims = self.truths[at.session].owner == Owner::Nobody;
        if !self.send(at, &session, handed, key, expected) {
            return;
        }
        let last = self.truths[at.session].sent.len() - 1;
        match self.dice.below(8) {
            // Which store wins a log that nobody owns must not depend on threads.
            _ if claims => self.hear(at.session, last).await,
            0..4 => self.hear(at.session, last).await,
            4 => self.truths[at.session].sent[last].receipt = None,
            _ => {}
        }
    }

    /// Whether it was accepted.
    pub fn send(
        &mut self,
        at: At,
        session: &Session<Tally>,
        handed: Vec<TallyBody>,
        number: Option<u64>,
        expected: Option<u64>,
    ) -> bool {
        let (number_key, expected_head) = (number.map(|number| key(&number.to_string())), expected.map(EventId::new));
        let receipt = match &handed[..] {
            [TallyBody::Noted(mark)] => {
                self.figures.described += 1;
                let mut describe = Describe::new().title(mark).label(label_of(mark), mark);
                describe = number_key.into_iter().fold(describe, Describe::key);
                session.describe(expected_head.into_iter().fold(describe, Describe::expect_head))
            }
            bodies => {
                let append = number_key.into_iter().fold(Append::batch(bodies.to_vec()), Append::key);
                session.append_with(expected_head.into_iter().fold(append, Append::expect_head))
            }
        };
        let short: Vec<_> = handed.iter().map(short).collect();
        let is_refused = handed.contains(&TallyBody::Refused);
        let receipt = match receipt {
            Ok(receipt) => receipt,
            Err(error) => {
                self.trace.add(format!("refused {at:?} {short:?}: {error}"));
                let is_right = match error.kind() {
                    ErrorKind::BodyRefused { .. } => is_refused,
                    ErrorKind::Busy { limit, .. } => [4, IN_FLIGHT_BYTES_SMALL as u64].contains(limit),
                    _ => false,
                };
                assert!(is_right, "{error:?}");
                return false;
            }
        };
        assert!(!is_refused, "accepted what check refuses");
        let (truth, blobs) = (&mut self.truths[at.session], &self.blobs);
        let is_stored = |body: &TallyBody| match body {
            TallyBody::Attached(blob) => blobs.known(blob.digest),
            _ => Known::There,
        };
        let must = truth.predict(at.store, &handed, number, expected, is_stored);
        self.trace.add(format!("append {at:?} {short:?} key {number:?} after {expected:?}: {must:?}"));
        if let Some(mark) = handed.first().and_then(mark) {
            truth.refused.remove(&mark);
        }
        let (receipt, answer) = (Some(receipt), None);
        truth.sent.push(Sent {
            handed,
            key: number,
            expected,
            redacts: Vec::new(),
            store: at.store,
            must,
            receipt,
            answer,
        });
        true
    }

    /// Waits for one answer, and looks whether it is one that may be given.
    pub async fn hear(&mut self, session: usize, index: usize) {
        let Some(receipt) = self.truths[session].sent[index].receipt.take() else { return };
        let answer = soon(receipt).await;
        let sent = &self.truths[session].sent[index];
        self.trace.add(format!("heard {:?}: {}", sent.handed.iter().map(short).collect::<Vec<_>>(), told(&answer)));
        self.judge(session, sent, &answer);
        let store = sent.store;
        if let Ok(appended) = &answer {
            self.figures.written += u64::from(!appended.repeated);
            self.figures.repeated += u64::from(appended.repeated);
            if let Some(open) = self.open[store][session].clone() {
                // An empty batch is told the last stamped event, which may still be refused.
                let view = self.look(&open).await;
                let is_empty = self.truths[session].sent[index].handed.is_empty();
                let is_folded = is_empty || view.is_none_or(|view| view.head() >= appended.head);
                assert!(is_folded, "answered before it was folded");
                if !self.is_stormy && self.dice.one_in(2) {
                    let log = all_events(&open).await;
                    for event in &appended.events {
                        let found = log.get(position(event.id()) - 1).expect("acknowledged and not in the log");
                        assert!(found.id() == event.id() && is_now(event.body(), &shown(found)), "{event:?} {found:?}");
                    }
                }
            }
        }
        if let Err(error) = &answer {
            self.figures.refused += 1;
            self.figures.unknown += u64::from(matches!(error.kind(), ErrorKind::OutcomeUnknown { .. }));
            self.figures.owned_elsewhere += u64::from(matches!(error.kind(), ErrorKind::OwnedElsewhere { .. }));
        }
        self.truths[session].sent[index].answer = Some(answer);
    }

    pub async fn hear_one(&mut self, session: usize) {
        let waiting: Vec<_> = self.waiting(session);
        if let Some(index) = self.dice.pick(&waiting).copied() {
            self.hear(session, index).await;
        }
    }

    /// In random order.
    pub async fn hear_all(&mut self, session: usize) {
        while !self.waiting(session).is_empty() {
            self.hear_one(session).await;
        }
    }

    fn waiting(&self, session: usize) -> Vec<usize> {
        let sent = &self.truths[session].sent;
        (0..sent.len()).filter(|index| sent[*index].receipt.is_some()).collect()
    }

    fn judge(&self, session: usize, sent: &Sent, answer: &Result<Appended<Tally>, Error>) {
        let truth = &self.truths[session];
        let at = |first: u64, appended: &Appended<Tally>| {
            let from = usize::try_from(first).unwrap() - 1;
            let known =
                sent.key.and_then(|key| truth.keys.get(&key)).map_or(sent.handed.len(), |(bodies, _)| bodies.len());
            let mut of_model = truth.predicted[from..from + known].iter().filter(|body| !is_own(body));
            let are_right =
                appended.events.iter().all(|event| of_model.next().is_some_and(|now| is_now(event.body(), now)));
            first_of(appended).get() == first
                && appended.head.get() == (from + known) as u64
                && are_right
                && of_model.next().is_none()
        };
        let known_by_now = truth.known(&sent.handed, sent.key);
        let must = match (&sent.must, answer) {
            (Must::OwnedElsewhereOr(_), answer) if is_owned_elsewhere(answer) => &Must::OwnedElsewhere,
            (Must::OwnedElsewhereOr(known), _) => known,
            // Its owner may have written an append with the same key before the other store looked for that.
            (Must::OwnedElsewhere, answer) if !is_owned_elsewhere(answer) => {
                known_by_now.as_ref().unwrap_or(&Must::OwnedElsewhere)
            }
            (must, _) => must,
        };
        let is_right = match (must, answer) {
            (Must::Any, Ok(appended)) => {
                sent.expected.is_none() || appended.repeated || sent.key.is_some() || {
                    let before = if sent.handed.is_empty() { appended.head } else { first_of(appended).prev() };
                    Some(before.get()) == sent.expected
                }
            }
            (Must::Any, Err(error)) => self.may_be(sent, error),
            // It is heard after an append that was sent with it has failed.
            (_, Err(error)) if !truth.is_sure => self.may_be(sent, error),
            (_, Ok(_)) if !truth.is_sure => true,
            (Must::Write { first }, Ok(appended)) => !appended.repeated && at(*first, appended),
            (Must::Repeat { first }, Ok(appended)) => at(*first, appended),
            (Must::Nothing { head }, Ok(appended)) => appended.events.is_empty() && appended.head.get() == *head,
            (Must::KeyReused { first }, Err(error)) => {
                matches!(error.kind(), ErrorKind::KeyReused { first: found, .. } if found.get() == *first)
            }
            (Must::HeadMoved { actual }, Err(error)) => {
                matches!(error.kind(), ErrorKind::HeadMoved { actual: found, .. } if found.get() == *actual)
            }
            (Must::Dangling, Err(error)) => matches!(error.kind(), ErrorKind::DanglingRef { .. }),
            (Must::OwnedElsewhere, answer) => is_owned_elsewhere(answer),
            _ => false,
        };
        assert!(is_right, "wanted {:?} for {:?}, got {}", sent.must, sent.handed, told(answer));
    }

    /// Whether an append may fail like this while things go wrong.
    fn may_be(&self, sent: &Sent, error: &Error) -> bool {
        match error.kind() {
            // A store that meets nothing but a foreign lock waits for it.
            ErrorKind::NotWritten { .. } | ErrorKind::DiskFull | ErrorKind::Unavailable { .. }
                if self.is_stormy && !self.is_restarted && self.stores[1].is_none() && self.was_only_busy() =>
            {
                false
            }
            ErrorKind::NotWritten { .. } | ErrorKind::OwnedElsewhere { .. } => true,
            ErrorKind::DiskFull | ErrorKind::Unavailable { .. } | ErrorKind::Io { .. } => self.is_stormy,
            ErrorKind::HeadMoved { .. } => sent.expected.is_some(),
            ErrorKind::KeyReused { .. } => sent.key.is_some(),
            ErrorKind::DanglingRef { .. } => sent.handed.iter().any(|body| matches!(body, TallyBody::Attached(_))),
            ErrorKind::OutcomeUnknown { .. } => self.is_stormy && self.was_unreadable(),
            _ => false,
        }
    }

    fn was_only_busy(&self) -> bool {
        let operations = self.faults.operations();
        !operations.iter().any(|operation| match operation.outcome {
            Outcome::Injected(fault) => fault != Fault::Busy,
            outcome => outcome == Outcome::Failed,
        })
    }

    /// Whether since the last calm a fault struck that keeps a store from reading its log.
    fn was_unreadable(&self) -> bool {
        self.faults.operations().iter().any(|operation| {
            matches!(operation.outcome, Outcome::Injected(_))
                && match &operation.call {
                    // Where a recovery begins.
                    Call::Commit { group } => {
                        group.iter().all(|write| matches!(write, Group::Fence { claims: false, .. }))
                    }
                    call => matches!(
                        call.port(),
                        Port::OpenWriter | Port::OpenReader | Port::Settle | Port::ChainAt | Port::Page
                    ),
                }
        })
    }

    /// Appends until the answer tells who owns the session. Everything that was sent before is decided then.
    pub async fn probe(&mut self, session: usize) {
        let mut store = usize::from(self.stores[0].is_none());
        for _ in 0..6 {
            let at = At { store, session };
            let open = self.session(at).await.expect("a session opens in a calm");
            let body = vec![TallyBody::Added(self.mark())];
            // What was in flight in the storm, transients included, may still fill the queue.
            eventually("the queue has room", || self.send(at, &open, body.clone(), None, None)).await;
            self.hear_all(session).await;
            match &self.truths[session].sent.last().unwrap().answer {
                Some(Ok(_)) => return self.truths[session].owner = Owner::Store(store),
                Some(Err(error)) => match error.kind() {
                    ErrorKind::OwnedElsewhere { .. } => {
                        assert!(self.stores[1 - store].is_some(), "owned by a store that is closed");
                        store = 1 - store;
                    }
                    ErrorKind::NotWritten { .. } => {}
                    _ => panic!("{error:?}"),
                },
                None => panic!("not heard"),
            }
        }
        panic!("session {session} does not go on");
    }
}

pub fn short(body: &TallyBody) -> String {
    match body {
        TallyBody::Added(n) => format!("+{n}"),
        TallyBody::Named { name, .. } => format!("'{name}'"),
        TallyBody::Attached(blob) => format!("blob {:.4}", blob.digest.to_string()),
        other => format!("{other:?}"),
    }
}

fn told(answer: &Result<Appended<Tally>, Error>) -> String {
    match answer {
        Ok(appended) => {
            let first = appended.events.first().map(|event| event.id().get());
            format!("{first:?}..{}{}", appended.head, if appended.repeated { " repeated" } else { "" })
        }
        Err(error) => format!("{error:?}"),
    }
}

fn is_owned_elsewhere(answer: &Result<Appended<Tally>, Error>) -> bool {
    matches!(answer, Err(error) if matches!(error.kind(), ErrorKind::OwnedElsewhere { .. }))
}
