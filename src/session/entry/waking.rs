//! How a session comes back into memory: a recovery thread folds its log and gives the view first to those who wait for
//! it, and then to the actor. Also how the view is read, whether or not the session is in memory.

use std::sync::{Arc, mpsc};

use futures::channel::oneshot;

use super::Entry;
use crate::error::{Error, ErrorKind};
use crate::id::EventId;
use crate::model::{SessionModel, View};
use crate::replay::{Fold, Recovered, RedactionPlan};
use crate::session::redact::Redact;
use crate::session::reply::{Answered, ReplyTo};
use crate::session::state::cold::{ViewReply, Wanted};
use crate::threads::{Panicked, ReaderSlot, guarded, lock};

/// Folds the log of a session that recovers or wakes, on a recovery thread. The actor gets an answer in every case,
/// since a `reply_to` that is dropped sends `Lost`.
pub(in crate::session) fn fold_log<M: SessionModel>(reply_to: ReplyTo<M>, head: EventId, watch: Vec<EventId>) {
    let entry = Arc::clone(&reply_to.entry);
    let folding = Folding { entry: Arc::clone(&entry), incarnation: reply_to.incarnation, is_told: false };
    let recovery = entry.services.metrics.recovery_began();
    let submitted = entry.services.recoveries.submit(head.get(), move |slot| {
        let entry = Arc::clone(&reply_to.entry);
        let folded = fold(&entry, slot, Some(head), &watch);
        recovery.ended(&folded);
        // Those who wait for the view are told first: one of them may block the thread that the actor runs on.
        folding.tell(folded.as_ref());
        reply_to.send(Answered::Recovered(Box::new(folded)));
    });
    if submitted.is_err() {
        log::debug!("a session was to be recovered in a store that is closed");
    }
}

fn fold<M: SessionModel>(
    entry: &Entry<M>,
    slot: &mut ReaderSlot,
    head: Option<EventId>,
    watch: &[EventId],
) -> Result<Recovered<M>, Error> {
    let config = &entry.services.config;
    let fold = Fold {
        session: &entry.id,
        log: entry.log,
        head,
        until: None,
        watch,
        keys_max: config.append_keys_max,
        page_events: config.page_events_max,
    };
    let folded = guarded("view", || {
        slot.read(|reader| {
            let services = &entry.services;
            fold.run(reader, |reader| services.snapshots.store.load::<M>(reader, &entry.log, &services.metrics))
        })
    });
    folded.unwrap_or_else(|panicked: Panicked| Err(ErrorKind::Unavailable { reason: panicked.to_string() }.into()))
}

/// Makes the records of a redaction, on a recovery thread. The actor gets an answer in every case.
pub(in crate::session) fn prepare_redaction<M: SessionModel>(reply_to: ReplyTo<M>, redact: Arc<Redact<M>>) {
    let entry = Arc::clone(&reply_to.entry);
    let events = lock(&entry.state).head().get();
    let submitted = Arc::clone(&entry).services.recoveries.submit(events, move |slot| {
        let config = &entry.services.config;
        let plan = RedactionPlan {
            session: &entry.id,
            log: entry.log,
            events: &redact.events,
            replace: redact.replace.as_ref(),
            page_events: config.page_events_max,
            record_bytes_max: config.record_bytes_max,
            bytes_max: config.batch_bytes_max,
        };
        let prepared = guarded("blob_refs or event_type", || slot.read(|reader| plan.prepare(reader)));
        let panicked = |panicked: Panicked| Err(ErrorKind::BodyRefused { reason: panicked.to_string() }.into());
        reply_to.send(Answered::RedactionPrepared(Box::new(prepared.unwrap_or_else(panicked))));
    });
    if submitted.is_err() {
        log::debug!("a redaction was to be prepared in a store that is closed");
    }
}

/// A fold on its way. It answers those who wait for the view when it has ended, or when it is dropped.
struct Folding<M: SessionModel> {
    entry: Arc<Entry<M>>,
    incarnation: u64,
    is_told: bool,
}

impl<M: SessionModel> Folding<M> {
    fn tell(mut self, folded: Result<&Recovered<M>, &Error>) {
        self.is_told = true;
        lock(&self.entry.state).woken(self.incarnation, folded);
    }
}

impl<M: SessionModel> Drop for Folding<M> {
    fn drop(&mut self) {
        if !self.is_told {
            lock(&self.entry.state).woken(self.incarnation, Err(&ErrorKind::StoreClosed.into()));
        }
    }
}

impl<M: SessionModel> Entry<M> {
    /// Gives the view, on any thread. If the session was emptied, this call blocks until a recovery thread has read the
    /// view from the log.
    pub(crate) fn view(self: &Arc<Self>) -> Result<Arc<View<M>>, Error> {
        self.touch();
        self.published().view().map_or_else(|| self.view_from_log(), Ok)
    }

    #[cold]
    fn view_from_log(self: &Arc<Self>) -> Result<Arc<View<M>>, Error> {
        self.services.check_process()?;
        let (sender, receiver) = mpsc::channel();
        // This thread waits with the receiver, so the send succeeds.
        let reply = |sender: mpsc::Sender<_>| Box::new(move |view| drop(sender.send(view)));
        self.ask_view(reply(sender));
        receiver.recv().unwrap_or_else(|_| {
            let (sender, receiver) = mpsc::channel();
            self.read_view(reply(sender));
            receiver.recv().unwrap_or_else(|_| Err(ErrorKind::StoreClosed.into()))
        })
    }

    /// Gives the view without blocking a thread, and without what another store has taken out of the session.
    pub(crate) async fn current_view(self: Arc<Self>) -> Result<Arc<View<M>>, Error> {
        self.touch();
        if let Some(view) = self.published().view() {
            if !self.asks_for_redactions().await? {
                return Ok(view);
            }
            if let Some(view) = self.published().view() {
                return Ok(view);
            }
        }
        self.services.check_process()?;
        let (sender, receiver) = oneshot::channel();
        // The caller may have lost interest.
        let reply = |sender: oneshot::Sender<_>| Box::new(move |view| drop(sender.send(view)));
        self.ask_view(reply(sender));
        if let Ok(view) = receiver.await {
            return view;
        }
        let (sender, receiver) = oneshot::channel();
        self.read_view(reply(sender));
        receiver.await.unwrap_or_else(|_| Err(ErrorKind::StoreClosed.into()))
    }

    /// Has `reply` called with the view as soon as there is one, and wakes the session if it is cold. If `reply` is
    /// dropped instead, the session could not be woken.
    fn ask_view(self: &Arc<Self>, reply: ViewReply<M>) {
        // Without an actor, the session's state would never learn that it has woken.
        let Ok(address) = self.address() else { return self.read_view(reply) };
        let wanted = lock(&self.state).view_wanted(reply);
        match wanted {
            Wanted::Nothing => {}
            Wanted::Wake { incarnation, head } => {
                fold_log(ReplyTo::new(Arc::clone(self), address, None, incarnation), head, Vec::new());
            }
            Wanted::Read(reply) => self.read_view(reply),
        }
    }

    /// Reads the view from the log and changes nothing in the session: it is closed, or waits for something else.
    fn read_view(self: &Arc<Self>, reply: ViewReply<M>) {
        let entry = Arc::clone(self);
        let read = move |slot: &mut ReaderSlot| reply(fold(&entry, slot, None, &[]).map(|folded| folded.view));
        if self.services.recoveries.submit(lock(&self.state).head().get(), read).is_err() {
            log::debug!("a view was to be read in a store that is closed");
        }
    }
}
