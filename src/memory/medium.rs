//! Opening a disk in memory for a store, and the store's ownership on it.

use std::sync::Arc;

use super::blobs::MemoryBlobs;
use super::disk::MemoryDisk;
use super::log::{MemoryLog, MemoryReader};
use crate::error::{Error, ErrorKind, OwnerInfo};
use crate::id::Timestamp;
use crate::port::{
    Create, EventLog, Liveness, LogError, LogMedium, LogReader, LogSource, Medium, OpenMedium, OpenedMedium,
    OpenedToRead, Opening, OpeningToRead, OwnerId, Ownership, StoreId, Upkeep,
};

impl Medium {
    /// A medium in memory. Stores that share a disk behave like stores that share a directory.
    #[must_use]
    pub fn memory(disk: MemoryDisk) -> Self {
        Self::new(disk)
    }
}

impl OpenMedium for MemoryDisk {
    fn open(&self, opening: &Opening) -> Result<OpenedMedium, Error> {
        if opening.create == Create::Never && self.lock().model.is_none() {
            return Err(no_store());
        }
        let end = Arc::new(MemoryEnd::open(self.clone(), opening.model, opening.now)?);
        Ok(OpenedMedium {
            log: Arc::clone(&end) as _,
            blobs: Arc::new(MemoryBlobs::new(Arc::clone(&self.blobs), opening.blob_bytes_max)),
            snapshots: Arc::new(MemoryBlobs::new(Arc::clone(&self.snapshots), opening.snapshot_bytes_max)),
            ownership: end,
            tidy: None,
            found: None,
        })
    }

    fn open_to_read(&self, opening: &OpeningToRead) -> Result<OpenedToRead, Error> {
        let model = self.lock().model.clone().ok_or_else(no_store)?;
        opening.model.map_or(Ok(()), |expected| check_model(&model, expected))?;
        Ok(OpenedToRead {
            model,
            format: None,
            log: Arc::new(self.clone()),
            blobs: Arc::new(MemoryBlobs::new(Arc::clone(&self.blobs), opening.blob_bytes_max)),
            snapshots: Arc::new(MemoryBlobs::new(Arc::clone(&self.snapshots), opening.snapshot_bytes_max)),
        })
    }
}

fn no_store() -> Error {
    ErrorKind::NoStore { reason: "the disk in memory has none".to_owned() }.into()
}

fn check_model(found: &str, expected: &str) -> Result<(), Error> {
    if found == expected {
        return Ok(());
    }
    Err(ErrorKind::WrongModel { found: found.to_owned(), expected: expected.to_owned() }.into())
}

/// One store's end of a [`MemoryDisk`]: alive until it is released or dropped.
pub(crate) struct MemoryEnd {
    disk: MemoryDisk,
    me: OwnerId,
}

impl MemoryEnd {
    pub(crate) fn open(disk: MemoryDisk, model: &str, since: Timestamp) -> Result<Self, Error> {
        let no_name =
            |error| Error::with_source(ErrorKind::Unavailable { reason: "no random bytes".to_owned() }, error);
        let me = OwnerId::random().map_err(no_name)?;
        let id = StoreId::random().map_err(no_name)?;
        {
            let mut state = disk.lock();
            let found = state.model.get_or_insert_with(|| model.to_owned());
            check_model(found, model)?;
            state.id.get_or_insert(id);
            let info = OwnerInfo {
                id: me.as_str().to_owned(),
                process: std::process::id(),
                host: "memory".to_owned(),
                since,
                in_this_process: true,
            };
            state.alive.insert(info.id.clone(), info);
        }
        Ok(Self { disk, me })
    }
}

impl Ownership for MemoryEnd {
    fn me(&self) -> &OwnerId {
        &self.me
    }

    fn liveness(&self, owner: &str) -> Result<Liveness, Error> {
        Ok(self.disk.lock().liveness(owner))
    }

    fn still_held(&self) -> Result<bool, Error> {
        Ok(self.disk.lock().alive.contains_key(self.me.as_str()))
    }

    fn release(&self) -> Result<(), Error> {
        self.disk.lock().alive.remove(self.me.as_str());
        Ok(())
    }
}

impl Drop for MemoryEnd {
    fn drop(&mut self) {
        self.disk.lock().alive.remove(self.me.as_str());
    }
}

impl LogSource for MemoryEnd {
    fn reader(&self) -> Result<Box<dyn LogReader>, LogError> {
        self.disk.reader()
    }
}

impl LogSource for MemoryDisk {
    fn reader(&self) -> Result<Box<dyn LogReader>, LogError> {
        Ok(Box::new(MemoryReader { disk: self.clone() }))
    }
}

impl LogMedium for MemoryEnd {
    fn writer(&self) -> Result<Box<dyn EventLog>, LogError> {
        Ok(Box::new(MemoryLog { disk: self.disk.clone(), me: self.me.as_str().to_owned() }))
    }

    fn upkeep(&self) -> Upkeep {
        Upkeep::default()
    }
}
