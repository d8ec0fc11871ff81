//! Goal: a claim asks the log, once each time, and is answered whatever the log says. Method: the state machine alone;
//! the answers of the log are made here.

use std::time::Instant;

use super::cold::{Emptying, Wanted};
use super::*;
use crate::agent::{Agent, AgentBody};
use crate::commit::{Follows, PersistError};
use crate::error::OwnerInfo;
use crate::memory::MemoryBlobs;
use crate::port::{LogError, LogKey, Refusal, Written};
use crate::session::permit::{InFlightCount, InFlightLimits};

struct Bench {
    state: SessionState<Agent>,
    config: StoreConfig,
    blobs: MemoryBlobs,
    metrics: Metrics,
}

fn log() -> LogMeta {
    LogMeta::root(LogKey(1), [1; 16])
}

impl Bench {
    /// A session that this store has made.
    fn new() -> Self {
        let metrics = Arc::new(Metrics::new());
        let kept = Arc::new(KeptLimits::new(&StoreConfig::memory(), Arc::clone(&metrics)));
        let state = SessionState::new(SessionId::new("s").unwrap(), log(), Some(Epoch(1)), 10, &metrics, &kept);
        let mut bench = Self {
            state,
            config: StoreConfig::memory(),
            blobs: MemoryBlobs::new(Default::default(), 1),
            metrics: Metrics::new(),
        };
        bench.state.started();
        bench
    }

    fn with<T>(&mut self, step: impl FnOnce(&mut SessionState<Agent>, &Env<'_>) -> T) -> T {
        let Self { state, config, blobs, metrics } = self;
        step(state, &Env { now: Timestamp::default(), config, blobs, metrics, store_closes: false })
    }

    fn claim(&mut self, claim: Claiming) -> oneshot::Receiver<Result<(), Error>> {
        let (reply, receiver) = oneshot::channel();
        self.with(|state, env| state.accept(Task::Claim(ClaimTask { claim, is_asked: false, reply }), env));
        receiver
    }

    fn fenced(&mut self, claim: Claiming, result: Result<Written, PersistError>) {
        self.with(|state, env| state.fenced(claim, result, env));
    }

    /// The claims that the log is asked for.
    fn asked(&mut self) -> Vec<Claiming> {
        let fence = |effect| match effect {
            Effect::Fence { claim } => claim,
            _ => panic!("not a fence"),
        };
        self.state.take_effects().into_iter().map(fence).collect()
    }
}

fn owned(epoch: Option<Epoch>) -> Result<Written, PersistError> {
    Ok(Written::Fenced { head: log().base, owned: epoch })
}

fn answer(receiver: &mut oneshot::Receiver<Result<(), Error>>) -> Option<Result<(), Error>> {
    receiver.try_recv().unwrap()
}

#[test]
fn a_claim_of_what_is_owned_looks_only_and_claims_what_was_taken_over() {
    let mut bench = Bench::new();
    let mut claim = bench.claim(Claiming::Yes);
    assert_eq!(bench.asked(), [Claiming::No]);
    bench.fenced(Claiming::No, owned(Some(Epoch(1))));
    assert!(answer(&mut claim).unwrap().is_ok());

    let mut old_owner = bench.claim(Claiming::Yes);
    assert_eq!(bench.asked(), [Claiming::No]);
    bench.fenced(Claiming::No, owned(None));
    assert_eq!(bench.asked(), [Claiming::Yes]);
    let owner = OwnerInfo {
        id: "x".to_owned(),
        process: 1,
        host: "h".to_owned(),
        since: Timestamp::default(),
        in_this_process: false,
    };
    bench.fenced(Claiming::Yes, Err(PersistError::Refused(Refusal::Owned(owner))));
    let error = answer(&mut old_owner).unwrap().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::OwnedElsewhere { .. }), "{error}");
    assert_eq!(bench.asked(), []);
}

#[test]
fn a_claim_waits_for_no_append_in_flight_and_a_take_over_does() {
    let mut bench = Bench::new();
    let append = crate::session::append::Append::new(AgentBody::StopRequested);
    let in_flight = permit();
    let (request, _receipt) =
        Request::new(append, SessionId::new("s").unwrap(), std::process::id(), Instant::now(), in_flight);
    bench.with(|state, env| state.accept(Task::Append(request), env));
    assert!(matches!(bench.state.take_effects()[..], [Effect::Persist { .. }]));
    assert!(answer(&mut bench.claim(Claiming::Yes)).unwrap().is_ok());
    assert_eq!(bench.asked(), []);
    assert!(answer(&mut bench.claim(Claiming::Force)).is_none());
    assert_eq!(bench.asked(), [Claiming::Force]);
}

#[test]
fn a_take_over_stays_when_the_claim_ahead_of_it_is_refused_and_is_asked_for_next() {
    let mut bench = Bench::new();
    let _mine = bench.claim(Claiming::Yes);
    bench.fenced(Claiming::No, owned(None));
    let mut taken = bench.claim(Claiming::Force);
    assert_eq!(bench.asked(), [Claiming::No, Claiming::Yes]);
    let owner = OwnerInfo {
        id: "x".to_owned(),
        process: 1,
        host: "h".to_owned(),
        since: Timestamp::default(),
        in_this_process: false,
    };
    bench.fenced(Claiming::Yes, Err(PersistError::Refused(Refusal::Owned(owner))));
    assert!(answer(&mut taken).is_none(), "it is not refused with the other");
    assert_eq!(bench.asked(), [Claiming::Force]);
    bench.fenced(Claiming::Force, owned(Some(Epoch(2))));
    assert!(answer(&mut taken).unwrap().is_ok());
}

/// A refused claim brings no head: whoever waits for the session to be brought up to date waits on.
#[test]
fn those_who_wait_to_be_up_to_date_are_not_told_by_a_refused_claim() {
    let mut bench = Bench::new();
    let _claim = bench.claim(Claiming::Yes);
    bench.fenced(Claiming::No, owned(None));
    let (sender, mut ready) = oneshot::channel();
    bench.state.when_ready(sender);
    assert_eq!(bench.asked(), [Claiming::No, Claiming::Yes]);
    let owner = OwnerInfo {
        id: "x".to_owned(),
        process: 1,
        host: "h".to_owned(),
        since: Timestamp::default(),
        in_this_process: false,
    };
    bench.fenced(Claiming::Yes, Err(PersistError::Refused(Refusal::Owned(owner))));
    assert!(ready.try_recv().unwrap().is_none());
    assert_eq!(bench.asked(), [Claiming::No]);
    bench.fenced(Claiming::No, owned(None));
    assert!(ready.try_recv().unwrap().unwrap().is_ok());
}

#[test]
fn a_take_over_that_waits_behind_a_look_is_still_asked_for() {
    let mut bench = Bench::new();
    let mut first = bench.claim(Claiming::Yes);
    let mut taken = bench.claim(Claiming::Force);
    assert_eq!(bench.asked(), [Claiming::No]);
    bench.fenced(Claiming::No, owned(Some(Epoch(1))));
    assert!(answer(&mut first).unwrap().is_ok());
    assert!(answer(&mut taken).is_none());
    assert_eq!(bench.asked(), [Claiming::Force]);
    bench.fenced(Claiming::Force, owned(Some(Epoch(2))));
    assert!(answer(&mut taken).unwrap().is_ok());
}

#[test]
fn a_claim_is_answered_when_the_log_cannot_be_read_and_asks_no_second_time() {
    for claim in [Claiming::Yes, Claiming::Force] {
        let mut bench = Bench::new();
        let mut refused = bench.claim(claim);
        let [asked] = bench.asked()[..] else { panic!("one question") };
        bench.fenced(asked, Err(PersistError::not_written(LogError::Io("gone".to_owned()))));
        assert!(answer(&mut refused).unwrap().is_err());
        assert_eq!(bench.asked(), []);
    }
}

#[test]
fn a_session_that_is_cold_is_small() {
    // Beside this: its actor, its name, its place in the registry. Of a host with 100,000 sessions each byte counts.
    let bytes = std::mem::size_of::<crate::session::entry::Entry<Agent>>();
    assert!(bytes <= 1024, "{bytes}");
}

/// What became of someone who wanted the view.
fn viewer() -> (ViewReply<Agent>, std::sync::mpsc::Receiver<Option<u64>>) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let reply: ViewReply<Agent> = Box::new(move |view| sender.send(view.ok().map(|view| view.head().get())).unwrap());
    (reply, receiver)
}

#[test]
fn who_waits_for_a_view_is_told_by_the_fold_or_let_go_and_an_old_fold_shows_nothing() {
    use std::sync::mpsc::TryRecvError;
    let mut bench = Bench::new();
    assert!(matches!(bench.state.empty(), Emptying::Emptied(_)));
    assert!(matches!(bench.state.empty(), Emptying::Gone));
    let (reply, first) = viewer();
    let Wanted::Wake { incarnation, head } = bench.state.view_wanted(reply) else { panic!("it was cold") };
    assert_eq!(head, EventId::ZERO);
    let (reply, second) = viewer();
    assert!(matches!(bench.state.view_wanted(reply), Wanted::Nothing));
    assert!(matches!(bench.state.empty(), Emptying::Busy));

    // The actor restarts, and asks again: the first fold tells nobody.
    bench.state.started();
    let recovered = Recovered::<Agent>::fresh(log(), 10);
    bench.state.woken(incarnation, Ok(&recovered));
    assert!(bench.state.published().view().is_none());
    assert_eq!(first.try_recv(), Err(TryRecvError::Empty));
    let again = bench.state.incarnation();
    bench.state.woken(again, Ok(&recovered));
    assert_eq!((first.try_recv(), second.try_recv()), (Ok(Some(0)), Ok(Some(0))));
    assert!(bench.state.published().view().is_some());
    assert!(matches!(bench.state.empty(), Emptying::Busy), "its actor has not heard");
    bench.with(|state, env| state.recovered(Ok(recovered), env));
    bench.state.take_effects();

    // Nobody will tell: whoever waits is let go, and reads by himself.
    assert!(matches!(bench.state.empty(), Emptying::Emptied(_)));
    let (reply, waits) = viewer();
    assert!(matches!(bench.state.view_wanted(reply), Wanted::Wake { .. }));
    bench.state.lost();
    assert_eq!(waits.try_recv(), Err(TryRecvError::Disconnected));
    let (reply, _) = viewer();
    assert!(matches!(bench.state.view_wanted(reply), Wanted::Read(_)));
    let (reply, told) = viewer();
    bench.state.recover();
    assert!(matches!(bench.state.view_wanted(reply), Wanted::Read(_)), "a fence needs the actor");
    assert_eq!(told.try_recv(), Err(TryRecvError::Disconnected));
}

/// A permit of a count of its own.
fn permit() -> Permit {
    Permit::take(&Arc::new(InFlightCount::new(Arc::default())), 0, InFlightLimits::of(&StoreConfig::memory())).unwrap()
}

fn append(bench: &mut Bench, key: Option<&str>) -> crate::session::append::Receipt<Agent> {
    let mut append = crate::session::append::Append::new(AgentBody::StopRequested);
    if let Some(key) = key {
        append = append.key(AppendKey::new(key).unwrap());
    }
    let permit = permit();
    let (request, receipt) =
        Request::new(append, SessionId::new("s").unwrap(), std::process::id(), Instant::now(), permit);
    bench.with(|state, env| state.accept(Task::Append(request), env));
    receipt
}

/// The log was searched for the key when it was still this store's own. Another store wrote the append meanwhile, and a
/// stored view is all that tells of it.
#[test]
fn a_key_is_searched_for_again_when_the_log_was_another_stores_meanwhile() {
    let mut bench = Bench::new();
    let refused = |refusal| Err(PersistError::Refused(refusal));
    let mut other_keys = KeyIndex::new(10);
    other_keys.insert(AppendKey::new("k").unwrap(), EventId::new(1));
    // Refused: the filter knows the key all the same, and so the retry has the log searched.
    let _first = append(&mut bench, Some("k"));
    bench.state.take_effects();
    let full = Err(PersistError::not_written(LogError::DiskFull));
    bench.with(|state, env| state.persisted(EventId::new(1), full, Follows::Nothing, env));
    let _other = append(&mut bench, None);
    let _retry = append(&mut bench, Some("k"));
    assert!(matches!(bench.state.take_effects()[..], [Effect::Persist { .. }, Effect::FindKey { .. }]));
    bench.with(|state, env| state.persisted(EventId::new(1), refused(Refusal::StaleEpoch), Follows::Nothing, env));
    bench.with(|state, env| state.key_found(Ok(None), env));
    assert_eq!(bench.asked(), [Claiming::Yes]);
    let head = Head { id: EventId::new(1), ..log().base };
    bench.fenced(Claiming::Yes, Ok(Written::Fenced { head, owned: Some(Epoch(3)) }));
    assert!(matches!(bench.state.take_effects()[..], [Effect::Recover { .. }]));
    let keys = KeyIndex::with_filter(10, other_keys.filter().cloned());
    let recovered = Recovered { head, keys, ..Recovered::<Agent>::fresh(log(), 10) };
    bench.with(|state, env| state.recovered(Ok(recovered), env));
    let asked = bench.state.take_effects();
    assert!(asked.iter().any(|effect| matches!(effect, Effect::FindKey { .. })));
    assert!(!asked.iter().any(|effect| matches!(effect, Effect::Persist { .. })), "it would be written twice");
}

/// To append again helps in none of these cases, which is what `NotWritten` says.
#[test]
fn an_append_to_a_log_that_is_gone_or_damaged_is_told_so() {
    let damaged = |event| Refusal::Damaged { event, reason: "zeroes".to_owned() };
    let refused = |refusal| PersistError::Refused(refusal);
    let corrupt = LogError::Corrupt("malformed".to_owned());
    let event = Some(EventId::new(3));
    for (error, wanted) in [
        (refused(Refusal::UnknownLog), "database is damaged: the log of session s is gone"),
        (refused(damaged(None)), "database is damaged: the log of session s is damaged: zeroes"),
        (refused(damaged(event)), "event 3 of session s is damaged: zeroes"),
        (refused(Refusal::Unavailable("no owners/7".to_owned())), "store is unavailable: no owners/7"),
        (PersistError::not_written(corrupt), "database is damaged: the log of session s cannot be read: malformed"),
        (
            PersistError::not_written(LogError::Io("gone".to_owned())),
            "nothing was written to session s, make the call again: gone",
        ),
        (
            refused(Refusal::HeadMoved { head: EventId::new(9) }),
            "nothing was written to session s, make the call again: another store",
        ),
    ] {
        let mut bench = Bench::new();
        let mut receipt = append(&mut bench, None);
        bench.state.take_effects();
        bench.with(|state, env| state.persisted(EventId::new(1), Err(error), Follows::Nothing, env));
        let told = futures::FutureExt::now_or_never(&mut receipt).unwrap().unwrap_err();
        assert!(told.to_string().starts_with(wanted), "{told}");
    }
}

#[test]
fn the_appends_of_one_group_are_folded_together_and_shown_with_its_last_answer() {
    for last_is_refused in [false, true] {
        let mut bench = Bench::new();
        let mut receipts: Vec<_> = (0..3).map(|_| append(&mut bench, None)).collect();
        bench.state.take_effects();
        let answered = |receipt: &mut _| futures::FutureExt::now_or_never(receipt);
        let written = || Ok(Written::Appended { raised: None });
        for id in [1, 2] {
            bench.with(|state, env| state.persisted(EventId::new(id), written(), Follows::More, env));
            assert_eq!(bench.state.published().view().unwrap().head(), EventId::ZERO);
            assert!(receipts.iter_mut().all(|receipt| answered(receipt).is_none()));
        }
        let last = if last_is_refused { Err(PersistError::Refused(Refusal::KeyTaken)) } else { written() };
        bench.with(|state, env| state.persisted(EventId::new(3), last, Follows::Nothing, env));
        let committed = if last_is_refused { 2 } else { 3 };
        assert_eq!(bench.state.published().view().unwrap().head(), EventId::new(committed));
        assert_eq!(bench.state.committed(), EventId::new(committed));
        let ids: Vec<_> = receipts.iter_mut().map(|receipt| Some(answered(receipt)?.ok()?.head.get())).collect();
        assert_eq!(ids, [Some(1), Some(2), (!last_is_refused).then_some(3)]);
    }
}

/// Those that were persisted wait for the rest of their group; a restart of the actor comes in between.
#[test]
fn a_session_that_recovers_within_a_group_answers_all_of_it_by_what_the_log_says() {
    let mut bench = Bench::new();
    let mut receipts: Vec<_> = (0..2).map(|_| append(&mut bench, None)).collect();
    bench.state.take_effects();
    let more = |state: &mut SessionState<Agent>, env: &Env<'_>| {
        state.persisted(EventId::new(1), Ok(Written::Appended { raised: None }), Follows::More, env);
    };
    bench.with(more);
    let heads: Vec<_> = bench.state.in_flight.heads();
    let chains: Vec<_> = bench.state.in_flight.chains();
    bench.state.started();
    assert_eq!(bench.asked(), [Claiming::No]);
    let head = Head { id: heads[0], chain: chains[0], at: Timestamp::default() };
    bench.fenced(Claiming::No, Ok(Written::Fenced { head, owned: Some(Epoch(1)) }));
    bench.state.take_effects();
    let chains = heads.iter().copied().zip(chains).take(1).collect();
    let recovered = Recovered { head, chains, ..Recovered::<Agent>::fresh(log(), 10) };
    bench.with(|state, env| state.recovered(Ok(recovered), env));
    let told = |receipt: &mut _| futures::FutureExt::now_or_never(receipt).unwrap();
    assert!(told(&mut receipts[0]).is_ok());
    assert!(matches!(told(&mut receipts[1]).unwrap_err().kind(), ErrorKind::NotWritten { .. }));
    // Nothing is left of the group: an answer is of its own append alone.
    let (mut next, mut behind) = (append(&mut bench, None), append(&mut bench, None));
    bench.state.take_effects();
    let written = Ok(Written::Appended { raised: None });
    bench.with(|state, env| state.persisted(EventId::new(2), written, Follows::Nothing, env));
    assert_eq!(told(&mut next).unwrap().head, EventId::new(2));
    assert!(futures::FutureExt::now_or_never(&mut behind).is_none());
}

#[test]
fn an_epoch_that_settling_has_raised_is_the_one_of_the_next_append() {
    let settled = [
        Ok(Written::Appended { raised: Some(Epoch(7)) }),
        Err(PersistError::NotWritten { error: LogError::Io("reset".to_owned()), raised: Some(Epoch(7)) }),
    ];
    for result in settled {
        let mut bench = Bench::new();
        let _first = append(&mut bench, None);
        bench.state.take_effects();
        bench.with(|state, env| state.persisted(EventId::new(1), result, Follows::Nothing, env));
        let _next = append(&mut bench, None);
        let effects = bench.state.take_effects();
        let [Effect::Persist { write: Write::Append { epoch, .. }, .. }] = &effects[..] else { panic!("one append") };
        assert_eq!(*epoch, Epoch(7));
    }
}
