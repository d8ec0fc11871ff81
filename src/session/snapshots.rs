//! Taking a snapshot: a thread for views writes the bytes of a session's view, and then a write makes the log name
//! them. Only the closing of the session waits for that.

use std::sync::Arc;

use actix::Addr;

use crate::commit::{Persist, PersistActor, PersistError};
use crate::id::Digest;
use crate::model::SessionModel;
use crate::port::{SnapshotRow, Write, Written};
use crate::replay::{NewSnapshot, SnapshotOutcome, SnapshotStore};
use crate::stats::Metrics;
use crate::threads::{Panicked, WorkerPool, guarded};

/// Where views are stored, and the threads that store them.
#[derive(Clone)]
pub(crate) struct Snapshots {
    pub(crate) store: SnapshotStore,
    pub(crate) threads: Arc<WorkerPool<()>>,
}

impl Snapshots {
    /// Encodes a view, stores its bytes, and has the log name them. Then the stored view that it replaces is removed.
    pub(crate) fn take<M: SessionModel>(
        &self,
        new: NewSnapshot<M>,
        bytes_max: u64,
        persist: Addr<PersistActor>,
        metrics: Arc<Metrics>,
        reply: impl FnOnce(SnapshotOutcome) + Send + 'static,
    ) {
        let this = self.clone();
        let submitted = self.threads.submit(move |()| {
            // Guarded, since a `reply` that a panic dropped would say that the store is closed.
            match guarded("encode_view or decode_view", || this.store.write(&new, bytes_max)) {
                Ok(Ok(row)) => this.index(new, row, &persist, metrics, reply),
                Ok(Err(outcome)) => reply(outcome),
                Err(Panicked { .. }) => reply(SnapshotOutcome::Never),
            }
        });
        if submitted.is_err() {
            log::debug!("a view was to be stored in a store that is closed");
        }
    }

    #[expect(clippy::disallowed_methods, reason = "one for each session at a time")]
    fn index<M: SessionModel>(
        self,
        new: NewSnapshot<M>,
        row: SnapshotRow,
        persist: &Addr<PersistActor>,
        metrics: Arc<Metrics>,
        reply: impl FnOnce(SnapshotOutcome) + Send + 'static,
    ) {
        let write = Write::Snapshot { log: new.log.key, epoch: new.epoch, row, redactions: new.redactions };
        let sent = Arc::clone(&metrics);
        let answered = Box::new(move |answer, _| match answer {
            Ok(Written::SnapshotIndexed { replaced }) => {
                metrics.snapshot_written();
                replaced.into_iter().for_each(|digest| self.remove(digest));
                reply(SnapshotOutcome::Taken { bytes: row.bytes });
            }
            Err(PersistError::Refused(_)) => {
                // The log does not name the stored bytes.
                self.remove(row.digest);
                reply(SnapshotOutcome::Failed);
            }
            // The log may name the stored bytes. If it does not, they are removed when the directory is opened again.
            _ => reply(SnapshotOutcome::Failed),
        });
        sent.write_sent();
        persist.do_send(Persist { write, incarnation: 0, reply: answered });
    }

    fn remove(&self, digest: Digest) {
        let store = self.store.clone();
        let submitted = self.threads.submit(move |()| {
            if let Err(error) = store.remove(&digest) {
                log::warn!("a view that was replaced could not be removed: {error}");
            }
        });
        if submitted.is_err() {
            log::debug!("a view that was replaced stays until the directory is opened again");
        }
    }
}
