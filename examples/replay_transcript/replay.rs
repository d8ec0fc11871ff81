//! Plays a transcript through a session, and checks what another store finds.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldlog::agent::{Agent, AgentBody};
use foldlog::{Digest, Error, EventId, LogEvent, SessionModel, Store, View};
use serde_json::Value;

use crate::entry::{Contents, difference, from_message};
use crate::run::Run;

/// How many appends of a session are on their way at once.
const IN_FLIGHT_MAX: usize = 32;

/// A transcript as it was read.
pub(crate) struct Transcript {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    value: Value,
}

/// What playing a transcript left behind.
pub(crate) struct Replayed {
    pub(crate) view: Arc<View<Agent>>,
    pub(crate) appends: u64,
    pub(crate) elapsed: Duration,
    pub(crate) inline: u64,
    pub(crate) inline_bytes: u64,
}

/// The blobs that some events reference.
#[derive(Default)]
pub(crate) struct Blobs {
    stored: HashMap<Digest, u64>,
    references: u64,
    referenced_bytes: u64,
}

impl Transcript {
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let failed = |error: String| format!("{}: {error}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let name = name.trim_end_matches(".json").trim_end_matches(".traj").to_owned();
        Self::parse(name, &text).map_err(failed)
    }

    pub(crate) fn parse(name: String, text: &str) -> Result<Self, String> {
        // `parse` refuses an object with the same member twice, which has no single value.
        let json = foldlog::Json::parse(text).map_err(|error| error.to_string())?;
        let value = json.to_value().map_err(|error| error.to_string())?;
        if !value.get("history").is_some_and(Value::is_array) {
            return Err("has no history".to_owned());
        }
        Ok(Self { name, bytes: text.len() as u64, value })
    }

    pub(crate) fn history(&self) -> &[Value] {
        self.value.get("history").and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }
}

/// Plays every entry through a new session, several appends at once. `played` hears of each entry that is durable.
pub(crate) async fn replay(
    store: &Store,
    id: &str,
    transcript: &Transcript,
    played: impl Fn(),
) -> Result<Replayed, Error> {
    let begun = Instant::now();
    let session = store.open_session(id).await?;
    let mut contents = Contents::new(store.clone());
    let mut run = Run::new(store.clone(), session.counters().await?.1);
    let mut in_flight = VecDeque::from([session.append_batch(Run::begin(id, &transcript.value)?)?]);
    let mut appends = 2;
    for entry in transcript.history() {
        let bodies = run.entry(&mut contents, entry).await?;
        if in_flight.len() >= IN_FLIGHT_MAX
            && let Some(first) = in_flight.pop_front()
        {
            first.await?;
            played();
        }
        in_flight.push_back(session.append_batch(bodies)?);
        appends += 1;
    }
    in_flight.push_back(session.append_batch(run.end(&mut contents, &transcript.value).await?)?);
    for receipt in in_flight {
        receipt.await?;
        played();
    }
    let Contents { inline, inline_bytes, .. } = contents;
    Ok(Replayed { view: session.view()?, appends, elapsed: begun.elapsed(), inline, inline_bytes })
}

/// Compares what a store that was opened again holds of a session with the view before and with the transcript. Tells
/// what differs.
pub(crate) async fn check(
    store: &Store,
    id: &str,
    before: &View<Agent>,
    history: &[Value],
) -> Result<Vec<String>, Error> {
    let session = store.resume_session(id).await?;
    let view = session.view()?;
    let mut differences = Vec::new();
    if *view != *before {
        differences.push(format!("{id}: the view at event {} is not the view at event {}", view.head(), before.head()));
    }
    if view.messages.len() != history.len() {
        differences.push(format!("{id}: {} entries became {} messages", history.len(), view.messages.len()));
    }
    for (place, (expected, message)) in history.iter().zip(&view.messages).enumerate() {
        let found = from_message(store, message).await?;
        if let Some(what) = difference(expected, &found) {
            differences.push(format!("{id}: history[{place}]{what}"));
        }
    }
    Ok(differences)
}

/// Counts the blobs that a session's events reference.
pub(crate) async fn blobs(store: &Store, id: &str) -> Result<Blobs, Error> {
    let session = store.resume_session(id).await?;
    let mut blobs = Blobs::default();
    let mut after = EventId::ZERO;
    loop {
        let page = session.events_after(after, 1024).await?;
        let Some(last) = page.events.last() else { return Ok(blobs) };
        after = last.id();
        page.events.iter().filter_map(LogEvent::body).for_each(|body| blobs.see(body));
    }
}

impl Blobs {
    fn see(&mut self, body: &AgentBody) {
        Agent::blob_refs(body, &mut |blob| {
            self.stored.insert(blob.digest, blob.bytes);
            self.references += 1;
            self.referenced_bytes += blob.bytes;
        });
    }

    pub(crate) fn join(&mut self, other: Self) {
        self.stored.extend(other.stored);
        self.references += other.references;
        self.referenced_bytes += other.referenced_bytes;
    }

    pub(crate) fn stored(&self) -> usize {
        self.stored.len()
    }

    pub(crate) fn stored_bytes(&self) -> u64 {
        self.stored.values().sum()
    }

    /// The bytes that are not stored again, because a blob of the same content is there.
    pub(crate) fn deduplicated_bytes(&self) -> u64 {
        self.referenced_bytes - self.stored_bytes()
    }
}
