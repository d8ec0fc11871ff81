//! Threads for blocking reads: recovery, pages of events, states read from disk. They delay no commit and no arbiter.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use futures::channel::oneshot;

use crate::error::{Error, ErrorKind};
use crate::event_log::{LogError, LogMedium, LogReader};
use crate::stats::Gauge;

/// Locks a mutex whose data stays whole whatever panics while it is held.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type Job<S> = Box<dyn FnOnce(&mut S) + Send>;

/// Threads that run jobs, each on a state of its own.
pub(crate) struct WorkerPool<S> {
    queue: Arc<Queue<S>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    queued_max: usize,
}

struct Queue<S> {
    jobs: Mutex<Jobs<S>>,
    ready: Condvar,
    /// How many wait. Set under the lock.
    queued: Gauge,
}

struct Jobs<S> {
    waiting: VecDeque<Job<S>>,
    closed: bool,
}

impl<S: 'static> WorkerPool<S> {
    pub(crate) fn start(
        name: &str,
        threads: usize,
        queued_max: usize,
        queued: Gauge,
        state: impl Fn() -> S + Send + Clone + 'static,
    ) -> std::io::Result<Self> {
        let jobs = Mutex::new(Jobs { waiting: VecDeque::new(), closed: false });
        let queue = Arc::new(Queue { jobs, ready: Condvar::new(), queued });
        let pool = Self { queue: Arc::clone(&queue), threads: Mutex::default(), queued_max };
        for number in 0..threads {
            let (queue, state) = (Arc::clone(&queue), state.clone());
            let thread = std::thread::Builder::new()
                .name(format!("{name}-{number}"))
                .spawn(move || queue.work(state()))
                .inspect_err(|_| pool.close())?;
            lock(&pool.threads).push(thread);
        }
        Ok(pool)
    }

    /// Queues a job of foldlog's own, whose number is bounded elsewhere.
    pub(crate) fn submit(&self, job: impl FnOnce(&mut S) + Send + 'static) -> Result<(), Error> {
        self.push(usize::MAX, Box::new(job))
    }

    /// Queues a host's job.
    pub(crate) fn try_submit(&self, job: impl FnOnce(&mut S) + Send + 'static) -> Result<(), Error> {
        self.push(self.queued_max, Box::new(job))
    }

    fn push(&self, max: usize, job: Job<S>) -> Result<(), Error> {
        let mut jobs = lock(&self.queue.jobs);
        if jobs.closed {
            return Err(ErrorKind::StoreClosed.into());
        }
        if jobs.waiting.len() >= max {
            return Err(ErrorKind::Busy { what: "queue of reads and blob calls", limit: max as u64 }.into());
        }
        jobs.waiting.push_back(job);
        self.queue.queued.set(jobs.waiting.len() as u64);
        self.queue.ready.notify_one();
        Ok(())
    }

    /// Finishes what is queued, takes nothing more, and waits for the threads.
    pub(crate) fn close(&self) {
        lock(&self.queue.jobs).closed = true;
        self.queue.ready.notify_all();
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            // A worker guards its jobs, so it ends in order.
            let _ = thread.join();
        }
    }
}

impl<S> Queue<S> {
    fn work(&self, mut state: S) {
        while let Some(job) = self.next() {
            // Whoever waits for the job finds its channel closed.
            if catch_unwind(AssertUnwindSafe(|| job(&mut state))).is_err() {
                log::error!("a job on a foldlog thread panicked");
            }
        }
    }

    fn next(&self) -> Option<Job<S>> {
        let mut jobs = lock(&self.jobs);
        loop {
            if let Some(job) = jobs.waiting.pop_front() {
                self.queued.set(jobs.waiting.len() as u64);
                return Some(job);
            }
            if jobs.closed {
                return None;
            }
            jobs = self.ready.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// One reader thread's connection, opened when first used and again after a failure.
pub(crate) struct ReaderSlot {
    medium: Arc<dyn LogMedium>,
    reader: Option<Box<dyn LogReader>>,
}

impl ReaderSlot {
    /// Runs one read. After a failure the next one starts on a new connection.
    pub(crate) fn read<T, E: From<LogError>>(
        &mut self,
        read: impl FnOnce(&mut dyn LogReader) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => self.medium.reader()?,
        };
        let result = read(&mut *reader);
        if result.is_ok() {
            self.reader = Some(reader);
        }
        result
    }
}

/// The reader threads of a store. Clones share them.
#[derive(Clone)]
pub(crate) struct Readers(Arc<WorkerPool<ReaderSlot>>);

impl Readers {
    pub(crate) fn start(
        medium: Arc<dyn LogMedium>,
        threads: usize,
        queued_max: usize,
        queued: Gauge,
    ) -> std::io::Result<Self> {
        let slot = move || ReaderSlot { medium: Arc::clone(&medium), reader: None };
        WorkerPool::start("foldlog-read", threads, queued_max, queued, slot).map(|pool| Self(Arc::new(pool)))
    }

    /// Queues a read of foldlog's own.
    pub(crate) fn submit(&self, job: impl FnOnce(&mut ReaderSlot) + Send + 'static) -> Result<(), Error> {
        self.0.submit(job)
    }

    /// Runs a host's read and waits for it.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut dyn LogReader) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (sender, receiver) = oneshot::channel();
        self.0.try_submit(move |slot| {
            // The caller may have lost interest.
            let _ = sender.send(slot.read(read));
        })?;
        receiver
            .await
            .unwrap_or_else(|_| Err(ErrorKind::Unavailable { reason: "a reader thread failed".to_owned() }.into()))
    }

    pub(crate) fn close(&self) {
        self.0.close();
    }
}

impl From<LogError> for Error {
    fn from(error: LogError) -> Self {
        match error {
            LogError::DiskFull => ErrorKind::DiskFull,
            LogError::Corrupt(reason) => ErrorKind::CorruptStore { reason },
            LogError::CorruptEvent { .. } => ErrorKind::CorruptStore { reason: error.to_string() },
            LogError::Busy | LogError::Io(_) => ErrorKind::Unavailable { reason: error.to_string() },
        }
        .into()
    }
}
