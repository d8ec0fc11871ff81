//! How a session comes back to memory: its log is folded on a recovery thread, which tells whoever waits for the view, and
//! then the actor. And the view of a session, wherever it is.

use std::sync::{Arc, mpsc};

use futures::channel::oneshot;

use super::Entry;
use crate::error::{Error, ErrorKind};
use crate::id::EventId;
use crate::model::{SessionModel, View};
use crate::replay::{Fold, Recovered};
use crate::session::reply::{Answered, ReplyTo};
use crate::session::state::cold::{ViewReply, Wanted};
use crate::threads::{Panicked, ReaderSlot, guarded, lock};

/// Folds the log of a session that recovers or wakes. Whatever becomes of it, the actor hears of it.
pub(in crate::session) fn fold_log<M: SessionModel>(reply_to: ReplyTo<M>, head: EventId, watch: Vec<EventId>) {
    let entry = Arc::clone(&reply_to.entry);
    let folding = Folding { entry: Arc::clone(&entry), incarnation: reply_to.incarnation, is_told: false };
    let recovery = entry.services.metrics.recovery_began();
    let submitted = entry.services.recoveries.submit(head.get(), move |slot| {
        let entry = Arc::clone(&reply_to.entry);
        let folded = fold(&entry, slot, Some(head), &watch);
        recovery.ended(&folded);
        // First: the thread that waits for the view may be the actor's.
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
        watch,
        keys_max: config.append_keys_max,
        page_events: config.page_events_max,
    };
    let folded = guarded("view", || {
        slot.read(|reader| {
            let services = &entry.services;
            let origin = services.snapshots.store.load::<M>(reader, &entry.log, &services.metrics);
            fold.run(reader, origin)
        })
    });
    folded.unwrap_or_else(|panicked: Panicked| Err(ErrorKind::Unavailable { reason: panicked.to_string() }.into()))
}

/// A fold on its way, and those who wait for its view.
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
    /// The view, on whatever thread. Of a resident session it is there; of one that was emptied it is read from the log,
    /// on a recovery thread, for which this one waits.
    pub(crate) fn view(self: &Arc<Self>) -> Result<Arc<View<M>>, Error> {
        self.touch();
        self.published().view().map_or_else(|| self.view_from_log(), Ok)
    }

    #[cold]
    fn view_from_log(self: &Arc<Self>) -> Result<Arc<View<M>>, Error> {
        let (sender, receiver) = mpsc::channel();
        // This thread waits, so it is there.
        let reply = |sender: mpsc::Sender<_>| Box::new(move |view| drop(sender.send(view)));
        self.ask_view(reply(sender));
        receiver.recv().unwrap_or_else(|_| {
            let (sender, receiver) = mpsc::channel();
            self.read_view(reply(sender));
            receiver.recv().unwrap_or_else(|_| Err(ErrorKind::StoreClosed.into()))
        })
    }

    /// The view, without keeping a thread waiting.
    pub(crate) async fn current_view(self: Arc<Self>) -> Result<Arc<View<M>>, Error> {
        self.touch();
        if let Some(view) = self.published().view() {
            return Ok(view);
        }
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

    /// Has the view told as soon as it is there, and wakes the session for it if it is cold. A reply that is dropped means
    /// that the session cannot be woken.
    fn ask_view(self: &Arc<Self>, reply: ViewReply<M>) {
        // Without an actor nobody would hear that the session has woken.
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

    /// Reads the view and changes nothing: of a session that is closed, or that waits for something else.
    fn read_view(self: &Arc<Self>, reply: ViewReply<M>) {
        let entry = Arc::clone(self);
        let read = move |slot: &mut ReaderSlot| reply(fold(&entry, slot, None, &[]).map(|folded| folded.view));
        if self.services.recoveries.submit(lock(&self.state).head().get(), read).is_err() {
            log::debug!("a view was to be read in a store that is closed");
        }
    }
}
