//! Storing views and finding them again. Runs on a thread of its own and on reader threads, never on an arbiter.

use std::sync::Arc;

use actix::Addr;
use bytes::Bytes;

use crate::codec;
use crate::commit::actor::{Persist, PersistActor};
use crate::commit::group::PersistError;
use crate::id::Digest;
use crate::model::{DecodeError, SessionModel, View};
use crate::port::SnapshotRow;
use crate::port::{BlobError, BlobStore};
use crate::port::{Epoch, Head, LogMeta, LogReader, Write, Written};
use crate::replay::fold::Origin;
use crate::replay::key_index::KeyFilter;
use crate::replay::snapshot::file as snapshot;
use crate::stats::Counters;
use crate::threads::guard::{Panicked, guarded};
use crate::threads::workers::WorkerPool;

/// Where the views of a store are kept, and who keeps them.
#[derive(Clone)]
pub(crate) struct Snapshots {
    pub(crate) store: Arc<dyn BlobStore>,
    pub(crate) threads: Arc<WorkerPool<()>>,
}

/// What became of a view that was to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SnapshotOutcome {
    Taken {
        bytes: u64,
    },
    /// Not now: the disk is full, or the log changed hands.
    Failed,
    /// Not of this session: its model stores no views, or they are too large.
    Never,
}

/// What a verification found of a log's view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    None,
    Damaged,
    Whole,
}

/// A view to be stored.
pub(crate) struct NewSnapshot<M: SessionModel> {
    pub(crate) log: LogMeta,
    pub(crate) epoch: Epoch,
    pub(crate) head: Head,
    pub(crate) view: Arc<View<M>>,
    pub(crate) keys: Option<KeyFilter>,
}

impl Snapshots {
    /// Encodes a view, writes its file, and has the log name it. Then the file that it replaces goes. Nothing waits for the
    /// file to be durable: a power cut may leave the row with another file, or none, and the log is folded.
    pub(crate) fn take<M: SessionModel>(
        &self,
        new: NewSnapshot<M>,
        bytes_max: u64,
        persist: Addr<PersistActor>,
        counters: Arc<Counters>,
        reply: impl FnOnce(SnapshotOutcome) + Send + 'static,
    ) {
        let this = self.clone();
        let submitted = self.threads.submit(move |()| {
            // Guarded, since a question without an answer means that the store is closed.
            match guarded("encode_view or decode_view", || this.write(&new, bytes_max)) {
                Ok(Ok(row)) => this.index(new, row, &persist, counters, reply),
                Ok(Err(outcome)) => reply(outcome),
                Err(Panicked { .. }) => reply(SnapshotOutcome::Never),
            }
        });
        if submitted.is_err() {
            log::debug!("a view was to be stored in a store that is closed");
        }
    }

    fn write<M: SessionModel>(&self, new: &NewSnapshot<M>, bytes_max: u64) -> Result<SnapshotRow, SnapshotOutcome> {
        let view = Bytes::from(M::encode_view(new.view.state()).ok_or(SnapshotOutcome::Never)?);
        let keys = codec::encode_view(&new.keys).map_err(|_| SnapshotOutcome::Never)?;
        let bytes = snapshot::encode::<M>(&new.log, &new.head, &keys, &view);
        if bytes.len() as u64 > bytes_max {
            log::warn!("a view of {} bytes is not stored, the limit is {bytes_max}", bytes.len());
            return Err(SnapshotOutcome::Never);
        }
        // A view that decodes its bytes only when they are asked for must be able to rely on them.
        if M::decode_view(view).as_ref() != Ok(new.view.state()) {
            log::error!("a view is not stored, since it does not come back from its own bytes");
            return Err(SnapshotOutcome::Never);
        }
        let put = self.store.put(&bytes).map_err(|error| {
            log::warn!("a view could not be stored: {error}");
            SnapshotOutcome::Failed
        })?;
        Ok(SnapshotRow {
            event: new.head.id,
            chain: new.head.chain,
            digest: put.digest,
            bytes: put.bytes,
            view_schema: M::VIEW_SCHEMA,
            schema: M::SCHEMA,
        })
    }

    #[expect(clippy::disallowed_methods, reason = "one for each session at a time")]
    fn index<M: SessionModel>(
        self,
        new: NewSnapshot<M>,
        row: SnapshotRow,
        persist: &Addr<PersistActor>,
        counters: Arc<Counters>,
        reply: impl FnOnce(SnapshotOutcome) + Send + 'static,
    ) {
        let write = Write::Snapshot { log: new.log.key, epoch: new.epoch, row };
        let sent = Arc::clone(&counters);
        let answered = Box::new(move |answer| match answer {
            Ok(Written::SnapshotIndexed { replaced }) => {
                counters.snapshot_written();
                replaced.into_iter().for_each(|digest| self.remove(digest));
                reply(SnapshotOutcome::Taken { bytes: row.bytes });
            }
            Err(PersistError::Refused(_)) => {
                // Nothing names it.
                self.remove(row.digest);
                reply(SnapshotOutcome::Failed);
            }
            // Perhaps it is named: what is not is cleared when the directory is opened.
            _ => reply(SnapshotOutcome::Failed),
        });
        sent.write_sent();
        persist.do_send(Persist { write, incarnation: 0, reply: answered });
    }

    fn remove(&self, digest: Digest) {
        let store = Arc::clone(&self.store);
        let submitted = self.threads.submit(move |()| {
            if let Err(error) = store.remove(&digest) {
                log::warn!("a view that was replaced could not be removed: {error}");
            }
        });
        if submitted.is_err() {
            log::debug!("a view that was replaced stays until the directory is opened again");
        }
    }

    /// The newest view that is stored of a log, if it is good.
    pub(crate) fn load<M: SessionModel>(
        &self,
        reader: &mut dyn LogReader,
        log: &LogMeta,
        counters: &Counters,
    ) -> Option<Origin<M>> {
        let row = match reader.snapshot(log.key) {
            Ok(None) => return None,
            Ok(Some(row)) => Ok(row),
            Err(error) => Err(error.to_string()),
        };
        match row.and_then(|row| self.read(reader, log, &row)) {
            Ok(origin) => {
                counters.snapshot_hit();
                Some(origin)
            }
            Err(reason) => {
                counters.snapshot_fallback();
                log::warn!("a stored view is not used, the log is folded from its first event: {reason}");
                None
            }
        }
    }

    /// What is wrong with the stored view of a log, for a verification. One that is gone or whose file is damaged is
    /// nothing wrong, since a power cut leaves that, nor is one of another build.
    pub(crate) fn verify<M: SessionModel>(&self, reader: &mut dyn LogReader, log: &LogMeta) -> Result<Stored, String> {
        let Some(row) = reader.snapshot(log.key).map_err(|error| error.to_string())? else { return Ok(Stored::None) };
        match self.store.inspect(&row.digest) {
            Err(BlobError::Missing { .. }) => return Ok(Stored::None),
            Err(BlobError::Corrupt { .. }) => return Ok(Stored::Damaged),
            Err(error) => return Err(error.to_string()),
            Ok(bytes) if bytes != row.bytes => return Err(format!("it is {bytes} bytes, and not {}", row.bytes)),
            Ok(_) => {}
        }
        if (row.view_schema, row.schema) == (M::VIEW_SCHEMA, M::SCHEMA) {
            self.read::<M>(reader, log, &row)?;
        }
        Ok(Stored::Whole)
    }

    fn read<M: SessionModel>(
        &self,
        reader: &mut dyn LogReader,
        log: &LogMeta,
        row: &SnapshotRow,
    ) -> Result<Origin<M>, String> {
        // Before its bytes are read.
        if (row.view_schema, row.schema) != (M::VIEW_SCHEMA, M::SCHEMA) {
            return Err("it is of another build".to_owned());
        }
        let bytes = Bytes::from(self.store.get(&row.digest).map_err(|error: BlobError| error.to_string())?);
        let (head, keys, view) = snapshot::decode::<M>(log, &bytes)?;
        let keys: Option<KeyFilter> = codec::decode_view(&keys).map_err(|error| error.to_string())?;
        if keys.as_ref().is_some_and(|keys| !keys.is_sound()) {
            return Err("its filter of keys is none".to_owned());
        }
        let stored = reader.chain_at(log.key, head.id).map_err(|error| error.to_string())?;
        if (row.event, row.chain) != (head.id, head.chain) || stored != Some(head.chain) {
            return Err("it is not of the events that the log holds".to_owned());
        }
        let view = guarded("decode_view", || M::decode_view(view))
            .map_err(|panicked| panicked.to_string())?
            .map_err(|error: DecodeError| error.to_string())?;
        Ok(Origin { head, keys, view, bytes: row.bytes })
    }
}
