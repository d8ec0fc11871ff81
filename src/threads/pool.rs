//! A pool of threads that run jobs which may block.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::error::{Error, ErrorKind};
use crate::stats::Gauge;

/// Locks a mutex, also one that a panic has poisoned. For data that no panic leaves half changed.
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
    /// How many jobs wait. Changed under the lock of `jobs`.
    queued: Gauge,
}

struct Jobs<S> {
    /// Jobs that appends wait for. They are taken first.
    urgent: VecDeque<Job<S>>,
    waiting: VecDeque<QueuedJob<S>>,
    /// How many of the waiting jobs count against the limit.
    limited: usize,
    closed: bool,
}

struct QueuedJob<S> {
    job: Job<S>,
    is_limited: bool,
}

impl<S> Jobs<S> {
    fn take(&mut self) -> Option<Job<S>> {
        if let Some(urgent) = self.urgent.pop_front() {
            return Some(urgent);
        }
        let QueuedJob { job, is_limited } = self.waiting.pop_front()?;
        self.limited -= usize::from(is_limited);
        Some(job)
    }
}

impl<S: 'static> WorkerPool<S> {
    pub(crate) fn start(
        name: &str,
        threads: usize,
        queued_max: usize,
        queued: Gauge,
        state: impl Fn() -> S + Send + Clone + 'static,
    ) -> std::io::Result<Self> {
        let jobs = Mutex::new(Jobs { urgent: VecDeque::new(), waiting: VecDeque::new(), limited: 0, closed: false });
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
        self.push(|jobs| {
            jobs.waiting.push_back(QueuedJob { job: Box::new(job), is_limited: false });
            Ok(())
        })
    }

    /// Queues a job of foldlog's own ahead of all others: an append waits for it, and it is short.
    pub(crate) fn submit_urgent(&self, job: impl FnOnce(&mut S) + Send + 'static) -> Result<(), Error> {
        self.push(|jobs| {
            jobs.urgent.push_back(Box::new(job));
            Ok(())
        })
    }

    /// Queues a job for a host's call. Refused with [`ErrorKind::Busy`] when so many of these wait; foldlog's own do
    /// not count.
    pub(crate) fn try_submit(&self, job: impl FnOnce(&mut S) + Send + 'static) -> Result<(), Error> {
        let max = self.queued_max;
        self.push(|jobs| {
            if jobs.limited >= max {
                let what = "as many reads and blob calls wait as StoreConfig::queued_jobs_max allows";
                return Err(ErrorKind::Busy { what, limit: max as u64 }.into());
            }
            jobs.limited += 1;
            jobs.waiting.push_back(QueuedJob { job: Box::new(job), is_limited: true });
            Ok(())
        })
    }

    fn push(&self, push: impl FnOnce(&mut Jobs<S>) -> Result<(), Error>) -> Result<(), Error> {
        let mut jobs = lock(&self.queue.jobs);
        if jobs.closed {
            return Err(ErrorKind::StoreClosed.into());
        }
        push(&mut jobs)?;
        self.queue.queued.add(1);
        self.queue.ready.notify_one();
        Ok(())
    }

    /// Finishes what is queued, takes nothing more, and waits for the threads.
    pub(crate) fn close(&self) {
        lock(&self.queue.jobs).closed = true;
        self.queue.ready.notify_all();
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            // A thread catches the panics of its jobs, so it ends in order.
            let _ = thread.join();
        }
    }
}

impl<S> Queue<S> {
    fn work(&self, mut state: S) {
        while let Some(job) = self.next() {
            // A job that panics drops its channel, which tells whoever waits for the job.
            if catch_unwind(AssertUnwindSafe(|| job(&mut state))).is_err() {
                log::error!("a job on a foldlog thread panicked");
            }
        }
    }

    fn next(&self) -> Option<Job<S>> {
        let mut jobs = lock(&self.jobs);
        loop {
            if let Some(job) = jobs.take() {
                self.queued.take_one();
                return Some(job);
            }
            if jobs.closed {
                return None;
            }
            jobs = self.ready.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    //! Goal: what an append waits for goes first. Method: gates.

    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

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
        pool.submit(say("foldlog's")).unwrap();
        pool.submit(say("foldlog's")).unwrap();
        pool.try_submit(say("another")).unwrap();
        assert!(pool.try_submit(say("one too many")).is_err());
        pool.submit_urgent(say("first")).unwrap();
        pool.submit_urgent(say("second")).unwrap();
        drop(open);
        pool.close();
        assert_eq!(
            receiver.try_iter().collect::<Vec<_>>(),
            ["first", "second", "a host's", "foldlog's", "foldlog's", "another"]
        );
        assert!(pool.submit_urgent(say("late")).is_err());
    }
}
