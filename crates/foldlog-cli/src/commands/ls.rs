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
        let sessions = listed(directory, self.after.as_deref())?.take(self.max.unwrap_or(usize::MAX));
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

/// How many events the sessions have now: for progress. More may come. 0 if they cannot be counted.
pub(crate) fn events_of_all(directory: &Directory) -> u64 {
    let count = || sessions(directory, None)?.map(|summary| Ok(summary?.head.get())).sum::<Result<u64, Failure>>();
    // On a thread of its own: the call may come from within a read that this thread waits for, and `block_on` panics
    // within another.
    std::thread::scope(|scope| {
        let counting = std::thread::Builder::new().spawn_scoped(scope, count).ok()?;
        counting.join().ok()?.ok()
    })
    .unwrap_or_default()
}

/// All sessions after this one, each with the time of its last event. A session that was deleted since its page was
/// read is left out, and one whose end is damaged has no time.
fn listed(
    directory: &Directory,
    after: Option<&str>,
) -> Result<impl Iterator<Item = Result<(SessionSummary, Option<Timestamp>), Failure>>, Failure> {
    Ok(sessions(directory, after)?.filter_map(|summary| {
        let summary = match summary {
            Ok(summary) => summary,
            Err(failure) => return Some(Err(failure)),
        };
        match directory.read(directory.untyped.head_at(&summary.id)) {
            Ok(last) => Some(Ok((summary, last))),
            Err(failure) if failure.is_damage() => Some(Ok((summary, None))),
            Err(failure) if failure.is_gone() => None,
            Err(failure) => Some(Err(failure)),
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::tests::{delete, with_sessions};

    #[test]
    fn a_session_that_is_deleted_while_sessions_are_listed_is_left_out() {
        let (path, directory) = with_sessions(&["a", "b", "c"]);
        let mut listed = listed(&directory, None).unwrap().map(|found| found.unwrap().0.id.to_string());
        assert_eq!(listed.next().as_deref(), Some("a"));
        delete(path.path(), "b");
        assert_eq!(listed.collect::<Vec<_>>(), ["c"]);
    }

    #[test]
    fn events_can_be_counted_within_a_read() {
        let (_path, directory) = with_sessions(&["a", "b"]);
        assert_eq!(futures::executor::block_on(async { events_of_all(&directory) }), 2);
    }
}
