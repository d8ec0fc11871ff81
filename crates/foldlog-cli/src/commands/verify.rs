//! `foldlog verify`: what is damaged.

use foldlog::{Digest, EventId, Problem, SessionId, Verification};
use serde::Serialize;

use crate::commands::ls::events_of_all;
use crate::directory::Directory;
use crate::failure::{Exit, Failure};
use crate::terminal::{Output, Progress, Style, bytes, count, counted, escaped};

/// A problem in JSON. One object each, before the one of the whole verification.
#[derive(Serialize)]
pub(crate) struct ShownProblem<'a> {
    v: u8,
    problem: String,
    session: Option<&'a str>,
    event: Option<EventId>,
    digest: Option<Digest>,
    /// Whether something is damaged. An event of a newer build is none.
    damage: bool,
}

/// The verification in JSON.
#[derive(Serialize)]
struct Verified {
    v: u8,
    sound: bool,
    sessions: u64,
    events: u64,
    record_bytes: u64,
    blobs: u64,
    blob_bytes: u64,
    unreferenced_blobs: u64,
    stored_views: u64,
    damaged_stored_views: u64,
    strays: u64,
    problems: u64,
}

impl<'a> ShownProblem<'a> {
    pub(crate) fn of(problem: &'a Problem) -> Self {
        let (session, event, digest) = (problem.session.as_ref().map(SessionId::as_str), problem.event, problem.digest);
        Self { v: 1, problem: problem.to_string(), session, event, digest, damage: problem.is_damage() }
    }
}

pub(crate) fn run(directory: &Directory, output: &mut Output<'_>) -> Result<Exit, Failure> {
    let instead = "its host can call ReadOnlyStore::<Model>::verify";
    let store = directory.agent("verify", instead)?;
    // As many as there are now. More may come, and damage may hide some.
    let mut progress = Progress::new("events", || events_of_all(directory));
    let verified = directory.read(store.verify_with(|so_far| progress.set(so_far.events)))?;
    drop(progress);
    if output.is_json {
        tell(&verified, output)?
    } else {
        say(&verified, output)?
    }
    Ok(if verified.is_sound() { Exit::Done } else { Exit::Found })
}

fn tell(verified: &Verification, output: &mut Output<'_>) -> Result<(), Failure> {
    for problem in &verified.problems {
        output.json(&ShownProblem::of(problem))?;
    }
    output.json(&Verified {
        v: 1,
        sound: verified.is_sound(),
        sessions: verified.sessions,
        events: verified.events,
        record_bytes: verified.record_bytes,
        blobs: verified.blobs,
        blob_bytes: verified.blob_bytes,
        unreferenced_blobs: verified.orphans,
        stored_views: verified.snapshots,
        damaged_stored_views: verified.damaged_snapshots,
        strays: verified.strays,
        problems: verified.problems.len() as u64 + verified.more_problems,
    })
}

fn say(verified: &Verification, output: &mut Output<'_>) -> Result<(), Failure> {
    for problem in &verified.problems {
        let style = if problem.is_damage() { Style::Bad } else { Style::Plain };
        let line = output.styled(style, escaped(&problem.to_string()));
        output.line(line)?;
    }
    if verified.more_problems > 0 {
        output.line(format!("and {} more", count(verified.more_problems)))?;
    }
    let Verification { sessions, events, record_bytes, blobs, blob_bytes, snapshots, .. } = *verified;
    let (sessions, events) = (counted(sessions, "session"), counted(events, "event"));
    output.line(format!("{sessions}, {events} in {}", bytes(record_bytes)))?;
    let (blobs, views) = (counted(blobs, "blob"), counted(snapshots, "stored view"));
    output.line(format!("{blobs} of {}, {views}", bytes(blob_bytes)))?;
    // No damage, but worth a look.
    let others = [
        (verified.orphans, "blob", "that no event references: put, and perhaps used later"),
        (verified.damaged_snapshots, "stored view", "with a damaged file: a cache, which is made anew"),
        (verified.strays, "thing", "among the blobs that is none: foldlog leaves it alone"),
    ];
    for (number, what, why) in others.into_iter().filter(|(number, ..)| *number > 0) {
        output.line(format!("{} {why}", counted(number, what)))?;
    }
    let line = match verified.is_sound() {
        true => output.styled(Style::Good, "nothing is damaged"),
        false => output.styled(Style::Bad, "damaged: `foldlog repair` makes a new directory of what is whole"),
    };
    output.line(line)
}
