//! The power-cut explorer.

mod check;
mod notes;

use std::collections::HashSet;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use check::{Check, ImageFindings, Promised};
use notes::{Note, NotedLog, Notes};

use crate::config::StoreConfig;
use crate::error::{Error, ErrorKind};
use crate::model::SessionModel;
use crate::port::{Durability, OpenedMedium};
use crate::testkit::dice::Dice;
use crate::testkit::disk::{Lasting, TestDisk};
use crate::testkit::journal::{Image, JournalEntry, RecordedDisk, SyncOf, Unsynced};
use crate::testkit::layered::layered;

/// How many losses are kept in the report; further losses are only counted.
const LOSSES_MAX: usize = 20;
/// How many images are checked at a time.
const WORKERS: usize = 2;

/// Runs a scenario on a disk that records every operation, and then cuts the power at each of them: rebuilds the disk
/// as it could be then, opens a store on it, and checks that nothing is lost that was acknowledged before the cut.
///
/// What was synced is kept. Of what was not, in turn: nothing is there; everything is there; each 512-byte sector, each
/// new length, each name is there or not, as a seed decides. A name is durable when its directory was synced, not
/// before.
///
/// Each rebuilt disk must open; every event of it must be one that was stamped, with its bytes, and ids and chain must
/// be dense from the first; each acknowledged event, session and blob must be there, and no event that a store has said
/// was not written (at [`Durability::ProcessCrash`] a tail of events may be gone); the view must equal the fold of
/// these events; every reference must resolve; and the store must accept an append to each session. A session that was
/// deleted is not there, and no file has a record of it.
///
/// # Examples
/// ```
/// use foldlog::agent::{Agent, AgentBody, Message};
/// use foldlog::testkit::PowerCuts;
/// use foldlog::Store;
///
/// # fn main() -> Result<(), foldlog::Error> { futures::executor::block_on(async {
/// let message = AgentBody::MessageAppended(Message::user("hello"));
/// let report = PowerCuts::<Agent>::new(message.clone())
///     .run(async |config| {
///         let store = Store::open(config).await?;
///         store.open_session("support-4711").await?.append(message)?.await?;
///         store.close().await
///     })
///     .await?;
/// assert_eq!(report.losses, []);
/// println!("{report}");
/// # Ok(()) }) }
/// ```
#[derive(Debug, Clone)]
pub struct PowerCuts<M: SessionModel> {
    probe: M::Body,
    durability: Durability,
    mixed: u64,
    seed: u64,
    without: Option<SyncOf>,
    failing_sync: Option<u64>,
    cuts_max: usize,
    model: PhantomData<M>,
}

/// What [`PowerCuts`] has tried and found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PowerCutReport {
    /// The operations of the scenario.
    pub operations: usize,
    /// The points that were cut at: behind each operation, and behind each acknowledgement.
    pub cuts: usize,
    /// The different disks that were rebuilt and checked.
    pub images: usize,
    /// The acknowledged events that were looked for, summed over the images. A test should see that it is not 0.
    pub events_checked: u64,
    /// The acknowledged events that were not there, summed over the images: only at [`Durability::ProcessCrash`].
    pub events_given_up: u64,
    /// The stored views that were gone or damaged, so that their logs were folded, summed over the images: they are not
    /// synced.
    pub snapshot_fallbacks: u64,
    /// Whether the sync that was to fail was met.
    pub sync_failed: bool,
    /// How many images did not keep what was promised.
    pub lost: usize,
    /// The first 20 of these images.
    pub losses: Vec<Loss>,
}

/// A rebuilt disk that does not keep what was promised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// After how many operations the power was cut.
    pub cut: usize,
    /// The last operation before the cut.
    pub after: String,
    /// What the cut left of the changes that were not synced.
    pub unsynced: String,
    /// What is wrong.
    pub what: String,
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { cut, after, unsynced, what } = self;
        write!(f, "power cut after operation {cut} ({after}), unsynced {unsynced}: {what}")
    }
}

impl std::fmt::Display for PowerCutReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { operations, cuts, images, events_checked, snapshot_fallbacks, lost, .. } = self;
        write!(f, "{operations} operations, {cuts} cut points, {images} disks rebuilt, ")?;
        write!(f, "{snapshot_fallbacks} stored views gone or damaged, ")?;
        write!(f, "{events_checked} acknowledged events looked for, {lost} lost")?;
        self.losses.iter().try_for_each(|loss| write!(f, "\n{loss}"))
    }
}

impl<M: SessionModel> PowerCuts<M> {
    /// `probe` is a body that any session of the scenario accepts: it is appended to each after each cut. It
    /// names no blob, since no disk of a cut before the blob was put has it.
    #[must_use]
    pub fn new(probe: M::Body) -> Self {
        Self {
            probe,
            durability: Durability::default(),
            mixed: 2,
            seed: 0,
            without: None,
            failing_sync: None,
            cuts_max: usize::MAX,
            model: PhantomData,
        }
    }

    /// The durability of the scenario's stores. Default: [`Durability::PowerLoss`].
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// How many mixtures of what was not synced are tried at each cut, beside nothing and everything. Default 2.
    #[must_use]
    pub fn mixed(mut self, mixtures: u64) -> Self {
        self.mixed = mixtures;
        self
    }

    /// The seed of the mixtures. Default 0.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Leaves out every sync of one kind: for tests that must see a loss.
    #[must_use]
    pub fn without(mut self, sync: SyncOf) -> Self {
        self.without = Some(sync);
        self
    }

    /// Lets one sync of the scenario fail, the one after `after` others, and forgets what it should have made durable:
    /// the kernel may drop the pages that it could not write, and take them for clean.
    #[must_use]
    pub fn failing_sync(mut self, after: u64) -> Self {
        self.failing_sync = Some(after);
        self
    }

    /// Cuts at about this many points at most, chosen by the seed: for scenarios of many operations. Default: at all
    /// points.
    #[must_use]
    pub fn cuts_max(mut self, cuts: usize) -> Self {
        self.cuts_max = cuts;
        self
    }

    /// Runs the scenario, then tries every cut. The scenario opens stores with the configuration that it is given, as
    /// often as it likes, and closes them.
    ///
    /// # Errors
    /// The scenario's own, [`ErrorKind::Unavailable`] when there is no temporary directory. A loss is not an
    /// error: the report has it.
    pub async fn run(
        self,
        scenario: impl AsyncFnOnce(StoreConfig) -> Result<(), Error>,
    ) -> Result<PowerCutReport, Error> {
        let disk = TestDisk::new().map_err(|error| no_disk(&error))?;
        let notes = Arc::new(Notes::new(disk.clone()));
        let mut config = disk.watch(StoreConfig { durability: self.durability, ..StoreConfig::memory() });
        let wrap = Arc::clone(&notes);
        config.medium = layered(config.medium, move |opened| OpenedMedium {
            log: Arc::new(NotedLog::new(opened.log, Arc::clone(&wrap))),
            blobs: wrap.blobs(opened.blobs),
            ..opened
        });
        disk.pass_over(self.without);
        if let Some(after) = self.failing_sync {
            disk.fail_sync(after, Lasting::Once);
        }
        scenario(config).await?;
        let sync_failed = !disk.clear().is_empty();
        let entries = disk.take_entries();
        let check = Check::<M> { probe: self.probe.clone(), durability: self.durability, model: PhantomData };
        let report = self.try_all(&entries, &notes, &|image, promised| check.run(image, promised))?;
        Ok(PowerCutReport { sync_failed, ..report })
    }

    /// The same for a scenario that uses the disk in its own way, such as one that makes backups on it. It calls the
    /// function that it is given after each step that must last, and `check` is given each rebuilt directory and how
    /// many steps were done before the cut; its error says what is wrong.
    ///
    /// # Errors
    /// As of [`PowerCuts::run`].
    pub async fn run_steps(
        self,
        scenario: impl AsyncFnOnce(&TestDisk, &dyn Fn()) -> Result<(), Error>,
        check: impl Fn(&Path, u64) -> Result<(), String> + Sync,
    ) -> Result<PowerCutReport, Error> {
        let disk = TestDisk::new().map_err(|error| no_disk(&error))?;
        let notes = Arc::new(Notes::new(disk.clone()));
        disk.pass_over(self.without);
        scenario(&disk, &|| notes.add(Note::Done)).await?;
        let entries = disk.take_entries();
        self.try_all(&entries, &notes, &|image, promised| {
            let rebuilt = tempfile::tempdir().map_err(|error| error.to_string())?;
            image.write_to(rebuilt.path()).map_err(|error| format!("the disk cannot be rebuilt: {error}"))?;
            check(rebuilt.path(), promised.version).map(|()| ImageFindings::default())
        })
    }

    fn try_all(
        &self,
        entries: &[JournalEntry],
        notes: &Notes,
        check: &(dyn Fn(&Image, &Promised) -> Result<ImageFindings, String> + Sync),
    ) -> Result<PowerCutReport, Error> {
        let work = Mutex::new(Cuts::new(self, entries, notes));
        let report = Mutex::new(PowerCutReport::default());
        std::thread::scope(|scope| {
            for _ in 0..WORKERS {
                scope.spawn(|| {
                    loop {
                        let next = work.lock().unwrap_or_else(PoisonError::into_inner).next();
                        let Some(Cut { at, after, unsynced, image, promised }) = next else { break };
                        let checked = check(&image, &promised);
                        let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
                        report.images += 1;
                        match checked {
                            Ok(found) => {
                                report.events_checked += promised.events;
                                report.events_given_up += found.given_up;
                                report.snapshot_fallbacks += found.snapshot_fallbacks;
                            }
                            Err(what) => {
                                report.lost += 1;
                                if report.losses.len() < LOSSES_MAX {
                                    let unsynced = format!("{unsynced:?}").to_lowercase();
                                    report.losses.push(Loss { cut: at, after, unsynced, what });
                                }
                            }
                        }
                    }
                });
            }
        });
        let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
        let work = work.into_inner().unwrap_or_else(PoisonError::into_inner);
        (report.operations, report.cuts) = (work.at, work.cuts);
        report.losses.sort_by_key(|loss| loss.cut);
        Ok(report)
    }
}

struct Cut {
    at: usize,
    after: String,
    unsynced: Unsynced,
    image: Image,
    promised: Promised,
}

/// What becomes of what is not synced.
#[derive(Debug, Clone, Copy)]
struct Variant {
    /// When a sync fails: the kernel may have written it all the same.
    after_a_failed_sync: Unsynced,
    after_a_cut: Unsynced,
}

impl From<Unsynced> for Variant {
    fn from(unsynced: Unsynced) -> Self {
        Self { after_a_failed_sync: unsynced, after_a_cut: unsynced }
    }
}

/// All rebuilt disks to check, in order, each only once.
struct Cuts<'a> {
    entries: std::slice::Iter<'a, JournalEntry>,
    notes: &'a Notes,
    variants: Vec<Variant>,
    /// One for each variant, since a sync that fails leaves different disks.
    disks: Vec<RecordedDisk>,
    /// The variants that are still to come at this cut.
    left: Vec<usize>,
    at: usize,
    cuts: usize,
    after: String,
    promised: Promised,
    seen: HashSet<(u64, u64)>,
    dice: Dice,
    /// The power is cut at one of this many operations.
    one_of: u64,
}

impl<'a> Cuts<'a> {
    fn new<M: SessionModel>(cuts: &PowerCuts<M>, entries: &'a [JournalEntry], notes: &'a Notes) -> Self {
        let mixed = (0..cuts.mixed).map(|n| Unsynced::Mixed(cuts.seed.wrapping_mul(1000).wrapping_add(n)));
        let mut variants: Vec<_> =
            [Unsynced::Lost, Unsynced::Kept].into_iter().chain(mixed).map(Variant::from).collect();
        if cuts.failing_sync.is_some() {
            variants.push(Variant { after_a_failed_sync: Unsynced::Kept, after_a_cut: Unsynced::Lost });
        }
        Self {
            entries: entries.iter(),
            notes,
            disks: vec![RecordedDisk::default(); variants.len()],
            left: (0..variants.len()).collect(),
            variants,
            at: 0,
            cuts: 0,
            after: "none".to_owned(),
            promised: Promised::default(),
            seen: HashSet::new(),
            dice: Dice::new(cuts.seed),
            one_of: entries.len().div_ceil(cuts.cuts_max.max(1)) as u64,
        }
    }

    fn next(&mut self) -> Option<Cut> {
        loop {
            while let Some(variant) = self.left.pop() {
                let (Some(unsynced), Some(disk)) = (self.variants.get(variant), self.disks.get(variant)) else {
                    continue;
                };
                // Another mixture at each cut.
                let unsynced = match unsynced.after_a_cut {
                    Unsynced::Mixed(seed) => Unsynced::Mixed(seed.wrapping_add((self.at as u64) << 32)),
                    other => other,
                };
                let image = disk.after_a_cut(unsynced);
                if self.seen.insert((image.fingerprint(), self.promised.version)) {
                    let (at, after, promised) = (self.at, self.after.clone(), self.promised.clone());
                    return Some(Cut { at, after, unsynced, image, promised });
                }
            }
            let entry = self.entries.next()?;
            if let JournalEntry::Note(note) = entry {
                self.notes.with(*note, |note| self.promised.add(note));
            } else {
                self.at += 1;
                self.after = entry.to_string();
                for (disk, unsynced) in self.disks.iter_mut().zip(&self.variants) {
                    disk.step(entry, unsynced.after_a_failed_sync);
                }
            }
            if self.dice.one_in(self.one_of) {
                self.cuts += 1;
                self.left = (0..self.variants.len()).collect();
            }
        }
    }
}

fn no_disk(error: &std::io::Error) -> Error {
    ErrorKind::Unavailable { reason: format!("no temporary directory: {error}") }.into()
}
