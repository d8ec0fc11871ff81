//! What a store asks of its log and its blobs, as a test sees it.

use crate::id::{AppendKey, Digest, EventId, SessionId};
use crate::port::{Claiming, SweepStep, Write};
use crate::testkit::Fault;

/// One call at a port, and how the call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// What was asked.
    pub call: Call,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a call at a port ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The call was done. A commit that was done may still have refused single writes.
    Done,
    /// The call failed without an injected fault.
    Failed,
    /// The call was made to fail by this fault.
    Injected(Fault),
}

/// Makes [`Port`] and [`Call`] from one list of ports.
macro_rules! ports {
    ($($(#[$doc:meta])* $name:ident $({ $($field:ident: $type:ty),* })?,)*) => {
        /// The places where a store meets its medium.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Port {
            $($(#[$doc])* $name,)*
        }

        impl Port {
            /// All of them, in the order of a store's life.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
        }

        /// What was asked at a port. `log` is the log's number in its database.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[non_exhaustive]
        #[expect(missing_docs, reason = "the fields are those of the port of the same name")]
        pub enum Call {
            $($name $({ $($field: $type),* })?,)*
        }

        impl Call {
            /// The port at which the call was made.
            #[must_use]
            pub fn port(&self) -> Port {
                match self {
                    $(Self::$name { .. } => Port::$name,)*
                }
            }
        }
    };
}

ports! {
    /// Opening the one writing end: when the store opens, and again after a failed commit.
    OpenWriter,
    /// Opening a reading end.
    OpenReader,
    /// Committing a group.
    Commit { group: Vec<Group> },
    /// Finding out what became of a group whose commit failed.
    Settle,
    /// Finding the last event of a log.
    Head { log: i64 },
    /// Reading a chain hash.
    ChainAt { log: i64, event: EventId },
    /// The checkpoint after a commit.
    Upkeep,
    /// Closing the writing end.
    CloseLog,
    /// Finding a session by its id.
    Find { session: SessionId },
    /// Listing sessions.
    Sessions { after: Option<SessionId> },
    /// Reading a page of events.
    Page { log: i64, after: EventId },
    /// Finding an append key.
    FindKey { log: i64, key: AppendKey },
    /// Reading a page of the events of all logs, where they end, or how often they were redacted.
    Scan,
    /// Asking whether a blob is being swept.
    SweepMark { digest: Digest },
    /// Storing a blob.
    PutBlob { bytes: u64 },
    /// Reading a blob.
    GetBlob { digest: Digest },
    /// Making sure that a referenced blob is durable.
    EnsureBlob { digest: Digest },
    /// Looking at the blob directories again.
    RescanBlobs,
}

/// One write of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Group {
    /// A session was made, or found.
    Register {
        /// Its id.
        session: SessionId,
    },
    /// The head was asked for.
    Fence {
        /// The log.
        log: i64,
        /// Whether the store became its owner.
        claims: bool,
    },
    /// Events were appended.
    Append {
        /// The log.
        log: i64,
        /// Their ids, in order.
        events: Vec<EventId>,
        /// The append's key.
        key: Option<AppendKey>,
    },
    /// Events were redacted.
    Redact {
        /// The log.
        log: i64,
        /// Their ids, in order.
        events: Vec<EventId>,
    },
    /// A stored view was named.
    Snapshot {
        /// The log.
        log: i64,
        /// The last event that is folded into it.
        event: EventId,
    },
    /// The log was given up.
    Release {
        /// The log.
        log: i64,
    },
    /// A session was deleted.
    Delete {
        /// Its id.
        session: SessionId,
        /// The log.
        log: i64,
    },
    /// A step of a sweep was done.
    Sweep(Sweeping),
    /// A cursor of the feed was moved, or taken away.
    Cursor {
        /// Its name.
        name: String,
    },
}

/// What a step of a sweep did with blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sweeping {
    /// They were listed.
    List,
    /// They were removed.
    Remove,
    /// They were taken off the list.
    Unlist,
    /// Removed blobs were about to leave the list.
    Count,
}

impl Group {
    pub(super) fn of(write: &Write) -> Self {
        match write {
            Write::Register { session, .. } => Self::Register { session: session.clone() },
            Write::Fence { log, claim } => Self::Fence { log: log.key.0, claims: *claim != Claiming::No },
            Write::Append { log, events, .. } => Self::Append {
                log: log.0,
                events: events.iter().map(|event| event.id).collect(),
                key: events.first().and_then(|event| event.key.clone()),
            },
            Write::Snapshot { log, row, .. } => Self::Snapshot { log: log.0, event: row.event },
            Write::Release { log, .. } => Self::Release { log: log.0 },
            Write::Redact(redaction) => Self::Redact {
                log: redaction.log.0,
                events: redaction.records.iter().map(|record| record.event).collect(),
            },
            Write::Cursor(change) => Self::Cursor { name: change.name.clone() },
            Write::Delete { session, log, .. } => Self::Delete { session: session.clone(), log: log.0 },
            Write::Sweep(step) => Self::Sweep(match step {
                SweepStep::List { .. } => Sweeping::List,
                SweepStep::Remove { .. } => Sweeping::Remove,
                SweepStep::Unlist { .. } => Sweeping::Unlist,
                SweepStep::Count => Sweeping::Count,
            }),
        }
    }
}
