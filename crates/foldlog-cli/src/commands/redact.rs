//! `foldlog redact ID EVENT..`: takes what events say out of a session.

use clap::Args;
use foldlog::agent::Agent;
use foldlog::{Digest, Erasure, ErasurePending, ErrorKind, EventId, LogEvent, Redact as Redacting, SessionModel as _};
use serde::Serialize;

use crate::agent::{line_of, own_line_of};
use crate::commands::consent::{Consent, Leave, is_wanted};
use crate::commands::erased::say_copies;
use crate::directory::Directory;
use crate::failure::{Exit, Failure};
use crate::terminal::{Output, Style, counted, shortened, waiting};

/// The characters of what an event says that are shown to a person.
const SHOWN_MAX: usize = 200;

#[derive(Debug, Args)]
#[command(
    after_help = "Ids, times, types and the order stay, and what the conversation needs to go on; `[redacted]` stands where \
a text was. --dry-run shows it. Backups that were made before have the events until `foldlog backup` is run again."
)]
pub(crate) struct Redact {
    /// The session
    id: String,
    /// The events, by their ids, all or none
    #[arg(required = true, value_name = "EVENT")]
    events: Vec<u64>,
    /// Why, and on whose behalf: it stays in the log
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    consent: Consent,
}

/// An event in JSON, in a dry run.
#[derive(Serialize)]
struct InJson<'a> {
    v: u8,
    session: &'a str,
    id: EventId,
    #[serde(rename = "type")]
    event_type: &'a str,
    says: String,
    would_say: String,
}

/// The whole in JSON.
#[derive(Serialize)]
struct Whole<'a> {
    v: u8,
    dry_run: bool,
    session: &'a str,
    events: u64,
    /// The event that says so.
    redacted_by: Option<EventId>,
    /// Whether no byte of them is left in a file.
    erased: Option<bool>,
    pending_log: Option<bool>,
    pending_blobs: Option<Vec<Digest>>,
    copies: Option<Vec<String>>,
}

impl Redact {
    pub(crate) fn run(&self, directory: Directory, output: &mut Output<'_>) -> Result<Exit, Failure> {
        directory.check_writing("redact", "its host can call Session::redact, and say what is left of the events")?;
        let leave = self.consent.leave(output)?;
        let mut events: Vec<_> = self.events.iter().copied().map(EventId::new).collect();
        events.sort_unstable();
        events.dedup();
        let head = directory.read(directory.untyped.head(&self.id))?;
        if let Some(event) = events.iter().find(|event| **event == EventId::ZERO || **event > head) {
            return Err(self.no_event(*event, head, &directory));
        }
        let many = events.len() as u64;
        if leave != Leave::Given {
            for event in &events {
                self.show(*event, &directory, output)?;
            }
            if leave == Leave::OnlyTell {
                return self.end(many, None, output);
            }
            let question = format!("Take out what {} say, for good?", counted(many, "event"));
            if !is_wanted(&question, output)? {
                output.line("nothing was redacted")?;
                return Ok(Exit::Found);
            }
        }
        let redact = Redacting::new(events).reason(&self.reason);
        let redaction = directory.write(|writing| {
            let redacting = async {
                let session = writing.store.resume_session(&self.id).await?;
                session.redact(redact).await
            };
            waiting("redacting and erasing", || writing.wait(redacting))
        })?;
        let left = match redaction.erasure {
            Erasure::Pending(left) => left,
            _ => ErasurePending::default(),
        };
        self.end(many, Some((redaction.event, left)), output)
    }

    fn no_event(&self, event: EventId, head: EventId, directory: &Directory) -> Failure {
        directory.failed(match foldlog::SessionId::new(&self.id) {
            Ok(session) => ErrorKind::BeyondHead { session, event, head }.into(),
            Err(error) => error,
        })
    }

    /// Shows an event, and what would be left of it.
    fn show(&self, event: EventId, directory: &Directory, output: &mut Output<'_>) -> Result<(), Failure> {
        let store = directory.agent("redact", "")?;
        let before = EventId::new(event.get() - 1);
        let page = directory.read(store.events_after(&self.id, before, 1))?;
        let Some(found) = page.events.first() else { return Err(self.no_event(event, before, directory)) };
        let (says, would_say) = match found {
            LogEvent::Own(own) => (own_line_of(own.body()), "no title, labels or reason of it".to_owned()),
            found => {
                let says = found.body().map(line_of).unwrap_or_default();
                let would_say = found.body().and_then(Agent::redact).map(|body| line_of(&body));
                (says, would_say.unwrap_or_default())
            }
        };
        let event_type = found.event_type();
        if output.is_json {
            return output.json(&InJson { v: 1, session: &self.id, id: event, event_type, says, would_say });
        }
        let id = output.styled(Style::Name, format!("{event} {event_type}"));
        output.line(format!("{id}\n  says       {}", shortened(&says, SHOWN_MAX)))?;
        output.line(format!("  would say  {}", shortened(&would_say, SHOWN_MAX)))
    }

    fn end(
        &self,
        events: u64,
        redacted: Option<(EventId, ErasurePending)>,
        output: &mut Output<'_>,
    ) -> Result<Exit, Failure> {
        let (redacted_by, left) = redacted.unzip();
        let erased = left.as_ref().map(|left| *left == ErasurePending::default());
        let exit = if erased == Some(false) { Exit::Found } else { Exit::Done };
        if output.is_json {
            let pending_log = left.as_ref().map(|left| left.log);
            let (pending_blobs, copies) = left.map(|left| (left.blobs, left.copies)).unzip();
            let (session, dry_run) = (self.id.as_str(), redacted_by.is_none());
            output.json(&Whole {
                v: 1,
                dry_run,
                session,
                events,
                redacted_by,
                erased,
                pending_log,
                pending_blobs,
                copies,
            })?;
            return Ok(exit);
        }
        let (Some(event), Some(left)) = (redacted_by, left) else {
            output.line(format!("would be redacted: {}", counted(events, "event")))?;
            return Ok(exit);
        };
        output.line(format!("redacted: {}, as event {event} says", counted(events, "event")))?;
        if exit == Exit::Done {
            output.line("erased: no byte of it is left in a file")?;
        }
        if left.log {
            let line = "not erased yet: a program reads or writes the log; stores that write go on with it, and \
                        `foldlog doctor` tells when none is left";
            let line = output.styled(Style::Bad, line);
            output.line(line)?;
        }
        if !left.blobs.is_empty() {
            let blobs = counted(left.blobs.len() as u64, "blob");
            let line = format!(
                "still there: {blobs} that it named; `foldlog sweep --grace 0s` removes what no other event names"
            );
            let line = output.styled(Style::Bad, line);
            output.line(line)?;
        }
        say_copies(&left.copies, output)?;
        Ok(exit)
    }
}
