//! What a caller hands over to be appended, and what it gets back.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use actix::prelude::{Message, MessageResponse};
use futures::channel::oneshot;

use crate::codec;
use crate::error::{Error, ErrorKind};
use crate::id::{AppendKey, Digest, EventId, SessionId};
use crate::model::{Event, SessionModel};
use crate::port::{LogMeta, LogReader};
use crate::replay::page::read_page;
use crate::replay::record::{corrupt, decode};
use crate::stats::Counters;
use crate::threads::workers::Readers;

/// An append: one or more bodies, all or nothing, and the conditions under which they are written.
///
/// As a message to a [`SessionActor`](crate::SessionActor) it is answered with the [`Appended`] events once they are
/// durable and folded. Should the model's `apply` panic on one, it is durable and not folded: see
/// [`Condition`](crate::Condition).
///
/// # Cancellation
/// Dropping the future of a sent message before the actor has reached it cancels the append, and a full mailbox reorders
/// it. [`Session::append`](crate::Session::append) has neither trait.
#[derive(Message)]
#[rtype(result = "Result<Appended<M>, Error>")]
pub struct Append<M: SessionModel> {
    pub(crate) bodies: Vec<M::Body>,
    pub(crate) expected_head: Option<EventId>,
    pub(crate) key: Option<AppendKey>,
}

impl<M: SessionModel> Append<M> {
    /// Appends one body.
    #[must_use]
    pub fn new(body: M::Body) -> Self {
        Self::batch(vec![body])
    }

    /// Appends bodies with consecutive ids, all or nothing. An empty batch writes nothing and succeeds.
    #[must_use]
    pub fn batch(bodies: Vec<M::Body>) -> Self {
        Self { bodies, expected_head: None, key: None }
    }

    /// Appends only if `head` is the last stamped event; otherwise [`ErrorKind::HeadMoved`].
    #[must_use]
    pub fn expect_head(mut self, head: EventId) -> Self {
        self.expected_head = Some(head);
        self
    }

    /// Appends only once under this key: a retry returns the first result and writes nothing.
    #[must_use]
    pub fn key(mut self, key: AppendKey) -> Self {
        self.key = Some(key);
        self
    }
}

impl<M: SessionModel> Clone for Append<M> {
    fn clone(&self) -> Self {
        Self { bodies: self.bodies.clone(), expected_head: self.expected_head, key: self.key.clone() }
    }
}

impl<M: SessionModel> std::fmt::Debug for Append<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("Append");
        debug.field("bodies", &self.bodies).field("expected_head", &self.expected_head).field("key", &self.key).finish()
    }
}

/// What an append wrote.
#[derive(MessageResponse)]
pub struct Appended<M: SessionModel> {
    /// The stamped events, in order.
    pub events: Vec<Arc<Event<M>>>,
    /// The last event of the append; for an empty batch the head it found.
    pub head: EventId,
    /// Whether an earlier append with the same key had written them.
    pub repeated: bool,
}

impl<M: SessionModel> Clone for Appended<M> {
    fn clone(&self) -> Self {
        Self { events: self.events.clone(), head: self.head, repeated: self.repeated }
    }
}

impl<M: SessionModel> std::fmt::Debug for Appended<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("Appended");
        debug.field("events", &self.events).field("head", &self.head).field("repeated", &self.repeated).finish()
    }
}

/// The promise of an answer to an append that has its place in the session's order already.
///
/// # Errors
/// The future's error says whether anything was written: nothing was, unless its kind is
/// [`ErrorKind::OutcomeUnknown`].
///
/// # Cancellation
/// Dropping a receipt cancels nothing: the append goes on.
#[must_use = "the append is durable only once its receipt has answered Ok"]
pub struct Receipt<M: SessionModel> {
    session: SessionId,
    answer: oneshot::Receiver<Result<Appended<M>, Error>>,
}

impl<M: SessionModel> std::fmt::Debug for Receipt<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receipt").field("session", &self.session).finish_non_exhaustive()
    }
}

impl<M: SessionModel> Future for Receipt<M> {
    type Output = Result<Appended<M>, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(context).map(|answer| {
            // An append that was stamped is always answered; one that was dropped before is not written.
            answer.unwrap_or_else(|_| {
                let reason = "its actor ended before it was stamped".to_owned();
                Err(ErrorKind::NotWritten { session: self.session.clone(), reason }.into())
            })
        })
    }
}

/// How much of a session is in flight. Its store counts along.
pub(crate) struct Flights {
    session: AtomicUsize,
    counters: Arc<Counters>,
}

impl Flights {
    pub(crate) fn new(counters: Arc<Counters>) -> Self {
        Self { session: AtomicUsize::new(0), counters }
    }
}

/// One thing in flight, counted until dropped.
pub(crate) struct Counted(Arc<Flights>);

impl Counted {
    /// Counts one more, unless that is over the limit.
    pub(crate) fn enter(flights: &Arc<Flights>, limit: usize) -> Option<Self> {
        flights.counters.flight_began();
        let entered = Self(Arc::clone(flights));
        (flights.session.fetch_add(1, Ordering::AcqRel) < limit).then_some(entered)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.session.fetch_sub(1, Ordering::AcqRel);
        self.0.counters.flight_ended();
    }
}

/// An append on its way through the session.
pub(crate) struct Request<M: SessionModel> {
    pub(crate) bodies: Vec<M::Body>,
    pub(crate) expected_head: Option<EventId>,
    pub(crate) key: Option<AppendKey>,
    /// The blobs it references are known to be durable.
    pub(crate) refs_checked: bool,
    /// Its key is known not to be in the log.
    pub(crate) key_checked: bool,
    reply: AppendReply<M>,
}

/// The way back to one caller. Counts as in flight until it answers.
pub(crate) struct AppendReply<M: SessionModel> {
    sender: oneshot::Sender<Result<Appended<M>, Error>>,
    /// When the caller called.
    pub(crate) asked: Instant,
    _in_flight: Counted,
}

impl<M: SessionModel> AppendReply<M> {
    pub(crate) fn answer(self, answer: Result<Appended<M>, Error>) {
        drop(self._in_flight);
        // The caller may have dropped its receipt.
        let _ = self.sender.send(answer);
    }
}

impl<M: SessionModel> Request<M> {
    pub(crate) fn new(append: Append<M>, session: SessionId, asked: Instant, in_flight: Counted) -> (Self, Receipt<M>) {
        let (sender, answer) = oneshot::channel();
        let request = Self {
            bodies: append.bodies,
            expected_head: append.expected_head,
            key: append.key,
            refs_checked: false,
            key_checked: false,
            reply: AppendReply { sender, asked, _in_flight: in_flight },
        };
        (request, Receipt { session, answer })
    }

    pub(crate) fn answer(self, answer: Result<Appended<M>, Error>) {
        self.reply.answer(answer);
    }

    pub(crate) fn into_reply(self) -> AppendReply<M> {
        self.reply
    }

    /// The blobs that the bodies reference, each once.
    pub(crate) fn digests(&self) -> Vec<Digest> {
        let mut digests = Vec::new();
        for body in &self.bodies {
            M::blob_refs(body, &mut |blob| digests.push(blob.digest));
        }
        digests.sort_unstable();
        digests.dedup();
        digests
    }
}

/// Answers a retry with what the append whose first event is `first` wrote.
pub(crate) fn repeat<M: SessionModel>(
    readers: &Readers,
    session: SessionId,
    log: LogMeta,
    first: EventId,
    request: Request<M>,
) {
    let submitted = readers.submit_urgent(move |slot| {
        let result = slot.read(|reader| read_repeated::<M>(reader, &session, log, first, &request.bodies));
        request.answer(result);
    });
    if submitted.is_err() {
        // The request went with its reply, which tells the caller so.
        log::debug!("a retry came to a store that is closed");
    }
}

/// Reads what the append whose first event is `first` wrote, if it wrote these bodies.
fn read_repeated<M: SessionModel>(
    reader: &mut dyn LogReader,
    session: &SessionId,
    log: LogMeta,
    first: EventId,
    bodies: &[M::Body],
) -> Result<Appended<M>, Error> {
    let stored = reader.page(log.key, first.prev(), 1, 0)?;
    let Some(stored) = stored.rows().next().filter(|stored| stored.id == first) else {
        return Err(corrupt(session, first, "the log does not hold it".to_owned()));
    };
    let (header, _) =
        codec::decode_record(stored.record).map_err(|error| corrupt(session, first, error.to_string()))?;
    let again = codec::fingerprint(header.salt, bodies)
        .map_err(|error| Error::from(ErrorKind::BodyRefused { reason: error.to_string() }))?;
    if header.key.is_none_or(|(_, fingerprint)| fingerprint != again) {
        return Err(ErrorKind::KeyReused { session: session.clone(), first }.into());
    }
    let mut events = vec![Arc::new(decode(session, stored)?)];
    let mut head = first;
    while head < header.last {
        let left = usize::try_from(header.last.get() - head.get()).unwrap_or(usize::MAX);
        let page = read_page(reader, session, log, head, left)?;
        let Some(last) = page.events.last() else {
            return Err(corrupt(session, head.next(), "the log ends within an append".to_owned()));
        };
        head = last.id();
        events.extend(page.events);
    }
    Ok(Appended { events, head, repeated: true })
}
