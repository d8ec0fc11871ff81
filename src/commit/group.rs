//! Group commit: everything that waits becomes one transaction. Plain synchronous code, which the persist actor drives.

use std::collections::{HashMap, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use super::error::PersistError;
use crate::port::{
    Claiming, CommitError, EventLog, LogError, LogKey, LogMedium, Ownership, Settled, SettledAs, UpkeepLeft,
    UpkeepMoment, Write, Written,
};
use crate::stats::{Metrics, Outage};
use crate::threads::Commits;

mod answers;

use answers::{answer_all, appended, follows, is_told, take_away, unknown};

/// A write that waits for its commit, and the reply that gets its answer.
pub(crate) struct Pending {
    pub(crate) write: Write,
    /// The incarnation of the session that sent the write. A fence of a later incarnation refuses appends that come
    /// after it.
    pub(crate) incarnation: u64,
    pub(crate) reply: Reply,
}

pub(crate) type Reply = Box<dyn FnOnce(Result<Written, PersistError>, Follows) + Send>;

/// What comes right after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Follows {
    /// Another answer to an append to the same log, of the same group: the session folds them together.
    More,
    Nothing,
}

/// What is left to do after a flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Idle,
    /// More is waiting.
    Flush,
    /// Another process holds the database's lock: the group waits, nothing is lost.
    Retry,
}

/// Why nothing is written any more: other stores take this one for dead, and may write its sessions.
const NOT_HELD: &str = "its file in owners/ is gone, so that other stores take it for dead";

pub(crate) struct GroupWriter {
    medium: Arc<dyn LogMedium>,
    ownership: Arc<dyn Ownership>,
    /// `None` after a failure, until the next flush opens it again.
    log: Option<Box<dyn EventLog>>,
    /// A group whose COMMIT failed and whose outcome is not known yet. Until a new writing end has settled it, nothing
    /// else is answered from the log: what the commit has left behind may still come to be in it.
    unsettled: Option<Unsettled>,
    pending: VecDeque<Pending>,
    /// How many of the pending writes only read: see [`is_read`].
    reads: usize,
    /// The incarnation of each session that has asked for its log again since it was opened.
    incarnations: HashMap<LogKey, u64>,
    limits: GroupLimits,
    metrics: Arc<Metrics>,
    followed: Arc<Commits>,
    /// How many writes were ever pushed.
    received: u64,
    closed: bool,
    commits: Outage,
    upkeep: Outage,
    upkeep_left: UpkeepLeft,
}

/// See [`GroupWriter::unsettled`]. Without writes, once these were answered as unknown.
struct Unsettled {
    writes: Vec<Write>,
    waiting: Waiting,
    cause: LogError,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupLimits {
    pub(crate) events_max: usize,
    pub(crate) bytes_max: usize,
}

impl GroupWriter {
    pub(crate) fn open(
        medium: Arc<dyn LogMedium>,
        ownership: Arc<dyn Ownership>,
        limits: GroupLimits,
        metrics: Arc<Metrics>,
        followed: Arc<Commits>,
    ) -> Result<Self, LogError> {
        let log = medium.writer()?;
        let upkeep_left = log.left();
        Ok(Self {
            medium,
            ownership,
            log: Some(log),
            unsettled: None,
            pending: VecDeque::new(),
            reads: 0,
            incarnations: HashMap::new(),
            limits,
            metrics,
            followed,
            received: 0,
            closed: false,
            commits: Outage::of("writing to the event log"),
            upkeep: Outage::of("the upkeep of the event log"),
            upkeep_left,
        })
    }

    /// Queues a write, which a later flush answers. A write that comes too late is answered at once.
    pub(crate) fn push(&mut self, pending: Pending) {
        if let Write::Register { .. } | Write::Sweep(_) | Write::Cursor(_) = &pending.write {
            // Counted here, and not by the sender, who may give up before the message arrives.
            self.metrics.write_sent();
        }
        self.received += 1;
        self.enqueue(pending);
        self.count_answered();
    }

    fn enqueue(&mut self, pending: Pending) {
        if self.closed {
            return (pending.reply)(Err(PersistError::Closed), Follows::Nothing);
        }
        if pending.write.appends_to().is_some_and(|log| self.is_fenced(log, pending.incarnation)) {
            return (pending.reply)(Err(PersistError::Fenced), Follows::Nothing);
        }
        match &pending.write {
            // Nothing was sent before the first fence. Kept for every session that is opened, these would only grow.
            Write::Fence { log, .. } if pending.incarnation <= 1 => drop(self.incarnations.remove(&log.key)),
            Write::Fence { log, .. } => drop(self.incarnations.insert(log.key, pending.incarnation)),
            // Nothing is in flight when a log is given up.
            Write::Release { log, .. } => drop(self.incarnations.remove(log)),
            _ => {}
        }
        self.reads += usize::from(is_read(&pending.write));
        self.pending.push_back(pending);
    }

    /// Whether a later incarnation of the session has asked for its log.
    fn is_fenced(&self, log: LogKey, incarnation: u64) -> bool {
        self.incarnations.get(&log).is_some_and(|latest| incarnation < *latest)
    }

    /// Tells the metrics how many writes were answered: all that were pushed and do not wait any more.
    fn count_answered(&self) {
        let unsettled = self.unsettled.as_ref().map_or(0, |group| group.waiting.len());
        self.metrics.writes_answered(self.received.saturating_sub((self.pending.len() + unsettled) as u64));
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.unsettled.as_ref().is_none_or(|group| group.waiting.is_empty())
    }

    /// Drops the writing end. The next flush opens another, which remembers nothing and reads the log again.
    pub(crate) fn reset(&mut self) {
        self.log = None;
    }

    /// Commits the fences that only read, then one group, and answers both. On [`Next::Retry`] the rest waits on.
    pub(crate) fn flush(&mut self) -> Next {
        let next = self.flush_groups();
        self.count_answered();
        next
    }

    fn flush_groups(&mut self) -> Next {
        match self.settle() {
            Ok(()) => {}
            Err(LogError::Busy) => return Next::Retry,
            Err(error) => {
                answer_all(self.take_reads().1, || PersistError::not_written(error.clone()));
                answer_all(self.take_group().1, || PersistError::not_written(error.clone()));
                return self.next();
            }
        }
        // The fences that only read come first, in a group of their own. They need no write lock, so another process
        // that holds it delays no session that is only opened.
        let reads = self.take_reads();
        if !reads.0.is_empty() && self.flush_group(reads) == Next::Retry {
            return Next::Retry;
        }
        let group = self.take_group();
        self.flush_group(group)
    }

    fn flush_group(&mut self, (writes, waiting): WriteGroup) -> Next {
        if writes.is_empty() {
            return Next::Idle;
        }
        let mut log = match self.reopened() {
            Ok(log) => log,
            Err(LogError::Busy) => return self.put_back(writes, waiting),
            Err(error) => {
                self.commits.failed(format_args!("the event log cannot be opened: {error}"));
                answer_all(waiting, || PersistError::not_written(error.clone()));
                return self.next();
            }
        };
        let begun = Instant::now();
        let committed = catch_unwind(AssertUnwindSafe(|| log.commit(&writes)))
            .unwrap_or_else(|_| Err(CommitError::Unknown(LogError::Io("the commit panicked".to_owned()))));
        match committed {
            Ok(answers) => {
                let (appends, events) = appended(&writes, &answers);
                self.metrics.group_committed(begun.elapsed(), appends, events);
                if appends > 0 {
                    // A group that writes nothing goes through on a full disk, too.
                    self.commits.worked();
                }
                for (write, answer) in writes.iter().zip(&answers) {
                    if let (Write::Delete { log, .. }, Ok(_)) = (write, answer) {
                        self.incarnations.remove(log);
                    }
                }
                // Before the answers: whoever has asked for it and knows of it is given nothing any more that it took
                // away.
                if take_away(&writes, &answers) {
                    self.followed.voided();
                }
                let is_followed = is_told(&writes, &answers);
                for (((_, reply), answer), follows) in waiting.into_iter().zip(answers).zip(follows(&writes)) {
                    reply(answer.map_err(PersistError::Refused), follows);
                }
                if is_followed {
                    self.followed.committed();
                }
                // The sessions fold meanwhile what they hold of the same events.
                drop(writes);
                // A failure is logged, and waits for nobody.
                let _ = self.keep_up(log, UpkeepMoment::AfterGroup);
            }
            Err(CommitError::NotWritten(LogError::Busy)) => {
                self.log = Some(log);
                return self.put_back(writes, waiting);
            }
            Err(CommitError::NotWritten(error)) => {
                self.commits.failed(format_args!("a group was rolled back: {error}"));
                self.metrics.group_failed();
                if matches!(error, LogError::DiskFull) {
                    self.log = Some(log);
                }
                let (_, waiting) = self.put_reads_back(writes, waiting);
                answer_all(waiting, || PersistError::not_written(error.clone()));
            }
            Err(CommitError::Unknown(error)) => {
                self.commits.failed(format_args!("a commit failed, the event log is opened again: {error}"));
                self.metrics.group_failed();
                // This writing end may hold pages that never reached the disk: it is never used again.
                drop(log);
                let (writes, waiting) = self.put_reads_back(writes, waiting);
                self.unsettled = Some(Unsettled { writes, waiting, cause: error });
                if let Err(LogError::Busy) = self.settle() {
                    return Next::Retry;
                }
            }
        }
        self.next()
    }

    /// Goes on with what an upkeep has left: with a step whenever it is asked for, with the rest if nothing waits.
    /// [`LogError::Busy`] means that asking again later helps.
    pub(crate) fn keep_up_when_idle(&mut self) -> Result<(), LogError> {
        let is_due = match self.upkeep_left {
            _ if self.closed => false,
            UpkeepLeft::Nothing => false,
            UpkeepLeft::Steps => self.unsettled.is_none(),
            UpkeepLeft::HeldBack => self.is_idle(),
        };
        if !is_due {
            return Ok(());
        }
        let log = self.reopened()?;
        let (is_step, begun) = (self.upkeep_left == UpkeepLeft::Steps, Instant::now());
        let done = self.keep_up(log, UpkeepMoment::Idle);
        if is_step {
            self.metrics.erasing_step(begun.elapsed());
        }
        done
    }

    pub(crate) fn upkeep_left(&self) -> UpkeepLeft {
        self.upkeep_left
    }

    pub(crate) fn redactions_left(&self) -> UpkeepLeft {
        self.log.as_ref().map_or(UpkeepLeft::Nothing, |log| log.redactions_left())
    }

    /// After an upkeep that failed, the writing end is opened again by the next flush.
    fn keep_up(&mut self, mut log: Box<dyn EventLog>, moment: UpkeepMoment) -> Result<(), LogError> {
        match guarded(|| log.upkeep(moment)) {
            Ok(left) => {
                self.upkeep.worked();
                (self.log, self.upkeep_left) = (Some(log), left);
                Ok(())
            }
            Err(LogError::Busy) => {
                self.log = Some(log);
                Err(LogError::Busy)
            }
            Err(error) => {
                self.upkeep.failed(&error);
                // It is tried again, unless this store cannot go on.
                let is_lost = matches!(error, LogError::Lost(_));
                self.upkeep_left = if is_lost { UpkeepLeft::Nothing } else { UpkeepLeft::HeldBack };
                Err(error)
            }
        }
    }

    /// Answers a group whose COMMIT failed by what a new writing end finds in the log. If it can find nothing out, the
    /// group is answered as unknown, and the next flush tries again before it does anything else.
    fn settle(&mut self) -> Result<(), LogError> {
        let Some(Unsettled { writes, waiting, cause }) = self.unsettled.take() else { return Ok(()) };
        let settled = self.reopened().and_then(|mut log| guarded(|| log.settle(&writes)).map(|settled| (log, settled)));
        let (log, settled) = match settled {
            Ok(settled) => settled,
            Err(LogError::Busy) => {
                self.unsettled = Some(Unsettled { writes, waiting, cause });
                return Err(LogError::Busy);
            }
            Err(error) => {
                answer_all(waiting, || unknown(&cause, &error));
                self.unsettled = Some(Unsettled { writes: Vec::new(), waiting: Vec::new(), cause });
                return Err(error);
            }
        };
        self.log = Some(log);
        self.followed.voided();
        for (Settled { outcome, raised }, (_, reply)) in settled.into_iter().zip(waiting) {
            let answer = match outcome {
                SettledAs::Written => Ok(Written::Appended { raised }),
                SettledAs::NotWritten => Err(PersistError::NotWritten { error: cause.clone(), raised }),
                SettledAs::Unknown(error) => Err(unknown(&cause, &error)),
            };
            reply(answer, Follows::Nothing);
        }
        self.followed.committed();
        Ok(())
    }

    /// Commits what waits, and closes the log in order. Every later write is refused. If another process holds the
    /// lock, this waits for it until the deadline, and then answers what waits as not written.
    pub(crate) fn close(&mut self, deadline: Instant) -> Result<(), LogError> {
        self.closed = true;
        while !self.is_idle() {
            if self.flush() == Next::Retry && Instant::now() >= deadline {
                if let Some(Unsettled { waiting, cause, .. }) = self.unsettled.take() {
                    answer_all(waiting, || unknown(&cause, &LogError::Busy));
                }
                while !self.pending.is_empty() {
                    answer_all(self.take_group().1, || PersistError::not_written(LogError::Busy));
                }
                self.count_answered();
            }
        }
        match self.log.take() {
            Some(log) => guarded(|| log.close()),
            None => Ok(()),
        }
    }

    fn reopened(&mut self) -> Result<Box<dyn EventLog>, LogError> {
        let kept = self.log.take();
        guarded(|| {
            let log = kept.map_or_else(|| self.medium.writer(), Ok)?;
            // Asked before each group, since a cleaner may remove what others tell a living store by. They might have
            // its sessions by now, and run their turns.
            if self.ownership.still_held().map_err(|error| LogError::Io(error.to_string()))? {
                return Ok(log);
            }
            // Kept for closing, which brings what it has committed into the database.
            self.log = Some(log);
            // Should the medium be gone altogether, its error says so.
            self.medium.writer()?;
            Err(LogError::Lost(NOT_HELD.to_owned()))
        })
    }

    fn next(&self) -> Next {
        if self.is_idle() { Next::Idle } else { Next::Flush }
    }

    /// Takes the fences that claim nothing and have no write of their log ahead of them, as many as a group may have.
    fn take_reads(&mut self) -> WriteGroup {
        let (mut writes, mut waiting) = WriteGroup::default();
        if self.reads == 0 {
            return (writes, waiting);
        }
        let mut written = HashSet::new();
        for pending in std::mem::take(&mut self.pending) {
            match &pending.write {
                Write::Fence { log, claim: Claiming::No }
                    if writes.len() < self.limits.events_max && !written.contains(&log.key) =>
                {
                    self.reads -= 1;
                    writes.push(pending.write);
                    waiting.push((pending.incarnation, pending.reply));
                    continue;
                }
                Write::Fence { log, .. } => written.insert(log.key),
                Write::Append { log, .. } | Write::Release { log, .. } | Write::Delete { log, .. } => {
                    written.insert(*log)
                }
                Write::Redact(redaction) => written.insert(redaction.log),
                // No fence depends on what these write.
                Write::Register { .. } | Write::Snapshot { .. } | Write::Sweep(_) | Write::Cursor(_) => false,
            };
            self.pending.push_back(pending);
        }
        (writes, waiting)
    }

    fn take_group(&mut self) -> WriteGroup {
        let (mut writes, mut waiting) = WriteGroup::default();
        let (mut events, mut bytes) = (0, 0);
        while let Some(pending) = self.pending.pop_front() {
            if let Write::Append { events: more, .. } = &pending.write {
                events += more.len();
                bytes += more.iter().map(|event| event.record.len()).sum::<usize>();
            } else if let Write::Redact(redaction) = &pending.write {
                events += redaction.records.len();
                bytes += redaction.records.iter().map(|it| it.record.len()).sum::<usize>();
            } else {
                // Any other write changes a row or two, as an event does.
                events += 1;
            }
            if !writes.is_empty() && (events > self.limits.events_max || bytes > self.limits.bytes_max) {
                self.pending.push_front(pending);
                break;
            }
            self.reads -= usize::from(is_read(&pending.write));
            writes.push(pending.write);
            waiting.push((pending.incarnation, pending.reply));
        }
        (writes, waiting)
    }

    /// Puts the fences that only read back into the queue, so that they do not fail with the writes beside them: a
    /// session that recovers asks for its head, and after a failure it would have to call its appends unknown. A group
    /// of nothing but such fences fails as it is.
    fn put_reads_back(&mut self, writes: Vec<Write>, waiting: Waiting) -> WriteGroup {
        if writes.iter().all(is_read) {
            return (writes, waiting);
        }
        let (reads, rest): (Vec<_>, Vec<_>) = writes.into_iter().zip(waiting).partition(|(write, _)| is_read(write));
        let (writes, waiting) = reads.into_iter().unzip();
        self.put_back(writes, waiting);
        rest.into_iter().unzip()
    }

    fn put_back(&mut self, writes: Vec<Write>, waiting: Waiting) -> Next {
        for (write, (incarnation, reply)) in writes.into_iter().zip(waiting).rev() {
            self.reads += usize::from(is_read(&write));
            self.pending.push_front(Pending { write, incarnation, reply });
        }
        Next::Retry
    }
}

/// Calls the log, and makes a panic an error: if a panic ended the persist actor, all sessions would stand still.
fn guarded<T>(call: impl FnOnce() -> Result<T, LogError>) -> Result<T, LogError> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| Err(LogError::Io("the event log panicked".to_owned())))
}

type Waiting = Vec<(u64, Reply)>;
type WriteGroup = (Vec<Write>, Waiting);

fn is_read(write: &Write) -> bool {
    matches!(write, Write::Fence { claim: Claiming::No, .. })
}

#[cfg(test)]
mod tests;
