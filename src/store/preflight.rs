//! What a build makes of the sessions that other builds wrote: [`ReadOnlyStore::preflight`].

use std::fmt;
use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::id::{EventId, SessionId};
use crate::model::SessionModel;
use crate::port::LogReader;
use crate::replay::{Fold, Recovered, SnapshotStore, UnusableSnapshot};
use crate::store::read_only::{ReadOnlyStore, read_found};
use crate::threads::guarded;

/// How many findings a [`Preflight`] lists.
const FINDINGS_MAX: usize = 1000;

/// What [`ReadOnlyStore::preflight`] found.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Preflight {
    /// How many sessions were folded.
    pub sessions: u64,
    /// How many events they have.
    pub events: u64,
    /// The sessions with a finding, in the order of their ids. At most 1,000, the first ones.
    pub findings: Vec<PreflightedSession>,
    /// How many more there were.
    pub more_findings: u64,
    /// The session that took longest.
    pub slowest: Option<PreflightedSession>,
    /// How long all folds took together.
    pub elapsed: Duration,
}

impl fmt::Display for Preflight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sessions, events, findings, more_findings, slowest: _, elapsed: _ } = self;
        let findings = findings.len() as u64 + more_findings;
        write!(f, "{sessions} sessions, {events} events, {findings} findings")
    }
}

/// What a build makes of one session.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PreflightedSession {
    /// The session.
    pub session: SessionId,
    /// How many events were read and folded.
    pub events: u64,
    /// How long it took to fold them all, from the first event on. Opening a session that has a stored view takes less.
    pub elapsed: Duration,
    /// The last event of the view.
    pub head: EventId,
    /// Why this build does not read the session, or only up to the head: [`ErrorKind::Undecodable`],
    /// [`ErrorKind::NewerRecord`], [`ErrorKind::Unfoldable`] (the model panics), or damage:
    /// [`ErrorKind::CorruptEvent`], [`ErrorKind::CorruptStore`].
    pub problem: Option<Error>,
    /// How the fold compares with the stored view.
    pub stored_view: ViewComparison,
}

/// How the view that a build folds from all events compares with the one that it goes on to from a stored view.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ViewComparison {
    /// The session has no stored view.
    NoView,
    /// Its stored view has another format, [`SCHEMA`](SessionModel::SCHEMA) or
    /// [`VIEW_SCHEMA`](SessionModel::VIEW_SCHEMA). This build does not use it: the first opening of the session folds
    /// all events.
    OtherSchema,
    /// They are equal.
    Same,
    /// They differ: this build folds or decodes otherwise than the one that stored the view, at the same
    /// [`VIEW_SCHEMA`](SessionModel::VIEW_SCHEMA). A host would show the one or the other, depending on where it
    /// begins. Raise the number.
    Changed,
    /// The stored view cannot be used, such as after a power cut, and is made anew some time.
    Unusable {
        /// What is wrong with it.
        reason: String,
    },
    /// The session has a stored view that this build could use, and its events cannot be folded:
    /// [`PreflightedSession::problem`] says why.
    NotCompared,
}

impl Preflight {
    /// Tells whether this build reads every session to its end, and as the stored views have it.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    fn add(&mut self, found: PreflightedSession) {
        self.sessions += 1;
        self.events += found.events;
        self.elapsed += found.elapsed;
        if self.slowest.as_ref().is_none_or(|slowest| slowest.elapsed < found.elapsed) {
            self.slowest = Some(found.clone());
        }
        if found.is_clean() {
            return;
        }
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(found);
        } else {
            self.more_findings += 1;
        }
    }
}

impl PreflightedSession {
    /// Tells whether this build reads the session to its end, and as its stored view has it. A stored view of another
    /// schema, or one that cannot be used, is no finding: events are what counts.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.problem.is_none() && self.stored_view != ViewComparison::Changed
    }
}

/// A sentence a finding; that of a clean session says how long it took.
impl fmt::Display for PreflightedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.problem, &self.stored_view) {
            (Some(problem), _) => problem.fmt(f),
            (None, ViewComparison::Changed) => write!(
                f,
                "session {}: this build folds another view than the one that is stored, at the same VIEW_SCHEMA: raise it",
                self.session
            ),
            (None, _) => write!(f, "session {}: {} events in {:?}", self.session, self.events, self.elapsed),
        }
    }
}

impl<M: SessionModel> ReadOnlyStore<M> {
    /// Folds every session with this build, from its first event, and compares the view with the stored one: what a
    /// release is to be tried with before it opens a directory to write. Nothing is written. `each` is told of every
    /// session when it was folded: for progress, and for limits of the host's own, such as on
    /// [`elapsed`](PreflightedSession::elapsed).
    ///
    /// It finds events that this build does not decode, that are of a newer build, or on which the model panics;
    /// sessions that are damaged; and views that come out differently than those stored at the same schema. Sessions
    /// are folded one after the other, each on one of the threads that fold sessions; events that are appended
    /// meanwhile may be left out.
    ///
    /// # Errors
    /// Those of [`list_sessions`](Self::list_sessions). What is wrong with a session is no error of this call.
    ///
    /// # Cancellation
    /// Dropping the future ends it after the session that is being folded.
    ///
    /// # Examples
    /// In a host's own test, with its own model, over a copy of a directory that a released build wrote:
    /// ```
    /// # use foldlog::agent::{Agent, AgentBody, Message};
    /// # use foldlog::{Store, StoreConfig};
    /// # type MyModel = Agent;
    /// # fn main() -> Result<(), foldlog::Error> { futures::executor::block_on(async {
    /// # let directory = tempfile::tempdir().expect("a temporary directory");
    /// # let path = directory.path();
    /// # let store = Store::<MyModel>::open_model(StoreConfig::directory(path)).await?;
    /// # store.open_session("s").await?.append(AgentBody::MessageAppended(Message::user("hello")))?.await?;
    /// # store.close().await?;
    /// let store = Store::<MyModel>::open_model_read_only(StoreConfig::directory(path)).await?;
    /// let preflight = store.preflight(|_| ()).await?;
    /// for finding in &preflight.findings {
    ///     eprintln!("{finding}");
    /// }
    /// assert!(preflight.is_clean(), "{preflight}");
    /// # assert_eq!(preflight.to_string(), "1 sessions, 1 events, 0 findings");
    /// # assert_eq!((preflight.sessions, preflight.events), (1, 1));
    /// # store.close().await }) }
    /// ```
    pub async fn preflight(&self, mut each: impl FnMut(&PreflightedSession) + Send) -> Result<Preflight, Error> {
        let mut found = Preflight::default();
        let mut after = None;
        loop {
            let page = self.list_sessions(after, self.inner.page_events_max).await?;
            let Some(last) = page.last() else { return Ok(found) };
            after = Some(last.id.clone());
            for summary in page {
                match self.preflight_session(summary.id).await {
                    Ok(session) => {
                        each(&session);
                        found.add(session);
                    }
                    // Deleted since it was listed.
                    Err(error) if matches!(error.kind(), ErrorKind::UnknownSession { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }

    async fn preflight_session(&self, session: SessionId) -> Result<PreflightedSession, Error> {
        let snapshots = self.inner.snapshots.clone();
        let page_events = self.inner.page_events_max;
        let read = move |reader: &mut dyn LogReader| {
            read_found(reader, &session, |reader, log| {
                let fold =
                    Fold { session: &session, log, head: None, until: None, watch: &[], keys_max: 0, page_events };
                compare_with_stored::<M>(reader, &fold, &snapshots)
            })
        };
        self.inner.open_here()?.recoveries.read(read).await
    }
}

fn compare_with_stored<M: SessionModel>(
    reader: &mut dyn LogReader,
    fold: &Fold<'_>,
    snapshots: &SnapshotStore,
) -> Result<PreflightedSession, Error> {
    let mut found = PreflightedSession {
        session: fold.session.clone(),
        events: 0,
        elapsed: Duration::ZERO,
        head: EventId::ZERO,
        problem: None,
        stored_view: ViewComparison::NoView,
    };
    let redactions = reader.redactions(fold.log.key).map_err(|error| error.of_session(fold.session))?;
    // First, so that the fold reaches at least as far as the stored view, though events are appended meanwhile.
    let origin = snapshots.origin::<M>(reader, &fold.log);
    let folded = match fold.run::<M>(reader, |_| None) {
        Ok(folded) => folded,
        Err(error) if is_of_the_session(&error) => {
            found.problem = Some(error);
            found.stored_view = match origin {
                Ok(Some(_)) => ViewComparison::NotCompared,
                Ok(None) => ViewComparison::NoView,
                Err(unusable) => unused(unusable),
            };
            return Ok(found);
        }
        Err(error) => return Err(error),
    };
    let Recovered { view, report, .. } = folded;
    found.problem = report.condition.refusal(fold.session);
    (found.events, found.elapsed, found.head) = (report.events, report.elapsed, view.head());
    found.stored_view = match origin {
        Ok(None) => ViewComparison::NoView,
        Err(unusable) => unused(unusable),
        // The fold ends before the stored view, which a build stored that folds more.
        Ok(Some(origin)) if origin.head.id > view.head() => ViewComparison::Changed,
        Ok(Some(origin)) => {
            // As a host does that opens the session, but only as far as the fold went.
            let mut origin = Some(origin);
            let again = Fold { until: Some(view.head()), ..*fold }.run::<M>(reader, |_| origin.take())?;
            if again.redactions != redactions {
                // What was redacted meanwhile is in one of the views and not in the other.
                return compare_with_stored::<M>(reader, fold, snapshots);
            }
            let is_same = guarded("PartialEq of the view", || again.view == view).unwrap_or(false);
            if is_same { ViewComparison::Same } else { ViewComparison::Changed }
        }
    };
    Ok(found)
}

/// What a stored view is that this build does not begin with.
fn unused(unusable: UnusableSnapshot) -> ViewComparison {
    match unusable {
        UnusableSnapshot::OfOtherBuild(_) => ViewComparison::OtherSchema,
        UnusableSnapshot::Wrong(reason) => ViewComparison::Unusable { reason },
    }
}

/// Whether the error is a finding about the session, and not that it cannot be read just now.
fn is_of_the_session(error: &Error) -> bool {
    use ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::CorruptEvent { .. } | Kind::CorruptStore { .. } | Kind::Undecodable { .. } | Kind::NewerRecord { .. }
    )
}
