//! `foldlog salvage [ID]`: what can be read of a damaged directory, whether or not a store can open it.

use clap::Args;
use foldlog::agent::Agent;
use foldlog::{Error, Salvage as Salvaging, Salvaged, Store};
use serde::Serialize;

use crate::arguments::Shared;
use crate::commands::log::Logged;
use crate::directory;
use crate::failure::{Exit, Failure};
use crate::terminal::{Output, say, say_error};

#[derive(Debug, Args)]
pub(crate) struct Salvage {
    /// The session whose events are written, one a line. Without it, the sessions are listed
    id: Option<String>,
}

/// A session in JSON.
#[derive(Serialize)]
struct Listed<'a> {
    v: u8,
    session: &'a str,
    events: usize,
    stopped_by: Option<String>,
}

impl Salvage {
    pub(crate) fn run(&self, shared: &Shared, output: &mut Output<'_>) -> Result<Exit, Failure> {
        let store = directory::path(shared)?;
        let failed = |error: Error| Failure::Store { store: store.clone(), error };
        let mut salvage = Store::salvage(&store).map_err(failed)?;
        match &self.id {
            Some(id) => write(id, salvage.session(id).map_err(failed)?, output),
            None => list(&mut salvage, output, failed),
        }
    }
}

/// The events of the longest valid beginning, and on standard error why there are no more.
fn write(id: &str, salvaged: Salvaged<Agent>, output: &mut Output<'_>) -> Result<Exit, Failure> {
    let Salvaged { events, stopped_by, .. } = salvaged;
    let read = events.len();
    for event in events {
        Logged::Whole(event).write(id, output)?;
    }
    output.flush()?;
    let Some(error) = stopped_by else { return Ok(Exit::Done) };
    say(&format!("{read} events can be read: {error}"));
    Ok(Exit::Found)
}

fn list(
    salvage: &mut Salvaging<Agent>,
    output: &mut Output<'_>,
    failed: impl Fn(Error) -> Failure,
) -> Result<Exit, Failure> {
    let (sessions, stopped_by) = salvage.sessions();
    let mut exit = Exit::Done;
    let mut rows = Vec::new();
    for session in sessions {
        let found = salvage.session(&session);
        let (events, stopped_by) = match &found {
            Ok(salvaged) => (salvaged.events.len(), salvaged.stopped_by.as_ref()),
            Err(error) => (0, Some(error)),
        };
        if stopped_by.is_some() {
            exit = Exit::Found;
        }
        let stopped_by = stopped_by.map(ToString::to_string);
        if output.is_json {
            output.json(&Listed { v: 1, session: session.as_str(), events, stopped_by })?;
        } else {
            rows.push(vec![session.to_string(), events.to_string(), stopped_by.unwrap_or_default()]);
        }
    }
    if !output.is_json {
        output.rows(&["SESSION", "EVENTS", "STOPPED BY"], rows.into_iter().map(Ok))?;
    }
    let Some(error) = stopped_by else { return Ok(exit) };
    // Some names cannot be read.
    output.flush()?;
    say_error(&failed(error));
    Ok(Exit::Found)
}
