//! `foldlog grep PATTERN`: which events say something. A plain scan, of every event.

use std::collections::HashSet;
use std::ops::Range;

use clap::Args;
use foldlog::agent::Agent;
use foldlog::{
    BlobKind, BlobRef, Content, Digest, ErrorKind, EventId, LogEvent, LogPosition, ReadOnlyStore, SessionId, Timestamp,
};
use futures::executor::block_on;
use regex::{Regex, RegexBuilder};
use serde::Serialize;

use crate::agent::{own_texts_of, texts_of};
use crate::commands::ls::{events_of_all, sessions};
use crate::directory::{Directory, PAGE};
use crate::failure::{Exit, Failure};
use crate::terminal::{Output, Progress, Style, escaped, say_error, shortened};

/// How many characters of a line stand before and behind what was found, for people.
const AROUND: usize = 60;
/// A larger blob is not read.
const BLOB_BYTES_MAX: u64 = 16 << 20;

#[derive(Debug, Args)]
#[command(after_help = "The exit code is 1 if nothing is found. A session that cannot be read to its end, \
and a blob that cannot be read, are told on standard error.")]
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
struct Hit<'a> {
    line: u64,
    text: &'a str,
    range: Range<usize>,
}

/// A text of an event.
struct Place<'a> {
    session: &'a SessionId,
    event: &'a LogEvent<Agent>,
    name: &'static str,
    blob: Option<Digest>,
}

impl Grep {
    pub(crate) fn run(&self, directory: &Directory, output: &mut Output<'_>) -> Result<Exit, Failure> {
        let store = directory.agent("grep", "`foldlog log ID` lists what its events are")?;
        let pattern = if self.fixed { regex::escape(&self.pattern) } else { self.pattern.clone() };
        let pattern = RegexBuilder::new(&pattern).case_insensitive(self.ignore_case).build();
        let pattern = pattern.map_err(|error| {
            Failure::Usage(format!("the pattern is no regular expression (-F takes it as plain text): {error}"))
        })?;
        let in_all = self.session.is_empty();
        let progress = Progress::new("events", move || if in_all { events_of_all(directory) } else { 0 });
        let hitless = HashSet::new();
        let mut search =
            Search { grep: self, directory, store, pattern, hitless, found: 0, read: 0, exit: None, progress };
        if in_all {
            for summary in sessions(directory, None)? {
                let summary = summary?;
                match search.session(&summary.id, summary.head, output) {
                    // Deleted since it was listed.
                    Err(failure) if failure.is_gone() => {}
                    searched => search.go_on(searched, output)?,
                }
            }
        }
        for id in &self.session {
            let id = SessionId::new(id).map_err(|error| directory.failed(error))?;
            // One that is not there is an error of the command line.
            let head = directory.read(directory.untyped.head(&id))?;
            let searched = search.session(&id, head, output);
            search.go_on(searched, output)?;
        }
        Ok(search.exit.unwrap_or(if search.found > 0 { Exit::Done } else { Exit::Found }))
    }
}

struct Search<'a> {
    grep: &'a Grep,
    directory: &'a Directory,
    store: &'a ReadOnlyStore<Agent>,
    pattern: Regex,
    /// The blobs in which nothing is found: several events may name one.
    hitless: HashSet<Digest>,
    found: u64,
    read: u64,
    /// That of the worst of what could not be read.
    exit: Option<Exit>,
    progress: Progress<'a>,
}

impl Search<'_> {
    fn is_done(&self) -> bool {
        self.grep.max.is_some_and(|max| self.found >= max)
    }

    /// Says what could not be read, so that the search can go on with the rest.
    fn go_on(&mut self, searched: Result<(), Failure>, output: &mut Output<'_>) -> Result<(), Failure> {
        match searched {
            Err(failure @ Failure::Store { .. }) => {
                output.flush()?;
                say_error(&failure);
                self.exit = self.exit.max(Some(failure.exit()));
                Ok(())
            }
            searched => searched,
        }
    }

    /// Searches a session up to its head, though a host may go on.
    fn session(&mut self, id: &SessionId, head: EventId, output: &mut Output<'_>) -> Result<(), Failure> {
        let mut after = LogPosition::from(EventId::ZERO);
        while !self.is_done() && after.event() < head {
            let page = self.directory.read(self.store.events_after(id, after, PAGE))?;
            let Some(last) = page.events.last() else { break };
            after = last.position();
            self.read += page.events.len() as u64;
            self.progress.set(self.read);
            for event in &page.events {
                self.event(id, event, output)?;
            }
        }
        Ok(())
    }

    fn event(&mut self, session: &SessionId, event: &LogEvent<Agent>, output: &mut Output<'_>) -> Result<(), Failure> {
        let types = &self.grep.types;
        if !types.is_empty() && !types.iter().any(|wanted| wanted == event.event_type()) {
            return Ok(());
        }
        let mut texts = Vec::new();
        let mut each = |name, content: &Content| texts.push((name, content.clone()));
        match event {
            LogEvent::Own(event) => own_texts_of(event.body(), &mut each),
            event => event.body().into_iter().for_each(|body| texts_of(body, &mut each)),
        }
        for (name, content) in texts {
            match &content {
                Content::Inline(text) => self.text(&Place { session, event, name, blob: None }, text, output)?,
                Content::Blob(blob) => {
                    let place = Place { session, event, name, blob: Some(blob.digest) };
                    self.blob(&place, blob, output)?;
                }
            }
        }
        Ok(())
    }

    fn text(&mut self, place: &Place<'_>, text: &str, output: &mut Output<'_>) -> Result<(), Failure> {
        for (line, text) in (1..).zip(text.lines()) {
            if self.is_done() {
                break;
            }
            if let Some(found) = self.pattern.find(text) {
                self.found += 1;
                tell(place, &Hit { line, text, range: found.range() }, output)?;
            }
        }
        Ok(())
    }

    fn blob(&mut self, place: &Place<'_>, blob: &BlobRef, output: &mut Output<'_>) -> Result<(), Failure> {
        let is_text = matches!(blob.kind, BlobKind::Text | BlobKind::Json);
        let is_left_out = self.grep.no_blobs || !is_text || blob.bytes > BLOB_BYTES_MAX;
        if is_left_out || self.is_done() || self.hitless.contains(&blob.digest) {
            return Ok(());
        }
        let found_before = self.found;
        match block_on(self.store.read_content(&Content::Blob(*blob))) {
            Ok(text) => self.text(place, &text, output)?,
            // Its bytes are no text, whatever its reference says.
            Err(error) if matches!(error.kind(), ErrorKind::InvalidArgument { .. }) => {}
            Err(error) => self.go_on(Err(self.directory.failed(error)), output)?,
        }
        if self.found == found_before {
            self.hitless.insert(blob.digest);
        }
        Ok(())
    }
}

fn tell(place: &Place<'_>, hit: &Hit<'_>, output: &mut Output<'_>) -> Result<(), Failure> {
    let Place { session, event, name, blob } = place;
    let Hit { line, text, range } = hit;
    if output.is_json {
        return output.json(&Found {
            v: 1,
            session: session.as_str(),
            id: event.id(),
            at: event.at(),
            r#type: event.event_type(),
            place: name,
            blob: *blob,
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
    let place = match *name == event.event_type() {
        true => (*name).to_owned(),
        false => format!("{} {name}", event.event_type()),
    };
    let name = output.styled(Style::Name, format!("{}:{}", escaped(session.as_str()), event.id()));
    output.line(format!("{name}  {}  {before}{found}{behind}", output.styled(Style::Dim, place)))
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::path::Path;

    use super::*;
    use crate::directory::tests::{delete, with_sessions};

    /// Deletes session `b` when the first line is written.
    struct Deleting<'a>(&'a Path, Vec<u8>);

    impl Write for Deleting<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.1.is_empty() {
                delete(self.0, "b");
            }
            self.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_session_that_is_deleted_while_sessions_are_searched_is_left_out() {
        let (path, directory) = with_sessions(&["a", "b", "c"]);
        let grep = Grep {
            pattern: "hello".to_owned(),
            fixed: true,
            ignore_case: false,
            session: Vec::new(),
            types: Vec::new(),
            no_blobs: false,
            max: None,
        };
        let mut writer = Deleting(path.path(), Vec::new());
        let mut output = Output::to(&mut writer, None, false);
        assert_eq!(grep.run(&directory, &mut output).unwrap(), Exit::Done);
        drop(output);
        let said = String::from_utf8(writer.1).unwrap();
        assert_eq!(said, "a:1  message_appended text  hello\nc:1  message_appended text  hello\n");
    }
}
