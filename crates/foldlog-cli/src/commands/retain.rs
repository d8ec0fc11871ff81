//! `foldlog retain`: deletes the sessions that rules do not keep.

use std::time::Duration;

use clap::{ArgGroup, Args};
use foldlog::{EventId, RetainMode, Retained, RetainedSession, Retention, Timestamp, Verdict, WhyKept};
use serde::Serialize;

use crate::commands::consent::{Consent, Leave, is_wanted};
use crate::commands::erased::{Left, say_left};
use crate::commands::values::{label, size, span};
use crate::directory::Directory;
use crate::failure::{Exit, Failure};
use crate::terminal::{Output, bytes, count, counted, escaped, time, waiting};

#[derive(Debug, Args)]
#[command(
    after_help = "A session goes if one of the rules says so. One that a host has open stays, and so does one in which \
something is unfinished, unless --unfinished is given. Blobs stay until `foldlog sweep`."
)]
#[command(group(ArgGroup::new("rules").required(true).multiple(true).args(["unchanged_for", "sessions_max", "bytes_max"])))]
pub(crate) struct Retain {
    /// Sessions go whose last event is older than this (`90s`, `10m`, `24h`, `30d`)
    #[arg(long, value_name = "SPAN", value_parser = span)]
    unchanged_for: Option<Duration>,
    /// So many sessions stay, those with the latest events
    #[arg(long, value_name = "N")]
    sessions_max: Option<usize>,
    /// Sessions with so many bytes of records stay, those with the latest events (`500K`, `20M`, `2G`)
    #[arg(long, value_name = "BYTES", value_parser = size)]
    bytes_max: Option<u64>,
    /// Look only at sessions that have this label; given several times, at those that have all
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Sessions in which something is unfinished go, too
    #[arg(long)]
    unfinished: bool,
    #[command(flatten)]
    consent: Consent,
}

/// A session in JSON.
#[derive(Serialize)]
struct InJson<'a> {
    v: u8,
    session: &'a str,
    events: EventId,
    last: Timestamp,
    record_bytes: u64,
    gone: bool,
    why: Option<String>,
}

/// The whole in JSON.
#[derive(Serialize)]
struct Whole {
    v: u8,
    dry_run: bool,
    sessions: usize,
    record_bytes: u64,
    freed_bytes: u64,
    freeable_bytes: u64,
    #[serde(flatten)]
    left: Left,
}

impl Retain {
    pub(crate) fn run(&self, directory: Directory, output: &mut Output<'_>) -> Result<Exit, Failure> {
        let instead = "its host can call Store::<Model>::retain";
        directory.check_writing("retain", instead)?;
        let leave = self.consent.leave(output)?;
        let retention = self.retention();
        if leave != Leave::Given {
            let store = directory.agent("retain", instead)?;
            let would = waiting("reading sessions", || directory.read(store.retain_dry_run(&retention)))?;
            tell(&would, RetainMode::DryRun, output)?;
            if leave == Leave::OnlyTell || would.gone() == 0 {
                return Ok(Exit::Done);
            }
            let question = format!("Delete {} with all events, for good?", counted(would.gone() as u64, "session"));
            if !is_wanted(&question, output)? {
                output.line("nothing was deleted")?;
                return Ok(Exit::Found);
            }
        }
        let retained = directory.write(|writing| {
            let retaining = || writing.wait(writing.store.retain(&retention, RetainMode::Apply));
            waiting("deleting and erasing", retaining)
        })?;
        tell(&retained, RetainMode::Apply, output)
    }

    fn retention(&self) -> Retention {
        let mut retention = Retention::new();
        if let Some(time) = self.unchanged_for {
            retention = retention.unchanged_for(time);
        }
        if let Some(max) = self.sessions_max {
            retention = retention.sessions_max(max);
        }
        if let Some(max) = self.bytes_max {
            retention = retention.record_bytes_max(max);
        }
        for (name, value) in &self.labels {
            retention = retention.labeled(name, value);
        }
        if self.unfinished { retention.unfinished_too() } else { retention }
    }
}

fn tell(retained: &Retained, mode: RetainMode, output: &mut Output<'_>) -> Result<Exit, Failure> {
    let dry_run = mode == RetainMode::DryRun;
    for session in &retained.sessions {
        if output.is_json {
            let RetainedSession { id, last_event, events, record_bytes, verdict, .. } = session;
            let why = match verdict {
                Verdict::Gone => None,
                Verdict::Kept(why) => Some(why.to_string()),
                verdict => Some(verdict.to_string()),
            };
            let (session, events, gone) = (id.as_str(), EventId::new(*events), why.is_none());
            output.json(&InJson {
                v: 1,
                session,
                events,
                last: *last_event,
                record_bytes: *record_bytes,
                gone,
                why,
            })?;
        } else if let Some(line) = line_of(session, dry_run) {
            output.line(line)?;
        }
    }
    // A session that could not be read or deleted is something wrong.
    let is_wrong = |session: &RetainedSession| {
        matches!(session.verdict, Verdict::Kept(WhyKept::Unreadable(_) | WhyKept::Failed(_)))
    };
    let mut exit = if retained.sessions.iter().any(is_wrong) { Exit::Found } else { Exit::Done };
    let Retained { record_bytes, freed_bytes, freeable_bytes, erased, .. } = retained;
    if output.is_json {
        let (sessions, left) = (retained.gone(), erased.as_ref().map(Left::from).unwrap_or_default());
        let (record_bytes, freed_bytes, freeable_bytes) = (*record_bytes, *freed_bytes, *freeable_bytes);
        output.json(&Whole { v: 1, dry_run, sessions, record_bytes, freed_bytes, freeable_bytes, left })?;
        if erased.as_ref().is_some_and(|erased| !erased.is_complete()) {
            exit = exit.max(Exit::Found);
        }
        return Ok(exit);
    }
    let of = format!("{} of {}", count(retained.gone() as u64), counted(retained.sessions.len() as u64, "session"));
    if dry_run {
        output.line(format!("would go: {of}, {} of records", bytes(*record_bytes)))?;
        return Ok(exit);
    }
    let (freed, freeable) = (bytes(*freed_bytes), bytes(*freeable_bytes));
    output.line(format!(
        "gone: {of}, {} of records; {freed} given back, {freeable} free for later events",
        bytes(*record_bytes)
    ))?;
    if let Some(erased) = erased {
        exit = exit.max(say_left(erased, output)?);
    }
    Ok(exit)
}

/// What became of a session, but for those that the rules keep: they are most.
fn line_of(session: &RetainedSession, dry_run: bool) -> Option<String> {
    let id = escaped(session.id.as_str());
    match &session.verdict {
        Verdict::Gone => {
            let what = if dry_run { "would go" } else { "deleted" };
            let (events, size) = (counted(session.events, "event"), bytes(session.record_bytes));
            Some(format!("{what}: {id}, {events} of {size}, last {}", time(session.last_event)))
        }
        Verdict::Kept(WhyKept::ByTheRules) => None,
        Verdict::Kept(why) => Some(format!("stays: {id}, since {}", escaped(&why.to_string()))),
        verdict => Some(format!("{id} {verdict}")),
    }
}
