//! Goal: a host can check its own session model with the testkit, and each thing that a model may get wrong is named.
//! Method: a small model of our own in one right and several wrong builds, run through the contract suite; the right
//! one also on a disk that loses its power and on one that fails.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use foldlog::agent::{Agent, AgentBody, Message, Step, Turn};
use foldlog::testkit::contract::{self, Claim};
use foldlog::testkit::{Dice, DiskError, Lasting, PowerCuts, TestDisk};
use foldlog::{
    BlobRef, Content, DecodeError, ErrorKind, Event, EventId, Json, RefuseByView, SessionModel, Store, StoreConfig,
    decode_body,
};
use serde::{Deserialize, Serialize};

/// What a build of the model gets wrong.
const NOTHING: u8 = 0;
const APPLY_COUNTS_ITS_CALLS: u8 = 1;
const COUNTERS_DISAGREE: u8 = 2;
const ENCODING_IS_LOOSE: u8 = 3;
const DECODE_TAKES_ALL: u8 = 4;
const REFERENCES_FORGOTTEN: u8 = 5;
const TYPE_IS_RESERVED: u8 = 6;
const CHECK_PANICS: u8 = 7;
const STAMP_MOVES_WHAT_IT_REFUSES: u8 = 8;
const CHECK_REFUSES_ALL: u8 = 9;
const DECODE_PANICS: u8 = 10;
const BODIES_HOLD_A_HASH_MAP: u8 = 11;
const DECODE_CHANGES_THE_BODY: u8 = 12;
const APPLY_DEPENDS_ON_CLONES: u8 = 13;
const STAMP_IS_RANDOM: u8 = 14;
const REFUSAL_IS_RANDOM: u8 = 15;
const REFUSE_PANICS: u8 = 16;

/// Orders of a shop, numbered from 1: the right model, and the one that gets something wrong.
struct ShopOf<const FLAWED: bool>;

type Shop = ShopOf<false>;

/// What the flawed one gets wrong now. One build for all flaws, since a build for each takes long to compile.
static FLAW: AtomicU8 = AtomicU8::new(NOTHING);

fn flaw<const FLAWED: bool>() -> u8 {
    if FLAWED { FLAW.load(Ordering::SeqCst) } else { NOTHING }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum ShopBody {
    Ordered { order: u64, item: String, quantity: u32 },
    Paid { order: u64 },
    Receipt { order: u64, scan: BlobRef },
    Loose(Loose),
    Tagged(HashMap<u32, u32>),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Loose {
    Number(u64),
}

#[derive(Debug, Default)]
struct ShopView {
    orders: Vec<(u64, String, u32)>,
    paid: Vec<u64>,
    scans: Vec<BlobRef>,
    clones: u64,
}

impl Clone for ShopView {
    fn clone(&self) -> Self {
        let (orders, paid, scans) = (self.orders.clone(), self.paid.clone(), self.scans.clone());
        Self { orders, paid, scans, clones: self.clones + 1 }
    }
}

impl PartialEq for ShopView {
    fn eq(&self, other: &Self) -> bool {
        (&self.orders, &self.paid, &self.scans) == (&other.orders, &other.paid, &other.scans)
    }
}

static CALLS: AtomicU64 = AtomicU64::new(0);

impl<const FLAWED: bool> SessionModel for ShopOf<FLAWED> {
    const NAME: &'static str = "shop";
    const SCHEMA: u16 = 1;
    const REFUSE_BY_VIEW: Option<RefuseByView<Self>> = Some(|_, _| match flaw::<FLAWED>() {
        REFUSAL_IS_RANDOM if CALLS.fetch_add(1, Ordering::SeqCst) % 2 == 1 => Err("no luck".to_owned()),
        REFUSE_PANICS => panic!("on purpose"),
        _ => Ok(()),
    });
    type Body = ShopBody;
    type View = ShopView;
    type Counters = u64;
    type Transient = ();

    fn event_type(body: &ShopBody) -> &'static str {
        match body {
            ShopBody::Ordered { .. } if flaw::<FLAWED>() == TYPE_IS_RESERVED => "foldlog.ordered",
            ShopBody::Ordered { .. } => "ordered",
            ShopBody::Paid { .. } => "paid",
            ShopBody::Receipt { .. } => "receipt",
            ShopBody::Loose(_) => "loose",
            ShopBody::Tagged(_) => "tagged",
        }
    }

    fn check(body: &ShopBody) -> Result<(), String> {
        match body {
            _ if flaw::<FLAWED>() == CHECK_REFUSES_ALL => Err("closed".to_owned()),
            ShopBody::Ordered { quantity: 7, .. } if flaw::<FLAWED>() == CHECK_PANICS => panic!("on purpose"),
            ShopBody::Ordered { quantity: 0, .. } => Err("nothing is ordered".to_owned()),
            _ => Ok(()),
        }
    }

    fn stamp(orders: &mut u64, _: EventId, body: &mut ShopBody) -> Result<(), String> {
        match body {
            ShopBody::Ordered { order, .. } => {
                *orders += 1;
                *order = *orders;
                if flaw::<FLAWED>() == STAMP_IS_RANDOM {
                    *order += CALLS.fetch_add(1, Ordering::SeqCst);
                }
            }
            ShopBody::Paid { order: 13 } => {
                *orders += u64::from(flaw::<FLAWED>() == STAMP_MOVES_WHAT_IT_REFUSES);
                return Err("order 13 is never paid".to_owned());
            }
            ShopBody::Paid { .. } if flaw::<FLAWED>() == COUNTERS_DISAGREE => *orders += 1,
            _ => {}
        }
        Ok(())
    }

    fn apply(view: &mut ShopView, event: &Event<Self>) {
        match event.body() {
            ShopBody::Ordered { order, item, quantity } => view.orders.push((*order, item.clone(), *quantity)),
            ShopBody::Paid { .. } if flaw::<FLAWED>() == APPLY_COUNTS_ITS_CALLS => {
                view.paid.push(CALLS.fetch_add(1, Ordering::SeqCst));
            }
            ShopBody::Paid { order } if flaw::<FLAWED>() == APPLY_DEPENDS_ON_CLONES => {
                view.paid.push(order + view.clones)
            }
            ShopBody::Paid { order } => view.paid.push(*order),
            ShopBody::Receipt { scan, .. } => view.scans.push(*scan),
            ShopBody::Loose(_) | ShopBody::Tagged(_) => {}
        }
    }

    fn counters(view: &ShopView) -> u64 {
        view.orders.len() as u64
    }

    fn blob_refs(body: &ShopBody, each: &mut dyn FnMut(&BlobRef)) {
        if let ShopBody::Receipt { scan, .. } = body
            && flaw::<FLAWED>() != REFERENCES_FORGOTTEN
        {
            each(scan);
        }
    }

    fn decode(event_type: &str, schema: u16, bytes: &[u8]) -> Result<ShopBody, DecodeError> {
        let is_known = matches!(event_type, "ordered" | "foldlog.ordered" | "paid" | "receipt" | "loose" | "tagged");
        if (!is_known || schema != 1) && flaw::<FLAWED>() != DECODE_TAKES_ALL {
            return Err(DecodeError::Unknown);
        }
        match decode_body(bytes) {
            Ok(ShopBody::Paid { .. }) if flaw::<FLAWED>() == DECODE_CHANGES_THE_BODY => Ok(ShopBody::Paid { order: 0 }),
            Err(_) if flaw::<FLAWED>() == DECODE_PANICS => panic!("on purpose"),
            decoded => decoded,
        }
    }
}

fn any_body<const FLAWED: bool>(dice: &mut Dice) -> ShopBody {
    match dice.below(6) {
        0 if flaw::<FLAWED>() == ENCODING_IS_LOOSE => ShopBody::Loose(Loose::Number(dice.next_u64())),
        0 if flaw::<FLAWED>() == BODIES_HOLD_A_HASH_MAP => ShopBody::Tagged((0..9).map(|n| (n, n)).collect()),
        0 | 1 => ShopBody::Paid { order: dice.below(20) },
        2 => ShopBody::Receipt { order: 1, scan: contract::blob(dice) },
        _ => ShopBody::Ordered { order: 0, item: "tea".to_owned(), quantity: dice.below(9) as u32 },
    }
}

/// The claim that a model with this flaw breaks.
fn broken(flaw: u8) -> Claim {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _only = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    FLAW.store(flaw, Ordering::SeqCst);
    let broken = contract::run::<ShopOf<true>>(4711, any_body::<true>).expect_err("it is wrong");
    assert_eq!((broken.model, broken.seed), ("shop", Some(4711)));
    assert!(broken.to_string().starts_with("model shop breaks the contract: "), "{broken}");
    broken.claim
}

#[test]
fn a_right_model_keeps_the_contract_and_the_report_says_what_was_checked() {
    let report = contract::run::<Shop>(4711, any_body::<false>).unwrap();
    assert_eq!(report.event_types.keys().copied().collect::<Vec<_>>(), ["ordered", "paid", "receipt"]);
    let appended: u64 = report.event_types.values().sum();
    assert!(report.refused > 0 && report.references > 0 && report.damaged > 0, "{report:?}");
    assert_eq!(report.bodies, appended + report.refused);
    assert_eq!(contract::run::<Shop>(4711, any_body::<false>).unwrap(), report, "the same seed, the same run");
}

#[test]
fn the_agent_model_keeps_the_contract() {
    let report = contract::run::<Agent>(4711, |dice| match dice.below(6) {
        0 => AgentBody::TurnStarted(Turn::default()),
        1 => AgentBody::StepStarted(Step::default()),
        2 => AgentBody::Custom { kind: "note".to_owned(), json: Json::parse("{\"a\":1}").unwrap() },
        3 => AgentBody::MessageAppended(Message::user(Content::Blob(contract::blob(dice)))),
        _ => AgentBody::MessageAppended(Message::user(format!("message {}", dice.below(100)))),
    });
    let report = report.unwrap();
    assert!(report.event_types.len() >= 3, "{report:?}");
}

/// What a shop does in a day.
async fn a_day(config: StoreConfig) -> Result<(), foldlog::Error> {
    let store = Store::<Shop>::open_model(config).await?;
    let session = store.open_session("tuesday").await?;
    session.append(ShopBody::Ordered { order: 0, item: "tea".to_owned(), quantity: 2 })?.await?;
    let scan = store.put_bytes(b"paid in cash".to_vec()).await?;
    session.append_batch(vec![ShopBody::Paid { order: 1 }, ShopBody::Receipt { order: 1, scan }])?.await?;
    store.close().await
}

#[actix::test]
async fn a_power_cut_at_any_moment_of_a_day_loses_nothing_of_it() {
    let report = PowerCuts::<Shop>::new(ShopBody::Paid { order: 1 }).run(a_day).await.unwrap();
    assert_eq!(report.losses, [], "{report}");
    assert!(report.cuts > 100 && report.events_checked > 0, "{report}");
}

#[actix::test]
async fn a_full_disk_is_told_and_the_shop_goes_on_when_there_is_room() {
    let disk = TestDisk::new().unwrap();
    let store = Store::<Shop>::open_model(disk.config()).await.unwrap();
    let session = store.open_session("tuesday").await.unwrap();
    disk.fail(0, DiskError::Full, Lasting::UntilCleared);
    let error = session.append(ShopBody::Paid { order: 1 }).unwrap().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::DiskFull), "{error:?}");
    assert!(session.view().unwrap().paid.is_empty());

    let failed = disk.clear();
    assert!(!failed.is_empty());
    session.append(ShopBody::Paid { order: 1 }).unwrap().await.unwrap();
    assert_eq!(session.view().unwrap().paid, [1]);
    store.close().await.unwrap();
}

#[actix::test]
async fn the_suite_runs_inside_an_actix_system_too() {
    contract::run::<Shop>(1, any_body::<false>).unwrap();
}

#[test]
fn an_apply_that_depends_on_more_than_its_events_is_found() {
    assert_eq!(broken(APPLY_COUNTS_ITS_CALLS), Claim::Deterministic);
}

#[test]
fn an_apply_that_depends_on_how_events_were_batched_is_found() {
    assert_eq!(broken(APPLY_DEPENDS_ON_CLONES), Claim::OneView);
}

#[test]
fn counters_that_disagree_with_the_fold_are_found() {
    assert_eq!(broken(COUNTERS_DISAGREE), Claim::Counters);
}

#[test]
fn a_serde_shape_that_does_not_come_back_is_found() {
    assert_eq!(broken(ENCODING_IS_LOOSE), Claim::StableEncoding);
    assert_eq!(broken(BODIES_HOLD_A_HASH_MAP), Claim::StableEncoding);
}

#[test]
fn a_decode_that_swallows_what_it_does_not_know_is_found() {
    assert_eq!(broken(DECODE_TAKES_ALL), Claim::UnknownEvents);
}

#[test]
fn a_decode_that_changes_the_body_is_found() {
    assert_eq!(broken(DECODE_CHANGES_THE_BODY), Claim::Decode);
}

#[test]
fn a_reference_that_is_not_named_is_found() {
    assert_eq!(broken(REFERENCES_FORGOTTEN), Claim::BlobRefs);
}

#[test]
fn a_reserved_event_type_is_found() {
    assert_eq!(broken(TYPE_IS_RESERVED), Claim::EventType);
}

#[test]
fn a_function_that_panics_is_found() {
    assert_eq!(broken(CHECK_PANICS), Claim::NoPanic);
    assert_eq!(broken(REFUSE_PANICS), Claim::NoPanic);
    assert_eq!(broken(DECODE_PANICS), Claim::NoPanic);
}

#[test]
fn a_stamp_that_depends_on_more_than_its_counters_is_found() {
    assert_eq!(broken(STAMP_MOVES_WHAT_IT_REFUSES), Claim::Stamp);
    assert_eq!(broken(STAMP_IS_RANDOM), Claim::Stamp);
}

#[test]
fn a_refusal_that_depends_on_more_than_the_view_is_found() {
    assert_eq!(broken(REFUSAL_IS_RANDOM), Claim::Refusals);
}

#[test]
fn a_generator_whose_bodies_are_refused_is_found() {
    assert_eq!(broken(CHECK_REFUSES_ALL), Claim::Plausible);
}

#[test]
fn a_generator_whose_session_ends_early_is_told_what_was_refused_first_and_why() {
    let mut made = 0;
    let broken = contract::run::<Ending>(4711, |_| {
        made += 1;
        if made == 3 { EndingBody::Closed } else { EndingBody::Replied }
    });
    let told = broken.expect_err("most are refused").to_string();
    for part in
        ["125 of 128 bodies were refused", "REFUSE_BY_VIEW refused body 4, Replied: it is closed", "after most others"]
    {
        assert!(told.contains(part), "no {part:?} in: {told}");
    }
    let mut made = 0;
    let report = contract::run::<Ending>(4711, |_| {
        made += 1;
        if made == 120 { EndingBody::Closed } else { EndingBody::Replied }
    });
    assert_eq!(report.expect("it ends late").refused, 8);
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum EndingBody {
    Replied,
    Closed,
}

/// A model with an end.
struct Ending;

impl SessionModel for Ending {
    const NAME: &'static str = "ending";
    const SCHEMA: u16 = 1;
    const REFUSE_BY_VIEW: Option<RefuseByView<Self>> =
        Some(|is_closed, _| if *is_closed { Err("it is closed".to_owned()) } else { Ok(()) });

    type Body = EndingBody;
    type View = bool;
    type Counters = ();
    type Transient = ();

    fn event_type(body: &EndingBody) -> &'static str {
        match body {
            EndingBody::Replied => "replied",
            EndingBody::Closed => "closed",
        }
    }

    fn apply(is_closed: &mut bool, event: &Event<Self>) {
        *is_closed |= *event.body() == EndingBody::Closed;
    }

    fn decode(event_type: &str, schema: u16, bytes: &[u8]) -> Result<EndingBody, DecodeError> {
        match (event_type, schema) {
            ("replied" | "closed", 1) => decode_body(bytes),
            _ => Err(DecodeError::Unknown),
        }
    }
}
