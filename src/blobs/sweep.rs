//! A sweep: removes blobs that no event names, beside puts and appends of every store on the same medium.
//!
//! 1. All events are read, and which blobs they name. Blobs that none names and that are older than the grace time are
//!    chosen.
//! 2. They are **listed**, in a commit, but for those that were put meanwhile. From then on every append that names one
//!    of them is refused, inside its own commit.
//! 3. The events that were committed meanwhile are read. What they name is taken off the list.
//! 4. The rest is **removed**, by a transaction that holds off every other commit: only blobs that are still listed
//!    under the number that this sweep has given, and that nobody has put since. They stay listed.
//! 5. At the end sweeps are **counted**, and only then removed blobs leave the list. An append that was checked while
//!    the blob was still there, and that commits now, finds another count in its commit, and makes sure of its blobs
//!    anew.
//!
//! So a blob is never removed after an event that names it was committed, nor the other way round. A crash leaves
//! listed blobs, there or removed: appends that name them are refused, a put stores them and takes them off the list,
//! and the next sweep lists them anew, under a number of its own. A put answers only when its blob is on no list: see
//! `put`.
//!
//! The grace time is for what was put and is not named yet. No referenced blob depends on it, so a clock that jumps
//! costs a put at most.

use std::fmt;
use std::time::Duration;

use super::referenced::Referenced;
use crate::error::{Error, ErrorKind};
use crate::id::Digest;
use crate::port::{BlobError, BlobStore, Listing, LogReader, SweepDone, SweepStep};

/// How many blobs one commit lists, or takes off the list: a row each.
const ROWS_MAX: usize = 512;
/// How many blobs one transaction removes: while it does, nobody else can commit.
const REMOVED_MAX: usize = 64;
/// How many blobs are chosen, listed and removed together, between two looks at what was committed.
const ROUND_MAX: usize = 4096;
/// How many removed blobs stay listed before sweeps are counted. Each count makes every store look at its blobs anew.
const GONE_MAX: usize = 65_536;

/// What a sweep is to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SweepPlan {
    pub(crate) grace: Duration,
    /// Whether anything is removed.
    pub(crate) is_dry: bool,
}

/// What [`Store::sweep`](crate::Store::sweep) has removed, or would remove, and what it has left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Swept {
    /// How many blobs were removed: by a dry run, how many would be.
    pub removed: u64,
    /// The bytes of these blobs.
    pub removed_bytes: u64,
    /// How many more blobs no event names, which stay for their grace time: they were put a short while ago.
    pub in_grace: u64,
    /// The bytes of these blobs.
    pub in_grace_bytes: u64,
    /// How many blobs events name.
    pub referenced: u64,
    /// Whether this was a [dry run](crate::Sweep::dry_run), which removes nothing.
    pub is_dry: bool,
}

impl fmt::Display for Swept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { removed, removed_bytes, in_grace, referenced, .. } = self;
        let (blobs, done) =
            (if *removed == 1 { "blob" } else { "blobs" }, if self.is_dry { "would be removed" } else { "removed" });
        write!(f, "{removed} {blobs} of {removed_bytes} bytes {done}, ")?;
        write!(f, "{in_grace} left for their grace time, {referenced} named")
    }
}

/// What a sweep works on.
pub(crate) trait SweepWorld {
    fn reader(&mut self) -> &mut dyn LogReader;

    fn blobs(&self) -> &dyn BlobStore;

    /// Commits one step.
    fn step(&mut self, step: SweepStep) -> Result<SweepDone, Error>;

    /// A blob was removed; in a dry run, would be.
    fn removed(&mut self, blob: &Digest, bytes: u64);

    /// Called between the steps. An error calls the sweep off.
    fn pause(&mut self, so_far: &Swept) -> Result<(), Error>;
}

/// Sweeps. Nothing stays listed when the sweep is called off. After any other error, or a crash, what is listed is left
/// to the next sweep.
pub(crate) fn sweep(world: &mut dyn SweepWorld, plan: SweepPlan) -> Result<Swept, Error> {
    let mut sweep = SweepRun {
        world,
        plan,
        referenced: Referenced::default(),
        listed: Vec::new(),
        gone: Vec::new(),
        tally: Swept { is_dry: plan.is_dry, ..Swept::default() },
    };
    let done = sweep.run();
    // Also after an error: what is removed already need not stay listed.
    let ended = sweep.let_go();
    done.and(ended).map(|()| sweep.tally)
}

struct SweepRun<'a> {
    world: &'a mut dyn SweepWorld,
    plan: SweepPlan,
    referenced: Referenced,
    /// What was listed in this round, and is not removed yet. Those of one listing are together.
    listed: Vec<(UnnamedBlob, Listing)>,
    /// What is to leave the list, as soon as sweeps are counted: it was removed, or may have been by another sweep.
    gone: Vec<(Digest, Listing)>,
    tally: Swept,
}

/// A blob that no event names, as far as the log was read, and its length; `None` if it is not there any more.
type UnnamedBlob = (Digest, Option<u64>);

impl SweepRun<'_> {
    fn run(&mut self) -> Result<(), Error> {
        self.catch_up()?;
        if !self.plan.is_dry {
            self.adopt()?;
            // What was named or put since it was listed is counted again, where it is.
            self.tally =
                Swept { removed: self.tally.removed, removed_bytes: self.tally.removed_bytes, ..Swept::default() };
        }
        for first in 0..=u8::MAX {
            let listing = self.world.blobs().list(first)?;
            for digests in listing.digests.chunks(ROUND_MAX) {
                let candidates = self.choose(digests)?;
                if self.plan.is_dry {
                    self.tally.removed += candidates.len() as u64;
                    self.tally.removed_bytes += candidates.iter().filter_map(|(_, bytes)| *bytes).sum::<u64>();
                    for (digest, bytes) in &candidates {
                        self.world.removed(digest, bytes.unwrap_or_default());
                    }
                } else {
                    self.round(&candidates, self.plan.grace)?;
                }
            }
            self.pause()?;
        }
        Ok(())
    }

    /// Asks whether to go on. If not, what is not removed yet need not stay listed.
    fn pause(&mut self) -> Result<(), Error> {
        self.world.pause(&self.tally).inspect_err(|_| {
            self.gone.extend(self.listed.drain(..).map(|((digest, _), listing)| (digest, listing)));
        })
    }

    /// Sweeps what a sweep that did not end has left on the list, whatever it was: removed, named since, or put again.
    fn adopt(&mut self) -> Result<(), Error> {
        let mut after = None;
        loop {
            let left = self.world.reader().listed_blobs(after.as_ref(), ROUND_MAX)?;
            let Some((last, _)) = left.last() else { return Ok(()) };
            after = Some(*last);
            let mut candidates = Vec::with_capacity(left.len());
            for (digest, _) in &left {
                let look = self.world.blobs().look(digest)?;
                candidates.push((*digest, look.map(|look| look.bytes)));
            }
            self.round(&candidates, Duration::ZERO)?;
        }
    }

    fn choose(&mut self, digests: &[Digest]) -> Result<Vec<UnnamedBlob>, Error> {
        let mut candidates = Vec::new();
        for digest in digests {
            if self.referenced.contains(digest) {
                self.tally.referenced += 1;
                continue;
            }
            match self.world.blobs().look(digest)? {
                Some(look) if look.is_in_grace(self.plan.grace) => self.leave(look.bytes),
                Some(look) => candidates.push((*digest, Some(look.bytes))),
                None => {}
            }
        }
        Ok(candidates)
    }

    /// Lists, looks at what was committed meanwhile, removes. What was put within `grace` is not listed.
    fn round(&mut self, candidates: &[UnnamedBlob], grace: Duration) -> Result<(), Error> {
        for rows in candidates.chunks(ROWS_MAX) {
            let blobs = rows.iter().map(|(digest, _)| *digest).collect();
            let done = self.world.step(SweepStep::List { blobs, grace })?;
            let SweepDone::Listed { listing, left } = done else { return Err(no_answer()) };
            for candidate in rows {
                if left.contains(&candidate.0) {
                    self.leave(candidate.1.unwrap_or_default());
                } else {
                    self.listed.push((*candidate, listing));
                }
            }
            self.pause()?;
        }
        if self.listed.is_empty() {
            return Ok(());
        }
        self.catch_up()?;
        let (named, unnamed): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.listed).into_iter().partition(|((digest, _), _)| self.referenced.contains(digest));
        self.listed = unnamed;
        self.tally.referenced += named.len() as u64;
        self.unlist(named.into_iter().map(|((digest, _), listing)| (digest, listing)).collect())?;
        while let Some((_, listing)) = self.listed.last().copied() {
            let of_listing = self.listed.iter().rev().take_while(|(_, other)| *other == listing);
            let kept = self.listed.len() - of_listing.take(REMOVED_MAX).count();
            let batch = self.listed.split_off(kept);
            self.remove(listing, &batch)?;
            self.pause()?;
        }
        if self.gone.len() >= GONE_MAX { self.let_go() } else { Ok(()) }
    }

    fn leave(&mut self, bytes: u64) {
        self.tally.in_grace += 1;
        self.tally.in_grace_bytes += bytes;
    }

    fn remove(&mut self, listing: Listing, batch: &[(UnnamedBlob, Listing)]) -> Result<(), Error> {
        let blobs = batch.iter().map(|((digest, _), _)| *digest).collect();
        let step = SweepStep::Remove { listing, blobs, grace: self.plan.grace };
        let SweepDone::Removed { left } = self.world.step(step)? else { return Err(no_answer()) };
        let mut put_again = Vec::new();
        for ((digest, bytes), _) in batch {
            if !left.contains(digest) {
                if let Some(bytes) = bytes {
                    self.tally.removed += 1;
                    self.tally.removed_bytes += bytes;
                    self.world.removed(digest, *bytes);
                }
                self.gone.push((*digest, listing.removed()));
                continue;
            }
            self.leave(bytes.unwrap_or_default());
            // Put since it was chosen. Whoever put it has not said so yet, and may die before.
            self.world.blobs().forget(digest);
            let Some(look) = self.world.blobs().look(digest)? else { continue };
            match self.world.blobs().ensure_durable(digest, look.bytes) {
                Ok(true) => put_again.push((*digest, listing)),
                // It stays listed, until somebody puts it or sweeps it.
                Ok(false) | Err(BlobError::Missing { .. } | BlobError::Corrupt { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.unlist(put_again)
    }

    /// Takes off the list what is to leave it.
    fn let_go(&mut self) -> Result<(), Error> {
        if self.gone.is_empty() {
            return Ok(());
        }
        self.world.step(SweepStep::Count)?;
        let gone = std::mem::take(&mut self.gone);
        self.unlist(gone)
    }

    fn unlist(&mut self, blobs: Vec<(Digest, Listing)>) -> Result<(), Error> {
        for rows in blobs.chunks(ROWS_MAX) {
            self.world.step(SweepStep::Unlist { blobs: rows.to_vec() })?;
        }
        Ok(())
    }

    /// Reads what was committed since the last time: at first, all events.
    fn catch_up(&mut self) -> Result<(), Error> {
        while self.referenced.read_page(self.world.reader())? {
            self.pause()?;
        }
        Ok(())
    }
}

fn no_answer() -> Error {
    ErrorKind::Unavailable { reason: "the log did not do the step of the sweep".to_owned() }.into()
}
