//! Goal: every write is answered once, with what the log says. Method: a log in memory whose commits fail as told.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};

use super::*;
use crate::codec::Chain;
use crate::config::StoreConfig;
use crate::id::{EventId, SessionId, Timestamp};
use crate::memory::{MemoryDisk, MemoryEnd};
use crate::port::{
    Claiming, Epoch, Head, LogKey, LogMeta, LogReader, LogSource, Refusal, StoredEvent, Upkeep, UpkeepLeft,
    UpkeepMoment,
};
use crate::threads::{Commits, lock};

mod fences;
mod followers;
mod limits;

/// What the next commit does.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    Busy,
    DiskFull,
    /// COMMIT says that it failed, and the group is in the log all the same.
    FailedAfterWriting,
    FailedBeforeWriting,
    /// As before, and the log cannot be opened again either.
    Unreadable,
    Panic,
}

#[derive(Clone)]
struct FaultyMedium {
    memory: Arc<MemoryEnd>,
    faults: Arc<Mutex<VecDeque<Fault>>>,
    groups: Arc<Mutex<Vec<usize>>>,
    is_readable: Arc<Mutex<bool>>,
    /// Another process holds the write lock.
    is_locked: Arc<AtomicBool>,
    /// The epoch that settling raises each log to.
    raised: Arc<Mutex<Option<Epoch>>>,
    /// The log of which settling finds nothing out.
    unsettled: Arc<Mutex<Option<LogKey>>>,
    /// Why the next upkeep fails.
    cannot_keep_up: Arc<Mutex<Option<LogError>>>,
    /// Why settling fails as a whole.
    cannot_settle: Arc<Mutex<Option<LogError>>>,
}

struct FaultyLog(Box<dyn EventLog>, FaultyMedium);

impl LogSource for FaultyMedium {
    fn reader(&self) -> Result<Box<dyn LogReader>, LogError> {
        self.memory.reader()
    }
}

impl LogMedium for FaultyMedium {
    fn writer(&self) -> Result<Box<dyn EventLog>, LogError> {
        if !*lock(&self.is_readable) {
            return Err(LogError::Io("no such file".to_owned()));
        }
        Ok(Box::new(FaultyLog(self.memory.writer()?, self.clone())))
    }

    fn upkeep(&self) -> Upkeep {
        Upkeep::default()
    }
}

impl EventLog for FaultyLog {
    fn commit(&mut self, group: &[Write]) -> Result<Vec<Result<Written, Refusal>>, CommitError> {
        let failed = || Err(CommitError::Unknown(LogError::Io("sync failed".to_owned())));
        if self.1.is_locked.load(Ordering::SeqCst) && !group.iter().all(is_read) {
            return Err(CommitError::NotWritten(LogError::Busy));
        }
        let fault = lock(&self.1.faults).pop_front();
        match fault {
            None => {
                lock(&self.1.groups).push(group.len());
                self.0.commit(group)
            }
            Some(Fault::Busy) => Err(CommitError::NotWritten(LogError::Busy)),
            Some(Fault::DiskFull) => Err(CommitError::NotWritten(LogError::DiskFull)),
            Some(Fault::FailedAfterWriting) => self.0.commit(group).and_then(|_| failed()),
            Some(Fault::FailedBeforeWriting) => failed(),
            Some(Fault::Unreadable) => {
                *lock(&self.1.is_readable) = false;
                failed()
            }
            Some(Fault::Panic) => panic!("told to"),
        }
    }

    fn settle(&mut self, group: &[Write]) -> Result<Vec<Settled>, LogError> {
        if let Some(error) = &*lock(&self.1.cannot_settle) {
            return Err(error.clone());
        }
        let raised = *lock(&self.1.raised);
        let unsettled = *lock(&self.1.unsettled);
        let settled = self.0.settle(group)?.into_iter().zip(group).map(|(Settled { outcome, .. }, write)| {
            let is_unsettled = matches!(write, Write::Append { log, .. } if Some(*log) == unsettled);
            let unknown = || SettledAs::Unknown(LogError::Corrupt("its row cannot be read".to_owned()));
            Settled { outcome: if is_unsettled { unknown() } else { outcome }, raised }
        });
        Ok(settled.collect())
    }

    fn upkeep(&mut self, _: UpkeepMoment) -> Result<UpkeepLeft, LogError> {
        lock(&self.1.cannot_keep_up).take().map_or(Ok(UpkeepLeft::Nothing), Err)
    }

    fn left(&self) -> UpkeepLeft {
        UpkeepLeft::Nothing
    }

    fn redactions_left(&self) -> UpkeepLeft {
        UpkeepLeft::Nothing
    }

    fn close(self: Box<Self>) -> Result<(), LogError> {
        self.0.close()
    }
}

type Answer = Receiver<Result<Written, PersistError>>;

struct Bench {
    medium: FaultyMedium,
    writer: GroupWriter,
    commits: Arc<Commits>,
}

impl Bench {
    fn new(limits: GroupLimits, faults: impl IntoIterator<Item = Fault>) -> Self {
        let memory = MemoryEnd::open(MemoryDisk::default(), "test", Timestamp::default()).unwrap();
        let medium = FaultyMedium {
            memory: Arc::new(memory),
            faults: Arc::default(),
            groups: Arc::default(),
            is_readable: Arc::new(Mutex::new(true)),
            is_locked: Arc::default(),
            raised: Arc::default(),
            unsettled: Arc::default(),
            cannot_keep_up: Arc::default(),
            cannot_settle: Arc::default(),
        };
        let commits = Arc::new(Commits::of(Arc::clone(&medium.memory) as _));
        let (log, owned) = (Arc::new(medium.clone()), Arc::clone(&medium.memory));
        let writer = GroupWriter::open(log, owned, limits, Arc::default(), Arc::clone(&commits)).unwrap();
        let bench = Self { medium, writer, commits };
        bench.fail(faults);
        bench
    }

    fn plain(faults: impl IntoIterator<Item = Fault>) -> Self {
        let config = StoreConfig::memory();
        let limits = GroupLimits { events_max: config.group_events_max, bytes_max: config.group_bytes_max };
        Self::new(limits, faults)
    }

    fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        lock(&self.medium.faults).extend(faults);
    }

    fn push(&mut self, write: Write, incarnation: u64) -> Answer {
        let (sender, receiver) = channel();
        self.writer.push(Pending {
            write,
            incarnation,
            reply: Box::new(move |answer, _| sender.send(answer).unwrap()),
        });
        receiver
    }

    /// Makes a session before any fault strikes.
    fn session(&mut self, name: &str) -> Log {
        let faults = std::mem::take(&mut *lock(&self.medium.faults));
        let session = SessionId::new(name).unwrap();
        let answer = self.push(Write::Register { session, at: Timestamp::default() }, 0);
        self.writer.flush();
        lock(&self.medium.groups).clear();
        self.fail(faults);
        match answer.recv().unwrap() {
            Ok(Written::Registered { meta, owned: Some(epoch) }) => {
                let chain = Chain::start(&meta.log_id);
                Log { meta, epoch, head: Head { id: EventId::ZERO, chain, at: Timestamp::default() } }
            }
            other => panic!("not registered: {other:?}"),
        }
    }

    fn stored(&self, log: &Log) -> usize {
        self.medium.reader().unwrap().page(log.meta.key, EventId::ZERO, 1000, usize::MAX).unwrap().len()
    }
}

struct Log {
    meta: LogMeta,
    epoch: Epoch,
    head: Head,
}

impl Log {
    fn append(&mut self) -> Write {
        let (id, at, record) = (self.head.id.next(), Timestamp::default(), vec![0; 100]);
        let after = self.head.chain;
        self.head = Head { id, chain: self.head.chain.next(id, at, &record), at };
        let event = StoredEvent { id, event_type: "x".into(), at, key: None, chain: self.head.chain, record };
        Write::Append { log: self.meta.key, epoch: self.epoch, after, events: vec![event], listed: None }
    }
}

#[test]
fn everything_that_waits_becomes_one_transaction() {
    let mut bench = Bench::plain([]);
    let mut logs: Vec<_> = (0..50).map(|n| bench.session(&format!("s{n}"))).collect();
    lock(&bench.medium.groups).clear();
    let answers: Vec<_> = logs.iter_mut().map(Log::append).map(|write| bench.push(write, 1)).collect();
    assert_eq!(bench.writer.flush(), Next::Idle);
    assert!(answers.iter().all(|answer| matches!(answer.try_recv(), Ok(Ok(Written::Appended { .. })))));
    assert_eq!(*lock(&bench.medium.groups), [50]);
}

#[test]
fn each_append_but_the_last_of_its_log_is_followed_by_more_of_the_same_group() {
    let mut bench = Bench::plain([]);
    let (mut one, mut other) = (bench.session("one"), bench.session("other"));
    let (sender, receiver) = channel();
    let writes = [one.append(), other.append(), one.append(), Write::Fence { log: one.meta, claim: Claiming::No }];
    for (place, write) in writes.into_iter().chain([one.append()]).enumerate() {
        let sender = sender.clone();
        let reply = Box::new(move |_, follows| sender.send((place, follows)).unwrap());
        bench.writer.push(Pending { write, incarnation: 1, reply });
    }
    bench.writer.flush();
    let mut told: Vec<_> = receiver.try_iter().collect();
    told.sort_by_key(|(place, _)| *place);
    let follows: Vec<_> = told.into_iter().map(|(_, follows)| follows).collect();
    use Follows::{More, Nothing};
    assert_eq!(follows, [More, Nothing, More, Nothing, Nothing]);
}

#[test]
fn a_group_ends_at_its_limit_of_events_or_bytes() {
    for limits in [GroupLimits { events_max: 3, bytes_max: 1 << 20 }, GroupLimits { events_max: 100, bytes_max: 350 }] {
        let mut bench = Bench::new(limits, []);
        let mut log = bench.session("s");
        let answers: Vec<_> = (0..7).map(|_| bench.push(log.append(), 1)).collect();
        while bench.writer.flush() == Next::Flush {}
        assert_eq!(*lock(&bench.medium.groups), [3, 3, 1]);
        assert!(answers.iter().all(|answer| matches!(answer.try_recv(), Ok(Ok(Written::Appended { .. })))));
    }
}

#[test]
fn a_group_behind_a_foreign_lock_waits_in_order_and_loses_nothing() {
    let mut bench = Bench::plain([Fault::Busy, Fault::Busy]);
    let mut log = bench.session("s");
    let answers: Vec<_> = (0..3).map(|_| bench.push(log.append(), 1)).collect();
    assert_eq!(bench.writer.flush(), Next::Retry);
    let later = bench.push(log.append(), 1);
    assert_eq!(bench.writer.flush(), Next::Retry);
    assert!(answers.iter().all(|answer| answer.try_recv().is_err()), "nobody is answered before the commit");
    bench.writer.flush();
    assert!(answers.iter().chain([&later]).all(|answer| matches!(answer.try_recv(), Ok(Ok(Written::Appended { .. })))));
    assert_eq!(bench.stored(&log), 4);
}

#[test]
fn a_failed_commit_is_answered_by_what_the_reopened_log_holds() {
    for (fault, is_there) in
        [(Fault::FailedAfterWriting, true), (Fault::FailedBeforeWriting, false), (Fault::Panic, false)]
    {
        let mut bench = Bench::plain([fault]);
        let mut log = bench.session("s");
        let answer = bench.push(log.append(), 1);
        bench.writer.flush();
        let answer = answer.try_recv().unwrap();
        assert_eq!(matches!(answer, Ok(Written::Appended { .. })), is_there, "{fault:?}: {answer:?}");
        assert_eq!(matches!(answer, Err(PersistError::NotWritten { .. })), !is_there, "{fault:?}: {answer:?}");
        assert_eq!(bench.stored(&log), usize::from(is_there), "{fault:?}");
    }
}

#[test]
fn what_cannot_be_found_out_of_one_log_is_unknown_for_that_one_only() {
    let mut bench = Bench::plain([Fault::FailedAfterWriting]);
    let (mut readable, mut damaged) = (bench.session("readable"), bench.session("damaged"));
    *lock(&bench.medium.unsettled) = Some(damaged.meta.key);
    let (found, lost) = (bench.push(readable.append(), 1), bench.push(damaged.append(), 1));
    bench.writer.flush();
    assert!(matches!(found.recv().unwrap(), Ok(Written::Appended { .. })));
    let Err(PersistError::Unknown { text: reason, .. }) = lost.recv().unwrap() else { panic!("it cannot be known") };
    assert!(reason.contains("sync failed") && reason.contains("its row cannot be read"), "{reason}");
}

#[test]
fn an_epoch_that_settling_has_raised_is_told_with_the_answer() {
    for fault in [Fault::FailedAfterWriting, Fault::FailedBeforeWriting] {
        let mut bench = Bench::plain([fault]);
        let mut log = bench.session("s");
        *lock(&bench.medium.raised) = Some(Epoch(7));
        let answer = bench.push(log.append(), 1);
        bench.writer.flush();
        let (Ok(Written::Appended { raised }) | Err(PersistError::NotWritten { raised, .. })) =
            answer.try_recv().unwrap()
        else {
            panic!("{fault:?}")
        };
        assert_eq!(raised, Some(Epoch(7)), "{fault:?}");
    }
}

#[test]
fn a_store_that_others_take_for_dead_opens_no_writing_end_again() {
    let mut bench = Bench::plain([]);
    let mut log = bench.session("s");
    bench.medium.memory.release().unwrap();
    bench.writer.reset();
    let answer = bench.push(log.append(), 1);
    bench.writer.flush();
    let Err(PersistError::NotWritten { error, .. }) = answer.try_recv().unwrap() else { panic!("it was written") };
    assert!(matches!(&error, LogError::Lost(text) if text.contains("take it for dead")), "{error}");
    assert_eq!(bench.stored(&log), 0);
}

#[test]
fn a_fence_behind_a_write_that_fails_is_asked_again_and_tells_the_head() {
    for (fault, head) in
        [(Fault::DiskFull, 0), (Fault::FailedBeforeWriting, 0), (Fault::FailedAfterWriting, 1), (Fault::Panic, 0)]
    {
        let mut bench = Bench::plain([fault]);
        let mut log = bench.session("s");
        let append = bench.push(log.append(), 1);
        let fence = bench.push(Write::Fence { log: log.meta, claim: Claiming::No }, 2);
        assert_eq!(bench.writer.flush(), Next::Flush, "{fault:?}");
        assert_eq!(append.try_recv().unwrap().is_ok(), head == 1, "{fault:?}");
        assert_eq!(bench.writer.flush(), Next::Idle, "{fault:?}");
        let found = fence.try_recv().unwrap();
        assert!(
            matches!(&found, Ok(Written::Fenced { head: found, .. }) if found.id.get() == head),
            "{fault:?}: {found:?}"
        );
    }
    // Alone, it fails by itself: whoever waits for it is not kept waiting.
    let mut bench = Bench::plain([Fault::DiskFull]);
    let log = bench.session("s");
    let fence = bench.push(Write::Fence { log: log.meta, claim: Claiming::No }, 2);
    assert_eq!(bench.writer.flush(), Next::Idle);
    assert!(matches!(fence.try_recv().unwrap(), Err(PersistError::NotWritten { error: LogError::DiskFull, .. })));
}

#[test]
fn an_outcome_is_unknown_only_while_the_log_cannot_be_read() {
    let mut bench = Bench::plain([Fault::Unreadable]);
    let mut log = bench.session("s");
    let lost = bench.push(log.append(), 1);
    bench.writer.flush();
    assert!(matches!(lost.try_recv().unwrap(), Err(PersistError::Unknown { .. })));
    let refused = bench.push(log.append(), 1);
    bench.writer.flush();
    assert!(matches!(refused.try_recv().unwrap(), Err(PersistError::NotWritten { .. })), "not tried, so not written");
    *lock(&bench.medium.is_readable) = true;
    let fence = bench.push(Write::Fence { log: log.meta, claim: Claiming::No }, 2);
    bench.writer.flush();
    assert!(matches!(fence.try_recv().unwrap(), Ok(Written::Fenced { head, .. }) if head.id == EventId::ZERO));
}

/// What the failed commit has left behind may still come to be in the log: nothing may be told from it meanwhile, above
/// all not to a session that recovers.
#[test]
fn until_a_failed_group_is_settled_nothing_else_is_answered_from_the_log() {
    let mut bench = Bench::plain([Fault::FailedAfterWriting]);
    let (mut log, mut other) = (bench.session("s"), bench.session("other"));
    *lock(&bench.medium.cannot_settle) = Some(LogError::Io("the disk is broken".to_owned()));
    let lost = bench.push(log.append(), 1);
    bench.writer.flush();
    assert!(matches!(lost.try_recv().unwrap(), Err(PersistError::Unknown { .. })));
    for _ in 0..2 {
        let look = bench.push(Write::Fence { log: log.meta, claim: Claiming::No }, 2);
        let refused = bench.push(other.append(), 1);
        other = Log { head: Head { id: EventId::ZERO, ..other.meta.base }, ..other };
        assert_eq!(bench.writer.flush(), Next::Idle);
        for answer in [look, refused] {
            assert!(matches!(answer.try_recv().unwrap(), Err(PersistError::NotWritten { .. })));
        }
    }
    *lock(&bench.medium.cannot_settle) = None;
    let look = bench.push(Write::Fence { log: log.meta, claim: Claiming::No }, 2);
    let written = bench.push(other.append(), 1);
    bench.writer.flush();
    assert!(matches!(look.try_recv().unwrap(), Ok(Written::Fenced { head, .. }) if head.id.get() == 1));
    assert!(matches!(written.try_recv().unwrap(), Ok(Written::Appended { .. })));
}

/// Its log can be read, and so its outcome will be known.
#[test]
fn a_failed_group_that_cannot_be_settled_yet_waits_and_everything_else_behind_it() {
    let mut bench = Bench::plain([Fault::FailedAfterWriting]);
    let mut log = bench.session("s");
    *lock(&bench.medium.cannot_settle) = Some(LogError::Busy);
    let first = bench.push(log.append(), 1);
    let mut waiting = vec![];
    for _ in 0..3 {
        assert_eq!(bench.writer.flush(), Next::Retry);
        waiting.push(bench.push(log.append(), 1));
        assert!(first.try_recv().is_err() && waiting.iter().all(|answer| answer.try_recv().is_err()));
        assert!(!bench.writer.is_idle());
    }
    *lock(&bench.medium.cannot_settle) = None;
    while bench.writer.flush() != Next::Idle {}
    for answer in [first].iter().chain(&waiting) {
        assert!(matches!(answer.try_recv().unwrap(), Ok(Written::Appended { .. })));
    }
    assert_eq!(bench.stored(&log), 4);

    // Nobody waits for ever.
    bench.fail([Fault::FailedAfterWriting]);
    *lock(&bench.medium.cannot_settle) = Some(LogError::Busy);
    let last = bench.push(log.append(), 1);
    bench.writer.close(Instant::now()).unwrap();
    assert!(matches!(last.try_recv().unwrap(), Err(PersistError::Unknown { .. })));
}

#[test]
fn a_full_disk_refuses_the_group_and_the_next_one_goes_through() {
    let mut bench = Bench::plain([Fault::DiskFull]);
    let mut log = bench.session("s");
    let write = log.append();
    let Write::Append { log: key, epoch, after, events, listed: _ } = &write else { unreachable!() };
    let again = Write::Append { log: *key, epoch: *epoch, after: *after, events: events.clone(), listed: None };
    let refused = bench.push(write, 1);
    bench.writer.flush();
    assert!(matches!(refused.try_recv().unwrap(), Err(PersistError::NotWritten { error: LogError::DiskFull, .. })));
    assert_eq!(bench.stored(&log), 0);
    let written = bench.push(again, 1);
    bench.writer.flush();
    assert!(matches!(written.try_recv().unwrap(), Ok(Written::Appended { .. })));
}

#[test]
fn one_refusal_takes_the_later_appends_of_its_session_along_and_nobody_else() {
    let mut bench = Bench::plain([]);
    let (mut mine, mut other) = (bench.session("mine"), bench.session("other"));
    // A hole: the first is stamped and never sent.
    mine.append();
    let refused = [bench.push(mine.append(), 1), bench.push(mine.append(), 1)];
    let written = bench.push(other.append(), 1);
    bench.writer.flush();
    for answer in refused {
        assert!(matches!(answer.try_recv().unwrap(), Err(PersistError::Refused(Refusal::HeadMoved { .. }))));
    }
    assert!(matches!(written.try_recv().unwrap(), Ok(Written::Appended { .. })));
    assert_eq!((bench.stored(&mine), bench.stored(&other)), (0, 1));
    let stats = bench.writer.metrics.snapshot();
    assert_eq!((stats.group_appends.sum(), stats.group_events.sum()), (1, 1), "what was refused is not counted");
}

#[test]
fn closing_commits_what_waits_and_refuses_the_rest() {
    let mut bench = Bench::plain([]);
    let mut log = bench.session("s");
    let waiting = bench.push(log.append(), 1);
    bench.writer.close(std::time::Instant::now()).unwrap();
    let late = bench.push(log.append(), 1);
    assert!(matches!(waiting.try_recv().unwrap(), Ok(Written::Appended { .. })));
    assert!(matches!(late.try_recv().unwrap(), Err(PersistError::Closed)));
    assert_eq!(bench.stored(&log), 1);
}
