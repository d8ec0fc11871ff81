//! `foldlog stats`: how much there is.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use foldlog::agent::{Agent, Usage};
use foldlog::{Condition, EventHeader, EventId, ReadOnlyStore, SessionSummary};
use serde::Serialize;

use crate::agent::{cost, tokens, used};
use crate::commands::ls::{events_of_all, sessions};
use crate::directory::{Directory, PAGE};
use crate::failure::{Exit, Failure};
use crate::terminal::{Output, Progress, bytes, count, counted, escaped};

/// Events of one type.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct OfType {
    events: u64,
    record_bytes: u64,
}

/// Events by their types.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct OfTypes(BTreeMap<String, OfType>);

/// Files below one name of the directory.
#[derive(Debug, Default, Serialize)]
struct Files {
    files: u64,
    bytes: u64,
}

/// What the turns of all sessions used.
#[derive(Debug, Default, Serialize)]
struct Used {
    turns: u64,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cost_millionths: Option<u64>,
    /// Sessions that this build does not fold.
    unread_sessions: u64,
}

/// The answer in JSON.
#[derive(Debug, Serialize)]
struct Stats<'a> {
    v: u8,
    model: &'a str,
    sessions: u64,
    events: u64,
    record_bytes: u64,
    types: OfTypes,
    files: BTreeMap<&'static str, Files>,
    /// `None` for another model.
    used: Option<Used>,
}

/// The copies of write-ahead logs that were found damaged. Each has a number behind it.
const COPIES: &str = "events.db-wal.damaged";
/// What is counted of a directory: docs/format.md, "The directory".
const PARTS: [&str; 6] = ["events.db", "events.db-wal", COPIES, "blobs", "snapshots", "tmp"];

pub(crate) fn run(directory: &Directory, output: &mut Output<'_>) -> Result<Exit, Failure> {
    let mut progress = Progress::new("events", || events_of_all(directory));
    let mut stats = Stats::new(directory);
    for summary in sessions(directory, None)? {
        stats.add_if_there(&summary?, directory, &mut progress)?;
    }
    drop(progress);
    if output.is_json {
        output.json(&stats)?
    } else {
        say(&stats, output)?
    }
    Ok(Exit::Done)
}

impl<'a> Stats<'a> {
    /// The files, and no session yet.
    fn new(directory: &'a Directory) -> Self {
        Self {
            v: 1,
            model: directory.untyped.model(),
            sessions: 0,
            events: 0,
            record_bytes: 0,
            types: OfTypes::default(),
            files: PARTS.into_iter().map(|part| (part, files_of(directory.path(), part))).collect(),
            used: directory.agent.as_ref().map(|_| Used::default()),
        }
    }

    /// Adds a session, unless it was deleted since it was listed.
    fn add_if_there(
        &mut self,
        summary: &SessionSummary,
        directory: &Directory,
        progress: &mut Progress<'_>,
    ) -> Result<(), Failure> {
        match self.add(summary, directory, progress) {
            Err(failure) if failure.is_gone() => Ok(()),
            added => added,
        }
    }

    /// Adds a session, all of it or nothing.
    fn add(
        &mut self,
        summary: &SessionSummary,
        directory: &Directory,
        progress: &mut Progress<'_>,
    ) -> Result<(), Failure> {
        let SessionSummary { id, head, .. } = summary;
        let (mut types, mut all, mut after) = (OfTypes::default(), OfType::default(), EventId::ZERO);
        loop {
            let page = directory.read(directory.untyped.headers_after(id, after, PAGE))?;
            for header in &page.headers {
                after = header.id;
                all.add(OfType::one(header));
                types.add(header);
            }
            progress.set(self.events + all.events);
            // As many as there were, though a host goes on.
            if !page.more || after >= *head {
                break;
            }
        }
        if let (Some(used), Some(agent)) = (&mut self.used, &directory.agent) {
            used.add(directory, agent, id.as_str())?;
        }
        self.sessions += 1;
        self.events += all.events;
        self.record_bytes += all.record_bytes;
        self.types.add_all(types);
        Ok(())
    }
}

impl OfType {
    fn one(header: &EventHeader) -> Self {
        Self { events: 1, record_bytes: header.record_bytes }
    }

    fn add(&mut self, other: Self) {
        self.events += other.events;
        self.record_bytes += other.record_bytes;
    }
}

impl OfTypes {
    pub(crate) fn add(&mut self, header: &EventHeader) {
        let one = OfType::one(header);
        match self.0.get_mut(&header.event_type) {
            Some(of_type) => of_type.add(one),
            None => {
                self.0.insert(header.event_type.clone(), one);
            }
        }
    }

    fn add_all(&mut self, others: Self) {
        for (event_type, others) in others.0 {
            self.0.entry(event_type).or_default().add(others);
        }
    }

    /// Writes a row for each type.
    pub(crate) fn say(&self, output: &mut Output<'_>) -> Result<(), Failure> {
        let rows = self.0.iter();
        let rows = rows.map(|(name, of)| Ok(vec![name.clone(), count(of.events), bytes(of.record_bytes)]));
        output.rows(&["TYPE", "EVENTS", "RECORDS"], rows)
    }
}

impl Used {
    /// Adds the turns of a session: from its view, for which the log is read again only behind its stored view. A
    /// session whose view ends before its log does is counted as unread.
    fn add(&mut self, directory: &Directory, agent: &ReadOnlyStore<Agent>, session: &str) -> Result<(), Failure> {
        let state = match directory.read(agent.read_state(session)) {
            Ok(state) if state.report.condition == Condition::Ready => state,
            Err(failure) if !failure.is_damage() => return Err(failure),
            Ok(_) | Err(_) => {
                self.unread_sessions += 1;
                return Ok(());
            }
        };
        let (usage, millionths) = used(&state.view);
        let add = |sum: &mut Option<u64>, number: Option<u64>| {
            if let Some(number) = number {
                *sum = Some(sum.unwrap_or_default().saturating_add(number));
            }
        };
        self.turns += state.view.turns.len() as u64;
        add(&mut self.input_tokens, usage.input_tokens);
        add(&mut self.output_tokens, usage.output_tokens);
        add(&mut self.cost_millionths, millionths);
        Ok(())
    }
}

/// Counts the files of a part of the directory. What goes while it is counted is left out.
fn files_of(directory: &Path, part: &str) -> Files {
    let mut found = Files::default();
    let mut paths = if part == COPIES { copies(directory) } else { vec![directory.join(part)] };
    while let Some(path) = paths.pop() {
        match look(&path) {
            Ok(Seen::File(bytes)) => {
                found.files += 1;
                found.bytes += bytes;
            }
            Ok(Seen::Directory(names)) => paths.extend(names),
            Err(_) => {}
        }
    }
    found
}

/// The bytes of all files below a directory.
pub(crate) fn bytes_below(directory: &Path) -> u64 {
    files_of(directory, "").bytes
}

fn copies(directory: &Path) -> Vec<PathBuf> {
    let Ok(Seen::Directory(mut paths)) = look(directory) else { return Vec::new() };
    let is_copy = |name: &OsStr| {
        let number = name.to_str().and_then(|name| name.strip_prefix(COPIES)?.strip_prefix('-'));
        number.is_some_and(|number| number.parse::<u64>().is_ok())
    };
    paths.retain(|path| path.file_name().is_some_and(is_copy));
    paths
}

enum Seen {
    File(u64),
    Directory(Vec<PathBuf>),
}

fn look(path: &Path) -> io::Result<Seen> {
    let metadata = path.symlink_metadata()?;
    if !metadata.is_dir() {
        return Ok(Seen::File(metadata.len()));
    }
    path.read_dir()?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>().map(Seen::Directory)
}

fn say(stats: &Stats<'_>, output: &mut Output<'_>) -> Result<(), Failure> {
    let (sessions, events) = (counted(stats.sessions, "session"), counted(stats.events, "event"));
    output.line(format!(
        "{sessions} of the model {}, {events} in {}",
        escaped(stats.model),
        bytes(stats.record_bytes)
    ))?;
    if let Some(used) = &stats.used {
        let usage = Usage { input_tokens: used.input_tokens, output_tokens: used.output_tokens, ..Usage::default() };
        let facts = [Some(counted(used.turns, "turn")), tokens(&usage), used.cost_millionths.map(cost)];
        output.line(facts.into_iter().flatten().collect::<Vec<_>>().join(", "))?;
        if used.unread_sessions > 0 {
            let unread = counted(used.unread_sessions, "session");
            output.line(format!("without the turns of {unread} that this build does not fold to the end"))?;
        }
    }
    output.line("")?;
    stats.types.say(output)?;
    output.line("")?;
    let rows = PARTS.iter().filter_map(|part| Some((part, stats.files.get(part)?)));
    let rows = rows.map(|(part, of)| Ok(vec![(*part).to_owned(), count(of.files), bytes(of.bytes)]));
    output.rows(&["FILE OR DIRECTORY", "FILES", "BYTES"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::tests::{delete, with_sessions};

    #[test]
    fn a_session_that_is_deleted_while_sessions_are_counted_is_left_out() {
        let (path, directory) = with_sessions(&["a", "b"]);
        let mut stats = Stats::new(&directory);
        let mut progress = Progress::new("events", || 0);
        let mut sessions = sessions(&directory, None).unwrap();
        let first = sessions.next().unwrap().unwrap();
        delete(path.path(), "b");
        for summary in std::iter::once(Ok(first)).chain(sessions) {
            stats.add_if_there(&summary.unwrap(), &directory, &mut progress).unwrap();
        }
        assert_eq!((stats.sessions, stats.events, stats.used.unwrap().unread_sessions), (1, 1, 0));
    }
}
