//! The lock that is held while a turn of a request begins.
//!
//! A call that looks at the session has the right to run a turn for a moment. Without the lock a request that comes in
//! that moment would be queued, with nobody to take it. A future that has the lock and is polled no more keeps the
//! others waiting: so the lock can be revoked, as the right to run a turn can.

use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{Either, Shared, select};
use futures::lock::{Mutex as AsyncMutex, OwnedMutexGuard};

use super::Entry;
use crate::model::SessionModel;
use crate::threads::lock;

/// The lock of one session.
#[derive(Default)]
struct BeginningLock(Mutex<Current>);

/// The lock as it is until it is revoked.
struct Current {
    lock: Arc<AsyncMutex<()>>,
    /// Nothing is sent: its drop tells those who have the lock or wait for it.
    revoke: oneshot::Sender<()>,
    revoked: Shared<oneshot::Receiver<()>>,
}

impl Default for Current {
    fn default() -> Self {
        let (revoke, revoked) = oneshot::channel();
        Self { lock: Arc::default(), revoke, revoked: revoked.shared() }
    }
}

/// The lock is held until this is dropped. It borrows nothing, so that the futures of the calls can be spawned on any
/// thread.
pub(crate) struct BeginningGuard {
    _lock: OwnedMutexGuard<()>,
    revoked: Shared<oneshot::Receiver<()>>,
}

impl BeginningGuard {
    /// Whether somebody else may have the lock by now.
    pub(crate) fn is_revoked(&self) -> bool {
        self.revoked.clone().now_or_never().is_some()
    }
}

impl BeginningLock {
    async fn lock(&self) -> BeginningGuard {
        loop {
            let (waiting, revoked) = {
                let current = lock(&self.0);
                (Arc::clone(&current.lock).lock_owned(), current.revoked.clone())
            };
            if let Either::Left((_lock, _)) = select(waiting, revoked.clone()).await {
                return BeginningGuard { _lock, revoked };
            }
        }
    }

    /// Takes the lock away from whoever has it. Those who wait get the next one.
    fn revoke(&self) {
        let revoked = std::mem::take(&mut *lock(&self.0));
        // Its drop wakes tasks of the host, so it comes without the lock.
        drop(revoked.revoke);
    }
}

impl<M: SessionModel> Entry<M> {
    /// Takes the lock away from whoever has it.
    pub(super) fn revoke_beginning(&self) {
        if let Some(lock) = self.context.get::<BeginningLock>() {
            lock.revoke();
        }
    }

    pub(crate) async fn lock_beginning(&self) -> BeginningGuard {
        // Not a field of the entry: most sessions never need it, and a cold one is to stay small.
        self.context.get_or_insert_with(BeginningLock::default).lock().await
    }
}
