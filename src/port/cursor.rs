//! Cursors: where consumers of the feed are, each under a name. The medium keeps the text of a position, and does not
//! read it.

use super::write::Refusal;

/// A change of one cursor, which may be asked for again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CursorChange {
    pub(crate) name: String,
    pub(crate) to: CursorTarget,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CursorTarget {
    /// Moves it, if it is where it is expected, which is nowhere if there is none.
    Position { expected: Option<String>, position: String },
    /// Takes it away, wherever it is.
    Nowhere,
}

impl CursorChange {
    /// Where the cursor is afterwards, given where it is. One that is there already was moved by this very change,
    /// asked for before: its outcome may not have been known.
    pub(crate) fn apply(&self, found: Option<&str>) -> Result<Option<&str>, Refusal> {
        match &self.to {
            CursorTarget::Nowhere => Ok(None),
            CursorTarget::Position { expected, position }
                if found == expected.as_deref() || found == Some(position) =>
            {
                Ok(Some(position))
            }
            CursorTarget::Position { .. } => Err(Refusal::CursorMoved { found: found.map(str::to_owned) }),
        }
    }
}
