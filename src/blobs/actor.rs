//! The actor that serves blobs: it takes calls, hands them to blob threads, and answers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use actix::prelude::*;
use futures::channel::oneshot;
use futures::future::ready;

use super::put::{PutLog, put};
use super::put_room::PutRoom;
use crate::commit::{PersistActor, sweep_one};
use crate::error::{Error, ErrorKind};
use crate::id::{BlobEncoding, BlobKind, BlobRef, Digest};
use crate::port::{BlobError, BlobStore, Put, SweepDone, SweepMark, SweepStep};
use crate::stats::Metrics;
use crate::threads::{ReaderSlot, Restart, WorkerPool};

/// Serves the blobs of a store. A blob is immutable, is named by its [`Digest`], and is shared by all sessions.
///
/// Its address comes from [`Store::blob_address`](crate::Store::blob_address). A host may send it [`PutBlob`],
/// [`GetBlob`] and [`Restart`].
pub struct BlobActor {
    blobs: Arc<dyn BlobStore>,
    threads: Arc<WorkerPool<ReaderSlot>>,
    persist: Addr<PersistActor>,
    bytes_max: u64,
    put_room: Arc<PutRoom>,
    metrics: Arc<Metrics>,
}

/// How large a blob may be, and how much may wait to be written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlobLimits {
    pub(crate) bytes_max: u64,
    pub(crate) queued_put_bytes_max: u64,
}

impl BlobActor {
    pub(crate) fn new(
        blobs: Arc<dyn BlobStore>,
        threads: Arc<WorkerPool<ReaderSlot>>,
        persist: Addr<PersistActor>,
        limits: BlobLimits,
        metrics: Arc<Metrics>,
    ) -> Self {
        let BlobLimits { bytes_max, queued_put_bytes_max } = limits;
        Self { blobs, threads, persist, bytes_max, put_room: Arc::new(PutRoom::new(queued_put_bytes_max)), metrics }
    }

    /// Runs a call on a blob thread.
    fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce(&dyn BlobStore, &mut ReaderSlot) -> Result<T, Error> + Send + 'static,
    ) -> ResponseFuture<Result<T, Error>> {
        let (sender, receiver) = oneshot::channel();
        let blobs = Arc::clone(&self.blobs);
        let queued = self.threads.try_submit(move |reader| {
            // The caller may have lost interest; the blob is stored all the same.
            let _ = sender.send(call(&*blobs, reader));
        });
        Box::pin(async move {
            queued?;
            receiver
                .await
                .unwrap_or_else(|_| Err(ErrorKind::Unavailable { reason: "a blob thread failed".to_owned() }.into()))
        })
    }
}

impl Actor for BlobActor {
    type Context = Context<Self>;
}

impl Supervised for BlobActor {
    fn restarting(&mut self, _: &mut Context<Self>) {
        let blobs = Arc::clone(&self.blobs);
        // On a blob thread and not on the arbiter, since the rescan waits for the calls in flight.
        let queued = self.threads.submit(move |_| {
            if let Err(error) = blobs.rescan() {
                log::error!("the blob directory cannot be put in order: {error}");
            }
        });
        if queued.is_err() {
            log::debug!("the blob actor restarts in a store that is closed");
        }
    }
}

impl Handler<Restart> for BlobActor {
    type Result = ();

    fn handle(&mut self, _: Restart, context: &mut Context<Self>) {
        context.stop();
    }
}

/// Stores bytes and answers with the reference to put into a body. Once answered, the blob survives a power cut.
///
/// # Errors
/// [`ErrorKind::TooLarge`], [`ErrorKind::Busy`], [`ErrorKind::DiskFull`], [`ErrorKind::Io`],
/// [`ErrorKind::Unavailable`], [`ErrorKind::StoreClosed`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<BlobRef, Error>")]
pub struct PutBlob {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// What the bytes are.
    pub kind: BlobKind,
}

impl Handler<PutBlob> for BlobActor {
    // A blob thread does the work.
    type Result = ResponseFuture<Result<BlobRef, Error>>;

    fn handle(&mut self, PutBlob { bytes, kind }: PutBlob, _: &mut Context<Self>) -> Self::Result {
        let (size, limit) = (bytes.len() as u64, self.bytes_max);
        if size > limit {
            return Box::pin(ready(Err(BlobError::TooLarge { size, limit }.into())));
        }
        let room = match self.put_room.take(size) {
            Ok(room) => room,
            Err(error) => return Box::pin(ready(Err(error))),
        };
        let metrics = Arc::clone(&self.metrics);
        let persist = self.persist.clone();
        self.run(move |blobs, reader| {
            // Given back before the caller is told, and also by a job that is never run.
            let _room = room;
            let Put { digest, existed, .. } = put(blobs, &mut StoreLog { reader, persist }, &bytes)?;
            metrics.blob_put(size);
            if existed {
                metrics.blob_deduplicated(size);
            }
            Ok(BlobRef { digest, bytes: size, kind, encoding: BlobEncoding::Plain })
        })
    }
}

/// The log of this store, as a put asks it: on a blob thread, which may wait.
struct StoreLog<'a> {
    reader: &'a mut ReaderSlot,
    persist: Addr<PersistActor>,
}

impl PutLog for StoreLog<'_> {
    fn mark(&mut self, digest: &Digest) -> Result<SweepMark, Error> {
        self.reader.read(|reader| Ok(reader.sweep_mark(digest)?))
    }

    fn step(&mut self, step: SweepStep) -> Result<SweepDone, Error> {
        sweep_one(&self.persist, step)
    }
}

/// Reads a blob and checks it against its digest.
///
/// # Errors
/// [`ErrorKind::UnknownBlob`], [`ErrorKind::CorruptBlob`]; [`ErrorKind::TooLarge`] for a blob over this store's limit;
/// [`ErrorKind::Busy`], [`ErrorKind::Io`], [`ErrorKind::Unavailable`], [`ErrorKind::StoreClosed`].
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Vec<u8>, Error>")]
pub struct GetBlob {
    /// The blob's digest.
    pub digest: Digest,
}

impl Handler<GetBlob> for BlobActor {
    // A blob thread does the work.
    type Result = ResponseFuture<Result<Vec<u8>, Error>>;

    fn handle(&mut self, GetBlob { digest }: GetBlob, _: &mut Context<Self>) -> Self::Result {
        self.run(move |blobs, _| Ok(blobs.get(&digest)?))
    }
}

/// Makes sure that blobs are stored with these lengths, and durable, before an event references them.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct EnsureDurable {
    pub(crate) blobs: Vec<(Digest, u64)>,
    pub(crate) reply: Box<dyn FnOnce(Result<(), Error>) + Send>,
}

impl Handler<EnsureDurable> for BlobActor {
    // The answer goes by the reply that the message brings.
    type Result = ();

    fn handle(&mut self, EnsureDurable { blobs, reply }: EnsureDurable, _: &mut Context<Self>) {
        let store = Arc::clone(&self.blobs);
        let queued = self.threads.submit(move |_| {
            let ensure = |(digest, bytes)| {
                if store.ensure_durable(&digest, bytes)? {
                    Ok(())
                } else {
                    Err(ErrorKind::DanglingRef { digest }.into())
                }
            };
            // Guarded, since a `reply` that a panic dropped would say that the store is closed.
            let ensured = catch_unwind(AssertUnwindSafe(|| blobs.into_iter().try_for_each(ensure)));
            let panicked = |_| Err(ErrorKind::Unavailable { reason: "a blob thread failed".to_owned() }.into());
            reply(ensured.unwrap_or_else(panicked));
        });
        if queued.is_err() {
            // The store is closed, and every session with it: nobody waits for the answer any more.
            log::debug!("a reference was to be checked in a store that is closed");
        }
    }
}
