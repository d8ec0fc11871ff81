//! The ports to the durable log: what the persist actor writes through, and what reader threads read through.

use std::collections::HashMap;

use super::event::{Head, LogKey, LogMeta, SessionRow, SnapshotRow, StoredEvent};
use super::feed::{FeedPage, FeedPlace};
use super::page::StoredPage;
use super::scan::{Position, ScannedPage};
use super::standing::Standing;
use super::sweep::{Listing, SweepMark};
use super::write::{CommitError, LogError, Refusal, Settled, Write, Written};
use crate::codec::Chain;
use crate::error::OwnerInfo;
use crate::id::{AppendKey, Digest, EventId, SessionId};

/// Opens reading ends of a log. Each may be opened again after a failure.
pub(crate) trait LogSource: Send + Sync {
    fn reader(&self) -> Result<Box<dyn LogReader>, LogError>;
}

/// Opens the ends of a log, to write it as well.
pub(crate) trait LogMedium: LogSource {
    fn writer(&self) -> Result<Box<dyn EventLog>, LogError>;

    /// How the upkeep of the log stands. No I/O.
    fn upkeep(&self) -> Upkeep;
}

/// The one writing end of a store's log.
pub(crate) trait EventLog: Send {
    /// Commits a group in one transaction. The answers are in the order of the writes.
    fn commit(&mut self, group: &[Write]) -> Result<Vec<Result<Written, Refusal>>, CommitError>;

    /// Finds out what became of a group whose commit failed on another writing end, which is gone. The answers are in
    /// the order of the writes. An error means that the outcome of every write of the group is unknown.
    /// [`LogError::Busy`] means that asking again later helps. Of an empty group nothing is found out, and what follows
    /// is made sure all the same.
    ///
    /// An answer is final. A write that is called not written never comes to be in the log, whatever the failed commit
    /// has left behind, and neither the death of this process nor a power cut changes that. A write that is called
    /// written is durable.
    fn settle(&mut self, group: &[Write]) -> Result<Vec<Settled>, LogError>;

    /// Moves committed events to their final place, when enough of them have gathered. When it is idle, also takes one
    /// step of a long work that may come between two groups: erasing what was deleted, and giving room back. A step is
    /// bounded in rows and bytes; after a crash, or in the next store that opens the medium, the work goes on where it
    /// was. Tells what is left to do.
    fn upkeep(&mut self, moment: UpkeepMoment) -> Result<UpkeepLeft, LogError>;

    /// What is left to do: when the writing end was opened, and after the last upkeep.
    fn left(&self) -> UpkeepLeft;

    /// What of that is left to do until nothing is in the medium's files of what was redacted. It goes before the rest.
    fn redactions_left(&self) -> UpkeepLeft;

    /// Leaves the log in order, and closes.
    fn close(self: Box<Self>) -> Result<(), LogError>;
}

/// When an upkeep is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UpkeepMoment {
    /// After a group, and after its acknowledgements.
    AfterGroup,
    /// An upkeep has left something. Waits for nobody, since a write may come.
    Idle,
}

/// What an upkeep has left to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UpkeepLeft {
    /// Nothing, until more was committed.
    Nothing,
    /// More steps: as soon as no write is delayed by them.
    Steps,
    /// What a reader still needs, or needed until now: to be tried again when no write waits.
    HeldBack,
}

/// A reading end. Each call is a read transaction of its own, so that no transaction stays open between calls. A call
/// for a log that was deleted gives [`LogError::Deleted`], however much of the log is still there.
pub(crate) trait LogReader: Send {
    fn find(&mut self, session: &SessionId) -> Result<Option<LogMeta>, LogError>;

    /// Sessions in the order of their ids, after `after`.
    fn sessions(&mut self, after: Option<&SessionId>, max: usize) -> Result<Vec<SessionRow>, LogError>;

    /// Replaces what is in the page by the events after `after`, in order: up to `events_max` events, and at least one
    /// event however large. An empty page means that the log ends at `after`, and that the engine has made sure that no
    /// damage hides further events.
    fn page_into(
        &mut self,
        page: &mut StoredPage,
        log: LogKey,
        after: EventId,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<(), LogError>;

    /// The events after `after`, in a new page.
    fn page(
        &mut self,
        log: LogKey,
        after: EventId,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<StoredPage, LogError> {
        let mut page = StoredPage::default();
        self.page_into(&mut page, log, after, events_max, bytes_max)?;
        Ok(page)
    }

    /// The first event of the append that used the key.
    fn find_key(&mut self, log: LogKey, key: &AppendKey) -> Result<Option<StoredEvent>, LogError>;

    /// The last event of a log, or its base.
    fn head(&mut self, log: LogMeta) -> Result<Head, LogError>;

    /// The bytes of the records of up to `events_max` events after `after`, and the last of these events; `after` where
    /// there is none.
    fn record_bytes(&mut self, log: LogKey, after: EventId, events_max: usize) -> Result<(EventId, u64), LogError>;

    /// The owner of a log, this store or another one, if it is alive.
    fn living_owner(&mut self, log: LogKey) -> Result<Option<OwnerInfo>, LogError>;

    /// The chain hash stored at an event id.
    fn chain_at(&mut self, log: LogKey, id: EventId) -> Result<Option<Chain>, LogError>;

    /// How often events of a log were redacted: what was read of it before the number rose may hold what is gone.
    fn redactions(&mut self, log: LogKey) -> Result<u64, LogError>;

    /// The [`redactions`](Self::redactions) of all logs that have any. A log that was deleted may be among them.
    fn redacted_logs(&mut self) -> Result<HashMap<LogKey, u64>, LogError>;

    /// The newest stored view of a log.
    fn snapshot(&mut self, log: LogKey) -> Result<Option<SnapshotRow>, LogError>;

    /// The stored views that logs after `after` name, in the order of the logs.
    fn snapshots(&mut self, after: LogKey, max: usize) -> Result<Vec<(LogKey, Digest)>, LogError>;

    /// Replaces what is in the page by the events of all logs behind `after`, in the order of their positions, and
    /// tells where the next page begins; `None` if there is nothing behind `after`. The call looks at up to
    /// `events_max` events, and at least at one however large. Events of deleted logs are left out, so a page may be
    /// empty though others follow.
    ///
    /// The events of later commits have greater positions, so a scan that goes on from where it ended misses none. An
    /// event that cannot be read is a [`LogError::Corrupt`] that names it.
    fn scan(
        &mut self,
        page: &mut ScannedPage,
        after: Position,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<Option<Position>, LogError>;

    /// Replaces what is in the page by what a feed tells behind a place, all of it of one moment: the deletions behind
    /// it, and then, if these are all of them, the events behind it, as a [`scan`](Self::scan) gives them. So the
    /// deletion of a session comes before each event of a new session of its name. The call takes up to `events_max`
    /// deletions and looks at up to so many events. An event that cannot be read ends the page, which says so, if its
    /// position can be read.
    fn feed(
        &mut self,
        page: &mut FeedPage,
        after: FeedPlace,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<(), LogError>;

    /// Tells whether anything was committed since it was asked before: by anyone, also by this store itself. Cheap
    /// enough to be asked a hundred times a second.
    fn version(&mut self) -> Result<LogVersion, LogError>;

    /// Where the cursor of a name is.
    fn cursor(&mut self, name: &str) -> Result<Option<String>, LogError>;

    /// Cursors after a name, in the order of their names, with where they are.
    fn cursors(&mut self, after: &str, max: usize) -> Result<Vec<(String, String)>, LogError>;

    /// What the list of blobs that are being swept says of one.
    fn sweep_mark(&mut self, digest: &Digest) -> Result<SweepMark, LogError>;

    /// The blobs that are being swept, after `after`, in the order of their digests.
    fn listed_blobs(&mut self, after: Option<&Digest>, max: usize) -> Result<Vec<(Digest, Listing)>, LogError>;

    /// Which store this is, and where a [`scan`](Self::scan) of everything that is committed by now ends.
    fn standing(&mut self) -> Result<Standing, LogError>;

    /// What was deleted or redacted, and is not erased yet.
    fn erasing(&mut self) -> Result<Erasing, LogError>;

    /// The same log for a verification, which reads everything in it, damaged or not.
    fn audit(&mut self) -> &mut dyn LogAudit;
}

/// What [`LogReader::version`] tells: if it is the same twice for one reading end, nothing was committed in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogVersion {
    /// How often the reading end has begun anew with what it compares.
    pub(crate) opened: u64,
    pub(crate) version: i64,
}

/// See [`LogReader::erasing`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Erasing {
    /// How many logs are marked as deleted and not erased.
    pub(crate) logs: u64,
    /// Of how many logs events were redacted of which bytes may still be somewhere.
    pub(crate) redacted: u64,
    /// How many bytes the log takes.
    pub(crate) bytes: u64,
    /// Copies of damaged data that the medium keeps for people, and that may hold anything.
    pub(crate) copies: Vec<String>,
}

/// What a verification reads. Damage is an answer here, and does not end the call.
pub(crate) trait LogAudit {
    /// Checks what holds the rows together: pages, indexes, and which row leads to which. Up to `max` sentences.
    fn structure(&mut self, max: usize) -> Result<Vec<String>, LogError>;

    /// Names of sessions in the order of their bytes, after `after`.
    fn sessions(&mut self, after: &[u8], max: usize) -> Result<Vec<AuditedSession>, LogError>;

    /// Events after `after`, in order, each read on its own: up to `events_max` events, and at least one however large.
    fn events(
        &mut self,
        log: LogKey,
        after: EventId,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<AuditedEvent>, LogError>;
}

/// A stored name, and the session that it leads to.
#[derive(Debug)]
pub(crate) struct AuditedSession {
    /// The bytes of the name, as they are stored: a damaged name need not be UTF-8.
    pub(crate) name: Vec<u8>,
    pub(crate) row: Result<SessionRow, LogError>,
}

/// An event id, and the event that it leads to.
#[derive(Debug)]
pub(crate) struct AuditedEvent {
    pub(crate) id: EventId,
    pub(crate) row: Result<StoredEvent, LogError>,
}

/// How the upkeep of a store's log stands: an engine first writes what was appended where that is fast, and moves it to
/// its final place later, in steps between the commits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Upkeep {
    /// How many bytes the place has where commits are first written, as of the last commit. On a directory this is the
    /// size of SQLite's write-ahead log, which is written over from its beginning after a checkpoint. 0 in memory.
    pub log_bytes: u64,
    /// How many times everything that was committed was moved to its final place: checkpoints, on a directory.
    pub runs: u64,
    /// How many times it could not be moved, since a reader still needed the log: then the log grows. Now and then a
    /// read of this store is the reason; when the number keeps rising, a program holds a read transaction open. No
    /// write is refused because of it.
    pub runs_blocked: u64,
}
