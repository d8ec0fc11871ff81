//! The one error type of the public interface. Its kind says what the caller does next, not which layer failed.
//!
//! The modules `error` and `id` use each other: an error names the session, and making a session id may fail.

mod advice;
mod hints;
mod http;
mod kind;
mod owner;

use std::fmt;
use std::sync::Arc;

pub use advice::{NextStep, WasWritten};
pub use kind::ErrorKind;
pub use owner::OwnerInfo;

/// Why a call failed. Cheap to clone, since several callers may share one cause.
#[derive(Clone)]
pub struct Error(Arc<ErrorInner>);

struct ErrorInner {
    kind: ErrorKind,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// Makes an error with the lower error that caused it.
    pub(crate) fn with_source(kind: ErrorKind, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(Arc::new(ErrorInner { kind, source: Some(source.into()) }))
    }

    /// Whether its text says more than its kind does.
    pub(crate) fn has_source(&self) -> bool {
        self.0.source.is_some()
    }

    /// What happened.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self(Arc::new(ErrorInner { kind, source: None }))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.kind.fmt(f)?;
        match &self.0.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    /// The text and the name of the kind, for a `main` that returns the error; `{:#?}` shows the fields of the kind,
    /// and the cause.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            let ErrorInner { kind, source } = &*self.0;
            return f.debug_struct("Error").field("kind", kind).field("source", source).finish();
        }
        write!(f, "{self} [{}]", self.0.kind.name())
    }
}

impl std::error::Error for Error {
    /// The text of an error holds its cause already, so the chain goes on with the cause's own source.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().and_then(|source| source.source())
    }
}

#[cfg(test)]
mod tests;
