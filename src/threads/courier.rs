//! The courier brings to an arbiter what other threads send to its actors: one wake-up for all answers of a group.
//!
//! A message from another thread would wake its actor by itself, and a group of a thousand appends may have a thousand
//! actors. So the answers go to one task on the arbiter, which hands them to the actors there.

use actix::ArbiterHandle;
use futures::StreamExt;
use futures::channel::mpsc;

/// What is to be called on the arbiter. It is dropped instead if the arbiter has ended, maybe before its actors have.
type Parcel = Box<dyn FnOnce() + Send>;

/// Sends parcels to one arbiter. Those of one sender arrive in order. Each answers one question, and the questions are
/// bounded.
#[derive(Clone)]
pub(crate) struct Courier(mpsc::UnboundedSender<Parcel>);

impl Courier {
    pub(crate) fn on(arbiter: &ArbiterHandle) -> Self {
        let (sender, mut parcels) = mpsc::unbounded::<Parcel>();
        // The task ends when all of its senders are dropped. An arbiter that has ended drops the task, and so every
        // parcel that is sent to it.
        let _ = arbiter.spawn(async move {
            while let Some(parcel) = parcels.next().await {
                parcel();
            }
        });
        Self(sender)
    }

    pub(crate) fn send(&self, parcel: impl FnOnce() + Send + 'static) {
        // A parcel that cannot be sent is dropped, which sends its answer all the same.
        let _ = self.0.unbounded_send(Box::new(parcel));
    }
}
