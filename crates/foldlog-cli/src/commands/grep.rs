//! `foldlog grep PATTERN`: which events say something. A plain scan, of every event.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use clap::Args;
use foldlog::agent::Agent;
use foldlog::{
    BlobKind, BlobRef, Content, Digest, EventId, LogEvent, LogPosition, ReadOnlyStore, SessionId, Timestamp,
};
use futures::executor::block_on;
use regex::{Regex, RegexBuilder};
use serde::Serialize;

use crate::agent::{own_texts_of, texts_of};
use crate::commands::ls::{events_of_all, sessions};
use crate::directory::{Directory, PAGE};
use crate::failure::{Exit, Failure};
use crate::terminal::{Output, Progress, Style, escaped, shortened};

/// How many characters of a line stand before and behind what was found, for people.
const AROUND: usize = 60;
/// A larger blob is not read.
const BLOB_BYTES_MAX: u64 = 16 << 20;

#[derive(Debug, Args)]
#[command(
    after_help = "The exit code is 1 if nothing is found. A session that cannot be read to its end is told on standard error."
)]
pub(crate) struct Grep {
    /// A regular expression (of Rust's crate `regex`), looked for in each line of each text
    pattern: String,
    /// The pattern is plain text
    #[arg(long, short = 'F')]
    fixed: bool,
    /// Upper and lower case are the same
    #[arg(long, short)]
    ignore_case: bool,
    /// Only in this session; may be repeated
    #[arg(long, value_name = "ID")]
    session: Vec<String>,
    /// Only events of these types
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
    types: Vec<String>,
    /// Not in texts that are stored as blobs
    #[arg(long)]
    no_blobs: bool,
    /// Stop after so many lines
    #[arg(long, short, value_name = "N")]
    max: Option<u64>,
}

/// A line in JSON in which something was found.
#[derive(Serialize)]
struct Found<'a> {
    v: u8,
    session: &'a str,
    id: EventId,
    at: Timestamp,
    r#type: &'a str,
    place: &'static str,
    blob: Option<Digest>,
    line: u64,
    text: &'a str,
    /// The bytes of the line in which the pattern was found first.
    from: usize,
    to: usize,
}

/// A line of a text, and where in it the pattern is.
#[derive(Clone)]
struct Hit {
    line: u64,
    text: String,
    range: Range<usize>,
}

impl Grep {
    pub(crate) fn run(&self, directory: &Directory, output: &mut Output<'_>) -> Result<Exit, Failure> {
        let store = directory.agent("grep", "`foldlog log ID` lists what its events are")?;
        let pattern = if self.fixed { regex::escape(&self.pattern) } else { self.pattern.clone() };
        let pattern = RegexBuilder::new(&pattern).case_insensitive(self.ignore_case).build();
        let pattern = pattern.map_err(|error| {
            Failure::Usage(format!("the pattern is no regular expression (-F takes it as plain text): {error}"))
        })?;
        let total = if self.session.is_empty() { events_of_all(directory)? } else { 0 };
        let progress = Progress::new("events", total);
        let mut search = Search { grep: self, store, pattern, blobs: HashMap::new(), found: 0, read: 0, progress };
        let mut exit = None;
        if self.session.is_empty() {
            for summary in sessions(directory, None)? {
                let summary = summary?;
                exit = exit.max(search.session(&summary.id, summary.head, directory, output)?);
            }
        }
        for id in &self.session {
            let id = SessionId::new(id).map_err(|error| directory.failed(error))?;
            // One that is not there is an error of the command line.
            let head = directory.read(directory.untyped.head(&id))?;
            exit = exit.max(search.session(&id, head, directory, output)?);
        }
        Ok(exit.unwrap_or(if search.found > 0 { Exit::Done } else { Exit::Found }))
    }
}

struct Search<'a> {
    grep: &'a Grep,
    store: &'a ReadOnlyStore<Agent>,
    pattern: Regex,
    /// What was found in blobs: several events may name one.
    blobs: HashMap<Digest, Arc<[Hit]>>,
    found: u64,
    read: u64,
    progress: Progress,
}

impl Search<'_> {
    fn is_done(&self) -> bool {
        self.grep.max.is_some_and(|max| self.found >= max)
    }

    /// Searches a session up to its head, though a host may go on. Gives the exit code for a session that cannot be read to its end.
    fn session(
        &mut self,
        id: &SessionId,
        head: EventId,
        directory: &Directory,
        output: &mut Output<'_>,
    ) -> Result<Option<Exit>, Failure> {
        let mut after = LogPosition::from(EventId::ZERO);
        while !self.is_done() && after.event() < head {
            let page = match block_on(self.store.events_after(id, after, PAGE)) {
                Ok(page) => page,
                Err(error) => {
                    output.flush()?;
                    let failure = directory.failed(error);
                    crate::terminal::say_error(&failure);
                    return Ok(Some(failure.exit()));
                }
            };
            let Some(last) = page.events.last() else { break };
            after = last.position();
            self.read += page.events.len() as u64;
            self.progress.set(self.read);
            for event in &page.events {
                self.event(id, event, output)?;
            }
        }
        Ok(None)
    }

    fn event(&mut self, session: &SessionId, event: &LogEvent<Agent>, output: &mut Output<'_>) -> Result<(), Failure> {
        let types = &self.grep.types;
        if !types.is_empty() && !types.iter().any(|wanted| wanted == event.event_type()) {
            return Ok(());
        }
        let mut texts = Vec::new();
        let mut each = |place, content: &Content| texts.push((place, content.clone()));
        match event {
            LogEvent::Own(event) => own_texts_of(event.body(), &mut each),
            event => event.body().into_iter().for_each(|body| texts_of(body, &mut each)),
        }
        for (place, content) in texts {
            let (blob, hits) = match &content {
                Content::Inline(text) => (None, hits_in(&self.pattern, text).into()),
                Content::Blob(blob) => (Some(blob.digest), self.hits_in_blob(blob)),
            };
            for hit in hits.iter() {
                if self.is_done() {
                    return Ok(());
                }
                self.found += 1;
                tell(session, event, place, blob, hit, output)?;
            }
        }
        Ok(())
    }

    fn hits_in_blob(&mut self, blob: &BlobRef) -> Arc<[Hit]> {
        let is_text = matches!(blob.kind, BlobKind::Text | BlobKind::Json);
        if self.grep.no_blobs || !is_text || blob.bytes > BLOB_BYTES_MAX {
            return Arc::default();
        }
        if let Some(known) = self.blobs.get(&blob.digest) {
            return Arc::clone(known);
        }
        let hits: Arc<[Hit]> = match block_on(self.store.read_content(&Content::Blob(*blob))) {
            Ok(text) => hits_in(&self.pattern, &text).into(),
            // `verify` tells of it.
            Err(_) => Arc::default(),
        };
        self.blobs.insert(blob.digest, Arc::clone(&hits));
        hits
    }
}

fn hits_in(pattern: &Regex, text: &str) -> Vec<Hit> {
    let lines = (1..).zip(text.lines());
    let hits = lines.filter_map(|(line, text)| {
        let range = pattern.find(text)?.range();
        Some(Hit { line, text: text.to_owned(), range })
    });
    hits.collect()
}

fn tell(
    session: &SessionId,
    event: &LogEvent<Agent>,
    place: &'static str,
    blob: Option<Digest>,
    hit: &Hit,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let Hit { line, text, range } = hit;
    if output.is_json {
        return output.json(&Found {
            v: 1,
            session: session.as_str(),
            id: event.id(),
            at: event.at(),
            r#type: event.event_type(),
            place,
            blob,
            line: *line,
            text,
            from: range.start,
            to: range.end,
        });
    }
    let (before, rest) = text.split_at(range.start);
    let (found, behind) = rest.split_at(range.len());
    let before = match before.char_indices().rev().nth(AROUND - 1) {
        Some((at, _)) if at > 0 => format!("…{}", before.split_at(at).1),
        _ => before.to_owned(),
    };
    let (found, behind) = (shortened(found, 4 * AROUND), shortened(behind, AROUND));
    let found = output.styled(Style::Bad, escaped(&found));
    let (before, behind) = (escaped(&before), escaped(&behind));
    let place = match place == event.event_type() {
        true => place.to_owned(),
        false => format!("{} {place}", event.event_type()),
    };
    let name = output.styled(Style::Name, format!("{}:{}", escaped(session.as_str()), event.id()));
    output.line(format!("{name}  {}  {before}{found}{behind}", output.styled(Style::Dim, place)))
}
