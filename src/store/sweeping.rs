//! Sweeps on a thread of their own: [`Store::sweep`].

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::channel::oneshot;

use super::Store;
use super::closing::Closing;
use super::read_only::ReadOnlyInner;
use crate::blobs::{SweepPlan, SweepWorld, Swept, sweep as run_sweep};
use crate::commit::sweep_one;
use crate::error::{Error, ErrorKind};
use crate::id::Digest;
use crate::model::SessionModel;
use crate::port::{BlobStore, LogReader, SweepDone, SweepStep};
use crate::session::Services;
use crate::threads::lock;

/// Long beside the time between a put and the append that names the blob, also where a person answers in between.
const GRACE: Duration = Duration::from_secs(24 * 60 * 60);
/// How many times as long as a commit of the sweep took it waits before the next one, so that it has at most a quarter
/// of the time in which the log can be written.
const COMMIT_PAUSE: u32 = 3;
/// The longest of these pauses.
const PAUSE_MAX: Duration = Duration::from_millis(250);

type OnProgress = Arc<dyn Fn(&Swept) + Send + Sync>;
type OnRemoved = Arc<dyn Fn(Digest, u64) + Send + Sync>;

/// What [`Store::sweep`] is to do. The default removes what no event names and what was put a day ago or earlier.
#[derive(Clone)]
#[non_exhaustive]
pub struct Sweep {
    plan: SweepPlan,
    on_progress: Option<OnProgress>,
    on_removed: Option<OnRemoved>,
}

impl Default for Sweep {
    fn default() -> Self {
        Self { plan: SweepPlan { grace: GRACE, is_dry: false }, on_progress: None, on_removed: None }
    }
}

impl Sweep {
    /// Removes nothing, and tells what would be removed.
    #[must_use]
    pub fn dry_run(mut self) -> Self {
        self.plan.is_dry = true;
        self
    }

    /// Leaves what was put less than this ago, though no event names it yet: 24 hours unless it is set. A blob that is
    /// put again, or whose bytes were there when they were put, counts as put then.
    ///
    /// The grace time is for hosts that put first and append later. An append that comes too late is refused
    /// ([`ErrorKind::DanglingRef`]), and succeeds once the blob was put again; with a grace time of zero that can
    /// happen to every append. Age is told by the system's clock, so after a clock that jumped ahead a blob may go
    /// early.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.plan.grace = grace;
        self
    }

    /// Calls a function now and then with what the sweep has found so far. It runs on the thread of the sweep, which
    /// waits for it.
    #[must_use]
    pub fn on_progress(mut self, on_progress: impl Fn(&Swept) + Send + Sync + 'static) -> Self {
        self.on_progress = Some(Arc::new(on_progress));
        self
    }

    /// Calls a function with each blob that was removed, or by a dry run would be, and its bytes. It runs on the thread
    /// of the sweep, which waits for it.
    #[must_use]
    pub fn on_removed(mut self, on_removed: impl Fn(Digest, u64) + Send + Sync + 'static) -> Self {
        self.on_removed = Some(Arc::new(on_removed));
        self
    }

    fn tell_progress(&self, so_far: &Swept) {
        if let Some(on_progress) = &self.on_progress {
            on_progress(so_far);
        }
    }

    fn tell_removed(&self, blob: Digest, bytes: u64) {
        if let Some(on_removed) = &self.on_removed {
            on_removed(blob, bytes);
        }
    }
}

impl fmt::Debug for Sweep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sweep").field("plan", &self.plan).finish_non_exhaustive()
    }
}

impl<M: SessionModel> Store<M> {
    /// Removes blobs that no event of any session names, and tells what it has removed.
    ///
    /// The sweep runs on a thread of its own, in small steps beside everything else that this store and other stores on
    /// the same medium do. It reads all events once, which on a large store takes a while, and keeps 8 to 24 bytes in
    /// memory for each blob that an event names, and about 40 for each session. No event ever names a blob that was
    /// swept: an append that would is refused with [`ErrorKind::DanglingRef`], as one that names a blob which was never
    /// put. A crash leaves a sweep that the next one goes on with; until then such refusals may go on, and a put of the
    /// blob ends them.
    ///
    /// Events of deleted sessions name nothing. Stored views are not swept: they are replaced and removed by
    /// themselves.
    ///
    /// # Errors
    /// [`ErrorKind::CorruptStore`] if an event cannot be read, since it may name any blob: then nothing more is
    /// removed, and [`Store::verify`] tells what is wrong. [`ErrorKind::Io`] if a file cannot be looked at;
    /// [`ErrorKind::DiskFull`], [`ErrorKind::Unavailable`], [`ErrorKind::StoreClosed`]. What was removed before stays
    /// removed.
    ///
    /// # Cancellation
    /// Dropping the future ends the sweep after the step that it is at.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use foldlog::{Store, StoreConfig, Sweep};
    ///
    /// # fn main() -> Result<(), foldlog::Error> { futures::executor::block_on(async {
    /// let store = Store::open(StoreConfig::memory()).await?;
    /// store.put_text("nobody names this").await?;
    /// let sweep = Sweep::default().grace(Duration::ZERO);
    /// assert_eq!(store.sweep(sweep.clone().dry_run()).await?.removed, 1);
    /// assert_eq!(store.sweep(sweep).await?.removed_bytes, 17);
    /// store.close().await
    /// # }) }
    /// ```
    pub async fn sweep(&self, sweep: Sweep) -> Result<Swept, Error> {
        self.0.services.check_open()?;
        let (sender, receiver) = oneshot::channel();
        let (services, log) = (Arc::clone(&self.0.services), Arc::clone(&self.0.log));
        let run = move || {
            let plan = sweep.plan;
            let swept = log.reader().map_err(Error::from).and_then(|reader| {
                let mut world = StoreWorld { services: &services, reader, sweep, caller: &sender };
                run_sweep(&mut world, plan)
            });
            // The caller may have lost interest.
            let _ = sender.send(swept);
        };
        let failed = |reason: String| Error::from(ErrorKind::Unavailable { reason });
        {
            // Under the lock, so that a store which closes waits for this thread.
            let mut closing = lock(&self.0.closing);
            let Closing::Open(parts) = &mut *closing else { return Err(ErrorKind::StoreClosed.into()) };
            let spawned = std::thread::Builder::new().name("foldlog-sweep".to_owned()).spawn(run);
            parts.sweeps.retain(|thread| !thread.is_finished());
            parts.sweeps.push(spawned.map_err(|error| failed(format!("no thread to sweep on: {error}")))?);
        }
        receiver.await.unwrap_or_else(|_| Err(failed("the thread of the sweep failed".to_owned())))
    }
}

struct StoreWorld<'a> {
    services: &'a Services,
    reader: Box<dyn LogReader>,
    sweep: Sweep,
    caller: &'a oneshot::Sender<Result<Swept, Error>>,
}

impl SweepWorld for StoreWorld<'_> {
    fn reader(&mut self) -> &mut dyn LogReader {
        &mut *self.reader
    }

    fn blobs(&self) -> &dyn BlobStore {
        &*self.services.blobs
    }

    fn step(&mut self, step: SweepStep) -> Result<SweepDone, Error> {
        let begun = Instant::now();
        let done = sweep_one(&self.services.persist, step);
        std::thread::sleep((begun.elapsed() * COMMIT_PAUSE).min(PAUSE_MAX));
        done
    }

    fn pause(&mut self, so_far: &Swept) -> Result<(), Error> {
        if self.services.is_closed() {
            return Err(ErrorKind::StoreClosed.into());
        }
        if self.caller.is_canceled() {
            // Nobody is told.
            return Err(ErrorKind::Unavailable { reason: "the sweep was called off".to_owned() }.into());
        }
        self.sweep.tell_progress(so_far);
        Ok(())
    }

    fn removed(&mut self, blob: &Digest, bytes: u64) {
        self.sweep.tell_removed(*blob, bytes);
    }
}

impl ReadOnlyInner {
    /// Tells what a sweep would remove. On a reader thread, until it is done.
    pub(super) async fn sweep_dry_run(&self, sweep: Sweep) -> Result<Swept, Error> {
        let blobs = Arc::clone(&self.open_here()?.blobs);
        let plan = SweepPlan { is_dry: true, ..sweep.plan };
        let run = move |reader: &mut dyn LogReader| run_sweep(&mut DryWorld { reader, blobs: &*blobs, sweep }, plan);
        self.readers.read(run).await
    }
}

/// What a store that only reads lets a dry run have.
struct DryWorld<'a> {
    reader: &'a mut dyn LogReader,
    blobs: &'a dyn BlobStore,
    sweep: Sweep,
}

impl SweepWorld for DryWorld<'_> {
    fn reader(&mut self) -> &mut dyn LogReader {
        self.reader
    }

    fn blobs(&self) -> &dyn BlobStore {
        self.blobs
    }

    fn step(&mut self, _: SweepStep) -> Result<SweepDone, Error> {
        Err(ErrorKind::Unavailable { reason: "a dry run of a sweep commits nothing".to_owned() }.into())
    }

    fn removed(&mut self, blob: &Digest, bytes: u64) {
        self.sweep.tell_removed(*blob, bytes);
    }

    fn pause(&mut self, so_far: &Swept) -> Result<(), Error> {
        self.sweep.tell_progress(so_far);
        Ok(())
    }
}
