//! Sessions that are emptied, and woken by the next one who needs them.
//!
//! A cold session keeps what cannot be read again: its place in the log, its ownership, its subscribers. Since it has
//! nothing in flight, waking it needs no fence and no persist actor: what the log holds is what was acknowledged, and
//! whether the session is still this store's own is asked in each commit anyway.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::error::Error;
use crate::id::EventId;
use crate::model::{SessionModel, View};
use crate::replay::key_index::KeyIndex;
use crate::replay::recovered::Recovered;
use crate::session::in_flight::InFlight;
use crate::session::state::{Effect, Phase, SessionState};

/// Told the view, by whichever thread has it.
pub(crate) type ViewReply<M> = Box<dyn FnOnce(Result<Arc<View<M>>, Error>) + Send>;

/// What emptying a session has left over, to be dropped where that delays nobody.
pub(crate) struct Emptied<M: SessionModel> {
    pub(crate) view: Option<Arc<View<M>>>,
    pub(crate) keys: KeyIndex,
}

/// What is to be done for someone who wants the view of a session.
pub(crate) enum Wanted<M: SessionModel> {
    /// He is answered, or will be.
    Nothing,
    /// The session was cold: it has to be woken.
    Wake { incarnation: u64, head: EventId },
    /// Nothing that can be waited for will bring the view: it has to be read apart.
    Read(ViewReply<M>),
}

/// How a session answers when it is to be emptied.
pub(crate) enum Emptying<M: SessionModel> {
    Emptied(Emptied<M>),
    Busy,
    /// It is cold or closed already.
    Gone,
}

impl<M: SessionModel> SessionState<M> {
    /// Drops what the log can give back, if nothing is being done with the session.
    pub(crate) fn empty(&mut self) -> Emptying<M> {
        match self.phase {
            Phase::Cold | Phase::Closed => return Emptying::Gone,
            Phase::Ready => {}
            Phase::Recovering | Phase::Waking | Phase::Unwinding | Phase::Failed => return Emptying::Busy,
        }
        let asked = self.checking || !self.ready.is_empty() || !self.effects.is_empty();
        if asked || !self.waiting.is_empty() || !self.in_flight.is_empty() {
            return Emptying::Busy;
        }
        self.phase = Phase::Cold;
        self.resident.leave();
        // Not only their contents: the room they took as well.
        self.waiting = VecDeque::new();
        self.in_flight = InFlight::new();
        self.ready = Vec::new();
        self.effects = Vec::new();
        self.subscribers.retain(|subscriber| !subscriber.is_gone());
        self.subscribers.shrink_to_fit();
        self.stamper.empty(self.committed);
        let keys = KeyIndex::new(0);
        Emptying::Emptied(Emptied { view: self.published.empty(), keys: std::mem::replace(&mut self.keys, keys) })
    }

    /// Whether there is nothing to empty.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self.phase, Phase::Cold | Phase::Closed)
    }

    /// The last committed event that this store knows of.
    pub(crate) fn head(&self) -> EventId {
        self.committed.id
    }

    /// Reads the log of a session that is cold.
    pub(crate) fn wake(&mut self) {
        self.begin_waking();
        self.effects.push(Effect::Recover { head: self.committed.id, watch: Vec::new() });
    }

    fn begin_waking(&mut self) {
        self.incarnation += 1;
        self.phase = Phase::Waking;
        self.forget_questions();
        self.viewers.get_or_insert_default();
    }

    /// Someone wants the view, on a thread of his own: perhaps the one that the actor needs to go on, so nothing here may
    /// depend on the actor.
    pub(crate) fn view_wanted(&mut self, reply: ViewReply<M>) -> Wanted<M> {
        if let Some(view) = self.published.view() {
            reply(Ok(view));
            return Wanted::Nothing;
        }
        if let (Phase::Waking, Some(viewers)) = (self.phase, &mut self.viewers) {
            viewers.push(reply);
            return Wanted::Nothing;
        }
        if self.phase != Phase::Cold {
            return Wanted::Read(reply);
        }
        self.begin_waking();
        self.viewers.get_or_insert_default().push(reply);
        Wanted::Wake { incarnation: self.incarnation, head: self.committed.id }
    }

    /// The log of a session that was cold is folded, and the actor will hear of it. Whoever waits for the view hears now.
    pub(crate) fn woken(&mut self, incarnation: u64, folded: Result<&Recovered<M>, &Error>) {
        // Another fold is on its way, or nobody waits.
        if self.phase != Phase::Waking || incarnation != self.incarnation {
            return;
        }
        if let Ok(recovered) = folded {
            self.published.replace(Arc::clone(&recovered.view), recovered.report.condition.clone());
        }
        for viewer in self.viewers.take().unwrap_or_default() {
            viewer(folded.map(|recovered| Arc::clone(&recovered.view)).map_err(Clone::clone));
        }
    }
}
