//! Opening a store: files first, then threads, then actors.

use std::sync::Arc;

use actix::{Arbiter, ArbiterHandle, Supervisor};
use futures::channel::oneshot;

use crate::blobs::actor::BlobActor;
use crate::commit::actor::PersistActor;
use crate::commit::group::{GroupLimits, GroupWriter};
use crate::config::{Medium, StoreConfig};
use crate::error::{Error, ErrorKind};
use crate::memory::blobs::MemoryBlobs;
use crate::memory::log::MemoryMedium;
use crate::model::SessionModel;
use crate::port::blob::BlobStore;
use crate::port::log::{LogError, LogMedium};
use crate::replay::snapshot::store::{Snapshots, clear_orphans};
use crate::session::residency::Residency;
use crate::session::services::Services;
use crate::sqlite::blobs::FileBlobs;
use crate::sqlite::directory::StoreDirectory;
use crate::sqlite::log::medium::SqliteMedium;
use crate::sqlite::log::schema::OpenError;
use crate::sqlite::log::wal::WalDamage;
use crate::stats::{Counters, Gauge};
use crate::store::Store;
use crate::threads::host_thread::HostThread;
use crate::threads::workers::{Readers, Recoveries, WorkerPool};

/// For short reads and pages. What reads a whole log has threads of its own: `recoveries_max`.
const READER_THREADS: usize = 2;
/// A put waits for two syncs, and a disk takes several of them at once.
const BLOB_THREADS: usize = 8;

/// Few, so that the views of many busy sessions, which come due together, leave the processor and the disk to the commits.
const VIEW_THREADS: usize = 1;

pub(super) struct Opened {
    pub(super) services: Services,
    pub(super) wal_damage: Option<WalDamage>,
    pub(super) parts: Parts,
}

/// What closing has to end.
pub(super) struct Parts {
    pub(super) blob_threads: Arc<WorkerPool<()>>,
    pub(super) view_threads: Arc<WorkerPool<()>>,
    pub(super) threads: Vec<HostThread>,
    /// Gives up the medium: others take this store for dead from then on, so it comes last.
    pub(super) release: Box<dyn FnOnce() -> Result<(), Error> + Send>,
}

pub(super) async fn open<M: SessionModel>(config: StoreConfig) -> Result<Store<M>, Error> {
    config.check()?;
    // The one that opens the store, if any: asked here, since the work is done on another thread.
    let current = Arbiter::try_current();
    let (sender, receiver) = oneshot::channel();
    let spawned = std::thread::Builder::new().name("foldlog-open".to_owned()).spawn(move || {
        let opened = open_blocking::<M>(config, current).map(|opened| Store::new(opened));
        // The caller may have lost interest: then the store is dropped, and closes.
        let _ = sender.send(opened);
    });
    let failed = |reason: String| Error::from(ErrorKind::Unavailable { reason });
    spawned.map_err(|error| failed(format!("no thread to open the store with: {error}")))?;
    receiver.await.unwrap_or_else(|_| Err(failed("the thread that opens the store failed".to_owned())))
}

fn open_blocking<M: SessionModel>(config: StoreConfig, current: Option<ArbiterHandle>) -> Result<Opened, Error> {
    let io = |error: std::io::Error| Error::from(ErrorKind::Unavailable { reason: error.to_string() });
    let bytes_max = config.blob_bytes_max as u64;
    let now = config.clock.now();
    let counters = Arc::new(Counters::new());
    let medium: Arc<dyn LogMedium>;
    let blobs: Arc<dyn BlobStore>;
    let snapshots: Arc<dyn BlobStore>;
    let mut orphans = None;
    let snapshot_bytes_max = config.snapshots.bytes_max;
    let mut wal_damage = None;
    let release: Box<dyn FnOnce() -> Result<(), Error> + Send>;
    match &config.medium {
        Medium::Directory(path) => {
            let directory = Arc::new(StoreDirectory::open(config.layers.files(), path, now)?);
            let sqlite = SqliteMedium::open(Arc::clone(&directory), config.layers.vfs, config.durability, M::NAME)?
                .counted_by(Arc::clone(&counters))
                .checkpointed_after(config.layers.checkpoint_bytes);
            wal_damage = sqlite.wal_damage().cloned();
            let was_alone = sqlite.was_alone();
            medium = Arc::new(sqlite);
            let files = Arc::clone(directory.files());
            let views = FileBlobs::of_snapshots(
                Arc::clone(&files),
                &directory.snapshots(),
                directory.tmp(),
                snapshot_bytes_max,
            );
            let views = Arc::new(views);
            if let Some(opened_at) = directory.opened_at().filter(|_| was_alone) {
                orphans = Some((Arc::clone(&views), opened_at));
            }
            snapshots = views;
            blobs = Arc::new(FileBlobs::new(files, directory.blobs(), directory.tmp(), bytes_max));
            release = Box::new(move || Ok(directory.release()?));
        }
        Medium::Memory(disk) => {
            let memory = Arc::new(MemoryMedium::open(disk.clone(), M::NAME, now)?);
            medium = Arc::clone(&memory) as _;
            release = Box::new(move || {
                memory.release();
                Ok(())
            });
            blobs = Arc::new(MemoryBlobs::new(disk.blobs.clone(), bytes_max));
            snapshots = Arc::new(MemoryBlobs::new(disk.snapshots.clone(), snapshot_bytes_max));
        }
    }
    let (medium, blobs) = (config.layers.log(medium), config.layers.blobs(blobs));
    let limits = GroupLimits { events_max: config.group_events_max, bytes_max: config.group_bytes_max };
    let writer = GroupWriter::open(Arc::clone(&medium), limits, Arc::clone(&counters))?;
    let jobs_max = config.queued_jobs_max;
    let (recoveries_max, reads_queued) = (config.residency.recoveries_max, &counters.reads_queued);
    let recoveries = Recoveries::start(&medium, recoveries_max, jobs_max, reads_queued).map_err(io)?;
    let readers = Readers::start("foldlog-read", medium, READER_THREADS, jobs_max, reads_queued).map_err(io)?;
    if let Some((files, opened_at)) = orphans {
        // Beside everything else: nobody waits for it.
        readers.submit(move |slot| {
            let cleared = slot.read(|reader| clear_orphans(reader, &files, opened_at));
            if let Err(error) = cleared {
                log::warn!("stored views that no session names could not be removed: {error}");
            }
        })?;
    }
    let blob_calls_queued = Arc::clone(&counters.blob_calls_queued);
    let blob_threads = WorkerPool::start("foldlog-blob", BLOB_THREADS, jobs_max, blob_calls_queued, || ());
    let blob_threads = Arc::new(blob_threads.map_err(io)?);
    let view_threads = WorkerPool::start("foldlog-views", VIEW_THREADS, jobs_max, Gauge::default(), || ());
    let view_threads = Arc::new(view_threads.map_err(io)?);
    let persist_thread = HostThread::start("foldlog-persist").map_err(io)?;
    let blob_thread = HostThread::start("foldlog-blobs").map_err(io)?;
    let persist = Supervisor::start_in_arbiter(persist_thread.arbiter(), {
        let counters = Arc::clone(&counters);
        move |_| PersistActor::new(writer, counters)
    });
    let served = BlobActor::new(Arc::clone(&blobs), Arc::clone(&blob_threads), bytes_max, Arc::clone(&counters));
    let blob = Supervisor::start_in_arbiter(blob_thread.arbiter(), move |_| served);
    let mut threads = vec![persist_thread, blob_thread];
    let mut arbiters = config.arbiters.clone();
    if arbiters.is_empty() {
        match current {
            Some(arbiter) => arbiters.push(arbiter),
            None => {
                let sessions = HostThread::start("foldlog-sessions").map_err(io)?;
                arbiters.push(sessions.arbiter().clone());
                threads.push(sessions);
            }
        }
    }
    let residency = Residency::start(config.residency, Arc::clone(&counters)).map_err(io)?;
    let stored = (blobs, Snapshots { store: snapshots, threads: Arc::clone(&view_threads) });
    let services = Services::new(config, persist, blob, stored, readers, recoveries, residency, arbiters, counters);
    Ok(Opened { services, wal_damage, parts: Parts { blob_threads, view_threads, threads, release } })
}

impl From<OpenError> for Error {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::NotAStore { path } => ErrorKind::NotAStore { path }.into(),
            OpenError::NewerFormat { found } => {
                ErrorKind::NewerFormat { found, supported: crate::sqlite::log::schema::FORMAT }.into()
            }
            OpenError::WrongModel { found, expected } => ErrorKind::WrongModel { found, expected }.into(),
            OpenError::Directory(error) => error.into(),
            OpenError::Lost(_) => ErrorKind::CorruptStore {
                reason: format!("{error}: put it back, or give the new store an empty directory"),
            }
            .into(),
            OpenError::Log(LogError::Corrupt(reason)) => ErrorKind::CorruptStore {
                reason: format!("{reason}; keep a copy of the directory, and read what is left with Store::salvage"),
            }
            .into(),
            OpenError::Log(error) => error.into(),
        }
    }
}
