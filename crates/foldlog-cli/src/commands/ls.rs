//! `foldlog ls`: the sessions of a store.

use std::collections::BTreeMap;

use clap::Args;
use foldlog::{EventId, SessionId, SessionSummary, Timestamp};
use serde::Serialize;

use crate::directory::{Directory, PAGE};
use crate::failure::{Exit, Failure};
use crate::terminal::{Output, count, time};

#[derive(Debug, Args)]
#[command(
    after_help = "Elsewhere than on a terminal a session is a line of five columns with tabs between them: id, events, \
time of creation, time of the last event, title."
)]
pub(crate) struct Ls {
    /// Begin after the session of this id; sessions are in the order of their ids
    #[arg(long, value_name = "ID")]
    after: Option<String>,
    /// List at most so many sessions
    #[arg(long, short = 'n', value_name = "N")]
    max: Option<usize>,
}

/// A session in JSON.
#[derive(Serialize)]
struct Listed<'a> {
    v: u8,
    session: &'a str,
    events: EventId,
    created: Timestamp,
    /// The time of the last event.
    last: Option<Timestamp>,
    title: &'a str,
    labels: &'a BTreeMap<String, String>,
}

impl Ls {
    pub(crate) fn run(&self, directory: &Directory, output: &mut Output<'_>) -> Result<Exit, Failure> {
        let sessions = sessions(directory, self.after.as_deref())?.take(self.max.unwrap_or(usize::MAX));
        let sessions = sessions.map(|summary| -> Result<_, Failure> {
            let summary = summary?;
            let last = last_event(directory, &summary)?;
            Ok((summary, last))
        });
        if output.is_json {
            for found in sessions {
                let (SessionSummary { id, created, head, title, labels, .. }, last) = found?;
                let (session, title, labels) = (id.as_str(), title.as_str(), &labels);
                output.json(&Listed { v: 1, session, events: head, created, last, title, labels })?;
            }
            return Ok(Exit::Done);
        }
        let is_terminal = output.is_terminal();
        let rows = sessions.map(|found| {
            let (SessionSummary { id, created, head, title, .. }, last) = found?;
            let time = |at: Timestamp| if is_terminal { time(at) } else { at.to_string() };
            let events = if is_terminal { count(head.get()) } else { head.to_string() };
            Ok(vec![id.to_string(), events, time(created), last.map(time).unwrap_or_default(), title])
        });
        output.rows(&["SESSION", "EVENTS", "CREATED (UTC)", "LAST EVENT", "TITLE"], rows)?;
        Ok(Exit::Done)
    }
}

/// All sessions after this one, read a page at a time. After an error comes no more.
pub(crate) fn sessions(
    directory: &Directory,
    after: Option<&str>,
) -> Result<impl Iterator<Item = Result<SessionSummary, Failure>>, Failure> {
    let after = after.map(SessionId::new).transpose().map_err(|error| directory.failed(error))?;
    let mut next = Some(after);
    Ok(std::iter::from_fn(move || {
        let after = next.take()?;
        let page = directory.read(directory.untyped.list_sessions(after, PAGE));
        if let Ok(page) = &page {
            next = page.last().filter(|_| page.len() == PAGE).map(|last| Some(last.id.clone()));
        }
        Some(match page {
            Ok(page) => page.into_iter().map(Ok).collect(),
            Err(failure) => vec![Err(failure)],
        })
    })
    .flatten())
}

/// How many events the sessions have now: for progress. More may come.
pub(crate) fn events_of_all(directory: &Directory) -> Result<u64, Failure> {
    sessions(directory, None)?.map(|summary| Ok(summary?.head.get())).sum()
}

fn last_event(directory: &Directory, summary: &SessionSummary) -> Result<Option<Timestamp>, Failure> {
    let before = summary.head.prev();
    let page = directory.read(directory.untyped.headers_after(&summary.id, before, 1))?;
    Ok(page.headers.first().map(|header| header.at))
}
