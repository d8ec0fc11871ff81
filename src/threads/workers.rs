//! Threads for blocking reads: recovery, pages of events, states read from disk. They delay no commit and no arbiter, and
//! what reads a whole log has threads of its own, so that it never stands before what an append waits for.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use futures::channel::oneshot;

use crate::error::{Error, ErrorKind};
use crate::port::{LogError, LogMedium, LogReader};
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
    /// What appends wait for: taken first.
    urgent: VecDeque<Job<S>>,
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
        let jobs = Mutex::new(Jobs { urgent: VecDeque::new(), waiting: VecDeque::new(), closed: false });
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
        self.push(Box::new(job), |jobs| Ok(&mut jobs.waiting))
    }

    /// Queues a job of foldlog's own ahead of all others: an append waits for it, and it is short.
    pub(crate) fn submit_urgent(&self, job: impl FnOnce(&mut S) + Send + 'static) -> Result<(), Error> {
        self.push(Box::new(job), |jobs| Ok(&mut jobs.urgent))
    }

    /// Queues a host's job.
    pub(crate) fn try_submit(&self, job: impl FnOnce(&mut S) + Send + 'static) -> Result<(), Error> {
        let max = self.queued_max;
        self.push(Box::new(job), |jobs| {
            if jobs.waiting.len() >= max {
                return Err(ErrorKind::Busy { what: "queue of reads and blob calls", limit: max as u64 }.into());
            }
            Ok(&mut jobs.waiting)
        })
    }

    fn push(
        &self,
        job: Job<S>,
        queue: impl FnOnce(&mut Jobs<S>) -> Result<&mut VecDeque<Job<S>>, Error>,
    ) -> Result<(), Error> {
        let mut jobs = lock(&self.queue.jobs);
        if jobs.closed {
            return Err(ErrorKind::StoreClosed.into());
        }
        queue(&mut jobs)?.push_back(job);
        self.queue.queued.add(1);
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
            let job = jobs.urgent.pop_front().or_else(|| jobs.waiting.pop_front());
            if job.is_some() {
                self.queued.take_one();
                return job;
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
        name: &str,
        medium: Arc<dyn LogMedium>,
        threads: usize,
        queued_max: usize,
        queued: &Gauge,
    ) -> std::io::Result<Self> {
        let slot = move || ReaderSlot { medium: Arc::clone(&medium), reader: None };
        WorkerPool::start(name, threads, queued_max, Arc::clone(queued), slot).map(|pool| Self(Arc::new(pool)))
    }

    /// Queues a read of foldlog's own.
    pub(crate) fn submit(&self, job: impl FnOnce(&mut ReaderSlot) + Send + 'static) -> Result<(), Error> {
        self.0.submit(job)
    }

    /// Queues a short read that an append waits for.
    pub(crate) fn submit_urgent(&self, job: impl FnOnce(&mut ReaderSlot) + Send + 'static) -> Result<(), Error> {
        self.0.submit_urgent(job)
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

/// A log of more events than this is long: folding it takes some hundredths of a second or more.
const LONG_EVENTS: u64 = 16_384;

/// The threads that fold whole logs, some of them for short ones and some for long ones.
pub(crate) struct Recoveries {
    short: Readers,
    /// `None` where only one log is folded at a time.
    long: Option<Readers>,
}

impl Recoveries {
    pub(crate) fn start(
        medium: &Arc<dyn LogMedium>,
        max: usize,
        queued_max: usize,
        queued: &Gauge,
    ) -> std::io::Result<Self> {
        let long_max = max / 2;
        let short = Readers::start("foldlog-recover", Arc::clone(medium), max - long_max, queued_max, queued)?;
        let long = match long_max {
            0 => None,
            // Should it fail, those of the short ones end as well.
            max => Some(
                Readers::start("foldlog-long", Arc::clone(medium), max, queued_max, queued)
                    .inspect_err(|_| short.close())?,
            ),
        };
        Ok(Self { short, long })
    }

    /// Queues the fold of a log of so many events.
    pub(crate) fn submit(&self, events: u64, job: impl FnOnce(&mut ReaderSlot) + Send + 'static) -> Result<(), Error> {
        let is_long = events > LONG_EVENTS;
        self.long.as_ref().filter(|_| is_long).unwrap_or(&self.short).submit(job)
    }

    /// Runs a host's fold of a log, however long, and waits for it.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut dyn LogReader) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.long.as_ref().unwrap_or(&self.short).read(read).await
    }

    pub(crate) fn close(&self) {
        self.short.close();
        if let Some(long) = &self.long {
            long.close();
        }
    }
}

#[cfg(test)]
mod tests {
    //! Goal: what an append waits for goes first, and long folds keep no short one waiting. Method: gates.

    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;
    use crate::memory::MemoryEnd;

    fn gate() -> (Sender<()>, Receiver<()>) {
        channel()
    }

    #[test]
    fn what_an_append_waits_for_goes_first() {
        let pool = WorkerPool::start("t", 1, 2, Gauge::default(), || ()).unwrap();
        let (open, closed) = gate();
        let (sender, receiver) = channel();
        pool.submit(move |()| assert!(closed.recv().is_err())).unwrap();
        let say = |what: &'static str| {
            let sender = sender.clone();
            move |_: &mut ()| sender.send(what).unwrap()
        };
        pool.try_submit(say("a host's")).unwrap();
        pool.submit(say("another")).unwrap();
        assert!(pool.try_submit(say("one too many")).is_err());
        pool.submit_urgent(say("first")).unwrap();
        pool.submit_urgent(say("second")).unwrap();
        drop(open);
        pool.close();
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), ["first", "second", "a host's", "another"]);
        assert!(pool.submit_urgent(say("late")).is_err());
    }

    #[test]
    fn long_folds_keep_no_short_one_waiting() {
        for max in 1..=4 {
            let memory = MemoryEnd::open(Default::default(), "t", crate::id::Timestamp::default()).unwrap();
            let medium: Arc<dyn LogMedium> = Arc::new(memory);
            let recoveries = Recoveries::start(&medium, max, 10, &Gauge::default()).unwrap();
            let gates: Vec<_> = (0..8).map(|_| gate()).collect();
            let mut open = Vec::new();
            let running = Arc::new(std::sync::atomic::AtomicUsize::new(0));
            let (began, begun) = channel();
            for (sender, closed) in gates {
                open.push(sender);
                let (running, began) = (Arc::clone(&running), began.clone());
                let job = move |_: &mut ReaderSlot| {
                    running.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    began.send(()).unwrap();
                    assert!(closed.recv().is_err());
                };
                recoveries.submit(LONG_EVENTS + 1, job).unwrap();
            }
            let long_max = (max / 2).max(1);
            for _ in 0..long_max {
                begun.recv().unwrap();
            }
            if max > 1 {
                let (sender, short) = channel();
                recoveries.submit(LONG_EVENTS, move |_| sender.send(()).unwrap()).unwrap();
                short.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
            }
            assert_eq!(running.load(std::sync::atomic::Ordering::SeqCst), long_max);
            drop(open);
            recoveries.close();
        }
    }
}
