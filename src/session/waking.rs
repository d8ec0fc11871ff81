//! A session that was emptied comes back: its log is folded on a recovery thread, which tells the actor, and before that
//! whoever waits for the view. A session is emptied here too.

use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};

use futures::channel::oneshot;

use crate::error::{Error, ErrorKind};
use crate::id::EventId;
use crate::model::{SessionModel, View};
use crate::replay::fold::Fold;
use crate::replay::recovered::Recovered;
use crate::session::actor::{Answered, Way};
use crate::session::entry::Entry;
use crate::session::residency::{Outcome, Resident};
use crate::session::state::cold::{Emptied, Emptying, ViewReply, Wanted};
use crate::threads::guard::{Panicked, guarded};
use crate::threads::workers::{ReaderSlot, lock};

impl<M: SessionModel> Resident for Entry<M> {
    fn take_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }

    fn is_gone(&self) -> bool {
        let state = lock(&self.state);
        let is_gone = state.is_gone();
        if is_gone {
            // Whoever asks lets go of it.
            self.in_ring.store(false, Ordering::Relaxed);
        }
        is_gone
    }

    fn try_empty(&self) -> Outcome {
        let emptied = {
            let mut state = lock(&self.state);
            let emptied = state.empty();
            if matches!(emptied, Emptying::Emptied(_) | Emptying::Gone) {
                // Under the lock, so that it enters again when it has woken, and not before. Also when it is cold already:
                // its actor may have said that it is resident after it was emptied.
                self.in_ring.store(false, Ordering::Relaxed);
            }
            emptied
        };
        match emptied {
            Emptying::Busy => Outcome::Busy,
            Emptying::Gone => Outcome::Gone,
            Emptying::Emptied(emptied) => {
                // The one place where the view of an idle session goes. Its fields are the host's, so its end is too.
                let Emptied { view, keys } = emptied;
                // The failure is logged, and the view is gone all the same.
                let _ = guarded("drop of a view", || drop((view, keys)));
                self.services.counters.session_emptied();
                Outcome::Emptied
            }
        }
    }
}

/// Folds the log of a session that recovers or wakes. Whatever becomes of it, the actor hears of it.
pub(crate) fn fold_log<M: SessionModel>(way: Way<M>, head: EventId, watch: Vec<EventId>) {
    let entry = Arc::clone(&way.entry);
    let folding = Folding { entry: Arc::clone(&entry), incarnation: way.incarnation, is_told: false };
    let recovery = entry.services.counters.recovery_began();
    let submitted = entry.services.recoveries.submit(head.get(), move |slot| {
        let entry = Arc::clone(&way.entry);
        let folded = fold(&entry, slot, Some(head), &watch);
        recovery.ended(&folded);
        // First: the thread that waits for the view may be the actor's.
        folding.tell(folded.as_ref());
        way.send(Answered::Recovered(Box::new(folded)));
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
            let origin = services.snapshots.load::<M>(reader, &entry.log, &services.counters);
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
                fold_log(Way::new(Arc::clone(self), address, None, incarnation), head, Vec::new());
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

    /// The session is resident: the ring takes it, unless it is there already.
    pub(crate) fn enter_ring(self: &Arc<Self>) {
        if !self.in_ring.swap(true, Ordering::Relaxed) {
            let session: Arc<dyn Resident> = Arc::clone(self) as _;
            self.services.residency.enter(Arc::downgrade(&session), std::time::Instant::now());
        }
    }
}
