//! The feed: the events of all sessions of a store, in the order of the commits; first those that are there, then each
//! as it is committed, by whichever process.
//!
//! A feed reads at the pace of whoever takes its items: a page on a reader thread, and the next one when half of what
//! was read is taken. [`Commits`](crate::threads::Commits) tells it that there may be more. It never keeps what it has
//! not read: where it is, a pair of numbers, is all that it needs to go on.
//!
//! Invariant: an item is given out once, in order, and nothing between two items is left out: each page begins where
//! the one before has ended, and both ends are of one read transaction each.

mod actor;
mod inner;
mod item;
mod position;
mod queue;
mod reading;
mod stream;

pub use actor::{FeedDelivery, FeedSubscription};
pub(crate) use inner::FeedSource;
pub use item::{DeletedHistory, FeedEvent, FeedItem, UnreadableEvent};
pub use position::FeedPosition;
pub use stream::Feed;
