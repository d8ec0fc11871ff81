//! Samples, and the table of their ratios.

use std::fmt;
use std::time::{Duration, Instant};

/// The timed part of a run: what is acknowledged before it is warm-up, what is acknowledged after it does not count.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    from: Instant,
    to: Instant,
}

impl Window {
    pub(crate) fn after(warm_up: Duration, timed: Duration) -> Self {
        let from = Instant::now() + warm_up;
        Self { from, to: from + timed }
    }

    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.to
    }

    pub(crate) fn contains(&self, at: Instant) -> bool {
        (self.from..self.to).contains(&at)
    }

    /// What one side did in it, as `events` each time.
    pub(crate) fn sample(&self, events: usize, mut latencies: Vec<Duration>) -> Sample {
        latencies.sort_unstable();
        let per_second = (latencies.len() * events) as f64 / (self.to - self.from).as_secs_f64();
        Sample { per_second, p50: percentile(&latencies, 50), p99: percentile(&latencies, 99) }
    }
}

fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    sorted.get(sorted.len() * percent / 100).copied()
}

/// One side in one round.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) per_second: f64,
    /// From asking to the acknowledgement.
    pub(crate) p50: Option<Duration>,
    pub(crate) p99: Option<Duration>,
}

impl Sample {
    /// So many in this time, without a latency.
    pub(crate) fn rate(count: usize, took: Duration) -> Self {
        Self { per_second: count as f64 / took.as_secs_f64(), p50: None, p99: None }
    }
}

/// The rows as Markdown.
#[derive(Default)]
pub(crate) struct Table(Vec<[String; 9]>);

impl Table {
    /// The first of each pair is ours, the second is what it is measured beside.
    pub(crate) fn row(&mut self, name: &str, durability: &str, pairs: &[(Sample, Sample)]) {
        let side = |pick: fn(&(Sample, Sample)) -> Sample| {
            let samples: Vec<Sample> = pairs.iter().map(pick).collect();
            let rate = median(samples.iter().map(|sample| sample.per_second).collect());
            let p50 = samples.iter().filter_map(|sample| sample.p50).map(|p50| p50.as_secs_f64()).collect();
            let p99 = samples.iter().filter_map(|sample| sample.p99).map(|p99| p99.as_secs_f64()).collect();
            [rate_text(rate), latency_text(p50), latency_text(p99)]
        };
        let mut ratios: Vec<f64> = pairs.iter().map(|(ours, beside)| ours.per_second / beside.per_second).collect();
        ratios.sort_by(f64::total_cmp);
        let (min, max) = (ratios.first().copied().unwrap_or(f64::NAN), ratios.last().copied().unwrap_or(f64::NAN));
        let ratio = format!("{}x [{}..{}]", ratio_text(median(ratios)), ratio_text(min), ratio_text(max));
        let [rate, p50, p99] = side(|(ours, _)| *ours);
        let [beside_rate, beside_p50, beside_p99] = side(|(_, beside)| *beside);
        let durability = durability.to_owned();
        self.0.push([name.to_owned(), durability, ratio, rate, p50, p99, beside_rate, beside_p50, beside_p99]);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = ["ours / beside", "durability", "ratio", "ours /s", "p50", "p99", "beside /s", "p50", "p99"]
            .map(String::from);
        let width = |column: usize| {
            let cells = std::iter::once(&heads).chain(&self.0).map(|row| row[column].len());
            cells.max().unwrap_or_default()
        };
        let widths: [usize; 9] = std::array::from_fn(width);
        let mut line = |cells: &[String; 9]| {
            for (cell, width) in cells.iter().zip(widths) {
                write!(f, "| {cell:width$} ")?;
            }
            writeln!(f, "|")
        };
        line(&heads)?;
        line(&widths.map(|width| "-".repeat(width)))?;
        self.0.iter().try_for_each(line)
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => values[len / 2],
        len => f64::midpoint(values[len / 2 - 1], values[len / 2]),
    }
}

fn ratio_text(ratio: f64) -> String {
    if !ratio.is_finite() {
        // The other side acknowledged nothing in its time.
        "inf".to_owned()
    } else if ratio < 10.0 {
        format!("{ratio:.2}")
    } else if ratio < 1000.0 {
        format!("{ratio:.1}")
    } else {
        rate_text(ratio)
    }
}

fn rate_text(rate: f64) -> String {
    match rate {
        rate if rate >= 1e6 => format!("{:.1}M", rate / 1e6),
        rate if rate >= 1e3 => format!("{:.1}k", rate / 1e3),
        rate => format!("{rate:.1}"),
    }
}

fn latency_text(seconds: Vec<f64>) -> String {
    if seconds.is_empty() {
        return "-".to_owned();
    }
    match median(seconds) {
        seconds if seconds >= 1e-3 => format!("{:.1} ms", seconds * 1e3),
        seconds => format!("{:.0} us", seconds * 1e6),
    }
}
