//! Percentiles of one side, ratios of several rounds. `tests/benchmark.rs` holds them to it.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// A wanted ratio of 1 is met from here: two equal sides are below it half of the time.
const EQUAL_FROM: f64 = 0.95;

/// Percentiles in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
}

impl Latency {
    pub(crate) fn of(mut latencies: Vec<Duration>) -> Self {
        latencies.sort_unstable();
        let per_mille = |rank: usize| {
            let place = latencies.len() * rank / 1000;
            latencies.get(place.min(latencies.len() - 1)).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e6)
        };
        Self { p50: per_mille(500), p99: per_mille(990), p999: per_mille(999) }
    }
}

/// A ratio over the rounds, and what is wanted of it.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Compared {
    pub(crate) ratio: Spread,
    pub(crate) wanted: Option<f64>,
    pub(crate) met: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Compared {
    pub(crate) fn new(ratios: Vec<f64>, wanted: Option<f64>) -> Self {
        let ratio = Spread::of(ratios);
        let met = wanted.map(|wanted| ratio.median >= if wanted == 1.0 { EQUAL_FROM } else { wanted });
        Self { ratio, wanted, met }
    }
}

impl Spread {
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let (middle, last) = (values.len() / 2, values.len() - 1);
        let median = match values.len() % 2 {
            1 => values[middle],
            _ => f64::midpoint(values[middle - 1], values[middle]),
        };
        Self { median, min: values[0], max: values[last] }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x [{}..{}]", ratio(self.median), ratio(self.min), ratio(self.max))
    }
}

fn ratio(ratio: f64) -> String {
    match ratio {
        ratio if ratio < 10.0 => format!("{ratio:.2}"),
        ratio if ratio < 100.0 => format!("{ratio:.1}"),
        ratio => thousands(ratio.round() as u64),
    }
}

/// A number up to a billion with commas between its thousands.
pub(crate) fn thousands(number: u64) -> String {
    match number {
        1_000_000.. => format!("{},{:03},{:03}", number / 1_000_000, number / 1000 % 1000, number % 1000),
        1000.. => format!("{},{:03}", number / 1000, number % 1000),
        _ => number.to_string(),
    }
}
