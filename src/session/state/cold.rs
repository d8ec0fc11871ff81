//! How a session is emptied, and woken when someone needs what was dropped.
//!
//! A cold session keeps what cannot be read again: its head, its ownership, its subscribers. Since it has nothing in
//! flight, waking it needs no fence and no persist actor: what the log holds is what was acknowledged, and each commit
//! checks anyway that this store still owns the log.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Effect, Open, Phase, SessionState};
use crate::error::Error;
use crate::id::EventId;
use crate::model::{SessionModel, View};
use crate::replay::{KeyIndex, Recovered};
use crate::session::in_flight::InFlight;
use crate::threads::guarded;

/// Called with the view, on the thread that has it first.
pub(in crate::session) type ViewReply<M> = Box<dyn FnOnce(Result<Arc<View<M>>, Error>) + Send>;

/// What was taken out of a session that was emptied, to be dropped without the session's lock.
pub(in crate::session) struct Emptied<M: SessionModel> {
    pub(in crate::session) view: Option<Arc<View<M>>>,
    pub(in crate::session) keys: KeyIndex,
}

/// What is to be done for someone who wants the view of a session.
pub(in crate::session) enum Wanted<M: SessionModel> {
    /// Nothing: the reply was called with the view, or will be.
    Nothing,
    /// The session was cold: it has to be woken.
    Wake { incarnation: u64, head: EventId },
    /// No fold that is on its way would call the reply: the view has to be read for it alone.
    Read(ViewReply<M>),
}

/// How a session answers when it is to be emptied.
pub(in crate::session) enum Emptying<M: SessionModel> {
    Emptied(Emptied<M>),
    Busy,
    /// It is cold or closed already.
    Gone,
}

impl<M: SessionModel> SessionState<M> {
    /// Drops what the log can give back, if nothing is being done with the session.
    pub(in crate::session) fn empty(&mut self) -> Emptying<M> {
        match self.phase {
            Phase::Cold | Phase::Closed(_) => return Emptying::Gone,
            Phase::Open(Open { is_asking: false, is_unwinding: false }) => {}
            Phase::Open(_) | Phase::Recovering | Phase::Waking(_) | Phase::Failed => return Emptying::Busy,
        }
        let is_asked = !self.ready.is_empty() || !self.effects.is_empty();
        if is_asked || !self.waiting.is_empty() || !self.in_flight.is_empty() {
            return Emptying::Busy;
        }
        self.phase = Phase::Cold;
        self.resident.leave();
        // Replaced, not cleared, so that their memory is given back too.
        self.waiting = VecDeque::new();
        self.in_flight = InFlight::new();
        self.ready = Vec::new();
        self.effects = Vec::new();
        self.subscribers.retain(|subscriber| !subscriber.is_gone());
        self.subscribers.shrink_to_fit();
        self.stamper.empty(self.committed);
        if let Some(streams) = &self.streams {
            // Guarded, since what is dropped is the host's. A panic is logged, and the rest is dropped with the
            // session.
            let _ = guarded("drop of a transient", || streams.cut_all());
        }
        let keys = KeyIndex::new(0);
        Emptying::Emptied(Emptied { view: self.published.empty(), keys: std::mem::replace(&mut self.keys, keys) })
    }

    /// Whether there is nothing to empty.
    pub(in crate::session) fn is_gone(&self) -> bool {
        matches!(self.phase, Phase::Cold | Phase::Closed(_))
    }

    /// The last committed event that this store knows of.
    pub(in crate::session) fn head(&self) -> EventId {
        self.committed.id
    }

    /// Wakes a cold session, by having its log folded.
    pub(super) fn wake(&mut self) {
        self.begin_waking(None);
        self.effects.push(Effect::Recover { head: self.committed.id, watch: Vec::new() });
    }

    /// Begins an incarnation that waits for a fold. Those who waited for a fold that was lost wait for this one.
    fn begin_waking(&mut self, viewer: Option<ViewReply<M>>) {
        self.incarnation += 1;
        let before = match std::mem::replace(&mut self.phase, Phase::Cold) {
            Phase::Waking(viewers) => viewers,
            _ => None,
        };
        self.phase = Phase::Waking(Some(before.into_iter().flatten().chain(viewer).collect()));
        self.forget_effects();
    }

    /// A caller wants the view. The caller may block the thread that the actor runs on until it has the view, so
    /// nothing here may depend on the actor.
    pub(in crate::session) fn view_wanted(&mut self, reply: ViewReply<M>) -> Wanted<M> {
        if let Some(view) = self.published.view() {
            reply(Ok(view));
            return Wanted::Nothing;
        }
        match &mut self.phase {
            Phase::Waking(Some(viewers)) => {
                viewers.push(reply);
                Wanted::Nothing
            }
            Phase::Cold => {
                self.begin_waking(Some(reply));
                Wanted::Wake { incarnation: self.incarnation, head: self.committed.id }
            }
            _ => Wanted::Read(reply),
        }
    }

    /// The log of a session that was cold was folded, or could not be. Tells those who wait for the view; the actor
    /// gets its answer afterwards.
    pub(in crate::session) fn woken(&mut self, incarnation: u64, folded: Result<&Recovered<M>, &Error>) {
        // A later incarnation has another fold on its way, which tells those who wait.
        if incarnation != self.incarnation {
            return;
        }
        let Phase::Waking(viewers) = &mut self.phase else { return };
        let viewers = viewers.take().unwrap_or_default();
        if let Ok(recovered) = folded {
            self.published.replace(Arc::clone(&recovered.view), recovered.report.condition.clone());
        }
        for viewer in viewers {
            viewer(folded.map(|recovered| Arc::clone(&recovered.view)).map_err(Clone::clone));
        }
    }
}
