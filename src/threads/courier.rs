//! The way to an arbiter for what other threads send to its actors: one wake-up for all answers of a group.
//!
//! A message from another thread wakes its actor by itself, and a group of a thousand appends has a thousand actors. So
//! answers go to one task on the arbiter, which hands them to its actors there.

use actix::ArbiterHandle;
use futures::StreamExt;
use futures::channel::mpsc;

/// What is done on the arbiter. Dropped, should the arbiter have ended: maybe ahead of its actors.
type Parcel = Box<dyn FnOnce() + Send>;

/// Parcels of one sender arrive in order. Their number is bounded by the questions that they answer.
#[derive(Clone)]
pub(crate) struct Courier(mpsc::UnboundedSender<Parcel>);

impl Courier {
    pub(crate) fn on(arbiter: &ArbiterHandle) -> Self {
        let (sender, mut parcels) = mpsc::unbounded::<Parcel>();
        // Ends with its senders. An arbiter that has ended takes nothing, and drops what it is sent.
        let _ = arbiter.spawn(async move {
            while let Some(parcel) = parcels.next().await {
                parcel();
            }
        });
        Self(sender)
    }

    pub(crate) fn send(&self, parcel: impl FnOnce() + Send + 'static) {
        // What cannot be sent is dropped, and says so itself.
        let _ = self.0.unbounded_send(Box::new(parcel));
    }
}
