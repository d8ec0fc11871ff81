//! `foldlog preflight`: what this build makes of every session.

use std::time::Duration;

use foldlog::{EventId, Preflight, PreflightedSession, ViewComparison};
use serde::Serialize;

use crate::commands::ls::events_of_all;
use crate::directory::Directory;
use crate::failure::{Exit, Failure};
use crate::terminal::{Output, Progress, Style, count, counted, duration, escaped};

/// A session in JSON. One object each, before the one of the whole.
#[derive(Serialize)]
struct Folded<'a> {
    v: u8,
    session: &'a str,
    events: u64,
    head: EventId,
    elapsed_micros: u64,
    /// Of [`name_of`].
    stored_view: &'static str,
    problem: Option<String>,
}

/// The whole in JSON.
#[derive(Serialize)]
struct Whole<'a> {
    v: u8,
    clean: bool,
    sessions: u64,
    events: u64,
    elapsed_micros: u64,
    findings: u64,
    slowest: Option<&'a str>,
}

pub(crate) fn run(directory: &Directory, output: &mut Output<'_>) -> Result<Exit, Failure> {
    let instead = "call ReadOnlyStore::<Model>::preflight in a test of the host's own";
    let store = directory.agent("preflight", instead)?;
    let mut progress = Progress::new("events", || events_of_all(directory));
    let (mut done, mut told, mut others) = (0, Ok(()), Others::default());
    let is_json = output.is_json;
    let found = directory.read(store.preflight(|session| {
        done += session.events;
        progress.set(done);
        others.see(session);
        if is_json && told.is_ok() {
            told = output.json(&of(session));
        }
    }));
    drop(progress);
    told?;
    let found = found?;
    if is_json {
        output.json(&Whole {
            v: 1,
            clean: found.is_clean(),
            sessions: found.sessions,
            events: found.events,
            elapsed_micros: micros(found.elapsed),
            findings: found.findings.len() as u64 + found.more_findings,
            slowest: found.slowest.as_ref().map(|slowest| slowest.session.as_str()),
        })?;
    } else {
        say(&found, &others, output)?;
    }
    Ok(if found.is_clean() { Exit::Done } else { Exit::Found })
}

/// What is no finding, and is told all the same.
#[derive(Default)]
struct Others {
    other_schema: u64,
    unusable: u64,
}

impl Others {
    fn see(&mut self, session: &PreflightedSession) {
        match session.stored_view {
            ViewComparison::OtherSchema => self.other_schema += 1,
            ViewComparison::Unusable { .. } => self.unusable += 1,
            _ => {}
        }
    }
}

fn micros(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
}

fn of(found: &PreflightedSession) -> Folded<'_> {
    Folded {
        v: 1,
        session: found.session.as_str(),
        events: found.events,
        head: found.head,
        elapsed_micros: micros(found.elapsed),
        stored_view: name_of(&found.stored_view),
        problem: found.problem.as_ref().map(ToString::to_string),
    }
}

fn name_of(compared: &ViewComparison) -> &'static str {
    match compared {
        ViewComparison::NoView => "none",
        ViewComparison::OtherSchema => "other_schema",
        ViewComparison::Same => "same",
        ViewComparison::Changed => "changed",
        ViewComparison::Unusable { .. } => "unusable",
        ViewComparison::NotCompared => "not_compared",
        _ => "unknown",
    }
}

fn say(found: &Preflight, others: &Others, output: &mut Output<'_>) -> Result<(), Failure> {
    for finding in &found.findings {
        let line = output.styled(Style::Bad, escaped(&finding.to_string()));
        output.line(line)?;
    }
    if found.more_findings > 0 {
        output.line(format!("and {} more", count(found.more_findings)))?;
    }
    let (sessions, events) = (counted(found.sessions, "session"), counted(found.events, "event"));
    output.line(format!("{sessions}, {events}, folded in {}", duration(micros(found.elapsed))))?;
    if let Some(slowest) = &found.slowest {
        let (session, elapsed) = (escaped(slowest.session.as_str()), duration(micros(slowest.elapsed)));
        output.line(format!("slowest: {session}, {} in {elapsed}", counted(slowest.events, "event")))?;
    }
    let others = [
        (
            others.other_schema,
            "stored view",
            "of another schema: the first opening of each session folds all of its events",
        ),
        (others.unusable, "stored view", "that cannot be used: made anew when it is due"),
    ];
    for (number, what, why) in others.into_iter().filter(|(number, ..)| *number > 0) {
        output.line(format!("{} {why}", counted(number, what)))?;
    }
    let line = match found.is_clean() {
        true => output.styled(Style::Good, "this build reads every session to its end"),
        false => output.styled(Style::Bad, "this build does not read all of it: see above"),
    };
    output.line(line)
}
