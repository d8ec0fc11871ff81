//! The kinds of errors, and their texts.

use std::path::PathBuf;

#[expect(unused_imports, reason = "for links of the rustdoc")]
use super::advice::NextStep;
use super::hints::{other_append, way_below};
use super::owner::{OwnerInfo, way_around};
use crate::id::{Digest, EventId, SessionId};

/// What happened, grouped by what the caller can do about it.
///
/// Unless the text of a kind says otherwise, nothing of the refused call was written and no view changed.
///
/// | [`next_step`](super::Error::next_step) | [`was_written`](super::Error::was_written) | kinds |
/// |---|---|---|
/// | [`CorrectTheCall`](NextStep::CorrectTheCall) | `No` | [`InvalidSessionId`](Self::InvalidSessionId), [`InvalidDigest`](Self::InvalidDigest), [`InvalidJson`](Self::InvalidJson), [`InvalidArgument`](Self::InvalidArgument), [`BodyRefused`](Self::BodyRefused), [`TooLarge`](Self::TooLarge), [`UnknownSession`](Self::UnknownSession), [`UnknownBlob`](Self::UnknownBlob), [`DanglingRef`](Self::DanglingRef), [`WrongBlobLength`](Self::WrongBlobLength), [`KeyReused`](Self::KeyReused) |
/// | [`ReadAndDecide`](NextStep::ReadAndDecide) | `No` | [`HeadMoved`](Self::HeadMoved), [`RefusedByView`](Self::RefusedByView), [`BeyondHead`](Self::BeyondHead), [`OtherHistory`](Self::OtherHistory), [`OtherFeed`](Self::OtherFeed), [`CursorMoved`](Self::CursorMoved), [`SessionStopped`](Self::SessionStopped), [`TurnLimit`](Self::TurnLimit), [`TurnNotHeld`](Self::TurnNotHeld), [`SessionDeleted`](Self::SessionDeleted) |
/// | [`WaitAndRetry`](NextStep::WaitAndRetry) | `No` | [`NotWritten`](Self::NotWritten), [`TurnInFlight`](Self::TurnInFlight), [`Busy`](Self::Busy), [`DiskFull`](Self::DiskFull), [`Unavailable`](Self::Unavailable) |
/// | [`WaitAndRetry`](NextStep::WaitAndRetry) | `Unknown` | [`OutcomeUnknown`](Self::OutcomeUnknown) |
/// | [`AskTheOwner`](NextStep::AskTheOwner) | `No` | [`OwnedElsewhere`](Self::OwnedElsewhere) |
/// | [`OpenAgain`](NextStep::OpenAgain) | `No` | [`StoreClosed`](Self::StoreClosed), [`SessionClosed`](Self::SessionClosed), [`MustReopen`](Self::MustReopen) |
/// | [`MendTheSetup`](NextStep::MendTheSetup) | `No` | [`NewerRecord`](Self::NewerRecord), [`Unfoldable`](Self::Unfoldable), [`Undecodable`](Self::Undecodable), [`NewerFormat`](Self::NewerFormat), [`OlderFormat`](Self::OlderFormat), [`WrongModel`](Self::WrongModel), [`NoStore`](Self::NoStore), [`NotAStore`](Self::NotAStore), [`UnsuitablePlace`](Self::UnsuitablePlace), [`Io`](Self::Io), [`Forked`](Self::Forked) |
/// | [`Repair`](NextStep::Repair) | `No` | [`CorruptEvent`](Self::CorruptEvent), [`CorruptBlob`](Self::CorruptBlob), [`CorruptStore`](Self::CorruptStore) |
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    // --- the call was wrong: correct the call ---
    /// The session id is empty, too long, or has a control character.
    #[error("session id is not valid: {reason}")]
    InvalidSessionId {
        /// What is wrong with the session id.
        reason: String,
    },
    /// The text is not 64 lower-case hex digits.
    #[error("not a digest: wanted 64 lower-case hex digits, got {bytes} bytes of text")]
    InvalidDigest {
        /// The length of the text, in bytes.
        bytes: usize,
    },
    /// The text is not JSON that can be made canonical.
    #[error("not canonical JSON: {reason}")]
    InvalidJson {
        /// What is wrong, and where.
        reason: String,
    },
    /// Another argument is out of its range.
    #[error("{what}")]
    InvalidArgument {
        /// The wrong value and the limit.
        what: String,
    },
    /// The session model refused a body for what it is: its `check` at the call, its `stamp` in the order of the
    /// session. Or the body does not come back from its bytes.
    #[error("the body was refused: {reason}")]
    BodyRefused {
        /// The reason that the session model gave.
        reason: String,
    },
    /// A body, an append, a batch or a blob is over its limit.
    #[error("{what} is {size} {unit}, limit is {limit}{}", way_below(what))]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The unit of `size` and `limit`: bytes or events.
        unit: &'static str,
        /// The size that was found, in `unit`.
        size: u64,
        /// The limit of the configuration.
        limit: u64,
    },
    /// The session does not exist.
    #[error("there is no session {session}; Store::open_session makes it")]
    UnknownSession {
        /// The id that was asked for.
        session: SessionId,
    },
    /// A body references a blob that is not stored: put it first.
    #[error(
        "the body references blob {digest}, which is not stored: put it first, with Store::intern_text or put_bytes"
    )]
    DanglingRef {
        /// The missing blob.
        digest: Digest,
    },
    /// A body references a stored blob with a length that the blob does not have: use the reference that the put gave.
    #[error(
        "the body references {referenced} bytes of blob {digest}, which has {stored}: use the BlobRef that the put gave"
    )]
    WrongBlobLength {
        /// The blob.
        digest: Digest,
        /// The length that the reference says, in bytes.
        referenced: u64,
        /// The length of the stored blob, in bytes.
        stored: u64,
    },
    /// No blob has that digest.
    #[error("there is no blob {digest} in the store: put its bytes first; or it is in another store")]
    UnknownBlob {
        /// The digest that was asked for.
        digest: Digest,
    },

    // --- the session has other events than the caller expects: read it, then decide ---
    /// The session's head is not the expected one.
    #[error(
        "head of session {session} is {actual}, expected {expected}: read what came after with Session::events_after, and \
         decide anew"
    )]
    HeadMoved {
        /// The session.
        session: SessionId,
        /// What the caller expected.
        expected: EventId,
        /// The last stamped event.
        actual: EventId,
    },
    /// The session model refused a body because of what the session has become: its `REFUSE_BY_VIEW`. Or a compaction
    /// covers less than an earlier one.
    #[error("the session, as it is now, does not take the body: {reason}; read the session, and decide anew")]
    RefusedByView {
        /// The reason that the session model gave.
        reason: String,
    },
    /// The session has no such event yet: the position is of another session, or of another history of this one.
    #[error(
        "session {session} ends with event {head}, and has no event {event} to go on from: read it from its first event"
    )]
    BeyondHead {
        /// The session.
        session: SessionId,
        /// The event that the caller has.
        event: EventId,
        /// The last event of the log.
        head: EventId,
    },
    /// The session's event with that id is not the one that the position means: the log was replaced by an older copy,
    /// and has gone on differently since. Read the session anew, from its first event.
    #[error(
        "event {event} of session {session} is not the one that was seen before: the log has another history, read it from \
         its first event"
    )]
    OtherHistory {
        /// The session.
        session: SessionId,
        /// The event that the caller has.
        event: EventId,
    },
    /// The cursor is not where it was expected: another consumer has moved it. Read where it is, then decide anew.
    #[error(
        "cursor {cursor} is at {actual} and not at {expected}: another consumer has moved it, read Cursor::position"
    )]
    CursorMoved {
        /// The name of the cursor.
        cursor: String,
        /// The text form of the position where it was expected.
        expected: String,
        /// The text form of the position where it is.
        actual: String,
    },
    /// The position is not one of this store's feed: it is of another store, or the store's files were replaced by an
    /// older copy. Begin again at [`FeedPosition::START`](crate::FeedPosition::START), and make anew what was made of
    /// the feed.
    #[error("{position} is no position in the feed of this store: {reason}; begin again at its start")]
    OtherFeed {
        /// The text form of the position.
        position: String,
        /// What does not fit.
        reason: String,
    },
    /// The session was deleted, and this handle with it. [`Store::open_session`](crate::Store::open_session) makes a
    /// new one.
    #[error("session {session} was deleted: Store::open_session makes a new one of that name")]
    SessionDeleted {
        /// The session.
        session: SessionId,
    },
    /// The append key was used before, with other bodies.
    #[error(
        "append key was used in session {session} for {}: use a key for one append, and hand over the same bodies in a retry",
        other_append(*first, *written, *given)
    )]
    KeyReused {
        /// The session.
        session: SessionId,
        /// The first event of the append that used the key.
        first: EventId,
        /// How many events that append has written.
        written: u64,
        /// How many bodies this append has. If they are as many, at least one of them is another.
        given: u64,
    },
    /// The append or redaction was accepted but not written, because of the reason given; make the call again.
    #[error("nothing was written to session {session}, make the call again: {reason}")]
    NotWritten {
        /// The session.
        session: SessionId,
        /// Why nothing was written.
        reason: String,
    },
    /// Another store owns the session, perhaps because that store took the session over from this one. The session can
    /// still be read. Append again once the owner has closed or died, or take the session from an owner that hangs,
    /// with [`Session::take_over`](crate::Session::take_over).
    #[error("session {session} is written by {owner}{}", way_around(owner))]
    OwnedElsewhere {
        /// The session.
        session: SessionId,
        /// The store that owns the session.
        owner: OwnerInfo,
    },

    // --- turns ---
    /// Someone else has the session's turn.
    #[error(
        "a turn of session {session} is in flight: begin another when it has ended; only if its guard was lost, \
         Session::revoke_turn takes it back"
    )]
    TurnInFlight {
        /// The session.
        session: SessionId,
    },
    /// The session has stopped, was asked to stop, or ended in an error.
    #[error("session {session} has stopped: it takes appends, and no turns")]
    SessionStopped {
        /// The session.
        session: SessionId,
    },
    /// The session has used its turns.
    #[error("session {session} has had {turns} turns, StoreConfig::session_turns_max is {limit}")]
    TurnLimit {
        /// The session.
        session: SessionId,
        /// How many turns the session has had.
        turns: u64,
        /// The limit of the configuration.
        limit: u64,
    },
    /// The guard of this call has no turn any more: it has ended the turn, or
    /// [`Session::revoke_turn`](crate::Session::revoke_turn) took the turn away from it.
    #[error("this guard has no turn of session {session} any more: it has ended, or Session::revoke_turn took it away")]
    TurnNotHeld {
        /// The session.
        session: SessionId,
    },

    // --- wait, then try again ---
    /// As much is in flight, or waits, as [`StoreConfig`](crate::StoreConfig) allows.
    #[error("{what} ({limit}): try again in a moment")]
    Busy {
        /// What waits or is in flight, and which setting allows no more of it.
        what: &'static str,
        /// The most that it takes: a number of calls, or of bytes.
        limit: u64,
    },
    /// The disk is full.
    #[error("the disk is full: free some space, then make the call again")]
    DiskFull,
    /// The store cannot reach its files just now.
    #[error("store is unavailable: {reason}")]
    Unavailable {
        /// What failed.
        reason: String,
    },

    // --- look in the log before you try again ---
    /// Whether the append was written is not known, since the log cannot be read. A retry with the same append key is
    /// always safe.
    #[error("outcome of an append to session {session} is not known, append again with the same append key: {reason}")]
    OutcomeUnknown {
        /// The session.
        session: SessionId,
        /// What failed.
        reason: String,
    },

    // --- the handle has come to its end: open it again ---
    /// The store was closed.
    #[error("the store is closed: open it again")]
    StoreClosed,
    /// The session was closed; open it again.
    #[error("session {session} is closed: open it again, with Store::open_session")]
    SessionClosed {
        /// The session.
        session: SessionId,
    },
    /// This store object cannot go on: its files were removed or exchanged, others take it for dead, or the arbiters of
    /// its sessions have ended. Close it, and open the store again.
    #[error("store must be closed and opened again: {reason}")]
    MustReopen {
        /// What happened.
        reason: String,
    },

    // --- the session is read-only, until another build opens it ---
    /// The log holds an event of a type or schema that this build does not know. The session is read-only, and its view
    /// ends before that event.
    #[error(
        "event {event} of session {session} has type {event_type} at schema {schema}, which this build does not know: a \
         newer build wrote it, and this one can only read the session up to there"
    )]
    NewerRecord {
        /// The session.
        session: SessionId,
        /// The first such event.
        event: EventId,
        /// Its type.
        event_type: String,
        /// Its schema version.
        schema: u16,
    },
    /// The session model's `apply` panicked on a committed event. The session is read-only, and its view ends before
    /// that event, until a build folds the event.
    #[error(
        "event {event} of session {session} cannot be folded, since the model panicked: the session can only be read, up to \
         there, until a build folds it"
    )]
    Unfoldable {
        /// The session.
        session: SessionId,
        /// The event.
        event: EventId,
    },
    /// The session model's `decode` cannot read the body of a stored event, though its bytes are those that were
    /// written: the chain hash over them is right. Most often a body was changed without a new
    /// [`SCHEMA`](crate::SessionModel::SCHEMA). The session does not open until a build decodes the event; its bytes
    /// stay.
    #[error(
        "event {event} of session {session}: its body, of type {event_type} at schema {schema}, does not decode: \
         {reason}. Its bytes are those that were written, so this build of the model reads another shape: a changed \
         body needs a new SCHEMA, with the old shape kept in decode (or a build that forgot this wrote the event)"
    )]
    Undecodable {
        /// The session.
        session: SessionId,
        /// The event.
        event: EventId,
        /// Its type.
        event_type: String,
        /// The schema version that it was written at.
        schema: u16,
        /// What `decode` says of the bytes.
        reason: String,
    },

    // --- the directory is not for this build ---
    /// The database has a newer format than this build knows. The database was left untouched.
    #[error("the store is of format {found}, this build knows up to {supported}: upgrade this program")]
    NewerFormat {
        /// The format found.
        found: i64,
        /// The newest that this build knows.
        supported: i64,
    },
    /// The database has an older format than this build reads. Open it for writing once, which brings it to the format
    /// of this build; only a read-only opening gives this error.
    #[error("the store is of format {found}, this build reads formats from {oldest}: open it for writing once")]
    OlderFormat {
        /// The format found.
        found: i64,
        /// The oldest that this build reads.
        oldest: i64,
    },
    /// The directory is of another session model.
    #[error("the store is of model {found}, and was opened for model {expected}")]
    WrongModel {
        /// The name of the session model in the directory.
        found: String,
        /// The session model of this store.
        expected: String,
    },
    /// There is no store, and none was made: see [`StoreConfig::create`](crate::StoreConfig::create).
    #[error("there is no store: {reason}")]
    NoStore {
        /// Where, and why none was made.
        reason: String,
    },
    /// `events.db` is not a foldlog database; it was left untouched.
    #[error("{} is not a foldlog database, and was not touched: give the store a directory of its own", path.display())]
    NotAStore {
        /// The file.
        path: PathBuf,
    },
    /// The directory cannot hold a store as it is, and waiting does not change that: its path is too long, its database
    /// is no plain file or has another journal mode, its file system lacks something.
    #[error("this place cannot hold a store as it is: {reason}")]
    UnsuitablePlace {
        /// The path, what is wrong with it, and what to do.
        reason: String,
    },
    /// This process was forked from one that had a store open, and did not start a program anew. A store, and SQLite
    /// beneath it, cannot go on in such a process, nor be opened there: fork first and open then, or start a program.
    #[error(
        "this process was forked from one that had a store open: open stores after the fork, or start a program (exec)"
    )]
    Forked,
    /// A file or directory cannot be opened, created, read or written.
    #[error("{what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The path of the file or directory.
        path: PathBuf,
    },

    // --- stored bytes are damaged: nothing is skipped or repaired ---
    /// A stored event is damaged.
    #[error(
        "event {event} of session {session} is damaged: {reason}; Store::verify tells what else is, and Store::repair makes a new directory of what is valid"
    )]
    CorruptEvent {
        /// The session.
        session: SessionId,
        /// The event.
        event: EventId,
        /// What is wrong.
        reason: String,
    },
    /// A stored blob's bytes do not hash to its name. Putting the original bytes again repairs the blob.
    #[error("blob {digest} is damaged: its bytes do not hash to its name; put the same bytes again, if you have them")]
    CorruptBlob {
        /// The blob.
        digest: Digest,
    },
    /// What holds the stored rows together is damaged, or the rows of one session beside its events.
    #[error("database is damaged: {reason}")]
    CorruptStore {
        /// What is wrong, and of which session where that is known.
        reason: String,
    },
}
