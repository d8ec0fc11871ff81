//! How fast a store is beside what a host would write by hand.
//!
//! Each row runs two sides, one after the other, in each of several rounds, and reports the ratio of the two within a
//! round: absolute figures of a shared machine move from minute to minute, ratios much less. All rows take part in each
//! round, and the side that goes first changes from round to round.
//!
//! `cargo bench` runs everything, `cargo bench -- --short` less of it, `cargo bench -- "100 sessions"` the rows whose
//! name contains that text.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a benchmark may end at once")]

mod common;

use std::time::{Duration, Instant};

use common::foldlog_side::{Keys, Load, Long};
use common::measure::{Sample, Table};
use common::{baseline, foldlog_side};
use foldlog::Durability::{self, PowerLoss, ProcessCrash};
use foldlog::SnapshotPolicy;

/// How much is measured.
struct Plan {
    rounds: usize,
    timed: Duration,
    warm_up: Duration,
}

const FULL: Plan = Plan { rounds: 5, timed: Duration::from_millis(1000), warm_up: Duration::from_millis(200) };
const SHORT: Plan = Plan { rounds: 3, timed: Duration::from_millis(300), warm_up: Duration::from_millis(100) };

/// The events of the long session that is viewed and reopened.
const LONG_EVENTS: usize = 100_000;
/// The events of a batch, and of the transaction beside it.
const BATCH_EVENTS: usize = 100;

struct Row {
    name: String,
    durability: Durability,
    ours: Side,
    beside: Side,
}

/// The long sessions, as far as they are needed.
#[derive(Default)]
struct Longs {
    plain: Option<Long>,
    /// Whose view is stored, too.
    stored: Option<Long>,
}

#[derive(Clone, Copy)]
enum Side {
    Append(Load),
    Batches,
    /// One commit an event, for this many callers who wait in turn.
    Inserts {
        callers: usize,
    },
    Transactions,
    View,
    CloneVec,
    Reopen,
    ReopenStoredView,
    Scan,
}

fn rows() -> Vec<Row> {
    let appends = |sessions, window| Load { sessions, window, keys: Keys::None };
    let mut rows = Vec::new();
    let mut row = |name: &str, durability, ours, beside| {
        rows.push(Row { name: name.to_owned(), durability, ours, beside });
    };
    for durability in [PowerLoss, ProcessCrash] {
        for callers in [1, 10, 100, 1000] {
            let sessions = if callers == 1 { "session" } else { "sessions" };
            let name = format!("{callers} {sessions}, 1 append in flight each / insert per commit");
            row(&name, durability, Side::Append(appends(callers, 1)), Side::Inserts { callers });
        }
    }
    row(
        "1 session, 256 appends in flight / insert per commit",
        PowerLoss,
        Side::Append(appends(1, 256)),
        Side::Inserts { callers: 256 },
    );
    row("batches of 100 / transactions of 100", PowerLoss, Side::Batches, Side::Transactions);
    let keyed = Load { keys: Keys::Each, ..appends(100, 1) };
    row("100 sessions, a key each / no keys", PowerLoss, Side::Append(keyed), Side::Append(appends(100, 1)));
    row("view of 100,000 messages / clone of their Vec", PowerLoss, Side::View, Side::CloneVec);
    row("reopen 100,000 events / scan, decode, BLAKE3", PowerLoss, Side::Reopen, Side::Scan);
    row("reopen 100,000 events from a stored view / full fold", PowerLoss, Side::ReopenStoredView, Side::Reopen);
    rows
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Cargo says so when it is to be measured, and not when it only tries whether the program runs.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let plan = if arguments.iter().any(|argument| argument == "--short") { SHORT } else { FULL };
    let wanted = arguments.iter().find(|argument| !argument.starts_with("--")).map_or("", String::as_str);
    let rows: Vec<Row> = rows().into_iter().filter(|row| row.name.contains(wanted)).collect();
    actix::System::new().block_on(measure(&plan, &rows));
}

async fn measure(plan: &Plan, rows: &[Row]) {
    let started = Instant::now();
    let needs_long = |side| matches!(side, Side::View | Side::Reopen);
    let needs_stored = |side| matches!(side, Side::ReopenStoredView);
    let mut long = Longs::default();
    if rows.iter().any(|row| needs_long(row.ours) || needs_long(row.beside)) {
        long.plain = Some(Long::prepare(LONG_EVENTS, SnapshotPolicy::OFF).await);
    }
    if rows.iter().any(|row| needs_stored(row.ours)) {
        long.stored = Some(Long::prepare(LONG_EVENTS, SnapshotPolicy::default()).await);
    }
    let mut samples: Vec<Vec<(Sample, Sample)>> = rows.iter().map(|_| Vec::new()).collect();
    for round in 0..plan.rounds {
        for (row, samples) in rows.iter().zip(&mut samples) {
            eprintln!("round {} of {}: {}, {:?}", round + 1, plan.rounds, row.name, row.durability);
            let pair = if round % 2 == 0 {
                let ours = run(row.ours, row.durability, plan, &long).await;
                (ours, run(row.beside, row.durability, plan, &long).await)
            } else {
                let beside = run(row.beside, row.durability, plan, &long).await;
                (run(row.ours, row.durability, plan, &long).await, beside)
            };
            samples.push(pair);
        }
    }
    let mut table = Table::default();
    for (row, samples) in rows.iter().zip(&samples) {
        let durability = match row.durability {
            PowerLoss => "FULL",
            ProcessCrash => "NORMAL",
        };
        table.row(&row.name, durability, samples);
    }
    println!("{table}");
    let (rounds, timed, took) = (plan.rounds, plan.timed, started.elapsed().as_secs());
    println!("{rounds} rounds, {timed:?} for each side in each round; {took} s in all");
}

async fn run(side: Side, durability: Durability, plan: &Plan, long: &Longs) -> Sample {
    let (warm_up, timed) = (plan.warm_up, plan.timed);
    let prepared = || long.plain.as_ref().expect("prepared for these rows");
    match side {
        Side::Append(load) => foldlog_side::append(load, durability, warm_up, timed).await,
        Side::Batches => foldlog_side::append_batches(BATCH_EVENTS, durability, warm_up, timed).await,
        Side::Inserts { callers } => baseline::insert(callers, 1, durability, warm_up, timed),
        Side::Transactions => baseline::insert(1, BATCH_EVENTS, durability, warm_up, timed),
        Side::View => prepared().take_views(timed).await,
        Side::CloneVec => prepared().clone_vec(timed),
        Side::Reopen => prepared().reopen().await,
        Side::ReopenStoredView => long.stored.as_ref().expect("prepared for this row").reopen().await,
        Side::Scan => baseline::scan(&prepared().database(), LONG_EVENTS),
    }
}
