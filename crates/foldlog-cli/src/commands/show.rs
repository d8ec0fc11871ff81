//! `foldlog show ID`: a session as a person reads it.

mod outline;
mod text;
mod transcript;

use clap::Args;
use foldlog::agent::Agent;
use foldlog::{Condition, StoredState, View};
use serde::Serialize;

use crate::directory::Directory;
use crate::failure::{Exit, Failure};
use crate::terminal::Output;
use transcript::Transcript;

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The session
    id: String,
    /// Show each text whole, however long
    #[arg(long, conflicts_with = "raw")]
    full: bool,
    /// Show the view as it is, as indented JSON: no blob is read, and no text is shortened
    #[arg(long, conflicts_with = "json")]
    raw: bool,
}

/// A session in JSON: its view, as docs/json.md describes it.
#[derive(Serialize)]
struct InJson<'a> {
    v: u8,
    session: &'a str,
    #[serde(flatten)]
    view: &'a View<Agent>,
    /// What was begun and has no end.
    unfinished: Vec<String>,
    /// Why the view ends before the log does, if it does.
    ends_early: Option<String>,
}

impl Show {
    pub(crate) fn run(&self, directory: &Directory, output: &mut Output<'_>) -> Result<Exit, Failure> {
        let Some(agent) = &directory.agent else {
            return outline::run(&self.id, directory, output);
        };
        let state = directory.read(agent.read_state(&self.id))?;
        if output.is_json || self.raw {
            let unfinished = state.report.unfinished.iter().map(ToString::to_string).collect();
            let ends_early = ends_early(&state);
            let shown = InJson { v: 1, session: &self.id, view: &state.view, unfinished, ends_early };
            if self.raw { output.indented_json(&shown)? } else { output.json(&shown)? }
        } else {
            Transcript::new(agent, &state, self.full).write(&self.id, output)?;
        }
        Ok(Exit::Done)
    }
}

/// Why the view ends before the log does.
fn ends_early(state: &StoredState<Agent>) -> Option<String> {
    match &state.report.condition {
        Condition::Ready => None,
        Condition::NewerRecord { event, event_type, schema } => Some(format!(
            "the view ends before event {event}, of type {event_type} at schema {schema}: a newer build wrote it"
        )),
        Condition::Unfoldable { event } => {
            Some(format!("the view ends at event {event}, which this build does not fold: it panicked"))
        }
        other => Some(format!("the view ends early: {other:?}")),
    }
}
