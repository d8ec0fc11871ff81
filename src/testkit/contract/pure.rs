//! The model's own functions, without a store.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::codec;
use crate::event::Event;
use crate::id::{Digest, EventId, Timestamp};
use crate::model::{DecodeError, SessionModel};
use crate::testkit::contract::{BLOB_MARK, Claim, Dice, Finding, Report, ensure};

/// How many bodies are damaged, and in how many ways each of them.
const DAMAGED: (usize, u64) = (48, 24);
/// After how many events the view is encoded and decoded again.
const VIEW_BYTES_EVERY: u64 = 16;
/// The time of every event.
pub(super) const AT: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

/// The bodies that the model took, as they were handed over, and their view.
pub(super) struct Folded<M: SessionModel> {
    pub(super) bodies: Vec<M::Body>,
    pub(super) view: M::View,
}

/// Ahead of every fifth body is an event of foldlog's own, so that the ids that the model is given are not consecutive.
pub(super) fn is_behind_own_event(body: usize) -> bool {
    body % 5 == 2
}

/// The id of a body's event.
pub(super) fn id_of(body: usize) -> EventId {
    let own = (0..=body).filter(|body| is_behind_own_event(*body)).count();
    EventId::new((body + own) as u64 + 1)
}

/// Calls a function of the model, which must not panic.
fn call<T>(function: &str, event: EventId, call: impl FnOnce() -> T) -> Result<T, Finding> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|_| (Claim::NoPanic, format!("{function} panics at event {event}")))
}

pub(super) fn check<M: SessionModel>(
    bodies: Vec<M::Body>,
    dice: &mut Dice,
    report: &mut Report,
) -> Result<Folded<M>, Finding> {
    let mut folded = Folded::<M> { bodies: Vec::new(), view: M::View::default() };
    let mut again = M::View::default();
    let mut encoded = Vec::new();
    let mut first_refusal = None;
    let mut refuse = |report: &mut Report, by: &str, body: &M::Body, reason: String| {
        report.refused += 1;
        first_refusal.get_or_insert_with(|| format!("{by} refused body {}, {body:?}: {reason}", report.bodies));
    };
    for body in bodies {
        report.bodies += 1;
        let id = id_of(folded.bodies.len());
        if let Err(reason) = call("check", id, || M::check(&body))? {
            refuse(report, "check", &body, reason);
            continue;
        }
        encoding::<M>(&body)?;
        let event_type = event_type::<M>(&body, id)?;
        report.references += references::<M>(&body, id)?;
        let (counters, stamped) = match stamp::<M>(&folded.view, id, &body)? {
            Ok(stamped) => stamped,
            Err(reason) => {
                refuse(report, "stamp", &body, reason);
                continue;
            }
        };
        if let Err(reason) = refused_by_view::<M>(&folded.view, &again, id, &stamped)? {
            refuse(report, "REFUSE_BY_VIEW", &body, reason);
            continue;
        }
        let bytes = encoding::<M>(&stamped)?;
        references::<M>(&stamped, id)?;
        let stamped_type = call("event_type", id, || M::event_type(&stamped))?;
        ensure(stamped_type == event_type, Claim::EventType, || {
            format!("{event_type:?} becomes {stamped_type:?} by stamping {body:?}")
        })?;
        let decoded = decode::<M>(event_type, &bytes, id)?;

        let event = Event::<M>::new(id, AT, [0; 8], stamped);
        call("apply", id, || M::apply(&mut folded.view, &event))?;
        let found = call("counters", id, || M::counters(&folded.view))?;
        ensure(found == counters, Claim::Counters, || {
            format!("stamp leaves {counters:?} and apply makes {found:?} of {body:?}, event {id}")
        })?;
        let decoded = Event::<M>::new(id, AT, [0; 8], decoded);
        call("apply_owned", id, || M::apply_owned(&mut again, decoded))?;
        ensure(again == folded.view, Claim::Deterministic, || {
            format!("two folds up to event {id}, {body:?}, give {:?} and {again:?}", folded.view)
        })?;
        if id.get().is_multiple_of(VIEW_BYTES_EVERY) {
            again = view_bytes::<M>(&folded.view, again, id)?;
        }
        call("turns", id, || M::turns(&folded.view))?;
        call("unfinished", id, || M::unfinished(&folded.view))?;
        *report.event_types.entry(event_type).or_default() += 1;
        encoded.push((event_type, bytes));
        folded.bodies.push(body);
    }
    ensure(report.refused * 2 <= report.bodies, Claim::Plausible, || {
        format!(
            "{} of {} bodies were refused: {}. All bodies go into one session, in the order in which the generator makes \
             them: one that ends the session has to come after most others",
            report.refused,
            report.bodies,
            first_refusal.unwrap_or_default()
        )
    })?;
    hostile::<M>(&encoded, dice, report)?;
    Ok(folded)
}

/// Encodes two equal views, and gives the view that comes back from their bytes: the fold goes on with that view.
fn view_bytes<M: SessionModel>(view: &M::View, equal: M::View, id: EventId) -> Result<M::View, Finding> {
    let encode = |view: &M::View| call("encode_view", id, || M::encode_view(view));
    let Some(bytes) = encode(view)? else { return Ok(equal) };
    ensure(encode(&equal)?.as_ref() == Some(&bytes), Claim::ViewBytes, || {
        format!("two equal views have different bytes at event {id}: does it hold a hash map?")
    })?;
    match call("decode_view", id, || M::decode_view(bytes.into()))? {
        Ok(decoded) if decoded == *view => Ok(decoded),
        Ok(decoded) => Err((Claim::ViewBytes, format!("{view:?} comes back as {decoded:?}"))),
        Err(error) => Err((Claim::ViewBytes, format!("{view:?} does not come back: {error}"))),
    }
}

/// The bytes of a body, which must be the same whoever encodes it.
fn encoding<M: SessionModel>(body: &M::Body) -> Result<Vec<u8>, Finding> {
    let broken = |found: String| (Claim::StableEncoding, found);
    let bytes = codec::encode_body(body).map_err(|error| broken(format!("{body:?} does not encode: {error}")))?;
    codec::check_stable::<M::Body>(&bytes).map_err(|error| broken(format!("{body:?}: {error}")))?;
    let cloned = codec::encode_body(&body.clone()).ok();
    ensure(cloned.as_ref() == Some(&bytes), Claim::StableEncoding, || {
        format!("a clone of {body:?} has other bytes: does it hold a hash map?")
    })?;
    Ok(bytes)
}

fn event_type<M: SessionModel>(body: &M::Body, id: EventId) -> Result<&'static str, Finding> {
    let event_type = call("event_type", id, || M::event_type(body))?;
    let is_usable = !event_type.is_empty() && !event_type.starts_with("foldlog.");
    ensure(is_usable, Claim::EventType, || format!("{event_type:?} is empty or reserved"))?;
    Ok(event_type)
}

/// How many references the body has. Every one that its bytes show must be named.
fn references<M: SessionModel>(body: &M::Body, id: EventId) -> Result<u64, Finding> {
    let mut named = Vec::new();
    call("blob_refs", id, || M::blob_refs(body, &mut |blob| named.push(blob.digest)))?;
    let bytes = codec::encode_body(body).unwrap_or_default();
    for window in bytes.windows(32).filter(|window| window.starts_with(&BLOB_MARK)) {
        let shown = <[u8; 32]>::try_from(window).map(Digest::from_bytes);
        let is_named = shown.is_ok_and(|shown| named.contains(&shown));
        ensure(is_named, Claim::BlobRefs, || format!("{body:?} holds a reference that blob_refs does not name"))?;
    }
    Ok(named.len() as u64)
}

/// The counters after a stamp, and the stamped body.
type StampedBody<M> = (<M as SessionModel>::Counters, <M as SessionModel>::Body);

/// Stamps a body, or gives the reason why the model refuses it.
fn stamp<M: SessionModel>(
    view: &M::View,
    id: EventId,
    body: &M::Body,
) -> Result<Result<StampedBody<M>, String>, Finding> {
    let before = call("counters", id, || M::counters(view))?;
    let once = || {
        let (mut counters, mut stamped) = (before.clone(), body.clone());
        let taken = M::stamp(&mut counters, id, &mut stamped);
        (taken, counters, stamped)
    };
    let (taken, counters, stamped) = call("stamp", id, once)?;
    let (_, again, other) = call("stamp", id, once)?;
    let is_same = counters == again && codec::encode_body(&stamped).ok() == codec::encode_body(&other).ok();
    ensure(is_same, Claim::Stamp, || format!("stamping {body:?} twice gives {stamped:?} and {other:?}"))?;
    if let Err(reason) = taken {
        ensure(counters == before, Claim::Stamp, || format!("refusing {body:?} moved {before:?} to {counters:?}"))?;
        return Ok(Err(reason));
    }
    Ok(Ok((counters, stamped)))
}

/// Asks the model twice whether it refuses a stamped body, with two equal views.
fn refused_by_view<M: SessionModel>(
    view: &M::View,
    equal: &M::View,
    id: EventId,
    body: &M::Body,
) -> Result<Result<(), String>, Finding> {
    let Some(refuse) = M::REFUSE_BY_VIEW else { return Ok(Ok(())) };
    let told = call("REFUSE_BY_VIEW", id, || refuse(view, body))?;
    let again = call("REFUSE_BY_VIEW", id, || refuse(equal, body))?;
    ensure(told == again, Claim::Refusals, || format!("of {body:?} at event {id} it says {told:?}, then {again:?}"))?;
    Ok(told)
}

fn decode<M: SessionModel>(event_type: &'static str, bytes: &[u8], id: EventId) -> Result<M::Body, Finding> {
    let decoded = call("decode", id, || M::decode(event_type, M::SCHEMA, bytes))?;
    let decoded = decoded.map_err(|error| (Claim::Decode, format!("{event_type} at schema {}: {error}", M::SCHEMA)))?;
    ensure(codec::encode_body(&decoded).is_ok_and(|again| again == bytes), Claim::Decode, || {
        format!("{event_type} decodes to {decoded:?}, which has other bytes")
    })?;
    for (other_type, schema) in [("contract.no_such_type", M::SCHEMA), (event_type, M::SCHEMA.saturating_add(1))] {
        if (other_type, schema) == (event_type, M::SCHEMA) {
            continue;
        }
        let found = call("decode", id, || M::decode(other_type, schema, bytes))?;
        ensure(matches!(found, Err(DecodeError::Unknown)), Claim::UnknownEvents, || {
            format!("{other_type} at schema {schema} gives {found:?}; the newest schema is {}", M::SCHEMA)
        })?;
    }
    Ok(decoded)
}

/// Gives `decode` damaged bytes: it may say what it likes, and not panic. What it takes must be harmless too.
fn hostile<M: SessionModel>(
    encoded: &[(&'static str, Vec<u8>)],
    dice: &mut Dice,
    report: &mut Report,
) -> Result<(), Finding> {
    let (bodies, ways) = DAMAGED;
    for (event_type, bytes) in encoded.iter().take(bodies) {
        for _ in 0..ways {
            let damaged = damage(bytes.clone(), dice);
            report.damaged += 1;
            let decoded = catch_unwind(|| M::decode(event_type, M::SCHEMA, &damaged));
            let panics = |function: &str| (Claim::NoPanic, format!("{function} panics on {event_type} {damaged:02x?}"));
            let Ok(body) = decoded.map_err(|_| panics("decode"))? else { continue };
            catch_unwind(AssertUnwindSafe(|| M::check(&body).is_ok())).map_err(|_| panics("check"))?;
        }
    }
    Ok(())
}

fn damage(mut bytes: Vec<u8>, dice: &mut Dice) -> Vec<u8> {
    let at = dice.below(bytes.len() as u64 + 1) as usize;
    match dice.below(5) {
        0 => bytes.truncate(at),
        // A length of 2^63 and more.
        1 => drop(bytes.splice(at..at, [253, 255, 255, 255, 255, 255, 255, 255, 255])),
        2 => bytes.insert(at, dice.below(256) as u8),
        3 => bytes.extend([0, 1, 2]),
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << dice.below(8);
            }
        }
    }
    bytes
}
