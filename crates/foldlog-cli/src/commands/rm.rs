//! `foldlog rm ID..`: deletes sessions.

use clap::Args;
use foldlog::{Error, ErrorKind, EventId, SessionId};
use serde::Serialize;

use crate::commands::consent::{Consent, Leave, is_wanted};
use crate::commands::erased::{Left, erase, say_left};
use crate::directory::Directory;
use crate::failure::{Exit, Failure};
use crate::terminal::{Output, counted, escaped, say_error};

#[derive(Debug, Args)]
#[command(
    after_help = "A session that a host has open stays, and the command says which process has it. Blobs stay until \
`foldlog sweep`."
)]
pub(crate) struct Rm {
    /// The sessions
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    #[command(flatten)]
    consent: Consent,
}

/// A session in JSON.
#[derive(Serialize)]
struct InJson<'a> {
    v: u8,
    session: &'a str,
    events: Option<EventId>,
    /// Whether it went, or in a dry run would.
    gone: bool,
    why: Option<String>,
}

/// The whole in JSON.
#[derive(Serialize)]
struct Deleted {
    v: u8,
    dry_run: bool,
    sessions: u64,
    events: u64,
    #[serde(flatten)]
    left: Left,
}

/// What is to go.
struct Doomed {
    session: SessionId,
    events: EventId,
}

/// What has become of the sessions so far.
#[derive(Default)]
struct Tally {
    sessions: u64,
    events: u64,
    /// The worst of what was in the way.
    exit: Option<Exit>,
}

impl Rm {
    pub(crate) fn run(&self, directory: Directory, output: &mut Output<'_>) -> Result<Exit, Failure> {
        directory.check_writing("rm", "its host can call Store::<Model>::delete_session")?;
        let leave = self.consent.leave(output)?;
        let mut tally = Tally::default();
        let mut doomed = Vec::new();
        for id in &self.ids {
            match look(&directory, id) {
                Ok(found) => doomed.push(found),
                Err(failure) => tally.kept(id, &failure, output)?,
            }
        }
        let unerased = directory.read(directory.untyped.pending_erasures())?;
        if leave != Leave::Given {
            for Doomed { session, events } in &doomed {
                let what = if leave == Leave::OnlyTell { "would go" } else { "goes" };
                tally.went(session, *events, what, output)?;
            }
        }
        if leave == Leave::OnlyTell {
            return tally.end(true, None, output);
        }
        if leave == Leave::Ask && !doomed.is_empty() {
            let question = format!("Delete {} with all events, for good?", counted(doomed.len() as u64, "session"));
            if !is_wanted(&question, output)? {
                output.line("nothing was deleted")?;
                return Ok(Exit::Found);
            }
        }
        // What an earlier call has deleted and not erased, since it was killed, is erased as well.
        if doomed.is_empty() && unerased == 0 {
            return tally.end(false, None, output);
        }
        let mut tally = Tally { exit: tally.exit, ..Tally::default() };
        let erased = directory.write(|writing| {
            for Doomed { session, events } in &doomed {
                match writing.wait(writing.store.delete_session(session.as_str())) {
                    Ok(()) => tally.went(session, *events, "deleted", output)?,
                    Err(failure) => tally.kept(session.as_str(), &failure, output)?,
                }
            }
            output.flush()?;
            erase(writing)
        })?;
        tally.end(false, Some(erased), output)
    }
}

/// Finds a session, and refuses one that a host writes.
fn look(directory: &Directory, id: &str) -> Result<Doomed, Failure> {
    let session = SessionId::new(id).map_err(|error| directory.failed(error))?;
    let events = directory.read(directory.untyped.head(id))?;
    match directory.read(directory.untyped.living_owner(id))? {
        Some(owner) => Err(directory.failed(Error::from(ErrorKind::OwnedElsewhere { session, owner }))),
        None => Ok(Doomed { session, events }),
    }
}

impl Tally {
    fn went(
        &mut self,
        session: &SessionId,
        events: EventId,
        what: &str,
        output: &mut Output<'_>,
    ) -> Result<(), Failure> {
        self.sessions += 1;
        self.events += events.get();
        if output.is_json {
            let session = session.as_str();
            return output.json(&InJson { v: 1, session, events: Some(events), gone: true, why: None });
        }
        output.line(format!("{what}: {}, {}", escaped(session.as_str()), counted(events.get(), "event")))
    }

    /// One that stays is told on standard error, and the others go all the same.
    fn kept(&mut self, session: &str, failure: &Failure, output: &mut Output<'_>) -> Result<(), Failure> {
        self.exit = self.exit.max(Some(failure.exit()));
        if output.is_json {
            let why = Some(failure.to_string());
            output.json(&InJson { v: 1, session, events: None, gone: false, why })?;
        }
        output.flush()?;
        say_error(failure);
        Ok(())
    }

    fn end(self, dry_run: bool, erased: Option<foldlog::Erased>, output: &mut Output<'_>) -> Result<Exit, Failure> {
        let Self { sessions, events, exit } = self;
        let mut exit = exit.unwrap_or(Exit::Done);
        if output.is_json {
            let left = erased.as_ref().map(Left::from).unwrap_or_default();
            output.json(&Deleted { v: 1, dry_run, sessions, events, left })?;
            if erased.is_some_and(|erased| !erased.is_complete()) {
                exit = exit.max(Exit::Found);
            }
            return Ok(exit);
        }
        let what = if dry_run { "would go" } else { "gone" };
        output.line(format!("{what}: {}, {}", counted(sessions, "session"), counted(events, "event")))?;
        if let Some(erased) = &erased {
            exit = exit.max(say_left(erased, output)?);
        }
        Ok(exit)
    }
}
