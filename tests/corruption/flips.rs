//! Goal: one flipped bit anywhere in `events.db` or in a blob is found, or has changed nothing; no session shows
//! anything but what it held, or its error; nothing panics. Method: seeded random flips in the files of a closed store,
//! each looked at through every call that reads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use foldlog::testkit::Dice;
use foldlog::{Condition, ErrorKind, EventId, Session, Store};

use crate::common::*;
use crate::{Original, Plain, Prepared, plain};

/// How many flips the short form makes. `FOLDLOG_FLIPS` is the number of the long form.
const FLIPS: u64 = 150;

static PANICS: AtomicU64 = AtomicU64::new(0);

fn count_panics() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        default(info);
    }));
}

/// What one session shows, in every way that it can be read.
#[derive(Debug, PartialEq)]
pub(crate) enum Shows {
    /// Exactly what it held.
    Original,
    /// An error, and before it nothing but what it held.
    Error(String),
    /// The beginning of what it held, and no error.
    Shorter,
    /// Something that it did not hold.
    Other,
    /// There is no session of that name.
    Nothing,
}

pub(crate) async fn shows(store: &Store<Tally>, original: &Original) -> Shows {
    let read = soon(store.read_state(&original.name)).await;
    let opened = soon(store.resume_session(&original.name)).await;
    match (read, opened) {
        (Ok(read), Ok(session)) => {
            let view = session.view().unwrap();
            let (events, mut error) = served(&session).await;
            if read.report.condition != Condition::Ready && original.events.starts_with(&events) {
                // A damaged type may look like one of a newer build: the session says that it is read-only, and where.
                error = error.or(Some(format!("{:?}", read.report.condition)));
            }
            if *view == original.view && read.view == original.view && error.is_none() && events == original.events {
                return Shows::Original;
            }
            match error {
                _ if !original.events.starts_with(&events) => Shows::Other,
                Some(error) => Shows::Error(error),
                _ if view.head() < original.view.head() => Shows::Shorter,
                _ => Shows::Other,
            }
        }
        (Err(one), Err(other)) => match (one.kind(), other.kind()) {
            (ErrorKind::UnknownSession { .. }, ErrorKind::UnknownSession { .. }) => Shows::Nothing,
            _ => Shows::Error(one.to_string()),
        },
        // One of them reads more than the other, and what it reads more may be the damage.
        (Ok(read), Err(error)) if read.view == original.view => Shows::Error(error.to_string()),
        (Err(error), Ok(session)) if *session.view().unwrap() == original.view => Shows::Error(error.to_string()),
        _ => Shows::Other,
    }
}

/// Every event that pages give, and the error that ended them.
async fn served(session: &Session<Tally>) -> (Vec<Plain>, Option<String>) {
    let mut events: Vec<Plain> = Vec::new();
    loop {
        let after = events.last().map_or(EventId::ZERO, |event| EventId::new(event.0));
        match soon(session.events_after(after, 100)).await {
            Ok(page) if page.events.is_empty() => return (events, None),
            Ok(page) => events.extend(of_model(page.events).map(|event| plain(&event))),
            Err(error) => return (events, Some(error.to_string())),
        }
    }
}

#[actix::test]
async fn a_flipped_bit_is_found_or_has_changed_nothing() {
    count_panics();
    let prepared = Prepared::new(700).await;
    let seed = seed();
    let flips = number_of("FOLDLOG_FLIPS").unwrap_or(FLIPS);
    let mut dice = Dice::new(seed);
    let original = prepared.bytes(&prepared.db());
    let pages = original.len() as u64 / 4096;
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let only = number_of("FOLDLOG_FLIP");
    for flip in 0..flips {
        // Every third is in the first bytes of a page, which say how to read the rest.
        let page = dice.below(pages);
        let byte = page * 4096 + dice.below(if flip % 3 == 0 { 64 } else { 4096 });
        let bit = dice.below(8);
        let place = format!("seed {seed}, flip {flip}: page {}, byte {}, bit {bit}", page + 1, byte % 4096);
        if only.is_some_and(|only| only != flip) {
            continue;
        }
        prepared.restore();
        let mut bytes = original.clone();
        bytes[byte as usize] ^= 1 << bit;
        std::fs::write(prepared.db(), bytes).unwrap();
        let outcome = look(&prepared, &place).await;
        *counts.entry(outcome).or_default() += 1;
        assert_eq!(PANICS.load(Ordering::SeqCst), 0, "{place}: something panicked");
        if flip % 1000 == 999 {
            println!("{} flips: {counts:?}", flip + 1);
        }
    }
    println!("{flips} flips in {pages} pages: {counts:?}");
}

async fn look(prepared: &Prepared, place: &str) -> &'static str {
    let store = match soon(Store::<Tally>::open_model(prepared.config())).await {
        Ok(store) => store,
        Err(error) => {
            let kind = error.kind();
            assert!(!matches!(kind, ErrorKind::Busy { .. } | ErrorKind::StoreClosed), "{place}: {error:?}");
            return "the store does not open";
        }
    };
    let verification = soon(store.verify()).await.unwrap();
    let found = !verification.problems.is_empty();
    let mut outcome = if found { "found" } else { "nothing changed" };
    for original in &prepared.sessions {
        let shows = shows(&store, original).await;
        let problems = &verification.problems;
        match &shows {
            Shows::Original => {}
            // There is no second copy of the table of names: what a name leads to is checked, the name itself is not.
            Shows::Nothing if !found => outcome = "a session's name changed",
            Shows::Nothing | Shows::Error(_) => assert!(found, "{place}: {} shows {shows:?}, not found", original.name),
            Shows::Shorter => {
                println!("{place}: {} is shorter without an error: {problems:?}", original.name);
                assert!(found, "{place}: not found either");
                outcome = "found, and until then a session is shorter";
            }
            Shows::Other => {
                println!("{place}: {} shows something else: {problems:?}", original.name);
                assert!(found, "{place}: not found either");
                outcome = "found, and until then a session shows another's";
            }
        }
        if shows == Shows::Original {
            // Every answer is allowed, but no panic.
            let session = soon(store.resume_session(&original.name)).await.unwrap();
            let _ = soon(session.append(TallyBody::Added(1)).unwrap()).await;
        }
    }
    let _ = soon(store.close()).await;
    outcome
}

#[actix::test]
async fn a_flipped_bit_of_a_blob_is_found_and_named() {
    let prepared = Prepared::new(10).await;
    let mut dice = Dice::new(7);
    for (number, blob) in prepared.blobs.iter().enumerate() {
        let path = prepared.blob_file(blob);
        let whole = prepared.bytes(&path);
        for _ in 0..20 {
            let mut bytes = whole.clone();
            bytes[dice.below(whole.len() as u64) as usize] ^= 1 << dice.below(8);
            std::fs::write(&path, bytes).unwrap();
            let store = open(&prepared.config()).await;
            let verification = soon(store.verify()).await.unwrap();
            let [problem] = &verification.problems[..] else { panic!("{verification:?}") };
            assert!(matches!(problem.error.kind(), ErrorKind::CorruptBlob { digest } if *digest == blob.digest));
            assert_eq!(problem.event.map(EventId::get), (number < 2).then_some(number as u64 + 1));
            assert_eq!((verification.blobs, verification.orphans), (2, u64::from(number < 2)));
            for original in &prepared.sessions {
                assert_eq!(shows(&store, original).await, Shows::Original);
            }
            soon(store.close()).await.unwrap();
        }
        std::fs::write(&path, whole).unwrap();
    }
}
