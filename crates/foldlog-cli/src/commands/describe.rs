//! `foldlog describe ID`: gives a session a title and labels.

use std::collections::BTreeMap;

use clap::{ArgGroup, Args};
use foldlog::{Describe as Describing, EventId};
use serde::Serialize;

use crate::commands::values::label;
use crate::directory::Directory;
use crate::failure::{Exit, Failure};
use crate::terminal::{Output, escaped};

#[derive(Debug, Args)]
#[command(
    after_help = "What is not named stays as it is. A session that a host has open is refused: the host can do it."
)]
#[command(group(ArgGroup::new("changes").required(true).multiple(true).args(["title", "labels", "remove_labels"])))]
pub(crate) struct Describe {
    /// The session
    id: String,
    /// Give it this title; an empty one takes the title away
    #[arg(long, value_name = "TITLE")]
    title: Option<String>,
    /// Give it this label, or another value for it
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Take this label away
    #[arg(long = "remove-label", value_name = "NAME")]
    remove_labels: Vec<String>,
}

/// The session in JSON, as it is now.
#[derive(Serialize)]
struct Described<'a> {
    v: u8,
    session: &'a str,
    /// The event that says so.
    event: EventId,
    title: &'a str,
    labels: &'a BTreeMap<String, String>,
}

impl Describe {
    pub(crate) fn run(&self, directory: Directory, output: &mut Output<'_>) -> Result<Exit, Failure> {
        directory.check_writing("describe", "its host can call Session::describe")?;
        let mut describing = Describing::new();
        for (name, value) in &self.labels {
            describing = describing.label(name, value);
        }
        for name in &self.remove_labels {
            describing = describing.remove_label(name);
        }
        if let Some(title) = &self.title {
            describing = describing.title(title);
        }
        let (event, view) = directory.write(|writing| {
            writing.wait(async {
                let session = writing.store.resume_session(&self.id).await?;
                let appended = session.describe(describing)?.await?;
                Ok((appended.head, session.view()?))
            })
        })?;
        let core = view.core();
        let (title, labels) = (core.title.as_str(), &core.labels);
        if output.is_json {
            output.json(&Described { v: 1, session: &self.id, event, title, labels })?;
            return Ok(Exit::Done);
        }
        output.line(format!("{}: {}", escaped(&self.id), escaped(title)))?;
        for (name, value) in labels {
            output.line(format!("  {}={}", escaped(name), escaped(value)))?;
        }
        Ok(Exit::Done)
    }
}
