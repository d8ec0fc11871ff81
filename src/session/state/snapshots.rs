//! When a session has its view stored. Nothing waits for it but the end of the session.

use super::{Effect, Env, SessionState};
use crate::model::SessionModel;
use crate::replay::{Condition, SnapshotOutcome, Tail};

#[derive(Debug, Default)]
pub(super) struct SnapshotState {
    /// What is committed and not in a stored view.
    pub(super) tail: Tail,
    taking: Taking,
    /// Whether the last one failed: the next is tried after as much again, and none at the end.
    has_failed: bool,
}

/// Whether a view is being stored. Never two of a session are.
#[derive(Debug, Clone, Copy, Default)]
enum Taking {
    #[default]
    Idle,
    /// One is on its way, and this was the tail when it was asked for.
    Underway(Tail),
    /// There is no sense in another.
    Never,
}

impl SnapshotState {
    /// The session was recovered.
    pub(super) fn restart(&mut self, tail: Tail) {
        self.tail = tail;
        self.forget();
    }

    /// The answer of one that is on its way comes to an earlier incarnation, and is dropped.
    pub(super) fn forget(&mut self) {
        if let Taking::Underway(_) = self.taking {
            self.taking = Taking::Idle;
        }
    }
}

impl<M: SessionModel> SessionState<M> {
    pub(super) fn snapshot_if_due(&mut self, env: &Env<'_>) {
        if self.snapshots.tail.is_due(&env.config.snapshots) {
            self.take_snapshot();
        }
    }

    /// Whether closing has to wait for a snapshot.
    pub(super) fn snapshot_before_closing(&mut self, env: &Env<'_>) -> bool {
        let is_due = self.snapshots.tail.is_due_on_closing(&env.config.snapshots);
        if is_due && !env.store_closes && !self.snapshots.has_failed {
            self.take_snapshot();
        }
        matches!(self.snapshots.taking, Taking::Underway(_))
    }

    fn take_snapshot(&mut self) {
        let Some(epoch) = self.owned.filter(|_| self.is_ready()) else { return };
        let Taking::Idle = self.snapshots.taking else { return };
        let Some(view) = self.published.view() else { return };
        // One that stands before an event that cannot be folded is not the log's.
        if *self.published.condition() != Condition::Ready || view.head() != self.committed.id {
            return;
        }
        self.snapshots.taking = Taking::Underway(self.snapshots.tail);
        // It may have more keys than the view has events: of appends in flight. It never says no to one that is there.
        let keys = self.keys.filter().cloned();
        self.effects.push(Effect::TakeSnapshot { epoch, head: self.committed, view, keys });
    }

    /// The view was stored, or not.
    pub(in crate::session) fn snapshot_taken(&mut self, outcome: SnapshotOutcome, env: &Env<'_>) {
        let tail = self.snapshots.tail;
        let Taking::Underway(taken) = self.snapshots.taking else { return };
        self.snapshots.taking = Taking::Idle;
        // What came since it was asked for.
        let mut since = Tail::default();
        since.add(tail.events.saturating_sub(taken.events), tail.bytes.saturating_sub(taken.bytes));
        self.snapshots.has_failed = !matches!(outcome, SnapshotOutcome::Taken { .. });
        match outcome {
            SnapshotOutcome::Taken { bytes } => self.snapshots.tail = Tail { snapshot_bytes: bytes, ..since },
            SnapshotOutcome::Failed => self.snapshots.tail = Tail { snapshot_bytes: tail.snapshot_bytes, ..since },
            SnapshotOutcome::Never => self.snapshots.taking = Taking::Never,
        }
        self.advance(env);
    }
}
