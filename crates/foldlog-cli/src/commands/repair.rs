//! `foldlog repair TO`: a new directory of what is whole in a damaged one.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use foldlog::{Repair as Repaired, Store};
use serde::Serialize;

use crate::arguments::Shared;
use crate::commands::verify::ShownProblem;
use crate::directory;
use crate::failure::{Exit, Failure};
use crate::terminal::{Output, Style, bytes, counted, escaped};

#[derive(Debug, Args)]
pub(crate) struct Repair {
    /// The new directory: empty, or not there yet. The damaged one is only read
    #[arg(value_hint = ValueHint::DirPath)]
    to: PathBuf,
}

/// The repair in JSON, behind an object for each problem.
#[derive(Serialize)]
struct InJson {
    v: u8,
    whole: bool,
    sessions: u64,
    events: u64,
    blobs: u64,
    blob_bytes: u64,
    events_left: u64,
    problems: usize,
}

impl Repair {
    pub(crate) fn run(&self, shared: &Shared, output: &mut Output<'_>) -> Result<Exit, Failure> {
        let from = directory::path(shared)?;
        let repaired = Store::repair(&from, &self.to).map_err(|error| Failure::Store { store: from, error })?;
        if output.is_json {
            tell(&repaired, output)?
        } else {
            self.say(&repaired, output)?
        }
        Ok(if repaired.is_whole() { Exit::Done } else { Exit::Found })
    }

    fn say(&self, repaired: &Repaired, output: &mut Output<'_>) -> Result<(), Failure> {
        for problem in &repaired.not_taken {
            let line = output.styled(Style::Bad, format!("not taken: {}", escaped(&problem.to_string())));
            output.line(line)?;
        }
        let Repaired { sessions, events, blobs, blob_bytes, events_left, .. } = *repaired;
        let (sessions, events, blobs) =
            (counted(sessions, "session"), counted(events, "event"), counted(blobs, "blob"));
        output.line(format!("taken: {sessions}, {events}, {blobs} of {}", bytes(blob_bytes)))?;
        if events_left > 0 {
            output.line(format!("left behind: {}", counted(events_left, "event")))?;
        }
        output.line(format!("verified and in its place: {}", escaped(&self.to.display().to_string())))
    }
}

fn tell(repaired: &Repaired, output: &mut Output<'_>) -> Result<(), Failure> {
    for problem in &repaired.not_taken {
        output.json(&ShownProblem::of(problem))?;
    }
    output.json(&InJson {
        v: 1,
        whole: repaired.is_whole(),
        sessions: repaired.sessions,
        events: repaired.events,
        blobs: repaired.blobs,
        blob_bytes: repaired.blob_bytes,
        events_left: repaired.events_left,
        problems: repaired.not_taken.len(),
    })
}
