//! Blobs in memory: what the file store promises, as long as the process lives.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::codec;
use crate::id::{Digest, Timestamp};
use crate::port::{BlobError, BlobListing, BlobLook, BlobStore, Put, SweepCount};

/// The same number as for blobs in files, so that a store in memory behaves as a store on a directory does.
const CONCURRENCY: usize = 8;

/// The blobs of one memory disk. Stores that share it see each other's blobs, as stores on one directory do.
pub(crate) type MemoryBlobMap = Arc<Mutex<HashMap<Digest, MemoryBlob>>>;

/// A blob, and when it was put last.
#[derive(Debug, Clone)]
pub(crate) struct MemoryBlob {
    bytes: Arc<[u8]>,
    put: Timestamp,
}

impl MemoryBlob {
    #[cfg(test)]
    pub(crate) fn make_old(&mut self) {
        self.put = Timestamp::default();
    }

    pub(crate) fn look(&self) -> BlobLook {
        let age = Clock::System.now().as_micros().saturating_sub(self.put.as_micros());
        let age = u64::try_from(age).ok().map(Duration::from_micros);
        BlobLook { bytes: self.bytes.len() as u64, age }
    }
}

/// A blob store on a [`MemoryBlobMap`].
#[derive(Debug)]
pub(crate) struct MemoryBlobs {
    blobs: MemoryBlobMap,
    bytes_max: u64,
    sweeps_seen: Mutex<Option<SweepCount>>,
}

impl MemoryBlobs {
    pub(crate) fn new(blobs: MemoryBlobMap, bytes_max: u64) -> Self {
        Self { blobs, bytes_max, sweeps_seen: Mutex::default() }
    }

    fn bytes(&self, digest: &Digest) -> Option<Arc<[u8]>> {
        self.lock().get(digest).map(|blob| Arc::clone(&blob.bytes))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, MemoryBlob>> {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BlobStore for MemoryBlobs {
    fn put(&self, bytes: &[u8]) -> Result<Put, BlobError> {
        let digest = codec::digest(bytes);
        let put = Clock::System.now();
        let mut blobs = self.lock();
        let existed = blobs.contains_key(&digest);
        blobs.entry(digest).or_insert_with(|| MemoryBlob { bytes: bytes.into(), put }).put = put;
        Ok(Put { digest, bytes: bytes.len() as u64, existed })
    }

    fn get(&self, digest: &Digest) -> Result<Vec<u8>, BlobError> {
        let bytes = self.bytes(digest).ok_or(BlobError::Missing { digest: *digest })?;
        let size = bytes.len() as u64;
        if size > self.bytes_max {
            return Err(BlobError::TooLarge { size, limit: self.bytes_max });
        }
        Ok(bytes.to_vec())
    }

    fn ensure_durable(&self, digest: &Digest, bytes: u64) -> Result<bool, BlobError> {
        match self.bytes(digest).map(|found| found.len() as u64) {
            Some(stored) if stored != bytes => Err(BlobError::OtherLength { digest: *digest, wanted: bytes, stored }),
            found => Ok(found.is_some()),
        }
    }

    fn is_known_durable(&self, digest: &Digest, bytes: u64) -> bool {
        self.bytes(digest).is_some_and(|found| found.len() as u64 == bytes)
    }

    fn remove(&self, digest: &Digest) -> Result<(), BlobError> {
        self.lock().remove(digest);
        Ok(())
    }

    fn inspect(&self, digest: &Digest) -> Result<u64, BlobError> {
        let bytes = self.bytes(digest).ok_or(BlobError::Missing { digest: *digest })?;
        if codec::digest(&bytes) == *digest {
            Ok(bytes.len() as u64)
        } else {
            Err(BlobError::Corrupt { digest: *digest })
        }
    }

    fn list(&self, first: u8) -> Result<BlobListing, BlobError> {
        let begins = |digest: &&Digest| digest.as_bytes().first() == Some(&first);
        Ok(BlobListing { digests: self.lock().keys().filter(begins).copied().collect(), strays: 0 })
    }

    fn forget(&self, _: &Digest) {
        // Nothing is remembered here: whether a blob is there is asked each time.
    }

    fn look(&self, digest: &Digest) -> Result<Option<BlobLook>, BlobError> {
        Ok(self.lock().get(digest).map(MemoryBlob::look))
    }

    fn sweeps_seen(&self) -> Option<SweepCount> {
        *self.sweeps_seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn see_sweeps(&self, count: SweepCount) {
        *self.sweeps_seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(count);
    }

    fn rescan(&self) -> Result<(), BlobError> {
        Ok(())
    }

    fn concurrency(&self) -> usize {
        CONCURRENCY
    }
}
