//! Threads for blocking reads of the log, so that these delay no commit and no arbiter. Reads of a whole log have
//! threads of their own, so that they never delay a read that an append waits for.

use std::sync::Arc;

use futures::channel::oneshot;

use super::pool::WorkerPool;
use crate::error::{Error, ErrorKind};
use crate::port::{LogError, LogReader, LogSource};
use crate::stats::Gauge;

/// One reader thread's connection, opened when first used and again after a failure.
pub(crate) struct ReaderSlot {
    source: Arc<dyn LogSource>,
    reader: Option<Box<dyn LogReader>>,
}

impl ReaderSlot {
    /// Makes slots for the threads of a pool.
    pub(crate) fn of(source: Arc<dyn LogSource>) -> impl Fn() -> Self + Send + Clone + 'static {
        move || Self { source: Arc::clone(&source), reader: None }
    }

    /// Runs one read. After a read that failed, the next one opens a new connection.
    pub(crate) fn read<T, E: From<LogError>>(
        &mut self,
        read: impl FnOnce(&mut dyn LogReader) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => self.source.reader()?,
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
        source: Arc<dyn LogSource>,
        threads: usize,
        queued_max: usize,
        queued: &Gauge,
    ) -> std::io::Result<Self> {
        WorkerPool::start(name, threads, queued_max, Arc::clone(queued), ReaderSlot::of(source))
            .map(|pool| Self(Arc::new(pool)))
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
        self.run(move |slot| slot.read(read)).await
    }

    /// Runs a host's call that reads beside the log, and waits for it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut ReaderSlot) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (sender, receiver) = oneshot::channel();
        self.0.try_submit(move |slot| {
            // The caller may have lost interest.
            let _ = sender.send(call(slot));
        })?;
        answer(receiver).await
    }

    /// Runs a read for a host's call that waits its turn, however many wait: each of them waits in a future of the
    /// host's, which is larger than what is queued here. A read that nobody waits for any more is not made.
    pub(crate) async fn read_in_turn<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut dyn LogReader) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (sender, receiver) = oneshot::channel();
        self.0.submit(move |slot| {
            if !sender.is_canceled() {
                // The caller may lose interest now.
                let _ = sender.send(slot.read(read));
            }
        })?;
        answer(receiver).await
    }

    pub(crate) fn close(&self) {
        self.0.close();
    }
}

async fn answer<T>(receiver: oneshot::Receiver<Result<T, Error>>) -> Result<T, Error> {
    receiver
        .await
        .unwrap_or_else(|_| Err(ErrorKind::Unavailable { reason: "a reader thread failed".to_owned() }.into()))
}

/// A log of more events than this is long: folding it takes some hundredths of a second or more.
const LONG_EVENTS: u64 = 16_384;

/// The threads that fold whole logs, some of them for short ones and some for long ones.
pub(crate) struct Recoveries {
    short: Readers,
    /// `None` if only one log is folded at a time: then `short` takes all.
    long: Option<Readers>,
}

impl Recoveries {
    pub(crate) fn start(
        source: &Arc<dyn LogSource>,
        max: usize,
        queued_max: usize,
        queued: &Gauge,
    ) -> std::io::Result<Self> {
        let long_max = max / 2;
        let short = Readers::start("foldlog-recover", Arc::clone(source), max - long_max, queued_max, queued)?;
        let long = match long_max {
            0 => None,
            // If this fails, the threads for short logs end as well.
            max => Some(
                Readers::start("foldlog-long", Arc::clone(source), max, queued_max, queued)
                    .inspect_err(|_| short.close())?,
            ),
        };
        Ok(Self { short, long })
    }

    /// Queues the fold of a log that has this many events.
    pub(crate) fn submit(&self, events: u64, job: impl FnOnce(&mut ReaderSlot) + Send + 'static) -> Result<(), Error> {
        let is_long = events > LONG_EVENTS;
        self.long.as_ref().filter(|_| is_long).unwrap_or(&self.short).submit(job)
    }

    /// Runs a host's fold of a log as if the log were long, and waits for it.
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
    //! Goal: long folds keep no short one waiting. Method: gates.

    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;
    use crate::memory::MemoryEnd;

    fn gate() -> (Sender<()>, Receiver<()>) {
        channel()
    }

    #[test]
    fn long_folds_keep_no_short_one_waiting() {
        for max in 1..=4 {
            let memory = MemoryEnd::open(Default::default(), "t", crate::id::Timestamp::default()).unwrap();
            let medium: Arc<dyn LogSource> = Arc::new(memory);
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
