//! A session of another model: what its events are, without their bodies.

use std::collections::BTreeMap;

use foldlog::{EventId, Timestamp};
use serde::Serialize;

use crate::directory::{Directory, PAGE};
use crate::failure::{Exit, Failure};
use crate::terminal::{Output, Style, bytes, count, counted, escaped, time};

#[derive(Debug, Default, Serialize)]
struct OfType {
    events: u64,
    record_bytes: u64,
}

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
    types: BTreeMap<String, OfType>,
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
        types: BTreeMap::new(),
    };
    loop {
        let page = directory.read(directory.untyped.headers_after(id, outline.head, PAGE))?;
        for header in page.headers {
            outline.head = header.id;
            outline.first.get_or_insert(header.at);
            outline.last = Some(header.at);
            outline.record_bytes += header.record_bytes;
            outline.references += header.refs.len() as u64;
            let of_type = outline.types.entry(header.event_type).or_default();
            of_type.events += 1;
            of_type.record_bytes += header.record_bytes;
        }
        if !page.more {
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
    let rows = outline.types.iter();
    let rows = rows.map(|(name, of)| Ok(vec![name.clone(), count(of.events), bytes(of.record_bytes)]));
    output.rows(&["TYPE", "EVENTS", "RECORDS"], rows)
}
