//! When a session has its view stored. Nothing waits for it but the end of the session.

use crate::model::SessionModel;
use crate::replay::recovered::Condition;
use crate::replay::snapshot::policy::Tail;
use crate::replay::snapshot::store::SnapshotOutcome;
use crate::session::state::{Effect, Env, Phase, SessionState};

#[derive(Debug, Default)]
pub(crate) struct SnapshotState {
    pub(crate) tail: Tail,
    /// Whether one is on its way. Never two of a session.
    pub(crate) is_taking: bool,
    /// What the tail was when it was asked for.
    taken: Tail,
    /// Whether the last one failed: the next is tried after as much again, and none at the end.
    has_failed: bool,
    /// Whether there is no sense in another.
    is_off: bool,
}

impl SnapshotState {
    /// The session was recovered. The answer of one that is on its way comes to an earlier incarnation.
    pub(crate) fn restart(&mut self, tail: Tail) {
        (self.tail, self.is_taking) = (tail, false);
    }
}

impl<M: SessionModel> SessionState<M> {
    pub(crate) fn snapshot_if_due(&mut self, env: &Env<'_>) {
        if self.snapshots.tail.is_due(&env.config.snapshots) {
            self.take_snapshot();
        }
    }

    /// Whether closing has to wait for a snapshot.
    pub(crate) fn snapshot_before_closing(&mut self, env: &Env<'_>) -> bool {
        let is_due = self.snapshots.tail.is_due_on_closing(&env.config.snapshots);
        if is_due && !env.store_closes && !self.snapshots.has_failed {
            self.take_snapshot();
        }
        self.snapshots.is_taking
    }

    fn take_snapshot(&mut self) {
        let (Some(epoch), Phase::Ready) = (self.owned, self.phase) else { return };
        if self.snapshots.is_taking || self.snapshots.is_off {
            return;
        }
        let Some(view) = self.published.view() else { return };
        // One that stands before an event that cannot be folded is not the log's.
        if *self.published.condition() != Condition::Ready || view.head() != self.committed.id {
            return;
        }
        self.snapshots.is_taking = true;
        self.snapshots.taken = self.snapshots.tail;
        // It may have more keys than the view has events: of appends in flight. It never says no to one that is there.
        let keys = self.keys.filter().cloned();
        self.effects.push(Effect::TakeSnapshot { epoch, head: self.committed, view, keys });
    }

    /// The view was stored, or not.
    pub(crate) fn snapshot_taken(&mut self, outcome: SnapshotOutcome, env: &Env<'_>) {
        let SnapshotState { tail, taken, .. } = self.snapshots;
        // What came since it was asked for.
        let mut since = Tail::default();
        since.add(tail.events.saturating_sub(taken.events), tail.bytes.saturating_sub(taken.bytes));
        self.snapshots.is_taking = false;
        self.snapshots.has_failed = !matches!(outcome, SnapshotOutcome::Taken { .. });
        match outcome {
            SnapshotOutcome::Taken { bytes } => self.snapshots.tail = Tail { snapshot_bytes: bytes, ..since },
            SnapshotOutcome::Failed => self.snapshots.tail = Tail { snapshot_bytes: tail.snapshot_bytes, ..since },
            SnapshotOutcome::Never => self.snapshots.is_off = true,
        }
        self.advance(env);
    }
}
