//! `foldlog log ID`: the events of a session, one a line.

mod follow;
mod since;

use clap::Args;
use foldlog::agent::Agent;
use foldlog::{Error, ErrorKind, EventHeader, EventId, LogEvent, LogPosition, Timestamp};
use serde::Serialize;

use crate::agent::{line_of, own_line_of};
use crate::directory::{Directory, PAGE};
use crate::failure::{Exit, Failure};
use crate::terminal::{Output, Style, bytes, escaped, shortened};
use follow::Pace;
use since::Since;

#[derive(Debug, Args)]
pub(crate) struct Log {
    /// The session
    id: String,
    /// Begin after an event (`12`, or its position), at a time (`2026-11-28T06:30:00Z`), or so long ago (`90s`, `10m`,
    /// `2h`, `3d`)
    #[arg(long, value_name = "WHEN")]
    since: Option<Since>,
    /// Begin with the last N events
    #[arg(long, short = 'n', value_name = "N", conflicts_with = "since")]
    last: Option<u64>,
    /// Only events of these types
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
    types: Vec<String>,
    /// Go on with what other processes append, until interrupted
    #[arg(long, short)]
    follow: bool,
}

/// An event, with its body if this build can read it.
pub(crate) enum Logged {
    Whole(LogEvent<Agent>),
    /// Of another model, or of a newer build.
    Header(EventHeader, Option<Error>),
}

/// An event in JSON.
#[derive(Serialize)]
struct InJson<'a, E: Serialize> {
    v: u8,
    session: &'a str,
    #[serde(flatten)]
    event: &'a E,
    /// Why an event of the agent model has no body here.
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<String>,
}

impl Log {
    pub(crate) fn run(&self, directory: &Directory, output: &mut Output<'_>) -> Result<Exit, Failure> {
        let head = directory.read(directory.untyped.head(&self.id))?;
        let mut after: LogPosition = match (&self.since, self.last) {
            (Some(Since::Event(position)), _) => *position,
            (_, Some(last)) => EventId::new(head.get().saturating_sub(last)).into(),
            _ => EventId::ZERO.into(),
        };
        let from = match self.since {
            Some(Since::Time(at)) => at,
            _ => Timestamp::from_micros(i64::MIN),
        };
        let mut pace = Pace::default();
        let mut events_max = PAGE;
        loop {
            let (page, more) = read(directory, &self.id, after, events_max)?;
            // Where one event has no body, the next may have none either: what is read behind it would be read again.
            events_max = match page.last() {
                Some(Logged::Header(_, Some(_))) => 1,
                _ => PAGE.min(2 * events_max),
            };
            for logged in &page {
                after = logged.position();
                if logged.at() >= from && self.wants(logged.event_type()) {
                    logged.write(&self.id, output)?;
                }
            }
            // Who does not follow reads to where the log ended, though a host goes on.
            let is_there = !self.follow && after.event() >= head;
            if more && !page.is_empty() && !is_there {
                pace.quicken();
                // Somebody who follows sees each page at once, however many follow.
                if self.follow {
                    output.flush()?;
                }
            } else if self.follow {
                output.flush()?;
                pace.wait();
            } else {
                return Ok(Exit::Done);
            }
        }
    }

    fn wants(&self, event_type: &str) -> bool {
        self.types.is_empty() || self.types.iter().any(|wanted| wanted == event_type)
    }
}

/// A page of events, and whether more may follow. An event that this build does not decode is read without its body,
/// alone.
fn read(
    directory: &Directory,
    id: &str,
    after: LogPosition,
    events_max: usize,
) -> Result<(Vec<Logged>, bool), Failure> {
    let headers = |events, unreadable: Option<Error>| {
        let page = directory.read(directory.untyped.headers_after(id, after, events))?;
        let logged = page.headers.into_iter().map(|header| Logged::Header(header, unreadable.clone()));
        Ok((logged.collect(), page.more))
    };
    let Some(agent) = &directory.agent else { return headers(events_max, None) };
    match futures::executor::block_on(agent.events_after(id, after, events_max)) {
        Ok(page) => Ok((page.events.into_iter().map(Logged::Whole).collect(), page.more)),
        Err(error) if matches!(error.kind(), ErrorKind::NewerRecord { .. } | ErrorKind::Undecodable { .. }) => {
            headers(1, Some(error))
        }
        Err(error) => Err(directory.failed(error)),
    }
}

impl Logged {
    fn position(&self) -> LogPosition {
        match self {
            Self::Whole(event) => event.position(),
            Self::Header(header, _) => header.position,
        }
    }

    fn at(&self) -> Timestamp {
        match self {
            Self::Whole(event) => event.at(),
            Self::Header(header, _) => header.at,
        }
    }

    fn event_type(&self) -> &str {
        match self {
            Self::Whole(event) => event.event_type(),
            Self::Header(header, _) => &header.event_type,
        }
    }

    pub(crate) fn write(&self, session: &str, output: &mut Output<'_>) -> Result<(), Failure> {
        if output.is_json {
            return match self {
                Self::Whole(event) => output.json(&InJson { v: 1, session, event, unreadable: None }),
                Self::Header(event, unreadable) => {
                    let unreadable = unreadable.as_ref().map(ToString::to_string);
                    output.json(&InJson { v: 1, session, event, unreadable })
                }
            };
        }
        let said = match self {
            Self::Whole(LogEvent::Own(event)) => own_line_of(event.body()),
            Self::Whole(event) => event.body().map(line_of).unwrap_or_default(),
            Self::Header(header, unreadable) => of_header(header, unreadable.as_ref()),
        };
        let (id, at) = (self.position().event(), self.at().to_string());
        let event_type = escaped(self.event_type());
        let said = match output.width {
            Some(width) => {
                let taken = 5.max(id.to_string().len()) + at.len() + 19.max(event_type.chars().count()) + 3;
                shortened(&said, width.saturating_sub(taken + 1))
            }
            None => said,
        };
        let line = format!(
            "{id:>5} {} {} {said}",
            output.styled(Style::Dim, at),
            output.styled(Style::Name, format!("{event_type:<19}"))
        );
        output.line(line.trim_end())
    }
}

fn of_header(header: &EventHeader, unreadable: Option<&Error>) -> String {
    let mut said = format!("schema {}, {}", header.schema, bytes(header.record_bytes));
    if header.append_first != header.append_last {
        said.push_str(&format!(", append of events {} to {}", header.append_first, header.append_last));
    }
    for blob in &header.refs {
        said.push_str(&format!(", blob {} of {}", blob.digest, bytes(blob.bytes)));
    }
    if let Some(error) = unreadable {
        said.push_str(&format!(", not read: {}", escaped(&error.to_string())));
    }
    said
}
