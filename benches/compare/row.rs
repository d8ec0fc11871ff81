//! One row: what is measured, its baseline, and the target.

use std::future::Future;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use serde::Serialize;

use crate::level::Level;
use crate::measure::{Sample, Timing};
use crate::options::Length;

type Run = Box<dyn Fn(Timing) -> LocalBoxFuture<'static, Sample>>;

/// One row: two sides, and how many times as fast the first is to be.
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) beside: String,
    pub(crate) topic: Topic,
    pub(crate) unit: &'static str,
    /// Of our side and of the other.
    pub(crate) levels: [Level; 2],
    pub(crate) length: Length,
    pub(crate) wanted: Option<f64>,
    /// The p99 of the other side, in multiples of ours.
    pub(crate) p99_wanted: Option<f64>,
    ours: Run,
    other: Run,
}

/// The table of `docs/performance/README.md` that shows a row.
#[derive(Clone, Copy, Serialize)]
pub(crate) enum Topic {
    /// Appends beside inserts by hand, both at FULL.
    Appends,
    /// The same with inserts at NORMAL.
    AppendsNormal,
    /// foldlog beside itself: what a feature or a way of calling costs.
    Features,
    Opening,
    Blobs,
    /// In no table: the ratios only say that nothing is copied and nobody waits.
    Views,
}

impl Row {
    pub(crate) fn new<O, B>(
        topic: Topic,
        what: impl Into<String>,
        ours: impl Fn(Timing) -> O + 'static,
        beside: impl Into<String>,
        other: impl Fn(Timing) -> B + 'static,
    ) -> Self
    where
        O: Future<Output = Sample> + 'static,
        B: Future<Output = Sample> + 'static,
    {
        Self {
            what: what.into(),
            beside: beside.into(),
            topic,
            unit: "events",
            levels: [Level::Full; 2],
            length: Length::Usual,
            wanted: None,
            p99_wanted: None,
            ours: Box::new(move |timing| ours(timing).boxed_local()),
            other: Box::new(move |timing| other(timing).boxed_local()),
        }
    }

    pub(crate) fn wanted(self, ratio: f64) -> Self {
        Self { wanted: Some(ratio), ..self }
    }

    pub(crate) fn p99_wanted(self, ratio: f64) -> Self {
        Self { p99_wanted: Some(ratio), ..self }
    }

    pub(crate) fn sustained(self) -> Self {
        Self { length: Length::Sustained, ..self }
    }

    pub(crate) fn levels(self, ours: Level, other: Level) -> Self {
        Self { levels: [ours, other], ..self }
    }

    pub(crate) fn unit(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }

    /// What a filter on the command line is compared with. `benches/paired.py` puts it together from the JSON.
    pub(crate) fn name(&self) -> String {
        format!("{} / {}, {}", self.what, self.beside, Level::of_both(&self.levels))
    }

    pub(crate) async fn ours(&self, timing: Timing) -> Sample {
        (self.ours)(timing).await
    }

    pub(crate) async fn other(&self, timing: Timing) -> Sample {
        (self.other)(timing).await
    }
}
