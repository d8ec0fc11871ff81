//! Goal: whatever pages of a database are gone, cut off or overwritten, what the others hold of each session is
//! salvaged and repaired. Method: cut and damage the file of a closed store, page by page and at random, and compare.

use foldlog::testkit::Dice;
use foldlog::{ErrorKind, Store};

use crate::Prepared;
use crate::common::*;
use crate::repair::{repaired, whole_appends};

const PAGE: usize = 4096;

/// How many events a salvage finds of each session, in order; `None` if it cannot even be opened.
fn salvaged(prepared: &Prepared) -> Option<Vec<usize>> {
    let mut salvage = Store::<Tally>::salvage_model(prepared.directory.path()).ok()?;
    let events = |name: &str| salvage.session(name).map_or(0, |salvaged| salvaged.events.len());
    Some(prepared.sessions.iter().map(|original| &*original.name).map(events).collect())
}

/// Repairs, and compares with what a salvage finds.
async fn check(prepared: &Prepared, what: &str) -> Option<u64> {
    let salvaged = salvaged(prepared)?;
    let (repair, counts) = match repaired(prepared, what).await {
        Ok(repaired) => repaired,
        // Where not one session is left, there is nothing to make.
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::CorruptStore { .. }), "{what}: {error}");
            assert!(salvaged.iter().all(|events| *events == 0), "{what}: {error}, though {salvaged:?} are there");
            return None;
        }
    };
    for (original, salvaged) in prepared.sessions.iter().zip(salvaged) {
        let taken = counts.get(&original.name).copied().unwrap_or(0);
        assert_eq!(taken, whole_appends(original, salvaged), "{what}: {} of {salvaged} events", original.name);
    }
    Some(repair.events)
}

#[actix::test]
async fn a_database_that_lost_its_last_pages_is_salvaged_and_repaired() {
    let prepared = Prepared::new(700).await;
    let whole = prepared.bytes(&prepared.db());
    let pages = whole.len() / PAGE;
    let mut taken = Vec::new();
    for left in (1..pages).rev() {
        // Not at a page's end, too: SQLite rounds down.
        for odd in if left % 8 == 0 { vec![0, 100] } else { vec![0] } {
            prepared.restore();
            std::fs::write(prepared.db(), &whole[..left * PAGE + odd]).unwrap();
            if left % 4 == 0 || left + 3 > pages {
                taken.push(check(&prepared, &format!("{left} of {pages} pages")).await.unwrap_or(0));
            } else {
                assert!(left < 3 || salvaged(&prepared).is_some(), "{left} of {pages} pages");
            }
        }
    }
    println!("{taken:?} events of cut databases of {pages} pages");
    assert!(taken[0] > 600 && taken.is_sorted_by(|more, fewer| more >= fewer), "{taken:?}");
}

#[actix::test]
async fn the_first_page_cannot_be_done_without() {
    let prepared = Prepared::new(10).await;
    let mut bytes = prepared.bytes(&prepared.db());
    bytes[100..PAGE].fill(0);
    std::fs::write(prepared.db(), bytes).unwrap();
    let refused = repaired(&prepared, "no schema").await;
    assert_refused!(refused, ErrorKind::CorruptStore { .. });
}

/// How many random damages the short form makes. `FOLDLOG_PAGES` is the number of the long form.
const DAMAGES: u64 = 25;

#[actix::test]
async fn pages_that_are_damaged_at_random_cost_what_stood_in_them() {
    let prepared = Prepared::new(700).await;
    let whole = prepared.bytes(&prepared.db());
    let pages = whole.len() as u64 / PAGE as u64;
    let seed = seed();
    let (mut repairs, mut events) = (0_u64, 0);
    let only = number_of("FOLDLOG_PAGE");
    for round in 0..number_of("FOLDLOG_PAGES").unwrap_or(DAMAGES) {
        let mut dice = Dice::new(seed ^ round.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut bytes = whole.clone();
        let mut what = format!("seed {seed}, damage {round}:");
        for _ in 0..1 + dice.below(3) {
            // Not the first page, which has the list of tables.
            let page = 1 + dice.below(pages - 1);
            let at = page as usize * PAGE;
            let kind = dice.below(4);
            what += &format!(" page {} by {kind}", page + 1);
            match kind {
                0 => bytes[at..at + PAGE].fill(0),
                1 => bytes[at + dice.below(16) as usize] ^= 1 << dice.below(8),
                2 => (0..PAGE).for_each(|byte| bytes[at + byte] = dice.below(256) as u8),
                _ => bytes[at + dice.below(PAGE as u64) as usize] ^= 1 << dice.below(8),
            }
        }
        if dice.below(5) == 0 {
            let left = 2 + dice.below(pages - 2);
            what += &format!(" cut to {left} pages");
            bytes.truncate(left as usize * PAGE);
        }
        if only.is_some_and(|only| only != round) {
            continue;
        }
        prepared.restore();
        std::fs::write(prepared.db(), bytes).unwrap();
        match repaired(&prepared, &what).await {
            Ok((repair, _)) => (repairs, events) = (repairs + 1, events + repair.events),
            Err(error) => {
                let kind = error.kind();
                assert!(
                    matches!(kind, ErrorKind::CorruptStore { .. } | ErrorKind::WrongModel { .. }),
                    "{what}: {error:?}"
                );
            }
        }
    }
    println!("{repairs} repairs of a database of {pages} pages took {events} events");
}
