//! What was measured, as it is kept in JSON. `benches/performance_tables.py` and `benches/paired.py` read it.

use serde::Serialize;

use crate::figures::{Compared, Latency, Spread};
use crate::level::Level;
use crate::machine::Machine;
use crate::measure::Sample;
use crate::options::Length;
use crate::row::{Row, Topic};

#[derive(Serialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) form: &'static str,
    pub(crate) rounds: usize,
    pub(crate) seconds_sustained: f64,
    pub(crate) seconds: f64,
    pub(crate) took_seconds: u64,
    pub(crate) left_out: Vec<String>,
    pub(crate) rows: Vec<RowResult>,
}

/// Fields may be added. `benches/paired.py` compares builds of different commits: it needs `what`, `beside`, `levels`
/// and `ours.per_second.median`.
#[derive(Serialize)]
pub(crate) struct RowResult {
    #[serde(skip)]
    pub(crate) name: String,
    what: String,
    beside: String,
    topic: Topic,
    unit: &'static str,
    levels: [Level; 2],
    sustained: bool,
    /// The rate of our side by that of the other side, within a round.
    pub(crate) rate: Compared,
    /// The p99 of the other side by that of our side, within a round.
    pub(crate) p99: Option<Compared>,
    ours: Side,
    other: Side,
}

#[derive(Serialize)]
struct Side {
    per_second: Spread,
    /// The median of each percentile.
    latency: Option<Latency>,
    rounds: Vec<Sample>,
}

impl Results {
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap() + "\n"
    }
}

impl RowResult {
    pub(crate) fn of(row: &Row, pairs: Vec<(Sample, Sample)>) -> Self {
        let rates = pairs.iter().map(|(ours, other)| ours.per_second / other.per_second);
        let p99s = pairs.iter().filter_map(|(ours, other)| Some(other.latency?.p99 / ours.latency?.p99));
        let rate = Compared::new(rates.collect(), row.wanted);
        let p99s: Vec<f64> = p99s.collect();
        let p99 = (!p99s.is_empty()).then(|| Compared::new(p99s, row.p99_wanted));
        let (ours, other) = pairs.into_iter().unzip();
        Self {
            name: row.name(),
            what: row.what.clone(),
            beside: row.beside.clone(),
            topic: row.topic,
            unit: row.unit,
            levels: row.levels,
            sustained: row.length == Length::Sustained,
            rate,
            p99,
            ours: Side::of(ours),
            other: Side::of(other),
        }
    }
}

impl Side {
    fn of(rounds: Vec<Sample>) -> Self {
        let per_second = Spread::of(rounds.iter().map(|sample| sample.per_second).collect());
        let latencies: Vec<Latency> = rounds.iter().filter_map(|sample| sample.latency).collect();
        let median = |of: fn(&Latency) -> f64| Spread::of(latencies.iter().map(of).collect()).median;
        let latency = (!latencies.is_empty()).then(|| Latency {
            p50: median(|latency| latency.p50),
            p99: median(|latency| latency.p99),
            p999: median(|latency| latency.p999),
        });
        Self { per_second, latency, rounds }
    }
}
