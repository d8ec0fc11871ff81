//! Reading what is left of a damaged store: [`Salvage`].

use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use crate::agent::Agent;
use crate::error::{Error, ErrorKind};
use crate::event::LogEvent;
use crate::id::{EventId, SessionId};
use crate::model::{SessionModel, View, apply_to};
use crate::port::{AuditedEvent, Head, LogMeta};
use crate::replay::{check, corrupt, decode, open_record};
use crate::sqlite::{SalvageReader, is_forked};
use crate::store::Store;

/// Reads what is left in a directory, whether or not a store can open it. All calls block.
///
/// A salvage takes none of foldlog's locks, repairs nothing, and works beside stores that have the directory open. It
/// writes no file but one: if there is an `events.db-wal`, SQLite makes or changes `events.db-shm`, which is only
/// SQLite's index of that file and can be made anew.
///
/// A salvage must not be used in a process in which a store is just opening the same directory: when the salvage is
/// dropped, that store's SQLite could lose its locks.
///
/// A database whose first page or list of tables is damaged cannot be read this way.
///
/// # Examples
/// ```
/// # use foldlog::agent::{Agent, AgentBody, Message};
/// # use foldlog::{Store, StoreConfig};
/// # fn main() -> Result<(), foldlog::Error> {
/// # let directory = tempfile::tempdir().expect("a temporary directory");
/// # let path = directory.path();
/// # futures::executor::block_on(async {
/// #     let store = Store::open(StoreConfig::directory(path)).await?;
/// #     let session = store.open_session("s").await?;
/// #     session.append(AgentBody::MessageAppended(Message::user("hello")))?.await?;
/// #     store.close().await
/// # })?;
/// let mut salvage = Store::salvage(path)?;
/// let (sessions, stopped_by) = salvage.sessions();
/// assert!(stopped_by.is_none());
/// for session in sessions {
///     let salvaged = salvage.session(session.as_str())?;
///     assert_eq!(salvaged.events.len(), 1);
///     assert!(salvaged.stopped_by.is_none());
/// }
/// # Ok(()) }
/// ```
pub struct Salvage<M: SessionModel> {
    reader: SalvageReader,
    model: PhantomData<fn() -> M>,
}

impl<M: SessionModel> fmt::Debug for Salvage<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Salvage").finish_non_exhaustive()
    }
}

impl Store<Agent> {
    /// Opens what is left of a damaged directory, to read it session by session. Blocks.
    ///
    /// # Errors
    /// Those of [`Store::salvage_model`].
    pub fn salvage(path: impl AsRef<Path>) -> Result<Salvage<Agent>, Error> {
        Self::salvage_model(path)
    }
}

/// The longest valid beginning of a session.
#[non_exhaustive]
pub struct Salvaged<M: SessionModel> {
    /// The events, from the first on. Each follows the one before by id and chain, and decodes.
    pub events: Vec<LogEvent<M>>,
    /// The view that these events fold to. If `apply` panics on one of them, the view ends before it.
    pub view: View<M>,
    /// What is wrong with the next event or, if nothing is, that `apply` panicked. `None` if all of these events are in
    /// the view, and none is known to follow.
    pub stopped_by: Option<Error>,
}

impl<M: SessionModel> fmt::Debug for Salvaged<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, view, stopped_by } = self;
        let mut salvaged = f.debug_struct("Salvaged");
        salvaged.field("events", events).field("view", view).field("stopped_by", stopped_by).finish()
    }
}

impl<M: SessionModel> Salvage<M> {
    /// Opens a directory.
    ///
    /// # Errors
    /// [`ErrorKind::CorruptStore`] if SQLite cannot even read the list of tables; [`ErrorKind::WrongModel`] or
    /// [`ErrorKind::NewerFormat`] for a directory that is not for this build, as far as that can still be read;
    /// [`ErrorKind::Unavailable`] if `events.db` is not there or may not be read.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, Error> {
        if is_forked() {
            return Err(ErrorKind::Forked.into());
        }
        let reader = SalvageReader::open(directory.as_ref())?;
        reader.check_model(M::NAME)?;
        Ok(Self { reader, model: PhantomData })
    }

    /// What is wrong with the files of a directory, beside what stands in them: files of two times, and a write-ahead
    /// log that is damaged before its end. Only for a directory that no store has open: a store changes the files
    /// meanwhile. Nothing is said where this process has it open.
    #[must_use]
    pub fn file_problems(directory: impl AsRef<Path>) -> Vec<String> {
        SalvageReader::problems_of_files(directory.as_ref())
    }

    /// Lists the sessions whose names can be read, in order. The error is there if there may be more, and says why.
    #[must_use]
    pub fn sessions(&self) -> (Vec<SessionId>, Option<Error>) {
        let found = self.reader.sessions();
        (found.sessions, found.stopped_by.map(Into::into))
    }

    /// Reads the longest valid beginning of a session, all of it into memory. An event that the index does not lead to
    /// is looked for in the table itself.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidSessionId`], [`ErrorKind::UnknownSession`]; [`ErrorKind::CorruptStore`] or
    /// [`ErrorKind::Unavailable`] if not even the session's log can be found.
    pub fn session(&mut self, id: impl AsRef<str>) -> Result<Salvaged<M>, Error> {
        let session = SessionId::new(id)?;
        let found = self.reader.find(&session)?;
        let log = found.ok_or_else(|| Error::from(ErrorKind::UnknownSession { session: session.clone() }))?;
        let mut events = Vec::new();
        let mut head = log.base;
        let mut append_ends = EventId::ZERO;
        let stopped_by = loop {
            match self.next(&session, log, &head) {
                Ok(Some(taken)) => {
                    (head, append_ends) = (taken.head, taken.append_ends);
                    events.push(taken.event);
                }
                Ok(None) if head.id < append_ends => {
                    let reason = format!("the log ends before it, and its append goes on to {append_ends}");
                    break Some(corrupt(&session, head.id.next(), reason));
                }
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        let (view, unfoldable) = fold::<M>(&session, &events);
        Ok(Salvaged { events, view, stopped_by: stopped_by.or(unfoldable) })
    }

    /// Reads the event after the head; `None` if no event is known to follow.
    fn next(&mut self, session: &SessionId, log: LogMeta, head: &Head) -> Result<Option<Taken<M>>, Error> {
        let id = head.id.next();
        let take = |found: AuditedEvent| {
            let stored = found.row.map_err(|error| corrupt(session, id, error.reason()))?;
            check(session, head, stored.row())?;
            let append_ends = open_record(session, stored.row())?.0.last;
            let event = decode::<M>(session, stored.row())?;
            Ok(Taken { head: Head { id, chain: stored.chain, at: stored.at }, append_ends, event })
        };
        let mut wrong = match self.reader.by_index(log.key, id) {
            Ok(Some((_, found))) => match take(found) {
                Ok(taken) => return Ok(Some(taken)),
                Err(error) => Some(error),
            },
            Ok(None) => None,
            Err(error) => Some(corrupt(session, id, error.to_string())),
        };
        for (_, found) in self.reader.by_table(log.key, id) {
            match take(found) {
                Ok(taken) => return Ok(Some(taken)),
                Err(error) => wrong = wrong.or(Some(error)),
            }
        }
        if let Some(later) = self.reader.goes_on(log.key, id) {
            wrong = wrong.or_else(|| Some(corrupt(session, id, format!("the log goes on with event {later}"))));
        }
        wrong.map_or(Ok(None), Err)
    }
}

/// A valid event.
struct Taken<M: SessionModel> {
    head: Head,
    append_ends: EventId,
    event: LogEvent<M>,
}

fn fold<M: SessionModel>(session: &SessionId, events: &[LogEvent<M>]) -> (View<M>, Option<Error>) {
    // A panic may leave the state half changed: then the events before it are folded anew.
    let mut count = events.len();
    let mut stopped_by = None;
    loop {
        let (mut state, mut core) = (M::View::default(), Arc::default());
        let mut head = EventId::ZERO;
        let taken = events.iter().take(count);
        let folded = catch_unwind(AssertUnwindSafe(|| {
            for event in taken {
                apply_to(&mut state, &mut core, event);
                head = event.id();
            }
        }));
        match folded {
            Ok(()) => return (View::new(head, state, core), stopped_by),
            Err(_) => {
                stopped_by = Some(ErrorKind::Unfoldable { session: session.clone(), event: head.next() }.into());
                count = count.min(usize::try_from(head.get()).unwrap_or(usize::MAX)).min(count.saturating_sub(1));
            }
        }
    }
}
