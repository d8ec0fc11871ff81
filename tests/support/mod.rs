//! What the tests of faults share: a guard against hangs, a look at what is stored, a model that panics on demand.
#![allow(dead_code, unused_macros, unused_imports, reason = "each test binary uses its part")]

pub(crate) mod child;
pub(crate) mod random;

use std::collections::BTreeSet;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use foldlog::{
    Append, Appended, BlobRef, DecodeError, Error, ErrorKind, Event, EventId, Session, SessionModel, Store, Turns,
    Unfinished, View, decode_body,
};
use serde::{Deserialize, Serialize};

/// Longer than anything here takes, SQLite's own wait for a lock included.
const LIMIT: Duration = Duration::from_secs(20);

/// Waits for a future, and fails the test when it hangs. Needs the timer of an actix or tokio runtime.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(output) => output,
        Err(_) => panic!("hangs: no answer within {LIMIT:?}"),
    }
}

/// Ends the whole test binary when its test hangs where no timer helps. To be held until the end of the test.
pub(crate) struct Watchdog(#[expect(dead_code, reason = "its drop tells that the test has ended")] mpsc::Sender<()>);

pub(crate) fn watchdog() -> Watchdog {
    let (sender, receiver) = mpsc::channel::<()>();
    let test = std::thread::current().name().unwrap_or("unknown").to_owned();
    std::thread::spawn(move || {
        if receiver.recv_timeout(4 * LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("test {test} hangs");
            std::process::abort();
        }
    });
    Watchdog(sender)
}

/// Runs each body on a memory disk and on a directory.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod in_memory {
            $(#[actix::test]
            async fn $name() {
                let _watchdog = crate::support::watchdog();
                super::$name(foldlog::StoreConfig::memory()).await;
            })*
        }
        mod on_disk {
            $(#[actix::test]
            async fn $name() {
                let _watchdog = crate::support::watchdog();
                let directory = tempfile::tempdir().unwrap();
                super::$name(foldlog::StoreConfig::directory(directory.path())).await;
            })*
        }
    };
}
pub(crate) use on_both;

/// Asserts the kind of an error.
macro_rules! assert_kind {
    ($result:expr, $pattern:pat $(if $guard:expr)? $(,)?) => {{
        let error = $result.expect_err(concat!("wanted ", stringify!($pattern)));
        assert!(matches!(error.kind(), $pattern $(if $guard)?), "wanted {}, got {error:?}", stringify!($pattern));
    }};
}
pub(crate) use assert_kind;

/// What the medium holds of a session: its folded state, and the head of its log.
pub(crate) async fn look<M: SessionModel>(store: &Store<M>, session: &str) -> (View<M>, EventId) {
    let state = within(store.read_state(session)).await.unwrap();
    let listed = within(store.list_sessions(None, 1000)).await.unwrap();
    let listed = listed.into_iter().find(|summary| summary.id.as_str() == session).unwrap();
    (state.view, listed.head)
}

/// Appends one body and waits.
pub(crate) async fn append<M: SessionModel>(session: &Session<M>, body: M::Body) -> Result<Appended<M>, Error> {
    within(session.append(body)?).await
}

/// Every event of a session's log.
pub(crate) async fn all_events<M: SessionModel>(session: &Session<M>) -> Vec<std::sync::Arc<Event<M>>> {
    let mut events: Vec<std::sync::Arc<Event<M>>> = Vec::new();
    loop {
        let after = events.last().map_or(EventId::ZERO, |event| event.id());
        let page = within(session.events_after(after, 1000)).await.unwrap();
        if page.events.is_empty() {
            return events;
        }
        events.extend(page.events);
    }
}

/// The files below a directory, by their paths.
pub(crate) fn files_below(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { directories.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

/// A small model, any function of which panics when a switch says so.
#[derive(Debug)]
pub(crate) struct Probe;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ProbeBody {
    Added(u64),
    Noted(String),
    Referenced(BlobRef),
    /// Refused by `check`.
    Refused,
    /// Panics in one place, as long as its switch is on.
    Trapped(Place, u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Place {
    Check,
    BlobRefs,
    Stamp,
    EventType,
    Apply,
    Counters,
    Turns,
    Unfinished,
    Decode,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ProbeView {
    pub sum: u64,
    pub events: u64,
    pub trap: Option<(Place, u64)>,
}

static ON: Mutex<BTreeSet<u64>> = Mutex::new(BTreeSet::new());
static NEXT_SWITCH: AtomicU64 = AtomicU64::new(1);

/// Whether a trap panics: the next build of a host, so to speak, is made by turning it off.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Switch(u64);

impl Switch {
    pub(crate) fn on() -> Self {
        let switch = Self(NEXT_SWITCH.fetch_add(1, Ordering::SeqCst));
        switch.turn_on();
        switch
    }

    pub(crate) fn turn_on(self) {
        ON.lock().unwrap_or_else(PoisonError::into_inner).insert(self.0);
    }

    pub(crate) fn off(self) {
        ON.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }

    pub(crate) fn trap(self, place: Place) -> ProbeBody {
        ProbeBody::Trapped(place, self.0)
    }
}

fn step_on(place: Place, body: &ProbeBody) {
    if let ProbeBody::Trapped(trapped, switch) = body {
        spring(place, *trapped, *switch);
    }
}

fn spring(place: Place, trapped: Place, switch: u64) {
    let is_on = ON.lock().unwrap_or_else(PoisonError::into_inner).contains(&switch);
    assert!(!(place == trapped && is_on), "the trap in {place:?} springs");
}

impl ProbeView {
    fn step_on(&self, place: Place) {
        if let Some((trapped, switch)) = self.trap {
            spring(place, trapped, switch);
        }
    }
}

impl SessionModel for Probe {
    const NAME: &'static str = "probe";
    const SCHEMA: u16 = 1;
    type Body = ProbeBody;
    type View = ProbeView;
    /// How many events there are.
    type Counters = u64;
    type Transient = u64;

    fn event_type(body: &ProbeBody) -> &'static str {
        step_on(Place::EventType, body);
        match body {
            ProbeBody::Added(_) => "added",
            ProbeBody::Noted(_) => "noted",
            ProbeBody::Referenced(_) => "referenced",
            ProbeBody::Refused => "refused",
            ProbeBody::Trapped(..) => "trapped",
        }
    }

    fn check(body: &ProbeBody) -> Result<(), String> {
        step_on(Place::Check, body);
        if *body == ProbeBody::Refused { Err("never to be persisted".to_owned()) } else { Ok(()) }
    }

    fn stamp(counters: &mut u64, _: EventId, body: &mut ProbeBody) -> Result<(), String> {
        *counters += 1;
        step_on(Place::Stamp, body);
        Ok(())
    }

    fn apply(view: &mut ProbeView, event: &Event<Self>) {
        // Before the trap, so that a view that a panic left behind would be seen.
        view.events += 1;
        step_on(Place::Apply, event.body());
        match event.body() {
            ProbeBody::Added(n) => view.sum += n,
            ProbeBody::Trapped(place, switch) => view.trap = Some((*place, *switch)),
            ProbeBody::Noted(_) | ProbeBody::Referenced(_) | ProbeBody::Refused => {}
        }
    }

    fn counters(view: &ProbeView) -> u64 {
        view.step_on(Place::Counters);
        view.events
    }

    fn blob_refs(body: &ProbeBody, each: &mut dyn FnMut(&BlobRef)) {
        step_on(Place::BlobRefs, body);
        if let ProbeBody::Referenced(blob) = body {
            each(blob);
        }
    }

    fn turns(view: &ProbeView) -> Turns {
        view.step_on(Place::Turns);
        Turns::default()
    }

    fn unfinished(view: &ProbeView) -> Vec<Unfinished> {
        view.step_on(Place::Unfinished);
        Vec::new()
    }

    fn decode(event_type: &str, schema: u16, bytes: &[u8]) -> Result<ProbeBody, DecodeError> {
        if schema != 1 || !["added", "noted", "referenced", "trapped"].contains(&event_type) {
            return Err(DecodeError::Unknown);
        }
        let body = decode_body(bytes)?;
        step_on(Place::Decode, &body);
        Ok(body)
    }
}

/// Opens a store of probes.
pub(crate) async fn open(config: &foldlog::StoreConfig) -> Store<Probe> {
    within(Store::open_model(config.clone())).await.unwrap()
}

/// Appends what makes the store usable to say so, and closes it.
pub(crate) async fn usable(store: &Store<Probe>, session: &str) {
    let session = within(store.open_session(session)).await.unwrap();
    let before = session.view().unwrap();
    let appended = append(&session, ProbeBody::Added(1)).await.unwrap();
    assert_eq!(appended.head, before.head().next());
    assert_eq!(session.view().unwrap().sum, before.sum + 1);
    let (stored, head) = look(store, session.id().as_str()).await;
    assert_eq!((stored, head), ((*session.view().unwrap()).clone(), appended.head));
}

/// The ids of what was appended.
pub(crate) fn ids<M: SessionModel>(appended: &Appended<M>) -> Vec<u64> {
    appended.events.iter().map(|event| event.id().get()).collect()
}

/// An append that a key makes repeatable.
pub(crate) fn keyed(body: ProbeBody, key: &str) -> Append<Probe> {
    Append::new(body).key(foldlog::AppendKey::new(key).unwrap())
}

/// Whether an answer is one that a host can rely on: committed, or nothing written.
pub(crate) fn is_definite<T>(answer: &Result<T, Error>) -> bool {
    !matches!(answer, Err(error) if matches!(error.kind(), ErrorKind::OutcomeUnknown { .. }))
}
