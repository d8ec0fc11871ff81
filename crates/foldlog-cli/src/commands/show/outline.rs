//! A session of another model: what its events are, without their bodies.

use foldlog::{EventId, Timestamp};
use serde::Serialize;

use crate::commands::stats::OfTypes;
use crate::directory::{Directory, PAGE};
use crate::failure::{Exit, Failure};
use crate::terminal::{Output, Style, bytes, counted, escaped, time};

/// The outline in JSON.
#[derive(Serialize)]
struct Outline<'a> {
    v: u8,
    session: &'a str,
    model: &'a str,
    head: EventId,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    record_bytes: u64,
    references: u64,
    types: OfTypes,
}

pub(super) fn run(id: &str, directory: &Directory, output: &mut Output<'_>) -> Result<Exit, Failure> {
    let mut outline = Outline {
        v: 1,
        session: id,
        model: directory.untyped.model(),
        head: EventId::ZERO,
        first: None,
        last: None,
        record_bytes: 0,
        references: 0,
        types: OfTypes::default(),
    };
    let head = directory.read(directory.untyped.head(id))?;
    loop {
        let page = directory.read(directory.untyped.headers_after(id, outline.head, PAGE))?;
        for header in &page.headers {
            outline.head = header.id;
            outline.first.get_or_insert(header.at);
            outline.last = Some(header.at);
            outline.record_bytes += header.record_bytes;
            outline.references += header.refs.len() as u64;
            outline.types.add(header);
        }
        // As many as there were, though a host goes on.
        if !page.more || outline.head >= head {
            break;
        }
    }
    if output.is_json {
        output.json(&outline)?
    } else {
        say(&outline, output)?
    }
    Ok(Exit::Done)
}

fn say(outline: &Outline<'_>, output: &mut Output<'_>) -> Result<(), Failure> {
    let heading = output.styled(Style::Heading, escaped(outline.session));
    output.line(format!("{heading}  of the session model {:?}", outline.model))?;
    let (events, size) = (counted(outline.head.get(), "event"), bytes(outline.record_bytes));
    output.line(format!("{events} in {size}, {} to blobs", counted(outline.references, "reference")))?;
    if let (Some(first), Some(last)) = (outline.first, outline.last) {
        output.line(format!("from {} to {} UTC", time(first), time(last)))?;
    }
    output.line("")?;
    outline.types.say(output)
}
