//! Who writes a session, for the errors that name it.

use std::fmt;

use crate::id::Timestamp;

/// Who writes a session: one open store object.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnerInfo {
    /// The owner's id, unique to one open store object.
    pub id: String,
    /// The owner's process id; 0 when it is not known.
    pub process: u32,
    /// The name of the owner's host.
    pub host: String,
    /// When the owner opened the store.
    pub since: Timestamp,
    /// Whether the owner is another store object of this very process, which was not closed, or is closing still: one
    /// whose handles were dropped closes in the background. A process needs only one store of a directory: its handles
    /// can be cloned.
    pub in_this_process: bool,
}

impl fmt::Display for OwnerInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.in_this_process {
            write!(
                f,
                "another store that this process opened and that has not closed yet (close it and await that, or use a clone of \
                 its handle; one whose handles were dropped is closing: try again): "
            )?;
        }
        match self.process {
            0 => write!(f, "owner {}, of which no more is known", self.id),
            process => write!(f, "process {process} on {} since {}", self.host, self.since),
        }
    }
}

/// What to do about an owner in another process. What to do about one in this process is in its own text.
pub(super) fn way_around(owner: &OwnerInfo) -> &'static str {
    if owner.in_this_process {
        ""
    } else {
        ": send the call there, or wait until it closes the session or ends; if it hangs, Session::take_over takes the session from it"
    }
}
