//! What is asked for on the command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::measure::Timing;

pub(crate) const USAGE: &str = "\
cargo bench --bench compare -- [OPTIONS] [TEXT]

TEXT              only the rows whose name contains it
--short           a small part of everything, in about a minute: whether it runs, not how fast
--rounds N        how many rounds (5; short: 3)
--seconds S       how long each side of each round asks (10 for sustained rows and 2 for others; short: 0.2)
--json FILE       writes the results to a file, too
--list            measures nothing: prints the names of the rows
--transcripts DIR recorded runs (../shared/transcripts)";

/// The form, and what changes it.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) short: bool,
    rounds: Option<usize>,
    seconds: Option<f64>,
    pub(crate) json: Option<PathBuf>,
    pub(crate) list: bool,
    transcripts: Option<PathBuf>,
    pub(crate) filter: String,
}

/// How long a row runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// Long enough for many checkpoints.
    Sustained,
    Usual,
}

impl Options {
    pub(crate) fn read(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
            let wrong = |error: &dyn std::fmt::Display| format!("{word}: {error}");
            match word.as_str() {
                // Cargo's own.
                "--bench" => {}
                "--short" => options.short = true,
                "--list" => options.list = true,
                "--rounds" => options.rounds = Some(value()?.parse().map_err(|error| wrong(&error))?),
                "--seconds" => options.seconds = Some(value()?.parse().map_err(|error| wrong(&error))?),
                "--json" => options.json = Some(value()?.into()),
                "--transcripts" => options.transcripts = Some(value()?.into()),
                _ if word.starts_with("--") => return Err(format!("unknown option {word}")),
                _ => options.filter = word,
            }
        }
        options.check()?;
        Ok(options)
    }

    fn check(&self) -> Result<(), String> {
        if self.rounds == Some(0) {
            return Err("--rounds must be at least 1".to_owned());
        }
        if self.seconds.is_some_and(|seconds| !seconds.is_finite() || seconds <= 0.0) {
            return Err("--seconds must be more than 0".to_owned());
        }
        Ok(())
    }

    pub(crate) fn form(&self) -> &'static str {
        if self.short { "short" } else { "full" }
    }

    pub(crate) fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.short { 3 } else { 5 })
    }

    pub(crate) fn timing(&self, length: Length) -> Timing {
        let usual = match (self.short, length) {
            (true, _) => 0.2,
            (false, Length::Sustained) => 10.0,
            (false, Length::Usual) => 2.0,
        };
        let timed = Duration::from_secs_f64(self.seconds.unwrap_or(usual));
        Timing { warm_up: (timed / 4).min(Duration::from_secs(1)), timed }
    }

    pub(crate) fn transcripts(&self) -> PathBuf {
        let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/transcripts");
        self.transcripts.clone().unwrap_or_else(|| beside.into())
    }
}
