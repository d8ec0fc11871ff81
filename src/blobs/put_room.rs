//! The room for blobs that are put: how many bytes wait for a blob thread, or are being written.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, ErrorKind};

/// See the module.
pub(super) struct PutRoom {
    taken: AtomicU64,
    bytes_max: u64,
}

/// The room for one blob, given back when dropped.
pub(super) struct RoomTaken {
    room: Arc<PutRoom>,
    bytes: u64,
}

impl PutRoom {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { taken: AtomicU64::new(0), bytes_max }
    }

    /// Takes room for a blob; [`ErrorKind::Busy`] if there is too little. A blob that is alone has room, whatever its
    /// size.
    pub(super) fn take(self: &Arc<Self>, bytes: u64) -> Result<RoomTaken, Error> {
        let before = self.taken.fetch_add(bytes, Ordering::AcqRel);
        let taken = RoomTaken { room: Arc::clone(self), bytes };
        if before > 0 && before + bytes > self.bytes_max {
            let what = "as many bytes of blobs wait to be written as StoreConfig::queued_put_bytes_max allows";
            return Err(ErrorKind::Busy { what, limit: self.bytes_max }.into());
        }
        Ok(taken)
    }
}

impl Drop for RoomTaken {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}
