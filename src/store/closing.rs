//! Closing a store: in order, once, and on a thread of its own, so that it goes on even if the caller drops the future.
//! This file and `opening` use the fields of `store`: `opening` makes them, and this file takes them apart.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, mpsc};
use std::time::Instant;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{BoxFuture, Shared};

use crate::commit::CloseLog;
use crate::error::{Error, ErrorKind};
use crate::id::SessionId;
use crate::model::SessionModel;
use crate::session::Entry;
use crate::session::Services;
use crate::session::Task;
use crate::store::StoreInner;
use crate::store::opening::Parts;
use crate::threads::lock;

type Closed = Shared<BoxFuture<'static, Result<(), Error>>>;

pub(super) enum Closing {
    Open(Parts),
    Closing(Closed),
}

impl<M: SessionModel> StoreInner<M> {
    /// Starts closing, unless that was done, and gives the future that tells how it ended.
    pub(super) fn start_closing(&self) -> Closed {
        let mut closing = lock(&self.closing);
        if let Closing::Closing(closed) = &*closing {
            return closed.clone();
        }
        let (sender, receiver) = oneshot::channel();
        let answer = async {
            let ended = ErrorKind::Unavailable { reason: "the thread that closes the store failed".to_owned() };
            receiver.await.unwrap_or_else(|_| Err(ended.into()))
        };
        let closed = answer.boxed().shared();
        let before = std::mem::replace(&mut *closing, Closing::Closing(closed.clone()));
        drop(closing);
        self.services.mark_closed();
        let entries = std::mem::take(&mut lock(&self.registry).open);
        let services = Arc::clone(&self.services);
        if let Closing::Open(parts) = before {
            let spawned = std::thread::Builder::new().name("foldlog-close".to_owned()).spawn(move || {
                // Whoever waits may have lost interest.
                let _ = sender.send(close(&services, entries, parts));
            });
            if let Err(error) = spawned {
                log::error!("no thread to close the store with: {error}");
            }
        }
        closed
    }
}

impl<M: SessionModel> Drop for StoreInner<M> {
    fn drop(&mut self) {
        if self.services.is_forked() {
            // The threads, the database and the locks are the parent's. Nothing of them is ended here, and none is
            // waited for: the process keeps what it has inherited until it ends.
            std::mem::forget((Arc::clone(&self.services), Arc::clone(&self.log)));
            let refused = async { Err(ErrorKind::Forked.into()) }.boxed().shared();
            let closing = self.closing.get_mut().unwrap_or_else(PoisonError::into_inner);
            if let Closing::Open(parts) = std::mem::replace(closing, Closing::Closing(refused)) {
                std::mem::forget(parts);
            }
            return;
        }
        drop(self.start_closing());
    }
}

fn close<M: SessionModel>(
    services: &Services,
    entries: HashMap<SessionId, Arc<Entry<M>>>,
    parts: Parts,
) -> Result<(), Error> {
    let deadline = Instant::now() + services.config.close_timeout;
    let (sessions, unfinished) = close_sessions(entries, deadline);
    services.residency.close();
    services.commits.close();
    services.recoveries.close();
    services.readers.close();
    for sweep in parts.sweeps {
        // A panic was told to whoever waited for the sweep.
        drop(sweep.join());
    }
    parts.view_threads.close();
    parts.blob_threads.close();
    let closed = futures::executor::block_on(services.persist.send(CloseLog { deadline }));
    for thread in parts.threads {
        thread.stop();
    }
    let released = parts.ownership.release();
    if unfinished > 0 {
        let reason = format!("{unfinished} of {sessions} sessions did not finish in time");
        return Err(ErrorKind::Unavailable { reason }.into());
    }
    match closed {
        Ok(result) => result?,
        Err(error) => return Err(ErrorKind::Unavailable { reason: error.to_string() }.into()),
    }
    released
}

/// Lets every session finish what is in flight, and its subscribers take what is queued. Tells how many sessions there
/// were and how many of them did not finish.
fn close_sessions<M: SessionModel>(entries: HashMap<SessionId, Arc<Entry<M>>>, deadline: Instant) -> (usize, usize) {
    let sessions = entries.len();
    let (sender, receiver) = mpsc::channel();
    let mut asked = 0;
    for entry in entries.values() {
        let sender = sender.clone();
        let done = Box::new(move |subscribers, _released| {
            // Nobody waits after the deadline.
            let _ = sender.send(subscribers);
        });
        // A session that is closed already, or whose arbiter is gone, has nothing to finish.
        asked += usize::from(entry.tell(Task::Close(done)).is_ok());
    }
    // Dropped, so that the channel ends when the last session has dropped its sender.
    drop(sender);
    let (sender, drained) = mpsc::channel();
    let mut unfinished = asked;
    for _ in 0..asked {
        let left = deadline.saturating_duration_since(Instant::now());
        match receiver.recv_timeout(left) {
            Ok(subscribers) => {
                unfinished -= 1;
                for subscriber in subscribers {
                    let sender = sender.clone();
                    subscriber.end(Box::new(move || {
                        // Nobody waits after the deadline.
                        let _ = sender.send(());
                    }));
                }
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                unfinished = 0;
                break;
            }
            Err(mpsc::RecvTimeoutError::Timeout) => break,
        }
    }
    drop(sender);
    // Ends when every subscriber has taken its last item or is gone.
    while drained.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok() {}
    (sessions, unfinished)
}
