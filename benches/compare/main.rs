//! How fast a store is beside what a host would write by hand.
//!
//! `cargo bench --bench compare [-- OPTIONS]` prints a table and writes JSON; [`USAGE`] has the options. Each row runs
//! two sides, one after the other, in each of several rounds, and reports the ratio of the two within a round: absolute
//! figures of a shared machine move from minute to minute, ratios much less. All rows take part in each round, and the
//! side that goes first changes from round to round. docs/performance/README.md tells what is counted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a benchmark may end at once")]

mod level;
mod options;
mod row;
mod rows;

mod figures;
mod measure;

mod appends;
mod blobs;
mod by_hand;
mod lifecycle;
mod long;
mod mix;
mod recorded;
mod snapshots;
mod subscribers;

mod machine;
mod report;
mod results;

#[path = "../common/mod.rs"]
mod common;
// What the example makes of a transcript.
#[allow(dead_code, reason = "the example uses all of it")]
#[path = "../../examples/replay_transcript/entry.rs"]
mod entry;
#[path = "../../examples/replay_transcript/run.rs"]
mod run;

use std::process::ExitCode;
use std::time::Instant;

use options::{Length, Options, USAGE};
use results::{Results, RowResult};
use row::Row;

/// For both sides. Events are made on one thread and freed on another, which is what glibc's allocator is slow at: with
/// it 1,000 sessions reached half to two thirds of their rate.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Cargo says so when it is to be measured, and not when it only tries whether the program runs.
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\n\n{USAGE}");
            return ExitCode::FAILURE;
        }
    };
    actix::System::new().block_on(run_rows(&options))
}

async fn run_rows(options: &Options) -> ExitCode {
    let (mut rows, left_out) = rows::rows(options).await;
    rows.retain(|row| row.name().contains(&options.filter));
    if rows.is_empty() {
        eprintln!("no row has {:?} in its name", options.filter);
        return ExitCode::FAILURE;
    }
    if options.list {
        rows.iter().for_each(|row| println!("{}", row.name()));
        return ExitCode::SUCCESS;
    }
    let results = measure(options, rows, left_out).await;
    print!("{}", report::table(&results));
    if let Some(path) = &options.json {
        std::fs::write(path, results.to_json()).unwrap();
    }
    ExitCode::SUCCESS
}

async fn measure(options: &Options, rows: Vec<Row>, left_out: Vec<String>) -> Results {
    let started = Instant::now();
    let mut pairs: Vec<_> = rows.iter().map(|_| Vec::new()).collect();
    for round in 0..options.rounds() {
        for (row, pairs) in rows.iter().zip(&mut pairs) {
            eprintln!("round {} of {}: {}", round + 1, options.rounds(), row.name());
            let timing = options.timing(row.length);
            let pair = if round % 2 == 0 {
                let ours = row.ours(timing).await;
                (ours, row.other(timing).await)
            } else {
                let other = row.other(timing).await;
                (row.ours(timing).await, other)
            };
            pairs.push(pair);
        }
    }
    let seconds = |length| options.timing(length).timed.as_secs_f64();
    Results {
        machine: machine::look(common::directory().path()),
        form: options.form(),
        rounds: options.rounds(),
        seconds_sustained: seconds(Length::Sustained),
        seconds: seconds(Length::Usual),
        took_seconds: started.elapsed().as_secs(),
        left_out,
        rows: rows.iter().zip(pairs).map(|(row, pairs)| RowResult::of(row, pairs)).collect(),
    }
}
