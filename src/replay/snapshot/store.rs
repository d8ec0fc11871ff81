//! Stores the bytes of views, and finds them again. The calls block, so they are never made on an arbiter.

use std::sync::Arc;

use bytes::Bytes;

use crate::codec;
use crate::event::SessionCore;
use crate::id::Digest;
use crate::model::{SessionModel, View};
use crate::port::{BlobError, BlobStore, Epoch, Head, LogMeta, LogReader, SnapshotRow};
use crate::replay::fold::Origin;
use crate::replay::key_index::KeyFilter;
use crate::replay::snapshot::file::{self as snapshot, SnapshotParts, UnusableSnapshot};
use crate::stats::{Metrics, Outage};
use crate::threads::guarded;

/// Where the views of a store are kept. A stored view is a cache: if one cannot be used, the log is folded instead.
#[derive(Clone)]
pub(crate) struct SnapshotStore {
    store: Arc<dyn BlobStore>,
    puts: Arc<Outage>,
}

/// What became of a view that was to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SnapshotOutcome {
    Taken {
        bytes: u64,
    },
    /// The view was not stored this time: the disk is full, for example, or the log has another owner.
    Failed,
    /// No view of this session is to be stored: its session model stores none, the view is too large, or it does not
    /// come back from its own bytes.
    Never,
}

/// What a verification found of a log's stored view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoredView {
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

impl SnapshotStore {
    pub(crate) fn new(store: Arc<dyn BlobStore>) -> Self {
        Self { store, puts: Arc::new(Outage::of("storing a view")) }
    }

    /// Stores the bytes of a view, if the view comes back from them, and gives the row by which the log is to name
    /// them. Nothing waits until the bytes are durable: if they are damaged or gone after a power cut, the log is
    /// folded.
    pub(crate) fn write<M: SessionModel>(
        &self,
        new: &NewSnapshot<M>,
        bytes_max: u64,
    ) -> Result<SnapshotRow, SnapshotOutcome> {
        let view = Bytes::from(M::encode_view(new.view.state()).ok_or(SnapshotOutcome::Never)?);
        let keys = codec::encode_view(&new.keys).map_err(|_| SnapshotOutcome::Never)?;
        let core = &**new.view.core();
        let core = (*core != SessionCore::default()).then(|| codec::encode_view(core)).transpose();
        let core = core.map_err(|_| SnapshotOutcome::Never)?;
        let parts = SnapshotParts { keys: keys.as_slice(), core: core.as_deref(), view: &view };
        let bytes = snapshot::encode::<M>(&new.log, &new.head, parts);
        if bytes.len() as u64 > bytes_max {
            log::warn!("a view of {} bytes is not stored, the limit is {bytes_max}", bytes.len());
            return Err(SnapshotOutcome::Never);
        }
        // A view that decodes its bytes only when they are asked for relies on this check.
        if M::decode_view(view).as_ref() != Ok(new.view.state()) {
            log::error!("a view is not stored, since it does not come back from its own bytes");
            return Err(SnapshotOutcome::Never);
        }
        let put = self.store.put(&bytes).map_err(|error| {
            self.puts.failed(error);
            SnapshotOutcome::Failed
        })?;
        self.puts.worked();
        Ok(SnapshotRow {
            event: new.head.id,
            chain: new.head.chain,
            digest: put.digest,
            bytes: put.bytes,
            view_schema: M::VIEW_SCHEMA,
            schema: M::SCHEMA,
        })
    }

    /// Removes the bytes of a view that no log names any more.
    pub(crate) fn remove(&self, digest: &Digest) -> Result<(), BlobError> {
        self.store.remove(digest)
    }

    /// Gives the stored view of a log; `None` if there is none, or none that can be used.
    pub(crate) fn load<M: SessionModel>(
        &self,
        reader: &mut dyn LogReader,
        log: &LogMeta,
        metrics: &Metrics,
    ) -> Option<Origin<M>> {
        match self.origin(reader, log) {
            Ok(None) => None,
            Ok(Some(origin)) => {
                metrics.snapshot_hit();
                Some(origin)
            }
            Err(reason) => {
                metrics.snapshot_fallback();
                log::warn!("a stored view is not used, the log is folded from its first event: {reason}");
                None
            }
        }
    }

    /// Gives the stored view of a log, `None` if it has none, or says why it is not to be used.
    pub(crate) fn origin<M: SessionModel>(
        &self,
        reader: &mut dyn LogReader,
        log: &LogMeta,
    ) -> Result<Option<Origin<M>>, UnusableSnapshot> {
        let row = reader.snapshot(log.key).map_err(|error| UnusableSnapshot::Wrong(error.to_string()))?;
        row.map(|row| self.read(reader, log, &row)).transpose()
    }

    /// Checks the stored view of a log, for a verification. The error says what is wrong. A view that is gone or whose
    /// file is damaged is no error, since a power cut may leave that; neither is the view of another build.
    pub(crate) fn verify<M: SessionModel>(
        &self,
        reader: &mut dyn LogReader,
        log: &LogMeta,
    ) -> Result<StoredView, String> {
        let Some(row) = reader.snapshot(log.key).map_err(|error| error.to_string())? else {
            return Ok(StoredView::None);
        };
        match self.store.inspect(&row.digest) {
            Err(BlobError::Missing { .. }) => return Ok(StoredView::None),
            Err(BlobError::Corrupt { .. }) => return Ok(StoredView::Damaged),
            Err(error) => return Err(error.to_string()),
            Ok(bytes) if bytes != row.bytes => return Err(format!("it is {bytes} bytes, and not {}", row.bytes)),
            Ok(_) => {}
        }
        match self.read::<M>(reader, log, &row) {
            Ok(_) | Err(UnusableSnapshot::OfOtherBuild(_)) => Ok(StoredView::Whole),
            Err(UnusableSnapshot::Wrong(reason)) => Err(reason),
        }
    }

    fn read<M: SessionModel>(
        &self,
        reader: &mut dyn LogReader,
        log: &LogMeta,
        row: &SnapshotRow,
    ) -> Result<Origin<M>, UnusableSnapshot> {
        // Checked first, which spares reading the bytes.
        if (row.view_schema, row.schema) != (M::VIEW_SCHEMA, M::SCHEMA) {
            let reason = format!("its schemas are {:?}", (row.view_schema, row.schema));
            return Err(UnusableSnapshot::OfOtherBuild(reason));
        }
        let wrong = |error: &dyn std::fmt::Display| UnusableSnapshot::Wrong(error.to_string());
        let bytes = Bytes::from(self.store.get(&row.digest).map_err(|error| wrong(&error))?);
        let (head, SnapshotParts { keys, core, view }) = snapshot::decode::<M>(log, &bytes)?;
        let keys: Option<KeyFilter> = codec::decode_view(&keys).map_err(|error| wrong(&error))?;
        if keys.as_ref().is_some_and(|keys| !keys.is_sound()) {
            return Err("its filter of keys is none".into());
        }
        let core = core.map(|core| codec::decode_view(&core)).transpose().map_err(|error| wrong(&error))?;
        let stored = reader.chain_at(log.key, head.id).map_err(|error| wrong(&error))?;
        if (row.event, row.chain) != (head.id, head.chain) || stored != Some(head.chain) {
            return Err("it is not of the events that the log holds".into());
        }
        let view = guarded("decode_view", || M::decode_view(view))
            .map_err(|panicked| wrong(&panicked))?
            .map_err(|error| wrong(&error))?;
        Ok(Origin { head, keys, view, core: Arc::new(core.unwrap_or_default()), bytes: row.bytes })
    }
}
