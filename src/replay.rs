//! Reading a log: decoding and checking what it holds, page by page, folding it into a view, and the stored views that
//! spare a fold from the first event.
//!
//! `record` checks that an event follows the one before it, and decodes it. `page` is what hosts read; `read_ahead`
//! reads pages on one thread while `fold` folds them on another. `snapshot` is about stored views, `key_index` about
//! the append keys of a log, `verify` reads on behind damaged events. `redaction` makes what takes the place of events,
//! and `redacted` holds such events against what their log says of them.
//!
//! Invariant: this room reads through the ports, writes nothing but the bytes of stored views, and decodes no event
//! that does not follow the one before it.

mod fold;
mod key_index;
mod page;
mod read_ahead;
mod record;
mod recovered;
mod redacted;
mod redaction;
mod snapshot;
mod verify;

pub(crate) use fold::Fold;
pub(crate) use key_index::{KeyFilter, KeyIndex};
pub use page::EventPage;
pub(crate) use page::{PAGE_BYTES_MAX, check_position, read_page, read_page_by};
pub(crate) use record::{check, corrupt, decode, open_record};
pub(crate) use recovered::Recovered;
pub use recovered::{Condition, RecoveryReport};
pub(crate) use redaction::{PreparedRedaction, RedactionPlan, Replace};
pub use snapshot::SnapshotPolicy;
pub(crate) use snapshot::{NewSnapshot, SnapshotOutcome, SnapshotStore, StoredView, Tail, UnusableSnapshot};
pub(crate) use verify::LogCheck;

#[cfg(test)]
mod tests;
