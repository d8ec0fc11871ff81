//! The clock of one side, and what it gives.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::figures::Latency;

/// How long one side runs.
#[derive(Clone, Copy)]
pub(crate) struct Timing {
    /// Nothing that is acknowledged in it counts. What it leaves behind, a backlog to checkpoint or to index, is in the
    /// time that is measured.
    pub(crate) warm_up: Duration,
    /// For so long callers ask. Then they wait for what is in flight, and the side is closed: the clock stops when that
    /// is done, so that what was put off is in the time.
    pub(crate) timed: Duration,
}

impl Timing {
    pub(crate) fn start(self) -> Window {
        let from = Instant::now() + self.warm_up;
        Window { from, to: from + self.timed }
    }
}

/// The timed part of one side.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    from: Instant,
    to: Instant,
}

impl Window {
    /// Whether callers ask no more.
    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.to
    }

    /// Whether what is acknowledged now counts.
    pub(crate) fn counts(&self, acknowledged: Instant) -> bool {
        acknowledged >= self.from
    }

    /// What the side did, `each` of it an acknowledgement. Called when nothing is left to be done: the clock stops
    /// here.
    pub(crate) fn stop(self, each: usize, latencies: Vec<Duration>) -> Sample {
        let took = self.from.elapsed();
        let mut sample = Sample::rate(latencies.len() * each, took);
        sample.latency = Some(Latency::of(latencies));
        sample
    }
}

/// One side in one round.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    pub(crate) per_second: f64,
    /// From asking to the acknowledgement.
    pub(crate) latency: Option<Latency>,
    /// What else there is to say, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) facts: BTreeMap<String, f64>,
}

impl Sample {
    pub(crate) fn rate(count: usize, took: Duration) -> Self {
        assert!(count > 0, "nothing was done in the timed part: it must be longer");
        Self { per_second: count as f64 / took.as_secs_f64(), latency: None, facts: BTreeMap::new() }
    }

    pub(crate) fn fact(mut self, name: &str, value: f64) -> Self {
        self.facts.insert(name.to_owned(), value);
        self
    }
}

/// Does the same again and again, so many at once that reading the clock does not count.
pub(crate) fn repeat<T>(timed: Duration, at_once: usize, work: impl Fn() -> T) -> Sample {
    let started = Instant::now();
    let mut count = 0;
    while count == 0 || started.elapsed() < timed {
        for _ in 0..at_once {
            std::hint::black_box(work());
        }
        count += at_once;
    }
    Sample::rate(count, started.elapsed())
}
