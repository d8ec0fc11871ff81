//! A directory whose every operation is recorded and can be made to fail. `layer` and this file name each other: the
//! disk makes its layer, and the layer asks its disk at each operation.

mod layer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::StoreConfig;
use crate::port::Medium;
use crate::sqlite::Directory;
use crate::testkit::journal::{JournalEntry, SyncOf};
use layer::{DiskLayer, watch};

/// A temporary directory for stores, every operation on which is counted, recorded and can be made to fail: those on
/// the database, by way of a SQLite VFS of its own, as well as those on blobs and on the directory itself.
///
/// Clones share the directory. It is removed with the last of them, and with the last store on it.
///
/// # Examples
/// ```
/// use foldlog::agent::{AgentBody, Message};
/// use foldlog::testkit::{DiskError, Lasting, TestDisk};
/// use foldlog::{ErrorKind, Store};
///
/// # fn main() -> Result<(), foldlog::Error> { futures::executor::block_on(async {
/// let disk = TestDisk::new().expect("a temporary directory");
/// let store = Store::open(disk.config()).await?;
/// let session = store.open_session("support-4711").await?;
///
/// disk.fail(0, DiskError::Full, Lasting::UntilCleared);
/// let body = AgentBody::MessageAppended(Message::user("hello"));
/// let error = session.append(body.clone())?.await.expect_err("the disk is full");
/// assert!(matches!(error.kind(), ErrorKind::DiskFull));
///
/// assert!(!disk.clear().is_empty());
/// session.append(body)?.await?;
/// # store.close().await }) }
/// ```
#[derive(Debug, Clone)]
pub struct TestDisk(Arc<DiskInner>);

/// What a disk says when it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskError {
    /// No space is left (ENOSPC). Operations that make files, write or sync can meet it.
    Full,
    /// The device failed (EIO). Every operation can meet it.
    Device,
    /// The disk is read-only (EROFS). Operations that make files, remove files or write can meet it.
    ReadOnly,
}

/// How long a fault lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasting {
    /// For one operation.
    Once,
    /// Until [`TestDisk::clear`].
    UntilCleared,
}

#[derive(Debug)]
struct DiskInner {
    directory: tempfile::TempDir,
    /// The directory as SQLite names it.
    root: PathBuf,
    mode: DiskMode,
    journal: Mutex<Journal>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DiskMode {
    Recorded,
    /// Nothing is recorded and nothing is synced, which is quick: for a disk that is thrown away.
    Volatile,
}

#[derive(Debug, Default)]
struct Journal {
    entries: Vec<JournalEntry>,
    operations: u64,
    fault: Option<PlannedFault>,
    met: Vec<String>,
    passed_over: Option<SyncOf>,
}

#[derive(Debug)]
struct PlannedFault {
    /// How many operations that could meet the fault run before it.
    after: u64,
    error: DiskError,
    lasting: Lasting,
    only: fn(&Class) -> bool,
}

/// What an operation does, as far as faults are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Read,
    Write,
    Remove,
    Sync(SyncOf),
}

impl Class {
    fn may_meet(self, error: DiskError) -> bool {
        match error {
            DiskError::Device => true,
            DiskError::Full => matches!(self, Self::Write | Self::Sync(_)),
            DiskError::ReadOnly => matches!(self, Self::Write | Self::Remove),
        }
    }
}

enum Decision {
    Run,
    PassOver,
    Fail { error: DiskError, count: u64 },
}

/// A checkpoint is due after far fewer bytes than in a host's store, so that short scenarios have checkpoints.
const CHECKPOINT_BYTES: usize = 1 << 20;

impl TestDisk {
    /// Makes an empty disk.
    ///
    /// # Errors
    /// When no temporary directory can be made.
    pub fn new() -> io::Result<Self> {
        Self::with_mode(DiskMode::Recorded)
    }

    /// Makes an empty disk that keeps no record of operations and syncs nothing, which is quick. Its syncs can still be
    /// made to fail.
    ///
    /// # Errors
    /// When no temporary directory can be made.
    pub fn volatile() -> io::Result<Self> {
        Self::with_mode(DiskMode::Volatile)
    }

    fn with_mode(mode: DiskMode) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("foldlog-testkit-").tempdir()?;
        let root = directory.path().canonicalize()?;
        Ok(Self(Arc::new(DiskInner { directory, root, mode, journal: Mutex::default() })))
    }

    /// A configuration of a store on this disk, all else at its default.
    #[must_use]
    pub fn config(&self) -> StoreConfig {
        self.watch(StoreConfig::directory(self.path()))
    }

    /// The configuration with this disk as its medium.
    ///
    /// # Panics
    /// When SQLite does not take the VFS.
    #[must_use]
    pub fn watch(&self, config: StoreConfig) -> StoreConfig {
        self.through(&self.0.root, config)
    }

    /// A configuration of a store in another directory, whose copies on this disk
    /// ([`Store::backup`](crate::Store::backup)) go through this disk. Operations on files of the other directory that
    /// are not the database's can be made to fail, too.
    ///
    /// # Panics
    /// When SQLite does not take the VFS.
    #[must_use]
    pub fn beside(&self, directory: impl AsRef<Path>) -> StoreConfig {
        self.through(directory.as_ref(), StoreConfig::directory(directory.as_ref()))
    }

    #[expect(clippy::expect_used, reason = "a test cannot go on without it, and SQLite always takes one")]
    fn through(&self, directory: &Path, mut config: StoreConfig) -> StoreConfig {
        let layer = DiskLayer { watched: watch(&self.0).expect("SQLite takes the VFS"), inner: Arc::clone(&self.0) };
        config.medium = Medium::new(Directory {
            files: Arc::new(layer),
            vfs: Some(foldlog_vfs::NAME),
            checkpoint_bytes: Some(CHECKPOINT_BYTES),
            ..Directory::new(directory.to_owned())
        });
        config
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.root
    }

    /// How many operations there were so far, reads included.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.0.journal().operations
    }

    /// Lets an operation fail: the first that can meet the error after `after` others that could. Replaces a fault that
    /// was to come.
    ///
    /// A write that fails may have written its bytes or a part of them, and a sync that fails has made nothing durable.
    pub fn fail(&self, after: u64, error: DiskError, lasting: Lasting) {
        self.0.journal().fault = Some(PlannedFault { after, error, lasting, only: |_| true });
    }

    /// Lets a sync fail with [`DiskError::Device`]: the first after `after` other syncs. Replaces a fault that was to
    /// come.
    pub fn fail_sync(&self, after: u64, lasting: Lasting) {
        let only = |class: &Class| matches!(class, Class::Sync(_));
        self.0.journal().fault = Some(PlannedFault { after, error: DiskError::Device, lasting, only });
    }

    /// Whether an operation has met the fault.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        !self.0.journal().met.is_empty()
    }

    /// Takes the fault away. Tells which operations met it, as texts; the list is empty if no operation has met it.
    pub fn clear(&self) -> Vec<String> {
        let mut journal = self.0.journal();
        journal.fault = None;
        std::mem::take(&mut journal.met)
    }

    /// From now on skips syncs of one kind and reports success, as a store would behave that does not make them. For
    /// tests that must see [`PowerCuts`](crate::testkit::PowerCuts) fail.
    pub(super) fn pass_over(&self, sync: Option<SyncOf>) {
        self.0.journal().passed_over = sync;
    }

    /// Adds an entry to the record of operations.
    pub(super) fn note(&self, entry: JournalEntry) {
        self.0.journal().entries.push(entry);
    }

    pub(super) fn take_entries(&self) -> Vec<JournalEntry> {
        std::mem::take(&mut self.0.journal().entries)
    }
}

impl DiskInner {
    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides on an operation, does it, and records it. The journal stays locked meanwhile: the record has the order
    /// of what was done.
    fn operate<T, E>(
        &self,
        class: Class,
        what: impl FnOnce() -> String,
        run: impl FnOnce(Decision) -> Result<(T, Option<JournalEntry>), (E, Option<JournalEntry>)>,
    ) -> Result<T, E> {
        let mut journal = self.journal();
        let decision = journal.decide(class, self.mode, what);
        if class == Class::Read && matches!(decision, Decision::Run) {
            drop(journal);
            return run(Decision::Run).map(|(value, _)| value).map_err(|(error, _)| error);
        }
        let passed_over = matches!(decision, Decision::PassOver);
        let outcome = run(decision);
        let (outcome, entry) = match outcome {
            Ok((value, entry)) => (Ok(value), entry),
            Err((error, entry)) => (Err(error), entry),
        };
        if self.mode == DiskMode::Recorded && !passed_over {
            journal.entries.extend(entry);
        }
        outcome
    }

    /// The path inside the directory; `None` for one outside of it.
    fn inside(&self, path: &Path) -> Option<PathBuf> {
        path.strip_prefix(&self.root).ok().map(Path::to_owned)
    }
}

impl Journal {
    fn decide(&mut self, class: Class, mode: DiskMode, what: impl FnOnce() -> String) -> Decision {
        self.operations += 1;
        if let Some(fault) = &mut self.fault
            && class.may_meet(fault.error)
            && (fault.only)(&class)
        {
            if fault.after > 0 {
                fault.after -= 1;
            } else {
                let error = fault.error;
                if fault.lasting == Lasting::Once {
                    self.fault = None;
                }
                self.met.push(what());
                return Decision::Fail { error, count: self.operations };
            }
        }
        match class {
            Class::Sync(_) if mode == DiskMode::Volatile => Decision::PassOver,
            Class::Sync(of) if self.passed_over == Some(of) => Decision::PassOver,
            _ => Decision::Run,
        }
    }
}

impl DiskError {
    fn io(self) -> io::Error {
        match self {
            Self::Full => io::ErrorKind::StorageFull.into(),
            // The code of Linux and macOS: the standard library has no kind for it.
            Self::Device => io::Error::from_raw_os_error(5),
            Self::ReadOnly => io::ErrorKind::ReadOnlyFilesystem.into(),
        }
    }
}
