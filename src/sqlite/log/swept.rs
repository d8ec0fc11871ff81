//! The table of blobs that are being swept: what a sweep does to it, and how an append is held against it.
//!
//! Everything here runs inside of a transaction that writes, so that it is in one order with all appends of all stores.
//! A row has the number of the listing, negative once the blob was removed; a number is never given twice.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};

use super::error::{SqlError, SqlResult};
use super::row::{meta_number, raise_meta_number};
use crate::codec;
use crate::id::{BlobRef, Digest};
use crate::port::{BlobError, BlobStore, Listing, Refusal, StoredEvent, SweepCount, SweepDone, SweepMark, SweepStep};
use crate::sqlite::blobs::FileBlobs;

/// The settings in `meta`: the number of the last listing, and how many times removed blobs were let off the list.
const LISTINGS: &str = "sweep_listings";
const SWEEPS: &str = "sweeps";

/// What the writing end knows of the table.
pub(super) struct SweptTable {
    blobs: Arc<FileBlobs>,
    /// Whether blobs are listed, as of the last look. `None` when a step of a sweep may have changed it.
    has_listed: Option<bool>,
    /// Whether blobs that this store knew to be durable may be gone, as of the last look.
    may_be_gone: bool,
}

impl SweptTable {
    /// Looks for the first time. If this store has a writing end for the first time, that is before any reference is
    /// looked at; a later one finds out what was missed.
    pub(super) fn open(blobs: Arc<FileBlobs>, connection: &Connection) -> SqlResult<Self> {
        blobs.see_sweeps(count(connection)?);
        Ok(Self { blobs, has_listed: None, may_be_gone: false })
    }

    /// Looks again, if something may have changed. An empty table is asked once.
    pub(super) fn catch_up(&mut self, connection: &Connection, others_wrote: bool) -> SqlResult<()> {
        if self.has_listed.is_some() && !others_wrote {
            return Ok(());
        }
        self.blobs.see_sweeps(count(connection)?);
        let mut select = connection.prepare_cached("SELECT EXISTS(SELECT 1 FROM swept_blobs)")?;
        self.has_listed = Some(select.query_row([], |row| row.get(0))?);
        self.may_be_gone = self.blobs.has_forgotten();
        Ok(())
    }

    /// Refuses an append that names a blob which is being swept, or is gone.
    ///
    /// The session has looked at each blob before it stamped the append. Whatever a sweep has done since shows here: in
    /// the table; or, once the removed blobs have left the table, in the count of sweeps, and then each blob is made
    /// sure of anew. A blob that is there now stays there: only a listed blob is removed, and only by a transaction.
    pub(super) fn refusal(&self, connection: &Connection, events: &[StoredEvent]) -> SqlResult<Option<Refusal>> {
        let may_be_listed = self.has_listed != Some(false);
        if !may_be_listed && !self.may_be_gone {
            return Ok(None);
        }
        for event in events {
            // A record that does not decode names nothing.
            let Ok((header, _)) = codec::decode_record(&event.record) else { continue };
            for BlobRef { digest, bytes, .. } in header.refs {
                if may_be_listed && listed(connection, &digest)?.is_some() {
                    self.blobs.forget(&digest);
                    return Ok(Some(Refusal::NoBlob { digest }));
                }
                match self.blobs.ensure_durable(&digest, bytes) {
                    Ok(true) => {}
                    Err(BlobError::Medium(error)) => return Ok(Some(Refusal::Unavailable(error.to_string()))),
                    Ok(false) | Err(_) => return Ok(Some(Refusal::NoBlob { digest })),
                }
            }
        }
        Ok(None)
    }

    pub(super) fn step(&mut self, connection: &Connection, step: &SweepStep) -> SqlResult<SweepDone> {
        self.has_listed = None;
        match step {
            SweepStep::List { blobs, grace } => self.list(connection, blobs, *grace),
            SweepStep::Remove { listing, blobs, grace } => self.remove(connection, *listing, blobs, *grace),
            SweepStep::Unlist { blobs } => unlist(connection, blobs),
            // Seen by the next look: a count whose commit fails was never made.
            SweepStep::Count => raise_meta_number(connection, SWEEPS).map(|_| SweepDone::Counted),
        }
    }

    fn list(&self, connection: &Connection, blobs: &[Digest], grace: Duration) -> SqlResult<SweepDone> {
        let listing = Listing(raise_meta_number(connection, LISTINGS)?);
        let mut insert = connection.prepare_cached("INSERT OR REPLACE INTO swept_blobs VALUES (?1, ?2)")?;
        let mut left = Vec::new();
        for digest in blobs {
            let look = self.blobs.look(digest).map_err(|error| SqlError::outside(&error))?;
            if look.is_some_and(|look| look.is_in_grace(grace)) {
                left.push(*digest);
            } else {
                insert.execute((digest.as_bytes(), listing.0))?;
            }
        }
        Ok(SweepDone::Listed { listing, left })
    }

    /// Removes files first and says so after: if the transaction does not come to its end, the blobs are listed still.
    fn remove(
        &self,
        connection: &Connection,
        listing: Listing,
        blobs: &[Digest],
        grace: Duration,
    ) -> SqlResult<SweepDone> {
        let mut mark = connection.prepare_cached("UPDATE swept_blobs SET swept_at = ?2 WHERE digest = ?1")?;
        let mut left = Vec::new();
        for digest in blobs {
            if listed(connection, digest)? == Some(listing)
                && self.blobs.sweep(digest, grace).map_err(|error| SqlError::outside(&error))?
            {
                mark.execute((digest.as_bytes(), listing.removed().0))?;
            } else {
                left.push(*digest);
            }
        }
        Ok(SweepDone::Removed { left })
    }
}

fn unlist(connection: &Connection, blobs: &[(Digest, Listing)]) -> SqlResult<SweepDone> {
    let mut delete = connection.prepare_cached("DELETE FROM swept_blobs WHERE digest = ?1 AND swept_at = ?2")?;
    let mut unlisted = 0;
    for (digest, listing) in blobs {
        unlisted += delete.execute((digest.as_bytes(), listing.0))?;
    }
    Ok(SweepDone::Unlisted(unlisted))
}

/// What the table says of a blob, in one statement, so that both are of one moment.
pub(super) fn mark(connection: &Connection, digest: &Digest) -> SqlResult<SweepMark> {
    let mut select = connection.prepare_cached(
        "SELECT (SELECT swept_at FROM swept_blobs WHERE digest = ?1),
                (SELECT CAST(value AS INTEGER) FROM meta WHERE name = ?2)",
    )?;
    let mark = select.query_row((digest.as_bytes(), SWEEPS), |row| {
        let (listed, count): (Option<i64>, Option<i64>) = (row.get(0)?, row.get(1)?);
        Ok(SweepMark { listed: listed.map(Listing), count: SweepCount(count.unwrap_or_default()) })
    })?;
    Ok(mark)
}

/// The rows after a digest, in their order.
pub(super) fn rows(connection: &Connection, after: Option<&Digest>, max: usize) -> SqlResult<Vec<(Digest, Listing)>> {
    let mut select = connection
        .prepare_cached("SELECT digest, swept_at FROM swept_blobs WHERE digest > ?1 ORDER BY digest LIMIT ?2")?;
    let after = after.map_or(&[][..], |digest| digest.as_bytes());
    let rows =
        select.query_map((after, max as i64), |row| Ok((Digest::from_bytes(row.get(0)?), Listing(row.get(1)?))))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn listed(connection: &Connection, digest: &Digest) -> SqlResult<Option<Listing>> {
    let mut select = connection.prepare_cached("SELECT swept_at FROM swept_blobs WHERE digest = ?1")?;
    Ok(select.query_row([digest.as_bytes()], |row| row.get(0).map(Listing)).optional()?)
}

fn count(connection: &Connection) -> SqlResult<SweepCount> {
    Ok(SweepCount(meta_number(connection, SWEEPS)?))
}
