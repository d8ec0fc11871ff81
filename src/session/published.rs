//! What everybody reads of a session without asking its actor.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};

use crate::error::Error;
use crate::id::SessionId;
use crate::model::{Event, SessionModel, View};
use crate::replay::recovered::Condition;

/// The view and the condition of a session. Set before anyone is told: whoever has an answer sees what it answers.
pub(crate) struct Published<M: SessionModel> {
    /// `None` while the session is cold.
    view: ArcSwapOption<View<M>>,
    condition: ArcSwap<Condition>,
}

impl<M: SessionModel> Published<M> {
    pub(crate) fn new(view: Arc<View<M>>) -> Self {
        Self { view: ArcSwapOption::new(Some(view)), condition: ArcSwap::default() }
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

    /// The error that an append gets, unless the session can be appended to.
    pub(crate) fn refusal(&self, session: &SessionId) -> Option<Error> {
        self.condition.load().refusal(session)
    }

    /// Puts what a recovery found in place of everything.
    pub(crate) fn replace(&self, view: Arc<View<M>>, condition: Condition) {
        self.condition.store(Arc::new(condition));
        self.view.store(Some(view));
    }

    /// Folds committed events into the next view. Should the model panic, the view stays at the event before.
    pub(crate) fn fold(&self, events: &[Arc<Event<M>>]) {
        if **self.condition.load() != Condition::Ready {
            return;
        }
        // Nothing is committed by a session that is cold.
        let Some(view) = self.view.load_full() else { return };
        let mut state = view.state().clone();
        let mut head = view.head();
        for (folded, event) in events.iter().enumerate() {
            if catch_unwind(AssertUnwindSafe(|| M::apply(&mut state, event))).is_err() {
                log::error!("apply panicked on a committed event: its session is read-only until a build folds it");
                self.condition.store(Arc::new(Condition::Unfoldable { event: event.id() }));
                // What the panic left behind is not a view.
                state = view.state().clone();
                for event in events.iter().take(folded) {
                    M::apply(&mut state, event);
                }
                break;
            }
            head = event.id();
        }
        self.view.store(Some(Arc::new(View::new(head, state))));
    }
}
