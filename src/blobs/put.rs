//! A put, beside sweeps of any store on the same medium: when it answers, the blob is there, durable, and on no list.

use crate::error::Error;
use crate::id::Digest;
use crate::port::{BlobStore, Put, SweepDone, SweepMark, SweepStep};

/// What a put asks of the log.
pub(super) trait PutLog {
    /// What the list of blobs that are being swept says of one.
    fn mark(&mut self, digest: &Digest) -> Result<SweepMark, Error>;

    fn step(&mut self, step: SweepStep) -> Result<SweepDone, Error>;
}

/// Stores bytes.
///
/// The file comes first, and the look at the list after it. If the blob is not listed then, whoever lists it later
/// finds a file that was put a moment ago, and leaves it for its grace time. If it is listed, it is made durable once
/// more and taken off the list, which fails if a sweep has listed or removed it since its number was read: then all of
/// this begins anew. So it does if sweeps were counted meanwhile: the blob may have been removed, and have left the
/// list.
pub(super) fn put(blobs: &dyn BlobStore, log: &mut dyn PutLog, bytes: &[u8]) -> Result<Put, Error> {
    let mut first = None;
    loop {
        let seen = blobs.sweeps_seen();
        let put = blobs.put(bytes)?;
        let existed = *first.get_or_insert(put.existed);
        let mark = log.mark(&put.digest)?;
        if seen != Some(mark.count) {
            blobs.see_sweeps(mark.count);
            continue;
        }
        if let Some(listing) = mark.listed {
            // What this store knows was so before the number was read.
            blobs.forget(&put.digest);
            blobs.put(bytes)?;
            let unlist = SweepStep::Unlist { blobs: vec![(put.digest, listing)] };
            if !matches!(log.step(unlist)?, SweepDone::Unlisted(1)) {
                continue;
            }
        }
        return Ok(Put { existed, ..put });
    }
}
