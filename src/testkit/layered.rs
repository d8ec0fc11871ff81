//! Puts something between a store and its medium.

use std::fmt;

use crate::error::Error;
use crate::port::{Medium, OpenMedium, OpenedMedium, OpenedToRead, Opening, OpeningToRead};

/// A medium whose ends are wrapped each time that a store opens it.
struct Layered<W> {
    beneath: Medium,
    wrap: W,
}

/// Wraps the ends of a medium, over what is wrapped already.
pub(super) fn layered(beneath: Medium, wrap: impl Fn(OpenedMedium) -> OpenedMedium + Send + Sync + 'static) -> Medium {
    Medium::new(Layered { beneath, wrap })
}

impl<W: Fn(OpenedMedium) -> OpenedMedium + Send + Sync + 'static> OpenMedium for Layered<W> {
    fn open(&self, opening: &Opening) -> Result<OpenedMedium, Error> {
        self.beneath.open(opening).map(&self.wrap)
    }

    /// The ends that only read are handed on as they are.
    fn open_to_read(&self, opening: &OpeningToRead) -> Result<OpenedToRead, Error> {
        self.beneath.open_to_read(opening)
    }

    fn beneath(&self) -> Option<&Medium> {
        Some(&self.beneath)
    }
}

impl<W> fmt::Debug for Layered<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.beneath.fmt(f)
    }
}
