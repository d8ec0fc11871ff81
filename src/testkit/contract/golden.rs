//! The bytes of a model's bodies, kept in a file.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::codec;
use crate::model::{DecodeError, SessionModel};
use crate::testkit::contract::{Broken, Claim};

/// Holds the bytes of some bodies against a file that a host keeps with its tests, such as `tests/golden/orders.txt`,
/// and that has one line for each body: its event type, its schema, and its bytes in hex. A body that was changed
/// without a new [`SCHEMA`](SessionModel::SCHEMA) is found before it meets a stored event.
///
/// Give at least one body of each variant, with every field set. The bodies of one type are told apart by their order:
/// add new ones behind the others.
///
/// The first run writes the file, and each later run adds what is missing: bodies of a new type, or all of them under a
/// new schema. Such a run fails, to say that the file has to be looked at and committed; the next one passes. Lines
/// that are there are never changed. Those of older schemas stay, and must still decode.
///
/// # Errors
/// [`Claim::GoldenBytes`] with the body, the line and what to do: a body has other bytes than its line, or a line does
/// not decode. [`Claim::GoldenLines`] with the lines that were added, of which nothing is wrong. [`Claim::NoPanic`] if
/// `decode` or `event_type` panics.
///
/// # Examples
/// ```
/// use foldlog::agent::{Agent, AgentBody, Message};
/// use foldlog::testkit::contract;
///
/// # let directory = tempfile::tempdir().expect("a temporary directory");
/// # let path = directory.path().join("golden.txt");
/// let samples = || [AgentBody::MessageAppended(Message::user("hello")), AgentBody::StopRequested];
/// let first = contract::golden_bytes::<Agent>(&path, samples()).unwrap_err();
/// assert!(first.to_string().contains("2 lines are new"), "{first}");
/// contract::golden_bytes::<Agent>(&path, samples()).expect("the same bytes");
/// ```
pub fn golden_bytes<M: SessionModel>(
    path: impl AsRef<Path>,
    bodies: impl IntoIterator<Item = M::Body>,
) -> Result<(), Broken> {
    let checked = catch_unwind(AssertUnwindSafe(|| check::<M>(path.as_ref(), bodies)))
        .unwrap_or_else(|_| Err((Claim::NoPanic, "decode, event_type or the serde of a body panics".to_owned())));
    checked.map_err(|(claim, found)| Broken { claim, model: M::NAME, found, seed: None })
}

/// One line of the file.
struct Line {
    number: usize,
    event_type: String,
    schema: u16,
    bytes: Vec<u8>,
}

fn check<M: SessionModel>(path: &Path, bodies: impl IntoIterator<Item = M::Body>) -> Result<(), (Claim, String)> {
    let golden = |found: String| (Claim::GoldenBytes, format!("{}: {found}", path.display()));
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => header::<M>(),
        Err(error) => return Err(golden(format!("it cannot be read: {error}"))),
    };
    let lines = parse(&text).map_err(golden)?;
    for line in &lines {
        decodes::<M>(line).map_err(golden)?;
    }
    let mut added = Vec::new();
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for body in bodies {
        let event_type = M::event_type(&body);
        let bytes = codec::encode_body(&body).map_err(|error| golden(format!("{body:?} does not encode: {error}")))?;
        let nth = seen.entry(event_type).or_default();
        let mut of_type =
            lines.iter().filter(|line| (line.event_type.as_str(), line.schema) == (event_type, M::SCHEMA));
        match of_type.nth(*nth) {
            Some(line) if line.bytes == bytes => {}
            Some(line) => return Err(golden(changed::<M>(line, &body, &bytes))),
            None => added.push(format!("{event_type} {} {}\n", M::SCHEMA, hex(&bytes))),
        }
        *nth += 1;
    }
    if added.is_empty() {
        return Ok(());
    }
    let parent = path.parent().map_or(Ok(()), fs::create_dir_all);
    let end = if text.ends_with('\n') { "" } else { "\n" };
    parent
        .and_then(|()| fs::write(path, format!("{text}{end}{}", added.concat())))
        .map_err(|error| golden(format!("it cannot be written: {error}")))?;
    let (count, added) = (added.len(), added.concat());
    let lines = if count == 1 { "1 line is" } else { &format!("{count} lines are") };
    Err((
        Claim::GoldenLines,
        format!(
            "{}: {lines} new, since a body had none. Nothing is wrong: look at the file and commit it, and the next run \
             passes.\n{added}",
            path.display()
        ),
    ))
}

fn header<M: SessionModel>() -> String {
    format!(
        "# The bytes of bodies of the session model {}: event type, schema, bytes in hex.\n\
         # Stored events have such bytes, so a line that is here never changes. A changed body needs a new SCHEMA.\n",
        M::NAME
    )
}

/// Why a line does not come back. Only of the current schema are the bytes those that this build writes.
fn decodes<M: SessionModel>(line: &Line) -> Result<(), String> {
    let Line { number, event_type, schema, bytes } = line;
    let lost = |why: String| {
        let rule =
            "stored events have such bytes: a changed body needs a new SCHEMA, with the old shape kept in decode";
        Err(format!("line {number}: {event_type} at schema {schema} does not decode any more: {why}; {rule}"))
    };
    match M::decode(event_type, *schema, bytes) {
        Err(DecodeError::Unknown) => lost("decode does not know this type and schema".to_owned()),
        Err(error) => lost(error.to_string()),
        Ok(body) if *schema == M::SCHEMA && M::event_type(&body) != event_type => {
            lost(format!("it comes back as {}, {body:?}", M::event_type(&body)))
        }
        Ok(body) if *schema == M::SCHEMA && codec::encode_body(&body).ok().as_ref() != Some(bytes) => {
            lost(format!("it comes back as {body:?}, which has other bytes"))
        }
        Ok(_) => Ok(()),
    }
}

fn changed<M: SessionModel>(line: &Line, body: &M::Body, bytes: &[u8]) -> String {
    let Line { number, event_type, schema, bytes: before } = line;
    format!(
        "line {number}: {event_type} has other bytes at the same schema {schema}: {} in the file, {} of {body:?}. Raise \
         SCHEMA, keep the old shape in decode, and leave the line. Only if nobody has stored such bytes, or it is the \
         sample that was changed, put it back or remove the line",
        hex(before),
        hex(bytes)
    )
}

fn parse(text: &str) -> Result<Vec<Line>, String> {
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty() && !line.starts_with('#'));
    let parsed = lines.map(|(line, number)| {
        let wrong = || format!("line {number} is not an event type, a schema and hex: {line:?}");
        // From the back: an event type may have spaces.
        let [hex, schema, event_type] = line.rsplitn(3, ' ').collect::<Vec<_>>()[..] else { return Err(wrong()) };
        let (schema, bytes) = (schema.parse().ok(), unhex(hex));
        let (schema, bytes) = schema.zip(bytes).ok_or_else(wrong)?;
        Ok(Line { number, event_type: event_type.to_owned(), schema, bytes })
    });
    parsed.collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> = text.chars().map(|digit| digit.to_digit(16)).collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| (high * 16 + low) as u8).collect())
}
