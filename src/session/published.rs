//! What anyone can read of a session without asking its actor.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};

use crate::error::Error;
use crate::event::SessionCore;
use crate::id::{EventId, SessionId};
use crate::model::{SessionModel, View};
use crate::replay::Condition;

/// The view and the condition of a session. They are published before any reply, so an acknowledged append is always in
/// the view.
pub(crate) struct Published<M: SessionModel> {
    /// `None` while the session is cold.
    view: ArcSwapOption<View<M>>,
    condition: ArcSwap<Condition>,
    /// How often events were redacted before the log was folded. Only the session's own steps change it.
    redactions: AtomicU64,
    /// Whether this store owned the log, as far as it knew, when the session's last step ended.
    is_owned: AtomicBool,
}

impl<M: SessionModel> Published<M> {
    pub(crate) fn new(view: Arc<View<M>>) -> Self {
        Self {
            view: ArcSwapOption::new(Some(view)),
            condition: ArcSwap::default(),
            redactions: AtomicU64::new(0),
            is_owned: AtomicBool::new(false),
        }
    }

    pub(crate) fn view(&self) -> Option<Arc<View<M>>> {
        self.view.load_full()
    }

    /// Takes the view away. The condition stays.
    pub(crate) fn empty(&self) -> Option<Arc<View<M>>> {
        self.view.swap(None)
    }

    pub(crate) fn condition(&self) -> Arc<Condition> {
        self.condition.load_full()
    }

    pub(crate) fn counters(&self) -> M::Counters {
        self.view.load().as_ref().map(|view| M::counters(view.state())).unwrap_or_default()
    }

    pub(crate) fn core(&self) -> Arc<SessionCore> {
        self.view.load().as_ref().map(|view| Arc::clone(view.core())).unwrap_or_default()
    }

    pub(crate) fn redactions(&self) -> u64 {
        self.redactions.load(Ordering::Relaxed)
    }

    pub(crate) fn set_redactions(&self, redactions: u64) {
        self.redactions.store(redactions, Ordering::Relaxed);
    }

    pub(crate) fn is_owned(&self) -> bool {
        self.is_owned.load(Ordering::Relaxed)
    }

    pub(crate) fn set_owned(&self, is_owned: bool) {
        self.is_owned.store(is_owned, Ordering::Relaxed);
    }

    /// The error that an append gets; `None` if the session can be appended to.
    pub(crate) fn refusal(&self, session: &SessionId) -> Option<Error> {
        self.condition.load().refusal(session)
    }

    /// Replaces the view and the condition by what a recovery found.
    pub(crate) fn replace(&self, view: Arc<View<M>>, condition: Condition) {
        self.condition.store(Arc::new(condition));
        self.view.store(Some(view));
    }

    /// Publishes the next view. If the session model could not fold an event, the condition changes too.
    pub(crate) fn advance(&self, view: Arc<View<M>>, unfoldable: Option<EventId>) {
        if let Some(event) = unfoldable {
            self.condition.store(Arc::new(Condition::Unfoldable { event }));
        }
        self.view.store(Some(view));
    }
}
