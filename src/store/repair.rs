//! Making a new directory of what is valid in a damaged one: [`Store::repair`].

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use crate::agent::Agent;
use crate::clock::Clock;
use crate::config::StoreConfig;
use crate::error::{Error, ErrorKind};
use crate::id::{BlobRef, Digest, EventId, SessionId};
use crate::model::SessionModel;
use crate::port::{AuditedEvent, Create, LogKey, LogMeta};
use crate::replay::{LogCheck, corrupt};
use crate::sqlite::{BlobFailure, KeyHash, RebuiltDirectory, SalvageReader, TakenLog, is_forked, key_hash_of};
use crate::store::Store;
use crate::store::verification::{Problem, Verification};

/// What [`Store::repair`] took into the new directory, and what it could not take.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Repair {
    /// How many sessions the new directory has.
    pub sessions: u64,
    /// How many events they have.
    pub events: u64,
    /// How many blobs were copied.
    pub blobs: u64,
    /// The bytes of these blobs.
    pub blob_bytes: u64,
    /// How many events the damaged database has, as far as its table can be read, that were not taken: those behind the
    /// beginnings of their sessions, and those of logs without a session.
    pub events_left: u64,
    /// What was not taken, and why. For a session that was not taken whole, `event` is the first event that is missing
    /// in the new directory, and the error tells what is wrong: with this event, with a later one of the same append,
    /// or with a blob that it references. A problem without a session is of the database, or of a session whose name or
    /// log cannot be read.
    pub not_taken: Vec<Problem>,
}

impl Repair {
    /// Tells whether everything was taken that is known to have been there.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.not_taken.is_empty()
    }
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sessions, events, blobs, events_left, not_taken, .. } = self;
        write!(f, "taken: {sessions} sessions, {events} events, {blobs} blobs; left behind: {events_left} events; ")?;
        write!(f, "problems: {}", not_taken.len())
    }
}

impl Store<Agent> {
    /// Makes a new directory of what is valid in a damaged one, and verifies it. Blocks.
    ///
    /// # Errors
    /// Those of [`Store::repair_model`], which says what is taken.
    pub fn repair(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<Repair, Error> {
        Self::repair_model(from, to)
    }
}

impl<M: SessionModel> Store<M> {
    /// Makes a new directory of everything that is valid in a damaged one, whether or not a store can open that one,
    /// and verifies it. Blocks. The two directories are apart: the damaged one is only read and left as it is, as
    /// evidence and for a second try, so the call takes the place of the new one, too.
    ///
    /// Of each session whose name can be read it takes the longest valid beginning: the events in which
    /// [`Store::verify`] finds nothing wrong, whose blobs are all there undamaged, and up to the end of an append,
    /// since an append is all or nothing. A session with no such event is taken empty. Events keep their ids, times,
    /// append keys, chain hashes, records, and their order among all sessions; a session keeps the time of its
    /// creation, where it can be read, and has the title and labels that these events give it. The index is made anew.
    /// Epochs are kept, and nobody owns a session; stored views and blobs that no event references stay behind. An
    /// event of a newer build ends its session's beginning, and so does one whose body this build does not decode
    /// ([`ErrorKind::Undecodable`]): repair with a build that does.
    ///
    /// The new directory is made as `<to>.part`, beside its name, and gets the name when it was verified as sound. A
    /// repair that is cut off leaves `<to>.part`, which the next repair asks to remove; one that fails removes it.
    ///
    /// A repair takes none of foldlog's locks, and works beside stores that have the damaged directory open: what they
    /// append meanwhile may be left out. As a [`Salvage`](crate::Salvage) it must not be used in a process in which a
    /// store is just opening that directory. A database whose first page or list of tables is damaged cannot be
    /// repaired.
    ///
    /// # Errors
    /// [`ErrorKind::CorruptStore`] if no session can be taken; [`ErrorKind::InvalidArgument`] if `to` is a directory
    /// that is not empty (the text names what it holds), lies in `from`, or `<to>.part` is there;
    /// [`ErrorKind::CorruptStore`] if SQLite cannot even read the list of tables, or if what was made does not verify;
    /// [`ErrorKind::WrongModel`] or [`ErrorKind::NewerFormat`] for a directory that is not for this build;
    /// [`ErrorKind::Io`], [`ErrorKind::DiskFull`] or [`ErrorKind::Unavailable`] if one of the directories cannot be
    /// read or written. Damage is no error of this call: the answer lists it.
    ///
    /// # Examples
    /// ```
    /// # use foldlog::agent::{Agent, AgentBody, Message};
    /// # use foldlog::{Store, StoreConfig};
    /// # fn main() -> Result<(), foldlog::Error> {
    /// # let directory = tempfile::tempdir().expect("a temporary directory");
    /// # let (damaged, repaired) = (directory.path().join("sessions"), directory.path().join("repaired"));
    /// # futures::executor::block_on(async {
    /// #     let store = Store::open(StoreConfig::directory(&damaged)).await?;
    /// #     let session = store.open_session("s").await?;
    /// #     session.append(AgentBody::MessageAppended(Message::user("hello")))?.await?;
    /// #     store.close().await
    /// # })?;
    /// let repair = Store::repair(&damaged, &repaired)?;
    /// println!("{repair}");
    /// for problem in &repair.not_taken {
    ///     eprintln!("not taken: {problem}");
    /// }
    /// assert_eq!((repair.sessions, repair.events), (1, 1));
    /// # Ok(()) }
    /// ```
    pub fn repair_model(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<Repair, Error> {
        let (from, to) = (from.as_ref(), to.as_ref());
        if is_forked() {
            return Err(ErrorKind::Forked.into());
        }
        let problems_of_files = SalvageReader::problems_of_files(from);
        let old = SalvageReader::open(from)?;
        old.check_model(M::NAME)?;
        let new = RebuiltDirectory::start(from, to, M::NAME, Clock::default().now())?;
        let mut repairing =
            Repairing { old, new, blobs: HashMap::new(), logs: HashSet::new(), report: Repair::default() };
        for reason in problems_of_files {
            repairing.lose_of_store(reason);
        }
        repairing.take_all::<M>()?;
        if let Repair { sessions: 0, not_taken, .. } = &repairing.report
            && let Some(problem) = not_taken.first()
        {
            let reason = format!("no session can be taken, and nothing was made: {problem}");
            return Err(ErrorKind::CorruptStore { reason }.into());
        }
        let Repairing { new, report, .. } = repairing;
        let made = new.finish()?;
        let verification = verify::<M>(made.path().to_owned())?;
        let counted = (verification.sessions, verification.events);
        if !verification.problems.is_empty() || counted != (report.sessions, report.events) {
            let wrong = verification.problems.first().map_or_else(|| verification.to_string(), ToString::to_string);
            let reason = format!("the repaired directory does not verify, and was removed: {wrong}");
            return Err(ErrorKind::CorruptStore { reason }.into());
        }
        made.put_in_place()?;
        Ok(report)
    }
}

struct Repairing {
    old: SalvageReader,
    new: RebuiltDirectory,
    /// What became of each blob.
    blobs: HashMap<(Digest, u64), Result<(), Error>>,
    /// The logs that are known by a session.
    logs: HashSet<LogKey>,
    report: Repair,
}

/// Why a session is not taken behind an event.
struct Stop {
    digest: Option<Digest>,
    error: Error,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self { digest: None, error }
    }
}

impl Repairing {
    fn take_all<M: SessionModel>(&mut self) -> Result<(), Error> {
        let names = self.old.sessions();
        for session in names.sessions {
            match self.old.find(&session) {
                Ok(Some(log)) if self.logs.insert(log.key) => self.take::<M>(session, log)?,
                Ok(Some(_)) => {
                    let reason =
                        format!("session {session}: its log is taken as another session's, and one of them is wrong");
                    self.lose(Problem::of_session(session, None, ErrorKind::CorruptStore { reason }.into()));
                }
                Ok(None) => {
                    let reason = format!("session {session}: its log is not there");
                    self.lose(Problem::of_session(session, None, ErrorKind::CorruptStore { reason }.into()));
                }
                Err(error) => {
                    let error = error.of_session(&session);
                    self.lose(Problem::of_session(session, None, error));
                }
            }
        }
        for name in names.no_names {
            self.lose_of_store(format!("a session has the name {name}, which is no session id"));
        }
        if let Some(error) = names.stopped_by {
            self.lose_of_store(format!("some names of sessions cannot be read: {error}"));
        }
        for hole in self.old.holes() {
            self.lose_of_store(hole);
        }
        let logs = self.old.logs();
        let there: u64 = logs.iter().map(|(_, events)| events).sum();
        self.report.events_left = there.saturating_sub(self.report.events);
        for (log, events) in logs {
            if !self.logs.contains(&log) {
                self.lose_of_store(format!("log {} has {events} events and no session that can be read", log.0));
            }
        }
        Ok(self.new.log.copy_events(&self.old)?)
    }

    fn lose(&mut self, problem: Problem) {
        self.report.not_taken.push(problem);
    }

    fn lose_of_store(&mut self, reason: String) {
        self.lose(Problem::of_store(ErrorKind::CorruptStore { reason }.into()));
    }

    fn take<M: SessionModel>(&mut self, session: SessionId, log: LogMeta) -> Result<(), Error> {
        let mut check = LogCheck::<M>::new(session.clone(), log, EventId::MAX);
        let mut taken = TakenLog::default();
        // Where the last append ends that is whole, and what foldlog knows of the session there.
        let (mut whole, mut core) = (log.base.id, Arc::default());
        let stopped_by = loop {
            match self.next(&session, log, &check)? {
                Ok(Some(next)) => {
                    check = next.check;
                    taken.push(check.head(), next.position, next.found_key);
                    if check.head() == check.append_ends() {
                        whole = check.head();
                        core = check.core().map(Arc::clone).unwrap_or_default();
                    }
                }
                Ok(None) if whole < check.head() => {
                    let reason = format!("the log ends before it, and its append goes on to {}", check.append_ends());
                    break Some(corrupt(&session, check.head().next(), reason).into());
                }
                Ok(None) => break None,
                Err(stop) => break Some(stop),
            }
        };
        taken.end_at(whole);
        for what in self.new.log.add(&self.old, &session, log, &taken, &core)? {
            let reason = format!("the {what} of session {session} cannot be read");
            self.lose(Problem::of_session(session.clone(), None, ErrorKind::CorruptStore { reason }.into()));
        }
        self.report.sessions += 1;
        self.report.events += taken.events();
        if let Some(Stop { digest, error }) = stopped_by {
            self.lose(Problem { session: Some(session), event: Some(whole.next()), digest, error });
        }
        Ok(())
    }

    /// Finds the event behind those that were checked; `None` if none is known to follow. The outer error ends the
    /// repair.
    fn next<M: SessionModel>(
        &mut self,
        session: &SessionId,
        log: LogMeta,
        check: &LogCheck<M>,
    ) -> Result<Result<Option<ValidEvent<M>>, Stop>, Error> {
        let id = check.head().next();
        let mut wrong = match self.old.by_index(log.key, id) {
            Ok(Some(found)) => match self.accept(check, found)? {
                Ok(next) => return Ok(Ok(Some(next))),
                Err(stop) => Some(stop),
            },
            Ok(None) => None,
            Err(error) => Some(corrupt(session, id, error.to_string()).into()),
        };
        for found in self.old.by_table(log.key, id) {
            match self.accept(check, found)? {
                Ok(next) => return Ok(Ok(Some(next))),
                Err(stop) => wrong = wrong.or(Some(stop)),
            }
        }
        if let Some(later) = self.old.goes_on(log.key, id) {
            wrong = wrong.or_else(|| Some(corrupt(session, id, format!("the log goes on with event {later}")).into()));
        }
        Ok(wrong.map_or(Ok(None), Err))
    }

    /// Checks an event, and copies its blobs.
    fn accept<M: SessionModel>(
        &mut self,
        check: &LogCheck<M>,
        (position, found): (i64, AuditedEvent),
    ) -> Result<Result<ValidEvent<M>, Stop>, Error> {
        let mut check = check.clone();
        let found_key = found.row.as_ref().ok().and_then(|row| key_hash_of(row.row()));
        let findings = check.event(found);
        if let Some((_, error)) = findings.problems.into_iter().next() {
            return Ok(Err(error.into()));
        }
        for blob in findings.refs {
            if let Err(error) = self.copy_blob(&blob)? {
                return Ok(Err(Stop { digest: Some(blob.digest), error }));
            }
        }
        Ok(Ok(ValidEvent { position, found_key, check }))
    }

    fn copy_blob(&mut self, blob: &BlobRef) -> Result<Result<(), Error>, Error> {
        if let Some(known) = self.blobs.get(&(blob.digest, blob.bytes)) {
            return Ok(known.clone());
        }
        let copied = match self.new.copy_blob(blob) {
            Ok(()) => {
                self.report.blobs += 1;
                self.report.blob_bytes += blob.bytes;
                Ok(())
            }
            Err(BlobFailure::Old(error)) => Err(error),
            Err(BlobFailure::New(error)) => return Err(error),
        };
        self.blobs.insert((blob.digest, blob.bytes), copied.clone());
        Ok(copied)
    }
}

/// A valid event.
struct ValidEvent<M: SessionModel> {
    position: i64,
    found_key: Option<KeyHash>,
    /// The check behind it.
    check: LogCheck<M>,
}

/// Verifies a directory as a store does, on a thread of its own: the caller may be inside an executor.
fn verify<M: SessionModel>(path: PathBuf) -> Result<Verification, Error> {
    let failed = |reason: String| Error::from(ErrorKind::Unavailable { reason });
    let verifying = thread::Builder::new().name("foldlog-repair".to_owned()).spawn(move || {
        futures::executor::block_on(async {
            let store =
                Store::<M>::open_model(StoreConfig { create: Create::Never, ..StoreConfig::directory(path) }).await?;
            let verification = store.verify().await;
            store.close().await?;
            verification
        })
    });
    let verifying =
        verifying.map_err(|error| failed(format!("no thread to verify the repaired directory with: {error}")))?;
    verifying
        .join()
        .unwrap_or_else(|_| Err(failed("the thread that verifies the repaired directory failed".to_owned())))
}
