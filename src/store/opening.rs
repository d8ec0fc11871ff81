//! Opening a store: files first, then threads, then actors.

use std::any::Any;
use std::sync::Arc;
use std::thread::JoinHandle;

use actix::{Arbiter, ArbiterHandle, Supervisor};
use futures::channel::oneshot;

use crate::blobs::{BlobActor, BlobLimits};
use crate::commit::PersistActor;
use crate::commit::{GroupLimits, GroupWriter};
use crate::config::StoreConfig;
use crate::error::{Error, ErrorKind};
use crate::model::SessionModel;
use crate::port::{LogMedium, LogSource, OpenedMedium, Opening, Ownership};
use crate::replay::SnapshotStore;
use crate::session::Residency;
use crate::session::Services;
use crate::session::{HeldTurns, KeptLimits, OpenFlag, SessionArbiters, Snapshots};
use crate::stats::{Gauge, Metrics};
use crate::store::Store;
use crate::threads::HostThread;
use crate::threads::{Commits, ReaderSlot, Readers, Recoveries, WorkerPool};

/// The threads for short reads and pages. Reads of a whole log have threads of their own: `recoveries_max`.
const READER_THREADS: usize = 2;
/// The threads that store views. Few, so that the views of many busy sessions, which come due together, leave the
/// processor and the disk to the commits.
const VIEW_THREADS: usize = 1;

pub(super) struct Opened {
    pub(super) services: Services,
    pub(super) found: Option<Arc<dyn Any + Send + Sync>>,
    pub(super) log: Arc<dyn LogMedium>,
    pub(super) parts: Parts,
}

/// What closing has to end.
pub(super) struct Parts {
    pub(super) blob_threads: Arc<WorkerPool<ReaderSlot>>,
    pub(super) view_threads: Arc<WorkerPool<()>>,
    pub(super) threads: Vec<HostThread>,
    pub(super) sweeps: Vec<JoinHandle<()>>,
    /// Released last: others take this store for dead from then on.
    pub(super) ownership: Arc<dyn Ownership>,
}

pub(super) async fn open<M: SessionModel>(config: StoreConfig) -> Result<Store<M>, Error> {
    config.check()?;
    // The arbiter of the caller's thread, if it has one. Asked here, since the work is done on another thread.
    let current = Arbiter::try_current();
    let (sender, receiver) = oneshot::channel();
    let spawned = std::thread::Builder::new().name("foldlog-open".to_owned()).spawn(move || {
        let opened = open_blocking::<M>(config, current).map(|opened| Store::new(opened));
        // If the caller has dropped the future, the store is dropped here, and closes.
        let _ = sender.send(opened);
    });
    let failed = |reason: String| Error::from(ErrorKind::Unavailable { reason });
    spawned.map_err(|error| failed(format!("no thread to open the store with: {error}")))?;
    receiver.await.unwrap_or_else(|_| Err(failed("the thread that opens the store failed".to_owned())))
}

fn open_blocking<M: SessionModel>(config: StoreConfig, current: Option<ArbiterHandle>) -> Result<Opened, Error> {
    let io = |error: std::io::Error| {
        Error::from(ErrorKind::Unavailable { reason: format!("a thread of the store cannot be started: {error}") })
    };
    let blob_bytes_max = config.blob_bytes_max as u64;
    let metrics = Arc::new(Metrics::new());
    let opening = Opening {
        model: M::NAME,
        create: config.create,
        now: config.clock.now(),
        durability: config.durability,
        blob_bytes_max,
        snapshot_bytes_max: config.snapshots.bytes_max,
    };
    let OpenedMedium { log, blobs, snapshots, ownership, tidy, found } = config.medium.open(&opening)?;
    let limits = GroupLimits { events_max: config.group_events_max, bytes_max: config.group_bytes_max };
    let commits = Arc::new(Commits::of(log.clone()));
    let following = Arc::clone(&commits);
    let writer = GroupWriter::open(Arc::clone(&log), Arc::clone(&ownership), limits, Arc::clone(&metrics), following)?;
    let jobs_max = config.queued_jobs_max;
    let (recoveries_max, reads_queued) = (config.residency.recoveries_max, &metrics.reads_queued);
    let source: Arc<dyn LogSource> = log.clone();
    let recoveries = Recoveries::start(&source, recoveries_max, jobs_max, reads_queued).map_err(io)?;
    let readers = Readers::start("foldlog-read", source, READER_THREADS, jobs_max, reads_queued).map_err(io)?;
    if let Some(tidy) = tidy {
        // Tidying up runs beside everything else, and nobody waits for it.
        readers.submit(move |slot| {
            if let Err(error) = slot.read(tidy) {
                log::warn!("what an earlier store has left could not be tidied up: {error}");
            }
        })?;
    }
    let blob_calls_queued = Arc::clone(&metrics.blob_calls_queued);
    // Each with a reader of its own, which opens with the first put: a put asks whether its blob is being swept.
    let blob_slot = ReaderSlot::of(log.clone());
    let blob_threads = WorkerPool::start("foldlog-blob", blobs.concurrency(), jobs_max, blob_calls_queued, blob_slot);
    let blob_threads = Arc::new(blob_threads.map_err(io)?);
    let view_threads = WorkerPool::start("foldlog-views", VIEW_THREADS, jobs_max, Gauge::default(), || ());
    let view_threads = Arc::new(view_threads.map_err(io)?);
    let persist_thread = HostThread::start("foldlog-persist").map_err(io)?;
    let blob_thread = HostThread::start("foldlog-blobs").map_err(io)?;
    let persist = Supervisor::start_in_arbiter(persist_thread.arbiter(), {
        let metrics = Arc::clone(&metrics);
        move |_| PersistActor::new(writer, metrics)
    });
    let limits = BlobLimits { bytes_max: blob_bytes_max, queued_put_bytes_max: config.queued_put_bytes_max as u64 };
    let served =
        BlobActor::new(Arc::clone(&blobs), Arc::clone(&blob_threads), persist.clone(), limits, Arc::clone(&metrics));
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
    let residency = Residency::start(config.residency, Arc::clone(&metrics)).map_err(io)?;
    let kept_limits = Arc::new(KeptLimits::new(&config, Arc::clone(&metrics)));
    let services = Services {
        config,
        persist,
        blob,
        blobs,
        snapshots: Snapshots { store: SnapshotStore::new(snapshots), threads: Arc::clone(&view_threads) },
        readers,
        recoveries,
        commits,
        residency,
        arbiters: SessionArbiters::new(arbiters),
        metrics,
        kept_limits,
        turns: HeldTurns::default(),
        open: OpenFlag::default(),
        me: ownership.me().clone(),
        process: std::process::id(),
    };
    Ok(Opened {
        services,
        found,
        log,
        parts: Parts { blob_threads, view_threads, threads, sweeps: Vec::new(), ownership },
    })
}
