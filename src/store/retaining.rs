//! Deleting what is old, and saying what would go: [`Store::retain`].

mod report;

use std::sync::Arc;
use std::time::Duration;

use super::read_only::ReadOnlyStore;
use super::{SessionSummary, Store, StoredState};
use crate::error::{Error, ErrorKind, OwnerInfo};
use crate::id::{EventId, Timestamp};
use crate::model::SessionModel;
use crate::port::{LogError, LogMeta, LogReader, SessionRow};
use crate::threads::{Readers, guarded, lock};
pub use report::{Retained, RetainedSession, Verdict, WhyKept};

/// Which sessions stay: see [`Store::retain`]. A session goes if one of the rules says so; without a rule nothing goes.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use foldlog::Retention;
///
/// const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// let month = Retention::new().unchanged_for(30 * DAY).labeled("kind", "scratch");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retention {
    unchanged_for: Option<Duration>,
    sessions_max: Option<usize>,
    record_bytes_max: Option<u64>,
    labels: Vec<(String, String)>,
    unfinished: bool,
}

/// Whether [`Store::retain`] deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetainMode {
    /// Nothing is deleted: the answer says what [`Apply`](Self::Apply) would delete now.
    DryRun,
    /// What goes is deleted, and erased before the call answers.
    Apply,
}

impl Retention {
    /// Has no rule.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sessions go whose last event is older than this, and those without an event that were made before.
    #[must_use]
    pub fn unchanged_for(mut self, time: Duration) -> Self {
        self.unchanged_for = Some(time);
        self
    }

    /// So many sessions stay, those with the latest events.
    #[must_use]
    pub fn sessions_max(mut self, sessions: usize) -> Self {
        self.sessions_max = Some(sessions);
        self
    }

    /// Sessions with so many bytes of records stay, those with the latest events: from the first on that does not fit,
    /// all go.
    #[must_use]
    pub fn record_bytes_max(mut self, bytes: u64) -> Self {
        self.record_bytes_max = Some(bytes);
        self
    }

    /// Only sessions with this label, by its key and its value, are looked at and counted. Of several labels, a session
    /// has all.
    #[must_use]
    pub fn labeled(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.push((key.into(), value.into()));
        self
    }

    /// Unfinished sessions go, too. Otherwise they stay, and so do those whose view cannot be read.
    #[must_use]
    pub fn unfinished_too(mut self) -> Self {
        self.unfinished = true;
        self
    }

    fn is_of(&self, row: &SessionRow) -> bool {
        let has = |(key, value): &(String, String)| {
            row.core.as_ref().is_some_and(|core| core.labels.get(key).is_some_and(|found| found == value))
        };
        self.labels.iter().all(has)
    }

    /// Tells for each session, the latest first, whether the rules keep it.
    fn judge(&self, candidates: Vec<Candidate>, now: Timestamp) -> impl Iterator<Item = (Candidate, bool)> {
        let (mut counted, mut bytes) = (0, 0_u64);
        candidates.into_iter().map(move |candidate| {
            counted += 1;
            bytes = bytes.saturating_add(candidate.record_bytes);
            let is_old = self.unchanged_for.is_some_and(|time| is_older(candidate.last, now, time));
            let is_beyond = self.sessions_max.is_some_and(|max| counted > max)
                || self.record_bytes_max.is_some_and(|max| bytes > max);
            (candidate, !is_old && !is_beyond)
        })
    }
}

/// A session that the rules are asked about.
struct Candidate {
    meta: LogMeta,
    head: EventId,
    last: Timestamp,
    record_bytes: u64,
    summary: SessionSummary,
}

impl Retained {
    fn push(&mut self, candidate: Candidate, verdict: Verdict) {
        let Candidate { head, last, record_bytes, summary, .. } = candidate;
        self.record_bytes += if matches!(verdict, Verdict::Gone) { record_bytes } else { 0 };
        let session = RetainedSession { id: summary.id, last_event: last, events: head.get(), record_bytes, verdict };
        self.sessions.push(session);
    }
}

impl<M: SessionModel> Store<M> {
    /// Deletes the sessions that a [`Retention`] does not keep, or says which these are. Each is deleted as
    /// [`Store::delete_session`] does it.
    ///
    /// A session stays, whatever the rules say, while it is open in this store (from [`Store::open_session`] until it
    /// is closed, whether it is in memory or was emptied), while another store that is alive owns it, and, unless asked
    /// for, while something in it is [unfinished](crate::Session::unfinished). One that gets an event while this call
    /// works stays, too. A session that stays counts in the rules of number and bytes.
    ///
    /// The answer names every session that was looked at, the latest first, and says what became of it, or would. It
    /// also tells how many bytes went back to the file system, and how many are free for later events or within pages
    /// that others need.
    ///
    /// # Errors
    /// [`ErrorKind::StoreClosed`]; [`ErrorKind::Busy`] when the queue of reads is full; [`ErrorKind::Unavailable`] or
    /// [`ErrorKind::CorruptStore`] if the list of sessions cannot be read, or the log cannot be written. A single
    /// session that cannot be read or deleted is no error: the answer says so.
    ///
    /// # Cancellation
    /// Dropping the future ends the call before the next session; what was deleted stays so.
    ///
    /// # Examples
    /// ```
    /// use foldlog::{RetainMode, Retention, Store, StoreConfig};
    ///
    /// # fn main() -> Result<(), foldlog::Error> { futures::executor::block_on(async {
    /// # let store = Store::open(StoreConfig::memory()).await?;
    /// let newest = Retention::new().sessions_max(1000);
    /// for session in store.retain(&newest, RetainMode::DryRun).await?.sessions {
    ///     println!("{}: {}", session.id, session.verdict);
    /// }
    /// let done = store.retain(&newest, RetainMode::Apply).await?;
    /// println!("{} deleted, {} bytes freed", done.gone(), done.freed_bytes);
    /// # store.close().await }) }
    /// ```
    pub async fn retain(&self, retention: &Retention, mode: RetainMode) -> Result<Retained, Error> {
        self.0.services.check_open()?;
        let candidates = self.candidates().of(retention).await?;
        let now = self.0.services.config.clock.now();
        let before = match mode {
            RetainMode::Apply => self.log_bytes().await?,
            RetainMode::DryRun => 0,
        };
        let mut retained = Retained::default();
        for (candidate, is_kept) in retention.judge(candidates, now) {
            let verdict = match is_kept {
                true => Verdict::Kept(WhyKept::ByTheRules),
                false => self.decide(retention, mode, &candidate).await?,
            };
            retained.push(candidate, verdict);
        }
        if mode == RetainMode::Apply && retained.gone() > 0 {
            retained.erased = Some(self.erase_deleted().await?);
            let after = self.log_bytes().await?;
            retained.freed_bytes = before.saturating_sub(after);
            retained.freeable_bytes = retained.record_bytes.saturating_sub(retained.freed_bytes);
        } else {
            retained.freeable_bytes = retained.record_bytes;
        }
        Ok(retained)
    }

    /// What is to be done with a session that the rules do not keep.
    async fn decide(&self, retention: &Retention, mode: RetainMode, candidate: &Candidate) -> Result<Verdict, Error> {
        let id = &candidate.summary.id;
        let key = candidate.meta.key;
        if lock(&self.0.registry).entry_of(id, key).is_some() {
            return Ok(Verdict::Kept(WhyKept::Open));
        }
        let owner = match self.candidates().living_owner(candidate).await {
            Ok(owner) => owner.filter(|owner| owner.id != self.0.services.me.as_str()),
            Err(error) => return verdict_of(error, WhyKept::Unreadable),
        };
        let state = self.read_state(id);
        let kept = decide(retention, owner, async { unfinished::<M>(&state.await?) }).await?;
        if mode == RetainMode::DryRun || !matches!(kept, Verdict::Gone) {
            return Ok(kept);
        }
        // Looked at again, since the session may have been opened meanwhile. From here on it is not opened any more.
        let Some(reserved) = self.reserve(id, key).await else { return Ok(Verdict::Kept(WhyKept::Open)) };
        match self.delete(id, key, Some(candidate.head), Some(reserved)).await {
            Ok(()) => Ok(Verdict::Gone),
            Err(error) => verdict_of(error, WhyKept::Failed),
        }
    }

    async fn log_bytes(&self) -> Result<u64, Error> {
        self.0.services.readers.read_in_turn(|reader| Ok(reader.erasing()?.bytes)).await
    }

    fn candidates(&self) -> Candidates<'_> {
        let services = &self.0.services;
        Candidates { readers: &services.readers, page_max: services.config.page_events_max }
    }
}

impl<M: SessionModel> ReadOnlyStore<M> {
    /// Says which sessions [`Store::retain`] would delete now, as its [`DryRun`](RetainMode::DryRun) does, and needs no
    /// store that can write.
    ///
    /// # Errors
    /// Those of [`Store::retain`] that come of reading.
    ///
    /// # Cancellation
    /// Dropping the future ends the call.
    pub async fn retain_dry_run(&self, retention: &Retention) -> Result<Retained, Error> {
        let inner = self.open()?;
        let candidates = Candidates { readers: &inner.readers, page_max: inner.page_events_max };
        let mut retained = Retained::default();
        for (candidate, is_kept) in retention.judge(candidates.of(retention).await?, inner.clock.now()) {
            let verdict = match (is_kept, candidates.living_owner(&candidate).await) {
                (true, _) => Verdict::Kept(WhyKept::ByTheRules),
                (false, Err(error)) => verdict_of(error, WhyKept::Unreadable)?,
                (false, Ok(owner)) => {
                    let state = self.read_state(&candidate.summary.id);
                    decide(retention, owner, async { unfinished::<M>(&state.await?) }).await?
                }
            };
            retained.push(candidate, verdict);
        }
        retained.freeable_bytes = retained.record_bytes;
        Ok(retained)
    }
}

/// Whether a session that the rules do not keep goes, unless it is kept for another reason.
async fn decide(
    retention: &Retention,
    owner: Option<OwnerInfo>,
    unfinished: impl Future<Output = Result<usize, Error>>,
) -> Result<Verdict, Error> {
    if let Some(owner) = owner {
        return Ok(Verdict::Kept(WhyKept::Owned(owner)));
    }
    if retention.unfinished {
        return Ok(Verdict::Gone);
    }
    match unfinished.await {
        Ok(0) => Ok(Verdict::Gone),
        Ok(unfinished) => Ok(Verdict::Kept(WhyKept::Unfinished(unfinished))),
        Err(error) => verdict_of(error, WhyKept::Unreadable),
    }
}

/// How many things in a session have no end.
fn unfinished<M: SessionModel>(state: &StoredState<M>) -> Result<usize, Error> {
    guarded("unfinished", || M::unfinished(state.view.state()).len())
        .map_err(|panicked| ErrorKind::Unavailable { reason: panicked.to_string() }.into())
}

/// Reads the sessions that a retention asks about.
struct Candidates<'a> {
    readers: &'a Readers,
    page_max: usize,
}

impl Candidates<'_> {
    async fn living_owner(&self, candidate: &Candidate) -> Result<Option<OwnerInfo>, Error> {
        let (session, key) = (candidate.summary.id.clone(), candidate.meta.key);
        self.readers
            .read_in_turn(move |reader| reader.living_owner(key).map_err(|error| error.of_session(&session)))
            .await
    }

    /// The sessions that the rules are asked about, the latest first.
    async fn of(&self, retention: &Retention) -> Result<Vec<Candidate>, Error> {
        let Self { readers, page_max } = *self;
        let retention = Arc::new(retention.clone());
        let mut found: Vec<Candidate> = Vec::new();
        let mut after = None;
        loop {
            let (from, retention) = (after.take(), Arc::clone(&retention));
            let read = move |reader: &mut dyn LogReader| {
                let rows = reader.sessions(from.as_ref(), page_max)?;
                let last = rows.last().map(|row| row.session.clone()).filter(|_| rows.len() == page_max);
                Ok((rows.into_iter().filter(|row| retention.is_of(row)).collect::<Vec<_>>(), last))
            };
            let (rows, last) = readers.read_in_turn(read).await?;
            for row in rows {
                found.extend(self.candidate(row).await?);
            }
            match last {
                Some(last) => after = Some(last),
                None => break,
            }
        }
        found.sort_by(|one, other| (other.last, &one.summary.id).cmp(&(one.last, &other.summary.id)));
        Ok(found)
    }

    /// `None` for a session that was deleted just now.
    async fn candidate(&self, row: SessionRow) -> Result<Option<Candidate>, Error> {
        let Self { readers, page_max } = *self;
        let (meta, head, created) = (row.meta, row.head, row.created);
        let session = row.session.clone();
        let last = readers
            .read_in_turn(move |reader| unless_damaged(reader.head(meta)).map_err(|error| error.of_session(&session)))
            .await;
        let last = match last {
            Ok(Some(last)) if last.id > meta.base.id => last.at,
            Ok(Some(_)) => created,
            // What cannot be read is not called old.
            Ok(None) => Timestamp::from_micros(i64::MAX),
            Err(error) if matches!(error.kind(), ErrorKind::SessionDeleted { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut record_bytes = 0_u64;
        let mut after = meta.base.id;
        while after < head {
            let session = row.session.clone();
            let read = move |reader: &mut dyn LogReader| {
                unless_damaged(reader.record_bytes(meta.key, after, page_max))
                    .map_err(|error| error.of_session(&session))
            };
            match readers.read_in_turn(read).await {
                Ok(Some((end, bytes))) if end > after => {
                    record_bytes = record_bytes.saturating_add(bytes);
                    after = end;
                }
                Ok(_) => break,
                Err(error) if matches!(error.kind(), ErrorKind::SessionDeleted { .. }) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(Candidate { meta, head, last, record_bytes, summary: row.into() }))
    }
}

/// `None` for damage of one log.
fn unless_damaged<T>(read: Result<T, LogError>) -> Result<Option<T>, LogError> {
    match read {
        Err(LogError::Corrupt(_) | LogError::CorruptEvent { .. }) => Ok(None),
        read => read.map(Some),
    }
}

/// Whether a time lies more than a duration before now.
fn is_older(last: Timestamp, now: Timestamp, time: Duration) -> bool {
    let micros = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    last.as_micros() < now.as_micros().saturating_sub(micros)
}

/// What an error says of the session that it came for. One that is of the whole store ends the call.
fn verdict_of(error: Error, otherwise: fn(Error) -> WhyKept) -> Result<Verdict, Error> {
    match error.kind() {
        // Somebody else has deleted it just now.
        ErrorKind::UnknownSession { .. } | ErrorKind::SessionDeleted { .. } => Ok(Verdict::Gone),
        ErrorKind::OwnedElsewhere { owner, .. } => Ok(Verdict::Kept(WhyKept::Owned(owner.clone()))),
        ErrorKind::HeadMoved { .. } => Ok(Verdict::Kept(WhyKept::Changed)),
        _ if is_of_the_store(&error) => Err(error),
        _ => Ok(Verdict::Kept(otherwise(error))),
    }
}

/// Whether no other session would fare better.
fn is_of_the_store(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StoreClosed | ErrorKind::Busy { .. } | ErrorKind::MustReopen { .. } | ErrorKind::DiskFull
    )
}
