//! Guards against panics: a panic in the host's code, or in a medium, becomes an error for the caller.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Calls a function of the host's session model. A panic in the function becomes an error for the caller, and ends no
/// actor. For use only where a panic leaves nothing of foldlog's own half done.
pub(crate) fn guarded<T>(function: &'static str, call: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|_| {
        log::error!("the model's {function} panicked");
        Panicked { function }
    })
}

/// A function of the host's session model panicked.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the model's {function} panicked")]
pub(crate) struct Panicked {
    function: &'static str,
}
