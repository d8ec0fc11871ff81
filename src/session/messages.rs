//! What a host may send to the actor of a session, beside [`Append`](crate::Append) and
//! [`Restart`](crate::threads::Restart).

use std::sync::Arc;

use actix::prelude::*;
use futures::channel::oneshot;
use futures::future::ready;

use super::actor::SessionActor;
use super::entry::TurnGuard;
use super::live::{Beginning, Delivery, EventStream, SubscribeFrom, Subscriber, Subscription};
use super::state::Task;
use crate::error::{Error, ErrorKind};
use crate::id::EventId;
use crate::log_position::LogPosition;
use crate::model::{SessionModel, View};
use crate::replay::{EventPage, RecoveryReport};
use crate::threads::lock;

/// Asks for the current view. If the session was emptied, another thread reads the view from the log, and the actor
/// handles other messages meanwhile.
///
/// # Errors
/// Those of [`Session::view`](crate::Session::view).
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Arc<View<M>>, Error>")]
pub struct CurrentView<M: SessionModel>(std::marker::PhantomData<fn() -> M>);

impl<M: SessionModel> Default for CurrentView<M> {
    fn default() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<M: SessionModel> Handler<CurrentView<M>> for SessionActor<M> {
    // The view is there at once, unless the session was emptied.
    type Result = ResponseFuture<Result<Arc<View<M>>, Error>>;

    fn handle(&mut self, _: CurrentView<M>, _: &mut Context<Self>) -> Self::Result {
        Box::pin(Arc::clone(&self.entry).current_view())
    }
}

/// Asks for a page of the committed events after an event, in order. Events in flight are not in it.
///
/// # Errors
/// Those of [`Session::events_after`](crate::Session::events_after).
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<EventPage<M>, Error>")]
pub struct EventsAfter<M: SessionModel> {
    after: LogPosition,
    events_max: usize,
    model: std::marker::PhantomData<fn() -> M>,
}

impl<M: SessionModel> EventsAfter<M> {
    /// Asks for up to `events_max` events after `after`: at least one, and at most
    /// [`StoreConfig::page_events_max`](crate::StoreConfig::page_events_max).
    #[must_use]
    pub fn new(after: impl Into<LogPosition>, events_max: usize) -> Self {
        Self { after: after.into(), events_max, model: std::marker::PhantomData }
    }
}

impl<M: SessionModel> Handler<EventsAfter<M>> for SessionActor<M> {
    // A reader thread does the work.
    type Result = ResponseFuture<Result<EventPage<M>, Error>>;

    fn handle(&mut self, request: EventsAfter<M>, _: &mut Context<Self>) -> Self::Result {
        Box::pin(Arc::clone(&self.entry).events_after(request.after, request.events_max))
    }
}

/// Asks for the last stamped event and the counters after it, from which the next append goes on. Answered when
/// everything that was accepted before is stamped.
///
/// # Errors
/// Those of [`Session::counters`](crate::Session::counters).
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<(EventId, M::Counters), Error>")]
pub struct NextIds<M: SessionModel>(std::marker::PhantomData<fn() -> M>);

impl<M: SessionModel> Default for NextIds<M> {
    fn default() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<M: SessionModel> Handler<NextIds<M>> for SessionActor<M> {
    // Answered when everything that was accepted before is stamped.
    type Result = ResponseFuture<Result<(EventId, M::Counters), Error>>;

    fn handle(&mut self, _: NextIds<M>, context: &mut Context<Self>) -> Self::Result {
        let (sender, receiver) = oneshot::channel();
        self.step(context, |state, env| state.accept(Task::NextIds(sender), env));
        let entry = Arc::clone(&self.entry);
        Box::pin(async move { receiver.await.unwrap_or_else(|_| Err(entry.closed())) })
    }
}

/// Delivers a transient to the subscribers, after every append that was accepted before it. The answer says only that
/// the transient is accepted.
///
/// # Errors
/// [`ErrorKind::Busy`], [`ErrorKind::SessionClosed`], [`ErrorKind::StoreClosed`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), Error>")]
pub struct Notify<M: SessionModel>(pub M::Transient);

impl<M: SessionModel> Handler<Notify<M>> for SessionActor<M> {
    // Answered when the transient is accepted: nobody waits for subscribers.
    type Result = Result<(), Error>;

    fn handle(&mut self, Notify(transient): Notify<M>, context: &mut Context<Self>) -> Self::Result {
        self.entry.check_open()?;
        let task = Task::Transient(transient, self.entry.transient_permit()?);
        self.step(context, |state, env| state.accept(task, env));
        Ok(())
    }
}

/// Subscribes an actor, which gets one [`Delivery`] at a time from a bounded queue of its own.
///
/// # Errors
/// [`ErrorKind::BeyondHead`] for a position that the log has not reached; [`ErrorKind::Busy`] if the position has to be
/// looked for in the log, and the queue of reads is full; [`ErrorKind::SessionClosed`], [`ErrorKind::StoreClosed`], and
/// those of a read of the log.
#[derive(Debug, Message)]
#[rtype(result = "Result<Subscription<M>, Error>")]
pub struct Subscribe<M: SessionModel> {
    /// Where the subscription begins.
    pub from: SubscribeFrom,
    /// The actor that gets the deliveries.
    pub recipient: Recipient<Delivery<M>>,
}

impl<M: SessionModel> Handler<Subscribe<M>> for SessionActor<M> {
    // The subscriber is registered when the handler returns, unless its position has to be looked for in the log.
    type Result = ResponseFuture<Result<Subscription<M>, Error>>;

    fn handle(&mut self, Subscribe { from, recipient }: Subscribe<M>, _: &mut Context<Self>) -> Self::Result {
        let source = self.source();
        let live = self.entry.services.config.live;
        let subscribed =
            self.subscribe(from, move |beginning| Subscriber::actor(recipient, from, beginning, live, source));
        Box::pin(async { Ok(Subscription(Arc::downgrade(&subscribed.await?))) })
    }
}

/// Subscribes a stream. An answer that nobody takes any more drops the stream, and so unsubscribes it.
#[derive(Message)]
#[rtype(result = "Result<EventStream<M>, Error>")]
pub(crate) struct SubscribeStream<M: SessionModel> {
    pub(crate) from: SubscribeFrom,
    pub(crate) model: std::marker::PhantomData<fn() -> M>,
}

impl<M: SessionModel> Handler<SubscribeStream<M>> for SessionActor<M> {
    // The subscriber is registered when the handler returns, unless its position has to be looked for in the log.
    type Result = ResponseFuture<Result<EventStream<M>, Error>>;

    fn handle(&mut self, request: SubscribeStream<M>, _: &mut Context<Self>) -> Self::Result {
        let source = self.source();
        let live = self.entry.services.config.live;
        let subscribed =
            self.subscribe(request.from, move |beginning| Subscriber::stream(request.from, beginning, live, source));
        Box::pin(async { subscribed.await.map(EventStream) })
    }
}

impl<M: SessionModel> SessionActor<M> {
    fn subscribe(
        &self,
        from: SubscribeFrom,
        make: impl FnOnce(Beginning<M>) -> Arc<Subscriber<M>> + 'static,
    ) -> ResponseFuture<Result<Arc<Subscriber<M>>, Error>> {
        let entry = Arc::clone(&self.entry);
        let register = move || {
            entry.check_open()?;
            lock(&entry.state).subscribe(make)
        };
        let position = from.position();
        match position {
            Some(after) if after.has_chain() || after.event() > lock(&self.entry.state).committed() => {
                let checked = Arc::clone(&self.entry).check_position(after);
                Box::pin(async move {
                    checked.await?;
                    register()
                })
            }
            _ => Box::pin(ready(register())),
        }
    }
}

/// Takes the right to run the session's turn: see [`Session::take_turn`](crate::Session::take_turn).
///
/// # Errors
/// Those of [`Session::take_turn`](crate::Session::take_turn).
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<TurnGuard<M>, Error>")]
pub struct TakeTurn<M: SessionModel>(std::marker::PhantomData<fn() -> M>);

impl<M: SessionModel> Default for TakeTurn<M> {
    fn default() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<M: SessionModel> Handler<TakeTurn<M>> for SessionActor<M> {
    // Answered when this store owns the log.
    type Result = ResponseFuture<Result<TurnGuard<M>, Error>>;

    fn handle(&mut self, _: TakeTurn<M>, _: &mut Context<Self>) -> Self::Result {
        Box::pin(Arc::clone(&self.entry).take_turn())
    }
}

/// Makes this store the session's owner, though the present owner may be alive: see
/// [`Session::take_over`](crate::Session::take_over).
///
/// # Errors
/// Those of [`Session::take_over`](crate::Session::take_over).
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<(), Error>")]
pub struct TakeOver;

impl<M: SessionModel> Handler<TakeOver> for SessionActor<M> {
    // Answered when this store owns the log.
    type Result = ResponseFuture<Result<(), Error>>;

    fn handle(&mut self, _: TakeOver, _: &mut Context<Self>) -> Self::Result {
        Box::pin(Arc::clone(&self.entry).take_over())
    }
}

/// Deletes the session: see [`Store::delete_session`](crate::Store::delete_session).
///
/// # Errors
/// Those of [`Store::delete_session`](crate::Store::delete_session), but for `UnknownSession`: a session that was
/// deleted before counts as deleted by this message.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<(), Error>")]
pub struct DeleteSession;

impl<M: SessionModel> Handler<DeleteSession> for SessionActor<M> {
    // Answered when the name is gone for good.
    type Result = ResponseFuture<Result<(), Error>>;

    fn handle(&mut self, _: DeleteSession, _: &mut Context<Self>) -> Self::Result {
        Box::pin(Arc::clone(&self.entry).delete())
    }
}

/// Waits until the session is recovered, and reports what its last recovery found.
///
/// # Errors
/// Those of [`Session::recovery`](crate::Session::recovery).
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<RecoveryReport, Error>")]
pub struct Recovery;

impl<M: SessionModel> Handler<Recovery> for SessionActor<M> {
    // Answered when the log is folded.
    type Result = ResponseFuture<Result<RecoveryReport, Error>>;

    fn handle(&mut self, _: Recovery, context: &mut Context<Self>) -> Self::Result {
        let (sender, receiver) = oneshot::channel();
        self.step(context, |state, _| state.when_ready(sender));
        let session = self.entry.id.clone();
        Box::pin(async { receiver.await.unwrap_or_else(|_| Err(ErrorKind::SessionClosed { session }.into())) })
    }
}

/// Has the view brought up to date, since a read of the log has found more redactions than it was folded with.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<(), Error>")]
pub(super) struct CatchUp {
    pub(super) redactions: u64,
}

impl<M: SessionModel> Handler<CatchUp> for SessionActor<M> {
    // Answered when the log is folded.
    type Result = ResponseFuture<Result<(), Error>>;

    fn handle(&mut self, request: CatchUp, context: &mut Context<Self>) -> Self::Result {
        let (sender, receiver) = oneshot::channel();
        self.step(context, |state, _| state.redactions_found(request.redactions, sender));
        let session = self.entry.id.clone();
        let closed = || Err(ErrorKind::SessionClosed { session }.into());
        Box::pin(async { receiver.await.unwrap_or_else(|_| closed()).map(drop) })
    }
}
