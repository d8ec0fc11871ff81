//! `foldlog stats`: how much there is.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use foldlog::agent::{Agent, Usage};
use foldlog::{EventId, ReadOnlyStore, SessionSummary};
use serde::Serialize;

use crate::agent::{cost, tokens, used};
use crate::commands::ls::{events_of_all, sessions};
use crate::directory::{Directory, PAGE};
use crate::failure::{Exit, Failure};
use crate::terminal::{Output, Progress, bytes, count, counted, escaped};

/// Events of one type.
#[derive(Debug, Default, Serialize)]
struct OfType {
    events: u64,
    record_bytes: u64,
}

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
    types: BTreeMap<String, OfType>,
    files: BTreeMap<&'static str, Files>,
    /// `None` for another model.
    used: Option<Used>,
}

/// What a directory holds: docs/format.md, "The directory".
const PARTS: [&str; 5] = ["events.db", "events.db-wal", "blobs", "snapshots", "tmp"];

pub(crate) fn run(directory: &Directory, output: &mut Output<'_>) -> Result<Exit, Failure> {
    let mut progress = Progress::new("events", events_of_all(directory)?);
    let mut stats = Stats {
        v: 1,
        model: directory.untyped.model(),
        sessions: 0,
        events: 0,
        record_bytes: 0,
        types: BTreeMap::new(),
        files: PARTS.into_iter().map(|part| (part, files_below(&directory.path().join(part)))).collect(),
        used: directory.agent.as_ref().map(|_| Used::default()),
    };
    for summary in sessions(directory, None)? {
        let SessionSummary { id, head, .. } = summary?;
        stats.sessions += 1;
        let mut after = EventId::ZERO;
        loop {
            let page = directory.read(directory.untyped.headers_after(&id, after, PAGE))?;
            for header in page.headers {
                after = header.id;
                stats.events += 1;
                stats.record_bytes += header.record_bytes;
                let of_type = stats.types.entry(header.event_type).or_default();
                of_type.events += 1;
                of_type.record_bytes += header.record_bytes;
            }
            progress.set(stats.events);
            // As many as there were, though a host goes on.
            if !page.more || after >= head {
                break;
            }
        }
        if let (Some(used), Some(agent)) = (&mut stats.used, &directory.agent) {
            used.add(agent, id.as_str());
        }
    }
    drop(progress);
    if output.is_json {
        output.json(&stats)?
    } else {
        say(&stats, output)?
    }
    Ok(Exit::Done)
}

impl Used {
    /// Adds the turns of a session: from its view, for which the log is read again only behind its stored view.
    fn add(&mut self, agent: &ReadOnlyStore<Agent>, session: &str) {
        let Ok(state) = futures::executor::block_on(agent.read_state(session)) else {
            self.unread_sessions += 1;
            return;
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
    }
}

/// Counts files. What goes while it is counted is left out.
fn files_below(path: &Path) -> Files {
    let mut found = Files::default();
    let mut paths = vec![path.to_owned()];
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

enum Seen {
    File(u64),
    Directory(Vec<std::path::PathBuf>),
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
            output.line(format!("{} cannot be folded, and are left out", counted(used.unread_sessions, "session")))?;
        }
    }
    output.line("")?;
    let rows = stats.types.iter();
    let rows = rows.map(|(name, of)| Ok(vec![name.clone(), count(of.events), bytes(of.record_bytes)]));
    output.rows(&["TYPE", "EVENTS", "RECORDS"], rows)?;
    output.line("")?;
    let rows = PARTS.iter().filter_map(|part| Some((part, stats.files.get(part)?)));
    let rows = rows.map(|(part, of)| Ok(vec![(*part).to_owned(), count(of.files), bytes(of.bytes)]));
    output.rows(&["FILE OR DIRECTORY", "FILES", "BYTES"], rows)
}
