//! The contract suite: everything that foldlog expects of a [`SessionModel`], checked for a model of the host's own.

mod golden;
mod pure;
mod stores;

use std::collections::BTreeMap;
use std::fmt;

use crate::id::{BlobEncoding, BlobKind, BlobRef, Digest};
use crate::model::SessionModel;
use crate::testkit::Dice;
pub use golden::golden_bytes;

/// How many bodies are made.
const BODIES: u64 = 128;
/// What the digests of [`blob`] begin with.
const BLOB_MARK: [u8; 8] = *b"contract";

/// What foldlog expects of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Claim {
    /// Most of what the generator makes must pass the model's `check`, `stamp` and `REFUSE_BY_VIEW`.
    #[error("the generator makes bodies that the model takes, at least every other one")]
    Plausible,
    /// No function of the model panics.
    #[error("no function of the model panics")]
    NoPanic,
    /// A body comes back from its bytes, and equal bodies have equal bytes: no untagged enums, no skipped fields, no
    /// hash maps.
    #[error("a body comes back from its bytes, and equal bodies have equal bytes")]
    StableEncoding,
    /// The event type is not reserved and depends on nothing but the kind of the body.
    #[error("the event type is not reserved, and is the same after stamping and decoding")]
    EventType,
    /// `decode` gives what was encoded.
    #[error("decode gives the body that was encoded")]
    Decode,
    /// `decode` says `Unknown` for types and schemas that this build does not know.
    #[error("decode says Unknown for every type and schema that this build does not know")]
    UnknownEvents,
    /// `stamp` depends on the counters alone, and leaves them when it refuses.
    #[error("stamp depends on the counters alone, and leaves them as they are when it refuses")]
    Stamp,
    /// `REFUSE_BY_VIEW` depends on the view and the body alone.
    #[error("REFUSE_BY_VIEW says the same of equal views and equal bodies, every time")]
    Refusals,
    /// `stamp` leaves the counters equal to what `apply` makes of them, also where foldlog's own events take the ids in
    /// between.
    #[error("stamp leaves the counters equal to what apply and counters make of them")]
    Counters,
    /// The same events give the same view.
    #[error("apply gives the same view for the same events, every time")]
    Deterministic,
    /// A view comes back from its bytes, which are the same for equal views, and goes on as if it had never been bytes.
    #[error("a view comes back from its own bytes, and equal views have equal bytes")]
    ViewBytes,
    /// `blob_refs` names every blob of a body, before and after stamping.
    #[error("blob_refs names every blob that a body references")]
    BlobRefs,
    /// A reference to a blob that is not there is refused.
    #[error("a body that references a blob which is not stored is refused")]
    DanglingRefs,
    /// The view does not depend on how events were batched, nor on who folded them when, nor on foldlog's own events
    /// between them but for the ids that these take.
    #[error("the view is the same live, in batches, after a restart, after a reopening and in another store")]
    OneView,
    /// A retry under the same append key writes nothing.
    #[error("a retry under the same append key gives the first result and writes nothing")]
    AppendKeys,
    /// An append with a stale head changes nothing.
    #[error("an append with a stale head is refused and changes nothing")]
    StaleHeads,
    /// A body keeps its bytes for as long as the schema is the same, and bytes of older schemas decode: see
    /// [`golden_bytes`].
    #[error("a body keeps its bytes at the same schema, and what was written at older schemas decodes")]
    GoldenBytes,
    /// Every body has its line in the file of golden bytes. A line that is missing is added: look at the file, and
    /// commit it.
    #[error("every body has its line in the file of golden bytes")]
    GoldenLines,
}

/// A claim that does not hold for a model.
#[derive(Clone, PartialEq, Eq)]
pub struct Broken {
    /// The claim.
    pub claim: Claim,
    /// The model's name.
    pub model: &'static str,
    /// What was found.
    pub found: String,
    /// The seed with which [`run`] finds the same again; `None` for what [`golden_bytes`] has found.
    pub seed: Option<u64>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { claim, model, found, seed } = self;
        if *claim == Claim::GoldenLines {
            return write!(f, "golden bytes of model {model}: {found}");
        }
        write!(f, "model {model} breaks the contract: {claim}. Found")?;
        if let Some(seed) = seed {
            write!(f, " with seed {seed}")?;
        }
        write!(f, ": {found}")
    }
}

// `unwrap` prints this text, which is for people.
impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Broken {}

/// What was checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// How many bodies were made.
    pub bodies: u64,
    /// How many of them the model's `check`, `stamp` or `REFUSE_BY_VIEW` refused.
    pub refused: u64,
    /// How often each event type was made. A type that is missing here was not checked.
    pub event_types: BTreeMap<&'static str, u64>,
    /// How many references to blobs were found.
    pub references: u64,
    /// How many damaged bodies `decode` was given.
    pub damaged: u64,
}

/// A reference to a blob that no store has, for bodies that a generator makes. The suite recognises such a reference in
/// the bytes of a body.
#[must_use]
pub fn blob(dice: &mut Dice) -> BlobRef {
    let mut digest = [0; 32];
    for (byte, mark) in digest.iter_mut().zip(BLOB_MARK) {
        *byte = mark;
    }
    for byte in digest.iter_mut().skip(BLOB_MARK.len()) {
        *byte = dice.below(256) as u8;
    }
    let digest = Digest::from_bytes(digest);
    BlobRef { digest, bytes: dice.below(1 << 20), kind: BlobKind::Bytes, encoding: BlobEncoding::Plain }
}

/// Checks a model with bodies that `body` makes: plausible ones, of every kind that there is, in an order that could
/// be. Blobs come from [`blob`].
///
/// All bodies go into one session, and at most half of them may be refused. A model with an end, such as a ticket that
/// is closed and takes no more replies, refuses everything behind it: let the generator make such a body once, after
/// most others. It is a closure, so it may count.
///
/// ```
/// # use foldlog::agent::{AgentBody, Message};
/// let mut made = 0;
/// let body = move |_: &mut foldlog::testkit::Dice| {
///     made += 1;
///     if made == 120 { AgentBody::Stopped } else { AgentBody::MessageAppended(Message::user("hello")) }
/// };
/// # foldlog::testkit::contract::run::<foldlog::agent::Agent>(1, body).unwrap();
/// ```
///
/// It calls the model's functions, then appends the bodies to stores in memory and in a temporary directory. The same
/// seed makes the same bodies. It works inside and outside of an actix system, and blocks the thread for some seconds.
///
/// # Errors
/// The first claim that does not hold.
///
/// # Examples
/// ```
/// use foldlog::agent::{Agent, AgentBody, Message};
/// use foldlog::testkit::contract;
///
/// # fn main() -> Result<(), contract::Broken> {
/// let report = contract::run::<Agent>(4711, |dice| {
///     AgentBody::MessageAppended(Message::user(format!("hello {}", dice.below(10))))
/// })?;
/// assert_eq!(report.event_types["message_appended"], report.bodies);
/// # Ok(()) }
/// ```
pub fn run<M: SessionModel>(seed: u64, mut body: impl FnMut(&mut Dice) -> M::Body + Send) -> Result<Report, Broken> {
    let mut dice = Dice::new(seed);
    let mut report = Report::default();
    let bodies: Vec<M::Body> = (0..BODIES).map(|_| body(&mut dice)).collect();
    let checked = pure::check::<M>(bodies, &mut dice, &mut report).and_then(|folded| {
        // On a thread of its own, so that the stores never wait for the thread that waits for them.
        std::thread::scope(|scope| {
            let joined = scope.spawn(|| stores::check::<M>(&folded, &mut dice)).join();
            joined.unwrap_or_else(|_| Err((Claim::NoPanic, "a call of a store panicked".to_owned())))
        })
    });
    checked.map(|()| report).map_err(|(claim, found)| Broken { claim, model: M::NAME, found, seed: Some(seed) })
}

/// A claim that does not hold, and what was found.
type Finding = (Claim, String);

fn ensure(holds: bool, claim: Claim, found: impl FnOnce() -> String) -> Result<(), Finding> {
    if holds { Ok(()) } else { Err((claim, found())) }
}
