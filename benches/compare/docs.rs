//! `docs/performance`: the results, the charts, and the tables in its README between two marks.

use std::fs;
use std::path::PathBuf;

use serde::Deserialize;

use crate::results::Results;
use crate::{charts, tables};

const BEGIN: &str = "<!-- The benchmark writes from here -->\n";
const END: &str = "<!-- to here -->\n";

/// One line of what `benches/sessions.rs` has measured.
#[derive(Deserialize)]
pub(crate) struct Residency {
    pub(crate) sessions: u64,
    /// `default`, `off` or `cold`.
    residency: String,
    pub(crate) sessions_resident: u64,
    /// What the sessions have added to the process.
    pub(crate) resident_bytes: f64,
    pub(crate) bytes_per_session: f64,
    pub(crate) cold_append_p50_us: f64,
    pub(crate) cold_append_p99_us: f64,
    pub(crate) resident_append_p50_us: f64,
    pub(crate) resident_append_p99_us: f64,
}

impl Residency {
    /// How many of the sessions may be in memory, in words.
    pub(crate) fn name(&self) -> &str {
        match self.residency.as_str() {
            "default" => "default limits",
            "off" => "all in memory",
            "cold" => "all emptied",
            other => other,
        }
    }
}

fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "docs", "performance", name].iter().collect()
}

pub(crate) fn read_results() -> Results {
    let text = fs::read(path("results.json")).expect("results of an earlier run with --docs");
    serde_json::from_slice(&text).expect("results as this build writes them")
}

/// Writes everything anew. What `benches/sessions.rs` measured is taken from `sessions.json`, if it is there.
pub(crate) fn write(results: &Results) {
    fs::write(path("results.json"), results.to_json()).unwrap();
    let sessions = fs::read(path("sessions.json")).unwrap_or_else(|_| b"[]".to_vec());
    let residencies: Vec<Residency> = serde_json::from_slice(&sessions).expect("sessions.json as it is written");
    for (name, chart) in charts::all(results, &residencies) {
        match chart {
            Some(chart) => fs::write(path(name), chart).unwrap(),
            None => eprintln!("{name} stays as it was: there is nothing to draw"),
        }
    }
    let mut text = tables::all(results);
    if !residencies.is_empty() {
        text += "\n";
        text += &tables::memory(&residencies);
    }
    let readme = fs::read_to_string(path("README.md")).unwrap();
    let (before, rest) = readme.split_once(BEGIN).expect("the mark where the tables begin");
    let (_, after) = rest.split_once(END).expect("the mark where they end");
    fs::write(path("README.md"), format!("{before}{BEGIN}\n{text}\n{END}{after}")).unwrap();
}
