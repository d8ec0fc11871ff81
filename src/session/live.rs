//! Live delivery: catch up from the log, then follow the commits. One bounded queue a subscriber.
//!
//! No task pumps a queue. Whoever takes an item from it sends the next: an actor by dropping the delivery that it has
//! handled, a stream by being polled. At most one delivery is with an actor at a time, so that its mailbox holds no
//! more, and nothing here ever waits for a subscriber.
//!
//! Transients of what is still being written are kept by `open_streams`: a subscriber that comes late, or is slow,
//! copies from there what it has not been given.

mod handles;
mod items;
mod open_streams;
mod queue;
mod subscriber;

pub use handles::{EventStream, Subscription};
pub use items::{Gap, Item, SubscribeFrom};
pub(crate) use open_streams::KeptLimits;
pub(super) use open_streams::OpenStreams;
pub use subscriber::Delivery;
pub(super) use subscriber::{Beginning, Source, Subscriber};
