//! Goal: a model may refuse a body because of its view, and what is judged is the order that the log will have: with
//! everything ahead, also what is still in flight. Method: tickets that are opened, answered and closed, beside a list
//! of them that takes one body after the other.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use foldlog::testkit::{Dice, Fault, Faults, Port, contract};
use foldlog::{
    Append, DecodeError, Describe, Error, ErrorKind, Event, EventId, Receipt, RefuseByView, Restart, Session,
    SessionModel, Store, decode_body,
};
use serde::{Deserialize, Serialize};

use crate::common::*;

on_both_media!(
    a_body_that_the_view_refuses_is_told_why_and_nothing_of_its_append_is_written,
    what_is_in_flight_counts_and_a_refusal_is_told_when_that_is_durable,
    a_describe_in_flight_changes_nothing_of_what_is_judged,
    a_refusal_that_rests_on_an_append_that_was_not_written_is_not_told,
    a_refusal_behind_an_append_whose_outcome_is_unknown_is_not_told,
    a_retry_gets_the_first_result_though_its_body_would_be_refused_now,
    a_recovered_session_and_an_emptied_one_judge_by_what_the_log_holds,
    a_panic_of_the_function_refuses_that_append_alone,
    the_answers_are_those_of_one_body_after_the_other,
    with_commits_that_fail_the_answers_are_still_those_of_one_body_after_the_other,
);

struct Tickets;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum TicketBody {
    /// The number is minted.
    Opened(u64),
    Replied(u64),
    Closed(u64),
    Reopened(u64),
    /// Makes the function panic, while [`PANICS`] is on.
    Trap,
}

use TicketBody::{Closed, Opened, Reopened, Replied};

/// Whether each ticket is open.
type Desk = BTreeMap<u64, bool>;

static PANICS: AtomicBool = AtomicBool::new(true);

fn refuse(desk: &Desk, body: &TicketBody) -> Result<(), String> {
    match body {
        Opened(ticket) if desk.contains_key(ticket) => Err(format!("ticket {ticket} is there")),
        Replied(ticket) | Closed(ticket) if desk.get(ticket) != Some(&true) => {
            Err(format!("ticket {ticket} is not open"))
        }
        Reopened(ticket) if desk.get(ticket) != Some(&false) => Err(format!("ticket {ticket} is not closed")),
        TicketBody::Trap => {
            assert!(!PANICS.load(Ordering::SeqCst), "on purpose");
            Ok(())
        }
        _ => Ok(()),
    }
}

fn apply(desk: &mut Desk, body: &TicketBody) {
    match body {
        Opened(ticket) | Reopened(ticket) => drop(desk.insert(*ticket, true)),
        Closed(ticket) => drop(desk.insert(*ticket, false)),
        Replied(_) | TicketBody::Trap => {}
    }
}

impl SessionModel for Tickets {
    const NAME: &'static str = "tickets";
    const SCHEMA: u16 = 1;
    const REFUSE_BY_VIEW: Option<RefuseByView<Self>> = Some(refuse);
    type Body = TicketBody;
    type View = Desk;
    type Counters = u64;
    type Transient = ();

    fn event_type(body: &TicketBody) -> &'static str {
        match body {
            Opened(_) => "opened",
            Replied(_) => "replied",
            Closed(_) => "closed",
            Reopened(_) => "reopened",
            TicketBody::Trap => "trap",
        }
    }
    fn stamp(tickets: &mut u64, _: EventId, body: &mut TicketBody) -> Result<(), String> {
        if let Opened(ticket) = body {
            *tickets += 1;
            *ticket = *tickets;
        }
        Ok(())
    }
    fn apply(desk: &mut Desk, event: &Event<Self>) {
        apply(desk, event.body());
    }
    fn counters(desk: &Desk) -> u64 {
        desk.len() as u64
    }
    fn decode(event_type: &str, schema: u16, bytes: &[u8]) -> Result<TicketBody, DecodeError> {
        match (event_type, schema) {
            ("opened" | "replied" | "closed" | "reopened" | "trap", 1) => decode_body(bytes),
            _ => Err(DecodeError::Unknown),
        }
    }
}

async fn open(disk: &TestDisk) -> (Faults, Store<Tickets>, Session<Tickets>) {
    let faults = Faults::default();
    let store = disk.try_open_model(|config| *config = faults.watch(config.clone())).await.unwrap();
    let session = store.open_session("s").await.unwrap();
    session.append(Opened(0)).unwrap().await.unwrap();
    (faults, store, session)
}

fn send(session: &Session<Tickets>, bodies: &[TicketBody]) -> Receipt<Tickets> {
    session.append_batch(bodies.to_vec()).unwrap()
}

async fn a_body_that_the_view_refuses_is_told_why_and_nothing_of_its_append_is_written(disk: TestDisk) {
    let (_, store, session) = open(&disk).await;
    append(&session, Closed(1)).await.unwrap();
    assert_refused!(
        append(&session, Replied(1)).await,
        ErrorKind::RefusedByView { reason } if reason == "ticket 1 is not open"
    );
    // The id that the stamp has given is the one that is judged, and it is given again.
    assert_refused!(send(&session, &[Opened(0), Replied(2), Replied(1)]).await, ErrorKind::RefusedByView { .. });
    assert_refused!(send(&session, &[Reopened(1), Closed(1), Replied(1)]).await, ErrorKind::RefusedByView { .. });
    assert_head(&session, 2).await;
    send(&session, &[Opened(0), Replied(2), Reopened(1), Replied(1)]).await.unwrap();
    assert_head(&session, 6).await;
    store.close().await.unwrap();
}

async fn what_is_in_flight_counts_and_a_refusal_is_told_when_that_is_durable(disk: TestDisk) {
    let (faults, store, session) = open(&disk).await;
    let mut held = faults.hold(Port::Commit);
    let closing = send(&session, &[Closed(1)]);
    soon(held.reached()).await;
    let mut late = send(&session, &[Replied(1)]);
    let opening = send(&session, &[Opened(0), Opened(0)]);
    let replying = send(&session, &[Replied(3), Closed(3)]);
    let mut late_too = send(&session, &[Replied(3)]);
    // Everything is stamped by now, and nobody is told of a closing that a crash could take back.
    assert_eq!(session.counters().await.unwrap(), (at(6), 3));
    assert!(futures::poll!(&mut late).is_pending() && futures::poll!(&mut late_too).is_pending());
    held.release();
    assert_eq!(soon(closing).await.unwrap().head, at(2));
    assert_refused!(soon(late).await, ErrorKind::RefusedByView { reason } if reason == "ticket 1 is not open");
    assert_eq!(soon(opening).await.unwrap().head, at(4));
    assert_eq!(soon(replying).await.unwrap().head, at(6));
    assert_refused!(soon(late_too).await, ErrorKind::RefusedByView { reason } if reason == "ticket 3 is not open");
    assert_head(&session, 6).await;
    store.close().await.unwrap();
}

async fn a_describe_in_flight_changes_nothing_of_what_is_judged(disk: TestDisk) {
    let (faults, store, session) = open(&disk).await;
    let mut held = faults.hold(Port::Commit);
    let titled = session.describe(Describe::new().title("one")).unwrap();
    soon(held.reached()).await;
    let closing = send(&session, &[Closed(1)]);
    let labelled = session.describe(Describe::new().label("a", "1")).unwrap();
    let late = send(&session, &[Replied(1)]);
    let opening = send(&session, &[Opened(0), Replied(2)]);
    assert_eq!(session.counters().await.unwrap(), (at(6), 2));
    held.release();
    for (receipt, head) in [(titled, 2), (closing, 3), (labelled, 4), (opening, 6)] {
        assert_eq!(soon(receipt).await.unwrap().head, at(head));
    }
    assert_refused!(soon(late).await, ErrorKind::RefusedByView { reason } if reason == "ticket 1 is not open");
    assert_eq!(session.view().unwrap().core().title, "one");
    assert_head(&session, 6).await;
    store.close().await.unwrap();
}

async fn a_refusal_that_rests_on_an_append_that_was_not_written_is_not_told(disk: TestDisk) {
    let (faults, store, session) = open(&disk).await;
    for fault in [Fault::DiskFull, Fault::CommitLost, Fault::Panic] {
        let mut held = faults.hold(Port::Commit);
        faults.fail_next(Port::Commit, fault);
        let closing = send(&session, &[Closed(1)]);
        soon(held.reached()).await;
        let late = send(&session, &[Replied(1)]);
        session.counters().await.unwrap();
        held.release();
        assert!(soon(closing).await.is_err(), "{fault:?}");
        assert_refused!(soon(late).await, ErrorKind::NotWritten { .. });
        append(&session, Replied(1)).await.unwrap();
    }
    assert_head(&session, 4).await;
    store.close().await.unwrap();
}

async fn a_refusal_behind_an_append_whose_outcome_is_unknown_is_not_told(disk: TestDisk) {
    let (faults, store, session) = open(&disk).await;
    let mut held = faults.hold(Port::Commit);
    faults.fail_next(Port::Commit, Fault::CommitKept);
    faults.fail_next(Port::Settle, Fault::Panic);
    let closing = send(&session, &[Closed(1)]);
    soon(held.reached()).await;
    let late = send(&session, &[Replied(1)]);
    session.counters().await.unwrap();
    held.release();
    assert_refused!(soon(closing).await, ErrorKind::OutcomeUnknown { .. });
    assert_refused!(soon(late).await, ErrorKind::NotWritten { .. });
    // It was written, as the log says by now.
    assert_refused!(append(&session, Replied(1)).await, ErrorKind::RefusedByView { .. });
    assert_head(&session, 2).await;
    store.close().await.unwrap();
}

async fn a_retry_gets_the_first_result_though_its_body_would_be_refused_now(disk: TestDisk) {
    let (faults, store, session) = open(&disk).await;
    let closing = || session.append_with(Append::new(Closed(1)).key(key("close"))).unwrap();
    let mut held = faults.hold(Port::Commit);
    let first = closing();
    soon(held.reached()).await;
    let joined = closing();
    held.release();
    assert!(!soon(first).await.unwrap().repeated);
    assert!(soon(joined).await.unwrap().repeated);
    assert!(soon(closing()).await.unwrap().repeated);
    let other = session.append_with(Append::new(Closed(1)).key(key("other"))).unwrap();
    assert_refused!(soon(other).await, ErrorKind::RefusedByView { .. });
    assert_head(&session, 2).await;
    store.close().await.unwrap();
}

async fn a_recovered_session_and_an_emptied_one_judge_by_what_the_log_holds(disk: TestDisk) {
    let (faults, store, session) = open(&disk).await;
    // Its actor restarts while a closing and a refusal are on their way.
    let mut held = faults.hold(Port::Commit);
    let closing = send(&session, &[Closed(1)]);
    soon(held.reached()).await;
    let late = send(&session, &[Replied(1)]);
    session.counters().await.unwrap();
    let restarting = session.address().unwrap().send(Restart);
    held.release();
    soon(restarting).await.unwrap();
    soon(closing).await.unwrap();
    assert_refused!(soon(late).await, ErrorKind::RefusedByView { .. });
    assert_refused!(append(&session, Replied(1)).await, ErrorKind::RefusedByView { .. });
    store.empty_idle_sessions();
    assert_refused!(append(&session, Replied(1)).await, ErrorKind::RefusedByView { .. });
    append(&session, Reopened(1)).await.unwrap();
    store.close().await.unwrap();

    let store = disk.open_model::<Tickets>().await;
    let session = store.resume_session("s").await.unwrap();
    assert_refused!(append(&session, Reopened(1)).await, ErrorKind::RefusedByView { .. });
    append(&session, Replied(1)).await.unwrap();
    assert_head(&session, 4).await;
    store.close().await.unwrap();
}

async fn a_panic_of_the_function_refuses_that_append_alone(disk: TestDisk) {
    let (_, store, session) = open(&disk).await;
    assert_refused!(
        append(&session, TicketBody::Trap).await,
        ErrorKind::BodyRefused { reason } if reason.contains("REFUSE_BY_VIEW")
    );
    append(&session, Replied(1)).await.unwrap();
    assert_head(&session, 2).await;
    store.close().await.unwrap();
}

async fn the_answers_are_those_of_one_body_after_the_other(disk: TestDisk) {
    random_appends(disk, None).await;
}

async fn with_commits_that_fail_the_answers_are_still_those_of_one_body_after_the_other(disk: TestDisk) {
    random_appends(disk, Some(4)).await;
}

/// One commit in so many fails, and what was not written counts as not asked.
async fn random_appends(disk: TestDisk, one_fails_in: Option<u64>) {
    let seed = seed();
    let mut dice = Dice::new(seed);
    let (faults, store, session) = open(&disk).await;
    if let Some(one_in) = one_fails_in {
        for (fault, salt) in [(Fault::DiskFull, 1), (Fault::CommitKept, 2), (Fault::CommitLost, 3)] {
            faults.fail_randomly(Port::Commit, fault, 3 * one_in, seed ^ salt);
        }
    }
    let mut desk = Desk::from([(1, true)]);
    let (mut refused, mut behind_another) = (0, 0);
    for _ in 0..40 {
        let asked: Vec<_> = (0..1 + dice.below(12))
            .map(|_| {
                let bodies: Vec<_> = (0..1 + dice.below(3)).map(|_| any_body(&mut dice)).collect();
                (send(&session, &bodies), bodies)
            })
            .collect();
        for (number, (receipt, bodies)) in asked.into_iter().enumerate() {
            let answer = soon(receipt).await.map(|appended| appended.events.len());
            if let Err(error) = &answer
                && matches!(error.kind(), ErrorKind::NotWritten { .. } | ErrorKind::DiskFull)
            {
                assert!(one_fails_in.is_some(), "{error}");
                continue;
            }
            let expected = one_after_the_other(&mut desk, &bodies);
            let found = answer.map(drop).map_err(reason);
            assert_eq!(found, expected, "{bodies:?}");
            refused += u32::from(expected.is_err());
            behind_another += u32::from(expected.is_err() && number > 0);
        }
    }
    assert!(refused > 20 && behind_another > 10, "{refused} refused, {behind_another} of them behind another append");
    faults.clear();
    append(&session, Opened(0)).await.unwrap();
    let tickets = desk.len() as u64 + 1;
    desk.insert(tickets, true);
    assert_eq!(*session.view().unwrap().state(), desk);
    let head = session.view().unwrap().head().get();
    assert_head(&session, head).await;
    soon(store.close()).await.unwrap();
}

fn reason(error: Error) -> String {
    match error.kind() {
        ErrorKind::RefusedByView { reason } => reason.clone(),
        _ => panic!("{error:?}"),
    }
}

fn any_body(dice: &mut Dice) -> TicketBody {
    let ticket = 1 + dice.below(4);
    match dice.below(8) {
        0 => Opened(0),
        1 | 2 => Closed(ticket),
        3 => Reopened(ticket),
        _ => Replied(ticket),
    }
}

/// All of the bodies, or none.
fn one_after_the_other(desk: &mut Desk, bodies: &[TicketBody]) -> Result<(), String> {
    let mut next = desk.clone();
    for body in bodies {
        let mut body = body.clone();
        if let Opened(ticket) = &mut body {
            *ticket = next.len() as u64 + 1;
        }
        refuse(&next, &body)?;
        apply(&mut next, &body);
    }
    *desk = next;
    Ok(())
}

#[test]
fn a_model_that_refuses_by_its_view_keeps_the_contract() {
    let report =
        contract::run::<Tickets>(4711, |dice| if dice.one_in(3) { Opened(0) } else { any_body(dice) }).unwrap();
    assert!(report.refused > 5 && report.event_types.len() == 4, "{report:?}");
}
