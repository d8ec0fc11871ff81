//! What was measured, as it is kept in JSON.

use serde::{Deserialize, Serialize};

use crate::figures::{Compared, Latency, Spread};
use crate::machine::Machine;
use crate::measure::Sample;
use crate::options::Length;
use crate::row::Row;

#[derive(Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) form: String,
    pub(crate) rounds: usize,
    pub(crate) seconds_sustained: f64,
    pub(crate) seconds: f64,
    pub(crate) took_seconds: u64,
    pub(crate) left_out: Vec<String>,
    pub(crate) rows: Vec<RowResult>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct RowResult {
    pub(crate) what: String,
    pub(crate) beside: String,
    pub(crate) topic: Topic,
    pub(crate) at: Option<u64>,
    pub(crate) unit: String,
    pub(crate) levels: [Level; 2],
    pub(crate) sustained: bool,
    /// Ours by the other's, within a round.
    pub(crate) rate: Compared,
    /// The p99 of the other's by ours, within a round.
    pub(crate) p99: Option<Compared>,
    pub(crate) ours: Side,
    pub(crate) other: Side,
}

/// Which chart a row belongs to, beside that of the ratios.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Topic {
    AppendsFull,
    AppendsNormal,
    Reopen,
    Snapshot,
    Other,
}

/// What survives, once it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Level {
    /// A power cut: SQLite's `synchronous=FULL`.
    Full,
    /// The death of the process: SQLite's `synchronous=NORMAL`.
    Normal,
    /// A power cut: files that were synced.
    Synced,
    /// Nothing is stored.
    Memory,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Full => "FULL",
            Self::Normal => "NORMAL",
            Self::Synced => "synced",
            Self::Memory => "memory",
        }
    }

    pub(crate) fn of_both(levels: &[Self; 2]) -> String {
        match levels {
            [ours, other] if ours == other => ours.name().to_owned(),
            [ours, other] => format!("{} / {}", ours.name(), other.name()),
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Side {
    pub(crate) per_second: Spread,
    /// The median of each percentile.
    pub(crate) latency: Option<Latency>,
    pub(crate) rounds: Vec<Sample>,
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
            what: row.what.clone(),
            beside: row.beside.clone(),
            topic: row.topic,
            at: row.at,
            unit: row.unit.to_owned(),
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

    /// The median of a fact.
    pub(crate) fn fact(&self, name: &str) -> Option<f64> {
        let values: Vec<f64> = self.rounds.iter().filter_map(|sample| sample.facts.get(name).copied()).collect();
        (!values.is_empty()).then(|| Spread::of(values).median)
    }

    pub(crate) fn fact_names(&self) -> impl Iterator<Item = &String> {
        self.rounds.iter().take(1).flat_map(|sample| sample.facts.keys())
    }
}
