//! Decides when a session has a snapshot taken. Only the closing of the session waits for one.

use super::{Effect, Env, SessionState};
use crate::model::SessionModel;
use crate::replay::{Condition, SnapshotOutcome, Tail};

#[derive(Debug, Default)]
pub(super) struct SnapshotState {
    /// How much is committed and not in a snapshot yet.
    pub(super) tail: Tail,
    taking: Taking,
    /// Whether the last snapshot failed. The next one is then tried when one is due again, and none on closing.
    has_failed: bool,
}

/// Whether a snapshot of the session is being taken. Never two are at once.
#[derive(Debug, Clone, Copy, Default)]
enum Taking {
    #[default]
    Idle,
    /// A snapshot is on its way. The tail is that of the moment when it was asked for.
    Underway(Tail),
    /// No snapshot is tried any more: see [`SnapshotOutcome::Never`].
    Never,
}

impl SnapshotState {
    /// Begins again after a recovery, with the tail that the recovery has found.
    pub(super) fn restart(&mut self, tail: Tail) {
        self.tail = tail;
        self.forget();
    }

    pub(super) fn is_underway(&self) -> bool {
        matches!(self.taking, Taking::Underway(_))
    }

    /// Forgets a snapshot that is on its way: its answer goes to an earlier incarnation, and will be dropped.
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

    /// Takes a snapshot if one is due on closing, and tells whether closing has to wait for one.
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
        // A view that ends before an event that cannot be folded is not that of the whole log.
        if *self.published.condition() != Condition::Ready || view.head() != self.committed.id {
            return;
        }
        self.snapshots.taking = Taking::Underway(self.snapshots.tail);
        // The filter may also have the keys of appends in flight. That is no harm: it must only never miss a used key.
        let keys = self.keys.filter().cloned();
        self.effects.push(Effect::TakeSnapshot {
            epoch,
            head: self.committed,
            view,
            keys,
            redactions: self.published.redactions(),
        });
    }

    /// The snapshot was taken, or has failed.
    pub(in crate::session) fn snapshot_taken(&mut self, outcome: SnapshotOutcome, env: &Env<'_>) {
        let tail = self.snapshots.tail;
        let Taking::Underway(taken) = self.snapshots.taking else { return };
        self.snapshots.taking = Taking::Idle;
        // What was committed since the snapshot was asked for.
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
