//! Feature `testkit`: the faults and checks that foldlog is tested with, for a host's own [`SessionModel`] too. Not for
//! production.
//!
//! - [`contract::run`] checks a model of the host's own against everything that foldlog expects of one, and
//!   [`contract::golden_bytes`] that its bodies keep their bytes. [`event`] makes an event for a test of its `apply`.
//! - [`PowerCuts`] cuts the power at each operation of a scenario, and looks for everything that was acknowledged.
//! - [`TestDisk`] is a directory on which each file operation can be made to fail, the database's included.
//! - [`Faults`] records what a store asks of its log and its blobs, on any medium, and fails or holds the calls that a
//!   test chooses.
//! - [`ManualClock`] stands still until it is set. [`Dice`] gives random numbers that one seed repeats.
//!
//! [`SessionModel`]: crate::SessionModel

pub mod contract;
mod dice;
mod disk;
mod faults;
mod journal;
mod layered;
mod operations;
mod ports;
mod power_cut;

#[doc(hidden)]
pub mod decode;

use crate::event::Event;
use crate::id::{EventId, Timestamp};
use crate::model::SessionModel;

pub use crate::clock::ManualClock;
pub use dice::Dice;
pub use disk::{DiskError, Lasting, TestDisk};
pub use faults::{Fault, Faults, Held};
pub use journal::SyncOf;
pub use operations::{Call, Group, Operation, Outcome, Port, Sweeping};
pub use power_cut::{Loss, PowerCutReport, PowerCuts};

/// Makes an event without a store, for a test of a model's own [`apply`](SessionModel::apply). The body is taken as it
/// is: call [`stamp`](SessionModel::stamp) first, if the model mints ids.
///
/// # Examples
/// ```
/// use foldlog::agent::{Agent, AgentBody, AgentView, Message};
/// use foldlog::{EventId, SessionModel, Timestamp, testkit};
///
/// let body = AgentBody::MessageAppended(Message::user("hello"));
/// let event = testkit::event::<Agent>(EventId::new(1), Timestamp::from_micros(0), body);
/// let mut view = AgentView::default();
/// Agent::apply(&mut view, &event);
/// assert_eq!(view.messages.len(), 1);
/// ```
#[must_use]
pub fn event<M: SessionModel>(id: EventId, at: Timestamp, body: M::Body) -> Event<M> {
    Event::new(id, at, [0; 8], body)
}
